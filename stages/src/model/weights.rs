//! The base weights of a model on disk: one `model.safetensors` or its shards, mapped, each tensor on its way to the
//! device converted once. Knows nothing of adapters.

use super::config::{Config, Norm};
use super::layout::{Sort, Target, Weight};
use super::{Affine, Block, Decoder};
use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Every tensor of a model, in a fixed order, each made by `tensor`.
pub fn build(config: Config, mut tensor: impl FnMut(&Weight) -> Result<Tensor<2>>) -> Result<Decoder> {
    let layout = config.architecture.layout();
    let mut affine = |name: &str, shape: [usize; 2], sort: Sort, has_bias: bool| -> Result<Affine> {
        let weight = tensor(&Weight { name: format!("{name}.weight"), shape, sort })?;
        let bias = Weight { name: format!("{name}.bias"), shape: [1, shape[1]], sort: Sort::Bias };
        Ok(Affine { weight, bias: if has_bias { Some(tensor(&bias)?) } else { None } })
    };
    let has_norm_bias = config.norm == Norm::Layer;
    let (vocabulary, width) = (config.vocabulary, config.width);
    let embedding = affine(layout.embedding, [vocabulary, width], Sort::Embedding, false)?.weight;
    let positions = match layout.positions {
        Some(name) => Some(affine(name, [config.context, width], Sort::Embedding, false)?.weight),
        None => None,
    };
    let mut blocks = Vec::with_capacity(config.layers);
    for layer in 0..config.layers {
        let mut norm =
            |name: &str, size: usize| affine(&layout.path(layer, name), [1, size], Sort::Norm, has_norm_bias);
        let attention_norm = norm(layout.attention_norm, width)?;
        let mlp_norm = norm(layout.mlp_norm, width)?;
        let head_norms = match layout.head_norms {
            Some([queries, keys]) => Some([norm(queries, config.head_dim)?, norm(keys, config.head_dim)?]),
            None => None,
        };
        let mut projections = Vec::with_capacity(layout.targets.len());
        for (target, name) in layout.targets {
            let (inputs, outputs) = target.shape(&config);
            let sort = Sort::Projection { is_back: matches!(target, Target::Output | Target::Down) };
            projections.push(affine(&layout.path(layer, name), [inputs, outputs], sort, target.has_bias(&config))?);
        }
        blocks.push(Block { attention_norm, mlp_norm, head_norms, projections });
    }
    let norm = affine(layout.norm, [1, width], Sort::Norm, has_norm_bias)?;
    let head = match config.is_tied {
        true => None,
        false => Some(affine(layout.head, [vocabulary, width], Sort::Embedding, false)?.weight),
    };
    Ok(Decoder { config, embedding, positions, blocks, norm, head })
}

/// The tensors of a model in the order of [`build`]: what pretraining trains.
pub fn tensors(model: &Decoder) -> Vec<Tensor<2>> {
    fn both(affine: &Affine) -> impl Iterator<Item = Tensor<2>> {
        std::iter::once(affine.weight.clone()).chain(affine.bias.clone())
    }
    let mut out = vec![model.embedding.clone()];
    out.extend(model.positions.clone());
    for block in &model.blocks {
        let norms = [&block.attention_norm, &block.mlp_norm].into_iter().chain(block.head_norms.iter().flatten());
        out.extend(norms.chain(&block.projections).flat_map(both));
    }
    out.extend(both(&model.norm));
    out.extend(model.head.clone());
    out
}

/// Reads the weights of a directory in Hugging Face layout.
pub fn load(directory: &Path, config: Config, device: &Device) -> Result<Decoder> {
    let layout = config.architecture.layout();
    let files = Files::open(directory)?;
    build(config, |weight| {
        let shape = weight.shape_in_file(layout);
        // Checkpoints saved without their head leave out what stands before every name.
        let short = weight.name.strip_prefix(layout.prefix).filter(|short| files.has(short));
        let values = files.read(short.unwrap_or(&weight.name), &shape)?;
        let values = match (weight.is_turned(layout), &shape[..]) {
            (true, [rows, columns]) => transposed(&values, [*rows, *columns]),
            _ => values,
        };
        Ok(Tensor::from_data(TensorData::new(values, weight.shape), device))
    })
}

