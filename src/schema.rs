//! The JSON Schema (2020-12) of the pipeline file, for editors: the keys that the reader knows, and the ports and
//! parameters of each kind. It finds less than `pipeline check`, which also knows the other stages, the files and the
//! rules.

mod configuration;
mod forms;
mod parameters;

use crate::gate;
use crate::settings;
use crate::spec;
use formats::data::OPTIONS;
use formats::dtype::Dtype;
use forms::{Key, TEMPLATE, choice, joined, list_of, mapping, one_of, templated, whole_number};
use serde_json::{Map, Value, json};
use stages::kinds::KINDS;
use stages::stage::{Accepts, Kind, Port};

const NAME: &str = "[A-Za-z_][A-Za-z0-9_]*";

pub fn schema() -> Value {
    let mut file = mapping(file_keys());
    file["patternProperties"] = json!({"^x-": {"description": "free: a place for YAML anchors"}});
    file["required"] = json!(["stages"]);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pipeline",
        "description": "A training pipeline: stages, what they take, and the rules by which their results go on.",
    });
    let mut schema = joined(head, file);
    let mut definitions = json!({
        "source": {"anyOf": [source(), best_of()]},
        "data": {"anyOf": [{"$ref": "#/$defs/data_source"}, list_of(json!({"$ref": "#/$defs/data_source"}))]},
        "data_source": data_source(),
        "reward_source": reward_source(),
        "rewards": {"anyOf": [{"$ref": "#/$defs/reward_source"}, list_of(json!({"$ref": "#/$defs/reward_source"}))]},
        "sources": {"anyOf": [{"$ref": "#/$defs/source"}, list_of(json!({"$ref": "#/$defs/source"}))]},
        "rules": rules(),
        "duration": duration(),
        "gate": gate(),
        "cache": configuration::cache(),
        "stage": stage(),
    });
    for kind in KINDS {
        definitions[format!("from_{}", kind.name)] = from(kind);
        definitions[format!("with_{}", kind.name)] = parameters::schema(kind);
    }
    schema["$defs"] = definitions;
    schema
}

fn file_keys() -> Vec<Key> {
    let variables = json!({"type": ["object", "null"], "propertyNames": {"pattern": format!("^{NAME}$")}});
    let environment = json!({
        "type": ["array", "object", "null"],
        "items": {"type": "string"},
        "additionalProperties": {"type": ["string", "null"]},
    });
    let stage = json!({"$ref": "#/$defs/stage"});
    let stages = json!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": {
            "pattern": format!(r"^([A-Za-z_]|\$\{{[^}}]*\}})([A-Za-z0-9_]|\$\{{[^}}]*\}})*$"),
            "not": {"enum": gate::words().collect::<Vec<_>>()},
        },
        "additionalProperties": stage,
    });
    let notify = json!({"type": "array", "minItems": 1, "items": {"type": "string"}});
    vec![
        ("name", "name of the pipeline; default: that of the file", json!({"type": "string"})),
        ("seed", "of every stage that draws, unless the stage has its own; default: 0", templated(whole_number())),
        ("vars", "what `${…}` may use; `--set vars.NAME=VALUE` changes one", variables),
        ("env", "variables of the environment that `${env.NAME}` may use: names, or names with defaults", environment),
        ("salt", "part of every key: another text disowns all results so far", json!({"type": "string"})),
        ("dtype", "of every stage that has such a parameter and leaves it open", one_of(&Dtype::ALL.map(Dtype::name))),
        ("skip_bad_rows", "bad rows of a data file that may be left out; they are counted", templated(whole_number())),
        (
            "notify",
            "a command that is told, by a JSON object on its stdin, of each stage that is held or fails and of the end",
            notify,
        ),
        (settings::remote::CACHE, CACHE, json!({"$ref": "#/$defs/cache"})),
        ("stages", "name → stage; the order is free", stages),
    ]
}

const CACHE: &str =
    "where results are kept beside the store of this machine; default: as the user's configuration says";

/// The schema of the user's configuration.
pub fn configuration() -> Value {
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pipeline: the user's configuration",
        "description": "What all pipelines of a person share, and no key knows.",
        "$defs": {"duration": duration(), "cache": configuration::cache()},
    });
    let file = mapping(vec![(settings::remote::CACHE, CACHE, json!({"$ref": "#/$defs/cache"}))]);
    joined(head, joined(file, json!({"type": ["object", "null"]})))
}

