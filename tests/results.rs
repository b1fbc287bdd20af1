//! The promises of the ready-made pipelines, at the size they are shipped in or close to it: the policy really
//! improves, by the score of held-out prompts, and the known scores of a real model come out. All of them are in `.ci/long`.

#[path = "support/program.rs"]
mod program;
#[path = "support/skip.rs"]
mod skip;

use program::{Events, ROOT, copy_into, place, word};
use serde_json::Value;
use std::path::Path;

/// The study's row of a model.
fn row<'a>(events: &'a Events, model: &str) -> &'a Value {
    let rows: Vec<&Value> = events.of("measured").map(|event| &event["row"]).collect();
    rows.iter().find(|row| row["model"] == model).unwrap_or_else(|| panic!("no row `{model}` in {rows:?}"))
}

fn metric(row: &Value, name: &str) -> f64 {
    row["metrics"][name].as_f64().unwrap_or_else(|| panic!("no `{name}` in {row}"))
}

#[test]
#[ignore = "in .ci/long"]
fn long_the_main_job_as_shipped_improves_the_policy_on_heldout_prompts() {
    let place = place();
    std::fs::copy(format!("{ROOT}/pipelines/rlhf.yaml"), place.at("rlhf.yaml")).unwrap();
    copy_into(Path::new(&format!("{ROOT}/pipelines/data")), &place.at("data"));
    let events = place.run(&["run", "rlhf.yaml", "--device", "cpu", "--json"]).expect_exit(0).events();

    // The machine's last bits may move the numbers, not what they show.
    // Whether the second stage adds enough to the first is a matter of the last bits; one of them goes on.
    let carrier = if events.decision("ppo_2") == "pass" { "ppo_2" } else { "ppo_1" };
    let (sft, best) = (row(&events, "sft"), row(&events, carrier));
    assert!(metric(best, "mean_score") > metric(sft, "mean_score") + 0.3, "{best} against {sft}");
    assert_eq!(events.decision("ppo_1"), "pass");
    let versus = &best["versus"];
    assert!(versus["win"].as_u64() > versus["loss"].as_u64().map(|loss| 4 * loss), "{versus}");
    assert!(metric(best, "eos_share") > 0.95, "{best}");

    // PPO began each update from where it sampled.
    for stage in ["ppo_1", "ppo_2"] {
        let error = events.outcome(stage)["metrics"]["first_ratio_error"].as_f64().unwrap();
        assert!(error <= 1e-5, "{stage}: {error}");
    }
    // And the answers show it: more of them ask back.
    let asks = |model: &str| {
        let answers = events.of("compared").flat_map(|event| event["answers"].as_array().unwrap());
        answers
            .filter(|answer| answer["model"] == model)
            .filter(|answer| word(&answer["text"]).contains(['?', 'か']))
            .count()
    };
    let label = word(&best["model"]);
    assert!(asks(label) > asks("sft"), "{label} {} sft {}", asks(label), asks("sft"));
}

#[test]
#[ignore = "in .ci/long"]
fn long_the_stories_job_runs_on_the_real_model_and_knows_its_gold_score() {
    let (Some(_), Some(_)) = (skip::shared("models/stories260K"), skip::shared("data/stories_afinn")) else { return };
    let shared = Path::new(ROOT).join("../shared");
    let place = place();
    std::fs::copy(format!("{ROOT}/pipelines/stories.yaml"), place.at("stories.yaml")).unwrap();
    let stories = format!("vars.stories={}", shared.display());
    let small = [&stories, "rm_1.with.epochs=0.1", "rm_1.with.checkpoint_every=0", "rm_1.gate=accuracy >= 0"];
    let of_ppo = ["steps=1", "batch=8", "max_new_tokens=16"];
    let of_ppo: Vec<String> =
        (1..=3).flat_map(|seed| of_ppo.map(|change| format!("ppo_{seed}.with.{change}"))).collect();
    let mut line = vec!["run", "stories.yaml", "--device", "cpu", "--json"];
    line.extend(small.into_iter().chain(of_ppo.iter().map(String::as_str)).flat_map(|change| ["--set", change]));
    let events = place.run(&line).expect_exit(0).events();

    // 4.955 is the mean gold score of the base model's own greedy answers to these 400 prompts, computed elsewhere
    // (stats.json beside the prompts).
    let stats: Value =
        serde_json::from_slice(&std::fs::read(shared.join("data/stories_afinn/stats.json")).unwrap()).unwrap();
    let of_base = events.of("measured").map(|event| &event["row"]).filter(|row| row["model"] == "stories260K");
    let scores: Vec<f64> = of_base.map(|row| metric(row, "mean_score")).collect();
    let expected = stats["eval_base_greedy_afinn_mean"].as_f64().unwrap();
    assert!(scores.iter().any(|score| (score - expected).abs() < 1e-9), "{scores:?}");
}
