//! `kto`: improves a policy on answers that were labelled one by one as wanted or not (Ethayarajh et al. 2024). It
//! trains a LoRA adapter; the loss compares the log-ratio of each answer with z₀, an estimate of the KL to the
//! reference.

mod parameters;

use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Load, Reference};
use crate::rl::{self, KtoWeights};
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, TokenizerSource, Work};
use crate::train::{
    self, Adam, BatchLoss, Learner, Metrics, RowEncoder, Samples, Sequence, Team, TrainState, TrainSteps, Trainee,
};
use anyhow::{Result, bail};
use burn::tensor::Tensor;
use formats::data::{self, DataRows, DataSource, LabelledAnswer, RowFilter};
use serde::Serialize;
use serde_json::json;

pub use parameters::Kto;

pub const KIND: Kind = Kind {
    name: "kto",
    version: 3,
    doc: "improve a policy on answers labelled as wanted or not, without pairs",
    ports: &[
        Port::one("policy", Accepts::Model, "the model to improve"),
        Port::one(
            "data",
            Accepts::Data(DataRows::Labelled),
            "labelled answers (`prompt`, `completion`, `label`), or pairs, whose rejected answer was not wanted",
        ),
        Port::heldout(DataRows::Labelled),
        Port::REFERENCE,
    ],
    gives: Gives::Model,
    tokenizer: TokenizerSource::Port("policy"),
    reads_rows: true,
    metrics: &[
        Metric::lower("loss", "mean training loss since the last checkpoint"),
        Metric::lower("heldout_loss", "mean loss over held-out answers").mean_of("loss"),
        Metric::higher(
            "accuracy",
            "share of held-out answers on their label's side: log-ratio above z₀ where wanted, below where not",
        )
        .mean_of("correct")
        .of_unit(),
        Metric::higher(
            "margin",
            "reward_desirable − reward_undesirable; NaN where the held-out answers have one label only",
        ),
        Metric::higher(
            "reward_desirable",
            "mean implicit reward β·(log π − log π_ref) of the answers that were wanted",
        ),
        Metric::lower("reward_undesirable", "mean implicit reward of the answers that were not"),
        Metric::lower("kl", "z₀ on held-out prompts, nats per answer"),
        Metric::neutral("answers", "held-out answers"),
    ],
    incumbent: Some("policy"),
    draws: true,
    ..Kind::of::<Kto>(Work::Run(run))
};

/// A row of the candidate's table `items`: one held-out answer.
#[derive(Serialize)]
struct AnswerRow<'a> {
    id: &'a str,
    prompt: String,
    prompt_group: &'a str,
    desirable: bool,
    reward: f64,
    correct: bool,
    loss: f64,
}

/// An answer after its prompt, and the answer to another prompt in its place, on which z₀ is estimated.
struct Item {
    labelled: LabelledAnswer,
    own: Sequence,
    mismatched: Sequence,
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Kto = call.parameters()?;
    let Kto { training, .. } = &parameters;
    let device = device::of(io, training.tuning.dtype)?;
    let draw = |purpose| call.draw(KIND.name, purpose);
    let policy = train::model(io, "policy", &training.tuning, &training.templating, &device)?;
    let reference = policy.reference(io.optional_input("reference"))?;

    // 1. Tokenise the answers and hold some prompts out. Each prompt gets the answer to another one, too.
    let mut filter = RowFilter::new(io.may_skip());
    let encoder = training.encoder(&policy, parameters.answer_end)?;
    let mut answers = read(&encoder, "data", io.data("data")?, &mut filter)?;
    let heldout = match io.optional_data("heldout") {
        Some(path) => read(&encoder, "heldout", path, &mut filter)?,
        None => {
            let prompts = answers.iter().map(|(labelled, _)| &labelled.prompt);
            let (kept, held) = train::split_by_prompt(prompts, draw("split"), training.heldout)?;
            let side = |rows: Vec<usize>| rows.into_iter().map(|row| answers[row].clone()).collect::<Vec<_>>();
            let held = side(held);
            answers = side(kept);
            held
        }
    };
    let items = |of: &[(LabelledAnswer, Sequence)]| mismatched(of, &answers, draw("mismatch"), encoder.max_tokens);
    let (items, heldout) = (items(&answers)?, items(&heldout)?);
    remark_on_weights(io, &parameters, &items);

