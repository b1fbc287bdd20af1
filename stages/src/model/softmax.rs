//! Log-probabilities of tokens out of rows of logits, their entropies, and the derivative of both. As in `kernel`: loops on
//! the CPU backend, tensor expressions elsewhere.

use super::artifact::values_of;
use super::host::{Numbers, PIECE, exp, fill, is_host, largest, sum, tensor};
use anyhow::Result;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use rayon::prelude::*;

/// Of rows of logits `[n, v]`, already divided by the temperature: log-probabilities of `targets` and entropies, `[n]`.
pub fn log_softmax(logits: Tensor<2>, targets: &[u32]) -> Result<(Vec<f64>, Vec<f64>)> {
    let device = logits.device();
    let [n, v] = logits.dims();
    if !is_host(&device) {
        let all = logits.clone() - logits.clone().max_dim(1);
        let all = all.clone() - all.exp().sum_dim(1).log();
        let entropies = (all.clone().exp() * all.clone()).sum_dim(1).neg();
        let picked = all.gather(1, places(targets, &device));
        let both = values_of(Tensor::cat(vec![picked, entropies], 1))?;
        let column = |at: usize| both.iter().skip(at).step_by(2).map(|x| f64::from(*x)).collect();
        return Ok((column(0), column(1)));
    }
    let logits = Numbers::of(logits);
    let logits = logits.slice();
    let mut out = vec![0.0; n * 2];
    // Rows are long here: each is a piece of its own.
    out.par_chunks_exact_mut(2).enumerate().with_min_len((PIECE / v).max(1)).for_each(|(row, out)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let logits = &logits[row * v..(row + 1) * v];
                let most = largest(logits);
                let total = sum(v, |i| exp(logits[i] - most));
                let moment = sum(v, |i| exp(logits[i] - most) * (logits[i] - most));
                let log_total = total.ln();
                out[0] = logits[targets[row] as usize] - most - log_total;
                out[1] = log_total - moment / total;
            },
        );
    });
    let column = |at: usize| out.iter().skip(at).step_by(2).map(|x| f64::from(*x)).collect();
    Ok((column(0), column(1)))
}

/// The slope of the logits `[n, v]`, for those of the log-probabilities of `targets` and of the entropies:
/// a·(onehot − p) − b·p·(log p + H).
pub fn log_softmax_back(logits: Tensor<2>, targets: &[u32], of_log_probs: &[f32], of_entropies: &[f32]) -> Tensor<2> {
    let device = logits.device();
    let [n, v] = logits.dims();
    if !is_host(&device) {
        let shifted = logits.clone() - logits.max_dim(1);
        let all = shifted.clone() - shifted.exp().sum_dim(1).log();
        let p = all.clone().exp();
        let a = tensor(of_log_probs.to_vec(), [n, 1], &device);
        let mut out = p.clone() * a.clone().neg();
        if of_entropies.iter().any(|slope| *slope != 0.0) {
            let entropies = (p.clone() * all.clone()).sum_dim(1).neg();
            out = out - p * (all + entropies) * tensor(of_entropies.to_vec(), [n, 1], &device);
        }
        let one_hot = Tensor::zeros([n, v], &device).scatter(1, places(targets, &device), a, IndexingUpdateOp::Add);
        return out + one_hot;
    }
    let logits = Numbers::of(logits);
    let logits = logits.slice();
    let mut out = vec![0.0; n * v];
    fill(
        &mut out,
        v,
        #[inline(always)]
        |row, out| {
            let logits = &logits[row * v..(row + 1) * v];
            let most = largest(logits);
            for i in 0..v {
                out[i] = exp(logits[i] - most);
            }
            let total = sum(v, |i| out[i]);
            let (a, b) = (of_log_probs[row], of_entropies[row]);
            if b == 0.0 {
                let scale = -a / total;
                for x in out.iter_mut() {
                    *x *= scale;
                }
            } else {
                let moment = sum(v, |i| out[i] * (logits[i] - most));
                // log p + H = (x − most) − moment/total.
                for i in 0..v {
                    let p = out[i] / total;
                    out[i] = -p * (a + b * (logits[i] - most - moment / total));
                }
            }
            out[targets[row] as usize] += a;
        },
    );
    tensor(out, [n, v], &device)
}

fn places(targets: &[u32], device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = targets.iter().map(|id| *id as i32).collect();
    Tensor::from_data(TensorData::new(ids, [targets.len(), 1]), device)
}
