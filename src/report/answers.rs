//! Answers of one model, alone or beside those of another to the same prompts: what a person reads before deciding.

use super::format::number;
use super::sheet::{Grid, Header, Sheet, Tone, Width, cell, plain};
use super::visible::visible;
use crate::gate::{self, Items, PairResult};
use crate::plan::ArtifactName;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A prompt with the answer of a model and, where it is compared, that of another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswerRow {
    pub id: String,
    pub prompt: String,
    pub answer: String,
    /// Null without a score, or if it is not finite.
    pub score: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub against: Option<OtherAnswer>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OtherAnswer {
    #[serde(rename = "against")]
    pub answer: String,
    #[serde(rename = "against_score")]
    pub score: Option<f64>,
    /// The score less that of the other; null where one is missing.
    pub gain: Option<f64>,
    pub is_changed: bool,
    /// `win`, `loss`, `tie_changed`, `tie_unchanged`; null where a score is missing.
    pub result: Option<&'static str>,
}

/// The choice among the answers, and their order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnswerChoice {
    /// Only answers whose text differs from the other's.
    pub is_changed_only: bool,
    /// Only this many, those with the greatest loss first; without another model, those with the lowest score.
    pub worst: Option<usize>,
    /// Only this many, those with the greatest gain first; without another model, those with the highest score.
    pub best: Option<usize>,
}

/// The answers of a model in the order of its table, paired by id with those of another.
///
/// # Errors
/// The tables hold other items.
pub fn rows(mine: &Items, other: Option<&Items>) -> Result<Vec<AnswerRow>, String> {
    let partners: Vec<Option<usize>> = match other {
        None => vec![None; mine.rows.len()],
        Some(other) => gate::pair(mine, other)?.into_iter().map(|(_, theirs)| Some(theirs)).collect(),
    };
    Ok(partners.into_iter().enumerate().map(|(at, partner)| row(mine, at, other.zip(partner))).collect())
}

/// One answer, with that of another model at its place in its own table.
pub fn row(mine: &Items, at: usize, other: Option<(&Items, usize)>) -> AnswerRow {
    let score = |items: &Items, row: usize| items.number(SCORE, row).ok();
    let text = |items: &Items, row: usize| items.rows[row].text.clone().unwrap_or_default();
    let against = |(other, theirs): (&Items, usize)| {
        let (answer, is_changed) = (text(other, theirs), mine.rows[at].text != other.rows[theirs].text);
        let scores = score(mine, at).zip(score(other, theirs));
        let result = match scores {
            None if is_changed => None,
            scores => {
                Some(scores.map_or(PairResult::TieUnchanged, |(one, other)| PairResult::of(is_changed, one, other)))
            }
        };
        let gain = scores.map(|(one, other)| one - other);
        OtherAnswer { answer, score: score(other, theirs), gain, is_changed, result: result.map(PairResult::name) }
    };
    AnswerRow {
        id: mine.rows[at].id.clone(),
        prompt: mine.rows[at].prompt.clone(),
        answer: text(mine, at),
        score: score(mine, at),
        against: other.map(against),
    }
}

impl AnswerRow {
    /// The score less that of the other model.
    pub fn gain(&self) -> Option<f64> {
        self.against.as_ref()?.gain
    }
}

/// The field of items by which models are compared.
const SCORE: &str = "score";

/// The rows that are asked for, in the order that is asked for.
pub fn chosen(mut rows: Vec<AnswerRow>, choice: &AnswerChoice) -> Vec<AnswerRow> {
    rows.retain(|row| !choice.is_changed_only || row.against.as_ref().is_none_or(|other| other.is_changed));
    // Rows without the number come last in either order.
    let measure = |row: &AnswerRow| row.against.as_ref().map_or(row.score, |other| other.gain);
    let mut by = |sign: f64, count: usize| {
        rows.sort_by(|one, other| match (measure(one), measure(other)) {
            (Some(one), Some(other)) => (sign * one).total_cmp(&(sign * other)),
            (one, other) => other.is_some().cmp(&one.is_some()),
        });
        rows.truncate(count);
    };
    if let Some(count) = choice.worst {
        by(1.0, count);
    } else if let Some(count) = choice.best {
        by(-1.0, count);
    }
    rows
}

/// A table for a terminal: the prompt, and the answers side by side.
pub fn table(rows: &[AnswerRow], model: &ArtifactName, other: Option<&ArtifactName>) -> Sheet {
    let text = |title: String| Header { width: Width::Share, ..Header::text(title) };
    let has_scores = rows.iter().any(|row| row.score.is_some());
    let mut headers = vec![Header::name("id"), text("prompt".to_owned())];
    for name in other.into_iter().chain([model]) {
        headers.push(text(name.to_string()));
        headers.extend(has_scores.then(|| Header::number("score")));
    }
    headers.extend((has_scores && other.is_some()).then(|| Header::number("gain")));
    let mut grid = Grid::new(headers);
    for row in rows {
        let mut cells = vec![cell(visible(&row.id), Tone::Quiet), cell(shown(&row.prompt), Tone::Quiet)];
        let mut say = |answer: &str, score: Option<f64>| {
            cells.push(plain(shown(answer)));
            cells.extend(has_scores.then(|| plain(score.map_or("–".to_owned(), |score| number(Some(score))))));
        };
        if let Some(other) = &row.against {
            say(&other.answer, other.score);
        }
        say(&row.answer, row.score);
        if let Some(against) = row.against.as_ref().filter(|_| has_scores) {
            cells.push(gain(against));
        }
        grid.add(cells);
    }
    grid.into()
}

