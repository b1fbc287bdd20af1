//! Rotary positions: the table of rope types, and how `config.json` names one, in the ways of each generation of
//! `transformers`. Pure: fields in, angles out.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::f64::consts::TAU;

/// Rotary positions (Su et al. 2021) of the first `dims` numbers of each head, in two halves: number j turns with
/// number j + dims/2.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    pub dims: usize,
    /// Radians a position, for each of the dims/2 pairs.
    pub frequencies: Vec<f64>,
    /// Cosines and sines are multiplied by it: `attention_scaling` of `transformers`. 1 unless a type says otherwise.
    pub scale: f64,
    /// Frequencies that take the place of the others in long rows.
    pub long: Option<LongRope>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LongRope {
    /// Rows of more tokens than this turn by these frequencies, at all of their positions.
    pub beyond: usize,
    pub frequencies: Vec<f64>,
}

/// The fields of `config.json` that say how positions turn. Transformers 5 writes `rope_parameters` in place of all others
/// but the last.
#[derive(Debug, Default, Deserialize)]
pub struct RopeFields {
    rope_parameters: Option<Value>,
    rope_scaling: Option<Value>,
    rope_theta: Option<f64>,
    /// Gemma 3: the theta of layers with a sliding window.
    rope_local_base_freq: Option<f64>,
    partial_rotary_factor: Option<f64>,
    /// Phi-3 and others have it here, and not among the parameters of the rope.
    original_max_position_embeddings: Option<f64>,
}

/// A rope as it is asked for: the fields of a model, and what its architecture says where they are silent.
#[derive(Clone, Copy, Debug)]
pub struct RopeParameters<'a> {
    pub fields: &'a RopeFields,
    pub layers: RopeLayers,
    pub head_dim: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
    /// Default of `rope_theta`.
    pub theta: f64,
    /// Default of `partial_rotary_factor`. `None`: the architecture turns whole heads, whatever a file says.
    pub share: Option<f64>,
    /// Default of `original_max_position_embeddings` where it is a field of the architecture: 4096 in Phi-3.
    pub first_context: Option<usize>,
}

/// The layers that a rope is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeLayers {
    /// All: one rope serves the whole model.
    All,
    /// Those with full attention, in a model whose layers with a sliding window have a rope of their own (Gemma 3).
    Full,
    /// Those with a sliding window, in such a model.
    Sliding,
}

/// `layer_type` of `transformers`.
pub const FULL: &str = "full_attention";
pub const SLIDING: &str = "sliding_attention";

impl Rope {
    /// The rope of the layers that are asked for.
    ///
    /// # Errors
    /// The type of the rope or one of its options is not known, an option is missing, or no rope can be made of them.
    pub fn of(parameters: &RopeParameters<'_>) -> Result<Rope> {
        let RopeParameters { fields, head_dim, .. } = *parameters;
        let options = parameters.options()?;
        let name = options.text("rope_type")?.or(options.text("type")?).unwrap_or("default");
        let Some(row) = TYPES.iter().find(|row| row.names.contains(&name)) else {
            let known: Vec<&str> = TYPES.iter().map(|row| row.names[0]).collect();
            let (last, first) = known.split_last().context("the table of rope types is empty")?;
            bail!("rope type `{name}` is not supported; known are {} and {last}", first.join(", "));
        };
        options.refuse_unknown(row)?;
        let theta = match parameters.layers {
            RopeLayers::All | RopeLayers::Full => fields.rope_theta,
            RopeLayers::Sliding => fields.rope_local_base_freq,
        };
        let theta = options.number("rope_theta")?.or(theta).unwrap_or(parameters.theta);
        ensure!(theta > 0.0, "`rope_theta` is {theta}, and must be above 0");
        let share = options.number("partial_rotary_factor")?.or(fields.partial_rotary_factor);
        let share = match parameters.share {
            Some(default) => share.unwrap_or(default),
            None => {
                let other = share.filter(|share| *share != 1.0);
                ensure!(
                    other.is_none(),
                    "`partial_rotary_factor` is {}, and this architecture turns whole heads; take it away to have it read \
                     as `transformers` reads it",
                    other.unwrap_or_default()
                );
                1.0
            }
        };
        let dims = (head_dim as f64 * share) as usize;
        ensure!(dims > 0 && dims.is_multiple_of(2) && dims <= head_dim, "a rope of {dims} dimensions is not possible");
        let plain = (0..dims / 2).map(|pair| theta.powf(-2.0 * pair as f64 / dims as f64)).collect();
        // Of one rope, the field beside the parameters comes before the one among them.
        let outer = match parameters.layers {
            RopeLayers::All => {
                fields.original_max_position_embeddings.or(parameters.first_context.map(|size| size as f64))
            }
            RopeLayers::Full | RopeLayers::Sliding => None,
        };
        let first_context = outer.or(options.number(FIRST_CONTEXT)?).unwrap_or(parameters.context as f64);
        ensure!(first_context > 0.0, "`{FIRST_CONTEXT}` is {first_context}, and must be above 0");
        let plain = PlainRope { theta, frequencies: plain, context: parameters.context as f64, first_context };
        let rope = (row.stretch)(plain, &options)?;
        ensure!(rope.is_finite(), "the rope of type `{}` has angles that are no numbers", row.names[0]);
        Ok(rope)
    }

