//! `config.json` in Hugging Face layout: sizes and options of one model of an architecture.

use crate::architectures::{ARCHITECTURES, Activation, Architecture, Factors, LLAMA, Norm, RopeDefaults};
use crate::json;
use crate::layers::{self, LayerAttention, LayerFields};
use crate::rope::{Rope, RopeFields, RopeLayers, RopeParameters};
use crate::tokenizer;
use crate::unreadable::Reading;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub architecture: &'static Architecture,
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
    /// Rotary positions; more than one where layers differ. None: positions are learned.
    pub ropes: Vec<Rope>,
    /// The numbers of tokens that a token attends to, itself included, where layers differ; `None`: all before it.
    pub windows: Vec<Option<usize>>,
    /// By layer.
    pub attention: Vec<LayerAttention>,
    pub scales: Scales,
    pub activation: Activation,
    /// The mlp has a gate beside `up`.
    pub is_gated: bool,
    /// Attention and mlp both read the input of the block.
    pub is_parallel: bool,
    pub biases: Biases,
    /// The head over the vocabulary is the embedding, or there is none.
    pub is_tied: bool,
    /// A sequence classifier: its head is a score of the text.
    pub is_classifier: bool,
    pub bos: Option<u32>,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// The file as it was read, so that saving it again drops nothing.
    pub source: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values have biases.
    pub attention_in: bool,
    pub attention_out: bool,
    pub mlp: bool,
}

/// Factors of the computation, and the bounds c that values x are brought under by c·tanh(x/c).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    pub embedding: f64,
    /// Factor of what a block adds to the residual stream.
    pub residual: f64,
    /// Factor of the products of queries and keys.
    pub score: f64,
    pub score_cap: Option<f64>,
    pub logit: f64,
    pub logit_cap: Option<f64>,
}

/// The fields that are read, under the names of any architecture. All other fields are kept as they are.
#[derive(Deserialize)]
struct Fields {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: Option<usize>,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    #[serde(flatten)]
    rope: RopeFields,
    #[serde(flatten)]
    layers: LayerFields,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_parallel_residual: Option<bool>,
    hidden_act: Option<String>,
    qk_layernorm: Option<bool>,
    use_bidirectional_attention: Option<bool>,
    query_pre_attn_scalar: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    embedding_multiplier: Option<f64>,
    residual_multiplier: Option<f64>,
    attention_multiplier: Option<f64>,
    logits_scaling: Option<f64>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    add_cross_attention: Option<bool>,
    quantization_config: Option<Value>,
    bos_token_id: Option<OneOrMany>,
    eos_token_id: Option<OneOrMany>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(i64),
    Many(Vec<i64>),
}

/// The tokens of a field. Old files write -1 for none.
fn ids(given: Option<OneOrMany>) -> Vec<u32> {
    let all = match given {
        Some(OneOrMany::One(id)) => vec![id],
        Some(OneOrMany::Many(ids)) => ids,
        None => Vec::new(),
    };
    // A number beyond 32 bits is beyond every vocabulary, and is refused as such.
    all.into_iter().filter(|id| *id >= 0).map(|id| u32::try_from(id).unwrap_or(u32::MAX)).collect()
}

/// The largest sizes, a multiple of those of any model: memory is taken and numbers are multiplied by them before the
/// weights, which must fit them, are looked at.
const MOST_LAYERS: usize = 4096;
const MOST_HEADS: usize = 1 << 16;
const WIDEST: usize = 1 << 20;
const MOST_TOKENS: usize = 1 << 24;
const LONGEST: usize = 1 << 30;

impl Fields {
    fn refuse_sizes(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", Some(self.vocab_size), MOST_TOKENS),
            ("hidden_size", Some(self.hidden_size), WIDEST),
            ("intermediate_size", self.intermediate_size, WIDEST * 4),
            ("num_hidden_layers", Some(self.num_hidden_layers), MOST_LAYERS),
            ("num_attention_heads", Some(self.num_attention_heads), MOST_HEADS),
            ("num_key_value_heads", self.num_key_value_heads, MOST_HEADS),
            ("head_dim", self.head_dim, MOST_HEADS),
            ("max_position_embeddings", self.max_position_embeddings, LONGEST),
        ];
        for (name, size, most) in sizes {
            if let Some(size) = size.filter(|size| *size > most) {
                bail!("`{name}` is {size}, and {most} is the most");
            }
        }
        Ok(())
    }
}