fn gain(against: &OtherAnswer) -> super::sheet::Cell {
    let Some(gain) = against.gain else { return plain("–") };
    let tone = match gain {
        _ if !against.is_changed => Tone::Quiet,
        gain if gain > 0.0 => Tone::Good,
        gain if gain < 0.0 => Tone::Bad,
        _ => Tone::Plain,
    };
    let sign = if gain > 0.0 { "+" } else { "" };
    cell(format!("{sign}{}", number(Some(gain))), tone)
}

/// The rows as CSV (RFC 4180), texts as they are.
///
/// # Errors
/// None that a writer to memory has.
pub fn csv(rows: &[AnswerRow]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let is_compared = rows.iter().any(|row| row.against.is_some());
    let own = ["id", "prompt", "answer", "score"];
    let compared = ["against", "against_score", "gain", "is_changed", "result"];
    writer.write_record(own.iter().chain(compared.iter().filter(|_| is_compared)))?;
    for row in rows {
        let fields = match serde_json::to_value(row)? {
            Value::Object(fields) => fields,
            other => Map::from_iter([("answer".to_owned(), other)]),
        };
        let text = |name: &&str| match fields.get(*name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        writer.write_record(own.iter().chain(compared.iter().filter(|_| is_compared)).map(text))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// The rows as JSON Lines.
pub fn jsonl(rows: &[AnswerRow]) -> String {
    rows.iter().map(|row| format!("{}\n", json!(row))).collect()
}

/// An answer without space around its lines; an empty one is shown as such.
pub fn shown(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
    if lines.is_empty() { "(empty)".to_owned() } else { visible(&lines.join("\n")).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::page::{Page, print};
    use super::*;
    use expect_test::expect;

    fn items(rows: &[(&str, &str, Option<f64>)]) -> Items {
        let line = |(id, text, score): &(&str, &str, Option<f64>)| {
            json!({"id": id, "prompt": format!("prompt {id}"), "text": text, "score": score}).to_string()
        };
        Items::read(&rows.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap()
    }

    fn compared() -> Vec<AnswerRow> {
        let other =
            items(&[("a", "one", Some(1.0)), ("b", "two", Some(0.5)), ("c", "three", None), ("d", "x", Some(0.0))]);
        let mine = items(&[
            ("d", "\u{1b}[31mred\u{202e}", Some(-2.0)),
            ("c", "other", Some(1.0)),
            ("b", "two", Some(0.5)),
            ("a", "uno, \"dos\"", Some(3.0)),
        ]);
        rows(&mine, Some(&other)).unwrap()
    }

    #[test]
    fn answers_stand_beside_those_to_the_same_prompts() {
        let print = |rows: &[AnswerRow]| {
            let (model, other) = (ArtifactName::open("ppo_1"), ArtifactName::open("sft"));
            print(&[table(rows, &model, Some(&other))], Page { width: 90, has_color: false, breaks_words: true })
        };
        expect![[r#"
            id  prompt    sft    score  ppo_1                 score  gain
            ───────────────────────────────────────────────────────────────
            d   prompt d  x          0  ⟨ESC⟩[31mred⟨U+202E⟩     -2    -2
            c   prompt c  three      –  other                     1     –
            b   prompt b  two    0.500  two                   0.500     0
            a   prompt a  one        1  uno, "dos"                3    +2
        "#]]
        .assert_eq(&print(&compared()));
    }

    #[test]
    fn the_worst_come_first_and_what_has_no_number_last() {
        let ids = |choice: AnswerChoice| {
            let rows = chosen(compared(), &choice);
            rows.iter().map(|row| row.id.clone()).collect::<String>()
        };
        let all = AnswerChoice::default();
        let found = [
            all,
            AnswerChoice { is_changed_only: true, ..all },
            AnswerChoice { worst: Some(9), ..all },
            AnswerChoice { worst: Some(1), ..all },
            AnswerChoice { best: Some(2), is_changed_only: true, ..all },
        ];
        expect!["dcba dca dbac d ad"].assert_eq(&found.map(ids).join(" "));
        let alone = rows(&items(&[("a", "", Some(1.0)), ("b", "", None), ("c", "", Some(-1.0))]), None).unwrap();
        let worst = chosen(alone, &AnswerChoice { worst: Some(3), ..all });
        assert_eq!(worst.iter().map(|row| row.id.as_str()).collect::<String>(), "cab");
    }

    #[test]
    fn other_programs_get_the_texts_as_they_are() {
        let rows = chosen(compared(), &AnswerChoice { best: Some(1), ..AnswerChoice::default() });
        expect![[r#"
            id,prompt,answer,score,against,against_score,gain,is_changed,result
            a,prompt a,"uno, ""dos""",3.0,one,1.0,2.0,true,win
        "#]]
        .assert_eq(&csv(&rows).unwrap());
        expect![[r#"
            {"against":"one","against_score":1.0,"answer":"uno, \"dos\"","gain":2.0,"id":"a","is_changed":true,"prompt":"prompt a","result":"win","score":3.0}
        "#]]
        .assert_eq(&jsonl(&rows));
    }
}
