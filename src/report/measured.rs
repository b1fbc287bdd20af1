//! The models whose answers a run measured, or found measured, and where the parts of each measurement lie.

use super::fold::{ActionState, RunState, StageRun};
use crate::event::{ArtifactEvidence, Evidence, Table};
use crate::plan::ArtifactName;
use stages::kinds;

/// A model before the prompts of one eval.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredModel {
    pub label: ArtifactName,
    /// The stage that it was measured by.
    pub by: String,
    /// The parts in the order of the measurement; empty where a command measured itself.
    pub parts: Vec<MeasuredPart>,
    /// The items that a command wrote of itself.
    pub own: Option<Table>,
}

/// The answers of a model, or their scores by one reward.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredPart {
    pub kind: String,
    /// The reward of a port that takes many; `None` for the first one, which judges.
    pub reward: Option<ArtifactName>,
    /// The key of its action.
    pub key: String,
}

impl MeasuredModel {
    /// The key of one part.
    pub fn key(&self, kind: &str, reward: Option<&str>) -> Option<&str> {
        let is_it = |part: &&MeasuredPart| {
            part.kind == kind && part.reward.as_ref().map(ArtifactName::to_string).as_deref() == reward
        };
        self.parts.iter().find(is_it).map(|part| part.key.as_str())
    }
}

/// Every model that was measured, in the order in which the run came to it.
pub fn measured(run: &RunState) -> Vec<MeasuredModel> {
    let mut models: Vec<MeasuredModel> = Vec::new();
    for stage in &run.stages {
        for action in &stage.actions {
            let Some((part, label)) = action.part.as_ref().and_then(|part| Some((part, part.model.as_ref()?))) else {
                continue;
            };
            if !matches!(action.state, ActionState::Hit | ActionState::Finished { .. }) {
                continue;
            }
            let by = part.judge.clone().unwrap_or_else(|| judge(stage));
            let is_own = by == stage.head.name;
            let part = MeasuredPart { kind: part.kind.clone(), reward: part.by.clone(), key: action.key.clone() };
            match models.iter_mut().find(|model| model.label == *label && model.by == by) {
                None => models.push(MeasuredModel { label: label.clone(), by, parts: vec![part], own: None }),
                Some(model) => {
                    let known =
                        model.parts.iter_mut().find(|known| known.kind == part.kind && known.reward == part.reward);
                    match known {
                        None => model.parts.push(part),
                        // What the eval measured itself counts before what it measured for a gate.
                        Some(known) if is_own => *known = part,
                        Some(_) => {}
                    }
                }
            }
        }
    }
    models.extend(run.stages.iter().flat_map(by_itself));
    models
}

/// The artifacts that the gate of a command compared by the items that commands wrote.
fn by_itself(stage: &StageRun) -> Vec<MeasuredModel> {
    let is_command = kinds::kind(&stage.head.kind).is_some_and(|kind| kind.is_command());
    let Some(verdict) = stage.verdict.as_deref().filter(|_| is_command) else { return Vec::new() };
    let Evidence { candidates, incumbent, stages, .. } = &verdict.evidence;
    let seen = candidates.iter().chain(incumbent).chain(stages.values()).filter(|seen| seen.judged.is_empty());
    let of = |seen: &ArtifactEvidence| MeasuredModel {
        label: seen.label.clone(),
        by: stage.head.name.clone(),
        parts: Vec::new(),
        own: seen.table.clone(),
    };
    seen.map(of).filter(|model| model.own.is_some()).collect()
}

/// The stage that a stage's models were measured by: the only judge of its gate, or itself.
fn judge(stage: &StageRun) -> String {
    let verdict = stage.verdict.as_ref();
    let seen =
        verdict.and_then(|verdict| verdict.evidence.candidates.iter().find_map(|seen| seen.judged.keys().next()));
    seen.unwrap_or(&stage.head.name).clone()
}
