//! The edits that take Route values away (RFC 3261 16.4), wherever they stand: alone in a line, before others, or split over lines.

use super::own_route::Place;
use crate::edit::Edits;
use crate::sip::Message;
use crate::sip::header_field::Name;
use crate::sip::route_set::RouteValue;
use crate::sip::span::Span;

/// The removal of Route values: a line that loses all its values goes, one that keeps some loses the front of its value.
///
/// Values go from the topmost on, so the lines that go are the first ones, up to [`Self::gone`].
#[derive(Clone, Copy, Default)]
pub(super) struct Popping {
    /// The last Route value, where it became the Request-URI, and the one before it.
    pub(super) undone: Option<(RouteValue, Option<RouteValue>)>,
    /// What goes of the line that keeps values.
    front: Option<Span>,
    /// Index of the last field whose line is gone.
    pub(super) gone: Option<usize>,
}

impl Popping {
    /// Whether `value` is the one that became the Request-URI; it is not in the Route set any more.
    #[inline(always)]
    pub(super) fn is_undone(&self, value: &RouteValue) -> bool {
        self.undone.is_some_and(|(last, _)| last.span == value.span)
    }

    /// Removes the topmost value that is left.
    #[inline(always)]
    pub(super) fn pop(&mut self, value: &Place, message: &Message) {
        let field = &message.fields()[value.field];
        let followed_by_undone = self.undone.is_some_and(|(last, _)| last.span.start() == value.next);
        if value.last || followed_by_undone {
            self.front = None;
            self.gone = Some(value.field);
        } else {
            self.front = Some(Span::new(field.value.start(), value.next));
        }
    }

    /// Deletes the lines that go, the front of a line that keeps values, and the value that became the Request-URI.
    #[inline(always)]
    pub(super) fn finish(&mut self, message: &Message, edits: &mut Edits) {
        if let (Some(first), Some(last)) = (message.first(Name::Route), self.gone) {
            let gone = message.fields().get(first..=last).unwrap_or_default();
            gone.iter().filter(|field| field.name == Name::Route).for_each(|field| edits.delete(field.line));
        }
        if let Some(front) = self.front {
            edits.delete(front);
        }
        let Some((last, before)) = self.undone else { return };
        match before {
            _ if self.gone == Some(last.field) => {}
            Some(before) if !last.first => edits.delete(Span::new(before.span.end(), last.span.end())),
            _ => {
                edits.delete(message.fields()[last.field].line);
                self.gone = Some(last.field);
            }
        }
    }
}
