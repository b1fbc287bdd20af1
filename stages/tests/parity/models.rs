//! The small random models of `make.py`, and the outputs of transformers and peft for them.

use burn::tensor::Device;
use formats::config::Config;
use formats::dtype::{Dtype, floats};
use safetensors::SafeTensors;
use stages::model::{Adapter, Decoder, weights};
use std::fs;
use std::path::{Path, PathBuf};

pub const MODELS: [&str; 19] = [
    "gpt2",
    "llama",
    "llama-biased",
    "llama-sharded",
    "neox",
    "neox-sequential",
    "qwen2",
    "qwen3",
    "mistral",
    "mistral-window",
    "qwen2-window",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3-long",
    "olmo2",
    "smollm3",
    "granite",
    "stablelm",
];

pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name)
}

pub fn load(directory: &Path, device: &Device) -> Decoder {
    weights::load(directory, Config::load(directory).unwrap(), Dtype::F32, device).unwrap()
}

pub struct Row {
    pub ids: Vec<u32>,
    /// `[t, v]`.
    pub logits: Vec<f32>,
    pub greedy: Vec<u32>,
    /// The logits with the adapter.
    pub adapted: Vec<f32>,
    pub reward: f32,
}

pub fn golden(name: &str) -> Vec<Row> {
    let bytes = fs::read(directory(name).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let bytes = |name: &str, row: usize| file.tensor(&format!("{name}.{row}")).unwrap().data();
    let ids = |name: &str, row: usize| {
        let numbers = bytes(name, row).chunks_exact(8).map(|eight| i64::from_le_bytes(eight.try_into().unwrap()));
        numbers.map(|id| u32::try_from(id).unwrap()).collect()
    };
    let floats = |name: &str, row: usize| floats(safetensors::Dtype::F32, bytes(name, row)).unwrap();
    let row = |row: usize| Row {
        ids: ids("ids", row),
        logits: floats("logits", row),
        greedy: ids("greedy", row),
        adapted: floats("adapted", row),
        reward: floats("reward", row)[0],
    };
    (0..3).map(row).collect()
}

/// The ids of a row beyond the context of the first training, and its logits `[t, v]`.
pub fn long_row(name: &str) -> (Vec<u32>, Vec<f32>) {
    let bytes = fs::read(directory(name).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor("long.ids").unwrap();
    let ids = ids.data().chunks_exact(8).map(|eight| i64::from_le_bytes(eight.try_into().unwrap()) as u32).collect();
    (ids, floats(safetensors::Dtype::F32, file.tensor("long.logits").unwrap().data()).unwrap())
}

pub fn adapters(name: &str, model: &Decoder) -> [Adapter; 2] {
    ["adapter", "reward"]
        .map(|which| weights::load_adapter(&directory(name).join(which), &model.config, &model.device()).unwrap())
}
