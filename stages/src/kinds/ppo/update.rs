//! Epochs of minibatches on the clipped objective (Schulman et al. 2017, alg. 1).

use super::models::Models;
use super::parameters::{KlPlace, Ppo};
use super::rollout::{Estimates, Rollout, explained, minibatches};
use crate::device::asked;
use crate::draw::Draw;
use crate::kernel::{self, LatePredictions, PolicyTerms, Slopes, TokenGradients, ValueTerms};
use crate::rl::{self, LossTerms, RatioStatistics};
use crate::train::{
    self, Adam, Forward, Gradients, HeadValues, Late, Pass, Passes, Sequence, Team, ValuePositions, ValueSlopes,
};
use anyhow::Result;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

pub struct Update<'a> {
    pub parameters: &'a Ppo,
    pub team: &'a Team<Models>,
    pub rollout: &'a Rollout,
    pub estimates: &'a Estimates,
    pub beta: f64,
    pub step: u64,
    /// Learning rate.
    pub rate: f64,
    /// Draws the order of the answers, in all epochs but the first.
    pub order: Draw,
    /// Names answers in messages.
    pub names: &'a (dyn Fn(&[usize]) -> String + Sync),
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

impl Sums {
    fn add(&mut self, more: Sums) {
        self.loss += more.loss;
        self.value_loss += more.value_loss;
        self.new.extend(more.new);
        self.old.extend(more.old);
        self.advantages.extend(more.advantages);
    }
}