    /// The frequencies of the tokens of a row of so many.
    pub fn frequencies_of(&self, row: usize) -> &[f64] {
        self.long.as_ref().filter(|long| row > long.beyond).map_or(&self.frequencies, |long| &long.frequencies)
    }

    fn is_finite(&self) -> bool {
        let long = self.long.iter().flat_map(|long| &long.frequencies);
        self.frequencies.iter().chain(long).chain([&self.scale]).all(|number| number.is_finite())
    }
}

impl RopeParameters<'_> {
    /// The options of the rope. An old `rope_scaling` beside a new `rope_parameters` is read, and nothing of the new one;
    /// in a model with two ropes it is laid over those of full attention.
    fn options(&self) -> Result<RopeOptions> {
        let old = mapping("rope_scaling", self.fields.rope_scaling.as_ref())?;
        let new = mapping("rope_parameters", self.fields.rope_parameters.as_ref())?;
        let is_by_layer = new.contains_key(FULL) || new.contains_key(SLIDING);
        if self.layers == RopeLayers::All {
            let given = if old.is_empty() { new } else { old };
            ensure!(
                !given.contains_key(FULL) && !given.contains_key(SLIDING),
                "`rope_parameters` has a rope for each type of layer, and this architecture has one for all"
            );
            return Ok(RopeOptions(given));
        }
        ensure!(
            new.is_empty() || is_by_layer,
            "`rope_parameters` is of one rope, and this architecture has one for `{FULL}` and one for `{SLIDING}`: name them"
        );
        let (key, over) = match self.layers {
            RopeLayers::Sliding => (SLIDING, Map::new()),
            RopeLayers::Full | RopeLayers::All => (FULL, old),
        };
        let mut given = mapping(key, new.get(key))?;
        given.extend(over);
        Ok(RopeOptions(given))
    }
}

/// The fields of a mapping that say something. Libraries write null for what is not set.
fn mapping(name: &str, given: Option<&Value>) -> Result<Map<String, Value>> {
    match given {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()),
        Some(other) => bail!("`{name}` is {other}, and must be a mapping"),
    }
}

/// The options of one rope.
struct RopeOptions(Map<String, Value>);

