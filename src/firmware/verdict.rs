//! Whether firmware did with the devices what it should have done: it booted, and the data is right.

use std::fs::File;
use std::os::unix::fs::FileExt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stickler_conformance::{Latitude, Latitudes};
use stickler_firmware_guest::{BootDisk, Compared, WRITE};

use super::watch::BootLog;
use super::{Firmware, FirmwareSpec};
use crate::end::GuestEnd;
use crate::report::RunEnd;

/// What firmware did: whether it booted the program, and what became of the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "boot")]
pub struct BootReport {
    /// Which firmware: seabios, ovmf, u-boot, ipxe, or a file.
    #[schemars(length(min = 1))]
    pub firmware: String,
    /// The guest's processor.
    #[schemars(length(min = 1))]
    pub arch: String,
    /// The firmware's file.
    #[schemars(length(min = 1))]
    pub file: String,
    /// The program that it booted; null if it booted none.
    pub program: Option<String>,
    /// What became of the data on the disk.
    pub data: DataState,
    /// Why the run failed; empty if the firmware booted and the data is right, or if it need not have.
    pub failures: Vec<BootFailure>,
    /// What did not work and need not have, because of an optional behaviour of the devices. Absent if there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excused: Vec<BootFailure>,
}

/// What became of the data on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "data")]
pub enum DataState {
    /// All of it is where it should be.
    Right,
    /// Nothing was written.
    Untouched,
    /// Something else was written.
    Wrong,
    /// There was no disk of stickler's own.
    NotCompared,
}

/// What did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "boot-failure")]
pub struct BootFailure {
    /// What kind of failure it is.
    pub how: BootFailureKind,
    /// The step of the program; null if there is none.
    pub step: Option<String>,
    /// For people; the wording may change.
    #[schemars(length(min = 1))]
    pub message: String,
}

impl BootReport {
    /// What the firmware did, in one line.
    pub fn describe(&self) -> String {
        let booted = match &self.program {
            Some(program) => format!("booted {program}"),
            None => "booted nothing".to_owned(),
        };
        let data = match self.data {
            DataState::Right => "the data on the disk is right",
            DataState::Untouched => "nothing was written to the disk",
            DataState::Wrong => "the data on the disk is wrong",
            DataState::NotCompared => "no data on a disk was compared",
        };
        format!(
            "firmware {} ({}, {}): {booted}; {data}",
            self.firmware, self.arch, self.file
        )
    }
}

impl BootFailure {
    /// The failure in one sentence without an end.
    pub fn describe(&self) -> String {
        match &self.step {
            Some(step) => format!("step {step} failed: {}", self.message),
            None => self.message.clone(),
        }
    }
}

/// In which ways firmware can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "boot-failure-kind")]
pub enum BootFailureKind {
    /// It did not boot the program, or the program did not end.
    Boot,
    /// A step of the program failed.
    Step,
    /// The disk does not contain what the program should have written.
    Data,
}

/// The most bytes of a disk that are read: it does not grow.
const MOST: usize = 64 << 20;

/// What a run of firmware showed.
#[derive(Debug)]
pub struct BootRun<'a> {
    /// The firmware.
    pub firmware: &'a Firmware,
    /// What was said.
    pub log: &'a BootLog,
    /// How the run ended.
    pub end: &'a RunEnd,
    /// The disk of ours; `None` if the user gave another, or if there was none.
    pub disk: Option<&'a File>,
    /// The optional behaviour of the devices.
    pub latitudes: Latitudes,
}

