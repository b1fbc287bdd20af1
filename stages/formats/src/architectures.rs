//! The table of architectures: names, the parts of a block, the defaults of a configuration, and the layout of the
//! weights in Hugging Face files. A new architecture is one row, plus its new mathematics if it has any.

/// One architecture.
#[derive(Debug, PartialEq)]
pub struct Architecture {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The classes of `transformers` begin with it: `LlamaForCausalLM`.
    pub class: &'static str,
    /// Its name for people.
    pub title: &'static str,

    pub norm: Norm,
    /// The mlp has a gate beside `up`.
    pub is_gated: bool,
    /// The configuration may set `num_key_value_heads` and `head_dim`.
    pub has_free_heads: bool,
    /// Attention and mlp both read what comes into the block, unless `use_parallel_residual` is false.
    pub is_parallel: bool,
    /// Queries, keys and values have biases; `Set` by `attention_bias`.
    pub attention_in_bias: Bias,
    pub attention_out_bias: Bias,
    /// `Set` by `mlp_bias`.
    pub mlp_bias: Bias,

    // Defaults of `config.json`, those of the configuration classes of `transformers`.
    /// Longest sequence, in tokens.
    pub context: usize,
    pub activation: Activation,
    pub epsilon: f64,
    /// `None`: the width over the number of heads.
    pub head_dim: Option<usize>,
    /// The share of a head that rotary positions turn. `None`: positions are learned.
    pub rotary_share: Option<f64>,
    /// The head over the vocabulary is the embedding.
    pub is_tied: bool,

    pub layout: Layout,
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

/// Whether a projection has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    Never,
    Always,
    /// The configuration sets it; this is the default.
    Set(bool),
}

impl Bias {
    pub fn is_there(self, set: Option<bool>) -> bool {
        match self {
            Bias::Never => false,
            Bias::Always => true,
            Bias::Set(default) => set.unwrap_or(default),
        }
    }
}

/// The names of weights in files, and how they lie there.
#[derive(Debug, PartialEq)]
pub struct Layout {
    pub embedding: &'static str,
    /// Learned positions.
    pub positions: Option<&'static str>,
    /// Before the number of a block.
    pub blocks: &'static str,
    pub attention_norm: &'static str,
    pub mlp_norm: &'static str,
    /// Norms of queries and of keys, over the size of a head.
    pub head_norms: Option<[&'static str; 2]>,
    /// In the order in which they are used.
    pub targets: &'static [(Target, &'static str)],
    pub norm: &'static str,
    pub head: &'static str,
    /// Another name of the head: that of newer files.
    pub newer_head: Option<&'static str>,
    /// Projections lie `[in, out]` in the file; else `[out, in]`.
    pub is_in_out: bool,
    pub fused: QkvLayout,
    /// Stands before every name, except in files of a decoder without its head.
    pub prefix: &'static str,
}

/// A matrix that an adapter can stand beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Query,
    Key,
    Value,
    /// Queries, keys and values in one.
    Fused,
    Output,
    Gate,
    Up,
    Down,
}

/// The order of queries, keys and values in a fused projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvLayout {
    /// All queries, then all keys, then all values.
    Stacked,
    /// Query, key and value of one head, then those of the next.
    ByHead,
}

/// In the order in which messages list them.
pub const ARCHITECTURES: [&Architecture; 5] = [&LLAMA, &QWEN2, &QWEN3, &NEOX, &GPT2];

pub static LLAMA: Architecture = Architecture { model_type: "llama", class: "Llama", title: "LLaMA", ..GATED };

static QWEN2: Architecture = Architecture {
    model_type: "qwen2",
    class: "Qwen2",
    title: "Qwen2",
    attention_in_bias: Bias::Always,
    attention_out_bias: Bias::Never,
    mlp_bias: Bias::Never,
    context: 32_768,
    ..GATED
};

static QWEN3: Architecture = Architecture {
    model_type: "qwen3",
    class: "Qwen3",
    title: "Qwen3",
    mlp_bias: Bias::Never,
    context: 32_768,
    head_dim: Some(128),
    layout: Layout { head_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]), ..GATED_LAYOUT },
    ..GATED
};

