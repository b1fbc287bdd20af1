//! The `with:` block of a stage as the parameters of its kind: typed, with defaults, described for users, with all
//! mistakes found.

use super::lookalikes::lookalike;
use super::synonyms;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Types a `with:` block.
pub type Parse = fn(&Map<String, Value>) -> Result<Value, Vec<ParameterMistake>>;

/// A mistake in a `with:` block. `path` is dotted from the block's root (`lora.rank`).
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterMistake {
    pub path: String,
    pub message: String,
    pub help: Option<String>,
    /// Whether it may stay as it is.
    pub is_warning: bool,
}

impl ParameterMistake {
    pub fn new(path: &str, message: impl Into<String>) -> ParameterMistake {
        ParameterMistake { path: path.to_owned(), message: message.into(), help: None, is_warning: false }
    }
}

/// The parameters of a kind: a serde struct with `#[serde(default)]`. The doc comments of its fields are printed to
/// users.
pub trait Parameters: Default + Serialize + DeserializeOwned + JsonSchema {
    /// Parameters that came after results had been kept: a key has them where they differ from their defaults, so that the
    /// results of before are found.
    const LATER: &[&str] = &[];

    /// Mistakes of single values out of their range. Called after every value has its type.
    fn mistakes(&self) -> Vec<ParameterMistake>;

    /// Mistakes of values that do not go together. Not called while a value is missing because of a mistake of its own.
    fn conflicts(&self) -> Vec<ParameterMistake> {
        Vec::new()
    }
}

pub fn defaults<P: Parameters>() -> Value {
    serde_json::to_value(P::default()).expect("parameters are plain data")
}

pub fn schema<P: Parameters>() -> Value {
    let (mut schema, defaults) = (generated::<P>(SchemaSettings::draft2020_12()), defaults::<P>());
    schema["additionalProperties"] = json!(false);
    for (name, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        // A block that several kinds share has defaults of its own, and here they are those of this kind.
        property["default"] = defaults[name].clone();
        property.as_object_mut().map(|property| property.remove(PRINTED_AFTER));
    }
    schema
}

/// An attribute of a field: the parameter after which it and the next fields are printed. Without it, fields are
/// printed as they are declared.
const PRINTED_AFTER: &str = "printed-after";

/// Every parameter with its field's doc comment, in the order in which they are printed.
pub fn docs<P: Parameters>() -> Vec<(String, String)> {
    let (mut docs, mut end) = (Vec::new(), 0);
    add_docs("", &generated::<P>(SchemaSettings::draft2020_12().for_serialize()), &mut docs, &mut end);
    docs
}

/// Adds the parameters of a block at `end`. Properties are sorted by name, but in a schema for writing every field is
/// required, and `required` keeps the order of the fields.
fn add_docs(under: &str, block: &Value, docs: &mut Vec<(String, String)>, end: &mut usize) {
    for name in block["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let (path, property) = (format!("{under}{name}"), &block["properties"][name]);
        if let Some(index) = docs.iter().position(|(other, _)| property[PRINTED_AFTER] == **other) {
            *end = index + 1;
        }
        // A block that may be left out is one parameter.
        if property["type"] == "object" && property["properties"].is_object() {
            add_docs(&format!("{path}."), property, docs, end);
        } else {
            docs.insert(*end, (path, property["description"].as_str().unwrap_or_default().to_owned()));
            *end += 1;
        }
    }
}

fn generated<P: Parameters>(settings: SchemaSettings) -> Value {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<P>().to_value();
    complete_docs(&mut schema);
    schema
}

/// In the doc comment of a parameter that is an enum: stands for the names of its variants.
const OPTIONS: &str = "OPTIONS";

/// Makes one line of each parameter's doc comment, with its options.
fn complete_docs(block: &mut Value) {
    for property in block.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        let options = options(property);
        if let Some(Value::String(doc)) = property.get_mut("description") {
            *doc = doc.replace('\n', " ").replace(OPTIONS, &options);
        }
        complete_docs(property);
    }
}