fn stage_keys() -> Vec<Key> {
    let kinds = KINDS.iter().map(|kind| json!({"const": kind.name, "description": kind.doc}));
    let metrics = json!({
        "type": ["object", "string"],
        "pattern": TEMPLATE,
        "propertyNames": {"pattern": format!("^{NAME}$"), "not": {"enum": gate::words().collect::<Vec<_>>()}},
        "additionalProperties": metric(),
    });
    let range = format!(r"^\s*-?[0-9]+\s*\.\.\s*-?[0-9]+\s*$|{TEMPLATE}");
    let values = json!({
        "type": ["object", "string"],
        "pattern": TEMPLATE,
        "propertyNames": {"pattern": format!("^{NAME}$")},
        "additionalProperties": {"type": ["string", "array"], "minItems": 1, "pattern": range},
    });
    let secrets = json!({"type": "array", "items": {"type": "string", "minLength": 1}});
    vec![
        ("kind", "what the stage does", choice(kinds.collect())),
        (
            "from",
            "port → a stage, a path (with a `/` or `.`, from this file), or a list where the port takes many",
            json!({}),
        ),
        ("with", "parameters of the kind; what is left out has its default", json!({})),
        (
            "gate",
            "what must hold before the result goes on: a rule, a list of rules, or a mapping",
            json!({"$ref": "#/$defs/gate"}),
        ),
        (
            "for",
            "the stage is written out once per value, as `{k: 1..4}` (4 included); its name must hold `${k}`",
            values,
        ),
        ("seed", "of this stage; default: the pipeline's", templated(whole_number())),
        (
            "metrics",
            "of kind `exec`: the names in `metrics.json`, and what is better: `higher`, or `{better: higher, bounds: [1, 5]}` \
             where every item lies between two numbers",
            metrics,
        ),
        (
            "incumbent",
            "of kind `exec`: the port whose content goes on where the gate keeps it",
            json!({"type": "string"}),
        ),
        ("resources", "what must be free on this machine; never part of the key", resources()),
        ("timeout", "the stage is ended after that: `30m`, `2h`, or seconds", json!({"$ref": "#/$defs/duration"})),
        ("retry", "how often it is tried again: `3`, or `{times: 3, wait: 10s}`", retry()),
        ("secret", "variables of the environment that the stage may see, and that nothing keeps", secrets),
        ("audit", "report the files that were read and not declared (Linux)", templated(json!({"type": "boolean"}))),
        (
            "allow_overlap",
            "it may measure on prompts that stages before it learn from; default: false",
            templated(json!({"type": "boolean"})),
        ),
    ]
}

fn metric() -> Value {
    let better = || one_of(&["higher", "lower", "neutral"]);
    let number = json!({"type": "number"});
    let bounds = json!({"type": "array", "minItems": 2, "maxItems": 2, "items": number});
    let with_bounds = json!({
        "type": "object",
        "properties": {"better": better(), "bounds": bounds},
        "required": ["better"],
        "additionalProperties": false,
    });
    json!({"anyOf": [better(), with_bounds]})
}

fn gate_keys() -> Vec<Key> {
    let rules = || json!({"$ref": "#/$defs/rules"});
    let words = || one_of(&["stop", "keep", "hold"]);
    let judge = json!({"type": ["string", "array"], "minItems": 1, "items": {"type": "string"}});
    let mut select = mapping(select_keys());
    select["minProperties"] = json!(1);
    select["dependentRequired"] = json!({"within": ["best"]});
    vec![
        ("judge", "the eval stage, or stages, whose metrics are measured on this stage's candidates", judge),
        ("select", "which checkpoint is the candidate; without it the last one", templated(select)),
        ("require", "rules that must hold: `mean_score > incumbent.mean_score with 95% confidence`", rules()),
        ("warn", "rules that only say so where they do not hold", rules()),
        ("observe", "rules that are judged and never block", rules()),
        ("on_fail", "`stop` (default), `keep` the incumbent, or `hold` for a person", words()),
        ("on_unsure", "where the evidence is not enough; default: as `on_fail`", words()),
    ]
}

fn select_keys() -> Vec<Key> {
    let within = json!({"type": "string", "pattern": format!(r"^\s*[0-9.]+([eE][+-]?[0-9]+)?\s*se$|{TEMPLATE}")});
    vec![
        ("best", "a metric, or an expression, of which the best checkpoint is taken", json!({"type": "string"})),
        ("where", "only checkpoints for which that holds", json!({"$ref": "#/$defs/rules"})),
        ("within", "the earliest that is so near to the best: `1 se`", within),
    ]
}

