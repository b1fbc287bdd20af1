//! The turns of a dialogue in the text of its chat template: where an answer begins behind its question, and what the
//! template puts after it.

use super::Template;
use crate::dialogue::{ASSISTANT, Message, SYSTEM, USER};
use anyhow::{Context, Result, bail};
use std::ops::Range;

/// An answer as it stands behind the text that asks for it.
#[derive(Debug, PartialEq)]
pub struct AnswerText {
    /// The answer, and what the template puts after it.
    pub text: String,
    /// The length of the latter, in bytes.
    pub tail: usize,
}

/// A whole dialogue.
#[derive(Debug, PartialEq)]
pub struct DialogueText {
    pub text: String,
    pub answers: Vec<Range<usize>>,
    /// The template itself says where they are, with exactly what is to be learned.
    pub is_marked: bool,
}

/// Stands for an answer, to see what a template puts after one. It belongs to the private use area of Unicode, so that no
/// template treats it in a special way.
const PROBE: &str = "\u{e123}";

impl Template {
    /// The answer behind `asked`, which is what [`Template::render`] made of the messages.
    ///
    /// A template may render a finished answer in another way than the text that asks for one: those of reasoning models
    /// open a thought (`<think>`) there, and leave thoughts out of a dialogue. Then the answer is put behind the question
    /// as it was written, since that is what the model has to say there.
    ///
    /// # Errors
    /// The template refuses the dialogue; or it opens something in the question with which the answer does not begin.
    pub fn answer(&self, messages: &[Message], asked: &str, answer: &str) -> Result<AnswerText> {
        let whole = self.render(&with_answer(messages, answer), false)?;
        if let Some(rest) = whole.strip_prefix(asked)
            && holds(rest, answer)
        {
            let tail = match self.ending() {
                Some(ending) if rest.ends_with(ending) => ending.len(),
                _ => Some(self.tail(messages)?).filter(|tail| rest.ends_with(tail)).map_or(0, |tail| tail.len()),
            };
            return Ok(AnswerText { text: rest.to_owned(), tail });
        }
        let common = asked.char_indices().zip(whole.chars()).find(|((_, one), other)| one != other);
        let common = common.map_or(asked.len().min(whole.len()), |((at, _), _)| at);
        let opened = asked[common..].trim();
        let rest = match answer.trim_start().strip_prefix(opened) {
            Some(_) if opened.is_empty() => answer,
            // The question has already the space after what it opens.
            Some(rest) if asked.ends_with(char::is_whitespace) => rest.trim_start(),
            Some(rest) => rest,
            None => bail!(
                "the chat template ends a question with {opened:?}, and this answer does not begin so: what would be learned \
                 is not what is asked for later; begin the answers so, or turn the template's switch, where it has one (`template_args: \
                 {{enable_thinking: false}}`, or `true`), or give another `chat_template`"
            ),
        };
        let tail = self.tail(messages)?;
        Ok(AnswerText { text: format!("{rest}{tail}"), tail: tail.len() })
    }

    /// The text that the template puts after an answer to these messages.
    fn tail(&self, messages: &[Message]) -> Result<String> {
        let whole = self.render(&with_answer(messages, PROBE), false)?;
        let (_, tail) = whole.rsplit_once(PROBE).context("the chat template does not show the answer")?;
        Ok(tail.to_owned())
    }

    /// The text that the template puts after an answer to a plain question; `None` if it refuses that.
    pub fn ending(&self) -> Option<&str> {
        let question = Message { role: USER.to_owned(), content: "?".to_owned() };
        self.ending.get_or_init(|| self.tail(&[question]).ok()).as_deref()
    }

    /// The words in brackets that the template puts around messages, `[INST]` or `<|im_end|>`, whether they are tokens or not;
    /// none where it refuses a plain dialogue.
    pub fn marks(&self) -> &[String] {
        self.marks.get_or_init(|| {
            let message = |role: &str| Message { role: role.to_owned(), content: PROBE.to_owned() };
            let dialogue = [SYSTEM, USER, ASSISTANT, USER].map(message);
            let rendered = [&dialogue[..], &dialogue[1..]].map(|messages| self.render(messages, true));
            let mut marks: Vec<String> = rendered
                .iter()
                .flatten()
                .flat_map(|text| text.split(PROBE))
                .flat_map(bracketed)
                .map(str::to_owned)
                .collect();
            marks.sort();
            marks.dedup();
            marks
        })
    }

    /// The text of a whole dialogue, which ends with an answer, and the parts of it that are answers, each with what the
    /// template puts after it: those that the template marks by `{% generation %}`, else what is added by each answer.
    ///
    /// # Errors
    /// The template refuses the dialogue, or it has no such marks and renders an answer in another way when more follows.
    pub fn answers(&self, messages: &[Message]) -> Result<DialogueText> {
        let (whole, marked) = self.render_marked(messages)?;
        if !marked.is_empty() {
            return Ok(DialogueText { text: whole, answers: marked, is_marked: true });
        }
        let mut parts = Vec::new();
        for (at, _) in messages.iter().enumerate().filter(|(_, message)| message.role == ASSISTANT) {
            let (asked, told) = (self.render(&messages[..at], true)?, self.render(&messages[..=at], false)?);
            if !told.starts_with(&asked) || !whole.starts_with(&told) {
                bail!(
                    "the chat template renders turn {} in another way when it is asked for, or when more follows, so not all \
                     answers can be learned together; take `learn: last`, or a `chat_template` that marks them by \
                     {{% generation %}}",
                    at + 1
                );
            }
            parts.push(asked.len()..told.len());
        }
        Ok(DialogueText { text: whole, answers: parts, is_marked: false })
    }
}

/// The words in angle or square brackets of a text.
fn bracketed(text: &str) -> Vec<&str> {
    const BRACKETS: [char; 4] = ['<', '>', '[', ']'];
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['<', '[']) {
        rest = &rest[start..];
        let opened = rest.len() - rest.trim_start_matches(['<', '[']).len();
        let inside = rest[opened..].find(|letter: char| BRACKETS.contains(&letter) || letter.is_whitespace());
        let word = opened + inside.unwrap_or(rest.len() - opened);
        let end = word + rest[word..].len() - rest[word..].trim_start_matches(['>', ']']).len();
        if word > opened && end > word {
            found.push(&rest[..end]);
        }
        rest = &rest[end.max(1)..];
    }
    found
}

/// The dialogue with this answer at its end.
pub fn with_answer(messages: &[Message], answer: &str) -> Vec<Message> {
    let answer = Message { role: ASSISTANT.to_owned(), content: answer.to_owned() };
    messages.iter().cloned().chain([answer]).collect()
}

/// Whether a text holds another one, whatever became of its spaces.
fn holds(text: &str, part: &str) -> bool {
    let part = part.trim();
    text.contains(part) || {
        let letters = |text: &str| text.split_whitespace().collect::<String>();
        letters(text).contains(&letters(part))
    }
}
