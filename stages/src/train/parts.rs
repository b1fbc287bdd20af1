//! Batches in parts: the rows of each, and the sums over all.

use super::late::{Late, ShardGradients};
use anyhow::Result;
use burn::tensor::Tensor;

/// The loss of a shard and its gradients: sums over its parts, in their order.
///
/// # Errors
/// The first error of `one`.
pub fn in_parts(
    parts: &[Vec<usize>],
    mut one: impl FnMut(&[usize]) -> Result<(f64, Vec<Tensor<2>>)>,
) -> Result<ShardGradients<'static, f64>> {
    let (mut loss, mut gradients) = (0.0, Vec::new());
    for part in parts {
        let (now, more) = one(part)?;
        loss += now;
        add(&mut gradients, more);
    }
    Ok((Late::Known(loss), gradients))
}

/// Adds the gradients of one part of a batch to those of the earlier parts.
pub fn add(so_far: &mut Vec<Tensor<2>>, more: Vec<Tensor<2>>) {
    if so_far.is_empty() {
        *so_far = more;
        return;
    }
    let old = std::mem::take(so_far);
    *so_far = old.into_iter().zip(more).map(|(old, more)| old + more).collect();
}

/// Splits a batch into micro-batches of at most `at_once` rows of similar length; returns the row numbers of each.
pub fn parts(lengths: &[usize], at_once: Option<usize>) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    match at_once {
        Some(at_once) if at_once < lengths.len() => {
            order.sort_by_key(|row| lengths[*row]);
            order.chunks(at_once).map(<[usize]>::to_vec).collect()
        }
        _ => vec![order],
    }
}
