//! Events made by hand, for the tests of the report.

use super::fold::{RunState, fold};
use super::page::Page;
use crate::event::{
    BaselineComparison, Event, Evidence, Machine, Metrics, ModelAnswer, Outcome, RuleVerdict, StageHead, StudyRow,
    Verdict,
};
use crate::gate::Decision;
use crate::plan::ArtifactName;
use serde_json::json;

pub const PAGE: Page = Page { width: 120, has_color: false, breaks_words: true };

pub fn metrics(values: &[(&str, f64)]) -> Metrics {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.is_finite().then_some(*value))).collect()
}

pub fn head(name: &str, kind: &str) -> StageHead {
    let kind_row = stages::kinds::kind(kind).unwrap();
    let metrics = kind_row.metrics().map(|metric| (metric.name.to_owned(), metric.direction)).collect();
    StageHead {
        name: name.to_owned(),
        kind: kind.to_owned(),
        has_gate: true,
        metrics,
        from: Vec::new(),
        families: Vec::new(),
    }
}

pub fn run_started(stages: &[(&str, &str)]) -> Event {
    Event::RunStarted {
        run: "20261121T231500.000Z-rlhf".to_owned(),
        pipeline: "rlhf".to_owned(),
        file: "pipelines/rlhf.yaml".to_owned(),
        at: "2026-11-21T23:15:00Z".to_owned(),
        stages: stages.iter().map(|(name, kind)| head(name, kind).into()).collect(),
        overrides: vec!["vars.steps=20".to_owned()],
        selection: String::new(),
        machine: Some(Machine {
            system: "Debian GNU/Linux 12 (bookworm), Linux 6.1.0-18-amd64 x86_64".to_owned(),
            processor: "AMD EPYC 7B13".to_owned(),
            cores: Some(2),
            memory: Some(8 << 30),
        }),
    }
}

pub fn action() -> serde_json::Value {
    json!({
        "kind": "rm", "version": 1, "seed": 7,
        "parameters": {"lr": 0.0005, "lora": {"rank": 8}, "loss": "bradley_terry"},
        "inputs": {"model": format!("tree:{}", "ab".repeat(32)), "data": [format!("file.jsonl:{}", "cd".repeat(32))]},
    })
}

pub fn started(stage: &str, part: Option<&str>) -> Event {
    Event::Started {
        stage: stage.to_owned(),
        part: part.map(|part| part.to_owned().into()),
        key: format!("key of {stage}"),
        action: action().into(),
        attempt: 1,
        why: vec!["parameters.lr: 0.001 -> 0.0005".to_owned().into()],
        log: format!(".pipeline/work/{stage}/1/log.txt"),
        at: None,
    }
}

pub fn hit(stage: &str) -> Event {
    Event::Hit { stage: stage.to_owned(), part: None, key: format!("key of {stage}"), action: action().into() }
}

pub fn finished(stage: &str, seconds: f64) -> Event {
    Event::Finished {
        stage: stage.to_owned(),
        part: None,
        key: format!("key of {stage}"),
        seconds,
        device: Some("cpu (flex)".to_owned()),
        at: None,
    }
}

pub fn failed(stage: &str, cause: &str) -> Event {
    Event::Failed {
        stage: stage.to_owned(),
        part: None,
        key: format!("key of {stage}"),
        cause: cause.to_owned().into(),
        log: format!(".pipeline/work/{stage}/1/log.txt"),
    }
}

pub fn ended(stage: &str, outcome: Outcome) -> Event {
    Event::Ended { stage: stage.to_owned(), outcome, at: None }
}

pub fn done(step: u64, executed: bool, seconds: f64, values: &[(&str, f64)]) -> Outcome {
    let content = format!("tree:{}", "0123456789abcdef".repeat(4));
    Outcome::Done { content, step: Some(step), kept: false, executed, seconds, metrics: metrics(values) }
}

pub fn judged(
    stage: &str,
    decision: Decision,
    carries: &str,
    select: Option<&str>,
    rules: &[(&str, &str, &str)],
) -> Event {
    let rule = |(role, text, explanation): &(&str, &str, &str)| RuleVerdict {
        role: (*role).to_owned(),
        text: (*text).to_owned(),
        decision,
        explanation: (*explanation).to_owned(),
        nearest: None,
        is_within_noise: false,
    };
    let verdict = Verdict {
        look: None,
        decision,
        rules: rules.iter().map(rule).collect(),
        select: select.map(str::to_owned),
        chosen_by: select.iter().flat_map(|_| ["accuracy", "ece"]).map(str::to_owned).collect(),
        carries: carries.to_owned(),
        decided: None,
        evidence: Evidence::default(),
    };
    Event::Judged { stage: stage.to_owned(), verdict: Box::new(verdict) }
}

pub fn measured(model: &str, is_rejected: bool, values: &[(&str, f64)], versus: Option<[u64; 4]>) -> Event {
    let versus = versus.map(|[win, loss, tie_changed, tie_unchanged]| BaselineComparison {
        baseline: ArtifactName::open("sft"),
        win,
        loss,
        tie_changed,
        tie_unchanged,
    });
    Event::Measured {
        eval: "eval".to_owned(),
        row: StudyRow { model: model.to_owned().into(), is_rejected, metrics: metrics(values), versus },
    }
}