static NEOX: Architecture = Architecture {
    model_type: "gpt_neox",
    class: "GPTNeoX",
    title: "GPT-NeoX",
    norm: Norm::Layer,
    is_gated: false,
    has_free_heads: false,
    is_parallel: true,
    attention_in_bias: Bias::Set(true),
    attention_out_bias: Bias::Set(true),
    mlp_bias: Bias::Always,
    context: 2048,
    activation: Activation::Gelu,
    epsilon: 1e-5,
    head_dim: None,
    rotary_share: Some(0.25),
    is_tied: false,
    layout: Layout {
        embedding: "gpt_neox.embed_in",
        positions: None,
        blocks: "gpt_neox.layers",
        attention_norm: "input_layernorm",
        mlp_norm: "post_attention_layernorm",
        head_norms: None,
        targets: &[
            (Target::Fused, "attention.query_key_value"),
            (Target::Output, "attention.dense"),
            (Target::Up, "mlp.dense_h_to_4h"),
            (Target::Down, "mlp.dense_4h_to_h"),
        ],
        norm: "gpt_neox.final_layer_norm",
        head: "embed_out",
        newer_head: Some("lm_head"),
        is_in_out: false,
        fused: QkvLayout::ByHead,
        prefix: "gpt_neox.",
    },
};

static GPT2: Architecture = Architecture {
    model_type: "gpt2",
    class: "GPT2",
    title: "GPT-2",
    norm: Norm::Layer,
    is_gated: false,
    has_free_heads: false,
    is_parallel: false,
    attention_in_bias: Bias::Always,
    attention_out_bias: Bias::Always,
    mlp_bias: Bias::Always,
    context: 1024,
    activation: Activation::GeluTanh,
    epsilon: 1e-5,
    head_dim: None,
    rotary_share: None,
    is_tied: true,
    layout: Layout {
        embedding: "transformer.wte",
        positions: Some("transformer.wpe"),
        blocks: "transformer.h",
        attention_norm: "ln_1",
        mlp_norm: "ln_2",
        head_norms: None,
        targets: &[
            (Target::Fused, "attn.c_attn"),
            (Target::Output, "attn.c_proj"),
            (Target::Up, "mlp.c_fc"),
            (Target::Down, "mlp.c_proj"),
        ],
        norm: "transformer.ln_f",
        head: "lm_head",
        newer_head: None,
        is_in_out: true,
        fused: QkvLayout::Stacked,
        prefix: "transformer.",
    },
};

/// The parts that LLaMA and its descendants share.
const GATED: Architecture = Architecture {
    model_type: "",
    class: "",
    title: "",
    norm: Norm::Rms,
    is_gated: true,
    has_free_heads: true,
    is_parallel: false,
    attention_in_bias: Bias::Set(false),
    attention_out_bias: Bias::Set(false),
    mlp_bias: Bias::Set(false),
    context: 2048,
    activation: Activation::Silu,
    epsilon: 1e-6,
    head_dim: None,
    rotary_share: Some(1.0),
    is_tied: false,
    layout: GATED_LAYOUT,
};

const GATED_LAYOUT: Layout = Layout {
    embedding: "model.embed_tokens",
    positions: None,
    blocks: "model.layers",
    attention_norm: "input_layernorm",
    mlp_norm: "post_attention_layernorm",
    head_norms: None,
    targets: &[
        (Target::Query, "self_attn.q_proj"),
        (Target::Key, "self_attn.k_proj"),
        (Target::Value, "self_attn.v_proj"),
        (Target::Output, "self_attn.o_proj"),
        (Target::Gate, "mlp.gate_proj"),
        (Target::Up, "mlp.up_proj"),
        (Target::Down, "mlp.down_proj"),
    ],
    norm: "model.norm",
    head: "lm_head",
    newer_head: None,
    is_in_out: false,
    fused: QkvLayout::Stacked,
    prefix: "model.",
};

impl Layout {
    /// The index of a target among those of a block.
    pub fn place(&self, target: Target) -> Option<usize> {
        self.targets.iter().position(|(other, _)| *other == target)
    }

    /// `model.layers.3.mlp.up_proj`.
    pub fn path(&self, layer: usize, name: &str) -> String {
        format!("{}.{layer}.{name}", self.blocks)
    }

    /// The last parts of the names of its targets, each once: what PEFT calls `target_modules`.
    pub fn modules(&self, targets: impl Fn(Target) -> bool) -> Vec<&'static str> {
        let mut modules: Vec<&str> = Vec::new();
        for (_, path) in self.targets.iter().filter(|(target, _)| targets(*target)) {
            let name = path.rsplit('.').next().unwrap_or(path);
            if !modules.contains(&name) {
                modules.push(name);
            }
        }
        modules
    }
}
