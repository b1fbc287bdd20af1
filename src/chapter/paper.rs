//! The table of a study for a paper, and a paragraph on how it was made: in Markdown, CSV, LaTeX and JSON. Both are made of the
//! facts that the page is made of, so that they cannot say otherwise.

use super::facts::{Facts, step_of};
use super::study::{by_counts, contest_of, verdict};
use super::words::{self, Language, Phrase};
use crate::event::{BaselineComparison, Evidence, StudyRow, Verdict};
use crate::gate::Counts;
use crate::gate::statistics::Glance;
use crate::report::fold::Study;
use crate::report::format::number;
use crate::report::study::{MetricColumn, baseline, columns, measured};
use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};
use stages::kinds;
use stages::stage::Work;
use std::collections::BTreeSet;

/// A column: its name for programs, its title for people, and whether it holds numbers.
struct PaperColumn {
    name: String,
    title: String,
    is_number: bool,
}

/// A cell: the text for people and the value for programs.
struct PaperCell {
    text: String,
    value: Value,
}

pub struct PaperTable {
    eval: String,
    columns: Vec<PaperColumn>,
    rows: Vec<Vec<PaperCell>>,
    /// The sources of scores and intervals.
    notes: Vec<String>,
    methods: String,
}

/// The document of `table --format json`: a versioned promise.
#[derive(Serialize)]
struct PaperDocument<'a> {
    format: u32,
    eval: &'a str,
    rows: Vec<Map<String, Value>>,
    notes: &'a [String],
    methods: &'a str,
}

pub fn table(facts: &Facts, study: &Study, language: Language) -> PaperTable {
    let (scores, others) = columns(study);
    let has_counts = study.rows.iter().any(|row| row.versus.is_some());
    let has_contests = study.rows.iter().any(|row| contest_of(facts, study, &row.model).is_some());
    let say = |phrase: Phrase| phrase.say(language).to_owned();
    let text = |name: &str, title: String| PaperColumn { name: name.to_owned(), title, is_number: false };
    let numbers = |name: &str, title: String| PaperColumn { name: name.to_owned(), title, is_number: true };
    let mut heads = vec![text("model", say(words::MODEL)), numbers("step", say(words::CHECKPOINT))];
    heads.push(text("verdict", say(words::RULING)));
    heads.extend(scores.iter().map(|column| numbers(&column.name, column.name.clone())));
    if has_counts {
        heads.extend(Counts::NAMES.map(|name| numbers(name, name.replace('_', " "))));
        heads.push(numbers("win_rate", say(words::WIN_RATE)));
        heads.push(numbers("win_rate_95", say(words::INTERVAL_95)));
    }
    if has_contests {
        heads.push(numbers("gain", say(words::GAIN)));
        heads.push(numbers("gain_95", say(words::INTERVAL_95)));
    }
    heads.extend(others.iter().map(|column| numbers(&column.name, column.name.clone())));
    let row = |row: &StudyRow| {
        let step = step_of(&facts.run, &row.model);
        let mut cells = vec![
            PaperCell { text: row.model.name.clone(), value: json!(row.model.name) },
            PaperCell { text: step.map(|step| step.to_string()).unwrap_or_default(), value: json!(step) },
        ];
        let said = verdict(facts, study, row, language);
        cells.push(PaperCell { text: said.to_owned(), value: json!(said) });
        cells.extend(scores.iter().map(|column| metric(row, column)));
        let contest = contest_of(facts, study, &row.model);
        if has_counts {
            let counts = row.versus.as_ref().map(BaselineComparison::counts);
            let within = contest.map_or_else(|| counts.as_ref().and_then(by_counts), |contest| contest.rate);
            cells.extend(counted(counts, within));
        }
        if has_contests {
            let gain = contest.map(|contest| contest.gain);
            cells.push(PaperCell { text: gain.map_or(dash(), |gain| format!("{gain:+.3}")), value: json!(gain) });
            cells.push(interval(contest.and_then(|contest| contest.gain_within), |end| format!("{end:+.3}"), 1.0));
        }
        cells.extend(others.iter().map(|column| metric(row, column)));
        cells
    };
    PaperTable {
        eval: study.eval.clone(),
        rows: study.rows.iter().map(row).collect(),
        columns: heads,
        notes: notes(study, has_counts, has_contests, language),
        methods: methods(facts, study, language),
    }
}

fn dash() -> String {
    "–".to_owned()
}

fn metric(row: &StudyRow, column: &MetricColumn) -> PaperCell {
    PaperCell { text: measured(row, column), value: json!(row.metrics.get(&column.name).copied().flatten()) }
}

