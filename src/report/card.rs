//! The model card of an exported model as Markdown: data, settings and gates of every stage behind it.

use super::fold::{ActionState, RunState, StageRun};
use super::format::{self, moment, number};
use crate::event::Outcome;
use crate::plan::ArtifactName;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The beginning of the name of a data set of a hub.
const DATASETS: &str = "datasets/";

/// The exported model, as far as the card describes it.
pub struct ExportedModel {
    pub has_adapter: bool,
    pub is_merged: bool,
    pub is_reward: bool,
    /// The value that is subtracted from the output of a merged reward model.
    pub offset: f64,
    /// A merged reward model has a padding token with which no answer ends.
    pub is_padded: bool,
    pub parameters: usize,
    pub dtypes: String,
}

/// `README.md` with the front matter that hubs read. `content` is the artifact that carries the stage's name.
pub fn card(run: &RunState, stage: &StageRun, content: &str, model: &ExportedModel) -> String {
    let name = &stage.head.name;
    let is_adapter = model.has_adapter && !model.is_merged;
    let library = if is_adapter { "peft" } else { "transformers" };
    let task = if model.is_reward { "text-classification" } else { "text-generation" };
    let lineage = lineage(run, stage);
    let sources = lineage.iter().flat_map(|stage| &stage.head.from).flat_map(|(_, sources)| sources);
    let names: BTreeSet<String> = sources
        .filter_map(|source| Some(hub_name(&source.to_string())?.strip_prefix("hf://")?.split('@').next()?.to_owned()))
        .collect();
    let bases = names.iter().filter(|name| !name.starts_with(DATASETS));
    let bases: String = bases.map(|base| format!("base_model: {base}\n")).take(1).collect();
    let datasets: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(DATASETS)).collect();
    let datasets =
        if datasets.is_empty() { String::new() } else { format!("datasets:\n- {}\n", datasets.join("\n- ")) };
    let mut text = format!(
        "---\nlibrary_name: {library}\npipeline_tag: {task}\n{bases}{datasets}tags:\n- {}\n- rlhf\n---\n\n# {}: {name}\n\n",
        stage.head.kind, run.pipeline
    );
    let line = |text: &mut String, label: &str, value: &str| _ = writeln!(text, "| {label} | {} |", cell(value));
    text += "| | |\n|---|---|\n";
    line(&mut text, "stage", &format!("`{name}` ({}) of `{}`", stage.head.kind, run.file));
    line(&mut text, "run", &format!("`{}`, {}", run.name, moment(&run.at)));
    for set in &run.overrides {
        line(&mut text, "set", &format!("`{set}`"));
    }
    line(&mut text, "content", &format!("`{content}`"));
    line(&mut text, "parameters", &format!("{} ({})", model.parameters, model.dtypes));
    if let Some(Outcome::Done { step, kept, .. }) = &stage.outcome {
        match (kept, step) {
            (true, _) => line(&mut text, "checkpoint", "the model before it: the gate kept the incumbent"),
            (false, Some(step)) => line(&mut text, "checkpoint", &format!("step {step}")),
            (false, None) => {}
        }
    }
    text += &loading(model);
    if let Some(Outcome::Done { metrics, .. }) = &stage.outcome
        && !metrics.is_empty()
    {
        text += "\n## Measured\n\n| metric | value |\n|---|---|\n";
        for (metric, value) in metrics {
            line(&mut text, metric, &number(*value));
        }
    }
    text += &study(run, name);
    text += "\n## How it was made\n";
    for stage in lineage {
        text += &story(stage);
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

/// The measurements of the model, one table for each eval stage.
fn study(run: &RunState, name: &str) -> String {
    let mut text = String::new();
    for study in &run.studies {
        let Some(row) = study.rows.iter().find(|row| row.model == ArtifactName::open(name)) else { continue };
        _ = write!(text, "\n## Measured by `{}`\n\n| metric | value |\n|---|---|\n", study.eval);
        for (metric, value) in &row.metrics {
            _ = writeln!(text, "| {metric} | {} |", number(*value));
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
fn story(stage: &StageRun) -> String {
    let mut text = format!("\n### {} ({})\n\n", stage.head.name, stage.head.kind);
    let Some(action) = stage.actions.iter().find(|action| action.part.is_none()) else {
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
    if let ActionState::Finished { device: Some(device), .. } = &action.state {
        line("device", device.clone());
    }
    if let Some(verdict) = &stage.verdict {
        line("gate", format!("{}: {} goes on", verdict.decision.word(), verdict.carries));
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
    }
    text
}

/// The file name alone: the directory on this machine means nothing to others.
fn name_of(source: &str) -> String {
    source.rsplit('/').next().unwrap_or(source).to_owned()
}

/// `hf://owner/name@commit`, or `hf://datasets/owner/name@commit/path`, for a place in the local cache of a hub.
fn hub_name(source: &str) -> Option<String> {
    let of = |mark: &str, start: &str| {
        let (_, rest) = source.split_once(mark)?;
        let (name, commit) = rest.split_once("/snapshots/")?;
        Some(format!("hf://{start}{}@{commit}", name.replace("--", "/")))
    };
    of("/models--", "").or_else(|| of("/datasets--", DATASETS))
}

/// Text escaped for a cell of a Markdown table, which ends at a bar or a line break.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
