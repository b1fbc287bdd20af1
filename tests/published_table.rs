//! `pipelines/published-table.yaml`: the decisions and the win rates of the published study come out of the rules.
//! The study: four PPO stages, 2,000 prompts, greedy answers, one reward model.

#[path = "support/program.rs"]
mod program;

use expect_test::expect;
use program::{Events, ROOT, place, word};
use std::fmt::Write;
use std::sync::LazyLock;

/// One run, which both tests look at.
static EVENTS: LazyLock<Events> = LazyLock::new(|| {
    let place = place();
    std::fs::copy(format!("{ROOT}/pipelines/published-table.yaml"), place.at("table.yaml")).unwrap();
    place.run(&["run", "table.yaml", "--json"]).expect_exit(0).events()
});

#[test]
fn the_published_decisions_and_win_rates_come_out_of_the_rules() {
    let events = &*EVENTS;
    let mut told = String::new();
    for stage in ["ppo_1", "ppo_2", "ppo_3", "ppo_4"] {
        let verdict = events.verdict(stage);
        let said: Vec<String> = verdict["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| format!("{}: {}", word(&rule["decision"]), word(&rule["explanation"])))
            .collect();
        writeln!(told, "{stage} {}, {} goes on", word(&verdict["decision"]), word(&verdict["carries"])).unwrap();
        writeln!(told, "  {}", said.join("\n  ")).unwrap();
    }
    expect![[r#"
        ppo_1 pass, step 0 goes on
          pass: mean_score -0.983 > incumbent.mean_score -0.994 (by 0.011)
          pass: (win 205 + tie_changed 1 / 2) / (win 205 + loss 196 + tie_changed 1) = 0.5112 > 0.5 (by 0.01119)
        ppo_2 fail, the incumbent (ppo_1) goes on
          fail: mean_score -0.988 is not > incumbent.mean_score -0.983 (short by 0.005)
          pass: (win 190 + tie_changed 1 / 2) / (win 190 + loss 168 + tie_changed 1) = 0.5306 > 0.5 (by 0.03064)
        ppo_3 pass, step 0 goes on
          pass: mean_score -0.97 > incumbent.mean_score -0.983 (by 0.013)
          pass: (win 198 + tie_changed 1 / 2) / (win 198 + loss 156 + tie_changed 1) = 0.5592 > 0.5 (by 0.05915)
        ppo_4 fail, the incumbent (ppo_3) goes on
          fail: mean_score -0.988 is not > incumbent.mean_score -0.97 (short by 0.018)
          pass: (win 228 + tie_changed 1 / 2) / (win 228 + loss 193 + tie_changed 1) = 0.5415 > 0.5 (by 0.04147)
    "#]]
    .assert_eq(&told);

    // The rates as they were printed, from the very counts the gates saw.
    let rate = |stage: &str| {
        let metrics = &events.of("ended").find(|event| event["stage"] == stage).unwrap()["outcome"]["metrics"];
        let count = |name: &str| metrics[name].as_f64().unwrap();
        let (win, loss, tie) = (count("win"), count("loss"), count("tie_changed"));
        assert_eq!(win + loss + tie + count("tie_unchanged"), 2000.0);
        format!("{:.2}", 100.0 * (win + 0.5 * tie) / (win + loss + tie))
    };
    assert_eq!(["ppo_1", "ppo_2", "ppo_3", "ppo_4"].map(rate), ["51.12", "53.06", "55.92", "54.15"]);
}

#[test]
fn a_rejected_stage_hands_on_what_it_was_given() {
    let events = &*EVENTS;
    let kept = |stage: &str| events.outcome(stage)["kept"].as_bool().unwrap();
    assert_eq!(["base", "ppo_1", "ppo_2", "ppo_3", "ppo_4"].map(kept), [false, false, true, false, true]);
    // The third stage was trained from the first, and the fourth passes on the third.
    assert_eq!(events.content("ppo_2"), events.content("ppo_1"));
    assert_eq!(word(&events.started("ppo_3")["action"]["inputs"]["policy"]), events.content("ppo_1"));
    assert_eq!(events.content("ppo_4"), events.content("ppo_3"));
    assert_ne!(events.content("ppo_3"), events.content("ppo_1"));
}

#[test]
fn the_table_is_the_same_from_the_report_in_every_form() {
    let place = place();
    std::fs::copy(format!("{ROOT}/pipelines/published-table.yaml"), place.at("table.yaml")).unwrap();
    place.run(&["run", "table.yaml"]).expect_exit(0);
    for format in ["md", "csv", "latex"] {
        let printed = place.run(&["table", "table.yaml", "--format", format, "--lang", "en"]).expect_exit(0).stdout;
        assert!(printed.contains("ppo_4") || printed.contains("ppo\\_4"), "{printed}");
        place.run(&["report", "table.yaml", "--format", format, "--lang", "en", "-o", "made"]).expect_exit(0);
        assert_eq!(place.read("made"), printed, "{format}");
    }
    // In the document the same rows are values.
    place.run(&["report", "table.yaml", "--format", "json", "--lang", "en"]).expect_exit(0);
    let printed = place.run(&["table", "table.yaml", "--format", "json", "--lang", "en"]).expect_exit(0).stdout;
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let document: serde_json::Value = serde_json::from_str(&place.read("report.json")).unwrap();
    assert_eq!(document["studies"][0], printed);
}
