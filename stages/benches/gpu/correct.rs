//! Whether the device computes what the CPU does, and the same bytes each time: before anything is timed.

use super::line::{attempt, dropped, failed, number, text};
use super::model::{self, DRAW, LORA, Sizes};
use super::options::Options;
use super::steps;
use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use formats::dtype::Dtype;
use stages::device;
use stages::generate::{self, Choice, Decoding};
use stages::model::weights::{self, of_burn};
use stages::model::{Adapter, Decoder, Padding, Trainable};
use stages::tensor::{from_values, values_of, values_of_all};
use stages::train::{self, Adam, AdamSettings, Sequence};
use std::process::{Command, Stdio};

/// Small enough for the CPU, with heads as wide as those of large models, and fewer heads of keys than of queries.
const SIZES: Sizes = Sizes { width: 128, inner: 192, layers: 2, heads: 2, kv_heads: 1, vocabulary: 512, context: 128 };

/// A model and its adapter on one device.
struct Trained {
    model: Decoder,
    adapter: Adapter,
}

pub fn run(options: &Options) {
    let gpu = match device::open(&options.device) {
        Ok(device) => device,
        Err(error) => return failed("device", format!("{error:#}")).tell(),
    };
    text("device class of this build", device::class(&gpu)).tell();
    let cpu = Device::flex();
    let Some(ours) = attempt("model on the CPU", || on_cpu(&cpu)) else { return };
    for dtype in [Dtype::F32, Dtype::F16] {
        if !gpu.supports_dtype(of_burn(dtype)) {
            dropped(dtype.name(), "the device does not compute in it").tell();
            continue;
        }
        attempt(&format!("numbers in {}", dtype.name()), || compare(&ours, dtype, &gpu));
    }
    attempt("digest", || {
        let (first, off) = digest_of(&ours, &gpu)?;
        let source = "sampling and training agree to the last bit";
        number("first ratio of PPO, off 1 by", off, "").beside(0.0, source).tell();
        text("digest", &first).tell();
        let same = |other: &str| f64::from(u8::from(other == first));
        let (second, third) = (digest_of(&ours, &gpu)?.0, digest_elsewhere(options)?);
        let source = "same seed, same bytes";
        number("same digest again", same(&second), "").beside(1.0, source).tell();
        number("same digest in another process", same(&third), "").beside(1.0, source).tell();
        Ok(())
    });
}

/// Prints the digest, for the process that compares.
pub fn digest(options: &Options) {
    let digest = on_cpu(&Device::flex()).and_then(|ours| digest_of(&ours, &device::open(&options.device)?));
    match digest {
        Ok((digest, _)) => text("digest", digest).tell(),
        Err(error) => failed("digest", format!("{error:#}")).tell(),
    }
}

fn digest_elsewhere(options: &Options) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(options.words_of("digest", options.left(), 1.0)).stderr(Stdio::inherit()).output()?;
    let line: super::line::Line = serde_json::from_slice(&output.stdout).context("read the digest of a process")?;
    Ok(if line.failed.is_empty() { line.note } else { line.failed })
}

/// A model whose adapter has an effect: two steps of training are behind it. Its weights are named draws, so that every
/// process has the same.
fn on_cpu(cpu: &Device) -> Result<Trained> {
    let mut number = 0;
    let model = weights::build(model::config(&SIZES), |weight| {
        number += 1;
        let ([rows, columns], mut stream) = (weight.shape, DRAW.stream(1, number));
        let mut draw = || if weight.sort == formats::layout::Sort::Norm { 1.0 } else { stream.normal() as f32 * 0.08 };
        Ok(from_values((0..rows * columns).map(|_| draw()).collect(), weight.shape, cpu))
    })?;
    let adapter = Adapter::new(&model.config, &LORA, DRAW, cpu);
    let mut adam = steps::adam_of(&model, &adapter, Trainable::Adapter);
    let rows = rows();
    for _ in 0..2 {
        let (loss, gradients) =
            steps::way(&model, &adapter, &adam, Trainable::Adapter, &rows.iter().collect::<Vec<_>>(), false)?;
        steps::step(&mut adam, loss, gradients)?;
    }
    let adapter = adapter.with_tensors(&adam.tensors);
    Ok(Trained { model, adapter })
}

fn on_device(ours: &Trained, dtype: Dtype, device: &Device) -> Result<Trained> {
    let tensors = weights::tensors(&ours.model);
    let shapes: Vec<[usize; 2]> = tensors.iter().map(Tensor::dims).collect();
    let values = values_of_all(tensors)?;
    let mut sent = values.into_iter().zip(shapes).map(|(values, shape)| {
        let is_vector = shape[0] == 1;
        let sent: Tensor<2> = from_values(values, shape, device);
        if is_vector || dtype == Dtype::F32 { sent } else { sent.cast(of_burn(dtype)) }
    });
    let model = weights::build(ours.model.config.clone(), |_| sent.next().context("as many tensors as it has"))?;
    let adapter = Adapter::of(ours.adapter.on_host()?, &model.config, device);
    Ok(Trained { model, adapter })
}

fn rows() -> Vec<Sequence> {
    [40, 31, 22].map(|length| model::row(length, length as usize, 9, SIZES.vocabulary)).into()
}

