//! Draws of models: an action for each draw of each model from each block of rows, its score, and the action that puts them
//! together. A stage with more draws, or with more rows, finds those that were made before.

use super::gather;
use super::lookup::{self, Lookup, Step, all};
use super::state::{Artifact, KeyedAction};
use crate::action::{Action, ActionInput};
use crate::cause::EvalPart;
use cache::Content;
use serde_json::{Value, json};
use stages::stage::{DrawActions, Kind};
use std::collections::BTreeMap;

/// The action that puts the draws together, once all of them are there.
pub fn joining(lookup: &mut Lookup, actions: &DrawActions) -> Step<KeyedAction> {
    let stage = lookup.stage();
    // Work that cannot be judged is not begun.
    let can_judge = stage.gate.as_ref().map_or(Ok(()), |gate| gather::can_judge(lookup, gate));
    let of_port = |name: &str| stage.inputs.iter().find(|input| input.port == name);
    let models = of_port(actions.port).map_or(Ok(Vec::new()), |input| lookup.artifacts(input));
    let reward = of_port(actions.reward).map(|input| lookup.input(input)).transpose();
    let (models, reward) = lookup::both(models, reward)?;
    let others = stage.inputs.iter().filter(|input| input.port != actions.port && input.port != actions.reward);
    let others = all(others.map(|input| Ok((input.port.clone(), lookup.input(input)?))));
    let (others, ()) = lookup::both(others, can_judge)?;
    let given = stage.parameters.value();
    let mut others: BTreeMap<String, ActionInput> = others.into_iter().collect();
    let rows = others.remove(actions.rows).into_iter().map(|rows| (actions.rows.to_owned(), rows)).collect();
    let blocks = lookup::keyed(action(lookup, actions.block, &given, None, rows))?;
    let blocks = lookup.obtain(Some(EvalPart::of_kind(actions.block.name)), blocks, lookup.id)?;
    let blocks = blocks.record.candidates.iter().map(|block| block.content.clone()).collect();
    let drawing = Drawing { actions, others, reward, given, blocks };
    let found = models.iter().map(|model| drawing.of_model(lookup, model)).collect::<Vec<_>>();
    let found: Vec<DrawnAnswers> = all(found)?.into_iter().flatten().collect();
    let mut inputs = BTreeMap::new();
    let scores: Vec<Content> = found.iter().filter_map(|draw| draw.scores.clone()).collect();
    inputs.insert("draws".to_owned(), ActionInput::Many(found.into_iter().map(|draw| draw.answers).collect()));
    if !scores.is_empty() {
        inputs.insert("scores".to_owned(), ActionInput::Many(scores));
    }
    lookup::keyed(action(lookup, actions.join, &drawing.given, None, inputs))
}

/// The content of a draw, and that of its scores.
struct DrawnAnswers {
    answers: Content,
    scores: Option<Content>,
}

/// A stage that draws, with its inputs resolved.
struct Drawing<'a> {
    actions: &'a DrawActions,
    /// On the ports that every draw reads.
    others: BTreeMap<String, ActionInput>,
    reward: Option<ActionInput>,
    /// The parameters of the stage.
    given: Value,
    /// The rows, block by block.
    blocks: Vec<Content>,
}

impl Drawing<'_> {
    /// Draw by draw, in the order of the blocks.
    fn of_model(&self, lookup: &mut Lookup, model: &Artifact) -> Step<Vec<DrawnAnswers>> {
        let count = self.given[self.actions.count].as_u64().unwrap_or_default();
        let of_block = |block| self.of_block(lookup, model, block, count);
        let found: Vec<Vec<DrawnAnswers>> = all((0..self.blocks.len()).map(of_block).collect::<Vec<_>>())?;
        let mut blocks: Vec<_> = found.into_iter().map(Vec::into_iter).collect();
        Ok((0..count).flat_map(|_| blocks.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect())
    }

    fn of_block(&self, lookup: &mut Lookup, model: &Artifact, block: usize, count: u64) -> Step<Vec<DrawnAnswers>> {
        let named = |number| NamedDraw { block, number };
        if self.given[self.actions.chained] != json!(true) {
            let found = (0..count).map(|number| self.draw(lookup, model, named(number), &[])).collect::<Vec<_>>();
            return all(found);
        }
        let (mut before, mut found) = (Vec::new(), Vec::new());
        for number in 0..count {
            let draw = self.draw(lookup, model, named(number), &before)?;
            before.push(draw.answers.clone());
            found.push(draw);
        }
        Ok(found)
    }

    fn draw(&self, lookup: &mut Lookup, model: &Artifact, draw: NamedDraw, before: &[Content]) -> Step<DrawnAnswers> {
        let mut inputs = self.others.clone();
        inputs.insert("model".to_owned(), ActionInput::One(model.content.clone()));
        inputs.insert(self.actions.rows.to_owned(), ActionInput::One(self.blocks[draw.block].clone()));
        if !before.is_empty() {
            inputs.insert("before".to_owned(), ActionInput::Many(before.to_vec()));
        }
        let answers = self.obtain(lookup, self.actions.draw, model, draw, inputs)?;
        let Some(reward) = &self.reward else { return Ok(DrawnAnswers { answers, scores: None }) };
        let inputs = [("answers", ActionInput::One(answers.clone())), ("reward", reward.clone())];
        let inputs = inputs.map(|(port, input)| (port.to_owned(), input)).into();
        let scores = Some(self.obtain(lookup, self.actions.score, model, draw, inputs)?);
        Ok(DrawnAnswers { answers, scores })
    }

    fn obtain(
        &self,
        lookup: &mut Lookup,
        kind: &Kind,
        model: &Artifact,
        draw: NamedDraw,
        inputs: BTreeMap<String, ActionInput>,
    ) -> Step<Content> {
        let NamedDraw { block, number } = draw;
        let of = if self.blocks.len() > 1 { format!(", block {}", block + 1) } else { String::new() };
        let part = EvalPart::new(kind.name, &model.label, None, Some(&format!("draw {}{of}", number + 1)));
        let action = lookup::keyed(action(lookup, kind, &self.given, Some(number), inputs))?;
        Ok(lookup.obtain(Some(part), action, lookup.id)?.record.last().content.clone())
    }
}

/// The number of a draw, and the place of its block.
#[derive(Clone, Copy)]
struct NamedDraw {
    block: usize,
    number: u64,
}

/// The action of a kind with the parameters that it shares with the stage, and the number of its draw.
fn action(
    lookup: &Lookup,
    kind: &Kind,
    given: &Value,
    number: Option<u64>,
    inputs: BTreeMap<String, ActionInput>,
) -> Action {
    let mut parameters = kind.shared_parameters(given);
    if let (Some(number), Some(draw)) = (number, parameters.get_mut("draw")) {
        *draw = number.into();
    }
    Action {
        kind: kind.name.to_owned(),
        version: kind.version,
        parameters: parameters.into(),
        seed: lookup.stage().seed.filter(|_| kind.draws),
        inputs,
        salt: lookup.plan.salt.clone(),
    }
}
