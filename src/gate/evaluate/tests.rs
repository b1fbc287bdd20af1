//! Explanations of rules about numbers, word for word, and the published study.

mod confidence;
mod forms;
mod functions;
mod nearest;
mod people;
mod subsets;

use super::super::items::{Counts, Item, Items};
use super::super::{JudgeScope, MetricName, RuleScope, check, parse};
use super::*;
use expect_test::{Expect, expect};
use stages::stage::Direction;
use std::collections::BTreeMap;
use std::sync::Arc;

fn subject(metrics: &[(&str, f64)], judged: &[(&str, f64)]) -> Subject {
    let map = |pairs: &[(&str, f64)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), Some(*value))).collect();
    let measured = |pairs| Readings { metrics: map(pairs), items: None };
    Subject { own: measured(metrics), judged: vec![measured(judged)], ..Subject::default() }
}

fn scope() -> RuleScope {
    let metric = |name: &str| MetricName {
        name: name.to_owned(),
        direction: if name == "loss" { Direction::Lower } else { Direction::Higher },
        field: None,
        bounds: None,
        has_own_rows: false,
    };
    let own = vec![metric("loss"), metric("a"), metric("b"), metric("odd")];
    let judge = JudgeScope { name: "eval".to_owned(), metrics: vec![metric("mean_score")], has_items: true };
    let stages = BTreeMap::from([("sft".to_owned(), own.clone())]);
    RuleScope { incumbent: Some(own.clone()), own, judges: vec![judge], stages: stages.into(), ..RuleScope::default() }
}

fn say(text: &str, subjects: &Subjects) -> String {
    let mut rule = parse(text).expect("the rule is well formed");
    assert_eq!(check(&mut rule, &scope()), [], "{text}");
    let Judgement { decision, explanation, .. } = evaluate(&rule, subjects);
    format!("{}: {explanation}", format!("{decision:?}").to_lowercase())
}

fn judged(text: &str, expected: Expect) {
    let mut candidate = subject(&[("loss", 2.0), ("a", 1.0), ("b", 0.3)], &[("mean_score", 0.41234)]);
    candidate.own.metrics.insert("odd".to_owned(), Some(f64::NAN));
    let mut incumbent = subject(&[("loss", 2.5), ("a", 1.0)], &[("mean_score", 0.105)]);
    incumbent.own.metrics.insert("b".to_owned(), None);
    let stages = BTreeMap::from([("sft".to_owned(), subject(&[("loss", 1.5), ("odd", f64::INFINITY)], &[]))]);
    let subjects = Subjects::of(&candidate, Some(&incumbent), &stages);
    expected.assert_eq(&say(text, &subjects));
}

