//! Prompts with the answers that people are to judge.

use super::filter::RowFilter;
use super::read::{SourceRow, rows};
use super::row::{self, Completions, Content};
use super::{DataSource, names};
use crate::dialogue::Prompt;
use crate::unreadable::Reading;
use anyhow::{Result, anyhow};
use std::collections::BTreeMap;
use std::path::Path;

/// A prompt with its answers, and how they were judged where its row says so.
#[derive(Clone, Debug, PartialEq)]
pub struct AnsweredQuestion {
    /// The field `id`, else the row's number from 1.
    pub id: String,
    /// Whether the row has an `id`, by which other files may know it.
    pub has_written_id: bool,
    /// The field `prompt_group`.
    pub group: Option<String>,
    /// The field `subset`.
    pub subset: Option<String>,
    pub prompt: Prompt,
    pub answers: Vec<String>,
    /// A rank for each answer, the smaller the better; equal ranks tie. `None` where nobody has compared them.
    pub ranks: Option<Vec<f64>>,
}

/// Prompts with their answers. Rows with one answer to the same prompt are one question, so that two models are compared
/// by naming what each said; any other row is a question by itself.
///
/// # Errors
/// A file cannot be read, has more bad rows than may be left out, or no row has an answer.
pub fn answered(sources: &[DataSource], filter: &mut RowFilter) -> Result<Vec<AnsweredQuestion>> {
    let read = |row: &SourceRow| {
        let (group, subset) = (row::group(row.value)?, row::label(row.value, "subset")?);
        let is_judged = row::format(row.value).is_none_or(|format| format.name != row::TO_COMPARE);
        let contents = row.contents()?;
        let of = contents.len();
        let question = |(index, content): (usize, Content)| {
            let (answers, ranks, is_single) = said(content.completions);
            let ranks = ranks.filter(|_| is_judged);
            let (id, prompt) = (row.id_of(index, of), content.prompt);
            let (group, subset) = (group.clone(), subset.clone());
            let has_written_id = row::has_id(row.value);
            (AnsweredQuestion { id, has_written_id, group, subset, prompt, answers, ranks }, is_single)
        };
        Ok(contents.into_iter().enumerate().map(question).collect::<Vec<_>>())
    };
    let mut all: Vec<AnsweredQuestion> = Vec::new();
    let mut places: BTreeMap<Prompt, usize> = BTreeMap::new();
    rows(sources, filter, read, |_, _, some| {
        for (question, is_single) in some {
            if let (true, Some(place)) = (is_single, places.get(&question.prompt)) {
                let known = &mut all[*place];
                known.answers.extend(question.answers);
                known.ranks = known.ranks.take().zip(question.ranks).map(|(known, more)| [known, more].concat());
                continue;
            }
            if is_single {
                places.insert(question.prompt.clone(), all.len());
            }
            if !question.answers.is_empty() {
                all.push(question);
            }
        }
        Ok(())
    })?;
    if all.is_empty() {
        return Err(anyhow!("no row has an answer")).reading(Path::new(&names(sources)));
    }
    Ok(all)
}

/// The answers, their ranks, and whether there is but one, which may be compared with those of other rows.
fn said(completions: Completions) -> (Vec<String>, Option<Vec<f64>>, bool) {
    match completions {
        Completions::None => (Vec::new(), None, true),
        Completions::One(answer) => (vec![answer], None, true),
        Completions::Labelled(answer, is_desirable) => {
            (vec![answer], Some(vec![f64::from(u8::from(!is_desirable))]), true)
        }
        Completions::Pair { chosen, rejected } => (vec![chosen, rejected], Some(vec![1.0, 2.0]), false),
        Completions::Voted { answers, votes, .. } => {
            (answers.into(), Some(votes.iter().map(|votes| -(*votes as f64)).collect()), false)
        }
        Completions::Ranked(ranked) => {
            let (answers, ranks) = ranked.into_iter().map(|(answer, rank)| (answer, rank as f64)).unzip();
            (answers, Some(ranks), false)
        }
        Completions::Rated(rated) => {
            let is_single = rated.len() == 1;
            let (answers, ranks) = rated.into_iter().map(|(answer, rating)| (answer, -rating)).unzip();
            (answers, Some(ranks), is_single)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<AnsweredQuestion> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, text).unwrap();
        answered(&[path.into()], &mut RowFilter::default()).unwrap()
    }

    #[test]
    fn answers_of_two_models_to_one_prompt_are_one_question() {
        let found = read(concat!(
            r#"{"id": "a", "prompt": "p", "completion": "1"}"#,
            "\n",
            r#"{"prompt": "q", "answers": ["x", "y", "z"]}"#,
            "\n",
            r#"{"prompt": "p", "chosen": "good", "rejected": "bad"}"#,
            "\n",
            r#"{"id": "b", "prompt": "p", "completion": "2"}"#,
        ));
        let said: Vec<_> =
            found.iter().map(|known| (&*known.id, known.answers.join(" "), known.ranks.clone())).collect();
        assert_eq!(
            said,
            [
                ("a", "1 2".to_owned(), None),
                ("2", "x y z".to_owned(), None),
                ("3", "good bad".to_owned(), Some(vec![1.0, 2.0])),
            ]
        );
    }

    #[test]
    fn ratings_of_several_rows_are_ranks_of_one_question() {
        let found = read(
            "{\"prompt\": \"p\", \"completion\": \"a\", \"rating\": 2}\n{\"prompt\": \"p\", \"completion\": \"b\", \"rating\": 5}",
        );
        assert_eq!((found.len(), found[0].ranks.clone()), (1, Some(vec![-2.0, -5.0])));
    }
}
