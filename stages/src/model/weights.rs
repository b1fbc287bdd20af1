//! The base weights of a model on disk: one `model.safetensors` or its shards, mapped. Knows nothing of adapters.

use super::artifact::values_of;
use super::config::{Config, Norm};
use super::layout::{self, Weight};
use super::{Affine, Block, Decoder, Dtype};
use anyhow::{Context, Result, bail};
use burn::tensor::{AllocationProperty, Device, Tensor, TensorData};
use bytes::Bytes;
use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A model whose tensors `tensor` makes, in the order of [`layout::weights`].
pub fn build(config: Config, mut tensor: impl FnMut(&Weight) -> Result<Tensor<2>>) -> Result<Decoder> {
    let layout = config.architecture.layout();
    let mut rest = layout::weights(&config).into_iter();
    let mut next = || tensor(&rest.next().expect("a model is built of the tensors that are listed"));
    let mut affine = |has_bias: bool| -> Result<Affine> {
        Ok(Affine { weight: next()?, bias: if has_bias { Some(next()?) } else { None } })
    };
    let has_norm_bias = config.norm == Norm::Layer;
    let embedding = affine(false)?.weight;
    let positions = layout.positions.map(|_| affine(false)).transpose()?.map(|positions| positions.weight);
    let mut blocks = Vec::with_capacity(config.layers);
    for _ in 0..config.layers {
        let (attention_norm, mlp_norm) = (affine(has_norm_bias)?, affine(has_norm_bias)?);
        let head_norms = match layout.head_norms {
            Some(_) => Some([affine(has_norm_bias)?, affine(has_norm_bias)?]),
            None => None,
        };
        let projections = layout.targets.iter().map(|(target, _)| affine(target.has_bias(&config)));
        let projections = projections.collect::<Result<Vec<_>>>()?;
        blocks.push(Block { attention_norm, mlp_norm, head_norms, projections });
    }
    let norm = affine(has_norm_bias)?;
    let head = if config.is_tied { None } else { Some(affine(false)?.weight) };
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

/// The same model with other tensors, in the order of [`tensors`].
pub fn with_tensors(model: &Decoder, tensors: &[Tensor<2>]) -> Decoder {
    let mut rest = tensors.iter().cloned();
    build(model.config.clone(), |_| rest.next().context("as many tensors as the model has"))
        .expect("as many tensors as `tensors` gave")
}

/// Reads the weights of a directory in Hugging Face layout: matrices as `dtype`, vectors as f32.
///
/// # Errors
/// A file is missing or damaged, a tensor is missing or has another shape.
pub fn load(directory: &Path, config: Config, dtype: Dtype, device: &Device) -> Result<Decoder> {
    let prefix = config.architecture.layout().prefix;
    let files = Files::open(directory)?;
    build(config, |weight| {
        let dtype = if weight.sort.is_vector() { Dtype::F32 } else { dtype };
        let data = files.read(files.name_of(weight, prefix), weight.shape_in_file(), weight.shape, dtype)?;
        Ok(Tensor::from_data(data, (device, dtype.of_burn())))
    })
}

/// The head of a sequence classifier with one label, `[1, d]`.
///
/// # Errors
/// It is not there, or has another shape: more labels than one.
pub fn score(directory: &Path, config: &Config) -> Result<Vec<f32>> {
    let files = Files::open(directory)?;
    let (path, bytes, info) = files.find("score.weight", &[1, config.width])?;
    floats(info.dtype, &bytes).with_context(|| format!("read {}: `score.weight`", path.display()))
}

/// That [`load`] would find every tensor in its shape, by the headers of the files alone.
///
/// # Errors
/// As [`load`].
pub fn check(directory: &Path, config: &Config) -> Result<Summary> {
    let prefix = config.architecture.layout().prefix;
    let files = Files::open(directory)?;
    let (mut summary, mut known) = (Summary::default(), BTreeSet::new());
    for weight in layout::weights(config) {
        let name = files.name_of(&weight, prefix);
        let (path, _, info) = files.find(name, weight.shape_in_file())?;
        if !Dtype::ALL.iter().any(|known| known.of_file() == info.dtype) {
            bail!("read {}: `{name}` is {:?}; F32, BF16 and F16 are known", path.display(), info.dtype);
        }
        summary.add(info);
        known.insert(name.to_owned());
    }
    if config.is_classifier {
        files.find("score.weight", &[1, config.width])?;
    }
    for (path, _, _, metadata) in &files.files {
        let strange = metadata.tensors().into_keys().filter(|name| !known.contains(name) && !is_harmless(name));
        if let Some(name) = strange.min() {
            bail!(
                "read {}: there is `{name}`, which the model that config.json describes does not have; without it this \
                 would be another model",
                path.display()
            );
        }
    }
    Ok(summary)
}

/// What old checkpoints hold that is known without (angles, masks), and heads of which a decoder needs none.
fn is_harmless(name: &str) -> bool {
    [".inv_freq", ".attn.bias", ".attention.bias", ".masked_bias"].iter().any(|end| name.ends_with(end))
        || ["lm_head.weight", "embed_out.weight", "score.weight"].contains(&name)
}

/// What the files of a directory hold, whatever it is.
///
/// # Errors
/// A file is missing or damaged.
pub fn summary(directory: &Path) -> Result<Summary> {
    let mut summary = Summary::default();
    for (_, _, _, metadata) in &Files::open(directory)?.files {
        metadata.tensors().into_values().for_each(|info| summary.add(info));
    }
    Ok(summary)
}

/// What the files of a model hold.
#[derive(Debug, Default)]
pub struct Summary {
    pub parameters: usize,
    pub bytes: usize,
    pub dtypes: BTreeSet<String>,
}

impl Summary {
    fn add(&mut self, info: &TensorInfo) {
        self.parameters += info.shape.iter().product::<usize>();
        self.bytes += info.data_offsets.1 - info.data_offsets.0;
        self.dtypes.insert(format!("{:?}", info.dtype));
    }

    /// `None` where the tensors are of several.
    pub fn dtype(&self) -> Option<Dtype> {
        Dtype::ALL.into_iter().find(|dtype| self.dtypes.iter().all(|name| *name == format!("{:?}", dtype.of_file())))
    }
}

/// Writes `model.safetensors` and `config.json` in Hugging Face layout, `more` beside the tensors of the model. One
/// whose tensors are those of a classifier has no head over the vocabulary.
///
/// # Errors
/// The files cannot be written.
pub fn save(model: &Decoder, more: &Named, dtype: Dtype, directory: &Path) -> Result<()> {
    let mut out = more.clone();
    let head = model.config.architecture.layout().head;
    for (weight, tensor) in layout::weights(&model.config).iter().zip(tensors(model)) {
        if more.is_empty() || !weight.name.starts_with(head) {
            out.insert(weight.name.clone(), (values_of(tensor)?, weight.shape_in_file().to_vec()));
        }
    }
    write(&out, dtype, &directory.join(WEIGHTS))?;
    write_json(&directory.join("config.json"), &model.config.source)
}

/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    fs::write(path, serde_json::to_vec_pretty(value)?).with_context(|| format!("write {}", path.display()))
}

