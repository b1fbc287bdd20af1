//! The model card of an exported model as Markdown: data, settings and gates of every stage behind it.

mod front_matter;

pub use front_matter::{BaseModel, BaseSource, ExportedModel, repository};

use super::fold::{RunState, StageRun};
use super::format::{self, moment, number};
use crate::event::{ArtifactEvidence, Outcome, StudyRow, Verdict};
use crate::gate::Counts;
use crate::plan::ArtifactName;
use front_matter::{front_matter, hub_name};
use serde_json::Value;
use stages::kinds;
use stages::stage::TokenizerSource;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The facts of a card that the journal does not hold.
pub struct CardFacts<'a> {
    pub model: ExportedModel,
    /// The base that [`base_source`] has found, as it describes itself; `None` where that is no path.
    pub base: Option<BaseModel>,
    /// The work behind a key, from the store.
    pub work: &'a dyn Fn(&str) -> Option<StageWork>,
}

/// The work of an action when it was executed, in whatever run.
pub struct StageWork {
    /// The time of its end, RFC 3339.
    pub at: String,
    pub seconds: f64,
    pub device: Option<String>,
    /// The version of the program; older records have none.
    pub program: Option<String>,
}

/// The model that a stage and those before it started from.
pub fn base_source(run: &RunState, stage: &StageRun) -> BaseSource {
    let mut stage = stage;
    for _ in 0..run.stages.len() {
        let port = match kinds::kind(&stage.head.kind).map(|kind| kind.tokenizer) {
            Some(TokenizerSource::Port(port)) => port,
            Some(TokenizerSource::New { .. }) => return BaseSource::Scratch,
            Some(TokenizerSource::Unknown) | None => return BaseSource::Unknown,
        };
        let sources = stage.head.from.iter().find(|(name, _)| name == port).map(|(_, sources)| sources);
        let Some(source) = sources.and_then(|sources| sources.first()) else { return BaseSource::Unknown };
        match run.stage(&source.name) {
            Some(before) => stage = before,
            None => return BaseSource::Path(source.to_string()),
        }
    }
    BaseSource::Unknown
}

/// `README.md` with the front matter that hubs read. `content` is the artifact that carries the stage's name.
pub fn card(run: &RunState, stage: &StageRun, content: &str, facts: &CardFacts) -> String {
    let (name, model) = (&stage.head.name, &facts.model);
    let lineage = lineage(run, stage);
    let base = base_source(run, stage);
    let mut text = front_matter(stage, &lineage, model, facts.base.as_ref().ok_or(&base));
    _ = write!(text, "\n# {}: {name}\n\n", run.pipeline);
    let line = |text: &mut String, label: &str, value: &str| _ = writeln!(text, "| {label} | {} |", cell(value));
    text += "| | |\n|---|---|\n";
    line(&mut text, "stage", &format!("`{name}` ({}) of `{}`", stage.head.kind, run.file));
    line(&mut text, "run", &format!("`{}`, {}", run.name, moment(&run.at)));
    for set in &run.overrides {
        line(&mut text, "set", &format!("`{set}`"));
    }
    line(&mut text, "content", &format!("`{content}`"));
    if let (BaseSource::Path(source), Some(base)) = (&base, &facts.base) {
        let name = base.name.clone().unwrap_or_else(|| name_of(source));
        let license = base.license.as_deref().unwrap_or("not named");
        line(&mut text, "base", &format!("{name}; licence: {license}"));
    }
    line(&mut text, "parameters", &format!("{} ({})", model.parameters, model.dtypes));
    if let Some(Outcome::Done { step, kept, .. }) = &stage.outcome {
        match (kept, step) {
            (true, _) => line(&mut text, "checkpoint", "the model before it: the gate kept the incumbent"),
            (false, Some(step)) => line(&mut text, "checkpoint", &format!("step {step}")),
            (false, None) => {}
        }
    }
    let works: Vec<StageWork> = lineage.iter().filter_map(|stage| (facts.work)(&stage.own_action()?.key)).collect();
    if let (Some(first), Some(last)) =
        (works.iter().map(|work| &work.at).min(), works.iter().map(|work| &work.at).max())
    {
        let seconds: f64 = works.iter().map(|work| work.seconds).sum();
        let between = if first == last { moment(last) } else { format!("{} to {}", moment(first), moment(last)) };
        line(&mut text, "trained", &format!("{between}; {} of work in all stages", format::duration(seconds)));
    }
    let all = |values: BTreeSet<&String>| values.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let devices = all(works.iter().filter_map(|work| work.device.as_ref()).collect());
    if !devices.is_empty() {
        line(&mut text, "device", &devices);
    }
    let trained_by: BTreeSet<&String> = works.iter().filter_map(|work| work.program.as_ref()).collect();
    let mut program = format!("exported by pipeline {}", env!("CARGO_PKG_VERSION"));
    if !trained_by.is_empty() {
        program = format!("trained by pipeline {}, {program}", all(trained_by));
    }
    line(&mut text, "program", &program);
    text += &loading(model);
    if let Some(Outcome::Done { metrics, .. }) = &stage.outcome
        && !metrics.is_empty()
    {
        text += "\n## Measured\n\n| metric | value |\n|---|---|\n";
        for (metric, value) in metrics {
            line(&mut text, metric, &number(*value));
        }
    }
    let carriers: Vec<&StageRun> = lineage.iter().copied().filter(|stage| carries(stage, content)).collect();
    text += &promotions(&carriers, content);
    text += &study(run, &carriers);
    text += "\n## How it was made\n";
    for stage in &lineage {
        text += &story(stage, facts);
    }
    text
}

