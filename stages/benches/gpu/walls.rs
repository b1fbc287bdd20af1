//! The limits of a device, met in the end because that may lose it: memory over many steps, attention
//! whose scores are more than a kernel can bind, a table that is, and a tensor that is.

use super::line::{attempt, dropped, failed, number, text};
use super::model::{self, DRAW, LORA, Sizes};
use super::options::Options;
use super::{sizes, steps};
use anyhow::{Context, Result};
use burn::tensor::{Device, Distribution, Int, Tensor};
use formats::dtype::Dtype;
use formats::layout::Sort;
use stages::device;
use stages::kernel::{self, AttentionMask, Heads, MaskedRectangle};
use stages::model::{Adapter, Padding, Trainable, walls, weights};
use stages::tensor::values_of;
use stages::train::Sequence;
use std::time::Instant;

pub fn run(options: &Options) {
    let device = match device::open(&options.device) {
        Ok(device) => device,
        Err(error) => return failed("device", format!("{error:#}")).tell(),
    };
    attempt("memory of many steps", || many_steps(options, &device));
    let binding = device::limits(&device).binding;
    let is_small = binding <= 4 << 30;
    if !is_small {
        let why = format!("the device binds {:.0} GB at once: there is no wall to meet", binding as f64 / 1e9);
        return dropped("larger than a binding", why).tell();
    }
    for (name, work) in [
        ("attention", attention as fn(&Options, &Device, u64) -> Result<()>),
        ("a table", table),
        ("a model", refused),
        ("a tensor", tensor),
    ] {
        let name = format!("{name} larger than a binding");
        match options.left() > 2.0 {
            true => drop(attempt(&name, || work(options, &device, binding))),
            false => dropped(name, "its time is over").tell(),
        }
    }
}

/// The memory that is reserved must not grow from step to step.
fn many_steps(options: &Options, device: &Device) -> Result<()> {
    let (sizes, most, longest) =
        if options.is_tiny { (sizes::of("tiny"), 30, 40) } else { (sizes::of("30M"), 300, 128) };
    let llama = model::llama(&sizes, Dtype::F32, device);
    let adapter = Adapter::new(&llama.config, &LORA, DRAW, device);
    let mut adam = steps::adam_of(&llama, &adapter, Trainable::Adapter);
    let (mut early, until) = (None, options.left() / 2.0);
    let mut done = 0;
    while done < most && options.left() > until {
        // Rows of several lengths, as data has them, in a cycle.
        let lengths = (0..5).map(|row| longest - (row * 7 + done % 5 * 3) % (longest / 2));
        let rows: Vec<Sequence> =
            lengths.map(|length| model::row(length as u64, length, 1, sizes.vocabulary)).collect();
        let rows: Vec<&Sequence> = rows.iter().collect();
        let (loss, gradients) = steps::way(&llama, &adapter, &adam, Trainable::Adapter, &rows, false)?;
        steps::step(&mut adam, loss, gradients)?;
        done += 1;
        if done == most / 10 {
            early = Some(reserved(device)?);
        }
    }
    let Some(early) = early else {
        dropped("memory of many steps", format!("{done} of {most} steps fit the time, too few to tell")).tell();
        return Ok(());
    };
    let grown = reserved(device)? as f64 / early as f64;
    number("memory after all steps ÷ after a tenth", grown, "")
        .beside(1.0, "freed memory is used again")
        .noting(format!("{done} of {most} steps, {:.1} MB", early as f64 / 1e6))
        .tell();
    Ok(())
}

fn reserved(device: &Device) -> Result<u64> {
    Ok(device.memory_pool_usage().context("the backend tells no memory")?.bytes_reserved)
}

