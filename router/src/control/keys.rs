//! The cluster's secret: a text file that every node has, and the key of a node that has none.
//!
//! ```text
//! # sluice keygen --id 1
//! 1 00112233445566778899aabbccddeeff
//! 0 ffeeddccbbaa99887766554433221100
//! ```
//!
//! The first line seals and proves, the second only proves. To change the key of a cluster without losing a call, add the new one as the second line on
//! every node, then swap the lines on every node, then take the old one out; `SIGHUP` after each step.

use super::config::ConfigError;
use super::config::error::{Source, reason};
use crate::proxy::seal::{Key, Keys};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 16;

const ALLOWED: &str = "allowed: `ID SECRET`, ID a number from 0 to 255 and SECRET 32 hexadecimal digits, as `sluice keygen` prints it";

/// Reads a key file.
///
/// # Errors
/// It cannot be read, or holds other lines than one or two keys; with the place.
pub fn load(path: &Path) -> Result<Keys, ConfigError> {
    parse(&Source::read(path)?)
}

/// Reads the text of a key file.
fn parse(source: &Source) -> Result<Keys, ConfigError> {
    let mut keys: Vec<Key> = Vec::new();
    let mut at = 0;
    for line in source.text.split_inclusive('\n') {
        let content = line.split('#').next().unwrap_or_default();
        let start = at + content.len() - content.trim_start().len();
        at += line.len();
        if content.trim().is_empty() {
            continue;
        }
        let key = parse_line(content).map_err(|(offset, what)| source.error_at(start + offset, what))?;
        if keys.len() == 2 {
            return Err(source.error_at(start, "a third key; allowed: one or two"));
        }
        if keys.iter().any(|other| other.id == key.id) {
            return Err(source
                .error_at(start, format!("a second key with the id {}; allowed: an id of its own", key.id)));
        }
        keys.push(key);
    }
    let mut keys = keys.into_iter();
    let current = keys.next().ok_or_else(|| source.error_at(0, format!("no key; {ALLOWED}")))?;
    Ok(Keys { current, other: keys.next() })
}

/// One key. Errors come with their offset from the line's first word, and never show the secret.
fn parse_line(line: &str) -> Result<Key, (usize, String)> {
    let line = line.trim();
    let id_len = line.find(char::is_whitespace).unwrap_or(line.len());
    let (id, rest) = line.split_at(id_len);
    let secret = rest.trim_start();
    let secret_at = line.len() - secret.len();
    let digits = id.bytes().all(|byte| byte.is_ascii_digit());
    let id = id.parse().ok().filter(|_| digits).ok_or_else(|| (0, format!("not a key id; {ALLOWED}")))?;
    if secret.is_empty() {
        return Err((secret_at, format!("no secret after the id; {ALLOWED}")));
    }
    let secret = parse_secret(secret).ok_or_else(|| (secret_at, format!("not a secret; {ALLOWED}")))?;
    Ok(Key::new(id, &secret))
}

fn parse_secret(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let digits = text.len() == 2 * SECRET_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(number.to_be_bytes())
}

/// What is wrong with a key file's permissions, if anything.
#[must_use]
pub fn permission_warning(path: &Path) -> Option<String> {
    let mode = path.metadata().ok()?.mode() & 0o777;
    let open = mode & 0o077 != 0;
    open.then(|| format!("{} has mode {mode:04o}: others may read the secret; chmod 600 it", path.display()))
}

/// The key of a node that has no key file: random, with the id 0.
///
/// # Errors
/// The operating system gives no random numbers.
pub fn own() -> io::Result<Keys> {
    Ok(Keys { current: Key::new(0, &random()?), other: None })
}

/// A line for a key file, with a new secret.
///
/// # Errors
/// The operating system gives no random numbers.
pub fn generate(id: u8) -> io::Result<String> {
    Ok(format!("{id} {:032x}", u128::from_be_bytes(random()?)))
}

/// A random number for the life of a process.
///
/// # Errors
/// The operating system gives no random numbers.
pub fn seed() -> io::Result<u64> {
    Ok(u128::from_ne_bytes(random()?) as u64)
}

fn random() -> io::Result<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut secret));
    read.map_err(|error| {
        io::Error::other(format!("no random numbers from /dev/urandom: {}", reason(&error)))
    })?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "00112233445566778899aabbccddeeff";

    fn parse(text: &str) -> Result<(u8, Option<u8>), String> {
        let keys = super::parse(&Source { file: "k".to_owned(), text: text.to_owned() });
        keys.map(|keys| (keys.current.id, keys.other.map(|key| key.id))).map_err(|error| error.to_string())
    }

    #[test]
    fn good_files() {
        assert_eq!(parse(&format!("0 {A}")), Ok((0, None)));
        assert_eq!(
            parse(&format!("# ours\n\n  255\t {A}  # new\r\n007 {}\n", A.to_uppercase())),
            Ok((255, Some(7)))
        );
    }

    #[test]
    fn bad_files() {
        for (text, place) in [
            (String::new(), "k:1:1: no key"),
            ("# nothing\n".to_owned(), "k:1:1: no key"),
            (format!("\n 256 {A}"), "k:2:2: not a key id"),
            (format!("+1 {A}"), "k:1:1: not a key id"),
            (format!("{A}\n"), "k:1:1: not a key id"),
            ("1\n".to_owned(), "k:1:2: no secret after the id"),
            (format!("1 {A}0"), "k:1:3: not a secret"),
            (format!("1 +{}", &A[1..]), "k:1:3: not a secret"),
            (format!("1 {A} 2"), "k:1:3: not a secret"),
        ] {
            assert_eq!(parse(&text), Err(format!("{place}; {ALLOWED}")), "{text}");
        }
        let three = format!("1 {A}\n2 {A}\n  3 {A}\n");
        assert_eq!(parse(&three), Err("k:3:3: a third key; allowed: one or two".to_owned()));
        let twice = format!("1 {A}\n1 {A}\n");
        let what = "k:2:1: a second key with the id 1; allowed: an id of its own";
        assert_eq!(parse(&twice), Err(what.to_owned()));
    }

    #[test]
    fn what_keygen_prints_is_a_key_file() {
        let (one, two) = (generate(200).unwrap(), generate(200).unwrap());
        assert_ne!(one, two);
        assert_eq!(parse(&one), Ok((200, None)));
    }

    #[test]
    fn a_secret_is_read_in_the_order_of_its_digits() {
        let expected =
            [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        assert_eq!(parse_secret(A), Some(expected));
    }

    #[test]
    fn permissions() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("sluice-keys-{}", std::process::id()));
        std::fs::write(&path, format!("1 {A}\n")).unwrap();
        let warning = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            permission_warning(&path)
        };
        assert_eq!(warning(0o600), None);
        assert!(warning(0o640).unwrap().ends_with("has mode 0640: others may read the secret; chmod 600 it"));
        assert_eq!(load(&path).unwrap().current.id, 1);
        std::fs::remove_file(&path).unwrap();
    }
}