impl RopeOptions {
    fn read<'a, T>(&'a self, name: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        read(value).map(Some).with_context(|| format!("`{name}` of the rope is {value}, and must be {kind}"))
    }

    fn text(&self, name: &str) -> Result<Option<&str>> {
        self.read(name, "a text", Value::as_str)
    }

    fn truth(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, "true or false", Value::as_bool)
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        self.read(name, "a number", Value::as_f64)
    }

    /// A number by which something is divided.
    fn divisor(&self, name: &str) -> Result<Option<f64>> {
        self.read(name, "a number above 0", |value| value.as_f64().filter(|number| *number > 0.0))
    }

    fn needed<T>(&self, name: &str, found: Option<T>) -> Result<T> {
        found.with_context(|| format!("find `{name}` of the rope: it is not there"))
    }

    /// One factor for each pair of dimensions.
    fn factors(&self, name: &str, pairs: usize) -> Result<Vec<f64>> {
        let factor = |value: &Value| value.as_f64().filter(|factor| *factor > 0.0);
        let factors = self.read(name, "a list of numbers above 0", |value| {
            value.as_array()?.iter().map(factor).collect::<Option<Vec<f64>>>()
        })?;
        let factors = self.needed(name, factors)?;
        ensure!(factors.len() == pairs, "`{name}` of the rope has {} numbers, and {pairs} pairs turn", factors.len());
        Ok(factors)
    }

    /// An option that is not read would make another model of this one, in silence.
    fn refuse_unknown(&self, row: &RopeType) -> Result<()> {
        let is_known =
            |name: &&String| [COMMON, row.options, WITHOUT_EFFECT].iter().any(|names| names.contains(&name.as_str()));
        match self.0.keys().find(|name| !is_known(name)) {
            Some(name) => bail!(
                "`{name}` is no option of the rope type `{}`; it has {}",
                row.names[0],
                if row.options.is_empty() { "none".to_owned() } else { row.options.join(", ") }
            ),
            None => Ok(()),
        }
    }
}

/// The length of the sequences of the first training, before the context was made longer.
const FIRST_CONTEXT: &str = "original_max_position_embeddings";
/// Options of every rope type.
const COMMON: &[&str] = &["rope_type", "type", "rope_theta", "partial_rotary_factor"];
/// Notes on how the model was made, which `transformers` does not read either. Types that read the first list it.
const WITHOUT_EFFECT: &[&str] = &[FIRST_CONTEXT, "finetuned"];

/// A rope before its type has changed it.
struct PlainRope {
    theta: f64,
    frequencies: Vec<f64>,
    context: f64,
    first_context: f64,
}

impl PlainRope {
    /// The rope with each frequency changed, by its index.
    fn with(&self, change: impl Fn(usize, f64) -> f64) -> Rope {
        let dims = 2 * self.frequencies.len();
        Rope { dims, frequencies: self.each(change), scale: 1.0, long: None }
    }

    fn each(&self, change: impl Fn(usize, f64) -> f64) -> Vec<f64> {
        self.frequencies.iter().enumerate().map(|(pair, frequency)| change(pair, *frequency)).collect()
    }

    /// By how much the context was made longer: the option, or what the two lengths say.
    fn factor(&self, options: &RopeOptions) -> Result<f64> {
        Ok(options.divisor("factor")?.unwrap_or(self.context / self.first_context))
    }
}

/// A way to change the frequencies of a rope.
struct RopeType {
    /// In `config.json`, the newest first.
    names: &'static [&'static str],
    options: &'static [&'static str],
    stretch: fn(PlainRope, &RopeOptions) -> Result<Rope>,
}

/// In the order in which messages list them.
const TYPES: [RopeType; 6] = [
    RopeType { names: &["default"], options: &[], stretch: |plain, _| Ok(plain.with(|_, frequency| frequency)) },
    RopeType { names: &["linear"], options: &["factor"], stretch: linear },
    // It changes only positions beyond the context, which no sequence reaches.
    RopeType {
        names: &["dynamic"],
        options: &["factor"],
        stretch: |plain, _| Ok(plain.with(|_, frequency| frequency)),
    },
    RopeType {
        names: &["llama3"],
        options: &["factor", "low_freq_factor", "high_freq_factor", FIRST_CONTEXT],
        stretch: llama3,
    },
    RopeType {
        names: &["yarn"],
        options: &[
            "factor",
            FIRST_CONTEXT,
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        ],
        stretch: yarn,
    },
    RopeType {
        names: &["longrope", "su"],
        options: &["short_factor", "long_factor", "factor", FIRST_CONTEXT, "attention_factor"],
        stretch: longrope,
    },
];

