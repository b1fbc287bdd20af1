//! Views of the memory of burn's CPU backend, and loops over rows on all cores with the instructions this machine has.

use burn::backend::Flex;
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// A tensor of the CPU backend, read in place.
pub struct HostTensor(FlexTensor);

impl HostTensor {
    /// Contiguous; copied only where the tensor is not.
    pub fn contiguous<const D: usize>(tensor: Tensor<D>) -> HostTensor {
        let HostTensor(tensor) = HostTensor::strided(tensor);
        HostTensor(if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() })
    }

    /// Never copied.
    pub fn strided<const D: usize>(tensor: Tensor<D>) -> HostTensor {
        HostTensor(tensor.try_into_primitive::<Flex>().expect("this backend was chosen for its device"))
    }

    /// The numbers of a contiguous tensor.
    pub fn slice(&self) -> &[f32] {
        self.0.as_slice::<f32>().expect("what is computed with is contiguous f32")
    }

    /// The whole allocation, of which the tensor may be a part.
    pub fn storage(&self) -> &[f32] {
        self.0.storage()
    }

    /// Shape, strides and first place of a matrix.
    pub fn strides(&self) -> ([usize; 2], [usize; 2], usize) {
        let layout = self.0.layout();
        let (shape, strides) = (layout.shape(), layout.strides());
        let stride = |at: usize| usize::try_from(strides[at]).expect("no tensor here is reversed");
        ([shape[0], shape[1]], [stride(0), stride(1)], layout.start_offset())
    }
}

/// Fewer numbers than this are not worth a second thread.
const SERIAL: usize = 1 << 17;
/// The count of numbers that one thread takes at a time.
pub const PIECE: usize = 1 << 14;

/// Fills the rows of `out`, `width` numbers each.
pub fn fill(out: &mut [f32], width: usize, row: impl Fn(usize, &mut [f32]) + Sync) {
    fill_two(
        out,
        width,
        &mut [],
        0,
        #[inline(always)]
        |index, out, _| row(index, out),
    );
}

/// As [`fill`], with two results per row.
pub fn fill_two(
    one: &mut [f32],
    width: usize,
    two: &mut [f32],
    other_width: usize,
    row: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let rows = one.len() / width;
    let piece = (PIECE / width).max(1);
    let work = |start: usize, one: &mut [f32], two: &mut [f32]| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let mut two = two;
                for (offset, one) in one.chunks_exact_mut(width).enumerate() {
                    let (now, later) = two.split_at_mut(other_width);
                    row(start + offset, one, now);
                    two = later;
                }
            },
        );
    };
    if one.len() < SERIAL {
        work(0, one, two);
        return;
    }
    let (mut jobs, mut one, mut two, mut start) = (Vec::with_capacity(rows / piece + 1), one, two, 0);
    while start < rows {
        let now = piece.min(rows - start);
        let (first, rest) = one.split_at_mut(now * width);
        let (second, other_rest) = two.split_at_mut(now * other_width);
        jobs.push((start, first, second));
        (one, two, start) = (rest, other_rest, start + now);
    }
    jobs.into_par_iter().for_each(|(start, one, two)| work(start, one, two));
}

const LANES: usize = 16;

/// Σ f(i) over i < n, added up in sixteen lanes: the order does not depend on the width of the machine's registers.
#[inline(always)]
pub fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = n - n % LANES;
    let mut at = 0;
    while at < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(at + lane);
        }
        at += LANES;
    }
    for (lane, sum) in lanes.iter_mut().enumerate().take(n - whole) {
        *sum += f(whole + lane);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The largest number; NaN is never one.
#[inline(always)]
pub fn largest(xs: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = xs.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    let all = lanes.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most })
}

/// eˣ to about two units in the last place, in operations that a compiler turns into vectors: x = n·ln 2 + r, and the
/// Taylor polynomial of eʳ for |r| ≤ ½ ln 2 (Cody & Waite 1980, ch. 6). NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these bounds the result is 0 or infinite anyway.
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.7 { 88.7 } else { x };
    // Adding 1.5·2²³ rounds to whole numbers.
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
    let n = shifted - 12_582_912.0;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let p = 1.0 / 24.0 + r * (1.0 / 120.0 + r * p);
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * p)));
    // 2ⁿ by its exponent; the low bits of `shifted` are n.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    p * power
}

#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}
