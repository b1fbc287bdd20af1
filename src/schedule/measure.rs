//! The measurement of a model by a stage that can judge. It consists of cached actions, none of which depends on a
//! model that the measured one will be compared with.

use super::lookup::{Lookup, Step, all, fails, keyed};
use super::state::{Artifact, Measurement};
use crate::action::{Action, ActionInput, Record};
use crate::cause::EvalPart;
use crate::event::{JudgeEvidence, Metrics, Table};
use crate::plan::{ArtifactName, Input, StageId};
use cache::{Content, Digest};
use serde_json::Value;
use stages::stage::{Accepts, Measure, PartInput, Port, Work};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A measuring stage with all its inputs resolved, except for the model to measure.
pub struct Judge {
    pub stage: StageId,
    measure: &'static Measure,
    /// The parameters of each part.
    parameters: Vec<Value>,
    /// Whether the parameters ask for each part.
    is_asked: Vec<bool>,
    /// Artifacts on the other ports; several only on a port that takes many inputs.
    ports: BTreeMap<&'static str, Vec<Artifact>>,
    /// Data on the other ports, and inputs of which several are added up to one.
    data: Inputs,
}

impl Judge {
    /// The model with which all others are compared.
    pub fn baseline(&self) -> Option<&Artifact> {
        self.ports.get(self.measure.comparison?.port)?.first()
    }

    /// Whether both measure on the same rows.
    pub fn has_rows_of(&self, other: &Judge) -> bool {
        self.data == other.data
    }

    /// The reward models whose scores are compared.
    pub fn labels(&self, lookup: &Lookup) -> Vec<String> {
        let compared = self.measure.comparison.map(|comparison| &self.measure.parts[comparison.part]);
        let ports = lookup.plan.stages[self.stage].kind.ports.iter();
        let ports = ports.filter(|port| port.takes_many && compared.is_some_and(|part| part.reads(port.name)));
        let artifacts = ports.filter_map(|port| self.ports.get(port.name)).flatten();
        artifacts.map(|artifact| artifact.label.to_string()).collect()
    }
}

/// Resolves the inputs of a measuring stage. If it judges another stage, takes only the first input of each port: a
/// candidate does not wait for further reward models, which have no part in its judgement.
pub fn judge(lookup: &mut Lookup, id: StageId) -> Step<Judge> {
    let stage = &lookup.plan.stages[id];
    let Work::Measure(measure) = stage.kind.work else {
        return fails(format!("judge by `{}`: a stage of kind `{}` measures nothing", stage.name, stage.kind.name));
    };
    let count = if lookup.id == id { usize::MAX } else { 1 };
    let (data, ports): (Vec<&Port>, Vec<&Port>) =
        stage.kind.ports.iter().partition(|port| matches!(port.accepts, Accepts::Data(_)));
    let data = stage.inputs.iter().filter(|input| data.iter().any(|port| port.name == input.port));
    let sums = stage.inputs.iter().filter(|input| !input.readings.is_empty());
    let data = data.chain(sums.filter(|input| ports.iter().any(|port| port.name == input.port)));
    let data = all(data.map(|input| Ok((input.port.clone(), lookup.input(input)?))))?.into_iter().collect();
    let ports = ports.into_iter().filter(|port| port.name != measure.port).map(|port| {
        let inputs = stage.inputs.iter().filter(|input| input.port == port.name);
        if let Some(input) = inputs.clone().find(|input| !input.readings.is_empty()) {
            return Ok((port.name, vec![sum(lookup, input)?]));
        }
        let sources = inputs.flat_map(|input| &input.sources).take(count);
        Ok((port.name, all(sources.map(|source| lookup.artifact(source)))?))
    });
    let given = stage.parameters.value();
    let parameters = measure.parts.iter().map(|part| part.parameters(&given)).collect();
    let is_empty = |list: &str| given[list].as_array().is_none_or(Vec::is_empty);
    let is_asked = measure.parts.iter().map(|part| part.unless_empty.is_none_or(|list| !is_empty(list))).collect();
    Ok(Judge { stage: id, measure, parameters, is_asked, ports: all(ports)?.into_iter().collect(), data })
}

