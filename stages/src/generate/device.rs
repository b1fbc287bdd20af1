//! The choice of the next token on a device, where reading the logits would stop it after each token.

use super::{Choice, Keep};
use crate::model::host::tensor;
use burn::tensor::{Device, Int, Tensor};

/// Chooses a token for each row of `logits`; `draws` has a uniform number per row.
pub fn choose(logits: Tensor<2>, choice: Choice, draws: &[f64], device: &Device) -> Tensor<1, Int> {
    let [rows, v] = logits.dims();
    let Choice::Sample { temperature, keep, .. } = choice else {
        // NaN equals nothing: such rows get an id beyond the vocabulary, which the host refuses.
        let most = logits.clone().max_dim(1);
        let place = Tensor::<1, Int>::arange(0..v as i64, device).reshape([1, v]).repeat_dim(0, rows);
        return place.mask_fill(logits.equal(most).bool_not(), v as i64).min_dim(1).reshape([rows]);
    };
    let weights = (logits.clone() - logits.max_dim(1)).div_scalar(temperature).exp();
    // Below 1 by more than what rounding adds: else the last token would be drawn, however unlikely.
    let draws: Vec<f32> = draws.iter().map(|draw| (*draw as f32).min(1.0 - f32::EPSILON * 4.0)).collect();
    let draws = tensor(draws, [rows, 1], device);
    let pick = |weights: Tensor<2>| {
        let sums = weights.cumsum(1);
        let total = sums.clone().slice([0..rows, v - 1..v]);
        let is_lost = total.clone().is_finite().bool_not().int().mul_scalar(v as i64);
        (sums.lower_equal(total * draws.clone()).int().sum_dim(1).clamp(0, v as i64 - 1), is_lost)
    };
    if keep == Keep::default() {
        let (picked, is_lost) = pick(weights);
        return (picked + is_lost).reshape([rows]);
    }
    let (sorted, ids) = weights.sort_descending_with_indices(1);
    let before = sorted.clone().cumsum(1) - sorted.clone();
    let total = sorted.clone().sum_dim(1);
    let mut sorted = sorted;
    if let Some(p) = keep.top_p {
        sorted = sorted.mask_fill(before.greater_equal(total.mul_scalar(p)), 0.0);
    }
    if let Some(most) = keep.top_k.filter(|most| *most < v) {
        sorted = sorted.slice_fill([0..rows, most..v], 0.0);
    }
    let (picked, is_lost) = pick(sorted);
    (ids.gather(1, picked) + is_lost).reshape([rows])
}
