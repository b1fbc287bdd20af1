//! The checkpoint a killed stage resumes from: the optimiser with its tensors, and the state of the training.

use super::adam::Adam;
use crate::io::Io;
use crate::rl;
use crate::tensor::{from_values, values_of_all};
use anyhow::{Context, Result};
use burn::tensor::Tensor;
use formats::dtype::Dtype;
use formats::weights;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// `state.json`: the state of a stage apart from its tensors. Draws are named, so no state of a generator is kept.
#[derive(Serialize, Deserialize)]
struct State<T> {
    step: u64,
    optimiser_steps: u64,
    rest: T,
}

/// The state of the training loop apart from the trained tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredState", into = "StoredState")]
pub struct TrainState {
    /// Losses of the steps since the last candidate.
    pub losses: Vec<f64>,
    /// log π_ref of all answers; empty for an objective without a reference.
    pub references: Vec<f64>,
    /// Tokens trained on so far; 0 for kinds that do not count them.
    pub tokens: u64,
}

impl TrainState {
    /// Mean loss since the last candidate.
    pub fn loss(&self) -> f64 {
        rl::mean(&self.losses)
    }
}

/// The forms of a [`TrainState`] on disk, one per set of fields.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredState {
    Losses(Vec<f64>),
    Compared { losses: Vec<f64>, references: Vec<f64> },
    Counted(u64, Vec<f64>),
}

impl From<TrainState> for StoredState {
    fn from(TrainState { losses, references, tokens }: TrainState) -> StoredState {
        match (references.is_empty(), tokens) {
            (true, 0) => StoredState::Losses(losses),
            (true, tokens) => StoredState::Counted(tokens, losses),
            (false, _) => StoredState::Compared { losses, references },
        }
    }
}

impl From<StoredState> for TrainState {
    fn from(saved: StoredState) -> TrainState {
        match saved {
            StoredState::Losses(losses) => TrainState { losses, ..TrainState::default() },
            StoredState::Compared { losses, references } => TrainState { losses, references, tokens: 0 },
            StoredState::Counted(tokens, losses) => TrainState { losses, tokens, references: Vec::new() },
        }
    }
}

/// Saves everything the next attempt needs to go on after `step` as if nothing had happened: at the step of every
/// candidate, and whenever a checkpoint is due. Draws are named, so the time of saving changes no result. Nothing is
/// saved after the last step, where the stage is about to end.
pub fn checkpoint<T: Serialize>(
    io: &mut Io,
    step: u64,
    total: u64,
    is_candidate: bool,
    adam: &Adam,
    rest: &T,
) -> Result<()> {
    if step == total {
        return Ok(());
    }
    // Asked in every step, candidate or not: a stage that never asked is ended by SIGTERM at once.
    let is_due = io.is_checkpoint_due();
    if !(is_candidate || is_due) {
        return Ok(());
    }
    let mut tensors = BTreeMap::new();
    let lists = adam.lists();
    let named = lists.iter().flat_map(|(name, list)| list.iter().enumerate().map(move |one| (name, one)));
    let values = values_of_all(lists.iter().flat_map(|(_, list)| list.iter().cloned()))?;
    for ((name, (index, tensor)), values) in named.zip(values) {
        tensors.insert(format!("{name}.{index}"), (values, tensor.dims().to_vec()));
    }
    let state = State { step, optimiser_steps: adam.steps, rest };
    io.save_checkpoint(step, |directory| {
        weights::write(&tensors, Dtype::F32, &directory.join("state.safetensors"))?;
        fs::write(directory.join("state.json"), serde_json::to_vec(&state)?).context("write state.json")
    })
}

/// Reads the checkpoint of an earlier attempt into `adam`, and returns the next step with the rest of the state. A
/// checkpoint that cannot be read costs the work it held, but does not fail the stage.
pub fn resume<T: for<'a> Deserialize<'a>>(io: &mut Io, adam: &mut Adam) -> Result<Option<(u64, T)>> {
    let Some(directory) = io.resume_from()? else { return Ok(None) };
    match read_state(&directory, adam) {
        Ok((step, rest)) => {
            tracing::info!("resuming after step {step}");
            Ok(Some((step, rest)))
        }
        Err(error) => {
            tracing::warn!("starting anew, not from the checkpoint: {error:#}");
            io.start_anew()?;
            Ok(None)
        }
    }
}

/// Changes `adam` only after everything was read.
fn read_state<T: for<'a> Deserialize<'a>>(directory: &Path, adam: &mut Adam) -> Result<(u64, T)> {
    let read = |name: &str| fs::read(directory.join(name)).with_context(|| format!("read {name}"));
    let state: State<T> = serde_json::from_slice(&read("state.json")?).context("read state.json")?;
    let bytes = read("state.safetensors")?;
    let file = SafeTensors::deserialize(&bytes).context("read state.safetensors")?;
    let device = adam.tensors.first().map(Tensor::device).context("nothing is trained")?;
    let lists = adam.lists().map(|(name, list)| -> Result<Vec<Tensor<2>>> {
        let one = |(index, tensor): (usize, &Tensor<2>)| {
            let values = weights::tensor(&file, &format!("{name}.{index}"), tensor.dims())?;
            Ok(from_values(values, tensor.dims(), &device))
        };
        list.iter().enumerate().map(one).collect()
    });
    let [tensors, means, squares, averages] = lists;
    (adam.tensors, adam.means, adam.squares, adam.averages) = (tensors?, means?, squares?, averages?);
    adam.steps = state.optimiser_steps;
    Ok((state.step, state.rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_from_each_form_in_which_it_is_written() {
        let losses = vec![0.5, 0.1 + 0.2];
        let plain = TrainState { losses, ..TrainState::default() };
        let compared = TrainState { references: vec![-1.25], ..plain.clone() };
        let counted = TrainState { tokens: 7, ..plain.clone() };
        for (state, text) in [
            (TrainState::default(), "[]"),
            (plain, "[0.5,0.30000000000000004]"),
            (compared, r#"{"losses":[0.5,0.30000000000000004],"references":[-1.25]}"#),
            (counted, "[7,[0.5,0.30000000000000004]]"),
        ] {
            assert_eq!(serde_json::to_string(&state).unwrap(), text);
            assert_eq!(serde_json::from_str::<TrainState>(text).unwrap(), state);
        }
    }
}
