//! Training and decoding beside PyTorch, `transformers`, `peft` and TRL on the same models, batches and lengths, one
//! after the other in the same session. Needs a Python that has them:
//! `pip install torch transformers peft trl==1.12.0`.
//!
//! ```sh
//! cargo bench --bench train -- --python PYTHON                                # 260K, 7M, 30M: all of it
//! cargo bench --bench train -- --python PYTHON --models 7M --what ppo --turns 3
//! cargo bench --bench train -- --models 350M,1.3B --device wgpu --dtype f16    # on a GPU; without --python ours alone
//! ```

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use formats::config::{Config, Llama};
use formats::dtype::Dtype;
use formats::layout::Sort;
use formats::tokenizer;
use serde_json::{Value, json};
use stages::draw::Draw;
use stages::generate::{self, Choice, Decoding};
use stages::io::{DeviceChoice, Host, Io};
use stages::kernel::Keep;
use stages::kinds;
use stages::model::weights::{self, of_burn};
use stages::model::{Adapter, Decoder, LoraParameters, Trainable};
use stages::stage::{Call, Work};
use stages::tensor::values_of;
use stages::train::{self, Adam, AdamSettings, Gradients, Pass, Sequence};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const DRAW: Draw = Draw { seed: 7, kind: "bench", purpose: "weights" };

/// Width, inner width, layers, heads, heads of keys, vocabulary: as in `peers/train.py`.
const MODELS: &[(&str, [usize; 6])] = &[
    ("260K", [64, 172, 5, 8, 4, 512]),
    ("7M", [256, 688, 6, 8, 8, 4096]),
    ("30M", [512, 1376, 8, 8, 8, 4096]),
    ("350M", [1024, 2816, 24, 16, 16, 32_000]),
    ("1.3B", [2048, 5504, 24, 16, 16, 32_000]),
];

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
        device: if value("--device").as_deref() == Some("wgpu") { DeviceChoice::Wgpu } else { DeviceChoice::Cpu },
        dtype: if value("--dtype").as_deref() == Some("f16") { Dtype::F16 } else { Dtype::F32 },
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
    if options.device == DeviceChoice::Wgpu {
        command.args(["--device", "wgpu"]);
    }
    if options.recompute {
        command.arg("--recompute");
    }
    answer_of(command).expect("this program measures itself")
}

fn peer(python: &str, model: &str, what: &str, rows: usize, options: &Options) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/train.py");
    let device = if options.device == DeviceChoice::Wgpu { "cuda" } else { "cpu" };
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
    let sizes = MODELS.iter().find(|(name, _)| *name == model).expect("a model of the table").1;
    let mut out = match what {
        "decode" => decode(sizes, rows, options, &device),
        "ppo" => ppo(sizes, rows, options),
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

fn random([width, inner, layers, heads, kv_heads, vocabulary]: [usize; 6], dtype: Dtype, device: &Device) -> Decoder {
    let (context, is_tied, pad, bos, eos) = (512, true, Some(0), 1, 2);
    let mut config =
        Llama { vocabulary, width, inner, layers, heads, kv_heads, context, is_tied, pad, bos, eos }.source();
    // No answer ends before its time.
    config["eos_token_id"] = Value::Null;
    let mut number = 0;
    weights::build(Config::of(config).expect("the configuration is good"), |weight| {
        number += 1;
        let [rows, columns] = weight.shape;
        let mut stream = DRAW.stream(1, number);
        // The numbers repeat: their values do not matter, and drawing a billion of them takes minutes.
        let some: Vec<f32> = (0..4099).map(|_| (stream.normal() * 0.02) as f32).collect();
        let is_norm = weight.sort == Sort::Norm;
        let values: Vec<f32> = (0..rows * columns).map(|at| if is_norm { 1.0 } else { some[at % 4099] }).collect();
        let dtype = if weight.sort.is_vector() { Dtype::F32 } else { dtype };
        Ok(Tensor::from_data(TensorData::new(values, [rows, columns]), (device, of_burn(dtype))))
    })
    .expect("a random model")
}

const LORA: LoraParameters = LoraParameters { rank: 8, alpha: 16.0, rslora: false };

/// Median seconds of some turns after a warm one.
fn median_of(mut turns: Vec<f64>) -> f64 {
    turns.remove(0);
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 2]
}