pub fn compared(prompt: &str, answers: &[(&str, &str, f64)]) -> Event {
    let answer = |(model, text, score): &(&str, &str, f64)| ModelAnswer {
        model: (*model).to_owned().into(),
        text: (*text).to_owned(),
        score: Some(*score),
    };
    Event::Compared {
        eval: "eval".to_owned(),
        prompt: prompt.to_owned(),
        answers: answers.iter().map(answer).collect(),
    }
}

pub fn run_finished(exit: u8) -> Event {
    Event::RunFinished { exit, seconds: 187.4, at: "2026-11-21T23:18:07Z".to_owned() }
}

pub fn folded(events: &[Event]) -> RunState {
    fold(events).unwrap()
}

pub fn promotion() -> Vec<Event> {
    let above = "mean_score > incumbent.mean_score";
    let wins = "win_rate(sft over changed) > 0.5";
    vec![
        run_started(&[
            ("base", "pretrain"),
            ("sft", "sft"),
            ("rm_1", "rm"),
            ("ppo_1", "ppo"),
            ("ppo_2", "ppo"),
            ("eval", "eval"),
        ]),
        hit("base"),
        ended("base", done(300, false, 0.0, &[("loss", 1.204), ("heldout_loss", 1.31)])),
        started("sft", None),
        finished("sft", 41.26),
        ended(
            "sft",
            done(
                120,
                true,
                41.26,
                &[("loss", 0.8123), ("heldout_loss", 0.9), ("gap", 0.0877), ("data_truncated", 0.0)],
            ),
        ),
        started("rm_1", None),
        finished("rm_1", 32.0),
        judged(
            "rm_1",
            Decision::Pass,
            "step 100",
            Some("best accuracy 0.8125 at step 100, where ece < 0.25 left 3 of 4"),
            &[("require", "accuracy > 0.6", "accuracy 0.8125 > 0.6 (+0.2125)")],
        ),
        ended(
            "rm_1",
            done(
                100,
                true,
                32.0,
                &[("accuracy", 0.8125), ("ece", 0.0412), ("loss", 0.41), ("margin", 2.204), ("pairs", 48.0)],
            ),
        ),
        started("ppo_1", None),
        finished("ppo_1", 65.5),
        judged(
            "ppo_1",
            Decision::Pass,
            "step 40",
            None,
            &[
                ("require", above, "mean_score 0.4121 > incumbent.mean_score 0.1052 (+0.3069)"),
                (
                    "require",
                    wins,
                    "win_rate(sft over changed) 0.7241 > 0.5 (+0.2241); 21 won, 8 lost, 0 changed ties, 19 unchanged",
                ),
            ],
        ),
        ended("ppo_1", done(40, true, 65.5, &[("reward", 0.398), ("kl", 2.114), ("entropy", 1.87), ("length", 18.4)])),
        started("ppo_2", None),
        finished("ppo_2", 48.0),
        judged(
            "ppo_2",
            Decision::Fail,
            "the incumbent (ppo_1)",
            None,
            &[("require", above, "mean_score 0.4010 > incumbent.mean_score 0.4121 (-0.0111)")],
        ),
        ended(
            "ppo_2",
            Outcome::Done {
                content: "tree:ffff".to_owned(),
                step: None,
                kept: true,
                executed: true,
                seconds: 48.0,
                metrics: metrics(&[("reward", f64::NAN), ("kl", 7.9)]),
            },
        ),
        measured("sft", false, &[("mean_score", 0.1052), ("mean_score_2", -1.5), ("length", 15.25), ("kl", 0.0)], None),
        measured(
            "ppo_1",
            false,
            &[("mean_score", 0.4121), ("mean_score_2", 2.25), ("length", 18.4), ("kl", 2.03)],
            Some([21, 8, 0, 19]),
        ),
        measured("ppo_2@last", true, &[("mean_score", 0.401), ("length", 31.0), ("kl", 6.5)], Some([20, 9, 1, 18])),
        compared(
            "User: きのう、孫が遊びに来てくれたんですよ。\nAssistant:",
            &[
                ("sft", "そうですか。", -0.31),
                (
                    "ppo_1",
                    "お孫さんが遊びに来てくれたのですね。うれしかったでしょう。どんなお話をなさいましたか。",
                    1.42,
                ),
            ],
        ),
        compared(
            "User: I used to keep a small garden behind the house.\nAssistant:",
            &[
                ("sft", "OK.", -0.88),
                (
                    "ppo_1",
                    "A garden behind the house, how lovely. What did you like to grow there, and who helped you?",
                    0.97,
                ),
            ],
        ),
        ended(
            "eval",
            done(0, true, 0.6, &[("mean_score", 0.4121), ("score_sd", 0.2), ("eos_share", 1.0), ("kl", 2.03)]),
        ),
        run_finished(0),
    ]
}
