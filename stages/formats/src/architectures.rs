//! The table of architectures: names, the parts of a block, the defaults of a configuration, and the layout of the
//! weights in Hugging Face files. A new architecture is one row, plus its new mathematics if it has any.

mod parts;

pub use parts::{
    Activation, Architecture, Bias, Factors, HeadNorms, Layout, Norm, QkvLayout, RopeDefaults, Target, Windows,
};

/// In the order in which messages list them.
pub const ARCHITECTURES: [&Architecture; 13] =
    [&LLAMA, &MISTRAL, &QWEN2, &QWEN3, &GEMMA2, &GEMMA3, &PHI3, &OLMO2, &SMOLLM3, &GRANITE, &STABLELM, &NEOX, &GPT2];

pub static LLAMA: Architecture =
    Architecture { model_type: "llama", classifier: Some("Llama"), title: "LLaMA", ..GATED };

static MISTRAL: Architecture = Architecture {
    model_type: "mistral",
    classifier: Some("Mistral"),
    title: "Mistral",
    attention_in_bias: Bias::Never,
    attention_out_bias: Bias::Never,
    mlp_bias: Bias::Never,
    context: 131_072,
    windows: Windows::All(Some(4096)),
    ..GATED
};

static QWEN2: Architecture = Architecture {
    model_type: "qwen2",
    classifier: Some("Qwen2"),
    title: "Qwen2",
    attention_in_bias: Bias::Always,
    attention_out_bias: Bias::Never,
    mlp_bias: Bias::Never,
    context: 32_768,
    windows: Windows::Late,
    ..GATED
};

static QWEN3: Architecture = Architecture {
    model_type: "qwen3",
    classifier: Some("Qwen3"),
    title: "Qwen3",
    mlp_bias: Bias::Never,
    context: 32_768,
    head_dim: Some(128),
    windows: Windows::Late,
    layout: Layout { head_norms: Some(HEAD_NORMS), ..GATED_LAYOUT },
    ..GATED
};

static GEMMA2: Architecture = Architecture {
    model_type: "gemma2",
    classifier: Some("Gemma2"),
    title: "Gemma 2",
    windows: Windows::AllBut { every: 2, window: 4096 },
    factors: Factors::Gemma { score_cap: Some(50.0), logit_cap: Some(30.0) },
    ..GEMMA
};

static GEMMA3: Architecture = Architecture {
    model_type: "gemma3_text",
    classifier: Some("Gemma3Text"),
    title: "Gemma 3",
    context: 131_072,
    windows: Windows::AllBut { every: 6, window: 4096 },
    factors: Factors::Gemma { score_cap: None, logit_cap: None },
    rope: Some(RopeDefaults { theta: 1_000_000.0, sliding_theta: Some(10_000.0), ..ROPE }),
    layout: Layout { head_norms: Some(HEAD_NORMS), ..GEMMA_LAYOUT },
    ..GEMMA
};

static PHI3: Architecture = Architecture {
    model_type: "phi3",
    classifier: Some("Phi3"),
    title: "Phi-3",
    attention_in_bias: Bias::Never,
    attention_out_bias: Bias::Never,
    mlp_bias: Bias::Never,
    context: 4096,
    epsilon: 1e-5,
    windows: Windows::All(None),
    rope: Some(RopeDefaults { share: Some(1.0), first_context: Some(4096), ..ROPE }),
    layout: Layout {
        targets: &[
            (Target::Fused, "self_attn.qkv_proj"),
            (Target::Output, "self_attn.o_proj"),
            (Target::GateUp, "mlp.gate_up_proj"),
            (Target::Down, "mlp.down_proj"),
        ],
        ..GATED_LAYOUT
    },
    ..GATED
};

