//! The socket as a file: made for its own user alone, and removed by whoever made it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::net::{bind, connect, listen, socket_with};

/// A socket file of this process. Dropped, the file is removed, unless another one is in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("another instance listens at {}", .0.display())]
    InUse(PathBuf),
    #[error("{} is there already, and no socket", .0.display())]
    NotASocket(PathBuf),
    #[error("cannot listen at {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl BindError {
    /// What an operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            BindError::InUse(_) => {
                "end the other instance, or give the deployments different names or `[admin] socket`s"
            }
            BindError::NotASocket(_) => "remove it, or name another path: `[admin] socket`",
            BindError::Io { .. } => {
                "`[admin] socket`: a path in a directory that walferry may write to, or \"off\""
            }
        }
    }
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

impl SocketFile {
    /// Makes the file and listens.
    pub(super) fn listen(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
        let failed = |error: Errno| io_error(path, error.into());
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let socket = stream_socket().map_err(failed)?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address)?;
                bind(&socket, &address).map_err(failed)?;
            }
            outcome => outcome.map_err(failed)?,
        }
        let file = SocketFile::restricted(path).map_err(|error| io_error(path, error))?;
        // Nobody can connect before this, so that nobody meets other permissions.
        listen(&socket, BACKLOG).map_err(failed)?;
        Ok((UnixListener::from(socket), file))
    }

    fn restricted(path: &Path) -> io::Result<SocketFile> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let identity = identity(path)?;
        Ok(SocketFile { path: path.to_owned(), identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Left behind, it is stale, and the next instance replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Removes the socket of a process that is gone.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| io_error(path, error))?;
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    let probe = stream_socket().map_err(|error| io_error(path, error.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(|error| io_error(path, error)),
        Err(Errno::NOENT) => Ok(()),
        // One that does not wait fails so where the queue of connections is full.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse(path.to_owned())),
        Err(error) => Err(io_error(path, error.into())),
    }
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn io_error(path: &Path, source: io::Error) -> BindError {
    BindError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::admin::fixture::Directory;

    #[test]
    fn it_is_for_its_own_user_and_removed_in_the_end() {
        let directory = Directory::new();
        let path = directory.file("s.sock");
        let (listener, file) = SocketFile::listen(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{mode:o}");
        UnixStream::connect(&path).unwrap();
        drop(listener);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn that_of_a_dead_process_is_replaced_and_that_of_a_living_one_is_not() {
        let directory = Directory::new();
        let path = directory.file("s.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "it is left behind");
        let (_listener, _file) = SocketFile::listen(&path).unwrap();
        let error = SocketFile::listen(&path).unwrap_err();
        assert!(matches!(error, BindError::InUse(_)), "{error}");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_living_one_with_a_full_queue_is_alive() {
        let directory = Directory::new();
        let path = directory.file("s.sock");
        let (_listener, _file) = SocketFile::listen(&path).unwrap();
        let address = SocketAddrUnix::new(&path).unwrap();
        let mut waiting = Vec::new();
        loop {
            let client = stream_socket().unwrap();
            match connect(&client, &address) {
                Ok(()) => waiting.push(client),
                Err(error) => {
                    assert_eq!(error, Errno::AGAIN);
                    break;
                }
            }
        }
        assert!(matches!(SocketFile::listen(&path), Err(BindError::InUse(_))));
    }

    #[test]
    fn nothing_else_is_ever_removed() {
        let directory = Directory::new();
        let (path, target) = (directory.file("s.sock"), directory.file("precious"));
        fs::write(&target, "x").unwrap();
        fs::write(&path, "x").unwrap();
        assert!(matches!(SocketFile::listen(&path), Err(BindError::NotASocket(_))));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(SocketFile::listen(&path), Err(BindError::NotASocket(_))));
        fs::remove_file(&path).unwrap();
        let (_listener, file) = SocketFile::listen(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (_other_listener, _other_file) = SocketFile::listen(&path).unwrap();
        drop(file);
        assert!(path.exists(), "that of another instance");
        assert_eq!(fs::read(&target).unwrap(), b"x");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let directory = Directory::new();
        let error = SocketFile::listen(&directory.file("none/s.sock")).unwrap_err();
        assert!(matches!(error, BindError::Io { .. }), "{error}");
        assert!(error.remedy().contains("[admin] socket"));
    }
}