/// Wins, losses and ties, the win rate over changed answers in percent, and its interval.
fn counted(counts: Option<Counts>, within: Option<Glance>) -> Vec<PaperCell> {
    let each = |count: Option<u64>| PaperCell { text: count.map_or(dash(), |n| n.to_string()), value: json!(count) };
    let of = |name: fn(&Counts) -> u64| each(counts.as_ref().map(name));
    let rate = counts.as_ref().and_then(Counts::win_rate);
    let shown = PaperCell { text: rate.map_or(dash(), |rate| format!("{:.2} %", rate * 100.0)), value: json!(rate) };
    vec![
        of(|counts| counts.win),
        of(|counts| counts.loss),
        of(|counts| counts.tie_changed),
        of(|counts| counts.tie_unchanged),
        shown,
        interval(within, |end| format!("{end:.1}"), 100.0),
    ]
}

fn interval(glance: Option<Glance>, say: impl Fn(f64) -> String, scale: f64) -> PaperCell {
    match glance {
        None => PaperCell { text: dash(), value: Value::Null },
        Some(Glance { lower, upper, .. }) => PaperCell {
            text: format!("{} – {}", say(lower * scale), say(upper * scale)),
            value: json!([lower, upper]),
        },
    }
}

/// The footnotes.
fn notes(study: &Study, has_counts: bool, has_contests: bool, language: Language) -> Vec<String> {
    let scores = columns(study).0;
    let mut notes: Vec<String> = study
        .rewards
        .iter()
        .zip(&scores)
        .map(|(reward, column)| words::SCORED_BY.fill(language, &[("metric", &column.name), ("reward", reward)]))
        .collect();
    if let Some(baseline) = baseline(study) {
        notes.push(words::AGAINST_BASELINE.fill(language, &[("baseline", &baseline.to_string())]));
    }
    notes.extend(has_counts.then(|| words::RATE_BY.say(language).to_owned()));
    notes.extend(has_contests.then(|| words::GAIN_BY.say(language).to_owned()));
    notes
}

/// The paragraph on how the models of a study came to be: stages, data, seeds, rules, devices.
fn methods(facts: &Facts, study: &Study, language: Language) -> String {
    let run = &facts.run;
    let devices: BTreeSet<&str> = facts.works.values().filter_map(|work| work.device.as_deref()).collect();
    let programs: BTreeSet<&str> = facts.works.values().filter_map(|work| work.program.as_deref()).collect();
    let list = |values: BTreeSet<&str>| values.into_iter().collect::<Vec<_>>().join(", ");
    let mut text =
        words::METHODS_RUN.fill(language, &[("run", &run.name), ("file", &run.file), ("program", &list(programs))]);
    if !devices.is_empty() {
        text.push_str(&format!(" {}", words::METHODS_DEVICE.fill(language, &[("device", &list(devices))])));
    }
    // A stage that runs a command and reports the numbers of a study decoded nothing here.
    let measures = |kind: &str| kinds::kind(kind).is_some_and(|kind| matches!(kind.work, Work::Measure(_)));
    if run.stage(&study.eval).is_some_and(|stage| measures(&stage.head.kind)) {
        text.push_str(&format!(" {}", words::METHODS_GREEDY.fill(language, &[("judge", &study.eval)])));
    }
    for stage in &run.stages {
        // A stage that measures or chooses has no action of its own; a gate says what it decided by.
        let own = stage.own_action().map(|own| own.action.value());
        if own.is_none() && stage.verdict.is_none() && stage.head.name != study.eval {
            continue;
        }
        let from: Vec<String> =
            stage.head.from.iter().flat_map(|(_, sources)| sources).map(ToString::to_string).collect();
        let rows = facts.stored(stage).and_then(|stored| stored.checkpoints.last()?.metrics.get("data_rows").copied());
        let mut facts_of = vec![stage.head.kind.clone()];
        facts_of.extend((!from.is_empty()).then(|| words::METHODS_FROM.fill(language, &[("from", &from.join(", "))])));
        facts_of.extend(rows.map(|rows| words::METHODS_ROWS.fill(language, &[("rows", &number(rows))])));
        let seed = own.as_ref().and_then(|action| action["seed"].as_u64());
        facts_of.extend(seed.map(|seed| words::METHODS_SEED.fill(language, &[("seed", &seed.to_string())])));
        facts_of.extend(stage.verdict.as_deref().and_then(|verdict| chosen(verdict, language)));
        let rules = stage.verdict.iter().flat_map(|verdict| &verdict.rules).filter(|rule| rule.is_required());
        let rules: Vec<&str> = rules.map(|rule| rule.text.as_str()).collect();
        facts_of
            .extend((!rules.is_empty()).then(|| words::METHODS_RULE.fill(language, &[("rule", &rules.join("; "))])));
        text.push_str(&format!(" {}: {}.", stage.head.name, facts_of.join(", ")));
    }
    text
}

