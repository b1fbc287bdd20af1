//! The weights of a model on disk: one `model.safetensors` or its shards, mapped.

mod header;

pub use header::tensors;

use crate::architectures::{ARCHITECTURES, Layout};
use crate::config::Config;
use crate::dtype::{Dtype, floats, to_bf16, to_f16};
use crate::json;
use crate::layout::{self, Weight};
use crate::unreadable::{Reading, Unreadable};
use crate::whole;
use anyhow::{Context, Result, anyhow, bail};
pub use bytes::Bytes;
use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo, TensorView};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::iter;
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

/// Checks by the headers of the files that a model can be read from them: every tensor is there in its shape, once, and no
/// other one.
///
/// # Errors
/// A file is missing or damaged, or its tensors are not those of the configuration.
pub fn check(directory: &Path, config: &Config) -> Result<Summary> {
    let layout = &config.architecture.layout;
    let files = Files::open(directory)?;
    files.refuse_repeated()?;
    let (mut summary, mut known) = (Summary::default(), BTreeSet::new());
    for weight in layout::weights(config) {
        let name = files.name_of(&weight);
        let found = files.find(name, weight.shape_in_file());
        let is_head = weight.name.strip_suffix(".weight") == Some(layout.head);
        let (path, _, info) = if is_head { found.map_err(|fault| files.without_head(name, fault))? } else { found? };
        if !Dtype::ALL.iter().any(|known| known.in_file() == info.dtype) {
            return Err(anyhow!("`{name}` is {:?}; F32, BF16 and F16 are known", info.dtype)).reading(path);
        }
        summary.add(info);
        known.insert(name.to_owned());
    }
    if config.is_classifier {
        let found = files.find(SCORE, &[1, config.width]);
        found.map_err(|fault| files.without_head(SCORE, fault))?;
    } else if config.is_tied {
        files.refuse_another_head(config)?;
    }
    for Shard { path, metadata, .. } in &files.shards {
        let strange = metadata.tensors().into_keys().filter(|name| !known.contains(name) && !is_harmless(name, layout));
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
fn is_harmless(name: &str, layout: &Layout) -> bool {
    [".inv_freq", ".attn.bias", ".attention.bias", ".masked_bias"].iter().any(|end| name.ends_with(end))
        || name == SCORE
        || layout::heads(layout).any(|head| name == head)
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
    if files::exists(&directory.join(WEIGHTS))? {
        return Ok(vec![WEIGHTS.to_owned()]);
    }
    let index = directory.join(INDEX);
    if files::exists(&index)? {
        let names = shards(&index)?;
        if let Some(odd) = names.iter().find(|name| Path::new(name.as_str()).components().count() != 1) {
            return Err(anyhow!("`{odd}` is not the name of a file beside it")).reading(&index);
        }
        if names.is_empty() {
            return Err(anyhow!("it names no shard")).reading(&index);
        }
        let mut missing = Vec::new();
        for name in &names {
            if !files::exists(&directory.join(name))? {
                missing.push(name);
            }
        }
        if let Some(first) = missing.first() {
            let more = if missing.len() > 1 { format!(", and {} more", missing.len() - 1) } else { String::new() };
            let fault = anyhow!(
                "it names {} files, and `{first}` is not there{more}; the model was not downloaded to its end{}; fetch it again",
                names.len(),
                whole::beside(&directory.join(first))
            );
            return Err(fault).reading(&index);
        }
        return Ok(names.into_iter().collect());
    }
    // Only for the words of the error: what is not seen here is not there in them.
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
    let shard = names.iter().find(|name| is_of_weights(name) && name.ends_with(".safetensors"));
    let shard =
        shard.map_or_else(String::new, |name| format!("; `{name}` is a part of a model, which an index has to name"));
    let unfinished = whole::unfinished(&directory.join(WEIGHTS)).filter(|_| shard.is_empty());
    let unfinished = unfinished.map_or_else(String::new, |name| format!("; `{name}` is a download that has not ended"));
    Err(anyhow!("there is no {WEIGHTS} and no {INDEX}{shard}{unfinished}")).reading(directory)
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
    whole::refuse(&map, path)?;
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

impl Numbers {
    /// Whether no number was too large for its precision. Those of a file are as they are.
    pub fn are_finite(&self) -> bool {
        match self {
            Numbers::F16(values) => values.par_iter().all(|value| value.is_finite()),
            Numbers::Mapped(_) | Numbers::F32(_) | Numbers::Bf16(_) => true,
        }
    }
}

impl Files {
    /// # Errors
    /// A file is missing or damaged.
    pub fn open(directory: &Path) -> Result<Files> {
        let open = |name: String| {
            let path = directory.join(name);
            let bytes = mapped(&path)?;
            let (length, metadata) = header::metadata(&bytes, &path)?;
            Ok(Shard { path, bytes, start: length + 8, metadata })
        };
        Ok(Files { shards: files_of(directory)?.into_iter().map(open).collect::<Result<_>>()? })
    }

    fn has(&self, name: &str) -> bool {
        self.shards.iter().any(|shard| shard.metadata.info(name).is_some())
    }

    /// The name of a weight in these files.
    fn name_of<'a>(&self, weight: &'a Weight) -> &'a str {
        let mut names = iter::once(&weight.name).chain(&weight.others);
        names.find(|name| self.has(name)).unwrap_or(&weight.name)
    }

    /// The bytes of a tensor in each of the files that hold it.
    fn all(&self, name: &str) -> impl Iterator<Item = (&Shard, &TensorInfo, Bytes)> {
        self.shards.iter().filter_map(move |shard| {
            let info = shard.metadata.info(name)?;
            Some((shard, info, shard.bytes.slice(shard.start + info.data_offsets.0..shard.start + info.data_offsets.1)))
        })
    }

    /// Refuses a tensor that two files hold with different numbers: which one is meant?
    fn refuse_repeated(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for name in self.shards.iter().flat_map(|shard| shard.metadata.tensors().into_keys()) {
            if !seen.insert(name.clone()) {
                let mut all = self.all(&name);
                let (Some((one, info, bytes)), Some(other)) = (all.next(), all.next()) else { continue };
                if (other.1.dtype, &other.1.shape, &other.2) != (info.dtype, &info.shape, &bytes) {
                    let other = other.0.path.display();
                    let fault = anyhow!("`{name}` is there, and is another tensor in {other}; the index must name one");
                    return Err(fault).reading(&one.path);
                }
            }
        }
        Ok(())
    }

    /// Refuses a head of its own beside an embedding that is said to be the head. transformers 5 uses such a head, and
    /// older versions do not.
    fn refuse_another_head(&self, config: &Config) -> Result<()> {
        let weights = layout::weights(config);
        let embedding = self.name_of(&weights[0]);
        let Some((_, of_embedding, bytes)) = self.all(embedding).next() else { return Ok(()) };
        for head in layout::heads(&config.architecture.layout).filter(|head| head != embedding) {
            let Some((shard, info, of_head)) = self.all(&head).next() else { continue };
            if (info.dtype, &info.shape, &of_head) != (of_embedding.dtype, &of_embedding.shape, &bytes) {
                let fault = anyhow!(
                    "`{head}` is another tensor than `{embedding}`, and `tie_word_embeddings` of config.json says that \
                     they are one; set it to false to use the head, as transformers 5 does, or leave the head out of \
                     the file"
                );
                return Err(fault).reading(&shard.path);
            }
        }
        Ok(())
    }

    /// The fault of a missing head, with what stands in its place.
    fn without_head(&self, name: &str, fault: anyhow::Error) -> anyhow::Error {
        if self.has(name) {
            return fault;
        }
        let others: Vec<String> = match name {
            SCORE => ["classifier.weight", "v_head.summary.weight"].map(str::to_owned).into(),
            _ => ARCHITECTURES.iter().flat_map(|row| layout::heads(&row.layout)).collect(),
        };
        let hint = match others.into_iter().find(|other| self.has(other)) {
            Some(other) => {
                format!("there is `{other}`, which this architecture does not read; is it under a wrong name?")
            }
            None if name == SCORE => "a reward model has one; without it, it would be drawn at random".to_owned(),
            None => "if the embedding is the head, set `tie_word_embeddings` of config.json to true".to_owned(),
        };
        let file = &self.shards[0].path;
        Unreadable::new(file, anyhow!("there is no tensor `{name}`; {hint}")).with(self.rest()).into()
    }

    /// Words for the files beside the first one.
    fn rest(&self) -> &'static str {
        if self.shards.len() > 1 { " and its other shards" } else { "" }
    }

    /// A file of weights beside these that holds a tensor, though no index names it: for the words of an error.
    fn unnamed_with(&self, name: &str) -> Option<String> {
        let directory = self.shards[0].path.parent()?;
        let entries = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let others = entries.filter(|path| path.extension().is_some_and(|end| end == "safetensors"));
        let mut others: Vec<PathBuf> =
            others.filter(|path| self.shards.iter().all(|shard| shard.path != *path)).collect();
        others.sort();
        let has = |path: &PathBuf| {
            let bytes = mapped(path).ok()?;
            SafeTensors::read_metadata(&bytes).ok()?.1.info(name).map(drop)
        };
        let found = others.into_iter().find(|path| has(path).is_some())?;
        Some(found.file_name()?.to_string_lossy().into_owned())
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(&Path, Bytes, &TensorInfo)> {
        let Some((Shard { path, .. }, info, bytes)) = self.all(name).next() else {
            let fault = match self.unnamed_with(name) {
                Some(file) => {
                    anyhow!("there is no tensor `{name}`; it lies in {file}, which the index does not name")
                }
                None => anyhow!("there is no tensor `{name}`"),
            };
            return Err(Unreadable::new(&self.shards[0].path, fault).with(self.rest()).into());
        };
        if info.shape != shape {
            return Err(anyhow!("`{name}` has shape {:?}, expected {shape:?}", info.shape)).reading(path);
        }
        Ok((path, bytes, info))
    }

    /// The numbers of `weight` as `dtype`: not copied where they lie so in the file.
    ///
    /// # Errors
    /// The tensor is missing, or has another shape or precision.
    pub fn read(&self, weight: &Weight, dtype: Dtype) -> Result<Numbers> {
        let name = self.name_of(weight);
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parity(name: &str) -> PathBuf {
        Path::new("../tests/parity").join(name)
    }

    /// The tensors of a golden model.
    fn tensors_of(name: &str) -> Tensors {
        let files = Files::open(&parity(name)).unwrap();
        let of_shard = |shard: &Shard| {
            let read = |(name, info): (String, &TensorInfo)| {
                let bytes = shard.bytes.slice(shard.start + info.data_offsets.0..shard.start + info.data_offsets.1);
                (name, (floats(info.dtype, &bytes).unwrap(), info.shape.clone()))
            };
            shard.metadata.tensors().into_iter().map(read).collect::<Vec<_>>()
        };
        files.shards.iter().flat_map(of_shard).collect()
    }

    /// The fault of the tensors of a golden model, changed, in one file.
    fn told(name: &str, change: &dyn Fn(&mut Tensors, &mut Value)) -> String {
        let directory = tempfile::tempdir().unwrap();
        let mut tensors = tensors_of(name);
        let mut source: Value = json::read(&parity(name).join("config.json")).unwrap();
        change(&mut tensors, &mut source);
        write(&tensors, Dtype::F32, &directory.path().join(WEIGHTS)).unwrap();
        said(directory.path(), &source)
    }

    fn said(directory: &Path, source: &Value) -> String {
        let config = Config::of(source.clone()).unwrap();
        let read = check(directory, &config).and_then(|_| {
            let files = Files::open(directory)?;
            layout::weights(&config).iter().try_for_each(|weight| files.read(weight, Dtype::F32).map(drop))
        });
        read.map_or_else(|error| format!("{:#}", error.root_cause()), |()| "read".to_owned())
    }

    fn rename(tensors: &mut Tensors, from: &str, to: &str) {
        let tensor = tensors.remove(from).unwrap();
        tensors.insert(to.to_owned(), tensor);
    }

    /// `from_pretrained` of transformers 5.24 ties equal tensors, reads either name alone, and unties unequal ones with a
    /// warning, where older versions tie them.
    #[test]
    fn a_head_beside_a_tied_embedding_is_the_same_or_is_refused() {
        let (embedding, head) = ("model.embed_tokens.weight", "lm_head.weight");
        let copied = |tensors: &mut Tensors| tensors.insert(head.to_owned(), tensors[embedding].clone());
        assert_eq!(told("qwen2", &|tensors, _| drop(copied(tensors))), "read");
        assert_eq!(told("qwen2", &|tensors, _| rename(tensors, embedding, head)), "read");
        let other = told("qwen2", &|tensors, _| {
            copied(tensors);
            tensors.get_mut(head).unwrap().0[3] += 1.0;
        });
        assert!(other.starts_with("`lm_head.weight` is another tensor than `model.embed_tokens.weight`"), "{other}");
        let untied = told("qwen2", &|_, source| source["tie_word_embeddings"] = false.into());
        assert_eq!(
            untied,
            "there is no tensor `lm_head.weight`; if the embedding is the head, set `tie_word_embeddings` of config.json \
             to true"
        );
    }

    /// transformers 5 calls the head of GPT-NeoX `lm_head`, and reads `embed_out` as that. Others have one name.
    #[test]
    fn a_head_under_the_name_of_another_architecture_is_refused_by_name() {
        assert_eq!(told("neox", &|tensors, _| rename(tensors, "embed_out.weight", "lm_head.weight")), "read");
        let llama = told("llama", &|tensors, _| rename(tensors, "lm_head.weight", "embed_out.weight"));
        assert_eq!(
            llama,
            "there is no tensor `lm_head.weight`; there is `embed_out.weight`, which this architecture does not read; is \
             it under a wrong name?"
        );
        let beside = told("qwen2", &|tensors, _| {
            tensors.insert("embed_out.weight".to_owned(), tensors["model.embed_tokens.weight"].clone());
        });
        assert!(beside.starts_with("there is `embed_out.weight`, which the model that config.json"), "{beside}");
        let reward = told("llama", &|tensors, source| {
            source["architectures"] = json!(["LlamaForSequenceClassification"]);
            tensors.insert("classifier.weight".to_owned(), (vec![0.0; 24], vec![1, 24]));
        });
        assert!(reward.starts_with("there is no tensor `score.weight`; there is `classifier.weight`"), "{reward}");
        let value = told("llama", &|tensors, _| {
            tensors.insert("v_head.summary.weight".to_owned(), (vec![0.0; 24], vec![1, 24]));
        });
        assert!(value.starts_with("there is `v_head.summary.weight`, which the model"), "{value}");
    }

    /// Two shards and an index, as it is changed.
    fn sharded(change: &dyn Fn(&mut Tensors, &mut Tensors, &mut Value)) -> String {
        let directory = tempfile::tempdir().unwrap();
        let source: Value = json::read(&parity("llama").join("config.json")).unwrap();
        let mut first = tensors_of("llama");
        let mut second = first.split_off("model.layers.1");
        let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let place = |tensors: &Tensors, file: &str| {
            tensors.keys().map(|name| (name.clone(), json!(file))).collect::<serde_json::Map<_, _>>()
        };
        let mut map = place(&first, names[0]);
        map.extend(place(&second, names[1]));
        let mut index = json!({"metadata": {"total_size": 1}, "weight_map": map});
        change(&mut first, &mut second, &mut index["weight_map"]);
        write(&first, Dtype::F32, &directory.path().join(names[0])).unwrap();
        write(&second, Dtype::F32, &directory.path().join(names[1])).unwrap();
        json::write(&directory.path().join(INDEX), &index).unwrap();
        said(directory.path(), &source)
    }

    /// transformers 5 reads all that lies in the files that the index names, wherever the index says that it lies.
    #[test]
    fn shards_are_read_by_what_lies_in_them() {
        const NORM: &str = "model.norm.weight";
        assert_eq!(sharded(&|_, _, _| ()), "read");
        let moved = |first: &mut Tensors, second: &mut Tensors, _: &mut Value| {
            first.insert(NORM.to_owned(), second.remove(NORM).unwrap());
        };
        assert_eq!(sharded(&moved), "read", "it lies in another shard than the index says");
        let unnamed = |_: &mut Tensors, _: &mut Tensors, map: &mut Value| {
            map.as_object_mut().unwrap().remove(NORM);
        };
        assert_eq!(sharded(&unnamed), "read", "the index does not say where it lies");
        let gone = |_: &mut Tensors, second: &mut Tensors, _: &mut Value| drop(second.remove(NORM));
        assert_eq!(sharded(&gone), "there is no tensor `model.norm.weight`");
        let same = |first: &mut Tensors, second: &mut Tensors, _: &mut Value| {
            first.insert(NORM.to_owned(), second[NORM].clone());
        };
        assert_eq!(sharded(&same), "read", "it lies twice");
        let other = sharded(&|first, second, map| {
            same(first, second, map);
            first.get_mut(NORM).unwrap().0[0] += 1.0;
        });
        assert!(other.starts_with("`model.norm.weight` is there, and is another tensor in "), "{other}");
        let left_out = sharded(&|_, _, map| {
            for file in map.as_object_mut().unwrap().values_mut() {
                *file = json!("model-00001-of-00002.safetensors");
            }
        });
        let right = "; it lies in model-00002-of-00002.safetensors, which the index does not name";
        assert!(left_out.starts_with("there is no tensor `model.layers.1.") && left_out.ends_with(right), "{left_out}");
    }
}
