//! A judge and a hand-written list of events: a driver resets an entropy device, begins to initialize it,
//! and then clears a bit of the device status. Citations are of virtio 1.0.
//!
//!     cargo run -p stickler-conformance --example judge

use std::sync::{Arc, Mutex};

use stickler_conformance::event::StatusEvent;
use stickler_conformance::layout::status::{ACKNOWLEDGE, DRIVER};
use stickler_conformance::{
    DeviceId, DeviceKind, Finding, Judge, Outcome, Recorder, Witness, catalogue, features,
};

/// Keeps the findings. The judge has one clone, and `main` another.
#[derive(Clone, Default)]
struct Findings(Arc<Mutex<Vec<Finding>>>);

impl Findings {
    fn all(&self) -> Vec<Finding> {
        self.0.lock().expect("no other thread").clone()
    }
}

impl Recorder for Findings {
    fn record(&mut self, finding: Finding) {
        self.0.lock().expect("no other thread").push(finding);
    }
}

fn main() {
    let device = DeviceId {
        slot: 1,
        kind: DeviceKind::Entropy,
    };
    let findings = Findings::default();
    let mut judge = Judge::new(device, features::VERSION_1, Box::new(findings.clone()));

    // The events that a device would report, in their order.
    let events = [
        StatusEvent::Written { from: 0, to: 0 },
        StatusEvent::ResetDone,
        StatusEvent::Read { value: 0 },
        StatusEvent::Written {
            from: 0,
            to: ACKNOWLEDGE,
        },
        StatusEvent::Written {
            from: ACKNOWLEDGE,
            to: ACKNOWLEDGE | DRIVER,
        },
        // §2.1.1: the driver must not clear a bit.
        StatusEvent::Written {
            from: ACKNOWLEDGE | DRIVER,
            to: ACKNOWLEDGE,
        },
    ];
    for event in events {
        judge.see(&event.into());
    }

    let tallies = judge.tallies().expect("a judge counts");
    for (requirement, row) in catalogue::iter() {
        let tally = tallies.get(requirement);
        if matches!(
            tallies.outcome(requirement),
            Outcome::Held | Outcome::Violated
        ) {
            println!(
                "{:<32} held {}, violated {}",
                row.name, tally.held, tally.violated
            );
        }
    }
    for finding in findings.all() {
        println!("{}: {}", finding.requirement.name(), finding.message);
    }
    let names: Vec<_> = (findings.all().iter())
        .map(|finding| finding.requirement.name())
        .collect();
    assert_eq!(names, ["status.no-clear"]);
}

#[test]
fn it_runs() {
    main();
}
