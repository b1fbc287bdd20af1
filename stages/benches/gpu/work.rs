//! Decoding, a step of fine-tuning and an iteration of PPO of one model, each beside its prediction.

use super::counts::counted;
use super::line::{attempt, dropped, failed, number};
use super::model::{self, DRAW, LORA, Sizes};
use super::options::Options;
use super::predict::{self, PpoSize};
use super::sizes;
use super::steps::{self, Part};
use anyhow::Result;
use burn::tensor::Device;
use formats::dtype::Dtype;
use stages::device;
use stages::generate::{self, Choice, Decoding, DrawNames};
use stages::kernel::Keep;
use stages::model::weights::of_burn;
use stages::model::{Adapter, Decoder, Trainable, walls};
use stages::train::{Adam, AdamSettings, Sequence};
use std::time::Instant;

/// The sizes of the work on a model.
pub struct WorkSizes {
    pub decoded: &'static [usize],
    pub prompt: usize,
    pub new: usize,
    pub rows: usize,
    pub tokens: usize,
    /// Sizes of PPO, of which the first that fits the time is taken.
    pub ppo: &'static [PpoSize],
}

const PROMPT: usize = 128;
const NEW: usize = 48;
const fn ppo(rows: usize, epochs: usize) -> PpoSize {
    PpoSize { rows, prompt: PROMPT, new: NEW, epochs }
}

const PPO_SIZES: [PpoSize; 5] = [ppo(64, 4), ppo(64, 1), ppo(16, 4), ppo(16, 1), ppo(4, 1)];

pub fn sizes_of(is_tiny: bool) -> WorkSizes {
    match is_tiny {
        true => WorkSizes {
            decoded: &[1, 4],
            prompt: 8,
            new: 16,
            rows: 2,
            tokens: 32,
            ppo: &[PpoSize { rows: 4, prompt: 8, new: 8, epochs: 1 }],
        },
        false => WorkSizes { decoded: &[16, 1, 64], prompt: 16, new: 32, rows: 8, tokens: 128, ppo: &PPO_SIZES },
    }
}

/// A model on its device, and how far off the predictions have been so far.
struct Bench<'a> {
    options: &'a Options,
    sizes: Sizes,
    work: WorkSizes,
    name: String,
    dtype: Dtype,
    model: Decoder,
    adapter: Adapter,
    slowness: f64,
}

pub fn run(name: &str, dtype: Dtype, options: &Options) {
    let device = match device::open(&options.device) {
        Ok(device) => device,
        Err(error) => return failed("device", format!("{error:#}")).tell(),
    };
    let (sizes, title) = (sizes::of(name), format!("{name} {}", dtype.name()));
    if !device.supports_dtype(of_burn(dtype)) {
        return dropped(title, "the device does not compute in it").tell();
    }
    let start = Instant::now();
    let Some((model, adapter)) = attempt(&format!("{title} weights"), || drawn(&sizes, dtype, &device)) else { return };
    let gigabytes = predict::parameters(&sizes) * dtype.size() as f64 / 1e9;
    number(format!("{title} weights drawn"), start.elapsed().as_secs_f64(), "s")
        .noting(format!("{gigabytes:.2} GB"))
        .tell();
    let work = sizes_of(options.is_tiny);
    let mut bench = Bench { options, sizes, work, name: title, dtype, model, adapter, slowness: options.slowness };
    bench.decode_all();
    bench.fine_tune();
    bench.ppo();
    if let Some(usage) = device.memory_pool_usage() {
        let reserved = usage.bytes_reserved as f64 / 1e9;
        number(format!("{} memory", bench.name), reserved, "GB").noting("reserved of the card at the end").tell();
    }
}

fn drawn(sizes: &Sizes, dtype: Dtype, device: &Device) -> Result<(Decoder, Adapter)> {
    walls::check_weights(&model::config(sizes), dtype, device)?;
    let model = model::llama(sizes, dtype, device);
    device.sync()?;
    let adapter = Adapter::new(&model.config, &LORA, DRAW, device);
    Ok((model, adapter))
}

