//! What the guests boot: stickler's own first process, the kernel's modules, and the user's files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::program::{self, ProgramError};
use stickler_exerciser::{
    COMMAND, INIT, LastStep, MODULES, PROGRAMS, SECOND_INITRD, SECOND_KERNEL,
};
use stickler_guest_image::cpio::Archive;
use stickler_guest_image::modules::{Directory, Module};
use stickler_guest_image::{kernel, modules};

/// The first process of the guests.
static EXERCISER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/exerciser"));

/// The drivers of all device types, and VLANs. A driver that is built into the kernel has no module.
const DRIVERS: [&str; 6] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "8021q",
];

/// What the user asked for.
pub struct GuestOptions<'a> {
    /// The kernel's file.
    pub kernel: &'a Path,
    /// Where its modules are.
    pub modules: Option<&'a Path>,
    /// Files with modules, each instead of the one of its name.
    pub module: &'a [PathBuf],
    /// An initial RAM file system of the user's.
    pub initrd: Option<&'a Path>,
    /// A program to run instead of the exercise, with its arguments.
    pub command: &'a [OsString],
}

/// What runs in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Stickler's own exercise.
    Exercise,
    /// A program of the user's, under stickler's own first process.
    Command,
    /// A system of the user's.
    System,
    /// Firmware, and what it boots.
    Firmware,
}

/// A guest to boot.
pub struct GuestImage {
    /// The kernel's version, if its file contains it.
    pub release: Option<String>,
    /// What runs in it.
    pub load: Load,
    /// Its initial RAM file system.
    pub initrd: PathBuf,
    /// Whether it loads modules.
    pub has_modules: bool,
    /// One with the kernel in it, for a guest that starts that again; `None` where the kernel's file is none
    /// that a running kernel takes.
    pub initrd_of_kexec: Option<PathBuf>,
}

/// Why the guest cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GuestImageError {
    /// A file cannot be read.
    #[error("cannot read the {what} {path}: {cause}")]
    Unreadable {
        /// What it is to be.
        what: &'static str,
        /// Which.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The modules cannot be read.
    #[error("{0}")]
    Modules(#[from] modules::Error),
    /// A system of the user's loads its own modules.
    #[error(
        "--modules and --module conflict with --initrd: a system of your own contains its modules; leave them out, or give a command"
    )]
    ModulesOfSystem,
    /// The guest cannot run the command.
    #[error("{0}")]
    Program(#[from] ProgramError),
    /// The guest cannot be written.
    #[error("cannot write the guest's initial RAM file system: {0}")]
    Unwritable(io::Error),
}

impl GuestImage {
    /// Of firmware, for which nothing is made here.
    #[must_use]
    pub fn of_firmware() -> GuestImage {
        GuestImage {
            release: None,
            load: Load::Firmware,
            initrd: PathBuf::new(),
            has_modules: true,
            initrd_of_kexec: None,
        }
    }

    /// Makes the guest's initial RAM file system in `directory`.
    pub fn create(
        options: &GuestOptions<'_>,
        directory: &Path,
    ) -> Result<GuestImage, GuestImageError> {
        let image = read("kernel", options.kernel)?;
        let release = kernel::release(&image).map(str::to_owned);
        let load = match (options.command, options.initrd) {
            ([], None) => Load::Exercise,
            ([], Some(_)) => Load::System,
            _ => Load::Command,
        };
        if let (Load::System, Some(initrd)) = (load, options.initrd) {
            if options.modules.is_some() || !options.module.is_empty() {
                return Err(GuestImageError::ModulesOfSystem);
            }
            File::open(initrd).map_err(unreadable("initrd", initrd))?;
            return Ok(GuestImage {
                release,
                load,
                initrd: initrd.to_owned(),
                // A system of the user's brings its own.
                has_modules: true,
                initrd_of_kexec: None,
            });
        }
        let modules = modules_of(options.modules, options.module, release.as_deref())?;
        let mut archive = Archive::new(Vec::new());
        archive.console().map_err(GuestImageError::Unwritable)?;
        fill(&mut archive, &modules).map_err(GuestImageError::Unwritable)?;
        if load == Load::Command {
            add_command(&mut archive, options.command, options.initrd.is_none())?;
        }
        let own = archive.finish().map_err(GuestImageError::Unwritable)?;
        let path = directory.join("initrd");
        let mut file = File::create(&path).map_err(GuestImageError::Unwritable)?;
        if let Some(initrd) = options.initrd {
            // The kernel unpacks one archive after the other, each from a multiple of four.
            let mut theirs = read("initrd", initrd)?;
            theirs.resize(theirs.len().next_multiple_of(4), 0);
            file.write_all(&theirs)
                .map_err(GuestImageError::Unwritable)?;
        }
        file.write_all(&own).map_err(GuestImageError::Unwritable)?;
        let initrd_of_kexec = if load == Load::Exercise && kernel::is_bz_image(&image) {
            let with_kernel = directory.join("initrd-of-kexec");
            write_with_kernel(&with_kernel, &own, &image).map_err(GuestImageError::Unwritable)?;
            Some(with_kernel)
        } else {
            None
        };
        Ok(GuestImage {
            release,
            load,
            initrd: path,
            has_modules: !modules.is_empty(),
            initrd_of_kexec,
        })
    }