/// Sources that are added up, under one name: `rm_1 + 0.2 words.tsv`. The content is that of the first; the inputs of a part
/// have all.
fn sum(lookup: &mut Lookup, input: &Input) -> Step<Artifact> {
    let artifacts = lookup.artifacts(input)?;
    let named = artifacts.iter().zip(&input.readings).map(|(artifact, reading)| match reading.options.weight {
        1.0 => artifact.label.to_string(),
        weight => format!("{weight} {}", artifact.label),
    });
    let label = ArtifactName::open(&named.collect::<Vec<_>>().join(" + "));
    let Some(first) = artifacts.into_iter().next() else {
        return fails(format!("find `{}`: nothing is there", input.port));
    };
    Ok(Artifact { label, ..first })
}

/// Measures a model. `label` names the model in the journal and has no other effect. `on` is the device class on which it
/// is measured again, where another one has measured it already.
pub fn measure(
    lookup: &mut Lookup,
    judge: &Judge,
    model: &Content,
    label: &ArtifactName,
    on: Option<&str>,
) -> Step<Measurement> {
    // If a stage has several judges, the name of a measurement says which judge it is for.
    let is_one_of_many = lookup.stage().gate.as_ref().is_some_and(|gate| gate.judges.len() > 1);
    let name = is_one_of_many.then(|| lookup.plan.stages[judge.stage].name.as_str());
    let mut records: Vec<Step<Option<PartRecord>>> = Vec::new();
    for place in 0..judge.measure.parts.len() {
        let earlier = |place: usize| Ok(content(records[place].as_ref().map_err(Clone::clone)?));
        let inputs = inputs(judge, place, 0, model, earlier);
        let part = EvalPart::new(judge.measure.parts[place].kind.name, label, None, name);
        records.push(inputs.and_then(|inputs| obtain(lookup, judge, place, part, inputs, on)));
    }
    let records = all(records)?;
    let metrics = records.iter().flatten().flat_map(|obtained| obtained.record.last().metrics.clone()).collect();
    let parts: Vec<Option<Content>> = records.iter().map(content).collect();
    let tables = parts.iter().enumerate().map(|(place, part)| Some(table(judge, place, part.as_ref()?, "")));
    let tables: Vec<Option<Table>> = tables.collect();
    let compared = judge.measure.comparison.and_then(|comparison| tables[comparison.part].clone());
    let seen = JudgeEvidence { metrics, tables: tables.into_iter().flatten().collect() };
    let Some(carried) = compared.as_ref().or(seen.tables.last()).map(|table| table.content.clone()) else {
        return fails(format!("measure by `{}`: no part of it can be measured", lookup.plan.stages[judge.stage].name));
    };
    let keys = records.iter().flatten().map(|obtained| obtained.key).collect();
    let is_executed = records.iter().flatten().any(|obtained| obtained.is_executed);
    let (model, on) = (model.clone(), on.map(str::to_owned));
    Ok(Measurement { seen, compared, content: carried, model, parts, keys, is_executed, on })
}

/// The key of the first part of a measurement that is made again on a device class.
pub fn first_key(lookup: &mut Lookup, judge: &Judge, model: &Content, on: &str) -> Step<Digest> {
    let inputs = inputs(judge, 0, 0, model, |_| Ok(None))?.unwrap_or_default();
    Ok(keyed(action(lookup, judge, 0, inputs, Some(on)))?.key)
}

