//! Answers behind their prompts, as tokens. Prompt and answer are tokenised as one text, as the model will see it.
//!
//! Where the answer begins: the tokens of a prompt are those it has alone, as when it is asked. Mostly the text as a whole
//! begins with them, and the rest are the answer's. Where a token would lie across the border, or the border changes the
//! tokens before it, the prompt keeps its own, and the answer gets those that it has in the middle of a text: without the
//! space that some tokenizers put before a text. Decoding goes the same way back.

use super::Tokenizer;
use crate::chat::{self, DialogueText};
use crate::dialogue::{Message, Prompt};
use anyhow::Result;
use std::ops::Range;

/// A prompt as it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenPrompt {
    pub ids: Vec<u32>,
    /// The text that was tokenised: the prompt, or what a chat template made of it.
    text: String,
    is_chat: bool,
}

/// An answer behind its prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenAnswer {
    pub ids: Vec<u32>,
    /// Tokens of the text that a chat template puts after an answer: the last of `ids`, but for a token that lies across.
    pub tail: Vec<u32>,
}

/// A whole dialogue.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenDialogue {
    pub ids: Vec<u32>,
    /// The answers among `ids`, each with what the template puts after it.
    pub answers: Vec<Range<usize>>,
    /// The template itself marks what is to be learned.
    pub is_marked: bool,
    /// As in [`TokenAnswer`].
    pub tail: Vec<u32>,
}

impl Tokenizer {
    /// Ids of a prompt, ready to be answered. A dialogue goes through the chat template, which adds its own special
    /// tokens.
    ///
    /// # Errors
    /// It is a dialogue and there is no chat template, or the template refuses it.
    pub fn prompt(&self, prompt: &Prompt) -> Result<TokenPrompt> {
        let (text, is_chat) = match prompt {
            Prompt::Text(text) => (text.clone(), false),
            Prompt::Chat(messages) => (self.template()?.render(messages, true)?, true),
        };
        Ok(TokenPrompt { ids: self.whole(&text, is_chat)?, text, is_chat })
    }

    /// Ids of an answer behind its prompt, with the token by which a chat template ends it, and what it puts after that.
    ///
    /// # Errors
    /// As [`Tokenizer::prompt`]; or the template opens something in its question that the answer does not begin with.
    pub fn answer(&self, prompt: &Prompt, asked: &TokenPrompt, answer: &str) -> Result<TokenAnswer> {
        match prompt {
            Prompt::Text(_) => Ok(TokenAnswer { ids: self.behind(asked, answer)?, tail: Vec::new() }),
            Prompt::Chat(messages) => {
                let answer = self.template()?.answer(messages, &asked.text, answer)?;
                let tail = self.text(&answer.text[answer.text.len() - answer.tail..])?;
                Ok(TokenAnswer { ids: self.behind(asked, &answer.text)?, tail })
            }
        }
    }

    /// Ids of a dialogue that ends with an answer, as the chat template writes it.
    ///
    /// # Errors
    /// There is no template, it refuses the dialogue, or the tokenizer fails.
    pub fn rendered(&self, messages: &[Message], answer: &str) -> Result<Vec<u32>> {
        self.whole(&self.template()?.render(&chat::with_answer(messages, answer), false)?, true)
    }

    /// Ids of a dialogue that ends with an answer, and the places of all its answers. Each begins by the rule of the last
    /// one.
    ///
    /// # Errors
    /// As [`Tokenizer::answer`].
    pub fn dialogue(&self, messages: &[Message], answer: &str) -> Result<TokenDialogue> {
        let messages = chat::with_answer(messages, answer);
        let template = self.template()?;
        let DialogueText { text, answers: parts, is_marked } = template.answers(&messages)?;
        let mut so_far = TokenPrompt { ids: Vec::new(), text: String::new(), is_chat: true };
        let mut answers = Vec::with_capacity(parts.len());
        let borders = parts.iter().flat_map(|part| [part.start, part.end]).chain([text.len()]);
        for (number, border) in borders.enumerate() {
            let more = self.behind(&so_far, &text[so_far.text.len()..border])?;
            if number % 2 == 1 {
                answers.push(so_far.ids.len()..so_far.ids.len() + more.len());
            }
            so_far.ids.extend(more);
            so_far.text.truncate(0);
            so_far.text.push_str(&text[..border]);
        }
        let tail = if is_marked { "" } else { template.ending().unwrap_or_default() };
        Ok(TokenDialogue { ids: so_far.ids, answers, is_marked, tail: self.text(tail)? })
    }

