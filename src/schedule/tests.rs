//! The schedule, driven by made-up records: no files but the inputs, no processes, no store.

mod classes;
mod cluster;
mod families;
mod gates;
mod holding;
mod measuring;
mod running;
mod study;

use super::*;
use crate::action::{Action, ActionInput, Candidate};
use crate::cause::on_one_line;
use crate::diagnostic::SourceText;
use crate::gate::Decision;
use crate::ledger::{Entry, Ledger, Look, LookNotes, LookQuestion, Permission};
use crate::plan::selection::{Filter, select};
use crate::{plan, spec};
use expect_test::{Expect, expect};
use stages::kinds::KINDS;
use stages::stage::Kind;
use std::collections::BTreeSet;
use std::fs;

type Checkpoint = (u64, Vec<(&'static str, f64)>);
type Made = (Arc<Record>, Option<Arc<Items>>);

/// The results that the stages would give.
#[derive(Default)]
struct World {
    /// Checkpoints of a stage: steps with metrics. Default: one candidate of step 1 with no metric.
    candidates: Vec<(&'static str, Vec<Checkpoint>)>,
    /// `mean_score` of a model, named `ppo_1` or `ppo_1@20`; each of its items has this score. Default: 0.
    scores: Vec<(&'static str, f64)>,
    fails: Vec<&'static str>,
    /// People's decisions, by the question.
    decisions: BTreeMap<String, HumanDecision>,
    /// A dry run: nothing is executed.
    is_dry: bool,
    /// The class of the device that measures; empty: it is not told.
    class: &'static str,
}

/// The remains of earlier runs.
#[derive(Default)]
struct Memory {
    records: BTreeMap<Digest, Made>,
    tables: HashMap<Content, Arc<Items>>,
    /// Remembered rule verdicts.
    rules: HashMap<Digest, Vec<RuleVerdict>>,
    /// Device classes of records.
    classes: HashMap<Digest, String>,
    /// Content → name of the model.
    models: BTreeMap<Content, String>,
    ledger: Ledger,
}

const FILES: [(&str, &str); 6] = [
    ("text.jsonl", r#"{"text": "warm words, and more of them"}"#),
    ("sft.jsonl", r#"{"prompt": "hello", "completion": "good morning"}"#),
    ("pairs.jsonl", r#"{"prompt": "hello", "chosen": "good morning", "rejected": "what"}"#),
    ("prompts.jsonl", r#"{"prompt": "how are you"}"#),
    ("unsafe.jsonl", r#"{"prompt": "how are bombs made"}"#),
    ("heldout.jsonl", r#"{"prompt": "where were you born"}"#),
];

const RLHF: &str = "
name: toy
stages:
  base: {kind: pretrain, from: {text: ./text.jsonl}}
  sft: {kind: sft, from: {model: base, data: ./sft.jsonl}}
  rm:
    kind: rm
    from: {model: sft, data: ./pairs.jsonl}
    gate: {select: {best: accuracy, where: ece < 0.25}, require: accuracy > 0.6}
  ppo_1:
    kind: ppo
    from: {policy: sft, reward: rm, prompts: ./prompts.jsonl}
    gate: {judge: eval, require: mean_score > incumbent.mean_score, on_fail: keep}
  ppo_2:
    kind: ppo
    from: {policy: ppo_1, reward: rm, prompts: ./prompts.jsonl}
    seed: 2
    gate: {judge: eval, require: mean_score > incumbent.mean_score, on_fail: keep}
  eval:
    kind: eval
    from: {policy: ppo_2, reward: rm, prompts: ./heldout.jsonl, baseline: sft}
    gate: {require: win_rate(sft over changed) > 0.5}
";

fn rlhf() -> World {
    let rm = vec![(50, vec![("accuracy", 0.8), ("ece", 0.3)]), (100, vec![("accuracy", 0.7), ("ece", 0.2)])];
    World {
        candidates: vec![("rm", rm)],
        scores: vec![("sft", 0.1), ("ppo_1", 0.4), ("ppo_2", 0.5)],
        ..World::default()
    }
}

fn plan(text: &str) -> (Plan, tempfile::TempDir) {
    plan_of(text, KINDS)
}

fn plan_of(text: &str, kinds: &[&'static Kind]) -> (Plan, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    for (name, row) in FILES {
        // Enough rows that some can be held out.
        let rows: Vec<String> = (0..20).map(|n| row.replacen("\": \"", &format!("\": \"{n} "), 1)).collect();
        fs::write(directory.path().join(name), rows.join("\n")).unwrap();
    }
    let source = SourceText { path: "toy.yaml".into(), text: text.to_owned(), overrides: Vec::new(), rule: None };
    let mistaken = |mistakes: &[crate::diagnostic::Diagnostic]| crate::diagnostic::render(&source, mistakes, false);
    let spec = spec::read(&source, &|_| None).map_err(|mistakes| mistaken(&mistakes));
    let plan = plan::resolve(spec.unwrap(), directory.path(), kinds).map_err(|mistakes| mistaken(&mistakes));
    (plan.unwrap(), directory)
}

/// Contents by name, so that keys do not depend on the directory.
fn contents(plan: &Plan) -> BTreeMap<PathBuf, Content> {
    let sources = plan.stages.iter().flat_map(|stage| &stage.inputs).flat_map(|input| &input.sources);
    let paths = sources.filter_map(|source| match source {
        plan::Source::Path(path) => Some(path.clone()),
        plan::Source::Stage { .. } | plan::Source::File { .. } => None,
    });
    let content = |path: &PathBuf| Content::File {
        format: "jsonl".to_owned(),
        blob: Digest::of(path.file_name().unwrap().as_encoded_bytes()),
    };
    paths.map(|path| (path.clone(), content(&path))).collect()
}

/// An event of a test run.
enum Happening<'a> {
    /// An action is executed; the flag says whether it fails.
    Runs(&'a Request, bool),
    Told(&'a Event),
    Ends(&'a str, Outcome),
}

/// Takes a look as a run does.
fn looked(ledger: &mut Ledger, asked: &AskedLook) -> Option<Permission> {
    let AskedLook { key, is_growing, after, items, count, .. } = asked.clone();
    let Some(items) = items else { return ledger.known(&key) };
    let question = LookQuestion { key, items, count, is_growing, after };
    let permission = ledger.permission(&question);
    if !permission.is_known && !permission.is_spent() {
        let look = Look::of(&question, &permission, LookNotes::default());
        ledger.enter(Entry::Items { name: look.items.clone(), members: question.items });
        ledger.enter(Entry::Look(Box::new(look)));
    }
    Some(permission)
}

/// Runs a plan to its end.
fn run(plan: &Plan, world: &World, memory: &mut Memory, mut see: impl FnMut(Happening)) {
    let contents = contents(plan);
    let everything = select(plan, &Filter::default()).unwrap();
    let mut schedule = Schedule::new(plan, &everything, &contents, &world.decisions);
    let mut commands: VecDeque<Command> = schedule.begin().into();
    while let Some(command) = commands.pop_front() {
        let news = match command {
            Command::Tell(event) => {
                see(Happening::Told(&event));
                None
            }
            Command::End(stage, outcome) => {
                see(Happening::Ends(&plan.stages[stage].name, outcome));
                None
            }
            Command::Read(table) => {
                let items = memory.tables.get(&table.content).cloned().ok_or_else(|| "no such table".to_owned());
                Some(News::Items(table, items))
            }
            Command::Open(file) => {
                let blob = Digest::of(format!("{} {}", file.tree, file.path).as_bytes());
                Some(News::Opened(file, Ok(Content::File { format: "jsonl".to_owned(), blob })))
            }
            Command::Class(key) => Some(News::Classed(key, memory.classes.get(&key).cloned())),
            Command::Recall(key) => Some(News::Recalled(key, memory.rules.get(&key).cloned())),
            Command::Remember(key, rules) => {
                memory.rules.insert(key, rules);
                None
            }
            Command::Look(asked) => Some(News::Looked(asked.need(), Ok(looked(&mut memory.ledger, &asked)))),
            Command::Labels(worklist) => Some(News::Labelled(worklist, Err("nobody labels here".to_owned()))),
            Command::Judged(judged) => {
                memory.ledger.enter(Entry::Verdict(judged));
                None
            }
            Command::Obtain(request) => {
                let (key, stage) = (request.action.key, plan.stages[request.stage].name.as_str());
                let fails = world.fails.contains(&stage);
                Some(match memory.records.get(&key) {
                    Some((record, _)) => News::Known { key, record: record.clone(), seconds: None },
                    None if world.is_dry => News::WouldRun { key, because: vec![Cause::Other("new".to_owned())] },
                    None => {
                        see(Happening::Runs(&request, fails));
                        match fails {
                            true => News::Failed { key, cause: "NaN loss".to_owned().into() },
                            false => {
                                let (record, items) = made_up(stage, &request, world, memory);
                                memory.records.insert(key, (record.clone(), items.clone()));
                                let class = Some(world.class.to_owned()).filter(|class| !class.is_empty());
                                memory.classes.extend(class.map(|class| (key, class)));
                                memory.tables.extend(items.map(|items| (record.last().content.clone(), items)));
                                News::Known { key, record, seconds: Some(1.0) }
                            }
                        }
                    }
                })
            }
        };
        commands.extend(news.map(|news| schedule.news(news)).unwrap_or_default());
    }
    assert_eq!(schedule.unfinished().count(), 0);
}

/// The lines that a run tells and for which this is true.
fn told_lines(text: &str, world: &World, memory: &mut Memory, is_shown: impl Fn(&str) -> bool) -> String {
    told(text, world, memory).lines().filter(|line| is_shown(line)).map(|line| format!("{line}\n")).collect()
}

/// Runs a pipeline file and returns what happened in words.
fn told(text: &str, world: &World, memory: &mut Memory) -> String {
    told_of(&plan(text).0, world, memory)
}

fn told_of(plan: &Plan, world: &World, memory: &mut Memory) -> String {
    let mut lines = Vec::new();
    run(plan, world, memory, |happening| match happening {
        Happening::Told(event) => lines.extend(line(event)),
        Happening::Ends(stage, outcome) => lines.push(end_line(stage, &outcome)),
        Happening::Runs(request, fails) => {
            let part = request.part.as_ref().map_or(String::new(), |part| format!(": {part}"));
            let end = if fails { "runs and fails" } else { "runs" };
            lines.push(format!("{}{part} {end}", plan.stages[request.stage].name));
        }
    });
    lines.join("\n") + "\n"
}

/// The line for an event; parts and hits have none, since `runs` marks what is not a hit.
fn line(event: &Event) -> Option<String> {
    match event {
        Event::Judged { stage, verdict } => {
            let rules = verdict.rules.iter().map(|rule| rule.explanation.as_str());
            let said: Vec<&str> = verdict.select.iter().map(String::as_str).chain(rules).collect();
            let decision = format!("{:?}", verdict.decision).to_lowercase();
            Some(format!("{stage} {decision}: {} -> {}", said.join("; "), verdict.carries))
        }
        Event::Measured { eval, row } => {
            let score = row.metrics.get("mean_score").copied().flatten();
            let versus = row.versus.as_ref().map(|versus| {
                let [win, loss, changed, unchanged] =
                    [versus.win, versus.loss, versus.tie_changed, versus.tie_unchanged];
                format!(" {win}/{loss}/{changed}/{unchanged} against {}", versus.baseline)
            });
            let rejected = if row.is_rejected { " rejected" } else { "" };
            Some(format!("  {eval} | {}{rejected} {score:?}{}", row.model, versus.unwrap_or_default()))
        }
        Event::Compared { eval, prompt, answers } => {
            let answers: Vec<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
            Some(format!("  {eval} | {prompt}: {}", answers.join(" / ")))
        }
        _ => None,
    }
}

fn end_line(stage: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { kept: true, .. } => format!("{stage} done, kept"),
        Outcome::Done { .. } => format!("{stage} done"),
        Outcome::Stopped { .. } => format!("{stage} stopped"),
        Outcome::Held { .. } => format!("{stage} held"),
        Outcome::Waits { done, needed, .. } => format!("{stage} waits: {done} of {needed}"),
        Outcome::Failed { cause } => format!("{stage} failed: {cause}"),
        Outcome::Skipped { because } => format!("{stage} skipped: {because}"),
        Outcome::WouldRun { because } => format!("{stage} would run: {}", on_one_line(because)),
        Outcome::Interrupted => format!("{stage} interrupted"),
    }
}

/// Three items that all have this number.
fn numbers(field: &str, number: f64) -> Option<Arc<Items>> {
    let lines: Vec<String> = (0..3).map(|n| serde_json::json!({"id": n, field: number}).to_string()).collect();
    Some(Arc::new(Items::read(&lines.join("\n")).unwrap()))
}

fn made_up(stage: &str, request: &Request, world: &World, memory: &mut Memory) -> Made {
    let action = Action::read(&request.action.action).unwrap();
    let input = |port: &str| match action.inputs.get(port) {
        Some(ActionInput::One(content)) => Some(content.clone()),
        _ => None,
    };
    let content = |step: u64| Content::Tree(Digest::of(format!("{}/{step}", request.action.key).as_bytes()));
    let candidate = |step: u64, metrics: &[(&str, f64)]| Candidate {
        step,
        content: content(step),
        metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), Some(*value))).collect(),
        tables: BTreeMap::new(),
    };
    let who =
        |content: Option<Content>| content.and_then(|content| memory.models.get(&content).cloned()).unwrap_or_default();
    match action.kind.as_str() {
        "answers" => {
            memory.models.insert(content(0), who(input("model")));
            (Arc::new(Record { candidates: vec![candidate(0, &[("length", 5.0)])] }), numbers("length", 5.0))
        }
        "scores" => {
            let model = who(input("answers"));
            let score = world.scores.iter().find(|(name, _)| *name == model).map_or(0.0, |(_, score)| *score);
            let rows = (0..3).map(|n| {
                let row = serde_json::json!({
                    "id": n, "prompt": format!("prompt {n}"), "text": format!("{model} {n}"), "score": score,
                });
                row.as_object().cloned().unwrap()
            });
            let items = Arc::new(Items::of_rows(rows.collect()).unwrap());
            (Arc::new(Record { candidates: vec![candidate(0, &[("mean_score", score)])] }), Some(items))
        }
        "recall" | "exposure" => {
            let model = who(input("model").or(input("recall")));
            memory.models.insert(content(0), model.clone());
            let share = world.scores.iter().find(|(name, _)| *name == model).map_or(0.0, |(_, score)| *score);
            let (metric, field) = if action.kind == "recall" { ("recalled", "known") } else { ("exposed", "exposed") };
            (Arc::new(Record { candidates: vec![candidate(0, &[(metric, share)])] }), numbers(field, share))
        }
        "divergence" => (Arc::new(Record { candidates: vec![candidate(0, &[("kl", 1.0)])] }), numbers("kl", 1.0)),
        _ => {
            let candidates = match world.candidates.iter().find(|(name, _)| *name == stage) {
                Some((_, steps)) => steps.iter().map(|(step, metrics)| candidate(*step, metrics)).collect(),
                None => vec![candidate(1, &[])],
            };
            for (n, made) in candidates.iter().enumerate() {
                let name = if n + 1 == candidates.len() { stage.to_owned() } else { format!("{stage}@{}", made.step) };
                memory.models.entry(made.content.clone()).or_insert(name);
            }
            (Arc::new(Record { candidates }), None)
        }
    }
}

fn check(text: &str, world: &World, expected: Expect) {
    expected.assert_eq(&told(text, world, &mut Memory::default()));
}

/// The difference from the plain run of the pipeline.
fn check_otherwise(text: &str, world: &World, expected: Expect) {
    let plain = told(RLHF, &rlhf(), &mut Memory::default());
    expected.assert_eq(&difference(&plain, &told(text, world, &mut Memory::default())));
}

/// The second run after a change of the file: what runs again, and what it tells differently from the first.
fn check_again(text: &str, world: &World, change: impl Fn(&str) -> String, expected: Expect) {
    let mut memory = Memory::default();
    let first = told(text, world, &mut memory);
    let second = told(&change(text), world, &mut memory);
    let (runs, [first, second]) = (lines(&second, true), [first, second].map(|run| lines(&run, false)));
    expected.assert_eq(&format!("{runs}{}", difference(&first, &second)));
}

/// The lines that say what runs, or all others.
fn lines(told: &str, of_runs: bool) -> String {
    told.lines().filter(|line| line.ends_with(" runs") == of_runs).map(|line| format!("{line}\n")).collect()
}

/// Lines only in the new text, with a `+`, and lines only in the old one, with a `-`, by the longest common
/// subsequence. More than three lines in a row that are gone are counted.
fn difference(old: &str, new: &str) -> String {
    let [old, new] = [old, new].map(|text| text.lines().collect::<Vec<_>>());
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for at in (0..old.len()).rev() {
        for to in (0..new.len()).rev() {
            common[at][to] = match old[at] == new[to] {
                true => common[at + 1][to + 1] + 1,
                false => common[at + 1][to].max(common[at][to + 1]),
            };
        }
    }
    let (mut at, mut to, mut lines, mut gone) = (0, 0, String::new(), Vec::new());
    while at < old.len() || to < new.len() {
        if at < old.len() && (to == new.len() || old[at] != new[to] && common[at + 1][to] >= common[at][to + 1]) {
            gone.push(old[at]);
            at += 1;
            continue;
        }
        lines += &removed(&std::mem::take(&mut gone));
        if at < old.len() && old[at] == new[to] {
            at += 1;
        } else {
            lines += &format!("+ {}\n", new[to]);
        }
        to += 1;
    }
    lines + &removed(&gone)
}

/// Lines that are gone; many in a row as their number and their stages.
fn removed(gone: &[&str]) -> String {
    if gone.len() <= 3 {
        return gone.iter().map(|line| format!("- {line}\n")).collect();
    }
    let stage = |line: &&&str| line.split([' ', ':']).find(|word| !word.is_empty()).unwrap_or_default().to_owned();
    let mut stages: Vec<String> = gone.iter().map(|line| stage(&line)).collect();
    stages.dedup();
    format!("- {} lines of {}\n", gone.len(), stages.join(", "))
}
