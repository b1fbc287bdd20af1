//! The operations a model computes with, forward and, where something is trained through them, backward. [`Kernel`]
//! defines each; there is one implementation per backend, and [`of`] chooses it by the device. Operations that burn
//! has for every device and no backend fuses (look-ups, the scalar head, sums of gradients) stay with their callers.
//!
//! Shapes: `n` tokens of all rows of a batch, padding included; `d` width; `h` query heads and `kv` key/value heads of
//! `hd` numbers each; `v` vocabulary. `dx` is the gradient of the loss with respect to `x`.

mod backend;
mod blocks;
#[cfg(not(feature = "fusion"))]
mod gpu;
mod host;
mod slopes;
mod tensors;

pub use backend::of;
pub use blocks::{Blocks, MatrixBlock};
pub use slopes::{ByRow, LatePredictions, LossKernel, PolicyTerms, Predictions, Slopes, TokenGradients, ValueTerms};

use crate::tensor::{Later, from_values};
use anyhow::Result;
use burn::tensor::{DType, Device, FloatDType, Int, Tensor};
use formats::architectures::Activation;

/// The computations of a backend, and the size at which it does them.
pub trait Kernel: Sync {
    /// Attention goes row by row: rows lie one after the other without padding.
    fn attends_by_row(&self) -> bool;

    /// The scores of attention are in memory all at once.
    fn holds_scores(&self) -> bool;

    /// The number of logits computed at once: as many as fit a share of a core's cache, or as keep a GPU busy.
    fn logits_at_once(&self, device: &Device) -> usize;

    /// The number of tokens chosen before the host reads them: each read makes a GPU wait.
    fn tokens_between_reads(&self) -> usize;

    /// `start` plus all terms, `[m, n]`, added in their order: a projection with its adapter, its bias and the
    /// residual.
    fn products(&self, start: Start, terms: Vec<Term>) -> Tensor<2>;

    /// Two sums of products of the same left sides.
    fn two_products(&self, both: [Vec<Term>; 2]) -> [Tensor<2>; 2] {
        both.map(|terms| self.products(Start::Zero, terms))
    }

    /// The rows of `x` in the precision of `weight`, where they are multiplied in it.
    fn half_rows(&self, x: &Tensor<2>, weight: &Tensor<2>) -> Option<HalfRows> {
        HalfRows::of(x, weight)
    }

    /// (x − mean) / √(mean square + ε) · weight + bias of each row of `[n, d]`.
    fn norm(&self, x: Tensor<2>, norm: Normalization) -> Tensor<2>;

    /// dx `[n, d]` of [`Kernel::norm`], added to the gradient of the residual stream that went past it.
    ///
    /// With x̂ the scaled x and g = weight·dy: dx = scale·(g − x̂·mean(g·x̂)), less its mean where the norm is centred.
    fn norm_back(&self, x: Tensor<2>, norm: Normalization, dy: Tensor<2>, residual: Option<Tensor<2>>) -> Tensor<2>;

    /// The gradients of the weight and of the bias of a norm, `[1, d]` each.
    fn norm_weight_back(&self, x: Tensor<2>, norm: Normalization, dy: Tensor<2>) -> [Tensor<2>; 2] {
        let ones = Tensor::ones(norm.weight.dims(), &x.device());
        let scaled = self.norm(x, Normalization { weight: ones, bias: None, ..norm });
        [self.sum_of_rows(scaled * dy.clone()), self.sum_of_rows(dy)]
    }

    /// The sum `[1, d]` of the rows of `[n, d]`.
    fn sum_of_rows(&self, x: Tensor<2>) -> Tensor<2> {
        x.sum_dim(0)
    }

    /// f(x) of `[n, inner]`, times `up` where there is one (SwiGLU and its kin, Shazeer 2020).
    fn gate(&self, activation: Activation, x: Tensor<2>, up: Option<Tensor<2>>) -> Tensor<2>;

    /// [`Kernel::gate`] of two sums of products, where a backend computes it without either.
    fn gated(&self, _activation: Activation, _terms: GatedTerms) -> Option<Tensor<2>> {
        None
    }

    /// The gradients of `x` and of `up`.
    fn gate_back(
        &self,
        activation: Activation,
        x: Tensor<2>,
        up: Option<Tensor<2>>,
        dy: Tensor<2>,
    ) -> (Tensor<2>, Option<Tensor<2>>);

