//! Predictions for one H200, from counts of kernels and from the kernels' sources. Nothing here was measured on a GPU: they
//! are what the numbers of a real one are held against, and say by how much the picture behind them is wrong.

use super::model::Sizes;
use formats::dtype::Dtype;

/// Bytes a second from the card's memory.
pub const BANDWIDTH: f64 = 4.3e12;
/// Seconds of the host for a kernel, where everything on its way is optimised (`--profile dist`).
pub const HOST: f64 = 12e-6;
/// Seconds of the smallest kernel between two barriers.
pub const FLOOR: f64 = 3e-6;
/// Seconds to hand kernels to the driver.
pub const SUBMIT: f64 = 30e-6;
/// Seconds to wait for one number.
pub const READ: f64 = 100e-6;
/// Bytes a second to and from the card, by way of a staging buffer.
pub const UPLOAD: f64 = 8e9;
/// f32 operations a second by the products without tensor cores.
pub const FLOPS: f64 = 20e12;
/// The same of PyTorch: f32 without TF32, and half precision on tensor cores.
pub const TORCH_FLOPS: f64 = 45e12;
pub const TORCH_HALF_FLOPS: f64 = 350e12;

/// Kernels a layer and kernels besides, as a test counts them (`stages/tests/counters`).
pub struct KernelCounts {
    pub layer: f64,
    pub besides: f64,
}

impl KernelCounts {
    pub fn of(&self, sizes: &Sizes) -> f64 {
        self.layer * sizes.layers as f64 + self.besides
    }
}

pub const TOKEN: KernelCounts = KernelCounts { layer: 13.0, besides: 5.0 };
pub const TOKEN_F16: KernelCounts = KernelCounts { layer: 13.0, besides: 6.0 };
pub const SFT: KernelCounts = KernelCounts { layer: 45.0, besides: 17.0 };
pub const PPO_STEP: KernelCounts = KernelCounts { layer: 90.0, besides: 35.0 };
/// Policy, reward model and critic, forward, and the reference, which has no adapter.
pub const SCORING: KernelCounts = KernelCounts { layer: 60.0, besides: 20.0 };

/// The kernels of a decoded token.
pub fn token_kernels(sizes: &Sizes, dtype: Dtype) -> f64 {
    if dtype == Dtype::F32 { TOKEN.of(sizes) } else { TOKEN_F16.of(sizes) }
}

pub fn parameters(sizes: &Sizes) -> f64 {
    let (d, inner, layers) = (sizes.width as f64, sizes.inner as f64, sizes.layers as f64);
    let keys = d * sizes.kv_heads as f64 / sizes.heads as f64;
    layers * (2.0 * d * d + 2.0 * d * keys + 3.0 * d * inner) + sizes.vocabulary as f64 * d
}