    /// The initial RAM file system of a guest that ends so.
    #[must_use]
    pub fn initrd_to_end_with(&self, last: LastStep) -> &Path {
        match &self.initrd_of_kexec {
            Some(initrd) if last == LastStep::Kexec => initrd,
            _ => &self.initrd,
        }
    }
}

/// Writes `own`, followed by what the second kernel of a guest needs: the kernel, and `own` for it.
fn write_with_kernel(path: &Path, own: &[u8], image: &[u8]) -> io::Result<()> {
    let mut second = Archive::new(Vec::new());
    second.file(SECOND_KERNEL, 0o644, image)?;
    second.file(SECOND_INITRD, 0o644, own)?;
    let mut file = File::create(path)?;
    let mut first = own.to_vec();
    first.resize(first.len().next_multiple_of(4), 0);
    file.write_all(&first)?;
    file.write_all(&second.finish()?)
}

/// The modules to load: those of `directory`, or else of the installed kernel of this release, with `files` instead
/// of those of the same names.
fn modules_of(
    directory: Option<&Path>,
    files: &[PathBuf],
    release: Option<&str>,
) -> Result<Vec<Module>, GuestImageError> {
    let installed = release
        .map(|release| Path::new("/lib/modules").join(release))
        .filter(|path| path.join("kernel").is_dir());
    let mut directory = match directory.map(Path::to_owned).or(installed) {
        Some(path) => Directory::open(&path)?,
        None => Directory::empty(),
    };
    for file in files {
        directory.put(file)?;
    }
    let modules = directory.wanted(&DRIVERS)?;
    if let Some(release) = release {
        directory.fits(&modules, release)?;
    }
    Ok(modules)
}

/// Stickler's first process, and the modules it loads.
fn fill(archive: &mut Archive<Vec<u8>>, modules: &[Module]) -> io::Result<()> {
    archive.file(INIT, 0o755, EXERCISER)?;
    let mut order = String::new();
    for module in modules {
        let path = format!("/.stickler/{}.ko", module.name);
        archive.file(&path, 0o644, &module.content)?;
        order.push_str(&path);
        order.push('\n');
    }
    archive.file(MODULES, 0o644, order.as_bytes())
}

