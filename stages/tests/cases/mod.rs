//! Losses that say which tokens are learned, by small models on rows whose right tokens are known. The numbers were
//! computed without this project, from the tokens that should be learned.

mod data;

use crate::kinds::{Ran, run};
use crate::skip;
use serde_json::{Value, json};
use stages::io::DeviceChoice;
use stages::model::export;
use std::fs;
use std::path::{Path, PathBuf};

fn sft(model: &Path, data: &Path, more: &Value) -> Ran {
    let mut with = json!({"lr": 1e-12, "heldout": 0.5, "batch": 1});
    with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run("sft", DeviceChoice::Cpu, &[("model", model), ("data", data)], &with).unwrap()
}

/// One of two rows is held out, whichever was drawn: both losses together are those of the rows.
#[track_caller]
fn has_losses(ran: &Ran, right: [f64; 2], precision: f64) {
    let metrics = ran.metrics();
    let mut losses = ["loss", "heldout_loss"].map(|name| metrics[name].as_f64().unwrap());
    let mut right = right;
    losses.sort_by(f64::total_cmp);
    right.sort_by(f64::total_cmp);
    for (loss, right) in losses.iter().zip(right) {
        assert!((loss - right).abs() < precision, "{losses:?} are not {right:?}");
    }
    assert_eq!(metrics["data_truncated"], 0.0);
}

fn case(name: &str) -> Option<PathBuf> {
    skip::shared(&format!("cases/{name}"))
}

#[test]
fn prompt_and_answer_are_one_text() {
    let (Some(case), Some(model)) = (case("01-boundary-space"), skip::shared("models/stories260K")) else { return };
    has_losses(&sft(&model, &case.join("data.jsonl"), &json!({})), [0.989, 1.452], 6e-4);
    let template = "{% for m in messages %}{% if m.role == 'user' %}{{ 'Q: ' + m.content + ' A: ' }}{% else %}\
                    {{ m.content + eos_token }}{% endif %}{% endfor %}";
    let chat = sft(&model, &case.join("chat.jsonl"), &json!({"chat_template": template}));
    has_losses(&chat, [3.699_642, 5.057_653], 2e-5);
}

#[test]
fn an_answer_ends_by_the_token_of_its_template() {
    let Some(case) = case("02-stop-token-chatml") else { return };
    for more in [json!({}), json!({"stop_token": 4})] {
        has_losses(&sft(&case.join("model"), &case.join("data.jsonl"), &more), [5.865_558, 6.014_543], 2e-5);
    }
}

#[test]
fn an_end_token_inside_an_answer_is_learned_as_any_other() {
    let Some(case) = case("08-special-token-in-answer") else { return };
    has_losses(&sft(&case.join("model"), &case.join("data.jsonl"), &json!({})), [6.476_853, 6.433_912], 2e-5);
}

#[test]
fn an_end_that_the_data_has_is_not_put_again() {
    let Some(case) = case("12-double-end") else { return };
    has_losses(&sft(&case.join("model"), &case.join("data.jsonl"), &json!({})), [5.988_837, 5.602_083], 2e-5);
}

/// `transformers` reads a reward at the last token that is no padding.
#[test]
fn no_answer_ends_with_the_padding_of_a_reward_model() {
    let Some(case) = case("09-reward-pad-is-eos") else { return };
    let inputs = [("model", &*case.join("model")), ("data", &*case.join("pairs.jsonl"))];
    let with = json!({"lr": 3e-3, "epochs": 1.0, "heldout": 0.2, "batch": 8});
    let ran = run("rm", DeviceChoice::Cpu, &inputs, &with).unwrap();
    let place = tempfile::tempdir().unwrap();
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let merged = place.path().join("merged");
    assert!(export::export(&ran.artifact(), &merged, true, None).unwrap().is_padded);
    for model in [ran.artifact().join("model"), merged] {
        assert_eq!(read(model.join("config.json"))["eos_token_id"], 2);
        assert_eq!(read(model.join("config.json"))["pad_token_id"], 1);
        assert_eq!(read(model.join("tokenizer_config.json"))["pad_token"], "<s>");
    }
}

/// Rows for tests of what is too long: of bytes, so that letters are tokens.
fn rows(directory: &Path, rows: &[Value]) -> PathBuf {
    let path = directory.join("rows.jsonl");
    fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    path
}

#[test]
fn long_rows_lose_their_end_their_beginning_or_are_left_out_and_are_counted() {
    let Some(case) = case("12-double-end") else { return };
    let place = tempfile::tempdir().unwrap();
    let row = |prompt: usize, answer: usize| json!({"prompt": "p".repeat(prompt), "completion": "a".repeat(answer)});
    let data = rows(place.path(), &[row(4, 4), row(5, 5), row(6, 30), row(30, 4), row(7, 4)]);
    let counts = |truncate: &str| {
        let ran = sft(&case.join("model"), &data, &json!({"max_tokens": 20, "truncate": truncate}));
        let metrics = ran.metrics();
        (["data_rows", "data_dropped", "data_truncated"].map(|name| metrics[name].as_f64().unwrap()), ran.remarks())
    };
    let (end, said) = counts("end");
    assert_eq!(end, [5.0, 1.0, 1.0]);
    assert!(said.len() == 1, "one remark a file: {said:?}");
    assert!(said[0].starts_with("`data`: rows are left out; too long: 1 (the first: line 4: "), "{said:?}");
    assert!(said[0].ends_with("; rows are cut to the longest length: 1 (the first: line 3)"), "{said:?}");
    for truncate in ["start", "middle"] {
        let told = "`data`: rows are cut to the longest length: 2 (the first: line 3)".to_owned();
        assert_eq!(counts(truncate), ([5.0, 0.0, 2.0], vec![told]), "{truncate}");
    }
    assert_eq!(counts("drop").0, [5.0, 2.0, 0.0]);
}

