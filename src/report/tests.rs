//! The report as a reader sees it.

use super::page::{Page, print};
use super::sample::*;
use super::{report, study};
use crate::event::{Event, Outcome};
use crate::gate::Decision;
use expect_test::{Expect, expect};
use stages::io::Progress;
use stages::stage::Direction;
use std::collections::BTreeMap;
use std::sync::Arc;

fn check(events: &[Event], is_alive: bool, expected: Expect) {
    expected.assert_eq(&print(&report(&folded(events), is_alive), PAGE));
}

#[test]
fn a_run_shows_its_stages_verdicts_study_and_answers() {
    check(
        &promotion(),
        false,
        expect![[r#"
            stage  kind      result        time  key metrics                                gate
            ───────────────────────────────────────────────────────────────────────────────────────────────────
            base   pretrain  cached              loss 1.204  heldout_loss 1.310
            sft    sft       run           41 s  loss 0.812  heldout_loss 0.900  gap 0.088
            rm_1   rm        run           32 s  accuracy 0.812  ece 0.041  loss 0.410      pass: step 100
            ppo_1  ppo       run     1 min 06 s  mean_score 0.412  reward 0.398  kl 2.114   pass
            ppo_2  ppo       run           48 s  mean_score 0.401  reward NaN  kl 7.900     fail: keeps the
                                                                                            incumbent (ppo_1)
            eval   eval      run          0.6 s  mean_score 0.412  eos_share 1  kl 2.030

            gate of  rule     says  because
            ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
            rm_1     select         best accuracy 0.8125 at step 100, where ece < 0.25 left 3 of 4
                     require  pass  accuracy 0.8125 > 0.6 (+0.2125)
            ppo_1    require  pass  mean_score 0.4121 > incumbent.mean_score 0.1052 (+0.3069)
                     require  pass  win_rate(sft over changed) 0.7241 > 0.5 (+0.2241); 21 won, 8 lost, 0 changed ties, 19
                                    unchanged
            ppo_2    require  fail  mean_score 0.4010 > incumbent.mean_score 0.4121 (-0.0111)

            eval: wins and losses against sft, win rate over changed answers
            model                  mean_score  mean_score_2  win  loss  tie_changed  tie_unchanged  win rate     kl  length
            ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────
            sft (baseline)              0.105        -1.500    –     –            –              –         –  0.000    15.2
            ppo_1                       0.412         2.250   21     8            0             19   72.41 %  2.030    18.4
            ppo_2@last (rejected)       0.401             –   20     9            1             18   68.33 %  6.500    31.0

            eval: the same prompts, side by side
            prompt                            sft            score  ppo_1                             score
            ─────────────────────────────────────────────────────────────────────────────────────────────────
            User: きのう、孫が遊びに来てくれ  そうですか。  -0.310  お孫さんが遊びに来てくれたのです  1.420
            たんですよ。                                            ね。うれしかったでしょう。どんな
            Assistant:                                              お話をなさいましたか。
            User: I used to keep a small      OK.           -0.880  A garden behind the house, how    0.970
            garden behind the house.                                lovely. What did you like to
            Assistant:                                              grow there, and who helped you?

            done in 3 min 07 s: 5 run, 1 cached, 1 kept the incumbent
        "#]],
    );
}

#[test]
fn an_older_journal_does_not_say_what_a_choice_reads_and_shows_the_metrics_of_the_rules_first() {
    let older = promotion().into_iter().map(|event| {
        let mut event = serde_json::to_value(event).unwrap();
        if let Some(verdict) = event.get_mut("verdict").and_then(serde_json::Value::as_object_mut) {
            verdict.remove("chosen_by");
        }
        serde_json::from_value(event).unwrap()
    });
    let shown = print(&report(&folded(&older.collect::<Vec<Event>>()), false), PAGE);
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_eq!(
        [line("rm_1"), line("ppo_1")],
        [
            "rm_1   rm        run           32 s  accuracy 0.812  loss 0.410  margin 2.204   pass: step 100",
            "ppo_1  ppo       run     1 min 06 s  mean_score 0.412  reward 0.398  kl 2.114   pass",
        ]
    );
}

#[test]
fn the_published_table_has_the_published_rates() {
    let mut events = vec![run_started(&[("eval", "eval")])];
    let rows: [(&str, f64, bool, [u64; 4]); 4] = [
        ("stage_1", -0.983, false, [205, 196, 1, 1598]),
        ("stage_2", -0.988, true, [190, 168, 1, 1641]),
        ("stage_3", -0.970, false, [198, 156, 1, 1645]),
        ("stage_4", -0.988, true, [228, 193, 1, 1578]),
    ];
    events.push(measured("base", false, &[("mean_score", -0.994)], None));
    events.extend(rows.map(|(model, score, is_rejected, versus)| {
        measured(model, is_rejected, &[("mean_score", score)], Some(versus))
    }));
    expect![[r#"
        eval: wins and losses against sft, win rate over changed answers
        model               mean_score  win  loss  tie_changed  tie_unchanged  win rate
        ─────────────────────────────────────────────────────────────────────────────────
        base                    -0.994    –     –            –              –         –
        stage_1                 -0.983  205   196            1           1598   51.12 %
        stage_2 (rejected)      -0.988  190   168            1           1641   53.06 %
        stage_3                 -0.970  198   156            1           1645   55.92 %
        stage_4 (rejected)      -0.988  228   193            1           1578   54.15 %
    "#]]
    .assert_eq(&print(&[study::table(&folded(&events).studies[0])], PAGE));
}

#[test]
fn a_closed_gate_says_what_it_stopped_and_what_to_do() {
    check(
        &[
            run_started(&[("sft", "sft"), ("rm_1", "rm"), ("ppo_1", "ppo")]),
            hit("sft"),
            ended("sft", done(120, false, 0.0, &[("loss", 0.8123)])),
            hit("rm_1"),
            judged(
                "rm_1",
                Decision::Fail,
                "",
                None,
                &[
                    ("require", "accuracy > 0.6", "accuracy 0.5521 > 0.6 (-0.0479)"),
                    ("observe", "ece < 0.1", "ece 0.31 < 0.1 (+0.21)"),
                ],
            ),
            ended(
                "rm_1",
                Outcome::Stopped {
                    executed: false,
                    seconds: 0.0,
                    metrics: metrics(&[("accuracy", 0.5521), ("ece", 0.31)]),
                },
            ),
            ended("ppo_1", Outcome::Skipped { because: "rm_1 was stopped by its gate".to_owned().into() }),
            run_finished(3),
        ],
        false,
        expect![[r#"
            stage  kind  result   key metrics                   gate
            ──────────────────────────────────────────────────────────────────────
            sft    sft   cached   loss 0.812
            rm_1   rm    cached   accuracy 0.552  ece 0.310     fail: stops here
            ppo_1  ppo   skipped  rm_1 was stopped by its gate

            gate of  rule     says  because
            ─────────────────────────────────────────────────────────
            rm_1     require  fail  accuracy 0.5521 > 0.6 (-0.0479)
                     observe  fail  ece 0.31 < 0.1 (+0.21)

            stopped by a gate after 3 min 07 s: rm_1; `pipeline explain rm_1 pipelines/rlhf.yaml` has every number; change the stage or the rule and run again
        "#]],
    );
}

#[test]
fn a_failure_shows_its_cause_and_its_log() {
    check(
        &[
            run_started(&[("sft", "sft"), ("rm_1", "rm")]),
            started("sft", None),
            failed("sft", "read in/data.jsonl: line 17: no field `prompt`"),
            ended("sft", Outcome::Failed { cause: "read in/data.jsonl: line 17: no field `prompt`".to_owned().into() }),
            ended("rm_1", Outcome::Skipped { because: "sft failed".to_owned().into() }),
            run_finished(1),
        ],
        false,
        expect![[r#"
            stage  kind  result   key metrics
            ───────────────────────────────────
            sft    sft   failed   see below
            rm_1   rm    skipped  sft failed

            sft failed  read in/data.jsonl: line 17: no field `prompt`
                        log: .pipeline/work/sft/1/log.txt

            failed after 3 min 07 s: sft; fix the cause and run again: finished stages stay cached
        "#]],
    );
}

#[test]
fn a_plan_says_what_would_run_and_why() {
    check(
        &[
            run_started(&[("sft", "sft"), ("rm_1", "rm"), ("ppo_1", "ppo")]),
            hit("sft"),
            ended("sft", done(120, false, 0.0, &[("loss", 0.8123)])),
            ended("rm_1", Outcome::WouldRun { because: vec!["parameters.lr: 0.001 -> 0.0005".to_owned().into()] }),
            ended("ppo_1", Outcome::WouldRun { because: vec!["rm_1 would run".to_owned().into()] }),
            run_finished(0),
        ],
        false,
        expect![[r#"
            stage  kind  result     metrics, or why it would run
            ────────────────────────────────────────────────────────
            sft    sft   cached     loss 0.812
            rm_1   rm    would run  parameters.lr: 0.001 -> 0.0005
            ppo_1  ppo   would run  rm_1 would run

            nothing was run: 2 would run, 1 cached
        "#]],
    );
}

#[test]
fn a_run_without_an_end_is_running_or_broken_off() {
    let events = [
        run_started(&[("sft", "sft"), ("rm_1", "rm")]),
        started("sft", None),
        Event::Progressed {
            stage: "sft".to_owned(),
            part: None,
            progress: Progress {
                done: 30,
                total: 120,
                unit: "step".to_owned(),
                message: "loss 0.91".to_owned(),
                metrics: BTreeMap::new(),
            },
        },
    ];
    check(
        &events,
        true,
        expect![[r#"
            stage  kind  result        key metrics
            ────────────────────────────────────────
            sft    sft   running 25 %  loss 0.91
            rm_1   rm    –

            running since 2026-11-21 23:15:00 UTC
        "#]],
    );
    check(
        &events,
        false,
        expect![[r#"
        stage  kind  result      key metrics
        ──────────────────────────────────────
        sft    sft   broken off  loss 0.91
        rm_1   rm    –

        broken off: the process that ran it is gone; `pipeline run pipelines/rlhf.yaml` continues from the finished stages
    "#]],
    );
}

#[test]
fn colour_stands_only_on_a_page_that_takes_it() {
    let run = folded(&promotion());
    let sheets = report(&run, false);
    assert!(!print(&sheets, PAGE).contains('\u{1b}'));
    assert!(print(&sheets, Page { has_color: true, ..PAGE }).contains('\u{1b}'));
}

#[test]
fn no_line_is_wider_than_the_page() {
    use unicode_width::UnicodeWidthStr;
    for width in [90, 100, 120] {
        let text = print(&report(&folded(&promotion()), false), Page { width, has_color: false, breaks_words: true });
        let widest = text.lines().max_by_key(|line| line.width()).unwrap();
        // The last line is one sentence, for the terminal to fold.
        assert!(widest.width() <= usize::from(width), "{width}: {widest}");
    }
}

#[test]
fn a_metric_that_no_kind_declares_is_shown_all_the_same() {
    let mut start = run_started(&[("base", "exec")]);
    if let Event::RunStarted { stages, .. } = &mut start {
        let head = Arc::get_mut(&mut stages[0]).unwrap();
        head.metrics = vec![("mean_score".to_owned(), Direction::Higher)];
    }
    check(
        &[start, ended("base", done(0, true, 0.02, &[("mean_score", -0.994), ("extra", 3.0)])), run_finished(0)],
        false,
        expect![[r#"
            stage  kind  result   time  key metrics
            ────────────────────────────────────────────────────────
            base   exec  run     0.0 s  mean_score -0.994  extra 3

            done in 3 min 07 s: 1 run
        "#]],
    );
}