    // 2. Train the incoming adapter or a new one.
    let rows = train::by_weight((0..items.len()).collect(), |row| items[row].labelled.weight, draw("weight"));
    let steps = TrainSteps::of(io, training, rows, draw("order"));
    let at_once = training.passes.at_once(steps.size);
    let all = items.iter().chain(&heldout).flat_map(|item| [&item.own, &item.mismatched]);
    let longest = all.map(|row| row.ids.len()).max().unwrap_or(0);
    let load = Load { rows: at_once, tokens: longest, predicted: at_once * longest, trained: 1, ..Load::default() };
    training.expect(io, &policy, load, &[&reference.base])?;
    let start = policy.start_adapter(&training.tuning.lora, draw("adapter"))?;
    let adam = Adam::of_adapters([&start], training.tuning.adam);
    let team = Team::of(
        Trainee::of_adapter(policy.model(), &start),
        train::devices_beside(io, &device, training.tuning.dtype)?,
        Trainee::on,
    )?;
    let learner =
        LabelledPolicy { parameters: &parameters, policy: &policy, team, reference, start, items, heldout, at_once };
    train::learn(io, &steps, adam, &mut filter, &learner)
}

struct LabelledPolicy<'a> {
    parameters: &'a Kto,
    policy: &'a Artifact,
    team: Team<Trainee>,
    reference: Reference,
    start: Adapter,
    items: Vec<Item>,
    heldout: Vec<Item>,
    /// Number of rows that go forward together.
    at_once: usize,
}

/// log π_ref of the two answers of an item.
struct ItemReference {
    own: f64,
    mismatched: f64,
}

impl LabelledPolicy<'_> {
    /// All rows: those of the training items, then those of the held-out ones.
    fn rows(&self) -> impl Iterator<Item = &Sequence> {
        self.items.iter().chain(&self.heldout).flat_map(|item| [&item.own, &item.mismatched])
    }

    /// The references of the items with these numbers. Held-out items are numbered after the training ones.
    fn references_of(state: &TrainState, items: impl Iterator<Item = usize>) -> Vec<ItemReference> {
        let one = |item: usize| {
            let (own, mismatched) = (state.references[2 * item], state.references[2 * item + 1]);
            ItemReference { own, mismatched }
        };
        items.map(one).collect()
    }

    /// z₀ of these items, a constant for the gradient.
    fn reference_point(&self, tensors: &[Tensor<2>], items: &[&Item], references: &[ItemReference]) -> Result<f64> {
        let places: Vec<_> = train::shards(items.len(), self.parameters.training.passes.shards()).collect();
        let log_probs = self.team.share(tensors, places.len(), |trained, tensors, shard| {
            let (model, adapter) = trained.with(tensors);
            let rows: Vec<&Sequence> = items[places[shard].clone()].iter().map(|item| &item.mismatched).collect();
            train::log_probs(&model, adapter.as_ref(), &rows, self.at_once)
        })?;
        let references: Vec<f64> = references.iter().map(|reference| reference.mismatched).collect();
        Ok(rl::kto_reference_point(&rl::log_ratios(&log_probs.concat(), &references)))
    }
}

