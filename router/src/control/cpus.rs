//! Lists of CPUs as the kernel writes them: `2-5` or `0,2-3`.

use super::config::value::FromText;
use std::fmt;
use std::str::FromStr;

/// CPUs in the order in which workers are pinned to them; not empty, and none twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuList(Vec<usize>);

/// The highest CPU number: the kernel's set for a thread's affinity holds 1,024 (`CPU_SETSIZE`).
const CPU_MAX: usize = 1023;

impl CpuList {
    /// The CPUs, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl FromText for CpuList {
    const ALLOWED: &'static str = "CPU numbers and ranges from 0 to 1023, separated by commas";
    const EXAMPLE: &'static str = "0,2-5";

    fn from_text(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (cpu(first)?, cpu(last)?);
            if first > last {
                return Err(format!("the range {first}-{last} runs backwards"));
            }
            for cpu in first..=last {
                if cpus.contains(&cpu) {
                    return Err(format!("CPU {cpu} stands there twice"));
                }
                cpus.push(cpu);
            }
        }
        Ok(Self(cpus))
    }
}

fn cpu(text: &str) -> Result<usize, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|cpu| digits && *cpu <= CPU_MAX);
    number.ok_or_else(|| format!("\"{}\" is not a CPU number", text.escape_debug()))
}

impl FromStr for CpuList {
    type Err = String;

    /// For the command line, whose errors say themselves what is allowed.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_text(text).map_err(|what| format!("{what}; allowed: {}", Self::allowed()))
    }
}

impl fmt::Display for CpuList {
    /// Writes runs as ranges.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                _ => write!(f, "{comma}{}", run[0])?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_are_good() {
        for (text, cpus, shown) in [
            ("0", &[0][..], "0"),
            ("2-5", &[2, 3, 4, 5], "2-5"),
            ("0,2-3", &[0, 2, 3], "0,2-3"),
            ("5, 1-2 ,1023", &[5, 1, 2, 1023], "5,1-2,1023"),
            ("3-3", &[3], "3"),
        ] {
            let list: CpuList = text.parse().unwrap();
            assert_eq!(list.as_slice(), cpus, "{text}");
            assert_eq!(list.to_string(), shown);
        }
    }

    #[test]
    fn lists_that_are_not() {
        for (text, what) in [
            ("", "\"\" is not a CPU number"),
            ("a", "\"a\" is not a CPU number"),
            ("1,", "\"\" is not a CPU number"),
            ("-1", "\"\" is not a CPU number"),
            ("+1", "\"+1\" is not a CPU number"),
            ("1-2-3", "\"2-3\" is not a CPU number"),
            ("1024", "\"1024\" is not a CPU number"),
            ("0-99999999999999999999", "\"99999999999999999999\" is not a CPU number"),
            ("5-2", "the range 5-2 runs backwards"),
            ("0-3,2", "CPU 2 stands there twice"),
        ] {
            assert_eq!(CpuList::from_text(text), Err(what.to_owned()), "{text}");
        }
    }
}