fn carries(stage: &StageRun, content: &str) -> bool {
    matches!(&stage.outcome, Some(Outcome::Done { content: own, .. }) if own == content)
}

/// The gates that let this content through, with the numbers they saw of it.
fn promotions(carriers: &[&StageRun], content: &str) -> String {
    let mut text = String::new();
    for stage in carriers {
        let Some(verdict) = &stage.verdict else { continue };
        let name = &stage.head.name;
        _ = write!(text, "\n## Promoted by the gate of `{name}`\n\n| | |\n|---|---|\n{}", rules(verdict));
        let evidence = &verdict.evidence;
        let seen =
            evidence.candidates.iter().chain(&evidence.incumbent).find(|seen| seen.content.to_string() == content);
        let incumbent = evidence.incumbent.as_ref().filter(|incumbent| incumbent.content.to_string() != content);
        let Some(seen) = seen else { continue };
        let by_judge = |judge: &str, name: &str| format!("{name} (by `{judge}`)");
        let of = |artifact: &ArtifactEvidence| -> BTreeMap<String, Option<f64>> {
            let judged = artifact.judged.iter().flat_map(|(judge, evidence)| {
                evidence.metrics.iter().map(move |(name, value)| (by_judge(judge, name), *value))
            });
            artifact.metrics.iter().map(|(name, value)| (name.clone(), *value)).chain(judged).collect()
        };
        let (ours, theirs) = (of(seen), incumbent.map(of));
        // Without another model or a judge they are those that were measured in training, which stand above.
        if theirs.is_none() && seen.judged.is_empty() {
            continue;
        }
        text += match theirs {
            Some(_) => "\n| metric | this model | the incumbent |\n|---|---|---|\n",
            None => "\n| metric | this model |\n|---|---|\n",
        };
        for (metric, value) in &ours {
            _ = write!(text, "| {} | {} |", cell(metric), number(*value));
            if let Some(theirs) = &theirs {
                let other = theirs.get(metric).map_or_else(|| "–".to_owned(), |value| number(*value));
                _ = write!(text, " {other} |");
            }
            text.push('\n');
        }
    }
    text
}

/// Rows of a table: what a gate said, and by which rules.
fn rules(verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| _ = writeln!(text, "| {label} | {} |", cell(&value));
    line("gate", format!("{}: {} goes on{}", verdict.decision.word(), verdict.carries, verdict.despite()));
    if let Some(select) = &verdict.select {
        line("selected", select.clone());
    }
    for rule in &verdict.rules {
        line(&rule.role, format!("`{}`: {}, {}", rule.text, rule.decision.word(), rule.explanation));
    }
    if let Some(decided) = &verdict.decided {
        let word = if decided.is_approved { "approved" } else { "rejected" };
        line("decided", format!("{word} by {}, {}: {}", decided.by, moment(&decided.at), decided.reason));
    }
    text
}

fn loading(model: &ExportedModel) -> String {
    let class = if model.is_reward { "AutoModelForSequenceClassification" } else { "AutoModelForCausalLM" };
    let labels = if model.is_reward { ", num_labels=1" } else { "" };
    let code = match model.has_adapter && !model.is_merged {
        true => format!(
            "from peft import PeftModel\nfrom transformers import {class}, AutoTokenizer\n\n\
             base = {class}.from_pretrained(\"model\"{labels})\n\
             model = PeftModel.from_pretrained(base, \"adapter\")\n\
             tokenizer = AutoTokenizer.from_pretrained(\"model\")\n"
        ),
        false => format!(
            "from transformers import {class}, AutoTokenizer\n\n\
             model = {class}.from_pretrained(\".\"{labels})\n\
             tokenizer = AutoTokenizer.from_pretrained(\".\")\n"
        ),
    };
    let mut text = format!("\n## Use\n\n```python\n{code}```\n");
    if model.is_reward {
        let how = match model.is_merged {
            true => format!("The reward is the value of the last token less {}.", model.offset),
            false => "The reward is (value of the last token − `offset`) / `spread`, both in `adapter/reward.json`."
                .to_owned(),
        };
        _ = writeln!(text, "\n{how}");
        if !model.is_padded {
            _ = writeln!(
                text,
                "\nScore one text at a time: the vocabulary has no token for padding with which no answer ends, and \
                 `transformers` reads the value of the last token that is no padding."
            );
        }
    }
    text
}

