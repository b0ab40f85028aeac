//! The configuration: a TOML file, read, checked, and turned into the [`crate::proxy::snapshot::Plan`] of a snapshot.
//!
//! [`mod@file`] is the shape: which tables and keys there are. [`value`] and [`text`] are what values look like, and say so in their errors. [`mod@plan`] is the
//! meaning: names that must exist, contradictions, and the tables that the data plane reads. [`node`] is what a restart is needed for. Every error, of
//! shape or of meaning, is a [`ConfigError`] with its place in the file.

pub mod error;
pub mod file;
pub mod node;
pub mod plan;
#[cfg(test)]
mod tests;
pub mod text;
pub mod value;
pub mod warnings;

pub use error::{ConfigError, Position};
pub use node::{NodeInterface, NodeListener, NodePlan, Overrides};
pub use plan::{plan, snapshot};

use error::Source;
use file::ConfigFile;
use std::path::{Path, PathBuf};

/// The configuration of `sluice` without arguments.
pub const DEFAULT: &str = include_str!("../default.toml");

/// A configuration file, read and of the right shape. What it means is checked by [`snapshot`] and [`NodePlan::new`].
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Its tables and keys.
    pub file: ConfigFile,
    /// Where it was read from; `None` for the embedded default.
    pub path: Option<PathBuf>,
    pub(crate) source: Source,
}

/// Reads a configuration file.
///
/// # Errors
/// It cannot be read, is not TOML, or has a key or value that is not allowed.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let config = parse(Source::read(path)?)?;
    Ok(Config { path: Some(path.to_owned()), ..config })
}

/// Reads a configuration out of `text`. Errors call it `name`.
///
/// # Errors
/// It is not TOML, or has a key or value that is not allowed.
pub fn from_text(name: &str, text: &str) -> Result<Config, ConfigError> {
    parse(Source { file: name.to_owned(), text: text.to_owned() })
}

/// The embedded default.
///
/// # Errors
/// None: a test reads it.
pub fn embedded() -> Result<Config, ConfigError> {
    from_text("default.toml", DEFAULT)
}

/// The JSON schema of the configuration file.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(ConfigFile)
}

fn parse(source: Source) -> Result<Config, ConfigError> {
    match toml::from_str(&source.text) {
        Ok(file) => Ok(Config { file, path: None, source }),
        Err(error) => Err(source.toml_error(&error)),
    }
}

impl Config {
    /// The configuration's name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.source.file
    }

    /// The path that a relative `path` in the file means.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let directory = self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        directory.join(path)
    }

    /// The key file, if one is named.
    #[must_use]
    pub fn key_file(&self) -> Option<PathBuf> {
        self.file.node.key_file.as_ref().map(|path| self.resolve(&path.value.0.0))
    }
}
