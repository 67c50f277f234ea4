//! Kernel modules, unpacked, in the order in which to load them.
//!
//! The modules themselves name those that they need. `modules.dep` is not used: depmod makes it when a
//! kernel is installed, and an unpacked package has none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most bytes of a module, unpacked: several times those of the largest.
const LARGEST: u64 = 64 << 20;

/// The most bytes of all modules together.
const ALL: u64 = 512 << 20;

/// Why modules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a directory cannot be read.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// Which.
        path: String,
        /// The system's error.
        cause: io::Error,
    },
    /// A module cannot be decompressed.
    #[error("cannot unpack {path}: {cause}")]
    Packed {
        /// Which.
        path: String,
        /// The decompressor's error.
        cause: String,
    },
    /// There is nothing to load.
    #[error(
        "there are no kernel modules in {0}: a directory such as /lib/modules/VERSION is wanted, or one with .ko files"
    )]
    None(String),
    /// It is no module.
    #[error(
        "{0} is no kernel module: name a file NAME.ko, which may be compressed (.xz, .gz, .zst)"
    )]
    NotOne(String),
    /// The modules belong to another kernel.
    #[error("the modules in {path} are of Linux {theirs}, and the kernel is {kernel}")]
    OfAnother {
        /// The directory.
        path: String,
        /// The version that they were built for.
        theirs: String,
        /// The kernel's.
        kernel: String,
    },
}

/// A module, uncompressed.
pub struct Module {
    /// Its name as the kernel spells it: with underscores.
    pub name: String,
    /// The bytes to load.
    pub content: Vec<u8>,
}

impl Module {
    /// The kernel it was built for, as `uname -r` prints it.
    #[must_use]
    pub fn release(&self) -> Option<String> {
        let value = information(&self.content, "vermagic")?;
        Some(value.split(' ').next().unwrap_or_default().to_owned())
    }
}

/// A directory with modules.
pub struct Directory {
    path: PathBuf,
    files: BTreeMap<String, PathBuf>,
    /// Whether it is the directory of a kernel and not a collection of files.
    of_kernel: bool,
    /// The names of modules that were put into it, which are wanted in any case.
    added: Vec<String>,
}

