//! Files that score answers in the place of a reward model. A new form is a row of [`FORMS`] and how its lines are read.

use super::answer::GivenAnswer;
use anyhow::{Context, Result, anyhow, bail};
use formats::unreadable::Reading;
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A form of such files.
struct FileForm {
    /// The ending of its name.
    ending: &'static str,
    /// The field that its rows have; `None` for lines of text.
    field: Option<&'static str>,
    read: fn(text: &str) -> Result<FileReward>,
}

const FORMS: [FileForm; 4] = [
    FileForm { ending: "txt", field: None, read: words },
    FileForm { ending: "tsv", field: None, read: words },
    // 1 for the right answer, space at its ends aside, else 0.
    FileForm {
        ending: "jsonl",
        field: Some("answer"),
        read: |text| rows(text, |row| Ok(Test::Is(texts(row, "answer")?))),
    },
    // 1 for an answer in which the pattern is found, else 0.
    FileForm { ending: "jsonl", field: Some("regex"), read: |text| rows(text, |row| Ok(Test::Has(pattern(row)?))) },
];

/// The content of a file: valences of words, or tests of answers.
pub enum FileReward {
    /// A valence for each word.
    Words(HashMap<String, f64>),
    Rows(AskedRows),
}

/// Tests of answers, by what was asked.
#[derive(Default)]
pub struct AskedRows {
    by_id: HashMap<String, AskedRow>,
    by_prompt: HashMap<String, Test>,
    /// The test of a row that names neither an id nor a prompt.
    of_all: Option<Test>,
}

struct AskedRow {
    prompt: Option<String>,
    test: Test,
}

#[derive(Clone)]
enum Test {
    /// It is one of these texts.
    Is(Vec<String>),
    /// The pattern is found in it.
    Has(Regex),
}

/// Reads a file by its form.
///
/// # Errors
/// It has none of the forms, or a line of it is wrong.
pub fn read(path: &Path) -> Result<FileReward> {
    let text = fs::read_to_string(path).reading(path)?;
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let first = || serde_json::from_str::<Map<String, Value>>(text.lines().find(|line| !line.trim().is_empty())?).ok();
    let is_it = |form: &&FileForm| {
        form.ending == ending && form.field.is_none_or(|field| first().is_some_and(|row| row.contains_key(field)))
    };
    let form = FORMS.iter().find(is_it).with_context(|| {
        let fields: Vec<String> = FORMS.iter().filter_map(|form| form.field).map(|field| format!("`{field}`")).collect();
        format!("a file that scores answers has a word and its valence in each line (.txt, .tsv), or rows with a field {} (.jsonl)", fields.join(" or "))
    });
    form.and_then(|form| (form.read)(&text)).reading(path)
}

impl FileReward {
    /// # Errors
    /// The file says nothing of what was asked.
    pub fn score(&self, answer: &GivenAnswer, prompt: &str) -> Result<f64> {
        match self {
            FileReward::Words(valences) => Ok(valence(answer.text, valences)),
            FileReward::Rows(rows) => Ok(f64::from(u8::from(rows.test(answer, prompt)?.holds(answer.text)))),
        }
    }
}

impl AskedRows {
    fn add(&mut self, id: Option<String>, prompt: Option<String>, test: Test) -> Result<()> {
        let is_new = match (id, prompt) {
            (None, None) => self.of_all.replace(test).is_none(),
            (None, Some(prompt)) => self.by_prompt.insert(prompt, test).is_none(),
            (Some(id), prompt) => {
                if let Some(prompt) = &prompt {
                    self.by_prompt.entry(prompt.clone()).or_insert_with(|| test.clone());
                }
                self.by_id.insert(id, AskedRow { prompt, test }).is_none()
            }
        };
        if is_new { Ok(()) } else { bail!("another row is about the same prompt") }
    }

