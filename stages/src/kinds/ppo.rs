//! `ppo`: improves a policy against a reward model (Schulman et al. 2017; Ouyang et al. 2022; the details of
//! Huang et al. 2024, "N+"). One frozen base; policy, reference, critic and reward differ in their adapters.

mod parameters;
mod rollout;
mod update;

use crate::data;
use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::memory::{self, Load};
use crate::model::{Adapter, Artifact, Decoder};
use crate::rl;
use crate::stage::{self, Accepts, Call, Direction, Gives, Kind, Metric, Port, Work};
use crate::train::{self, Adam, AdamSettings};
use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
pub use parameters::Ppo;
use parameters::Reference;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Instant;

pub const KIND: Kind = Kind {
    name: "ppo",
    version: 3,
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
            doc: "mean KL to the reference per answer, nats: the sum of `kl.estimate` over its tokens, at the temperature of sampling",
        },
        Metric { name: "entropy", direction: Direction::Neutral, doc: "mean policy entropy per token, nats" },
        Metric {
            name: "approx_kl",
            direction: Direction::Lower,
            doc: "mean ½(log ρ)² in the last epoch's minibatches",
        },
        Metric {
            name: "clip_fraction",
            direction: Direction::Lower,
            doc: "share of tokens that the clip held back, in the last epoch",
        },
        Metric {
            name: "ratio_max",
            direction: Direction::Lower,
            doc: "largest ratio in the last epoch, mean over the updates",
        },
        Metric {
            name: "score_sd",
            direction: Direction::Neutral,
            doc: "standard deviation of the scores of a rollout",
        },
        Metric {
            name: "rlhf_reward",
            direction: Direction::Higher,
            doc: "score less β times the KL, per answer: what is maximised",
        },
        Metric { name: "value_loss", direction: Direction::Lower, doc: "of the critic, in the last epoch" },
        Metric {
            name: "repetition",
            direction: Direction::Lower,
            doc: "share of the token pairs of a sampled answer that it had before: the cheap way to please a reward model",
        },
        Metric { name: "beta", direction: Direction::Neutral, doc: "weight of the KL penalty at the end" },
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
    parameter_docs: parameters::DOCS,
    work: Work::Run(run),
};

/// The models of a run. On disk they share one base; in memory, too.
struct Models {
    policy: Artifact,
    start: Adapter,
    /// `None` where it is a moving average of the policy.
    reference: Option<(Decoder, Option<Adapter>)>,
    reward: (Decoder, Adapter),
    /// Stands on the reward model's base, which is the policy's own where both came from it. `None` where the other
    /// answers to a prompt do its work.
    critic: Option<Adapter>,
}

impl Models {
    fn trained(&self) -> Vec<Tensor<2>> {
        let critic = self.critic.as_ref().map(Adapter::tensors).unwrap_or_default();
        [self.start.tensors(), critic].concat()
    }

    /// Policy and critic with these tensors.
    fn with(&self, tensors: &[Tensor<2>]) -> (Adapter, Option<Adapter>) {
        let (of_policy, of_critic) = tensors.split_at(self.start.tensors().len());
        (self.start.with_tensors(of_policy), self.critic.as_ref().map(|critic| critic.with_tensors(of_critic)))
    }
}

/// Sums since the last checkpoint; each metric is their mean.
#[derive(Default, Serialize, Deserialize)]
struct Tally {
    updates: u64,
    sums: std::collections::BTreeMap<String, f64>,
    first_ratio_error: f64,
    beta: f64,
    /// Rollouts in a row, the last among them, whose answers all scored the same.
    constant: u64,
}