impl Config {
    /// Reads `config.json`, and further end tokens from `generation_config.json`. Where neither names one, the end token
    /// of the tokenizer ends an answer, as for the trainer of `transformers`.
    ///
    /// # Errors
    /// A file cannot be read, its fields contradict each other, or the directory is that of an adapter.
    pub fn load(directory: &Path) -> Result<Config> {
        #[derive(Deserialize)]
        struct Generation {
            eos_token_id: Option<OneOrMany>,
        }
        let path = directory.join("config.json");
        refuse_adapter(directory)?;
        let mut config = Config::of(json::read(&path)?).reading(&path)?;
        // Chat models often name further end tokens there.
        if let Some(generation) = json::read_if_there::<Generation>(&directory.join("generation_config.json"))? {
            let more = ids(generation.eos_token_id).into_iter().filter(|id| !config.eos.contains(id));
            config.eos.extend(more.collect::<Vec<_>>());
        }
        if config.eos.is_empty() {
            let named = tokenizer::end_of(directory)?;
            config.eos.extend(named.filter(|id| (*id as usize) < config.vocabulary));
        }
        Ok(config)
    }

    /// # Errors
    /// The architecture is not known, a field is missing, or an option is not supported.
    pub fn of(source: Value) -> Result<Config> {
        let named = source.get("model_type").and_then(Value::as_str).context("find `model_type`: it is not there")?;
        let Some(architecture) = ARCHITECTURES.into_iter().find(|row| row.model_type == named) else {
            let known = ARCHITECTURES.map(|row| format!("`{}`", row.model_type));
            bail!("model_type `{named}` is not known; known are {}", known.join(", "));
        };
        let fields: Fields = serde_json::from_value(under_one_name(&source)?)?;
        fields.refuse_unsupported(architecture)?;
        fields.refuse_sizes()?;
        let heads = fields.num_attention_heads;
        ensure!(heads > 0 && fields.num_hidden_layers > 0, "it has no attention heads or no layers");
        let kv_heads = fields.num_key_value_heads.filter(|_| architecture.has_free_heads).unwrap_or(heads);
        ensure!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads),
            "{heads} attention heads do not share {kv_heads} key/value heads evenly"
        );
        let head_dim = fields.head_dim.filter(|_| architecture.has_free_heads).or(architecture.head_dim);
        let head_dim = head_dim.unwrap_or(fields.hidden_size / heads);
        let activation = match fields.hidden_act.as_deref() {
            Some("silu" | "swish") => Activation::Silu,
            Some("gelu") => Activation::Gelu,
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Activation::GeluTanh,
            Some("relu") => Activation::Relu,
            Some(other) => bail!("the activation `{other}` is not known"),
            None => architecture.activation,
        };
        let context = fields.max_position_embeddings.unwrap_or(architecture.context);
        let layers = layers::layers(&fields.layers, architecture, fields.num_hidden_layers, context)?;
        let rope = |RopeDefaults { theta, sliding_theta, share, first_context }: RopeDefaults| {
            let of = |layers: &RopeLayers| {
                let theta = if *layers == RopeLayers::Sliding { sliding_theta.unwrap_or(theta) } else { theta };
                let fields = &fields.rope;
                Rope::of(&RopeParameters { fields, layers: *layers, head_dim, context, theta, share, first_context })
            };
            layers.ropes.iter().map(of).collect::<Result<Vec<_>>>()
        };
        let ropes = architecture.rope.map_or_else(|| Ok(Vec::new()), rope)?;
        let mut special = ids(fields.bos_token_id.clone()).into_iter().chain(ids(fields.eos_token_id.clone()));
        if let Some(id) = special.find(|id| *id as usize >= fields.vocab_size) {
            bail!("token {id} begins or ends a text, and there are {} (`vocab_size`)", fields.vocab_size);
        }
        let is_classifier =
            source["architectures"][0].as_str().is_some_and(|class| class.ends_with("ForSequenceClassification"));
        Ok(Config {
            architecture,
            vocabulary: fields.vocab_size,
            width: fields.hidden_size,
            inner: fields.intermediate_size.unwrap_or(fields.hidden_size.saturating_mul(4)),
            layers: fields.num_hidden_layers,
            heads,
            kv_heads,
            head_dim,
            context,
            norm: architecture.norm,
            epsilon: fields.rms_norm_eps.unwrap_or(architecture.epsilon),
            ropes,
            windows: layers.windows,
            attention: layers.attention,
            scales: fields.scales(architecture, &source, head_dim),
            activation,
            is_gated: architecture.is_gated,
            is_parallel: architecture.is_parallel && fields.use_parallel_residual.unwrap_or(true),
            biases: Biases {
                attention_in: architecture.attention_in_bias.is_there(fields.attention_bias),
                attention_out: architecture.attention_out_bias.is_there(fields.attention_bias),
                mlp: architecture.mlp_bias.is_there(fields.mlp_bias),
            },
            is_tied: is_classifier || fields.tie_word_embeddings.unwrap_or(architecture.is_tied),
            is_classifier,
            bos: ids(fields.bos_token_id).first().copied(),
            eos: ids(fields.eos_token_id),
            source,
        })
    }
}

