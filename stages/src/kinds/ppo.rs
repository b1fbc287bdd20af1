//! `ppo`: improves a policy against a reward model (Schulman et al. 2017; Ouyang et al. 2022; the details of
//! Huang et al. 2024, "N+"). One frozen base; policy, reference, critic and reward differ in their adapters.

use crate::data;
use crate::device;
use crate::draw::Draw;
use crate::generate::{self, Answer, Choice};
use crate::io::Io;
use crate::model::artifact::values_of;
use crate::model::{Adapter, Artifact, Decoder, Dtype, LoraParameters};
use crate::rl::{self, KlEstimate};
use crate::stage::{self, Accepts, Call, Direction, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use crate::train::{self, Adam, AdamSettings, Schedule, Sequence};
use anyhow::{Context, Result, bail};
use burn::tensor::{Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub const KIND: Kind = Kind {
    name: "ppo",
    version: 2,
    doc: "improve a policy against a reward model by PPO with a KL penalty",
    ports: &[
        Port::one("policy", Accepts::Model, "the model to improve"),
        Port::one(
            "reward",
            Accepts::RewardModel,
            "the reward model that scores the answers; the critic starts from it",
        ),
        Port::one("prompts", Accepts::Data, "rows with a `prompt`"),
        Port::one(
            "reference",
            Accepts::Model,
            "what the KL penalty is measured from; default: the incoming policy, frozen",
        )
        .optional(),
    ],
    takes_any_port: false,
    gives: Gives::Model,
    metrics: &[
        Metric {
            name: "reward",
            direction: Direction::Higher,
            doc: "mean score of the sampled answers since the last checkpoint, without the KL penalty",
        },
        Metric {
            name: "kl",
            direction: Direction::Lower,
            doc: "mean KL to the reference per answer, nats (sum of log π − log π_ref)",
        },
        Metric { name: "entropy", direction: Direction::Neutral, doc: "mean policy entropy per token, nats" },
        Metric {
            name: "approx_kl",
            direction: Direction::Lower,
            doc: "mean ½(log ρ)² in the last epoch's minibatches",
        },
        Metric {
            name: "clip_fraction", direction: Direction::Lower, doc: "share of tokens whose ratio left 1 ± clip"
        },
        Metric {
            name: "first_ratio_error",
            direction: Direction::Lower,
            doc: "largest |ρ − 1| in the first minibatch of an update: 0 unless sampling and training disagree",
        },
        Metric {
            name: "explained_variance",
            direction: Direction::Higher,
            doc: "1 − Var(R − V)/Var(R) of the critic before the update",
        },
        Metric { name: "length", direction: Direction::Neutral, doc: "mean answer length, tokens" },
        Metric {
            name: "eos_share",
            direction: Direction::Higher,
            doc: "share of sampled answers that ended by themselves",
        },
        data::METRICS[0],
        data::METRICS[1],
        data::METRICS[2],
    ],
    means: &[],
    incumbent: Some("policy"),
    draws: true,
    parse: stage::parse::<Ppo>,
    defaults: stage::defaults::<Ppo>,
    schema: stage::schema::<Ppo>,
    parameter_docs: &[
        ("steps", "updates: one rollout each"),
        ("batch", "answers sampled per update"),
        ("epochs", "passes over a rollout"),
        ("minibatches", "optimiser steps per pass"),
        ("lr", "learning rate of policy and critic"),
        ("schedule", "constant, linear or cosine, down to 0 at the last update"),
        ("max_new_tokens", "longest answer"),
        ("temperature", "of sampling, and of the log-probabilities trained on"),
        ("missing_eos_score", "score of an answer that did not end; null: score it as it is"),
        ("kl.coef", "weight β of the KL penalty"),
        ("kl.estimate", "k1, k2 or k3 (Schulman 2020)"),
        ("kl.target", "nats per answer an adaptive β steers to (Ziegler et al. 2019); null: β stays"),
        ("kl.horizon", "answers over which an adaptive β moves"),
        ("clip", "ratios count within 1 ± clip"),
        ("value_clip", "values count within ± of the old value"),
        ("value_coef", "weight of the value loss"),
        ("gamma", "discount"),
        ("lambda", "of generalised advantage estimation"),
        ("whiten_rewards", "scale rewards to variance 1 before the advantages"),
        ("checkpoint_every", "updates between candidates; 0: only the last"),
        ("stop_token", "id that ends an answer; default: the model's eos tokens"),
        ("dtype", "f32, f16 or bf16: what the matrices of the frozen base are kept and multiplied in"),
        ("lora.rank", "rank of the policy's adapter"),
        ("lora.alpha", "the update is scaled by alpha/rank"),
    ],
    work: Work::Run(run),
};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ppo {
    pub steps: u64,
    pub batch: usize,
    pub epochs: u64,
    pub minibatches: usize,
    pub lr: f64,
    pub schedule: Schedule,
    pub max_new_tokens: usize,
    pub temperature: f64,
    pub missing_eos_score: Option<f64>,
    pub kl: KlParameters,
    pub clip: f64,
    pub value_clip: f64,
    pub value_coef: f64,
    pub gamma: f64,
    pub lambda: f64,
    pub whiten_rewards: bool,
    pub checkpoint_every: u64,
    pub stop_token: Option<u32>,
    pub dtype: Dtype,
    pub lora: LoraParameters,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KlParameters {
    pub coef: f64,
    pub estimate: KlEstimate,
    pub target: Option<f64>,
    pub horizon: f64,
}

impl Default for KlParameters {
    fn default() -> KlParameters {
        KlParameters { coef: 0.05, estimate: KlEstimate::K1, target: None, horizon: 10_000.0 }
    }
}

impl Default for Ppo {
    fn default() -> Ppo {
        Ppo {
            steps: 50,
            batch: 64,
            epochs: 4,
            minibatches: 1,
            lr: 3e-4,
            schedule: Schedule::Linear,
            max_new_tokens: 48,
            temperature: 0.7,
            missing_eos_score: Some(-1.0),
            kl: KlParameters::default(),
            clip: 0.2,
            value_clip: 0.2,
            value_coef: 0.1,
            gamma: 1.0,
            lambda: 0.95,
            whiten_rewards: false,
            checkpoint_every: 0,
            stop_token: None,
            dtype: Dtype::F32,
            lora: LoraParameters::default(),
        }
    }
}

impl Parameters for Ppo {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[
            ("steps", self.steps),
            ("batch", self.batch as u64),
            ("epochs", self.epochs),
            ("minibatches", self.minibatches as u64),
            ("max_new_tokens", self.max_new_tokens as u64),
        ]);
        mistakes.extend(stage::above_zero(&[
            ("lr", self.lr),
            ("temperature", self.temperature),
            ("clip", self.clip),
            ("value_clip", self.value_clip),
            ("kl.horizon", self.kl.horizon),
            ("kl.target", self.kl.target.unwrap_or(1.0)),
        ]));
        mistakes.extend(stage::not_negative(&[("kl.coef", self.kl.coef), ("value_coef", self.value_coef)]));
        for (path, value) in [("gamma", self.gamma), ("lambda", self.lambda)] {
            if !(0.0..=1.0).contains(&value) {
                mistakes.push(ParameterMistake::new(path, format!("`{path}` lies between 0 and 1")));
            }
        }
        if self.minibatches > self.batch {
            mistakes.push(ParameterMistake::new("minibatches", "there are more minibatches than answers in `batch`"));
        }
        mistakes.extend(self.lora.mistakes());
        mistakes
    }
}

/// The models of a run. On disk they share one base; in memory, too.
struct Models {
    policy: Artifact,
    start: Adapter,
    reference: (Decoder, Option<Adapter>),
    reward: (Decoder, Adapter),
    /// Stands on the reward model's base, which is the policy's own where both came from it.
    critic: Adapter,
}

/// What one rollout gave, by answer and response token.
struct Rollout {
    rows: Vec<Sequence>,
    scores: Vec<f64>,
    kl: Vec<Vec<f64>>,
    log_probs: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    entropy: f64,
    ended: usize,
}

/// Sums since the last checkpoint; each metric is their mean.
#[derive(Default, Serialize, Deserialize)]
struct Tally {
    updates: u64,
    sums: std::collections::BTreeMap<String, f64>,
    first_ratio_error: f64,
    beta: f64,
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Ppo = call.parameters()?;
    let device = device::of(io)?;
    let draw = |purpose| Draw { seed: call.seed, kind: "ppo", purpose };
    let models = load(io, &parameters, draw("adapter"), &device)?;
    let policy = &models.policy;
    let stops = policy.stops(parameters.stop_token);
    if stops.is_empty() && parameters.missing_eos_score.is_some() {
        bail!("find the end token: the model names no eos_token_id; set `stop_token`, or `missing_eos_score: null`");
    }
    let mut sieve = io.sieve();
    let questions = data::prompts(io.input("prompts")?, &mut sieve)?;
    let (_, prompts) = train::prompts(policy, questions, parameters.max_new_tokens, &mut sieve)?;
    let all: Vec<usize> = (0..prompts.len()).collect();

    let split_at = models.start.tensors().len();
    let mut adam = Adam::new([models.start.tensors(), models.critic.tensors()].concat(), AdamSettings::default());
    let adapters = |tensors: &[Tensor<2>]| {
        (models.start.with_tensors(&tensors[..split_at]), models.critic.with_tensors(&tensors[split_at..]))
    };
    let (first, mut tally) =
        train::resume(io, &mut adam)?.unwrap_or((0, Tally { beta: parameters.kl.coef, ..Tally::default() }));
    for step in first..parameters.steps {
        // 1. Sample answers, score them, and note what policy, reference and critic think of each token.
        let (actor, critic) = adapters(&adam.tensors);
        let batch: Vec<&[u32]> =
            train::batch_of(draw("prompts"), step, parameters.batch, &all).map(|row| prompts[row].as_slice()).collect();
        let choice = Choice::Sample { temperature: parameters.temperature, draw: draw("token"), step, first_row: 0 };
        let answers = generate::answer(&policy.model, Some(&actor), &batch, parameters.max_new_tokens, &stops, choice)?;
        let rollout = roll_out(&parameters, &models, &actor, &critic, &batch, &answers)?;

        // 2. Rewards per token, advantages, whitening over response tokens (Huang et al. 2024, details 7 and 10).
        let beta = tally.beta;
        let mut rewards: Vec<Vec<f64>> =
            rollout.kl.iter().zip(&rollout.scores).map(|(kl, score)| rl::token_rewards(kl, *score, beta)).collect();
        if parameters.whiten_rewards {
            rl::whiten(&mut rewards, true);
        }
        let estimates = rewards
            .iter()
            .zip(&rollout.values)
            .map(|(rewards, values)| rl::advantages(rewards, values, parameters.gamma, parameters.lambda));
        let (mut advantages, returns): (Vec<_>, Vec<_>) = estimates.unzip();
        rl::whiten(&mut advantages, false);

        // 3. Epochs of minibatches on the clipped objective.
        let rate = parameters.schedule.rate(parameters.lr, step, parameters.steps);
        let updated = update(
            &parameters,
            &models,
            &mut adam,
            rate,
            draw("minibatch"),
            step,
            &rollout,
            &advantages,
            &returns,
            &adapters,
        )?;

        // 4. What this update was like.
        let kl: Vec<f64> = rollout.kl.iter().map(|kl| kl.iter().sum()).collect();
        if let Some(target) = parameters.kl.target {
            tally.beta = rl::adapted_beta(beta, rl::mean(&kl), target, parameters.kl.horizon, parameters.batch);
        }
        let lengths: Vec<f64> = rollout.rows.iter().map(|row| row.completion().len() as f64).collect();
        let (score, kl) = (rl::mean(&rollout.scores), rl::mean(&kl));
        let now = [
            ("reward", score),
            ("kl", kl),
            ("entropy", rollout.entropy),
            ("approx_kl", updated.approx_kl),
            ("clip_fraction", updated.clip_fraction),
            ("explained_variance", rl::explained_variance(&returns.concat(), &rollout.values.concat())),
            ("length", rl::mean(&lengths)),
            ("eos_share", rollout.ended as f64 / parameters.batch as f64),
        ];
        tally.updates += 1;
        tally.first_ratio_error = tally.first_ratio_error.max(updated.first_ratio_error);
        for (name, value) in now {
            *tally.sums.entry(name.to_owned()).or_default() += value;
        }
        let done = step + 1;
        let point: serde_json::Map<String, serde_json::Value> =
            now.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        io.curve(&json!({"step": done, "lr": rate, "beta": beta, "loss": updated.loss, "gradient_norm": updated.norm, "metrics": point}))?;
        io.progress(done, parameters.steps, "update", || format!("reward {score:.3}, kl {kl:.3}"))?;

        // 5. A candidate.
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, parameters.steps);
        if is_candidate {
            let (actor, _) = adapters(&adam.tensors);
            policy.save_with(&actor, &io.candidate_dir(done)?)?;
            let mut metrics: Vec<(&str, f64)> =
                now.iter().map(|(name, _)| (*name, tally.sums[*name] / tally.updates as f64)).collect();
            metrics.push(("first_ratio_error", tally.first_ratio_error));
            metrics.extend(sieve.metrics());
            io.candidate(done, &metrics)?;
            tally = Tally { beta: tally.beta, ..Tally::default() };
        }
        train::checkpoint(io, (done, parameters.steps), is_candidate, &adam, &tally)?;
    }
    Ok(())
}