/// Under both names: older tools read the one, newer ones the other.
pub fn set_dtype(source: &mut Value, dtype: Dtype) {
    let name = match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
    };
    let Some(fields) = source.as_object_mut() else { return };
    let is_there = |field: &str| fields.contains_key(field);
    let field = if is_there("dtype") && !is_there("torch_dtype") { "dtype" } else { "torch_dtype" };
    fields.insert(field.to_owned(), json!(name));
}

/// Whether a file of this name holds weights.
pub fn is_of_weights(name: &str) -> bool {
    name.starts_with("model") && (name.ends_with(".safetensors") || name.ends_with(".index.json"))
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
    let names =
        fs::read_dir(directory).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    let is_pickled =
        |name: &&String| name.starts_with("pytorch_model") || name.ends_with(".pt") || name.ends_with(".pth");
    if let Some(pickled) = names.iter().find(is_pickled) {
        bail!(
            "read {}: pickled weights can run code, so they are not read; save the model as safetensors: \
             `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)` in transformers does",
            directory.join(pickled).display()
        );
    }
    if let Some(quantised) = names.iter().find(|name| name.ends_with(".gguf")) {
        bail!("read {}: GGUF is not read; take the safetensors it was made of", directory.join(quantised).display());
    }
    bail!("read {}: there is no {WEIGHTS} and no {INDEX}", directory.display())
}

/// The bytes of a file where they lie.
///
/// # Errors
/// It cannot be opened.
pub fn mapped(path: &Path) -> Result<Bytes> {
    let read = || format!("read {}", path.display());
    let file = File::open(path).with_context(read)?;
    // SAFETY: whoever writes to the file meanwhile changes what is read, as with any reading; inputs of stages are
    // read-only files of their own, and who cuts one short ends this worker alone, which is told.
    let map = unsafe { Mmap::map(&file) }.with_context(read)?;
    Ok(Bytes::from_owner(map))
}

/// Mapped, not read: what is stored as it is wanted goes to the device as it lies there, and the CPU backend computes on
/// it in place.
struct Files {
    files: Vec<(PathBuf, Bytes, usize, Metadata)>,
}

impl Files {
    fn open(directory: &Path) -> Result<Files> {
        let open = |name: String| {
            let path = directory.join(name);
            let map = mapped(&path)?;
            let (length, metadata) =
                SafeTensors::read_metadata(&map).with_context(|| format!("read {}", path.display()))?;
            Ok((path, map, length + 8, metadata))
        };
        Ok(Files { files: files_of(directory)?.into_iter().map(open).collect::<Result<_>>()? })
    }

