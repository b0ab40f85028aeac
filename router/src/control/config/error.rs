//! Errors of configuration and key files, and how they find their place: `FILE:LINE:COLUMN: key: what is wrong; allowed: ...`.

use std::fmt;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// What is wrong with a configuration or key file, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: String,
    /// The place, unless the file could not be read at all.
    pub position: Option<Position>,
    /// The path of the key, such as `rule[0].reply.status`; empty where it belongs to none.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// A place in a text file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A text file and its name: what turns byte offsets into places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The file, as it was named.
    pub file: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Reads a file that must be UTF-8.
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| ConfigError {
            file: file.clone(),
            position: None,
            key: String::new(),
            message: format!("cannot be read: {}", reason(&error)),
        })?;
        String::from_utf8(bytes).map(|text| Self { file: file.clone(), text }).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Self { file, text }.error_at(at, "not UTF-8; allowed: text in UTF-8")
        })
    }

    /// An error at a byte offset. The key is the one that the offset belongs to.
    #[must_use]
    pub fn error(&self, at: usize, message: impl Into<String>) -> ConfigError {
        ConfigError { key: key_at(&self.text, at), ..self.error_at(at, message) }
    }

    /// An error at a byte offset of a file that is not TOML.
    #[must_use]
    pub fn error_at(&self, at: usize, message: impl Into<String>) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            position: Some(position(&self.text, at)),
            key: String::new(),
            message: message.into(),
        }
    }

    /// An error of the TOML parser or of serde.
    #[must_use]
    pub fn toml_error(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or_default();
        let message = reword(error.message());
        let (_, faults) = DeTable::parse_recoverable(&self.text);
        if faults.is_empty() {
            return self.error(span.start, message);
        }
        // What is no TOML has no keys to name.
        let name = self.text.get(span.clone()).filter(|_| message == "duplicate key");
        self.error_at(span.start, name.map_or(message.clone(), |name| format!("{message} `{name}`")))
    }
}

/// The operating system's words, without the number after them.
#[must_use]
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn position(text: &str, at: usize) -> Position {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |lf| lf + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    Position { line, column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1 }
}

/// The path of the innermost key whose name or value holds the byte at `at`.
fn key_at(text: &str, at: usize) -> String {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut path = String::new();
    find_in_table(table.get_ref(), at, "", &mut path);
    path
}

fn find_in_table(table: &DeTable<'_>, at: usize, prefix: &str, found: &mut String) {
    for (key, value) in table {
        let dot = if prefix.is_empty() { "" } else { "." };
        let path = format!("{prefix}{dot}{}", key.get_ref());
        if key.span().contains(&at) || value.span().contains(&at) {
            found.clone_from(&path);
        }
        find_in_value(value.get_ref(), at, &path, found);
    }
}

fn find_in_value(value: &DeValue<'_>, at: usize, path: &str, found: &mut String) {
    match value {
        DeValue::Table(table) => find_in_table(table, at, path, found),
        DeValue::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let path = format!("{path}[{i}]");
                if item.span().contains(&at) {
                    found.clone_from(&path);
                }
                find_in_value(item.get_ref(), at, &path, found);
            }
        }
        _ => {}
    }
}

/// Puts what serde and the parser say into the form "what is wrong; allowed: ...".
fn reword(message: &str) -> String {
    if message.starts_with("unknown field") {
        let allowed = after(message, "expected ").trim_start_matches("one of ");
        return format!("no such key; allowed: {allowed}");
    }
    if let Some(variant) = message.strip_prefix("unknown variant ") {
        let (variant, allowed) = variant.split_once(", expected ").unwrap_or((variant, ""));
        return format!("{variant}; allowed: {}", allowed.trim_start_matches("one of "));
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        return format!("the key {name} is missing");
    }
    // What the TOML crate says where one of several words is wanted and something else stands there.
    if message == "wanted string or table" {
        return "no string; allowed: one of the key's values, in quotes".to_owned();
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((what, allowed)) = message.strip_prefix(prefix).and_then(|m| m.split_once(", expected "))
        {
            return match (what, allowed) {
                ("map", "a sequence") => {
                    "one table; allowed: a list of tables, each begun with `[[...]]`".to_owned()
                }
                (_, "a boolean") => format!("{what}; allowed: true or false"),
                (_, "a sequence") => format!("{what}; allowed: a list"),
                ("map", _) => format!("a table; allowed: {allowed}"),
                ("sequence", _) => format!("a list; allowed: {allowed}"),
                _ => format!("{what}; allowed: {allowed}"),
            };
        }
    }
    message.replacen(", expected ", "; allowed: ", 1)
}

fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.split_once(mark).map_or(text, |(_, rest)| rest)
}
