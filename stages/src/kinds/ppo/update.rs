//! Epochs of minibatches on the clipped objective (Schulman et al. 2017, alg. 1).

use super::Models;
use super::parameters::{KlPlace, Ppo};
use super::rollout::{Estimates, Rollout, minibatches};
use crate::draw::Draw;
use crate::model::predict::Slopes;
use crate::model::{Adapter, Decoder, Trained};
use crate::rl::{self, RatioStatistics};
use crate::train::{self, Adam, Pass, Sequence, Valued};
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
}

/// What the optimiser steps of one update were like.
pub struct Updated {
    pub loss: f64,
    pub norm: f64,
    pub value_loss: f64,
    /// Of the last epoch.
    pub ratio: RatioStatistics,
    pub first_ratio_error: f64,
}

/// How far an update has come: so much of it need not be done again.
#[derive(Default, Serialize, Deserialize)]
pub struct SoFar {
    epoch: u64,
    minibatch: usize,
    /// Of this epoch.
    sums: Sums,
    loss: f64,
    norm: f64,
    first_ratio_error: f64,
}

impl SoFar {
    pub fn has_begun(&self) -> bool {
        (self.epoch, self.minibatch) != (0, 0)
    }
}

/// What one optimiser step adds up, in the order of its parts.
#[derive(Default, Serialize, Deserialize)]
struct Sums {
    loss: f64,
    value_loss: f64,
    new: Vec<f64>,
    old: Vec<f64>,
    advantages: Vec<f64>,
}

impl Update<'_> {
    /// Goes on from where it was; `pause` is asked after every optimiser step whether it has to stop there.
    pub fn run(
        &self,
        adam: &mut Adam,
        (rate, draw): (f64, Draw),
        names: &dyn Fn(&[usize]) -> String,
        mut so_far: SoFar,
        mut pause: impl FnMut(&Adam, &SoFar) -> Result<()>,
    ) -> Result<Updated> {
        let Update { parameters, rollout, step, .. } = *self;
        for epoch in so_far.epoch..parameters.epochs {
            // The first epoch keeps the rollout's own order, and the ratio of its first minibatch is 1 to the last bit.
            let order: Vec<usize> = match epoch {
                0 => (0..rollout.rows.len()).collect(),
                _ => draw.order(step * parameters.epochs + epoch, rollout.rows.len()),
            };
            if so_far.minibatch == 0 {
                so_far.sums = Sums::default();
            }
            for (number, place) in minibatches(parameters).enumerate().skip(so_far.minibatch) {
                let picked = &order[place];
                let (gradients, sums) = self.gradients(adam, picked)?;
                so_far.loss = sums.loss;
                so_far.norm = adam.step(rate, sums.loss, gradients, || format!("answers to {}", names(picked)))?;
                if epoch == 0 && number == 0 {
                    let ratio = rl::ratio_statistics(&sums.new, &sums.old, &sums.advantages, parameters.clip);
                    so_far.first_ratio_error = ratio.max_error;
                }
                let of_epoch = &mut so_far.sums;
                of_epoch.value_loss += sums.value_loss / parameters.minibatches as f64;
                of_epoch.new.extend(sums.new);
                of_epoch.old.extend(sums.old);
                of_epoch.advantages.extend(sums.advantages);
                (so_far.epoch, so_far.minibatch) =
                    if number + 1 == parameters.minibatches { (epoch + 1, 0) } else { (epoch, number + 1) };
                pause(adam, &so_far)?;
            }
        }
        let SoFar { sums, loss, norm, first_ratio_error, .. } = so_far;
        let ratio = rl::ratio_statistics(&sums.new, &sums.old, &sums.advantages, parameters.clip);
        Ok(Updated { loss, norm, value_loss: sums.value_loss, ratio, first_ratio_error })
    }

    fn gradients(&self, adam: &Adam, picked: &[usize]) -> Result<(Vec<Tensor<2>>, Sums)> {
        let Update { parameters, models, rollout, estimates, .. } = *self;
        let (actor, critic) = models.with(&adam.tensors);
        let lengths =
            |rows: &[usize]| -> Vec<usize> { rows.iter().map(|row| rollout.rows[*row].completion().len()).collect() };
        let of_answer = rl::token_weights(&lengths(picked), parameters.average);
        // By answer of the minibatch.
        let mut rest = of_answer.as_slice();
        let weights: Vec<&[f64]> = lengths(picked)
            .into_iter()
            .map(|length| {
                let (now, later) = rest.split_at(length);
                rest = later;
                now
            })
            .collect();
        let (mut of_actor, mut of_critic, mut sums) = (Vec::new(), Vec::new(), Sums::default());
        let whole: Vec<usize> = picked.iter().map(|row| rollout.rows[*row].ids.len()).collect();
        for part in train::parts(&whole, parameters.micro_batch) {
            let numbers: Vec<usize> = part.iter().map(|row| picked[*row]).collect();
            let rows: Vec<&Sequence> = numbers.iter().map(|row| &rollout.rows[*row]).collect();
            let flat =
                |table: &[Vec<f64>]| -> Vec<f64> { numbers.iter().flat_map(|row| table[*row].clone()).collect() };
            let weights: Vec<f64> = part.iter().flat_map(|row| weights[*row].to_vec()).collect();
            let tokens = Tokens {
                weights: &weights,
                old: &flat(&rollout.log_probs),
                references: &flat(&rollout.references),
                advantages: &flat(&estimates.advantages),
            };
            let more = self.learn_policy(
                pass_of(&models.policy.model, &actor, parameters.recompute),
                &rows,
                &tokens,
                &mut sums,
            )?;
            train::add(&mut of_actor, more);
            sums.old.extend_from_slice(tokens.old);
            sums.advantages.extend_from_slice(tokens.advantages);
            let Some(critic) = &critic else { continue };
            let (old, returns) = (flat(&rollout.values), flat(&estimates.returns));
            let pass = pass_of(&models.reward.0, critic, parameters.recompute);
            let more = train::learn_values(pass, &rows, Valued::Completion, |values| {
                let loss = rl::value_loss(values, &old, &returns, parameters.value_clip).weighted(&weights);
                let of_part = loss.losses.iter().sum::<f64>();
                sums.value_loss += of_part;
                sums.loss += parameters.value_coef * of_part;
                Ok(loss.slopes.iter().map(|slope| parameters.value_coef * slope).collect())
            })?;
            train::add(&mut of_critic, more);
        }
        Ok(([of_actor, of_critic].concat(), sums))
    }

    fn learn_policy(&self, pass: Pass, rows: &[&Sequence], tokens: &Tokens, sums: &mut Sums) -> Result<Vec<Tensor<2>>> {
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
            Ok(Slopes { log_probs: loss.slopes, entropies })
        })
    }
}

/// Of all tokens of a part, row after row.
struct Tokens<'a> {
    weights: &'a [f64],
    old: &'a [f64],
    references: &'a [f64],
    advantages: &'a [f64],
}

fn pass_of<'a>(model: &'a Decoder, adapter: &'a Adapter, recomputes: bool) -> Pass<'a> {
    Pass { model, adapter: Some(adapter), trained: Trained::Adapter, recomputes }
}
