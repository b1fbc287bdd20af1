//! A model under the yardstick of an eval stage: three cached actions (DESIGN §1), none of which knows the model it
//! will be compared with. Knows nothing of gates.

use super::desk::{Desk, Known, Step, all, both, fails, keyed};
use super::state::{Artifact, Measurement};
use crate::action::{Action, ActionInput};
use crate::cause::EvalPart;
use crate::event::{Metrics, SeenBy, Table};
use crate::plan::{ArtifactName, StageId};
use cache::Content;
use serde_json::Value;
use stages::stage::{Parts, Work};
use std::collections::BTreeMap;

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
        self.rewards.iter().map(|reward| reward.label.to_string()).collect()
    }
}

impl Measurement {
    /// Texts and the first reward's scores.
    pub fn scores_table(&self) -> Table {
        table(&self.scores, "scores", "")
    }
}

/// Where a part's record keeps its rows.
fn table(content: &Content, part: &str, suffix: &str) -> Table {
    Table { content: content.clone(), file: format!("{part}.jsonl"), suffix: suffix.to_owned() }
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
    Ok(Yardstick { eval, parts: parts(&stage.parameters.value()), prompts: prompts.content, rewards, baseline })
}

/// `label` only names the model in the journal.
pub fn measure(desk: &mut Desk, yardstick: &Yardstick, model: &Content, label: &ArtifactName) -> Step<Measurement> {
    // Under several judges each measurement says whose it is.
    let is_one_of_many = desk.stage().gate.as_ref().is_some_and(|gate| gate.judges.len() > 1);
    let by = if is_one_of_many { format!(" for {}", desk.plan.stages[yardstick.eval].name) } else { String::new() };
    let inputs = [("model", model), ("prompts", &yardstick.prompts)];
    let answers = part(desk, yardstick, "answers", &yardstick.parts.answers, &inputs, format!("{label}{by}"))?;
    let said = answers.record.last().content.clone();
    let scores = scores(desk, yardstick, 0, &said, format!("{label}{by}"));
    let divergence = yardstick.baseline.as_ref().map(|baseline| {
        let inputs = [("answers", &said), ("model", model), ("baseline", &baseline.content)];
        part(desk, yardstick, "divergence", &yardstick.parts.divergence, &inputs, format!("{label}{by}"))
    });
    let known = all([scores].into_iter().chain(divergence))?;
    let parts: Vec<&Known> = [&answers].into_iter().chain(&known).collect();
    let metrics = parts.iter().flat_map(|known| known.record.last().metrics.clone()).collect();
    let tables = parts.iter().zip(["answers", "scores", "divergence"]);
    let tables = tables.map(|(known, part)| table(&known.record.last().content, part, "")).collect();
    let scores = known[0].record.last().content.clone();
    Ok(Measurement { seen: SeenBy { metrics, tables }, scores, answers: said })
}

/// `mean_score_2`, `score_sd_2`, …: what the second reward and the following make of the same answers.
pub fn further_scores(desk: &mut Desk, yardstick: &Yardstick, answers: &Content, label: &ArtifactName) -> Step<SeenBy> {
    let further = (1..yardstick.rewards.len()).map(|n| {
        let subject = format!("{label} by {}", yardstick.rewards[n].label);
        let known = scores(desk, yardstick, n, answers, subject)?;
        let (last, suffix) = (known.record.last(), format!("_{}", n + 1));
        let metrics = last.metrics.iter().map(|(name, value)| (format!("{name}{suffix}"), *value)).collect::<Metrics>();
        Ok((metrics, table(&last.content, "scores", &suffix)))
    });
    let (metrics, tables): (Vec<Metrics>, Vec<Table>) = all(further.collect::<Vec<_>>())?.into_iter().unzip();
    Ok(SeenBy { metrics: metrics.into_iter().flatten().collect(), tables })
}

fn scores(desk: &mut Desk, yardstick: &Yardstick, reward: usize, answers: &Content, subject: String) -> Step<Known> {
    let inputs = [("answers", answers), ("reward", &yardstick.rewards[reward].content)];
    part(desk, yardstick, "scores", &yardstick.parts.scores, &inputs, subject)
}

fn part(
    desk: &mut Desk,
    yardstick: &Yardstick,
    kind: &str,
    parameters: &Value,
    inputs: &[(&str, &Content)],
    subject: String,
) -> Step<Known> {
    let Some(kind) = stages::kinds::kind_or_part(kind) else {
        return fails(format!("find the kind `{kind}`: there is none"));
    };
    let one = |(port, content): &(&str, &Content)| ((*port).to_owned(), ActionInput::One((*content).clone()));
    let action = Action {
        kind: kind.name.to_owned(),
        version: kind.version,
        parameters: parameters.clone().into(),
        seed: None,
        inputs: inputs.iter().map(one).collect::<BTreeMap<_, _>>(),
        salt: desk.plan.salt.clone(),
    };
    let part = EvalPart { kind: kind.name.to_owned(), subject };
    desk.obtain(Some(part), keyed(action)?, yardstick.eval)
}
