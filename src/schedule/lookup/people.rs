//! Labels of people, and actions of a stage that are not its own.

use super::super::{classes, measure};
use super::{Lookup, Query, Step, all, fails};
use crate::action::{Action, ActionInput};
use crate::plan::{Input, Source, StageId};
use cache::Content;
use stages::stage::{Accepts, Kind, Measure, Work};

/// The labels of a worklist that count.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelsThere {
    /// A file with all of them.
    pub set: Content,
    pub done: usize,
    pub needed: usize,
    /// The number of labels that came after they were closed.
    pub later: usize,
}

impl Lookup<'_> {
    /// The labels of a worklist that count; asks for them if not known.
    pub fn labels(&mut self, worklist: &Content) -> Step<LabelsThere> {
        match self.knowledge.labels.get(worklist) {
            Some(Ok(labels)) => Ok(labels.clone()),
            Some(Err(reason)) => fails(reason.clone()),
            None => self.ask(Query::Labels(worklist.clone())),
        }
    }

    /// The answers of the model that a stage measured. Its gate need not have opened.
    fn model_answers(&mut self, input: &Input) -> Step<ActionInput> {
        let (of, measure) = self.measuring(input)?;
        let (judge, model) = (measure::judge(self, of)?, self.on_port(&self.plan.stages[of], measure.port)?);
        let Some(model) = model else { return fails(format!("read `{}`: it measured no model", input.port)) };
        let measurement = measure::measure(self, &judge, &model.content, &model.label, None)?;
        match measure.answers.and_then(|part| measurement.parts[part].clone()) {
            Some(answers) => Ok(ActionInput::One(answers)),
            None => fails(format!("read `{}`: no model answered", input.port)),
        }
    }

    /// The measuring stage on a port.
    fn measuring(&self, input: &Input) -> Step<(StageId, &'static Measure)> {
        let Some(Source::Stage { stage, .. }) = input.sources.first() else {
            return fails(format!("read `{}`: it is no evaluation", input.port));
        };
        match self.plan.stages[*stage].kind.work {
            Work::Measure(measure) => Ok((*stage, measure)),
            _ => fails(format!("read `{}`: `{}` measures nothing", input.port, self.plan.stages[*stage].name)),
        }
    }

    /// The rows of what an evaluation measured: those of its model, and those of what it is compared with. Its gate need not
    /// have opened.
    fn evaluation(&mut self, input: &Input) -> Step<ActionInput> {
        let (of, Measure { port, .. }) = self.measuring(input)?;
        let judge = measure::judge(self, of)?;
        let compared = [self.on_port(&self.plan.stages[of], port)?, judge.baseline().cloned()];
        let measured = compared.iter().flatten().map(|artifact| {
            let measurement = measure::measure(self, &judge, &artifact.content, &artifact.label, None)?;
            Ok((artifact.label.clone(), measurement))
        });
        let measured = all(measured.collect::<Vec<_>>())?;
        let alike = classes::alike(self, &judge, measured)?;
        Ok(ActionInput::Many(alike.into_iter().map(|measurement| measurement.content).collect()))
    }

    /// The action of a stage, with every input resolved to content; or of another kind, with those of its inputs that it
    /// has ports for.
    pub fn action_of(&mut self, part: Option<&Kind>) -> Step<Action> {
        let stage = self.stage();
        let kind = part.unwrap_or(stage.kind);
        let inputs = stage.inputs.iter().filter(|input| part.is_none_or(|part| part.port(&input.port).is_some()));
        let inputs = all(inputs.map(|input| {
            let found = match kind.port(&input.port).map(|port| port.accepts) {
                Some(Accepts::Evaluation) => self.evaluation(input),
                Some(Accepts::ModelAnswers) => self.model_answers(input),
                _ => self.input(input),
            };
            Ok((input.port.clone(), found?))
        }))?;
        Ok(Action {
            kind: kind.name.to_owned(),
            version: kind.version,
            parameters: stage.parameters.clone(),
            seed: stage.seed,
            inputs: inputs.into_iter().collect(),
            salt: self.plan.salt.clone(),
        })
    }
}
