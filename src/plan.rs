//! Spec → [`Plan`]: names are resolved; ports, parameters, input files and rules are checked; cycles are refused.

mod adapters;
mod choices;
mod devices;
mod draft;
mod executors;
mod gates;
mod graph;
mod inputs;
mod judgements;
mod leaks;
pub mod looks;
mod metrics;
mod name;
mod open_keys;
mod outputs;
mod parameters;
mod pins;
mod proposals;
mod repeats;
mod right_answers;
mod secrets;
pub mod selection;
mod sheets;
mod source;
mod templates;
mod tokenizers;
mod yardsticks;

use crate::canonical::Canonical;
use crate::diagnostic::{Diagnostic, Severity};
use crate::gate::{self, MetricName};
use crate::settings::Settings;
pub use crate::spec::executors::SlurmSettings;
pub use crate::spec::limits::{Resources, Retry};
use crate::spec::{Node, Spec, StageSpec, is_identifier};
pub use crate::spec::{OnFail, Pin};
use draft::{DialogueParameters, Draft};
pub use gates::{Gate, alone as gate_alone};
use graph::Graph;
pub use graph::StageId;
use metrics::metrics;
pub use metrics::{declared_metrics, written_metric};
pub use name::ArtifactName;
pub use secrets::ToldReward;
use serde::Deserialize;
pub use source::{Input, Source};
use stages::kinds::PLANNED;
use stages::stage::{Accepts, Gives, Kind, did_you_mean};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

pub struct Plan {
    pub name: String,
    pub salt: Option<String>,
    /// The number of bad rows that a stage may skip in a data file.
    pub skip_bad_rows: u64,
    /// The command that is told of holds, failures and ends; empty without one.
    pub notify: Vec<String>,
    /// The keys that the user's configuration has, too, as the file has them.
    pub settings: Settings,
    /// Each stage comes after all it needs; ties follow the order of the file.
    pub stages: Vec<Stage>,
    pub warnings: Vec<Diagnostic>,
    /// Proposals of `check`: what may be added.
    pub notes: Vec<Diagnostic>,
}

pub struct Stage {
    pub name: String,
    pub kind: &'static Kind,
    pub inputs: Vec<Input>,
    /// With every default filled in.
    pub parameters: Canonical,
    /// Parameters that are in no key, by their paths.
    pub beside_key: BTreeMap<String, serde_json::Value>,
    /// Only for a kind that draws random numbers.
    pub seed: Option<u64>,
    /// The names under which rules mean it together with the other stages of its `for`.
    pub families: Vec<String>,
    /// The metrics in its own record.
    pub metrics: Vec<MetricName>,
    /// The port whose content a gate with `on_fail: keep` keeps.
    pub incumbent: Option<String>,
    pub gate: Option<Box<Gate>>,
    /// The sources of its inputs and of its judge's other ports, and the stages named in its rules.
    pub needs: Vec<StageId>,
    /// An eval also waits for the stages it judges, without needing them, so that its table shows them.
    pub after: Vec<StageId>,
    pub resources: Resources,
    /// The name of the executor that works it; `None`: this machine.
    pub executor: Option<String>,
    pub timeout: Option<Duration>,
    pub retry: Retry,
    /// Names of environment variables that are passed to its command; their values are never stored.
    pub secrets: Vec<String>,
    /// The rewards that it asks, and how.
    pub called: Vec<ToldReward>,
    /// Whether the files that its command reads are recorded.
    pub audit: bool,
}

impl Stage {
    /// The names of the secrets that it needs: one that asks nobody (`offline`) needs no key.
    pub fn needed_secrets(&self) -> &[String] {
        match self.beside_key.get("endpoint.offline") == Some(&true.into()) {
            true => &[],
            false => &self.secrets,
        }
    }
}

impl Plan {
    /// The sources of a port as the file names them: `sft`, `rm_1@150`, `data/sft.jsonl`.
    pub fn sources(&self, input: &Input) -> Vec<ArtifactName> {
        let name = |source: &Source| match source {
            Source::Stage { stage, pin } => ArtifactName::pinned(&self.stages[*stage].name, *pin),
            Source::File { stage, pin, path } => ArtifactName::file(&self.stages[*stage].name, *pin, path),
            Source::Path(path) => ArtifactName::open(&path.display().to_string()),
        };
        input.sources.iter().map(name).collect()
    }
}

