//! Counts of buffers that broke no rule: one step for each buffer.

/// How often the requirements of this chapter held.
#[derive(Default)]
pub(super) struct Counts {
    /// Chains that broke no rule, by [`Shape::bits`](super::Shape::bits).
    pub(super) chains: [u64; 32],
    pub(super) over_rings: u64,
    pub(super) returned: u64,
    pub(super) altered: u64,
}

impl Counts {
    /// The number of chains that broke no rule and have one of `bits`.
    pub(super) fn with(&self, bits: usize) -> u64 {
        let chains = self.chains.iter().enumerate();
        chains
            .filter(|(shape, _)| shape & bits == bits)
            .map(|(_, count)| count)
            .sum()
    }
}
