//! The weights of a model on disk: one `model.safetensors` or its shards, mapped.

use crate::architectures::{ARCHITECTURES, Architecture};
use crate::config::Config;
use crate::dtype::{Dtype, floats, to_bf16, to_f16};
use crate::json;
use crate::layout::{self, Weight};
use crate::pointer;
use crate::unreadable::{Reading, Unreadable};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo, TensorView};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const WEIGHTS: &str = "model.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";
/// The head of a sequence classifier.
pub const SCORE: &str = "score.weight";

/// The head of a sequence classifier with one label, `[1, d]`.
///
/// # Errors
/// It is not there, or has another shape: more labels than one.
pub fn score(directory: &Path, config: &Config) -> Result<Vec<f32>> {
    let files = Files::open(directory)?;
    let (path, bytes, info) = files.find(SCORE, &[1, config.width])?;
    floats(info.dtype, &bytes).with_context(|| format!("`{SCORE}`")).reading(path)
}

/// Checks by the headers of the files that a model can be read from them: every tensor is there in its shape, and no
/// other one.
///
/// # Errors
/// A file is missing or damaged, or its tensors are not those of the configuration.
pub fn check(directory: &Path, config: &Config) -> Result<Summary> {
    let prefix = config.architecture.layout.prefix;
    let files = Files::open(directory)?;
    let (mut summary, mut known) = (Summary::default(), BTreeSet::new());
    for weight in layout::weights(config) {
        let name = files.name_of(&weight, prefix);
        let (path, _, info) = files.find(name, weight.shape_in_file())?;
        if !Dtype::ALL.iter().any(|known| known.in_file() == info.dtype) {
            return Err(anyhow!("`{name}` is {:?}; F32, BF16 and F16 are known", info.dtype)).reading(path);
        }
        summary.add(info);
        known.insert(name.to_owned());
    }
    if config.is_classifier {
        files.find(SCORE, &[1, config.width])?;
    }
    for Shard { path, metadata, .. } in &files.shards {
        let strange = metadata.tensors().into_keys().filter(|name| !known.contains(name) && !is_harmless(name));
        if let Some(name) = strange.min() {
            let fault = anyhow!(
                "there is `{name}`, which the model that config.json describes does not have; without it this would be \
                 another model"
            );
            return Err(fault).reading(path);
        }
    }
    Ok(summary)
}

/// Tensors of old checkpoints that are computed (angles, masks), and heads that a decoder does not need.
fn is_harmless(name: &str) -> bool {
    let is_head = |row: &&Architecture| name.strip_suffix(".weight") == Some(row.layout.head);
    [".inv_freq", ".attn.bias", ".attention.bias", ".masked_bias"].iter().any(|end| name.ends_with(end))
        || name == SCORE
        || ARCHITECTURES.iter().any(is_head)
}

/// The summary of the files of a directory, whatever they hold.
///
/// # Errors
/// A file is missing or damaged.
pub fn summary(directory: &Path) -> Result<Summary> {
    let mut summary = Summary::default();
    for shard in &Files::open(directory)?.shards {
        shard.metadata.tensors().into_values().for_each(|info| summary.add(info));
    }
    Ok(summary)
}

/// The size of a model in its files.
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

    /// The precision of all tensors. `None`: they differ.
    pub fn dtype(&self) -> Option<Dtype> {
        Dtype::ALL.into_iter().find(|dtype| self.dtypes.iter().all(|name| *name == format!("{:?}", dtype.in_file())))
    }
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
        let names = shards(&index)?;
        if let Some(odd) = names.iter().find(|name| Path::new(name.as_str()).components().count() != 1) {
            return Err(anyhow!("`{odd}` is not the name of a file beside it")).reading(&index);
        }
        if names.is_empty() {
            return Err(anyhow!("it names no shard")).reading(&index);
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
        let fault = anyhow!(
            "pickled weights can run code, so they are not read; save the model as safetensors: \
             `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)` in transformers does"
        );
        return Err(fault).reading(&directory.join(pickled));
    }
    if let Some(quantised) = names.iter().find(|name| name.ends_with(".gguf")) {
        let fault = anyhow!("GGUF is not read; take the safetensors it was made of");
        return Err(fault).reading(&directory.join(quantised));
    }
    Err(anyhow!("there is no {WEIGHTS} and no {INDEX}")).reading(directory)
}

/// The files that an index names.
///
/// # Errors
/// It cannot be read, or is no index.
pub fn shards(index: &Path) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    Ok(json::read::<Index>(index)?.weight_map.into_values().collect())
}

/// The bytes of a file, mapped.
///
/// # Errors
/// It cannot be opened.
pub fn mapped(path: &Path) -> Result<Bytes> {
    let file = File::open(path).reading(path)?;
    // SAFETY: a process that writes to the file meanwhile changes what is read, as with any way of reading. Inputs of
    // stages are read-only files of their own, and a file that is cut short ends this worker alone, which is reported.
    let map = unsafe { Mmap::map(&file) }.reading(path)?;
    pointer::refuse(&map, path)?;
    Ok(Bytes::from_owner(map))
}

/// The open files of a model.
pub struct Files {
    shards: Vec<Shard>,
}

