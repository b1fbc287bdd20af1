//! The pipeline file: text → [`Spec`]. `--set` is applied, `for` is expanded, `${…}` is replaced. Knows the keys of the
//! file; kinds, input files and rules are checked by `plan`.

pub mod best_of;
pub mod executors;
mod expand;
pub mod expect;
pub mod gate;
pub mod limits;
pub mod node;
mod overrides;
pub mod stage;
mod template;
pub mod yaml;

use crate::diagnostic::{Diagnostic, SourceText, Span};
use crate::hub;
use crate::settings::{self, Settings};
use best_of::NamedBody;
use expand::ExpandedStage;
pub use expand::Families;
pub use gate::{GateSpec, OnFail, SelectSpec};
use node::Value;
pub use node::{Node, NodeSpans, WithSpan};
use overrides::Override;
pub use stage::{MetricSpec, Pin, PortSpec, Reference, SourceSpec, StageSpec, metrics as declared_metrics};
use stages::stage::did_you_mean;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use template::Scope;
pub use template::{is_identifier, part_of};

pub struct Spec {
    pub name: String,
    pub seed: u64,
    /// In the order of the file, with `for` expanded.
    pub stages: Vec<StageSpec>,
    /// The stages of each `for`, by the name that rules give to all of them.
    pub families: Families,
    pub salt: Option<String>,
    /// The precision of every stage that has one and does not set its own.
    pub dtype: Option<WithSpan<String>>,
    /// The number of bad rows that may be skipped in a data file.
    pub skip_bad_rows: u64,
    /// The command that is told of holds, failures and ends; empty without one.
    pub notify: Vec<String>,
    /// The keys that the user's configuration has, too, as the file has them.
    pub settings: Settings,
    /// The cache of a hub on this machine; `None` if the environment does not name it.
    pub hub_cache: Option<PathBuf>,
    /// Mistakes and warnings so far. `plan::resolve` adds its own, so that all are reported together.
    pub mistakes: Vec<Diagnostic>,
}

/// The keys of the file; keys that begin with `x-` are allowed too.
pub const KEYS: &[&str] = &[
    "name",
    "seed",
    "vars",
    "env",
    "salt",
    "dtype",
    "skip_bad_rows",
    "notify",
    "cache",
    "executor",
    "executors",
    "stages",
];

/// Reads the file and its `--set` arguments. `Err` only if no stage could be read at all. `environment` looks up an
/// environment variable.
pub fn read(source: &SourceText, environment: &dyn Fn(&str) -> Option<String>) -> Result<Spec, Vec<Diagnostic>> {
    let mut mistakes = Vec::new();
    let overrides = overrides::read(source, &mut mistakes);
    let Some(mut root) = yaml::parse(&source.text, 0, &mut mistakes) else { return Err(mistakes) };
    let mut of_stages = Vec::new();
    for change in overrides {
        of_stages.extend(assign_top_level(&mut root, change, &mut mistakes));
    }
    let Some(map) = expect::map(&root, "a pipeline: a mapping with `stages`", &mut mistakes) else {
        return Err(mistakes);
    };
    let keys = map.iter().map(|(key, _)| key).filter(|key| !key.value.starts_with("x-"));
    expect::known(keys, "a pipeline", KEYS, &mut mistakes);
    let of_keyword = map.iter().find(|(key, _)| key.value == "stages").map_or(root.span, |(key, _)| key.span);
    let scope = scope(&root, environment, &mut mistakes);
    let top =
        |key: &str, mistakes: &mut Vec<Diagnostic>| root.get(key).map(|node| template::fill(node, &scope, mistakes));
    let name = top("name", &mut mistakes).and_then(|node| expect::text(&node, &mut mistakes));
    let seed = top("seed", &mut mistakes).and_then(|node| expect::whole_number(&node, &mut mistakes));
    let salt = top("salt", &mut mistakes).and_then(|node| expect::text(&node, &mut mistakes));
    let dtype = top("dtype", &mut mistakes).and_then(|node| expect::text(&node, &mut mistakes));
    let skip = top("skip_bad_rows", &mut mistakes).and_then(|node| expect::whole_number(&node, &mut mistakes));
    let notify = top("notify", &mut mistakes).and_then(|node| expect::command(&node, &mut mistakes));
    let cache = top(settings::remote::CACHE, &mut mistakes).map(|node| settings::remote::cache(&node, &mut mistakes));
    let executor = top(settings::EXECUTOR, &mut mistakes).and_then(|node| expect::text(&node, &mut mistakes));
    let executors = top(settings::EXECUTORS, &mut mistakes).map(|node| executors::executors(&node, &mut mistakes));
    let (stages, families) = match root.take("stages") {
        Some((_, node)) => stages(node, &scope, of_stages, &mut mistakes),
        None => Default::default(),
    };
    if stages.is_empty() {
        if mistakes.is_empty() {
            let help = "stages: {base: {kind: pretrain, …}}";
            mistakes.push(Diagnostic::error(of_keyword, "there are no stages").help(help));
        }
        return Err(mistakes);
    }
    let file_stem = || source.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Spec {
        name: name.map_or_else(file_stem, |name| name.value),
        seed: seed.unwrap_or(0),
        stages,
        families,
        salt: salt.map(|salt| salt.value),
        dtype,
        skip_bad_rows: skip.unwrap_or(0),
        notify: notify.unwrap_or_default(),
        settings: Settings { cache, executor, executors: executors.unwrap_or_default() },
        hub_cache: hub::HubSettings::from(|name| environment(name).map(Into::into)).ok().map(|hub| hub.cache_root),
        mistakes,
    })
}

