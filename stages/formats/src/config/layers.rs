//! How the layers of a model attend: which have a window, and which positions they turn by.

use super::Fields;
use crate::architectures::{Architecture, RopeDefaults, Windows};
use crate::rope::{FULL, RopeLayers, SLIDING};
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The attention of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerAttention {
    /// An index into [`super::Config::windows`].
    pub window: usize,
    /// An index into [`super::Config::ropes`]; `None`: the layer has no rotary positions.
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
pub fn layers(fields: &Fields, architecture: &Architecture, source: &Value, context: usize) -> Result<Layers> {
    let has_rope = has_rope(fields, architecture)?;
    let window = window(fields, architecture, source).filter(|window| *window < context);
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
fn has_rope(fields: &Fields, architecture: &Architecture) -> Result<Vec<bool>> {
    let Some(interval) = architecture.no_rope_interval else { return Ok(vec![true; fields.num_hidden_layers]) };
    if let Some(given) = &fields.no_rope_layers {
        let given = given.get(..fields.num_hidden_layers);
        let given = given.context("read `no_rope_layers`: it names fewer layers than there are")?;
        return Ok(given.iter().map(|has_rope| *has_rope != 0).collect());
    }
    let interval = fields.no_rope_layer_interval.unwrap_or(interval).max(1);
    Ok((1..=fields.num_hidden_layers).map(|number| !number.is_multiple_of(interval)).collect())
}

/// The tokens that a layer with a window attends to.
fn window(fields: &Fields, architecture: &Architecture, source: &Value) -> Option<usize> {
    // A file that says `null` has no window; one that says nothing has that of its architecture.
    let named =
        |default: Option<usize>| if source.get("sliding_window").is_some() { fields.sliding_window } else { default };
    match architecture.windows {
        Windows::Never => None,
        Windows::All(default) => named(default),
        Windows::AllBut { window, .. } => named(Some(window)),
        Windows::Late => named(Some(4096)).filter(|_| fields.use_sliding_window == Some(true)),
        Windows::WithoutRope => named(None).filter(|_| fields.use_sliding_window == Some(true)),
    }
}

/// Whether each layer has a window, if there are windows.
fn slides(fields: &Fields, architecture: &Architecture, has_rope: &[bool]) -> Result<Vec<bool>> {
    let count = fields.num_hidden_layers;
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