/// Lines with more scores than one binding holds, which are in no memory; the last line alone must give the same.
fn attention(options: &Options, device: &Device, binding: u64) -> Result<()> {
    let (tokens, queries, width) = if options.is_tiny { (256, 16, 8) } else { (1024, 32, 64) };
    let heads = Heads { queries, keys: queries, width, scale: (width as f64).powf(-0.5), cap: None };
    let lines = (binding / (queries * tokens * tokens * 4) as u64) as usize + 1;
    let (n, columns) = (lines * tokens, queries * width);
    let qkv = [0, 1, 2].map(|_| Tensor::<2>::random([n, columns], Distribution::Uniform(-1.0, 1.0), device));
    let mask = |lines: usize| {
        let starts = Tensor::<1, Int>::zeros([lines * tokens], device);
        AttentionMask::Rectangle(MaskedRectangle { columns: tokens, filled: 0, starts, window: None })
    };
    let last = |x: &Tensor<2>| x.clone().slice([n - tokens..n, 0..columns]);
    let start = Instant::now();
    let all = last(&kernel::of(device).attend(heads, qkv.clone(), &mask(lines)));
    let all = values_of(all)?;
    let seconds = start.elapsed().as_secs_f64();
    let alone = values_of(kernel::of(device).attend(heads, qkv.each_ref().map(last), &mask(1)))?;
    let off = all.iter().zip(&alone).fold(0.0, |most: f32, (one, other)| {
        if (one - other).is_nan() { f32::INFINITY } else { most.max((one - other).abs()) }
    });
    let size = (lines * queries * tokens * tokens * 4) as f64 / 1e9;
    number("attention of many lines, off that of one by", f64::from(off), "")
        .beside(1e-5, "a bound; lines do not see each other")
        .noting(format!("{size:.2} GB of scores, {lines} lines of {tokens} tokens, {seconds:.2} s"))
        .tell();
    Ok(())
}

/// A table of tokens that lies in parts.
fn table(options: &Options, device: &Device, binding: u64) -> Result<()> {
    let width = if options.is_tiny { 64 } else { 2048 };
    let at_once = (binding / (4 * width as u64)) as usize;
    let vocabulary = at_once + at_once / 12;
    let sizes = Sizes { width, inner: width, layers: 1, heads: 2, kv_heads: 2, vocabulary, context: 32 };
    let start = Instant::now();
    let drawn = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Uniform(-0.03, 0.03), device);
    let llama = weights::build_in_parts(model::config(&sizes), |weight| {
        let [rows, columns] = weight.shape;
        let parts = (0..rows).step_by(at_once).map(|first| [at_once.min(rows - first), columns]);
        Ok(if weight.sort == Sort::Embedding { parts.map(drawn).collect() } else { vec![drawn(weight.shape)] })
    })?;
    let boundary = at_once as u32;
    let ids = [0, boundary - 1, boundary, vocabulary as u32 - 1];
    let batch = llama.batch(&[&ids], Padding::of(device));
    let targets = [boundary - 1, boundary, vocabulary as u32 - 1, 3];
    let predicted = llama.predict(llama.hidden(None, &batch, None), &targets, 1.0)?;
    let is_finite = predicted.log_probs.iter().all(|log_prob| log_prob.is_finite());
    number("a table in parts gives numbers", f64::from(u8::from(is_finite)), "")
        .beside(1.0, "it lies in parts of some rows")
        .noting(format!("{:.2} GB, {:.2} s", (4 * width * vocabulary) as f64 / 1e9, start.elapsed().as_secs_f64()))
        .tell();
    Ok(())
}

/// A matrix that cannot be cut is refused before anything of it is sent.
fn refused(_: &Options, device: &Device, binding: u64) -> Result<()> {
    let width = 4096;
    let inner = (binding / (4 * width as u64)) as usize + 64;
    let sizes = Sizes { width, inner, layers: 1, heads: 32, kv_heads: 32, vocabulary: 64, context: 32 };
    let message = walls::check_weights(&model::config(&sizes), Dtype::F32, device).err();
    let message = message.context("a model with such a matrix is not refused")?;
    text("what a model with such a matrix is told", format!("{message:#}")).tell();
    Ok(())
}

/// Asks the backend for a tensor that nothing has refused before.
fn tensor(_: &Options, device: &Device, binding: u64) -> Result<()> {
    let n = (binding / 4) as usize + 64;
    let start = Instant::now();
    let work = || values_of((Tensor::<1>::zeros([n], device) + 1.0).narrow(0, n - 1, 1));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    let said = match outcome {
        Ok(Ok(values)) if values == [1.0] => "it works all the same".to_owned(),
        Ok(Ok(values)) => format!("wrong numbers, and no error: {values:?}"),
        Ok(Err(error)) => format!("an error: {error:#}"),
        Err(_) => "a panic, whose message is in the log".to_owned(),
    };
    let seconds = start.elapsed().as_secs_f64();
    text(
        "what a tensor larger than a binding meets",
        format!("after {seconds:.2} s {}", super::line::shortened(&said, 500)),
    )
    .tell();
    let is_lost = if device::is_lost() { "no" } else { "yes" };
    text("the device computes on after it", is_lost).tell();
    Ok(())
}