    /// Rotations read their angles where they lie in the table of the model.
    fn reads_tables(&self) -> bool {
        false
    }

    /// Rotary position embedding of queries `[n, h·hd]` and keys `[n, kv·hd]`, head by head (Su et al. 2021, eq. 34, pairs
    /// half a head apart). Dimensions beyond those of the angles stay as they are.
    fn rotate(&self, both: [Tensor<2>; 2], angles: &Angles, heads: Heads) -> [Tensor<2>; 2];

    /// The gradients of what [`Kernel::rotate`] was given: the rotation the other way.
    fn rotate_back(&self, both: [Tensor<2>; 2], angles: &Angles, heads: Heads) -> [Tensor<2>; 2];

    /// softmax(scores)·v, `[n, h·hd]`, of queries `[n, h·hd]` and keys and values `[n, kv·hd]`. The scores are s·q·kᵀ,
    /// brought under a bound c by c·tanh(x/c) where there is one.
    fn attend(&self, heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask) -> Tensor<2>;

    /// The gradients of queries, keys and values. Weights are computed again rather than kept (Dao et al. 2022, §3.1).
    fn attend_back(&self, heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask, dy: Tensor<2>) -> [Tensor<2>; 3];

    /// An empty cache for rows of at most `capacity` tokens.
    fn cache(&self, layers: usize, capacity: usize) -> Box<dyn KeyValueCache>;

    /// log softmax of rows of logits `[n, v]` at their `targets`, and the rows' entropies.
    fn log_softmax(&self, logits: Tensor<2>, targets: &[u32]) -> LatePredictions;

    /// KL(p ‖ q) `[n, 1]`, nats, of the distributions behind rows of logits `[n, v]` and `[n, v]`: the sum over all `v`, which
    /// is never below zero.
    fn divergence(&self, p: Tensor<2>, q: Tensor<2>) -> Tensor<2>;

    /// The gradient of the logits `[n, v]`. With a and b those of log-probability and entropy H:
    /// a·(onehot − p) − b·p·(log p + H).
    fn log_softmax_back(
        &self,
        logits: Tensor<2>,
        targets: &[u32],
        d_log_probs: &ByRow,
        d_entropies: &[f32],
    ) -> Tensor<2>;

    /// The gradient `[v, d]` of a table of which the rows `ids` were read, for those of what was read, `[n, d]`: each
    /// row's sum, in the order in which it was read.
    fn table_back(&self, gradient: Tensor<2>, ids: &[u32], v: usize) -> Result<Tensor<2>>;

    /// The slopes of the losses of PPO where they are computed without a read; `None` on the host, where nothing is gained.
    fn losses(&self) -> Option<&'static dyn LossKernel> {
        None
    }

    /// `[n, d]` with `rows` `[m, d]` at `positions`, none of which occurs twice, and 0 elsewhere.
    fn place_rows(&self, rows: Tensor<2>, positions: &[usize], n: usize) -> Tensor<2>;

    /// Draws of several tokens, where they are read.
    fn draws(&self, draws: Vec<f64>, _device: &Device) -> Draws {
        Draws::Host(draws)
    }

    /// One token for each row of logits `[b, v]`; `v`, which is no token, where they are not finite. Without `sampling`
    /// the most likely one; ties go to the lower id.
    fn choose(&self, logits: Tensor<2>, sampling: Option<Sampling>) -> Tensor<1, Int>;

    /// The sums of squares of gradients, whose sum is that of all: as many as the backend finds handy.
    fn squares(&self, gradients: &[Tensor<2>]) -> Later;

    /// Weight, mean and square after one step of Adam on weight, mean, square and gradient.
    fn adam(&self, step: &AdamStep, tensors: [Tensor<2>; 4]) -> [Tensor<2>; 3];

    /// The kernels for adapters whose matrices lie in one tensor; `None` for a backend that gains nothing by them.
    fn together(&self) -> Option<&'static dyn TogetherKernel> {
        None
    }
}

/// For adapters that lie in one tensor. What is computed with is a buffer of [`Blocks::size`] numbers.
pub trait TogetherKernel {
    /// The buffer, of the trained numbers `[1, n]`: each times the factor of its block, at its place there, and 0 elsewhere.
    fn spread(&self, blocks: &Blocks, trained: Tensor<2>) -> Tensor<1>;

    /// The gradient `[1, n]` of the trained numbers, from that of the buffer.
    fn gather(&self, blocks: &Blocks, gradients: Tensor<1>) -> Tensor<2>;