#[test]
fn a_comparison_is_explained_by_its_numbers_and_how_far_they_are_apart() {
    judged(
        "mean_score > incumbent.mean_score",
        expect![[r#"pass: mean_score 0.4123 > incumbent.mean_score 0.105 (by 0.3073)"#]],
    );
    judged(
        "incumbent.mean_score > mean_score",
        expect![[r#"fail: incumbent.mean_score 0.105 is not > mean_score 0.4123 (short by 0.3073)"#]],
    );
    judged("a > incumbent.a", expect![[r#"fail: a 1 is not > incumbent.a 1 (equal)"#]]);
    judged("a >= 1 and a = 1.0 and a != 2", expect![[r#"pass: a 1 >= 1 (equal) and a 1 = 1.0 and a 1 != 2 (by 1)"#]]);
    judged(
        "a = 2 or a != 1 or loss < 1.5",
        expect![[r#"fail: a 1 is not = 2 (off by 1) or a 1 is not != 1 or loss 2 is not < 1.5 (over by 0.5)"#]],
    );
    judged("0.1 < b < 0.5", expect![[r#"pass: 0.1 < b 0.3 < 0.5 (by 0.2; by 0.2)"#]]);
    judged("0.1 < b < 0.2 < a", expect![[r#"fail: 0.1 < b 0.3 is not < 0.2 < a 1 (by 0.2; over by 0.1; by 0.8)"#]]);
    judged("b between 0.1 and 0.3", expect![[r#"pass: b 0.3 between 0.1 and 0.3"#]]);
    judged("b between 0.1 and 0.2", expect![[r#"fail: b 0.3 is not between 0.1 and 0.2 (over by 0.1)"#]]);
    judged("0.05 between 0.1 and b", expect![[r#"fail: 0.05 is not between 0.1 and b 0.3 (short by 0.05)"#]]);
}

#[test]
fn improving_follows_the_direction_of_the_metric() {
    judged("loss improves over incumbent", expect![[r#"pass: loss 2 improves over incumbent.loss 2.5 (by 0.5)"#]]);
    judged("loss improves over sft", expect![[r#"fail: loss 2 does not improve over sft.loss 1.5 (short by 0.5)"#]]);
    judged(
        "mean_score improves over incumbent by 0.1",
        expect![[r#"pass: mean_score 0.4123 improves over incumbent.mean_score 0.105 + 0.1 = 0.205 (by 0.2073)"#]],
    );
    judged(
        "loss improves over incumbent by 20%",
        expect![[r#"fail: loss 2 does not improve over incumbent.loss 2.5 - 20% = 2 (equal)"#]],
    );
    judged("a improves over incumbent", expect![[r#"fail: a 1 does not improve over incumbent.a 1 (equal)"#]]);
}

#[test]
fn a_margin_moves_the_threshold_by_the_size_of_the_right_side() {
    judged("a > -2 by 50%", expect![[r#"pass: a 1 > -2 + 50% = -1 (by 2)"#]]);
    judged("loss < incumbent.loss by 10%", expect![[r#"pass: loss 2 < incumbent.loss 2.5 - 10% = 2.25 (by 0.25)"#]]);
    judged(
        "a > b + 0.6 by 0.1",
        expect![[r#"pass: a 1 > b 0.3 + 0.6 = 0.8999999999999999 + 0.1 = 0.9999999999999999 (by 1.11e-16)"#]],
    );
}

#[test]
fn arithmetic_shows_its_operands_and_its_result() {
    judged(
        "a - b * 2 > (a - b) * 2",
        expect![[r#"fail: a 1 - b 0.3 * 2 = 0.4 is not > (a 1 - b 0.3) * 2 = 1.4 (short by 1)"#]],
    );
    judged("a - (b - 0.1) / 2 - -b > 0", expect![[r#"pass: a 1 - (b 0.3 - 0.1) / 2 - -b 0.3 = 1.2 > 0 (by 1.2)"#]]);
    judged("-(a + b) < -a", expect![[r#"pass: -(a 1 + b 0.3) = -1.3 < -a 1 = -1 (by 0.3)"#]]);
    judged(
        "abs(b - a) > min(a, b, 0.5)",
        expect![[r#"pass: abs(b 0.3 - a 1) 0.7 > min(a 1, b 0.3, 0.5) 0.3 (by 0.4)"#]],
    );
    judged(
        "best(loss, incumbent.loss) < worst(loss, incumbent.loss)",
        expect![[r#"pass: best(loss 2, incumbent.loss 2.5) 2 < worst(loss 2, incumbent.loss 2.5) 2.5 (by 0.5)"#]],
    );
    judged(
        "delta(mean_score, incumbent) > 0.3",
        expect![[r#"pass: delta(mean_score 0.4123, incumbent.mean_score 0.105) 0.3073 > 0.3 (by 0.00734)"#]],
    );
    judged("a - 0.9 = 0.1", expect![[r#"fail: a 1 - 0.9 = 0.09999999999999998 is not = 0.1 (off by 2.776e-17)"#]]);
}

#[test]
fn what_is_no_number_is_an_error_and_never_false() {
    judged("odd > 1", expect![[r#"error: odd NaN > 1 (`odd` is NaN)"#]]);
    judged("not odd > 1", expect![[r#"error: not (odd NaN > 1 (`odd` is NaN))"#]]);
    judged(
        "incumbent.b < 1",
        expect![[r#"error: incumbent.b ? < 1 (`incumbent.b` is null: it came out as no finite number)"#]],
    );
    judged("sft.odd > 1", expect![[r#"error: sft.odd infinite > 1 (`sft.odd` is infinite)"#]]);
    judged("sft.a > 1", expect![[r#"error: sft.a ? > 1 (`sft.a` was not measured)"#]]);
    judged("sft.mean_score < 1", expect![[r#"error: sft.mean_score ? < 1 (`sft.mean_score` was not measured)"#]]);
    judged("a / (b - b) > 1", expect![[r#"error: a 1 / (b 0.3 - b 0.3) > 1 (division by zero)"#]]);
    judged("1e308 * 10 * a > 1", expect![[r#"error: 1e308 * 10 * a 1 > 1 (the result of `*` is too large)"#]]);
    judged("max(a, odd) > 0", expect![[r#"error: max(a 1, odd NaN) ? > 0 (`odd` is NaN)"#]]);
    judged(
        "odd between 0 and incumbent.b",
        expect![[
            r#"error: odd NaN between 0 and incumbent.b ? (`odd` is NaN; `incumbent.b` is null: it came out as no finite number)"#
        ]],
    );
    judged(
        "odd improves over sft",
        expect![[r#"error: odd NaN improves over sft.odd infinite (`odd` is NaN; `sft.odd` is infinite)"#]],
    );
    judged(
        "win_rate(sft over changed) > 0.5",
        expect![[
            r#"error: win_rate(sft over changed) ? > 0.5 (win_rate(sft over changed): the candidate has no table of items)"#
        ]],
    );
}

#[test]
fn any_error_wins_over_what_would_settle_the_rule() {
    judged("a > 5 and odd > 1", expect![[r#"error: a 1 is not > 5 (short by 4) and odd NaN > 1 (`odd` is NaN)"#]]);
    judged("a > 0 or odd > 1", expect![[r#"error: a 1 > 0 (by 1) or odd NaN > 1 (`odd` is NaN)"#]]);
    judged(
        "a > 0 and (a > 5 or b > 0)",
        expect![[r#"pass: a 1 > 0 (by 1) and (a 1 is not > 5 (short by 4) or b 0.3 > 0 (by 0.3))"#]],
    );
    judged("not (a > 0 and b > 5)", expect![[r#"pass: not (a 1 > 0 (by 1) and b 0.3 is not > 5 (short by 4.7))"#]]);
}

#[test]
fn a_rule_that_was_not_checked_is_an_error() {
    let candidate = subject(&[("a", 1.0)], &[]);
    let stages = BTreeMap::new();
    let subjects = Subjects::of(&candidate, None, &stages);
    let judgement = evaluate(&parse("a > 0").unwrap(), &subjects);
    assert_eq!(judgement.decision, Decision::Error);
}

fn items(score: impl Fn(u64) -> f64, text: impl Fn(u64) -> String) -> Items {
    let row = |at: u64| Item {
        id: at.to_string(),
        prompt: format!("p{at}"),
        text: Some(text(at)),
        group: None,
        subset: None,
    };
    let fields = BTreeMap::from([("score".to_owned(), (0..2000).map(|at| Some(score(at))).collect())]);
    Items { rows: (0..2000).map(row).collect(), fields, fault: None }
}

fn with_items(items: Items) -> Subject {
    let judged = Readings { metrics: BTreeMap::new(), items: Some(Arc::new(items)) };
    Subject { judged: vec![judged], ..Subject::default() }
}

/// The published study: four stages, 2,000 prompts, win rates over changed answers.
#[test]
fn the_published_table_comes_out_with_one_changed_tie_a_stage() {
    let before = items(|_| 0.0, |_| "before".to_owned());
    let stages = BTreeMap::from([("sft".to_owned(), with_items(before.clone()))]);
    let mut said = String::new();
    for (win, loss, printed) in [(205, 196, "51.12"), (190, 168, "53.06"), (198, 156, "55.92"), (228, 193, "54.15")] {
        let score = |at: u64| f64::from(at < win) - f64::from(at >= win && at < win + loss);
        let after = items(score, |at| if at <= win + loss { format!("after {at}") } else { "before".to_owned() });
        let rate = Counts::between(&after, &before).unwrap().win_rate().unwrap();
        assert_eq!(format!("{:.2}", 100.0 * rate), printed);
        let candidate = with_items(after);
        let subjects = Subjects::of(&candidate, None, &stages);
        said += &say("win_rate(sft over changed) > 0.52", &subjects);
        said += &format!("\n{}\n", say("changed(sft) > 0.2", &subjects));
    }
    expect![[r#"
        fail: win_rate(sft over changed) 0.5112 [205 win, 196 loss, 1 tie changed, 1598 tie unchanged] is not > 0.52 (short by 0.008806; 95 % interval -0.059 to 0.041: within noise; two-sided p 0.76)
        pass: changed(sft) 0.201 [402 of 2000] > 0.2 (by 0.001; 95 % interval -0.016 to 0.019: within noise; two-sided p 0.91)
        pass: win_rate(sft over changed) 0.5306 [190 win, 168 loss, 1 tie changed, 1641 tie unchanged] > 0.52 (by 0.01064; 95 % interval -0.042 to 0.063: within noise; two-sided p 0.73)
        fail: changed(sft) 0.1795 [359 of 2000] is not > 0.2 (short by 0.0205; 95 % interval -0.037 to -0.0031; two-sided p 0.022)
        pass: win_rate(sft over changed) 0.5592 [198 win, 156 loss, 1 tie changed, 1645 tie unchanged] > 0.52 (by 0.03915; 95 % interval -0.014 to 0.091: within noise; two-sided p 0.15)
        fail: changed(sft) 0.1775 [355 of 2000] is not > 0.2 (short by 0.0225; 95 % interval -0.039 to -0.0051; two-sided p 0.012)
        pass: win_rate(sft over changed) 0.5415 [228 win, 193 loss, 1 tie changed, 1578 tie unchanged] > 0.52 (by 0.02147; 95 % interval -0.027 to 0.07: within noise; two-sided p 0.4)
        pass: changed(sft) 0.211 [422 of 2000] > 0.2 (by 0.011; 95 % interval -0.0063 to 0.029: within noise; two-sided p 0.22)
    "#]].assert_eq(&said);
}

/// The third stage starts from the first, because the second was rejected.
#[test]
fn the_published_promotions_come_out_of_the_plain_rule() {
    let mut promoted = Vec::new();
    let mut incumbent = subject(&[], &[("mean_score", -0.994)]);
    for score in [-0.983, -0.988, -0.970, -0.988] {
        let candidate = subject(&[], &[("mean_score", score)]);
        let stages = BTreeMap::new();
        let subjects = Subjects::of(&candidate, Some(&incumbent), &stages);
        promoted.push(say("mean_score > incumbent.mean_score", &subjects));
        if promoted.last().is_some_and(|said| said.starts_with("pass")) {
            incumbent = candidate;
        }
    }
    expect![[r#"
        pass: mean_score -0.983 > incumbent.mean_score -0.994 (by 0.011)
        fail: mean_score -0.988 is not > incumbent.mean_score -0.983 (short by 0.005)
        pass: mean_score -0.97 > incumbent.mean_score -0.983 (by 0.013)
        fail: mean_score -0.988 is not > incumbent.mean_score -0.97 (short by 0.018)"#]]
    .assert_eq(&promoted.join("\n"));
}

#[test]
fn nothing_changed_leaves_a_win_rate_open_and_an_error_beside_it_still_wins() {
    let same = with_items(items(|_| 0.0, |_| "same".to_owned()));
    let stages = BTreeMap::from([("sft".to_owned(), same.clone())]);
    let subjects = Subjects::of(&same, None, &stages);
    let said = [
        say("win_rate(sft over changed) > 0.5", &subjects),
        say("win_rate(sft over changed) > 0.5 and changed(sft) > 0", &subjects),
        say("win_rate(sft over changed) + mean_score > 0.5", &subjects),
    ];
    expect![[r#"
        unsure: win_rate(sft over changed) ? > 0.5 (win_rate(sft over changed): none of 2000 texts changed, so none won or lost)
        fail: win_rate(sft over changed) ? > 0.5 (win_rate(sft over changed): none of 2000 texts changed, so none won or lost) and changed(sft) 0 [0 of 2000] is not > 0 (equal; 95 % interval 0 to 0.0019: within noise; two-sided p 1)
        error: win_rate(sft over changed) ? + mean_score ? > 0.5 (`mean_score` was not measured)"#]].assert_eq(&said.join("\n"));
}
