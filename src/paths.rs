//! Paths that the user gives for writing. In a directory to which everybody may write, such as /tmp, somebody else may
//! have put something at a path that leads elsewhere; Linux refuses to follow it if `fs.protected_symlinks` and its like
//! are set, for programs that leave it to Linux.

use std::ffi::OsString;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::process::geteuid;

/// As many as Linux follows.
const LINKS: u32 = 40;

/// The file to which `path` leads, without links; it need not exist, but its directory does.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if its directory does not exist; [`io::ErrorKind::PermissionDenied`], with a sentence, if
/// something on the way is another user's in a directory to which everybody may write.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut links = 0;
    let mut found = PathBuf::new();
    // What has yet to be followed, the next part last.
    let mut rest = parts(&std::path::absolute(path)?);
    while let Some(part) = rest.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => found = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                found.pop();
            }
            Some(Component::Normal(name)) => {
                let next = found.join(name);
                let metadata = match fs::symlink_metadata(&next) {
                    Ok(metadata) => metadata,
                    Err(why) if why.kind() == io::ErrorKind::NotFound && rest.is_empty() => {
                        return Ok(next);
                    }
                    Err(why) => return Err(why),
                };
                let directory = fs::metadata(&found)?;
                let is_last = rest.is_empty();
                if (is_last || metadata.is_symlink())
                    && !metadata.is_dir()
                    && !is_trusted(&directory, &metadata, geteuid().as_raw())
                {
                    return Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        format!(
                            "{} belongs to another user, in a directory to which everybody may write",
                            next.display()
                        ),
                    ));
                }
                if !metadata.is_symlink() {
                    found = next;
                    continue;
                }
                links += 1;
                if links > LINKS {
                    return Err(io::Error::other("there are too many symbolic links"));
                }
                rest.extend(parts(&fs::read_link(&next)?));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Writes a file, to which `path` may [lead](resolve).
///
/// # Errors
/// As those of [`resolve`], or it cannot be written.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(resolve(path)?)?;
    file.write_all(content.as_ref())
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().map(|part| part.as_os_str().to_owned());
    let mut parts: Vec<OsString> = parts.collect();
    parts.reverse();
    parts
}

/// Whether who has put an entry into `directory` had a right to: to any, unless it is sticky and everybody's.
fn is_trusted(directory: &Metadata, entry: &Metadata, user: u32) -> bool {
    let everybodys = libc::S_ISVTX | libc::S_IWOTH;
    directory.mode() & everybodys != everybodys
        || entry.uid() == user
        || entry.uid() == directory.uid()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;

    #[test]
    fn links_are_followed_also_to_what_does_not_exist() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/file"), "").unwrap();
        symlink("d/../d/file", at("link")).unwrap();
        symlink(at("d/new"), at("d/absolute")).unwrap();
        symlink("d", at("directory")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for (path, leads_to) in [
            ("d/file", "d/file"),
            ("link", "d/file"),
            ("directory/absolute", "d/new"),
            ("directory/../d/./other", "d/other"),
        ] {
            assert_eq!(resolve(&at(path)).unwrap(), root.join(leads_to), "{path}");
        }
        assert!(resolve(&at("loop")).is_err());
        let missing = resolve(&at("no/file")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_somebody_else_has_put_into_everybodys_directory_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("mine"), "").unwrap();
        symlink("mine", at("link")).unwrap();
        let entry = fs::symlink_metadata(at("link")).unwrap();
        let mine = entry.uid();
        let trusted = |mode: u32, user: u32| {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            is_trusted(&fs::metadata(directory.path()).unwrap(), &entry, user)
        };
        // The directory's owner may put there what he wants.
        assert!(trusted(0o1777, mine) && trusted(0o1777, mine + 1));
        if lchown(at("link"), Some(mine + 1), None).is_err() {
            println!("skipped: only root can give files away");
            return;
        }
        let entry = fs::symlink_metadata(at("link")).unwrap();
        let trusted = |mode: u32, user: u32| {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            is_trusted(&fs::metadata(directory.path()).unwrap(), &entry, user)
        };
        assert!(trusted(0o777, mine) && trusted(0o1775, mine) && trusted(0o1777, mine + 1));
        assert!(!trusted(0o1777, mine));
        let refused = resolve(&at("link")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(refused.to_string().contains("another user"), "{refused}");
        // The same of a file in which we would write.
        chown(at("mine"), Some(mine + 1), None).unwrap();
        assert!(resolve(&at("mine")).is_err());
        assert!(write(&at("link"), "x").is_err() && write(&at("mine"), "x").is_err());
        assert_eq!(fs::read_to_string(at("mine")).unwrap(), "");
    }
}