impl Spec {
    /// Replaces a model of a hub by the directory it lies in.
    pub fn take_hub_model(&mut self, model: &hub::Repository, directory: &Path) {
        let sources = self.stages.iter_mut().flat_map(|stage| &mut stage.from).flat_map(|from| &mut from.sources);
        for source in sources {
            if let Reference::Hub(text) = &source.reference
                && hub::Asset::parse(text).is_ok_and(|other| other == hub::Asset::Model(model.clone()))
            {
                source.reference = Reference::Path(directory.to_owned());
            }
        }
    }

    /// The models and data of hubs, each once; malformed references are reported by the plan.
    pub fn hub_assets(&self) -> Vec<(hub::Asset, Span)> {
        let mut assets: Vec<(hub::Asset, Span)> = Vec::new();
        for source in self.stages.iter().flat_map(|stage| &stage.from).flat_map(|from| &from.sources) {
            if let Reference::Hub(text) = &source.reference
                && let Ok(asset) = hub::Asset::parse(text)
                && !assets.iter().any(|(known, _)| *known == asset)
            {
                assets.push((asset, source.span));
            }
        }
        assets
    }
}

/// Makes the gate of a stage require only the rule of `source`; a stage without a gate gets one.
pub fn require(spec: &mut Spec, stage: &str, source: &SourceText) {
    let Some(stage) = spec.stages.iter_mut().find(|known| known.name.value == stage) else { return };
    let rule = source.rule.clone().unwrap_or_default();
    let start = source.override_start(source.overrides.len());
    let span = Span::new(start, start + rule.len());
    let gate = stage.gate.get_or_insert_with(|| Box::new(GateSpec::empty(span)));
    gate.require = vec![WithSpan { value: rule, span }];
}

/// Applies an override to the top level, or returns it if it is meant for a stage.
fn assign_top_level(root: &mut Node, mut change: Override, mistakes: &mut Vec<Diagnostic>) -> Option<Override> {
    let first = change.path[0].clone();
    match (first.value.as_str(), change.path.get(1)) {
        ("stages", Some(_)) => {
            change.path.remove(0);
            return Some(change);
        }
        ("vars", Some(name)) if root.get("vars").and_then(|vars| vars.get(&name.value)).is_none() => {
            let names: Vec<&str> = match root.get("vars").map(|vars| &vars.value) {
                Some(Value::Map(map)) => map.iter().map(|(key, _)| key.value.as_str()).collect(),
                _ => Vec::new(),
            };
            let message = format!("the file has no variable `{}`", name.value);
            mistakes.push(Diagnostic::error(name.span, message).help(did_you_mean(&name.value, &names)));
        }
        ("vars" | "env", Some(_))
        | ("name" | "seed" | "salt" | "dtype" | "skip_bad_rows" | "notify" | "cache" | "executor" | "executors", _) => {
            overrides::assign(root, &change.path, change.value, mistakes);
        }
        ("vars" | "env" | "stages", None) => {
            let message = format!("`{}` cannot be set as a whole", first.value);
            mistakes.push(Diagnostic::error(first.span, message).help("--set vars.steps=20"));
        }
        _ => return Some(change),
    }
    None
}

