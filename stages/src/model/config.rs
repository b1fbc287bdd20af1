//! `config.json` in Hugging Face layout: what the architectures differ in becomes data. Knows no tensor.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    NeoX,
    Gpt2,
}

/// `model_type`, and which it is.
const KNOWN: [(&str, Architecture); 5] = [
    ("llama", Architecture::Llama),
    ("qwen2", Architecture::Qwen2),
    ("qwen3", Architecture::Qwen3),
    ("gpt_neox", Architecture::NeoX),
    ("gpt2", Architecture::Gpt2),
];

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub architecture: Architecture,
    pub vocabulary: usize,
    pub width: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
    pub norm: Norm,
    pub epsilon: f64,
    /// `None`: positions are learned.
    pub rope: Option<Rope>,
    pub activation: Activation,
    /// The mlp has a gate beside `up`.
    pub is_gated: bool,
    /// Attention and mlp both read what came into the block.
    pub is_parallel: bool,
    pub biases: Biases,
    /// The head over the vocabulary is the embedding, or there is none.
    pub is_tied: bool,
    /// A sequence classifier: what stands in the place of that head says how good a text is.
    pub is_classifier: bool,
    pub bos: Option<u32>,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// The file as it was read, so that saving it again drops nothing.
    pub source: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// x / √(mean(x²) + ε) · w (Zhang & Sennrich 2019, eq. 4).
    Rms,
    /// (x − mean) / √(variance + ε) · w + b (Ba et al. 2016, eq. 4).
    Layer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Silu,
    Gelu,
    /// By tanh (Hendrycks & Gimpel 2016, section 2).
    GeluTanh,
    Relu,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Of queries, keys and values.
    pub attention_in: bool,
    pub attention_out: bool,
    pub mlp: bool,
}

/// Rotary positions (Su et al. 2021) of the first `dims` numbers of each head, in two halves: number j turns with
/// number j + dims/2.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    pub dims: usize,
    /// Radians a position, of each of the dims/2 pairs.
    pub frequencies: Vec<f64>,
}

