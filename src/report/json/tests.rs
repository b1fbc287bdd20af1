//! The document as a program reads it.

use super::super::sample::*;
use super::*;
use crate::event::Event;
use expect_test::expect;
use serde_json::Value;

#[test]
fn a_run_that_was_stopped_by_a_gate_is_told_whole() {
    let stopped = Outcome::Stopped { executed: true, seconds: 32.0, metrics: metrics(&[("ece", f64::NAN)]) };
    let run = folded(&[
        run_started(&[("sft", "sft"), ("rm_1", "rm"), ("ppo_1", "ppo")]),
        hit("sft"),
        ended("sft", done(120, false, 0.0, &[("loss", 0.8123)])),
        started("rm_1", None),
        finished("rm_1", 32.0),
        judged("rm_1", Decision::Fail, "", None, &[("require", "ece < 0.1", "fail: ece NaN")]),
        ended("rm_1", stopped),
        ended("ppo_1", Outcome::Skipped { because: "the gate of `rm_1` is closed".to_owned().into() }),
        run_finished(3),
    ]);
    expect![[r#"
        {
          "format": 1,
          "run": "20261121T231500.000Z-rlhf",
          "pipeline": "rlhf",
          "file": "pipelines/rlhf.yaml",
          "at": "2026-11-21T23:15:00Z",
          "overrides": [
            "vars.steps=20"
          ],
          "alive": false,
          "exit": 3,
          "seconds": 187.4,
          "stages": [
            {
              "name": "sft",
              "kind": "sft",
              "outcome": "done",
              "executed": false,
              "seconds": 0.0,
              "step": 120,
              "content": "tree:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
              "kept": false,
              "because": null,
              "metrics": {
                "loss": 0.8123
              },
              "verdict": null,
              "actions": [
                {
                  "part": null,
                  "key": "key of sft",
                  "state": "hit",
                  "log": null,
                  "why": [],
                  "seconds": null,
                  "device": null,
                  "cause": null
                }
              ]
            },
            {
              "name": "rm_1",
              "kind": "rm",
              "outcome": "stopped",
              "executed": true,
              "seconds": 32.0,
              "step": null,
              "content": null,
              "kept": false,
              "because": null,
              "metrics": {
                "ece": null
              },
              "verdict": {
                "decision": "fail",
                "carries": "",
                "select": null,
                "rules": [
                  {
                    "role": "require",
                    "text": "ece < 0.1",
                    "decision": "fail",
                    "explanation": "fail: ece NaN"
                  }
                ],
                "decided": null,
                "look": null
              },
              "actions": [
                {
                  "part": null,
                  "key": "key of rm_1",
                  "state": "finished",
                  "log": ".pipeline/work/rm_1/1/log.txt",
                  "why": [
                    "parameters.lr: 0.001 -> 0.0005"
                  ],
                  "seconds": 32.0,
                  "device": "cpu (flex)",
                  "cause": null
                }
              ]
            },
            {
              "name": "ppo_1",
              "kind": "ppo",
              "outcome": "skipped",
              "executed": null,
              "seconds": null,
              "step": null,
              "content": null,
              "kept": false,
              "because": "the gate of `rm_1` is closed",
              "metrics": null,
              "verdict": null,
              "actions": []
            }
          ],
          "studies": []
        }
    "#]]
    .assert_eq(&document(&run, false));
}

#[test]
fn the_study_is_in_it() {
    let document: Value = serde_json::from_str(&document(&folded(&promotion()), false)).unwrap();
    let study = &document["studies"][0];
    assert_eq!((study["eval"].as_str(), study["rows"].as_array().map(Vec::len)), (Some("eval"), Some(3)));
    assert_eq!(study["rows"][1]["versus"]["win"], 21);
    assert_eq!(study["comparisons"][0]["answers"][0]["text"], "そうですか。");
}

#[test]
fn a_stage_without_an_end_runs_or_is_broken_off_or_was_not_reached() {
    let events: [Event; 3] =
        [run_started(&[("sft", "sft"), ("rm_1", "rm")]), started("sft", None), ended("rm_2", Outcome::Interrupted)];
    let words = |is_alive| {
        let document: Value = serde_json::from_str(&document(&folded(&events), is_alive)).unwrap();
        let stages = document["stages"].as_array().unwrap();
        let words: Vec<String> = stages.iter().map(|stage| stage["outcome"].as_str().unwrap().to_owned()).collect();
        (document["alive"].as_bool().unwrap(), document["exit"].is_null(), words.join(" "))
    };
    assert_eq!(words(true), (true, true, "running not_reached".to_owned()));
    assert_eq!(words(false), (false, true, "broken_off not_reached".to_owned()));
}
