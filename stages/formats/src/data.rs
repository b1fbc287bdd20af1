//! Data files as the rows that stages read: texts, prompts, examples, preferences, labelled answers. The first bad row
//! is named by file, line and field; the user says how many may be left out.

pub mod file;
mod inspect;
mod pairs;
pub mod row;

pub use file::Place;
pub use inspect::{Inspection, inspect, percentile};
pub use pairs::{JudgedAnswers, Preference};
pub use row::Format;

use crate::dialogue::{Message, Prompt};
use crate::unreadable::Reading;
use anyhow::{Context, Result, anyhow, bail};
use row::Completions;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A prompt to be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The field `id`, else the row's number from 1.
    pub id: String,
    pub prompt: Prompt,
    /// The field `prompt_group`: prompts of one group (one dialogue, one template) are not independent evidence.
    pub group: Option<String>,
}

/// A prompt with the answer to learn.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub prompt: Prompt,
    pub completion: String,
    pub place: Place,
}

/// An answer with a label: wanted or not.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledAnswer {
    pub id: String,
    /// The field `prompt_group`, else the row's `id`.
    pub group: String,
    pub prompt: Prompt,
    pub answer: String,
    pub is_desirable: bool,
    pub place: Place,
}

/// Leaves out bad rows, as many as the user allows, and counts what became of all rows.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// `--skip-bad-rows`.
    pub may_skip: u64,
    /// Rows of the files.
    pub rows: u64,
    /// Rows that are not used: bad ones, those that are too long, and those that say nothing (a preference between equals).
    pub dropped: u64,
    /// Rows cut to the longest length.
    pub truncated: u64,
    bad: u64,
    /// Rows of the present file that are left out, by cause, with the first of each.
    left_out: BTreeMap<&'static str, (u64, String)>,
    remarks: Vec<String>,
}

/// Names of the counts, as metrics.
pub const METRICS: [&str; 3] = ["data_rows", "data_dropped", "data_truncated"];

impl RowFilter {
    pub fn new(may_skip: u64) -> RowFilter {
        RowFilter { may_skip, ..RowFilter::default() }
    }

    /// A row that was read; `None` for a bad row that is left out.
    ///
    /// # Errors
    /// The row's own, if no more rows may be left out.
    pub fn take<T>(&mut self, row: Result<T>) -> Result<Option<T>> {
        match row {
            Ok(row) => Ok(Some(row)),
            Err(error) if self.bad < self.may_skip => {
                self.bad += 1;
                self.leave_out("cannot be read", &format!("{error:#}"));
                Ok(None)
            }
            Err(error) if self.may_skip == 0 => Err(error),
            Err(error) => Err(error.context(format!(
                "there are more bad rows than the {} that `--skip-bad-rows` lets pass; the next",
                self.may_skip
            ))),
        }
    }

    /// Leaves out a row that is too long.
    pub fn leave_out_long(&mut self, why: &str) {
        self.leave_out("too long", why);
    }

    fn leave_out(&mut self, cause: &'static str, why: &str) {
        self.dropped += 1;
        self.left_out.entry(cause).or_insert_with(|| (0, why.to_owned())).0 += 1;
    }

    /// Ends a file: what is to be said of its rows becomes one remark.
    pub fn end_file(&mut self, name: impl fmt::Display) {
        let causes = std::mem::take(&mut self.left_out).into_iter();
        let causes: Vec<String> =
            causes.map(|(cause, (rows, why))| format!("{cause}: {rows} (the first: {why})")).collect();
        if !causes.is_empty() {
            self.remarks.push(format!("{name}: rows are left out; {}", causes.join("; ")));
        }
    }

    /// Adds a remark on a file.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// Remarks on the files for people, one sentence each.
    pub fn take_remarks(&mut self) -> Vec<String> {
        self.end_file("the data");
        std::mem::take(&mut self.remarks)
    }

