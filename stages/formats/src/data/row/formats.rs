//! The table of row formats. A format is one row here; the first one that a row's fields fit reads it.

use super::value::{first_of, has, is_list, is_text};
use super::{Completions, TO_COMPARE, answer};
use super::{Content, answered_by_text, conversation, exports, one, pair, prompt, question_and_answer, sets};
use super::{turns, value};
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A format of rows.
pub struct RowFormat {
    pub name: &'static str,
    /// Fields of which a row of this format has at least one, by which most formats are passed over quickly.
    pub by: &'static [&'static str],
    /// Where such rows come from, and the fields they have.
    pub doc: &'static str,
    /// Whether a row is of this format: by the names of its fields, and the sorts of their values.
    pub is: fn(&Value) -> bool,
    /// The fields that are read, beside `id`, `prompt_group` and `subset`.
    pub reads: &'static [&'static str],
    /// Those of them that another one may make needless. They are refused where they say something else.
    pub may_repeat: &'static [&'static str],
    /// Whether rows of one `id` are pieces of one dialogue, so that the id names no row.
    pub shares_ids: bool,
    pub read: fn(&Value) -> Result<Vec<Content>>,
}

/// The fields of which [`prompt`] makes a question, and more.
macro_rules! with_question {
    ($($more:literal),*) => {
        &["prompt", "messages", "conversations", "question", "instruction", "input", "context", "system",
          "system_prompt", "history", $($more),*]
    };
}

const ASKED: &[&str] = with_question!();

