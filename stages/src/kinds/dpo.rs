//! `dpo`: improves a policy on preferences without a reward model (Rafailov et al. 2023). It trains a LoRA adapter that
//! prefers the chosen answer to the rejected one more than the reference does. The log-probabilities of the reference
//! are computed once.

use crate::device;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Decoder, Reference};
use crate::rl::{self, DirectLoss, PairTerms};
use crate::stage::{
    self, Accepts, Call, Gives, Kind, Metric, ParameterMistake, Parameters, Port, TokenizerSource, Work,
};
use crate::train::{
    self, Adam, AnswerEnd, BatchLoss, Group, Learner, Metrics, PairBound, PreferenceReading, Samples, Sequence, Team,
    TrainState, TrainSteps, Trainee, Training,
};
use crate::train::{Rate, Schedule};
use anyhow::Result;
use burn::tensor::Tensor;
use formats::data::{DataRows, RowFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const KIND: Kind = Kind {
    name: "dpo",
    version: 3,
    doc: "improve a policy on preferences directly, without a reward model",
    ports: &[
        Port::one("policy", Accepts::Model, "the model to improve"),
        Port::one(
            "data",
            Accepts::Data(DataRows::Preferences { with_margins: false }),
            "preferences: pairs (`prompt`, `chosen`, `rejected`), rankings, ratings or labels",
        ),
        Port::heldout(DataRows::Preferences { with_margins: false }),
        Port::REFERENCE,
    ],
    gives: Gives::Model,
    tokenizer: TokenizerSource::Port("policy"),
    reads_rows: true,
    metrics: &[
        Metric::lower("loss", "mean training loss since the last checkpoint"),
        Metric::lower("heldout_loss", "mean loss over held-out pairs").mean_of("loss"),
        Metric::higher(
            "accuracy",
            "share of held-out pairs whose chosen answer has the strictly higher implicit reward",
        )
        .mean_of("correct")
        .of_unit(),
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
#[serde(default)]
pub struct Dpo {
    #[serde(flatten)]
    pub training: Training,
    /// loss of a pair: OPTIONS
    #[schemars(extend("printed-after" = "schedule"))]
    pub loss: DirectLoss,
    /// pull towards the reference; with a smaller β the policy moves further away
    pub beta: f64,
    /// share of the pairs assumed to be the wrong way round (sigmoid, robust)
    pub label_smoothing: f64,
    #[serde(flatten)]
    pub pair_bound: PairBound,
    #[serde(flatten)]
    pub answer_end: AnswerEnd,
}

impl Default for Dpo {
    fn default() -> Dpo {
        Dpo {
            training: Training { rate: Rate { lr: 3e-4, schedule: Schedule::Linear }, ..Training::default() },
            loss: DirectLoss::Sigmoid,
            beta: 0.1,
            label_smoothing: 0.0,
            pair_bound: PairBound::default(),
            answer_end: AnswerEnd::default(),
        }
    }
}

impl Parameters for Dpo {
    fn mistakes(&self) -> Vec<ParameterMistake> {
        let mut mistakes = self.training.mistakes();
        mistakes.extend(stage::above_zero(&[("beta", self.beta)]));
        mistakes.extend(train::smoothing_mistake(self.label_smoothing));
        mistakes.extend(self.pair_bound.mistakes());
        mistakes
    }

    fn conflicts(&self) -> Vec<ParameterMistake> {
        let mut conflicts = Vec::new();
        if self.label_smoothing > 0.0 && !self.loss.takes_label_smoothing() {
            let message = "only `loss: sigmoid` and `loss: robust` know label smoothing";
            conflicts.push(ParameterMistake::new("label_smoothing", message));
        }
        conflicts.extend(self.training.idle_stop_token(self.answer_end));
        conflicts
    }
}

/// A row of the candidate's table `items`: one held-out pair.
#[derive(Serialize)]
struct PairRow<'a> {
    id: String,
    prompt: &'a str,
    prompt_group: &'a str,
    reward_chosen: f64,
    reward_rejected: f64,
    correct: bool,
    loss: f64,
    margin: f64,
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Dpo = call.parameters()?;
    let Dpo { training, .. } = &parameters;
    let device = device::of(io, training.tuning.dtype)?;
    let draw = |purpose| call.draw(KIND.name, purpose);
    let policy = train::model(io, "policy", &training.tuning, &training.templating, &device)?;
    let reference = policy.reference(io.optional_input("reference"))?;

    // 1. Tokenise prompts with their answers, and hold some out.
    let encoder = training.encoder(&policy, parameters.answer_end)?;
    let mut filter = RowFilter::new(io.may_skip());
    let most = parameters.pair_bound.pairs_per_prompt;
    let reading = PreferenceReading { with_margins: false, most, draw: draw("pairs") };
    let (groups, heldout) = train::groups_apart(&encoder, io, training.heldout, draw("split"), reading, &mut filter)?;

    // 2. Train the incoming adapter or a new one.
    let rows = train::by_weight((0..groups.len()).collect(), |group| groups[group].weight, draw("weight"));
    let steps = TrainSteps::of(io, training, rows, draw("order"));
    let load = train::load_of_groups(&groups, &training.passes, steps.size, true);
    training.expect(io, &policy, load, &[&reference.base])?;
    let start = policy.start_adapter(&training.tuning.lora, draw("adapter"))?;
    let adam = Adam::of_adapters([&start], training.tuning.adam);
    let beside = train::devices_beside(io, &device, training.tuning.dtype)?;
    let learner = DirectPolicy {
        parameters: &parameters,
        team: Team::of(Trainee::of_adapter(policy.model(), &start), beside, Trainee::on)?,
        policy: &policy,
        reference,
        start,
        groups,
        heldout,
        at_once: load.rows,
    };
    train::learn(io, &steps, adam, &mut filter, &learner)
}

struct DirectPolicy<'a> {
    parameters: &'a Dpo,
    policy: &'a Artifact,
    team: Team<Trainee>,
    reference: Reference,
    start: Adapter,
    groups: Vec<Group>,
    heldout: Vec<Group>,
    /// Number of rows that go forward together when nothing is learned.
    at_once: usize,
}

impl DirectPolicy<'_> {
    /// log π_ref of the answers of each prompt: the training prompts, then the held-out ones.
    fn references_of<'a>(&self, state: &'a TrainState) -> Vec<&'a [f64]> {
        let groups = self.groups.iter().chain(&self.heldout);
        rl::by_row(&state.references, groups.map(|group| group.rows.len())).collect()
    }

    /// log π of each answer of the groups, one group after the other.
    fn log_probs<'a>(
        &self,
        model: &Decoder,
        adapter: Option<&Adapter>,
        groups: impl Iterator<Item = &'a Group>,
    ) -> Result<Vec<f64>> {
        let rows: Vec<&Sequence> = groups.flat_map(|group| &group.rows).collect();
        train::log_probs(model, adapter, &rows, self.at_once)
    }
}

