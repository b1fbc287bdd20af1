//! Rows of any format as rows of one format.

use super::{DataSource, Documents, Example, LabelledAnswer, Preference, Question, RowFilter};
use crate::dialogue::{ASSISTANT, Message, Prompt, USER};
use anyhow::Result;
use serde_json::{Value, json};

/// The format of the rows that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsToWrite {
    Pairs,
    Examples,
    Messages,
    Labels,
    Prompts,
    Text,
}

impl RowsToWrite {
    /// Each under its name.
    pub const ALL: [(&str, RowsToWrite); 6] = [
        ("pairs", RowsToWrite::Pairs),
        ("examples", RowsToWrite::Examples),
        ("messages", RowsToWrite::Messages),
        ("labels", RowsToWrite::Labels),
        ("prompts", RowsToWrite::Prompts),
        ("text", RowsToWrite::Text),
    ];

    pub fn of(name: &str) -> Option<RowsToWrite> {
        RowsToWrite::ALL.iter().find(|(known, _)| *known == name).map(|(_, rows)| *rows)
    }
}

/// The rows, read as a stage reads them, in the format.
///
/// # Errors
/// Those of the stage.
pub fn convert(sources: &[DataSource], format: RowsToWrite, filter: &mut RowFilter) -> Result<Vec<Value>> {
    Ok(match format {
        RowsToWrite::Pairs => {
            let judged = super::preferences(sources, true, filter)?.into_iter();
            judged.flat_map(|known| pairs(&known.with_pairs(usize::MAX, |_| 0))).collect()
        }
        RowsToWrite::Examples => super::examples(sources, filter)?.iter().map(example).collect(),
        RowsToWrite::Messages => super::examples(sources, filter)?.into_iter().map(dialogue).collect(),
        RowsToWrite::Labels => super::labelled(sources, filter)?.iter().map(labelled).collect(),
        RowsToWrite::Prompts => super::prompts(sources, filter)?.iter().map(question).collect(),
        RowsToWrite::Text => {
            let Documents { texts, .. } = super::texts(sources, filter)?;
            texts.into_iter().map(|text| json!({"text": text})).collect()
        }
    })
}

fn prompt(prompt: &Prompt) -> Value {
    match prompt {
        Prompt::Text(text) => json!(text),
        Prompt::Chat(turns) => json!(turns),
    }
}

fn pairs(preference: &Preference) -> Vec<Value> {
    let pair = |((better, worse), margin): (&(usize, usize), &Option<f64>)| {
        let [chosen, rejected] = [better, worse].map(|place| &preference.answers[*place]);
        let mut row = json!({"prompt": prompt(&preference.prompt), "chosen": chosen, "rejected": rejected});
        if preference.group != preference.id {
            row["prompt_group"] = json!(preference.group);
        }
        if let Some(margin) = margin {
            row["margin"] = json!(margin);
        }
        row
    };
    preference.pairs.iter().zip(&preference.margins).map(pair).collect()
}

fn example(example: &Example) -> Value {
    json!({"prompt": prompt(&example.prompt), "completion": example.completion})
}

fn dialogue(example: Example) -> Value {
    let mut turns = match example.prompt {
        Prompt::Text(text) => vec![Message { role: USER.to_owned(), content: text }],
        Prompt::Chat(turns) => turns,
    };
    turns.push(Message { role: ASSISTANT.to_owned(), content: example.completion });
    json!({"messages": turns})
}

fn labelled(labelled: &LabelledAnswer) -> Value {
    let LabelledAnswer { id, group, answer, is_desirable, .. } = labelled;
    let mut row = json!({"id": id, "prompt": prompt(&labelled.prompt), "completion": answer, "label": is_desirable});
    if group != id {
        row["prompt_group"] = json!(group);
    }
    row
}

fn question(question: &Question) -> Value {
    let mut row = json!({"id": question.id, "prompt": prompt(&question.prompt)});
    if let Some(group) = &question.group {
        row["prompt_group"] = json!(group);
    }
    if let Some(subset) = &question.subset {
        row["subset"] = json!(subset);
    }
    row
}
