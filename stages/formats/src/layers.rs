//! The attention of the layers of a model: which have a window, and which positions they turn by.

use crate::architectures::{Architecture, RopeDefaults, Windows};
use crate::rope::{FULL, RopeLayers, SLIDING};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer};

/// The fields of `config.json` by which layers differ.
#[derive(Debug, Default, Deserialize)]
pub struct LayerFields {
    use_sliding_window: Option<bool>,
    /// `Some(None)`: the file says `null`, which is no window; a file that says nothing has that of its architecture.
    #[serde(default, deserialize_with = "there")]
    sliding_window: Option<Option<usize>>,
    sliding_window_pattern: Option<usize>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    no_rope_layers: Option<Vec<u8>>,
    no_rope_layer_interval: Option<usize>,
}

/// A field that is there, though it may be `null`.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The attention of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerAttention {
    /// An index into [`crate::config::Config::windows`].
    pub window: usize,
    /// An index into [`crate::config::Config::ropes`]; `None`: the layer has no rotary positions.
    pub rope: Option<usize>,
}

/// The layers of a model: each its attention, and what it points to.
pub struct Layers {
    /// Distinct windows, in tokens; `None`: a token attends to all before it.
    pub windows: Vec<Option<usize>>,
    /// The layers that each rope is for.
    pub ropes: Vec<RopeLayers>,
    pub attention: Vec<LayerAttention>,
}

/// The layers of a configuration. Where a window is as long as the context, it hides nothing, and there is none.
///
/// # Errors
/// A field names fewer layers than there are, or a type that is not known; or the architecture has no windows and the
/// file asks for them.
pub fn layers(fields: &LayerFields, architecture: &Architecture, count: usize, context: usize) -> Result<Layers> {
    let has_rope = has_rope(fields, architecture, count)?;
    let window = window(fields, architecture).filter(|window| *window < context);
    let slides = slides(fields, architecture, &has_rope)?;
    if architecture.windows == Windows::Never && slides.contains(&true) {
        bail!("attention over a sliding window is not known for model_type `{}`", architecture.model_type);
    }
    let windows: Vec<Option<usize>> = match window {
        Some(window) if slides.iter().all(|slides| *slides) => vec![Some(window)],
        Some(window) if slides.contains(&true) => vec![None, Some(window)],
        _ => vec![None],
    };
    let ropes = match architecture.rope {
        None => Vec::new(),
        Some(RopeDefaults { sliding_theta: None, .. }) => vec![RopeLayers::All],
        Some(_) => vec![RopeLayers::Full, RopeLayers::Sliding],
    };
    let attention = slides.iter().zip(has_rope).map(|(slides, has_rope)| LayerAttention {
        window: if *slides { windows.len() - 1 } else { 0 },
        // The rope of a layer goes by its type, also where its window hides nothing.
        rope: (has_rope && !ropes.is_empty()).then(|| if *slides { ropes.len() - 1 } else { 0 }),
    });
    let attention = attention.collect();
    Ok(Layers { windows, ropes, attention })
}

/// Whether each layer has rotary positions.
fn has_rope(fields: &LayerFields, architecture: &Architecture, count: usize) -> Result<Vec<bool>> {
    let Some(interval) = architecture.no_rope_interval else { return Ok(vec![true; count]) };
    if let Some(given) = &fields.no_rope_layers {
        let given = given.get(..count);
        let given = given.context("read `no_rope_layers`: it names fewer layers than there are")?;
        return Ok(given.iter().map(|has_rope| *has_rope != 0).collect());
    }
    let interval = fields.no_rope_layer_interval.unwrap_or(interval).max(1);
    Ok((1..=count).map(|number| !number.is_multiple_of(interval)).collect())
}

/// The tokens that a layer with a window attends to.
fn window(fields: &LayerFields, architecture: &Architecture) -> Option<usize> {
    let named = |default: Option<usize>| fields.sliding_window.unwrap_or(default);
    match architecture.windows {
        Windows::Never => None,
        Windows::All(default) => named(default),
        Windows::AllBut { window, .. } => named(Some(window)),
        Windows::Late => named(Some(4096)).filter(|_| fields.use_sliding_window == Some(true)),
        Windows::WithoutRope => named(None).filter(|_| fields.use_sliding_window == Some(true)),
    }
}

