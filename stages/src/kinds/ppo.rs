//! `ppo`: improves a policy against a reward model (Schulman et al. 2017; Ouyang et al. 2022; the details of
//! Huang et al. 2024, "N+"). One frozen base; policy, reference, critic and reward differ in their adapters.

mod parameters;
mod rollout;
mod update;

use crate::data;
use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{self, Adapter, Artifact, Decoder, Load};
use crate::rl;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use crate::train::{self, Adam};
use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
pub use parameters::Ppo;
use parameters::{Critic, Reference};
use rollout::{Rollout, Seen};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Instant;
use update::SoFar;

pub const KIND: Kind = Kind {
    name: "ppo",
    version: 4,
    doc: "improve a policy against a reward model by PPO with a KL penalty",
    ports: &[
        Port::one("policy", Accepts::Model, "the model to improve"),
        Port::one(
            "reward",
            Accepts::RewardModel,
            "the reward model that scores the answers; unless told otherwise the critic starts from it",
        ),
        Port::one("prompts", Accepts::Data, "rows with a `prompt`"),
        Port::one(
            "reference",
            Accepts::Model,
            "what the KL penalty is measured from; default: the incoming policy, frozen",
        )
        .optional(),
    ],
    gives: Gives::Model,
    reads_rows: true,
    metrics: &[
        Metric::higher("reward", "mean score of a rollout of this checkpoint, without the KL penalty"),
        Metric::lower(
            "kl",
            "mean KL of that rollout to the reference per answer, nats: the sum of `kl.estimate` over its tokens, at the temperature of sampling",
        ),
        Metric::neutral("entropy", "mean entropy of the policy per token of that rollout, nats"),
        Metric::neutral("score_sd", "standard deviation of its scores"),
        Metric::higher("rlhf_reward", "reward less β times the KL: what is maximised"),
        Metric::lower(
            "repetition",
            "share of the token pairs of a sampled answer that it had before: the cheap way to please a reward model",
        ),
        Metric::neutral("length", "mean answer length of the rollout, tokens"),
        Metric::higher("eos_share", "share of sampled answers that ended by themselves"),
        Metric::lower(
            "approx_kl",
            "mean ½(log ρ)² in the last epoch of an update; like the next four a mean over the updates since the last checkpoint",
        ),
        Metric::lower("clip_fraction", "share of tokens that the clip held back, in the last epoch"),
        Metric::lower("ratio_max", "largest ratio in the last epoch"),
        Metric::lower("value_loss", "of the critic, in the last epoch"),
        Metric::higher("explained_variance", "1 − Var(R − V)/Var(R) of the critic before the update"),
        Metric::lower(
            "first_ratio_error",
            "largest |ρ − 1| in the first minibatch of an update: 0 unless sampling and training disagree",
        ),
        Metric::neutral(
            "weight_change",
            "Frobenius norm of what the stage has changed of all weights together: 0 where PPO changed nothing",
        ),
        Metric::neutral("beta", "weight of the KL penalty at the end"),
    ],
    incumbent: Some("policy"),
    draws: true,
    ..Kind::of::<Ppo>(Work::Run(run))
};

/// The models of a run. On disk they share one base; in memory, too.
struct Models {
    policy: Artifact,
    start: Adapter,
    /// `None` where it is a moving average of the policy.
    reference: Option<model::Reference>,
    reward: (Decoder, Adapter),
    /// Stands on the reward model's base, which is the policy's own where both came from it. `None` where the other
    /// answers to a prompt do its work.
    critic: Option<Adapter>,
    /// Those of them in memory that are not the policy's own.
    other_bases: usize,
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

/// What the updates since the last candidate were like: sums, of which each metric is the mean.
#[derive(Default, Serialize, Deserialize)]
struct Tally {
    updates: u64,
    sums: std::collections::BTreeMap<String, f64>,
    first_ratio_error: f64,
    beta: f64,
    /// Rollouts in a row, the last among them, whose answers all scored the same.
    constant: u64,
    /// Rollouts of the whole stage in which no answer scored better than another it is compared with.
    idle: u64,
}

/// Where training stands, besides its tensors. Inside an update, what it learns from and how far it has come.
#[derive(Deserialize)]
struct Stand {
    tally: Tally,
    midway: Option<(Rollout, SoFar)>,
}

/// The same, to be written.
#[derive(Serialize)]
struct StandNow<'a> {
    tally: &'a Tally,
    midway: Option<(&'a Rollout, &'a SoFar)>,
}

impl Tally {
    fn mean(&self, name: &str) -> f64 {
        self.sums.get(name).map_or(f64::NAN, |sum| sum / self.updates as f64)
    }
}