    /// The counts that every training kind reports, under their names.
    pub fn metrics(&self) -> [(&'static str, f64); 3] {
        let counts = [self.rows, self.dropped, self.truncated];
        std::array::from_fn(|at| (METRICS[at], counts[at] as f64))
    }
}

/// Documents of raw text: rows with a field `text`.
///
/// # Errors
/// The file cannot be read, or it has more bad rows than may be left out.
pub fn texts(path: &Path, filter: &mut RowFilter) -> Result<Vec<String>> {
    Ok(rows(path, filter, |value, _| row::document(value))?.into_iter().map(|(_, text)| text).collect())
}

/// The prompts of rows of any format; their answers are ignored.
///
/// # Errors
/// As [`texts`]; or two rows have the same id.
pub fn prompts(path: &Path, filter: &mut RowFilter) -> Result<Vec<Question>> {
    let read = |value: &Value, number| {
        Ok(Question { id: row::id(value, number), prompt: row::read(value)?.0, group: row::group(value)? })
    };
    let questions = rows(path, filter, read)?;
    let mut seen = BTreeMap::new();
    for (place, question) in &questions {
        if let Some(first) = seen.insert(&question.id, place) {
            return Err(anyhow!("{first} and {place} have the same id `{}`", question.id)).reading(path);
        }
    }
    Ok(questions.into_iter().map(|(_, question)| question).collect())
}

/// Prompts with one answer to learn: the only one, else the chosen or the best one. Rows whose answer is labelled as
/// unwanted are left out.
///
/// # Errors
/// As [`texts`].
pub fn examples(path: &Path, filter: &mut RowFilter) -> Result<Vec<Example>> {
    let read = |value: &Value, _| {
        let (prompt, answers) = row::read(value)?;
        Ok((prompt, best(answers)?))
    };
    let rows = rows(path, filter, read)?;
    let all = rows.len();
    let wanted = rows
        .into_iter()
        .filter_map(|(place, (prompt, completion))| completion.map(|completion| Example { prompt, completion, place }));
    let wanted: Vec<Example> = wanted.collect();
    filter.dropped += (all - wanted.len()) as u64;
    if wanted.is_empty() {
        return Err(anyhow!("no row has an answer that was wanted")).reading(path);
    }
    Ok(wanted)
}

fn best(answers: Completions) -> Result<Option<String>> {
    let first_best = |answers: Vec<(String, f64)>| {
        let mut best: Option<(String, f64)> = None;
        for (answer, value) in answers {
            if best.as_ref().is_none_or(|(_, highest)| value > *highest) {
                best = Some((answer, value));
            }
        }
        best.map(|(answer, _)| answer)
    };
    let answer = match answers {
        Completions::None => bail!("no field `completion`"),
        Completions::Labelled(_, false) => return Ok(None),
        Completions::One(answer) | Completions::Labelled(answer, true) | Completions::Pair { chosen: answer, .. } => {
            Some(answer)
        }
        Completions::Ranked(ranked) => {
            first_best(ranked.into_iter().map(|(answer, rank)| (answer, -(rank as f64))).collect())
        }
        Completions::Rated(rated) => first_best(rated),
    };
    match answer {
        Some(answer) if !answer.is_empty() => Ok(Some(answer)),
        _ => bail!("field `completion` is empty"),
    }
}

/// Answers with labels. A pair is two of them: its chosen answer was wanted, its rejected one was not.
///
/// # Errors
/// As [`texts`].
pub fn labelled(path: &Path, filter: &mut RowFilter) -> Result<Vec<LabelledAnswer>> {
    let read = |value: &Value, number| {
        let (prompt, answers) = row::read(value)?;
        let id = row::id(value, number);
        let group = row::group(value)?.unwrap_or_else(|| id.clone());
        let answers = match answers {
            Completions::Labelled(answer, label) => vec![(id, answer, label)],
            Completions::Pair { chosen, rejected } => {
                vec![(format!("{id}/chosen"), chosen, true), (format!("{id}/rejected"), rejected, false)]
            }
            Completions::Ranked(_) | Completions::Rated(_) => {
                bail!("ranks and ratings say which answer is better, not which was wanted: add a `label`")
            }
            Completions::None | Completions::One(_) => bail!("no field `label` (nor `chosen` and `rejected`)"),
        };
        Ok((prompt, group, answers))
    };
    let mut all = Vec::new();
    for (place, (prompt, group, answers)) in rows(path, filter, read)? {
        for (id, answer, is_desirable) in answers {
            let (prompt, group, place) = (prompt.clone(), group.clone(), place);
            all.push(LabelledAnswer { id, group, prompt, answer, is_desirable, place });
        }
    }
    Ok(all)
}

/// Preferences from pairs, rankings (ties make no pair), and ratings and labels (the answers to one prompt are compared
/// over all rows). Rows of one prompt become one preference, so that no prompt lies on both sides of a split and its
/// pairs weigh together (Ouyang et al. 2022, §3.5). A prompt without any pair is left out. The field `margin` of pairs
/// is read only with `with_margins`: elsewhere it may hold anything.
///
/// # Errors
/// As [`texts`]; or no row prefers one answer to another.
pub fn preferences(path: &Path, with_margins: bool, filter: &mut RowFilter) -> Result<Vec<JudgedAnswers>> {
    let read = |value: &Value, number| {
        let (prompt, answers) = row::read(value)?;
        let id = row::id(value, number);
        let group = row::group(value)?.unwrap_or_else(|| id.clone());
        if matches!(answers, Completions::None | Completions::One(_)) {
            bail!("no field `chosen` (nor `ranking`, `rating` or `label`)");
        }
        let has_margin = with_margins && matches!(answers, Completions::Pair { .. });
        let margin = if has_margin { row::margin(value)? } else { None };
        Ok((JudgedAnswers::new(id, group, prompt), answers, margin))
    };
    let mut all: Vec<JudgedAnswers> = Vec::new();
    let mut places: BTreeMap<Prompt, usize> = BTreeMap::new();
    for (_, (row, answers, margin)) in rows(path, filter, read)? {
        let place = *places.entry(row.preference.prompt.clone()).or_insert_with(|| {
            all.push(row);
            all.len() - 1
        });
        add(&mut all[place], answers, margin);
    }
    drop(places);
    let (used, unused): (Vec<_>, Vec<_>) = all.into_iter().partition(|known| known.pairs() > 0);
    filter.dropped += unused.iter().map(|known| known.rows).sum::<u64>();
    if used.is_empty() {
        return Err(anyhow!("no row prefers one answer to another")).reading(path);
    }
    Ok(used)
}

/// Adds a row to the rows of its prompt so far.
fn add(known: &mut JudgedAnswers, answers: Completions, margin: Option<f64>) {
    known.rows += 1;
    match answers {
        Completions::None | Completions::One(_) => {}
        Completions::Pair { chosen, rejected } => {
            let pair = (known.place(chosen), known.place(rejected));
            known.prefer([pair], margin);
        }
        Completions::Ranked(ranked) => {
            let (answers, ranks): (Vec<String>, Vec<i64>) = ranked.into_iter().unzip();
            let places: Vec<usize> = answers.into_iter().map(|answer| known.place(answer)).collect();
            let pairs = ranking_pairs(&ranks).into_iter();
            known.prefer(pairs.map(|(better, worse)| (places[better], places[worse])), None);
        }
        Completions::Rated(more) => {
            for (answer, value) in more {
                let place = known.place(answer);
                known.rate(place, value);
            }
        }
        Completions::Labelled(answer, label) => {
            let place = known.place(answer);
            known.rate(place, f64::from(u8::from(label)));
        }
    }
}

/// The winner and the loser of each pair of a ranking: smaller is better, ties make no pair.
pub fn ranking_pairs(ranking: &[i64]) -> Vec<(usize, usize)> {
    let all = (0..ranking.len()).flat_map(|i| (i + 1..ranking.len()).map(move |j| (i, j)));
    all.filter_map(|(i, j)| match ranking[i].cmp(&ranking[j]) {
        Ordering::Less => Some((i, j)),
        Ordering::Greater => Some((j, i)),
        Ordering::Equal => None,
    })
    .collect()
}

/// The rows that a stage reads from a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataRows {
    Texts,
    Prompts,
    Examples,
    Labelled,
    Preferences { with_margins: bool },
}

