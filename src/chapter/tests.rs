//! The page as a whole, made of events by hand.

use super::facts::{Absence, AnswerContest, Facts, ScorePairs, StoredCurve, StoredStage, Taste, trace};
use super::page::{FRAGMENTS, page};
use super::verdict::sentence;
use super::words::Language;
use crate::event::{
    ArtifactEvidence, BaselineComparison, Event, Evidence, Outcome, RuleVerdict, StageHead, StudyRow, Verdict,
};
use crate::gate::{Counts, Decision};
use crate::plan::ArtifactName;
use crate::report::answers::{AnswerRow, OtherAnswer};
use crate::report::curves::read;
use crate::report::explain::Checkpoint;
use crate::report::families::{families, table};
use crate::report::fold::StageRun;
use crate::report::page::{Page, print};
use crate::report::reliability::Bin;
use crate::report::sample::*;
use expect_test::expect;
use stages::curve::{CandidateSamples, SampleAnswer};
use std::sync::Arc;

fn evidence(score: f64, incumbent: f64) -> Evidence {
    let seen = |label: &str, step: Option<u64>, score: f64| ArtifactEvidence {
        label: label.to_owned().into(),
        step,
        content: format!("tree:{}", "ab".repeat(32)).parse().unwrap(),
        metrics: metrics(&[("mean_score", score)]),
        table: None,
        judged: Default::default(),
        among: 1,
    };
    Evidence {
        question: String::new(),
        candidates: vec![seen("ppo@30", Some(30), score)],
        chosen: Some(0),
        incumbent: Some(seen("sft", None, incumbent)),
        ..Evidence::default()
    }
}

/// The verdict of the gate of `ppo`.
fn said(decision: Decision, carries: &str, is_within_noise: bool) -> Event {
    let text = "mean_score > incumbent.mean_score".to_owned();
    let rule = RuleVerdict {
        role: "require".to_owned(),
        explanation: format!("{text} (with its numbers)"),
        text,
        decision,
        nearest: (decision == Decision::Fail).then(|| "mean_score > incumbent.mean_score - 0.012".to_owned()),
        is_within_noise,
    };
    let verdict = Verdict {
        decision,
        rules: vec![rule],
        select: None,
        chosen_by: Vec::new(),
        carries: carries.to_owned(),
        decided: None,
        look: None,
        evidence: evidence(0.412, 0.105),
    };
    Event::Judged { stage: "ppo".to_owned(), verdict: Box::new(verdict) }
}

fn kept() -> Outcome {
    let (content, metrics) = ("tree:ffff".to_owned(), metrics(&[]));
    Outcome::Done { content, step: None, kept: true, executed: true, seconds: 48.0, metrics }
}

fn of(events: Vec<Event>, is_alive: bool) -> Facts {
    let begun = [run_started(&[("sft", "sft"), ("ppo", "ppo")]), ended("sft", done(120, true, 4.0, &[]))];
    Facts::of(folded(&begun.into_iter().chain(events).collect::<Vec<_>>()), is_alive)
}

/// A run for every way to end.
fn endings() -> Vec<(&'static str, Facts)> {
    let work = || vec![started("ppo", None), finished("ppo", 65.5)];
    let with = |events: Vec<Event>| [work(), events].concat();
    let stopped = Outcome::Stopped { executed: true, seconds: 65.5, metrics: metrics(&[]) };
    let held = Outcome::Held { executed: true, seconds: 65.5, metrics: metrics(&[]) };
    let failed = |cause: &str| Outcome::Failed { cause: cause.to_owned().into() };
    let promoted = || ended("ppo", done(30, true, 65.5, &[]));
    vec![
        ("promoted", of(with(vec![said(Decision::Pass, "step 30", false), promoted(), run_finished(0)]), false)),
        ("within luck", of(with(vec![said(Decision::Pass, "step 30", true), promoted(), run_finished(0)]), false)),
        (
            "kept",
            of(
                with(vec![said(Decision::Fail, "the incumbent (sft)", false), ended("ppo", kept()), run_finished(0)]),
                false,
            ),
        ),
        (
            "not surely better",
            of(
                with(vec![said(Decision::Unsure, "the incumbent (sft)", false), ended("ppo", kept()), run_finished(0)]),
                false,
            ),
        ),
        ("held", of(with(vec![said(Decision::Unsure, "", false), ended("ppo", held), run_finished(3)]), false)),
        ("stopped", of(with(vec![said(Decision::Fail, "", false), ended("ppo", stopped), run_finished(3)]), false)),
        (
            "failed",
            of(
                vec![
                    started("ppo", None),
                    self::failed("ppo", "NaN loss"),
                    ended("ppo", failed("NaN loss")),
                    run_finished(1),
                ],
                false,
            ),
        ),
        (
            "gate error",
            of(
                with(vec![
                    said(Decision::Error, "", false),
                    ended("ppo", failed("`kl` was not measured")),
                    run_finished(1),
                ]),
                false,
            ),
        ),
        ("interrupted", of(vec![started("ppo", None), ended("ppo", Outcome::Interrupted), run_finished(130)], false)),
        ("broken off", of(vec![started("ppo", None)], false)),
        ("running", of(vec![started("ppo", None)], true)),
        ("no gate", of(vec![started("ppo", None), promoted(), run_finished(0)], false)),
    ]
}

