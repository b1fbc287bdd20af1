//! Training and decoding beside PyTorch, `transformers`, `peft` and TRL on the same models, batches and lengths, one
//! after the other in the same session. Needs a Python that has them:
//! `pip install torch transformers peft trl==1.12.0`.
//!
//! ```sh
//! cargo bench --bench train -- --python PYTHON                                # 260K, 7M, 30M: all of it
//! cargo bench --bench train -- --python PYTHON --models 7M --what ppo --turns 3
//! cargo bench --bench train -- --models 350M,1.3B --device wgpu --dtype f16    # on a GPU; without --python ours alone
//! ```

#[path = "common/model.rs"]
mod model;
#[path = "common/sizes.rs"]
mod sizes;
#[path = "common/steps.rs"]
mod steps;

use burn::tensor::{Device, Distribution, Tensor};
use formats::dtype::Dtype;
use model::{DRAW, LORA, Sizes};
use serde_json::{Value, json};
use stages::generate::{self, Choice, Decoding, DrawNames};
use stages::io::DeviceChoice;
use stages::kernel::Keep;
use stages::model::{Adapter, Trainable};
use stages::tensor::values_of;
use stages::train::{Adam, AdamSettings, Sequence};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// A measurement: a name for the peer, its rows, and a line for the table.
const WORK: &[(&str, usize, &str)] = &[
    ("sft", 8, "SFT step, LoRA, 8 × 128 tokens"),
    ("full", 8, "SFT step, all weights, 8 × 128 tokens"),
    ("decode", 1, "decoding, 1 answer of 48 tokens"),
    ("decode", 16, "decoding, 16 answers of 48 tokens"),
    ("decode", 64, "decoding, 64 answers of 48 tokens"),
    ("ppo", 64, "PPO iteration, 64 answers of 48 tokens, 4 epochs"),
];
const TOKENS: usize = 128;
const PROMPT: usize = 16;
const NEW: usize = 48;

struct Options {
    models: Vec<String>,
    what: Vec<String>,
    python: Option<String>,
    device: DeviceChoice,
    dtype: Dtype,
    turns: usize,
    recompute: bool,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)).cloned();
    let list = |name: &str, default: &str| -> Vec<String> {
        value(name).unwrap_or(default.to_owned()).split(',').map(str::to_owned).collect()
    };
    let options = Options {
        models: list("--models", "260K,7M,30M"),
        what: list("--what", "sft,full,decode,ppo"),
        python: value("--python"),
        device: match value("--device").unwrap_or("cpu".to_owned()).parse() {
            Ok(device) => device,
            Err(message) => panic!("--device: {message}"),
        },
        dtype: match value("--dtype") {
            Some(name) => *Dtype::ALL.iter().find(|dtype| dtype.name() == name).expect("--dtype: f32, f16 or bf16"),
            None => Dtype::F32,
        },
        turns: value("--turns").and_then(|turns| turns.parse().ok()).unwrap_or(2),
        recompute: words.iter().any(|word| word == "--recompute"),
    };
    match value("--child") {
        Some(child) => {
            let rows = value("--rows").and_then(|rows| rows.parse().ok()).expect("a child is told its rows");
            println!("{}", measured(&child, &options.models[0], rows, &options));
        }
        None => table(&options),
    }
}

// ------------------------------------------------------------------------------------------------------ side by side

fn table(options: &Options) {
    println!("| model | what | ours | theirs | ours ÷ theirs | memory above start, ours | theirs | ratio |");
    println!("|---|---|---|---|---|---|---|---|");
    for model in &options.models {
        for (what, rows, line) in WORK.iter().filter(|(what, ..)| options.what.iter().any(|wanted| wanted == what)) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..options.turns {
                ours.push(child(model, what, *rows, options));
                theirs.extend(options.python.as_ref().and_then(|python| peer(python, model, what, *rows, options)));
            }
            let median = |runs: &[Value], name: &str| {
                let mut all: Vec<f64> = runs.iter().filter_map(|run| run[name].as_f64()).collect();
                all.sort_by(f64::total_cmp);
                (!all.is_empty()).then(|| all[(all.len() - 1) / 2])
            };
            let [rate, peer_rate] = [&ours, &theirs].map(|runs| median(runs, "tokens_per_second"));
            let [memory, peer_memory] = [&ours, &theirs].map(|runs| median(runs, "peak_bytes_above_start"));
            let show = |value: Option<f64>, text: fn(f64) -> String| value.map_or("–".to_owned(), text);
            let ratio = |one: Option<f64>, other: Option<f64>| one.zip(other).map(|(one, other)| one / other);
            let tokens = |rate: f64| format!("{rate:.0} tokens/s");
            let mb = |bytes: f64| format!("{:.0} MB", bytes / 1e6);
            let times = |ratio: f64| format!("{ratio:.2}");
            println!(
                "| {model} | {line} | {} | {} | {} | {} | {} | {} |",
                show(rate, tokens),
                show(peer_rate, tokens),
                show(ratio(rate, peer_rate), times),
                show(memory, mb),
                show(peer_memory, mb),
                show(ratio(memory, peer_memory), times),
            );
            for (who, runs) in [("ours", &ours), ("theirs", &theirs)] {
                for run in runs {
                    eprintln!("  {who}: {run}");
                }
            }
        }
    }
}

