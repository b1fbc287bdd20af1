//! The model that a kind trains, as every device of a stage has it.

use super::forward::Pass;
use super::late::{Late, ShardGradients};
use super::parameters::Passes;
use super::team::{Team, shards};
use crate::model::{Adapter, Decoder, Trainable, weights};
use anyhow::Result;
use burn::tensor::{Device, Tensor};
use std::ops::Range;

/// A model, and the adapter on it that is trained; without one, its weights are.
pub struct Trainee {
    model: Decoder,
    start: Option<Adapter>,
}

impl Trainee {
    pub fn of_adapter(model: &Decoder, start: &Adapter) -> Trainee {
        Trainee { model: model.clone(), start: Some(start.clone()) }
    }

    pub fn of_weights(model: &Decoder) -> Trainee {
        Trainee { model: model.clone(), start: None }
    }

    /// A copy on another device.
    ///
    /// # Errors
    /// A device cannot be read.
    pub fn on(&self, device: &Device) -> Result<Trainee> {
        let start = self.start.as_ref().map(|start| start.on(&self.model.config, device)).transpose()?;
        Ok(Trainee { model: weights::on(&self.model, device)?, start })
    }

    /// The model and the adapter with these tensors.
    pub fn with(&self, tensors: &[Tensor<2>]) -> (Decoder, Option<Adapter>) {
        match &self.start {
            Some(start) => (self.model.clone(), Some(start.with_tensors(tensors))),
            None => (weights::with_tensors(&self.model, tensors), None),
        }
    }
}

impl Team<Trainee> {
    /// The loss of a batch and its gradients. `one` gets a way through the model, and the places of the rows of a shard; what
    /// it returns is added up.
    ///
    /// # Errors
    /// As [`Team::share`].
    pub fn learn(
        &self,
        tensors: &[Tensor<2>],
        rows: usize,
        passes: &Passes,
        one: impl Fn(Pass, Range<usize>) -> Result<ShardGradients<'static, f64>> + Sync,
    ) -> Result<ShardGradients<'static, f64>> {
        let places: Vec<Range<usize>> = shards(rows, passes.shards()).collect();
        let (losses, gradients) = self.gradients(tensors, places.len(), |trained, tensors, shard| {
            let (model, adapter) = trained.with(tensors);
            let trained = if adapter.is_some() { Trainable::Adapter } else { Trainable::Weights };
            let pass = Pass { model: &model, adapter: adapter.as_ref(), trained, recomputes: passes.recompute };
            one(pass, places[shard].clone())
        })?;
        let sum = move || losses.into_iter().try_fold(0.0, |sum, loss| Ok(sum + loss.get()?));
        Ok((Late::Later(Box::new(sum)), gradients))
    }
}