/// The fields read here, under the names of any architecture; all others pass through untouched.
#[derive(Deserialize)]
struct File {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: Option<usize>,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rotary_pct: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_parallel_residual: Option<bool>,
    hidden_act: Option<String>,
    use_sliding_window: Option<bool>,
    sliding_window: Option<usize>,
    layer_types: Option<Vec<String>>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    add_cross_attention: Option<bool>,
    quantization_config: Option<Value>,
    bos_token_id: Option<OneOrMany>,
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
        let named = source.get("model_type").and_then(Value::as_str).context("find `model_type`: it is not there")?;
        let Some((_, architecture)) = KNOWN.into_iter().find(|(name, _)| *name == named) else {
            let known: Vec<String> = KNOWN.iter().map(|(name, _)| format!("`{name}`")).collect();
            bail!("model_type `{named}` is not known; known are {}", known.join(", "));
        };
        let file: File = serde_json::from_value(under_one_name(&source)?)?;
        debug_assert_eq!(file.model_type, named);
        file.refuse_what_is_not_here()?;
        let is_gated = !matches!(architecture, Architecture::NeoX | Architecture::Gpt2);
        let heads = file.num_attention_heads;
        ensure!(heads > 0 && file.num_hidden_layers > 0, "it has no attention heads or no layers");
        let kv_heads = file.num_key_value_heads.filter(|_| is_gated).unwrap_or(heads);
        ensure!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads),
            "{heads} attention heads do not share {kv_heads} key/value heads evenly"
        );
        // The one whose default is not a share of the width.
        let default_head = if architecture == Architecture::Qwen3 { 128 } else { file.hidden_size / heads };
        let head_dim = file.head_dim.filter(|_| is_gated).unwrap_or(default_head);
        let activation = match (file.hidden_act.as_deref(), architecture) {
            (Some("silu" | "swish"), _) => Activation::Silu,
            (Some("gelu"), _) => Activation::Gelu,
            (Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast"), _) => Activation::GeluTanh,
            (Some("relu"), _) => Activation::Relu,
            (Some(other), _) => bail!("the activation `{other}` is not known"),
            (None, Architecture::NeoX) => Activation::Gelu,
            (None, Architecture::Gpt2) => Activation::GeluTanh,
            (None, _) => Activation::Silu,
        };
        let biases = match architecture {
            Architecture::Llama | Architecture::Qwen3 => {
                let attention = file.attention_bias.unwrap_or(false);
                let mlp = file.mlp_bias.unwrap_or(false) && architecture == Architecture::Llama;
                Biases { attention_in: attention, attention_out: attention, mlp }
            }
            Architecture::Qwen2 => Biases { attention_in: true, attention_out: false, mlp: false },
            Architecture::NeoX => {
                let attention = file.attention_bias.unwrap_or(true);
                Biases { attention_in: attention, attention_out: attention, mlp: true }
            }
            Architecture::Gpt2 => Biases { attention_in: true, attention_out: true, mlp: true },
        };
        let rope = match architecture {
            Architecture::Gpt2 => None,
            _ => Some(file.rope(head_dim, architecture)?),
        };
        let beyond = ids(file.bos_token_id.clone()).into_iter().chain(ids(file.eos_token_id.clone()));
        if let Some(id) = beyond.into_iter().find(|id| *id as usize >= file.vocab_size) {
            bail!("token {id} begins or ends a text, and there are {} (`vocab_size`)", file.vocab_size);
        }
        let is_classifier =
            source["architectures"][0].as_str().is_some_and(|class| class.ends_with("ForSequenceClassification"));
        let default_epsilon = if matches!(architecture, Architecture::NeoX | Architecture::Gpt2) { 1e-5 } else { 1e-6 };
        Ok(Config {
            architecture,
            vocabulary: file.vocab_size,
            width: file.hidden_size,
            inner: file.intermediate_size.unwrap_or(4 * file.hidden_size),
            layers: file.num_hidden_layers,
            heads,
            kv_heads,
            head_dim,
            context: file.context(architecture),
            norm: if is_gated { Norm::Rms } else { Norm::Layer },
            epsilon: file.rms_norm_eps.unwrap_or(default_epsilon),
            rope,
            activation,
            is_gated,
            is_parallel: architecture == Architecture::NeoX && file.use_parallel_residual.unwrap_or(true),
            biases,
            is_tied: is_classifier || file.tie_word_embeddings.unwrap_or(architecture == Architecture::Gpt2),
            is_classifier,
            bos: ids(file.bos_token_id).first().copied(),
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

/// Names of one field; the first is the one read here. Files may have several, since libraries wrote older ones beside
/// newer ones.
const NAMES: [(&str, &[&str]); 9] = [
    ("hidden_size", &["n_embd"]),
    ("intermediate_size", &["n_inner"]),
    ("num_hidden_layers", &["n_layer"]),
    ("num_attention_heads", &["n_head"]),
    ("max_position_embeddings", &["n_positions"]),
    ("rms_norm_eps", &["layer_norm_eps", "layer_norm_epsilon"]),
    ("rope_theta", &["rotary_emb_base"]),
    ("rotary_pct", &["partial_rotary_factor"]),
    ("hidden_act", &["activation_function"]),
];

fn under_one_name(source: &Value) -> Result<Value> {
    let mut fields = source.as_object().context("it is no mapping")?.clone();
    for (first, others) in NAMES {
        for other in others {
            let Some(value) = fields.remove(*other) else { continue };
            // 10000 and 10000.0 are one number.
            let is_same =
                |known: &Value| *known == value || known.as_f64().is_some() && known.as_f64() == value.as_f64();
            match fields.get(first) {
                Some(known) if !known.is_null() && !value.is_null() && !is_same(known) => {
                    bail!("`{first}` is {known}, `{other}` is {value}: they name one thing")
                }
                Some(known) if !known.is_null() => {}
                _ => _ = fields.insert(first.to_owned(), value),
            }
        }
    }
    Ok(Value::Object(fields))
}

impl File {
    fn refuse_what_is_not_here(&self) -> Result<()> {
        let slides = self.layer_types.iter().flatten().any(|kind| kind != "full_attention");
        let window =
            self.sliding_window.filter(|window| self.max_position_embeddings.is_none_or(|context| *window < context));
        if (slides || self.use_sliding_window == Some(true)) && window.is_some() {
            bail!("attention over a sliding window is not supported");
        }
        if self.quantization_config.as_ref().is_some_and(|quantised| !quantised.is_null()) {
            bail!("quantised weights (`quantization_config`) are not supported; take the model they were made of");
        }
        if self.scale_attn_weights == Some(false) || self.scale_attn_by_inverse_layer_idx == Some(true) {
            bail!("attention scores that are not scaled by √head_dim are not supported");
        }
        if self.add_cross_attention == Some(true) {
            bail!("cross-attention is not supported");
        }
        Ok(())
    }

    /// Tokens, by the default of each configuration class where the file says nothing.
    fn context(&self, architecture: Architecture) -> usize {
        self.max_position_embeddings.unwrap_or(match architecture {
            Architecture::Llama | Architecture::NeoX => 2048,
            Architecture::Qwen2 | Architecture::Qwen3 => 32_768,
            Architecture::Gpt2 => 1024,
        })
    }

    /// Transformers 5 writes `rope_parameters` in place of `rope_theta`, `rope_scaling` and `rotary_pct`.
    fn rope(&self, head_dim: usize, architecture: Architecture) -> Result<Rope> {
        let given = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let number = |name: &str| given.and_then(|given| given.get(name)).and_then(Value::as_f64);
        let needed = |name: &str| number(name).with_context(|| format!("find `{name}` of the rope: it is not there"));
        let theta = number("rope_theta").or(self.rope_theta).unwrap_or(10_000.0);
        let default_share = if architecture == Architecture::NeoX { 0.25 } else { 1.0 };
        let share = number("partial_rotary_factor").or(self.rotary_pct).unwrap_or(default_share);
        let dims = (head_dim as f64 * share) as usize;
        ensure!(dims > 0 && dims.is_multiple_of(2) && dims <= head_dim, "a rope of {dims} dimensions is not possible");
        let plain = (0..dims / 2).map(|pair| theta.powf(-2.0 * pair as f64 / dims as f64));
        let name = |name: &str| given.and_then(|given| given.get(name)).and_then(Value::as_str);
        let frequencies = match name("rope_type").or(name("type")).unwrap_or("default") {
            // `dynamic` changes only what lies beyond the context, where no sequence is let.
            "default" | "dynamic" => plain.collect(),
            "linear" => {
                let factor = needed("factor")?;
                plain.map(|frequency| frequency / factor).collect()
            }
            "llama3" => {
                let (factor, low, high) = (needed("factor")?, needed("low_freq_factor")?, needed("high_freq_factor")?);
                let before = needed("original_max_position_embeddings")?;
                // How often a pair turns within the context it was first trained on says how much it is stretched.
                let stretched = |frequency: f64| {
                    let turns = before * frequency / TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                };
                plain.map(stretched).collect()
            }
            other => bail!("rope type `{other}` is not supported; known are default, linear, dynamic and llama3"),
        };
        Ok(Rope { dims, frequencies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As transformers 4 wrote GPT-NeoX: under the names of the architecture and under the common ones.
    #[test]
    fn a_field_may_stand_under_two_names_if_they_say_the_same() {
        let mut source = json!({
            "model_type": "gpt_neox", "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "rotary_emb_base": 5000, "rope_theta": 5000.0, "rotary_pct": 0.5, "partial_rotary_factor": 0.5,
        });
        let config = Config::of(source.clone()).unwrap();
        assert_eq!((config.rope.unwrap().dims, config.context), (2, 2048));
        source["rope_theta"] = json!(10000.0);
        let error = Config::of(source.clone()).unwrap_err().to_string();
        assert_eq!(error, "`rope_theta` is 10000.0, `rotary_emb_base` is 5000: they name one thing");
        source["eos_token_id"] = json!([3, 10]);
        source["rope_theta"] = json!(null);
        let error = Config::of(source).unwrap_err().to_string();
        assert_eq!(error, "token 10 begins or ends a text, and there are 10 (`vocab_size`)");
    }

    /// Angles per position, of each pair of dimensions.
    #[test]
    fn rotary_frequencies_are_the_golden_ones() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/golden/rlhf-golden.json")).unwrap();
        let golden = &golden["rope"];
        let frequencies = |head: usize, theta: f64, scaling: Value| {
            let source = json!({
                "model_type": "llama", "vocab_size": 10, "hidden_size": head, "intermediate_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 1, "rope_theta": theta, "rope_scaling": scaling,
            });
            Config::of(source).unwrap().rope.unwrap().frequencies
        };
        let close = |ours: Vec<f64>, theirs: &Value| {
            let theirs: Vec<f64> = serde_json::from_value(theirs.clone()).unwrap();
            assert_eq!(ours.len(), theirs.len());
            for (one, other) in ours.iter().zip(theirs) {
                assert!((one - other).abs() <= 1e-12 * other, "{one} is not {other}");
            }
        };
        close(frequencies(8, 1e4, json!(null)), &golden["default_d8_theta1e4"]);
        close(frequencies(8, 1e4, json!({"rope_type": "linear", "factor": 4.0})), &golden["linear_factor4_d8"]);
        let llama = &golden["llama3_d64_theta5e5_factor32 (Llama-3.2-1B)"];
        close(frequencies(64, 5e5, json!(null)), &llama["default"]);
        // What the file leaves out, Llama-3.2-1B's config.json says.
        let scaling = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192});
        close(frequencies(64, 5e5, scaling), &llama["scaled"]);
    }
}