/// Runs in a process of its own, so that its memory is measured alone.
fn child(model: &str, what: &str, rows: usize, options: &Options) -> Value {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--child", what, "--models", model, "--rows", &rows.to_string(), "--dtype", options.dtype.name()]);
    command.args(["--device", &options.device.to_string()]);
    if options.recompute {
        command.arg("--recompute");
    }
    answer_of(command).expect("this program measures itself")
}

fn peer(python: &str, model: &str, what: &str, rows: usize, options: &Options) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/train.py");
    let device = if options.device == DeviceChoice::Cpu { "cpu" } else { "cuda" };
    let mut command = Command::new(python);
    command.arg(script).args(["--model", model, "--what", what, "--rows", &rows.to_string(), "--device", device]);
    command.args(["--dtype", options.dtype.name()]);
    answer_of(command)
}

/// The last line of a command's output.
fn answer_of(mut command: Command) -> Option<Value> {
    let output = command.stderr(std::process::Stdio::inherit()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| serde_json::from_str(text.lines().last()?).ok()).flatten()
}

// -------------------------------------------------------------------------------------------------------------- ours

fn measured(what: &str, model: &str, rows: usize, options: &Options) -> Value {
    let device = stages::device::open(&options.device).expect("there is such a device");
    let start = memory("VmRSS:");
    let sizes = &sizes::of(model);
    let mut out = match what {
        "decode" => decode(sizes, rows, options, &device),
        "ppo" => ppo(sizes, rows, options, &device),
        _ => step(what == "full", sizes, rows, options, &device),
    };
    out["peak_bytes_above_start"] = json!(memory("VmHWM:") - start);
    out["flops_per_second_gemm"] = json!(products_per_second(&device));
    out
}

fn memory(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

fn products_per_second(device: &Device) -> f64 {
    let n = 2048;
    let [one, other] = [0, 1].map(|_| Tensor::<2>::random([n, n], Distribution::Uniform(0.0, 1.0), device));
    let run = || {
        let start = Instant::now();
        values_of(one.clone().matmul(other.clone()).slice([0..1, 0..1])).expect("read a number");
        start.elapsed().as_secs_f64()
    };
    2.0 * (n as f64).powi(3) / (0..5).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// Median seconds of some turns after a warm one.
fn median_of(mut turns: Vec<f64>) -> f64 {
    turns.remove(0);
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 2]
}

fn step(is_full: bool, sizes: &Sizes, rows: usize, options: &Options, device: &Device) -> Value {
    let trained = if is_full { Trainable::Weights } else { Trainable::Adapter };
    let model = model::llama(sizes, if is_full { Dtype::F32 } else { options.dtype }, device);
    let adapter = Adapter::new(&model.config, &LORA, DRAW, device);
    let data: Vec<Sequence> = (0..rows as u64).map(|row| model::row(row, TOKENS, 1, sizes.vocabulary)).collect();
    let data: Vec<&Sequence> = data.iter().collect();
    let mut adam = steps::adam_of(&model, &adapter, trained);
    let one = |_| {
        let start = Instant::now();
        let (loss, gradients) =
            steps::way(&model, &adapter, &adam, trained, &data, options.recompute).expect("a loss and its gradients");
        steps::step(&mut adam, loss, gradients).expect("a step");
        start.elapsed().as_secs_f64()
    };
    let seconds = median_of((0..8).map(one).collect());
    json!({"seconds": seconds, "tokens_per_second": (rows * TOKENS) as f64 / seconds})
}

fn decode(sizes: &Sizes, rows: usize, options: &Options, device: &Device) -> Value {
    let model = model::llama(sizes, options.dtype, device);
    let prompts = prompts(rows, sizes);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let choice = Choice::Sample {
        temperature: 1.0,
        keep: Keep::default(),
        draw: DRAW,
        of: DrawNames::Counted { step: 0, first_row: 0 },
    };
    let one = |_| {
        let start = Instant::now();
        let decoding = Decoding { max_new: NEW, stops: &[], choice, at_once: rows };
        generate::answer(&model, None, &prompts, decoding).expect("answers");
        start.elapsed().as_secs_f64()
    };
    let seconds = median_of((0..6).map(one).collect());
    json!({"seconds": seconds, "tokens_per_second": (rows * NEW) as f64 / seconds})
}

fn prompts(rows: usize, sizes: &Sizes) -> Vec<Vec<u32>> {
    (0..rows as u64).map(|row| model::ids(row, PROMPT, sizes.vocabulary)).collect()
}

/// Runs the parts of the kind, one after the other as it does.
fn ppo(sizes: &Sizes, rows: usize, options: &Options, device: &Device) -> Value {
    let parameters = steps::ppo_parameters(rows, NEW, 4, options.recompute);
    let models = steps::ppo_models(&model::llama(sizes, options.dtype, device));
    let mut adam = Adam::of_adapters(models.own().trained(), AdamSettings::default());
    let prompts = prompts(rows, sizes);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let mut turns: [Vec<f64>; 3] = Default::default();
    for turn in 0..5 {
        let mut start = Instant::now();
        let done = |part: steps::Part| {
            turns[part as usize].push(start.elapsed().as_secs_f64());
            start = Instant::now();
        };
        let off = steps::ppo_iteration(&parameters, &models, &mut adam, &prompts, turn, done).expect("PPO runs");
        assert!(off < 1e-5, "sampling and training disagree by {off}");
    }
    let [generation, scoring, update] = turns.map(median_of);
    let seconds = generation + scoring + update;
    json!({
        "seconds": seconds, "seconds_generation": generation, "seconds_scoring": scoring, "seconds_update": update,
        "tokens_per_second": (rows * NEW) as f64 / seconds,
    })
}
