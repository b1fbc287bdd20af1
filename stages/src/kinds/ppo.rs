//! `ppo`: improves a policy against a reward model (Schulman et al. 2017; Ouyang et al. 2022; the details of Huang et
//! al. 2024, "N+"). Each update samples answers, scores them, and trains on the clipped objective. It differs from the
//! textbook:
//!
//! 1. Policy, reference, critic and reward model may share one frozen base and differ in their adapters.
//! 2. The critic starts from the reward model. `rloo`, `grpo` and `dr-grpo` compare answers to one prompt and need no
//!    critic.
//! 3. The KL to the reference is part of each token's reward, or of the loss; its weight β can be steered to a target.
//! 4. Old log-probabilities are computed by the forward pass of training, not while decoding, so the first ratios of an
//!    update are 1 to the last bit.
//! 5. An answer that did not end gets a fixed score, since the reward model was never trained on such answers.
//! 6. A candidate is measured on a rollout of its own, from which the next update learns: `steps` updates take
//!    `steps + 1` rollouts.
//! 7. A checkpoint can be written between two optimiser steps of an update; it then holds the rollout.

pub mod models;
mod parameters;
pub mod rollout;
mod tally;
pub mod update;

use crate::device;
use crate::io::Io;
use crate::model::{Artifact, Demand, Expectation, Load};
use crate::reward;
use crate::rl;
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, TokenizerSource, Work};
use crate::train::{self, Adam, Forward, Passes, Samples, Team};
use anyhow::{Result, bail};
use formats::data::{self, DataRows, RowFilter};
use models::{Models, WrittenAnswers};
pub use parameters::Ppo;
use rollout::{Rollout, RolloutSummary};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tally::{Clock, Tally};
use update::{Update, UpdateProgress};

