//! `stickler doctor`: whether this host can run guests, and how to get what is missing.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;

use kvm_ioctls::Kvm;

use crate::confine;
use crate::machine::Error;
use crate::machine::probe::{self, API_VERSION, CAPABILITIES};

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked, in one or two words.
    pub name: &'static str,
    /// The result.
    pub status: Status,
    /// What that means.
    pub meaning: String,
    /// How to solve the problem, if there is one.
    pub advice: Option<&'static str>,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exists and works.
    Ok,
    /// It is missing; an optional feature needs it.
    Warning,
    /// It is missing, and stickler cannot run guests without it.
    Missing,
}

/// All checks, in the order in which one builds on the other.
pub fn examine() -> Vec<Check> {
    let mut checks = Vec::new();
    examine_kvm(&mut checks);
    checks.push(tap());
    checks.push(confinement());
    checks
}

/// Whether stickler can run guests on this host: nothing necessary is missing.
pub fn can_run(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.status != Status::Missing)
}

const USE_LAB: &str = "use a host with hardware virtualization, or the lab (`cargo xtask lab`)";

fn examine_kvm(checks: &mut Vec<Check>) {
    let kvm = match probe::open() {
        Ok(kvm) => kvm,
        Err(why) => {
            checks.push(cannot_open(&why));
            return;
        }
    };
    checks.push(ok("kvm", "/dev/kvm can be opened".to_owned()));
    checks.push(version(&kvm));
    checks.push(capabilities(&kvm));
    checks.push(stock_kernels(&kvm));
}

fn cannot_open(why: &Error) -> Check {
    match why {
        Error::KvmAbsent => missing(
            "kvm",
            "there is no /dev/kvm".to_owned(),
            "enable virtualization in the firmware and load kvm-intel or kvm-amd, or use the lab (`cargo xtask lab`)",
        ),
        Error::KvmForbidden => missing(
            "kvm",
            "no permission to open /dev/kvm".to_owned(),
            "become a member of the group that owns it (usually kvm), or run as root",
        ),
        Error::KvmUnusable(why) => missing("kvm", why.clone(), USE_LAB),
        other => missing("kvm", other.to_string(), USE_LAB),
    }
}

fn version(kvm: &Kvm) -> Check {
    match kvm.get_api_version() {
        API_VERSION => ok("kvm version", format!("its API is version {API_VERSION}")),
        other => missing(
            "kvm version",
            format!("its API is version {other}, not {API_VERSION}"),
            USE_LAB,
        ),
    }
}

fn capabilities(kvm: &Kvm) -> Check {
    let lacking: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(cap, _)| !kvm.check_extension(*cap))
        .map(|(cap, what)| format!("{cap:?} ({what})"))
        .collect();
    if lacking.is_empty() {
        let count = CAPABILITIES.len();
        ok("kvm capabilities", format!("all {count} that are needed"))
    } else {
        let lacking = format!("it lacks {}", lacking.join(", "));
        missing("kvm capabilities", lacking, USE_LAB)
    }
}

/// Runs guest code: no other check is certain.
fn stock_kernels(kvm: &Kvm) -> Check {
    match probe::try_guest(kvm) {
        Ok(rate) => ok(
            "stock kernels",
            format!(
                "guest code runs, about {:.0} million instructions a second",
                rate / 1e6
            ),
        ),
        Err(Error::KvmUnusable(why)) => missing(
            "stock kernels",
            format!("guest code that every kernel needs does not run: {why}"),
            USE_LAB,
        ),
        Err(why) => missing("stock kernels", why.to_string(), USE_LAB),
    }
}

/// Whether stickler can confine itself.
fn confinement() -> Check {
    const NAME: &str = "confinement";
    match confine::support() {
        Ok(what) => ok(NAME, what),
        Err(lacking) => warning(
            NAME,
            format!(
                "the kernel has no {lacking}: a guest that breaks out is confined less, and `--confine strict` is refused"
            ),
            "use a kernel with CONFIG_SECCOMP_FILTER and CONFIG_SECURITY_LANDLOCK, and landlock in its list of security modules (`lsm=`)",
        ),
    }
}

/// Whether a tap device can be created or attached to.
fn tap() -> Check {
    const NAME: &str = "tap";
    const MEANING: &str = "`--net tap=NAME` will not work; `--net user` needs nothing";
    let device = match OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
    {
        Ok(device) => device,
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            return warning(
                NAME,
                format!("there is no /dev/net/tun: {MEANING}"),
                "load the kernel module tun (`modprobe tun`)",
            );
        }
        Err(why) => {
            return warning(
                NAME,
                format!("/dev/net/tun cannot be opened ({why}): {MEANING}"),
                "run as root, or give yourself access to /dev/net/tun",
            );
        }
    };
    match set_interface(&device) {
        Ok(()) => ok(NAME, "tap devices can be created".to_owned()),
        Err(why) => warning(
            NAME,
            format!("a tap device cannot be created ({why}): {MEANING}"),
            "have root create one for you (`ip tuntap add NAME mode tap user YOU`), or run as root",
        ),
    }
}

/// Creates a tap device with a name that the kernel chooses; it is removed with the descriptor.
fn set_interface(device: &impl AsRawFd) -> io::Result<()> {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16,
        },
    };
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn ok(name: &'static str, meaning: String) -> Check {
    Check {
        name,
        status: Status::Ok,
        meaning,
        advice: None,
    }
}

fn warning(name: &'static str, meaning: String, advice: &'static str) -> Check {
    Check {
        name,
        status: Status::Warning,
        meaning,
        advice: Some(advice),
    }
}

fn missing(name: &'static str, meaning: String, advice: &'static str) -> Check {
    Check {
        name,
        status: Status::Missing,
        meaning,
        advice: Some(advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_all_right_comes_with_advice() {
        let checks = examine();
        assert_eq!(checks.first().map(|c| c.name), Some("kvm"));
        assert_eq!(checks.last().map(|c| c.name), Some("confinement"));
        for check in checks {
            assert_eq!(check.advice.is_none(), check.status == Status::Ok);
            assert!(!check.meaning.is_empty());
        }
    }

    #[test]
    fn each_way_kvm_can_be_shut_has_its_own_advice() {
        let absent = cannot_open(&Error::KvmAbsent);
        let forbidden = cannot_open(&Error::KvmForbidden);
        let broken = cannot_open(&Error::KvmUnusable("it is broken".to_owned()));
        assert!(absent.advice.is_some_and(|a| a.contains("firmware")));
        assert!(forbidden.advice.is_some_and(|a| a.contains("group")));
        assert_eq!(broken.meaning, "it is broken");
        for check in [absent, forbidden, broken] {
            assert_eq!(check.status, Status::Missing);
        }
    }

    #[test]
    fn only_what_is_necessary_decides() {
        let fine = ok("kvm", "x".into());
        let optional = warning("tap", "x".into(), "y");
        assert!(can_run(&[fine.clone(), optional]));
        assert!(!can_run(&[fine, missing("kvm version", "x".into(), "y")]));
    }
}