static OLMO2: Architecture = Architecture {
    model_type: "olmo2",
    classifier: Some("Olmo2"),
    title: "OLMo 2",
    mlp_bias: Bias::Never,
    epsilon: 1e-5,
    layout: Layout {
        attention_norm: None,
        attention_out_norm: Some("post_attention_layernorm"),
        mlp_norm: None,
        mlp_out_norm: Some("post_feedforward_layernorm"),
        head_norms: Some(HeadNorms { spans_heads: true, ..HEAD_NORMS }),
        ..GATED_LAYOUT
    },
    ..GATED
};

static SMOLLM3: Architecture = Architecture {
    model_type: "smollm3",
    classifier: Some("SmolLM3"),
    title: "SmolLM3",
    context: 32_768,
    windows: Windows::WithoutRope,
    rope: Some(RopeDefaults { theta: 2_000_000.0, ..ROPE }),
    no_rope_interval: Some(4),
    is_tied: true,
    ..GATED
};

static GRANITE: Architecture =
    Architecture { model_type: "granite", title: "Granite", factors: Factors::Granite, ..GATED };

static STABLELM: Architecture = Architecture {
    model_type: "stablelm",
    classifier: Some("StableLm"),
    title: "StableLM",
    norm: Norm::Layer,
    attention_out_bias: Bias::Never,
    mlp_bias: Bias::Never,
    context: 4096,
    epsilon: 1e-5,
    rope: Some(RopeDefaults { share: Some(0.25), ..ROPE }),
    ..GATED
};

static NEOX: Architecture = Architecture {
    model_type: "gpt_neox",
    classifier: Some("GPTNeoX"),
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
    windows: Windows::Never,
    factors: Factors::Plain,
    rope: Some(RopeDefaults { share: Some(0.25), ..ROPE }),
    no_rope_interval: None,
    is_tied: false,
    layout: Layout {
        embedding: "gpt_neox.embed_in",
        positions: None,
        blocks: "gpt_neox.layers",
        attention_norm: Some("input_layernorm"),
        attention_out_norm: None,
        mlp_norm: Some("post_attention_layernorm"),
        mlp_out_norm: None,
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
    classifier: Some("GPT2"),
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
    windows: Windows::Never,
    factors: Factors::Plain,
    rope: None,
    no_rope_interval: None,
    is_tied: true,
    layout: Layout {
        embedding: "transformer.wte",
        positions: Some("transformer.wpe"),
        blocks: "transformer.h",
        attention_norm: Some("ln_1"),
        attention_out_norm: None,
        mlp_norm: Some("ln_2"),
        mlp_out_norm: None,
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
    classifier: None,
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
    windows: Windows::Never,
    factors: Factors::Plain,
    rope: Some(ROPE),
    no_rope_interval: None,
    is_tied: false,
    layout: GATED_LAYOUT,
};

const ROPE: RopeDefaults = RopeDefaults { theta: 10_000.0, sliding_theta: None, share: None, first_context: None };

/// The parts that the descendants of Gemma share.
const GEMMA: Architecture = Architecture {
    norm: Norm::RmsFromOne,
    mlp_bias: Bias::Never,
    context: 8192,
    activation: Activation::GeluTanh,
    head_dim: Some(256),
    is_tied: true,
    layout: GEMMA_LAYOUT,
    ..GATED
};

const HEAD_NORMS: HeadNorms = HeadNorms { names: ["self_attn.q_norm", "self_attn.k_norm"], spans_heads: false };

const GEMMA_LAYOUT: Layout = Layout {
    attention_out_norm: Some("post_attention_layernorm"),
    mlp_norm: Some("pre_feedforward_layernorm"),
    mlp_out_norm: Some("post_feedforward_layernorm"),
    ..GATED_LAYOUT
};

const GATED_LAYOUT: Layout = Layout {
    embedding: "model.embed_tokens",
    positions: None,
    blocks: "model.layers",
    attention_norm: Some("input_layernorm"),
    attention_out_norm: None,
    mlp_norm: Some("post_attention_layernorm"),
    mlp_out_norm: None,
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
