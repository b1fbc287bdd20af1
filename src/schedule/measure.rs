//! A model under the yardstick of an eval stage: three cached actions (DESIGN §1), none of which knows the model it
//! will be compared with. Knows nothing of gates.

use super::Artifact;
use super::desk::{Desk, Known, Step, all, both, fails};
use crate::action::{Action, ActionInput};
use crate::event::Metrics;
use crate::gate::Item;
use crate::plan::StageId;
use cache::Content;
use serde_json::Value;
use stages::stage::{Parts, Work};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An eval stage with every port but `policy` resolved.
pub struct Yardstick {
    pub eval: StageId,
    parts: Parts,
    prompts: Content,
    rewards: Vec<Artifact>,
    pub baseline: Option<Artifact>,
}

impl Yardstick {
    pub fn reward_labels(&self) -> Vec<String> {
        self.rewards.iter().map(|reward| reward.label.clone()).collect()
    }
}

#[derive(Clone, Debug)]
pub struct Measurement {
    /// Of all three parts; the first reward's scores only.
    pub metrics: Metrics,
    pub items: Arc<Vec<Item>>,
    pub answers: Content,
    pub scores: Content,
}

/// For the eval itself with all its rewards; for a stage it judges with the first alone, so that a candidate waits for
/// no reward model that has no part in its judgement.
pub fn yardstick(desk: &Desk, eval: StageId) -> Step<Yardstick> {
    let stage = &desk.plan.stages[eval];
    let Work::Measure(parts) = stage.kind.work else {
        return fails(format!("judge by `{}`: a stage of kind `{}` measures nothing", stage.name, stage.kind.name));
    };
    let count = if desk.id == eval { usize::MAX } else { 1 };
    let rewards = stage.inputs.iter().filter(|input| input.port == "reward").flat_map(|input| &input.sources);
    let rewards = rewards.take(count).map(|source| desk.artifact(source));
    let data = both(desk.on_port(stage, "prompts"), desk.on_port(stage, "baseline"));
    let (rewards, (prompts, baseline)) = both(all(rewards), data)?;
    let (Some(prompts), false) = (prompts, rewards.is_empty()) else {
        return fails(format!("measure by `{}`: it needs `prompts` and a `reward`", stage.name));
    };
    Ok(Yardstick { eval, parts: parts(&stage.parameters), prompts: prompts.content, rewards, baseline })
}

/// `label` only names the model in the journal.
pub fn measure(desk: &mut Desk, yardstick: &Yardstick, model: &Content, label: &str) -> Step<Measurement> {
    let inputs = [("model", model), ("prompts", &yardstick.prompts)];
    let answers = part(desk, yardstick, "answers", &yardstick.parts.answers, &inputs, &format!("answers of {label}"))?;
    let said = answers.record.last().content.clone();
    let scores = scores(desk, yardstick, 0, &said, &format!("scores of {label}"));
    let divergence = yardstick.baseline.as_ref().map(|baseline| {
        let inputs = [("answers", &said), ("model", model), ("baseline", &baseline.content)];
        let name = format!("divergence of {label}");
        part(desk, yardstick, "divergence", &yardstick.parts.divergence, &inputs, &name)
    });
    let known = all([scores].into_iter().chain(divergence))?;
    let Some(items) = known[0].items.clone() else {
        return fails(format!("read the scores of {label}: they have no rows"));
    };
    let metrics = [&answers].into_iter().chain(&known).flat_map(|known| known.record.last().metrics.clone()).collect();
    Ok(Measurement { metrics, items, scores: known[0].record.last().content.clone(), answers: said })
}

/// `mean_score_2`, `score_sd_2`, …: what the second reward and the following make of the same answers.
pub fn further_scores(desk: &mut Desk, yardstick: &Yardstick, answers: &Content, label: &str) -> Step<Metrics> {
    let further = (1..yardstick.rewards.len()).map(|n| {
        let name = format!("scores of {label} by {}", yardstick.rewards[n].label);
        let known = scores(desk, yardstick, n, answers, &name)?;
        let metrics = &known.record.last().metrics;
        Ok(metrics.iter().map(|(name, value)| (format!("{name}_{}", n + 1), *value)).collect::<Metrics>())
    });
    Ok(all(further.collect::<Vec<_>>())?.into_iter().flatten().collect())
}

fn scores(desk: &mut Desk, yardstick: &Yardstick, reward: usize, answers: &Content, name: &str) -> Step<Known> {
    let inputs = [("answers", answers), ("reward", &yardstick.rewards[reward].content)];
    part(desk, yardstick, "scores", &yardstick.parts.scores, &inputs, name)
}

fn part(
    desk: &mut Desk,
    yardstick: &Yardstick,
    kind: &str,
    parameters: &Value,
    inputs: &[(&str, &Content)],
    name: &str,
) -> Step<Known> {
    let Some(kind) = stages::kinds::kind_or_part(kind) else {
        return fails(format!("find the kind `{kind}`: there is none"));
    };
    let one = |(port, content): &(&str, &Content)| ((*port).to_owned(), ActionInput::One((*content).clone()));
    let action = Action {
        kind: kind.name.to_owned(),
        version: kind.version,
        parameters: parameters.clone(),
        seed: None,
        inputs: inputs.iter().map(one).collect::<BTreeMap<_, _>>(),
        salt: desk.plan.salt.clone(),
    };
    desk.obtain(Some(name), action, yardstick.eval)
}
