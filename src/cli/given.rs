//! The devices of `stickler check` for a guest of the user's.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::backends::console::{ConsoleSpec, PortKind};
use crate::backends::disk::DiskSpec;
use crate::backends::net::{NetKind, NetSpec};

/// Options that are passed on as they are, after a look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Devices of a guest of your own")]
pub struct GivenDevices {
    /// Network cards, as for `stickler run`
    #[arg(long, value_name = "NET[,OPTION]", value_parser = looked_at::<NetSpec>)]
    pub net: Vec<String>,

    /// Disks, as for `stickler run`, instead of a disk of 4 MiB and one that is read-only
    #[arg(long, value_name = "FILE[,ro]")]
    pub disk: Vec<OsString>,

    /// Ports of the console, as for `stickler run`, instead of two, of which the second sends back what it gets
    #[arg(long, value_name = "PORT[,name=NAME]", value_parser = looked_at::<ConsoleSpec>)]
    pub console: Vec<String>,

    /// Leave out the console device
    #[arg(long, conflicts_with = "console")]
    pub no_console: bool,

    /// Leave out the entropy device
    #[arg(long)]
    pub no_rng: bool,
}

/// The value as it is, if it is one of `T`.
fn looked_at<T: FromStr>(text: &str) -> Result<String, String>
where
    T::Err: fmt::Display,
{
    match text.parse::<T>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl GivenDevices {
    /// Whether the user gave none of the options.
    pub fn is_empty(&self) -> bool {
        *self == GivenDevices::default()
    }

    /// The files that guests may write, and sockets.
    pub fn files(&self) -> Vec<PathBuf> {
        let disks = self
            .disk
            .iter()
            .map(|disk| DiskSpec::from(disk.clone()).path);
        let consoles = self.console.iter().filter_map(|console| {
            match console.parse::<ConsoleSpec>().ok()?.kind {
                PortKind::File(path) | PortKind::Socket(path) => Some(path),
                PortKind::Stdio | PortKind::Null => None,
            }
        });
        disks.chain(consoles).collect()
    }

    /// The options for `stickler run`.
    pub fn arguments(&self) -> Vec<OsString> {
        let GivenDevices {
            net,
            disk,
            console,
            no_console,
            no_rng,
        } = self;
        let mut arguments = Vec::new();
        let mut give = |option: &str, value: OsString| arguments.extend([option.into(), value]);
        net.iter().for_each(|net| give("--net", net.into()));
        disk.iter().for_each(|disk| give("--disk", disk.clone()));
        console
            .iter()
            .for_each(|port| give("--console", port.into()));
        let flags = [(no_console, "--no-console"), (no_rng, "--no-rng")];
        let flags = flags.into_iter().filter(|(given, _)| **given);
        arguments.extend(flags.map(|(_, flag)| OsString::from(flag)));
        arguments
    }

    /// The disks.
    pub fn disks(&self) -> Vec<DiskSpec> {
        let disks = self.disk.iter();
        disks.map(|disk| DiskSpec::from(disk.clone())).collect()
    }

    /// The ports of the console.
    pub fn consoles(&self) -> Vec<ConsoleSpec> {
        let ports = self.console.iter();
        ports.filter_map(|port| port.parse().ok()).collect()
    }

    /// Whether two guests at the same time would use the same thing of the host.
    pub fn are_exclusive(&self) -> bool {
        let taps = self
            .net
            .iter()
            .filter_map(|net| net.parse::<NetSpec>().ok());
        let (disks, ports) = (self.disks(), self.consoles());
        taps.into_iter()
            .any(|net| matches!(net.kind, NetKind::Tap(_)))
            || disks.into_iter().any(|disk| !disk.read_only)
            || ports
                .into_iter()
                .any(|port| !matches!(port.kind, PortKind::Stdio | PortKind::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_passed_on() {
        let given = GivenDevices {
            net: vec!["user,queues=2".to_owned()],
            disk: vec!["a,ro".into()],
            console: vec!["null".to_owned(), "stdio,name=x".to_owned()],
            no_console: false,
            no_rng: true,
        };
        assert_eq!(
            given.arguments(),
            [
                "--net",
                "user,queues=2",
                "--disk",
                "a,ro",
                "--console",
                "null",
                "--console",
                "stdio,name=x",
                "--no-rng"
            ]
        );
        assert!(!given.is_empty() && !given.are_exclusive());
        assert!(GivenDevices::default().is_empty());
    }

    #[test]
    fn what_only_one_guest_can_have_is_known() {
        let given = |net: &[&str], disk: &[&str], console: &[&str]| GivenDevices {
            net: net.iter().map(|text| (*text).to_owned()).collect(),
            disk: disk.iter().map(OsString::from).collect(),
            console: console.iter().map(|text| (*text).to_owned()).collect(),
            ..GivenDevices::default()
        };
        assert!(given(&["tap=tap0"], &[], &[]).are_exclusive());
        assert!(given(&[], &["b,ro", "a.img"], &[]).are_exclusive());
        assert!(given(&[], &[], &["null", "socket=s"]).are_exclusive());
        assert!(given(&[], &[], &["file=f"]).are_exclusive());
        assert!(!given(&["none"], &["b,ro"], &["stdio"]).are_exclusive());
    }
}
