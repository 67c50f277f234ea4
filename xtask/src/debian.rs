//! Debian's archive: where it is, and how packages are got from it without installing them.
//!
//! Every suite has its own package lists and its own cache in a directory of ours. So neither
//! the host's sources nor its packages change, root is not needed, and the host may run another
//! distribution as long as it has `apt-get` and Debian's keyring.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::process::{output_of, run_quietly};

/// The environment variable that names another mirror.
const MIRROR_VARIABLE: &str = "STICKLER_DEBIAN_MIRROR";

const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// The file with Debian's archive keys.
pub(crate) fn keyring() -> Result<&'static Path> {
    KEYRINGS
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .context("Debian's archive keys are missing: install the package debian-archive-keyring")
}

/// The URI of a mirror of Debian's archive: the one the user names, else the one this system
/// already uses, else debootstrap's own default.
pub(crate) fn mirror() -> Result<String> {
    if let Ok(uri) = std::env::var(MIRROR_VARIABLE) {
        return Ok(uri);
    }
    if let Some(uri) = configured_mirror() {
        return Ok(uri);
    }
    debootstrap_mirror().with_context(|| {
        format!(
            "no mirror of Debian's archive is known here: set {MIRROR_VARIABLE} to the URI of one"
        )
    })
}

/// The archive of security updates beside `mirror`: `…/debian-security` beside `…/debian`.
fn security_mirror(mirror: &str) -> String {
    format!("{}-security", mirror.trim_end_matches('/'))
}

/// The mirror in the system's own apt configuration.
fn configured_mirror() -> Option<String> {
    let listing = output_of(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(RELEASE)|$(REPO_URI)",
        "Created-By: Packages",
    ]))
    .ok()?;
    let codename = os_release("VERSION_CODENAME").unwrap_or_default();
    let is_debian = os_release("ID").as_deref() == Some("debian");
    // Origin and label come from the downloaded lists; before the first `apt-get update` only the
    // suite's name is known.
    listing.lines().find_map(|line| {
        let mut fields = line.splitn(4, '|');
        let (origin, label) = (fields.next()?, fields.next()?);
        let (release, uri) = (fields.next()?, fields.next()?);
        let listed = origin == "Debian" && label == "Debian";
        let named = is_debian && origin.is_empty() && release == codename;
        (listed || named).then(|| uri.trim_end_matches('/').to_owned())
    })
}

fn debootstrap_mirror() -> Option<String> {
    let script = fs::read_to_string("/usr/share/debootstrap/scripts/sid").ok()?;
    script.lines().find_map(|line| {
        let uri = line.trim().strip_prefix("default_mirror ")?;
        Some(uri.trim_end_matches('/').to_owned())
    })
}

/// A value of `/etc/os-release`.
pub(crate) fn os_release(key: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix('=')?;
        Some(value.trim_matches('"').to_owned())
    })
}

/// One suite of Debian's archive, with package lists of our own.
pub(crate) struct Suite {
    name: String,
    dir: PathBuf,
}

/// The names of suites with security updates end with this. They are in an archive of their own.
const SECURITY: &str = "-security";

/// The names of suites with backports end with this; before it stands the suite that they extend.
const BACKPORTS: &str = "-backports";

impl Suite {
    /// Opens `name` (`bookworm`, `trixie-backports`, `sid`, …) with its state under `dir` and
    /// fetches its package lists.
    pub(crate) fn open(name: &str, dir: &Path) -> Result<Self> {
        Self::open_with(name, &[], dir)
    }

    /// Opens the backports of `base` together with `base` itself, which has most of what they depend on.
    pub(crate) fn open_backports(base: &str, dir: &Path) -> Result<Self> {
        let name = format!("{base}{BACKPORTS}");
        Self::open_with(&name, &[base], &dir.join("whole"))
    }

    /// Opens `base` together with its security updates and, if `with_backports`, its backports: all that the
    /// archive still has of that release of Debian.
    pub(crate) fn open_release(base: &str, with_backports: bool, dir: &Path) -> Result<Self> {
        let security = format!("{base}{SECURITY}");
        let backports = format!("{base}{BACKPORTS}");
        let mut others = vec![security.as_str()];
        if with_backports {
            others.push(&backports);
        }
        Self::open_with(base, &others, &dir.join("release"))
    }

