//! Our own kernels of a GPU beside the loops of the host.

mod attention;
mod products;
mod rows;

use super::{DRAW, largest_difference, wgpu};
use burn::tensor::{Device, Tensor, TensorData};
use stages::kernel::{self, Keep, PolicyTerms, Sampling, ValueTerms};
use stages::rl::{self, KlEstimate};
use stages::tensor::{ids_of, values_of};

fn tensor(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// Drawn numbers with a row of zeros.
fn drawn(of: u64, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let mut stream = DRAW.stream(11, of);
    let mut values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| stream.normal() as f32).collect();
    if shape[0] > 2 {
        values[shape[1]..2 * shape[1]].fill(0.0);
    }
    tensor(&values, shape, device)
}

/// Checks that a GPU computes the numbers of the host, within a share of the largest one; and the same bytes once more.
fn check(name: &str, gpu: &Device, error: f32, compute: impl Fn(&Device) -> Vec<Tensor<2>>) {
    let values = |device| compute(device).into_iter().map(|x| values_of(x).unwrap()).collect::<Vec<_>>();
    let (ours, again, hosts) = (values(gpu), values(gpu), values(&Device::flex()));
    assert_eq!(ours.len(), hosts.len());
    for (number, ((ours, again), host)) in ours.iter().zip(&again).zip(&hosts).enumerate() {
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(ours), bits(again), "{name}, {number}: other bytes the second time");
        let (off, size) = (largest_difference(ours, host), host.iter().map(|x| x.abs()).fold(0.0, f32::max));
        assert!(size > 0.0 && off <= error * size, "{name}, {number}: off by {off}, of {size}");
        assert!(ours.iter().all(|x| x.is_finite()), "{name}, {number}: not finite");
    }
}

/// Logits with ties, with tokens of no weight, and with rows that no token can be chosen by.
#[test]
fn a_gpu_chooses_the_tokens_that_the_host_chooses() {
    let Some(gpu) = wgpu() else { return };
    let (rows, v) = (7, 5003);
    let mut stream = DRAW.stream(9, 0);
    let mut logits: Vec<f32> = (0..rows * v).map(|_| (stream.normal() * 2.0) as f32).collect();
    // Row 1 has tokens of two weights, row 2 one token, rows 3 and 4 are lost, row 5 has a tie for the largest.
    logits[v..2 * v].iter_mut().enumerate().for_each(|(id, x)| *x = if id % 3 == 0 { 1.0 } else { 0.0 });
    logits[2 * v..3 * v].fill(f32::NEG_INFINITY);
    logits[2 * v + 4711] = 3.0;
    logits[3 * v + 77] = f32::NAN;
    logits[4 * v + 5000] = f32::INFINITY;
    logits[5 * v + 4000] = 20.0;
    logits[5 * v + 300] = 20.0;
    let chosen = |device: &Device, keep: Option<Keep>, draws: &[f64]| {
        let draws = kernel::of(device).draws(draws.to_vec(), device);
        // The second token of those that were drawn for.
        let sampling = keep.map(|keep| Sampling { temperature: 0.8, keep, draws: &draws, token: 1 });
        ids_of(kernel::of(device).choose(tensor(&logits, [rows, v], device), sampling)).unwrap()
    };
    let greedy = chosen(&gpu, None, &[]);
    assert_eq!(greedy, chosen(&Device::flex(), None, &[]));
    assert_eq!((greedy[3], greedy[4], greedy[5]), (v as i32, v as i32, 300));
    let keeps = [
        Keep::default(),
        Keep { top_k: Some(1), top_p: None },
        Keep { top_k: Some(40), top_p: None },
        Keep { top_k: None, top_p: Some(0.63) },
        Keep { top_k: Some(2500), top_p: Some(0.97) },
        Keep { top_k: Some(3), top_p: Some(0.999) },
    ];
    for keep in keeps {
        for _ in 0..6 {
            let draws: Vec<f64> = (0..2 * rows).map(|_| stream.uniform()).collect();
            let [ours, hosts] = [&gpu, &Device::flex()].map(|device| chosen(device, Some(keep), &draws));
            assert_eq!(ours, hosts, "{keep:?}, {draws:?}");
        }
    }
}

#[test]
fn slopes_of_ppo_on_a_gpu_are_those_of_the_host() {
    let Some(gpu) = wgpu() else { return };
    let losses = kernel::of(&gpu).losses().expect("a GPU computes them");
    let n = 300;
    let mut stream = DRAW.stream(10, 0);
    let mut numbers = |scale: f64| -> Vec<f64> { (0..n).map(|_| stream.normal() * scale).collect() };
    let [old, moved, advantages, weights, references] = [2.0, 0.3, 1.0, 0.01, 2.0].map(&mut numbers);
    let [old_values, more, returns] = [1.0, 0.4, 1.0].map(&mut numbers);
    let add = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(x, y)| x + y).collect::<Vec<f64>>();
    // As a device has them.
    let narrow = |values: Vec<f64>| values.into_iter().map(|x| f64::from(x as f32)).collect::<Vec<f64>>();
    let (new, values) = (narrow(add(&old, &moved)), narrow(add(&old_values, &more)));
    let pairs: Vec<f32> = new.iter().flat_map(|x| [*x as f32, 0.0]).collect();
    let close = |name: &str, ours: Tensor<2>, theirs: &[f64]| {
        let theirs: Vec<f32> = theirs.iter().map(|x| *x as f32).collect();
        let off = largest_difference(&values_of(ours).unwrap(), &theirs);
        let size = theirs.iter().map(|x| x.abs()).fold(0.0, f32::max);
        assert!(size > 0.0 && off <= 2e-6 * size, "{name}: off by {off}, of {size}");
    };
    for dual_clip in [None, Some(3.0)] {
        for kl in [None, Some(KlEstimate::K1), Some(KlEstimate::K2), Some(KlEstimate::K3)] {
            let (clip, beta) = (0.2, 0.05);
            let (old, advantages, weights, references) = (&old[..], &advantages[..], &weights[..], &references[..]);
            let kl_terms = kl.map(|estimate| (estimate, beta, references));
            let terms = PolicyTerms { old, advantages, weights, clip, dual_clip, kl: kl_terms };
            let mut loss = rl::policy_loss(&new, old, advantages, clip, dual_clip);
            if let Some(estimate) = kl {
                loss = loss.plus(beta, &rl::kl_loss(estimate, &new, references));
            }
            let ours = losses.policy_slopes(&tensor(&pairs, [n, 2], &gpu), &terms);
            close(&format!("policy, {dual_clip:?}, {kl:?}"), ours, &loss.weighted(weights).gradients);
        }
    }
    let (offset, spread) = (0.25, 1.5);
    let of_head: Vec<f32> = values.iter().map(|value| (value * spread + offset) as f32).collect();
    for clip in [None, Some(0.2)] {
        let terms = ValueTerms { old: &old_values, returns: &returns, weights: &weights, clip, offset, spread };
        let loss = rl::value_loss(&values, &old_values, &returns, clip).weighted(&weights);
        let slopes: Vec<f64> = loss.gradients.iter().map(|slope| slope / spread).collect();
        close(&format!("values, {clip:?}"), losses.value_slopes(&tensor(&of_head, [n, 1], &gpu), &terms), &slopes);
    }
}
