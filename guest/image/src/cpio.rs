//! Initial RAM file systems: cpio archives in the "newc" format the kernel unpacks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive being written. Everything belongs to root.
pub struct Archive<W: Write> {
    out: W,
    written: u64,
    inode: u32,
    directories: BTreeSet<String>,
}

impl Archive<BufWriter<File>> {
    /// Starts an archive in the file `path`. It has a `/dev/console` for the first process's
    /// standard streams.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut archive = Self::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
        archive.console()?;
        Ok(archive)
    }
}

impl<W: Write> Archive<W> {
    /// Starts an archive in `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            inode: 0,
            directories: BTreeSet::new(),
        }
    }

    /// Adds `/dev/console`, which the kernel opens as the standard streams of the first process.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn console(&mut self) -> io::Result<()> {
        self.parents("dev/console")?;
        self.entry("dev/console", CHARACTER_DEVICE | 0o600, (5, 1), &[])
    }

    /// Adds a file, and the directories above it that are missing. `path` is absolute.
    ///
    /// # Errors
    ///
    /// Those of `out`, and when it is too large for the format.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        self.parents(path)?;
        self.entry(path, REGULAR | mode, (0, 0), content)
    }

    /// Adds a copy of the host's file `from`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, and as [`Archive::file`].
    pub fn copy(&mut self, path: &str, from: &Path) -> io::Result<()> {
        let content = std::fs::read(from)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", from.display())))?;
        let executable = std::fs::metadata(from)?.permissions().mode() & 0o100 != 0;
        self.file(path, if executable { 0o755 } else { 0o644 }, &content)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        self.parents(path)?;
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds an empty directory.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        self.parents(path)?;
        if self.directories.insert(path.to_owned()) {
            self.entry(path, DIRECTORY | 0o755, (0, 0), &[])?;
        }
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            if self.directories.insert(parent.to_owned()) {
                self.entry(parent, DIRECTORY | 0o755, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{path} is too large for an initial RAM file system"),
            )
        })?;
        self.inode += 1;
        let name_size = path.len() + 1;
        // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor,
        // rdevminor, namesize, check: eight hexadecimal digits each.
        let fields = [
            self.inode,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name_size).unwrap_or(u32::MAX),
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.write(header.as_bytes())?;
        self.write(path.as_bytes())?;
        self.write(&[0])?;
        self.pad()?;
        self.write(content)?;
        self.pad()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = (4 - self.written % 4) % 4;
        self.write(&[0; 3][..missing as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_archive_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/etc/a", 0o644, b"hello").unwrap();
        archive.file("/etc/b", 0o755, b"").unwrap();
        archive.link("/c", "etc/a").unwrap();
        let bytes = archive.finish().unwrap();
        let names = entries(&bytes);
        assert_eq!(
            names,
            [
                ("etc".to_owned(), 0o040_755, vec![]),
                ("etc/a".to_owned(), 0o100_644, b"hello".to_vec()),
                ("etc/b".to_owned(), 0o100_755, vec![]),
                ("c".to_owned(), 0o120_777, b"etc/a".to_vec()),
            ]
        );
    }

    /// Reads an archive the way the kernel's unpacker does.
    fn entries(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        let whole = bytes.len();
        loop {
            let at = whole - bytes.len();
            assert_eq!(at % 4, 0);
            assert_eq!(&bytes[..6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            if name == "TRAILER!!!" {
                return found;
            }
            let content = (110 + name_size).next_multiple_of(4);
            found.push((name, mode, bytes[content..content + size].to_vec()));
            bytes = &bytes[(content + size).next_multiple_of(4)..];
        }
    }
}