fn resource_keys() -> Vec<Key> {
    let memory = json!({
        "type": ["integer", "string"],
        "minimum": 0,
        "pattern": format!(r"^[0-9.]+\s*([kKmMgGtT]i?B?)?$|{TEMPLATE}"),
    });
    let gpu =
        json!({"type": ["integer", "string"], "minimum": 0, "pattern": format!("^{}$|{TEMPLATE}", spec::limits::AUTO)});
    let what = "how many of its own; `auto` (default): one for a stage that computes through wgpu, none for others";
    vec![("gpu", what, gpu), ("memory", "`8G`, `512M`, or bytes", memory)]
}

fn retry_keys() -> Vec<Key> {
    let times = json!({"type": "integer", "minimum": 0, "maximum": 100});
    vec![
        ("times", "how often", templated(times)),
        ("wait", "before the first of them", json!({"$ref": "#/$defs/duration"})),
    ]
}

fn resources() -> Value {
    templated(mapping(resource_keys()))
}

fn retry() -> Value {
    let keys = joined(mapping(retry_keys()), json!({"required": ["times"]}));
    joined(
        templated(joined(keys, json!({"minimum": 0, "maximum": 100}))),
        json!({"type": ["integer", "object", "string"]}),
    )
}

fn gate() -> Value {
    let says_something = ["select", "require", "warn", "observe"].map(|key| json!({"required": [key]}));
    let mapping = joined(mapping(gate_keys()), json!({"anyOf": says_something}));
    // The conditions of a mapping are in a schema of their own, since a text or a list has no keys.
    json!({
        "type": ["string", "array", "object"],
        "minLength": 1,
        "minItems": 1,
        "items": {"type": "string"},
        "if": {"type": "object"},
        "then": mapping,
    })
}

fn rules() -> Value {
    json!({"type": ["string", "array"], "minLength": 1, "minItems": 1, "items": {"type": "string"}})
}

fn duration() -> Value {
    json!({
        "type": ["number", "string"],
        "exclusiveMinimum": 0,
        "pattern": format!(r"^[0-9.]+([eE][+-]?[0-9]+)?\s*[smhd]?$|{TEMPLATE}"),
    })
}

fn source() -> Value {
    json!({
        "type": "string",
        "description": "a stage, a checkpoint of a stage (`rm_1@150`, `ppo_1@last`), a file that a stage makes (`make:rows.jsonl`), a path, which holds a `/` or `.`, or a repository of the Hugging Face hub (`hf://owner/name@revision`, `hf://datasets/owner/name@revision/path`)",
        "pattern": format!(r"^{NAME}(@(last|[0-9]+))?$|[/.]|{TEMPLATE}"),
    })
}

/// The best of several stages, in the place of a source.
fn best_of() -> Value {
    joined(mapping(best_of_keys()), json!({"required": [spec::best_of::BEST_OF, spec::best_of::BY]}))
}

fn best_of_keys() -> Vec<Key> {
    let stages = json!({"anyOf": [{"type": "string"}, list_of(json!({"type": "string"}))]});
    vec![
        (
            spec::best_of::BEST_OF,
            "the stages to choose from: a list, or what the names of the stages of a `for` share",
            stages,
        ),
        (
            spec::best_of::BY,
            "the number that is best: a metric, or a computation with metrics",
            json!({"type": "string"}),
        ),
        (spec::best_of::JUDGE, "the stage of kind `eval` that measures each of them", json!({"type": "string"})),
    ]
}

/// A source of data: as [`source`], or a mapping with the options of reading.
fn data_source() -> Value {
    let [path, _] = spec::stage::SOURCES;
    let mut of_mapping = joined(mapping(data_keys()), json!({"required": [path]}));
    of_mapping["type"] = json!("object");
    json!({"anyOf": [{"$ref": "#/$defs/source"}, of_mapping]})
}

fn data_keys() -> Vec<Key> {
    let [path, _] = spec::stage::SOURCES;
    let columns = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let weight = templated(json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1000}));
    vec![
        (
            path,
            "a file, a directory of data files, a pattern of names (`data/*.jsonl`), data of the hub, or a stage",
            json!({"$ref": "#/$defs/source"}),
        ),
        ("columns", option("columns"), columns),
        ("join", option("join"), json!({"type": "string"})),
        ("take", option("take"), templated(json!({"type": "integer", "minimum": 1}))),
        ("weight", option("weight"), weight),
    ]
}