fn step(is_full: bool, sizes: [usize; 6], rows: usize, options: &Options, device: &Device) -> Value {
    let model = random(sizes, if is_full { Dtype::F32 } else { options.dtype }, device);
    let adapter = Adapter::new(&model.config, &LORA, DRAW, device);
    let mut stream = DRAW.stream(2, 0);
    let mut row = || Sequence::new((0..TOKENS).map(|_| stream.below(sizes[5]) as u32).collect(), 1);
    let data: Vec<Sequence> = (0..rows).map(|_| row()).collect();
    let data: Vec<&Sequence> = data.iter().collect();
    let mut adam = match is_full {
        true => Adam::of_weights(&model, AdamSettings::default()),
        false => Adam::of_adapters([&adapter], AdamSettings::default()),
    };
    let one = |_| {
        let start = Instant::now();
        let (now, adapter) = match is_full {
            true => (weights::with_tensors(&model, &adam.tensors), None),
            false => (model.clone(), Some(adapter.with_tensors(&adam.tensors))),
        };
        let trained = if is_full { Trainable::Weights } else { Trainable::Adapter };
        let pass = Pass { model: &now, adapter: adapter.as_ref(), trained, recomputes: options.recompute };
        let (loss, gradients) = train::likelihood(pass, &data, None).expect("a step");
        let measured = Gradients::of(gradients);
        adam.step(1e-3, loss.get().expect("a loss"), measured, String::new).expect("a step");
        start.elapsed().as_secs_f64()
    };
    let seconds = median_of((0..8).map(one).collect());
    json!({"seconds": seconds, "tokens_per_second": (rows * TOKENS) as f64 / seconds})
}

fn decode(sizes: [usize; 6], rows: usize, options: &Options, device: &Device) -> Value {
    let model = random(sizes, options.dtype, device);
    let mut stream = DRAW.stream(3, 0);
    let prompts: Vec<Vec<u32>> =
        (0..rows).map(|_| (0..PROMPT).map(|_| stream.below(sizes[5]) as u32).collect()).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let choice = Choice::Sample { temperature: 1.0, keep: Keep::default(), draw: DRAW, step: 0, first_row: 0 };
    let one = |_| {
        let start = Instant::now();
        let decoding = Decoding { max_new: NEW, stops: &[], choice, at_once: rows };
        generate::answer(&model, None, &prompts, decoding).expect("answers");
        start.elapsed().as_secs_f64()
    };
    let seconds = median_of((0..6).map(one).collect());
    json!({"seconds": seconds, "tokens_per_second": (rows * NEW) as f64 / seconds})
}

/// Runs the kind itself, on files as a pipeline would give it.
fn ppo(sizes: [usize; 6], rows: usize, options: &Options) -> Value {
    let place = tempfile::tempdir().expect("make a directory");
    let at = |name: &str| place.path().join(name);
    // Each character is a token, and one more stands in front.
    let texts: Vec<String> = ('a'..='z').map(|letter| letter.to_string().repeat(PROMPT - 1)).collect();
    let model_directory = at("policy");
    fs::create_dir_all(&model_directory).expect("make a directory");
    tokenizer::train(&["x".to_owned()], 259, 512, &model_directory).expect("make a tokenizer");
    let model = random(sizes, Dtype::F32, &Device::flex());
    weights::save(&model, &BTreeMap::new(), Dtype::F32, &model_directory).expect("write the model");
    let reward = at("reward");
    fs::create_dir_all(&reward).expect("make a directory");
    std::os::unix::fs::symlink(&model_directory, reward.join("model")).expect("make a link");
    let adapter =
        Adapter::new(&model.config, &LORA, DRAW, &Device::flex()).with_head(&model.config, DRAW, &Device::flex());
    weights::save_adapter(&adapter, &model.config.architecture.layout, &reward.join("adapter")).expect("write");
    drop((model, adapter));
    let prompts: String = texts.iter().map(|text| format!("{}\n", json!({"prompt": text}))).collect();
    fs::write(at("prompts.jsonl"), prompts).expect("write prompts");
    let work = at("work");
    fs::create_dir(&work).expect("make a directory");
    let inputs = BTreeMap::from([
        ("policy".to_owned(), vec![model_directory.into()]),
        ("reward".to_owned(), vec![reward.into()]),
        ("prompts".to_owned(), vec![at("prompts.jsonl").into()]),
    ]);
    let kind = kinds::kind("ppo").expect("there is such a kind");
    let with = json!({
        "steps": 5, "batch": rows, "epochs": 4, "minibatches": 1, "max_new_tokens": NEW, "temperature": 1.0,
        "missing_eos_score": null, "lr": 1e-5, "dtype": options.dtype.name(),
        "recompute": options.recompute,
    });
    let parameters = (kind.parse)(with.as_object().expect("a mapping")).expect("they are good");
    let host = Host { device: options.device.clone(), ..Host::default() };
    let mut io = Io::open(&work, inputs, host).expect("open the work");
    let Work::Run(run) = kind.work else { unreachable!("ppo is run") };
    run(&Call { parameters, seed: 7 }, &mut io).expect("PPO runs");
    let curve = fs::read_to_string(work.join("metrics.jsonl")).expect("there is a curve");
    let points: Vec<Value> = curve.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let median = |name: &str| {
        median_of(points.iter().map(|point| point["seconds"][name].as_f64().expect("it is noted")).collect())
    };
    let [generation, scoring, update] = ["generation", "scoring", "update"].map(median);
    let seconds = generation + scoring + update;
    json!({
        "seconds": seconds, "seconds_generation": generation, "seconds_scoring": scoring, "seconds_update": update,
        "tokens_per_second": (rows * NEW) as f64 / seconds,
    })
}
