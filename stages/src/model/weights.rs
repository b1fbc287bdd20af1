//! Weights and adapters on their way between files and a device.

use super::table::Table;
use super::{Adapter, Affine, Block, Decoder};
use crate::device;
use crate::tensor::{copied, from_data, values_of_all};
use anyhow::{Context, Result};
use burn::tensor::{AllocationProperty, Bytes, DType, Device, Tensor, TensorData};
use formats::architectures::{Layout, Norm};
use formats::config::Config;
use formats::dtype::Dtype;
use formats::json;
use formats::layout::{self, Sort, Weight};
use formats::peft::Lora;
use formats::weights::{self, Files, Numbers, Tensors};
use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Builds a model of the tensors that `tensor` makes, in the order of [`layout::weights`].
pub fn build(config: Config, mut tensor: impl FnMut(&Weight) -> Result<Tensor<2>>) -> Result<Decoder> {
    build_in_parts(config, |weight| Ok(vec![tensor(weight)?]))
}

/// As [`build`], of tables in one part or more; all else comes in one.
pub fn build_in_parts(config: Config, mut parts: impl FnMut(&Weight) -> Result<Vec<Tensor<2>>>) -> Result<Decoder> {
    let layout = &config.architecture.layout;
    let mut rest = layout::weights(&config).into_iter();
    let next = RefCell::new(|| parts(&rest.next().expect("a model is built of the tensors that are listed")));
    let table = || Ok::<_, anyhow::Error>(Table::of(next.borrow_mut()()?));
    let one = || next.borrow_mut()()?.pop().context("every tensor has a part");
    let affine = |has_bias: bool| -> Result<Affine> {
        Ok(Affine { weight: one()?, bias: if has_bias { Some(one()?) } else { None } })
    };
    let has_norm_bias = config.norm == Norm::Layer;
    let embedding = table()?;
    let positions = layout.positions.map(|_| affine(false)).transpose()?.map(|positions| positions.weight);
    let mut blocks = Vec::with_capacity(config.layers);
    for _ in 0..config.layers {
        let norm = |name: Option<&str>| name.map(|_| affine(has_norm_bias)).transpose();
        let (attention_norm, attention_out_norm) = (norm(layout.attention_norm)?, norm(layout.attention_out_norm)?);
        let (mlp_norm, mlp_out_norm) = (norm(layout.mlp_norm)?, norm(layout.mlp_out_norm)?);
        let head_norms = match layout.head_norms {
            Some(_) => Some([affine(has_norm_bias)?, affine(has_norm_bias)?]),
            None => None,
        };
        let projections = layout.targets.iter().map(|(target, _)| affine(target.has_bias(&config)));
        let projections = projections.collect::<Result<Vec<_>>>()?;
        blocks.push(Block { attention_norm, attention_out_norm, mlp_norm, mlp_out_norm, head_norms, projections });
    }
    let norm = affine(has_norm_bias)?;
    let head = if config.is_tied { None } else { Some(table()?) };
    Ok(Decoder { config, embedding, positions, blocks, norm, head, ropes: Arc::default() })
}

/// The tensors of a model in the order of [`build`]: the weights that full training trains.
pub fn tensors(model: &Decoder) -> Vec<Tensor<2>> {
    fn both(affine: &Affine) -> impl Iterator<Item = Tensor<2>> {
        std::iter::once(affine.weight.clone()).chain(affine.bias.clone())
    }
    let mut out = model.embedding.parts().to_vec();
    out.extend(model.positions.clone());
    for block in &model.blocks {
        let norms = [&block.attention_norm, &block.attention_out_norm, &block.mlp_norm, &block.mlp_out_norm];
        let norms = norms.into_iter().flatten().chain(block.head_norms.iter().flatten());
        out.extend(norms.chain(&block.projections).flat_map(both));
    }
    out.extend(both(&model.norm));
    out.extend(model.head.iter().flat_map(|head| head.parts().to_vec()));
    out
}

/// A copy of a model on another device; the model itself where it is there already.
///
/// # Errors
/// Its device cannot be read.
pub fn on(model: &Decoder, device: &Device) -> Result<Decoder> {
    if model.device() == *device {
        return Ok(model.clone());
    }
    let mut rest = tensors(model).into_iter();
    let positions = model.positions.iter().map(|_| 1);
    let head = model.head.iter().map(|head| head.parts().len());
    let mut of_tables = std::iter::once(model.embedding.parts().len()).chain(positions).chain(head);
    build_in_parts(model.config.clone(), |weight| {
        let parts = if weight.sort == Sort::Embedding { of_tables.next() } else { None };
        rest.by_ref().take(parts.unwrap_or(1)).map(|tensor| copied(&tensor, device)).collect()
    })
}