/// Reads the whole file as a stage would.
///
/// # Errors
/// Those of the stage.
pub fn check(rows: DataRows, path: &Path, may_skip: u64) -> Result<()> {
    let filter = &mut RowFilter::new(may_skip);
    match rows {
        DataRows::Texts => texts(path, filter).map(drop),
        DataRows::Prompts => prompts(path, filter).map(drop),
        DataRows::Examples => examples(path, filter).map(drop),
        DataRows::Labelled => labelled(path, filter).map(drop),
        DataRows::Preferences { with_margins } => preferences(path, with_margins, filter).map(drop),
    }
}

/// A dialogue, and the answers to it that its row has.
#[derive(Clone, Debug, PartialEq)]
pub struct AnsweredDialogue {
    pub place: Place,
    pub messages: Vec<Message>,
    pub answers: Vec<String>,
}

/// The dialogues at the beginning of a file, to try a chat template on. Bad rows are passed over: reading the whole file
/// names them.
///
/// # Errors
/// The file cannot be read as a whole.
pub fn first_dialogues(path: &Path) -> Result<Vec<AnsweredDialogue>> {
    let read = |value: &Value, _| {
        let (prompt, completions) = row::read(value)?;
        let Prompt::Chat(messages) = prompt else { return Ok(None) };
        Ok(Some((messages, completions.answers())))
    };
    let rows = file::first_rows(path, read)?.into_iter();
    let good = rows.filter_map(|(place, row)| Some((place, row.ok()??)));
    Ok(good.map(|(place, (messages, answers))| AnsweredDialogue { place, messages, answers }).collect())
}

