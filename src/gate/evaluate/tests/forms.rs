//! Rules with other forms of confidence: tables that grow, declared bounds.

use super::super::super::items::{Item, Items};
use super::super::super::{JudgeScope, MetricName, RuleScope, check, parse};
use super::super::*;
use expect_test::{Expect, expect};
use stages::stage::{Bounds, Direction};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

fn scope() -> RuleScope {
    let metric = |name: &str, field: &str, bounds| MetricName {
        name: name.to_owned(),
        direction: Direction::Higher,
        field: Some(field.to_owned()),
        bounds,
        has_own_rows: false,
    };
    let likert = Some(Bounds { low: 1.0, high: 5.0 });
    let metrics = vec![metric("mean_score", "score", None), metric("rating", "rating", likert)];
    let judge = JudgeScope { name: "eval".to_owned(), metrics, has_items: true };
    RuleScope { judges: vec![judge], stages: Arc::new([("sft".to_owned(), Vec::new())].into()), ..RuleScope::default() }
}

fn rule(text: &str) -> Rule {
    let mut rule = parse(text).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}"));
    assert_eq!(check(&mut rule, &scope()), [], "{text}");
    rule
}

/// Answers with these scores and ratings, two of three with a text of their own.
fn subject(count: usize, name: &str, score: &dyn Fn(usize) -> f64, rating: &dyn Fn(usize) -> f64) -> Subject {
    let text = |at: usize| if at.is_multiple_of(3) { "same".to_owned() } else { name.to_owned() };
    let row = |at: usize| Item {
        id: at.to_string(),
        prompt: format!("p{at}"),
        text: Some(text(at)),
        group: None,
        subset: None,
    };
    let column = |of: &dyn Fn(usize) -> f64| (0..count).map(|at| Some(of(at))).collect::<Vec<_>>();
    let fields = BTreeMap::from([("score".to_owned(), column(score)), ("rating".to_owned(), column(rating))]);
    let mean = |field: &str| Some(fields[field].iter().flatten().sum::<f64>() / count as f64);
    let metrics = BTreeMap::from([("mean_score".to_owned(), mean("score")), ("rating".to_owned(), mean("rating"))]);
    let items = Items { rows: (0..count).map(row).collect(), fields, fault: None };
    Subject { judged: vec![Readings { metrics, items: Some(Arc::new(items)) }], ..Subject::default() }
}

/// A candidate that gains 0.1 ± 0.7 in its score, and whose ratings are mostly better by one.
fn candidate(count: usize) -> Subject {
    let noise = |at: usize| ((at * 7919 + 12_345) % 9973) as f64 / 4986.5 - 1.0;
    subject(count, "new", &|at| 0.1 + 1.2 * noise(at), &|at| if at % 5 == 0 { 2.0 } else { 4.0 })
}

fn sft(count: usize) -> Subject {
    subject(count, "old", &|_| 0.0, &|_| 3.0)
}

/// The verdict at `count` items, after looks at these numbers of items.
fn say_of(candidate: &Subject, count: usize, earlier: &[usize], text: &str) -> String {
    let stages = BTreeMap::from([("sft".to_owned(), sft(count))]);
    let look = LookTerms { stake: 1.0, note: String::new(), earlier: earlier.to_vec() };
    let subjects = Subjects { look: Some(&look), ..Subjects::of(candidate, None, &stages) };
    let Judgement { decision, explanation, .. } = evaluate(&rule(text), &subjects);
    format!("{}: {explanation}", format!("{decision:?}").to_lowercase())
}

fn said(count: usize, earlier: &[usize], text: &str, expected: Expect) {
    expected.assert_eq(&say_of(&candidate(count), count, earlier, text));
}