impl BootRun<'_> {
    /// What the firmware did.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn report(&self) -> std::io::Result<BootReport> {
        let data = match self.disk {
            None => None,
            Some(file) => {
                let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
                let mut content = vec![0; size.min(MOST)];
                file.read_exact_at(&mut content, 0)?;
                let receives = self.log.program.as_deref() != Some("boot-sector");
                Some(BootDisk.compare(&content, receives)?)
            }
        };
        let (excused, failures) = self
            .failures(data)
            .into_iter()
            .partition(|failure| self.is_excused(failure));
        Ok(BootReport {
            firmware: match &self.firmware.spec {
                FirmwareSpec::File(_) => "file".to_owned(),
                spec => spec.to_string(),
            },
            arch: self.firmware.arch.to_string(),
            file: self.firmware.file().display().to_string(),
            program: self.log.program.clone(),
            data: match data {
                None => DataState::NotCompared,
                Some(Compared::Right) => DataState::Right,
                Some(Compared::Untouched) => DataState::Untouched,
                Some(Compared::Wrong { .. }) => DataState::Wrong,
            },
            failures,
            excused,
        })
    }

    /// Whether the devices may be such that a driver cannot do it: some may be given up, and some take no writes.
    fn is_excused(&self, failure: &BootFailure) -> bool {
        let may_give_up = self.latitudes.iter().any(Latitude::may_end_use);
        let read_only = self.latitudes.has(Latitude::READ_ONLY);
        match failure.how {
            BootFailureKind::Boot | BootFailureKind::Step if may_give_up => true,
            BootFailureKind::Boot | BootFailureKind::Data => false,
            BootFailureKind::Step => read_only && failure.step.as_deref() == Some(WRITE),
        }
    }

    fn failures(&self, data: Option<Compared>) -> Vec<BootFailure> {
        let failure = |how, step: Option<&str>, message: &str| BootFailure {
            how,
            step: step.map(str::to_owned),
            message: message.to_owned(),
        };
        let boot = |message: &str| failure(BootFailureKind::Boot, None, message);
        let mut failures = Vec::new();
        let RunEnd::Guest(end) = self.end else {
            return failures;
        };
        let log = self.log;
        match (&log.program, &log.failed, end) {
            // Whoever ended the run knows why.
            (_, _, GuestEnd::Interrupted | GuestEnd::Violation) => return failures,
            (_, Some((step, message)), _) => {
                failures.push(failure(BootFailureKind::Step, Some(step), message));
            }
            (Some(_), None, _) if log.passed => {}
            (Some(program), None, GuestEnd::Timeout) => failures.push(boot(&format!(
                "the program ({program}) did not end within its time limit"
            ))),
            (Some(program), None, _) => failures.push(boot(&format!(
                "the program ({program}) ended before it had passed"
            ))),
            (None, None, GuestEnd::Timeout) => {
                failures.push(boot("the firmware booted no program within the time limit"))
            }
            (None, None, GuestEnd::GaveUp(why)) => {
                failures.push(boot(&format!("the firmware booted no program: {why}")));
            }
            (None, None, _) => failures.push(boot("the firmware booted no program")),
        }
        match data {
            Some(Compared::Wrong { what, at }) => failures.push(failure(
                BootFailureKind::Data,
                None,
                &format!("{what}: byte {at} of the disk is wrong"),
            )),
            Some(Compared::Untouched) if log.passed => failures.push(failure(
                BootFailureKind::Data,
                None,
                "the program wrote, and the disk is as before",
            )),
            _ => {}
        }
        // A program that stopped halfway has written a part only.
        if failures
            .iter()
            .any(|failure| failure.how != BootFailureKind::Data)
        {
            failures.retain(|failure| failure.how != BootFailureKind::Data);
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::firmware::BootWatch;
    use crate::qemu::GuestArch;

    /// What is reported of a firmware that said this and ended so, with a disk that `change` has changed.
    fn report(
        said: &str,
        end: GuestEnd,
        latitudes: Latitudes,
        change: impl FnOnce(&mut [u8]),
    ) -> BootReport {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        fs::write(&image, "").unwrap();
        let spec = FirmwareSpec::File(image);
        let firmware = Firmware::find(&spec, GuestArch::X86_64, None).unwrap();
        let mut watch = BootWatch::default();
        watch.feed(said.as_bytes());
        let disk = directory.path().join("disk");
        let mut content = BootDisk.content().unwrap();
        change(&mut content);
        fs::write(&disk, content).unwrap();
        let disk = File::open(disk).unwrap();
        BootRun {
            firmware: &firmware,
            log: &watch.log(),
            end: &RunEnd::Guest(end),
            disk: Some(&disk),
            latitudes,
        }
        .report()
        .unwrap()
    }

    fn kinds(failures: &[BootFailure]) -> Vec<BootFailureKind> {
        failures.iter().map(|failure| failure.how).collect()
    }

    /// As a program does that a BIOS has booted: sectors 4096 to 4223 are copied to 6144.
    fn copy(disk: &mut [u8]) {
        disk.copy_within(4096 * 512..(4096 + 128) * 512, 6144 * 512);
    }

    const BOOTED: &str = "@mark boot-sector\r\n";
    const PASSED: &str = "@mark boot-sector\r\nexercise: passed\r\n";

    #[test]
    fn booted_and_the_data_is_right() {
        let none = Latitudes::default();
        let good = report(PASSED, GuestEnd::PowerOff, none, copy);
        assert_eq!(good.failures, []);
        assert_eq!(good.data, DataState::Right);
        assert_eq!(good.program.as_deref(), Some("boot-sector"));
        // A program that could not switch the machine off has passed nevertheless.
        assert_eq!(report(PASSED, GuestEnd::Timeout, none, copy).failures, []);
        let untouched = report(PASSED, GuestEnd::PowerOff, none, |_| {});
        assert_eq!(kinds(&untouched.failures), [BootFailureKind::Data]);
        let wrong = report(PASSED, GuestEnd::PowerOff, none, |disk| {
            copy(disk);
            disk[6144 * 512 + 3] ^= 1;
        });
        assert_eq!(wrong.data, DataState::Wrong);
        assert_eq!(kinds(&wrong.failures), [BootFailureKind::Data]);
        assert!(wrong.failures[0].message.contains("3145731"), "{wrong:?}");
    }

    #[test]
    fn what_did_not_work_is_told_once_with_the_reason() {
        let none = Latitudes::default();
        for (said, end, words) in [
            ("", GuestEnd::Timeout, "no program within the time limit"),
            ("", GuestEnd::PowerOff, "booted no program"),
            ("", GuestEnd::GaveUp("it stopped".to_owned()), "it stopped"),
            (BOOTED, GuestEnd::Timeout, "boot-sector) did not end"),
            (BOOTED, GuestEnd::Reset, "ended before it had passed"),
            (
                "@mark boot-sector\r\nexercise: failed: read: not right\r\n",
                GuestEnd::PowerOff,
                "not right",
            ),
        ] {
            let bad = report(said, end, none, |_| {});
            let [failure] = bad.failures.as_slice() else {
                panic!("{said}: {bad:?}");
            };
            assert!(failure.message.contains(words), "{failure:?}");
        }
        // Whoever ended it knows that it did not pass.
        for end in [GuestEnd::Interrupted, GuestEnd::Violation] {
            assert_eq!(report(BOOTED, end, none, |_| {}).failures, []);
        }
    }

    #[test]
    fn what_need_not_work_is_no_failure() {
        let read_only = Latitudes::default().with(Latitude::READ_ONLY);
        let unwritten = "@mark boot-sector\r\nexercise: failed: write: no\r\n";
        let excused = report(unwritten, GuestEnd::PowerOff, read_only, |_| {});
        assert_eq!(excused.failures, []);
        assert_eq!(kinds(&excused.excused), [BootFailureKind::Step]);
        let unread = "@mark boot-sector\r\nexercise: failed: read: no\r\n";
        let bad = report(unread, GuestEnd::PowerOff, read_only, |_| {});
        assert_eq!(kinds(&bad.failures), [BootFailureKind::Step]);
        for latitude in Latitude::all() {
            let one = Latitudes::default().with(latitude);
            let bad = report("", GuestEnd::Timeout, one, |_| {});
            assert_eq!(
                bad.failures.is_empty(),
                latitude.may_end_use(),
                "{latitude}"
            );
            // Wrong data is wrong with any device.
            let wrong = report(PASSED, GuestEnd::PowerOff, one, |disk| disk[9000] ^= 1);
            assert_eq!(
                kinds(&wrong.failures),
                [BootFailureKind::Data],
                "{latitude}"
            );
        }
    }
}