/// So many in a row are no chance any more: nothing is being learned.
const CONSTANT_ROLLOUTS: u64 = 5;

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Ppo = call.parameters()?;
    let device = device::of(io)?;
    let draw = |purpose| Draw { seed: call.seed, kind: "ppo", purpose };
    let models = load(io, &parameters, draw("adapter"), &device)?;
    let policy = &models.policy;
    let stops = policy.stops(parameters.stop_token)?;
    if stops.is_empty() && parameters.missing_eos() != rl::MissingEos::Scored {
        bail!("find the end token: the model names no eos_token_id; set `stop_token`, or `missing_eos_score: null`");
    }
    let mut sieve = io.sieve();
    let questions = data::prompts(io.input("prompts")?, &mut sieve)?;
    let (questions, prompts) = train::prompts(policy, questions, parameters.max_new_tokens, &mut sieve)?;
    let all: Vec<usize> = (0..prompts.len()).collect();

    let asked = parameters.batch / parameters.answers_per_prompt;
    if asked > prompts.len() {
        io.remark(format!(
            "a rollout asks {asked} prompts (`batch` by `answers_per_prompt`), and there are {}; they come more than once",
            prompts.len()
        ));
    }
    let rows = rollout::minibatch(&parameters).min(parameters.micro_batch.unwrap_or(usize::MAX));
    let tokens = prompts.iter().map(Vec::len).max().unwrap_or(0) + parameters.max_new_tokens;
    let load = Load {
        rows,
        tokens,
        predicted: rows * parameters.max_new_tokens,
        trained: 1 + usize::from(models.critic.is_some()),
        read: 2,
        recomputes: parameters.recompute,
        decoded: (rollout::rows_at_once(&parameters), parameters.max_new_tokens),
        other_bases: models.other_bases,
        ..Load::default()
    };
    io.expects(
        policy.memory(&parameters.lora, load),
        "`micro_batch` (null is the whole batch), `max_new_tokens` or `lora.rank`",
    )?;
    let mut adam = Adam::new(models.trained(), parameters.adam);
    if models.reference.is_none() {
        adam.keep_averages();
    }
    let anew = || Stand { tally: Tally { beta: parameters.kl.coef, ..Tally::default() }, midway: None };
    let (first, Stand { mut tally, mut midway }) = train::resume(io, &mut adam)?.unwrap_or_else(|| (0, anew()));
    for step in first..=parameters.steps {
        // 1. Sample answers, score them, and note what policy, reference and critic think of each token. The last round is
        // for this alone.
        let beta = tally.beta;
        let numbers: Vec<usize> = train::batch_of(draw("prompts"), step, asked, &all)
            .flat_map(|row| std::iter::repeat_n(row, parameters.answers_per_prompt))
            .collect();
        let batch: Vec<&[u32]> = numbers.iter().map(|row| prompts[*row].as_slice()).collect();
        let started = Instant::now();
        let (rollout, so_far, generated) = match midway.take() {
            Some((rollout, so_far)) => (rollout, so_far, None),
            None => {
                let answers = rollout::sample(&parameters, &models, &adam, &batch, &stops, draw("token"), step)?;
                let generated = Instant::now();
                (rollout::score(&parameters, &models, &adam, &batch, answers)?, SoFar::default(), Some(generated))
            }
        };
        let scored = Instant::now();
        let seen = rollout.seen(beta);
        if !so_far.has_begun() {
            abort_if(&parameters, step, &seen)?;
            // 2. So the policy is after this many updates: what a candidate of now has to be judged by.
            if step > 0 && train::is_candidate(step, parameters.checkpoint_every, parameters.steps) {
                let (actor, _) = models.with(&adam.tensors);
                policy.save_with(&actor, &io.candidate_dir(step)?)?;
                // What a critic would have given is no number without one, so that no gate passes on it.
                let of_updates = UPDATE_METRICS.map(|name| (name, tally.mean(name)));
                let others = [
                    ("first_ratio_error", tally.first_ratio_error),
                    ("beta", beta),
                    ("weight_change", actor.moved_from(&models.start)?),
                ];
                io.candidate(step, &[&seen.metrics()[..], &of_updates, &others, &sieve.metrics()].concat())?;
                tally = Tally { beta, constant: tally.constant, idle: tally.idle, ..Tally::default() };
            }
            if step == parameters.steps {
                if tally.idle > 0 {
                    io.remark(nothing_learned(&parameters, tally.idle));
                }
                break;
            }
            tally.constant = if rollout.has_constant_scores() { tally.constant + 1 } else { 0 };
            if tally.constant == CONSTANT_ROLLOUTS {
                rollout.refuse_constant_scores(&parameters)?;
            }
        }

        // 3. Rewards per token, advantages; 4. epochs of minibatches on the clipped objective.
        let learning = Instant::now();
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
        let names = |rows: &[usize]| train::named(rows.iter().map(|row| questions[numbers[*row]].id.as_str()));
        let updated = update.run(&mut adam, (rate, draw("minibatch")), &names, so_far, |adam, so_far| {
            let stand = StandNow { tally: &tally, midway: Some((&rollout, so_far)) };
            train::checkpoint(io, (step, parameters.steps), false, adam, &stand)
        })?;
        adam.average(parameters.kl.ema_decay);
        let ended = Instant::now();

        // 5. What this update was like.
        if let Some(target) = parameters.kl.target {
            tally.beta = rl::adapted_beta(beta, seen.kl, target, parameters.kl.horizon, parameters.batch);
        }
        let mut of_update = vec![
            ("approx_kl", updated.ratio.approx_kl),
            ("clip_fraction", updated.ratio.clip_fraction),
            ("ratio_max", updated.ratio.max),
        ];
        if models.critic.is_some() {
            of_update.push(("value_loss", updated.value_loss));
            of_update.push(("explained_variance", rollout::explained(&rollout, &estimates)));
        }
        tally.updates += 1;
        tally.idle += u64::from(!rollout.has_preferences(&parameters));
        tally.first_ratio_error = tally.first_ratio_error.max(updated.first_ratio_error);
        for (name, value) in &of_update {
            *tally.sums.entry((*name).to_owned()).or_default() += value;
        }
        let done = step + 1;
        let point = seen.metrics().into_iter().chain(of_update);
        let point: serde_json::Map<String, serde_json::Value> =
            point.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
        let (sampling, update) = (
            generated.map(|generated| (seconds(started, generated), seconds(generated, scored))),
            seconds(learning, ended),
        );
        let tokens = rollout.rows.iter().map(|row| row.completion().len()).sum::<usize>() as f64;
        io.curve(&json!({
            "step": done, "lr": rate, "beta": beta, "loss": updated.loss, "gradient_norm": updated.norm,
            "ratio_mean": updated.ratio.mean, "metrics": point,
            "seconds": {
                // Of an update that was taken up midway the rest is not known.
                "generation": sampling.map(|(generation, _)| generation), "scoring": sampling.map(|(_, scoring)| scoring),
                "update": update, "tokens_per_second": sampling.map(|(one, two)| tokens / (one + two + update)),
            },
        }))?;
        io.progress(done, parameters.steps, "update", || format!("reward {:.3}, kl {:.3}", seen.reward, seen.kl))?;
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, parameters.steps);
        let stand = StandNow { tally: &tally, midway: None };
        train::checkpoint(io, (done, parameters.steps), is_candidate, &adam, &stand)?;
    }
    Ok(())
}

