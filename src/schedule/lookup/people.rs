//! Labels of people, and actions of a stage that are not its own.

use super::{Lookup, Query, Step, all, fails};
use crate::action::Action;
use cache::Content;
use stages::stage::Kind;

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

    /// The action of a stage, with every input resolved to content; or of another kind, with those of its inputs that it
    /// has ports for.
    pub fn action_of(&mut self, part: Option<&Kind>) -> Step<Action> {
        let stage = self.stage();
        let kind = part.unwrap_or(stage.kind);
        let inputs = stage.inputs.iter().filter(|input| part.is_none_or(|part| part.port(&input.port).is_some()));
        let inputs = all(inputs.map(|input| Ok((input.port.clone(), self.input(input)?))))?;
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
