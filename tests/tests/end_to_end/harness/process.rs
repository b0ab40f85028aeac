//! Child processes that never outlive their test: whatever happens, dropping the guard stops, kills and
//! reaps; and when the tests themselves are killed, the kernel kills the children of their threads. And nodes in an
//! emulated machine, which are handled in the same way.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::site::Program;

/// How often a waiting loop looks again.
const POLL: Duration = Duration::from_millis(10);

/// How long something that must come may take. On an emulated machine the kernel reads the steering program for many seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a process that is not needed any more may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// A process with its output in files.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    run: Run,
}

/// Where it runs.
#[derive(Debug)]
enum Run {
    /// Here, as a child.
    Here { child: Child, stdout: PathBuf, stderr: PathBuf },
    /// In the emulated machine.
    There(Program),
}

impl Process {
    /// Starts `command`, its output going to `NAME.stdout` and `NAME.stderr` in `folder`.
    pub(crate) fn start(name: &str, folder: &Path, command: &Command) -> Self {
        let stdout = folder.join(format!("{name}.stdout"));
        let stderr = folder.join(format!("{name}.stderr"));
        let create = |path: &Path| File::create(path).expect("a file in the scratch folder");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: setpriv (Debian: util-linux) does not start: {error}"));
        Self { name: name.to_owned(), run: Run::Here { child, stdout, stderr } }
    }

    /// One that was started in the emulated machine.
    pub(crate) fn there(name: &str, program: Program) -> Self {
        Self { name: name.to_owned(), run: Run::There(program) }
    }

    /// Asks the process to stop (SIGTERM).
    pub(crate) fn terminate(&self) {
        assert!(self.try_terminate(), "{}: SIGTERM could not be sent: {}", self.name, self.evidence());
    }

    /// Kills the process (SIGKILL) and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        match &mut self.run {
            Run::Here { child, .. } => child.kill().expect("the child is ours to kill"),
            Run::There(program) => assert!(program.signal("KILL"), "{} can be killed", self.name),
        }
        self.wait(PATIENCE);
    }

    /// The shell sends the signal, for `std` cannot. The child is not reaped yet, so its number is still
    /// its own.
    fn try_terminate(&self) -> bool {
        match &self.run {
            Run::Here { child, .. } => {
                let kill = format!("kill -TERM {}", child.id());
                Command::new("sh").args(["-c", &kill]).status().is_ok_and(|status| status.success())
            }
            Run::There(program) => program.signal("TERM"),
        }
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        match &mut self.run {
            Run::Here { child, .. } => child.try_wait().expect("the child is ours to wait for"),
            Run::There(program) => program.status(),
        }
    }

    /// Waits until the process ends by itself.
    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        let mut ended = None;
        let in_time = poll_until(patience, || {
            ended = self.ended();
            ended.is_some()
        });
        assert!(in_time, "{} runs for more than {patience:?}: {}", self.name, self.evidence());
        ended.expect("the loop ended with a status")
    }

    /// Waits until `condition` of the running process holds; its early end is a failure.
    pub(crate) fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let in_time = poll_until(PATIENCE, || {
            let ended = self.ended();
            condition(self) || ended.is_some_and(|status| self.ended_early(what, status))
        });
        assert!(in_time, "{}: not {what} in time: {}", self.name, self.evidence());
    }

    fn ended_early(&self, what: &str, status: ExitStatus) -> bool {
        panic!("{} ended before it was {what} ({status}): {}", self.name, self.evidence());
    }

    /// What it wrote to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        match &self.run {
            Run::Here { stdout, .. } => fs::read_to_string(stdout).unwrap_or_default(),
            Run::There(program) => program.file("stdout"),
        }
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        match &self.run {
            Run::Here { stderr, .. } => fs::read_to_string(stderr).unwrap_or_default(),
            Run::There(program) => program.file("stderr"),
        }
    }

    /// The end of its output, for the message of a failed assertion.
    pub(crate) fn evidence(&self) -> String {
        format!("\nstdout: {}\nstderr: {}", tail(&self.stdout()), tail(&self.stderr()))
    }
}

impl Drop for Process {
    /// A test that fails leaves the process running: it may still say what it knows (a node its
    /// counters), then it must go.
    fn drop(&mut self) {
        if self.ended().is_none() && self.try_terminate() {
            poll_until(FAREWELL, || self.ended().is_some());
        }
        // These fail only when the process has ended and was reaped, which is what is wanted.
        match &mut self.run {
            Run::Here { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Run::There(program) if program.status().is_none() => drop(program.signal("KILL")),
            Run::There(_) => {}
        }
    }
}

/// Tries `condition` again and again; false when it did not hold within `patience`.
pub(crate) fn poll_until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// The last lines of an output.
pub(crate) fn tail(text: &str) -> String {
    const LINES: usize = 30;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