fn compare(ours: &Trained, dtype: Dtype, gpu: &Device) -> Result<()> {
    let theirs = on_device(ours, dtype, gpu)?;
    let rows = rows();
    let rows: Vec<&Sequence> = rows.iter().collect();
    let is_exact = dtype == Dtype::F32;
    let ([bound, of_gradients], name) = (if is_exact { [1e-4, 1e-3] } else { [3e-2, 3e-2] }, dtype.name());
    let source = "a bound, as the tests have it";
    let log_probs = |of: &Trained| -> Result<Vec<f64>> {
        Ok(train::predicted(&of.model, Some(&of.adapter), &rows, 1.0)?.log_probs)
    };
    let off = farthest(&log_probs(ours)?, &log_probs(&theirs)?);
    number(format!("{name} log-probabilities, off by"), off, "nats").beside(bound, source).tell();
    for (what, trained) in [("an adapter", Trainable::Adapter), ("all weights", Trainable::Weights)] {
        if trained == Trainable::Weights && !is_exact {
            continue;
        }
        let [one, other] = [gradients(ours, trained, &rows)?, gradients(&theirs, trained, &rows)?];
        let largest = one.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let off = farthest(&one, &other) / largest;
        number(format!("{name} gradients of {what}, off by, of the largest"), off, "")
            .beside(of_gradients, source)
            .tell();
    }
    let (cached, whole) = decoded(&theirs)?;
    let same = |one: &[u32], other: &[u32]| {
        one.iter().zip(other).filter(|(one, other)| one == other).count() as f64 / one.len().max(1) as f64
    };
    let source = "equal but for ties";
    number(format!("{name} tokens with the cache as without"), same(&cached, &whole), "").beside(1.0, source).tell();
    if is_exact {
        let on_cpu = decoded(ours)?.0;
        number(format!("{name} tokens as on the CPU"), same(&cached, &on_cpu), "").beside(1.0, source).tell();
    }
    Ok(())
}

fn farthest(one: &[f64], other: &[f64]) -> f64 {
    assert_eq!(one.len(), other.len(), "as many numbers");
    // What is no number is as far off as can be.
    let off = |(one, other): (&f64, &f64)| if (one - other).is_nan() { f64::INFINITY } else { (one - other).abs() };
    one.iter().zip(other).map(off).fold(0.0, f64::max)
}

fn gradients(of: &Trained, trained: Trainable, rows: &[&Sequence]) -> Result<Vec<f64>> {
    let adapter = (trained == Trainable::Adapter).then_some(&of.adapter);
    let pass = train::Pass { model: &of.model, adapter, trained, recomputes: false };
    let (_, gradients) = train::likelihood(pass, rows, None, train::learned_tokens(rows))?;
    Ok(values_of_all(gradients)?.into_iter().flatten().map(f64::from).collect())
}

/// Greedy answers with the cache, and the likeliest token at each of their places by a pass over everything.
fn decoded(of: &Trained) -> Result<(Vec<u32>, Vec<u32>)> {
    let (v, prompts) =
        (SIZES.vocabulary, [9, 5, 7].map(|length| model::ids(length, length as usize, SIZES.vocabulary)));
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let decoding = Decoding { max_new: 16, stops: &[], choice: Choice::Greedy, at_once: 3 };
    let answers = generate::answer(&of.model, Some(&of.adapter), &prompts, decoding)?;
    let (mut cached, mut whole) = (Vec::new(), Vec::new());
    for (prompt, answer) in prompts.iter().zip(&answers) {
        let row = [*prompt, &answer.ids].concat();
        let batch = of.model.batch(&[&row], Padding::of(&of.model.device()));
        let logits = values_of(of.model.logits(of.model.hidden(Some(&of.adapter), &batch, None)))?;
        let likeliest = |at: usize| {
            let logits = &logits[at * v..(at + 1) * v];
            (0..v).fold(0, |best, id| if logits[id] > logits[best] { id } else { best }) as u32
        };
        whole.extend((prompt.len() - 1..row.len() - 1).map(likeliest));
        cached.extend(&answer.ids);
    }
    Ok((cached, whole))
}

/// The error of the first ratio, and the tensors after an iteration.
fn ppo(of: &Trained) -> Result<(f64, Adam)> {
    let models = steps::ppo_models(&of.model);
    let mut adam = Adam::of_adapters(models.own().trained(), AdamSettings::default());
    let prompts: Vec<Vec<u32>> = (0..8).map(|row| model::ids(row, 8, SIZES.vocabulary)).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let parameters = steps::ppo_parameters(8, 8, 2, false);
    let off = steps::ppo_iteration(&parameters, &models, &mut adam, &prompts, 0, |_| ())?;
    Ok((off, adam))
}

/// A hash of gradients, answers, and what an iteration of PPO has trained; and the error of its first ratio.
fn digest_of(ours: &Trained, gpu: &Device) -> Result<(String, f64)> {
    let theirs = on_device(ours, Dtype::F32, gpu)?;
    let rows = rows();
    let mut hasher = blake3::Hasher::new();
    for gradient in gradients(&theirs, Trainable::Adapter, &rows.iter().collect::<Vec<_>>())? {
        hasher.update(&gradient.to_le_bytes());
    }
    for id in decoded(&theirs)?.0 {
        hasher.update(&id.to_le_bytes());
    }
    let (off, adam) = ppo(&theirs)?;
    for number in values_of_all(adam.tensors)?.into_iter().flatten() {
        hasher.update(&number.to_le_bytes());
    }
    Ok((hasher.finalize().to_hex()[..16].to_owned(), off))
}
