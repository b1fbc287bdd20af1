//! Mistakes in rules, as people make them, and the messages about them.

use super::super::{JudgeScope, MetricName, parse, parse_expression};
use super::*;
use expect_test::{Expect, expect};
use stages::stage::Bounds;
use std::sync::Arc;

fn metrics(names: &[(&str, Direction)]) -> Vec<MetricName> {
    names
        .iter()
        .map(|(name, direction)| MetricName {
            name: (*name).to_owned(),
            direction: *direction,
            field: None,
            bounds: None,
            has_own_rows: false,
        })
        .collect()
}

/// A ppo stage that goes on from sft and is judged by an eval.
fn scope() -> RuleScope {
    let sft = metrics(&[("heldout_loss", Direction::Lower), ("gap", Direction::Lower)]);
    let judge = metrics(&[("mean_score", Direction::Higher), ("kl", Direction::Lower), ("length", Direction::Neutral)]);
    RuleScope {
        own: metrics(&[("reward", Direction::Higher), ("kl", Direction::Lower), ("entropy", Direction::Neutral)]),
        judges: vec![JudgeScope { name: "eval".to_owned(), metrics: judge, has_items: true }],
        incumbent: Some(sft.clone()),
        stages: Arc::new(
            [("sft".to_owned(), sft), ("rm_1".to_owned(), metrics(&[("accuracy", Direction::Higher)]))].into(),
        ),
        ..RuleScope::default()
    }
}

fn listed(text: &str, mistakes: &[Mistake]) -> String {
    let lines = mistakes.iter().map(|mistake| {
        let help = mistake.help.as_ref().map_or(String::new(), |help| format!(" | {help}"));
        format!("[{}] {}{help}\n", &text[mistake.range.clone()], mistake.message)
    });
    lines.collect()
}

fn mistakes(text: &str, scope: &RuleScope) -> String {
    match parse(text) {
        Ok(mut rule) => listed(text, &check(&mut rule, scope)),
        Err(mistake) => listed(text, &[mistake]),
    }
}

fn refused(texts: &[&str], scope: &RuleScope, expected: Expect) {
    expected.assert_eq(&texts.iter().map(|text| format!("{text}\n{}", mistakes(text, scope))).collect::<String>());
}

fn accepted(text: &str, scope: &RuleScope) {
    assert_eq!(mistakes(text, scope), "", "{text}");
}

#[test]
fn every_form_of_the_grammar_is_accepted() {
    for text in [
        "mean_score > incumbent.mean_score",
        "0.1 < self.kl <= 0.5",
        "mean_score >= sft.mean_score by 5%",
        "mean_score improves over sft by 0.02",
        "sft.heldout_loss < 2.5",
        "self.kl between 0.01 and 2 * 0.5 and reward > -1e-3",
        "win_rate(sft over changed) > 0.5 or not changed(incumbent) > .1",
        "not (reward > 1 or (reward - 1) / 2 > max(0, entropy, length) * -1)",
        "delta(mean_score, sft) == 0.1 && abs(judge.kl) != 1 || reward = 2",
        "mean_score > best(sft.mean_score, incumbent.mean_score)",
        "rm_1.accuracy > 0.6",
    ] {
        accepted(text, &scope());
    }
}