/// The words of the command. Without a system of the user's, the program is one of this host and is
/// added too.
fn add_command(
    archive: &mut Archive<Vec<u8>>,
    command: &[OsString],
    with_program: bool,
) -> Result<(), GuestImageError> {
    let mut words: Vec<Vec<u8>> = command.iter().map(|w| w.as_bytes().to_vec()).collect();
    if let (true, Some(program)) = (with_program, command.first()) {
        let path = Path::new(program);
        let content = read("command", path)?;
        program::check(path, &content)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let to = format!("{PROGRAMS}/{name}");
        archive
            .file(&to, 0o755, &content)
            .map_err(GuestImageError::Unwritable)?;
        words[0] = to.into_bytes();
    }
    for word in &mut words {
        word.push(0);
    }
    archive
        .file(COMMAND, 0o644, &words.concat())
        .map_err(GuestImageError::Unwritable)
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, GuestImageError> {
    fs::read(path).map_err(unreadable(what, path))
}

fn unreadable(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GuestImageError {
    let path = path.display().to_string();
    move |cause| GuestImageError::Unreadable { what, path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options<'a>(kernel: &'a Path, command: &'a [OsString]) -> GuestOptions<'a> {
        GuestOptions {
            kernel,
            modules: None,
            module: &[],
            initrd: None,
            command,
        }
    }

    fn error(options: &GuestOptions<'_>, directory: &Path) -> String {
        match GuestImage::create(options, directory) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Whether `bytes` are somewhere in `whole`.
    fn has(whole: &[u8], bytes: &[u8]) -> bool {
        whole.windows(bytes.len()).any(|window| window == bytes)
    }

    #[test]
    fn the_exerciser_is_a_static_program() {
        assert!(EXERCISER.starts_with(b"\x7fELF"));
        // No program header is PT_INTERP, which names the program that links it when it starts.
        const PT_INTERP: u8 = 3;
        let half = |at: usize| usize::from(u16::from_le_bytes([EXERCISER[at], EXERCISER[at + 1]]));
        let (first, size, count) = (usize::from(EXERCISER[32]), half(54), half(56));
        assert!(count > 0);
        assert!((0..count).all(|number| EXERCISER[first + number * size] != PT_INTERP));
    }

    #[test]
    fn modules_come_with_it_in_their_order_and_have_to_fit() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("k"), b"\x7fELF Linux version 6.1.0 (x)").unwrap();
        fs::create_dir(path("modules")).unwrap();
        let module = |depends: &str, release: &str| {
            format!("\x7fELF\0depends={depends}\0vermagic={release} SMP\0")
        };
        fs::write(path("modules/a.ko"), module("b", "6.1.0")).unwrap();
        fs::write(path("modules/b.ko"), module("", "6.1.0")).unwrap();
        let modules = path("modules");
        let kernel = path("k");
        let with_modules = GuestOptions {
            modules: Some(&modules),
            ..options(&kernel, &[])
        };
        let guest = GuestImage::create(&with_modules, directory.path()).unwrap();
        assert_eq!(guest.release.as_deref(), Some("6.1.0"));
        assert_eq!(guest.load, Load::Exercise);
        let initrd = fs::read(guest.initrd).unwrap();
        assert!(has(&initrd, b"/.stickler/b.ko\n/.stickler/a.ko\n"));

        // One of them is another file's.
        let other = [path("a.ko")];
        fs::write(&other[0], module("b", "6.1.0") + "another").unwrap();
        let replaced = GuestOptions {
            module: &other,
            ..with_modules
        };
        let guest = GuestImage::create(&replaced, directory.path()).unwrap();
        let initrd = fs::read(guest.initrd).unwrap();
        assert!(has(&initrd, b"/.stickler/b.ko\n/.stickler/a.ko\n"));
        assert!(has(&initrd, b"another"));
        let alone = GuestOptions {
            module: &other,
            ..options(&kernel, &[])
        };
        let guest = GuestImage::create(&alone, directory.path()).unwrap();
        assert!(guest.has_modules);

        fs::write(path("modules/b.ko"), module("", "5.10.0")).unwrap();
        let why = error(&with_modules, directory.path());
        assert!(why.contains("5.10.0") && why.contains("6.1.0"), "{why}");
        fs::remove_file(path("modules/a.ko")).unwrap();
        fs::remove_file(path("modules/b.ko")).unwrap();
        assert!(error(&with_modules, directory.path()).contains("no kernel modules"));
    }

    #[test]
    fn a_command_is_this_hosts_program_or_one_in_the_users_system() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("k"), "no version").unwrap();
        fs::write(path("test"), EXERCISER).unwrap();
        fs::write(path("theirs"), "070701").unwrap();
        let kernel = path("k");
        let command = [path("test").into_os_string(), "--fast".into()];
        let guest = GuestImage::create(&options(&kernel, &command), directory.path()).unwrap();
        assert_eq!(guest.load, Load::Command);
        let initrd = fs::read(guest.initrd).unwrap();
        assert!(has(&initrd, b"/.stickler/bin/test\0--fast\0"));
        assert!(has(&initrd, &EXERCISER[..4096]));

        let theirs = path("theirs");
        let command = ["/no/such/test".into(), "--fast".into()];
        let in_theirs = GuestOptions {
            initrd: Some(&theirs),
            ..options(&kernel, &command)
        };
        let guest = GuestImage::create(&in_theirs, directory.path()).unwrap();
        let initrd = fs::read(guest.initrd).unwrap();
        assert!(initrd.starts_with(b"070701\x00\x00070701"));
        assert!(has(&initrd, b"/no/such/test\0--fast\0"));

        let why = error(&options(&kernel, &command), directory.path());
        assert!(why.contains("command /no/such/test"), "{why}");
    }

    #[test]
    fn a_system_of_the_users_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = directory.path().join("k");
        let theirs = directory.path().join("theirs");
        fs::write(&kernel, "no version").unwrap();
        let system = GuestOptions {
            initrd: Some(&theirs),
            ..options(&kernel, &[])
        };
        assert!(error(&system, directory.path()).contains("initrd"));
        fs::write(&theirs, "x").unwrap();
        let guest = GuestImage::create(&system, directory.path()).unwrap();
        assert_eq!((guest.load, guest.initrd), (Load::System, theirs.clone()));
        let modules = GuestOptions {
            modules: Some(directory.path()),
            ..system
        };
        assert!(error(&modules, directory.path()).contains("--modules"));
    }
}
