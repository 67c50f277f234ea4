use std::os::fd::RawFd;

use stickler_conformance::event::StatusEvent;
use stickler_conformance::{DeviceId, DeviceKind, Witness};
use stickler_devices::virtio::{Progress, Wake};

use super::*;

/// A device whose driver has broken a rule, and which may hang.
struct Judging {
    kind: DeviceKind,
    hangs: bool,
    tallies: Option<Tallies>,
}

impl Judging {
    fn serviced(kind: DeviceKind, hangs: bool, journal: &Journal) -> Arc<dyn Serviced> {
        let id = DeviceId { slot: 1, kind };
        let mut judge = Judge::new(id, 1 << 32, journal.recorder());
        judge.see(&StatusEvent::Written { from: 3, to: 1 }.into());
        Arc::new(Judging {
            kind,
            hangs,
            tallies: judge.tallies(),
        })
    }

    /// What waits for a device that hangs waits for ever.
    fn asked(&self) {
        assert!(!self.hangs, "it hangs");
    }
}

impl Serviced for Judging {
    fn id(&self) -> DeviceId {
        DeviceId {
            slot: 1,
            kind: self.kind,
        }
    }

    fn kick_fd(&self) -> RawFd {
        -1
    }

    fn host_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn service(&self, _wake: Wake) -> Progress {
        Progress::Done
    }

    fn memory_changed(&self, _ram: GuestRam) {}

    fn run_ended(&self, _by_guest: bool) {
        self.asked();
    }

    fn answers_within(&self, _time: Duration) -> bool {
        !self.hangs
    }

    fn is_live(&self) -> bool {
        self.asked();
        false
    }

    fn was_taken(&self) -> bool {
        self.asked();
        true
    }

    fn tallies(&self) -> Option<Tallies> {
        self.asked();
        self.tallies.clone()
    }
}

impl Drop for Judging {
    fn drop(&mut self) {
        self.asked();
    }
}

#[test]
fn a_device_that_hangs_is_left_out_of_the_report_which_says_so() {
    let journal = Journal::new();
    let served = vec![
        Judging::serviced(DeviceKind::Block, true, &journal),
        Judging::serviced(DeviceKind::Net, false, &journal),
    ];
    let end = RunEnd::Guest(GuestEnd::Timeout);
    let report = report(end, served, Readings::default(), &journal, true);
    let RunEnd::Error(message) = &report.end else {
        panic!("{:?}", report.end);
    };
    assert!(
        message.contains("the block device in slot 1 hangs"),
        "{message}"
    );
    assert!(report.violates(|_| true));
}