#[test]
fn misspelt_names_are_answered_with_the_nearest_all_at_once() {
    refused(
        &[
            "mean_scor > stf.mean_score and reward > incumbent.men_score",
            "wobble > 1",
            "self.mean_score > 1",
            "judge.reward > 1",
            "win_rate > 0.5",
            "mean_score > sft",
            "mean_scor improves over sft",
            "gap improves over sft",
            "reward improves over sft",
            "mean(mean_score) > 1",
            "maxx(1, 2) > 1",
            "eval.mean_score > 1",
            "win_rate(eval over changed) > 0.5",
        ],
        &scope(),
        expect![[r#"
            mean_scor > stf.mean_score and reward > incumbent.men_score
            [mean_scor] unknown metric `mean_scor` | did you mean `mean_score`?
            [stf] unknown stage `stf` | did you mean `sft`?
            [men_score] unknown metric `men_score` of the incumbent | did you mean `mean_score`?
            wobble > 1
            [wobble] unknown metric `wobble` | there are: entropy, kl, length, mean_score, reward
            self.mean_score > 1
            [mean_score] unknown metric `mean_score` of this stage | the judge measures it: write `judge.mean_score`
            judge.reward > 1
            [reward] unknown metric `reward` of the judge | this stage measures it itself: write `self.reward`
            win_rate > 0.5
            [win_rate] unknown metric `win_rate` | `win_rate` is a function: `win_rate(STAGE over changed)`
            mean_score > sft
            [sft] unknown metric `sft` | `sft` is a stage: write `sft.` and a metric
            mean_scor improves over sft
            [mean_scor] unknown metric `mean_scor` | did you mean `mean_score`?
            gap improves over sft
            [gap] unknown metric `gap` | there are: entropy, kl, length, mean_score, reward
            reward improves over sft
            [sft] unknown metric `reward` of `sft` | there are: gap, heldout_loss
            mean(mean_score) > 1
            [mean_score] unknown field `mean_score` | no table of items is known here
            maxx(1, 2) > 1
            [maxx] unknown function `maxx` | did you mean `max`?
            eval.mean_score > 1
            win_rate(eval over changed) > 0.5
            [eval] `eval` is the judge, not one of the judged | its measurement of this stage is `judge.METRIC`, or the metric alone
        "#]],
    );
}

#[test]
fn a_metric_of_both_stage_and_judge_must_be_qualified() {
    refused(
        &["kl < 1"],
        &scope(),
        expect![[r#"
        kl < 1
        [kl] `kl` is measured by this stage and by its judge `eval` | write `self.kl` or `judge.kl`
    "#]],
    );
    accepted("self.kl < 1 and judge.kl < 1 and incumbent.kl < 1", &scope());
}

#[test]
fn there_is_no_incumbent_and_no_judge_unless_the_stage_has_one() {
    let alone = RuleScope { judges: Vec::new(), incumbent: None, ..scope() };
    let rules =
        ["reward > incumbent.reward", "reward improves over incumbent", "judge.mean_score > 1", "changed(sft) > 0.5"];
    refused(
        &rules,
        &alone,
        expect![[r#"
            reward > incumbent.reward
            [incumbent] this stage has no incumbent | name a stage, or compare with a number: nothing goes into this stage that it could keep
            reward improves over incumbent
            [incumbent] this stage has no incumbent | name a stage, or compare with a number: nothing goes into this stage that it could keep
            judge.mean_score > 1
            [judge.mean_score] this gate has no judge | add `judge: STAGE` to the gate
            changed(sft) > 0.5
            [sft] `changed` compares answers, and no judge asks for any | add `judge: STAGE` to the gate
        "#]],
    );
    let from_path = RuleScope { judges: Vec::new(), incumbent: Some(Vec::new()), ..scope() };
    refused(
        &rules[..1],
        &from_path,
        expect![[r#"
            reward > incumbent.reward
            [reward] unknown metric `reward` of the incumbent | it has no metrics of its own: name a stage that measures it with `judge:`, or, of kind `exec`, say what its command writes: `metrics: {score: higher}`
        "#]],
    );
    let no_items = JudgeScope { has_items: false, ..scope().judges.remove(0) };
    refused(
        &rules[3..],
        &RuleScope { judges: vec![no_items], ..scope() },
        expect![[r#"
        changed(sft) > 0.5
        [sft] `changed` compares answers, and `eval` leaves no table of them | judge by a stage of kind `eval`
    "#]],
    );
}

#[test]
fn directions_must_be_known_where_better_is_meant() {
    refused(
        &[
            "entropy improves over sft",
            "length improves over sft",
            "best(mean_score, sft.heldout_loss) > 1",
            "best(mean_score, length) > 1",
            "worst(mean_score, 0.1) > 1",
        ],
        &scope(),
        expect![[r#"
            entropy improves over sft
            [entropy] `entropy` is neither better high nor better low, so nothing improves it | compare with `>` or `<`
            [sft] unknown metric `entropy` of `sft` | there are: gap, heldout_loss
            length improves over sft
            [length] `length` is neither better high nor better low, so nothing improves it | compare with `>` or `<`
            best(mean_score, sft.heldout_loss) > 1
            [best(mean_score, sft.heldout_loss)] `best` cannot tell which is better: of some metrics the higher value is better, of others the lower | write `max(…)` or `min(…)`
            best(mean_score, length) > 1
            [best(mean_score, length)] `best` cannot tell which is better: `length` has no better side | write `max(…)` or `min(…)`
            worst(mean_score, 0.1) > 1
            [worst(mean_score, 0.1)] `worst` cannot tell which is better: not every argument is a metric | write `max(…)` or `min(…)`
        "#]],
    );
}

#[test]
fn habits_of_other_languages_are_answered_with_our_spelling() {
    refused(
        &[
            "!(reward > 1)",
            "reward => 1",
            "reward > = 1",
            "reward <> 1",
            "reward ≥ 1",
            "reward ＞ 1",
            "reward > 1 AND reward < 2",
            "reward > 1 & reward < 2",
            "win_rate(sft over changed) > 90%",
            "mean_score > sft.mean_score + 5%",
            "reward > 1,000",
            "reward > 1_000",
            "reward > 2^3",
            "reward is 1",
            "reward > 'x'",
            "reward > \"x\"",
            "mean(score where lang = \"ja\") > 0",
            "mean(score where subset = ja) > 0",
            "mean_score where subset = \"ja\" > 0",
            "mean_score > ppo_1@last.mean_score",
            "reward > +1",
            "reward > 1 adn reward < 2",
        ],
        &scope(),
        expect![[r#"
            !(reward > 1)
            [!] `!` is no part of the rule language | write `not`
            reward => 1
            [=>] `=>` is no part of the rule language | write `>=`
            reward > = 1
            [=] expected a number, a metric or `(`, found `=` | write `>=` in one
            reward <> 1
            [<>] `<>` is no part of the rule language | write `!=`
            reward ≥ 1
            [≥] `≥` is no part of the rule language | write `>=`
            reward ＞ 1
            [＞] `＞` is a full-width character | write `>`
            reward > 1 AND reward < 2
            [AND] `AND`: words of the rule language are written in small letters | write `and`
            reward > 1 & reward < 2
            [&] `&` is no part of the rule language | write `and`
            win_rate(sft over changed) > 90%
            [90%] `%` has a place only in a margin or a confidence | write `0.9`, or a margin such as `a > b by 90%`
            mean_score > sft.mean_score + 5%
            [5%] `%` has a place only in a margin or a confidence | write `0.05`, or a margin such as `a > b by 5%`
            reward > 1,000
            [,] expected `and`, `or` or the end, found `,` | write a decimal point, and no thousands separator
            reward > 1_000
            [1_000] `1_000` is not a number | numbers look like 200, 0.5 or 1e-5
            reward > 2^3
            [^] `^` is no part of the rule language | write the product out
            reward is 1
            [is] expected `and`, `or` or the end, found `is` | write `=`
            reward > 'x'
            ['] `'` is no part of the rule language | names are written without quotes
            reward > "x"
            ["x"] expected a number, a metric or `(`, found `"x"` | names are written without quotes
            mean(score where lang = "ja") > 0
            [lang] expected `subset = "NAME"`, found `lang` | `subset` is a field of the prompts: `where subset = "ja"`
            mean(score where subset = ja) > 0
            [ja] expected `subset = "NAME"`, found `ja` | `subset` is a field of the prompts: `where subset = "ja"`
            mean_score where subset = "ja" > 0
            [where] expected `and`, `or` or the end, found `where` | a subset is asked for in a function: `mean(score where subset = "ja")`
            mean_score > ppo_1@last.mean_score
            [@] `@` is no part of the rule language | a rule names a stage without a step: what carries the stage's name is meant
            reward > +1
            [+] expected a number, a metric or `(`, found `+` | leave out the plus sign
            reward > 1 adn reward < 2
            [adn] expected `and`, `or` or the end, found `adn` | did you mean `and`?
        "#]],
    );
}

#[test]
fn what_is_left_out_or_too_much_is_named() {
    refused(
        &[
            "",
            "reward",
            "reward >",
            "(reward > 1",
            "reward > 1)",
            "(reward > 1) > 2",
            "(reward > 1) + 2 > 2",
            "reward and reward > 1",
            "reward + not reward > 1",
            "incumbent > 1",
            "sft. > 1",
            "a.b.c > 1",
            "reward between 1",
            "reward between 2 and 1",
            "reward improves sft",
            "reward improves over sft.reward",
            "sft.gap improves over incumbent",
            "reward > 1 by -2",
            "reward = 1 by 2",
            "0 < reward < 1 by 2",
            "reward between 0 and 1 by 2",
            "win_rate(sft) > 1",
            "changed(sft over changed) > 1",
            "abs(1, 2) > 1",
            "max(1) > 1",
            "delta(sft, 1) > 1",
            "max(1, 2 > 1",
            "1e999 > reward",
        ],
        &scope(),
        expect![[r#"

            [] the rule is empty | write one such as `mean_score > 0.5`
            reward
            [reward] this is a number, which neither passes nor fails | compare it, as in `mean_score > 0.5`
            reward >
            [] expected a number, a metric or `(`, found the end of the rule
            (reward > 1
            [(] this `(` is never closed
            reward > 1)
            [)] this `)` closes nothing
            (reward > 1) > 2
            [(reward > 1)] this passes or fails, but a number is needed here | join tests with `and`, `or`, `not`
            (reward > 1) + 2 > 2
            [(reward > 1)] this passes or fails, but a number is needed here | join tests with `and`, `or`, `not`
            reward and reward > 1
            [reward] this is a number, which neither passes nor fails | compare it, as in `mean_score > 0.5`
            reward + not reward > 1
            [not] `not` negates a whole comparison | write `not a > b`, or `not (…)` around it
            incumbent > 1
            [incumbent] `incumbent` alone is no number | write `incumbent.` and a metric
            sft. > 1
            [>] expected a metric after the dot, found `>`
            a.b.c > 1
            [b] unknown stage `b` | there are: rm_1, sft, self, judge, incumbent
            reward between 1
            [] expected `and`, found the end of the rule | write `kl between 0.1 and 0.5`
            reward between 2 and 1
            [2 and 1] nothing lies between these | the smaller number first
            reward improves sft
            [sft] expected `over`, found `sft` | write `mean_score improves over sft`
            reward improves over sft.reward
            [.] `improves over` is followed by a stage alone | the metric is the one before `improves`
            sft.gap improves over incumbent
            [sft.gap] only a metric of this stage or of its judge improves | write `mean_score improves over sft`
            reward > 1 by -2
            [-] expected a plain number after `by`, found `-` | to allow for a loss write `a > b - 0.02`
            reward = 1 by 2
            [by 2] a margin says nothing about `=` | write `abs(a - b) <= 0.02`
            0 < reward < 1 by 2
            [by 2] a margin says nothing about a chain of comparisons | write the comparisons one by one, joined by `and`
            reward between 0 and 1 by 2
            [by] a margin follows a comparison with one of `>` `>=` `<` `<=`
            win_rate(sft) > 1
            [)] say what the rate is over: `over changed` | `win_rate(STAGE over changed)`: the share of answers that score higher than the stage's, among those whose text changed; changed answers of equal score count half
            changed(sft over changed) > 1
            [over] expected `)`, found `over` | `changed(STAGE)`: the share of answers whose text differs from the stage's
            abs(1, 2) > 1
            [,] too many arguments for `abs` | `abs(NUMBER)`: the number without its sign
            max(1) > 1
            [1] `max` needs at least two arguments | `max(NUMBER, NUMBER, …)`: the largest of the numbers
            delta(sft, 1) > 1
            [1] expected a stage or `incumbent`, found `1` | `delta(METRIC, STAGE)`: the candidate's metric minus that of the stage
            max(1, 2 > 1
            [>] expected `)`, found `>` | `max(NUMBER, NUMBER, …)`: the largest of the numbers
            1e999 > reward
            [1e999] `1e999` is too large for a number
        "#]],
    );
}

#[test]
fn confidence_is_understood_or_refused_and_never_skipped() {
    refused(
        &[
            "accuracy > 0.6 with 95% confidence",
            "win_rate(sft over changed) > 0.5 with 95% confidence and reward > 1",
            "reward > 1 with confidence",
        ],
        &scope(),
        expect![[r#"
            accuracy > 0.6 with 95% confidence
            [accuracy] unknown metric `accuracy` | there are: entropy, kl, length, mean_score, reward
            win_rate(sft over changed) > 0.5 with 95% confidence and reward > 1
            reward > 1 with confidence
            [confidence] expected a percentage after `with`, found `confidence` | write `with 95% confidence`
        "#]],
    );
}

#[test]
fn a_rule_tells_whom_it_needs() {
    let mut rule = parse("mean_score > sft.mean_score and rm_1.accuracy > 0.6 or changed(incumbent) > 0").unwrap();
    assert_eq!(rule.stages(), [("sft", 13..16), ("rm_1", 32..36)]);
    assert_eq!(check(&mut rule, &scope()), []);
    let judged = [Who::Candidate, Who::Incumbent, Who::Stage("sft".to_owned())].map(|who| (who, 0));
    assert_eq!(rule.judged(), judged);
}

#[test]
fn an_incumbent_measured_by_its_own_stage_is_warned_about() {
    let text = "reward > incumbent.heldout_loss and mean_score > incumbent.mean_score";
    let mut rule = parse(text).unwrap();
    check(&mut rule, &scope());
    expect![[r#"
        [incumbent.heldout_loss] `incumbent.heldout_loss` was measured by the incumbent's own stage: a different yardstick | add `judge: STAGE`, so that both are measured alike
    "#]].assert_eq(&listed(text, &warnings(&rule)));
}

#[test]
fn select_sees_only_the_checkpoints_themselves() {
    let where_ = |text: &str| listed(text, &check_where(&mut parse(text).unwrap(), &scope()));
    assert_eq!(where_("kl < 1 and reward > 0"), "");
    expect![[r#"
        [mean_score] unknown metric `mean_score` | `where` filters checkpoints by the stage's own metrics, before anything is judged
        [judge.kl] no checkpoint has this of its own | `where` filters checkpoints by the stage's own metrics, before anything is judged
        [sft.gap] no checkpoint has this of its own | `where` filters checkpoints by the stage's own metrics, before anything is judged
        [sft] no checkpoint has this of its own | `where` filters checkpoints by the stage's own metrics, before anything is judged
    "#]]
        .assert_eq(&["mean_score > 1", "judge.kl > 1 and reward > sft.gap", "changed(sft) > 0"].map(where_).concat());
    let best = |text: &str| match parse_expression(text) {
        Ok(mut best) => listed(text, &check_best(&mut best, false, &scope())),
        Err(mistake) => listed(text, &[mistake]),
    };
    assert_eq!(best("mean_score"), "");
    assert_eq!(best("mean_score - 0.1 * judge.kl"), "");
    expect![[r#"
        [entropy] `entropy` is neither better high nor better low | `1 * entropy` takes the largest, `-entropy` the smallest
        [sft] this is not one checkpoint's number | `best` compares the checkpoints of this stage by its own metrics or the judge's
        [kl] `kl` is measured by this stage and by its judge `eval` | write `self.kl` or `judge.kl`
        [reward > 1] this passes or fails, but a number is needed here | join tests with `and`, `or`, `not`
    "#]].assert_eq(&["entropy", "delta(mean_score, sft)", "kl", "reward > 1"].map(best).concat());
}

/// As above, with tables of items and two judges.
fn itemised() -> RuleScope {
    let with_fields = |mut metrics: Vec<MetricName>, fields: &[(&str, &str)]| {
        for metric in &mut metrics {
            let field = fields.iter().find(|(name, _)| *name == metric.name);
            metric.field = field.map(|(_, field)| (*field).to_owned());
        }
        metrics
    };
    let one = scope();
    let fields = [("mean_score", "score"), ("kl", "kl"), ("length", "length")];
    let metrics = with_fields(one.judges[0].metrics.clone(), &fields);
    let safety = vec![metrics[0].clone()];
    let judge = |name: &str, metrics| JudgeScope { name: name.to_owned(), metrics, has_items: true };
    let own = with_fields(one.own.clone(), &[("reward", "reward")]);
    RuleScope { own, judges: vec![judge("eval", metrics), judge("safety", safety)], ..one }
}

#[test]
fn a_rule_over_items_is_accepted_with_several_judges_too() {
    for text in [
        "eval.mean_score > eval.incumbent.mean_score with 95% confidence",
        "safety.mean_score improves over sft by 2% with 99% confidence",
        "eval.win_rate(sft over changed) > 0.5 with 95% confidence and safety.changed(incumbent) < 0.9",
        "self.kl between 0.1 and 5 and eval.kl between 0.1 and 5 with 90% confidence",
        "median(length) <= 1.5 * median(sft.length) with 95% confidence",
        "share(eval.score > -1) >= 0.9 and quantile(length, 0.9) < 40 and count(eval.score < 0) <= 3",
        "mean(eval.score where subset = \"ja\") > mean(eval.sft.score where subset = \"ja\") with 95% confidence",
        "mean(eval.sft.score) < 2 and slope(reward) > 0 and ratio(length, sft) < 1.5",
        "reward > 0.2 with 97.5% confidence",
        "eval.mean_score > best(eval.sft.mean_score, eval.incumbent.mean_score) with 95% confidence",
        "0.1 < length < 50 with 95% confidence",
    ] {
        accepted(text, &itemised());
    }
}

#[test]
fn what_confidence_cannot_be_given_to_is_refused_with_the_reason() {
    refused(
        &[
            "entropy > 1 with 95% confidence",
            "reward > eval.mean_score with 95% confidence",
            "mean(eval.score where subset = \"ja\") > mean(eval.score where subset = \"en\") with 95% confidence",
            "1 > 0 with 95% confidence",
            "slope(reward) > 0 with 95% confidence",
            "reward = 1 with 95% confidence",
            "best(eval.sft.mean_score, eval.mean_score) > 1 with 95% confidence",
            "reward > 1 with 0.95 confidence",
            "reward > 1 with 95 confidence",
            "reward > 1 with 95% certainty",
            "reward > 1 with 50% confidence",
            "reward > 1 with 100% confidence",
            "(reward > 1 and length > 2) with 95% confidence",
            "reward with 95% confidence",
        ],
        &itemised(),
        expect![[r#"
            entropy > 1 with 95% confidence
            [entropy] `entropy` is not known item by item, which confidence needs | known item by item: `reward`
            reward > eval.mean_score with 95% confidence
            [eval.mean_score] this is measured on other items than what stands before it, so confidence cannot pair them | write one rule for each table
            mean(eval.score where subset = "ja") > mean(eval.score where subset = "en") with 95% confidence
            [eval.score] this is measured on other items than what stands before it, so confidence cannot pair them | write one rule for each table
            1 > 0 with 95% confidence
            [with 95% confidence] nothing here is measured, so there is nothing to be confident of
            slope(reward) > 0 with 95% confidence
            [slope(reward)] a slope is made of checkpoints, not of items, which confidence needs
            reward = 1 with 95% confidence
            [with 95% confidence] no measurement can be sure of `=` | write `a - b between -0.02 and 0.02 with 95% confidence`
            best(eval.sft.mean_score, eval.mean_score) > 1 with 95% confidence
            [best(eval.sft.mean_score, eval.mean_score)] `best` on this side asks for any one of them | write the comparisons out, joined by `or`, each with its confidence
            reward > 1 with 0.95 confidence
            [0.95] a confidence is a percentage | write `with 95% confidence`
            reward > 1 with 95 confidence
            [95] a confidence is a percentage | write `with 95% confidence`
            reward > 1 with 95% certainty
            [certainty] expected `confidence`, found `certainty` | write `with 95% confidence`
            reward > 1 with 50% confidence
            [50] a confidence lies above 50% and is at most 99.9% | write `with 95% confidence`
            reward > 1 with 100% confidence
            [100] a confidence lies above 50% and is at most 99.9% | write `with 95% confidence`
            (reward > 1 and length > 2) with 95% confidence
            [with] confidence belongs to one comparison | write it behind each: `a > b with 95% confidence and c > d with 95% confidence`
            reward with 95% confidence
            [with] confidence belongs to one comparison | write it behind each: `a > b with 95% confidence and c > d with 95% confidence`
        "#]],
    );
}

#[test]
fn several_judges_are_told_apart_by_name() {
    refused(
        &[
            "mean_score > 1",
            "mean_score improves over sft",
            "incumbent.mean_score < 1",
            "judge.mean_score > 1",
            "win_rate(sft over changed) > 0.5",
            "saftey.mean_score > 1",
            "safety.length > 1",
            "evl.sft.mean_score > 1",
            "reward.win_rate(sft over changed) > 0.5",
            "eval.median(length) > 1",
            "self.incumbent.reward > 1",
            "win_rate(eval over changed) > 0.5",
        ],
        &itemised(),
        expect![[r#"
            mean_score > 1
            [mean_score] `mean_score` is measured by `eval` and by `safety` | write `eval.mean_score` or `safety.mean_score`
            mean_score improves over sft
            [mean_score] `mean_score` is measured by `eval` and by `safety` | write `eval.mean_score` or `safety.mean_score`
            incumbent.mean_score < 1
            [incumbent.mean_score] `mean_score` is measured by `eval` and by `safety` | write `eval.incumbent.mean_score` or `safety.incumbent.mean_score`
            judge.mean_score > 1
            [judge.mean_score] this gate has several judges | write `eval.mean_score`
            win_rate(sft over changed) > 0.5
            [sft] this gate has several judges | write `eval.win_rate(…)`
            saftey.mean_score > 1
            [saftey] unknown stage `saftey` | did you mean `safety`?
            safety.length > 1
            [length] unknown metric `length` of the judge `safety` | there are: mean_score
            evl.sft.mean_score > 1
            [evl] `evl` does not judge this stage | did you mean `eval`?
            reward.win_rate(sft over changed) > 0.5
            [reward] `reward` does not judge this stage | there are: eval, safety
            eval.median(length) > 1
            [eval] `median` compares no answers, so no judge belongs before it | write the judge before the metric in the brackets
            self.incumbent.reward > 1
            [self] `self` is no judge | with two dots a name is `JUDGE.STAGE.METRIC`
            win_rate(eval over changed) > 0.5
            [eval] `eval` is the judge, not one of the judged | its measurement of this stage is `judge.METRIC`, or the metric alone
        "#]],
    );
}

#[test]
fn functions_over_items_want_a_field_and_what_it_is_asked() {
    refused(
        &[
            "median(eval.mean_score) > 1",
            "median(entropy) > 1",
            "median(lenght) > 1",
            "quantile(length) > 1",
            "quantile(length, 2) > 1",
            "share(length) > 0.5",
            "share(length > sft.length) > 0.5",
            "count(length + 1 > 3) > 0.5",
            "slope(eval.kl) > 0",
            "slope(sft.heldout_loss) > 0",
            "median(length, 3) > 1",
        ],
        &itemised(),
        expect![[r#"
            median(eval.mean_score) > 1
            [mean_score] unknown field `mean_score` of the judge `eval` | the metric `mean_score` is the mean of the field `score`
            median(entropy) > 1
            [entropy] unknown field `entropy` | there are: kl, length, reward, score
            median(lenght) > 1
            [lenght] unknown field `lenght` | did you mean `length`?
            quantile(length) > 1
            [)] expected `,` and a share from 0 to 1, found `)` | `quantile(FIELD, SHARE)`: the number that this share of the items, from 0 to 1, does not exceed
            quantile(length, 2) > 1
            [2] a share lies between 0 and 1 | `quantile(FIELD, SHARE)`: the number that this share of the items, from 0 to 1, does not exceed
            share(length) > 0.5
            [)] expected a comparison, found `)` | `share(FIELD > NUMBER)`: the share of items for which this holds; any comparison
            share(length > sft.length) > 0.5
            [sft.length] expected a number | `share(FIELD > NUMBER)`: the share of items for which this holds; any comparison
            count(length + 1 > 3) > 0.5
            [length + 1] expected a field of the items | `count(FIELD > NUMBER)`: the number of items for which this holds; any comparison
            slope(eval.kl) > 0
            [eval.kl] only this stage's own checkpoints are looked at | `slope(METRIC)`: the rise of the stage's own metric per step: least squares over its checkpoints up to the candidate
            slope(sft.heldout_loss) > 0
            [sft.heldout_loss] only this stage's own checkpoints are looked at | `slope(METRIC)`: the rise of the stage's own metric per step: least squares over its checkpoints up to the candidate
            median(length, 3) > 1
            [,] too many arguments for `median` | `median(FIELD)`: the middle number of a field over the items
        "#]],
    );
}

#[test]
fn within_a_standard_error_needs_items() {
    let check = |text: &str| {
        let mut best = parse_expression(text).unwrap();
        listed(text, &check_best(&mut best, true, &itemised()))
    };
    expect![[r#"
        [entropy] `entropy` is neither better high nor better low | `1 * entropy` takes the largest, `-entropy` the smallest
        [length] this is measured on other items than what stands before it, so `within: 1 se` cannot pair them | write one rule for each table
    "#]]
        .assert_eq(&["reward", "eval.mean_score - 0.1 * eval.kl", "entropy", "reward - length"].map(check).concat());
}

/// Words that the grammar knows only behind a confidence name stages and metrics as any other.
#[test]
fn words_behind_a_confidence_are_names_elsewhere() {
    for word in ["over", "looks", "up", "to", "items", "assuming", "bounds"] {
        let metric = |name: &str| MetricName {
            name: name.to_owned(),
            direction: Direction::Higher,
            field: Some(name.to_owned()),
            bounds: Some(Bounds { low: 0.0, high: 1.0 }),
            has_own_rows: false,
        };
        let judge = JudgeScope { name: "eval".to_owned(), metrics: vec![metric("score")], has_items: true };
        let scope = RuleScope {
            own: vec![metric(word)],
            incumbent: Some(vec![metric(word)]),
            judges: vec![judge],
            stages: Arc::new([(word.to_owned(), vec![metric(word)])].into()),
            ..RuleScope::default()
        };
        for form in ["", " over 4 looks", " over looks", " up to 20 items", " assuming bounds"] {
            for text in [
                format!("{word} > 0.5 with 95% confidence{form}"),
                format!("0.5 < {word} with 95% confidence{form} and self.{word} > 1 by 5% with 95% confidence{form}"),
                format!("{word} improves over {word} with 95% confidence{form}"),
                format!("{word}.{word} - {word} > 0 with 95% confidence{form} or {word} > 1"),
                format!("delta({word}, {word}) between 0 and 1 with 95% confidence{form}"),
                format!("share({word} > 0) > 0.5 with 95% confidence{form}"),
                format!("win_rate({word} over changed) > 0.5 with 95% confidence{form}"),
            ] {
                accepted(&text, &scope);
            }
        }
        accepted(&format!("win_rate({word} over changed) > 0.5 with 95% confidence over looks up to items"), &scope);
        assert!(!crate::gate::is_word(word), "{word}");
    }
}

#[test]
fn forms_of_confidence_are_understood_or_refused_with_the_way_out() {
    let mut scope = itemised();
    let judge = &mut scope.judges[0];
    judge.metrics.iter_mut().find(|metric| metric.name == "kl").unwrap().bounds = Some(Bounds { low: 0.0, high: 9.0 });
    accepted("eval.kl < 1 with 95% confidence over 4 looks up to 2000 items assuming bounds", &scope);
    accepted("eval.kl / 2 - 3 * eval.sft.kl < 1 with 95% confidence assuming bounds", &scope);
    accepted("ratio(eval.kl, sft) < 2 with 95% confidence assuming bounds", &scope);
    accepted("eval.win_rate(sft over changed) - 0.5 > 0 with 95% confidence up to items", &scope);
    refused(
        &[
            "reward > 1 with 95% confidence up 20 items",
            "reward > 1 with 95% confidence up to many items",
            "reward > 1 with 95% confidence up to 2.5 items",
            "reward > 1 with 95% confidence up to 0 items",
            "reward > 1 with 95% confidence up to 20 looks",
            "reward > 1 with 95% confidence assuming bound",
            "reward > 1 with 95% confidence up to 20 items over 4 looks",
            "reward > 1 up to 20 items",
            "reward > 1 with 95% confidence up to items",
            "eval.changed(sft) > 0.5 with 95% confidence up to items",
            "eval.win_rate(sft over changed) * eval.win_rate(sft over changed) > 0.5 with 95% confidence up to items",
            "eval.win_rate(sft over changed) > 0.5 with 95% confidence up to items assuming bounds",
            "reward > 1 with 95% confidence assuming bounds",
            "eval.mean_score > eval.kl with 95% confidence assuming bounds",
            "eval.kl * eval.kl > 1 with 95% confidence assuming bounds",
            "eval.median(kl) > 1 with 95% confidence assuming bounds",
            "median(eval.kl) > 1 with 95% confidence assuming bounds",
        ],
        &scope,
        expect![[r#"
            reward > 1 with 95% confidence up 20 items
            [20] expected `to` after `up`, found `20` | write `with 95% confidence up to 2000 items`, or `up to items` for a win rate without a maximum
            reward > 1 with 95% confidence up to many items
            [many] expected `items`, found `many` | write `with 95% confidence up to 2000 items`, or `up to items` for a win rate without a maximum
            reward > 1 with 95% confidence up to 2.5 items
            [2.5] items are counted: a whole number from 1 to 1000000000 | write `with 95% confidence up to 2000 items`, or `up to items` for a win rate without a maximum
            reward > 1 with 95% confidence up to 0 items
            [0] items are counted: a whole number from 1 to 1000000000 | write `with 95% confidence up to 2000 items`, or `up to items` for a win rate without a maximum
            reward > 1 with 95% confidence up to 20 looks
            [looks] expected `items`, found `looks` | write `with 95% confidence up to 2000 items`, or `up to items` for a win rate without a maximum
            reward > 1 with 95% confidence assuming bound
            [bound] expected `bounds` after `assuming`, found `bound` | write `with 95% confidence assuming bounds`
            reward > 1 with 95% confidence up to 20 items over 4 looks
            [over] expected `and`, `or` or the end, found `over` | write `with 95% confidence over 4 looks up to 2000 items assuming bounds`, or parts of it in this order
            reward > 1 up to 20 items
            [up] expected `and`, `or` or the end, found `up` | write `with 95% confidence over 4 looks up to 2000 items assuming bounds`, or parts of it in this order
            reward > 1 with 95% confidence up to items
            [with 95% confidence up to items] only a win rate is weighed without a maximum of items | declare how many there will be at most: `up to 2000 items`
            eval.changed(sft) > 0.5 with 95% confidence up to items
            [with 95% confidence up to items] only a win rate is weighed without a maximum of items | declare how many there will be at most: `up to 2000 items`
            eval.win_rate(sft over changed) * eval.win_rate(sft over changed) > 0.5 with 95% confidence up to items
            [with 95% confidence up to items] only a win rate is weighed without a maximum of items | declare how many there will be at most: `up to 2000 items`
            eval.win_rate(sft over changed) > 0.5 with 95% confidence up to items assuming bounds
            [with 95% confidence up to items assuming bounds] bounds are assumed of a table that is complete, or that grows up to a declared maximum | declare how many there will be at most: `up to 2000 items`
            reward > 1 with 95% confidence assuming bounds
            [reward] no bounds are declared of `reward` | a stage of kind `exec` declares them: `metrics: {reward: {better: higher, bounds: [1, 5]}}`
            eval.mean_score > eval.kl with 95% confidence assuming bounds
            [eval.mean_score] no bounds are declared of `eval.mean_score` | a stage of kind `exec` declares them: `metrics: {mean_score: {better: higher, bounds: [1, 5]}}`; declared of `kl`
            eval.kl * eval.kl > 1 with 95% confidence assuming bounds
            [with 95% confidence assuming bounds] bounds are assumed of means over items, and of sums and multiples of them | leave out `assuming bounds`
            eval.median(kl) > 1 with 95% confidence assuming bounds
            [eval] `median` compares no answers, so no judge belongs before it | write the judge before the metric in the brackets
            median(eval.kl) > 1 with 95% confidence assuming bounds
            [with 95% confidence assuming bounds] bounds are assumed of means over items, and of sums and multiples of them | leave out `assuming bounds`
        "#]],
    );
}