impl Learner for DirectPolicy<'_> {
    fn references(&self) -> Result<Vec<f64>> {
        let groups = self.groups.iter().chain(&self.heldout);
        self.log_probs(self.reference.model(), self.reference.adapter.as_ref(), groups)
    }

    /// Runs all answers of a prompt forward once.
    fn gradients(&self, tensors: &[Tensor<2>], batch: &[usize], state: &mut TrainState) -> Result<BatchLoss> {
        let passes = &self.parameters.training.passes;
        let references = self.references_of(state);
        let (loss, gradients) = self.team.learn(tensors, batch.len(), passes, |pass, shard| {
            let numbers = &batch[shard];
            let groups: Vec<&Group> = numbers.iter().map(|group| &self.groups[*group]).collect();
            train::in_parts(&train::parts_of_groups(&groups, passes.micro_batch), |part| {
                let reference: Vec<f64> = part.iter().flat_map(|group| references[numbers[*group]]).copied().collect();
                let part: Vec<&Group> = part.iter().map(|group| groups[*group]).collect();
                let rows: Vec<&Sequence> = part.iter().flat_map(|group| &group.rows).collect();
                train::learn_answers(pass, &rows, passes.micro_batch, |log_probs| {
                    objective(self.parameters, &part, &rl::log_ratios(log_probs, &reference), batch.len())
                })
            })
        })?;
        Ok(BatchLoss { loss, gradients, columns: Vec::new() })
    }

    fn name(&self, row: usize) -> String {
        self.groups[row].id.clone()
    }

    fn candidate(&self, io: &mut Io, tensors: &[Tensor<2>], step: u64, state: &TrainState) -> Result<Metrics> {
        let adapter = self.start.with_tensors(tensors);
        let ours = self.log_probs(self.policy.model(), Some(&adapter), self.heldout.iter())?;
        let ours = rl::by_row(&ours, self.heldout.iter().map(|group| group.rows.len()));
        let references = self.references_of(state).split_off(self.groups.len());
        let mut table = Vec::new();
        for (group, (ours, reference)) in self.heldout.iter().zip(ours.zip(references)) {
            let ratios = rl::log_ratios(ours, reference);
            let losses = compared(self.parameters, group, &ratios).losses;
            let rewards = rl::implicit_rewards(&ratios, self.parameters.beta);
            for (number, ((better, worse), loss)) in group.pairs.iter().zip(losses).enumerate() {
                let (reward_chosen, reward_rejected) = (rewards[*better], rewards[*worse]);
                table.push(PairRow {
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
        let mean = |number: fn(&PairRow) -> f64| rl::mean(&table.iter().map(number).collect::<Vec<_>>());
        self.policy.save_with(&adapter, &io.candidate_dir(step)?)?;
        let rows = self.heldout.iter().flat_map(|group| &group.rows);
        Samples::of_rows(self.policy, rows).write(io, step, self.policy.model(), Some(&adapter))?;
        io.table(step, "items", &table)?;
        Ok(vec![
            ("loss", state.loss()),
            ("heldout_loss", mean(|row| row.loss)),
            ("accuracy", mean(|row| f64::from(u8::from(row.correct)))),
            ("margin", mean(|row| row.margin)),
            ("reward_chosen", mean(|row| row.reward_chosen)),
            ("reward_rejected", mean(|row| row.reward_rejected)),
            ("pairs", table.len() as f64),
        ])
    }
}

/// The loss of a part of a batch, and its gradients by the log-ratios of the part's answers, group after group. Every
/// prompt has the same weight, however many pairs it has; `prompts` counts those of the whole batch.
fn objective(parameters: &Dpo, groups: &[&Group], ratios: &[f64], prompts: usize) -> (f64, Vec<f64>) {
    let (mut loss, mut gradients) = (0.0, Vec::with_capacity(ratios.len()));
    for (group, ratios) in groups.iter().zip(rl::by_row(ratios, groups.iter().map(|group| group.rows.len()))) {
        let pairs = compared(parameters, group, ratios);
        let mut of_answers = vec![0.0; ratios.len()];
        let weight = 1.0 / (prompts * group.pairs.len()) as f64;
        loss += weight * pairs.losses.iter().sum::<f64>();
        group.spread(&pairs, weight, &mut of_answers);
        gradients.extend(of_answers);
    }
    (loss, gradients)
}

/// The loss of each pair of a group, and its gradients by the log-probabilities of the two answers.
fn compared(parameters: &Dpo, group: &Group, ratios: &[f64]) -> PairTerms {
    let (chosen, rejected) = group.sides(ratios);
    let length = |row: usize| group.rows[row].completion().len();
    let lengths: Vec<(usize, usize)> = group.pairs.iter().map(|pair| (length(pair.0), length(pair.1))).collect();
    rl::direct_loss(parameters.loss, &chosen, &rejected, &lengths, parameters.beta, parameters.label_smoothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::groups_of_a_test;

    #[test]
    fn the_gradients_of_every_loss_are_its_derivatives_and_prompts_weigh_the_same() {
        let groups = groups_of_a_test();
        let groups: Vec<&Group> = groups.iter().collect();
        let ratios = [0.3, -0.8, 1.4, 0.2, 0.9, -1.1];
        use DirectLoss::{Hinge, Ipo, IpoPerToken, Robust, Sigmoid};
        for (loss, label_smoothing) in
            [(Sigmoid, 0.0), (Sigmoid, 0.2), (Robust, 0.2), (Ipo, 0.0), (IpoPerToken, 0.0), (Hinge, 0.0)]
        {
            let parameters = Dpo { loss, label_smoothing, ..Dpo::default() };
            train::has_gradients(&ratios, |ratios| objective(&parameters, &groups, ratios, 2));
            let (both, _) = objective(&parameters, &groups, &ratios, 2);
            let alone = [(0, 0..4), (1, 4..6)]
                .map(|(group, place)| objective(&parameters, &groups[group..=group], &ratios[place], 1).0);
            assert!((both - (alone[0] + alone[1]) / 2.0).abs() < 1e-12, "{loss:?}");
        }
    }
}
