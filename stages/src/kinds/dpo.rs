//! `dpo`: improves a policy on preferences without a reward model (Rafailov et al. 2023): a LoRA adapter that makes the
//! chosen answer likelier beside the rejected one than the reference holds it to be. The reference's log-probabilities
//! are computed once.

use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Decoder, Dtype, Load, LoraParameters, Trained};
use crate::rl::{self, DirectLoss, SlopedPairs};
use crate::stage::{self, Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, Work};
use crate::train::{self, Adam, AdamSettings, Group, Pass, Schedule, Sequence};
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub const KIND: Kind = Kind {
    name: "dpo",
    version: 1,
    doc: "improve a policy on preferences directly, without a reward model",
    ports: &[
        Port::one("policy", Accepts::Model, "the model to improve"),
        Port::one(
            "data",
            Accepts::Data,
            "preferences: pairs (`prompt`, `chosen`, `rejected`), rankings, ratings or labels",
        ),
        Port::HELDOUT,
        Port::REFERENCE,
    ],
    gives: Gives::Model,
    reads_rows: true,
    metrics: &[
        Metric::lower("loss", "mean training loss since the last checkpoint"),
        Metric::lower("heldout_loss", "mean loss over held-out pairs").mean_of("loss"),
        Metric::higher(
            "accuracy",
            "share of held-out pairs whose chosen answer has the strictly higher implicit reward",
        )
        .mean_of("correct"),
        Metric::higher("margin", "mean difference of the implicit rewards β·(log π − log π_ref)").mean_of("margin"),
        Metric::higher("reward_chosen", "mean implicit reward of the chosen answers"),
        Metric::lower("reward_rejected", "mean implicit reward of the rejected ones"),
        Metric::neutral("pairs", "held-out pairs"),
    ],
    incumbent: Some("policy"),
    draws: true,
    ..Kind::of::<Dpo>(Work::Run(run))
};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dpo {
    /// passes over the training prompts; may be a fraction
    pub epochs: f64,
    /// prompts per step, each with all its answers
    pub batch: usize,
    /// rows that go through the model together; null: the whole batch. Fewer take less memory
    pub micro_batch: Option<usize>,
    /// run each block again on the way back instead of remembering it: less memory, a third more time, the same bytes
    pub recompute: bool,
    /// learning rate
    pub lr: f64,
    /// constant, or linear or cosine from `lr` at the first step down to 0 behind the last
    pub schedule: Schedule,
    /// sigmoid, robust, ipo, ipo-per-token or hinge
    pub loss: DirectLoss,
    /// how far the policy may go from the reference: smaller is further
    pub beta: f64,
    /// share of the pairs that are taken to be the wrong way round (sigmoid, robust)
    pub label_smoothing: f64,
    /// longest row, prompt and answer together; longer ones are cut
    pub max_tokens: usize,
    /// share of the prompts measured on, when nothing is connected to `heldout`
    pub heldout: f64,
    /// steps between candidates; 0: only the last
    pub checkpoint_every: u64,
    /// id put behind each answer; default: the model's eos token
    pub stop_token: Option<u32>,
    /// whether answers end by themselves: put the stop token behind them
    pub ends: bool,
    /// f32, f16 or bf16: what the matrices of the frozen base are kept and multiplied in
    pub dtype: Dtype,
    pub adam: AdamSettings,
    pub lora: LoraParameters,
}

impl Default for Dpo {
    fn default() -> Dpo {
        Dpo {
            epochs: 1.0,
            batch: 16,
            micro_batch: None,
            recompute: false,
            lr: 3e-4,
            schedule: Schedule::Linear,
            adam: AdamSettings::default(),
            loss: DirectLoss::Sigmoid,
            beta: 0.1,
            label_smoothing: 0.0,
            max_tokens: 256,
            heldout: 0.1,
            checkpoint_every: 0,
            stop_token: None,
            ends: true,
            dtype: Dtype::F32,
            lora: LoraParameters::default(),
        }
    }
}

impl Parameters for Dpo {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = stage::at_least_one(&[
            ("batch", self.batch as u64),
            ("micro_batch", self.micro_batch.unwrap_or(1) as u64),
            ("max_tokens", self.max_tokens as u64),
        ]);
        mistakes.extend(stage::above_zero(&[("epochs", self.epochs), ("lr", self.lr), ("beta", self.beta)]));
        mistakes.extend(stage::is_share("heldout", self.heldout));
        if !(0.0..0.5).contains(&self.label_smoothing) {
            mistakes
                .push(ParameterMistake::new("label_smoothing", "`label_smoothing` is at least 0 and below one half"));
        }
        mistakes.extend(self.adam.mistakes());
        mistakes.extend(self.lora.mistakes());
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        let mut conflicts = Vec::new();
        if self.label_smoothing > 0.0 && !self.loss.takes_label_smoothing() {
            let message = "only `loss: sigmoid` and `loss: robust` know label smoothing";
            conflicts.push(ParameterMistake::new("label_smoothing", message));
        }
        conflicts.extend(train::idle_stop_token(self.stop_token, self.ends));
        conflicts
    }
}

