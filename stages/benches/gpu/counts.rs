//! Counts of the work that stages ask of a device: kernels by their names, uploads, reads. The
//! counts are the same on every device, so that a software driver can hold them (`tests/numbers.rs`), and `cargo bench
//! --bench gpu` prints them for the device at hand.

#[path = "../common/model.rs"]
pub mod model;
#[path = "../common/steps.rs"]
pub mod steps;

use burn::tensor::Device;
use cubecl::logging::{LaunchObservation, LaunchObserver};
use formats::config::Config;
use formats::dtype::Dtype;
use model::{DRAW, LORA, Sizes};
pub use stages::generate::Choice;
use stages::generate::{self, Decoding, DrawNames};
use stages::io::{Host, Io};
use stages::kernel::Keep;
use stages::model::{Adapter, Decoder, Trainable};
use stages::tensor::{self, Traffic};
use stages::train::{self, Adam, AdamSettings, Sequence};
use std::collections::BTreeMap;
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

    pub fn plus(&self, other: &Counts) -> Counts {
        let mut all = self.clone();
        for (name, count) in &other.kernels {
            *all.kernels.entry(name).or_default() += count;
        }
        all.uploads += other.uploads;
        all.uploaded_bytes += other.uploaded_bytes;
        all.reads += other.reads;
        all.read_bytes += other.read_bytes;
        all
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

const VOCABULARY: usize = 512;

/// Heads are as wide as those of large models.
fn sizes(layers: usize) -> Sizes {
    let (width, inner, heads, kv_heads, context) = (128, 192, 2, 2, 1024);
    Sizes { width, inner, layers, heads, kv_heads, vocabulary: VOCABULARY, context }
}

pub fn llama(layers: usize, dtype: Dtype, device: &Device) -> Decoder {
    model::llama(&sizes(layers), dtype, device)
}

/// The same with the projections of a Phi-3: one for queries, keys and values, and one for both halves of the MLP.
pub fn phi3(layers: usize, device: &Device) -> Decoder {
    let mut source = model::source(&sizes(layers));
    source["model_type"] = "phi3".into();
    model::drawn(Config::of(source).expect("the configuration is good"), Dtype::F32, device)
}

pub const GREEDY: Choice<'static> = Choice::Greedy;
pub const PLAIN: Choice<'static> = sampled(Keep { top_k: None, top_p: None });
pub const TOP_P: Choice<'static> = sampled(Keep { top_k: Some(50), top_p: Some(0.9) });

const fn sampled(keep: Keep) -> Choice<'static> {
    Choice::Sample { temperature: 0.7, keep, draw: DRAW, of: DrawNames::Counted { step: 0, first_row: 0 } }
}

/// Tokens over which one decoded token is averaged: a multiple of the tokens between two reads.
pub const TOKENS: usize = 16;

/// Tokens of prompts, and of those whose keys are read in parts.
pub const SHORT: [usize; 3] = [9, 5, 7];
pub const LONG: [usize; 3] = [600, 540, 570];

/// Counts [`TOKENS`] more tokens behind such prompts: they and first tokens are taken away.
pub fn decoding(llama: &Decoder, has_adapter: bool, prompts: [usize; 3], choice: Choice) -> Counts {
    let adapter = has_adapter.then(|| Adapter::new(&llama.config, &LORA, DRAW, &llama.device()));
    let prompts: Vec<Vec<u32>> = prompts.iter().map(|length| model::ids(*length as u64, *length, VOCABULARY)).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let answer = |max_new: usize| {
        counted(|| {
            let decoding = Decoding { max_new, stops: &[], choice, at_once: 3 };
            generate::answer(llama, adapter.as_ref(), &prompts, decoding).expect("answers");
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
pub fn sft_step(llama: &Decoder, trained: Trainable) -> [Counts; 2] {
    let adapter = Adapter::new(&llama.config, &LORA, DRAW, &llama.device());
    let row = |length: &u64| model::row(*length, *length as usize, 9, VOCABULARY);
    let rows: Vec<Sequence> = [40, 31, 22].iter().map(row).collect();
    let rows: Vec<&Sequence> = rows.iter().collect();
    let mut adam = steps::adam_of(llama, &adapter, trained);
    let mut both = [Counts::default(), Counts::default()];
    // The second step is one among many.
    for _ in 0..2 {
        let mut at_loss = None;
        let way = counted(|| {
            at_loss = Some(steps::way(llama, &adapter, &adam, trained, &rows, false).expect("a step"));
        });
        let (loss, gradients) = at_loss.expect("it was computed");
        let of_adam = counted(|| {
            steps::step(&mut adam, loss, gradients).expect("a step");
        });
        both = [way.plus(&of_adam), of_adam];
    }
    both
}

/// Counts a forward pass over whole rows, with an adapter.
pub fn forward(llama: &Decoder) -> Counts {
    let adapter = Adapter::new(&llama.config, &LORA, DRAW, &llama.device());
    let row = model::row(1, 40, 9, VOCABULARY);
    counted(|| {
        train::predicted(llama, Some(&adapter), &[&row, &row], 1.0).expect("predictions");
    })
}

/// Counts the writing of a checkpoint.
pub fn checkpoint(llama: &Decoder) -> Counts {
    let adapter = Adapter::new(&llama.config, &LORA, DRAW, &llama.device());
    let adam = Adam::of_adapters([&adapter], AdamSettings::default());
    let place = tempfile::tempdir().expect("make a directory");
    let mut io = Io::open(place.path(), BTreeMap::new(), Host::default()).expect("open the work");
    counted(|| train::checkpoint(&mut io, 1, 2, true, &adam, &()).expect("a checkpoint"))
}

/// Counts one more epoch of an update of PPO: one optimiser step of policy and critic.
pub fn ppo_step(llama: &Decoder) -> Counts {
    let models = steps::ppo_models(llama);
    let prompts: Vec<Vec<u32>> = (0..8).map(|row| model::ids(row, 8, VOCABULARY)).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let run = |epochs: u64| {
        let parameters = steps::ppo_parameters(8, 8, epochs, false);
        let mut adam = Adam::of_adapters(models.own().trained(), AdamSettings::default());
        counted(|| {
            let off = steps::ppo_iteration(&parameters, &models, &mut adam, &prompts, 0, |_| ()).expect("PPO runs");
            assert!(off < 1e-5, "sampling and training disagree by {off}");
        })
    };
    let few = run(2);
    run(3).minus(&few)
}
