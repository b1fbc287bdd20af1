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

    /// As many draws from `0..n` as there are, for resampling: by blocks of bytes, of which each draw takes four. The bias is
    /// below n/2³².
    pub fn indices(&mut self, n: usize, mut each: impl FnMut(usize)) {
        let mut bytes = [0; 4096];
        let mut left = n;
        while left > 0 {
            let now = left.min(bytes.len() / 4);
            self.reader.fill(&mut bytes[..4 * now]);
            for word in bytes[..4 * now].chunks_exact(4) {
                let word = u32::from_le_bytes(word.try_into().expect("four bytes"));
                each(((u64::from(word) * n as u64) >> 32) as usize);
            }
            left -= now;
        }
    }

    /// Standard normal (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
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
}
