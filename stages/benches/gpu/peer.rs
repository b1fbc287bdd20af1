//! PyTorch, `transformers`, `peft` and TRL on the same card, where they are installed: `peers/gpu.py`, which works many
//! measurements in one process, as importing them takes most of a minute.

use super::line::{dropped, failed, number, shortened, text};
use super::model::Sizes;
use super::options::{self, Options};
use super::predict;
use super::sizes;
use super::work::{WorkSizes, sizes_of};
use formats::dtype::Dtype;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

pub fn run(options: &Options) {
    let script = options.peers.join("gpu.py");
    if !script.is_file() {
        return dropped("PyTorch", format!("{} is not there", script.display())).tell();
    }
    let (models, device) = if options.is_tiny { ("tiny", "cpu") } else { ("350M,1.3B,7B", "cuda") };
    let work = sizes_of(options.is_tiny);
    let WorkSizes { decoded, prompt, new, rows, tokens, ppo } = &work;
    let decoded: Vec<String> = decoded.iter().map(usize::to_string).collect();
    let number_words = [
        ("--new", *new),
        ("--prompt", *prompt),
        ("--rows", *rows),
        ("--tokens", *tokens),
        ("--ppo-rows", ppo[0].rows),
        ("--ppo-prompt", ppo[0].prompt),
        ("--ppo-new", ppo[0].new),
        ("--ppo-epochs", ppo[0].epochs),
    ];
    let mut command = Command::new(&options.python);
    command.arg(script).args(["--models", models, "--device", device, "--decode", &decoded.join(",")]);
    command.args(["--seconds", &format!("{:.1}", options.left())]);
    for (word, value) in number_words {
        command.args([word, value.to_string().as_str()]);
    }
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return dropped("PyTorch", format!("start {}: {error}", options.python.display())).tell(),
    };
    let output = child.stdout.take().expect("it was asked for");
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        match serde_json::from_str::<Value>(&line) {
            Ok(told) => tell(&told, &work),
            Err(_) => text("output", line).tell(),
        }
    }
    match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => failed("PyTorch", format!("{status}")).tell(),
        Err(error) => failed("PyTorch", error.to_string()).tell(),
    }
}

/// Turns what the peer tells into a line beside its prediction.
fn tell(told: &Value, work: &WorkSizes) {
    let word = |name: &str| told[name].as_str().unwrap_or_default();
    let (what, rows) = (word("what"), told["rows"].as_u64().unwrap_or(0) as usize);
    let of_rows = if what == "decode" { format!(" {rows}") } else { String::new() };
    let name = format!("{} {} {what}{of_rows}", word("model"), word("dtype")).trim().to_owned();
    for (key, line) in [("missing", dropped as fn(_, _) -> _), ("failed", failed), ("said", text)] {
        if !word(key).is_empty() {
            return line(name, shortened(word(key), 400)).tell();
        }
    }
    let rates = (told["tokens_per_second"].as_f64(), told["seconds"].as_f64(), options::dtype(word("dtype")));
    let (Some(rate), Some(seconds), Some(dtype)) = rates else { return text("output", told.to_string()).tell() };
    let predicted = rate_of(&sizes::of(word("model")), dtype, what, rows, work);
    let source = "5 µs a kernel, or what its products reach";
    number(name, rate, "tokens/s").beside(predicted, source).noting(format!("{:.1} ms", seconds * 1e3)).tell();
}

/// Predicted tokens a second.
fn rate_of(sizes: &Sizes, dtype: Dtype, what: &str, rows: usize, work: &WorkSizes) -> f64 {
    let (torch, ppo) = (predict::torch(dtype), work.ppo[0]);
    match what {
        "decode" => rows as f64 / torch.token(sizes, 50.0),
        "PPO" => (ppo.rows * ppo.new) as f64 / torch.ppo(sizes, ppo),
        _ => (work.rows * work.tokens) as f64 / torch.passes(sizes, work.rows * work.tokens, 2.0),
    }
}
