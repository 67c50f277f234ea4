//! The entropy device (§5.4 of virtio 1.0).

use stickler_conformance::DeviceKind::Entropy;

use crate::parts::{r, w};
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("entropy.buffer.writable", Entropy, |p| {
        p.boot();
        p.exchange(0, &[r(16), w(64)]);
    }),
    case("entropy.buffer.room", Entropy, |p| {
        p.boot();
        p.exchange(0, &[w(0)]);
    }),
];
