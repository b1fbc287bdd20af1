//! What the weights of each architecture are called in Hugging Face files, and how they lie there. Data only.

use super::config::{Architecture, Config, Norm};

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

/// How queries, keys and values lie side by side in a fused projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fused {
    /// All queries, then all keys, then all values.
    Stacked,
    /// Query, key and value of one head, then those of the next.
    ByHead,
}

pub struct Layout {
    pub embedding: &'static str,
    /// Learned positions.
    pub positions: Option<&'static str>,
    /// Before the number of a block.
    pub blocks: &'static str,
    pub attention_norm: &'static str,
    pub mlp_norm: &'static str,
    /// Of queries and of keys, over the size of a head.
    pub head_norms: Option<[&'static str; 2]>,
    /// In the order in which they are used.
    pub targets: &'static [(Target, &'static str)],
    pub norm: &'static str,
    pub head: &'static str,
    /// Projections lie `[in, out]` in the file; else `[out, in]`.
    pub is_in_out: bool,
    pub fused: Fused,
    /// What some files leave out in front of every name.
    pub prefix: &'static str,
}

const SPLIT: &[(Target, &str)] = &[
    (Target::Query, "self_attn.q_proj"),
    (Target::Key, "self_attn.k_proj"),
    (Target::Value, "self_attn.v_proj"),
    (Target::Output, "self_attn.o_proj"),
    (Target::Gate, "mlp.gate_proj"),
    (Target::Up, "mlp.up_proj"),
    (Target::Down, "mlp.down_proj"),
];

const LLAMA: Layout = Layout {
    embedding: "model.embed_tokens",
    positions: None,
    blocks: "model.layers",
    attention_norm: "input_layernorm",
    mlp_norm: "post_attention_layernorm",
    head_norms: None,
    targets: SPLIT,
    norm: "model.norm",
    head: "lm_head",
    is_in_out: false,
    fused: Fused::Stacked,
    prefix: "model.",
};

const QWEN3: Layout = Layout { head_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]), ..LLAMA };

const NEOX: Layout = Layout {
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
    is_in_out: false,
    fused: Fused::ByHead,
    prefix: "gpt_neox.",
};

const GPT2: Layout = Layout {
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
    is_in_out: true,
    fused: Fused::Stacked,
    prefix: "transformer.",
};

impl Architecture {
    pub fn layout(self) -> &'static Layout {
        match self {
            Architecture::Llama | Architecture::Qwen2 => &LLAMA,
            Architecture::Qwen3 => &QWEN3,
            Architecture::NeoX => &NEOX,
            Architecture::Gpt2 => &GPT2,
        }
    }
}

impl Layout {
    /// Where a target stands among those of a block.
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

impl Target {
    /// `(in, out)`.
    pub fn shape(self, config: &Config) -> (usize, usize) {
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Target::Query => (config.width, queries),
            Target::Key | Target::Value => (config.width, keys),
            Target::Fused => (config.width, queries + 2 * keys),
            Target::Output => (queries, config.width),
            Target::Gate | Target::Up => (config.width, config.inner),
            Target::Down => (config.inner, config.width),
        }
    }

    pub fn has_bias(self, config: &Config) -> bool {
        match self {
            Target::Query | Target::Key | Target::Value | Target::Fused => config.biases.attention_in,
            Target::Output => config.biases.attention_out,
            Target::Gate | Target::Up | Target::Down => config.biases.mlp,
        }
    }
}

/// One tensor of a model. In memory as in the file, but for vectors, which are rows `[1, n]` in memory.
pub struct Weight {
    /// In the file.
    pub name: String,
    pub shape: [usize; 2],
    pub sort: Sort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Embedding,
    Norm,
    Bias,
    /// Whether it leads back into the residual stream.
    Projection {
        is_back: bool,
    },
}

impl Sort {
    pub fn is_vector(self) -> bool {
        matches!(self, Sort::Norm | Sort::Bias)
    }
}

impl Weight {
    pub fn shape_in_file(&self) -> &[usize] {
        if self.sort.is_vector() { &self.shape[1..] } else { &self.shape }
    }
}

/// Every tensor of a model, in the order in which it is used.
pub fn weights(config: &Config) -> Vec<Weight> {
    let layout = config.architecture.layout();
    let mut all = Vec::new();
    let mut add = |name: &str, shape: [usize; 2], sort: Sort, biases: Option<usize>| {
        all.push(Weight { name: format!("{name}.weight"), shape, sort });
        let bias = |size| Weight { name: format!("{name}.bias"), shape: [1, size], sort: Sort::Bias };
        all.extend(biases.map(bias));
    };
    let (vocabulary, width) = (config.vocabulary, config.width);
    let norm_biases = |size: usize| (config.norm == Norm::Layer).then_some(size);
    add(layout.embedding, [vocabulary, width], Sort::Embedding, None);
    if let Some(name) = layout.positions {
        add(name, [config.context, width], Sort::Embedding, None);
    }
    for layer in 0..config.layers {
        let heads = layout.head_norms.into_iter().flatten().map(|name| (name, config.head_dim));
        for (name, size) in [(layout.attention_norm, width), (layout.mlp_norm, width)].into_iter().chain(heads) {
            add(&layout.path(layer, name), [1, size], Sort::Norm, norm_biases(size));
        }
        for (target, name) in layout.targets {
            let (inputs, outputs) = target.shape(config);
            let shape = if layout.is_in_out { [inputs, outputs] } else { [outputs, inputs] };
            let sort = Sort::Projection { is_back: matches!(target, Target::Output | Target::Down) };
            add(&layout.path(layer, name), shape, sort, target.has_bias(config).then_some(outputs));
        }
    }
    add(layout.norm, [1, width], Sort::Norm, norm_biases(width));
    if !config.is_tied {
        add(layout.head, [vocabulary, width], Sort::Embedding, None);
    }
    all
}
