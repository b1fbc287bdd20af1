//! Views of the memory of burn's CPU backend, and loops over rows on all cores with the instructions this machine has.

use burn::backend::Flex;
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::mem::MaybeUninit;

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

    /// The same to be overwritten: in place where nothing else holds this memory, else in a copy of its own.
    pub fn slice_mut(&mut self) -> &mut [f32] {
        let (start, end) = self.0.layout().contiguous_offsets().expect("what is written to is contiguous");
        &mut self.0.storage_mut::<f32>()[start..end]
    }

    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_primitive::<Flex>(self.0)
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

/// `rows` rows of `width` numbers each, of which `row` writes every one. See [`filled_side_by_side`].
pub fn filled(rows: usize, width: usize, row: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let [out] = filled_side_by_side(
        rows,
        [width],
        #[inline(always)]
        |index, [out]| row(index, out),
    );
    out
}

/// Several results at once, each of `rows` rows of its own width. A row is set to zero just before it is computed, while
/// it lies in the nearest cache: setting all of them first would be a pass through memory of its own.
pub fn filled_side_by_side<const N: usize>(
    rows: usize,
    widths: [usize; N],
    row: impl Fn(usize, [&mut [f32]; N]) + Sync,
) -> [Vec<f32>; N] {
    let mut out = widths.map(|width| Vec::with_capacity(rows * width));
    let width = widths.iter().sum::<usize>().max(1);
    let piece = (PIECE / width).max(1);
    let work = |start: usize, parts: [&mut [MaybeUninit<f32>]; N]| {
        let mut rest = parts;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for index in start..rows.min(start + piece) {
                    row(index, taken(&mut rest, widths).map(zeroed));
                }
            },
        );
    };
    let mut rest = out.each_mut().map(|out| out.spare_capacity_mut());
    let mut jobs = Vec::with_capacity(rows / piece + 1);
    for start in (0..rows).step_by(piece) {
        jobs.push((start, taken(&mut rest, widths.map(|width| width * piece.min(rows - start)))));
    }
    match rows * width < SERIAL {
        true => jobs.into_iter().for_each(|(start, parts)| work(start, parts)),
        false => jobs.into_par_iter().for_each(|(start, parts)| work(start, parts)),
    }
    for (out, width) in out.iter_mut().zip(widths) {
        // SAFETY: every row was set to zero, and there are `rows` of them.
        unsafe { out.set_len(rows * width) };
    }
    out
}

/// Numbers as memory to be written to.
pub fn as_uninit(numbers: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: both types have one layout, and nothing here writes an uninitialised number.
    unsafe { &mut *(std::ptr::from_mut(numbers) as *mut [MaybeUninit<f32>]) }
}

/// Memory set to zero.
#[inline(always)]
pub fn zeroed(memory: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    for number in memory.iter_mut() {
        number.write(0.0);
    }
    // SAFETY: every number was just written.
    unsafe { &mut *(std::ptr::from_mut(memory) as *mut [f32]) }
}

/// The first so many of each list, which keeps the rest.
#[inline(always)]
fn taken<'a, T, const N: usize>(rest: &mut [&'a mut [T]; N], counts: [usize; N]) -> [&'a mut [T]; N] {
    std::array::from_fn(|at| rest[at].split_off_mut(..counts[at]).expect("no list is shorter than what is taken"))
}

/// Changes the numbers of several lists of one length in place, and those of `given` beside them, a piece at a time.
pub fn changed<const N: usize>(lists: [&mut [f32]; N], given: &[f32], piece: impl Fn([&mut [f32]; N], &[f32]) + Sync) {
    let work = |(lists, given): ([&mut [f32]; N], &[f32])| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || piece(lists, given),
        );
    };
    if given.len() < SERIAL {
        work((lists, given));
        return;
    }
    let mut rest = lists;
    let jobs: Vec<_> = given.chunks(PIECE).map(|given| (taken(&mut rest, [given.len(); N]), given)).collect();
    jobs.into_par_iter().for_each(work);
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