/// Resolves everything that can be known before anything runs. `directory` is that of the pipeline file. `Err` holds
/// all mistakes, including those of the spec.
pub fn resolve(mut spec: Spec, directory: &Path, table: &[&'static Kind]) -> Result<Plan, Vec<Diagnostic>> {
    let mut mistakes = std::mem::take(&mut spec.mistakes);
    // Each is dropped once it is parsed: parameters are most of a long file.
    let withs: Vec<Node> = spec.stages.iter_mut().map(StageSpec::take_parameters).collect();
    let ids: HashMap<&str, StageId> =
        spec.stages.iter().enumerate().map(|(id, stage)| (stage.name.value.as_str(), id)).collect();
    let mut kinds: Vec<Option<&'static Kind>> =
        spec.stages.iter().map(|stage| kind(stage, table, &mut mistakes)).collect();
    choices::give(&spec, &ids, &mut kinds, &mut mistakes);
    let dtype = spec.dtype.as_ref().and_then(|dtype| parameters::dtype(dtype, &mut mistakes));
    let mut graph = Graph::new(spec.stages.iter().map(|stage| stage.name.value.as_str()).collect());
    let mut checked_files = source::FileChecks::new();
    let mut drafts: Vec<Draft> = Vec::with_capacity(spec.stages.len());
    for ((id, stage), with) in spec.stages.iter().enumerate().zip(withs) {
        check_name(stage, &mut mistakes);
        let lookup = source::SourceLookup { spec: &spec, kinds: &kinds, ids: &ids, directory };
        let mut inputs = inputs::resolve(id, &lookup, &mut graph, &mut checked_files, &mut mistakes);
        let incumbent = incumbent(stage, kinds[id], &inputs, &kinds, &mut mistakes);
        if let Some(kind) = kinds[id] {
            parameters::refuse_replaced(kind, &inputs, &with, &mut mistakes);
        }
        let sheets = kinds[id].map_or_else(Vec::new, |kind| sheets::take(stage, kind, &mut inputs, &mut mistakes));
        let written = parameters::WrittenParameters { with: &with, sheets: &sheets, inputs: &inputs, dtype };
        let mut parameters = kinds[id].and_then(|kind| parameters::resolve(stage, &written, kind, &mut mistakes));
        let metrics =
            kinds[id].map_or_else(Vec::new, |kind| metrics(stage, kind, &inputs, parameters.as_ref(), &mut mistakes));
        if let Some(kind) = kinds[id] {
            secrets::check(stage, &with, kind, &mut mistakes);
        }
        if let Some(parameters) = &parameters {
            open_keys::warn(stage, &with, parameters, &mut mistakes);
        }
        let lora = parameters.as_ref().and_then(|parameters| parameters.get("lora"));
        let lora = lora.map(|lora| (lora.clone(), with.get("lora").map(|lora| lora.span)));
        let dialogues = parameters.as_ref().and_then(|given| DialogueParameters::deserialize(given).ok());
        let dialogues = dialogues.unwrap_or_default();
        let beside_key = match (kinds[id], &mut parameters) {
            (Some(kind), Some(parameters)) => stages::stage::take_out(parameters, kind.beside_key),
            _ => BTreeMap::new(),
        };
        let draws = kinds[id].is_none_or(|kind| metrics::draws(kind, parameters.as_ref()));
        let parameters = parameters.map(Canonical::from);
        drop(with);
        if let (Some(kind), Some(seed)) = (kinds[id], &stage.seed)
            && !draws
        {
            let message = format!("`seed` has no effect: the kind `{}` draws nothing", kind.name);
            mistakes.push(Diagnostic::warning(seed.span, message));
        }
        drafts.push(Draft {
            spec: stage,
            kind: kinds[id],
            inputs,
            parameters,
            beside_key,
            lora,
            dialogues,
            metrics,
            incumbent,
        });
    }
    metrics::take_orders(&mut drafts);
    choices::measure(&mut drafts);
    adapters::check(&drafts, &mut mistakes);
    templates::check(&drafts, spec.skip_bad_rows, &mut mistakes);
    judgements::check(&drafts, &mut mistakes);
    right_answers::check(&drafts, spec.skip_bad_rows, &mut mistakes);
    outputs::check(&drafts, &ids, &mut mistakes);
    pins::check(&drafts, &ids, &mut mistakes);
    executors::check(&spec, &mut mistakes);
    devices::check(&drafts, &mut mistakes);
    mistakes.extend(graph.cycles());
    let mut gates = gates::resolve(&drafts, &ids, &spec.families, &mut graph, &mut mistakes);
    looks::name_prompts(&drafts, &mut gates);
    leaks::check(&drafts, &gates, &checked_files, &mut mistakes);
    looks::check(&drafts, &gates, &mut mistakes);
    tokenizers::check(&drafts, &gates, &mut mistakes);
    yardsticks::mark(&drafts, &mut gates, &mut mistakes);
    if mistakes.iter().any(|mistake| mistake.level == Severity::Error) {
        return Err(mistakes);
    }
    repeats::warn(&drafts, spec.seed, &mut mistakes);
    let notes = proposals::notes(&drafts, &gates);
    let judges: Vec<&[StageId]> = gates.iter().map(|gate| gate.as_ref().map_or(&[][..], |gate| &gate.judges)).collect();
    let after = graph.evals_after_what_they_judge(&judges);
    let order = graph.order();
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(new, old)| place[*old] = new);
    let placed = |ids: Vec<StageId>| ids.into_iter().map(|id| place[id]).collect();
    let mut families: HashMap<&str, Vec<String>> = HashMap::new();
    for (family, stages) in &spec.families {
        stages.iter().for_each(|stage| families.entry(stage).or_default().push(family.clone()));
    }
    let told = secrets::told(&drafts);
    let beside = gates.into_iter().zip(after).zip(told);
    let finished = drafts.into_iter().zip(beside).enumerate().map(|(old, (draft, ((gate, after), told)))| {
        let Draft { spec: stage, kind, inputs, parameters, beside_key, metrics, incumbent, .. } = draft;
        let (kind, parameters) = (kind?, parameters?);
        let draws = metrics::draws(kind, Some(&parameters.value()));
        Some(Stage {
            name: stage.name.value.clone(),
            kind,
            inputs: inputs.into_iter().map(|input| placed_input(input, &place)).collect(),
            parameters,
            beside_key,
            seed: draws.then(|| stage.seed.as_ref().map_or(spec.seed, |seed| seed.value)),
            families: families.remove(stage.name.value.as_str()).unwrap_or_default(),
            metrics,
            incumbent,
            gate: gate.map(|gate| placed_gate(gate, &place)),
            needs: placed(graph.needs(old)),
            after: placed(after),
            resources: stage.resources,
            executor: executors::of(stage, &spec),
            timeout: stage.timeout,
            retry: stage.retry,
            secrets: told.secrets,
            called: told.called.into_iter().map(|told| ToldReward { stage: place[told.stage], ..told }).collect(),
            audit: stage.audit.as_ref().is_some_and(|audit| audit.value),
        })
    });
    let mut finished: Vec<Option<Stage>> = finished.collect();
    let stages: Option<Vec<Stage>> = order.into_iter().map(|old| finished[old].take()).collect();
    match stages {
        Some(stages) => {
            let Spec { name, salt, skip_bad_rows, notify, settings, .. } = spec;
            Ok(Plan { name, salt, skip_bad_rows, notify, settings, stages, warnings: mistakes, notes })
        }
        None => Err(mistakes),
    }
}