/// So many in a row are no chance any more: nothing is being learned.
const CONSTANT_ROLLOUTS: u64 = 5;

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Ppo = call.parameters()?;
    let device = device::of(io)?;
    let draw = |purpose| Draw { seed: call.seed, kind: "ppo", purpose };
    let models = load(io, &parameters, draw("adapter"), &device)?;
    let policy = &models.policy;
    let stops = policy.stops(parameters.stop_token);
    if stops.is_empty() && parameters.missing_eos() != rl::MissingEos::Scored {
        bail!("find the end token: the model names no eos_token_id; set `stop_token`, or `missing_eos_score: null`");
    }
    let mut sieve = io.sieve();
    let questions = data::prompts(io.input("prompts")?, &mut sieve)?;
    let (questions, prompts) = train::prompts(policy, questions, parameters.max_new_tokens, &mut sieve)?;
    let all: Vec<usize> = (0..prompts.len()).collect();

    let rows = rollout::minibatch(&parameters).min(parameters.micro_batch.unwrap_or(usize::MAX));
    let tokens = prompts.iter().map(Vec::len).max().unwrap_or(0) + parameters.max_new_tokens;
    let load = Load {
        rows,
        tokens,
        predicted: rows * parameters.max_new_tokens,
        trained: 1 + usize::from(models.critic.is_some()),
        read: 2,
        decoded: parameters.max_new_tokens,
        is_full: false,
        recomputes: parameters.recompute,
    };
    let memory = memory::estimate(&policy.model.config, &parameters.lora, parameters.dtype, load);
    io.expects(memory, "`micro_batch`, `max_new_tokens` or `lora.rank`")?;
    let mut adam = Adam::new(models.trained(), AdamSettings { form: parameters.adam, ..AdamSettings::default() });
    if models.reference.is_none() {
        adam.keep_averages();
    }
    let (first, mut tally) =
        train::resume(io, &mut adam)?.unwrap_or((0, Tally { beta: parameters.kl.coef, ..Tally::default() }));
    for step in first..parameters.steps {
        // 1. Sample answers, score them, and note what policy, reference and critic think of each token.
        let beta = tally.beta;
        let numbers: Vec<usize> =
            train::batch_of(draw("prompts"), step, parameters.batch / parameters.answers_per_prompt, &all)
                .flat_map(|row| std::iter::repeat_n(row, parameters.answers_per_prompt))
                .collect();
        let batch: Vec<&[u32]> = numbers.iter().map(|row| prompts[*row].as_slice()).collect();
        let started = Instant::now();
        let answers = rollout::sample(&parameters, &models, &adam, &batch, &stops, draw("token"), step)?;
        let generated = Instant::now();
        let rollout = rollout::score(&parameters, &models, &adam, &batch, answers)?;
        let names = |rows: &[usize]| train::named(rows.iter().map(|row| questions[numbers[*row]].id.as_str()));
        tally.constant = if rollout.has_constant_scores() { tally.constant + 1 } else { 0 };
        if tally.constant == CONSTANT_ROLLOUTS {
            rollout.refuse_constant_scores(&parameters)?;
        }
        let scored = Instant::now();

        // 2. Rewards per token, advantages; 3. epochs of minibatches on the clipped objective.
        let estimates = rollout::advantages(&parameters, &rollout, beta);
        let rate = parameters.schedule.rate(parameters.lr, step, parameters.steps);
        let update = update::Update {
            parameters: &parameters,
            models: &models,
            rollout: &rollout,
            estimates: &estimates,
            beta,
            step,
        };
        let updated = update.run(&mut adam, rate, draw("minibatch"), &names)?;
        adam.average(parameters.kl.ema_decay);
        let ended = Instant::now();

        // 4. What this update was like.
        let kl: Vec<f64> = rollout.kl.iter().map(|kl| kl.iter().sum()).collect();
        if let Some(target) = parameters.kl.target {
            tally.beta = rl::adapted_beta(beta, rl::mean(&kl), target, parameters.kl.horizon, parameters.batch);
        }
        let lengths: Vec<f64> = rollout.rows.iter().map(|row| row.completion().len() as f64).collect();
        let (score, kl) = (rl::mean(&rollout.scores), rl::mean(&kl));
        let mut now = vec![
            ("reward", score),
            ("score_sd", rl::standard_deviation(&rollout.scores)),
            ("kl", kl),
            ("rlhf_reward", score - beta * kl),
            ("entropy", rollout.entropy),
            ("approx_kl", updated.ratio.approx_kl),
            ("clip_fraction", updated.ratio.clip_fraction),
            ("ratio_max", updated.ratio.max),
            ("length", rl::mean(&lengths)),
            ("eos_share", rollout.ended as f64 / parameters.batch as f64),
            ("repetition", rollout.repetition()),
        ];
        if models.critic.is_some() {
            now.push(("value_loss", updated.value_loss));
            now.push(("explained_variance", rollout::explained(&rollout, &estimates)));
        }
        tally.updates += 1;
        tally.first_ratio_error = tally.first_ratio_error.max(updated.first_ratio_error);
        for (name, value) in now.iter().copied() {
            *tally.sums.entry(name.to_owned()).or_default() += value;
        }
        let done = step + 1;
        let point: serde_json::Map<String, serde_json::Value> =
            now.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
        let took = json!({
            "generation": seconds(started, generated),
            "scoring": seconds(generated, scored),
            "update": seconds(scored, ended),
            "tokens_per_second": lengths.iter().sum::<f64>() / seconds(started, ended),
        });
        io.curve(&json!({
            "step": done, "lr": rate, "beta": beta, "loss": updated.loss, "gradient_norm": updated.norm,
            "ratio_mean": updated.ratio.mean, "metrics": point, "seconds": took,
        }))?;
        io.progress(done, parameters.steps, "update", || format!("reward {score:.3}, kl {kl:.3}"))?;
        abort_if(&parameters, done, kl, rollout.entropy)?;

        // 5. A candidate.
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, parameters.steps);
        if is_candidate {
            let (actor, _) = models.with(&adam.tensors);
            policy.save_with(&actor, &io.candidate_dir(done)?)?;
            let mut metrics: Vec<(&str, f64)> =
                now.iter().map(|(name, _)| (*name, tally.sums[*name] / tally.updates as f64)).collect();
            metrics.extend([("first_ratio_error", tally.first_ratio_error), ("beta", tally.beta)]);
            metrics.extend(sieve.metrics());
            if models.critic.is_none() {
                // Nothing was there to explain, and no loss: no number, so that no gate passes on one.
                metrics.extend([("value_loss", f64::NAN), ("explained_variance", f64::NAN)]);
            }
            io.candidate(done, &metrics)?;
            tally = Tally { beta: tally.beta, constant: tally.constant, ..Tally::default() };
        }
        train::checkpoint(io, (done, parameters.steps), is_candidate, &adam, &tally)?;
    }
    Ok(())
}