/// Means over the updates since the last candidate.
const UPDATE_METRICS: [&str; 5] = ["approx_kl", "clip_fraction", "ratio_max", "value_loss", "explained_variance"];

fn nothing_learned(parameters: &Ppo, idle: u64) -> String {
    let (other, remedy) = match parameters.advantage.of_group() {
        Some(_) => ("another to its prompt", "raise `temperature` or `answers_per_prompt`"),
        None => ("another", "look at the reward model, and whether answers end within `max_new_tokens`"),
    };
    let updates = parameters.steps;
    format!(
        "in {idle} of {updates} updates no answer scored better than {other}, so no preference was learned; {remedy}"
    )
}

/// Ends a training that has left the ground the reward model knows.
fn abort_if(parameters: &Ppo, step: u64, seen: &Seen) -> Result<()> {
    let Seen { kl, entropy, .. } = *seen;
    let when = if step == 0 { "before the first update".to_owned() } else { format!("after update {step}") };
    if let Some(bound) = parameters.abort_if.kl_above.filter(|bound| kl > *bound) {
        bail!(
            "train: the KL to the reference is {kl:.3} nats per answer {when}, above `abort_if.kl_above` \
             {bound}; raise `kl.coef`, set `kl.target`, or lower `lr` or `epochs`"
        );
    }
    if let Some(bound) = parameters.abort_if.entropy_below.filter(|bound| entropy < *bound) {
        bail!(
            "train: the policy's entropy is {entropy:.3} nats per token {when}, below \
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
        (path, Reference::Incoming) => Some(policy.reference(path)?),
        (Some(_), _) => bail!(
            "choose a reference: one is connected to `reference`, and `kl.reference` names another; take one of the two away"
        ),
        (None, Reference::Base) => Some(model::Reference { adapter: None, ..policy.reference(None)? }),
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
    let of_critic = Draw { purpose: "critic", ..draw };
    let config = &reward.model.config;
    let critic = match (parameters.advantage.of_group(), parameters.critic) {
        (Some(_), _) => None,
        (None, Critic::Reward) if reward_adapter.pairs.is_empty() => {
            Some(reward.start_adapter(&parameters.lora, of_critic)?)
        }
        (None, Critic::Reward) => Some(reward_adapter.clone()),
        (None, Critic::Zero) => Some(Adapter {
            head: Some(Tensor::zeros([config.width, 1], device)),
            ..Adapter::new(config, &parameters.lora, of_critic, device)
        }),
    };
    let other_bases = [reward.has_own_base, reference.as_ref().is_some_and(|reference| reference.has_own_base)];
    let other_bases = other_bases.into_iter().filter(|is_other| *is_other).count();
    Ok(Models { policy, start, reference, reward: (reward.model, reward_adapter), critic, other_bases })
}
