//! `config.json` of a LLaMA in Hugging Face layout.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub vocabulary: usize,
    pub width: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
    pub epsilon: f64,
    pub theta: f64,
    pub is_tied: bool,
    pub bos: Option<u32>,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// The file as it was read, so that saving it again drops nothing.
    pub source: Value,
}

/// The fields read here; all others pass through untouched.
#[derive(Deserialize)]
struct File {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

fn ids(given: Option<OneOrMany>) -> Vec<u32> {
    match given {
        Some(OneOrMany::One(id)) => vec![id],
        Some(OneOrMany::Many(ids)) => ids,
        None => Vec::new(),
    }
}

impl Config {
    /// Reads `config.json`, and further end tokens from `generation_config.json`.
    pub fn load(directory: &Path) -> Result<Config> {
        let path = directory.join("config.json");
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let source: Value = serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?;
        let mut config = Config::of(source).with_context(|| format!("read {}", path.display()))?;
        // Chat models often name further ends there.
        if let Ok(bytes) = fs::read(directory.join("generation_config.json")) {
            #[derive(Deserialize)]
            struct Generation {
                eos_token_id: Option<OneOrMany>,
            }
            let path = directory.join("generation_config.json");
            let generation: Generation =
                serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?;
            let more = ids(generation.eos_token_id).into_iter().filter(|id| !config.eos.contains(id));
            config.eos.extend(more.collect::<Vec<_>>());
        }
        Ok(config)
    }

    pub fn of(source: Value) -> Result<Config> {
        let file: File = serde_json::from_value(source.clone())?;
        if file.model_type != "llama" {
            bail!("model_type is `{}`; only `llama` is known", file.model_type);
        }
        if file.attention_bias || file.mlp_bias {
            bail!("attention_bias and mlp_bias are not supported");
        }
        if let Some(act) = file.hidden_act.filter(|act| act != "silu") {
            bail!("hidden_act `{act}` is not supported; only `silu` is");
        }
        // Transformers 5 writes `rope_parameters` in place of `rope_theta` and `rope_scaling`.
        let rope = file.rope_parameters.or(file.rope_scaling).unwrap_or(Value::Null);
        if let Some(kind) = rope.get("rope_type").or(rope.get("type")).and_then(Value::as_str)
            && kind != "default"
        {
            bail!("rope type `{kind}` is not supported; only `default` is");
        }
        let kv_heads = file.num_key_value_heads.unwrap_or(file.num_attention_heads);
        if kv_heads == 0 || !file.num_attention_heads.is_multiple_of(kv_heads) {
            bail!("{} attention heads do not share {kv_heads} key/value heads evenly", file.num_attention_heads);
        }
        Ok(Config {
            vocabulary: file.vocab_size,
            width: file.hidden_size,
            inner: file.intermediate_size,
            layers: file.num_hidden_layers,
            heads: file.num_attention_heads,
            kv_heads,
            head_dim: file.head_dim.unwrap_or(file.hidden_size / file.num_attention_heads),
            context: file.max_position_embeddings,
            epsilon: file.rms_norm_eps,
            theta: rope.get("rope_theta").and_then(Value::as_f64).or(file.rope_theta).unwrap_or(10_000.0),
            is_tied: file.tie_word_embeddings,
            bos: file.bos_token_id,
            eos: ids(file.eos_token_id),
            source,
        })
    }

    /// The file `transformers` reads, for a model made here.
    pub fn describe(
        vocabulary: usize,
        width: usize,
        inner: usize,
        layers: usize,
        (heads, kv_heads): (usize, usize),
        context: usize,
        (pad, bos, eos): (u32, u32, u32),
    ) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": width / heads,
            "max_position_embeddings": context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": true,
            "attention_bias": false,
            "mlp_bias": false,
            "pad_token_id": pad,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "torch_dtype": "float32",
        })
    }
}
