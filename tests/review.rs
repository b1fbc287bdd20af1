//! Review of an evaluation: people compare the answers that its model changed, and a gate asks whether they see what the reward
//! saw.

#[path = "support/program.rs"]
mod program;
#[path = "support/pty.rs"]
mod pty;
#[path = "support/web.rs"]
mod web;

use program::{Place, ROOT, place};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use web::Site;

/// A model, what it became, and people who are asked what changed. The gate of the evaluation is closed: whoever reviews it
/// needs what was measured, and no verdict.
const STAGES: &str = "name: reviewed
seed: 3
stages:
  base:
    kind: pretrain
    from: {text: data/corpus.jsonl}
    with: {layers: 1, width: 32, inner: 64, heads: 2, kv_heads: 2, vocabulary: 400, context: 96, steps: 5, batch: 8}
  tuned:
    kind: sft
    from: {model: base, data: data/sft.jsonl}
    with: {epochs: 2, batch: 8, max_tokens: 64, lr: 0.01}
  eval:
    kind: eval
    from: {policy: tuned, reward: found.jsonl, prompts: data/heldout.jsonl, baseline: base}
    with: {max_new_tokens: 16}
    gate: mean_score > 99
  people:
    kind: label
    from: {review: eval}
    with: {need: {items: 12}, repeats: 0}
    gate: {require: human_win_rate >= 0, observe: human_agreement > 0.6 with 95% confidence}
";

fn reviewed() -> Place {
    let place = place();
    fs::create_dir(place.at("data")).unwrap();
    for (name, rows) in [("corpus", 100), ("sft", 40), ("heldout", 30)] {
        let name = format!("data/{name}.jsonl");
        let text = fs::read_to_string(format!("{ROOT}/pipelines/{name}")).unwrap();
        place.write(&name, &text.lines().take(rows).map(|row| format!("{row}\n")).collect::<String>());
    }
    place.write("found.jsonl", "{\"regex\": \"す\"}\n");
    place.write("reviewed.yaml", STAGES);
    place
}

/// Labels in the name of a person who sees what the reward sees.
fn label(place: &Place) -> usize {
    let mut command = place.command(&["label", "reviewed.yaml", "people", "--json", "--as", "m"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = child.stdin.take().unwrap();
    let mut tasks = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut done = 0;
    while let Some(line) = tasks.next().filter(|_| done < 12) {
        let task: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(task.as_object().unwrap().keys().collect::<Vec<_>>(), ["answers", "form", "prompt"]);
        let is_found = |side: usize| task["answers"][side].as_str().unwrap().contains('す');
        let choice = match [is_found(0), is_found(1)] {
            [true, false] => "first",
            [false, true] => "second",
            _ => "tie",
        };
        writeln!(answers, "{}", json!({"judgement": {"pair": choice}, "seconds": 4.0})).unwrap();
        done += 1;
    }
    drop(answers);
    assert!(child.wait().unwrap().success());
    done
}

#[test]
fn people_are_asked_what_changed_and_a_gate_asks_whether_they_see_what_the_reward_saw() {
    let place = reviewed();
    let run = |exit: i32| place.run(&["run", "reviewed.yaml", "--device", "cpu", "--json"]).expect_exit(exit).events();
    let waits = run(3);
    assert_eq!((waits.ending("eval"), waits.ending("people")), ("stopped", "waits"));
    assert_eq!(waits.outcome("people")["needed"], json!(12));
    // The page of the evaluation is that of the stage, and tells nobody whose an answer is.
    let page =
        place.watch(place.command(&["review", "reviewed.yaml", "eval", "--as", "n", "--lang", "en", "--port", "0"]));
    let site = Site::of(&page.remarks("page for labels: "));
    let tasks = site.get("/label/people/tasks?as=n");
    assert_eq!(tasks.status, 200);
    assert!(!tasks.body.contains("reviewed") && !tasks.body.contains("tuned"), "{}", tasks.body);
    drop(page);
    // The same in a terminal.
    let asked = ["review", "reviewed.yaml", "eval", "--as", "n", "--terminal", "--lang", "en"];
    let mut seat = pty::terminal(place.command(&asked), 24, 80);
    assert!(!seat.shows("[1] Answer A").join("\n").contains("tuned"));
    seat.press("q");
    assert_eq!(seat.end(), Some(0));
    assert_eq!(label(&place), 12);
    let judged = run(3);
    assert_eq!(judged.ending("people"), "done");
    let metrics = &judged.outcome("people")["metrics"];
    let (agreement, rate) = (metrics["human_agreement"].as_f64().unwrap(), metrics["human_win_rate"].as_f64().unwrap());
    assert_eq!(agreement.to_bits(), 1.0_f64.to_bits(), "{metrics}");
    assert!((0.0..=1.0).contains(&rate), "{metrics}");
    // Another gate of the evaluation asks people nothing anew.
    place.write("reviewed.yaml", &STAGES.replace("mean_score > 99", "mean_score > -99"));
    let again = run(0);
    assert_eq!((again.ending("eval"), again.ending("people")), ("done", "done"));
}

#[test]
fn what_cannot_be_reviewed_is_refused_before_anything_runs() {
    let place = reviewed();
    let refused = |typed: &str, instead: &str, message: &str| {
        place.write("reviewed.yaml", &STAGES.replace(typed, instead));
        let told = place.run(&["check", "reviewed.yaml"]).expect_exit(2).stderr;
        assert!(told.contains(message), "{told}");
    };
    refused("{review: eval}", "{review: tuned}", "`tuned` (kind `sft`) gives a language model");
    refused("{review: eval}", "{review: found.jsonl}", "`review` takes an evaluation that compares with a model");
    refused(", baseline: base}", "}", "`review` takes an evaluation that compares with a model");
    refused("{review: eval}", "{}", "stage `people` has neither the input `items` nor `review`");
    refused("{review: eval}", "{review: eval, items: data/sft.jsonl}", "`items` and `review` exclude each other");
    place.write("reviewed.yaml", STAGES);
    let told = place.run(&["review", "reviewed.yaml", "tuned"]).expect_exit(2).stderr;
    assert!(told.contains("no stage reviews `tuned`") && told.contains("from: {review: tuned}"), "{told}");
    let told = place.run(&["review", "reviewed.yaml", "evl"]).expect_exit(2).stderr;
    assert!(told.contains("there is no stage `evl`"), "{told}");
}