/// An adapter is no model; and beside one, `transformers` reads the adapter over the base that it names instead.
fn refuse_adapter(directory: &Path) -> Result<()> {
    let adapter = directory.join("adapter_config.json");
    if !files::is_file(&adapter)? {
        return Ok(());
    }
    let way = "`pipeline import-adapter DIR BASE OUT` makes a model of it and its base: `from: {model: OUT}`";
    let is_beside = files::is_file(&directory.join("config.json"))?;
    let fault = match is_beside {
        true => anyhow!(
            "it lies beside a model, in whose place `transformers` reads the adapter and the base that it names; take it \
             away, or {way}"
        ),
        false => anyhow!("it is of an adapter of peft, and no model lies beside it; {way}"),
    };
    Err(fault).reading(&adapter)
}

/// Sizes and special tokens of a LLaMA that is made here, or converted.
#[derive(Clone, Copy, Debug)]
pub struct Llama {
    pub vocabulary: usize,
    pub width: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub context: usize,
    pub is_tied: bool,
    pub pad: Option<u32>,
    pub bos: u32,
    pub eos: u32,
}

impl Llama {
    /// The `config.json` that `transformers` reads.
    pub fn source(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": LLAMA.model_type,
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.width / self.heads,
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": self.is_tied,
            "attention_bias": false,
            "mlp_bias": false,
            "pad_token_id": self.pad,
            "bos_token_id": self.bos,
            "eos_token_id": self.eos,
            "torch_dtype": "float32",
        })
    }
}

