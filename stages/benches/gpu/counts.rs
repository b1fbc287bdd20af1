//! Counts of the work that stages ask of a device: kernels by their names, uploads, reads. The
//! counts are the same on every device, so that a software driver can hold them (`tests/numbers.rs`), and `cargo bench
//! --bench gpu` prints them for the device at hand.

use burn::tensor::{Device, Tensor, TensorData};
use cubecl::logging::{LaunchObservation, LaunchObserver};
use formats::config::{Config, Llama};
use formats::dtype::Dtype;
use formats::layout::Sort;
use formats::tokenizer;
use serde_json::{Value, json};
use stages::draw::Draw;
pub use stages::generate::Choice;
use stages::generate::{self, Decoding};
use stages::io::{DeviceChoice, Host, Io};
use stages::kernel::Keep;
use stages::kinds;
use stages::model::weights::{self, of_burn};
use stages::model::{Adapter, Decoder, LoraParameters, Trainable};
use stages::stage::{Call, Work};
use stages::tensor::{self, Traffic};
use stages::train::{self, Adam, AdamSettings, Gradients, Pass, Sequence};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

/// Kernels, uploads and reads.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub kernels: BTreeMap<&'static str, i64>,
    pub uploads: i64,
    pub uploaded_bytes: i64,
    pub reads: i64,
    pub read_bytes: i64,
}

impl Counts {
    pub fn launches(&self) -> i64 {
        self.kernels.values().sum()
    }

    pub fn minus(&self, other: &Counts) -> Counts {
        let mut kernels = self.kernels.clone();
        for (name, count) in &other.kernels {
            *kernels.entry(name).or_default() -= count;
        }
        kernels.retain(|_, count| *count != 0);
        Counts {
            kernels,
            uploads: self.uploads - other.uploads,
            uploaded_bytes: self.uploaded_bytes - other.uploaded_bytes,
            reads: self.reads - other.reads,
            read_bytes: self.read_bytes - other.read_bytes,
        }
    }
}

/// Counts the kernels that one thread launches: other tests may compute at the same time.
struct Launches {
    of: ThreadId,
    kernels: Mutex<BTreeMap<&'static str, i64>>,
}

impl LaunchObserver for Launches {
    fn launched(&self, kernel: &'static str) {
        if thread::current().id() == self.of {
            *self.kernels.lock().expect("no launch panics").entry(kernel).or_default() += 1;
        }
    }
}

/// Counts the kernels, uploads and reads of `work`. One call at a time in a process.
pub fn counted(work: impl FnOnce()) -> Counts {
    let launches = Arc::new(Launches { of: thread::current().id(), kernels: Mutex::default() });
    let (before, observation) = (tensor::traffic(), LaunchObservation::new(launches.clone()));
    work();
    drop(observation);
    let Traffic { uploads, uploaded_bytes, reads, read_bytes } = tensor::traffic();
    let more = |now: u64, before: u64| (now - before) as i64;
    Counts {
        kernels: launches.kernels.lock().expect("no launch panics").clone(),
        uploads: more(uploads, before.uploads),
        uploaded_bytes: more(uploaded_bytes, before.uploaded_bytes),
        reads: more(reads, before.reads),
        read_bytes: more(read_bytes, before.read_bytes),
    }
}

const DRAW: Draw = Draw { seed: 7, kind: "counts", purpose: "weights" };
const LORA: LoraParameters = LoraParameters { rank: 8, alpha: 16.0, rslora: false };

