//! The code that satisfies each requirement on devices, with a comment that cites each of its clauses, and
//! a test that fails without it.

mod basic;
mod block;
mod console;
mod entropy;
mod net;
mod pci;

/// The code and the test of one requirement.
pub(super) struct Proof {
    /// The requirement's name.
    pub(super) requirement: &'static str,
    /// The file with the code that satisfies it, from the root of the source tree.
    pub(super) code: &'static str,
    /// The file of the test that fails without it.
    pub(super) test_file: &'static str,
    /// That test's function.
    pub(super) test: &'static str,
}

/// Each requirement on devices with its proof.
pub(super) fn proofs() -> impl Iterator<Item = &'static Proof> {
    [
        basic::PROOFS,
        pci::PROOFS,
        net::PROOFS,
        block::PROOFS,
        console::PROOFS,
        entropy::PROOFS,
    ]
    .into_iter()
    .flatten()
}

/// Declares proofs: the requirement, the code, and the test (file and function). Files are below
/// `devices/src`.
macro_rules! declare {
    ($($requirement:literal: $code:literal, $file:literal $test:ident;)+) => {
        pub(super) const PROOFS: &[super::Proof] = &[
            $(super::Proof {
                requirement: $requirement,
                code: concat!("devices/src/", $code),
                test_file: concat!("devices/src/", $file),
                test: stringify!($test),
            },)+
        ];
    };
}
use declare;
