//! Random bytes of the host.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use stickler_devices::entropy::Source;

/// The host kernel's random number generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEntropy;

impl Source for HostEntropy {
    fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut rest = into;
        while !rest.is_empty() {
            match getrandom(&mut *rest, GetRandomFlags::NONBLOCK) {
                // Up to 256 bytes come whole; more may come in parts.
                Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_buffer_is_filled() {
        let mut bytes = vec![0; 1 << 20];
        HostEntropy
            .fill(&mut bytes)
            .expect("the host has randomness");
        // A value is missing in a part with probability (255/256)^(2^18), less than 10^-400.
        for part in bytes.chunks(1 << 18) {
            for value in 0..=u8::MAX {
                assert!(part.contains(&value));
            }
        }
    }
}