#[test]
fn pairs_that_a_cut_makes_equal_are_left_out_and_counted() {
    let Some(case) = case("12-double-end") else { return };
    let place = tempfile::tempdir().unwrap();
    let row = |number: usize, chosen: &str, rejected: &str| json!({"prompt": format!("p{number}"), "chosen": chosen, "rejected": rejected});
    let same = "the same beginning of both";
    let data = rows(
        place.path(),
        &[row(1, "a", "b"), row(2, "c", "d"), row(3, &format!("{same} 1"), &format!("{same} 2")), row(4, "e", "f")],
    );
    let inputs = [("model", &*case.join("model")), ("data", &*data)];
    let with = json!({"max_tokens": 20, "heldout": 0.4, "batch": 2});
    let ran = run("rm", DeviceChoice::Cpu, &inputs, &with).unwrap();
    assert_eq!(ran.metrics()["data_dropped"], 1.0);
    assert!(ran.remarks().iter().any(|said| said.contains("1 pairs are left out")), "{:?}", ran.remarks());
}

/// Thousands of answers to one prompt make millions of pairs: some are drawn, and no more rows than `micro_batch` go
/// through the model at once, which changes no loss.
#[test]
fn many_answers_to_one_prompt_are_compared_in_drawn_pairs_and_small_pieces() {
    let Some(case) = case("12-double-end") else { return };
    let place = tempfile::tempdir().unwrap();
    let mut all: Vec<Value> = (0..2000)
        .map(|n| json!({"prompt": "Write a review.", "completion": format!("text {n}"), "label": n % 2 == 0}))
        .collect();
    all.extend((0..5).flat_map(|n| {
        [(true, "good"), (false, "bad")]
            .map(|(label, text)| json!({"prompt": format!("q{n}"), "completion": text, "label": label}))
    }));
    let data = rows(place.path(), &all);
    for (kind, port) in [("rm", "model"), ("dpo", "policy")] {
        let train = |more: Value| {
            let mut with = json!({"max_tokens": 64, "heldout": 0.3, "batch": 6, "pairs_per_prompt": 16, "epochs": 3.0});
            with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            run(kind, DeviceChoice::Cpu, &[(port, &*case.join("model")), ("data", &*data)], &with).unwrap()
        };
        let (whole, pieces) = (train(json!({})), train(json!({"micro_batch": 3})));
        let said = whole.remarks();
        assert!(
            said.iter().any(|said| said.contains("of 1000000 pairs of prompts with more than 16 each, 16 were drawn")),
            "{said:?}"
        );
        let losses = |ran: &Ran| ran.curve().iter().map(|point| point["loss"].as_f64().unwrap()).collect::<Vec<f64>>();
        for (one, other) in losses(&whole).iter().zip(losses(&pieces)) {
            assert!((one - other).abs() < 1e-5, "{kind}: {one} {other}");
        }
    }
}

#[test]
fn every_answer_of_a_dialogue_can_be_learned() {
    let Some(case) = case("08-special-token-in-answer") else { return };
    let place = tempfile::tempdir().unwrap();
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let talk = |number: usize| {
        json!({"messages": [
            turn("user", &format!("one {number}?")), turn("assistant", "1"), turn("user", "two?"), turn("assistant", "2 and 2"),
        ]})
    };
    let data = rows(place.path(), &[talk(1), talk(2), talk(3)]);
    let loss = |more: Value| sft(&case.join("model"), &data, &more).metrics()["heldout_loss"].as_f64().unwrap();
    let [last, all] = ["last", "all"].map(|learn| loss(json!({"learn": learn})));
    assert!((last - all).abs() > 1e-3, "{last} {all}");
    // A template that marks the same tokens gives the same loss.
    let marked = "{% for m in messages %}{{ m.role + ': ' }}{% if m.role == 'assistant' %}{% generation %}\
                  {{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content + '\\n' }}{% endif %}{% endfor %}\
                  {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    let by_marks = loss(json!({"learn": "all", "chat_template": marked}));
    assert!((by_marks - all).abs() < 1e-6, "{by_marks} {all}");
    let one = rows(place.path(), &[talk(1), talk(2), talk(3)]);
    // Whole turns are cut from the start: what is left is the last question with its answer.
    let short = sft(&case.join("model"), &one, &json!({"learn": "all", "truncate": "start", "max_tokens": 36}));
    assert_eq!(short.metrics()["data_truncated"], 3.0);
}
