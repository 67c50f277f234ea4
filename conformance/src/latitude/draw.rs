//! Pseudo-random numbers that follow from a seed.

/// Reproducible pseudo-random numbers: SplitMix64, which is public, small, and good enough here. A
/// library's generator may change with its version, and seeds in bug reports would lose their meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw(u64);

impl Draw {
    /// Starts from a seed; different values of `stream` give independent numbers from the same seed.
    pub const fn new(seed: u64, stream: u64) -> Self {
        Draw(seed ^ stream.rotate_left(32))
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        // The high half of a product is almost uniform, which is good enough here.
        ((self.bits() as u128 * bound as u128) >> 64) as u64
    }

    /// True once in `times` times, on average.
    pub const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, which must not be empty.
    pub const fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Shuffles `items`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}
