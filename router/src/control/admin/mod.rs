//! The admin socket: a Unix socket for this machine's operator. A client sends the line `stats` and gets one [`Report`] as JSON.
//!
//! It has its own threads, a bound on how many, and timeouts, so a client that hangs holds up nobody else. The data plane knows nothing of it: counters are
//! read where the workers keep them.

pub mod path;

use crate::stats::Stats;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is reported on: the node, the counters of its workers, and what its interfaces count.
pub struct Subject {
    /// The node's name.
    pub node: String,
    /// Its workers.
    pub workers: Vec<WorkerSubject>,
    /// Reads what is counted beside the workers: by the steering program, by the AF_XDP sockets, and where the frames are. Nothing on ordinary sockets.
    pub interfaces: Box<dyn Fn() -> Vec<(String, u64)> + Send + Sync>,
    /// When it started.
    pub start: Instant,
}

/// A worker, as far as it is reported on.
#[derive(Clone, Debug)]
pub struct WorkerSubject {
    /// "worker 0", or "kernel path".
    pub name: String,
    /// Its CPU, where it is pinned.
    pub cpu: Option<usize>,
    /// Its counters.
    pub stats: Arc<Stats>,
}

/// The counters of a node at one time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The node's name.
    pub node: String,
    /// sluice's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// For how long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// One for each worker.
    pub workers: Vec<WorkerReport>,
    /// What is counted beside them; a name that begins with `frames` is a gauge.
    pub interfaces: Vec<(String, u64)>,
}

/// The counters of a worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerReport {
    /// "worker 0", or "kernel path".
    pub name: String,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// Each counter by name, in the order of [`crate::stats::Totals::lines`].
    pub counters: Vec<(String, u64)>,
}

impl Subject {
    /// Reads the counters.
    #[must_use]
    pub fn report(&self) -> Report {
        let worker = |worker: &WorkerSubject| WorkerReport {
            name: worker.name.clone(),
            cpu: worker.cpu,
            counters: worker.stats.read().lines().collect(),
        };
        Report {
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: self.start.elapsed().as_millis() as u64,
            workers: self.workers.iter().map(worker).collect(),
            interfaces: (self.interfaces)(),
        }
    }
}

/// How long a client may take to send its line, and to take each part of the answer. A local client takes microseconds.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);
/// Most clients at once. Further ones are hung up on; a monitoring system needs one.
const CLIENTS_MAX: usize = 16;
/// Most bytes of a request: the longest is `stats` and its line end.
const REQUEST_BYTES_MAX: usize = 64;

/// The running server. Dropped, it ends, and its socket is gone.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers on `listener`, which is bound to `path`, from now on.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(listener: UnixListener, path: PathBuf, subject: Arc<Subject>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("sluice-admin".to_owned())
            .spawn(move || accept(&listener, &stopped, &subject))?;
        Ok(Self { path, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A connection wakes the thread. If there can be none, it is left to the end of the process.
        if path::connect(&self.path).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, stop: &AtomicBool, subject: &Arc<Subject>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else {
            // No descriptors left, most likely: that does not pass by trying at once.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if clients.load(Ordering::Relaxed) >= CLIENTS_MAX {
            continue;
        }
        clients.fetch_add(1, Ordering::Relaxed);
        let (subject, count) = (Arc::clone(subject), Arc::clone(&clients));
        let answering = thread::Builder::new().name("sluice-client".to_owned()).spawn(move || {
            // A client that hangs up or takes too long gets what it got.
            let _ = answer(client, &subject);
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if answering.is_err() {
            clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn answer(mut client: UnixStream, subject: &Subject) -> io::Result<()> {
    client.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut request = [0; REQUEST_BYTES_MAX];
    let mut len = 0;
    while len < request.len() && !request[..len].contains(&b'\n') {
        match client.read(&mut request[len..])? {
            0 => break,
            count => len += count,
        }
    }
    match request[..len].trim_ascii() {
        b"stats" => client.write_all(&serde_json::to_vec(&subject.report())?),
        _ => client.write_all(b"{\"error\":\"no such request\"}"),
    }
}

/// Asks the server at `path`.
///
/// # Errors
/// Nobody answers there, or not in time, or not as a sluice does.
pub fn ask(path: &Path) -> io::Result<Report> {
    let mut server = path::connect(path)?;
    server.set_read_timeout(Some(2 * CLIENT_TIMEOUT))?;
    server.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    server.write_all(b"stats\n")?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "it does not answer"),
        _ => error,
    })?;
    serde_json::from_slice(&answer)
        .map_err(|_| io::Error::other("what answers there is no sluice of this version"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Counter, Reason};

    fn subject() -> Arc<Subject> {
        let stats = [Stats::new(), Stats::new()];
        stats[0].add(Counter::Received, 3);
        stats[1].dropped(Reason::NotSip);
        let worker =
            |(i, stats)| WorkerSubject { name: format!("worker {i}"), cpu: Some(i), stats: Arc::new(stats) };
        let workers = stats.into_iter().enumerate().map(worker).collect();
        let interfaces = Box::new(|| vec![("frames".to_owned(), 8)]);
        Arc::new(Subject { node: "n".to_owned(), workers, interfaces, start: Instant::now() })
    }

    fn server(name: &str) -> Server {
        let path = std::env::temp_dir().join(format!("sluice-admin-{name}-{}.sock", std::process::id()));
        let listener = path::bind(&path).unwrap();
        Server::start(listener, path, subject()).unwrap()
    }

    #[test]
    fn a_report_crosses_the_socket() {
        let server = server("report");
        let path = server.path().to_owned();
        let report = ask(&path).unwrap();
        assert_eq!(report, Report { uptime_ms: report.uptime_ms, ..subject().report() });
        assert!(report.workers[0].counters.contains(&("received".to_owned(), 3)));
        assert!(report.workers[1].counters.contains(&("dropped{not_sip}".to_owned(), 1)));
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn clients_that_hang_hold_up_nobody() {
        let server = server("hang");
        let hanging: Vec<_> = (0..CLIENTS_MAX - 1).map(|_| path::connect(server.path()).unwrap()).collect();
        let begin = Instant::now();
        assert!(ask(server.path()).is_ok());
        assert!(begin.elapsed() < CLIENT_TIMEOUT / 2);
        drop(server);
        drop(hanging);
    }

    #[test]
    fn a_request_that_is_not_known_gets_an_error() {
        let server = server("unknown");
        let mut client = path::connect(server.path()).unwrap();
        client.write_all(&[b'x'; REQUEST_BYTES_MAX]).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "{\"error\":\"no such request\"}");
    }
}