/// Measures the same model with the further inputs of a port that takes many: `mean_score_2`, `score_sd_2`, …
pub fn further(
    lookup: &mut Lookup,
    judge: &Judge,
    measurement: &Measurement,
    label: &ArtifactName,
) -> Step<JudgeEvidence> {
    let count = judge.ports.values().map(Vec::len).max().unwrap_or_default();
    let mut all_seen = Vec::new();
    for nth in 1..count {
        for (place, part) in judge.measure.parts.iter().enumerate() {
            let mut read = judge.ports.iter().filter(|(port, _)| part.reads(port));
            let Some(artifact) = read.find_map(|(_, artifacts)| artifacts.get(nth)) else { continue };
            let named = EvalPart::new(part.kind.name, label, Some(&artifact.label), None);
            let inputs = inputs(judge, place, nth, &measurement.model, |place| Ok(measurement.parts[place].clone()));
            let on = measurement.on.as_deref();
            let obtained = inputs.and_then(|inputs| obtain(lookup, judge, place, named, inputs, on));
            all_seen.push(obtained.map(|obtained| (nth, place, obtained)));
        }
    }
    let (mut metrics, mut tables) = (Metrics::new(), Vec::new());
    for (nth, place, obtained) in all(all_seen)? {
        let Some(PartRecord { record, .. }) = obtained else { continue };
        let (last, suffix) = (record.last(), format!("_{}", nth + 1));
        metrics.extend(last.metrics.iter().map(|(name, value)| (format!("{name}{suffix}"), *value)));
        tables.push(table(judge, place, &last.content, &suffix));
    }
    Ok(JudgeEvidence { metrics, tables })
}

fn content(obtained: &Option<PartRecord>) -> Option<Content> {
    obtained.as_ref().map(|obtained| obtained.record.last().content.clone())
}

/// The per-item table of a part.
fn table(judge: &Judge, place: usize, content: &Content, suffix: &str) -> Table {
    let file = judge.measure.parts[place].table.to_owned();
    Table { content: content.clone(), file, suffix: suffix.to_owned() }
}

type Inputs = BTreeMap<String, ActionInput>;

/// The inputs of a part, or `None` if nobody asks for it or one of its ports is not connected. `nth` chooses among the inputs of a port that
/// takes many.
fn inputs(
    judge: &Judge,
    place: usize,
    nth: usize,
    model: &Content,
    earlier: impl Fn(usize) -> Step<Option<Content>>,
) -> Step<Option<Inputs>> {
    if !judge.is_asked[place] {
        return Ok(None);
    }
    let input = |(port, input): &(&str, PartInput)| {
        let content = match input {
            PartInput::Part(place) => earlier(*place)?,
            PartInput::Port(port) if *port == judge.measure.port => Some(model.clone()),
            PartInput::Port(data) if judge.data.contains_key(*data) => {
                return Ok(Some(((*port).to_owned(), judge.data[*data].clone())));
            }
            PartInput::Port(port) => {
                let artifacts = judge.ports.get(port);
                let artifact = artifacts.and_then(|artifacts| artifacts.get(nth).or(artifacts.first()));
                artifact.map(|artifact| artifact.content.clone())
            }
        };
        Ok(content.map(|content| ((*port).to_owned(), ActionInput::One(content))))
    };
    Ok(all(judge.measure.parts[place].inputs.iter().map(input))?.into_iter().collect())
}

fn obtain(
    lookup: &mut Lookup,
    judge: &Judge,
    place: usize,
    part: EvalPart,
    inputs: Option<Inputs>,
    on: Option<&str>,
) -> Step<Option<PartRecord>> {
    let Some(inputs) = inputs else { return Ok(None) };
    let action = keyed(action(lookup, judge, place, inputs, on))?;
    let key = action.key;
    let known = lookup.obtain(Some(part), action, judge.stage)?;
    Ok(Some(PartRecord { key, record: known.record, is_executed: known.executed.is_some() }))
}

/// The record of a part.
#[derive(Clone)]
struct PartRecord {
    key: Digest,
    record: Arc<Record>,
    /// In this run.
    is_executed: bool,
}

/// The action of a part. A device class is no part of a key; only what is measured again on one has it in its salt.
fn action(lookup: &Lookup, judge: &Judge, place: usize, inputs: Inputs, on: Option<&str>) -> Action {
    let kind = judge.measure.parts[place].kind;
    let salt = lookup.plan.salt.clone();
    Action {
        kind: kind.name.to_owned(),
        version: kind.version,
        parameters: judge.parameters[place].clone().into(),
        seed: lookup.plan.stages[judge.stage].seed.filter(|_| kind.draws),
        inputs,
        salt: match on {
            None => salt,
            Some(on) => {
                Some(format!("{}measured again on {on}", salt.map_or(String::new(), |salt| format!("{salt}; "))))
            }
        },
    }
}