    /// Checkpoints saved without their head leave out what stands before every name.
    fn name_of<'a>(&self, weight: &'a Weight, prefix: &str) -> &'a str {
        let has = |name: &&str| self.files.iter().any(|(_, _, _, metadata)| metadata.info(name).is_some());
        weight.name.strip_prefix(prefix).filter(has).unwrap_or(&weight.name)
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(&Path, Bytes, &TensorInfo)> {
        let found = self.files.iter().find_map(|(path, map, start, metadata)| {
            let info = metadata.info(name)?;
            Some((path.as_path(), map.slice(start + info.data_offsets.0..start + info.data_offsets.1), info))
        });
        let Some((path, bytes, info)) = found else {
            let (first, ..) = &self.files[0];
            let others = if self.files.len() > 1 { " and its other shards" } else { "" };
            bail!("read {}{others}: there is no tensor `{name}`", first.display());
        };
        if info.shape != shape {
            bail!("read {}: `{name}` has shape {:?}, expected {shape:?}", path.display(), info.shape);
        }
        Ok((path, bytes, info))
    }

    fn read(&self, name: &str, in_file: &[usize], shape: [usize; 2], dtype: Dtype) -> Result<TensorData> {
        let (path, bytes, info) = self.find(name, in_file)?;
        let is_aligned = (bytes.as_ptr() as usize).is_multiple_of(size_of::<f32>());
        if is_aligned && info.dtype == dtype.of_file() && cfg!(target_endian = "little") {
            let bytes = burn::tensor::Bytes::from_shared(bytes, AllocationProperty::File);
            return Ok(TensorData::from_bytes(bytes, shape, dtype.of_burn()));
        }
        let values = floats(info.dtype, &bytes).with_context(|| format!("read {}: `{name}`", path.display()))?;
        Ok(match dtype {
            Dtype::F32 => TensorData::new(values, shape),
            Dtype::F16 => TensorData::new(values.par_iter().map(|x| f16::from_f32(*x)).collect::<Vec<_>>(), shape),
            Dtype::Bf16 => TensorData::new(values.par_iter().map(|x| bf16::from_f32(*x)).collect::<Vec<_>>(), shape),
        })
    }
}

/// Little-endian numbers of a known width as f32.
///
/// # Errors
/// The numbers are of another kind than F32, BF16 and F16.
pub fn floats(dtype: safetensors::Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    Ok(match dtype {
        safetensors::Dtype::F32 => converted(bytes, f32::from_le_bytes),
        // bfloat16 is the upper half of an f32.
        safetensors::Dtype::BF16 => converted(bytes, |two| f32::from_bits(u32::from(u16::from_le_bytes(two)) << 16)),
        safetensors::Dtype::F16 => converted(bytes, |two| f16::from_le_bytes(two).to_f32()),
        other => bail!("it is {other:?}; F32, BF16 and F16 are known"),
    })
}

/// On all cores, in pieces that a core's cache holds.
fn converted<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    const PIECE: usize = 1 << 15;
    let mut out = vec![0.0; bytes.len() / N];
    out.par_chunks_mut(PIECE).zip(bytes.par_chunks(PIECE * N)).for_each(|(out, bytes)| {
        let (numbers, _) = bytes.as_chunks::<N>();
        out.iter_mut().zip(numbers).for_each(|(out, bytes)| *out = number(*bytes));
    });
    out
}

/// Values and shape by name.
pub type Named = BTreeMap<String, (Vec<f32>, Vec<usize>)>;

/// Writes named tensors, rounded to `dtype`; the names' order makes the bytes a function of the content.
///
/// # Errors
/// The file cannot be written.
pub fn write(tensors: &Named, dtype: Dtype, path: &Path) -> Result<()> {
    let bytes = |values: &Vec<f32>| -> Vec<u8> {
        match dtype {
            Dtype::F32 => Vec::new(),
            Dtype::F16 => values.par_iter().flat_map_iter(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            Dtype::Bf16 => values.par_iter().flat_map_iter(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        }
    };
    let rounded: Vec<Vec<u8>> = tensors.values().map(|(values, _)| bytes(values)).collect();
    let views: Vec<(&String, TensorView)> = tensors
        .iter()
        .zip(&rounded)
        .map(|((name, (values, shape)), rounded)| {
            let bytes = if dtype == Dtype::F32 { bytemuck::cast_slice(values) } else { rounded };
            Ok((name, TensorView::new(dtype.of_file(), shape.clone(), bytes)?))
        })
        .collect::<Result<_>>()?;
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let write = || format!("write {}", path.display());
    safetensors::serialize_to_file(views, metadata, path).with_context(write)?;
    // The crate makes files for their owner alone; what is published is for others to read.
    fs::set_permissions(path, Permissions::from_mode(0o644)).with_context(write)
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
