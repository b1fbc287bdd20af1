//! Data files as the rows that stages read: texts, prompts, examples, preferences, labelled answers. The first bad row
//! is named by file, line and field; the user says how many may be left out.

mod answered;
mod columns;
mod convert;
pub mod file;
mod filter;
mod inspect;
mod overlap;
mod pairs;
mod read;
pub mod row;
mod said;
mod source;

pub use answered::{AnsweredQuestion, answered};
pub use convert::{RowsToWrite, convert};
pub use file::Place;
pub use filter::{METRICS, RowFilter};
pub use inspect::{Inspection, inspect, percentile};
pub use overlap::{Overlap, PromptDigest, PromptDigests};
pub use pairs::{JudgedAnswers, Preference};
pub use read::{DataRows, RowPlace};
pub use source::{DataSource, ENDINGS, OPTIONS, ReadOptions, files, is_data, is_pattern, names, select};

use crate::dialogue::{Message, Prompt};
use crate::unreadable::Reading;
use anyhow::{Result, anyhow};
use read::{Ids, SourceRow, outcomes, rows};
use row::{Completions, Content};
use said::{Label, best, judged, labels};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

/// Documents of raw text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    pub texts: Vec<String>,
    /// The number of times each is learned in an epoch.
    pub weights: Vec<f64>,
}

/// A prompt to be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The field `id`, else the row's number from 1.
    pub id: String,
    /// Whether the row has an `id`, by which other files may know it.
    pub has_written_id: bool,
    pub prompt: Prompt,
    /// The field `prompt_group`: prompts of one group (one dialogue, one template) are not independent evidence.
    pub group: Option<String>,
    /// The field `subset`: a part of the prompts that may be looked at alone.
    pub subset: Option<String>,
    /// The number of times it is answered in an epoch.
    pub weight: f64,
}

/// A prompt with the answer to learn.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub prompt: Prompt,
    pub completion: String,
    pub place: RowPlace,
    /// The number of times it is learned in an epoch.
    pub weight: f64,
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
    pub place: RowPlace,
    /// The number of times it is learned in an epoch.
    pub weight: f64,
}

/// Documents of raw text: rows with a field `text`.
///
/// # Errors
/// A file cannot be read, or has more bad rows than may be left out.
pub fn texts(sources: &[DataSource], filter: &mut RowFilter) -> Result<Documents> {
    let mut documents = Documents::default();
    let read = |row: &SourceRow| row::document(row.value);
    rows(sources, filter, read, |_, weight, text| {
        documents.texts.push(text);
        documents.weights.push(weight);
        Ok(())
    })?;
    Ok(documents)
}

/// The prompts of rows of any format; their answers are ignored.
///
/// # Errors
/// As [`texts`]; or two rows have the same id.
pub fn prompts(sources: &[DataSource], filter: &mut RowFilter) -> Result<Vec<Question>> {
    let read = |row: &SourceRow| {
        let shares_id = row::format(row.value).is_some_and(|format| format.shares_ids) && row.value.get("id").is_some();
        let group = row::group(row.value)?.or_else(|| shares_id.then(|| row.id()));
        let subset = row::label(row.value, "subset")?;
        let contents = row.contents()?;
        let of = contents.len();
        let question = |(index, content): (usize, Content)| {
            let id = row.id_of(index, of);
            let id = if shares_id { format!("{id}/{}", row.number) } else { id };
            let group = group.clone().or_else(|| (of > 1).then(|| row.id()));
            Question {
                id,
                has_written_id: row::has_id(row.value),
                prompt: content.prompt,
                group,
                subset: subset.clone(),
                weight: row.options.weight,
            }
        };
        Ok(contents.into_iter().enumerate().map(question).collect::<Vec<_>>())
    };
    let mut questions = Vec::new();
    let mut ids = Ids::default();
    rows(sources, filter, read, |place, _, some| {
        for question in some {
            ids.add(&question.id, place, sources)?;
            questions.push(question);
        }
        Ok(())
    })?;
    Ok(questions)
}