/// The good rows, each with its place.
fn rows<T: Send>(
    path: &Path,
    filter: &mut RowFilter,
    read: impl Fn(&Value, usize) -> Result<T> + Sync,
) -> Result<Vec<(Place, T)>> {
    let (_, outcomes) = file::rows(path, read)?;
    filter.rows += outcomes.len() as u64;
    let mut out = Vec::with_capacity(outcomes.len());
    for (place, outcome) in outcomes {
        let outcome = outcome.with_context(|| place.to_string()).reading(path);
        out.extend(filter.take(outcome)?.map(|row| (place, row)));
    }
    if out.is_empty() {
        return Err(anyhow!("every row was left out")).reading(path);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::fs;
    use std::io::Write;

    fn refused(rows: DataRows, text: &str, expected: Expect) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        fs::write(&path, text).unwrap();
        let message = format!("{:#}", check(rows, &path, 0).unwrap_err());
        expected.assert_eq(&message.replace(&format!("{}/", dir.path().display()), ""));
    }

    #[test]
    fn the_first_bad_row_is_named_by_line_and_field() {
        let good = r#"{"prompt": "p", "completion": "c"}"#;
        refused(
            DataRows::Examples,
            &format!("{good}\n\n{{\"prompt\": 3}}\n"),
            expect!["read rows.jsonl: line 3: field `prompt` is a number, not a text"],
        );
        refused(
            DataRows::Examples,
            &format!("{good}\n{{\"prompt\": \"p\"}}\n"),
            expect!["read rows.jsonl: line 2: no field `completion`"],
        );
        refused(
            DataRows::Examples,
            &format!("{good}\n{{\"prompt\": \"p\",\n"),
            expect!["read rows.jsonl: line 2: not JSON, at column 15"],
        );
        refused(
            DataRows::Preferences { with_margins: true },
            r#"{"prompt": "p", "completion": ["a", "b"], "ranking": [1]}"#,
            expect!["read rows.jsonl: line 1: `completion` has 2 answers, `ranking` has 1 ranks"],
        );
        refused(
            DataRows::Prompts,
            "{\"id\": 1, \"prompt\": \"a\"}\n{\"id\": 1, \"prompt\": \"b\"}",
            expect!["read rows.jsonl: line 1 and line 2 have the same id `1`"],
        );
    }

    #[test]
    fn an_empty_data_set_and_one_without_preferences_are_refused() {
        refused(DataRows::Prompts, "\n", expect!["read rows.jsonl: the file has no rows"]);
        let tied = r#"{"prompt": "p", "completion": ["a", "b"], "ranking": [2, 2]}"#;
        refused(
            DataRows::Preferences { with_margins: true },
            tied,
            expect!["read rows.jsonl: no row prefers one answer to another"],
        );
    }

    #[test]
    fn rows_of_one_prompt_are_one_preference() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        let rows = r#"{"prompt": "p", "chosen": "a", "rejected": "b"}
{"prompt": "q", "chosen": "x", "rejected": "y"}
{"prompt": "p", "chosen": "a", "rejected": "c"}
{"prompt": "p", "completion": ["c", "b", "b"], "ranking": [1, 2, 3]}
"#;
        fs::write(&path, rows).unwrap();
        let read = preferences(&path, true, &mut RowFilter::default()).unwrap();
        let read: Vec<Preference> = read.into_iter().map(|known| known.with_pairs(10, |_| 0)).collect();
        let shown: Vec<_> =
            read.iter().map(|row| (row.prompt.to_string(), row.answers.join(""), row.pairs.clone())).collect();
        let expected = [("p", "abc", vec![(0, 1), (0, 2), (2, 1), (2, 1)]), ("q", "xy", vec![(0, 1)])];
        assert_eq!(shown, expected.map(|(prompt, answers, pairs)| (prompt.to_owned(), answers.to_owned(), pairs)));
    }

    /// A row as it was read, in words.
    fn said(row: &str) -> String {
        let value: Value = serde_json::from_str(row).unwrap();
        let format = row::format(&value).map_or("unknown", Format::name);
        match row::read(&value) {
            Ok((prompt, answers)) => {
                let how = if matches!(prompt, Prompt::Chat(_)) { "chat" } else { "text" };
                format!("{format}: {how} {:?} -> {answers:?}\n", prompt.to_string())
            }
            Err(error) => format!("{format}: {error:#}\n"),
        }
    }

    #[test]
    fn every_format_says_who_is_asked_what_and_which_answers_there_are() {
        let rows = [
            r#"{"prompt": "p", "completion": "c"}"#,
            r#"{"prompt": "p"}"#,
            r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}"#,
            r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "text", "text": "v"}]}]}"#,
            r#"{"instruction": "i", "input": "j", "output": "o"}"#,
            r#"{"instruction": "i", "input": "", "output": "o", "system": "s"}"#,
            r#"{"conversations": [{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}]}"#,
            r#"{"conversations": [{"from": "human", "value": "h"}], "chosen": {"from": "gpt", "value": "c"}, "rejected": {"from": "gpt", "value": "r"}}"#,
            r#"{"prompt": [{"role": "user", "content": "u"}], "chosen": [{"role": "assistant", "content": "c"}], "rejected": [{"role": "assistant", "content": "r"}]}"#,
            r#"{"chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "c"}], "rejected": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "r"}]}"#,
            r#"{"prompt": "p", "completion": ["a", "b"], "ranking": [2, 1], "score": [5, 9]}"#,
            r#"{"prompt": "p", "completion": ["a", "b"], "ratings": [0.5, 2]}"#,
            r#"{"prompt": "p", "completion": "a", "rating": 4}"#,
            r#"{"prompt": "p", "completion": "a", "label": false}"#,
            r#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "label": true}"#,
        ];
        expect![[r#"
            prompt/completion: text "p" -> One("c")
            prompts: text "p" -> None
            messages: chat "system: s\nuser: u" -> One("a")
            messages: chat "uv" -> None
            alpaca: chat "i\n\nj" -> One("o")
            alpaca: chat "system: s\nuser: i" -> One("o")
            sharegpt: chat "h" -> One("g")
            chosen/rejected: chat "h" -> Pair { chosen: "c", rejected: "r" }
            chosen/rejected: chat "u" -> Pair { chosen: "c", rejected: "r" }
            chosen/rejected: chat "u" -> Pair { chosen: "c", rejected: "r" }
            rankings: text "p" -> Ranked([("a", 2), ("b", 1)])
            ratings: text "p" -> Rated([("a", 0.5), ("b", 2.0)])
            ratings: text "p" -> Rated([("a", 4.0)])
            KTO labels: text "p" -> Labelled("a", false)
            KTO labels: chat "u" -> Labelled("a", true)
        "#]]
        .assert_eq(&rows.map(said).concat());
    }

    #[test]
    fn a_row_that_breaks_its_format_says_where() {
        let rows = [
            r#"{"question": "q"}"#,
            r#"{"messages": []}"#,
            r#"{"messages": [{"role": "user"}]}"#,
            r#"{"messages": [{"role": "user", "content": [{"type": "image"}]}]}"#,
            r#"{"messages": [{"role": "assistant", "content": "a"}]}"#,
            r#"{"messages": "hello"}"#,
            r#"{"prompt": "p", "chosen": "c"}"#,
            r#"{"chosen": "c", "rejected": "r"}"#,
            r#"{"chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "c"}], "rejected": [{"role": "user", "content": "v"}, {"role": "assistant", "content": "r"}]}"#,
            r#"{"prompt": "p", "completion": ["a"], "rating": [1, 2]}"#,
            r#"{"prompt": "p", "completion": "a", "label": "good"}"#,
            r#"{"instruction": 3}"#,
        ];
        expect![[r#"
            unknown: no field `prompt` (nor one of another known format: `messages`, `conversations`, `instruction`, `chosen` and `rejected`)
            messages: field `messages` is an empty list
            messages: field `messages`, turn 1: no field `content`
            messages: field `messages`, turn 1: a part of type `image` is not supported, only `text`
            messages: field `messages` holds an answer and no question
            messages: field `messages` is no list of turns
            chosen/rejected: no field `rejected`
            chosen/rejected: no field `prompt`
            chosen/rejected: `chosen` and `rejected` answer different dialogues: all but their last turn has to be the same
            ratings: `completion` has 1 answers, `rating` has 2 ratings
            KTO labels: field `label` is a text, neither true nor false
            alpaca: field `instruction` is a number, not a text
        "#]].assert_eq(&rows.map(said).concat());
    }

    fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn ratings_and_labels_of_one_prompt_are_compared_over_all_rows() {
        let rows = r#"{"prompt": "p", "completion": "a", "label": true}
{"prompt": "q", "completion": "x", "rating": 1}
{"prompt": "p", "completion": "b", "label": false}
{"prompt": "q", "completion": "y", "rating": 3.5}
{"prompt": "r", "completion": "z", "label": true}
"#;
        let (_dir, path) = file(rows.as_bytes());
        let mut filter = RowFilter::default();
        let read = preferences(&path, true, &mut filter).unwrap();
        let read: Vec<Preference> = read.into_iter().map(|known| known.with_pairs(10, |_| 0)).collect();
        let pairs: Vec<_> = read.iter().map(|row| (row.prompt.to_string(), row.pairs.clone())).collect();
        assert_eq!(pairs, [("p".to_owned(), vec![(0, 1)]), ("q".to_owned(), vec![(1, 0)])]);
        assert_eq!((filter.rows, filter.dropped), (5, 1), "what is said of `r` compares nothing");
    }

    #[test]
    fn examples_take_the_answer_that_was_wanted() {
        let rows = r#"{"prompt": "p", "chosen": "a", "rejected": "b"}
{"prompt": "p", "completion": ["a", "b"], "ranking": [2, 1]}
{"prompt": "p", "completion": "c", "label": false}
{"prompt": "p", "completion": ["a", "b"], "rating": [3, 1]}
"#;
        let (_dir, path) = file(rows.as_bytes());
        let mut filter = RowFilter::default();
        let taken: String = examples(&path, &mut filter).unwrap().into_iter().map(|row| row.completion).collect();
        assert_eq!((taken.as_str(), filter.rows, filter.dropped), ("aba", 4, 1));
    }

    #[test]
    fn the_first_bytes_say_what_a_file_is() {
        let rows = r#"{"prompt": "p", "completion": "c"}
{"prompt": "q", "completion": "d"}
"#;
        let list = format!("\u{feff} [{}]", rows.trim().replace('\n', ","));
        let zip = |text: &str| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(text.as_bytes()).unwrap();
            out.finish().unwrap()
        };
        // As `cat a.gz b.gz` writes it.
        let (first, second) = rows.split_once('\n').unwrap();
        let joined = [zip(&format!("{first}\n")), zip(second)].concat();
        let files = [
            rows.as_bytes().to_vec(),
            rows.replace('\n', "\r\n").into_bytes(),
            list.clone().into_bytes(),
            zip(&list),
            joined,
            zstd::stream::encode_all(rows.as_bytes(), 3).unwrap(),
            parquet(&[("p", "c"), ("q", "d")]),
        ];
        for bytes in files {
            let (_dir, path) = file(&bytes);
            let read = examples(&path, &mut RowFilter::default()).unwrap();
            let read: String = read.iter().map(|row| format!("{}{}", row.prompt, row.completion)).collect();
            assert_eq!(read, "pcqd", "{:?}", &bytes[..4]);
        }
    }

    fn parquet(rows: &[(&str, &str)]) -> Vec<u8> {
        use parquet::data_type::{ByteArray, ByteArrayType};
        let schema = "message rows { required binary prompt (UTF8); required binary completion (UTF8); }";
        let schema = std::sync::Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
        let mut out = Vec::new();
        let mut writer =
            parquet::file::writer::SerializedFileWriter::new(&mut out, schema, Default::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for column in [0, 1] {
            let values: Vec<ByteArray> =
                rows.iter().map(|row| ByteArray::from(if column == 0 { row.0 } else { row.1 })).collect();
            let mut writer = group.next_column().unwrap().unwrap();
            writer.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
            writer.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
        out
    }

    #[test]
    fn as_many_bad_rows_are_left_out_as_was_said_and_keep_their_numbers() {
        let rows = "{\"prompt\": \"a\"}\n{\"prompt\": 3}\nnonsense\n{\"prompt\": \"b\"}\n";
        let (_dir, path) = file(rows.as_bytes());
        let mut filter = RowFilter::new(2);
        let ids: String = prompts(&path, &mut filter).unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!((ids.as_str(), filter.rows, filter.dropped), ("14", 4, 2));
        let told = |may_skip| {
            let error = prompts(&path, &mut RowFilter::new(may_skip)).unwrap_err();
            format!("{error:#}\n").replace(&path.display().to_string(), "FILE")
        };
        expect![[r#"
            read FILE: line 2: field `prompt` is a number, not a text
            there are more bad rows than the 1 that `--skip-bad-rows` lets pass; the next: read FILE: line 3: not JSON, at column 2
        "#]].assert_eq(&[told(0), told(1)].concat());
    }

    #[test]
    fn damaged_files_are_told_as_such() {
        let whole = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()).finish().unwrap();
        let told = |bytes: &[u8]| {
            let (_dir, path) = file(bytes);
            let error = prompts(&path, &mut RowFilter::default()).unwrap_err();
            format!("{error:#}\n").replace(&path.display().to_string(), "FILE")
        };
        let damaged = [
            told(&whole[..6]),
            told(b"[{\"prompt\": 1},"),
            told(b"\xff\xfe\n"),
            told(b"PAR1 and no more"),
            told(&[&parquet(&[("p", "c")])[..4], &[0xff; 40], &parquet(&[("p", "c")])[44..]].concat()),
            told(&zstd::stream::encode_all(&whole[..], 3).unwrap()),
        ];
        expect![[r#"
            read FILE: the compressed data is damaged: unexpected end of file
            read FILE: not a JSON list of rows, at line 1, column 15
            read FILE: line 1: not UTF-8
            read FILE: Parquet error: Invalid Parquet file. Corrupt footer
            read FILE: row 1: Parquet error: Unexpected struct field type 15
            read FILE: it is compressed twice, or a compressed Parquet file; unpack it
        "#]]
        .assert_eq(&damaged.concat());
    }

    /// golden/rlhf-golden.json, `ranking_to_pairs`, which gives the pairs but not their order.
    #[test]
    fn a_ranking_gives_the_golden_pairs_and_drops_the_golden_ties() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/golden/rlhf-golden.json")).unwrap();
        let golden = &golden["ranking_to_pairs"];
        let ranking: Vec<i64> = serde_json::from_value(golden["ranking"].clone()).unwrap();
        let pairs = |name: &str| -> Vec<(usize, usize)> {
            let mut pairs: Vec<_> = serde_json::from_value(golden[name].clone()).unwrap();
            pairs.sort_unstable();
            pairs
        };
        let mut ours = ranking_pairs(&ranking);
        assert_eq!(ours, [(1, 0), (0, 2), (1, 2), (1, 3), (3, 2)], "in the order of the answers");
        ours.sort_unstable();
        assert_eq!(ours, pairs("pairs_chosen_rejected"));
        let all = (0..ranking.len()).flat_map(|i| (i + 1..ranking.len()).map(move |j| (i, j)));
        let tied: Vec<_> = all.filter(|&(i, j)| !ours.contains(&(i, j)) && !ours.contains(&(j, i))).collect();
        assert_eq!(tied, pairs("ties_dropped"));
    }
}