/// Ends a training that has left the ground the reward model knows.
fn abort_if(parameters: &Ppo, step: u64, kl: f64, entropy: f64) -> Result<()> {
    if let Some(bound) = parameters.abort_if.kl_above.filter(|bound| kl > *bound) {
        bail!(
            "train: the KL to the reference is {kl:.3} nats per answer after update {step}, above `abort_if.kl_above` \
             {bound}; raise `kl.coef`, set `kl.target`, or lower `lr` or `epochs`"
        );
    }
    if let Some(bound) = parameters.abort_if.entropy_below.filter(|bound| entropy < *bound) {
        bail!(
            "train: the policy's entropy is {entropy:.3} nats per token after update {step}, below \
             `abort_if.entropy_below` {bound}; raise `entropy_coef` or `temperature`, or lower `lr`"
        );
    }
    Ok(())
}

fn load(io: &Io, parameters: &Ppo, draw: Draw, device: &burn::tensor::Device) -> Result<Models> {
    let policy = Artifact::load(io.input("policy")?, parameters.dtype, device)?;
    let start = policy.start_adapter(&parameters.lora, draw)?;
    let reward = Artifact::load_beside(io.input("reward")?, &policy)?;
    let reference = match (io.optional_input("reference"), parameters.kl.reference) {
        (Some(path), Reference::Incoming) => {
            let reference = Artifact::load_beside(path, &policy)?;
            reference.same_tokens_as(&policy.tokenizer_digest).context("connect `reference`")?;
            Some((reference.model, reference.adapter))
        }
        (Some(_), _) => bail!("choose a reference: one is connected to `reference`, and `kl.reference` names another"),
        (None, Reference::Incoming) => Some((policy.model.clone(), policy.adapter.clone())),
        (None, Reference::Base) => Some((policy.model.clone(), None)),
        (None, Reference::Ema) => None,
    };
    reward.same_tokens_as(&policy.tokenizer_digest).context("connect `reward`")?;
    let reward_adapter = reward.adapter.clone();
    let reward_adapter =
        reward_adapter.context("load the reward model: it has no adapter; connect a stage of kind rm")?;
    if reward_adapter.head.is_none() {
        bail!("load the reward model: it has no head; connect a stage of kind rm");
    }
    // The head's offset becomes part of the critic's scale: values begin near the rewards they predict. On a whole model,
    // which has no adapter of its own, the critic gets a new one.
    let critic = match (parameters.advantage.of_group(), reward_adapter.pairs.is_empty()) {
        (Some(_), _) => None,
        (None, true) => Some(reward.start_adapter(&parameters.lora, Draw { purpose: "critic", ..draw })?),
        (None, false) => Some(reward_adapter.clone()),
    };
    Ok(Models { policy, start, reference, reward: (reward.model, reward_adapter), critic })
}