/// A reward: as [`source`], or a mapping with its weight.
fn reward_source() -> Value {
    let [_, from] = spec::stage::SOURCES;
    let mut of_mapping = joined(mapping(reward_keys()), json!({"required": [from]}));
    of_mapping["type"] = json!("object");
    json!({"anyOf": [{"$ref": "#/$defs/source"}, of_mapping]})
}

fn reward_keys() -> Vec<Key> {
    let [_, from] = spec::stage::SOURCES;
    let weight = templated(json!({"type": "number", "minimum": -1000, "maximum": 1000}));
    vec![
        (from, "a stage, or a path", json!({"$ref": "#/$defs/source"})),
        ("weight", "how much its score counts in the sum; default: 1. Below 0 it counts against", weight),
    ]
}

/// The description of an option with which rows are read.
fn option(key: &str) -> &'static str {
    OPTIONS.iter().find(|(name, _)| *name == key).map_or("", |(_, doc)| doc)
}

/// The keys of any stage, with the schemas of `from` and `with` for each kind.
fn stage() -> Value {
    let of_kind = KINDS.iter().map(|kind| {
        let mut keys = json!({
            "from": {"$ref": format!("#/$defs/from_{}", kind.name)},
            "with": {"$ref": format!("#/$defs/with_{}", kind.name)},
        });
        if !kind.is_command() {
            // The kind itself declares them.
            keys["metrics"] = json!(false);
            keys["incumbent"] = json!(false);
        }
        let needs_ports = kind.ports.iter().any(|port| !port.is_optional || port.or.is_some());
        let mut required = if needs_ports { vec!["from"] } else { Vec::new() };
        required.extend((!parameters::required(kind).is_empty()).then_some("with"));
        json!({
            "if": {"properties": {"kind": {"const": kind.name}}, "required": ["kind"]},
            "then": {"properties": keys, "required": required},
        })
    });
    joined(mapping(stage_keys()), json!({"required": ["kind"], "allOf": of_kind.collect::<Vec<_>>()}))
}

fn from(kind: &Kind) -> Value {
    if kind.takes_any_port {
        let ports = json!({"additionalProperties": {"$ref": "#/$defs/sources"}});
        return joined(ports, json!({"type": ["object", "null", "string"], "pattern": TEMPLATE}));
    }
    let port = |port: &Port| {
        let of = match port.accepts {
            Accepts::Data(_) => "data",
            Accepts::Reward if port.takes_many => "rewards",
            _ if port.takes_many => "sources",
            _ => "source",
        };
        (port.name.to_owned(), json!({"description": port.doc, "$ref": format!("#/$defs/{of}")}))
    };
    let required = kind.ports.iter().filter(|port| !port.is_optional).map(|port| port.name);
    let pairs = kind.ports.iter().filter_map(|port| Some((port.name, port.or?))).filter(|(port, other)| port < other);
    let either = pairs.map(|(port, other)| json!({"oneOf": [{"required": [port]}, {"required": [other]}]}));
    let either: Vec<Value> = either.collect();
    let mut ports = json!({
        "type": "object",
        "properties": kind.ports.iter().map(port).collect::<Map<_, _>>(),
        "required": required.collect::<Vec<_>>(),
        "additionalProperties": false,
    });
    if !either.is_empty() {
        ports["allOf"] = either.into();
    }
    templated(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn same(what: &str, in_schema: Vec<Key>, of_reader: &[&str]) {
        let in_schema: BTreeSet<&str> = in_schema.iter().map(|(key, ..)| *key).collect();
        let of_reader: BTreeSet<&str> = of_reader.iter().copied().collect();
        assert_eq!(in_schema, of_reader, "{what}: the keys of the schema (left) are not those of the reader");
    }

    #[test]
    fn the_schema_has_the_keys_of_the_reader_and_no_others() {
        same("the file", file_keys(), spec::KEYS);
        same("a stage", stage_keys(), spec::stage::KEYS);
        same("resources", resource_keys(), spec::limits::RESOURCES);
        same("retry", retry_keys(), spec::limits::RETRY);
        same("a gate", gate_keys(), spec::gate::KEYS);
        same("select", select_keys(), spec::gate::SELECT_KEYS);
        let [path, _] = spec::stage::SOURCES;
        let of_data: Vec<&str> = [path].into_iter().chain(OPTIONS.map(|(key, _)| key)).collect();
        same("the best of several stages", best_of_keys(), &spec::best_of::KEYS);
        same("a source of data", data_keys(), &of_data);
        same("`cache`", configuration::cache_keys(), settings::remote::CACHE_KEYS);
        same("`cache.remote`", configuration::remote_keys(), settings::remote::REMOTE_KEYS);
    }
}