    /// The test of an answer: by its id, unless the row of that id asks something else; by its prompt; or that of all.
    fn test(&self, answer: &GivenAnswer, prompt: &str) -> Result<&Test> {
        let id = answer.id;
        self.found(Some(id).filter(|_| answer.has_written_id), prompt).with_context(|| {
            format!("score answers: the file has no row for the prompt of id `{id}` ({:?})", beginning(prompt))
        })
    }

    fn found(&self, id: Option<&str>, prompt: &str) -> Option<&Test> {
        let asks_it = |row: &&AskedRow| row.prompt.as_ref().is_none_or(|own| own == prompt);
        let by_id = id.and_then(|id| self.by_id.get(id)).filter(asks_it).map(|row| &row.test);
        by_id.or_else(|| self.by_prompt.get(prompt)).or(self.of_all.as_ref())
    }

    /// Whether there is a test of answers to a prompt. `id` is that of its row, where it was written.
    pub fn has(&self, id: Option<&str>, prompt: &str) -> bool {
        self.found(id, prompt).is_some()
    }
}

impl Test {
    fn holds(&self, answer: &str) -> bool {
        match self {
            Test::Is(texts) => texts.iter().any(|text| text.trim() == answer.trim()),
            Test::Has(pattern) => pattern.is_match(answer),
        }
    }
}

/// The beginning of a prompt, as people are told it.
pub fn beginning(prompt: &str) -> String {
    prompt.chars().take(60).collect()
}

/// Lines of JSON, each with an `id`, a `prompt`, both or neither, and a test.
fn rows(text: &str, test: impl Fn(&Map<String, Value>) -> Result<Test>) -> Result<FileReward> {
    let mut rows = AskedRows::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut add = || {
            let row: Map<String, Value> = serde_json::from_str(line).context("not a JSON object")?;
            let one = |field: &str| row.get(field).filter(|value| !value.is_null()).map(|value| plain(value, field));
            rows.add(one("id").transpose()?, one("prompt").transpose()?, test(&row)?)
        };
        add().with_context(|| format!("line {}", number + 1))?;
    }
    Ok(FileReward::Rows(rows))
}

/// A text, or a number as it is written.
fn plain(value: &Value, field: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(anyhow!("field `{field}` is neither a text nor a number")),
    }
}

/// One text or a list of them.
fn texts(row: &Map<String, Value>, field: &str) -> Result<Vec<String>> {
    match row.get(field) {
        Some(Value::Array(all)) if !all.is_empty() => all.iter().map(|one| plain(one, field)).collect(),
        Some(one) => Ok(vec![plain(one, field)?]),
        None => Err(anyhow!("no field `{field}`")),
    }
}

fn pattern(row: &Map<String, Value>) -> Result<Regex> {
    let pattern = row.get("regex").and_then(Value::as_str).context("no text in the field `regex`")?;
    Regex::new(pattern).context("read the field `regex`")
}

/// A line for each word, `word<tab>valence`.
fn words(text: &str) -> Result<FileReward> {
    let mut valences = HashMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let entry = line.rsplit_once('\t').and_then(|(word, valence)| Some((word, valence.trim().parse().ok()?)));
        let (word, valence) = entry.with_context(|| format!("line {}: not `word<tab>number`", number + 1))?;
        valences.insert(word.trim().to_lowercase(), valence);
    }
    if valences.is_empty() { bail!("the file has no words") } else { Ok(FileReward::Words(valences)) }
}

