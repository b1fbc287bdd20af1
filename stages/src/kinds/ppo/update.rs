//! Epochs of minibatches on the clipped objective (Schulman et al. 2017, alg. 1).

use super::models::Models;
use super::parameters::{KlPlace, Ppo};
use super::rollout::{Estimates, Rollout, explained, minibatches};
use crate::draw::Draw;
use crate::kernel::TokenGradients;
use crate::rl::{self, RatioStatistics};
use crate::train::{self, Adam, Pass, Passes, Sequence, ValuePositions};
use anyhow::Result;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub struct Update<'a> {
    pub parameters: &'a Ppo,
    pub models: &'a Models,
    pub rollout: &'a Rollout,
    pub estimates: &'a Estimates,
    pub beta: f64,
    pub step: u64,
    /// Learning rate.
    pub rate: f64,
    /// Draws the order of the answers, in all epochs but the first.
    pub order: Draw,
    /// Names answers in messages.
    pub names: &'a dyn Fn(&[usize]) -> String,
}

/// Statistics of the optimiser steps of one update.
pub struct UpdateOutcome {
    pub loss: f64,
    pub norm: f64,
    pub value_loss: f64,
    /// Statistics of the ratios in the last epoch.
    pub ratio: RatioStatistics,
    pub first_ratio_error: f64,
}

/// The progress of an update: the steps before it need not be repeated.
#[derive(Default, Serialize, Deserialize)]
pub struct UpdateProgress {
    epoch: u64,
    minibatch: usize,
    /// Sums over the present epoch.
    sums: Sums,
    loss: f64,
    norm: f64,
    first_ratio_error: f64,
}

impl UpdateProgress {
    pub fn has_begun(&self) -> bool {
        (self.epoch, self.minibatch) != (0, 0)
    }
}

/// Sums of one optimiser step, in the order of its parts.
#[derive(Default, Serialize, Deserialize)]
struct Sums {
    loss: f64,
    value_loss: f64,
    new: Vec<f64>,
    old: Vec<f64>,
    advantages: Vec<f64>,
}

