//! Debian's stock cloud kernels.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use stickler_guest_image::cpio::Archive;
use stickler_guest_image::modules::{Directory, Module};

use crate::debian::{Suite, cached};
use crate::workspace::Workspace;

/// A kernel as Debian ships it, unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Its version, as `uname -r` prints it.
    pub(crate) release: String,
    /// The bzImage.
    pub(crate) image: PathBuf,
    /// The directory with `modules.dep` and the modules.
    modules: PathBuf,
}

impl Kernel {
    /// The kernel that `name` stands for: the cloud kernel of a suite, or that of a package.
    pub(crate) fn named(name: &str, workspace: &Workspace) -> Result<Self> {
        match name.starts_with(PACKAGE) {
            true => Self::of_package(name, workspace),
            false => Self::of_suite(name, workspace),
        }
    }

    /// The cloud kernel of a suite, which is downloaded the first time.
    pub(crate) fn of_suite(suite: &str, workspace: &Workspace) -> Result<Self> {
        let dir = workspace.cache().join("kernels").join(suite);
        cached(&dir, |dir| {
            let archive = Suite::open(suite, &workspace.cache().join("apt"))?;
            // A metapackage depends on the package of one version; since 7.x that is a metapackage, too,
            // and image and modules are packages of their own.
            archive.unpack(
                &parts(archive.dependencies("linux-image-cloud-amd64")?),
                dir,
            )?;
            Self::unpacked(dir)?;
            Ok(())
        })
        .with_context(|| format!("cannot get the cloud kernel of Debian's {suite}"))?;
        Self::unpacked(&dir)
    }

    /// The kernel in the package `package`, such as `linux-image-6.12.107+deb13-cloud-amd64`, which is
    /// downloaded the first time.
    fn of_package(package: &str, workspace: &Workspace) -> Result<Self> {
        let dir = workspace.cache().join("kernels").join(package);
        let release = release_of(package);
        cached(&dir, |dir| {
            let apt = workspace.cache().join("apt");
            let archive = match release {
                Some((base, backports)) => Suite::open_release(base, backports, &apt)?,
                None => Suite::open("sid", &apt)?,
            };
            archive.unpack(&parts(archive.dependencies(package)?), dir)?;
            Self::unpacked(dir)?;
            Ok(())
        })
        .with_context(|| {
            format!(
                "cannot get {package} from Debian's {}, which may have it no more",
                release.map_or("sid", |(base, _)| base)
            )
        })?;
        Self::unpacked(&dir)
    }

    /// Finds the kernel among the files of its packages, whose paths differ between suites.
    fn unpacked(dir: &Path) -> Result<Self> {
        for modules_dir in ["usr/lib/modules", "lib/modules"] {
            let Ok(entries) = fs::read_dir(dir.join(modules_dir)) else {
                continue;
            };
            for entry in entries {
                let modules = entry?.path();
                let Some(release) = modules.file_name().and_then(|name| name.to_str()) else {
                    continue;
                };
                let image = [
                    dir.join(format!("boot/vmlinuz-{release}")),
                    modules.join("vmlinuz"),
                ];
                let Some(image) = image.into_iter().find(|path| path.is_file()) else {
                    continue;
                };
                return Ok(Self {
                    release: release.to_owned(),
                    image,
                    modules,
                });
            }
        }
        bail!(
            "no kernel was found in {}: delete that directory and try again",
            dir.display()
        )
    }

    /// Puts the modules `names` and all they depend on into `archive`, unpacked, below
    /// `/lib/modules`, and into the file `list` their paths, in the order in which to load them.
    /// A name without a module is taken for a driver that is built in.
    pub(crate) fn add_modules<W: std::io::Write>(
        &self,
        names: &[&str],
        list: &str,
        archive: &mut Archive<W>,
    ) -> Result<()> {
        let mut order = String::new();
        for module in self.modules(names)? {
            let path = format!("/lib/modules/{}.ko", module.name);
            archive.file(&path, 0o644, &module.content)?;
            order.push_str(&path);
            order.push('\n');
        }
        archive.file(list, 0o644, order.as_bytes())?;
        Ok(())
    }

    /// The modules `names` and those they depend on, each after what it depends on.
    ///
    /// Debian's packages leave `modules.dep` to the installed system's depmod; the modules
    /// themselves name what they need just as well.
    pub(crate) fn modules(&self, names: &[&str]) -> Result<Vec<Module>> {
        Ok(Directory::open(&self.modules)?.closure(names)?)
    }

