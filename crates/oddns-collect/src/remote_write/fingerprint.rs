//! What tells one label set from another in 128 bits, so that known ones need not be kept as bytes.

use std::hash::{BuildHasher, Hasher};

/// Of a label set as it was sent. Two of ten million sets agree by chance once in 10^24 processes,
/// and not on purpose, since the keys are drawn at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fingerprint(pub(super) [u64; 2]);

/// Makes fingerprints.
#[derive(Debug, Clone)]
pub(super) struct Fingerprints {
    first: ahash::RandomState,
    second: ahash::RandomState,
    /// Odd, for [`Fingerprints::joined`].
    factors: [u64; 2],
}

impl Fingerprints {
    pub(super) fn new() -> Self {
        let (first, second) = (ahash::RandomState::new(), ahash::RandomState::new());
        let factors = [first.hash_one(1_u8) | 1, second.hash_one(2_u8) | 1];
        Self { first, second, factors }
    }

    /// Of a stretch of bytes.
    #[inline]
    pub(super) fn of(&self, bytes: &[u8]) -> Fingerprint {
        let hash = |state: &ahash::RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write(bytes);
            hasher.finish()
        };
        Fingerprint([hash(&self.first), hash(&self.second)])
    }

    /// Of a sequence, given those of its members.
    #[inline]
    pub(super) fn joined(&self, members: impl Iterator<Item = Fingerprint>) -> Fingerprint {
        let mut joined = self.factors;
        for Fingerprint(member) in members {
            joined[0] = folded(joined[0] ^ member[0], self.factors[0]).wrapping_add(member[1]);
            joined[1] = folded(joined[1] ^ member[1], self.factors[1]).wrapping_add(member[0]);
        }
        Fingerprint(joined)
    }
}

/// Both halves of a product, so that every bit moves every other.
#[inline]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Lets a fingerprint be its own hash in a map.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

impl std::hash::Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0] ^ self.0[1].rotate_left(32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_cuts_count() {
        let prints = Fingerprints::new();
        let [a, b, ab] = [b"a".as_slice(), b"b", b"ab"].map(|bytes| prints.of(bytes));
        let joined = |members: &[Fingerprint]| prints.joined(members.iter().copied());
        let all =
            [joined(&[a, b]), joined(&[b, a]), joined(&[ab]), joined(&[a, b, b]), joined(&[])];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(at));
        }
        assert_eq!(prints.of(b"ab"), ab);
    }
}