impl Update<'_> {
    /// Runs the update from `progress` on; its first part may have gone `forward` before. `pause` is called after every
    /// optimiser step, and may stop there.
    pub fn run(
        &self,
        adam: &mut Adam,
        mut progress: UpdateProgress,
        mut forward: Option<Forward>,
        mut pause: impl FnMut(&Adam, &UpdateProgress) -> Result<()>,
    ) -> Result<UpdateOutcome> {
        let Update { parameters, rollout, step, .. } = *self;
        asked::note_part(|| format!("the update of step {step}"));
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
                let (told, gradients) = self.gradients(adam, picked, forward.take())?;
                let measured = Gradients::of(gradients);
                // On a device this is the one read of the step: it brings the norm as well.
                let mut sums = Sums::default();
                for shard in told {
                    sums.add(shard.get()?);
                }
                progress.loss = sums.loss;
                progress.norm =
                    adam.step(self.rate, sums.loss, measured, || format!("answers to {}", (self.names)(picked)))?;
                if epoch == 0 && number == 0 {
                    let ratio = rl::ratio_statistics(&sums.new, &sums.old, &sums.advantages, parameters.clip);
                    progress.first_ratio_error = ratio.max_error;
                }
                sums.value_loss /= parameters.minibatches as f64;
                progress.sums.add(sums);
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
        if self.team.own().critic.is_some() {
            metrics.push(("value_loss", outcome.value_loss));
            metrics.push(("explained_variance", explained(self.rollout, self.estimates)));
        }
        metrics
    }

    /// The gradients of a minibatch, and the numbers of each of its shards.
    fn gradients(
        &self,
        adam: &Adam,
        picked: &[usize],
        forward: Option<Forward>,
    ) -> Result<(Vec<Late<'_, Sums>>, Vec<Tensor<2>>)> {
        let Update { parameters, team, rollout, .. } = *self;
        let lengths: Vec<usize> = picked.iter().map(|row| rollout.rows[*row].completion().len()).collect();
        let weights = rl::token_weights(&lengths, parameters.average);
        // One slice per answer of the minibatch.
        let weights: Vec<&[f64]> = rl::by_row(&weights, lengths).collect();
        let places: Vec<Range<usize>> = train::shards(picked.len(), parameters.passes.shards()).collect();
        let forward = Mutex::new(forward);
        team.gradients(&adam.tensors, places.len(), |models, tensors, shard| {
            let place = places[shard].clone();
            let known = forward.lock().unwrap_or_else(PoisonError::into_inner).take_if(|_| shard == 0);
            let (parts, gradients) = self.of_shard(models, tensors, &picked[place.clone()], &weights[place], known)?;
            Ok((Late::Later(Box::new(move || self.sums(&parts))), gradients))
        })
    }

    /// The gradients of some answers, whose tokens have these weights, and their numbers, part by part.
    fn of_shard(
        &self,
        models: &Models,
        tensors: &[Tensor<2>],
        picked: &[usize],
        weights: &[&[f64]],
        mut forward: Option<Forward>,
    ) -> Result<(Vec<PartTokens>, Vec<Tensor<2>>)> {
        let Update { parameters, rollout, estimates, .. } = *self;
        let (actor, critic) = models.with(tensors);
        let Passes { micro_batch, recompute, .. } = parameters.passes;
        let (mut of_actor, mut of_critic, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let whole: Vec<usize> = picked.iter().map(|row| rollout.rows[*row].ids.len()).collect();
        for part in train::parts(&whole, micro_batch) {
            let numbers: Vec<usize> = part.iter().map(|row| picked[*row]).collect();
            let rows: Vec<&Sequence> = numbers.iter().map(|row| &rollout.rows[*row]).collect();
            let flat =
                |table: &[Vec<f64>]| -> Vec<f64> { numbers.iter().flat_map(|row| table[*row].clone()).collect() };
            let mut tokens = PartTokens {
                weights: part.iter().flat_map(|row| weights[*row].to_vec()).collect(),
                old: flat(&rollout.log_probs),
                references: flat(&rollout.references),
                advantages: flat(&estimates.advantages),
                old_values: Vec::new(),
                returns: Vec::new(),
                predicted: Vec::new(),
                valued: None,
            };
            let pass = Pass::of_adapter(models.policy.model(), &actor, recompute);
            let forward = forward.take().unwrap_or_else(|| Forward::of(pass, &rows));
            let more = forward.learn_tokens(pass, parameters.temperature, |range, predicted| {
                let slopes = self.policy_slopes(&tokens, range.clone(), predicted);
                tokens.predicted.push((range, predicted.clone()));
                slopes
            })?;
            train::add(&mut of_actor, more);
            if let Some((model, critic)) = models.critic.iter().zip(&critic).next() {
                (tokens.old_values, tokens.returns) = (flat(&rollout.values), flat(&estimates.returns));
                let pass = Pass::of_adapter(model.base.model(), critic, recompute);
                let (valued, more) = train::learn_values(pass, &rows, ValuePositions::Completion, |valued| {
                    Ok((valued.clone(), self.value_slopes(&tokens, valued)?))
                })?;
                tokens.valued = Some(valued);
                train::add(&mut of_critic, more);
            }
            parts.push(tokens);
        }
        Ok((parts, [of_actor, of_critic].concat()))
    }

    /// The slopes of the policy's loss by its log-probabilities: on the device where it can compute them, so that it need
    /// not wait.
    fn policy_slopes(&self, tokens: &PartTokens, range: Range<usize>, predicted: &LatePredictions) -> Result<Slopes> {
        let Update { parameters, beta, .. } = *self;
        let weights = &tokens.weights[range.clone()];
        let bonus = |weight: &f64| -parameters.entropy_coef * weight;
        let entropies = if parameters.entropy_coef > 0.0 { weights.iter().map(bonus).collect() } else { Vec::new() };
        if let LatePredictions::Coming { numbers, .. } = predicted
            && let Some(losses) = kernel::of(&numbers.device()).losses()
        {
            let in_loss = parameters.kl.place == KlPlace::Loss;
            let terms = PolicyTerms {
                old: &tokens.old[range.clone()],
                advantages: &tokens.advantages[range.clone()],
                weights,
                clip: parameters.clip,
                dual_clip: parameters.dual_clip,
                kl: in_loss.then(|| (parameters.kl.estimate, beta, &tokens.references[range])),
            };
            return Ok(Slopes::Device(losses.policy_slopes(numbers, &terms), entropies));
        }
        let log_probs = self.policy_loss(tokens, range, &predicted.get()?.log_probs).gradients;
        Ok(TokenGradients { log_probs, entropies }.into())
    }

    fn policy_loss(&self, tokens: &PartTokens, range: Range<usize>, new: &[f64]) -> LossTerms {
        let Update { parameters, beta, .. } = *self;
        let (old, advantages) = (&tokens.old[range.clone()], &tokens.advantages[range.clone()]);
        let mut loss = rl::policy_loss(new, old, advantages, parameters.clip, parameters.dual_clip);
        if parameters.kl.place == KlPlace::Loss {
            loss = loss.plus(beta, &rl::kl_loss(parameters.kl.estimate, new, &tokens.references[range.clone()]));
        }
        loss.weighted(&tokens.weights[range])
    }

    /// As [`Update::policy_slopes`], of the critic's loss by its values.
    fn value_slopes(&self, tokens: &PartTokens, valued: &HeadValues) -> Result<ValueSlopes> {
        let Update { parameters, .. } = *self;
        if let Some(losses) = kernel::of(&valued.numbers.device()).losses() {
            let weights: Vec<f64> = tokens.weights.iter().map(|weight| parameters.value_coef * weight).collect();
            let terms = ValueTerms {
                old: &tokens.old_values,
                returns: &tokens.returns,
                weights: &weights,
                clip: parameters.value_clip,
                offset: valued.offset,
                spread: valued.spread,
            };
            return Ok(ValueSlopes::Device(losses.value_slopes(&valued.numbers, &terms)));
        }
        let loss = self.value_loss(tokens, &valued.get()?);
        Ok(ValueSlopes::Host(loss.gradients.iter().map(|gradient| parameters.value_coef * gradient).collect()))
    }

    fn value_loss(&self, tokens: &PartTokens, values: &[f64]) -> LossTerms {
        rl::value_loss(values, &tokens.old_values, &tokens.returns, self.parameters.value_clip)
            .weighted(&tokens.weights)
    }

    /// Losses and log-probabilities of an optimiser step, part by part.
    fn sums(&self, parts: &[PartTokens]) -> Result<Sums> {
        let Update { parameters, .. } = *self;
        let mut sums = Sums::default();
        for tokens in parts {
            for (range, predicted) in &tokens.predicted {
                let predicted = predicted.get()?;
                let loss = self.policy_loss(tokens, range.clone(), &predicted.log_probs);
                sums.loss += loss.losses.iter().sum::<f64>();
                if parameters.entropy_coef > 0.0 {
                    let weights = &tokens.weights[range.clone()];
                    let bonus = predicted.entropies.iter().zip(weights).map(|(entropy, weight)| entropy * weight);
                    sums.loss -= parameters.entropy_coef * bonus.sum::<f64>();
                }
                sums.new.extend(predicted.log_probs);
            }
            sums.old.extend_from_slice(&tokens.old);
            sums.advantages.extend_from_slice(&tokens.advantages);
            if let Some(valued) = &tokens.valued {
                let value_loss = self.value_loss(tokens, &valued.get()?).losses.iter().sum::<f64>();
                sums.value_loss += value_loss;
                sums.loss += parameters.value_coef * value_loss;
            }
        }
        Ok(sums)
    }
}

/// Numbers of all tokens of a part, row after row.
struct PartTokens {
    weights: Vec<f64>,
    old: Vec<f64>,
    references: Vec<f64>,
    advantages: Vec<f64>,
    /// Values and returns of the critic, where there is one.
    old_values: Vec<f64>,
    returns: Vec<f64>,
    /// Range by range.
    predicted: Vec<(Range<usize>, LatePredictions)>,
    valued: Option<HeadValues>,
}