fn linear(plain: PlainRope, options: &RopeOptions) -> Result<Rope> {
    let factor = options.needed("factor", options.divisor("factor")?)?;
    Ok(plain.with(|_, frequency| frequency / factor))
}

/// A pair is stretched the more, the fewer turns it makes within the context of the first training.
fn llama3(plain: PlainRope, options: &RopeOptions) -> Result<Rope> {
    let number = |name: &str| options.needed(name, options.divisor(name)?);
    let (factor, low, high) = (number("factor")?, number("low_freq_factor")?, number("high_freq_factor")?);
    ensure!(low < high, "`low_freq_factor` is {low}, and must be less than `high_freq_factor`, which is {high}");
    let stretched = |_, frequency: f64| {
        let turns = plain.first_context * frequency / TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        between(frequency / factor, frequency, kept)
    };
    Ok(plain.with(stretched))
}

/// YaRN (Peng et al. 2023): pairs with many turns within the context of the first training stay, those with few are
/// stretched by the whole factor, and attention is made sharper.
fn yarn(plain: PlainRope, options: &RopeOptions) -> Result<Rope> {
    let factor = plain.factor(options)?;
    // Zero stands for "not set" in each of these.
    let set = |name: &str| Ok::<_, anyhow::Error>(options.number(name)?.filter(|number| *number != 0.0));
    let sharpness = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
    let scale = match (options.number("attention_factor")?, set("mscale")?, set("mscale_all_dim")?) {
        (Some(scale), ..) => scale,
        (None, Some(mscale), Some(of_all)) => sharpness(mscale) / sharpness(of_all),
        _ => sharpness(1.0),
    };
    let dims = 2.0 * plain.frequencies.len() as f64;
    // The pair that makes a number of turns, not rounded.
    let pair_of = |turns: f64| dims * (plain.first_context / (turns * TAU)).ln() / (2.0 * plain.theta.ln());
    let (first, last) = (pair_of(set("beta_fast")?.unwrap_or(32.0)), pair_of(set("beta_slow")?.unwrap_or(1.0)));
    let is_rounded = options.truth("truncate")?.unwrap_or(true);
    let (first, last) = if is_rounded { (first.floor(), last.ceil()) } else { (first, last) };
    let (first, mut last) = (first.max(0.0), last.min(dims - 1.0));
    if first == last {
        last += 0.001;
    }
    let stretched = |pair: usize, frequency: f64| {
        let share = ((pair as f64 - first) / (last - first)).clamp(0.0, 1.0);
        between(frequency, frequency / factor, share)
    };
    Ok(Rope { scale, ..plain.with(stretched) })
}

/// LongRoPE (Ding et al. 2024): a factor for each pair, of short rows and of long ones.
fn longrope(plain: PlainRope, options: &RopeOptions) -> Result<Rope> {
    let pairs = plain.frequencies.len();
    let short = options.factors("short_factor", pairs)?;
    let long = options.factors("long_factor", pairs)?;
    let factor = plain.factor(options)?;
    let scale = match options.number("attention_factor")? {
        Some(scale) => scale,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / plain.first_context.ln()).sqrt(),
    };
    let frequencies = plain.each(|pair, frequency| frequency / long[pair]);
    let long = Some(LongRope { beyond: plain.first_context as usize, frequencies });
    Ok(Rope { scale, long, ..plain.with(|pair, frequency| frequency / short[pair]) })
}