impl Learner for LabelledPolicy<'_> {
    fn references(&self) -> Result<Vec<f64>> {
        let rows: Vec<&Sequence> = self.rows().collect();
        train::log_probs(self.reference.model(), self.reference.adapter.as_ref(), &rows, self.at_once)
    }

    /// Estimates z₀ on the whole batch, then computes the loss of each answer.
    fn gradients(&self, tensors: &[Tensor<2>], batch: &[usize], state: &mut TrainState) -> Result<BatchLoss> {
        let passes = &self.parameters.training.passes;
        let references = Self::references_of(state, batch.iter().copied());
        let batch: Vec<&Item> = batch.iter().map(|item| &self.items[*item]).collect();
        let z0 = self.reference_point(tensors, &batch, &references)?;
        let (loss, gradients) = self.team.learn(tensors, batch.len(), passes, |pass, shard| {
            let (items, references) = (&batch[shard.clone()], &references[shard]);
            let lengths: Vec<usize> = items.iter().map(|item| item.own.ids.len()).collect();
            train::in_parts(&train::parts(&lengths, passes.micro_batch), |part| {
                let rows: Vec<&Sequence> = part.iter().map(|item| &items[*item].own).collect();
                let reference: Vec<f64> = part.iter().map(|item| references[*item].own).collect();
                let part: Vec<&Item> = part.iter().map(|item| items[*item]).collect();
                train::learn_answers(pass, &rows, None, |log_probs| {
                    let costs = costs(self.parameters, &part, &rl::log_ratios(log_probs, &reference), z0);
                    let costs = costs.weighted(&vec![1.0 / batch.len() as f64; part.len()]);
                    (costs.losses.iter().sum(), costs.gradients)
                })
            })
        })?;
        Ok(BatchLoss { loss, gradients, columns: vec![("kl", json!(z0))] })
    }

    fn name(&self, row: usize) -> String {
        self.items[row].labelled.id.clone()
    }

    fn candidate(&self, io: &mut Io, tensors: &[Tensor<2>], step: u64, state: &TrainState) -> Result<Metrics> {
        let adapter = self.start.with_tensors(tensors);
        let items: Vec<&Item> = self.heldout.iter().collect();
        let references = Self::references_of(state, (0..items.len()).map(|item| self.items.len() + item));
        let z0 = self.reference_point(tensors, &items, &references)?;
        let own: Vec<&Sequence> = items.iter().map(|item| &item.own).collect();
        let references: Vec<f64> = references.iter().map(|reference| reference.own).collect();
        let log_probs = train::log_probs(self.policy.model(), Some(&adapter), &own, self.at_once)?;
        let ratios = rl::log_ratios(&log_probs, &references);
        let losses = costs(self.parameters, &items, &ratios, z0).losses;
        let rewards = rl::implicit_rewards(&ratios, self.parameters.beta);
        let mut table = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            let LabelledAnswer { id, prompt, group, is_desirable, .. } = &item.labelled;
            table.push(AnswerRow {
                id,
                prompt: prompt.to_string(),
                prompt_group: group,
                desirable: *is_desirable,
                reward: rewards[number],
                correct: if *is_desirable { ratios[number] > z0 } else { ratios[number] < z0 },
                loss: losses[number],
            });
        }
        let reward = |desirable: bool| {
            let of_label = table.iter().filter(|row| row.desirable == desirable);
            rl::mean(&of_label.map(|row| row.reward).collect::<Vec<_>>())
        };
        let mean = |number: fn(&AnswerRow) -> f64| rl::mean(&table.iter().map(number).collect::<Vec<_>>());
        self.policy.save_with(&adapter, &io.candidate_dir(step)?)?;
        Samples::of_rows(self.policy, own).write(io, step, self.policy.model(), Some(&adapter))?;
        io.table(step, "items", &table)?;
        Ok(vec![
            ("loss", state.loss()),
            ("heldout_loss", mean(|row| row.loss)),
            ("accuracy", mean(|row| f64::from(u8::from(row.correct)))),
            ("margin", reward(true) - reward(false)),
            ("reward_desirable", reward(true)),
            ("reward_undesirable", reward(false)),
            ("kl", z0),
            ("answers", table.len() as f64),
        ])
    }
}

/// Reads labelled answers and tokenises them.
fn read(
    encoder: &RowEncoder,
    port: &str,
    data: &[DataSource],
    filter: &mut RowFilter,
) -> Result<Vec<(LabelledAnswer, Sequence)>> {
    let labelled = data::labelled(data, filter)?;
    let place = |labelled: &LabelledAnswer| labelled.place.to_string();
    let one = |labelled: &LabelledAnswer| encoder.sequence(&labelled.prompt, &labelled.answer);
    train::tokenised(labelled, port, filter, place, one)
}

/// Pairs each answer with that to another prompt: the next one in a drawn order whose prompt differs.
fn mismatched(
    of: &[(LabelledAnswer, Sequence)],
    others: &[(LabelledAnswer, Sequence)],
    draw: Draw,
    max_tokens: usize,
) -> Result<Vec<Item>> {
    let order = draw.order(0, others.len());
    let prompt = |place: usize| &others[order[place % order.len()]].0.prompt;
    // For each place, the next one with another prompt than its own: thousands of answers may have one prompt. Two rounds,
    // since the order goes on at its beginning.
    let mut next = vec![usize::MAX; 2 * order.len() + 1];
    for place in (0..2 * order.len()).rev() {
        next[place] = if prompt(place) == prompt(place + 1) { next[place + 1] } else { place + 1 };
    }
    let item = |(number, (labelled, row)): (usize, &(LabelledAnswer, Sequence))| {
        let here = number % order.len();
        let place = if *prompt(here) == labelled.prompt { next[here] } else { here };
        if place == usize::MAX {
            bail!(
                "estimate z₀: the training answers are all to one prompt, and it takes those to others; add rows, or take `dpo`"
            );
        }
        let (_, other) = &others[order[place % order.len()]];
        let mut ids = [&row.ids[..row.start], other.completion()].concat();
        // At least one token fits after the prompt, as one of its own answer did.
        ids.truncate(max_tokens.max(row.start + 1));
        Ok(Item { labelled: labelled.clone(), mismatched: Sequence::new(ids, row.start), own: row.clone() })
    };
    of.iter().enumerate().map(item).collect()
}

