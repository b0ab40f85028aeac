//! Where the admin socket is, and how it is bound there so that only its owner can use it.

use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, socket};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The places for the socket of the node called `name`, the best first.
#[must_use]
pub fn candidates(name: &str) -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("sluice"));
    let temporary = PathBuf::from(format!("/tmp/sluice-{}", geteuid()));
    let directories = [Some(PathBuf::from("/run/sluice")), runtime, Some(temporary)];
    directories.into_iter().flatten().map(|dir| dir.join(format!("{name}.sock"))).collect()
}

/// Binds the socket of the node called `name` in the first place that can be had.
///
/// # Errors
/// There is none, or another process answers there.
pub fn bind_default(name: &str) -> io::Result<(UnixListener, PathBuf)> {
    let mut last = io::Error::from(ErrorKind::NotFound);
    for path in candidates(name) {
        match path.parent().map_or(Ok(()), own_directory) {
            Ok(()) => return bind(&path).map(|listener| (listener, path)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Makes the directory, or sees that it is one where nobody else can put things.
fn own_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = path.symlink_metadata()?;
    let is_ours = metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0;
    if is_ours { Ok(()) } else { Err(ErrorKind::PermissionDenied.into()) }
}

/// Binds a socket that only its owner can use. One that a dead process left is taken away first.
///
/// # Errors
/// Another process answers there, something else than a socket is there, or the system does not allow it.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let error = match bind_private(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => error,
        done => return done,
    };
    if !path.symlink_metadata()?.file_type().is_socket() {
        return Err(error);
    }
    match connect(path) {
        Err(refused) if refused.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?;
            bind_private(path)
        }
        _ => Err(error),
    }
}

/// With the mode 0600 from the start: Linux gives the file the mode that the socket has (`net/unix/af_unix.c`, `unix_bind_bsd`).
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    socket::listen(&socket, Backlog::new(16)?)?;
    Ok(socket.into())
}

/// Connects without waiting: a server with a full queue is an error, not a client that hangs.
///
/// # Errors
/// What the system says: nobody is there (`ConnectionRefused`, `NotFound`), or too many are waiting (`WouldBlock`).
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("sluice-path-{name}-{}", std::process::id()))
    }

    #[test]
    fn only_dead_sockets_are_replaced() {
        let path = path("stale");
        let first = bind(&path).unwrap();
        assert_eq!(path.symlink_metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(first);
        drop(bind(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_directory_of_others_is_not_used() {
        let path = path("dir");
        own_directory(&path).unwrap();
        own_directory(&path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert_eq!(own_directory(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(own_directory(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(own_directory(Path::new("/proc/sluice")).is_err());
    }
}