fn placed_input(input: Input, place: &[StageId]) -> Input {
    Input { sources: input.sources.into_iter().map(|source| source.placed(place)).collect(), ..input }
}

fn placed_gate(mut gate: Box<Gate>, place: &[StageId]) -> Box<Gate> {
    gate.stages.iter_mut().for_each(|(_, id)| *id = place[*id]);
    gate.judges.iter_mut().for_each(|id| *id = place[*id]);
    gate
}

fn check_name(stage: &StageSpec, mistakes: &mut Vec<Diagnostic>) {
    let name = &stage.name.value;
    if !is_identifier(name) {
        let message = format!("`{name}` cannot name a stage");
        mistakes.push(Diagnostic::error(stage.name.span, message).help("names match [A-Za-z_][A-Za-z0-9_]*"));
    } else if gate::is_word(name) {
        let message = format!("`{name}` cannot name a stage: it is a word of the rule language");
        mistakes.push(Diagnostic::error(stage.name.span, message).help(format!("`{name}_1`, for one")));
    }
}

fn kind(stage: &StageSpec, table: &[&'static Kind], mistakes: &mut Vec<Diagnostic>) -> Option<&'static Kind> {
    let typed = stage.kind.as_ref()?;
    let found = table.iter().copied().find(|kind| kind.name == typed.value);
    if found.is_none() {
        let names: Vec<&str> = table.iter().map(|kind| kind.name).collect();
        let mistake = match PLANNED.contains(&typed.value.as_str()) {
            true => Diagnostic::error(typed.span, format!("the kind `{}` is not available yet", typed.value))
                .help(format!("there are: {}", names.join(", "))),
            false => Diagnostic::error(typed.span, format!("unknown kind `{}`", typed.value))
                .help(did_you_mean(&typed.value, &names)),
        };
        mistakes.push(mistake);
    }
    found
}

/// The port whose content a gate may keep as the incumbent.
fn incumbent(
    stage: &StageSpec,
    kind: Option<&'static Kind>,
    inputs: &[Input],
    kinds: &[Option<&'static Kind>],
    mistakes: &mut Vec<Diagnostic>,
) -> Option<String> {
    let kind = kind?;
    let is_connected = |port: &str| inputs.iter().any(|input| input.port == port);
    if let Some(named) = &stage.incumbent {
        if !kind.is_command() {
            let message = format!("`{}` has its incumbent by its kind", kind.name);
            mistakes.push(Diagnostic::error(named.span, message).help("`incumbent` is for stages of kind `exec`"));
        } else if !is_connected(&named.value) {
            let ports: Vec<&str> = inputs.iter().map(|input| input.port.as_str()).collect();
            let message = format!("nothing is connected to `{}`", named.value);
            mistakes.push(Diagnostic::error(named.span, message).help(did_you_mean(&named.value, &ports)));
        }
        return Some(named.value.clone());
    }
    if let Some(port) = kind.incumbent {
        return is_connected(port).then(|| port.to_owned());
    }
    // A reward model that starts from a reward model has that one as its incumbent.
    let goes_on = |input: &&Input| {
        kind.gives == Gives::Reward
            && kind.port(&input.port).is_some_and(|port| port.accepts == Accepts::Model)
            && matches!(input.sources[..], [Source::Stage { stage, .. }]
                if kinds[stage].is_some_and(|kind| kind.gives == Gives::Reward))
    };
    inputs.iter().find(goes_on).map(|input| input.port.clone())
}

#[cfg(test)]
mod tests;
