//! The parts by which architectures differ: of a block, of its defaults, and of the layout of its weights in files.

/// One architecture.
#[derive(Debug, PartialEq)]
pub struct Architecture {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The sequence classifier of `transformers` begins with it: `LlamaForSequenceClassification`. `None`: it has none.
    pub classifier: Option<&'static str>,
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
    pub windows: Windows,
    pub factors: Factors,
    /// `None`: positions are learned.
    pub rope: Option<RopeDefaults>,
    /// One layer of so many has no positions at all (NoPE, Kazemnejad et al. 2023), unless `no_rope_layers` names others.
    pub no_rope_interval: Option<usize>,
    /// The head over the vocabulary is the embedding.
    pub is_tied: bool,

    pub layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// x / √(mean(x²) + ε) · w (Zhang & Sennrich 2019, eq. 4).
    Rms,
    /// The same with 1 + w in the place of w: what lies in the file is the distance from 1.
    RmsFromOne,
    /// (x − mean) / √(variance + ε) · w + b (Ba et al. 2016, eq. 4).
    Layer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    Silu,
    Gelu,
    /// By tanh (Hendrycks & Gimpel 2016, section 2).
    GeluTanh,
    Relu,
}

/// The layers whose tokens attend to the last tokens alone, as many as `sliding_window` says, themselves included
/// (Beltagy et al. 2020, section 3.1). `layer_types` may name others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// None; a file that asks for some is refused.
    Never,
    /// All; this is the window of files that do not name it.
    All(Option<usize>),
    /// All but every n-th; with the window of files that do not name it.
    AllBut { every: usize, window: usize },
    /// From `max_window_layers` on, where `use_sliding_window` is set.
    Late,
    /// Those without positions, where `use_sliding_window` is set.
    WithoutRope,
}

/// Factors and bounds within the computation, beside those that every model has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Factors {
    /// None: scores are divided by √head_dim.
    Plain,
    /// Embeddings are multiplied by √width, scores divided by √`query_pre_attn_scalar`. Scores and logits are bounded
    /// (c·tanh(x/c)) by `attn_logit_softcapping`, which is read only where there is a default for it, and by
    /// `final_logit_softcapping` (Gemma Team 2024, section 2).
    Gemma { score_cap: Option<f64>, logit_cap: Option<f64> },
    /// `embedding_multiplier`, `residual_multiplier`, `attention_multiplier` and `logits_scaling`.
    Granite,
}

/// Rotary positions where a file does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeDefaults {
    /// The base of the frequencies.
    pub theta: f64,
    /// The base in layers with a window, where they have a rope of their own.
    pub sliding_theta: Option<f64>,
    /// The share of a head that turns. `None`: all of it, whatever a file says.
    pub share: Option<f64>,
    /// The context of the first training, where a field beside the rope names it.
    pub first_context: Option<usize>,
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
    /// Norms of what attention and the mlp read of the residual stream, and of what they add to it.
    pub attention_norm: Option<&'static str>,
    pub attention_out_norm: Option<&'static str>,
    pub mlp_norm: Option<&'static str>,
    pub mlp_out_norm: Option<&'static str>,
    /// Norms of queries and of keys.
    pub head_norms: Option<HeadNorms>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadNorms {
    /// That of the queries, and that of the keys.
    pub names: [&'static str; 2],
    /// Over all heads at once, and not over each.
    pub spans_heads: bool,
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
    /// The gate, then `up`, in one.
    GateUp,
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
