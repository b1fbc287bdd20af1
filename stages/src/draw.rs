//! Named random draws. A draw is a function of (seed, kind, purpose, step, row): no generator is carried
//! from one draw to the next, so a resumed run draws what an undisturbed one would have drawn, and a
//! stage's name never matters. Numbers come from blake3's extendable output (public, portable, fixed).

/// The name of a draw, without the step and the row.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    pub seed: u64,
    pub kind: &'static str,
    pub purpose: &'static str,
}

impl Draw {
    /// An endless stream for (step, row).
    pub fn stream(self, step: u64, row: u64) -> Stream {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        for name in [self.kind, self.purpose] {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
        }
        hasher.update(&step.to_le_bytes());
        hasher.update(&row.to_le_bytes());
        Stream { reader: hasher.finalize_xof() }
    }

    /// A shuffled `0..n`.
    pub fn order(self, step: u64, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        let mut stream = self.stream(step, 0);
        for last in (1..n).rev() {
            order.swap(last, stream.below(last + 1));
        }
        order
    }
}

pub struct Stream {
    reader: blake3::OutputReader,
}

impl Stream {
    fn bits(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.reader.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`; the bias of the product method is below n/2⁶⁴.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Numbers for resampling, which takes millions: by SplitMix64 (Steele et al. 2014) from a seed of this stream.
    pub fn resampling(&mut self) -> Resampling {
        Resampling { state: self.bits() }
    }

    /// Standard normal (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}

/// A fast source of numbers for one resample.
pub struct Resampling {
    state: u64,
}

impl Resampling {
    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// As many draws from `0..n` as there are. The bias is below n/2³².
    pub fn indices(&mut self, n: usize, mut each: impl FnMut(usize)) {
        for first in (0..n).step_by(2) {
            let word = self.word();
            each((((word & 0xffff_ffff) * n as u64) >> 32) as usize);
            if first + 1 < n {
                each((((word >> 32) * n as u64) >> 32) as usize);
            }
        }
    }

    /// The number of `n` uniform numbers that are below `share`: all of them are compared with it bit by bit, 64 at once,
    /// until none is left undecided.
    pub fn below(&mut self, n: u32, share: f64) -> u32 {
        if share >= 1.0 {
            return n;
        }
        let (mut bits, mut open, mut below) = ((share * 2.0_f64.powi(64)) as u64, n, 0);
        while open > 0 && bits != 0 {
            let mut ones = 0;
            for first in (0..open).step_by(64) {
                let used = (open - first).min(64);
                ones += (self.word() >> (64 - used)).count_ones();
            }
            if bits >> 63 == 1 {
                below += open - ones;
                open = ones;
            } else {
                open -= ones;
            }
            bits <<= 1;
        }
        below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: Draw = Draw { seed: 7, kind: "ppo", purpose: "token" };

    #[test]
    fn a_draw_depends_on_every_part_of_its_name_and_on_nothing_else() {
        let first = |draw: Draw, step, row| draw.stream(step, row).bits();
        let one = first(DRAW, 3, 5);
        assert_eq!(one, first(DRAW, 3, 5));
        for other in [
            first(Draw { seed: 8, ..DRAW }, 3, 5),
            first(Draw { kind: "sft", ..DRAW }, 3, 5),
            first(Draw { purpose: "order", ..DRAW }, 3, 5),
            first(DRAW, 4, 5),
            first(DRAW, 3, 6),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn an_order_is_a_permutation_and_normals_have_mean_0_and_sd_1() {
        let mut order = DRAW.order(1, 100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());

        let mut stream = DRAW.stream(0, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        // Five standard errors: 5/√20000 and 5·√(2/20000).
        assert!(mean.abs() < 0.036 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn the_numbers_below_a_share_are_binomial() {
        let mut source = DRAW.stream(0, 0).resampling();
        for (n, share) in [(2000, 0.3), (100, 0.999), (7, 0.5), (65, 1.0 / 3.0)] {
            let all: Vec<f64> = (0..20_000).map(|_| f64::from(source.below(n, share))).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let variance = all.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / all.len() as f64;
            let (expected, spread) = (f64::from(n) * share, f64::from(n) * share * (1.0 - share));
            assert!((mean - expected).abs() < 5.0 * (spread / 20_000.0).sqrt(), "{mean} is not {expected}");
            assert!((variance / spread - 1.0).abs() < 0.06, "{variance} is not {spread}");
        }
        assert_eq!((source.below(9, 0.0), source.below(9, 1.0)), (0, 9));
    }
}