struct Shard {
    path: PathBuf,
    bytes: Bytes,
    /// The offset of the tensors, after the header.
    start: usize,
    metadata: Metadata,
}

/// The numbers of a tensor.
pub enum Numbers {
    /// Bytes of the mapped file, aligned and in the precision asked for.
    Mapped(Bytes),
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Files {
    /// # Errors
    /// A file is missing or damaged.
    pub fn open(directory: &Path) -> Result<Files> {
        let open = |name: String| {
            let path = directory.join(name);
            let bytes = mapped(&path)?;
            let (length, metadata) = SafeTensors::read_metadata(&bytes).reading(&path)?;
            Ok(Shard { path, bytes, start: length + 8, metadata })
        };
        Ok(Files { shards: files_of(directory)?.into_iter().map(open).collect::<Result<_>>()? })
    }

    /// The name of a weight in these files. Checkpoints of a decoder without its head leave out the prefix of every
    /// name.
    fn name_of<'a>(&self, weight: &'a Weight, prefix: &str) -> &'a str {
        let has = |name: &&str| self.shards.iter().any(|shard| shard.metadata.info(name).is_some());
        weight.name.strip_prefix(prefix).filter(has).unwrap_or(&weight.name)
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(&Path, Bytes, &TensorInfo)> {
        let found = self.shards.iter().find_map(|Shard { path, bytes, start, metadata }| {
            let info = metadata.info(name)?;
            Some((path.as_path(), bytes.slice(start + info.data_offsets.0..start + info.data_offsets.1), info))
        });
        let Some((path, bytes, info)) = found else {
            let others = if self.shards.len() > 1 { " and its other shards" } else { "" };
            let unreadable = Unreadable::new(&self.shards[0].path, anyhow!("there is no tensor `{name}`"));
            return Err(unreadable.with(others).into());
        };
        if info.shape != shape {
            return Err(anyhow!("`{name}` has shape {:?}, expected {shape:?}", info.shape)).reading(path);
        }
        Ok((path, bytes, info))
    }

    /// The numbers of `weight` as `dtype`: not copied where they lie so in the file. `prefix` is that of the layout.
    ///
    /// # Errors
    /// The tensor is missing, or has another shape or precision.
    pub fn read(&self, weight: &Weight, prefix: &str, dtype: Dtype) -> Result<Numbers> {
        let name = self.name_of(weight, prefix);
        let (path, bytes, info) = self.find(name, weight.shape_in_file())?;
        let is_aligned = (bytes.as_ptr() as usize).is_multiple_of(size_of::<f32>());
        if is_aligned && info.dtype == dtype.in_file() && cfg!(target_endian = "little") {
            return Ok(Numbers::Mapped(bytes));
        }
        let values = floats(info.dtype, &bytes).with_context(|| format!("`{name}`")).reading(path)?;
        Ok(match dtype {
            Dtype::F32 => Numbers::F32(values),
            Dtype::F16 => Numbers::F16(to_f16(&values)),
            Dtype::Bf16 => Numbers::Bf16(to_bf16(&values)),
        })
    }
}

/// Reads a tensor as f32; a `[1, n]` shape also takes a vector of n.
///
/// # Errors
/// It is missing, or has another shape or precision.
pub fn tensor(file: &SafeTensors, name: &str, shape: [usize; 2]) -> Result<Vec<f32>> {
    let view = file.tensor(name).with_context(|| format!("find `{name}`"))?;
    if view.shape() != shape && !(shape[0] == 1 && view.shape() == [shape[1]]) {
        bail!("`{name}` has shape {:?}, expected {shape:?}", view.shape());
    }
    floats(view.dtype(), view.data()).with_context(|| format!("`{name}`"))
}

/// Tensors by name: values and shape.
pub type Tensors = BTreeMap<String, (Vec<f32>, Vec<usize>)>;

/// Writes tensors, rounded to `dtype`, in the order of their names: the bytes are a function of the content.
///
/// # Errors
/// The file cannot be written.
pub fn write(tensors: &Tensors, dtype: Dtype, path: &Path) -> Result<()> {
    let bytes = |values: &Vec<f32>| -> Vec<u8> {
        match dtype {
            Dtype::F32 => Vec::new(),
            Dtype::F16 => to_f16(values).into_par_iter().flat_map_iter(f16::to_le_bytes).collect(),
            Dtype::Bf16 => to_bf16(values).into_par_iter().flat_map_iter(bf16::to_le_bytes).collect(),
        }
    };
    let rounded: Vec<Vec<u8>> = tensors.values().map(|(values, _)| bytes(values)).collect();
    let views: Vec<(&String, TensorView)> = tensors
        .iter()
        .zip(&rounded)
        .map(|((name, (values, shape)), rounded)| {
            let bytes = if dtype == Dtype::F32 { bytemuck::cast_slice(values) } else { rounded };
            Ok((name, TensorView::new(dtype.in_file(), shape.clone(), bytes)?))
        })
        .collect::<Result<_>>()?;
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let write = || format!("write {}", path.display());
    safetensors::serialize_to_file(views, metadata, path).with_context(write)?;
    // The crate makes files that only their owner can read; models are published.
    fs::set_permissions(path, Permissions::from_mode(0o644)).with_context(write)
}