impl Directory {
    /// Looks for modules, compressed or not, in `path` and below.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or has none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        let of_kernel = path.join("kernel").is_dir();
        find_modules(path, &mut files)?;
        if files.is_empty() {
            return Err(Error::None(path.display().to_string()));
        }
        Ok(Self {
            path: path.to_owned(),
            files,
            of_kernel,
            added: Vec::new(),
        })
    }

    /// A collection without any module.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            path: PathBuf::new(),
            files: BTreeMap::new(),
            of_kernel: false,
            added: Vec::new(),
        }
    }

    /// Puts the module in `file` into it, instead of the one of the same name if there is one.
    ///
    /// # Errors
    ///
    /// When the file's name is not one of a module.
    pub fn put(&mut self, file: &Path) -> Result<(), Error> {
        let name = module_name(file).ok_or_else(|| Error::NotOne(file.display().to_string()))?;
        self.files.insert(name.clone(), file.to_owned());
        self.added.push(name);
        Ok(())
    }

    /// The modules to load, each after those that it depends on: `wanted` from a kernel's directory, and all
    /// from a collection.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn wanted(&self, wanted: &[&str]) -> Result<Vec<Module>, Error> {
        if self.of_kernel {
            let added = self.added.iter().map(String::as_str);
            let wanted: Vec<&str> = wanted.iter().copied().chain(added).collect();
            return self.closure(&wanted);
        }
        let all: Vec<&str> = self.files.keys().map(String::as_str).collect();
        self.closure(&all)
    }

    /// The modules `names` and those that they depend on, each after those that it depends on. A name without
    /// a module is taken for a driver that is built in.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn closure(&self, names: &[&str]) -> Result<Vec<Module>, Error> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        let mut room = ALL;
        for name in names {
            self.add_after_dependencies(&canonical(name), &mut seen, &mut order, &mut room)?;
        }
        Ok(order)
    }

    fn add_after_dependencies(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
        room: &mut u64,
    ) -> Result<(), Error> {
        let Some(path) = self.files.get(name) else {
            return Ok(());
        };
        if !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let content = read(path, LARGEST)?;
        *room = room
            .checked_sub(content.len() as u64)
            .ok_or_else(|| Error::Packed {
                path: path.display().to_string(),
                cause: format!("with it, the modules are larger than {} MiB", ALL >> 20),
            })?;
        for dependency in dependencies(&content) {
            self.add_after_dependencies(&dependency, seen, order, room)?;
        }
        order.push(Module {
            name: name.to_owned(),
            content,
        });
        Ok(())
    }

    /// Fails if `modules`, which come from here, were built for another kernel than `release`, which would
    /// refuse them.
    ///
    /// # Errors
    ///
    /// When they were.
    pub fn fits(&self, modules: &[Module], release: &str) -> Result<(), Error> {
        match modules.iter().find_map(Module::release) {
            Some(theirs) if theirs != release => Err(Error::OfAnother {
                path: self.path.display().to_string(),
                theirs,
                kernel: release.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// The module's name as the kernel spells it: with underscores.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// Collects the modules below `dir` by name.
fn find_modules(dir: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<(), Error> {
    let unreadable = |cause| Error::Unreadable {
        path: dir.display().to_string(),
        cause,
    };
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        // Links are not followed: `build` and `source` lead to whole source trees.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_modules(&path, found)?;
        } else if let Some(name) = module_name(&path) {
            found.insert(name, path);
        }
    }
    Ok(())
}

/// The name of the module in `file`, if that is named as one.
fn module_name(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    match name.split_once(".ko")? {
        ("", _) => None,
        (name, "" | ".xz" | ".gz" | ".zst") => Some(canonical(name)),
        _ => None,
    }
}

/// The module in `path`, unpacked, if it has no more than `most` bytes.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let unreadable = |cause| Error::Unreadable {
        path: path.display().to_string(),
        cause,
    };
    let packed = |cause: String| Error::Packed {
        path: path.display().to_string(),
        cause,
    };
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut content))
        .map_err(unreadable)?;
    if content.len() as u64 > most {
        return Err(packed(too_large(most)));
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    let packed_content = content.as_slice();
    let plain = match extension {
        Some("xz") => unpack(lzma_rust2::XzReader::new(packed_content, true), most),
        Some("gz") => unpack(flate2::read::MultiGzDecoder::new(packed_content), most),
        Some("zst") => match ruzstd::decoding::StreamingDecoder::new(packed_content) {
            Ok(decoder) => unpack(decoder, most),
            Err(error) => Err(error.to_string()),
        },
        _ => return Ok(content),
    };
    plain.map_err(packed)
}

/// All that `decoder` gives, unless that is more than `most` bytes.
fn unpack(decoder: impl Read, most: u64) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    decoder
        .take(most + 1)
        .read_to_end(&mut plain)
        .map_err(|error| error.to_string())?;
    if plain.len() as u64 > most {
        return Err(too_large(most));
    }
    Ok(plain)
}

fn too_large(most: u64) -> String {
    format!("it is larger than {} MiB, and no module is", most >> 20)
}

/// The names in the `depends=` entry of a module's information section.
fn dependencies(module: &[u8]) -> Vec<String> {
    information(module, "depends")
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(canonical)
        .collect()
}