/// The choice that a gate made: the best of how many, by what.
fn chosen(verdict: &Verdict, language: Language) -> Option<String> {
    let Evidence { candidates, failed_candidates, chosen, .. } = &verdict.evidence;
    let best = candidates.get((*chosen)?)?;
    let count = candidates.len() + failed_candidates.len();
    let name = best
        .step
        .map_or_else(|| best.label.to_string(), |step| words::STEP.fill(language, &[("step", &step.to_string())]));
    let values = [("best", name.as_str()), ("count", &count.to_string()), ("by", &verdict.chosen_by.join(", "))];
    (count > 1 && !verdict.chosen_by.is_empty()).then(|| words::METHODS_CHOSEN.fill(language, &values))
}

impl PaperTable {
    /// A table of pipes, the footnotes and the paragraph.
    pub fn markdown(&self) -> String {
        let escaped = |text: &str| text.replace('|', "\\|");
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.columns.iter().map(|column| escaped(&column.title)).collect());
        let rules = self.columns.iter().map(|column| if column.is_number { "---:" } else { "---" }.to_owned());
        text.push_str(&line(rules.collect()));
        for row in &self.rows {
            text.push_str(&line(row.iter().map(|cell| escaped(&cell.text)).collect()));
        }
        format!("{text}\n{}\n\n{}\n", self.notes.join(" "), self.methods)
    }

    /// Values as programs read them, without notes.
    ///
    /// # Errors
    /// None that a writer to memory has.
    pub fn csv(&self) -> Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().flat_map(|column| match column.name.strip_suffix("_95") {
            Some(name) => vec![format!("{name}_lower"), format!("{name}_upper")],
            None => vec![column.name.clone()],
        }))?;
        for row in &self.rows {
            let cells = row.iter().zip(&self.columns).flat_map(|(cell, column)| match (&cell.value, &column.name) {
                (Value::Array(ends), _) => ends.iter().map(ToString::to_string).collect(),
                (Value::Null, name) if name.ends_with("_95") => vec![String::new(), String::new()],
                (Value::Null, _) => vec![String::new()],
                (Value::String(text), _) => vec![text.clone()],
                (other, _) => vec![other.to_string()],
            });
            writer.write_record(cells.collect::<Vec<_>>())?;
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }

    /// The document of the table as a value.
    pub fn value(&self) -> Value {
        json!(self.document())
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.document()).expect("a table is plain data") + "\n"
    }

    fn document(&self) -> PaperDocument<'_> {
        let row = |row: &Vec<PaperCell>| {
            self.columns.iter().zip(row).map(|(column, cell)| (column.name.clone(), cell.value.clone())).collect()
        };
        PaperDocument {
            format: 1,
            eval: &self.eval,
            rows: self.rows.iter().map(row).collect(),
            notes: &self.notes,
            methods: &self.methods,
        }
    }

    /// A `tabular` of booktabs in a `table`, with its footnotes and the paragraph.
    pub fn latex(&self) -> String {
        let columns: String = self.columns.iter().map(|column| if column.is_number { 'r' } else { 'l' }).collect();
        let line = |cells: Vec<String>| format!("    {} \\\\\n", cells.join(" & "));
        let heads = line(self.columns.iter().map(|column| latex(&column.title)).collect());
        let rows: String =
            self.rows.iter().map(|row| line(row.iter().map(|cell| latex(&cell.text)).collect())).collect();
        format!(
            "% \\usepackage{{booktabs}}\n\\begin{{table}}\n  \\centering\n  \\begin{{tabular}}{{{columns}}}\n    \\toprule\n{heads}    \
             \\midrule\n{rows}    \\bottomrule\n  \\end{{tabular}}\n  \\caption{{{}}}\n\\end{{table}}\n\n{}\n",
            latex(&format!("{}. {}", self.eval, self.notes.join(" "))),
            latex(&self.methods)
        )
    }
}

/// Text in which nothing steers LaTeX.
fn latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '–' => out.push_str("--"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_steers_latex() {
        assert_eq!(
            latex(r"50 % of a_b & \c{d} < ~^–"),
            r"50 \% of a\_b \& \textbackslash{}c\{d\} \textless{} \textasciitilde{}\textasciicircum{}--"
        );
    }
}
