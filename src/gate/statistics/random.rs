//! Streams of random bits, and the seeds they start from.
//!
//! One mixing function serves both: the finaliser of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable
//! pseudorandom number generators", OOPSLA, section 4; constants of Stafford's variant 13).

/// 2^64 divided by the golden ratio, odd: the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A 64-bit hash of a sequence of words: h := mix((h xor word) + GOLDEN) from h = 0, then once more with the number of
/// words. It resists no attack, but is the same everywhere and for ever.
pub(super) struct Hash {
    state: u64,
    words: u64,
}

impl Hash {
    pub fn new() -> Hash {
        Hash { state: 0, words: 0 }
    }

    pub fn add(&mut self, word: u64) {
        self.state = mix((self.state ^ word).wrapping_add(GOLDEN));
        self.words += 1;
    }

    pub fn finish(mut self) -> u64 {
        self.add(self.words);
        self.state
    }
}

/// The stream of draw number `number` under `seed`: SplitMix64 from a mixed starting point. Each resample has its own,
/// so results do not depend on which thread computes it. Two of 10,000 streams of 1,000 words overlap with probability
/// below 1e-8 (10^4 squared times 10^3 over 2^64).
#[derive(Clone)]
pub(super) struct Stream {
    state: u64,
}

impl Stream {
    pub fn of(seed: u64, number: u64) -> Stream {
        Stream { state: mix(seed ^ mix(number.wrapping_add(GOLDEN))) }
    }

    #[inline]
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Two indices below `bound` from the halves of one word, by multiply-shift (Lemire 2019, ACM TOMACS 29(1)). The
    /// bias is below `bound` / 2^32, far under what any number of resamples could show.
    #[inline]
    pub fn two_indices(&mut self, bound: u32) -> [usize; 2] {
        let word = self.word();
        let low = (word & 0xffff_ffff) * u64::from(bound);
        let high = (word >> 32) * u64::from(bound);
        [(low >> 32) as usize, (high >> 32) as usize]
    }
}