/// Writes `model.safetensors` and `config.json` in Hugging Face layout.
pub fn save(model: &Decoder, directory: &Path) -> Result<()> {
    let layout = model.config.architecture.layout();
    let mut rest = tensors(model).into_iter();
    let mut out = BTreeMap::new();
    build(model.config.clone(), |weight| {
        let tensor = rest.next().expect("as many tensors as the model has");
        let values = super::artifact::values_of(tensor.clone())?;
        let values = if weight.is_turned(layout) { transposed(&values, weight.shape) } else { values };
        out.insert(weight.name.clone(), (values, weight.shape_in_file(layout)));
        Ok(tensor)
    })?;
    write(&out, &directory.join(WEIGHTS))?;
    let path = directory.join("config.json");
    fs::write(&path, serde_json::to_vec_pretty(&model.config.source)?)
        .with_context(|| format!("write {}", path.display()))
}

/// The files that hold the weights of a directory, by name.
pub fn files_of(directory: &Path) -> Result<Vec<String>> {
    if directory.join(WEIGHTS).exists() {
        return Ok(vec![WEIGHTS.to_owned()]);
    }
    let index = directory.join(INDEX);
    if index.exists() {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let read = || format!("read {}", index.display());
        let index: Index = serde_json::from_slice(&fs::read(&index).with_context(read)?).with_context(read)?;
        let names: BTreeSet<String> = index.weight_map.into_values().collect();
        if let Some(odd) = names.iter().find(|name| Path::new(name.as_str()).components().count() != 1) {
            bail!("{}: `{odd}` is not the name of a file beside it", read());
        }
        return Ok(names.into_iter().collect());
    }
    for pickled in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        if directory.join(pickled).exists() {
            bail!(
                "read {}: pickled weights can run code, so they are not read; save the model as safetensors: \
                 `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)` in transformers does",
                directory.join(pickled).display()
            );
        }
    }
    bail!("read {}: there is no {WEIGHTS} and no {INDEX}", directory.display())
}

/// Mapped, not read: a tensor is in host memory once, as the values that go to the device.
struct Files {
    files: Vec<(PathBuf, Mmap, usize, Metadata)>,
}

impl Files {
    fn open(directory: &Path) -> Result<Files> {
        let open = |name: String| {
            let path = directory.join(name);
            let read = || format!("read {}", path.display());
            let file = File::open(&path).with_context(read)?;
            // SAFETY: whoever writes to the file meanwhile changes what is read, as with any reading; inputs of stages
            // are read-only files of their own, and who cuts one short ends this worker alone, which is told.
            let map = unsafe { Mmap::map(&file) }.with_context(read)?;
            let (length, metadata) = SafeTensors::read_metadata(&map).with_context(read)?;
            Ok((path, map, length + 8, metadata))
        };
        Ok(Files { files: files_of(directory)?.into_iter().map(open).collect::<Result<_>>()? })
    }

    fn has(&self, name: &str) -> bool {
        self.files.iter().any(|(_, _, _, metadata)| metadata.info(name).is_some())
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let found = self.files.iter().find_map(|(path, map, start, metadata)| {
            metadata.info(name).map(|info| (path, &map[start + info.data_offsets.0..start + info.data_offsets.1], info))
        });
        let Some((path, bytes, info)) = found else {
            let (first, ..) = &self.files[0];
            let others = if self.files.len() > 1 { " and its other shards" } else { "" };
            bail!("read {}{others}: there is no tensor `{name}`", first.display());
        };
        if info.shape != shape {
            bail!("read {}: `{name}` has shape {:?}, expected {shape:?}", path.display(), info.shape);
        }
        floats(info.dtype, bytes).with_context(|| format!("read {}: `{name}`", path.display()))
    }
}

/// Little-endian numbers of a known width as f32.
pub fn floats(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    let pairs = || bytes.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    Ok(match dtype {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
        }
        // bfloat16 is the upper half of an f32.
        Dtype::BF16 => pairs().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
        Dtype::F16 => pairs().map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
        other => bail!("it is {other:?}; F32, BF16 and F16 are known"),
    })
}

/// Writes named f32 tensors; the names' order makes the bytes a function of the content.
pub fn write(tensors: &BTreeMap<String, (Vec<f32>, Vec<usize>)>, path: &Path) -> Result<()> {
    let views: Vec<(&String, TensorView)> = tensors
        .iter()
        .map(|(name, (values, shape))| {
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?))
        })
        .collect::<Result<_>>()?;
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    safetensors::serialize_to_file(views, metadata, path).with_context(|| format!("write {}", path.display()))
}

/// `[rows, columns]` → `[columns, rows]`, tile by tile: whole rows of a large matrix would not stay in the cache.
pub fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for row in (0..rows).step_by(TILE) {
        for column in (0..columns).step_by(TILE) {
            for r in row..(row + TILE).min(rows) {
                for c in column..(column + TILE).min(columns) {
                    out[c * rows + r] = values[r * columns + c];
                }
            }
        }
    }
    out
}