impl Bench<'_> {
    /// Whether work that is predicted to take so long fits the time that is left; says so where it does not.
    fn has_time(&self, name: &str, predicted: f64) -> bool {
        let (expected, left) = (predicted * self.slowness.max(0.5), self.options.left());
        if expected > left {
            dropped(name, format!("it would take {expected:.1} s, and {left:.1} s are left")).tell();
        }
        expected <= left
    }

    /// Keeps how far off a prediction was, for what is predicted next.
    fn learn(&mut self, measured: f64, predicted: f64) -> f64 {
        self.slowness = measured / predicted;
        self.slowness
    }

    fn prompts(&self, rows: usize, length: usize) -> Vec<Vec<u32>> {
        (0..rows as u64).map(|row| model::ids(row, length, self.sizes.vocabulary)).collect()
    }

    fn decode_all(&mut self) {
        let WorkSizes { decoded, prompt, new, .. } = self.work;
        let source = "chains of burn's products, small kernels, and 12 µs of the host for each";
        for (at, rows) in decoded.iter().enumerate() {
            let name = format!("{} decode {rows}", self.name);
            let first = predict::passes(&self.sizes, predict::TOKEN.of(&self.sizes), rows * prompt, 1.0);
            let predicted = first + new as f64 * predict::token(&self.sizes, self.dtype, *rows);
            // Warm ones and counted ones come before those that are timed.
            let before = if at == 0 { (24 + 8 + new / 4) as f64 / new as f64 } else { 0.3 };
            if !self.has_time(&name, (1.0 + before) * predicted) {
                continue;
            }
            let done = attempt(&name, || {
                if at == 0 {
                    self.count_a_token(*rows)?;
                }
                // Kernels for these rows are compiled.
                self.decode(*rows, new / 4)?;
                self.decode(*rows, new)
            });
            let Some(seconds) = done else { continue };
            let tokens = (rows * new) as f64;
            let mut line = number(&name, tokens / seconds, "tokens/s").beside(tokens / predicted, source);
            line.slowness = Some(self.learn(seconds, predicted));
            line.noting(format!("{:.2} ms a token of all rows", seconds / new as f64 * 1e3)).tell();
        }
    }

    /// The kernels of a decoded token: the same number for any rows.
    fn count_a_token(&self, rows: usize) -> Result<()> {
        let count = |new: usize| -> Result<i64> {
            let mut done = Ok(0.0);
            let counts = counted(|| done = self.decode(rows, new));
            done?;
            Ok(counts.launches())
        };
        let (few, more) = (count(8)?, count(16)?);
        let predicted = predict::token_kernels(&self.sizes, self.dtype);
        number(format!("{} kernels a token", self.name), (more - few) as f64 / 8.0, "")
            .beside(predicted, "counted on a software driver")
            .tell();
        Ok(())
    }

    fn decode(&self, rows: usize, new: usize) -> Result<f64> {
        let prompts = self.prompts(rows, self.work.prompt);
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let choice = Choice::Sample {
            temperature: 1.0,
            keep: Keep::default(),
            draw: DRAW,
            of: DrawNames::Counted { step: 0, first_row: 0 },
        };
        let decoding = Decoding { max_new: new, stops: &[], choice, at_once: rows };
        let start = Instant::now();
        generate::answer(&self.model, Some(&self.adapter), &prompts, decoding)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn fine_tune(&mut self) {
        let WorkSizes { rows, tokens, .. } = self.work;
        let name = format!("{} SFT", self.name);
        let kernels = predict::SFT.of(&self.sizes);
        let predicted = predict::passes(&self.sizes, kernels, rows * tokens, 2.0);
        if !self.has_time(&name, 2.5 * predicted) {
            return;
        }
        let done = attempt(&name, || {
            let data: Vec<Sequence> =
                (0..rows as u64).map(|row| model::row(row, tokens, 1, self.sizes.vocabulary)).collect();
            let data: Vec<&Sequence> = data.iter().collect();
            let mut adam = steps::adam_of(&self.model, &self.adapter, Trainable::Adapter);
            let mut step = || -> Result<f64> {
                let start = Instant::now();
                let (loss, gradients) =
                    steps::way(&self.model, &self.adapter, &adam, Trainable::Adapter, &data, false)?;
                steps::step(&mut adam, loss, gradients)?;
                Ok(start.elapsed().as_secs_f64())
            };
            step()?;
            let mut second = Ok(0.0);
            let counts = counted(|| second = step());
            let mut seconds = vec![second?];
            while seconds.len() < 4 && self.options.left() > 3.0 * seconds[0] {
                seconds.push(step()?);
            }
            seconds.sort_by(f64::total_cmp);
            Ok((seconds[seconds.len() / 2], counts.launches()))
        });
        let Some((seconds, launches)) = done else { return };
        let counted = number(format!("{} kernels a step", self.name), launches as f64, "");
        match self.dtype {
            Dtype::F32 => counted.beside(kernels, "counted on a software driver").tell(),
            _ => counted.tell(),
        }
        let all = (rows * tokens) as f64;
        let mut line = number(&name, all / seconds, "tokens/s").beside(all / predicted, "f32 products at 20 TFLOP/s");
        line.slowness = Some(self.learn(seconds, predicted));
        line.noting(format!("{rows} rows of {tokens} tokens, {:.1} ms", seconds * 1e3)).tell();
    }

    /// An iteration of the largest size that fits the time, and the memory.
    fn ppo(&self) {
        let name = format!("{} PPO", self.name);
        let expected = |size: &PpoSize| {
            // The first turn compiles kernels for its shapes.
            1.2 * predict::ppo(&self.sizes, self.dtype, *size).iter().sum::<f64>() * self.slowness.max(0.5) + 1.0
        };
        let mut failures = 0;
        for size in self.work.ppo {
            let (expected, left) = (expected(size), self.options.left());
            let of = format!("{name} of {} answers, {} epochs", size.rows, size.epochs);
            if expected > left {
                dropped(of, format!("it would take {expected:.1} s, and {left:.1} s are left")).tell();
            } else if self.ppo_of(&name, size) {
                return;
            } else {
                failures += 1;
                self.model.device().memory_cleanup();
            }
            if failures == 2 {
                return;
            }
        }
    }

    /// Returns whether it could be measured.
    fn ppo_of(&self, name: &str, size: &PpoSize) -> bool {
        let PpoSize { rows, prompt, new, epochs } = *size;
        let done = attempt(name, || {
            let models = steps::ppo_models(&self.model);
            let mut adam = Adam::of_adapters(models.own().trained(), AdamSettings::default());
            let prompts = self.prompts(rows, prompt);
            let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
            let parameters = steps::ppo_parameters(rows, new, epochs as u64, false);
            let mut turn = |number: u64| -> Result<[f64; 3]> {
                let (mut seconds, mut start) = ([0.0; 3], Instant::now());
                let done = |part: Part| {
                    seconds[part as usize] = start.elapsed().as_secs_f64();
                    start = Instant::now();
                };
                steps::ppo_iteration(&parameters, &models, &mut adam, &prompts, number, done)?;
                Ok(seconds)
            };
            let first = turn(0)?;
            let has_time = self.options.left() > 1.5 * first.iter().sum::<f64>();
            Ok(if has_time { (turn(1)?, "") } else { (first, "; the first turn, which compiles kernels") })
        });
        let Some((seconds, remark)) = done else { return false };
        let parts = predict::ppo(&self.sizes, self.dtype, *size);
        for (part, (seconds, predicted)) in ["generation", "scoring", "update"].iter().zip(seconds.iter().zip(parts)) {
            number(format!("{name} {part}"), *seconds, "s").beside(predicted, "as decoding and SFT").tell();
        }
        let (tokens, all) = ((rows * new) as f64, seconds.iter().sum::<f64>());
        number(name, tokens / all, "tokens/s")
            .beside(tokens / parts.iter().sum::<f64>(), "as decoding and SFT")
            .noting(format!(
                "{rows} answers of {new} tokens to prompts of {prompt}, {epochs} epochs, {all:.2} s{remark}"
            ))
            .tell();
        true
    }
}
