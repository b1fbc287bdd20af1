//! The results as the tables of docs/performance.md, and their way into it. Knows nothing of how they were measured.

use crate::hashing::Hashing;
use crate::job::{Job, Shape};
use crate::measure::Sample;
use crate::tools::OURS;
use crate::{Results, What};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

const BEGIN: &str = "<!-- results -->\n";
const END: &str = "<!-- end -->";
const NOTHING: &str = "–";

/// Targets of a no-op run: up to so many stages, so many milliseconds.
const NO_OP: [(usize, f64); 4] = [(8, 8.0), (100, 10.0), (1_000, 30.0), (10_000, 300.0)];

pub fn page(results: &Results) -> String {
    let parts = [heading(results), start(results), no_op(results), memory(results), overhead(results), growth(results)];
    let mut parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.extend(results.hashing.as_ref().map(|measured| format!("### A large new file\n\n{}", hashing(measured))));
    parts.extend(refusals(results));
    parts.join("\n\n")
}

/// Puts the page between the marks of the document.
pub fn write(page: &str) -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let (before, rest) =
        text.split_once(BEGIN).with_context(|| format!("write {path}: it has no line `{}`", BEGIN.trim()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("write {path}: it has no line `{END}`"))?;
    std::fs::write(path, format!("{before}{BEGIN}\n{page}\n\n{END}{after}")).with_context(|| format!("write {path}"))
}

/// A line for who is watching.
pub fn line(what: What, job: &Job, tool: &str, result: &std::result::Result<Sample, String>) -> String {
    let what = match what {
        What::First => "first run",
        What::FirstWithoutFsync => "first run, no fsync",
        What::NoOp => "no-op",
        What::Bare => "bare commands",
    };
    let said = result.as_ref().map_or_else(|reason| format!("not measured: {reason}"), pair);
    format!("{} {}: {what}, {tool}: {said}", job.stages, job.shape.word())
}

/// Median, and the lowest in brackets.
pub fn pair(sample: &Sample) -> String {
    format!("{} ({})", time(sample.median()), time(sample.lowest()))
}

/// Three digits say all that a second measurement would confirm.
fn time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    match milliseconds {
        _ if milliseconds >= 9_995.0 => format!("{:.1} s", milliseconds / 1e3),
        _ if milliseconds >= 999.5 => format!("{:.2} s", milliseconds / 1e3),
        _ if milliseconds >= 99.95 => format!("{milliseconds:.0} ms"),
        _ => format!("{milliseconds:.1} ms"),
    }
}

