//! SIP parsers that a Rust program could use, each asked for the same two things by its own usual calls, and sluice's.
//!
//! - `message`: the call by which its users parse a received request. How far that goes differs; see `bench/README.md`.
//! - `proxy`: that, and to get from it what a proxy looks at ([`Seen`]). What a parser has typed is taken typed; what it keeps as text it is asked to type.
//!
//! Every `proxy` hands over what it found, and [`check`] compares that with what stands in the message: a row is of work that was done.

use bytes::Bytes;
use std::hint::black_box;

/// What a proxy looks at in a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen<'a> {
    /// Branch of the topmost Via, whose sent-by and other parameters are read as well.
    pub(crate) branch: &'a str,
    /// Whether there is a topmost Route, which is read with its URI.
    pub(crate) has_route: bool,
    pub(crate) from_tag: &'a str,
    pub(crate) to_tag: Option<&'a str>,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) max_forwards: u32,
}

/// A parser, with what it keeps from one message to the next.
pub(crate) trait Parser: Default {
    /// Crate and version.
    const NAME: &'static str;
    /// Whether it types header fields, so that `proxy` is there.
    const TYPES: bool = true;

    /// Parses a request.
    fn message(&mut self, bytes: &Bytes);

    /// Parses a request, and shows what a proxy looks at.
    fn proxy(&mut self, bytes: &Bytes, show: impl FnOnce(&Seen<'_>));
}

/// The canonical requests that all parsers are given, and what is to be seen there.
pub(crate) const MESSAGES: [(&str, Seen<'static>); 2] = [
    (
        "bye",
        Seen {
            branch: "z9hG4bK-524287-2---1f4a6c8e0b2d4f60",
            has_route: true,
            from_tag: "5fc2a9d3",
            to_tag: Some("c0re77"),
            call_id: "7c1e2f4ab09d4e6f8a3b5c7d9e1f0a2b@203.0.113.9",
            cseq: 2,
            max_forwards: 70,
        },
    ),
    (
        "invite",
        Seen {
            branch: "z9hG4bK-524287-1---8d3b1f6a2c4e7b90",
            has_route: false,
            from_tag: "5fc2a9d3",
            to_tag: None,
            call_id: "7c1e2f4ab09d4e6f8a3b5c7d9e1f0a2b@203.0.113.9",
            cseq: 1,
            max_forwards: 70,
        },
    ),
];

/// Checks that a parser sees what is there.
pub(crate) fn check<P: Parser>() {
    for (name, expected) in MESSAGES.into_iter().filter(|_| P::TYPES) {
        let bytes = Bytes::from(sluice_tests::canonical(name));
        let mut calls = 0;
        P::default().proxy(&bytes, |seen| {
            assert_eq!(*seen, expected, "{}: {name}", P::NAME);
            calls += 1;
        });
        assert_eq!(calls, 1, "{}: {name}", P::NAME);
    }
}

/// This project's.
pub(crate) mod sluice {
    use super::{Bytes, Parser, Seen, black_box};
    use ::sluice::sip::Message;
    use ::sluice::sip::header_field::Name;
    use ::sluice::sip::route_set::RouteSet;
    use ::sluice::sip::span::Span;
    use ::sluice::sip::via;

    #[derive(Default)]
    pub(crate) struct Sluice(Message);

    impl Parser for Sluice {
        const NAME: &'static str = concat!("sluice ", env!("CARGO_PKG_VERSION"));

        fn message(&mut self, bytes: &Bytes) {
            self.0.read(bytes).expect("good");
            black_box(&mut self.0);
        }

        fn proxy(&mut self, bytes: &Bytes, show: impl FnOnce(&Seen<'_>)) {
            self.message(bytes);
            let text = |span: Span| str::from_utf8(&bytes[span.start()..span.end()]).expect("text");
            let field = self.0.field(Name::Via).expect("a Via").value;
            let via = via::read(bytes, field.start(), field.end()).expect("a good Via");
            let route = RouteSet::new(&self.0, bytes).next_value().expect("good Routes");
            let to_tag = Some(text(self.0.to_tag)).filter(|tag| !tag.is_empty());
            show(&Seen {
                branch: text(black_box(&via).branch),
                has_route: black_box(&route).is_some(),
                from_tag: text(self.0.from_tag),
                to_tag,
                call_id: text(self.0.field(Name::CallId).expect("a Call-ID").value),
                cseq: self.0.cseq.number,
                max_forwards: self.0.max_forwards.expect("Max-Forwards").into(),
            });
        }
    }
}

/// `rsip`: header fields stay text, of which each is typed by a call of its own.
pub(crate) mod rsip {
    use super::{Bytes, Parser, Seen, black_box};
    use ::rsip::headers::ToTypedHeader as _;
    use ::rsip::message::HasHeaders as _;
    use ::rsip::prelude::{HeadersExt as _, UntypedHeader as _};
    use ::rsip::{Header, SipMessage};

    #[derive(Default)]
    pub(crate) struct Rsip;

    impl Parser for Rsip {
        const NAME: &'static str = "rsip 0.4.0";

        fn message(&mut self, bytes: &Bytes) {
            black_box(SipMessage::try_from(&bytes[..]).expect("good"));
        }

        fn proxy(&mut self, bytes: &Bytes, show: impl FnOnce(&Seen<'_>)) {
            let message = SipMessage::try_from(&bytes[..]).expect("good");
            let via = message.via_header().and_then(|via| via.typed()).expect("a good Via");
            let route = message.headers().iter().find_map(|header| match header {
                Header::Route(route) => Some(route.typed().expect("a good Route")),
                _ => None,
            });
            let from = message.from_header().and_then(|from| from.typed()).expect("a good From");
            let to = message.to_header().and_then(|to| to.typed()).expect("a good To");
            let cseq = message.cseq_header().and_then(|cseq| cseq.typed()).expect("a good CSeq");
            show(&Seen {
                branch: via.branch().expect("a branch").value(),
                has_route: black_box(&route).is_some(),
                from_tag: from.tag().expect("a tag").value(),
                to_tag: to.tag().map(|tag| tag.value()),
                call_id: message.call_id_header().expect("a Call-ID").value(),
                cseq: cseq.seq,
                max_forwards: message.max_forwards_header().and_then(|field| field.num()).expect("a number"),
            });
        }
    }
}

/// `rsipstack`: a stack with a parser of its own, after the model of `rsip`.
pub(crate) mod rsipstack {
    use super::{Bytes, Parser, Seen, black_box};
    use ::rsipstack::sip::prelude::{HeadersExt as _, ToTypedHeader as _};
    use ::rsipstack::sip::{SipMessage, typed};

    #[derive(Default)]
    pub(crate) struct Rsipstack;

    impl Parser for Rsipstack {
        const NAME: &'static str = "rsipstack 0.7.14";

        fn message(&mut self, bytes: &Bytes) {
            black_box(SipMessage::try_from(&bytes[..]).expect("good"));
        }

        fn proxy(&mut self, bytes: &Bytes, show: impl FnOnce(&Seen<'_>)) {
            let message = SipMessage::try_from(&bytes[..]).expect("good");
            let via = typed::Via::parse(message.via_header().expect("a Via").value()).expect("a good Via");
            let route = message.route_header().map(|route| route.typed().expect("a good Route"));
            let from = message.from_header().and_then(|from| from.typed()).expect("a good From");
            let to = message.to_header().and_then(|to| to.typed()).expect("a good To");
            let cseq = message.cseq_header().and_then(|cseq| cseq.typed()).expect("a good CSeq");
            let max_forwards = message.max_forwards_header().expect("Max-Forwards").value();
            show(&Seen {
                branch: via.branch().expect("a branch").value(),
                has_route: black_box(&route).is_some(),
                from_tag: from.tag().expect("a tag").value(),
                to_tag: to.tag().map(|tag| tag.value()),
                call_id: message.call_id_header().expect("a Call-ID").value(),
                cseq: cseq.seq,
                max_forwards: max_forwards.trim().parse().expect("a number"),
            });
        }
    }
}

/// `ezk-sip-types`: lines are pulled one by one, as its own stack does, and kept as parts of the datagram; typed on demand.
pub(crate) mod ezk {
    use super::{Bytes, Parser, Seen, black_box};
    use ezk_sip_types::header::typed::{CSeq, CallID, FromTo, MaxForwards, Routing, Via};
    use ezk_sip_types::msg::{Line, MessageLine, PullParser};
    use ezk_sip_types::parse::Parse as _;
    use ezk_sip_types::{Headers, Name};

    #[derive(Default)]
    pub(crate) struct Ezk;

    fn parse(bytes: &Bytes) -> (MessageLine, Headers) {
        let mut lines = PullParser::new(bytes, 0);
        let mut line = || lines.next().map(|line| str::from_utf8(line.expect("complete")).expect("text"));
        let start = line().expect("a start-line");
        let (_, start) = MessageLine::parse(bytes)(start).expect("a good start-line");
        let mut headers = Headers::with_capacity(16);
        while let Some(text) = line() {
            let (_, Line { name, value }) = Line::parse(bytes, text).expect("a good line");
            headers.insert(name, value);
        }
        (start, headers)
    }

    impl Parser for Ezk {
        const NAME: &'static str = "ezk-sip-types 0.6.5";

        fn message(&mut self, bytes: &Bytes) {
            black_box(parse(bytes));
        }

        fn proxy(&mut self, bytes: &Bytes, show: impl FnOnce(&Seen<'_>)) {
            let (start, headers) = parse(bytes);
            black_box(&start);
            let via: Via = headers.get(Name::VIA).expect("a good Via");
            let route = headers.try_get::<Routing>(Name::ROUTE).map(|route| route.expect("a good Route"));
            let from: FromTo = headers.get(Name::FROM).expect("a good From");
            let to: FromTo = headers.get(Name::TO).expect("a good To");
            let call_id: CallID = headers.get_named().expect("a Call-ID");
            let cseq: CSeq = headers.get_named().expect("a good CSeq");
            let max_forwards: MaxForwards = headers.get_named().expect("Max-Forwards");
            show(&Seen {
                branch: via.params.get_val("branch").expect("a branch"),
                has_route: black_box(&route).is_some(),
                from_tag: from.tag.as_deref().expect("a tag"),
                to_tag: to.tag.as_deref(),
                call_id: &call_id.0,
                cseq: cseq.cseq,
                max_forwards: max_forwards.0.into(),
            });
        }
    }
}

/// `rvoip-sip-core`: types all header fields at once.
pub(crate) mod rvoip {
    use super::{Bytes, Parser, Seen, black_box};
    use rvoip_sip_core::{HeaderName, Message, Request, TypedHeader, parse_message};

    #[derive(Default)]
    pub(crate) struct Rvoip;

    fn typed<'a, T>(
        request: &'a Request,
        name: &HeaderName,
        of: fn(&'a TypedHeader) -> Option<T>,
    ) -> Option<T> {
        request.header(name).and_then(of)
    }

    impl Parser for Rvoip {
        const NAME: &'static str = "rvoip-sip-core 0.4.0";

        fn message(&mut self, bytes: &Bytes) {
            black_box(parse_message(bytes).expect("good"));
        }

        fn proxy(&mut self, bytes: &Bytes, show: impl FnOnce(&Seen<'_>)) {
            let Message::Request(request) = parse_message(bytes).expect("good") else { panic!("a request") };
            let via = typed(&request, &HeaderName::Via, |header| match header {
                TypedHeader::Via(via) => Some(via),
                _ => None,
            });
            let route = typed(&request, &HeaderName::Route, |header| match header {
                TypedHeader::Route(route) => route.first(),
                _ => None,
            });
            let max_forwards = typed(&request, &HeaderName::MaxForwards, |header| match header {
                TypedHeader::MaxForwards(field) => Some(field.0),
                _ => None,
            });
            show(&Seen {
                branch: via.and_then(|via| via.branch()).expect("a branch"),
                has_route: black_box(&route).is_some(),
                from_tag: request.from().and_then(|from| from.tag()).expect("a tag"),
                to_tag: request.to().and_then(|to| to.tag()),
                call_id: request.call_id().expect("a Call-ID").as_str(),
                cseq: request.cseq().expect("CSeq").sequence(),
                max_forwards: max_forwards.expect("Max-Forwards").into(),
            });
        }
    }
}

/// `parsip`: cuts the message into slices, after the model of `httparse`, and types nothing. Of 2017.
pub(crate) mod parsip {
    use super::{Bytes, Parser, Seen, black_box};
    use ::parsip::{Header, IResult, Request};

    #[derive(Default)]
    pub(crate) struct Parsip;

    impl Parser for Parsip {
        const NAME: &'static str = "parsip 0.1.0";
        const TYPES: bool = false;

        fn message(&mut self, bytes: &Bytes) {
            let mut headers = [Header { name: "", value: &[] }; 32];
            let mut request = Request::new(&mut headers);
            assert!(matches!(request.parse(bytes), IResult::Done(..)));
            black_box(&request);
        }

        fn proxy(&mut self, _: &Bytes, _: impl FnOnce(&Seen<'_>)) {}
    }
}
