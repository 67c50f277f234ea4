//! What a hostile guest, client, peer or user may send, from arbitrary bytes.
//!
//! Each function takes the bytes that a fuzzer makes up, and panics if something is wrong. `fuzz/` calls
//! them from libFuzzer; the test `hostile` calls them with bytes of its own, on any toolchain.

mod inputs;
mod moves;
mod vfio_user;

pub use inputs::{frames, kernels, modules, reports};
pub use moves::{moves, rings, scribbled};
pub use vfio_user::vfio_user;

/// A body of a fuzz target.
pub type Body = fn(&[u8]);

/// All of them, by the names of the fuzz targets.
pub const TARGETS: [(&str, Body); 8] = [
    ("frames", frames),
    ("kernels", kernels),
    ("modules", modules),
    ("moves", moves),
    ("reports", reports),
    ("rings", rings),
    ("scribbled", scribbled),
    ("vfio_user", vfio_user),
];
