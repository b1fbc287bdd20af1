//! Every tensor of a model: its name in files, and its shape.

use crate::architectures::{Norm, Target};
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

/// One tensor of a model. Matrices have the same shape in memory as in the file; vectors are rows `[1, n]` in memory.
pub struct Weight {
    /// The name in the file.
    pub name: String,
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
    pub fn shape_in_file(&self) -> &[usize] {
        if self.sort.is_vector() { &self.shape[1..] } else { &self.shape }
    }
}

/// Every tensor of a model, in the order in which it is used.
pub fn weights(config: &Config) -> Vec<Weight> {
    let layout = &config.architecture.layout;
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