/// Whether each layer has a window, if there are windows.
fn slides(fields: &LayerFields, architecture: &Architecture, has_rope: &[bool]) -> Result<Vec<bool>> {
    let count = has_rope.len();
    if let (Some(types), false) = (&fields.layer_types, matches!(architecture.windows, Windows::All(_))) {
        let types = types.get(..count).context("read `layer_types`: it names fewer layers than there are")?;
        let slides = |name: &String| match name.as_str() {
            FULL => Ok(false),
            SLIDING => Ok(true),
            other => bail!("layers of type `{other}` are not supported"),
        };
        return types.iter().map(slides).collect();
    }
    let late = fields.max_window_layers.unwrap_or(28);
    Ok((0..count)
        .map(|layer| match architecture.windows {
            Windows::Never => fields.use_sliding_window == Some(true),
            Windows::All(_) => true,
            Windows::AllBut { every, .. } => {
                !(layer + 1).is_multiple_of(fields.sliding_window_pattern.unwrap_or(every).max(1))
            }
            Windows::Late => layer >= late,
            Windows::WithoutRope => !has_rope[layer],
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use serde_json::{Value, json};

    fn of(model_type: &str, layers: usize, more: Value) -> Result<Config, String> {
        let mut source = json!({
            "model_type": model_type, "vocab_size": 10, "hidden_size": 16, "intermediate_size": 8, "head_dim": 8,
            "num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 9000,
        });
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Config::of(source).map_err(|error| format!("{error:#}"))
    }

    /// The window of each layer, 0 where it has none.
    fn windows(model_type: &str, layers: usize, more: Value) -> Vec<usize> {
        let config = of(model_type, layers, more).unwrap();
        config.attention.iter().map(|layer| config.windows[layer.window].unwrap_or(0)).collect()
    }

    /// As transformers 5.24 gives the attention of each layer in `modeling_*.py` for such a configuration.
    #[test]
    fn windows_are_where_transformers_has_them() {
        assert_eq!(windows("mistral", 2, json!({})), [4096, 4096]);
        assert_eq!(windows("mistral", 2, json!({"sliding_window": null})), [0, 0]);
        assert_eq!(windows("mistral", 1, json!({"sliding_window": 9000})), [0], "it hides nothing");
        assert_eq!(windows("phi3", 1, json!({})), [0]);
        assert_eq!(windows("phi3", 1, json!({"sliding_window": 2047})), [2047]);
        assert_eq!(windows("gemma2", 3, json!({})), [4096, 0, 4096]);
        let old = json!({"sliding_window": 512, "sliding_window_pattern": 3, "rope_local_base_freq": 10_000});
        assert_eq!(windows("gemma3_text", 4, old), [512, 512, 0, 512]);
        let late = json!({"sliding_window": 512, "max_window_layers": 1, "use_sliding_window": true});
        assert_eq!(windows("qwen2", 2, late), [0, 512]);
        let unused = json!({"sliding_window": 512, "max_window_layers": 1, "use_sliding_window": false});
        assert_eq!(windows("qwen3", 2, unused), [0, 0]);
        let named = json!({"sliding_window": 7, "layer_types": ["full_attention", "sliding_attention"]});
        assert_eq!(windows("gemma2", 2, named), [0, 7]);
        assert_eq!(windows("smollm3", 4, json!({"sliding_window": 7, "use_sliding_window": true})), [0, 0, 0, 7]);
        assert_eq!(windows("llama", 1, json!({"sliding_window": 7})), [0], "transformers reads no window there");
    }

    #[test]
    fn layers_turn_by_the_rope_of_their_type_or_by_none() {
        let ropes = |config: Config| config.attention.iter().map(|layer| layer.rope).collect::<Vec<_>>();
        assert_eq!(ropes(of("smollm3", 4, json!({})).unwrap()), [Some(0), Some(0), Some(0), None]);
        assert_eq!(ropes(of("smollm3", 2, json!({"no_rope_layers": [0, 1, 1]})).unwrap()), [None, Some(0)]);
        assert_eq!(ropes(of("gemma2", 2, json!({})).unwrap()), [Some(0), Some(0)]);
        assert_eq!(ropes(of("gpt2", 1, json!({})).unwrap()), [None]);
        // Also where the window is so long that it hides nothing.
        let wide = of("gemma3_text", 6, json!({"sliding_window": 9000})).unwrap();
        assert_eq!(wide.windows, [None]);
        let thetas = |pair: usize| wide.ropes.iter().map(|rope| rope.frequencies[pair].powi(-4)).collect::<Vec<_>>();
        assert!((thetas(1)[0] / 1e6 - 1.0).abs() < 1e-9 && (thetas(1)[1] / 1e4 - 1.0).abs() < 1e-9, "{:?}", thetas(1));
        assert_eq!(ropes(wide), [Some(1), Some(1), Some(1), Some(1), Some(1), Some(0)]);
    }

    #[test]
    fn what_cannot_be_computed_is_refused_by_name() {
        let told = |model_type: &str, more: Value| of(model_type, 2, more).unwrap_err();
        let slides = json!({"layer_types": ["full_attention", "sliding_attention"]});
        let chunks = json!({"layer_types": ["chunked_attention", "full_attention"]});
        let all = [
            told("llama", slides),
            told("gemma2", chunks),
            told("qwen3", json!({"layer_types": ["full_attention"]})),
            told("smollm3", json!({"no_rope_layers": [1]})),
            told("gemma3_text", json!({"use_bidirectional_attention": true})),
            told("stablelm", json!({"qk_layernorm": true})),
            told("stablelm", json!({"use_parallel_residual": true})),
        ];
        expect_test::expect![[r#"
            attention over a sliding window is not known for model_type `llama`
            layers of type `chunked_attention` are not supported
            read `layer_types`: it names fewer layers than there are
            read `no_rope_layers`: it names fewer layers than there are
            attention to later tokens (`use_bidirectional_attention`) is not supported: the model is no decoder
            norms of queries and keys that differ by head (`qk_layernorm`) are not supported
            attention and mlp side by side (`use_parallel_residual`) are not supported for this architecture"#]]
        .assert_eq(&all.join("\n"));
    }
}
