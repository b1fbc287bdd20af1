//! `kto`: improves a policy on answers that were labelled one by one as wanted or not (Ethayarajh et al. 2024): a LoRA
//! adapter, moved by each answer's log-ratio to the reference beside z₀, that of answers at large.

mod parameters;

use crate::data::{self, Judged, Sieve};
use crate::device;
use crate::draw::Draw;
use crate::io::Io;
use crate::model::{Adapter, Artifact, Decoder, Load, Trained};
use crate::rl::{self, KtoWeights};
use crate::stage::{Accepts, Call, Gives, Kind, Metric, Port, Work};
use crate::train::{self, Adam, Pass, Sequence};
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

pub use parameters::Kto;

pub const KIND: Kind = Kind {
    name: "kto",
    version: 1,
    doc: "improve a policy on answers labelled as wanted or not, without pairs",
    ports: &[
        Port::one("policy", Accepts::Model, "the model to improve"),
        Port::one(
            "data",
            Accepts::Data,
            "labelled answers (`prompt`, `completion`, `label`), or pairs, whose rejected answer was not wanted",
        ),
        Port::HELDOUT,
        Port::REFERENCE,
    ],
    gives: Gives::Model,
    reads_rows: true,
    metrics: &[
        Metric::lower("loss", "mean training loss since the last checkpoint"),
        Metric::lower("heldout_loss", "mean loss over held-out answers").mean_of("loss"),
        Metric::higher(
            "accuracy",
            "share of held-out answers on their label's side: log-ratio above z₀ where wanted, below where not",
        )
        .mean_of("correct"),
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

/// A line of the candidate's table `items`: one held-out answer.
#[derive(Serialize)]
struct Measured<'a> {
    id: &'a str,
    prompt: String,
    prompt_group: &'a str,
    desirable: bool,
    reward: f64,
    correct: bool,
    loss: f64,
}

/// An answer behind its own prompt, and behind that of another, on which z₀ is estimated.
struct Item {
    judged: Judged,
    own: Compared,
    mismatched: Compared,
}

struct Compared {
    row: Sequence,
    /// log π_ref of the answer.
    reference: f64,
}

/// Where training stands, besides its tensors.
#[derive(Default, Serialize, Deserialize)]
struct Stand {
    losses: Vec<f64>,
    /// log π_ref of each training answer behind its own prompt and behind another, then of the held-out ones.
    references: Vec<f64>,
}

fn run(call: &Call, io: &mut Io) -> Result<()> {
    let parameters: Kto = call.parameters()?;
    let device = device::of(io)?;
    let draw = |purpose| Draw { seed: call.seed, kind: "kto", purpose };
    let policy = Artifact::load(io.input("policy")?, parameters.dtype, &device)?;
    let reference = policy.reference(io.optional_input("reference"))?;

    // 1. Answers as tokens; held-out prompts apart. Each answer once more, behind the prompt of another.
    let mut sieve = io.sieve();
    let mut training = read(&policy, &parameters, ("data", io.input("data")?), &mut sieve)?;
    let heldout = match io.optional_input("heldout") {
        Some(path) => read(&policy, &parameters, ("heldout", path), &mut sieve)?,
        None => {
            let prompts = training.iter().map(|(judged, _)| &judged.prompt);
            let (kept, held) = train::split_by_prompt(prompts, draw("split"), parameters.heldout)?;
            let side = |rows: Vec<usize>| rows.into_iter().map(|row| training[row].clone()).collect::<Vec<_>>();
            let held = side(held);
            training = side(kept);
            held
        }
    };
    let answers: Vec<&(Judged, Sequence)> = training.iter().collect();
    let items = |of: &[(Judged, Sequence)]| {
        mismatched(of, &answers, draw("mismatch"), parameters.max_tokens.min(policy.model.config.context))
    };
    let (mut training, mut heldout) = (items(&training)?, items(&heldout)?);
    weigh(io, &parameters, &training);

    // 2. What the reference says, once for all epochs and attempts.
    let start = policy.start_adapter(&parameters.lora, draw("adapter"))?;
    let mut adam = Adam::new(start.tensors(), parameters.adam);
    let size = train::batch_size(io, parameters.batch, training.len());
    let total = train::steps(parameters.epochs, training.len(), size);
    let (rows, recomputes) = (parameters.micro_batch.unwrap_or(size).min(size), parameters.recompute);
    let all = || training.iter().chain(&heldout).flat_map(|item| [&item.own, &item.mismatched]);
    let tokens = all().map(|compared| compared.row.ids.len()).max().unwrap_or(0);
    let other_bases = usize::from(reference.has_own_base);
    let load = Load { rows, tokens, predicted: rows * tokens, trained: 1, recomputes, other_bases, ..Load::default() };
    io.expects(
        policy.memory(&parameters.lora, load),
        "`micro_batch` (null is the whole batch), `max_tokens` or `lora.rank`",
    )?;
    let (first, mut stand) = match train::resume(io, &mut adam)? {
        Some(found) => found,
        None => {
            let all: Vec<&Sequence> = all().map(|compared| &compared.row).collect();
            let references = train::log_probs(&reference.model, reference.adapter.as_ref(), &all, rows)?;
            (0, Stand { references, ..Stand::default() })
        }
    };
    let all = training.iter_mut().chain(&mut heldout).flat_map(|item| [&mut item.own, &mut item.mismatched]);
    all.zip(&stand.references).for_each(|(compared, reference)| compared.reference = *reference);

    let items: Vec<&Item> = training.iter().collect();
    let numbers: Vec<usize> = (0..items.len()).collect();
    for step in first..total {
        // 3. z₀ of the whole batch, through which no slope goes; then each answer's loss.
        let batch: Vec<&Item> = train::batch_of(draw("order"), step, size, &numbers).map(|item| items[item]).collect();
        let adapter = start.with_tensors(&adam.tensors);
        let z0 = reference_point(&policy.model, &adapter, &batch, rows)?;
        let pass = Pass { model: &policy.model, adapter: Some(&adapter), trained: Trained::Adapter, recomputes };
        let lengths: Vec<usize> = batch.iter().map(|item| item.own.row.ids.len()).collect();
        let (mut loss, mut gradients) = (0.0, Vec::new());
        for part in train::parts(&lengths, parameters.micro_batch) {
            let part: Vec<&Item> = part.iter().map(|item| batch[*item]).collect();
            let rows: Vec<&Sequence> = part.iter().map(|item| &item.own.row).collect();
            let more = train::learn_rows(pass, &rows, |predicted| {
                let ratios = ratios(&train::per_answer(&predicted.log_probs, &rows), part.iter().map(|item| &item.own));
                let costs = costs(&parameters, &part, &ratios, z0).weighted(&vec![1.0 / size as f64; part.len()]);
                loss += costs.losses.iter().sum::<f64>();
                Ok(train::per_token(&costs.slopes, &rows))
            })?;
            train::add(&mut gradients, more);
        }
        let rate = parameters.schedule.rate(parameters.lr, step, total);
        let norm =
            adam.step(rate, loss, gradients, || train::named(batch.iter().map(|item| item.judged.id.as_str())))?;
        stand.losses.push(loss);
        let done = step + 1;
        io.curve(&json!({"step": done, "loss": loss, "kl": z0, "gradient_norm": norm, "lr": rate}))?;
        io.progress(done, total, "step", || format!("loss {loss:.3}"))?;
        let is_candidate = train::is_candidate(done, parameters.checkpoint_every, total);
        if is_candidate {
            let adapter = start.with_tensors(&adam.tensors);
            let of_training = [&[("loss", rl::mean(&stand.losses))][..], &sieve.metrics()].concat();
            measure(io, &policy, &parameters, &adapter, (&heldout, rows), done, &of_training)?;
            stand.losses.clear();
        }
        train::checkpoint(io, (done, total), is_candidate, &adam, &stand)?;
    }
    Ok(())
}

/// Labelled answers as tokens, cut to `max_tokens`.
fn read(
    policy: &Artifact,
    parameters: &Kto,
    (port, data): (&str, &Path),
    sieve: &mut Sieve,
) -> Result<Vec<(Judged, Sequence)>> {
    let end = parameters.ends.then(|| policy.end(parameters.stop_token)).transpose()?;
    let max_tokens = parameters.max_tokens.min(policy.model.config.context);
    let judged = data::judged(data, sieve)?;
    let tokens = |judged: &Judged| {
        train::sequence(policy, (&judged.prompt, &judged.answer), end, max_tokens)
            .with_context(|| format!("{} of `{port}`", judged.place))
    };
    let rows: Vec<Result<(Sequence, bool)>> = judged.par_iter().map(tokens).collect();
    let mut out = Vec::with_capacity(judged.len());
    for (judged, row) in judged.into_iter().zip(rows) {
        if let Some((row, is_cut)) = sieve.take(row)? {
            sieve.truncated += u64::from(is_cut);
            out.push((judged, row));
        }
    }
    if out.is_empty() {
        bail!("read {}: every row was left out", data.display());
    }
    Ok(out)
}

/// Each answer with that of another prompt in its place, the next one in a drawn order that is of another prompt.
fn mismatched(
    of: &[(Judged, Sequence)],
    others: &[&(Judged, Sequence)],
    draw: Draw,
    max_tokens: usize,
) -> Result<Vec<Item>> {
    let order = draw.order(0, others.len());
    let item = |(number, (judged, row)): (usize, &(Judged, Sequence))| {
        let mut from_here = order.iter().cycle().skip(number).take(order.len()).map(|other| others[*other]);
        let Some((_, other)) = from_here.find(|(other, _)| other.prompt != judged.prompt) else {
            bail!(
                "estimate z₀: the training answers are all to one prompt, and it takes those to others; add rows, or take `dpo`"
            );
        };
        let mut ids = [&row.ids[..row.start], other.completion()].concat();
        // The prompt leaves room for one token at least: it did for its own answer.
        ids.truncate(max_tokens.max(row.start + 1));
        let compared = |row| Compared { row, reference: f64::NAN };
        Ok(Item {
            judged: judged.clone(),
            mismatched: compared(Sequence { ids, start: row.start }),
            own: compared(row.clone()),
        })
    };
    of.iter().enumerate().map(item).collect()
}

/// λ_D·n_D to λ_U·n_U should stand between 1:1 and 4:3 (Ethayarajh et al. 2024, §4).
fn weigh(io: &mut Io, parameters: &Kto, items: &[Item]) {
    let desirable = items.iter().filter(|item| item.judged.is_desirable).count();
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

/// log π − log π_ref of answers.
fn ratios<'a>(log_probs: &[f64], compared: impl Iterator<Item = &'a Compared>) -> Vec<f64> {
    rl::log_ratios(log_probs, &compared.map(|compared| compared.reference).collect::<Vec<_>>())
}

fn log_ratios(model: &Decoder, adapter: &Adapter, compared: &[&Compared], at_once: usize) -> Result<Vec<f64>> {
    let rows: Vec<&Sequence> = compared.iter().map(|compared| &compared.row).collect();
    Ok(ratios(&train::log_probs(model, Some(adapter), &rows, at_once)?, compared.iter().copied()))
}

fn reference_point(model: &Decoder, adapter: &Adapter, items: &[&Item], at_once: usize) -> Result<f64> {
    let mismatched: Vec<&Compared> = items.iter().map(|item| &item.mismatched).collect();
    Ok(rl::kto_reference_point(&log_ratios(model, adapter, &mismatched, at_once)?))
}

/// The loss of each answer, and its slope by the answer's log-probability.
fn costs(parameters: &Kto, items: &[&Item], ratios: &[f64], z0: f64) -> rl::Sloped {
    let is_desirable: Vec<bool> = items.iter().map(|item| item.judged.is_desirable).collect();
    let Kto { desirable_weight: desirable, undesirable_weight: undesirable, .. } = *parameters;
    rl::kto_loss(ratios, &is_desirable, parameters.beta, z0, KtoWeights { desirable, undesirable })
}

fn measure(
    io: &mut Io,
    policy: &Artifact,
    parameters: &Kto,
    adapter: &Adapter,
    (heldout, at_once): (&[Item], usize),
    step: u64,
    of_training: &[(&str, f64)],
) -> Result<()> {
    let items: Vec<&Item> = heldout.iter().collect();
    let z0 = reference_point(&policy.model, adapter, &items, at_once)?;
    let own: Vec<&Compared> = items.iter().map(|item| &item.own).collect();
    let ratios = log_ratios(&policy.model, adapter, &own, at_once)?;
    let losses = costs(parameters, &items, &ratios, z0).losses;
    let rewards = rl::implicit_rewards(&ratios, parameters.beta);
    let mut table = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        let Judged { id, prompt, group, is_desirable, .. } = &item.judged;
        table.push(Measured {
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
    let mean = |number: fn(&Measured) -> f64| rl::mean(&table.iter().map(number).collect::<Vec<_>>());
    policy.save_with(adapter, &io.candidate_dir(step)?)?;
    io.table(step, "items", &table)?;
    let measured = [
        ("heldout_loss", mean(|row| row.loss)),
        ("accuracy", mean(|row| f64::from(u8::from(row.correct)))),
        ("margin", reward(true) - reward(false)),
        ("reward_desirable", reward(true)),
        ("reward_undesirable", reward(false)),
        ("kl", z0),
        ("answers", table.len() as f64),
    ];
    io.candidate(step, &[&measured, of_training].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Place, Prompt};

    fn item(prompt: &str, ids: &[u32], start: usize) -> (Judged, Sequence) {
        let judged = Judged {
            id: String::new(),
            group: String::new(),
            prompt: Prompt::Text(prompt.to_owned()),
            answer: String::new(),
            is_desirable: true,
            place: Place::Line(1),
        };
        (judged, Sequence { ids: ids.to_vec(), start })
    }

    #[test]
    fn the_slopes_of_the_loss_are_its_derivatives() {
        let item = |is_desirable| {
            let (judged, row) = item("a", &[1, 2], 1);
            let compared = || Compared { row: row.clone(), reference: 0.0 };
            Item { judged: Judged { is_desirable, ..judged }, own: compared(), mismatched: compared() }
        };
        let items = [item(true), item(false), item(true)];
        let items: Vec<&Item> = items.iter().collect();
        let parameters = Kto { desirable_weight: 1.5, ..Kto::default() };
        train::has_slopes(&[0.4, -0.3, 2.0], |ratios| {
            let costs = costs(&parameters, &items, ratios, 0.2);
            (costs.losses.iter().sum(), costs.slopes)
        });
        // What was wanted is made likelier, what was not less likely.
        let slopes = costs(&parameters, &items, &[0.4, -0.3, 2.0], 0.2).slopes;
        assert!(slopes[0] < 0.0 && slopes[1] > 0.0 && slopes[2] < 0.0, "{slopes:?}");
    }

    #[test]
    fn no_answer_is_compared_behind_a_prompt_it_was_given_to() {
        let all = [
            item("a", &[1, 10], 1),
            item("b", &[2, 2, 20, 21], 2),
            item("a", &[1, 11], 1),
            item("c", &[3, 3, 3, 30], 3),
        ];
        let others: Vec<&(Judged, Sequence)> = all.iter().collect();
        for seed in 0..20 {
            let draw = Draw { seed, kind: "test", purpose: "mismatch" };
            for ((judged, row), item) in all.iter().zip(mismatched(&all, &others, draw, 3).unwrap()) {
                let Compared { row: made, .. } = item.mismatched;
                assert_eq!(made.ids[..made.start], row.ids[..row.start]);
                let from = all.iter().find(|(_, other)| other.completion()[0] == made.completion()[0]).unwrap();
                assert_ne!(from.0.prompt, judged.prompt);
                assert!(made.ids.len() <= 3.max(row.start + 1), "{made:?}");
            }
            let error = mismatched(&all[..1], &others[..1], draw, 3).err().unwrap().to_string();
            assert!(error.contains("all to one prompt"), "{error}");
        }
    }
}