#[test]
fn a_table_that_grows_spends_its_level_up_to_the_maximum() {
    let text = "mean_score > sft.mean_score with 95% confidence up to 2000 items";
    said(
        20,
        &[],
        text,
        expect![
            "unsure: mean_score 0.05502 is not surely > sft.mean_score 0 with 95% confidence up to 2000 items (by 0.05502; nothing is known at more than 99.999 %; p 0.37 against 1.6e-85; sign flips and skewed t, 20 items; look 1 at a growing table: 20 of at most 2000 items, which allow less than 0.001 points of the 5 % by now; only 20 of them differ, and it takes 482 to decide; the level is promised from 30 items on; harm to less than 100 % of the items may not show (3 % takes 6412))"
        ],
    );
    said(
        400,
        &[],
        text,
        expect![
            "unsure: mean_score 0.09905 is not surely > sft.mean_score 0 with 95% confidence up to 2000 items (by 0.09905; nothing is known at 99.99883 %; p 0.0028 against 0.000012; sign flips and skewed t, 400 items; look 1 at a growing table: 400 of at most 2000 items, which allow 0.0012 points of the 5 % by now; harm to less than 2.8 % of the items may not show)"
        ],
    );
    said(
        800,
        &[400],
        text,
        expect![
            "pass: mean_score 0.1021 > sft.mean_score 0 with 95% confidence up to 2000 items (by 0.1021; at least 0.0311 at 99.806 %; p < 0.0001 against 0.0019; sign flips and skewed t, 800 items; look 2 at a growing table: 800 of at most 2000 items, which allow 0.19 points of the 5 % by now; harm to less than 0.78 % of the items may not show)"
        ],
    );
    said(
        2000,
        &[400, 800, 1500],
        text,
        expect![
            "pass: mean_score 0.1006 > sft.mean_score 0 with 95% confidence up to 2000 items (by 0.1006; at least 0.0739 at 95.7 %; p < 0.0001 against 0.043; sign flips and skewed t, 2000 items; look 4 at a growing table: 2000 of at most 2000 items, which allow 5 points of the 5 % by now; harm to less than 0.16 % of the items may not show)"
        ],
    );
    // Another look at as many is that look again, whatever came after it.
    assert_eq!(say_of(&candidate(800), 800, &[400, 800, 900], text), say_of(&candidate(800), 800, &[400], text));
    // More than the maximum has what is left; after that nothing is.
    said(
        2300,
        &[400, 1999],
        text,
        expect![
            "pass: mean_score 0.1011 > sft.mean_score 0 with 95% confidence up to 2000 items (by 0.1011; at least 0.065 at 99.375 %; p < 0.0001 against 0.0062; sign flips and skewed t, 2300 items; look 3 at a growing table: 2300 of at most 2000 items, which allow 5 points of the 5 % by now; harm to less than 0.22 % of the items may not show)"
        ],
    );
    said(
        2300,
        &[400, 2000],
        text,
        expect![[
            r#"unsure: mean_score 0.1011 is not surely > sft.mean_score 0 with 95% confidence up to 2000 items (the 2000 items are spent; name fresh prompts)"#
        ]],
    );
    said(
        500,
        &[400, 800],
        text,
        expect![[
            r#"unsure: mean_score 0.1043 is not surely > sft.mean_score 0 with 95% confidence up to 2000 items (500 items now and 800 at an earlier look: this table shrinks)"#
        ]],
    );
    let wins = "win_rate(sft over changed) > 0.5 with 95% confidence over 4 looks up to 900 items";
    said(
        600,
        &[300],
        wins,
        expect![
            "unsure: win_rate(sft over changed) 0.5475 [219 win, 181 loss, 0 tie changed, 200 tie unchanged] is not surely > 0.5 with 95% confidence over 4 looks up to 900 items (by 0.0475; above -0.00725 and below 0.101, each at 98.39 %; p 0.032 against 0.016; sign test, 400 changed answers; look 2 at a growing table: 600 of at most 900 items, which allow 1.6 points of the 5 % by now)"
        ],
    );
}

/// A look of a growing table has no fixed part of the level, so that it lets no other claim have more than its share.
#[test]
fn several_claims_about_a_growing_table_share_the_level() {
    let text = "mean_score > sft.mean_score with 95% confidence up to 1000 items";
    said(
        1000,
        &[500],
        &format!("{text} or rating > 3.9 with 95% confidence up to 1000 items"),
        expect![
            "pass: mean_score 0.1043 > sft.mean_score 0 with 95% confidence up to 1000 items (by 0.1043; at least 0.0611 at 97.55 %; p < 0.0001 against 0.024; sign flips and skewed t, 1000 items; look 2 at a growing table: 1000 of at most 1000 items, which allow 2.5 points of the 2.5 % by now; harm to less than 0.37 % of the items may not show) or rating 3.6 is not > 3.9 with 95% confidence up to 1000 items (short by 0.3; misses by at least 0.251 at 97.55 %; p < 0.0001 against 0.024; exact McNemar test, 1000 items; look 2 at a growing table: 1000 of at most 1000 items, which allow 2.5 points of the 2.5 % by now)"
        ],
    );
}

