//! Finds the files below a directory that changed, and sends and receives them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use crate::link::{Attributes, CHUNK, Message};

/// The state of every file below a directory, to find later what changed.
#[derive(Debug)]
pub struct Snapshot {
    root: PathBuf,
    entries: BTreeMap<PathBuf, State>,
}

/// Changes whenever the file does, most of all by the time of its inode's last change.
#[derive(Debug, PartialEq, Eq)]
struct State {
    inode: u64,
    mode: u32,
    size: u64,
    changed: (i64, i64),
    directory: bool,
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        let directory = metadata.is_dir();
        Self {
            inode: metadata.ino(),
            mode: metadata.mode(),
            // Of a directory only the attributes count: its entries are compared themselves.
            size: if directory { 0 } else { metadata.size() },
            changed: if directory {
                (0, 0)
            } else {
                (metadata.ctime(), metadata.ctime_nsec())
            },
            directory,
        }
    }
}

impl Snapshot {
    /// Looks at everything below `root`.
    ///
    /// # Errors
    ///
    /// When a directory cannot be read.
    pub fn take(root: &Path) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        visit(root, Path::new(""), &mut |path, metadata| {
            entries.insert(path.to_owned(), State::of(metadata));
            Ok(())
        })?;
        Ok(Self {
            root: root.to_owned(),
            entries,
        })
    }

    /// Sends what has changed since then, as messages from [`Message::Removed`] to [`Message::Data`].
    ///
    /// # Errors
    ///
    /// When something cannot be read, and those of `send`.
    pub fn send_changes(&self, mut send: impl FnMut(Message) -> io::Result<()>) -> io::Result<()> {
        let now = Self::take(&self.root)?;
        for (path, before) in self.entries.iter().rev() {
            let replaced = now
                .entries
                .get(path)
                .is_none_or(|state| state.directory != before.directory);
            if replaced {
                send(Message::Removed(bytes(path)))?;
            }
        }
        for (path, state) in &now.entries {
            if self.entries.get(path) != Some(state) {
                send_entry(&self.root, path, &mut send)?;
            }
        }
        Ok(())
    }
}

/// Calls `see` for every entry below `root`, a directory before what is in it.
fn visit(
    root: &Path,
    below: &Path,
    see: &mut impl FnMut(&Path, &Metadata) -> io::Result<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let path = below.join(entry?.file_name());
        let metadata = fs::symlink_metadata(root.join(&path))?;
        see(&path, &metadata)?;
        if metadata.is_dir() {
            visit(root, &path, see)?;
        }
    }
    Ok(())
}

fn send_entry(
    root: &Path,
    path: &Path,
    send: &mut impl FnMut(Message) -> io::Result<()>,
) -> io::Result<()> {
    let full = root.join(path);
    let metadata = fs::symlink_metadata(&full)?;
    let attributes = Attributes {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        seconds: metadata.mtime(),
        nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
    };
    let kind = metadata.file_type();
    if kind.is_dir() {
        send(Message::Directory(bytes(path), attributes))
    } else if kind.is_symlink() {
        let target = fs::read_link(&full)?;
        send(Message::Symlink(bytes(path), bytes(&target)))
    } else if kind.is_file() {
        send(Message::File(bytes(path), attributes, metadata.len()))?;
        send_data(&File::open(&full)?, metadata.len(), send)
    } else {
        // Sockets, pipes and devices have no use on another machine.
        Ok(())
    }
}

fn send_data(
    file: &File,
    size: u64,
    send: &mut impl FnMut(Message) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < size {
        // A file system that cannot tell data from holes has data everywhere.
        match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(data) => offset = data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => {}
        }
        let count = file.read_at(&mut buffer, offset)?;
        if count == 0 {
            break;
        }
        if buffer[..count].iter().any(|&byte| byte != 0) {
            send(Message::Data(offset, buffer[..count].to_vec()))?;
        }
        offset += count as u64;
    }
    Ok(())
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// The receiving side: makes the changes in a directory that the messages describe.
#[derive(Debug)]
pub struct Receiver {
    root: PathBuf,
    file: Option<Unfinished>,
}

/// A file whose data is arriving, under a temporary name.
#[derive(Debug)]
struct Unfinished {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    attributes: Attributes,
}

