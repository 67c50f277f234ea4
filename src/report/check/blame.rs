//! What a failure of a run is laid to.
//!
//! A device does not see what the guest makes of its data. Where the exercise fails, the driver may have
//! continued as a driver does that copes with a latitude, and has not coped.

use stickler_conformance::requirement::How;
use stickler_conformance::tally::Tally;
use stickler_conformance::{DeviceKind, Latitude, catalogue};

use super::{CheckedRun, FailureKind, RunFailure};
use crate::report::json::ReportedRequirement;

/// How many latitudes the text about a failure names.
const NAMED: usize = 4;

/// Lays each failure of `run` that is no violation to what the run's latitudes provoke, and takes that back
/// in `requirements`, where it counts as held.
pub(super) fn lay(run: &mut CheckedRun, requirements: &mut [ReportedRequirement]) {
    let latitudes = suspects(run);
    for failure in &mut run.failures {
        let kind = match failure.how {
            FailureKind::Step => device_of(failure.step.as_deref()),
            FailureKind::Data => Some(DeviceKind::Block),
            FailureKind::Guest | FailureKind::Timeout | FailureKind::Complaint => None,
            FailureKind::Violation | FailureKind::Stickler => continue,
        };
        let concerned = |latitude: &Latitude| match (kind, latitude.kind()) {
            (Some(kind), Some(of)) => kind == of,
            _ => true,
        };
        let provoked = |row: &&mut ReportedRequirement| {
            latitude_of(&row.id)
                .is_some_and(|latitude| latitudes.contains(&latitude) && concerned(&latitude))
        };
        for row in requirements.iter_mut().filter(provoked) {
            if row.violated > 0 {
                continue;
            }
            failure.not_held.push(row.id.clone());
            row.held = 0;
            row.readings
                .iter_mut()
                .for_each(|reading| reading.satisfied = 0);
            if let Some(requirement) = catalogue::find(&row.id) {
                row.outcome = Tally::default().outcome(requirement);
            }
        }
    }
}

/// The latitudes that may be the reason: the fewest with which the run is known to fail.
fn suspects(run: &CheckedRun) -> Vec<Latitude> {
    let parse = |name: &str| name.parse::<Latitude>().ok();
    match &run.shrunk {
        Some(fewest) => fewest.split(',').filter_map(parse).collect(),
        None => run
            .latitude
            .names
            .iter()
            .filter_map(|name| parse(name))
            .collect(),
    }
}

/// The device that a step of the exercise is about.
fn device_of(step: Option<&str>) -> Option<DeviceKind> {
    match step?.split('-').next()? {
        // The last two are steps of what firmware boots.
        "block" | "read" | "write" => Some(DeviceKind::Block),
        "network" => Some(DeviceKind::Net),
        "console" => Some(DeviceKind::Console),
        "entropy" => Some(DeviceKind::Entropy),
        _ => None,
    }
}

/// The latitude that provokes a requirement.
fn latitude_of(requirement: &str) -> Option<Latitude> {
    match catalogue::find(requirement)?.requirement().how {
        How::Provoked(latitude) => Some(latitude),
        How::Asserted | How::Built { .. } | How::Unobservable(_) | How::Proposed(_) => None,
    }
}

impl RunFailure {
    /// What it is laid to, for people; `None` if that is nothing.
    pub fn laid_to(&self) -> Option<String> {
        let mut parts: Vec<(Latitude, Vec<&str>)> = Vec::new();
        for name in &self.not_held {
            let Some(latitude) = latitude_of(name) else {
                continue;
            };
            match parts.iter_mut().find(|(known, _)| *known == latitude) {
                Some((_, names)) => names.push(name),
                None => parts.push((latitude, vec![name])),
            }
        }
        let more = parts.len().saturating_sub(NAMED);
        let mut text: Vec<String> = parts
            .iter()
            .take(NAMED)
            .map(|(latitude, names)| format!("with {latitude}: {} not held", names.join(", ")))
            .collect();
        match more {
            0 => {}
            1 => text.push("and what one more latitude provokes".to_owned()),
            more => text.push(format!("and what {more} more latitudes provoke")),
        }
        (!text.is_empty()).then(|| text.join("; "))
    }
}