fn load(io: &Io, parameters: &Ppo, draw: Draw, device: &burn::tensor::Device) -> Result<Models> {
    let policy = Artifact::load(io.input("policy")?, parameters.dtype, device)?;
    let start = policy.start_adapter(&parameters.lora, draw)?;
    let reward = Artifact::load_beside(io.input("reward")?, &policy)?;
    let reference = match io.optional_input("reference") {
        Some(path) => {
            let reference = Artifact::load_beside(path, &policy)?;
            (reference.model, reference.adapter)
        }
        None => (policy.model.clone(), policy.adapter.clone()),
    };
    reward.same_tokens_as(&policy.tokenizer_digest)?;
    let reward_adapter = reward.adapter.clone();
    let reward_adapter =
        reward_adapter.context("load the reward model: it has no adapter; connect a stage of kind rm")?;
    if reward_adapter.head.is_none() {
        bail!("load the reward model: it has no head; connect a stage of kind rm");
    }
    // The head's offset becomes part of the critic's scale: values begin near the rewards they predict. On a whole model,
    // which has no adapter of its own, the critic gets a new one.
    let critic = match reward_adapter.pairs.is_empty() {
        true => reward.start_adapter(&parameters.lora, Draw { purpose: "critic", ..draw })?,
        false => reward_adapter.clone(),
    };
    Ok(Models { policy, start, reference, reward: (reward.model, reward_adapter), critic })
}