/// A line of the candidate's table `items`: one held-out pair.
#[derive(Serialize)]
struct Measured<'a> {
    id: String,
    prompt: &'a str,
    prompt_group: &'a str,
    reward_chosen: f64,
    reward_rejected: f64,
    correct: bool,
    loss: f64,
    margin: f64,
}

/// Where training stands, besides its tensors.
#[derive(Default, Serialize, Deserialize)]
struct Stand {
    losses: Vec<f64>,
    /// log π_ref of the answers of all training prompts, then of the held-out ones.
    references: Vec<f64>,
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Dpo = call.parameters()?;
    let device = device::of(io)?;
    let draw = |purpose| Draw { seed: call.seed, kind: "dpo", purpose };
    let policy = Artifact::load(io.input("policy")?, parameters.dtype, &device)?;
    let reference = policy.reference(io.optional_input("reference"))?;

    // 1. Prompts with their answers as tokens; held-out prompts apart.
    let end = parameters.ends.then(|| policy.end(parameters.stop_token)).transpose()?;
    let mut sieve = io.sieve();
    let (groups, heldout) = train::groups_apart(
        &policy,
        io,
        end,
        parameters.max_tokens,
        (draw("split"), parameters.heldout),
        false,
        &mut sieve,
    )?;
    let training: Vec<usize> = (0..groups.len()).collect();

    // 2. What the reference says, once for all epochs and attempts.
    let start = policy.start_adapter(&parameters.lora, draw("adapter"))?;
    let mut adam = Adam::new(start.tensors(), parameters.adam);
    let size = train::batch_size(io, parameters.batch, groups.len());
    let total = train::steps(parameters.epochs, groups.len(), size);
    let load = train::load_of_groups(&groups, parameters.micro_batch, size, parameters.recompute, true);
    io.expects(
        policy.memory(&parameters.lora, Load { other_bases: usize::from(reference.has_own_base), ..load }),
        "`micro_batch` (null is the whole batch), `max_tokens` or `lora.rank`",
    )?;
    let (first, mut stand) = match train::resume(io, &mut adam)? {
        Some(found) => found,
        None => {
            let all: Vec<&Group> = groups.iter().chain(&heldout).collect();
            let references = log_probs(&reference.model, reference.adapter.as_ref(), &all, load.rows)?;
            (0, Stand { references, ..Stand::default() })
        }
    };
    // Of the answers of each prompt.
    let mut rest = stand.references.as_slice();
    let of_group = groups.iter().chain(&heldout).map(|group| {
        let (now, later) = rest.split_at(group.rows.len());
        rest = later;
        now.to_vec()
    });
    let references: Vec<Vec<f64>> = of_group.collect();

    for step in first..total {
        // 3. All answers of a prompt go forward once; each prompt weighs the same, however many pairs it has.
        let numbers: Vec<usize> = train::batch_of(draw("order"), step, size, &training).collect();
        let batch: Vec<&Group> = numbers.iter().map(|group| &groups[*group]).collect();
        let adapter = start.with_tensors(&adam.tensors);
        let pass = Pass {
            model: &policy.model,
            adapter: Some(&adapter),
            trained: Trained::Adapter,
            recomputes: parameters.recompute,
        };
        let (mut loss, mut gradients) = (0.0, Vec::new());
        for part in train::parts_of_groups(&batch, parameters.micro_batch) {
            let reference: Vec<f64> = part.iter().flat_map(|group| references[numbers[*group]].clone()).collect();
            let part: Vec<&Group> = part.iter().map(|group| batch[*group]).collect();
            let rows: Vec<&Sequence> = part.iter().flat_map(|group| &group.rows).collect();
            let more = train::learn_rows(pass, &rows, |predicted| {
                let ratios = rl::log_ratios(&train::per_answer(&predicted.log_probs, &rows), &reference);
                let (of_part, slopes) = objective(&parameters, &part, &ratios, batch.len());
                loss += of_part;
                Ok(train::per_token(&slopes, &rows))
            })?;
            train::add(&mut gradients, more);
        }
        let rate = parameters.schedule.rate(parameters.lr, step, total);
        let norm = adam.step(rate, loss, gradients, || train::named(batch.iter().map(|group| group.id.as_str())))?;
        stand.losses.push(loss);
        let done = step + 1;
        io.curve(&json!({"step": done, "loss": loss, "gradient_norm": norm, "lr": rate}))?;
        io.progress(done, total, "step", || format!("loss {loss:.3}"))?;
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, total);
        if is_candidate {
            let adapter = start.with_tensors(&adam.tensors);
            let of_training = [&[("loss", rl::mean(&stand.losses))][..], &sieve.metrics()].concat();
            let heldout = (heldout.as_slice(), &references[groups.len()..], load.rows);
            measure(io, &policy, &parameters, &adapter, heldout, done, &of_training)?;
            stand.losses.clear();
        }
        train::checkpoint(io, (done, total), is_candidate, &adam, &stand)?;
    }
    Ok(())
}

