//! Rollouts: answers of the policy, their scores and log-probabilities, and the advantages that follow.

use super::models::{Models, TokenReward};
use super::parameters::{KlPlace, Ppo};
use crate::device::asked;
use crate::draw::Draw;
use crate::generate::{self, Answer, Choice, Decoding, DrawNames};
use crate::kernel::Keep;
use crate::model::{Adapter, Decoder};
use crate::rl;
use crate::train::{self, Adam, Forward, Pass, Sequence, Team, ValuePositions};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;

/// Answers of the policy with their numbers, by answer and response token.
#[derive(Serialize, Deserialize)]
pub struct Rollout {
    pub rows: Vec<Sequence>,
    pub scores: Vec<f64>,
    pub log_probs: Vec<Vec<f64>>,
    pub references: Vec<Vec<f64>>,
    pub kl: Vec<Vec<f64>>,
    /// Empty without a critic.
    pub values: Vec<Vec<f64>>,
    /// Mean over all tokens, nats.
    pub entropy: f64,
    pub ended: usize,
}

/// Advantages and returns, by answer and response token.
pub struct Estimates {
    pub advantages: Vec<Vec<f64>>,
    pub returns: Vec<Vec<f64>>,
}

/// The answers to prompts. Each shard of them is decoded by itself.
pub fn sample(
    parameters: &Ppo,
    team: &Team<Models>,
    adam: &Adam,
    prompts: &[&[u32]],
    stops: &[u32],
    draw: Draw,
    step: u64,
) -> Result<Vec<Answer>> {
    let keep = Keep { top_k: parameters.top_k, top_p: parameters.top_p };
    let places: Vec<Range<usize>> = train::shards(prompts.len(), parameters.passes.shards()).collect();
    asked::note_part(|| format!("the sampling of step {step}"));
    let answers = team.share(&adam.tensors, places.len(), |models, tensors, shard| {
        let place = places[shard].clone();
        let of = DrawNames::Counted { step, first_row: place.start as u64 };
        let choice = Choice::Sample { temperature: parameters.temperature, keep, draw, of };
        let at_once = parameters.passes.at_once(parameters.batch);
        let decoding = Decoding { max_new: parameters.max_new_tokens, stops, choice, at_once };
        let (actor, _) = models.with(tensors);
        generate::answer(models.policy.model(), Some(&actor), &prompts[place], decoding)
    })?;
    Ok(answers.concat())
}

/// Largest number of rows in one optimiser step.
pub fn minibatch(parameters: &Ppo) -> usize {
    parameters.batch.div_ceil(parameters.minibatches)
}

/// The place of each minibatch among the rows of an epoch. Their sizes differ by one at most.
pub fn minibatches(parameters: &Ppo) -> impl Iterator<Item = Range<usize>> + use<> {
    let (rows, number) = (parameters.batch, parameters.minibatches);
    (0..number).map(move |at| at * rows / number..(at + 1) * rows / number)
}

/// The answers with their numbers; `scored` are the scores by rewards that read texts. Where an update follows, the pass that
/// gave the policy's log-probabilities in the first part of its first minibatch is handed to it: the update would compute the
/// same once more.
pub fn score(
    parameters: &Ppo,
    team: &Team<Models>,
    adam: &Adam,
    prompts: &[&[u32]],
    answers: Vec<Answer>,
    scored: Vec<f64>,
    is_learned_from: bool,
) -> Result<(Rollout, Option<Forward>)> {
    asked::note_part(|| "the scoring of answers".to_owned());
    let ended = answers.iter().filter(|answer| answer.has_ended).count();
    let join = |(prompt, answer): (&&[u32], &Answer)| Sequence::new([*prompt, &answer.ids].concat(), prompt.len());
    let rows: Vec<Sequence> = prompts.iter().zip(&answers).map(join).collect();
    let shards = train::shards(minibatch(parameters), parameters.passes.shards()).count();
    // Of a moving average, the tensors follow.
    let tensors = [&adam.tensors[..], &adam.averages].concat();
    let done = team.share(&tensors, shards, |models, tensors, shard| {
        let (tensors, averages) = tensors.split_at(adam.tensors.len());
        let (actor, critic) = models.with(tensors);
        let average = models.reference.is_none().then(|| models.with(averages).0);
        let reference: (&Decoder, Option<&Adapter>) = match &models.reference {
            Some(reference) => (reference.model(), reference.adapter.as_ref()),
            None => (models.policy.model(), average.as_ref()),
        };
        let scorer = Scorer { parameters, models, actor, critic, reference };
        scorer.shard(&rows, shard, is_learned_from && shard == 0)
    })?;
    let empty = || vec![Vec::new(); rows.len()];
    let mut out = Rollout {
        scores: scored,
        log_probs: empty(),
        references: empty(),
        kl: empty(),
        values: empty(),
        entropy: 0.0,
        ended,
        rows,
    };
    let (mut entropy, mut tokens, mut forward) = (0.0, 0, None);
    for shard in done {
        entropy += shard.entropy;
        tokens += shard.tokens;
        forward = forward.or(shard.forward);
        for part in shard.parts {
            part.numbers.iter().zip(part.scores).for_each(|(row, score)| out.scores[*row] += score);
            let lengths: Vec<usize> = part.numbers.iter().map(|row| out.rows[*row].completion().len()).collect();
            let mut keep = |target: fn(&mut Rollout) -> &mut Vec<Vec<f64>>, flat: &[f64]| {
                for (row, tokens) in part.numbers.iter().zip(rl::by_row(flat, lengths.iter().copied())) {
                    target(&mut out)[*row] = tokens.to_vec();
                }
            };
            keep(|out| &mut out.log_probs, &part.log_probs);
            keep(|out| &mut out.references, &part.references);
            keep(|out| &mut out.kl, &part.kl);
            if let Some(values) = &part.values {
                keep(|out| &mut out.values, values);
            }
        }
    }
    out.entropy = entropy / tokens as f64;
    let missing = parameters.missing_eos();
    for (score, answer) in out.scores.iter_mut().zip(&answers) {
        *score = missing.score(*score, answer.has_ended);
    }
    Ok((out, forward))
}

