//! Every tensor of a model: its name in files, and its shape.

use crate::architectures::{HeadNorms, Layout, Norm, Target};
use crate::config::Config;

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
            Target::GateUp => (config.width, 2 * config.inner),
            Target::Down => (config.inner, config.width),
        }
    }

    pub fn has_bias(self, config: &Config) -> bool {
        match self {
            Target::Query | Target::Key | Target::Value | Target::Fused => config.biases.attention_in,
            Target::Output => config.biases.attention_out,
            Target::Gate | Target::Up | Target::GateUp | Target::Down => config.biases.mlp,
        }
    }
}

/// One tensor of a model. Matrices have the same shape in memory as in the file; vectors are rows `[1, n]` in memory.
pub struct Weight {
    /// The name in the file.
    pub name: String,
    /// Other names under which files hold it, in the order in which they are looked for.
    pub others: Vec<String>,
    pub shape: [usize; 2],
    pub sort: Sort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Embedding,
    Norm,
    Bias,
    /// A projection; `is_back`: its output is added to the residual stream.
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
    pub fn numbers(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    pub fn shape_in_file(&self) -> &[usize] {
        if self.sort.is_vector() { &self.shape[1..] } else { &self.shape }
    }
}

/// The norms of a block over the residual stream, with their sizes, in the order of the layout.
fn norms(config: &Config) -> Vec<(&'static str, usize)> {
    let layout = &config.architecture.layout;
    let all = [layout.attention_norm, layout.attention_out_norm, layout.mlp_norm, layout.mlp_out_norm];
    all.into_iter().flatten().map(|name| (name, config.width)).collect()
}

/// The norms of queries and of keys, with their sizes.
fn head_norms(config: &Config) -> Option<[(&'static str, usize); 2]> {
    let HeadNorms { names: [queries, keys], spans_heads } = config.architecture.layout.head_norms?;
    let heads = if spans_heads { [config.heads, config.kv_heads] } else { [1, 1] };
    Some([(queries, heads[0] * config.head_dim), (keys, heads[1] * config.head_dim)])
}

/// Every tensor of a model, in the order in which it is used.
pub fn weights(config: &Config) -> Vec<Weight> {
    let layout = &config.architecture.layout;
    let mut all = Vec::new();
    let mut add = |name: &str, shape: [usize; 2], sort: Sort, biases: Option<usize>| {
        let weight = |name: String, shape: [usize; 2], sort: Sort| {
            // Files of a decoder without its head leave out the prefix.
            let others = name.strip_prefix(layout.prefix).map(str::to_owned).into_iter().collect();
            Weight { name, others, shape, sort }
        };
        all.push(weight(format!("{name}.weight"), shape, sort));
        all.extend(biases.map(|size| weight(format!("{name}.bias"), [1, size], Sort::Bias)));
    };
    let (vocabulary, width) = (config.vocabulary, config.width);
    let norm_biases = |size: usize| (config.norm == Norm::Layer).then_some(size);
    add(layout.embedding, [vocabulary, width], Sort::Embedding, None);
    if let Some(name) = layout.positions {
        add(name, [config.context, width], Sort::Embedding, None);
    }
    for layer in 0..config.layers {
        for (name, size) in norms(config).into_iter().chain(head_norms(config).into_iter().flatten()) {
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
    let heads = heads(layout);
    if !config.is_tied {
        add(layout.head, [vocabulary, width], Sort::Embedding, None);
        all.last_mut().expect("a head was added").others.extend(heads);
    } else if !config.is_classifier {
        // Where embedding and head are one, either name will do.
        all[0].others.extend(heads);
    }
    all
}

/// The names of the head over the vocabulary in files.
pub fn heads(layout: &Layout) -> impl Iterator<Item = String> {
    [Some(layout.head), layout.newer_head].into_iter().flatten().map(|name| format!("{name}.weight"))
}