/// Prompts with one answer to learn: the only one, else the chosen or the best one. Rows whose answer is labelled as
/// unwanted are left out.
///
/// # Errors
/// As [`texts`].
pub fn examples(sources: &[DataSource], filter: &mut RowFilter) -> Result<Vec<Example>> {
    let read = |row: &SourceRow| -> Result<Vec<(Prompt, Option<String>)>> {
        let contents = row.contents()?.into_iter();
        contents.map(|Content { prompt, completions }| Ok((prompt, best(completions)?))).collect()
    };
    let mut wanted = Vec::new();
    let mut unwanted = 0;
    rows(sources, filter, read, |place, weight, some| {
        unwanted += u64::from(some.iter().all(|(_, completion)| completion.is_none()));
        for (prompt, completion) in some {
            wanted.extend(completion.map(|completion| Example { prompt, completion, place, weight }));
        }
        Ok(())
    })?;
    filter.dropped += unwanted;
    if wanted.is_empty() {
        return Err(anyhow!("no row has an answer that was wanted")).reading(Path::new(&names(sources)));
    }
    Ok(wanted)
}

/// Answers with labels. A pair is two of them: its chosen answer was wanted, its rejected one was not.
///
/// # Errors
/// As [`texts`].
pub fn labelled(sources: &[DataSource], filter: &mut RowFilter) -> Result<Vec<LabelledAnswer>> {
    let read = |row: &SourceRow| {
        let group = row::group(row.value)?.unwrap_or_else(|| row.id());
        let mut answers = Vec::new();
        for Content { prompt, completions } in row.contents()? {
            answers.extend(labels(row.id(), completions)?.into_iter().map(|answer| (prompt.clone(), answer)));
        }
        Ok((group, answers))
    };
    let mut all = Vec::new();
    rows(sources, filter, read, |place, weight, (group, answers)| {
        for (prompt, Label { id, answer, is_desirable }) in answers {
            all.push(LabelledAnswer { id, group: group.clone(), prompt, answer, is_desirable, place, weight });
        }
        Ok(())
    })?;
    Ok(all)
}