/// Remarks on weights outside the advice: λ_D·n_D : λ_U·n_U between 1:1 and 4:3 (Ethayarajh et al. 2024, §4).
fn remark_on_weights(io: &mut Io, parameters: &Kto, items: &[Item]) {
    let desirable = items.iter().filter(|item| item.labelled.is_desirable).count();
    let undesirable = items.len() - desirable;
    let ratio = parameters.desirable_weight * desirable as f64 / (parameters.undesirable_weight * undesirable as f64);
    let counts = format!("{desirable} answers were wanted and {undesirable} were not");
    if desirable == 0 || undesirable == 0 {
        io.remark(format!("{counts}: of one kind alone little can be learned"));
    } else if !(0.999..=4.0 / 3.0 + 0.001).contains(&ratio) {
        io.remark(format!(
            "{counts}: by their weights they stand {ratio:.2} to 1; `desirable_weight` and `undesirable_weight` can bring \
             that between 1 and 1.33"
        ));
    }
}

/// The loss of each answer, and its gradient by the log-probability of the answer.
fn costs(parameters: &Kto, items: &[&Item], ratios: &[f64], z0: f64) -> rl::LossTerms {
    let is_desirable: Vec<bool> = items.iter().map(|item| item.labelled.is_desirable).collect();
    let Kto { desirable_weight: desirable, undesirable_weight: undesirable, .. } = *parameters;
    rl::kto_loss(ratios, &is_desirable, parameters.beta, z0, KtoWeights { desirable, undesirable })
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::data::{Place, RowPlace};
    use formats::dialogue::Prompt;

    fn item(prompt: &str, ids: &[u32], start: usize) -> (LabelledAnswer, Sequence) {
        let labelled = LabelledAnswer {
            id: String::new(),
            group: String::new(),
            prompt: Prompt::Text(prompt.to_owned()),
            answer: String::new(),
            is_desirable: true,
            place: RowPlace { file: 0, place: Place::Line(1) },
            weight: 1.0,
        };
        (labelled, Sequence::new(ids.to_vec(), start))
    }

    #[test]
    fn the_gradients_of_the_loss_are_its_derivatives() {
        let item = |is_desirable| {
            let (labelled, row) = item("a", &[1, 2], 1);
            Item { labelled: LabelledAnswer { is_desirable, ..labelled }, own: row.clone(), mismatched: row }
        };
        let items = [item(true), item(false), item(true)];
        let items: Vec<&Item> = items.iter().collect();
        let parameters = Kto { desirable_weight: 1.5, ..Kto::default() };
        train::has_gradients(&[0.4, -0.3, 2.0], |ratios| {
            let costs = costs(&parameters, &items, ratios, 0.2);
            (costs.losses.iter().sum(), costs.gradients)
        });
        // Wanted answers become likelier, unwanted ones less likely.
        let gradients = costs(&parameters, &items, &[0.4, -0.3, 2.0], 0.2).gradients;
        assert!(gradients[0] < 0.0 && gradients[1] > 0.0 && gradients[2] < 0.0, "{gradients:?}");
    }

    #[test]
    fn no_answer_is_compared_behind_a_prompt_it_was_given_to() {
        let all = [
            item("a", &[1, 10], 1),
            item("b", &[2, 2, 20, 21], 2),
            item("a", &[1, 11], 1),
            item("c", &[3, 3, 3, 30], 3),
        ];
        for seed in 0..20 {
            let draw = Draw { seed, kind: "test", purpose: "mismatch" };
            for ((labelled, row), item) in all.iter().zip(mismatched(&all, &all, draw, 3).unwrap()) {
                let made = item.mismatched;
                assert_eq!(made.ids[..made.start], row.ids[..row.start]);
                let from = all.iter().find(|(_, other)| other.completion()[0] == made.completion()[0]).unwrap();
                assert_ne!(from.0.prompt, labelled.prompt);
                assert!(made.ids.len() <= 3.max(row.start + 1), "{made:?}");
            }
            let error = mismatched(&all[..1], &all[..1], draw, 3).err().unwrap().to_string();
            assert!(error.contains("all to one prompt"), "{error}");
        }
    }
}