impl Receiver {
    /// Changes will be made below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            file: None,
        }
    }

    /// Makes the change that `message` describes. Returns whether it was a message about files.
    ///
    /// # Errors
    ///
    /// When the change cannot be made, or when it would be outside the directory.
    pub fn receive(&mut self, message: &Message) -> io::Result<bool> {
        if let Message::Data(offset, data) = message {
            let unfinished = self
                .file
                .as_ref()
                .ok_or_else(|| io::Error::other("data without a file"))?;
            unfinished.file.write_all_at(data, *offset)?;
            return Ok(true);
        }
        self.finish_file()?;
        match message {
            Message::Removed(path) => {
                let path = self.inside(path)?;
                remove(&path)?;
            }
            Message::Directory(path, attributes) => {
                let path = self.inside(path)?;
                if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                    remove(&path)?;
                    fs::create_dir(&path)?;
                }
                set_attributes(&path, attributes)?;
            }
            Message::Symlink(path, target) => {
                let path = self.inside(path)?;
                remove(&path)?;
                symlink(OsStr::from_bytes(target), &path)?;
            }
            Message::File(path, attributes, size) => {
                let path = self.inside(path)?;
                let mut name = OsStr::new(".lab-").to_owned();
                name.push(path.file_name().unwrap_or_default());
                let temporary = path.with_file_name(name);
                remove(&temporary)?;
                let file = File::create_new(&temporary)?;
                file.set_len(*size)?;
                self.file = Some(Unfinished {
                    file,
                    temporary,
                    path,
                    attributes: *attributes,
                });
            }
            Message::Collected => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish_file(&mut self) -> io::Result<()> {
        let Some(unfinished) = self.file.take() else {
            return Ok(());
        };
        set_attributes(&unfinished.temporary, &unfinished.attributes)?;
        let time = |seconds, nanoseconds: u32| rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.into(),
        };
        let modified = time(
            unfinished.attributes.seconds,
            unfinished.attributes.nanoseconds,
        );
        rustix::fs::futimens(
            &unfinished.file,
            &rustix::fs::Timestamps {
                last_access: modified,
                last_modification: modified,
            },
        )?;
        fs::rename(&unfinished.temporary, &unfinished.path)
    }

    /// The path below our directory; an error if it leads out of it, by name or through a
    /// symbolic link.
    fn inside(&self, path: &[u8]) -> io::Result<PathBuf> {
        let path = Path::new(OsStr::from_bytes(path));
        let mut full = self.root.clone();
        let mut components = path.components().peekable();
        if components.peek().is_none() {
            return Err(outside(path));
        }
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else {
                return Err(outside(path));
            };
            full.push(name);
            if components.peek().is_some() && fs::symlink_metadata(&full)?.is_symlink() {
                return Err(outside(path));
            }
        }
        Ok(full)
    }
}

fn outside(path: &Path) -> io::Error {
    io::Error::other(format!(
        "{}: this path leads out of the shared directory",
        path.display()
    ))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn set_attributes(path: &Path, attributes: &Attributes) -> io::Result<()> {
    // Only root can change the owner; for others, files that come back are their own.
    if rustix::process::geteuid().is_root() {
        chown(path, Some(attributes.uid), Some(attributes.gid))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(attributes.mode))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Seek, SeekFrom, Write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::{Receiver, Snapshot};
    use crate::link::{Attributes, Message};

    fn carry_over(snapshot: &Snapshot, to: &Path) -> Vec<Message> {
        let mut receiver = Receiver::new(to);
        let mut sent = Vec::new();
        snapshot
            .send_changes(|message| {
                assert!(receiver.receive(&message)?);
                sent.push(message);
                Ok(())
            })
            .unwrap();
        assert!(receiver.receive(&Message::Collected).unwrap());
        sent
    }

    #[test]
    fn changes_travel_and_the_rest_stays() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (here.path(), there.path());
        for root in [a, b] {
            fs::write(root.join("same"), "same").unwrap();
            fs::write(root.join("gone"), "gone").unwrap();
            fs::create_dir_all(root.join("olddir/deep")).unwrap();
            fs::write(root.join("olddir/deep/file"), "x").unwrap();
            fs::write(root.join("turns"), "a file").unwrap();
        }
        let snapshot = Snapshot::take(a).unwrap();
        fs::remove_file(a.join("gone")).unwrap();
        fs::remove_dir_all(a.join("olddir")).unwrap();
        fs::remove_file(a.join("turns")).unwrap();
        fs::create_dir(a.join("turns")).unwrap();
        fs::write(a.join("turns/inner"), "inner").unwrap();
        fs::set_permissions(a.join("turns/inner"), fs::Permissions::from_mode(0o751)).unwrap();
        symlink("turns/inner", a.join("link")).unwrap();
        let mut sparse = fs::File::create(a.join("sparse")).unwrap();
        sparse.seek(SeekFrom::Start(64 << 20)).unwrap();
        sparse.write_all(b"end").unwrap();
        drop(sparse);

        let sent = carry_over(&snapshot, b);
        assert!(
            !sent
                .iter()
                .any(|m| matches!(m, Message::File(path, ..) if path == b"same"))
        );
        assert!(!b.join("gone").exists());
        assert!(!b.join("olddir").exists());
        assert_eq!(fs::read(b.join("same")).unwrap(), b"same");
        assert_eq!(fs::read(b.join("link")).unwrap(), b"inner");
        let inner = fs::metadata(b.join("turns/inner")).unwrap();
        assert_eq!(inner.permissions().mode() & 0o777, 0o751);
        let original = fs::metadata(a.join("turns/inner")).unwrap();
        assert_eq!(inner.mtime_nsec(), original.mtime_nsec());
        let sparse = fs::read(b.join("sparse")).unwrap();
        assert_eq!(sparse.len(), (64 << 20) + 3);
        assert!(sparse.ends_with(b"\0end"));
        assert!(fs::metadata(b.join("sparse")).unwrap().blocks() < 4096);
    }

    #[test]
    fn no_path_leads_out_of_the_directory() {
        let (outer, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outer.path(), root.path().join("out")).unwrap();
        let mut receiver = Receiver::new(root.path());
        for path in ["../x", "/x", "a/../../x", "out/x", "", "."] {
            let message = Message::File(path.into(), Attributes::default(), 0);
            assert!(receiver.receive(&message).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);
    }
}