/// Preferences from pairs, rankings (ties make no pair), and ratings and labels (the answers to one prompt are compared
/// over all rows). Rows of one prompt become one preference, so that no prompt lies on both sides of a split and its
/// pairs weigh together (Ouyang et al. 2022, §3.5). A prompt without any pair is left out. The field `margin` of pairs
/// is read only with `with_margins`: elsewhere it may hold anything.
///
/// # Errors
/// As [`texts`]; or no row prefers one answer to another.
pub fn preferences(sources: &[DataSource], with_margins: bool, filter: &mut RowFilter) -> Result<Vec<JudgedAnswers>> {
    let read = |row: &SourceRow| {
        let contents = row.contents()?;
        let of = contents.len();
        let own_group = row::group(row.value)?.or_else(|| (of > 1).then(|| row.id()));
        let mut read = Vec::new();
        for (index, Content { prompt, completions }) in judged(contents)?.into_iter().enumerate() {
            let id = row.id_of(index, of);
            let group = own_group.clone().unwrap_or_else(|| id.clone());
            let has_margin = with_margins && matches!(completions, Completions::Pair { .. });
            let margin = if has_margin { row::margin(row.value)? } else { None };
            let mut answers = JudgedAnswers::new(id, group, prompt);
            answers.preference.weight = row.options.weight;
            read.push((answers, completions, margin));
        }
        Ok(read)
    };
    let mut all: Vec<JudgedAnswers> = Vec::new();
    let mut places: BTreeMap<Prompt, usize> = BTreeMap::new();
    rows(sources, filter, read, |_, _, read| {
        for (row, answers, margin) in read {
            let place = *places.entry(row.preference.prompt.clone()).or_insert_with(|| {
                all.push(row);
                all.len() - 1
            });
            add(&mut all[place], answers, margin);
        }
        Ok(())
    })?;
    drop(places);
    let (used, unused): (Vec<_>, Vec<_>) = all.into_iter().partition(|known| known.pairs() > 0);
    filter.dropped += unused.iter().map(|known| known.rows).sum::<u64>();
    if used.is_empty() {
        return Err(anyhow!("no row prefers one answer to another")).reading(Path::new(&names(sources)));
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
        // Each vote is a preference: together they weigh as the share of the people.
        Completions::Voted { answers: [first, second], votes, .. } => {
            let places = [known.place(first), known.place(second)];
            let pairs = [(places[0], places[1]), (places[1], places[0])].into_iter().zip(votes);
            known.prefer(pairs.flat_map(|(pair, votes)| std::iter::repeat_n(pair, votes)), None);
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

/// Reads all files as a stage would, without keeping their rows. Returns the digests of their prompts.
///
/// # Errors
/// Those of the stage.
pub fn check(wanted: DataRows, sources: &[DataSource], may_skip: u64) -> Result<PromptDigests> {
    let mut filter = RowFilter::new(may_skip);
    let mut says_something = false;
    let mut ids = Ids::default();
    let mut prompts = PromptDigests::default();
    let is_asked = wanted == DataRows::Prompts;
    let read = |row: &SourceRow| {
        let tried = wanted.try_row(row)?;
        let id = is_asked.then(|| row.id()).filter(|_| row::format(row.value).is_none_or(|format| !format.shares_ids));
        Ok((tried, id))
    };
    rows(sources, &mut filter, read, |place, _, (tried, id)| {
        says_something |= tried.says_something;
        prompts.add(tried.prompts);
        id.map_or(Ok(()), |id| ids.add(&id, place, sources))
    })?;
    match wanted {
        DataRows::Examples if !says_something => {
            Err(anyhow!("no row has an answer that was wanted")).reading(Path::new(&names(sources)))
        }
        DataRows::Answers if !says_something => {
            Err(anyhow!("no row has an answer")).reading(Path::new(&names(sources)))
        }
        // Ratings and labels prefer over several rows.
        DataRows::Preferences { with_margins } if !says_something => {
            preferences(sources, with_margins, &mut RowFilter::new(may_skip)).map(|_| prompts)
        }
        _ => Ok(prompts),
    }
}

/// The ids of all rows of a file or directory, in their order, as every kind names them.
///
/// # Errors
/// It cannot be read, or has a row that is none.
pub fn ids(path: &Path) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let read = |row: &SourceRow| Ok(row.id());
    rows(&[path.to_owned().into()], &mut RowFilter::default(), read, |_, _, id| {
        ids.push(id);
        Ok(())
    })?;
    Ok(ids)
}

/// A dialogue, and the answers to it that its row has.
#[derive(Clone, Debug, PartialEq)]
pub struct AnsweredDialogue {
    pub place: RowPlace,
    pub messages: Vec<Message>,
    pub answers: Vec<String>,
}

/// The number of rows of each source from which [`first_dialogues`] takes dialogues.
const FIRST: u64 = 1000;

/// The dialogues among the first rows of each source, to try a chat template on. Bad rows are passed over: reading all
/// rows names them.
///
/// # Errors
/// A file cannot be read as a whole.
pub fn first_dialogues(sources: &[DataSource]) -> Result<Vec<AnsweredDialogue>> {
    let take = |source: &DataSource| {
        let take = Some(source.options.take.map_or(FIRST, |take| take.min(FIRST)));
        DataSource { options: ReadOptions { take, ..source.options.clone() }, ..source.clone() }
    };
    let first: Vec<DataSource> = sources.iter().map(take).collect();
    let mut found = Vec::new();
    outcomes(
        &first,
        |row: &SourceRow| row.contents(),
        |_, place, _, contents| {
            for Content { prompt, completions } in contents.into_iter().flatten() {
                if let Prompt::Chat(messages) = prompt {
                    let answers = completions.answers().into_iter().cloned().collect();
                    found.push(AnsweredDialogue { place, messages, answers });
                }
            }
            Ok(())
        },
    )?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::Value;
    use std::fs;
    use std::io::Write;

    fn refused(rows: DataRows, text: &str, expected: Expect) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        fs::write(&path, text).unwrap();
        let message = format!("{:#}", check(rows, &[path.clone().into()], 0).unwrap_err());
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
            expect![
                "read rows.jsonl: line 2: no answer to learn (`completion`, `output`, `response`, `answer`, or a last turn of the assistant)"
            ],
        );
        refused(
            DataRows::Examples,
            &format!("{good}\n{{\"prompt\": \"p\",\n"),
            expect!["read rows.jsonl: line 2: not JSON, at column 15: it is cut, as it ends within a value"],
        );
        refused(
            DataRows::Preferences { with_margins: true },
            r#"{"prompt": "p", "completion": ["a", "b"], "ranking": [1]}"#,
            expect!["read rows.jsonl: line 1: `completion` has 2 answers, `ranking` has 1 ranks"],
        );
        refused(
            DataRows::Prompts,
            "{\"id\": 1, \"prompt\": \"a\"}\n{\"id\": 1, \"prompt\": \"b\"}",
            expect![
                "read rows.jsonl: line 1 and line 2 have the same id `1`; answers are compared by it, so drop the field or make it another one in each row"
            ],
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
        let read = preferences(&[path.clone().into()], true, &mut RowFilter::default()).unwrap();
        let read: Vec<Preference> = read.into_iter().map(|known| known.with_pairs(10, |_| 0)).collect();
        let shown: Vec<_> =
            read.iter().map(|row| (row.prompt.to_string(), row.answers.join(""), row.pairs.clone())).collect();
        let expected = [("p", "abc", vec![(0, 1), (0, 2), (2, 1), (2, 1)]), ("q", "xy", vec![(0, 1)])];
        assert_eq!(shown, expected.map(|(prompt, answers, pairs)| (prompt.to_owned(), answers.to_owned(), pairs)));
    }

    /// A row as it was read, in words.
    fn said(row: &str) -> String {
        let value: Value = serde_json::from_str(row).unwrap();
        let format = row::format(&value).map_or("unknown", |format| format.name);
        let content = |Content { prompt, completions }: Content| {
            let how = if matches!(prompt, Prompt::Chat(_)) { "chat" } else { "text" };
            format!("{format}: {how} {:?} -> {completions:?}\n", prompt.to_string())
        };
        match row::read(&value) {
            Ok(contents) => contents.into_iter().map(content).collect(),
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
            prompts: chat "q" -> None
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
        let read = preferences(&[path.clone().into()], true, &mut filter).unwrap();
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
        let taken: String =
            examples(&[path.clone().into()], &mut filter).unwrap().into_iter().map(|row| row.completion).collect();
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
            let read = examples(&[path.clone().into()], &mut RowFilter::default()).unwrap();
            let read: String = read.iter().map(|row| format!("{}{}", row.prompt, row.completion)).collect();
            assert_eq!(read, "pcqd", "{:?}", &bytes[..4]);
        }
    }

    #[test]
    fn sources_are_read_in_their_order_each_with_its_options() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let ours =
            at("a.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"c\", \"completion\": \"d\"}\n");
        let theirs = at("b.csv", "q,a\ne,f\ng,h\ni,j\n");
        let columns =
            [("prompt", "q"), ("completion", "{{ a }}!")].map(|(field, from)| (field.to_owned(), from.to_owned()));
        let mapped = ReadOptions { columns: columns.into(), take: Some(2), weight: 2.5, ..ReadOptions::default() };
        let joined = ReadOptions { join: " ".to_owned(), take: Some(3), ..ReadOptions::default() };
        let sources = [
            DataSource { files: vec![theirs], options: mapped },
            DataSource { files: vec![ours.clone(), ours.clone()], options: joined },
        ];
        let mut filter = RowFilter::default();
        let read = examples(&sources, &mut filter).unwrap();
        let shown = |row: &Example| format!("{}{} {} ×{}", row.prompt, row.completion, row.place, row.weight);
        let shown: Vec<String> = read.iter().map(shown).collect();
        let expected = [
            "ef! line 2 ×2.5",
            "gh! line 3 ×2.5",
            "a b line 1 of file 2 ×1",
            "c d line 2 of file 2 ×1",
            "a b line 1 of file 3 ×1",
        ];
        assert_eq!(shown, expected);
        assert_eq!(filter.rows, 5);
        let asked = prompts(&sources, &mut filter).unwrap();
        let ids: String = asked.iter().map(|question| question.id.as_str()).collect();
        assert_eq!(ids, "12345", "rows are numbered over all files");
        // A directory, as another stage may give it.
        let whole = examples(&[dir.path().to_owned().into()], &mut RowFilter::default());
        let error = format!("{:#}", whole.unwrap_err());
        assert!(error.contains("b.csv: line 2: no field `prompt`"), "{error}");
    }

    #[test]
    fn votes_are_preferences_that_weigh_as_the_people_who_cast_them() {
        let rows = r#"{"instruction": "i", "response1": "a", "response2": "b", "annotator1": 1, "annotator2": 2, "annotator3": 1}
{"instruction": "j", "response1": "a", "response2": "b", "annotator1": 0, "annotator2": 0}
"#;
        let (_dir, path) = file(rows.as_bytes());
        let mut filter = RowFilter::default();
        let sources = [path.clone().into()];
        let read = preferences(&sources, true, &mut filter).unwrap();
        let read: Vec<Preference> = read.into_iter().map(|known| known.with_pairs(10, |_| 0)).collect();
        assert_eq!((read.len(), filter.dropped), (1, 1));
        assert_eq!(read[0].pairs, [(0, 1), (0, 1), (1, 0)]);
        let taken: Vec<String> =
            examples(&sources, &mut filter).unwrap().into_iter().map(|row| row.completion).collect();
        assert_eq!(taken, ["a"]);
        let found = inspect(&sources, Some(DataRows::Examples), |_, _| Ok(1)).unwrap();
        assert_eq!((found.votes.all, found.votes.agreement(), found.idle), (5, Some(0.8), 1));
    }

    #[test]
    fn an_inspection_for_a_kind_refuses_what_its_stage_refuses() {
        let rows = "{\"id\": 1, \"prompt\": \"a\", \"x\": 1}\n{\"id\": 1, \"prompt\": \"b\"}\n{\"id\": 2, \"prompt\": \"b\"}\n";
        let (_dir, path) = file(rows.as_bytes());
        let sources = [path.clone().into()];
        let found = |wanted| inspect(&sources, wanted, |_, _| Ok(1)).unwrap();
        assert_eq!((found(None).bad, found(None).repeated_rows), (0, 1), "line 3 is line 2 under another id");
        assert_eq!(found(Some(DataRows::Examples)).bad, 3);
        assert_eq!(found(None).unread, BTreeMap::from([("x".to_owned(), 1)]));
        let refused = found(Some(DataRows::Prompts)).refused.unwrap();
        assert!(refused.contains("line 1 and line 2 have the same id `1`"), "{refused}");
        let shared = "{\"id\": \"x\", \"conversations\": [{\"from\": \"human\", \"value\": \"h\"}]}\n".repeat(2);
        let (_dir, path) = file(shared.as_bytes());
        let asked = prompts(&[path.into()], &mut RowFilter::default()).unwrap();
        let ids: Vec<&str> = asked.iter().map(|question| question.id.as_str()).collect();
        assert_eq!(ids, ["x/1", "x/2"], "pieces of one dialogue share its id");
        assert_eq!(asked[1].group.as_deref(), Some("x"));
    }

    #[test]
    fn rows_are_converted_as_a_stage_reads_them() {
        let rows = r#"{"system": "s", "question": "q", "chosen": "c", "rejected": "r", "margin": 2}
{"prompt": "p", "completion": ["x", "y"], "ranking": [2, 1]}
"#;
        let (_dir, path) = file(rows.as_bytes());
        let sources = [path.clone().into()];
        let written = |format| -> String {
            let rows = convert(&sources, format, &mut RowFilter::default()).unwrap();
            rows.iter().map(|row| format!("{row}\n")).collect()
        };
        let shown =
            [RowsToWrite::Pairs, RowsToWrite::Examples, RowsToWrite::Messages, RowsToWrite::Prompts].map(written);
        expect![[r#"
            {"chosen":"c","margin":2.0,"prompt":[{"content":"s","role":"system"},{"content":"q","role":"user"}],"rejected":"r"}
            {"chosen":"y","prompt":"p","rejected":"x"}

            {"completion":"c","prompt":[{"content":"s","role":"system"},{"content":"q","role":"user"}]}
            {"completion":"y","prompt":"p"}

            {"messages":[{"content":"s","role":"system"},{"content":"q","role":"user"},{"content":"c","role":"assistant"}]}
            {"messages":[{"content":"p","role":"user"},{"content":"y","role":"assistant"}]}

            {"id":"1","prompt":[{"content":"s","role":"system"},{"content":"q","role":"user"}]}
            {"id":"2","prompt":"p"}
        "#]].assert_eq(&shown.join("\n"));
        let (_dir, again) = file(written(RowsToWrite::Pairs).as_bytes());
        let read = |path: &std::path::Path| {
            let read = preferences(&[path.to_owned().into()], true, &mut RowFilter::default()).unwrap();
            let read = read.into_iter().map(|known| known.with_pairs(10, |_| 0));
            let sorted = |mut row: Preference| {
                row.answers.sort();
                (row.prompt, row.answers, row.pairs.len(), row.margins)
            };
            read.map(sorted).collect::<Vec<_>>()
        };
        assert_eq!(read(&path), read(&again));
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
        let ids: String = prompts(&[path.clone().into()], &mut filter).unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!((ids.as_str(), filter.rows, filter.dropped), ("14", 4, 2));
        let told = |may_skip| {
            let error = prompts(&[path.clone().into()], &mut RowFilter::new(may_skip)).unwrap_err();
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
            let error = prompts(&[path.clone().into()], &mut RowFilter::default()).unwrap_err();
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
            read FILE: the compressed data is cut; fetch or pack it again: unexpected end of file
            read FILE: not a JSON list of rows, at line 1, column 15: it is cut, as it ends within a value
            read FILE: it begins as UTF-16, but is not
            read FILE: the Parquet file is cut: it has 16 bytes, and its end, which says where its rows lie, is not there; fetch it again
            read FILE: row 1: Parquet error: Unexpected struct field type 15
            read FILE: it is compressed twice, or a compressed Parquet or Arrow file; unpack it
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