#[test]
fn the_page_begins_with_how_the_run_ended_and_by_what_number() {
    let shown = endings().into_iter().map(|(name, facts)| {
        let [english, japanese] = Language::ALL.map(|language| sentence(&facts, language));
        format!("{name}\n  {english}\n  {japanese}")
    });
    expect![[r#"
        promoted
          ppo was promoted: step 30 goes on (mean_score 0.412 against 0.105 of sft).
          ppo は昇格しました。step 30 が次に進みます(mean_score は 0.412、sft は 0.105)。
        within luck
          ppo was promoted, but within luck: step 30 goes on (mean_score 0.412 against 0.105 of sft), and a difference of this size may be noise.
          ppo は昇格しましたが、偶然の範囲内です。step 30 が次に進みますが(mean_score は 0.412、sft は 0.105)、この程度の差は偶然でも生じます。
        kept
          ppo was not promoted (mean_score 0.412 against 0.105 of sft): sft goes on in its place.
          ppo は昇格しませんでした(mean_score は 0.412、sft は 0.105)。代わりに、これまでの sft が次に進みます。
        not surely better
          ppo was not promoted: it is not surely better (mean_score 0.412 against 0.105 of sft). sft goes on in its place.
          ppo は昇格しませんでした。良くなったとは言い切れません(mean_score は 0.412、sft は 0.105)。代わりに、これまでの sft が次に進みます。
        held
          rlhf waits for a person: the gate of ppo does not decide alone (mean_score 0.412 against 0.105 of sft).
          rlhf は人の判断を待っています。ppo のゲートだけでは決められません(mean_score は 0.412、sft は 0.105)。
        stopped
          rlhf stopped: the gate of ppo is closed (mean_score 0.412 against 0.105 of sft), and what stands on it was not run.
          rlhf は停止しました。ppo のゲートが閉じたため(mean_score は 0.412、sft は 0.105)、その先のステージは実行されていません。
        failed
          rlhf failed at ppo: NaN loss.
          rlhf は ppo で失敗しました: NaN loss
        gate error
          rlhf could not decide: the gate of ppo lacks a number that it needs (`kl` was not measured).
          rlhf は判定できませんでした。ppo のゲートに必要な数値がありません(`kl` was not measured)。
        interrupted
          rlhf was interrupted after 3 min 07 s: 1 of 2 stages are done, and the same command goes on from here.
          rlhf は 3 min 07 s で中断されました。2 ステージのうち 1 は終わっていて、同じコマンドで続きから再開できます。
        broken off
          rlhf broke off: the process that ran it is gone. 1 of 2 stages are done, and the same command goes on from here.
          rlhf は途中で途切れました。実行していたプロセスがもうありません。2 ステージのうち 1 は終わっていて、同じコマンドで続きから再開できます。
        running
          rlhf is still running: 1 of 2 stages are done, and ppo is at work.
          rlhf は実行中です。2 ステージのうち 1 が終わり、いまは ppo が動いています。
        no gate
          rlhf is done: 2 of 2 stages, without a gate.
          rlhf は完了しました。2 ステージのうち 2 が終わりました(ゲートなし)。"#]].assert_eq(&shown.collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_ending_has_a_page_with_what_did_not_go_on() {
    for (name, facts) in endings() {
        for language in Language::ALL {
            let page = page(&facts, language);
            assert_eq!(page, super::page::page(&facts, language), "{name}");
            // What was rejected, stopped, held or failed is in the chapter of its own.
            let dark = page.split("id=\"dark\"").nth(1).unwrap().split("</section>").next().unwrap();
            let is_dark = !["promoted", "within luck", "running", "no gate"].contains(&name);
            assert_eq!(dark.contains("<article class=\"dark\">"), is_dark, "{name}: {dark}");
            assert_eq!(dark.contains("incumbent.mean_score - 0.012"), ["kept", "stopped"].contains(&name), "{name}");
        }
    }
}

/// Three seeds of one training, of which the last failed.
fn seeds() -> Vec<StageRun> {
    let head = |name: &str| StageHead { families: vec!["tuned".to_owned()], ..head(name, "exec") };
    let names = ["tuned_1", "tuned_2", "tuned_3"];
    let heads = names.map(|name| Arc::new(head(name))).to_vec();
    let Event::RunStarted { run, pipeline, file, at, overrides, selection, machine, .. } = run_started(&[]) else {
        unreachable!()
    };
    let events = [
        Event::RunStarted { run, pipeline, file, at, stages: heads, overrides, selection, machine },
        ended(names[0], done(10, true, 1.0, &[("accuracy", 0.5)])),
        ended(names[1], done(10, true, 1.0, &[("accuracy", 0.7)])),
        ended(names[2], Outcome::Failed { cause: "NaN loss".to_owned().into() }),
    ];
    folded(&events).stages
}

#[test]
fn the_stages_of_a_for_stand_side_by_side_and_one_that_failed_has_a_row() {
    let facts = whole();
    let families = families(&facts.run, false);
    let [family] = &families[..] else { panic!("{families:?}") };
    let accuracy = family.metrics.iter().find(|metric| metric.name == "accuracy").unwrap();
    // Of 0.5 and 0.7: t of one degree of freedom at 97.5 % is 12.706, times sd 0.1414 over the root of 2.
    assert_eq!((accuracy.count, format!("{:.3?}", accuracy.within)), (2, "Some([-0.671, 1.871])".to_owned()));
    expect![[r#"
        tuned: 3 stages of a `for`
        stage      result  step  accuracy
        ───────────────────────────────────
        tuned_1    done      10      0.50
        tuned_2    done      10      0.70
        tuned_3    failed               –
        mean of 2                    0.60
        sd                           0.14
        95 % from                   -0.67
        95 % to                      1.87
        the intervals count stages as evidence, not prompts; 1 stage gave nothing, and has no part in the mean
    "#]]
    .assert_eq(&print(&[table(family)], Page { width: 100, has_color: false, breaks_words: true }));
    let page = page(&facts, Language::English);
    let section = page.split("id=\"families\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(section.contains("tuned_3") && section.contains("failed") && section.contains("1 of them gave nothing"));
}

/// Facts in which nothing is missing.
fn whole() -> Facts {
    let mut facts = Facts::of(folded(&promotion()), false);
    facts.run.stages.extend(seeds());
    let names = ["ppo_1", "sft"].map(ArtifactName::open);
    let curve = (0..2_000)
        .map(|step| format!("{{\"step\":{step},\"loss\":{},\"kl\":null,\"reward\":0.5}}\n", 1.0 / f64::from(step + 1)));
    let curves = read(&curve.collect::<String>());
    let traces = || curves.names.iter().map(|name| trace(&curves, name, 280)).collect();
    let samples = || {
        let answer = |step| SampleAnswer { prompt: "<b>p".to_owned(), answer: format!("<script>{step}"), ended: true };
        [0, 100].map(|step| CandidateSamples { step, samples: vec![answer(step)] }).to_vec()
    };
    let checkpoint = |step: u64, accuracy: f64| Checkpoint {
        step,
        content: "tree:00".to_owned(),
        metrics: metrics(&[("accuracy", accuracy), ("ece", 0.04)]),
        reliability: vec![Bin { low: 0.5, high: 0.6, count: 40, predicted: 0.55, happened: 0.45 }],
    };
    facts.stages.insert(
        "rm_1".to_owned(),
        StoredStage {
            checkpoints: vec![checkpoint(50, 0.7), checkpoint(100, 0.8125)],
            curve: StoredCurve::Traces { points: curves.len(), unreadable: 1, traces: traces(), samples: samples() },
            pairs: Some(ScorePairs { chosen: vec![1.0, 2.0, 3.0], rejected: vec![0.0, 1.0] }),
        },
    );
    facts.stages.insert("base".to_owned(), StoredStage { curve: StoredCurve::NotKept, ..StoredStage::default() });
    facts.stages.insert("sft".to_owned(), StoredStage { curve: StoredCurve::Lost, ..StoredStage::default() });
    facts.contests.push(AnswerContest {
        of: "eval".to_owned(),
        candidate: names[0].clone(),
        other: names[1].clone(),
        counts: Counts { win: 21, loss: 8, tie_changed: 0, tie_unchanged: 19 },
        rate: None,
        gain: 0.3,
        gain_within: None,
        pairs: vec![AnswerRow {
            id: "1".to_owned(),
            prompt: "</script><b>\u{202e}".to_owned(),
            answer: "<img src=x onerror=alert(1)>".to_owned(),
            score: Some(1.5),
            against: Some(OtherAnswer {
                answer: String::new(),
                score: Some(-0.5),
                gain: Some(2.0),
                is_changed: true,
                result: Some("win"),
            }),
        }],
    });
    facts.tastes.push(Taste {
        reward: "rm_1".to_owned(),
        models: vec![(names[0].clone(), vec![[3.0, 0.1], [9.0, 0.4], [12.0, 0.5]])],
    });
    facts.losses.push(Absence::Curve("sft".to_owned()));
    facts
}

#[test]
fn the_page_has_every_section_in_order_and_asks_nobody_for_anything() {
    let facts = whole();
    for language in Language::ALL {
        let page = page(&facts, language);
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}"));
        let places: Vec<usize> = FRAGMENTS
            .iter()
            .filter(|each| each.name != "models")
            .map(|each| at(&format!("data-fragment=\"{}\"", each.name)))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        // Nothing is loaded, and no attribute runs or styles anything: the policy would refuse it.
        let own = page.replace("&lt;img src=x onerror=alert(1)&gt;", "");
        for sign in ["src=", " style=", "<link", "@import", "url(", "<iframe", "http://", "https://"] {
            assert!(!own.contains(sign), "{sign}");
        }
        assert!(!page.contains("<img") && !page.contains("</script><b>") && !page.contains('\u{202e}'));
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;") && page.contains("U+202E"));
        assert!(page.contains("&lt;script&gt;100") && !page.contains("<script>100"));
        assert_eq!(page.matches("<script>").count(), 1);
        // Every figure has its name, what it says, and its numbers.
        let figures = page.matches("<svg class=\"plot\"").count();
        assert!(figures >= 5, "{figures}");
        assert_eq!(page.matches("role=\"img\"").count(), figures + 1);
        assert_eq!(page.matches("<desc>").count(), figures + 1);
    }
}

/// The tags of the page, without those that have no end.
#[test]
fn every_element_is_closed_where_it_was_opened() {
    let page = page(&whole(), Language::English);
    let body = page.split("<body>").nth(1).unwrap().split("<script>").next().unwrap();
    let mut open: Vec<&str> = Vec::new();
    for tag in body.split('<').skip(1) {
        let name = tag.split([' ', '>', '/']).find(|word| !word.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !["input", "br", "wbr"].contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn the_numbers_of_the_study_are_those_of_the_journal() {
    let page = page(&whole(), Language::English);
    let study = page.split("id=\"study\"").nth(1).unwrap().split("</section>").next().unwrap();
    for number in ["72.41 %", "0.412", "+0.300", "step 40", "21", "19", "rejected", "promoted"] {
        assert!(study.contains(number), "{number}: {study}");
    }
    // The interval of the one that has no table of items comes from its counts.
    assert!(study.contains("66.67 %") || study.contains("68."), "{study}");
}

/// A policy that `rm` trained, beside the model it started from: both are scored by `gold`, then by `rm`.
fn trained(gold: [f64; 2], proxy: [f64; 2], others: &[(&str, [f64; 2])]) -> Facts {
    let mut start = run_started(&[("base", "pretrain"), ("rm", "rm"), ("ppo", "ppo"), ("eval", "eval")]);
    if let Event::RunStarted { stages, .. } = &mut start {
        let from = vec![
            ("policy".to_owned(), vec!["base".to_owned().into()]),
            ("reward".to_owned(), vec!["rm".to_owned().into()]),
        ];
        stages[2] = StageHead { from, ..head("ppo", "ppo") }.into();
    }
    let row = |model: &str, at: usize| {
        let all = [("mean_score", gold[at]), ("mean_score_2", proxy[at])];
        let others = others.iter().map(|(name, values)| (*name, values[at]));
        let values: Vec<(&str, f64)> = all.into_iter().chain(others).collect();
        let counts = Counts { win: 3, loss: 2, tie_changed: 0, tie_unchanged: 1 };
        let versus = (at == 1).then(|| BaselineComparison::of("base".to_owned().into(), counts));
        let row = StudyRow { model: model.to_owned().into(), is_rejected: false, metrics: metrics(&values), versus };
        Event::Measured { eval: "eval".to_owned(), row }
    };
    let rewards = ["gold", "rm"].map(str::to_owned).to_vec();
    let events = [start, Event::ScoredBy { eval: "eval".to_owned(), rewards }, row("base", 0), row("ppo", 1)];
    Facts::of(folded(&events), false)
}

/// The light of this name: how it shines, in a word, and its numbers.
fn light(facts: &Facts, name: &str) -> String {
    let rows = super::health::rows(facts);
    let row = rows.iter().find(|row| row[0] == name).unwrap();
    [1, 2, 4].map(|column| row[column].as_str().unwrap()).join(" | ")
}

#[test]
fn the_light_of_reward_hacking_goes_by_a_reward_that_trained_nobody() {
    // As pipelines/overoptimisation.yaml ends: the proxy soars, what was meant falls.
    let cheating = trained([0.31, -0.12], [0.05, 4.8], &[]);
    expect!["bad | cheating | ppo: not (mean_score_2 4.8 > incumbent.mean_score_2 0.05 (by 4.75) and mean_score -0.12 < incumbent.mean_score 0.31 (by 0.43))"]
        .assert_eq(&light(&cheating, "reward_hacking"));
    expect!["bad | no | ppo: mean_score -0.12 is not > incumbent.mean_score 0.31 (short by 0.43)"]
        .assert_eq(&light(&cheating, "learning"));
    let healthy = trained([0.31, 0.62], [0.05, 1.8], &[]);
    expect!["good | no | ppo: not (mean_score_2 1.8 > incumbent.mean_score_2 0.05 (by 1.75) and mean_score 0.62 is not < incumbent.mean_score 0.31 (over by 0.31))"].assert_eq(&light(&healthy, "reward_hacking"));
    // Without a second reward nobody knows.
    let alone = Facts::of(folded(&promotion()), false);
    assert!(
        light(&alone, "reward_hacking").starts_with("unknown | unknown: not measured"),
        "{}",
        light(&alone, "reward_hacking")
    );
}

#[test]
fn answers_that_grow_wordy_or_all_the_same_are_told_by_their_rules() {
    let read = |others: &[(&str, [f64; 2])], name: &str| light(&trained([0.0, 1.0], [0.0, 1.0], others), name);
    let length = |lengths: [f64; 2], ends: [f64; 2]| read(&[("length", lengths), ("eos_share", ends)], "length");
    let shown = [
        length([10.0, 12.0], [0.9, 0.9]),
        length([10.0, 31.0], [0.9, 0.97]),
        length([10.0, 31.0], [0.9, 0.4]),
        length([10.0, 3.0], [0.9, 1.0]),
        read(&[("length", [10.0, 31.0])], "length"),
        read(&[("distinct_2", [0.8, 0.7])], "repetition"),
        read(&[("distinct_2", [0.8, 0.2])], "repetition"),
        read(&[("distinct_2", [0.8, 0.7]), ("same_answer_share", [0.1, 0.9])], "repetition"),
        read(&[("distinct_2", [0.8, 0.7]), ("same_answer_share", [0.95, 0.9])], "repetition"),
        read(&[], "repetition"),
    ];
    expect![[r#"
        good | steady | ppo: length 12 <= 1.5 * incumbent.length 10 = 15 (by 3)
        doubtful | longer | ppo: length 31 is not <= 1.5 * incumbent.length 10 = 15 (over by 16)
        bad | wordy | ppo: length 31 is not <= 1.5 * incumbent.length 10 = 15 (over by 16) or eos_share 0.4 is not >= 0.9 (short by 0.5)
        bad | falling silent | ppo: length 3 is not >= 0.5 * incumbent.length 10 = 5 (short by 2)
        doubtful | longer | ppo: length 31 is not <= 1.5 * incumbent.length 10 = 15 (over by 16)
        good | no | ppo: distinct_2 0.7 >= 0.8 * incumbent.distinct_2 0.8 = 0.64 (by 0.06)
        bad | repeats itself | ppo: distinct_2 0.2 is not >= 0.8 * incumbent.distinct_2 0.8 = 0.64 (short by 0.44)
        bad | one answer for most | ppo: same_answer_share 0.9 is not <= 0.5 (over by 0.4) or same_answer_share 0.9 is not <= incumbent.same_answer_share 0.1 (over by 0.8)
        good | no | ppo: distinct_2 0.7 >= 0.8 * incumbent.distinct_2 0.8 = 0.64 (by 0.06)
        unknown | unknown: not measured | "#]].assert_eq(&shown.join("\n"));
}