#[test]
fn without_a_maximum_a_win_rate_is_weighed_by_e_values() {
    said(
        120,
        &[40, 80],
        "win_rate(sft over changed) > 0.5 with 95% confidence up to items",
        expect![[
            r#"unsure: win_rate(sft over changed) 0.5625 [45 win, 35 loss, 0 tie changed, 40 tie unchanged] is not surely > 0.5 with 95% confidence up to items (by 0.0625; above -0.0999 and below 0.216, each at 95 %; p 0.7; sign test by e-values, valid after any number of looks, 80 changed answers)"#
        ]],
    );
    said(
        120,
        &[],
        "win_rate(sft over changed) > 0.3 with 95% confidence up to items",
        expect![[
            r#"pass: win_rate(sft over changed) 0.5625 [45 win, 35 loss, 0 tie changed, 40 tie unchanged] > 0.3 with 95% confidence up to items (by 0.2625; at least 0.1 at 95 %; p 0.00029; sign test by e-values, valid after any number of looks, 80 changed answers)"#
        ]],
    );
    said(
        120,
        &[],
        "win_rate(sft over changed) < 0.3 with 95% confidence up to items",
        expect![[
            r#"fail: win_rate(sft over changed) 0.5625 [45 win, 35 loss, 0 tie changed, 40 tie unchanged] is not < 0.3 with 95% confidence up to items (over by 0.2625; misses by at least 0.1 at 95 %; p 0.00029; sign test by e-values, valid after any number of looks, 80 changed answers)"#
        ]],
    );
    let mut grouped = candidate(120);
    let mut items = (**grouped.judged[0].items.as_ref().unwrap()).clone();
    items.rows.iter_mut().enumerate().for_each(|(at, row)| row.group = Some(format!("g{}", at / 3)));
    grouped.judged[0].items = Some(Arc::new(items));
    let text = "win_rate(sft over changed) > 0.5 with 95% confidence up to items";
    expect![[r#"unsure: win_rate(sft over changed) 0.5625 [45 win, 35 loss, 0 tie changed, 40 tie unchanged] is not surely > 0.5 with 95% confidence up to items (without a maximum of items only one pair of answers for each prompt is weighed, and here are several: declare one, as `up to 2000 items`)"#]].assert_eq(&say_of(&grouped, 120, &[], text));
}

#[test]
fn declared_bounds_are_assumed_where_the_rule_says_so() {
    said(
        200,
        &[],
        "rating > sft.rating with 95% confidence assuming bounds",
        expect![
            "pass: rating 3.6 > sft.rating 3 with 95% confidence assuming bounds (by 0.6; at least 0.448 at 95 %; p < 0.0001; betting test within -4 to 4, 200 items)"
        ],
    );
    said(
        200,
        &[],
        "rating > 3 with 95% confidence assuming bounds",
        expect![
            "pass: rating 3.6 > 3 with 95% confidence assuming bounds (by 0.6; at least 0.474 at 95 %; p < 0.0001; betting test within 1 to 5, 200 items)"
        ],
    );
    said(
        200,
        &[],
        "rating < 3.4 with 95% confidence assuming bounds",
        expect![
            "fail: rating 3.6 is not < 3.4 with 95% confidence assuming bounds (over by 0.2; misses by at least 0.074 at 95 %; p 0.0075; betting test within 1 to 5, 200 items)"
        ],
    );
    said(
        200,
        &[],
        "ratio(rating, sft) > 1.1 with 95% confidence assuming bounds",
        expect![
            "pass: ratio(rating 3.6, sft.rating 3) 1.2 > 1.1 with 95% confidence assuming bounds (by 0.1; at least 0.049 at 95 %; p 0.00047; betting test within -1.5 to 1.3, 200 items)"
        ],
    );
    said(
        200,
        &[],
        "win_rate(sft over changed) > 0.4 with 95% confidence assuming bounds",
        expect![
            "pass: win_rate(sft over changed) 0.5639 [75 win, 58 loss, 0 tie changed, 67 tie unchanged] > 0.4 with 95% confidence assuming bounds (by 0.1639; at least 0.067 at 95 %; p 0.0016; betting test within 0 to 1, 133 changed answers)"
        ],
    );
    said(
        200,
        &[100],
        "rating > 3 with 95% confidence up to 400 items assuming bounds",
        expect![
            "pass: rating 3.6 > 3 with 95% confidence up to 400 items assuming bounds (by 0.6; at least 0.392 at 99.451 %; p < 0.0001 against 0.0055; betting test within 1 to 5, 200 items; look 2 at a growing table: 200 of at most 400 items, which allow 0.56 points of the 5 % by now)"
        ],
    );
}

#[test]
fn an_item_outside_its_bounds_is_an_error_of_a_rule_that_assumes_them() {
    let wrong = subject(60, "new", &|_| 0.0, &|at| if at == 7 { 5.5 } else { 4.0 });
    expect![[r#"error: rating 4.025 > 3 with 95% confidence assuming bounds (the rating of item `7` is 5.5, and its bounds are 1 to 5)"#]].assert_eq(&say_of(&wrong, 60, &[], "rating > 3 with 95% confidence assuming bounds"));
    assert!(say_of(&wrong, 60, &[], "rating > 3 with 95% confidence").starts_with("pass"));
}

#[test]
#[ignore = "measures time; run it alone: cargo test --release growing_rules_are_quick -- --ignored --nocapture"]
fn growing_rules_are_quick() {
    let earlier: Vec<usize> = (1..20).map(|look| 100 * look).collect();
    for form in ["", " up to 2000 items", " assuming bounds", " up to 2000 items assuming bounds"] {
        let text = format!("rating > sft.rating with 95% confidence{form}");
        let started = Instant::now();
        let verdict = say_of(&candidate(2000), 2000, &earlier, &text);
        println!("{:?} {verdict}", started.elapsed());
    }
}
