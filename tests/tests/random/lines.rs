//! Messages taken apart by the shortest way, which is neither the router's nor the oracle's.

/// A message cut at its line ends, folds joined.
pub(crate) struct Lines {
    pub(crate) start: Vec<u8>,
    pub(crate) fields: Vec<Vec<u8>>,
    pub(crate) body: Vec<u8>,
}

impl Lines {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
        let mut lines: Vec<Vec<u8>> = vec![];
        for line in split_crlf(&bytes[..end]) {
            match lines.last_mut() {
                Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                    last.extend_from_slice(b"\r\n");
                    last.extend_from_slice(line);
                }
                _ => lines.push(line.to_vec()),
            }
        }
        let body = bytes.get(end + 4..).unwrap_or_default().to_vec();
        Self { start: if lines.is_empty() { vec![] } else { lines.remove(0) }, fields: lines, body }
    }

    /// The values of all fields of a name, lists split.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let short = match name {
            "via" => "v",
            "call-id" => "i",
            name => name,
        };
        let fields = self.fields.iter().map(|line| String::from_utf8_lossy(line).into_owned());
        let fields = fields.filter(|line| [name, short].contains(&&*name_of(line)));
        fields
            .flat_map(|line| {
                let value = line.split_once(':').expect("a colon").1.to_owned();
                split_outside_quotes(&value, ',').into_iter().map(|v| v.trim().to_owned()).collect::<Vec<_>>()
            })
            .collect()
    }

    pub(crate) fn body_within_content_length(&self) -> Vec<u8> {
        let length = ["content-length", "l"].iter().find_map(|name| self.values(name).first()?.parse().ok());
        self.body[..length.unwrap_or(self.body.len()).min(self.body.len())].to_vec()
    }
}

fn split_crlf(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = vec![];
    let mut rest = bytes;
    while let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

pub(crate) fn unfolded(text: &str) -> Vec<String> {
    let lines = Lines::of(text.as_bytes());
    lines.fields.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

pub(crate) fn unfold(text: &str) -> String {
    text.replace("\r\n", "")
}

pub(crate) fn name_of(line: &str) -> String {
    line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// All Via values of a message, folds joined.
pub(crate) fn vias(message: &[u8]) -> Vec<String> {
    Lines::of(message).values("via").iter().map(|via| unfold(via)).collect()
}

/// Splits at a byte that stands outside quotes and brackets.
pub(crate) fn split_outside_quotes(text: &str, at: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !bracketed => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            _ if c == at && !quoted && !bracketed => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("a part").push(c);
    }
    parts
}

pub(crate) fn parameter(via: &str, name: &str) -> Option<String> {
    let mut params = split_outside_quotes(via, ';').into_iter().skip(1);
    params.find_map(|param| {
        let (key, value) = param.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// Host and port of a Via.
pub(crate) fn sent_by(via: &str) -> (String, u16) {
    let head = split_outside_quotes(via, ';').remove(0);
    let text = head.rsplit('/').next().expect("a transport").trim().to_owned();
    let text = text.split_once([' ', '\t']).expect("white space").1.replace([' ', '\t'], "");
    let after_address = text.rfind(']').unwrap_or(0);
    match text[after_address..].split_once(':') {
        Some((_, port)) => {
            let host = &text[..text.len() - port.len() - 1];
            (host.to_owned(), port.parse().expect("a port"))
        }
        None => (text, 5060),
    }
}
