//! The choice of the checkpoint that becomes the candidate: `where` filters, `best` compares, `within: 1 se` takes the
//! earliest that is not clearly worse, and ties go to the earlier step. A checkpoint is a step and its measurements.

use super::Decision;
use super::evaluate::{self, Rivals, Subject, Subjects, View, evaluate, standard_error};
use super::show;
use super::tree::{Expression, Leaves, Number, RecordOrigin, Rule};
use stages::stage::Direction;
use std::collections::BTreeMap;

/// The `select` of a gate, checked by `check_best` and `check_where`.
#[derive(Clone, Debug, Default)]
pub struct Select {
    pub best: Option<Expression>,
    pub where_: Option<Rule>,
    /// The number of standard errors that an earlier checkpoint may lie below the best.
    pub within: Option<f64>,
}

impl Select {
    /// The judges that must judge every survivor before one can be chosen.
    pub fn judges(&self) -> Vec<usize> {
        let judged = self.best.iter().flat_map(|best| best.leaves.judged());
        judged.map(|(_, judge)| judge).collect()
    }

    /// The metrics that the choice reads: those of `where`, then those of `best`.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        let where_ = self.where_.iter().flat_map(Rule::metrics);
        where_.chain(self.best.iter().flat_map(|best| best.leaves.metrics()))
    }

    /// The records whose tables of items the choice reads.
    pub fn itemised(&self) -> Vec<RecordOrigin> {
        let best = self.best.iter().flat_map(|best| best.leaves.tables(self.within.is_some()));
        let where_ = self.where_.iter().flat_map(|rule| rule.leaves.tables(rule.test.is_confident()));
        best.chain(where_).map(|(_, origin)| origin).collect()
    }

    /// The records that checkpoints are chosen by. A rule that reads the same items sees the luck of the best.
    pub fn chosen_by(&self) -> Vec<RecordOrigin> {
        let of = |leaves: &Leaves| leaves.origins();
        let best = self.best.iter().flat_map(|best| of(&best.leaves));
        best.chain(self.where_.iter().flat_map(|rule| of(&rule.leaves))).collect()
    }

    /// The contest of these candidates, which `where` left, for the rules about the best of them.
    pub fn rivals<'a>(&'a self, candidates: &'a [(u64, Subject)]) -> Option<Rivals<'a>> {
        let best = self.best.as_ref().filter(|_| candidates.len() > 1)?;
        Some(Rivals { best, is_lower_better: is_lower_better(best), within: self.within, candidates })
    }

    /// The choice in one spelling; verdicts are remembered under it.
    pub fn text(&self) -> String {
        let part = |name: &str, text: Option<&str>| text.map(|text| format!("{name}: {text}"));
        let within = self.within.map(|within| format!("{within} se"));
        let parts = [
            part("best", self.best.as_ref().map(|best| best.text.as_str())),
            part("where", self.where_.as_ref().map(|rule| rule.text.as_str())),
            part("within", within.as_deref()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Pass: one was chosen. Fail: `where` left none. Error: a number to compare is missing or not finite.
    pub decision: Decision,
    /// The steps that `where` left.
    pub steps: Vec<u64>,
    /// An index into the candidates.
    pub index: Option<usize>,
    pub explanation: String,
}

/// The candidates that pass `where`, which reads their own records alone.
pub struct Survivors {
    /// Indices into the candidates.
    pub indices: Vec<usize>,
    /// The number of those that `where` could not tell about with the confidence it asks for: they are not kept.
    pub unsure: usize,
}

/// Filters the candidates by `where`; an error is the reason why it cannot tell.
pub fn survivors(select: &Select, candidates: &[(u64, Subject)]) -> Result<Survivors, String> {
    let mut survivors = Survivors { indices: Vec::new(), unsure: 0 };
    // Each of several has its chance to be kept by luck.
    let among = [(RecordOrigin::Own, candidates.len())];
    for (at, (_, subject)) in candidates.iter().enumerate() {
        let judge = |rule: &Rule| {
            let chosen_among = if rule.is_confident() { &among[..] } else { &[] };
            evaluate(rule, &Subjects { chosen_among, ..alone(subject) })
        };
        let judged = select.where_.as_ref().map(judge);
        match judged.as_ref().map_or(Decision::Pass, |judged| judged.decision) {
            Decision::Pass => survivors.indices.push(at),
            Decision::Fail => {}
            Decision::Unsure => survivors.unsure += 1,
            Decision::Error => {
                let explanation = judged.map(|judged| judged.explanation).unwrap_or_default();
                return Err(format!("{}: {explanation}", subject.called));
            }
        }
    }
    Ok(survivors)
}

/// Chooses one of the candidates, which are in step order. Without `best` the last survivor is chosen.
pub fn choose(select: &Select, candidates: &[(u64, Subject)]) -> Choice {
    let chosen = |decision, survivors: &[usize], index, explanation| {
        let steps = survivors.iter().map(|at| candidates[*at].0).collect();
        Choice { decision, steps, index, explanation }
    };
    if candidates.is_empty() {
        return chosen(Decision::Error, &[], None, "there are no checkpoints".to_owned());
    }
    let Survivors { indices: survivors, unsure } = match survivors(select, candidates) {
        Ok(survivors) => survivors,
        Err(reason) => return chosen(Decision::Error, &[], None, reason),
    };
    let kept = match &select.where_ {
        Some(rule) => {
            let unsure = if unsure > 0 { format!(" ({unsure} unsure)") } else { String::new() };
            format!("{} keeps {} of {}{unsure}; ", rule.text, survivors.len(), candidates.len())
        }
        None => String::new(),
    };
    let Some(last) = survivors.last() else {
        return chosen(Decision::Fail, &[], None, none_left(select, candidates));
    };
    let Some(best) = &select.best else {
        return chosen(
            Decision::Pass,
            &survivors,
            Some(*last),
            format!("{kept}the last is {}", candidates[*last].1.called),
        );
    };
    let mut values = Vec::with_capacity(survivors.len());
    for at in &survivors {
        let (_, subject) = &candidates[*at];
        match evaluate::value(best, &alone(subject)) {
            Ok(value) => values.push(value),
            Err(gap) => {
                let explanation = format!("{}: {}", subject.called, gap.reason());
                return chosen(Decision::Error, &survivors, None, explanation);
            }
        }
    }
    let is_lower = is_lower_better(best);
    let is_better = |value: f64, than: f64| if is_lower { value < than } else { value > than };
    let mut first = 0;
    for at in 1..values.len() {
        if is_better(values[at], values[first]) {
            first = at;
        }
    }
    let digits = show::digits(&values);
    let seen = |at: usize| format!("{} {}", candidates[survivors[at]].1.called, show::number(values[at], digits));
    let side = if is_lower { "lowest" } else { "highest" };
    let others: Vec<String> = (0..values.len()).filter(|at| *at != first).map(seen).collect();
    let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
    let mut explanation = format!("{kept}{side} {}: {}{others}", best.text, seen(first));
    if let Some(within) = select.within {
        let subjects: Vec<&Subject> = survivors.iter().map(|at| &candidates[*at].1).collect();
        match earliest(best, within, is_lower, &values, first, &subjects) {
            Ok((at, allowed)) => {
                let allowed = show::number(if allowed < 1e-12 { 0.0 } else { allowed }, 2);
                let earlier = if at == first { "no earlier one is".to_owned() } else { format!("{} is", seen(at)) };
                explanation += &format!("; {earlier} within {within} se of it ({allowed})");
                first = at;
            }
            Err(reason) => return chosen(Decision::Error, &survivors, None, reason),
        }
    }
    chosen(Decision::Pass, &survivors, Some(survivors[first]), explanation)
}

/// The earliest checkpoint that is worse than the best by at most `within` standard errors (the one-standard-error
/// rule: Breiman et al. 1984, §3.4.3), and that limit. The standard error is that of the difference on the same items,
/// which tells a worse checkpoint from noise; the error of the best one alone would call most of them equal.
fn earliest(
    best: &Expression,
    within: f64,
    is_lower: bool,
    values: &[f64],
    first: usize,
    subjects: &[&Subject],
) -> Result<(usize, f64), String> {
    let mut last_allowed = 0.0;
    for at in 0..first {
        let (one, other) = (alone(subjects[first]), alone(subjects[at]));
        let view = |subjects| View { leaves: &best.leaves, subjects };
        let error = standard_error(&best.number, view(&one), view(&other))
            .map_err(|gap| format!("within {within} se: {}", gap.reason()))?;
        let worse = if is_lower { values[at] - values[first] } else { values[first] - values[at] };
        last_allowed = within * error;
        // A difference of one item is exactly one standard error, and rounding must not decide.
        if worse <= last_allowed * (1.0 + 1e-9) {
            return Ok((at, last_allowed));
        }
    }
    Ok((first, last_allowed))
}

/// A checkpoint that is compared with nothing else.
fn alone(subject: &Subject) -> Subjects<'_> {
    static NONE: BTreeMap<String, Subject> = BTreeMap::new();
    Subjects::of(subject, None, &NONE)
}

/// Whether the lowest number is the best. An expression is maximised; a metric alone follows its direction.
fn is_lower_better(best: &Expression) -> bool {
    let Number::Name(name) = best.number else { return false };
    best.leaves.names[name].meaning.as_ref().is_some_and(|meaning| meaning.direction == Direction::Lower)
}

fn none_left(select: &Select, candidates: &[(u64, Subject)]) -> String {
    let Some(rule) = &select.where_ else { return "there are no checkpoints".to_owned() };
    let seen = candidates
        .iter()
        .map(|(_, subject)| format!("{}: {}", subject.called, evaluate(rule, &alone(subject)).explanation));
    format!("{} keeps none of {}: {}", rule.text, candidates.len(), seen.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::{
        Items, JudgeScope, MetricName, Readings, RuleScope, check_best, check_where, parse, parse_expression,
    };
    use super::*;
    use expect_test::{Expect, expect};

    fn select(best: &str, where_: &str) -> Select {
        let metric = |name: &str, direction| MetricName {
            name: name.to_owned(),
            direction,
            field: None,
            bounds: None,
            has_own_rows: false,
        };
        let judge = vec![metric("mean_score", Direction::Higher)];
        let scope = RuleScope {
            own: vec![metric("accuracy", Direction::Higher), metric("ece", Direction::Lower)],
            judges: vec![JudgeScope { name: "eval".to_owned(), metrics: judge, has_items: true }],
            ..RuleScope::default()
        };
        let best = (!best.is_empty()).then(|| {
            let mut best = parse_expression(best).unwrap();
            assert_eq!(check_best(&mut best, false, &scope), []);
            best
        });
        let where_ = (!where_.is_empty()).then(|| {
            let mut rule = parse(where_).unwrap();
            assert_eq!(check_where(&mut rule, &scope), []);
            rule
        });
        Select { best, where_, within: None }
    }

    fn candidates(rows: &[(u64, f64, f64)]) -> Vec<(u64, Subject)> {
        let subject = |step: u64, accuracy, ece| {
            let metrics = [("accuracy".to_owned(), Some(accuracy)), ("ece".to_owned(), Some(ece))].into();
            let called = format!("step {step}");
            Subject { called, own: Readings { metrics, items: None }, judged: Vec::new() }
        };
        rows.iter().map(|(step, accuracy, ece)| (*step, subject(*step, *accuracy, *ece))).collect()
    }

    fn check(best: &str, where_: &str, rows: &[(u64, f64, f64)], expected: Expect) {
        let Choice { decision, steps, index, explanation } = choose(&select(best, where_), &candidates(rows));
        let step = index.map(|index| rows[index].0);
        expected.assert_eq(&format!("{decision:?} {step:?} of {steps:?}: {explanation}"));
    }

    const ROWS: &[(u64, f64, f64)] = &[(50, 0.61, 0.1), (100, 0.72, 0.3), (150, 0.7, 0.2), (200, 0.7, 0.05)];

    #[test]
    fn where_filters_and_best_follows_the_direction_of_its_metric() {
        check(
            "accuracy",
            "ece < 0.25",
            ROWS,
            expect![[
                r#"Pass Some(150) of [50, 150, 200]: ece < 0.25 keeps 3 of 4; highest accuracy: step 150 0.7 (step 50 0.61, step 200 0.7)"#
            ]],
        );
        check(
            "ece",
            "",
            ROWS,
            expect![[
                r#"Pass Some(200) of [50, 100, 150, 200]: lowest ece: step 200 0.05 (step 50 0.1, step 100 0.3, step 150 0.2)"#
            ]],
        );
        check(
            "accuracy - ece",
            "",
            ROWS,
            expect![[
                r#"Pass Some(200) of [50, 100, 150, 200]: highest accuracy - ece: step 200 0.65 (step 50 0.51, step 100 0.42, step 150 0.5)"#
            ]],
        );
        check(
            "",
            "accuracy > 0.71",
            ROWS,
            expect![[r#"Pass Some(100) of [100]: accuracy > 0.71 keeps 1 of 4; the last is step 100"#]],
        );
        check("", "", ROWS, expect![[r#"Pass Some(200) of [50, 100, 150, 200]: the last is step 200"#]]);
    }

    #[test]
    fn a_tie_goes_to_the_earlier_step() {
        check(
            "accuracy",
            "",
            &ROWS[2..],
            expect![[r#"Pass Some(150) of [150, 200]: highest accuracy: step 150 0.7 (step 200 0.7)"#]],
        );
    }

    #[test]
    fn none_left_is_a_fail_that_shows_every_number() {
        check(
            "accuracy",
            "ece < 0.01",
            &ROWS[..2],
            expect![[
                r#"Fail None of []: ece < 0.01 keeps none of 2: step 50: ece 0.1 is not < 0.01 (over by 0.09); step 100: ece 0.3 is not < 0.01 (over by 0.29)"#
            ]],
        );
    }

    #[test]
    fn a_checkpoint_without_a_number_is_an_error() {
        check(
            "accuracy",
            "",
            &[(50, 0.6, 0.1), (100, f64::NAN, 0.1)],
            expect![[r#"Error None of [50, 100]: step 100: `accuracy` is NaN"#]],
        );
        check(
            "accuracy",
            "ece < 1",
            &[(50, 0.6, f64::NAN), (100, 0.7, 0.1)],
            expect![[r#"Error None of []: step 50: ece NaN < 1 (`ece` is NaN)"#]],
        );
        check(
            "mean_score",
            "",
            ROWS,
            expect![[r#"Error None of [50, 100, 150, 200]: step 50: `mean_score` was not measured"#]],
        );
        check("accuracy", "", &[], expect![[r#"Error None of []: there are no checkpoints"#]]);
    }

    #[test]
    fn only_survivors_need_a_judge() {
        let select = select("mean_score", "ece < 0.25");
        assert_eq!(select.judges(), [0]);
        let mut candidates = candidates(ROWS);
        let survivors = survivors(&select, &candidates).unwrap().indices;
        assert_eq!(survivors, [0, 2, 3]);
        for at in survivors {
            let metrics = [("mean_score".to_owned(), Some(at as f64 / 8.0))].into();
            candidates[at].1.judged = vec![Readings { metrics, items: None }];
        }
        expect![[r#"ece < 0.25 keeps 3 of 4; highest mean_score: step 200 0.375 (step 50 0, step 150 0.25)"#]]
            .assert_eq(&choose(&select, &candidates).explanation);
    }

    /// A candidate that is right on the first `count` of 40 items.
    fn right(step: u64, count: usize) -> (u64, Subject) {
        let rows = (0..40).map(|at| serde_json::json!({"id": at, "correct": at < count}));
        let items = Items::of_rows(rows.map(|row| row.as_object().cloned().unwrap()).collect()).unwrap();
        let metrics = [("accuracy".to_owned(), Some(count as f64 / 40.0))].into();
        let (called, own) = (format!("step {step}"), Readings { metrics, items: Some(items.into()) });
        (step, Subject { called, own, judged: Vec::new() })
    }

    fn within(counts: &[usize], se: f64) -> String {
        let metric = |name: &str, field: &str| MetricName {
            name: name.to_owned(),
            direction: Direction::Higher,
            field: Some(field.to_owned()),
            bounds: None,
            has_own_rows: false,
        };
        let scope = RuleScope { own: vec![metric("accuracy", "correct")], ..RuleScope::default() };
        let mut best = parse_expression("accuracy").unwrap();
        assert_eq!(check_best(&mut best, true, &scope), []);
        let select = Select { best: Some(best), where_: None, within: Some(se) };
        let candidates: Vec<_> =
            counts.iter().enumerate().map(|(at, count)| right(10 * (at as u64 + 1), *count)).collect();
        choose(&select, &candidates).explanation
    }

    #[test]
    fn within_a_standard_error_the_earliest_is_taken() {
        expect![[r#"highest accuracy: step 30 0.75 (step 10 0.5, step 20 0.725, step 40 0.7); step 20 0.725 is within 1 se of it (0.025)"#]].assert_eq(&within(&[20, 29, 30, 28], 1.0));
        expect![[r#"highest accuracy: step 30 0.75 (step 10 0.5, step 20 0.725, step 40 0.7); no earlier one is within 0 se of it (0)"#]].assert_eq(&within(&[20, 29, 30, 28], 0.0));
        expect![[r#"highest accuracy: step 10 0.75 (step 20 0.725, step 30 0.75, step 40 0.7); no earlier one is within 1 se of it (0)"#]].assert_eq(&within(&[30, 29, 30, 28], 1.0));
        expect![[r#"highest accuracy: step 30 0.75 (step 10 0.5, step 20 0.625, step 40 0.7); step 20 0.625 is within 3 se of it (0.16)"#]].assert_eq(&within(&[20, 25, 30, 28], 3.0));
    }

    #[test]
    fn a_checkpoint_that_leaves_where_unsure_is_not_kept_and_is_no_error() {
        let metric = MetricName {
            name: "accuracy".to_owned(),
            direction: Direction::Higher,
            field: Some("correct".to_owned()),
            bounds: None,
            has_own_rows: false,
        };
        let scope = RuleScope { own: vec![metric], ..RuleScope::default() };
        let mut rule = parse("accuracy > 0.5 with 95% confidence").unwrap();
        assert_eq!(check_where(&mut rule, &scope), []);
        let mut best = parse_expression("accuracy").unwrap();
        assert_eq!(check_best(&mut best, false, &scope), []);
        let select = Select { best: Some(best), where_: Some(rule), within: None };
        // Of 40, 26 are needed; 24 is unsure and 10 fails.
        let kept = choose(&select, &[right(10, 24), right(20, 27), right(30, 30), right(40, 10)]);
        expect!["accuracy > 0.5 with 95% confidence keeps 1 of 4 (2 unsure); highest accuracy: step 30 0.75"]
            .assert_eq(&kept.explanation);
        assert_eq!((kept.decision, kept.index), (Decision::Pass, Some(2)));
        let none = choose(&select, &[right(10, 24), right(20, 10)]);
        assert_eq!((none.decision, none.index), (Decision::Fail, None), "{}", none.explanation);
        // A number that is missing stays an error.
        let mut broken = right(20, 30);
        broken.1.own.items = None;
        assert_eq!(choose(&select, &[right(10, 30), broken]).decision, Decision::Error);
    }

    #[test]
    fn without_items_nothing_is_within_a_standard_error() {
        let mut candidates = candidates(&ROWS[..2]);
        candidates[0].1.own.items = None;
        let select = Select { within: Some(1.0), ..select("accuracy", "") };
        assert_eq!(choose(&select, &candidates).decision, Decision::Error);
    }
}