/// The models of one device that score answers.
struct Scorer<'a> {
    parameters: &'a Ppo,
    models: &'a Models,
    actor: Adapter,
    critic: Option<Adapter>,
    reference: (&'a Decoder, Option<&'a Adapter>),
}

/// The numbers of a shard of all minibatches.
struct ShardScores {
    parts: Vec<PartScores>,
    /// Sums over its tokens, nats, and their count.
    entropy: f64,
    tokens: usize,
    forward: Option<Forward>,
}

/// The numbers of some answers: scores by answer, all else by token, one answer after the other.
struct PartScores {
    numbers: Vec<usize>,
    scores: Vec<f64>,
    log_probs: Vec<f64>,
    references: Vec<f64>,
    kl: Vec<f64>,
    /// `None` without a critic.
    values: Option<Vec<f64>>,
}

impl Scorer<'_> {
    /// Splits as in the first epoch: the same sums give the same numbers, so its first ratios are 1 to the last bit.
    fn shard(&self, rows: &[Sequence], shard: usize, keeps_first: bool) -> Result<ShardScores> {
        let passes = &self.parameters.passes;
        let mut done = ShardScores { parts: Vec::new(), entropy: 0.0, tokens: 0, forward: None };
        for minibatch in minibatches(self.parameters) {
            let Some(place) = train::shards(minibatch.len(), passes.shards()).nth(shard) else { continue };
            let first = minibatch.start + place.start;
            let lengths: Vec<usize> = rows[first..][..place.len()].iter().map(|row| row.ids.len()).collect();
            for part in train::parts(&lengths, passes.micro_batch) {
                let numbers: Vec<usize> = part.iter().map(|row| first + row).collect();
                let keeps = keeps_first && done.parts.is_empty();
                let part = self.part(rows, numbers, keeps, &mut done)?;
                done.parts.push(part);
            }
        }
        Ok(done)
    }

    fn part(&self, rows: &[Sequence], numbers: Vec<usize>, keeps: bool, done: &mut ShardScores) -> Result<PartScores> {
        let Scorer { parameters, models, actor, critic, reference } = self;
        let rows: Vec<&Sequence> = numbers.iter().map(|row| &rows[*row]).collect();
        let (model, temperature) = (models.policy.model(), parameters.temperature);
        let policy = if keeps {
            let pass = Pass::of_adapter(model, actor, parameters.passes.recompute);
            done.forward.insert(Forward::of(pass, &rows)).predicted(model, temperature)?
        } else {
            train::predicted(model, Some(actor), &rows, temperature)?
        };
        let of_reference = train::predicted(reference.0, reference.1, &rows, temperature)?;
        let mut scores = vec![0.0; rows.len()];
        for TokenReward { weight, base, adapter } in &models.rewards {
            let of_it = train::values(base.model(), adapter, &rows, ValuePositions::Last)?;
            scores.iter_mut().zip(of_it).for_each(|(sum, score)| *sum += weight * score);
        }
        let critic = models.critic.iter().zip(critic).next();
        let values =
            critic.map(|(model, critic)| train::values(model.base.model(), critic, &rows, ValuePositions::Completion));
        done.entropy += policy.entropies.iter().sum::<f64>();
        done.tokens += policy.entropies.len();
        let both = policy.log_probs.iter().zip(&of_reference.log_probs);
        let kl = both.map(|(ours, theirs)| parameters.kl.estimate.of(*ours, *theirs)).collect();
        let values = values.transpose()?;
        Ok(PartScores { numbers, scores, log_probs: policy.log_probs, references: of_reference.log_probs, kl, values })
    }
}

/// Statistics of a rollout, which describe the policy that sampled it.
pub struct RolloutSummary {
    pub reward: f64,
    /// Mean over answers, nats.
    pub kl: f64,
    pub entropy: f64,
    score_sd: f64,
    rlhf_reward: f64,
    repetition: f64,
    length: f64,
    eos_share: f64,
}