    /// Writes left·right into the buffer from a place on.
    fn product_into(&self, left: Tensor<2>, right: Tensor<2>, buffer: &Tensor<1>, at: usize);
}

/// Columns by which a cache grows on a backend that does not attend row by row: attention looks at all of them.
pub const ROOM: usize = 64;

/// Keys and values of the positions so far, of all layers and rows.
pub trait KeyValueCache {
    /// As [`Kernel::attend`], over the cached tokens of each row and the new ones, which are added to the cache.
    /// Queries and keys are turned by their angles here, where there are any.
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        qkv: [Tensor<2>; 3],
        angles: Option<&Angles>,
        mask: &AttentionMask,
    ) -> Tensor<2>;

    /// Drops all rows but `rows`.
    fn keep(&mut self, rows: &[usize]);
}

/// The products of a gate and those of the other half.
pub enum GatedTerms {
    Apart([Vec<Term>; 2]),
    /// Right sides have the columns of the gate, and then those of the other half.
    Joint(Vec<Term>),
}

/// `factor`·left·right of `[m, k]` and `[k, n]`. The right one may be of half precision; so are the products of numbers
/// where the left one is `halved`.
#[derive(Clone)]
pub struct Term {
    pub left: Tensor<2>,
    pub right: Tensor<2>,
    pub factor: f64,
    /// The left side in the precision of the right one, where it is made once for several products.
    pub halved: Option<HalfRows>,
}

pub fn term(left: &Tensor<2>, right: Tensor<2>) -> Term {
    Term { left: left.clone(), right, factor: 1.0, halved: None }
}

/// Rows in half precision, each brought to a largest number of 1: gradients are far smaller than what f16 can tell from 0
/// (Micikevicius et al. 2018, section 3.2, by row instead of by loss).
#[derive(Clone)]
pub struct HalfRows {
    pub x: Tensor<2>,
    /// `[m, 1]`, by which the rows were divided.
    pub size: Tensor<2>,
}

impl HalfRows {
    /// `x` in the precision of `weight`; `None` if that is f32.
    pub fn of(x: &Tensor<2>, weight: &Tensor<2>) -> Option<HalfRows> {
        let half = match weight.dtype() {
            DType::F16 => FloatDType::F16,
            DType::BF16 => FloatDType::BF16,
            _ => return None,
        };
        let size = x.clone().max_abs_dim(1).clamp_min(f32::MIN_POSITIVE);
        Some(HalfRows { x: (x.clone() / size.clone()).cast(half), size })
    }
}

/// The value that products are added to.
pub enum Start<'a> {
    Zero,
    /// `[1, n]`, the same in each row.
    Bias(&'a Tensor<2>),
    /// `[m, n]`.
    Residual(Tensor<2>),
}

#[derive(Clone)]
pub struct Normalization<'a> {
    /// `[1, d]`, as is the bias.
    pub weight: Tensor<2>,
    pub bias: Option<&'a Tensor<2>>,
    pub epsilon: f64,
    /// The mean is subtracted: LayerNorm (Ba et al. 2016); without, RMSNorm (Zhang & Sennrich 2019).
    pub is_centred: bool,
}

/// Cosines and sines of the rotary angles, `[n, dims]` each: both halves of a token's pairs rotate alike. The sines of the
/// first half are negative, as the first number of a pair turns by that of the second.
#[derive(Clone)]
pub struct Angles {
    pub cosines: Tensor<2>,
    pub sines: Tensor<2>,
    pub rows: AngleRows,
    /// `[dims]`: the place of each number's partner in its pair.
    pub halves: Tensor<1, Int>,
}

/// The row of angles of each token.
#[derive(Clone)]
pub enum AngleRows {
    /// The angles lie in the order of the tokens.
    InOrder,
    /// They are the table of the model, of which these are the rows `[n]`.
    Listed(Tensor<1, Int>),
    /// They are the table, of which a token has the row of its place in its row of tokens, and so many more.
    Counted { behind: usize },
}

/// The numbers of query heads and of key/value heads, their width, and how queries and keys become scores.
#[derive(Clone, Copy)]
pub struct Heads {
    pub queries: usize,
    pub keys: usize,
    pub width: usize,
    /// Factor of the scores.
    pub scale: f64,
    /// The bound of the scores.
    pub cap: Option<f64>,
}

impl Heads {
    /// Query heads that share a key/value head.
    fn group(self) -> usize {
        self.queries / self.keys
    }
}