/// Values `[n]` before each response token, on the reward's scale.
fn values(model: &Decoder, critic: &Adapter, rows: &[&Sequence]) -> Result<Tensor<1>> {
    let head = critic.head.clone().context("value answers: the critic has no head")?;
    let (hidden, _) = train::completion_hidden(model, Some(critic), rows);
    let [n, _] = hidden.dims();
    Ok(hidden.matmul(head).reshape([n]).sub_scalar(critic.offset).div_scalar(critic.spread))
}

/// Rows scored at once; the same in every pass, so that equal numbers are summed in equal order.
fn chunks(parameters: &Ppo) -> usize {
    parameters.batch.div_ceil(parameters.minibatches)
}

fn roll_out(
    parameters: &Ppo,
    models: &Models,
    actor: &Adapter,
    critic: &Adapter,
    prompts: &[&[u32]],
    answers: &[Answer],
) -> Result<Rollout> {
    let join =
        |(prompt, answer): (&&[u32], &Answer)| Sequence { ids: [*prompt, &answer.ids].concat(), start: prompt.len() };
    let rows: Vec<Sequence> = prompts.iter().zip(answers).map(join).collect();
    let whole: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
    let mut scores = train::rewards(&models.reward.0, &models.reward.1, &whole, chunks(parameters))?;
    if let Some(fixed) = parameters.missing_eos_score {
        for (score, _) in scores.iter_mut().zip(answers).filter(|(_, answer)| !answer.has_ended) {
            *score = fixed;
        }
    }
    let (mut log_probs, mut kl, mut value_rows, mut entropies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let all: Vec<&Sequence> = rows.iter().collect();
    for rows in all.chunks(chunks(parameters)) {
        let lengths: Vec<usize> = rows.iter().map(|row| row.completion().len()).collect();
        let (policy, entropy) =
            train::completion_log_probs(&models.policy.model, Some(actor), rows, parameters.temperature);
        let (reference, _) =
            train::completion_log_probs(&models.reference.0, models.reference.1.as_ref(), rows, parameters.temperature);
        let policy = by_row(policy, &lengths)?;
        let reference = by_row(reference, &lengths)?;
        let of_row =
            |(p, q): (&Vec<f64>, &Vec<f64>)| p.iter().zip(q).map(|(p, q)| parameters.kl.estimate.of(*p, *q)).collect();
        kl.extend(policy.iter().zip(&reference).map(of_row).collect::<Vec<Vec<f64>>>());
        log_probs.extend(policy);
        value_rows.extend(by_row(values(&models.reward.0, critic, rows)?, &lengths)?);
        entropies.extend(values_of(entropy)?.into_iter().map(f64::from));
    }
    let ended = answers.iter().filter(|answer| answer.has_ended).count();
    Ok(Rollout { rows, scores, kl, log_probs, values: value_rows, entropy: rl::mean(&entropies), ended })
}

fn by_row(flat: Tensor<1>, lengths: &[usize]) -> Result<Vec<Vec<f64>>> {
    let flat = values_of(flat)?;
    let mut rest = flat.iter().map(|x| f64::from(*x));
    Ok(lengths.iter().map(|length| rest.by_ref().take(*length).collect()).collect())
}

/// What the optimiser steps of one update were like.
struct Updated {
    loss: f64,
    norm: f64,
    approx_kl: f64,
    clip_fraction: f64,
    first_ratio_error: f64,
}

#[expect(clippy::too_many_arguments, reason = "one update needs all of a rollout; a struct would only rename them")]
fn update(
    parameters: &Ppo,
    models: &Models,
    adam: &mut Adam,
    rate: f64,
    draw: Draw,
    step: u64,
    rollout: &Rollout,
    advantages: &[Vec<f64>],
    returns: &[Vec<f64>],
    adapters: &dyn Fn(&[Tensor<2>]) -> (Adapter, Adapter),
) -> Result<Updated> {
    let device = models.policy.model.device();
    let mut out = Updated { loss: 0.0, norm: 0.0, approx_kl: 0.0, clip_fraction: 0.0, first_ratio_error: 0.0 };
    for epoch in 0..parameters.epochs {
        // The first epoch keeps the rollout's own order: its minibatches are the rollout's chunks, and the ratio
        // of the first is 1 to the last bit.
        let order = match epoch {
            0 => (0..rollout.rows.len()).collect(),
            _ => draw.order(step * parameters.epochs + epoch, rollout.rows.len()),
        };
        let (mut approx_kl, mut clipped, mut tokens) = (0.0, 0.0, 0.0);
        for (number, picked) in order.chunks(chunks(parameters)).enumerate() {
            let rows: Vec<&Sequence> = picked.iter().map(|row| &rollout.rows[*row]).collect();
            let flat = |table: &[Vec<f64>]| {
                let values: Vec<f32> = picked.iter().flat_map(|row| table[*row].iter().map(|x| *x as f32)).collect();
                let n = values.len();
                Tensor::<1>::from_data(TensorData::new(values, [n]), &device)
            };
            let (old, old_values) = (flat(&rollout.log_probs), flat(&rollout.values));
            let (advantages, returns) = (flat(advantages), flat(returns));
            let (loss, norm, ratio) = adam.step(rate, |tensors| {
                let (actor, critic) = adapters(tensors);
                let (new, _) =
                    train::completion_log_probs(&models.policy.model, Some(&actor), &rows, parameters.temperature);
                let (policy_loss, ratio) = rl::policy_loss(new, old, advantages, parameters.clip);
                let new_values = values(&models.reward.0, &critic, &rows)?;
                let value_loss = rl::value_loss(new_values, old_values, returns, parameters.value_clip);
                Ok((policy_loss.mean() + value_loss.mean().mul_scalar(parameters.value_coef), ratio))
            })?;
            let ratio: Vec<f64> = values_of(ratio)?.into_iter().map(f64::from).collect();
            (out.loss, out.norm) = (loss, norm);
            if epoch == 0 && number == 0 {
                out.first_ratio_error = ratio.iter().map(|ratio| (ratio - 1.0).abs()).fold(0.0, f64::max);
            }
            approx_kl += ratio.iter().map(|ratio| 0.5 * ratio.ln().powi(2)).sum::<f64>();
            clipped += ratio.iter().filter(|ratio| (*ratio - 1.0).abs() > parameters.clip).count() as f64;
            tokens += ratio.len() as f64;
        }
        (out.approx_kl, out.clip_fraction) = (approx_kl / tokens, clipped / tokens);
    }
    Ok(out)
}