/// The measurements of the model, one table for each eval stage, with its wins and losses.
fn study(run: &RunState, carriers: &[&StageRun]) -> String {
    let mut text = String::new();
    for study in &run.studies {
        // A gate that kept its incumbent gives another name to the same model, which is measured once.
        let is_this = |row: &&StudyRow| carriers.iter().any(|stage| row.model == ArtifactName::open(&stage.head.name));
        let Some(row) = study.rows.iter().find(is_this) else { continue };
        _ = write!(text, "\n## Measured by `{}`\n\n| metric | value |\n|---|---|\n", study.eval);
        for (metric, value) in &row.metrics {
            _ = writeln!(text, "| {metric} | {} |", number(*value));
        }
        if let Some(versus) = &row.versus {
            let counts = versus.counts();
            let rate = counts.win_rate().map_or_else(String::new, |rate| format!(", win rate {:.2} %", rate * 100.0));
            let Counts { win, loss, tie_changed, tie_unchanged } = counts;
            _ = writeln!(
                text,
                "| against `{}` | {win} wins, {loss} losses, {tie_changed} ties of other answers, {tie_unchanged} of the same \
                 answer{rate} |",
                versus.baseline
            );
        }
    }
    text
}

/// The stage and all stages it was made from, in the order of the work.
fn lineage<'a>(run: &'a RunState, stage: &'a StageRun) -> Vec<&'a StageRun> {
    fn visit<'a>(run: &'a RunState, stage: &'a StageRun, seen: &mut BTreeSet<&'a str>, out: &mut Vec<&'a StageRun>) {
        if !seen.insert(&stage.head.name) {
            return;
        }
        for source in stage.head.from.iter().flat_map(|(_, sources)| sources) {
            if let Some(source) = run.stage(&source.name) {
                visit(run, source, seen, out);
            }
        }
        out.push(stage);
    }
    let mut out = Vec::new();
    visit(run, stage, &mut BTreeSet::new(), &mut out);
    out
}

/// The content of an input: of data that is read with options, of all its files, with the options.
fn content_of(input: &Value) -> String {
    let Some(files) = input.get("files").and_then(Value::as_array) else {
        return input.as_str().unwrap_or("not known").to_owned();
    };
    let files: Vec<&str> = files.iter().filter_map(Value::as_str).collect();
    match input.get("options").filter(|options| options.as_object().is_some_and(|options| !options.is_empty())) {
        Some(options) => format!("{} read with {options}", files.join(", ")),
        None => files.join(", "),
    }
}

/// The section of one stage: its inputs with their contents, its settings, its gate.
fn story(stage: &StageRun, facts: &CardFacts) -> String {
    let mut text = format!("\n### {} ({})\n\n", stage.head.name, stage.head.kind);
    let Some(action) = stage.own_action() else {
        return text + "Nothing of it was run.\n";
    };
    text += "| | |\n|---|---|\n";
    let mut line = |label: &str, value: String| _ = writeln!(text, "| {label} | {} |", cell(&value));
    line("key", format!("`{}`", action.key));
    let value = action.action.value();
    for (port, sources) in &stage.head.from {
        let contents = match value.pointer(&format!("/inputs/{port}")) {
            Some(Value::Array(all)) => all.iter().map(content_of).collect::<Vec<_>>().join(", "),
            Some(one) => content_of(one),
            None => "not known".to_owned(),
        };
        let names: Vec<String> = sources
            .iter()
            .map(ArtifactName::to_string)
            .map(|source| hub_name(&source).unwrap_or_else(|| name_of(&source)))
            .collect();
        line(&format!("`{port}`"), format!("{}: `{contents}`", names.join(", ")));
    }
    if let Some(seed) = value.get("seed") {
        line("seed", seed.to_string());
    }
    let parameters = value.get("parameters").map(format::parameters).unwrap_or_default();
    let parameters: Vec<String> = parameters.into_iter().map(|(name, value)| format!("`{name}: {value}`")).collect();
    line("with", parameters.join(", "));
    if let Some(StageWork { at, seconds, device, .. }) = (facts.work)(&action.key) {
        let device = device.map_or_else(String::new, |device| format!(" on {device}"));
        line("trained", format!("until {}, in {}{device}", moment(&at), format::duration(seconds)));
    }
    if let Some(verdict) = &stage.verdict {
        text += &rules(verdict);
    }
    text
}

/// The file name alone: the directory on this machine means nothing to others.
fn name_of(source: &str) -> String {
    source.rsplit('/').next().unwrap_or(source).to_owned()
}

/// Text escaped for a cell of a Markdown table, which ends at a bar or a line break.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