/// `f32, f16 or bf16`: the names of the variants of an enum.
fn options(property: &Value) -> String {
    let documented = property["oneOf"].as_array().into_iter().flatten().filter_map(|variant| variant["const"].as_str());
    let plain = property["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let names: Vec<&str> = documented.chain(plain).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Types a `with:` block, or finds all its mistakes.
pub fn parse<P: Parameters>(given: &Map<String, Value>) -> Result<Value, Vec<ParameterMistake>> {
    let defaults = defaults::<P>();
    // Mostly there are none: a pipeline of thousands of stages need not pay for the search.
    match P::deserialize(completed(given, &defaults)) {
        Ok(typed)
            if is_known(given, &defaults).is_ok() && typed.mistakes().is_empty() && typed.conflicts().is_empty() =>
        {
            Ok(hashed(&typed, &defaults))
        }
        _ => parse_each::<P>(given, &defaults),
    }
}

/// The block with the defaults of the kind for all keys it leaves out. serde would take those of a shared block from
/// that block.
fn completed(given: &Map<String, Value>, defaults: &Value) -> Value {
    let mut all = defaults.as_object().cloned().unwrap_or_default();
    all.extend(given.clone());
    Value::Object(all)
}

/// Refuses unknown keys, which serde does not do if a block is flattened into another.
pub fn is_known(given: &Map<String, Value>, defaults: &Value) -> Result<(), String> {
    match given.keys().find(|key| defaults.get(key).is_none()) {
        Some(unknown) => Err(format!("unknown parameter `{unknown}`")),
        None => Ok(()),
    }
}

/// Key by key, so that every mistake is found, not only the first.
fn parse_each<P: Parameters>(given: &Map<String, Value>, defaults: &Value) -> Result<Value, Vec<ParameterMistake>> {
    let mut mistakes = Vec::new();
    let mut known = given.clone();
    take_unknown_keys(&mut known, defaults, defaults, "", &mut mistakes);
    let mut wrong = BTreeSet::new();
    for (key, value) in &known {
        let of_key = each_alone(key, value, defaults).into_iter();
        let mut mistake = of_key.filter_map(|(path, alone)| {
            let error = serde_path_to_error::deserialize::<_, P>(alone.clone()).err()?;
            let (found, message) = (error.path().to_string(), error.into_inner().to_string());
            // serde loses the path of a value in a flattened block.
            let path = if found == "." { narrowed::<P>(path, &alone, &message) } else { found };
            Some(ParameterMistake::new(&path, message))
        });
        if let Some(mistake) = mistake.next() {
            mistakes.push(mistake);
            wrong.insert(key.clone());
        }
    }
    known.retain(|key, _| !wrong.contains(key));
    let given: BTreeSet<String> = known.keys().cloned().collect();
    let typed: P = match serde_json::from_value(completed(&known, defaults)) {
        Ok(typed) => typed,
        Err(_) if !mistakes.is_empty() => return Err(mistakes),
        Err(error) => return Err(vec![ParameterMistake::new("", error.to_string())]),
    };
    let has_all = mistakes.is_empty();
    // A missing value may be there under a wrong name.
    let is_given = |mistake: &ParameterMistake| mistake.path.split('.').next().is_some_and(|key| given.contains(key));
    mistakes.extend(typed.mistakes().into_iter().filter(|mistake| has_all || is_given(mistake)));
    if has_all {
        mistakes.extend(typed.conflicts());
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(hashed(&typed, defaults))
}

/// The parameters as a key has them.
fn hashed<P: Parameters>(typed: &P, defaults: &Value) -> Value {
    let mut all = serde_json::to_value(typed).expect("parameters are plain data");
    if let Some(all) = all.as_object_mut() {
        all.retain(|name, value| !P::LATER.contains(&name.as_str()) || *value != defaults[name]);
    }
    all
}

/// Takes parameters out, by their paths.
pub fn take_out(parameters: &mut Value, paths: &[&str]) -> BTreeMap<String, Value> {
    let take = |path: &&str| {
        let (block, name) = block_of(parameters, path)?;
        Some(((*path).to_owned(), block.remove(name)?))
    };
    paths.iter().filter_map(take).collect()
}

/// Puts parameters back that were taken out; those of a block that is not there are left out.
pub fn put_back(parameters: &mut Value, taken: &BTreeMap<String, Value>) {
    for (path, value) in taken {
        if let Some((block, name)) = block_of(parameters, path) {
            block.insert(name.to_owned(), value.clone());
        }
    }
}

fn block_of<'a, 'b>(parameters: &'a mut Value, path: &'b str) -> Option<(&'a mut Map<String, Value>, &'b str)> {
    let (blocks, name) = path.rsplit_once('.').map_or((None, path), |(blocks, name)| (Some(blocks), name));
    let block = blocks.into_iter().flat_map(|blocks| blocks.split('.')).try_fold(parameters, |at, key| at.get_mut(key));
    Some((block?.as_object_mut()?, name))
}

/// A block with this parameter alone, or one for each parameter it holds, with their paths.
fn each_alone(key: &str, value: &Value, defaults: &Value) -> Vec<(String, Value)> {
    let holds_others = defaults[key].as_object().is_some_and(|inner| !inner.is_empty());
    match value.as_object().filter(|_| holds_others) {
        Some(inner) => {
            inner.iter().map(|(name, value)| (format!("{key}.{name}"), json!({key: {name: value}}))).collect()
        }
        None => vec![(key.to_owned(), json!({key: value}))],
    }
}

/// The path of the value of a list or a mapping that alone gives the same message; else that of the whole.
fn narrowed<P: Parameters>(path: String, whole: &Value, message: &str) -> String {
    let pointer = format!("/{}", path.replace('.', "/"));
    let with = |part: Value| {
        let mut one = whole.clone();
        one.pointer_mut(&pointer).into_iter().for_each(|value| *value = part.clone());
        P::deserialize(one).is_err_and(|error| error.to_string() == message)
    };
    let found = match whole.pointer(&pointer) {
        Some(Value::Object(fields)) => {
            let one = fields.iter().find(|(name, value)| with(json!({name.as_str(): value})));
            one.map(|(name, _)| format!("{path}.{name}"))
        }
        Some(Value::Array(items)) => {
            items.iter().position(|item| with(json!([item]))).map(|place| format!("{path}[{place}]"))
        }
        _ => None,
    };
    found.unwrap_or(path)
}

/// Mistakes of counts that must be at least 1.
pub fn at_least_one(counts: &[(&str, u64)]) -> Vec<ParameterMistake> {
    let zero = counts.iter().filter(|(_, value)| *value == 0);
    zero.map(|(path, _)| ParameterMistake::new(path, format!("`{path}` must be at least 1"))).collect()
}

/// Mistakes of numbers that must be above 0.
pub fn above_zero(numbers: &[(&str, f64)]) -> Vec<ParameterMistake> {
    // Written so that NaN is a mistake, too.
    let bad = numbers.iter().filter(|(_, value)| !(value.is_finite() && *value > 0.0));
    bad.map(|(path, _)| ParameterMistake::new(path, format!("`{path}` must be above 0"))).collect()
}

/// Mistakes of numbers that must not be negative.
pub fn not_negative(numbers: &[(&str, f64)]) -> Vec<ParameterMistake> {
    let bad = numbers.iter().filter(|(_, value)| !(value.is_finite() && *value >= 0.0));
    bad.map(|(path, _)| ParameterMistake::new(path, format!("`{path}` must be 0 or more"))).collect()
}

/// A share of the rows: strictly between 0 and 1.
pub fn is_share(path: &str, value: f64) -> Option<ParameterMistake> {
    let is_inside = value > 0.0 && value < 1.0;
    (!is_inside).then(|| ParameterMistake::new(path, format!("`{path}` is a share of the rows: above 0 and below 1")))
}

/// Takes the unknown keys out of a block, each a mistake. `defaults` are those of the block, `root` those of the kind.
fn take_unknown_keys(
    given: &mut Map<String, Value>,
    root: &Value,
    defaults: &Value,
    under: &str,
    mistakes: &mut Vec<ParameterMistake>,
) {
    let Some(known) = defaults.as_object() else { return };
    given.retain(|key, value| {
        let path = if under.is_empty() { key.clone() } else { format!("{under}.{key}") };
        let Some(inner) = known.get(key) else {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            let help = synonyms::said_of(&path, root).unwrap_or_else(|| did_you_mean(key, &names));
            mistakes.push(ParameterMistake {
                help: Some(help),
                ..ParameterMistake::new(&path, format!("unknown parameter `{key}`"))
            });
            return false;
        };
        // A mapping that is empty by default accepts any key.
        if let (Some(value), true) = (value.as_object_mut(), inner.as_object().is_some_and(|inner| !inner.is_empty())) {
            take_unknown_keys(value, root, inner, &path, mistakes);
        }
        true
    });
}

/// Tells whether an environment variable may have this name: letters, digits and `_`, not starting with a digit.
pub fn is_variable(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_')
}

/// Names that a message lists.
const MAX_LISTED: usize = 50;

/// The name that was probably meant.
pub fn nearest<'a>(typed: &str, names: &[&'a str]) -> Option<&'a str> {
    let letters: Vec<char> = typed.chars().collect();
    let distance = |name: &&str| {
        let others: Vec<char> = name.chars().collect();
        let limit = (others.len().max(letters.len()) / 3).max(1);
        // Only then is the search worth its time, which adds up where there are thousands of names.
        let may_be_near = others.len().abs_diff(letters.len()) <= limit;
        may_be_near.then(|| strsim::generic_damerau_levenshtein(&letters, &others)).filter(|found| *found <= limit)
    };
    names.iter().filter_map(|name| Some((distance(name)?, *name))).min().map(|(_, name)| name)
}