/// An entry of a module's information section.
fn information(module: &[u8], key: &str) -> Option<String> {
    let key = format!("\0{key}=");
    let at = module
        .windows(key.len())
        .position(|window| window == key.as_bytes())?;
    let value = &module[at + key.len()..];
    let end = value.iter().position(|&b| b == 0).unwrap_or(value.len());
    Some(String::from_utf8_lossy(&value[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use super::{Directory, dependencies, read};

    fn module(depends: &str) -> Vec<u8> {
        format!("\x7fELF..\0depends={depends}\0vermagic=6.1.0 SMP\0").into_bytes()
    }

    fn names(directory: &Path, wanted: &[&str]) -> Vec<String> {
        let modules = Directory::open(directory).unwrap().wanted(wanted).unwrap();
        modules.into_iter().map(|module| module.name).collect()
    }

    #[test]
    fn a_module_names_what_it_depends_on() {
        let module = b"\x7fELF..\0license=GPL\0depends=net-failover,virtio\0name=x\0";
        assert_eq!(dependencies(module), ["net_failover", "virtio"]);
        assert!(dependencies(b"license=GPL\0depends=\0").is_empty());
    }

    #[test]
    fn of_a_kernels_directory_what_is_wanted_and_of_a_collection_all() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = directory.path().join("kernel/drivers");
        fs::create_dir_all(&kernel).unwrap();
        for dir in [directory.path(), &kernel] {
            fs::write(dir.join("virtio-net.ko"), module("failover,virtio")).unwrap();
        }
        fs::write(kernel.join("failover.ko"), module("")).unwrap();
        fs::write(kernel.join("other.ko"), module("")).unwrap();
        fs::write(kernel.join("notes.txt"), "no module").unwrap();
        let wanted = ["virtio_net", "virtio_blk"];
        assert_eq!(names(directory.path(), &wanted), ["failover", "virtio_net"]);
        assert_eq!(names(&kernel, &wanted), ["failover", "other", "virtio_net"]);
    }

    #[test]
    fn a_module_that_is_put_in_replaces_the_one_of_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = directory.path().join("kernel");
        fs::create_dir_all(&kernel).unwrap();
        fs::write(kernel.join("virtio_net.ko.xz"), "not read").unwrap();
        fs::write(kernel.join("failover.ko"), module("")).unwrap();
        let own = directory.path().join("own");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("virtio-net.ko"), module("failover")).unwrap();
        fs::write(own.join("helper.ko"), module("")).unwrap();
        let order = |open: &Directory| -> Vec<String> {
            let modules = open.wanted(&["virtio_net"]).unwrap();
            modules.into_iter().map(|module| module.name).collect()
        };
        let mut open = Directory::open(directory.path().join("kernel").parent().unwrap()).unwrap();
        open.put(&own.join("virtio-net.ko")).unwrap();
        open.put(&own.join("helper.ko")).unwrap();
        assert_eq!(order(&open), ["failover", "virtio_net", "helper"]);

        let mut alone = Directory::empty();
        alone.put(&own.join("helper.ko")).unwrap();
        assert_eq!(order(&alone), ["helper"]);
        for name in ["helper.o", ".ko", "helper.ko.lz4", "helper"] {
            let error = alone.put(&own.join(name)).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn modules_are_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let plain = module("");
        let write = |name: &str, content: &[u8]| {
            fs::write(directory.path().join(name), content).unwrap();
        };
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        write("a.ko.gz", &gz.finish().unwrap());
        write("b.ko.xz", &xz(&plain));
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        write(
            "c.ko.zst",
            &ruzstd::encoding::compress_to_vec(plain.as_slice(), level),
        );
        write("d.ko", &plain);
        let open = Directory::open(directory.path()).unwrap();
        let modules = open.wanted(&[]).unwrap();
        assert_eq!(modules.len(), 4);
        for module in &modules {
            assert!(module.content == plain, "{}", module.name);
        }
        assert!(open.fits(&modules, "6.1.0").is_ok());
        let error = open.fits(&modules, "6.12.1").unwrap_err().to_string();
        assert!(
            error.contains("6.1.0") && error.contains("6.12.1"),
            "{error}"
        );

        write("e.ko.xz", b"not packed at all");
        let error = open_error(directory.path());
        assert!(error.contains("e.ko.xz"), "{error}");
    }

    fn open_error(directory: &Path) -> String {
        match Directory::open(directory).and_then(|open| open.wanted(&[])) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    fn xz(plain: &[u8]) -> Vec<u8> {
        let options = lzma_rust2::XzOptions::with_preset(0);
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    /// A file that is much smaller than what is in it.
    #[test]
    fn a_module_that_is_too_large_is_not_unpacked_to_its_end() {
        const MOST: u64 = 2 << 20;
        let large = vec![0; MOST as usize + 1];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&large).unwrap();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zst = ruzstd::encoding::compress_to_vec(large.as_slice(), level);
        let directory = tempfile::tempdir().unwrap();
        for (name, packed) in [
            ("a.ko.gz", gz.finish().unwrap()),
            ("a.ko.xz", xz(&large)),
            ("a.ko.zst", zst),
            ("a.ko", large.clone()),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, packed).unwrap();
            let error = read(&path, MOST).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains("larger than 2 MiB"),
                "{error}"
            );
            assert!(
                read(&path, MOST + 1).is_ok_and(|content| content == large),
                "{name}"
            );
        }
    }

    #[test]
    fn a_directory_without_modules_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(open_error(directory.path()).contains("no kernel modules"));
        assert!(open_error(&directory.path().join("none")).contains("cannot read"));
    }
}