/// The sum of the valences of the lower-cased words `[a-z']+` in a text (the rule of AFINN; Nielsen 2011).
fn valence(text: &str, valences: &HashMap<String, f64>) -> f64 {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !(c.is_ascii_lowercase() || c == '\''));
    // Folded from 0, since the sum of no numbers would be −0.
    words.filter_map(|word| valences.get(word)).fold(0.0, |sum, valence| sum + valence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::dialogue::Prompt;

    /// The score of an answer by a file, or the error.
    fn score(file: (&str, &str), [id, prompt, text]: [&str; 3]) -> String {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(file.0);
        fs::write(&path, file.1).unwrap();
        // Ids that begin so were made up.
        let (id, has_written_id) = id.strip_prefix('#').map_or((id, true), |id| (id, false));
        let asked = Prompt::Text(prompt.to_owned());
        let answer = GivenAnswer { id, has_written_id, prompt: &asked, text };
        match read(&path).and_then(|file| file.score(&answer, prompt)) {
            Ok(score) => score.to_string(),
            Err(error) => format!("{error:#}").replace(&path.display().to_string(), file.0),
        }
    }

    #[test]
    fn a_word_list_scores_the_words_it_has() {
        let words = ("words.txt", "good\t3\nbad\t-3\n\ncan't stand\t-3\n");
        assert_eq!(score(words, ["1", "q", "Good, GOOD dog. Not bad!"]), "3");
        assert_eq!(score(words, ["1", "q", ""]), "0");
        assert_eq!(score(("words.tsv", "good 1\n"), ["1", "q", ""]), "read words.tsv: line 1: not `word<tab>number`");
        assert_eq!(score(("words.txt", "\n"), ["1", "q", ""]), "read words.txt: the file has no words");
    }

    #[test]
    fn a_right_answer_scores_one_by_its_id_or_its_prompt() {
        let right = (
            "right.jsonl",
            "{\"id\": 7, \"answer\": \"東京\"}\n{\"prompt\": \"2+2?\", \"answer\": [\"4\", \"four\"]}\n{\"id\": \"1\", \"prompt\": \"6*7?\", \"answer\": 42}\n",
        );
        assert_eq!(score(right, ["7", "日本の首都は？", " 東京\n"]), "1");
        assert_eq!(score(right, ["7", "日本の首都は？", "東京です"]), "0");
        assert_eq!(score(right, ["x", "2+2?", "four"]), "1");
        assert_eq!(score(right, ["x", "6*7?", "42"]), "1");
        // A row number is no id of another file's rows: the prompt tells.
        assert_eq!(score(right, ["1", "2+2?", "42"]), "0");
        assert_eq!(
            score(right, ["#7", "日本の首都は？", "東京"]),
            "score answers: the file has no row for the prompt of id `7` (\"日本の首都は？\")"
        );
        assert_eq!(
            score(right, ["1", "and?", "42"]),
            "score answers: the file has no row for the prompt of id `1` (\"and?\")"
        );
    }

    #[test]
    fn a_pattern_scores_one_where_it_is_found() {
        let patterns = ("patterns.jsonl", "{\"regex\": \"[。！]$\"}\n{\"id\": \"n\", \"regex\": \"(?i)^no\\\\b\"}\n");
        assert_eq!(score(patterns, ["1", "q", "はい。"]), "1");
        assert_eq!(score(patterns, ["1", "q", "はい"]), "0");
        assert_eq!(score(patterns, ["n", "q", "No, thanks"]), "1");
        assert_eq!(score(patterns, ["n", "q", "はい。"]), "0");
    }

    #[test]
    fn a_file_of_no_form_is_refused_with_the_line_that_is_wrong() {
        let ask = |name: &str, text: &str| score((name, text), ["1", "q", "a"]);
        assert_eq!(
            ask("rows.jsonl", "{\"prompt\": \"q\"}\n"),
            "read rows.jsonl: a file that scores answers has a word and its valence in each line (.txt, .tsv), or rows with a field \
             `answer` or `regex` (.jsonl)"
        );
        assert_eq!(
            ask("a.jsonl", "{\"answer\": \"a\"}\n{\"prompt\": \"q\"}\n"),
            "read a.jsonl: line 2: no field `answer`"
        );
        assert_eq!(
            ask("a.jsonl", "{\"id\": 1, \"answer\": \"a\"}\n{\"id\": 1, \"answer\": \"b\"}\n"),
            "read a.jsonl: line 2: another row is about the same prompt"
        );
        let broken = ask("a.jsonl", "{\"regex\": \"(\"}\n");
        assert!(broken.starts_with("read a.jsonl: line 1: read the field `regex`: regex parse error"), "{broken}");
    }
}
