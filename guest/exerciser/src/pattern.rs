//! Bytes that both sides of a device can make and compare.

/// The first `length` bytes of a stream that `seed` determines. No part of it is equal to another, so that a
/// comparison finds data that is in the wrong place.
#[must_use]
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        // The finalizer of SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend((word ^ (word >> 31)).to_le_bytes());
    }
    out.truncate(length);
    out
}

/// The host's answer to `bytes` on a console port. It differs from them, so that an echo of a terminal is not
/// taken for the answer.
#[must_use]
pub fn answer(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x55).collect()
}

/// Compares `found` with `expected`.
///
/// # Errors
///
/// Returns the first difference in words.
pub fn compare(found: &[u8], expected: &[u8]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!(
            "{} bytes instead of {}",
            found.len(),
            expected.len()
        ));
    }
    match found.iter().zip(expected).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(format!(
            "byte {at} is {:#04x} instead of {:#04x}",
            found[at], expected[at]
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{answer, bytes, compare};

    #[test]
    fn streams_are_reproducible_and_differ() {
        assert_eq!(bytes(1, 1000), bytes(1, 2000)[..1000]);
        assert_ne!(bytes(1, 64), bytes(2, 64));
        assert_ne!(answer(&bytes(1, 64)), bytes(1, 64));
    }

    #[test]
    fn a_difference_is_named() {
        assert_eq!(compare(b"abc", b"abc"), Ok(()));
        assert!(compare(b"abc", b"abd").unwrap_err().contains("byte 2"));
        assert!(compare(b"ab", b"abd").is_err());
    }
}
