//! Unix sockets at a path.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::console::describe;

/// A socket that listens at a path. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file: what we may remove in the end.
    file: Option<(u64, u64)>,
}

impl BoundSocket {
    /// Listens at `path`. Replaces a socket on which no process listens any more.
    ///
    /// # Errors
    /// It cannot; the sentence says why, and what to do.
    pub fn bind(path: &Path) -> Result<BoundSocket, String> {
        Ok(BoundSocket {
            listener: bind(path)?,
            path: path.to_owned(),
            file: identity(path),
        })
    }

    /// Where clients connect.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // If it cannot be removed, the next listener finds that no process listens on it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn bind(path: &Path) -> Result<UnixListener, String> {
    match UnixListener::bind(path) {
        Ok(listener) => Ok(listener),
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = path
                .symlink_metadata()
                .is_ok_and(|m| m.file_type().is_socket());
            if !is_socket {
                return Err("there is something else at this path; choose another path".into());
            }
            match UnixStream::connect(path) {
                Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => {
                    return Err(
                        "another process listens on this socket; end it or choose another path"
                            .into(),
                    );
                }
            }
            std::fs::remove_file(path)
                .and_then(|()| UnixListener::bind(path))
                .map_err(|e| describe(path, &e))
        }
        // What std says of a path that does not fit into a socket address.
        Err(why) if why.kind() == io::ErrorKind::InvalidInput => {
            Err("the path is too long for a socket; choose one of at most 107 bytes".into())
        }
        Err(why) => Err(describe(path, &why)),
    }
}

/// Device and inode of what is at `path`.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