impl RolloutSummary {
    pub fn metrics(&self) -> [(&'static str, f64); 8] {
        [
            ("reward", self.reward),
            ("kl", self.kl),
            ("entropy", self.entropy),
            ("score_sd", self.score_sd),
            ("rlhf_reward", self.rlhf_reward),
            ("repetition", self.repetition),
            ("length", self.length),
            ("eos_share", self.eos_share),
        ]
    }
}

impl Rollout {
    pub fn summary(&self, beta: f64) -> RolloutSummary {
        let reward = rl::mean(&self.scores);
        let kl = rl::mean(&self.kl.iter().map(|kl| kl.iter().sum()).collect::<Vec<_>>());
        RolloutSummary {
            reward,
            kl,
            entropy: self.entropy,
            score_sd: rl::standard_deviation(&self.scores),
            rlhf_reward: reward - beta * kl,
            repetition: rl::mean(&self.rows.iter().map(|row| rl::repetition(row.completion())).collect::<Vec<_>>()),
            length: rl::mean(&self.rows.iter().map(|row| row.completion().len() as f64).collect::<Vec<_>>()),
            eos_share: self.ended as f64 / self.rows.len() as f64,
        }
    }

    /// Tokens of all answers.
    pub fn tokens(&self) -> usize {
        self.rows.iter().map(|row| row.completion().len()).sum()
    }

    /// Tells whether different answers all have the same score: nothing can be learned from them.
    pub fn has_constant_scores(&self) -> bool {
        self.different_answers() > 1 && self.scores.iter().all(|score| *score == self.scores[0])
    }

    /// Tells whether any answer scored better than another it is compared with: any other of the rollout, or one to the same
    /// prompt. A single answer is compared with the value of the critic.
    pub fn has_preferences(&self, parameters: &Ppo) -> bool {
        let together = parameters.advantage.of_group().map_or(self.scores.len(), |_| parameters.answers_per_prompt);
        together == 1 || self.scores.chunks(together).flat_map(|scores| scores.windows(2)).any(|two| two[0] != two[1])
    }

    fn different_answers(&self) -> usize {
        self.rows.iter().map(Sequence::completion).collect::<BTreeSet<&[u32]>>().len()
    }

    pub fn refuse_constant_scores(&self, parameters: &Ppo) -> Result<()> {
        if self.ended == 0 && parameters.missing_eos_score.is_some() {
            bail!(
                "score answers: again and again none of the {} answers ended within `max_new_tokens` {}, so all got `missing_eos_score`, and \
                 nothing can be learned; raise `max_new_tokens`, see that `stop_token` is right, or set \
                 `missing_eos_score: null`",
                self.rows.len(),
                parameters.max_new_tokens
            );
        }
        bail!(
            "score answers: again and again the reward gives all {} different answers the same score {}; nothing can be learned from \
             it. If it is a reward model: was it trained? See its `accuracy` and `score_chosen_sd`",
            self.different_answers(),
            self.scores[0]
        )
    }
}

/// Advantages per token from rewards per token, whitened over response tokens (Huang et al. 2024, details 7 and 10); without
/// a critic, advantages of whole answers, compared with the others to the same prompt.
pub fn advantages(parameters: &Ppo, rollout: &Rollout, beta: f64) -> Estimates {
    let in_reward = if parameters.kl.place == KlPlace::Reward { beta } else { 0.0 };
    let of_answer = |(kl, score): (&Vec<f64>, &f64)| rl::token_rewards(kl, *score, in_reward);
    let mut rewards: Vec<Vec<f64>> = rollout.kl.iter().zip(&rollout.scores).map(of_answer).collect();
    if let Some(baseline) = parameters.advantage.of_group() {
        let totals: Vec<f64> = rewards.iter().map(|rewards| rewards.iter().sum()).collect();
        let advantages = totals.chunks(parameters.answers_per_prompt);
        let advantages = advantages.flat_map(|totals| rl::group_advantages(baseline, totals));
        let spread = |(advantage, rewards): (f64, &Vec<f64>)| vec![advantage; rewards.len()];
        let advantages = advantages.zip(&rewards).map(spread).collect();
        return Estimates { advantages, returns: Vec::new() };
    }
    if parameters.whiten_rewards {
        rl::whiten(&mut rewards, true);
    }
    let estimates = rewards
        .iter()
        .zip(&rollout.values)
        .map(|(rewards, values)| rl::advantages(rewards, values, parameters.gamma, parameters.lambda));
    let (mut advantages, returns): (Vec<_>, Vec<_>) = estimates.unzip();
    rl::whiten(&mut advantages, false);
    Estimates { advantages, returns }
}

pub fn explained(rollout: &Rollout, estimates: &Estimates) -> f64 {
    rl::explained_variance(&estimates.returns.concat(), &rollout.values.concat())
}