    /// The text of an answer behind its prompt, without special tokens: a space at its beginning stays, unless the
    /// tokenizer itself put it there.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn decode_answer(&self, prompt: &[u32], answer: &[u32]) -> Result<String> {
        let begins =
            prompt == self.front || (self.restarts && prompt.last().is_some_and(|id| self.special.contains(id)));
        if let (false, Some((ids, letter))) = (begins, &self.anchor) {
            let whole = self.decode(&[ids, answer].concat())?;
            if let Some(text) = whole.strip_prefix(letter) {
                return Ok(text.to_owned());
            }
        }
        self.decode(answer)
    }

    /// The text of a prompt and of an answer to it, with all special tokens, as the model sees them.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn shown(&self, prompt: &[u32], answer: &[u32]) -> Result<[String; 2]> {
        let text = |ids: &[u32]| self.decode_with(ids, false);
        let before = text(prompt)?;
        let whole = text(&[prompt, answer].concat())?;
        // Some decoders begin a text otherwise than they go on.
        let answer = match whole.strip_prefix(&before) {
            Some(answer) => answer.to_owned(),
            None => text(answer)?,
        };
        Ok([before, answer])
    }

    /// The first special token that the chat template puts after an answer: the one that ends it.
    pub fn template_end(&self) -> Option<u32> {
        let tail = self.text(self.chat_template()?.ending()?).ok()?;
        tail.into_iter().find(|id| self.special.contains(id))
    }

    /// Learns how the tokenizer begins a text: alone, behind another one, and behind a special token.
    pub(super) fn find_boundaries(&mut self) -> Result<()> {
        const LETTER: &str = "a";
        let alone = self.text(LETTER)?;
        if !alone.is_empty() && self.decode(&alone)? == LETTER {
            self.anchor = Some((alone.clone(), LETTER.to_owned()));
        }
        let inside = self.continued(LETTER)?;
        let tokens: Vec<String> = self.special.iter().map(|id| self.token(*id)).collect();
        for token in tokens {
            let both = self.text(&format!("{token}{LETTER}"))?;
            if both.len() > 1 && self.special.contains(&both[0]) {
                self.restarts = both[1..] == alone && alone != inside;
                break;
            }
        }
        Ok(())
    }

    /// Ids of a text with which a row begins. A text that is no dialogue begins as the tokenizer begins one, never twice.
    fn whole(&self, text: &str, is_chat: bool) -> Result<Vec<u32>> {
        let ids = self.text(text)?;
        let has_front = is_chat || self.front.is_empty() || ids.starts_with(&self.front);
        Ok(if has_front { ids } else { [&self.front[..], &ids].concat() })
    }

    /// Ids of a text behind another one, by the rule above.
    fn behind(&self, before: &TokenPrompt, text: &str) -> Result<Vec<u32>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let whole = self.whole(&format!("{}{text}", before.text), before.is_chat)?;
        match whole.strip_prefix(&before.ids[..]) {
            Some(ids) => Ok(ids.to_vec()),
            None => self.continued(text),
        }
    }

    /// Ids of a text as it has them in the middle of another one.
    fn continued(&self, text: &str) -> Result<Vec<u32>> {
        for before in ["\n", "a", "."] {
            let (alone, whole) = (self.text(before)?, self.text(&format!("{before}{text}"))?);
            if let Some(ids) = whole.strip_prefix(&alone[..]) {
                return Ok(ids.to_vec());
            }
        }
        self.text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Template;
    use crate::dialogue::{ASSISTANT, USER};
    use std::collections::BTreeMap;
    use std::path::Path;

    /// `unigram` puts a space before a text, as those of LLaMA and llm-jp do; `bytes` does not.
    fn tokenizer(name: &str) -> Tokenizer {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/tokenizers").join(name);
        Tokenizer::load(&directory).unwrap()
    }

    fn with_template(name: &str, template: &str) -> Tokenizer {
        let special = [("eos_token".to_owned(), "</s>".to_owned())];
        let template = Template::new(template, BTreeMap::from(special)).unwrap();
        tokenizer(name).with_template(Some(template))
    }

    fn text(text: &str) -> Prompt {
        Prompt::Text(text.to_owned())
    }

    fn turn(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }

    /// The tokens of a row, its answer's place, and what a reader of the answer sees.
    fn row(tokenizer: &Tokenizer, prompt: &Prompt, answer: &str) -> (Vec<u32>, usize, String) {
        let asked = tokenizer.prompt(prompt).unwrap();
        let ids = tokenizer.answer(prompt, &asked, answer).unwrap().ids;
        let seen = tokenizer.decode_answer(&asked.ids, &ids).unwrap();
        ([&asked.ids[..], &ids].concat(), asked.ids.len(), seen)
    }

    const SENTENCES: [(&str, &str); 9] = [
        ("Once upon a", " time, there was a little girl named Lily."),
        ("Once upon a ", "time"),
        ("Once upon a time", ", there was"),
        ("Once upon a ti", "me, there"),
        ("質問：富士山の高さは？\n答え：", "3776メートルです。"),
        ("吾輩は猫", "である。名前はまだ無い。"),
        ("聞き手：\n", " 😀 はい"),
        ("fn main() {\n", "    println!(\"{}\", 42);\n}"),
        ("", "An answer to nothing."),
    ];

    #[test]
    fn a_row_is_the_text_of_prompt_and_answer_and_an_answer_is_read_as_it_was_written() {
        for name in ["unigram", "bytes"] {
            let tokenizer = tokenizer(name);
            for (prompt, answer) in SENTENCES {
                let (ids, _, seen) = row(&tokenizer, &text(prompt), answer);
                assert_eq!(tokenizer.decode(&ids).unwrap(), format!("{prompt}{answer}"), "{name}: {prompt:?}");
                assert_eq!(seen, answer, "{name}: {prompt:?}");
            }
        }
    }

    #[test]
    fn the_prompt_has_its_own_tokens_whatever_follows_it() {
        for name in ["unigram", "bytes"] {
            let tokenizer = tokenizer(name);
            for (prompt, answer) in SENTENCES {
                let (ids, start, _) = row(&tokenizer, &text(prompt), answer);
                assert_eq!(ids[..start], tokenizer.prompt(&text(prompt)).unwrap().ids[..], "{name}: {prompt:?}");
                // Where the text as a whole begins with them, its tokens are the row's.
                let whole = tokenizer.prompt(&text(&format!("{prompt}{answer}"))).unwrap().ids;
                if whole.starts_with(&ids[..start]) {
                    assert_eq!(ids, whole, "{name}: {prompt:?}");
                }
            }
        }
    }

    #[test]
    fn a_question_of_a_template_that_ends_in_a_space_is_followed_by_no_other_one() {
        let template = "{% for m in messages %}{% if m.role == 'user' %}{{ 'Q: ' + m.content + ' A: ' }}{% else %}\
                        {{ m.content + eos_token }}{% endif %}{% endfor %}";
        for name in ["unigram", "bytes"] {
            let tokenizer = with_template(name, template);
            let (ids, _, seen) = row(&tokenizer, &Prompt::Chat(vec![turn(USER, "More.")]), "They had fun.");
            assert_eq!(tokenizer.decode(&ids).unwrap(), "Q: More. A: They had fun.", "{name}");
            assert_eq!(seen, "They had fun.", "{name}");
        }
    }

    /// The space that a tokenizer puts behind a special token is its own, and not the model's.
    #[test]
    fn an_answer_behind_a_special_token_is_read_as_it_was_written() {
        for name in ["unigram", "bytes"] {
            let tokenizer = with_template(name, "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}");
            for answer in ["Hello.", " Hello."] {
                let (_, _, seen) = row(&tokenizer, &Prompt::Chat(vec![turn(USER, "Hi.")]), answer);
                assert_eq!(seen, answer, "{name}");
            }
        }
    }

    const THOUGHTS: &str = "{% for m in messages %}{{ '[' + m.role + ']' }}{% if m.role == 'assistant' %}\
                            {{ m.content.split('</think>')[-1] + eos_token }}{% else %}{{ m.content }}{% endif %}\
                            {% endfor %}{% if add_generation_prompt %}{{ '[assistant]<think>\\n' }}{% endif %}";

    #[test]
    fn a_thought_that_the_question_opens_is_learned_and_its_lack_is_refused() {
        let tokenizer = with_template("bytes", THOUGHTS);
        let asked = Prompt::Chat(vec![turn(USER, "1+1?")]);
        let (ids, start, _) = row(&tokenizer, &asked, "<think>\neasy\n</think>\n\n2");
        let skipped = |ids: &[u32]| tokenizer.inner.decode(ids, false).unwrap();
        assert_eq!(skipped(&ids[..start]), "[user]1+1?[assistant]<think>\n");
        assert_eq!(skipped(&ids[start..]), "easy\n</think>\n\n2</s>");
        let prompt = tokenizer.prompt(&asked).unwrap();
        let error = tokenizer.answer(&asked, &prompt, "2").unwrap_err().to_string();
        assert!(
            error.contains("\"<think>\"") && error.contains("`template_args: {enable_thinking: false}`"),
            "{error}"
        );
    }

    /// Where the template leaves a part of the answer out, the answer is learned as it was written.
    #[test]
    fn a_thought_that_the_template_leaves_out_is_learned() {
        let tokenizer = with_template("bytes", &THOUGHTS.replace("<think>\\n", ""));
        let (ids, start, _) = row(&tokenizer, &Prompt::Chat(vec![turn(USER, "1+1?")]), "<think>\neasy\n</think>\n\n2");
        assert_eq!(tokenizer.inner.decode(&ids[start..], false).unwrap(), "<think>\neasy\n</think>\n\n2</s>");
    }

    const CHAT: &str = "{% for m in messages %}{{ '[' + m.role + ']' }}{% if m.role == 'assistant' %}\
                        {{ m.content + eos_token + '\\n' }}{% else %}{{ m.content + '\\n' }}{% endif %}{% endfor %}\
                        {% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}";

    fn learned(tokenizer: &Tokenizer) -> Vec<String> {
        let messages = [turn("system", "s"), turn(USER, "one?"), turn(ASSISTANT, "1"), turn(USER, "two?")];
        let all = tokenizer.dialogue(&messages, "2").unwrap();
        all.answers.iter().map(|answer| tokenizer.inner.decode(&all.ids[answer.clone()], false).unwrap()).collect()
    }

    #[test]
    fn every_answer_of_a_dialogue_has_its_place_by_marks_or_by_what_it_adds() {
        assert_eq!(learned(&with_template("bytes", CHAT)), ["1</s>\n", "2</s>\n"]);
        let marked = CHAT.replace(
            "{{ m.content + eos_token + '\\n' }}",
            "{% generation %}{{ m.content }}{% endgeneration %}{{ '.' }}",
        );
        assert_eq!(learned(&with_template("bytes", &marked)), ["1", "2"]);
        let last_alone = CHAT.replace("m.content + eos_token", "(m.content if loop.last else '') + eos_token");
        let messages = [turn(USER, "one?"), turn(ASSISTANT, "1"), turn(USER, "two?")];
        let error = with_template("bytes", &last_alone).dialogue(&messages, "2").unwrap_err().to_string();
        assert!(error.contains("turn 2") && error.contains("`learn: last`"), "{error}");
    }

    #[test]
    fn the_end_of_a_template_is_its_first_special_token_after_an_answer() {
        assert_eq!(with_template("bytes", CHAT).template_end(), Some(1002));
        assert_eq!(with_template("bytes", &CHAT.replace("eos_token + ", "")).template_end(), None);
        assert_eq!(tokenizer("bytes").template_end(), None);
    }

    #[test]
    fn arguments_of_a_template_become_its_defaults() {
        let source =
            "{{ messages[0].content }}{% if enable_thinking is not defined or enable_thinking %} think{% endif %}";
        let template = Template::new(source, BTreeMap::new()).unwrap();
        let off = BTreeMap::from([("enable_thinking".to_owned(), serde_json::Value::from(false))]);
        let other = Template::new(&template.source_with(&off).unwrap(), BTreeMap::new()).unwrap();
        let messages = [turn(USER, "a")];
        assert_eq!(template.render(&messages, true).unwrap(), "a think");
        assert_eq!(other.render(&messages, true).unwrap(), "a");
        assert_eq!(
            other.render_with(&messages[..], true, &BTreeMap::from([("enable_thinking", true)])).unwrap(),
            "a think"
        );
        let unknown = BTreeMap::from([("enable_thinkin".to_owned(), serde_json::Value::from(false))]);
        assert!(template.source_with(&unknown).unwrap_err().to_string().contains("`enable_thinkin`"));
    }
}