/// A help for a name that is unknown: `did you mean "epochs"?`, or the names there are.
pub fn did_you_mean(typed: &str, names: &[&str]) -> String {
    if let Some(help) = lookalike(typed) {
        return help;
    }
    match nearest(typed, names) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => "there are none here".to_owned(),
        None if names.len() > MAX_LISTED => {
            format!("there are {}: {}, …", names.len(), names[..MAX_LISTED].join(", "))
        }
        None => format!("there are: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn parsed(kind: &str, with: Value, expected: Expect) {
        let kind = crate::kinds::kind(kind).unwrap();
        let text = match (kind.parse)(with.as_object().unwrap()) {
            Ok(value) => value.to_string(),
            Err(mistakes) => mistakes
                .iter()
                .map(|m| format!("{}: {} [{}]\n", m.path, m.message, m.help.as_deref().unwrap_or("")))
                .collect(),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn every_mistake_of_a_block_is_found_at_its_path() {
        parsed(
            "sft",
            serde_json::json!({"epoch": 1, "batch": "many", "lr": -1, "schedule": "cosin", "lora": {"rang": 4, "alpha": true}}),
            expect![[r#"
                epoch: unknown parameter `epoch` [did you mean `epochs`?]
                lora.rang: unknown parameter `rang` [did you mean `rank`?]
                batch: invalid type: string "many", expected usize []
                lora.alpha: invalid type: boolean `true`, expected f64 []
                schedule: unknown variant `cosin`, expected one of `constant`, `linear`, `cosine` []
                lr: `lr` must be above 0 []
            "#]],
        );
        parsed(
            "ppo",
            serde_json::json!({"lr": 0, "kl": {"target": -1}, "minibatches": 100}),
            expect![[r#"
            lr: `lr` must be above 0 []
            kl.target: `kl.target` must be above 0 []
            minibatches: there are more minibatches than answers in `batch` []
        "#]],
        );
    }

    #[test]
    fn a_written_default_is_the_same_block_as_one_left_out() {
        let parse = crate::kinds::kind("sft").unwrap().parse;
        let written = serde_json::json!({"batch": 32, "lora": {"rank": 8}});
        assert_eq!(parse(written.as_object().unwrap()).unwrap(), parse(&Map::new()).unwrap());
    }

    #[test]
    fn every_parameter_of_every_kind_is_described() {
        for kind in crate::kinds::KINDS.iter().copied().chain(crate::kinds::parts()) {
            let mut paths = Vec::new();
            for (key, value) in (kind.defaults)().as_object().unwrap() {
                match value.as_object() {
                    Some(inner) if !inner.is_empty() => paths.extend(inner.keys().map(|name| format!("{key}.{name}"))),
                    _ => paths.push(key.clone()),
                }
            }
            let docs = (kind.docs)();
            let mut described: Vec<&str> = docs.iter().map(|(path, _)| path.as_str()).collect();
            described.sort_unstable();
            paths.sort_unstable();
            assert_eq!(paths, described, "{}", kind.name);
            for (path, doc) in &docs {
                let is_whole = !doc.is_empty() && !doc.contains('\n') && !doc.contains(OPTIONS) && !doc.ends_with(": ");
                assert!(is_whole, "{}: {path}: {doc:?}", kind.name);
            }
        }
    }
}