/// The number at `share` of the way from one to the other.
fn between(one: f64, other: f64, share: f64) -> f64 {
    (1.0 - share) * one + share * other
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Reads the rope of a configuration, with the defaults of its architecture in `transformers`.
    fn rope_of(config: &Value, layers: Option<&str>) -> Result<Rope> {
        let fields: RopeFields = serde_json::from_value(config.clone())?;
        let size = |name: &str| config[name].as_u64().map(|size| size as usize);
        let heads = size("num_attention_heads").unwrap_or(1);
        let layers = match layers {
            Some(FULL) => RopeLayers::Full,
            Some(SLIDING) => RopeLayers::Sliding,
            Some(other) => panic!("layers of {other}"),
            None => RopeLayers::All,
        };
        let (theta, share, first_context) = match (config["model_type"].as_str(), layers) {
            (Some("smollm3"), _) => (2e6, None, None),
            (Some("stablelm"), _) => (1e4, Some(0.25), None),
            (Some("phi3"), _) => (1e4, Some(1.0), Some(4096)),
            (_, RopeLayers::Full) => (1e6, None, None),
            _ => (1e4, None, None),
        };
        Rope::of(&RopeParameters {
            fields: &fields,
            layers,
            head_dim: size("head_dim").unwrap_or_else(|| size("hidden_size").unwrap() / heads),
            context: size("max_position_embeddings").unwrap_or(2048),
            theta,
            share,
            first_context,
        })
    }

    fn assert_close(ours: &[f64], theirs: &Value, name: &str) {
        let theirs: Vec<f64> = serde_json::from_value(theirs.clone()).unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (one, other) in ours.iter().zip(theirs) {
            assert!((one - other).abs() <= 1e-12 * other, "{name}: {one} is not {other}");
        }
    }

    /// `ropes.py` makes them. They have each type, each of its options, and each place of each option.
    #[test]
    fn ropes_are_those_of_transformers() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/parity/ropes.json")).unwrap();
        for case in golden["cases"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let rope = rope_of(&case["config"], case["layers"].as_str()).unwrap();
            assert_eq!(rope.dims, 2 * rope.frequencies.len(), "{name}");
            assert_close(&rope.frequencies, &case["frequencies"], name);
            assert_close(&[rope.scale], &json!([case["scale"]]), name);
            let long = rope.long.map(|long| (json!(long.beyond), long.frequencies));
            assert_eq!(long.is_some(), case["long"].is_object(), "{name}");
            if let Some((beyond, frequencies)) = long {
                assert_eq!(beyond, case["long"]["beyond"], "{name}");
                assert_close(&frequencies, &case["long"]["frequencies"], name);
            }
        }
    }

    fn llama(more: Value) -> Value {
        let mut source = json!({"model_type": "llama", "hidden_size": 8, "num_attention_heads": 1});
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        source
    }

    /// Angles per position, of each pair of dimensions.
    #[test]
    fn rotary_frequencies_are_the_golden_ones() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/golden/rlhf-golden.json")).unwrap();
        let golden = &golden["rope"];
        let frequencies = |head: usize, theta: f64, scaling: Value| {
            let config = llama(json!({"head_dim": head, "rope_theta": theta, "rope_scaling": scaling}));
            rope_of(&config, None).unwrap().frequencies
        };
        let close = |ours: Vec<f64>, theirs: &Value| assert_close(&ours, theirs, "golden");
        close(frequencies(8, 1e4, json!(null)), &golden["default_d8_theta1e4"]);
        close(frequencies(8, 1e4, json!({"rope_type": "linear", "factor": 4.0})), &golden["linear_factor4_d8"]);
        let llama = &golden["llama3_d64_theta5e5_factor32 (Llama-3.2-1B)"];
        close(frequencies(64, 5e5, json!(null)), &llama["default"]);
        // Fields of Llama-3.2-1B's config.json that the golden file leaves out.
        let scaling = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192});
        close(frequencies(64, 5e5, scaling), &llama["scaled"]);
    }

    /// As `LlamaConfig(**fields).rope_parameters` of transformers 5.24.
    #[test]
    fn an_old_rope_beside_a_new_one_is_the_one_that_is_read() {
        let frequency = |more: Value| rope_of(&llama(more), None).unwrap().frequencies[1];
        let old = json!({"rope_type": "linear", "factor": 4.0});
        let new = json!({"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0});
        let plain = |theta: f64| theta.powf(-0.25);
        assert_eq!(frequency(json!({"rope_parameters": new})), plain(100.0) / 2.0);
        assert_eq!(frequency(json!({"rope_parameters": new, "rope_scaling": old})), plain(10_000.0) / 4.0);
        let with_theta = json!({"rope_parameters": new, "rope_scaling": old, "rope_theta": 500.0});
        assert_eq!(frequency(with_theta), plain(500.0) / 4.0);
        for empty in [json!(null), json!({})] {
            assert_eq!(frequency(json!({"rope_parameters": new, "rope_scaling": empty})), plain(100.0) / 2.0);
        }
    }

    #[test]
    fn a_rope_that_would_be_another_is_refused_by_name() {
        let told = |layers: Option<&str>, more: Value| {
            rope_of(&llama(more), layers).map_or_else(|error| format!("{error:#}"), |_| "read".to_owned())
        };
        let scaled = |scaling: Value| told(None, json!({"rope_scaling": scaling}));
        let long = |more: Value| {
            let mut scaling = json!({"type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 2, 3, 4]});
            scaling.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            scaled(scaling)
        };
        let by_layer = json!({"full_attention": {"rope_theta": 5.0}, "sliding_attention": null});
        let told = [
            scaled(json!({"type": "proportional"})),
            scaled(json!({"type": "yarn", "factor": 2, "beta": 3})),
            scaled(json!({"type": "yarn", "factor": 2, "finetuned": true, "mscale": null})),
            scaled(json!({"type": "yarn", "factor": "2"})),
            scaled(json!({"type": "yarn", "factor": 0})),
            scaled(json!({"type": "yarn", "truncate": 1})),
            scaled(json!({"type": "default", "factor": 8})),
            scaled(json!({"factor": 8})),
            scaled(json!({"type": "linear"})),
            scaled(json!({"type": ["linear"]})),
            scaled(json!("linear")),
            scaled(json!({"type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4})),
            long(json!({})),
            long(json!({"short_factor": [1, 1]})),
            long(json!({"long_factor": [1, 1, 1, -1]})),
            long(json!({"long_factor": null})),
            long(json!({"short_mscale": 1.2})),
            told(None, json!({"rope_theta": 0.0})),
            told(None, json!({"rope_theta": 1.0, "rope_scaling": {"type": "yarn", "factor": 2.0}})),
            told(None, json!({"partial_rotary_factor": 0.5})),
            told(None, json!({"rope_parameters": by_layer})),
            told(Some(FULL), json!({"rope_parameters": by_layer})),
            told(Some(SLIDING), json!({"rope_parameters": {"rope_type": "default"}})),
        ];
        expect_test::expect![[r#"
            rope type `proportional` is not supported; known are default, linear, dynamic, llama3, yarn and longrope
            `beta` is no option of the rope type `yarn`; it has factor, original_max_position_embeddings, attention_factor, beta_fast, beta_slow, mscale, mscale_all_dim, truncate
            read
            `factor` of the rope is "2", and must be a number above 0
            `factor` of the rope is 0, and must be a number above 0
            `truncate` of the rope is 1, and must be true or false
            `factor` is no option of the rope type `default`; it has none
            `factor` is no option of the rope type `default`; it has none
            find `factor` of the rope: it is not there
            `type` of the rope is ["linear"], and must be a text
            `rope_scaling` is "linear", and must be a mapping
            `low_freq_factor` is 4, and must be less than `high_freq_factor`, which is 4
            read
            `short_factor` of the rope has 2 numbers, and 4 pairs turn
            `long_factor` of the rope is [1,1,1,-1], and must be a list of numbers above 0
            find `long_factor` of the rope: it is not there
            `short_mscale` is no option of the rope type `longrope`; it has short_factor, long_factor, factor, original_max_position_embeddings, attention_factor
            `rope_theta` is 0, and must be above 0
            the rope of type `yarn` has angles that are no numbers
            `partial_rotary_factor` is 0.5, and this architecture turns whole heads; take it away to have it read as `transformers` reads it
            `rope_parameters` has a rope for each type of layer, and this architecture has one for all
            read
            `rope_parameters` is of one rope, and this architecture has one for `full_attention` and one for `sliding_attention`: name them"#]].assert_eq(&told.join("\n"));
    }
}
