//! Inputs of a stage, by what is connected to its ports.

use super::super::state::Artifact;
use super::{Lookup, Step, all, fails};
use crate::action::{ActionInput, RowsInput};
use crate::plan::{Input, Stage};
use cache::{Content, Digest};
use stages::stage::Accepts;

impl Lookup<'_> {
    /// All that is connected to a port.
    pub fn input(&mut self, input: &Input) -> Step<ActionInput> {
        let artifacts = self.artifacts(input)?;
        let reads_rows =
            self.stage().kind.port(&input.port).is_some_and(|port| matches!(port.accepts, Accepts::Data(_)));
        if let Some(empty) = artifacts.iter().find(|artifact| reads_rows && is_empty(&artifact.content)) {
            return fails(format!("take `{}`: it is empty, there is no row for `{}`", empty.label, input.port));
        }
        let mut contents = artifacts.into_iter().map(|artifact| artifact.content);
        if !input.readings.is_empty() {
            let rows = input.readings.iter().map(|reading| RowsInput {
                files: contents.by_ref().take(reading.sources).collect(),
                options: reading.options.clone(),
            });
            return Ok(ActionInput::Rows(rows.collect()));
        }
        let mut contents: Vec<Content> = contents.collect();
        Ok(match (input.is_list, contents.len()) {
            (false, 1) => ActionInput::One(contents.remove(0)),
            _ => ActionInput::Many(contents),
        })
    }

    pub fn artifacts(&mut self, input: &Input) -> Step<Vec<Artifact>> {
        all(input.sources.iter().map(|source| self.artifact(source)))
    }

    /// The first artifact connected to a port.
    pub fn on_port(&mut self, stage: &Stage, port: &str) -> Step<Option<Artifact>> {
        let source = stage.inputs.iter().find(|input| input.port == port).and_then(|input| input.sources.first());
        source.map(|source| self.artifact(source)).transpose()
    }
}

/// Whether it is a file without a byte.
fn is_empty(content: &Content) -> bool {
    matches!(content, Content::File { blob, .. } if *blob == Digest::of(b""))
}
