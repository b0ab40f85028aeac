//! From files to tables, all or nothing: at the start, at each reload, and for `sluice check`.

use super::config::{self, Config, ConfigError, NodePlan, Overrides, warnings};
use super::keys;
use crate::proxy::seal::Keys;
use crate::proxy::snapshot::Snapshot;
use std::path::PathBuf;

/// Where a node's configuration comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file; `None` is the embedded default.
    pub path: Option<PathBuf>,
    /// What the command line says instead.
    pub overrides: Overrides,
    /// The node's own keys, for a configuration without a key file.
    pub own_keys: Keys,
}

/// A configuration, read and found good.
#[derive(Debug)]
pub struct Loaded {
    /// The file.
    pub config: Config,
    /// What a restart is needed for.
    pub node: NodePlan,
    /// The tables.
    pub snapshot: Snapshot,
    /// Whether the keys are the node's own.
    pub has_own_keys: bool,
    /// What is allowed, but seldom meant.
    pub warnings: Vec<String>,
}

/// Why a reload changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The new configuration is bad.
    #[error("{0}")]
    Bad(#[from] ConfigError),
    /// It is good, but the running process cannot follow it.
    #[error("changes of {} need a restart", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
}

/// Reads the configuration and its key file, and builds the tables.
///
/// # Errors
/// The first fault, with its place.
pub fn load(origin: &Origin) -> Result<Loaded, ConfigError> {
    let config = origin.path.as_deref().map_or_else(config::embedded, config::load)?;
    let node = NodePlan::new(&config, &origin.overrides)?;
    let mut warnings: Vec<_> = warnings::warnings(&config).iter().map(ToString::to_string).collect();
    let key_file = config.key_file();
    let keys = key_file.as_deref().map_or_else(|| Ok(origin.own_keys.clone()), keys::load)?;
    warnings.extend(key_file.as_deref().and_then(keys::permission_warning));
    let snapshot = config::snapshot(&config, keys)?;
    Ok(Loaded { has_own_keys: key_file.is_none(), config, node, snapshot, warnings })
}

/// Reads everything again for a node that runs as `running`.
///
/// # Errors
/// Something is wrong, or something changed that a running process keeps.
pub fn reload(origin: &Origin, running: &NodePlan) -> Result<Loaded, ReloadError> {
    let loaded = load(origin)?;
    let differences = running.differences(&loaded.node);
    if differences.is_empty() { Ok(loaded) } else { Err(ReloadError::NeedsRestart(differences)) }
}

impl Loaded {
    /// What there is, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let file = &self.config.file;
        let members = file.target_set.iter().map(|set| set.members.len()).sum();
        let parts = [
            count(file.listen.len(), "listener"),
            count(file.target_set.len(), "target set"),
            count(members, "target"),
            count(file.rule.len(), "rule"),
            count(self.node.workers.len(), "worker"),
        ];
        parts.join(", ")
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const LISTEN: &str = "[[listen]]\nname = \"a\"\naddress = \"192.0.2.1:5060\"\n";

    fn origin(path: &Path) -> Origin {
        let own_keys = keys::own().unwrap();
        Origin { path: Some(path.to_owned()), overrides: Overrides::default(), own_keys }
    }

    /// A directory that goes when the test ends.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sluice-load-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_key_file_stands_beside_the_configuration() {
        let directory = Directory::new("keys");
        let path = directory.write("c.toml", &format!("[node]\nkey_file = \"keys\"\n{LISTEN}"));
        let error = load(&origin(&path)).unwrap_err().to_string();
        assert!(error.ends_with("keys: cannot be read: no such file or directory"), "{error}");
        directory.write("keys", "9 00112233445566778899aabbccddeeff\n");
        let loaded = load(&origin(&path)).unwrap();
        assert_eq!(loaded.snapshot.keys.current.id, 9);
        assert!(!loaded.has_own_keys);
        directory.write("keys", "9 0011\n");
        let error = load(&origin(&path)).unwrap_err().to_string();
        assert!(error.contains("keys:1:3: not a secret"), "{error}");
    }

    #[test]
    fn a_reload_follows_rules_and_keeps_sockets_and_own_keys() {
        let directory = Directory::new("reload");
        let path = directory.write("c.toml", LISTEN);
        let origin = origin(&path);
        let running = load(&origin).unwrap().node;
        let hash = |keys: &Keys| keys.current.call(b"x");

        directory.write("c.toml", &format!("{LISTEN}trusted = true\n[[rule]]\nreply = {{ status = 480 }}\n"));
        let loaded = reload(&origin, &running).unwrap();
        assert_eq!(loaded.snapshot.rules.all().len(), 1);
        assert_eq!(hash(&loaded.snapshot.keys), hash(&origin.own_keys));

        directory.write("c.toml", &LISTEN.replace("5060", "5062"));
        let error = reload(&origin, &running).unwrap_err().to_string();
        assert_eq!(error, "changes of listen.name, listen.address or listen.interface need a restart");
        directory.write("c.toml", &format!("[node]\nworkers = 2\n[io]\nidle_us_max = 0\n{LISTEN}"));
        let error = reload(&origin, &running).unwrap_err().to_string();
        assert_eq!(error, "changes of node.workers, io need a restart");
        directory.write("c.toml", "[[listen]]\nname = 1\n");
        assert!(matches!(reload(&origin, &running), Err(ReloadError::Bad(_))));
    }

    #[test]
    fn the_example_configurations_are_good() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let loaded = load(&origin(&path)).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(loaded.warnings, Vec::<String>::new(), "{}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 0, "no examples");
    }
}