pub const KIND: Kind = Kind {
    name: "ppo",
    version: 6,
    doc: "improve a policy against a reward model by PPO with a KL penalty",
    ports: &[
        Port::one("policy", Accepts::Model, "the model to improve"),
        Port::one(
            "reward",
            Accepts::Reward,
            "what scores the answers: a reward model, whatever its tokenizer, a stage of kind `reward`, or a file that scores; \
             several are added up, each by its `weight`; unless told otherwise the critic starts from the first reward model, \
             which then has the policy's tokenizer",
        )
        .many()
        .files_by(reward::check_file)
        .reads_tokens_of("policy")
        .only_if(parameters::starts_from_the_reward),
        Port::one("prompts", Accepts::Data(DataRows::Prompts), "rows with a `prompt`"),
        Port::one(
            "reference",
            Accepts::Model,
            "what the KL penalty is measured from; default: the incoming policy, frozen",
        )
        .reads_tokens_of("policy")
        .instead_of("kl.reference")
        .optional(),
    ],
    gives: Gives::Model,
    tokenizer: TokenizerSource::Port("policy"),
    reads_rows: true,
    metrics: &[
        Metric::higher("reward", "mean score of a rollout of this checkpoint, without the KL penalty")
            .measured_by("reward"),
        Metric::lower(
            "kl",
            "mean KL of that rollout to the reference per answer, nats: the sum of `kl.estimate` over its tokens, at the temperature of sampling",
        )
        .measured_by("reference"),
        Metric::neutral("entropy", "mean entropy of the policy per token of that rollout, nats"),
        Metric::neutral("score_sd", "standard deviation of its scores"),
        Metric::higher("rlhf_reward", "reward less β times the KL: what is maximised").measured_by("reward"),
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
    memory: Some(memory),
    ..Kind::of::<Ppo>(Work::Run(run))
};

/// The state of the training apart from its tensors. `midway` is the rollout and the progress of an update that is not
/// finished. Read with owned fields, written with references.
#[derive(Serialize, Deserialize)]
struct PpoState<T, M> {
    tally: T,
    midway: Option<M>,
}

/// Number of rollouts in a row with equal scores that fail the stage: that is no chance any more.
const CONSTANT_ROLLOUTS: u64 = 5;

/// Tokens of a prompt in the sum of the memory, which is made before there are any prompts.
const PROMPT: usize = 128;

fn memory(context: usize) -> Demand {
    let Ppo { batch, minibatches, max_new_tokens, tuning, .. } = Ppo::default();
    let rows = batch.div_ceil(minibatches);
    let tokens = (PROMPT + max_new_tokens).min(context);
    let decoded = max_new_tokens.min(tokens);
    let predicted = rows * decoded;
    let load = Load { rows, tokens, predicted, trained: 2, read: 2, decoded: (batch, tokens), ..Load::default() };
    let of = format!("{rows} answers of {decoded} tokens to prompts of {}", tokens - decoded);
    Demand { of, lora: tuning.lora, load }
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Ppo = call.parameters()?;
    let device = device::of(io, parameters.tuning.dtype)?;
    let draw = |purpose| call.draw(KIND.name, purpose);
    let (policy, models) = Models::open(io, &parameters, draw("adapter"), &device)?;
    let stops = policy.stops(parameters.stop_token)?;
    if stops.is_empty() && parameters.missing_eos() != rl::MissingEos::Scored {
        bail!("find the end token: the model names no eos_token_id; set `stop_token`, or `missing_eos_score: null`");
    }
    let mut filter = RowFilter::new(io.may_skip());
    let questions = data::prompts(io.data("prompts")?, &mut filter)?;
    let (max_new, truncate) = (parameters.max_new_tokens, parameters.truncate);
    let (questions, prompts) = train::prompts(&policy, questions, max_new, truncate, &mut filter)?;
    filter.take_remarks().into_iter().for_each(|remark| io.remark(remark));
    let all = train::by_weight((0..prompts.len()).collect(), |row| questions[row].weight, draw("weight"));
    let asked = parameters.batch / parameters.answers_per_prompt;
    expect(io, &parameters, &policy, &models, &prompts)?;
    let samples = Samples::of_prompts(&policy, prompts.iter().map(Vec::as_slice));

    let beside = train::devices_beside(io, &device, parameters.tuning.dtype)?;
    let team = Team::of(models, beside, Models::on)?;
    let models = team.own();
    let mut adam = Adam::of_adapters(models.trained(), parameters.tuning.adam);
    if models.reference.is_none() {
        adam.keep_averages();
    }
    let anew = || PpoState { tally: Tally::new(parameters.kl.coef), midway: None };
    let (first, PpoState { mut tally, mut midway }) = train::resume(io, &mut adam)?.unwrap_or_else(|| (0, anew()));
    for step in first..=parameters.steps {
        // 1. Sample answers, score them, and run policy, reference and critic over them. An update that is resumed has
        //    them already.
        let beta = tally.beta;
        let numbers: Vec<usize> = train::batch_of(draw("prompts"), step, asked, &all)
            .flat_map(|row| std::iter::repeat_n(row, parameters.answers_per_prompt))
            .collect();
        let mut clock = Clock::start();
        let (rollout, progress, forward): (Rollout, UpdateProgress, Option<Forward>) = match midway.take() {
            Some((rollout, progress)) => (rollout, progress, None),
            None => {
                let batch: Vec<&[u32]> = numbers.iter().map(|row| prompts[*row].as_slice()).collect();
                let answers = rollout::sample(&parameters, &team, &adam, &batch, &stops, draw("token"), step)?;
                clock.has_generated();
                let written = WrittenAnswers {
                    policy: &policy,
                    questions: &numbers.iter().map(|row| &questions[*row]).collect::<Vec<_>>(),
                    prompts: &batch,
                    answers: &answers,
                    at_once: parameters.passes.at_once(parameters.batch),
                };
                let scored = models.scores_of_texts(io, &written)?;
                let is_learned_from = step < parameters.steps;
                let (rollout, forward) =
                    rollout::score(&parameters, &team, &adam, &batch, answers, scored, is_learned_from)?;
                clock.has_scored();
                (rollout, UpdateProgress::default(), forward)
            }
        };
        let summary = rollout.summary(beta);
        if !progress.has_begun() {
            // 2. This rollout shows the policy after `step` updates: abort, hand over a candidate, or end.
            abort_if(&parameters, step, &summary)?;
            if step > 0 && train::is_candidate(step, parameters.checkpoint_every, parameters.steps) {
                let metrics = [&summary.metrics()[..], &tally.metrics(), &filter.metrics()].concat();
                hand_over(io, &policy, models, &samples, &adam, step, metrics)?;
                tally.begin_anew();
            }
            if step == parameters.steps {
                break;
            }
            tally.constant = if rollout.has_constant_scores() { tally.constant + 1 } else { 0 };
            if tally.constant == CONSTANT_ROLLOUTS {
                rollout.refuse_constant_scores(&parameters)?;
            }
        }

        // 3. Compute rewards per token and advantages.
        clock.learns();
        let estimates = rollout::advantages(&parameters, &rollout, beta);

        // 4. Train epochs of minibatches on the clipped objective.
        let update = Update {
            parameters: &parameters,
            team: &team,
            rollout: &rollout,
            estimates: &estimates,
            beta,
            step,
            rate: parameters.rate.at(step, parameters.steps),
            order: draw("minibatch"),
            names: &|rows| train::named(rows.iter().map(|row| &questions[numbers[*row]].id)),
        };
        let outcome = update.run(&mut adam, progress, forward, |adam, progress| {
            let state = PpoState { tally: &tally, midway: Some((&rollout, progress)) };
            train::checkpoint(io, step, parameters.steps, false, adam, &state)
        })?;
        adam.average(parameters.kl.ema_decay);
        clock.has_learned();

        // 5. Adapt β for the next update, and report this one.
        if let Some(target) = parameters.kl.target {
            tally.beta = rl::adapted_beta(beta, summary.kl, target, parameters.kl.horizon, parameters.batch);
        }
        let metrics = update.metrics(&outcome);
        tally.add(&metrics, outcome.first_ratio_error, !rollout.has_preferences(&parameters));
        let done = step + 1;
        let point = summary.metrics().into_iter().chain(metrics);
        let point: Map<String, Value> = point.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        io.curve(&json!({
            "step": done, "lr": update.rate, "beta": beta, "loss": outcome.loss, "gradient_norm": outcome.norm,
            "ratio_mean": outcome.ratio.mean, "metrics": point, "seconds": clock.seconds(rollout.tokens()),
        }))?;
        io.progress(done, parameters.steps, "update", || {
            format!("reward {:.3}, kl {:.3}", summary.reward, summary.kl)
        })?;
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, parameters.steps);
        let state = PpoState { tally: &tally, midway: None::<()> };
        train::checkpoint(io, done, parameters.steps, is_candidate, &adam, &state)?;
    }
    if tally.idle > 0 {
        io.remark(nothing_learned(&parameters, tally.idle));
    }
    Ok(())
}

