use super::*;
use expect_test::expect;

/// A row as it was read, in words.
fn said(row: &str) -> String {
    let value: Value = serde_json::from_str(row).unwrap();
    let format = format(&value).map_or("unknown", |format| format.name);
    let content = |Content { prompt, completions }: Content| {
        let how = if matches!(prompt, Prompt::Chat(_)) { "chat" } else { "text" };
        format!("{format}: {how} {:?} -> {completions:?}\n", prompt.to_string())
    };
    match read(&value) {
        Ok(contents) => contents.into_iter().map(content).collect(),
        Err(error) => format!("{format}: {error:#}\n"),
    }
}

#[test]
fn rows_of_known_data_sets_are_read_by_their_own_fields() {
    let rows = [
        r#"{"chosen": "\n\nHuman: Q?\n\nAssistant: Sure.\n\nHuman: And?\n\nAssistant: Good.", "rejected": "\n\nHuman: Q?\n\nAssistant: Sure.\n\nHuman: And?\n\nAssistant: Bad."}"#,
        r#"{"chosen": "\n\nHuman: Q?\n\nAssistant: A.\n\nHuman: And?\n\nAssistant: Good.", "rejected": "\n\nHuman: Q?\n\nAssistant: B."}"#,
        r#"{"system": "s", "question": "q", "chosen": "c", "rejected": "r"}"#,
        r#"{"system": "s", "input": "q", "chosen": "c", "rejected": "r", "generations": []}"#,
        r#"{"ID": "i-1", "text": "海は？", "output": "はい。"}"#,
        r#"{"prompt": "p", "response": "r", "helpfulness": 4, "correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 1}"#,
        r#"{"prompt": "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc", "response": "r", "helpfulness": 3}"#,
        r#"{"prompt": "p", "response_1": "1", "response_2": "2", "preference_strength": -2}"#,
        r#"{"prompt": "p", "response_1": "1", "response_2": "2", "preference_strength": 0}"#,
        r#"{"context": [{"role": "user", "content": "p"}], "response1": "1", "response2": "2", "overall_preference": 3}"#,
        r#"{"prompt": "\n\nHuman: p\n\nAssistant: ", "answers": [{"answer": "A", "rank": 2.0}, {"answer": "B", "rank": 1.0}], "turns": 1}"#,
        r#"{"message_tree_id": "t", "prompt": {"text": "Why?", "role": "prompter", "replies": [{"text": "So.", "role": "assistant", "rank": 1, "replies": [{"text": "And?", "role": "prompter", "replies": [{"text": "Then.", "role": "assistant", "rank": null, "replies": []}]}]}, {"text": "No.", "role": "assistant", "rank": 0, "replies": []}, {"text": "x", "role": "assistant", "deleted": true, "replies": []}]}}"#,
        r#"{"message_id": "a", "parent_id": null, "text": "Why?", "role": "prompter"}"#,
        r#"{"question": "1+1?", "answer": "2\n"}"#,
        r#"{"post_id": 1, "history": "h", "human_ref_A": "A", "human_ref_B": "B", "labels": 0, "score_A": 1, "score_B": 2}"#,
        r#"{"instruction": "i", "completions": [{"response": "A", "overall_score": 8.0}, {"response": "B", "overall_score": 3}]}"#,
        r#"{"prompt": "p", "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}], "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}], "messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}], "score_chosen": 8.0}"#,
        r#"{"instruction": "i", "input": "", "response1": "1", "response2": "2", "label_0": "2", "label_1": "2", "label_2": "0"}"#,
        r#"{"prompt": "p", "response_0": "0", "response_1": "1", "better_response_id": 1}"#,
        r#"{"winner": "model_b", "conversation_a": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "A"}], "conversation_b": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "B"}]}"#,
        r#"{"instruction": "i", "completion": "c"}"#,
        r#"{"prompt": "p", "response": "r"}"#,
        r#"{"conversations": [{"from": "human", "value": "h"}, {"from": "chatgpt", "value": "g"}]}"#,
        r#"{"messages": "[{\"role\": \"user\", \"content\": \"u\"}, {\"role\": \"assistant\", \"content\": \"a\"}]"}"#,
        r#"{"prompt": "h", "messages": [{"role": "user", "content": "h"}, {"role": "assistant", "content": "a"}]}"#,
        r#"{"prompt": "p", "completion": "c", "rating": "4"}"#,
    ];
    expect![[r#"
        HH transcripts: chat "user: Q?\nassistant: Sure.\nuser: And?" -> Pair { chosen: "Good.", rejected: "Bad." }
        HH transcripts: chat "Q?" -> Pair { chosen: "A.\n\nHuman: And?\n\nAssistant: Good.", rejected: "B." }
        chosen/rejected: chat "system: s\nuser: q" -> Pair { chosen: "c", rejected: "r" }
        chosen/rejected: chat "system: s\nuser: q" -> Pair { chosen: "c", rejected: "r" }
        ichikara: chat "海は？" -> One("はい。")
        HelpSteer: chat "p" -> Rated([("r", 4.0)])
        HelpSteer: chat "user: a\nassistant: b\nuser: c" -> Rated([("r", 3.0)])
        HelpSteer2 preferences: chat "p" -> Pair { chosen: "1", rejected: "2" }
        HelpSteer2 preferences: chat "p" -> Ranked([("1", 1), ("2", 1)])
        HelpSteer3 preferences: chat "p" -> Pair { chosen: "2", rejected: "1" }
        Nectar: chat "p" -> Ranked([("A", 2), ("B", 1)])
        OASST trees: chat "Why?" -> Ranked([("So.", 1), ("No.", 0)])
        OASST trees: chat "user: Why?\nassistant: So.\nuser: And?" -> One("Then.")
        OASST messages: a message of an OASST tree is no row by itself: take the file of trees (`…trees.jsonl.gz`)
        question/answer: chat "1+1?" -> One("2\n")
        SHP: chat "h" -> Pair { chosen: "B", rejected: "A" }
        UltraFeedback: chat "i" -> Rated([("A", 8.0), ("B", 3.0)])
        chosen/rejected: chat "p" -> Pair { chosen: "c", rejected: "r" }
        votes: chat "i" -> Voted { answers: ["1", "2"], votes: [0, 2], ties: 1 }
        PKU-SafeRLHF: chat "p" -> Pair { chosen: "1", rejected: "0" }
        arena battles: chat "q" -> Pair { chosen: "B", rejected: "A" }
        alpaca: chat "i" -> One("c")
        prompt/completion: text "p" -> One("r")
        sharegpt: chat "h" -> One("g")
        messages: chat "u" -> One("a")
        messages: chat "h" -> One("a")
        ratings: text "p" -> Rated([("c", 4.0)])
    "#]]
    .assert_eq(&rows.map(said).concat());
}

#[test]
fn all_of_a_question_is_read_or_the_row_is_refused() {
    let rows = [
        r#"{"instruction": "When?", "context": "In May.", "response": "May.", "category": "qa"}"#,
        r#"{"system": "s", "prompt": "p", "chosen": "c", "rejected": "r"}"#,
        r#"{"system": "s", "prompt": "p", "completion": "c"}"#,
        r#"{"prompt": "p", "context": "more", "completion": "c"}"#,
        r#"{"prompt": "p", "input": "more"}"#,
        r#"{"prompt": [{"role": "user", "content": "p"}], "system": "s"}"#,
        r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}], "system": "other"}"#,
        r#"{"messages": [{"role": "user", "content": "p"}], "context": "more"}"#,
        r#"{"messages": [{"role": "user", "content": "p"}], "tools": [{"name": "f"}]}"#,
        r#"{"messages": [{"role": "user", "content": "p"}], "prompt": "another"}"#,
        r#"{"prompt": "p", "question": "another", "completion": "c"}"#,
        r#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "tool_calls": [{"id": 1}]}]}"#,
        r#"{"messages": [{"role": "narrator", "content": "u"}]}"#,
    ];
    expect![[r#"
        alpaca: chat "When?\n\nIn May." -> One("May.")
        chosen/rejected: chat "system: s\nuser: p" -> Pair { chosen: "c", rejected: "r" }
        prompt/completion: chat "system: s\nuser: p" -> One("c")
        prompt/completion: text "p\n\nmore" -> One("c")
        prompts: text "p\n\nmore" -> None
        prompts: chat "system: s\nuser: p" -> None
        messages: field `system` is another system text than that of the dialogue
        messages: field `context` belongs to the question, and rows of the format messages have no place for it; `columns` beside the source says what is read: `{prompt: …}`
        messages: field `tools` belongs to the question, and rows of the format messages have no place for it; `columns` beside the source says what is read: `{prompt: …}`
        messages: field `prompt` belongs to the question, and rows of the format messages have no place for it; `columns` beside the source says what is read: `{prompt: …}`
        prompt/completion: field `question` belongs to the question, and rows of the format prompt/completion have no place for it; `columns` beside the source says what is read: `{prompt: …}`
        messages: field `messages`, turn 2: calls of tools are not supported, only text
        messages: field `messages`, turn 1: `narrator` is no role; there are `system`, `user`, `assistant`, `tool`, and other names for them
    "#]].assert_eq(&rows.map(said).concat());
}

#[test]
fn fields_that_nobody_reads_are_named() {
    let row = serde_json::json!({
        "id": 1, "instruction": "i", "output": "o", "category": "qa", "gone": null,
        "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "weight": 0}],
    });
    assert_eq!(unread(&row), ["category", "messages[].weight", "output"]);
}

#[test]
fn every_format_reads_what_it_says_and_its_name_is_its_own() {
    let names: std::collections::BTreeSet<&str> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(names.len(), FORMATS.len());
    for format in FORMATS {
        assert!(format.may_repeat.iter().all(|field| format.reads.contains(field)), "{}", format.name);
    }
}