/// 10,000.
fn number(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

fn table(title: &str, head: &[String], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule = format!("|{}", "---|".repeat(head.len()));
    let rows: Vec<String> = rows.iter().map(|row| line(row)).collect();
    format!("{title}\n\n{}\n{rule}\n{}", line(head), rows.join("\n"))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn heading(results: &Results) -> String {
    let machine = &results.machine;
    let mut peers: Vec<String> = results.peers.iter().map(|(name, version)| format!("{name} {version}")).collect();
    peers.extend(results.b3sum.iter().map(|version| format!("b3sum {version}")));
    let beside = if peers.is_empty() { "nothing".to_owned() } else { peers.join(", ") };
    format!(
        "Measured on {}: pipeline {} beside {beside}.\n\n\
         Machine: {} ({} cores, {} memory), {}; {} on {}. A new file of 4 KiB that is on the disk for certain takes \
         {} here. Load of the machine before: {}. Times are medians, the lowest in brackets.",
        jiff::Zoned::now().date(),
        results.version,
        machine.processor,
        machine.cores,
        machine.memory,
        machine.system,
        machine.file_system,
        machine.disk,
        pair(&results.durable_write),
        results.load.as_deref().unwrap_or("unknown"),
    )
}

fn start(results: &Results) -> String {
    let row = vec![pair(&results.start), pair(&results.start_of_nothing), "≤ 3 ms".to_owned()];
    table("### Start", &texts(&["`pipeline --version`", "`true`", "target"]), &[row])
}

/// Sizes and shapes in order.
fn jobs(results: &Results) -> BTreeSet<(usize, Shape)> {
    results.measured.keys().map(|(_, stages, shape, _)| (*stages, *shape)).collect()
}

fn names(results: &Results) -> Vec<&'static str> {
    std::iter::once(OURS).chain(results.peers.iter().map(|(name, _)| *name)).collect()
}

fn sample<'a>(results: &'a Results, what: What, job: (usize, Shape), tool: &'static str) -> Option<&'a Sample> {
    results.measured.get(&(what, job.0, job.1, tool))?.as_ref().ok()
}

/// One row a job, one column a tool.
fn by_job(
    results: &Results,
    title: &str,
    target: &dyn Fn(usize) -> String,
    cell: &dyn Fn((usize, Shape), &'static str) -> Option<String>,
) -> String {
    let names = names(results);
    let mut head = texts(&["stages", "shape"]);
    head.extend(names.iter().map(|name| (*name).to_owned()));
    head.push("target".to_owned());
    let row = |job: (usize, Shape)| {
        let mut row = vec![number(job.0), job.1.word().to_owned()];
        row.extend(names.iter().map(|tool| cell(job, tool).unwrap_or_else(|| NOTHING.to_owned())));
        row.push(target(job.0));
        row
    };
    table(title, &head, &jobs(results).into_iter().map(row).collect::<Vec<_>>())
}

fn no_op(results: &Results) -> String {
    let target = |stages: usize| {
        let of = NO_OP.iter().find(|(most, _)| stages <= *most);
        of.map_or_else(String::new, |(_, milliseconds)| format!("≤ {milliseconds} ms"))
    };
    let cell = |job, tool| sample(results, What::NoOp, job, tool).map(pair);
    by_job(results, "### A run that finds nothing to do", &target, &cell)
}

fn memory(results: &Results) -> String {
    let target = |stages| if stages == 10_000 { "≤ 60 MB".to_owned() } else { String::new() };
    let cell = |job, tool| {
        let peak = sample(results, What::NoOp, job, tool)?.peak;
        Some(format!("{:.1} MB", peak as f64 / 1e6))
    };
    by_job(results, "### The most memory it held", &target, &cell)
}

/// The time that the tool adds to each command.
fn overhead(results: &Results) -> String {
    let each = |what, job: (usize, Shape), tool| {
        let bare = sample(results, What::Bare, job, "sh")?.median();
        let sample = sample(results, what, job, tool)?;
        let over = |wall: Duration| (wall.as_secs_f64() - bare.as_secs_f64()) * 1e3 / job.0 as f64;
        Some(format!("{:.2} ms ({:.2})", over(sample.median()), over(sample.lowest())))
    };
    let without = if results.can_skip_fsync { "`--no-fsync`" } else { "`--no-fsync` (not there yet)" };
    let mut head = texts(&["stages", "shape", "command alone", OURS, without]);
    head.extend(results.peers.iter().map(|(name, _)| (*name).to_owned()));
    let row = |job: (usize, Shape)| {
        let bare = sample(results, What::Bare, job, "sh").map(|bare| time(bare.median() / job.0 as u32));
        let mut cells = vec![bare, each(What::First, job, OURS), each(What::FirstWithoutFsync, job, OURS)];
        cells.extend(results.peers.iter().map(|(name, _)| each(What::First, job, name)));
        let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned()));
        [number(job.0), job.1.word().to_owned()].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = jobs(results).into_iter().map(row).collect();
    let title = "### What a stage costs beyond its command\n\nTarget: ≤ 10 ms with fsync, ≤ 3 ms with `--no-fsync`. The \
                 peers wait for no disk.";
    table(title, &head, &rows)
}

fn growth(results: &Results) -> String {
    let shapes: BTreeSet<Shape> = jobs(results).into_iter().map(|(_, shape)| shape).collect();
    let row = |shape: Shape| {
        let ratio = |tool| {
            let median = |stages| Some(sample(results, What::NoOp, (stages, shape), tool)?.median().as_secs_f64());
            Some(format!("× {:.1}", median(10_000)? / median(1_000)?))
        };
        let (ours, ninja) = (ratio(OURS)?, ratio("ninja").unwrap_or_else(|| NOTHING.to_owned()));
        Some(vec![shape.word().to_owned(), ours, ninja, "about × 10: linear".to_owned()])
    };
    let rows: Vec<_> = shapes.into_iter().filter_map(row).collect();
    table("### Growth of the no-op run from 1,000 to 10,000 stages", &texts(&["shape", OURS, "ninja", "target"]), &rows)
}

pub fn hashing(measured: &Hashing) -> String {
    let speed = |wall: Duration| measured.bytes as f64 / 1e9 / wall.as_secs_f64();
    let row = |name: &str, pair: &crate::hashing::Pair| {
        let ours = speed(pair.ours.median());
        let peer = pair.b3sum.as_ref().map(|peer| speed(peer.median()));
        let share = peer.map_or_else(|| NOTHING.to_owned(), |peer| format!("{:.0} %", 100.0 * ours / peer));
        let peer = peer.map_or_else(|| NOTHING.to_owned(), |peer| format!("{peer:.2} GB/s"));
        vec![name.to_owned(), format!("{ours:.2} GB/s"), peer, share, "≥ 80 %".to_owned()]
    };
    let rows = [row("in memory", &measured.warm), row("on the disk alone", &measured.cold)];
    let size = format!("{:.1} GB", measured.bytes as f64 / 1e9);
    let head = texts(&["where the file is", "pipeline takes it in", "`b3sum`", "share", "target"]);
    let title = format!(
        "{size}, met for the first time (`pipeline plan`). A whole `run` in which a stage gives that file as its output \
         takes {}, and the same run again {}.",
        time(measured.adopted),
        time(measured.found_again)
    );
    table(&title, &head, &rows)
}

fn refusals(results: &Results) -> Option<String> {
    let refused = results.measured.iter().filter_map(|((_, stages, shape, tool), result)| {
        let reason = result.as_ref().err()?;
        Some(format!("* {} {}, {tool}: {reason}", number(*stages), shape.word()))
    });
    let mut text = "Not measured:\n".to_owned();
    let lines: Vec<String> = refused.collect();
    lines.iter().for_each(|line| write!(text, "\n{line}").expect("a text takes all"));
    (!lines.is_empty()).then_some(text)
}