impl Update<'_> {
    /// Runs the update from `progress` on. `pause` is called after every optimiser step, and may stop there.
    pub fn run(
        &self,
        adam: &mut Adam,
        mut progress: UpdateProgress,
        mut pause: impl FnMut(&Adam, &UpdateProgress) -> Result<()>,
    ) -> Result<UpdateOutcome> {
        let Update { parameters, rollout, step, .. } = *self;
        for epoch in progress.epoch..parameters.epochs {
            // The first epoch keeps the order of the rollout, so the ratios of its first minibatch are 1 to the last bit.
            let order: Vec<usize> = match epoch {
                0 => (0..rollout.rows.len()).collect(),
                _ => self.order.order(step * parameters.epochs + epoch, rollout.rows.len()),
            };
            if progress.minibatch == 0 {
                progress.sums = Sums::default();
            }
            for (number, place) in minibatches(parameters).enumerate().skip(progress.minibatch) {
                let picked = &order[place];
                let (gradients, sums) = self.gradients(adam, picked)?;
                progress.loss = sums.loss;
                progress.norm =
                    adam.step(self.rate, sums.loss, gradients, || format!("answers to {}", (self.names)(picked)))?;
                if epoch == 0 && number == 0 {
                    let ratio = rl::ratio_statistics(&sums.new, &sums.old, &sums.advantages, parameters.clip);
                    progress.first_ratio_error = ratio.max_error;
                }
                let of_epoch = &mut progress.sums;
                of_epoch.value_loss += sums.value_loss / parameters.minibatches as f64;
                of_epoch.new.extend(sums.new);
                of_epoch.old.extend(sums.old);
                of_epoch.advantages.extend(sums.advantages);
                (progress.epoch, progress.minibatch) =
                    if number + 1 == parameters.minibatches { (epoch + 1, 0) } else { (epoch, number + 1) };
                pause(adam, &progress)?;
            }
        }
        let UpdateProgress { sums, loss, norm, first_ratio_error, .. } = progress;
        let ratio = rl::ratio_statistics(&sums.new, &sums.old, &sums.advantages, parameters.clip);
        Ok(UpdateOutcome { loss, norm, value_loss: sums.value_loss, ratio, first_ratio_error })
    }

    /// Metrics of the update; those of the critic only if there is one.
    pub fn metrics(&self, outcome: &UpdateOutcome) -> Vec<(&'static str, f64)> {
        let mut metrics = vec![
            ("approx_kl", outcome.ratio.approx_kl),
            ("clip_fraction", outcome.ratio.clip_fraction),
            ("ratio_max", outcome.ratio.max),
        ];
        if self.models.critic.is_some() {
            metrics.push(("value_loss", outcome.value_loss));
            metrics.push(("explained_variance", explained(self.rollout, self.estimates)));
        }
        metrics
    }

    fn gradients(&self, adam: &Adam, picked: &[usize]) -> Result<(Vec<Tensor<2>>, Sums)> {
        let Update { parameters, models, rollout, estimates, .. } = *self;
        let (actor, critic) = models.with(&adam.tensors);
        let Passes { micro_batch, recompute } = parameters.passes;
        let lengths: Vec<usize> = picked.iter().map(|row| rollout.rows[*row].completion().len()).collect();
        let weights = rl::token_weights(&lengths, parameters.average);
        // One slice per answer of the minibatch.
        let weights: Vec<&[f64]> = rl::by_row(&weights, lengths).collect();
        let (mut of_actor, mut of_critic, mut sums) = (Vec::new(), Vec::new(), Sums::default());
        let whole: Vec<usize> = picked.iter().map(|row| rollout.rows[*row].ids.len()).collect();
        for part in train::parts(&whole, micro_batch) {
            let numbers: Vec<usize> = part.iter().map(|row| picked[*row]).collect();
            let rows: Vec<&Sequence> = numbers.iter().map(|row| &rollout.rows[*row]).collect();
            let flat =
                |table: &[Vec<f64>]| -> Vec<f64> { numbers.iter().flat_map(|row| table[*row].clone()).collect() };
            let weights: Vec<f64> = part.iter().flat_map(|row| weights[*row].to_vec()).collect();
            let tokens = PartTokens {
                weights: &weights,
                old: &flat(&rollout.log_probs),
                references: &flat(&rollout.references),
                advantages: &flat(&estimates.advantages),
            };
            let pass = Pass::of_adapter(&models.policy.model, &actor, recompute);
            let more = self.learn_policy(pass, &rows, &tokens, &mut sums)?;
            train::add(&mut of_actor, more);
            sums.old.extend_from_slice(tokens.old);
            sums.advantages.extend_from_slice(tokens.advantages);
            let Some(critic) = &critic else { continue };
            let (old, returns) = (flat(&rollout.values), flat(&estimates.returns));
            let pass = Pass::of_adapter(&models.reward.0, critic, recompute);
            let (value_loss, more) = train::learn_values(pass, &rows, ValuePositions::Completion, |values| {
                let loss = rl::value_loss(values, &old, &returns, parameters.value_clip).weighted(&weights);
                let gradients = loss.gradients.iter().map(|gradient| parameters.value_coef * gradient).collect();
                (loss.losses.iter().sum(), gradients)
            })?;
            sums.value_loss += value_loss;
            sums.loss += parameters.value_coef * value_loss;
            train::add(&mut of_critic, more);
        }
        Ok(([of_actor, of_critic].concat(), sums))
    }

    fn learn_policy(
        &self,
        pass: Pass,
        rows: &[&Sequence],
        tokens: &PartTokens,
        sums: &mut Sums,
    ) -> Result<Vec<Tensor<2>>> {
        let Update { parameters, beta, .. } = *self;
        train::learn_tokens(pass, rows, parameters.temperature, |range, predicted| {
            let new = &predicted.log_probs;
            let weights = &tokens.weights[range.clone()];
            let mut loss = rl::policy_loss(
                new,
                &tokens.old[range.clone()],
                &tokens.advantages[range.clone()],
                parameters.clip,
                parameters.dual_clip,
            );
            if parameters.kl.place == KlPlace::Loss {
                loss = loss.plus(beta, &rl::kl_loss(parameters.kl.estimate, new, &tokens.references[range]));
            }
            let loss = loss.weighted(weights);
            sums.loss += loss.losses.iter().sum::<f64>();
            sums.new.extend_from_slice(new);
            let mut entropies = Vec::new();
            if parameters.entropy_coef > 0.0 {
                let bonus =
                    predicted.entropies.iter().zip(weights).map(|(entropy, weight)| entropy * weight).sum::<f64>();
                sums.loss -= parameters.entropy_coef * bonus;
                entropies = weights.iter().map(|weight| -parameters.entropy_coef * weight).collect();
            }
            Ok(TokenGradients { log_probs: loss.gradients, entropies })
        })
    }
}

/// Numbers of all tokens of a part, row after row.
struct PartTokens<'a> {
    weights: &'a [f64],
    old: &'a [f64],
    references: &'a [f64],
    advantages: &'a [f64],
}
