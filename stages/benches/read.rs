//! The speed of reading models and data, compared with `cat` of the same file and with the batches of the tokenizers
//! crate. `cargo bench --bench read [-- MODEL_DIRECTORY_WITH_TOKENIZER]`

use formats::config::{Config, Llama};
use formats::data::{self, RowFilter};
use formats::dtype::Dtype;
use formats::layout;
use formats::tokenizer::Tokenizer;
use formats::weights::{WEIGHTS, write};
use serde_json::json;
use stages::device;
use stages::io::DeviceChoice;
use stages::model::weights;
use stages::tensor::values_of;
use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const TIMES: usize = 5;

fn main() {
    let place = tempfile::tempdir().expect("make a directory");
    load(place.path());
    let tokenizer = std::env::args().skip(1).find(|word| !word.starts_with('-')).map(PathBuf::from);
    let tokenizer =
        tokenizer.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/tokenizers/bytes"));
    tokenise(place.path(), &tokenizer);
}

/// The seconds of the fastest of several runs.
fn fastest(mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..TIMES).map(time).fold(f64::INFINITY, f64::min)
}

/// A LLaMA of about 1 GB as f32, and the same numbers as bf16.
fn load(place: &Path) {
    let devices = [DeviceChoice::Cpu, DeviceChoice::Wgpu].map(|choice| {
        let device = device::open(&choice).ok();
        (choice, device)
    });
    let source = Llama {
        vocabulary: 32_000,
        width: 1024,
        inner: 2816,
        layers: 18,
        heads: 16,
        kv_heads: 16,
        context: 2048,
        is_tied: true,
        pad: Some(0),
        bos: 1,
        eos: 2,
    }
    .source();
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let directory = place.join(dtype.name());
        fs::create_dir(&directory).expect("make a directory");
        fs::write(directory.join("config.json"), source.to_string()).expect("write the configuration");
        let config = Config::load(&directory).expect("the configuration is good");
        let tensors = layout::weights(&config).into_iter().enumerate().map(|(n, weight)| {
            let shape = weight.shape_in_file().to_vec();
            let values =
                (0..shape.iter().product::<usize>()).map(|i| ((i * 31 + n) % 1000) as f32 / 1000.0 - 0.5).collect();
            (weight.name, (values, shape))
        });
        let file = directory.join(WEIGHTS);
        write(&tensors.collect(), dtype, &file).expect("write the weights");
        let bytes = fs::metadata(&file).expect("it was written").len();
        let cat = fastest(|| {
            let done = Command::new("cat").arg(&file).stdout(Stdio::null()).status();
            assert!(done.expect("start cat").success());
        });
        // Piped: the speed at which another process gets the bytes.
        let piped = fastest(|| {
            let mut cat = Command::new("cat").arg(&file).stdout(Stdio::piped()).spawn().expect("start cat");
            std::io::copy(cat.stdout.as_mut().expect("it is piped"), &mut std::io::sink()).expect("read from cat");
            assert!(cat.wait().expect("wait for cat").success());
        });
        println!("{}: {:.2} GB; cat to nowhere {cat:.3} s, to a pipe {piped:.3} s", dtype.name(), bytes as f64 / 1e9);
        for (choice, device) in &devices {
            let Some(device) = device else {
                println!("  {choice:?}: not here");
                continue;
            };
            // A number of every tensor is read back, to wait until the tensor is on the device.
            let loaded = fastest(|| {
                let model = weights::load(&directory, config.clone(), Dtype::F32, device).expect("load the model");
                for tensor in weights::tensors(&model) {
                    black_box(values_of(tensor.slice([0..1, 0..1])).expect("read a tensor"));
                }
            });
            let (of_cat, of_pipe) = (100.0 * cat / loaded, 100.0 * piped / loaded);
            println!("  {choice:?}, as f32: {loaded:.3} s, {of_cat:.0} % of cat, {of_pipe:.0} % of the pipe");
        }
    }
}

fn tokenise(place: &Path, directory: &Path) {
    let text =
        "吾輩は猫である。名前はまだ無い。 It was a bright cold day in April. fn main() { println!(\"😀 {}\", 42); }\n";
    let path = place.join("rows.jsonl");
    let mut file = std::io::BufWriter::new(fs::File::create(&path).expect("make a file"));
    let mut written = 0;
    let mut number = 0;
    while written < 100_000_000 {
        number += 1;
        let row = json!({"text": format!("{number} {}", text.repeat(1 + number % 7))}).to_string();
        written += row.len() + 1;
        writeln!(file, "{row}").expect("write a row");
    }
    file.flush().expect("write the rows");
    let ours = Tokenizer::load(directory).expect("read the tokenizer");
    let theirs = tokenizers::Tokenizer::from_file(directory.join("tokenizer.json")).expect("read the tokenizer");
    let sources = [path.clone().into()];
    let texts = data::texts(&sources, &mut RowFilter::default()).expect("read the rows").texts;
    let read = fastest(|| drop(black_box(data::texts(&sources, &mut RowFilter::default()).expect("read the rows"))));
    let one = |work: &dyn Fn() -> usize| {
        let start = Instant::now();
        (work(), start.elapsed().as_secs_f64())
    };
    let (mut ours_best, mut theirs_best) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..2 {
        let (counted, seconds) = one(&|| {
            let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
            let all = theirs.encode_batch_fast(inputs, false).expect("encode");
            all.iter().map(|encoding| encoding.get_ids().len()).sum()
        });
        theirs_best = theirs_best.min(seconds);
        let (ours, seconds) = one(&|| {
            let read = data::texts(&sources, &mut RowFilter::default()).expect("read the rows");
            ours.texts(&read.texts).expect("encode").iter().map(Vec::len).sum()
        });
        ours_best = ours_best.min(seconds);
        assert_eq!(counted, ours);
    }
    println!(
        "{:.0} MB of JSONL, {} rows: read in {read:.2} s; read and tokenised in {ours_best:.2} s; encode_batch_fast of the \
         texts alone {theirs_best:.2} s ({:.0} % of its rate)",
        written as f64 / 1e6,
        texts.len(),
        100.0 * theirs_best / ours_best
    );
}
