//! What drivers do from one reset to the next, at random.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any as anything};
use stickler_conformance::latitude::Draw;

use crate::exam::{Act, Life};

/// Any life.
pub(crate) fn any() -> impl Strategy<Value = Life> {
    (
        anything::<u64>(),
        0..8_u32,
        0..300_u64,
        anything::<[bool; 3]>(),
        anything::<[u8; 2]>(),
        vec(act(), 0..20),
    )
        .prop_map(
            |(wanted, size, gap, [msix, early, orderly], [muted, patience], acts)| {
                life(
                    wanted,
                    size,
                    gap,
                    [msix, early, orderly],
                    [muted, patience],
                    acts,
                )
            },
        )
}

fn life(
    wanted: u64,
    size: u32,
    gap: u64,
    [msix, early, orderly]: [bool; 3],
    [muted, patience]: [u8; 2],
    acts: Vec<Act>,
) -> Life {
    Life {
        wanted,
        size: 1 << size,
        gap,
        msix,
        // Most have all events mapped.
        muted: if muted % 4 == 0 { muted / 4 } else { 0 },
        early,
        // Most are patient.
        patience: patience % 32,
        orderly,
        acts,
    }
}

fn act() -> impl Strategy<Value = Act> {
    let numbers = (anything::<u8>(), 1..6_u8, anything::<u16>());
    let bits = anything::<[bool; 6]>();
    (numbers, bits).prop_map(|((what, segments, number), bits)| make(what, segments, number, bits))
}

fn make(what: u8, segments: u8, number: u16, bits: [bool; 6]) -> Act {
    let [indirect, behind, suppress, hold, odd, twist] = bits;
    Act {
        what,
        segments,
        number,
        indirect,
        behind,
        suppress,
        hold,
        odd,
        twist,
    }
}

/// The life that belongs to a seed.
pub(crate) fn drawn(seed: u64) -> Life {
    let mut draw = Draw::new(seed, 1);
    let mut acts = Vec::new();
    for _ in 0..draw.below(32) + 8 {
        let bits = draw.bits();
        let bit = |n: u32| bits >> (32 + n) & 1 != 0;
        let bools = [bit(0), bit(1), bit(2), bit(3), bit(4), bit(5)];
        acts.push(make(
            bits as u8,
            1 + (bits >> 8) as u8 % 5,
            (bits >> 16) as u16,
            bools,
        ));
    }
    let bits = draw.bits();
    let bit = |n: u32| bits >> n & 1 != 0;
    life(
        draw.bits(),
        draw.below(8) as u32,
        draw.below(300),
        [bit(0), bit(1), bit(2)],
        [(bits >> 8) as u8, 4 + (bits >> 16) as u8 % 28],
        acts,
    )
}