/// The shape of a product, `[m, k]` by `[k, n]`.
#[derive(Clone, Copy)]
pub struct Product {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// The share of the bandwidth that a product of few rows reaches.
const OF_BANDWIDTH: f64 = 0.6;

/// Seconds of a product. Of few rows: the bytes of the matrix, once for every eight of them, or the loads of a thread one
/// after the other, four at a time. Of many: the operations, or the steps along the inner side, sixteen numbers each.
pub fn product(Product { m, k, n }: Product, dtype: Dtype) -> f64 {
    let [rows, inner, columns] = [m, k, n].map(|side| side as f64);
    let bytes = dtype.size() as f64 * inner * columns;
    let seconds = match m <= 64 {
        true => {
            // Threads along the inner side, as `kernel/gpu/product/few.rs` has them.
            let along = if n >= 1024 { 32.0 } else { 256.0 };
            (bytes * (rows / 8.0).ceil() / (BANDWIDTH * OF_BANDWIDTH)).max(inner / along / 4.0 * 0.6e-6)
        }
        false => (bytes / BANDWIDTH).max(inner / 16.0 * 1e-6),
    };
    seconds.max(2.0 * rows * inner * columns / FLOPS).max(FLOOR)
}

/// Seconds of a sum over rows of `n` numbers by one thread each.
pub fn reduce(n: usize) -> f64 {
    let loads = n as f64 / 4.0;
    (loads / 8.0 * 0.15e-6 + loads * 7.0 / 8.0 * 0.02e-6).max(FLOOR)
}

/// A norm is a kernel, of which 128 threads go over a row twice.
pub fn norm(n: usize) -> f64 {
    (n as f64 / 128.0 * 0.1e-6).max(FLOOR)
}

/// burn's running sum looks at all numbers before each.
pub fn running_sum(rows: usize, n: usize) -> f64 {
    let n = n as f64;
    (n * 0.02e-6).max(rows as f64 * (n / 32.0) * (n / 2.0) / (132.0 * 1.8e9))
}

/// A token of each row is chosen by one workgroup a row, in about ten passes at 100 GB/s.
pub fn choice(n: usize) -> f64 {
    (n as f64 * 4.0 * 10.0 / 1e11).max(FLOOR)
}

/// Seconds of a decoded token of `rows` rows, with LoRA of rank 8.
pub fn token(sizes: &Sizes, dtype: Dtype, rows: usize) -> f64 {
    let (m, d, inner) = (rows, sizes.width, sizes.inner);
    let of = |k: usize, n: usize| product(Product { m, k, n }, dtype);
    let adapter = |k: usize| product(Product { m, k, n: 8 }, Dtype::F32);
    // Projections with one input have one product by their A together; those by B are in their kernels.
    let adapters = 3.0 * adapter(d) + adapter(inner);
    let layer = 4.0 * of(d, d) + 2.0 * of(d, inner) + of(inner, d) + adapters;
    let kernels = token_kernels(sizes, dtype);
    let others = (kernels - 12.0 * sizes.layers as f64).max(0.0) * FLOOR;
    let norms = (2 * sizes.layers + 1) as f64 * norm(d);
    let head = of(d, sizes.vocabulary) + choice(sizes.vocabulary);
    (kernels * HOST).max(sizes.layers as f64 * layer + head + others + norms)
}

/// Seconds of a step over `tokens` tokens, of which the models are run forward and back `ways` times.
pub fn passes(sizes: &Sizes, kernels: f64, tokens: usize, ways: f64) -> f64 {
    (kernels * HOST).max(2.0 * ways * parameters(sizes) * tokens as f64 / FLOPS)
}

/// The size of an iteration of PPO.
#[derive(Clone, Copy)]
pub struct PpoSize {
    pub rows: usize,
    pub prompt: usize,
    pub new: usize,
    pub epochs: usize,
}

/// Seconds of generation, scoring and update.
pub fn ppo(sizes: &Sizes, dtype: Dtype, size: PpoSize) -> [f64; 3] {
    let PpoSize { rows, prompt, new, epochs } = size;
    let tokens = rows * (prompt + new);
    let update = passes(sizes, PPO_STEP.of(sizes), tokens, 4.0);
    [
        new as f64 * token(sizes, dtype, rows) + passes(sizes, TOKEN.of(sizes), rows * prompt, 1.0),
        passes(sizes, SCORING.of(sizes), tokens, 4.0),
        epochs as f64 * update,
    ]
}

/// Seconds of the same by PyTorch: 5 µs a kernel, 50 a layer and token where `transformers` decodes, and 60 where TRL does.
pub struct Torch {
    pub flops: f64,
    /// Bytes of a weight.
    pub weight: f64,
}

pub fn torch(dtype: Dtype) -> Torch {
    let flops = if dtype == Dtype::F32 { TORCH_FLOPS } else { TORCH_HALF_FLOPS };
    Torch { flops, weight: dtype.size() as f64 }
}

impl Torch {
    pub fn token(&self, sizes: &Sizes, by_layer: f64) -> f64 {
        (sizes.layers as f64 * by_layer * 5e-6).max(self.weight * parameters(sizes) / BANDWIDTH)
    }

    pub fn passes(&self, sizes: &Sizes, tokens: usize, ways: f64) -> f64 {
        let launches = sizes.layers as f64 * 60.0 * ways * 5e-6;
        launches.max(2.0 * ways * parameters(sizes) * tokens as f64 / self.flops)
    }

    pub fn ppo(&self, sizes: &Sizes, size: PpoSize) -> f64 {
        let tokens = size.rows * (size.prompt + size.new);
        size.new as f64 * self.token(sizes, 60.0) + self.passes(sizes, tokens, 4.0 + 4.0 * size.epochs as f64)
    }
}