/// The place of a row among the tokens of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub at: usize,
    pub len: usize,
}

impl Span {
    pub fn last(self) -> usize {
        self.at + self.len - 1
    }
}

/// The tokens that each token attends to.
pub enum AttentionMask {
    /// Row by row: to the tokens of its own row up to itself; to the last `window` of them, where there is one.
    Rows { rows: Vec<MaskedRow>, window: Option<usize> },
    /// The same in a rectangle.
    Rectangle(MaskedRectangle),
}

/// Lines of `columns` new tokens behind `filled` cached ones.
pub struct MaskedRectangle {
    pub columns: usize,
    pub filled: usize,
    /// `[n]`: the columns in which the rows of the tokens begin. Padding has one beyond all columns, and attends to nothing.
    pub starts: Tensor<1, Int>,
    pub window: Option<usize>,
}

impl AttentionMask {
    /// The columns of a rectangle before the new ones.
    fn filled(&self) -> usize {
        match self {
            AttentionMask::Rectangle(rectangle) => rectangle.filled,
            AttentionMask::Rows { .. } => 0,
        }
    }

    /// The rectangle that a backend is given which does not attend by row.
    fn rectangle(&self) -> &MaskedRectangle {
        match self {
            AttentionMask::Rectangle(rectangle) => rectangle,
            AttentionMask::Rows { .. } => {
                unreachable!("only a backend that attends by row is given rows without padding")
            }
        }
    }
}

#[derive(Clone, Copy)]
pub struct MaskedRow {
    /// Its new tokens.
    pub span: Span,
    /// All its tokens, cached ones included.
    pub seen: usize,
}

/// Draws of tokens from softmax(logits / temperature), of those that `keep` leaves.
#[derive(Clone, Copy)]
pub struct Sampling<'a> {
    pub temperature: f64,
    pub keep: Keep,
    pub draws: &'a Draws,
    /// The token that is chosen, of those that were drawn for together.
    pub token: usize,
}

/// Numbers in [0, 1): of all rows for one token, then for the next.
pub enum Draws {
    Host(Vec<f64>),
    Device(Tensor<1>),
}

impl Draws {
    /// Those of a token, for a choice on the host or of a kernel that takes them from there.
    fn of(&self, token: usize, rows: usize) -> &[f64] {
        match self {
            Draws::Host(draws) => &draws[token * rows..(token + 1) * rows],
            Draws::Device(_) => unreachable!("draws are sent to a device that asked for them"),
        }
    }
}

/// The most likely tokens, which alone are sampled from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Keep {
    /// At most this many (Fan et al. 2018, section 5.4).
    pub top_k: Option<usize>,
    /// The fewest that hold this probability together (Holtzman et al. 2020, eq. 2).
    pub top_p: Option<f64>,
}

/// The factors of one step of Adam, which are the same for all tensors.
#[derive(Clone, Copy)]
pub struct AdamStep {
    pub beta1: f64,
    pub beta2: f64,
    /// Factor of the gradient before anything else.
    pub shrink: f64,
    /// Factor of the mean, and divisor of the square, in the step.
    pub rate: f64,
    pub correction: f64,
    pub epsilon: f64,
    /// Factor of the weight: less than 1 where it decays.
    pub retain: f64,
}

const TANH_FACTOR: f64 = 0.797_884_560_802_865_4; // √(2/π)
const TANH_CUBE: f64 = 0.044715;
const PER_ROOT_TAU: f64 = 0.398_942_280_401_432_7; // 1/√(2π)

/// A column `[n, 1]`.
fn column(values: &[f32], device: &Device) -> Tensor<2> {
    from_values(values.to_vec(), [values.len(), 1], device)
}

/// c·tanh(x/c), which lies between −c and c; x itself where there is no bound.
pub fn capped<const D: usize>(cap: Option<f64>, x: Tensor<D>) -> Tensor<D> {
    match cap {
        Some(cap) => x.div_scalar(cap).tanh().mul_scalar(cap),
        None => x,
    }
}

/// The gradient of x for that of y = [`capped`] x: times 1 − (y/c)².
pub fn capped_back<const D: usize>(cap: Option<f64>, y: Tensor<D>, dy: Tensor<D>) -> Tensor<D> {
    match cap {
        Some(cap) => dy * y.div_scalar(cap).square().neg().add_scalar(1.0),
        None => dy,
    }
}
