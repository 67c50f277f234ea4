//! The tests.

pub(crate) mod check;
pub(crate) mod confinement;
pub(crate) mod endings;
pub(crate) mod exercise;
pub(crate) mod foreign;
pub(crate) mod inputs;
pub(crate) mod outcomes;
pub(crate) mod userland;
pub(crate) mod verdicts;

use crate::suite::Test;

/// All tests, the quick ones first.
pub(crate) fn all() -> Vec<Test> {
    let mut tests = inputs::all();
    tests.extend(endings::all());
    tests.extend(confinement::all());
    tests.extend(verdicts::all());
    tests.extend(outcomes::all());
    tests.extend(check::all());
    tests.extend(foreign::all());
    tests.extend(exercise::all());
    tests.extend(userland::all());
    tests
}
