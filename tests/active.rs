//! Active picking: people are asked first about what a reward model is unsure of, and a third of the items is drawn at random.

#[path = "support/program.rs"]
mod program;

use program::{Place, ROOT, files, place, word};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

const STAGES: &str = "name: active
seed: 3
stages:
  base:
    kind: pretrain
    from: {text: data/corpus.jsonl}
    with: {layers: 1, width: 32, inner: 64, heads: 2, kv_heads: 2, vocabulary: 400, context: 96, steps: 20, batch: 8}
  rm:
    kind: rm
    from: {model: base, data: data/pairs.jsonl}
    with: {epochs: 10, batch: 8, max_tokens: 96, lr: 0.005}
  people:
    kind: label
    from: {items: data/judged.jsonl, reward: rm}
    with: {need: {items: 30, overlap: 0.2}, repeats: 0, order: active}
";

fn asking() -> Place {
    let place = place();
    fs::create_dir(place.at("data")).unwrap();
    for (name, rows) in [("corpus", 100), ("pairs", 100), ("judged", 20)] {
        let text = fs::read_to_string(format!("{ROOT}/pipelines/data/{name}.jsonl")).unwrap();
        place.write(
            &format!("data/{name}.jsonl"),
            &text.lines().take(rows).map(|row| format!("{row}\n")).collect::<String>(),
        );
    }
    place.write("active.yaml", STAGES);
    place
}

/// The rows of the only file of the store whose rows have this field.
fn rows(place: &Place, field: &str) -> Vec<Value> {
    let of = |text: String| -> Option<Vec<Value>> {
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).ok()).collect::<Option<_>>()?;
        rows.iter().any(|row| row.get(field).is_some()).then_some(rows)
    };
    let blobs = files(&place.at(".pipeline/store/v1/blobs"));
    let found: Vec<Vec<Value>> = blobs.iter().filter_map(|path| of(fs::read_to_string(path).ok()?)).collect();
    assert_eq!(found.len(), 1, "{field}");
    found.into_iter().next().unwrap()
}

#[test]
fn what_a_reward_model_is_unsure_of_is_asked_first_and_a_third_is_drawn_at_random() {
    let place = asking();
    let run = |exit: i32| place.run(&["run", "active.yaml", "--device", "cpu", "--json"]).expect_exit(exit).events();
    let waits = run(3);
    assert_eq!(waits.ending("people"), "waits");
    let parts: Vec<&str> =
        waits.of("started").filter(|event| event["stage"] == "people").map(|event| word(&event["part"])).collect();
    assert_eq!(parts, ["answer_scores", "worklist"]);
    let items = rows(&place, "propensity");
    let random: Vec<bool> = items.iter().take(30).map(|item| item.get("propensity").is_some()).collect();
    assert_eq!(random.iter().filter(|is_random| **is_random).count(), 10);
    assert!(items[30..].iter().all(|item| item.get("propensity").is_none()));
    assert_eq!(items[0]["propensity"], json!(10.0 / items.len() as f64));
    // Who is compared with others is drawn among them.
    let overlapped = items.iter().filter(|item| item["is_overlapped"] == true);
    assert!(overlapped.clone().count() == 6 && overlapped.clone().all(|item| item.get("propensity").is_some()));
    let scores: BTreeMap<String, f64> = rows(&place, "score")
        .iter()
        .map(|row| (word(&row["digest"]).to_owned(), row["score"].as_f64().unwrap()))
        .collect();
    let unsure = |item: &Value| {
        let score = |answer: &Value| {
            scores[&blake3::hash(json!([item["prompt"], [answer]]).to_string().as_bytes()).to_hex().to_string()]
        };
        let chance = 1.0 / (1.0 + (score(&item["answers"][1]) - score(&item["answers"][0])).exp());
        chance * (1.0 - chance)
    };
    let mean = |some: Vec<&Value>| some.iter().map(|item| unsure(item)).sum::<f64>() / some.len() as f64;
    let picked = mean(items[..30].iter().filter(|item| item.get("propensity").is_none()).collect());
    let all = mean(items.iter().collect());
    assert!(picked > all, "{picked} {all}");
    // More labels that are needed score nothing anew.
    place.write("active.yaml", &STAGES.replace("items: 30", "items: 33"));
    let more = run(3);
    let parts: Vec<&str> =
        more.of("started").filter(|event| event["stage"] == "people").map(|event| word(&event["part"])).collect();
    assert_eq!(parts, ["worklist"]);
}

#[test]
fn without_a_reward_model_nothing_can_be_picked() {
    let place = asking();
    let cause = |from: &str| {
        place.write("active.yaml", &STAGES.replace(", reward: rm}", from));
        let failed = place.run(&["run", "active.yaml", "--device", "cpu", "--json"]).expect_exit(1).events();
        failed.outcome("people")["cause"].to_string()
    };
    assert!(cause("}").contains("`order: active` needs a reward model on the port `reward`"));
    place.write("warm.jsonl", "{\"regex\": \"warm\"}\n");
    // A file of words or patterns says of no answer how sure it is.
    place.write("active.yaml", &STAGES.replace("reward: rm}", "reward: warm.jsonl}"));
    assert!(place.run(&["check", "active.yaml"]).expect_exit(2).stderr.contains("warm.jsonl"));
}
