//! An emulated machine, which `scripts/zero-copy` has started. Node `a` runs there, and its two interfaces end here, in
//! the namespace of the tests, as taps. It is commanded by a shell that listens on a third one.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

/// How long a command there may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A way to the machine's shell, and a folder there for the files of one test.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    shell: SocketAddr,
    folder: String,
}

impl Guest {
    /// The machine whose shell listens at this address, with an empty folder of the same name as `scratch`.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn new(shell: SocketAddr, scratch: &Path) -> Result<Self, String> {
        let name = scratch.file_name().expect("a scratch folder has a name").to_string_lossy().into_owned();
        let guest = Self { shell, folder: format!("/run/tests/{name}") };
        let made = guest.send(&format!("rm -rf {0} && mkdir -p {0}", guest.folder));
        made.map_err(|error| {
            format!("no machine answers at {shell} ({error}): scripts/zero-copy starts one")
        })?;
        Ok(guest)
    }

    /// Runs lines of its shell in the folder, the last of which must succeed, and returns what they write.
    pub(crate) fn run(&self, lines: &str) -> String {
        let (status, output) = self.try_run(lines);
        assert!(status.success(), "the guest's shell: {status}\n{lines}\n{output}");
        output
    }

    /// Runs lines of its shell in the folder.
    fn try_run(&self, lines: &str) -> (ExitStatus, String) {
        self.send(&format!("cd {} && {{\n{lines}\n}}", self.folder))
            .unwrap_or_else(|error| panic!("the guest does not answer: {error}"))
    }

    /// What the shell says of some lines: the last's status, and what they wrote.
    fn send(&self, lines: &str) -> io::Result<(ExitStatus, String)> {
        let mut stream = TcpStream::connect_timeout(&self.shell, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("(\n{lines}\n) 2>&1; echo \"={}\"\n", "$?").as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut output = String::new();
        stream.read_to_string(&mut output)?;
        let (output, status) = output.rsplit_once('=').ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = status_of(status).ok_or(io::ErrorKind::InvalidData)?;
        Ok((status, output.to_owned()))
    }

    /// Writes a file that nobody else may read into the folder.
    pub(super) fn write(&self, file: &str, text: &str) {
        assert!(!text.contains("END-OF-FILE"), "the word that ends a file");
        self.run(&format!("umask 077; cat >{file} <<'END-OF-FILE'\n{}\nEND-OF-FILE", text.trim_end()));
    }

    /// Runs lines of `ip`; not those of busybox, whose shell takes its own for any name without a path.
    pub(super) fn ip(&self, lines: &str) {
        self.run(&format!("/sbin/ip -batch - <<'END-OF-FILE'\n{lines}\nEND-OF-FILE"));
    }

    /// Starts `sluice` with these arguments, its output going to `NAME.stdout` and `NAME.stderr` in the folder.
    pub(crate) fn start(&self, name: &str, arguments: &[&str]) -> Program {
        let arguments = arguments.join(" ");
        self.run(&format!(
            "rm -f {name}.pid {name}.status\n\
             {{ sh -c 'echo $$ >{name}.pid; exec sluice {arguments}' >{name}.stdout 2>{name}.stderr\n\
             echo $? >{name}.status; }} </dev/null >/dev/null 2>&1 &"
        ));
        Program { guest: self.clone(), name: name.to_owned() }
    }
}

/// A program that was started there.
#[derive(Debug)]
pub(crate) struct Program {
    guest: Guest,
    name: String,
}

impl Program {
    /// How it ended, if it has.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        status_of(&self.file("status"))
    }

    /// Sends it a signal; false if that cannot be.
    pub(crate) fn signal(&self, signal: &str) -> bool {
        self.guest.try_run(&format!("kill -{signal} $(cat {}.pid)", self.name)).0.success()
    }

    /// One of its files: `stdout`, `stderr`; empty if it is not there.
    pub(crate) fn file(&self, kind: &str) -> String {
        self.guest.try_run(&format!("cat {}.{kind} 2>/dev/null", self.name)).1
    }
}

/// The status that a shell tells of: over 128 it stands for a signal.
fn status_of(text: &str) -> Option<ExitStatus> {
    let code: i32 = text.trim().parse().ok()?;
    Some(ExitStatus::from_raw(if code > 128 { code - 128 } else { code << 8 }))
}
