//! The ones' complement sum of RFC 1071, of which the checksums of IPv4, TCP and UDP are made.

/// A ones' complement sum of 16-bit big-endian words.
///
/// Bytes may be added in pieces. Each piece but the last has an even length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds `bytes`. If their number is odd, a zero byte follows them.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        // The sum of 32-bit words folds to the same value, and 2^32 of them fit.
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            self.0 += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.0 += u64::from(u32::from_be_bytes(last));
    }

    /// The sum in 16 bits. It is 0 only if every byte was 0.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

/// The ones' complement sum of `bytes`. A header or packet with a right checksum has the sum 0xffff,
/// its checksum field and its pseudo header included.
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::default();
    sum.add(bytes);
    sum.fold()
}

/// The checksum of `bytes`, in which the checksum field is 0: the complement of their sum.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// Whether `a` and `b` are the same sum. Ones' complement has two zeros: 0 and 0xffff.
#[inline]
pub fn same_sum(a: u16, b: u16) -> bool {
    a % 0xffff == b % 0xffff
}