/// The variables of the file. Each may use the ones above it.
fn scope(root: &Node, environment: &dyn Fn(&str) -> Option<String>, mistakes: &mut Vec<Diagnostic>) -> Scope {
    let mut scope = Scope::default();
    if let Some(env) = root.get("env") {
        for (name, default) in declared_env(env, mistakes) {
            let value = environment(&name.value).or(default);
            if value.is_none() {
                let message = format!("the environment variable `{}` is not set", name.value);
                let help = format!("set it, or give it a default: `env: {{{}: value}}`", name.value);
                mistakes.push(Diagnostic::error(name.span, message).help(help));
            }
            scope.add_env(&name.value, value.as_deref());
        }
    }
    if let Some(vars) = root.get("vars").filter(|vars| vars.value != Value::Null) {
        for (name, node) in expect::map(vars, "a mapping such as `{steps: 200}`", mistakes).into_iter().flatten() {
            if template::check_variable_name(name, mistakes) {
                let filled = template::fill(node, &scope, mistakes);
                scope.add_var(&name.value, &filled, mistakes);
            }
        }
    }
    scope
}

/// The variables declared by `env: [HOME]`, or `env: {DATA: data}` with defaults.
fn declared_env(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Vec<(WithSpan<String>, Option<String>)> {
    match &node.value {
        Value::List(items) => items.iter().filter_map(|item| Some((expect::text(item, mistakes)?, None))).collect(),
        Value::Map(map) => {
            let default = |node: &Node, mistakes: &mut Vec<Diagnostic>| match &node.value {
                Value::Null => None,
                _ => expect::text(node, mistakes).map(|text| text.value),
            };
            map.iter().map(|(name, node)| (name.clone(), default(node, mistakes))).collect()
        }
        Value::Null => Vec::new(),
        _ => {
            expect::wrong(node, "a list of names such as `[HOME]`, or a mapping with defaults", mistakes);
            Vec::new()
        }
    }
}

fn stages(
    node: Node,
    scope: &Scope,
    changes: Vec<Override>,
    mistakes: &mut Vec<Diagnostic>,
) -> (Vec<StageSpec>, Families) {
    if expect::map(&node, "a mapping of stages", mistakes).is_none() {
        return Default::default();
    }
    let Value::Map(map) = node.value else { return Default::default() };
    let (mut written, families) = expand::stages(map, scope, mistakes);
    for change in changes {
        let (stage, path) = (&change.path[0], &change.path[1..]);
        match written.iter_mut().find(|written| written.name.value == stage.value) {
            None => {
                let names: Vec<&str> = written.iter().map(|written| written.name.value.as_str()).collect();
                let message = format!("unknown stage `{}`", stage.value);
                mistakes.push(Diagnostic::error(stage.span, message).help(did_you_mean(&stage.value, &names)));
            }
            Some(_) if path.is_empty() => {
                let message = format!("`{}` cannot be set as a whole", stage.value);
                mistakes
                    .push(Diagnostic::error(stage.span, message).help(format!("--set {}.with.lr=1e-5", stage.value)));
            }
            Some(written) => overrides::assign(Rc::make_mut(&mut written.body), path, change.value, mistakes),
        }
    }
    let names: HashSet<String> = written.iter().map(|written| written.name.value.clone()).collect();
    let is_stage = |name: &str| names.contains(name);
    let mut stages = Vec::with_capacity(written.len());
    for ExpandedStage { name, body, scope } in written {
        // The last user of a shared body, usually the only one, takes it without a copy.
        let mut body = Rc::unwrap_or_clone(body);
        if let Value::Map(map) = &mut body.value {
            // `for` is already expanded.
            map.retain(|(key, _)| key.value != "for");
        }
        template::fill_in(&mut body, &scope, mistakes);
        let choices = best_of::take_out(&name, &mut body, &is_stage, mistakes);
        for NamedBody { name, mut body } in choices.into_iter().chain([NamedBody { name, body }]) {
            best_of::name_members(&mut body, &families, &is_stage);
            stages.push(stage::lower(name, body, mistakes));
        }
    }
    (stages, families)
}

#[cfg(test)]
mod tests;