    fn open_with(name: &str, others: &[&str], dir: &Path) -> Result<Self> {
        ensure!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{name:?} is neither the name of a Debian suite (bookworm, trixie, sid, …) nor that of \
             a package with a kernel (linux-image-6.12.107+deb13-cloud-amd64)"
        );
        let suite = Self {
            name: name.to_owned(),
            dir: dir.join(name),
        };
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(suite.dir.join(sub))?;
        }
        let (mirror, keyring) = (mirror()?, keyring()?);
        let sources: String = [name]
            .iter()
            .chain(others)
            .map(|suite| {
                let archive = match suite.ends_with(SECURITY) {
                    true => security_mirror(&mirror),
                    false => mirror.clone(),
                };
                format!(
                    "deb [arch=amd64 target=Packages lang=none signed-by={}] {archive} {suite} main\n",
                    keyring.display()
                )
            })
            .collect();
        fs::write(suite.dir.join("sources.list"), sources)?;
        run_quietly(suite.apt("apt-get").arg("update")).with_context(|| {
            format!(
                "cannot fetch the package lists of Debian's {name}; if the suite has moved, set \
                 {MIRROR_VARIABLE} to a mirror that has it"
            )
        })?;
        Ok(suite)
    }

    /// The packages `package` depends on, itself included.
    pub(crate) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let listing = output_of(self.apt("apt-cache").args([
            "depends",
            "--recurse",
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
            "--no-breaks",
            "--no-replaces",
            "--no-enhances",
            package,
        ]))
        .with_context(|| format!("Debian's {} has no package {package}", self.name))?;
        let mut names: Vec<String> = listing
            .lines()
            .filter(|line| !line.starts_with([' ', '<']) && !line.is_empty())
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Downloads `packages` and all they depend on, from this suite where it has them, and unpacks
    /// them into `root`, so that the programs there need nothing of the host.
    pub(crate) fn unpack_whole(&self, packages: &[&str], root: &Path) -> Result<()> {
        let downloads = self.downloads()?;
        fs::create_dir(downloads.path().join("partial"))?;
        let mut archives = OsString::from("Dir::Cache::Archives=");
        archives.push(downloads.path());
        run_quietly(
            self.apt("apt-get")
                .arg("-o")
                .arg(archives)
                .args(["install", "--yes", "--download-only"])
                .args(["--no-install-recommends", "--target-release", &self.name])
                .args(packages),
        )
        .with_context(|| {
            format!(
                "cannot download {} of Debian's {} and what they need",
                packages.join(", "),
                self.name
            )
        })?;
        unpack_all(downloads.path(), root)
    }

    /// Downloads `packages` and unpacks them into `root`.
    pub(crate) fn unpack(&self, packages: &[String], root: &Path) -> Result<()> {
        let downloads = self.downloads()?;
        run_quietly(
            self.apt("apt-get")
                .current_dir(downloads.path())
                .arg("download")
                .args(packages),
        )
        .with_context(|| {
            format!(
                "cannot download {} of Debian's {}",
                packages.join(", "),
                self.name
            )
        })?;
        unpack_all(downloads.path(), root)
    }

    fn downloads(&self) -> Result<TempDir> {
        Ok(tempfile::Builder::new()
            .prefix("download-")
            .tempdir_in(&self.dir)?)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = |sub: &str| -> OsString { self.dir.join(sub).into() };
        for (option, value) in [
            ("Dir::State", path("state")),
            ("Dir::Cache", path("cache")),
            ("Dir::Etc::SourceList", path("sources.list")),
        ] {
            let mut setting = OsString::from(format!("{option}="));
            setting.push(value);
            command.arg("-o").arg(setting);
        }
        for setting in [
            "Dir::State::Status=/dev/null",
            "Dir::Etc::SourceParts=/dev/null",
            "APT::Architecture=amd64",
            "APT::Architectures=amd64",
            "APT::Sandbox::User=",
            "Acquire::Retries=3",
        ] {
            command.args(["-o", setting]);
        }
        command.arg("-q");
        command
    }
}

/// Unpacks the packages in the directory `from` into `root`.
fn unpack_all(from: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    for entry in fs::read_dir(from)? {
        let package = entry?.path();
        if package.extension().is_some_and(|e| e == "deb") {
            run_quietly(Command::new("dpkg-deb").arg("-x").arg(&package).arg(root))?;
        }
    }
    Ok(())
}

/// Makes the directory `into` by filling a temporary one beside it and renaming that, unless it is
/// there already. So a directory that is there is complete.
pub(crate) fn cached(into: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if into.exists() {
        return Ok(());
    }
    let parent = into.parent().context("a cache entry has a parent")?;
    fs::create_dir_all(parent)?;
    let unfinished = tempfile::Builder::new()
        .prefix(".unfinished-")
        .tempdir_in(parent)?;
    fill(unfinished.path())?;
    let finished = unfinished.keep();
    if let Err(error) = fs::rename(&finished, into) {
        fs::remove_dir_all(&finished).ok();
        // Another run may have made it in the meantime.
        if !into.exists() {
            bail!("cannot write {}: {error}", into.display());
        }
    }
    Ok(())
}