    /// The kernel as an ELF file, as it stands compressed in the bzImage.
    pub(crate) fn elf(&self) -> Result<Vec<u8>> {
        let image = fs::read(&self.image)?;
        payload(&image)
            .with_context(|| format!("cannot get the ELF kernel out of {}", self.image.display()))
    }
}

/// How the names of packages with kernels begin.
const PACKAGE: &str = "linux-image-";

/// The release of Debian that has `package`, and whether it has backports; `None` for one still to come.
fn release_of(package: &str) -> Option<(&'static str, bool)> {
    let of = |marks: &[&str]| marks.iter().any(|mark| package.contains(mark));
    if of(&["+deb13"]) {
        Some(("trixie", true))
    } else if of(&["+deb12", "-6.1.0-"]) && !of(&["deb11"]) {
        Some(("bookworm", true))
    } else if of(&["deb11", "-5.10.0-"]) {
        Some(("bullseye", false))
    } else {
        None
    }
}

/// The packages among `names` that have a kernel or its modules.
fn parts(names: Vec<String>) -> Vec<String> {
    let kernels = [PACKAGE, "linux-binary-", "linux-modules-"];
    let mut names = names;
    names.retain(|name| {
        kernels.iter().any(|prefix| name.starts_with(prefix)) && !name.contains("unsigned")
    });
    names
}

/// The decompressed payload of a bzImage, found through its setup header.
fn payload(image: &[u8]) -> Result<Vec<u8>> {
    let field = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the file is too short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    ensure!(
        image.get(0x202..0x206) == Some(b"HdrS"),
        "it is not a bzImage"
    );
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + field(0x248)?;
    let end = start + field(0x24c)?;
    let compressed = image
        .get(start..end)
        .context("its payload lies outside the file")?;
    // Before the last four bytes, which give the size, stands the compressor's own output.
    let (stream, size) = compressed
        .split_last_chunk::<4>()
        .context("it has no payload")?;
    let size = u32::from_le_bytes(*size) as usize;
    let kernel = match stream {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut kernel = Vec::with_capacity(size);
            ruzstd::decoding::StreamingDecoder::new(stream)?.read_to_end(&mut kernel)?;
            kernel
        }
        [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => lz4_blocks(blocks, size)?,
        _ => bail!("its compression is neither lz4 nor zstd"),
    };
    ensure!(kernel.starts_with(b"\x7fELF"), "its payload is not ELF");
    Ok(kernel)
}

/// Decompresses the blocks of lz4's legacy frame format: each with its compressed size before it.
fn lz4_blocks(mut blocks: &[u8], size: usize) -> Result<Vec<u8>> {
    const LARGEST_BLOCK: usize = 8 << 20;
    let mut plain = Vec::with_capacity(size);
    while let Some((length, rest)) = blocks.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let block = rest.get(..length).context("a block is cut short")?;
        plain.extend(lz4_flex::block::decompress(block, LARGEST_BLOCK)?);
        blocks = &rest[length..];
    }
    ensure!(plain.len() == size, "a block is missing");
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::{payload, release_of};

    #[test]
    fn the_name_of_a_package_says_which_release_has_it() {
        for (package, release) in [
            (
                "linux-image-6.12.107+deb13-cloud-amd64",
                Some(("trixie", true)),
            ),
            (
                "linux-image-6.12.57+deb12-cloud-amd64",
                Some(("bookworm", true)),
            ),
            ("linux-image-6.1.0-50-cloud-amd64", Some(("bookworm", true))),
            (
                "linux-image-5.10.0-43-cloud-amd64",
                Some(("bullseye", false)),
            ),
            (
                "linux-image-6.1.0-0.deb11.50-cloud-amd64",
                Some(("bullseye", false)),
            ),
            ("linux-image-7.2.13+deb14-cloud-amd64", None),
        ] {
            assert_eq!(release_of(package), release, "{package}");
        }
    }

    #[test]
    fn a_payload_is_found_through_the_setup_header() {
        let kernel = [b"\x7fELF".as_slice(), &[7; 5000]].concat();
        let block = lz4_flex::block::compress(&kernel);
        let mut stream = vec![0x02, 0x21, 0x4c, 0x18];
        stream.extend((block.len() as u32).to_le_bytes());
        stream.extend(block);
        stream.extend((kernel.len() as u32).to_le_bytes());

        let mut image = vec![0; 0x600];
        image[0x1f1] = 2;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(stream.len() as u32).to_le_bytes());
        image.extend([0; 16]);
        image.extend(&stream);
        assert_eq!(payload(&image).unwrap(), kernel);

        image.truncate(image.len() - 1);
        assert!(payload(&image).is_err());
        assert!(payload(b"not a kernel").is_err());
    }
}