/// A LLaMA with rotary positions, RMSNorm and SwiGLU, whose weights repeat.
pub fn llama(layers: usize, dtype: Dtype, device: &Device) -> Decoder {
    let (vocabulary, width, inner, heads, kv_heads, context) = (512, 128, 192, 2, 2, 256);
    let (is_tied, pad, bos, eos) = (true, Some(0), 1, 2);
    let llama = Llama { vocabulary, width, inner, layers, heads, kv_heads, context, is_tied, pad, bos, eos };
    let mut config = llama.source();
    // No answer ends before its time.
    config["eos_token_id"] = Value::Null;
    let mut number = 0;
    weights::build(Config::of(config).expect("the configuration is good"), |weight| {
        number += 1;
        let [rows, columns] = weight.shape;
        let mut stream = DRAW.stream(1, number);
        let is_norm = weight.sort == Sort::Norm;
        let values: Vec<f32> =
            (0..rows * columns).map(|_| if is_norm { 1.0 } else { (stream.normal() * 0.05) as f32 }).collect();
        let dtype = if weight.sort.is_vector() { Dtype::F32 } else { dtype };
        Ok(Tensor::from_data(TensorData::new(values, [rows, columns]), (device, of_burn(dtype))))
    })
    .expect("a model")
}

fn ids(number: u64, length: usize) -> Vec<u32> {
    let mut stream = DRAW.stream(2, number);
    (0..length).map(|_| 3 + stream.below(500) as u32).collect()
}

pub const GREEDY: Choice = Choice::Greedy;
pub const PLAIN: Choice = sampled(Keep { top_k: None, top_p: None });
pub const TOP_P: Choice = sampled(Keep { top_k: Some(50), top_p: Some(0.9) });

const fn sampled(keep: Keep) -> Choice {
    Choice::Sample { temperature: 0.7, keep, draw: DRAW, step: 0, first_row: 0 }
}

/// Tokens over which one decoded token is averaged: a multiple of the tokens between two reads.
pub const TOKENS: usize = 16;

/// Counts [`TOKENS`] more tokens of some rows: prompts and first tokens are taken away.
pub fn decoding(model: &Decoder, has_adapter: bool, choice: Choice) -> Counts {
    let adapter = has_adapter.then(|| Adapter::new(&model.config, &LORA, DRAW, &model.device()));
    let prompts: Vec<Vec<u32>> = [9, 5, 7].iter().map(|length| ids(*length, *length as usize)).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let answer = |max_new: usize| {
        counted(|| {
            let decoding = Decoding { max_new, stops: &[], choice, at_once: 3 };
            generate::answer(model, adapter.as_ref(), &prompts, decoding).expect("answers");
        })
    };
    // What is sent once for a model is there.
    answer(2);
    let few = answer(TOKENS);
    answer(2 * TOKENS).minus(&few)
}

/// Kernels a layer and kernels in all, of the counts of a model of two and of one of four layers.
pub fn by_layer(two: &Counts, four: &Counts) -> (f64, f64) {
    let by_layer = (four.launches() - two.launches()) as f64 / 2.0;
    (by_layer, two.launches() as f64 - 2.0 * by_layer)
}

/// Counts an optimiser step of fine-tuning: all of it, and Adam alone.
pub fn sft_step(model: &Decoder, trained: Trainable) -> [Counts; 2] {
    let adapter = Adapter::new(&model.config, &LORA, DRAW, &model.device());
    let rows: Vec<Sequence> =
        [40, 31, 22].iter().map(|length| Sequence::new(ids(*length, *length as usize), 9)).collect();
    let rows: Vec<&Sequence> = rows.iter().collect();
    let mut adam = match trained {
        Trainable::Adapter => Adam::of_adapters([&adapter], AdamSettings::default()),
        Trainable::Weights => Adam::of_weights(model, AdamSettings::default()),
    };
    let mut both = [Counts::default(), Counts::default()];
    // The second step is one among many.
    for _ in 0..2 {
        let mut gradients = None;
        let way = counted(|| {
            let (model, adapter) = match trained {
                Trainable::Adapter => (model.clone(), Some(adapter.with_tensors(&adam.tensors))),
                Trainable::Weights => (weights::with_tensors(model, &adam.tensors), None),
            };
            let pass = Pass { model: &model, adapter: adapter.as_ref(), trained, recomputes: false };
            gradients = Some(train::likelihood(pass, &rows, None).expect("a step"));
        });
        let (loss, gradients) = gradients.expect("it was computed");
        let of_adam = counted(|| {
            let measured = Gradients::of(gradients);
            adam.step(1e-3, loss.get().expect("a loss"), measured, String::new).expect("a step");
        });
        let mut all = way;
        for (name, count) in &of_adam.kernels {
            *all.kernels.entry(name).or_default() += count;
        }
        all.uploads += of_adam.uploads;
        all.uploaded_bytes += of_adam.uploaded_bytes;
        all.reads += of_adam.reads;
        all.read_bytes += of_adam.read_bytes;
        both = [all, of_adam];
    }
    both
}