/// The names of a field: the first is the one that is read, the others are those of other architectures. Files may have
/// several, since libraries wrote older names beside newer ones.
const NAMES: [(&str, &[&str]); 10] = [
    ("hidden_size", &["n_embd"]),
    ("intermediate_size", &["n_inner"]),
    ("num_hidden_layers", &["n_layer"]),
    ("num_attention_heads", &["n_head"]),
    ("max_position_embeddings", &["n_positions"]),
    ("rms_norm_eps", &["layer_norm_eps", "layer_norm_epsilon"]),
    ("rope_theta", &["rotary_emb_base"]),
    ("partial_rotary_factor", &["rotary_pct"]),
    ("hidden_act", &["activation_function", "hidden_activation"]),
    ("attention_bias", &["use_qkv_bias"]),
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

impl Fields {
    fn refuse_unsupported(&self, architecture: &Architecture) -> Result<()> {
        if self.quantization_config.as_ref().is_some_and(|quantised| !quantised.is_null()) {
            bail!("quantised weights (`quantization_config`) are not supported; take the model they were made of");
        }
        if self.scale_attn_weights == Some(false) || self.scale_attn_by_inverse_layer_idx == Some(true) {
            bail!("attention scores that are not scaled by √head_dim are not supported");
        }
        if self.add_cross_attention == Some(true) {
            bail!("cross-attention is not supported");
        }
        if self.use_bidirectional_attention == Some(true) {
            bail!(
                "attention to later tokens (`use_bidirectional_attention`) is not supported: the model is no decoder"
            );
        }
        if self.qk_layernorm == Some(true) {
            bail!("norms of queries and keys that differ by head (`qk_layernorm`) are not supported");
        }
        if self.use_parallel_residual == Some(true) && !architecture.is_parallel {
            bail!("attention and mlp side by side (`use_parallel_residual`) are not supported for this architecture");
        }
        Ok(())
    }

    fn scales(&self, architecture: &Architecture, source: &Value, head_dim: usize) -> Scales {
        let plain = Scales {
            embedding: 1.0,
            residual: 1.0,
            score: 1.0 / (head_dim as f64).sqrt(),
            score_cap: None,
            logit: 1.0,
            logit_cap: None,
        };
        // `null` is no bound; a file that says nothing has that of its architecture.
        let named = |name: &str, given: Option<f64>, default| if source.get(name).is_some() { given } else { default };
        match architecture.factors {
            Factors::Plain => plain,
            Factors::Gemma { score_cap, logit_cap } => Scales {
                embedding: (self.hidden_size as f64).sqrt(),
                score: 1.0 / self.query_pre_attn_scalar.unwrap_or(256.0).sqrt(),
                score_cap: score_cap
                    .and_then(|cap| named("attn_logit_softcapping", self.attn_logit_softcapping, Some(cap))),
                logit_cap: named("final_logit_softcapping", self.final_logit_softcapping, logit_cap),
                ..plain
            },
            Factors::Granite => Scales {
                embedding: self.embedding_multiplier.unwrap_or(1.0),
                residual: self.residual_multiplier.unwrap_or(1.0),
                score: self.attention_multiplier.unwrap_or(1.0),
                logit: 1.0 / self.logits_scaling.unwrap_or(1.0),
                ..plain
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    #[test]
    fn every_architecture_is_compared_with_transformers() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity");
        let directories = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let models = directories.filter(|directory| directory.join("config.json").exists());
        let compared: BTreeSet<&str> =
            models.map(|directory| Config::load(&directory).unwrap().architecture.model_type).collect();
        assert_eq!(compared, ARCHITECTURES.map(|row| row.model_type).into());
    }

    /// transformers 4 wrote the fields of GPT-NeoX under the names of the architecture and under the common ones.
    #[test]
    fn a_field_may_stand_under_two_names_if_they_say_the_same() {
        let mut source = json!({
            "model_type": "gpt_neox", "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "rotary_emb_base": 5000, "rope_theta": 5000.0, "rotary_pct": 0.5, "partial_rotary_factor": 0.5,
        });
        let config = Config::of(source.clone()).unwrap();
        assert_eq!((config.ropes[0].dims, config.context), (2, 2048));
        source["rope_theta"] = json!(10000.0);
        let error = Config::of(source.clone()).unwrap_err().to_string();
        assert_eq!(error, "`rope_theta` is 10000.0, `rotary_emb_base` is 5000: they name one thing");
        source["eos_token_id"] = json!([3, 10]);
        source["rope_theta"] = json!(null);
        let error = Config::of(source).unwrap_err().to_string();
        assert_eq!(error, "token 10 begins or ends a text, and there are 10 (`vocab_size`)");
    }

    fn llama(more: Value) -> Value {
        let mut source = json!({
            "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 1,
        });
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        source
    }

    #[test]
    fn a_negative_token_is_none() {
        let config = Config::of(llama(json!({"bos_token_id": -1, "eos_token_id": [-1, 3]}))).unwrap();
        assert_eq!((config.bos, config.eos), (None, vec![3]));
        let beyond = Config::of(llama(json!({"eos_token_id": 5_000_000_000_i64}))).unwrap_err().to_string();
        assert!(beyond.contains("there are 10 (`vocab_size`)"), "{beyond}");
    }

    #[test]
    fn an_adapter_in_the_place_of_a_model_is_told_how_it_becomes_one() {
        let directory = tempfile::tempdir().unwrap();
        let told = || Config::load(directory.path()).unwrap_err().root_cause().to_string();
        fs::write(directory.path().join("adapter_config.json"), "{}").unwrap();
        let alone = told();
        assert!(alone.starts_with("it is of an adapter of peft") && alone.contains("`pipeline import-adapter "));
        fs::write(directory.path().join("config.json"), llama(json!({})).to_string()).unwrap();
        let beside = told();
        assert!(beside.starts_with("it lies beside a model") && beside.contains("`pipeline import-adapter "));
    }

    #[test]
    fn the_end_token_of_the_tokenizer_ends_an_answer_where_the_configuration_names_none() {
        let directory = tempfile::tempdir().unwrap();
        let model = Path::new("../tests/parity/tokenizers/bytes");
        let set = |eos: Value| {
            let source = llama(json!({"vocab_size": 1006, "eos_token_id": eos}));
            fs::write(directory.path().join("config.json"), source.to_string()).unwrap();
            Config::load(directory.path()).unwrap().eos
        };
        assert!(set(json!(null)).is_empty());
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(model.join(file), directory.path().join(file)).unwrap();
        }
        assert_eq!(set(json!(null)), [1002], "`</s>`");
        assert_eq!(set(json!(-1)), [1002]);
        assert_eq!(set(json!(7)), [7]);
    }
}
