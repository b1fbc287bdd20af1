//! `explain` as a reader sees it.

use super::super::heading;
use super::super::page::print;
use super::super::sample::*;
use super::*;
use crate::event::Event;
use expect_test::expect;
use serde_json::json;

#[test]
fn explain_shows_everything_a_run_knows_of_a_stage() {
    let run = folded(&promotion());
    let stage = run.stage("rm_1").unwrap();
    let bin = |low, count, predicted, happened| Bin { low, high: low + 0.1, count, predicted, happened };
    let checkpoint = |step, accuracy, ece| Checkpoint {
        reliability: vec![bin(0.5, 60, 0.55, 0.6), bin(0.8, 53, 0.84, 0.74)],
        step,
        content: format!("tree:{}", "9f".repeat(32)),
        metrics: metrics(&[("accuracy", accuracy), ("ece", ece)]),
    };
    let checkpoints =
        vec![checkpoint(50, 0.75, 0.0312), checkpoint(100, 0.8125, 0.0412), checkpoint(150, 0.8125, f64::NAN)];
    let now = Now {
        said: "would run".to_owned(),
        tone: Tone::Doubtful,
        because: vec!["seed: 7 -> 8".to_owned(), "parameters.lr: 0.0005 -> 0.1".to_owned()],
    };
    let stored = StoreFacts {
        checkpoints: Some(checkpoints),
        variants: BTreeMap::from([("key of rm_1".to_owned(), 2)]),
        now: Some(now),
    };
    expect![[r#"
        rlhf (pipelines/rlhf.yaml), started 2026-11-21 23:15:00 UTC --set vars.steps=20
        rm_1 (rm)

        now      would run
        because  seed: 7 -> 8
                 parameters.lr: 0.0005 -> 0.1

        result   run in 32 s
        output   tree:0123456789ab, step 100
        metrics  accuracy 0.812
                 ece 0.041
                 loss 0.410
                 margin 2.204
                 pairs 48

        key         key of rm_1
        last run    2026-11-21 23:15:00 UTC, 32 s on cpu (flex)
        why         parameters.lr: 0.001 -> 0.0005
        inputs      data: file.jsonl:cdcdcdcdcdcd
                    model: tree:abababababab
        parameters  lora.rank: 8
                    loss: bradley_terry
                    lr: 0.0005
        seed        7
        version     1
        log         .pipeline/work/rm_1/1/log.txt

        not deterministic  2 variants; the first is kept

        candidate            step 50         step 100 *           step 150
        ────────────────────────────────────────────────────────────────────
        content    tree:9f9f9f9f9f9f  tree:9f9f9f9f9f9f  tree:9f9f9f9f9f9f
        accuracy               0.750              0.812              0.812
        ece                    0.031              0.041                NaN

        how sure step 100 is of held-out pairs, and how often it is right:
        says          pairs  right  as far as it is right; | as far as it says
        ────────────────────────────────────────────────────────────────────────
        0.50 to 0.60     60  0.600  ###|#
        0.80 to 0.90     53  0.740  ############     |

        gate     pass: step 100 goes on
        select   best accuracy 0.8125 at step 100, where ece < 0.25 left 3 of 4
        require  pass: accuracy 0.8125 > 0.6 (+0.2125)
        rules    accuracy > 0.6
    "#]]
    .assert_eq(&format!(
        "{}\n{}",
        heading(&run),
        print(&explain(&run, stage, |key| execution(&run, key), &stored), PAGE)
    ));
}

#[test]
fn explain_of_a_cached_stage_says_when_and_why_it_last_ran() {
    let run =
        folded(&[run_started(&[("sft", "sft")]), hit("sft"), ended("sft", done(120, false, 0.0, &[("loss", 0.8123)]))]);
    let earlier = Execution {
        at: "2026-11-20T09:00:00Z".to_owned(),
        why: vec!["nothing of this name was run before".to_owned().into()],
        log: ".pipeline/work/sft/1/log.txt".to_owned(),
        took: "41 s on cpu (flex)".to_owned(),
    };
    expect![[r#"
        sft (sft)

        result   cached
        output   tree:0123456789ab, step 120
        metrics  loss 0.812

        key         key of sft
        last run    2026-11-20 09:00:00 UTC, 41 s on cpu (flex)
        why         nothing of this name was run before
        inputs      data: file.jsonl:cdcdcdcdcdcd
                    model: tree:abababababab
        parameters  lora.rank: 8
                    loss: bradley_terry
                    lr: 0.0005
        seed        7
        version     1
        log         .pipeline/work/sft/1/log.txt
    "#]]
    .assert_eq(&print(
        &explain(&run, run.stage("sft").unwrap(), |_| Some(earlier.clone()), &StoreFacts::default()),
        PAGE,
    ));
}

#[test]
fn explain_of_an_eval_lists_its_measurements() {
    let part = |part: &str, kind: &str, policy: &str| {
        Event::Hit {
        stage: "eval".to_owned(),
        part: Some(part.to_owned().into()),
        key: format!("{kind} {part}"),
        action: json!({"kind": kind, "parameters": {"max_new_tokens": 48}, "inputs": {"model": format!("tree:{}", policy.repeat(32))}}).into(),
    }
    };
    let run = folded(&[
        run_started(&[("eval", "eval")]),
        part("answers of sft", "answers", "ab"),
        started("eval", Some("answers of ppo_1")),
        measured("sft", false, &[("mean_score", 0.1)], None),
        ended("eval", done(0, true, 0.6, &[("mean_score", 0.4121)])),
    ]);
    let stage = run.stage("eval").unwrap();
    expect![[r#"
        eval (eval)

        result   run in 0.6 s
        output   tree:0123456789ab, step 0
        metrics  mean_score 0.412

        measurement       result        last run                               key           inputs
        ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
        answers of sft    cached        –                                      answers answ  model: tree:abababababab
        answers of ppo_1  not finished  2026-11-21 23:15:00 UTC, not finished  key of eval   data: file.jsonl:cdcdcdcdcdcd
                                                                                             model: tree:abababababab

        why answers of ppo_1   parameters.lr: 0.001 -> 0.0005
        parameters of answers  max_new_tokens: 48
        parameters of rm       lora.rank: 8
                               loss: bradley_terry
                               lr: 0.0005

        eval
        model  mean_score
        ───────────────────
        sft         0.100
    "#]]
    .assert_eq(&print(&explain(&run, stage, |key| execution(&run, key), &StoreFacts::default()), PAGE));
}