/// Writes down the memory the stage is expected to take; remarks on prompts that a rollout repeats.
fn expect(io: &mut Io, parameters: &Ppo, policy: &Artifact, models: &Models, prompts: &[Vec<u32>]) -> Result<()> {
    let asked = parameters.batch / parameters.answers_per_prompt;
    if asked > prompts.len() {
        io.remark(format!(
            "a rollout asks {asked} prompts (`batch` by `answers_per_prompt`), and there are {}; they come more than once",
            prompts.len()
        ));
    }
    let rows = parameters.passes.at_once(rollout::minibatch(parameters));
    let tokens = prompts.iter().map(Vec::len).max().unwrap_or(0) + parameters.max_new_tokens;
    let load = Load {
        rows,
        tokens,
        predicted: rows * parameters.max_new_tokens,
        trained: 1 + usize::from(models.critic.is_some()),
        read: 2,
        recomputes: parameters.passes.recompute,
        decoded: (parameters.passes.at_once(parameters.batch), tokens),
        ..Load::default()
    };
    let others = models.bases_beside_the_policy();
    let lower = &Passes::or_lower("`max_new_tokens` or `lora.rank`");
    policy.expect(io, Expectation { lora: &parameters.tuning.lora, load, others: &others, lower })
}

/// Hands over the policy after `step` updates as a candidate.
fn hand_over(
    io: &mut Io,
    policy: &Artifact,
    models: &Models,
    samples: &Samples,
    adam: &Adam,
    step: u64,
    mut metrics: Vec<(&'static str, f64)>,
) -> Result<()> {
    let (actor, _) = models.with(&adam.tensors);
    policy.save_with(&actor, &io.candidate_dir(step)?)?;
    samples.write(io, step, models.policy.model(), Some(&actor))?;
    metrics.push(("weight_change", actor.moved_from(&models.start)?));
    io.candidate(step, &metrics)
}

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

/// Ends a training whose policy is too far from the answers the reward model was trained on.
fn abort_if(parameters: &Ppo, step: u64, summary: &RolloutSummary) -> Result<()> {
    let RolloutSummary { kl, entropy, .. } = *summary;
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