/// The bytes of its tensors.
pub fn bytes(model: &Decoder) -> u64 {
    tensors(model).iter().map(|tensor| (tensor.shape().num_elements() * tensor.dtype().size()) as u64).sum()
}

/// The same model with other tensors, in the order of [`tensors`].
pub fn with_tensors(model: &Decoder, tensors: &[Tensor<2>]) -> Decoder {
    let mut rest = tensors.iter().cloned();
    let made = build(model.config.clone(), |_| rest.next().context("as many tensors as the model has"))
        .expect("as many tensors as `tensors` gave");
    Decoder { ropes: model.ropes.clone(), ..made }
}

/// Reads the weights of a directory in Hugging Face layout: matrices as `dtype`, or what the device has in its place
/// ([`device::kept`]), vectors as f32. Tensors stored in the wanted precision are mapped, not read, and the CPU backend
/// computes on them in place.
///
/// # Errors
/// A file is missing or damaged, a tensor is missing or has another shape.
pub fn load(directory: &Path, config: Config, dtype: Dtype, device: &Device) -> Result<Decoder> {
    tracing::debug!("reading the weights of {}", directory.display());
    let files = Files::open(directory)?;
    let kept = device::kept(dtype, device);
    let most = device::limits(device).binding;
    build_in_parts(config, |weight| {
        let mut kept = if weight.sort.is_vector() { Dtype::F32 } else { kept };
        let shape = weight.shape;
        let mut numbers = files.read(weight, kept)?;
        if kept != dtype && !numbers.are_finite() {
            kept = Dtype::F32;
            numbers = files.read(weight, kept)?;
        }
        let [rows, columns] = shape;
        // A table may lie in parts; what else is too large has been refused.
        let row = (columns * kept.size()) as u64;
        let at_once = if weight.sort == Sort::Embedding { usize::try_from(most / row).unwrap_or(rows) } else { rows };
        let of_part = |first: usize| first..(first + at_once).min(rows);
        let data = |numbers: Numbers, shape: [usize; 2]| match numbers {
            Numbers::Mapped(bytes) => {
                TensorData::from_bytes(Bytes::from_shared(bytes, AllocationProperty::File), shape, of_burn(kept))
            }
            Numbers::F32(values) => TensorData::new(values, shape),
            Numbers::F16(values) => TensorData::new(values, shape),
            Numbers::Bf16(values) => TensorData::new(values, shape),
        };
        if at_once >= rows {
            return Ok(vec![from_data(data(numbers, shape), device)]);
        }
        let part = |rows: Range<usize>| {
            let (count, range) = (rows.len(), rows.start * columns..rows.end * columns);
            from_data(data(some(&numbers, range, kept.size()), [count, columns]), device)
        };
        Ok((0..rows).step_by(at_once).map(of_part).map(part).collect())
    })
}

/// Some of the numbers; `size` is that of one in bytes.
fn some(numbers: &Numbers, range: Range<usize>, size: usize) -> Numbers {
    match numbers {
        Numbers::Mapped(bytes) => Numbers::Mapped(bytes.slice(range.start * size..range.end * size)),
        Numbers::F32(values) => Numbers::F32(values[range].to_vec()),
        Numbers::F16(values) => Numbers::F16(values[range].to_vec()),
        Numbers::Bf16(values) => Numbers::Bf16(values[range].to_vec()),
    }
}

/// Writes `model.safetensors` and `config.json` in Hugging Face layout. `more` is written beside the tensors of the
/// model; with it, the model is a classifier and has no head over the vocabulary.
///
/// # Errors
/// The files cannot be written.
pub fn save(model: &Decoder, more: &Tensors, dtype: Dtype, directory: &Path) -> Result<()> {
    let mut out = more.clone();
    let head = model.config.architecture.layout.head;
    let all = layout::weights(&model.config);
    for (weight, values) in all.iter().zip(values_of_all(tensors(model))?) {
        if more.is_empty() || !weight.name.starts_with(head) {
            out.insert(weight.name.clone(), (values, weight.shape_in_file().to_vec()));
        }
    }
    weights::write(&out, dtype, &directory.join(weights::WEIGHTS))?;
    json::write(&directory.join("config.json"), &model.config.source)
}

/// The same precision as burn names it.
pub fn of_burn(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
    }
}

/// Reads an adapter in PEFT layout.
///
/// # Errors
/// As [`Lora::load`].
pub fn load_adapter(directory: &Path, config: &Config, device: &Device) -> Result<Adapter> {
    Ok(Adapter::of(Lora::load(directory, config)?, config, device))
}

/// Writes an adapter in PEFT layout.
///
/// # Errors
/// The device cannot be read, or the files cannot be written.
pub fn save_adapter(adapter: &Adapter, layout: &Layout, directory: &Path) -> Result<()> {
    adapter.on_host()?.save(layout, directory)
}
