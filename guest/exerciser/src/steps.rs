//! The steps of the exercise, by their names.

use std::fmt;
use std::str::FromStr;

/// A step of the exercise. Those in which drivers go and come are followed by a shorter use of all devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The disks are written, read and compared.
    Block,
    /// The network carries packets both ways, and its control queue gets commands.
    Network,
    /// The terminal and the named port answer.
    Console,
    /// Random bytes are read.
    Entropy,
    /// Each device type's driver is unbound and bound.
    RebindDrivers,
    /// The transport's driver is unbound and bound.
    RebindTransport,
    /// Each device is removed from the bus and found again.
    Rescan,
    /// What the kernel shows of the devices is what the devices told.
    View,
    /// Drivers of disks, network and entropy device go and come under load, for seconds.
    Stress,
    /// The console's drivers go and come while its terminal and ports are in use, for seconds.
    StressConsoles,
    /// All drivers are frozen and thawed under load.
    Freeze,
    /// Processors go and come under load.
    Processors,
}

impl Step {
    /// All of them, in the order in which they are done.
    pub const ALL: [Step; 12] = [
        Step::Block,
        Step::Network,
        Step::Console,
        Step::Entropy,
        Step::RebindDrivers,
        Step::RebindTransport,
        Step::Rescan,
        Step::Stress,
        Step::StressConsoles,
        Step::Freeze,
        Step::Processors,
        Step::View,
    ];

    /// Those in which nothing but one thing at a time happens, which is the exercise of a guest that is asked
    /// for no other.
    pub const QUIET: [Step; 7] = [
        Step::Block,
        Step::Network,
        Step::Console,
        Step::Entropy,
        Step::RebindDrivers,
        Step::RebindTransport,
        Step::Rescan,
    ];

    /// Its name in options, marks and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Step::Block => "block",
            Step::Network => "network",
            Step::Console => "console",
            Step::Entropy => "entropy",
            Step::RebindDrivers => "rebind-drivers",
            Step::RebindTransport => "rebind-transport",
            Step::Rescan => "rescan",
            Step::View => "view",
            Step::Stress => "stress",
            Step::StressConsoles => "stress-consoles",
            Step::Freeze => "freeze",
            Step::Processors => "processors",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(&Step::ALL, Step::name, text)
    }
}

/// How the guest ends when its exercise is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LastStep {
    /// It is switched off when all is quiet.
    #[default]
    PowerOff,
    /// It is switched off while all devices are in use.
    PowerOffUnderLoad,
    /// It is restarted while all devices are in use.
    RebootUnderLoad,
    /// While all devices are in use it starts the same kernel again, without the machine's firmware. That
    /// one uses the devices once more, and is switched off while they are in use.
    Kexec,
}

impl LastStep {
    /// All of them.
    pub const ALL: [LastStep; 4] = [
        LastStep::PowerOff,
        LastStep::PowerOffUnderLoad,
        LastStep::RebootUnderLoad,
        LastStep::Kexec,
    ];

    /// Its name in options, marks and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LastStep::PowerOff => "power-off",
            LastStep::PowerOffUnderLoad => "power-off-under-load",
            LastStep::RebootUnderLoad => "reboot-under-load",
            LastStep::Kexec => "kexec",
        }
    }
}

impl fmt::Display for LastStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LastStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(&LastStep::ALL, LastStep::name, text)
    }
}

/// The one of `all` with this name.
fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Result<T, String> {
    all.iter()
        .copied()
        .find(|&one| name(one) == text)
        .ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|&one| name(one)).collect();
            format!("no such step; the steps are {}", names.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_known_by_its_name() {
        for step in Step::ALL {
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        for step in LastStep::ALL {
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        let error = "blok".parse::<Step>().unwrap_err();
        assert!(error.contains("block, network"), "{error}");
        assert!("".parse::<LastStep>().is_err());
    }

    #[test]
    fn the_quiet_steps_are_some_of_all_in_their_order() {
        let quiet: Vec<Step> = Step::ALL
            .into_iter()
            .filter(|step| Step::QUIET.contains(step))
            .collect();
        assert_eq!(quiet, Step::QUIET);
    }
}