/// log π of each answer of the groups, one after the other.
fn log_probs(model: &Decoder, adapter: Option<&Adapter>, groups: &[&Group], at_once: usize) -> Result<Vec<f64>> {
    let rows: Vec<&Sequence> = groups.iter().flat_map(|group| &group.rows).collect();
    train::log_probs(model, adapter, &rows, at_once)
}

/// Loss of a part of a batch and its slopes by the log-ratios of the part's answers, group after group. Each prompt weighs
/// the same, however many pairs it has; `prompts` are in the whole batch.
fn objective(parameters: &Dpo, groups: &[&Group], ratios: &[f64], prompts: usize) -> (f64, Vec<f64>) {
    let (mut loss, mut slopes, mut first) = (0.0, vec![0.0; ratios.len()], 0);
    for group in groups {
        let place = first..first + group.rows.len();
        first = place.end;
        let pairs = compared(parameters, group, &ratios[place.clone()]);
        let weight = 1.0 / (prompts * group.pairs.len()) as f64;
        loss += weight * pairs.losses.iter().sum::<f64>();
        group.spread(&pairs, weight, &mut slopes[place]);
    }
    (loss, slopes)
}

/// The loss of each pair of a group, and its slopes by the log-probabilities of its two answers.
fn compared(parameters: &Dpo, group: &Group, ratios: &[f64]) -> SlopedPairs {
    let (chosen, rejected) = group.sides(ratios);
    let length = |row: usize| group.rows[row].completion().len();
    let lengths: Vec<(usize, usize)> = group.pairs.iter().map(|pair| (length(pair.0), length(pair.1))).collect();
    rl::direct_loss(parameters.loss, &chosen, &rejected, &lengths, parameters.beta, parameters.label_smoothing)
}

fn measure(
    io: &mut Io,
    policy: &Artifact,
    parameters: &Dpo,
    adapter: &Adapter,
    (heldout, references, at_once): (&[Group], &[Vec<f64>], usize),
    step: u64,
    of_training: &[(&str, f64)],
) -> Result<()> {
    let ours = log_probs(&policy.model, Some(adapter), &heldout.iter().collect::<Vec<_>>(), at_once)?;
    let (mut table, mut first) = (Vec::new(), 0);
    for (group, reference) in heldout.iter().zip(references) {
        let ratios = rl::log_ratios(&ours[first..first + group.rows.len()], reference);
        first += group.rows.len();
        let losses = compared(parameters, group, &ratios).losses;
        let rewards = rl::implicit_rewards(&ratios, parameters.beta);
        for (number, ((better, worse), loss)) in group.pairs.iter().zip(losses).enumerate() {
            let (reward_chosen, reward_rejected) = (rewards[*better], rewards[*worse]);
            table.push(Measured {
                id: format!("{}/{}", group.id, number + 1),
                prompt: &group.prompt,
                prompt_group: &group.prompt_group,
                reward_chosen,
                reward_rejected,
                correct: reward_chosen > reward_rejected,
                loss,
                margin: reward_chosen - reward_rejected,
            });
        }
    }
    let mean = |number: fn(&Measured) -> f64| rl::mean(&table.iter().map(number).collect::<Vec<_>>());
    policy.save_with(adapter, &io.candidate_dir(step)?)?;
    io.table(step, "items", &table)?;
    let measured = [
        ("heldout_loss", mean(|row| row.loss)),
        ("accuracy", mean(|row| f64::from(u8::from(row.correct)))),
        ("margin", mean(|row| row.margin)),
        ("reward_chosen", mean(|row| row.reward_chosen)),
        ("reward_rejected", mean(|row| row.reward_rejected)),
        ("pairs", table.len() as f64),
    ];
    io.candidate(step, &[&measured, of_training].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::groups_of_a_test;

    #[test]
    fn the_slopes_of_every_loss_are_its_derivatives_and_prompts_weigh_the_same() {
        let groups = groups_of_a_test();
        let groups: Vec<&Group> = groups.iter().collect();
        let ratios = [0.3, -0.8, 1.4, 0.2, 0.9, -1.1];
        use DirectLoss::{Hinge, Ipo, IpoPerToken, Robust, Sigmoid};
        for (loss, label_smoothing) in
            [(Sigmoid, 0.0), (Sigmoid, 0.2), (Robust, 0.2), (Ipo, 0.0), (IpoPerToken, 0.0), (Hinge, 0.0)]
        {
            let parameters = Dpo { loss, label_smoothing, ..Dpo::default() };
            train::has_slopes(&ratios, |ratios| objective(&parameters, &groups, ratios, 2));
            let (both, _) = objective(&parameters, &groups, &ratios, 2);
            let alone = [(0, 0..4), (1, 4..6)]
                .map(|(group, place)| objective(&parameters, &groups[group..=group], &ratios[place], 1).0);
            assert!((both - (alone[0] + alone[1]) / 2.0).abs() < 1e-12, "{loss:?}");
        }
    }
}
