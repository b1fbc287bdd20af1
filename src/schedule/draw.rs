//! Draws of models: an action for each draw of each model, its score, and the action that puts them together. A stage with
//! more draws finds those that were made before.

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
    let (models, reward) = lookup::both(models, lookup.on_port(stage, actions.reward))?;
    let others = stage.inputs.iter().filter(|input| input.port != actions.port && input.port != actions.reward);
    let others = all(others.map(|input| Ok((input.port.clone(), lookup.input(input)?))));
    let (others, ()) = lookup::both(others, can_judge)?;
    let given = stage.parameters.value();
    let drawing = Drawing { actions, others: others.into_iter().collect(), reward, given };
    let found = models.iter().map(|model| drawing.of_model(lookup, model)).collect::<Vec<_>>();
    let found: Vec<DrawnAnswers> = all(found)?.into_iter().flatten().collect();
    let mut inputs = BTreeMap::new();
    let scores: Vec<Content> = found.iter().filter_map(|draw| draw.scores.clone()).collect();
    inputs.insert("draws".to_owned(), ActionInput::Many(found.into_iter().map(|draw| draw.answers).collect()));
    if !scores.is_empty() {
        inputs.insert("scores".to_owned(), ActionInput::Many(scores));
    }
    lookup::keyed(drawing.action(lookup, actions.join, None, inputs))
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
    reward: Option<Artifact>,
    /// The parameters of the stage.
    given: Value,
}

impl Drawing<'_> {
    fn of_model(&self, lookup: &mut Lookup, model: &Artifact) -> Step<Vec<DrawnAnswers>> {
        let count = self.given[self.actions.count].as_u64().unwrap_or_default();
        if self.given[self.actions.chained] != json!(true) {
            let found = (0..count).map(|number| self.draw(lookup, model, number, &[])).collect::<Vec<_>>();
            return all(found);
        }
        let (mut before, mut found) = (Vec::new(), Vec::new());
        for number in 0..count {
            let draw = self.draw(lookup, model, number, &before)?;
            before.push(draw.answers.clone());
            found.push(draw);
        }
        Ok(found)
    }

    fn draw(&self, lookup: &mut Lookup, model: &Artifact, number: u64, before: &[Content]) -> Step<DrawnAnswers> {
        let mut inputs = self.others.clone();
        inputs.insert("model".to_owned(), ActionInput::One(model.content.clone()));
        if !before.is_empty() {
            inputs.insert("before".to_owned(), ActionInput::Many(before.to_vec()));
        }
        let answers = self.obtain(lookup, self.actions.draw, model, number, inputs)?;
        let Some(reward) = &self.reward else { return Ok(DrawnAnswers { answers, scores: None }) };
        let inputs = [("answers", answers.clone()), ("reward", reward.content.clone())];
        let inputs = inputs.map(|(port, content)| (port.to_owned(), ActionInput::One(content))).into();
        let scores = Some(self.obtain(lookup, self.actions.score, model, number, inputs)?);
        Ok(DrawnAnswers { answers, scores })
    }

    fn obtain(
        &self,
        lookup: &mut Lookup,
        kind: &Kind,
        model: &Artifact,
        number: u64,
        inputs: BTreeMap<String, ActionInput>,
    ) -> Step<Content> {
        let part = EvalPart::new(kind.name, &model.label, None, Some(&format!("draw {}", number + 1)));
        let action = lookup::keyed(self.action(lookup, kind, Some(number), inputs))?;
        Ok(lookup.obtain(Some(part), action, lookup.id)?.record.last().content.clone())
    }

    fn action(
        &self,
        lookup: &Lookup,
        kind: &Kind,
        number: Option<u64>,
        inputs: BTreeMap<String, ActionInput>,
    ) -> Action {
        let mut parameters = kind.shared_parameters(&self.given);
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
}
