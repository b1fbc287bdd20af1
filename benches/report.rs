//! The cost of the page of a large run: `cargo bench --bench report [-- --stages 100 --points 100000 --items 50000]`. Makes a
//! run of commands that write curves and items, and times `pipeline report` on it. Fails where a bound is missed.

#[allow(dead_code)]
#[path = "noop/measure.rs"]
mod measure;

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The bounds of the page of such a run.
const LONGEST: Duration = Duration::from_secs(3);
const LARGEST: u64 = 2 << 20;
const MOST_MEMORY: u64 = 400 << 20;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| -> Result<usize> {
        let typed = words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        typed.map_or(Ok(default), |typed| typed.parse().with_context(|| format!("read {name}")))
    };
    let (stages, points, items) = (number("--stages", 100)?, number("--points", 100_000)?, number("--items", 50_000)?);
    let place = tempfile::tempdir().context("create a place")?;
    write(place.path(), stages, points, items)?;
    let program = env!("CARGO_BIN_EXE_pipeline");
    let pipeline = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(place.path());
        command
    };
    measure::once(&mut pipeline(&["run", "large.yaml", "--no-fsync"])).context("make the run")?;
    let patience = measure::Patience { least: 3, most: 5, budget: Duration::from_secs(20) };
    let sample = measure::sample(patience, || Ok(pipeline(&["report", "large.yaml", "-o", "page.html"])))?;
    let bytes = fs::metadata(place.path().join("page.html")).context("read the page")?.len();
    println!("{stages} stages, {points} points each, two models of {items} items");
    println!("| | page | bound |\n|---|---|---|");
    println!("| time, median of {} | {:.2?} | {LONGEST:?} |", patience.least, sample.median());
    println!("| memory | {} MiB | {} MiB |", sample.peak >> 20, MOST_MEMORY >> 20);
    println!("| size | {} KiB | {} KiB |", bytes >> 10, LARGEST >> 10);
    ensure!(sample.median() < LONGEST, "the page takes too long");
    ensure!(sample.peak < MOST_MEMORY, "the page takes too much memory");
    ensure!(bytes <= LARGEST, "the page is too large");
    Ok(())
}

/// The files of the run: every stage hands over the same curve, and two of them items that are compared.
fn write(place: &Path, stages: usize, points: usize, items: usize) -> Result<()> {
    let create = |name: &str| Ok::<_, anyhow::Error>(BufWriter::new(fs::File::create(place.join(name))?));
    let mut curve = create("curve.jsonl")?;
    for step in 0..points {
        let (loss, reward) = (2.0 / (1.0 + step as f64 / 1000.0), (step as f64 / 700.0).sin());
        writeln!(
            curve,
            r#"{{"step":{step},"loss":{loss},"lr":0.001,"metrics":{{"reward":{reward},"kl":{}}}}}"#,
            loss / 3.0
        )?;
    }
    for (name, gain) in [("old.jsonl", 0.0), ("new.jsonl", 0.25)] {
        let mut rows = create(name)?;
        for id in 0..items {
            let text =
                format!("an answer of some words to question {id}, {}", if id % 3 == 0 { "as before" } else { name });
            let score = (id % 97) as f64 / 97.0 + gain;
            writeln!(rows, r#"{{"id":{id},"prompt":"What is number {id}?","text":"{text}","score":{score}}}"#)?;
        }
    }
    let work = |rows: &str, score: &str| {
        format!(
            "[sh, -c, \"{rows}cp in/curve.jsonl metrics.jsonl; echo {score} > model; echo '{{\\\"score\\\": {score}}}' > metrics.json\"]"
        )
    };
    let rows = "cp in/rows.jsonl items.jsonl; ";
    let head = "kind: exec\n    metrics: {score: higher}\n    with: {outputs: [model], command: ";
    fs::write(
        place.join("large.yaml"),
        format!(
            "name: large\nstages:\n  base:\n    from: {{rows: ./old.jsonl, curve: ./curve.jsonl}}\n    {head}{}}}\n  s_${{k}}:\n    for: {{k: 3..{stages}}}\n    \
             from: {{policy: base, curve: ./curve.jsonl}}\n    gate: score > 0\n    {head}{}}}\n  tuned:\n    from: {{policy: base, rows: ./new.jsonl, curve: ./curve.jsonl}}\n    \
             incumbent: policy\n    gate: {{require: score > incumbent.score, on_fail: keep}}\n    {head}{}}}\n",
            work(rows, "0.1"),
            work("", "0.${k}"),
            work(rows, "0.2")
        ),
    )?;
    Ok(())
}
