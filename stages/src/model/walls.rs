//! The sizes of a stage beside the limits of its device: what is too large for one binding, or for the memory, is cut where
//! that changes no number, and refused elsewhere, before anything of it is sent.
//!
//! Cut are: tables into parts of some rows ([`super::table`]), logits into tokens, and the rows that are decoded or scored
//! together into fewer. What is trained is not cut: sums of gradients would be added in another order.

use super::memory::{self, Memory};
use super::sizes::{F32, bytes_of_weights, of_decoded_row, size_of_number, widest};
use super::together;
use super::{Load, LoraParameters};
use crate::device;
use crate::kernel;
use anyhow::{Result, bail};
use burn::tensor::Device;
use formats::config::Config;
use formats::dtype::Dtype;
use formats::layout::{self, Sort, Weight};

/// Checks the weights of a model, in the precision in which a device keeps them.
///
/// # Errors
/// A matrix is larger than what a kernel of the device can bind, or all are larger than its memory.
pub fn check_weights(config: &Config, kept: Dtype, device: &Device) -> Result<()> {
    let limits = device::limits(device);
    let smaller = if kept == Dtype::F32 { "take `dtype: f16`, a smaller model" } else { "take a smaller model" };
    for weight in layout::weights(config) {
        // A table lies in parts of some rows.
        let rows = if weight.sort == Sort::Embedding { 1 } else { weight.shape[0] as u64 };
        let size = rows * weight.shape[1] as u64 * size_of_number(&weight, kept);
        if size > limits.binding {
            bail!(
                "load the model: `{}` takes {} in {}, and {} binds at most {} at once; {smaller}, or another device",
                weight.name,
                memory::bytes(size),
                kept.name(),
                device::class(device),
                memory::bytes(limits.binding)
            );
        }
    }
    let all = bytes_of_weights(config, kept);
    match limits.memory {
        Some(memory) if all > memory => bail!(
            "load the model: its weights take {} in {}, and {} has {} of memory; {smaller}, or another device",
            memory::bytes(all),
            kept.name(),
            device::class(device),
            memory::bytes(memory)
        ),
        _ => Ok(()),
    }
}

/// Checks the work of a stage; `memory` is its estimate, and `lower` names the parameters to lower.
///
/// # Errors
/// The numbers between two layers, or something that is trained, are more than a kernel can bind; or all is more than the
/// memory of the device.
pub fn check_load(
    config: &Config,
    lora: &LoraParameters,
    load: Load,
    memory: Memory,
    lower: &str,
    device: &Device,
) -> Result<()> {
    let limits = device::limits(device);
    for (what, size, lower) in tensors(config, lora, load, lower, device) {
        if size > limits.binding {
            bail!(
                "compute on {}: {what} take {}, and it binds at most {} at once; {lower}",
                device::class(device),
                memory::bytes(size),
                memory::bytes(limits.binding)
            );
        }
    }
    match limits.memory {
        Some(has) if memory.total() > has => bail!(
            "compute on {}, which has {} of memory: {}",
            device::class(device),
            memory::bytes(has),
            memory::in_words(memory, lower)
        ),
        _ => Ok(()),
    }
}

/// The tensors of a stage that are not cut: what each is, its size, and what to do where that is too large.
fn tensors(
    config: &Config,
    lora: &LoraParameters,
    load: Load,
    lower: &str,
    device: &Device,
) -> Vec<(String, u64, String)> {
    let (rows, tokens) = (load.rows_at_once(config, device), load.tokens);
    let longest = tokens.max(load.decoded.1);
    let mut tensors = vec![(
        match rows {
            1 => format!("the numbers of a row of {tokens} tokens in a layer"),
            _ => format!("the numbers of {rows} rows of {tokens} tokens in a layer"),
        },
        (rows * tokens * widest(config)) as u64 * F32,
        format!("lower {lower}"),
    )];
    if load.decoded.0 > 0 {
        let what = format!("the keys of a row of {longest} tokens in a layer");
        tensors.push((what, of_decoded_row(config, load.tokens, longest, device), format!("lower {lower}")));
    }
    if load.is_full {
        let largest = layout::weights(config).into_iter().max_by_key(Weight::numbers);
        tensors.extend(largest.map(|weight| {
            let what = format!("the numbers of `{}`, which is trained whole,", weight.name);
            let size = weight.numbers() as u64 * F32;
            (what, size, "take a smaller vocabulary or width, train an adapter, or take another device".to_owned())
        }));
    } else if load.trained > 0 && kernel::of(device).together().is_some() {
        let size = together::most_numbers(config, lora.rank) as u64 * F32;
        tensors.push(("the numbers of the adapter".to_owned(), size, "lower `lora.rank`".to_owned()));
    }
    tensors
}