/// Sources of the fields: the cards of the data sets on the Hugging Face hub, and the README of PandaLM.
pub const FORMATS: &[RowFormat] = &[
    RowFormat {
        name: "HH transcripts",
        by: &["chosen"],
        doc: "Anthropic/hh-rlhf: `chosen`, `rejected`, each a whole text `\\n\\nHuman: … \\n\\nAssistant: …`; the turns \
              before the last answer are the prompt",
        is: |row| {
            let is_transcript = |field| row.get(field).and_then(Value::as_str).is_some_and(turns::is_transcript);
            is_transcript("chosen") && is_transcript("rejected") && first_of(row, &super::ASKING).is_none()
        },
        reads: &["chosen", "rejected", "system", "system_prompt", "margin"],
        may_repeat: &[],
        shares_ids: false,
        read: sets::transcripts,
    },
    RowFormat {
        name: "good and bad answers",
        by: &["chosen"],
        doc: "allenai/reward-bench-2: `prompt`, `chosen: […]`, `rejected: […]`, texts; those of a side tie; `subset`",
        is: sets::is_good_and_bad,
        reads: with_question!("chosen", "rejected"),
        may_repeat: ASKED,
        shares_ids: false,
        read: sets::good_and_bad,
    },
    RowFormat {
        name: "chosen/rejected",
        by: &["chosen", "rejected"],
        doc: "`chosen`, `rejected`: texts, turns or whole dialogues, and the question: `prompt`, a dialogue, `question` \
              (Intel/orca_dpo_pairs, with `system`), `instruction` or `input`; HuggingFaceH4/ultrafeedback_binarized; \
              `margin`",
        is: |row| has(row, "chosen") || has(row, "rejected"),
        reads: with_question!("chosen", "rejected", "margin"),
        may_repeat: ASKED,
        shares_ids: false,
        read: pair,
    },
    RowFormat {
        name: "rankings",
        by: &["ranking"],
        doc: "`prompt`, `completion: […]`, `ranking: […]`: the smaller, the better",
        is: |row| has(row, "ranking"),
        reads: with_question!("completion", "ranking"),
        may_repeat: ASKED,
        shares_ids: false,
        read: sets::rankings,
    },
    RowFormat {
        name: "KTO labels",
        by: &["label"],
        doc: "`label`: true or false, and `prompt` with `completion`, or `messages`",
        is: |row| has(row, "label") && (has(row, "completion") || has(row, "messages") || has(row, "conversations")),
        reads: with_question!("completion", "label"),
        may_repeat: ASKED,
        shares_ids: false,
        read: |row| {
            let label = value::truth(row, "label")?;
            if has(row, "completion") {
                return one(prompt(row)?, Completions::Labelled(answer(row, "completion")?, label));
            }
            let mut contents = conversation(row)?;
            for content in &mut contents {
                let Completions::One(answer) = &content.completions else {
                    bail!("the dialogue does not end with the assistant, whose answer is labelled");
                };
                content.completions = Completions::Labelled(answer.clone(), label);
            }
            Ok(contents)
        },
    },
    RowFormat {
        name: "labelled answers",
        by: &["label"],
        doc: "a table, or an export of doccano: a question (`prompt`, …, else `text`), answers (`answer1`, `answer2`, …, `response…`, \
              `completion…`, also in `meta`), and `label`, the name of the better answer, `tie`, or an order, \
              `answer2 > answer1 = answer3`; of doccano's list each one is a judgement",
        is: exports::has_labelled_answers,
        reads: exports::LABELLED,
        may_repeat: ASKED,
        shares_ids: false,
        read: exports::labelled_answers,
    },
    RowFormat {
        name: "ratings",
        by: &RATINGS,
        doc: "`prompt`, `completion`, `rating` or `score`: one of each, or lists of them",
        is: |row| {
            let rating = first_of(row, &RATINGS);
            has(row, "completion") && rating.is_some_and(|of| is_list(row, of) == is_list(row, "completion"))
        },
        reads: with_question!("completion", "rating", "ratings", "score", "scores"),
        may_repeat: ASKED,
        shares_ids: false,
        read: |row| {
            let prompt = prompt(row)?;
            let field = first_of(row, &RATINGS).context("no field `rating`")?;
            if !is_list(row, "completion") {
                return one(prompt, Completions::Rated(vec![(answer(row, "completion")?, value::number(row, field)?)]));
            }
            let answers = value::texts(row, "completion")?;
            let ratings: Vec<f64> = value::list(row, field, Value::as_f64, "numbers")?;
            if answers.len() != ratings.len() {
                bail!("`completion` has {} answers, `{field}` has {} ratings", answers.len(), ratings.len());
            }
            one(prompt, Completions::Rated(answers.into_iter().zip(ratings).collect()))
        },
    },
    RowFormat {
        name: "HelpSteer",
        by: &["helpfulness"],
        doc: "nvidia/HelpSteer and HelpSteer2: `prompt` (of several turns with `<extra_id_1>`), `response`, `helpfulness` \
              (0 to 4), by which the answers to one prompt are compared",
        is: |row| ["prompt", "response", "helpfulness"].iter().all(|field| has(row, field)),
        reads: &["prompt", "response", "helpfulness"],
        may_repeat: &[],
        shares_ids: false,
        read: sets::helpsteer,
    },
    RowFormat {
        name: "HelpSteer2 preferences",
        by: &["preference_strength"],
        doc: "nvidia/HelpSteer2, preference: `prompt`, `response_1`, `response_2`, `preference_strength` (-3: the first is \
              much better, 3: the second)",
        is: |row| ["response_1", "response_2", "preference_strength"].iter().all(|field| has(row, field)),
        reads: &["prompt", "response_1", "response_2", "preference_strength"],
        may_repeat: &[],
        shares_ids: false,
        read: |row| sets::strength(row, turns::helpsteer(&value::filled(row, "prompt")?), "preference_strength"),
    },
    RowFormat {
        name: "HelpSteer3 preferences",
        by: &["overall_preference"],
        doc: "nvidia/HelpSteer3, preference: `context` (turns), `response1`, `response2`, `overall_preference` (-3 to 3)",
        is: |row| ["context", "response1", "response2", "overall_preference"].iter().all(|field| has(row, field)),
        reads: &["context", "response1", "response2", "overall_preference"],
        may_repeat: &[],
        shares_ids: false,
        read: |row| sets::strength(row, turns::messages(row, "context")?, "overall_preference"),
    },
    RowFormat {
        name: "votes",
        by: &["response1"],
        doc: "PandaLM: `instruction`, `input`, `response1`, `response2`, and a vote of each person, `label_0`, … or \
              `annotator1`, …: 1, 2, or 0 for neither. Each vote is a preference, so that two against one weigh so",
        is: |row| has(row, "response1") && has(row, "response2") && sets::votes_of(row).next().is_some(),
        reads: sets::VOTED,
        may_repeat: &[],
        shares_ids: false,
        read: sets::votes,
    },
    RowFormat {
        name: TO_COMPARE,
        by: &["answers"],
        doc: "`prompt`, `answers: […]`, texts that nobody has compared yet: for label",
        is: |row| row.get("answers").and_then(|answers| answers.get(0)).is_some_and(Value::is_string),
        reads: with_question!("answers"),
        may_repeat: ASKED,
        shares_ids: false,
        // As a tie of all, which prefers nothing.
        read: |row| {
            let answers = value::texts(row, "answers")?;
            one(prompt(row)?, Completions::Ranked(answers.into_iter().map(|answer| (answer, 1)).collect()))
        },
    },
    RowFormat {
        name: "Argilla",
        by: &["responses"],
        doc: "an export of Argilla 2: `fields` with a question and answers (`response…`, `answer…`, `completion…`), `responses: \
              {question: [{value}]}`, the name of the better answer or `[{value, rank}]`; each response is a judgement",
        is: |row| ["fields", "responses"].iter().all(|field| row.get(field).is_some_and(Value::is_object)),
        reads: &["fields", "responses"],
        may_repeat: &[],
        shares_ids: false,
        read: exports::argilla,
    },
    RowFormat {
        name: "Label Studio",
        by: &["annotations"],
        doc: "an export of Label Studio: `data` with a question and two answers (`answer1`, `text1`, …), `annotations: [{result: \
              [{value: {selected}}]}]`, `left` or `right`; each annotation is a judgement",
        is: |row| row.get("data").is_some_and(Value::is_object) && is_list(row, "annotations"),
        reads: &["data", "annotations"],
        may_repeat: &[],
        shares_ids: false,
        read: exports::label_studio,
    },
    RowFormat {
        name: "Nectar",
        by: &["answers"],
        doc: "berkeley-nest/Nectar: `prompt` (`\\n\\nHuman: … \\n\\nAssistant: `), `answers: [{answer, rank}]`",
        is: |row| {
            let first = row.get("answers").and_then(|answers| answers.get(0));
            has(row, "prompt") && first.is_some_and(|first| has(first, "answer") && has(first, "rank"))
        },
        reads: &["prompt", "answers"],
        may_repeat: &[],
        shares_ids: false,
        read: sets::nectar,
    },
    RowFormat {
        name: "UltraFeedback",
        by: &["completions"],
        doc: "openbmb/UltraFeedback: `instruction`, `completions: [{response, fine-grained_score, overall_score}]`; rated \
              by the first of both that all have",
        is: |row| has(row, "instruction") && is_list(row, "completions"),
        reads: &["instruction", "completions"],
        may_repeat: &[],
        shares_ids: false,
        read: sets::ultrafeedback,
    },
    RowFormat {
        name: "SHP",
        by: &["human_ref_A"],
        doc: "stanfordnlp/SHP: `history`, `human_ref_A`, `human_ref_B`, `labels` (1: A is preferred, 0: B)",
        is: |row| ["history", "human_ref_A", "human_ref_B", "labels"].iter().all(|field| has(row, field)),
        reads: &["history", "human_ref_A", "human_ref_B", "labels"],
        may_repeat: &[],
        shares_ids: false,
        read: |row| {
            let first = if value::truth(row, "labels")? { 0 } else { 1 };
            let prompt = vec![turns::user(value::filled(row, "history")?)];
            sets::one_of_two(row, prompt, ["human_ref_A", "human_ref_B"], first)
        },
    },
    RowFormat {
        name: "PKU-SafeRLHF",
        by: &["better_response_id"],
        doc: "PKU-Alignment/PKU-SafeRLHF: `prompt`, `response_0`, `response_1`, `better_response_id`",
        is: |row| ["response_0", "response_1", "better_response_id"].iter().all(|field| has(row, field)),
        reads: &["prompt", "response_0", "response_1", "better_response_id"],
        may_repeat: &[],
        shares_ids: false,
        read: |row| {
            let second = value::truth(row, "better_response_id")?;
            let prompt = vec![turns::user(value::filled(row, "prompt")?)];
            sets::one_of_two(row, prompt, ["response_0", "response_1"], usize::from(second))
        },
    },
    RowFormat {
        name: "arena battles",
        by: &["conversation_a"],
        doc: "lmsys/chatbot_arena_conversations: `conversation_a`, `conversation_b` (turns), `winner` (`model_a`, `model_b`, \
              or a tie)",
        is: |row| ["conversation_a", "conversation_b", "winner"].iter().all(|field| has(row, field)),
        reads: &["conversation_a", "conversation_b", "winner"],
        may_repeat: &[],
        shares_ids: false,
        read: sets::arena,
    },
    RowFormat {
        name: "OASST trees",
        by: &["prompt"],
        doc: "OpenAssistant/oasst, trees: `prompt: {text, role, replies: […]}`; every message of a prompter is a question, \
              its replies are answers, by `rank`",
        is: |row| row.get("prompt").is_some_and(|prompt| prompt.is_object() && has(prompt, "replies")),
        reads: &["prompt"],
        may_repeat: &[],
        shares_ids: false,
        read: sets::trees,
    },
    RowFormat {
        name: "OASST messages",
        by: &["message_id"],
        doc: "single messages of trees, which are refused",
        is: |row| ["message_id", "text", "role"].iter().all(|field| has(row, field)) && row.get("parent_id").is_some(),
        reads: &[],
        may_repeat: &[],
        shares_ids: false,
        read: |_| bail!("a message of an OASST tree is no row by itself: take the file of trees (`…trees.jsonl.gz`)"),
    },
    RowFormat {
        name: "messages",
        by: &["messages"],
        doc: "`messages: [{role, content}]`; the last answer is the completion",
        is: |row| has(row, "messages"),
        reads: &["messages", "system", "system_prompt", "prompt", "question", "instruction"],
        may_repeat: &["prompt", "question", "instruction"],
        shares_ids: false,
        read: conversation,
    },
    RowFormat {
        name: "sharegpt",
        by: &["conversations"],
        doc: "`conversations: [{from, value}]`, `system`",
        is: |row| has(row, "conversations"),
        reads: &["conversations", "system", "system_prompt", "prompt", "question", "instruction"],
        may_repeat: &["prompt", "question", "instruction"],
        shares_ids: true,
        read: conversation,
    },
    RowFormat {
        name: "alpaca",
        by: &["instruction"],
        doc: "`instruction`, `input` or `context` (databricks/databricks-dolly-15k), `output`, `response` or `completion`, \
              `system`, `history`",
        is: |row| has(row, "instruction"),
        reads: with_question!("output", "response", "completion"),
        may_repeat: &["prompt", "question"],
        shares_ids: false,
        read: question_and_answer,
    },
    RowFormat {
        name: "ichikara",
        by: &["text"],
        doc: "ichikara-instruction: `text`, `output`",
        is: |row| is_text(row, "text") && is_text(row, "output") && first_of(row, &super::ASKING).is_none(),
        reads: &["text", "output"],
        may_repeat: &[],
        shares_ids: false,
        read: |row| {
            let prompt = crate::dialogue::Prompt::Chat(vec![turns::user(value::filled(row, "text")?)]);
            one(prompt, Completions::One(value::filled(row, "output")?))
        },
    },
    RowFormat {
        name: "question/answer",
        by: &["question", "input"],
        doc: "`question` (openai/gsm8k) or `input`, with `answer`, `response`, `output` or `completion`",
        is: |row| !has(row, "prompt") && first_of(row, &["question", "input"]).is_some() && answered_by_text(row),
        reads: &[
            "question",
            "input",
            "context",
            "system",
            "system_prompt",
            "history",
            "completion",
            "response",
            "output",
            "answer",
        ],
        may_repeat: &[],
        shares_ids: false,
        read: question_and_answer,
    },
    RowFormat {
        name: "prompt/completion",
        by: &["completion", "prompt"],
        doc: "`prompt`, `completion` (or `response`, `output`, `answer`)",
        is: |row| has(row, "completion") || (has(row, "prompt") && answered_by_text(row)),
        reads: &[
            "prompt",
            "input",
            "context",
            "system",
            "system_prompt",
            "history",
            "completion",
            "response",
            "output",
            "answer",
        ],
        may_repeat: &[],
        shares_ids: false,
        read: question_and_answer,
    },
    RowFormat {
        name: "prompts",
        by: &["prompt", "question"],
        doc: "`prompt` (or `question`) alone",
        is: |row| has(row, "prompt") || has(row, "question"),
        reads: &["prompt", "question", "input", "context", "system", "system_prompt", "history"],
        may_repeat: &["question"],
        shares_ids: false,
        read: |row| one(prompt(row)?, Completions::None),
    },
    RowFormat {
        name: "text",
        by: &["text"],
        doc: "`text`: a document, for pretrain",
        is: |row| has(row, "text"),
        reads: &["text"],
        may_repeat: &[],
        shares_ids: false,
        read: |_| bail!("no field `prompt`"),
    },
];

const RATINGS: [&str; 4] = ["rating", "ratings", "score", "scores"];