/// Counts a forward pass over whole rows, with an adapter.
pub fn forward(model: &Decoder) -> Counts {
    let adapter = Adapter::new(&model.config, &LORA, DRAW, &model.device());
    let row = Sequence::new(ids(1, 40), 9);
    counted(|| {
        train::predicted(model, Some(&adapter), &[&row, &row], 1.0).expect("predictions");
    })
}

/// Counts the writing of a checkpoint.
pub fn checkpoint(model: &Decoder) -> Counts {
    let adapter = Adapter::new(&model.config, &LORA, DRAW, &model.device());
    let adam = Adam::of_adapters([&adapter], AdamSettings::default());
    let place = tempfile::tempdir().expect("make a directory");
    let mut io = Io::open(place.path(), BTreeMap::new(), Host::default()).expect("open the work");
    counted(|| train::checkpoint(&mut io, 1, 2, true, &adam, &()).expect("a checkpoint"))
}

/// Counts one more epoch of an update of PPO: one optimiser step of policy and critic.
pub fn ppo_step(layers: usize, device: &DeviceChoice) -> Counts {
    let place = tempfile::tempdir().expect("make a directory");
    let at = |name: &str| place.path().join(name);
    let host = Device::flex();
    let model = llama(layers, Dtype::F32, &host);
    let policy = at("policy");
    fs::create_dir_all(&policy).expect("make a directory");
    tokenizer::train(&["x".to_owned()], 259, 512, &policy).expect("make a tokenizer");
    weights::save(&model, &BTreeMap::new(), Dtype::F32, &policy).expect("write the model");
    let reward = at("reward");
    fs::create_dir_all(&reward).expect("make a directory");
    std::os::unix::fs::symlink(&policy, reward.join("model")).expect("make a link");
    let adapter = Adapter::new(&model.config, &LORA, DRAW, &host).with_head(&model.config, DRAW, &host);
    weights::save_adapter(&adapter, &model.config.architecture.layout, &reward.join("adapter")).expect("write");
    let prompts: String =
        ('a'..='h').map(|letter| format!("{}\n", json!({"prompt": letter.to_string().repeat(8)}))).collect();
    fs::write(at("prompts.jsonl"), prompts).expect("write prompts");
    let run = |epochs: u64| counted(|| run_ppo(place.path(), epochs, device));
    // With its kernels compiled, a run ends before a checkpoint is due, which would be one more read.
    run(1);
    let few = run(2);
    run(3).minus(&few)
}

fn run_ppo(place: &Path, epochs: u64, device: &DeviceChoice) {
    let work = tempfile::tempdir().expect("make a directory");
    let inputs = BTreeMap::from([
        ("policy".to_owned(), vec![place.join("policy").into()]),
        ("reward".to_owned(), vec![place.join("reward").into()]),
        ("prompts".to_owned(), vec![place.join("prompts.jsonl").into()]),
    ]);
    let kind = kinds::kind("ppo").expect("there is such a kind");
    let with = json!({
        "steps": 1, "batch": 8, "epochs": epochs, "minibatches": 1, "max_new_tokens": 8, "temperature": 1.0,
        "missing_eos_score": null, "lr": 1e-5,
    });
    let parameters = (kind.parse)(with.as_object().expect("a mapping")).expect("they are good");
    let mut io =
        Io::open(work.path(), inputs, Host { device: device.clone(), ..Host::default() }).expect("open the work");
    let Work::Run(run) = kind.work else { unreachable!("ppo is run") };
    run(&Call { parameters, seed: 7 }, &mut io).expect("PPO runs");
}
