//! Checks rules against the names that exist, and finds every mistake of a rule at once, before anything runs. The
//! meaning of the names is kept in the rule; evaluation refuses a rule that was not checked.

mod form;

use super::Mistake;
use super::functions::{NumberForm, OfNumbers, Takes};
use super::lexer::Comparison;
use super::resolve::{self, RuleScope};
use super::tree::{
    Arguments, Confidence, Expression, Leaf, Leaves, Meaning, Name, Number, Qualifier, RecordOrigin, Rule, Test, Who,
};
use stages::stage::Direction;
use std::ops::Range;

pub const NOT_OURS: &str = "only a metric of this stage or of its judge improves";

/// All mistakes of the rule; it may be evaluated when there are none.
pub fn check(rule: &mut Rule, scope: &RuleScope) -> Vec<Mistake> {
    let mut mistakes = check_leaves(&mut rule.leaves, scope);
    check_test(&rule.test, &rule.leaves, scope, &mut mistakes);
    sorted(mistakes)
}

/// Checks `where`, which filters checkpoints by the metrics of their own stage before anything is judged.
pub fn check_where(rule: &mut Rule, scope: &RuleScope) -> Vec<Mistake> {
    const HELP: &str = "`where` filters checkpoints by the stage's own metrics, before anything is judged";
    let own = RuleScope { own: scope.own.clone(), ..RuleScope::default() };
    let is_foreign = |name: &&Name| {
        name.who != Who::Candidate || matches!(name.qualifier, Some(Qualifier::Judge | Qualifier::By(_)))
    };
    let foreign = foreign(&rule.leaves, is_foreign, "no checkpoint has this of its own", HELP);
    if !foreign.is_empty() {
        return foreign;
    }
    let mut mistakes = check(rule, &own);
    let declares = rule.looks().into_iter().map(|(looks, range)| (looks.is_some(), range));
    let declares = declares.chain(rule.growth().into_iter().map(|(growth, range)| (growth.is_some(), range)));
    for (_, range) in declares.filter(|(is_declared, _)| *is_declared) {
        let message = "`where` only filters; the look at the items is that of the gate's rules";
        mistakes.push(Mistake::new(&range, message).help("declare looks and growing tables under `require`"));
    }
    let mut judged = scope.judges.iter().flat_map(|judge| &judge.metrics);
    for mistake in &mut mistakes {
        let name = rule.leaves.names.iter().find(|name| name.metric_range == mistake.range);
        let is_judged = |name: &Name| {
            judged.any(|metric| metric.name == name.metric) || resolve::measuring_kind(&name.metric).is_some()
        };
        if name.is_some_and(is_judged) {
            mistake.help = Some(HELP.to_owned());
        }
    }
    mistakes
}

/// Checks `best`, which compares the checkpoints of one stage with each other. With `is_within` the distance from the
/// best is measured on the items, so there must be some.
pub fn check_best(best: &mut Expression, is_within: bool, scope: &RuleScope) -> Vec<Mistake> {
    const HELP: &str = "`best` compares the checkpoints of this stage by its own metrics or the judge's";
    resolve::find_judges(&mut best.leaves, scope);
    let is_foreign = |name: &&Name| name.who != Who::Candidate;
    let foreign = foreign(&best.leaves, is_foreign, "this is not one checkpoint's number", HELP);
    if !foreign.is_empty() {
        return foreign;
    }
    let mut mistakes = check_leaves(&mut best.leaves, scope);
    check_number(&best.number, &best.leaves, &mut mistakes);
    if let Number::Name(name) = best.number {
        let name = &best.leaves.names[name];
        if name.meaning.as_ref().is_some_and(|meaning| meaning.direction == Direction::Neutral) {
            let message = format!("`{}` is neither better high nor better low", name.metric);
            let help = format!("`1 * {0}` takes the largest, `-{0}` the smallest", name.label());
            mistakes.push(Mistake::new(&name.range, message).help(help));
        }
    }
    if is_within && mistakes.is_empty() {
        mistakes.extend(check_items(&[&best.number], &best.leaves, scope, "`within: 1 se`"));
    }
    sorted(mistakes)
}

/// Refuses names that are foreign, and every comparison of answers.
fn foreign(leaves: &Leaves, is_foreign: impl Fn(&&Name) -> bool, message: &str, help: &str) -> Vec<Mistake> {
    let names = leaves.names.iter().filter(is_foreign).map(|name| &name.range);
    let families = leaves.families.iter().map(|family| &family.typed.range);
    let ranges = names.chain(leaves.others.iter().map(|other| &other.range)).chain(families);
    ranges.map(|range| Mistake::new(range, message).help(help)).collect()
}

/// Warns of rules that are allowed but probably not meant. Call it after `check`.
pub fn warnings(rule: &Rule) -> Vec<Mistake> {
    let mut found = Vec::new();
    lone_confidence(&rule.test, &mut found);
    let is_own = |meaning: &Meaning| meaning.origin == RecordOrigin::Own;
    let names = rule.leaves.names.iter();
    names
        .filter(|name| name.who == Who::Incumbent && name.meaning.as_ref().is_some_and(is_own))
        .map(|name| {
            let message =
                format!("`{}` was measured by the incumbent's own stage: a different yardstick", name.label());
            Mistake::new(&name.range, message).help("add `judge: STAGE`, so that both are measured alike")
        })
        .chain(found)
        .collect()
}

/// Warns of `a > 0 and b > 1 with 95% confidence`: read aloud, the end is about the whole sentence; in a rule it is
/// about the last comparison.
fn lone_confidence(test: &Test, found: &mut Vec<Mistake>) {
    let parts = match test {
        Test::And(tests) | Test::Or(tests) => tests,
        Test::Not(inner) => return lone_confidence(inner, found),
        Test::Compare { .. } | Test::Between { .. } | Test::Improves { .. } => return,
    };
    parts.iter().for_each(|part| lone_confidence(part, found));
    let Some((last, before)) = parts.split_last() else { return };
    let (Test::Compare { confidence: Some(confidence), .. }
    | Test::Between { confidence: Some(confidence), .. }
    | Test::Improves { confidence: Some(confidence), .. }) = last
    else {
        return;
    };
    if !before.iter().any(Test::is_confident) {
        let message = "this is asked of the last comparison alone";
        let help = "write it behind each comparison that is meant, or the others as rules of their own";
        found.push(Mistake::new(&confidence.range, message).help(help));
    }
}

fn sorted(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by_key(|mistake| mistake.range.start);
    mistakes
}

fn check_leaves(leaves: &mut Leaves, scope: &RuleScope) -> Vec<Mistake> {
    let mut mistakes = resolve::find_members(leaves, scope);
    resolve::find_judges(leaves, scope);
    for at in 0..leaves.names.len() {
        let like = match leaves.names[at].like {
            // The metric itself is unknown, and that was reported.
            Some(first) if leaves.names[first].meaning.is_none() => continue,
            Some(first) => leaves.names[first].meaning.clone(),
            None => None,
        };
        match resolve::resolve(&leaves.names[at], like, scope) {
            Ok(meaning) => leaves.names[at].meaning = Some(meaning),
            // What one stage of a `for` lacks, the others lack as well.
            Err(mistake)
                if leaves.names[at].family.is_some() && mistakes.iter().any(|known| known.range == mistake.range) => {}
            Err(mistake) => mistakes.push(mistake),
        }
    }
    for name in leaves.names.iter().filter_map(|name| name.like).map(|first| &leaves.names[first]) {
        if name.who != Who::Candidate && name.meaning.is_some() {
            mistakes.push(Mistake::new(&name.range, NOT_OURS).help("write `mean_score improves over sft`"));
        }
    }
    for other in &mut leaves.others {
        match resolve::compared(other, scope) {
            Ok(judge) => other.judge = Some(judge),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    mistakes
}

fn check_test(test: &Test, leaves: &Leaves, scope: &RuleScope, mistakes: &mut Vec<Mistake>) {
    match test {
        Test::Compare { first, links, confidence, .. } => {
            check_number(first, leaves, mistakes);
            links.iter().for_each(|(_, number)| check_number(number, leaves, mistakes));
            let Some(confidence) = confidence else { return };
            let mut left = first;
            for (comparison, right) in links {
                mistakes.extend(any_of(left, *comparison, right, leaves));
                left = right;
            }
            let sides: Vec<&Number> = [first].into_iter().chain(links.iter().map(|(_, number)| number)).collect();
            check_confidence(confidence, &sides, leaves, scope, mistakes);
        }
        Test::Between { value, low, high, confidence } => {
            [value, low, high].into_iter().for_each(|number| check_number(number, leaves, mistakes));
            if let Some(confidence) = confidence {
                check_confidence(confidence, &[value, low, high], leaves, scope, mistakes);
            }
        }
        Test::Improves { metric, over, confidence, .. } => {
            let name = &leaves.names[*metric];
            if name.meaning.as_ref().is_some_and(|meaning| meaning.direction == Direction::Neutral) {
                let message =
                    format!("`{}` is neither better high nor better low, so nothing improves it", name.metric);
                mistakes.push(Mistake::new(&name.range, message).help("compare with `>` or `<`"));
            }
            if let Some(confidence) = confidence {
                let sides = [Number::Name(*metric), Number::Name(*over)];
                check_confidence(confidence, &[&sides[0], &sides[1]], leaves, scope, mistakes);
            }
        }
        Test::And(tests) | Test::Or(tests) => tests.iter().for_each(|test| check_test(test, leaves, scope, mistakes)),
        Test::Not(test) => check_test(test, leaves, scope, mistakes),
    }
}

/// Refuses `best(a, b) > c`, which any one of them can satisfy. `a > best(b, c)` is fine: each is weighed, and `a` must
/// beat all of them.
fn any_of(left: &Number, comparison: Comparison, right: &Number, leaves: &Leaves) -> Option<Mistake> {
    let is_upwards = matches!(comparison, Comparison::Above | Comparison::AtLeast);
    let picks_largest = |number: &Number| picks_largest(number, leaves);
    let offending = [(left, is_upwards), (right, !is_upwards)];
    let (number, _) = offending.into_iter().find(|(number, wrong)| picks_largest(number) == Some(*wrong))?;
    let Number::Call { function, range, .. } = number else { return None };
    let message = format!("`{}` on this side asks for any one of them", function.name);
    Some(Mistake::new(range, message).help("write the comparisons out, joined by `or`, each with its confidence"))
}

/// Refuses functions that confidence cannot be given to, such as the size of a difference, and a computation with the
/// best of several numbers: both lie above zero by luck alone.
fn no_level(side: &Number) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let is_whole = |number: &Number| std::ptr::eq(number, side);
    side.visit(&mut |number| {
        let Number::Call { function, arguments: Arguments::Numbers(of, _), range } = number else { return };
        match of.form {
            Some(NumberForm::Refused { reason, help }) => mistakes.push(Mistake::new(range, reason).help(help)),
            Some(NumberForm::Pick(_)) if !is_whole(number) => {
                let message = format!("`{}` inside a computation cannot be weighed", function.name);
                mistakes.push(Mistake::new(range, message).help("write the comparisons out, each with its confidence"));
            }
            _ => {}
        }
    });
    mistakes
}

/// Whether the function picks the largest of several numbers, or else the smallest; `None` for every other number.
pub fn picks_largest(number: &Number, leaves: &Leaves) -> Option<bool> {
    let Number::Call { arguments: Arguments::Numbers(of, numbers), .. } = number else { return None };
    let Some(NumberForm::Pick(is_largest)) = of.form else { return None };
    Some(is_largest(direction(of, numbers, leaves).ok()?))
}

fn check_confidence(
    confidence: &Confidence,
    sides: &[&Number],
    leaves: &Leaves,
    scope: &RuleScope,
    mistakes: &mut Vec<Mistake>,
) {
    // Names without a meaning have been reported already.
    if leaves.names.iter().all(|name| name.meaning.is_some()) && leaves.others.iter().all(|other| other.judge.is_some())
    {
        if sides.iter().any(|side| side.is_across()) {
            mistakes.extend(across(confidence, sides));
            return;
        }
        let mut found: Vec<Mistake> = sides.iter().flat_map(|side| no_level(side)).collect();
        found.extend(check_items(sides, leaves, scope, "confidence"));
        if found.is_empty() && tables(sides, leaves).is_empty() {
            let message = "nothing here is measured, so there is nothing to be confident of";
            mistakes.push(Mistake::new(&confidence.range, message));
        }
        if found.is_empty() {
            found = form::check(confidence, sides, leaves, scope);
        }
        mistakes.extend(found);
    }
}

/// Checks a comparison of stages of a `for` with confidence: one mean across stages against another, or against a number
/// that is taken as it is.
fn across(confidence: &Confidence, sides: &[&Number]) -> Option<Mistake> {
    if confidence.looks.is_some() || confidence.growth.is_some() || confidence.assumes_bounds {
        let message = "the evidence here are stages, and looks, growing tables and bounds are those of items";
        return Some(Mistake::new(&confidence.range, message).help("write `with 95% confidence` alone"));
    }
    let odd = sides.iter().find(|side| side.is_across() && !is_mean_across(side))?;
    let mut range = confidence.range.clone();
    odd.visit(&mut |number| {
        if let Number::Call { arguments: Arguments::Members(..), range: of_call, .. } = number {
            range = of_call.clone();
        }
    });
    let message = "confidence across stages is given to `mean_across` alone, and to nothing computed with it";
    Some(
        Mistake::new(&range, message).help("`mean_across(ppo.mean_score) > sft.mean_score by 0.1 with 95% confidence`"),
    )
}

/// Whether a number is a mean across stages and nothing else.
pub fn is_mean_across(number: &Number) -> bool {
    matches!(number, Number::Call { arguments: Arguments::Members(of, ..), .. } if of.is_mean)
}

/// Checks that every measured number is known item by item, and all in one table. `what` needs that.
fn check_items(sides: &[&Number], leaves: &Leaves, scope: &RuleScope, what: &str) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for side in sides {
        side.visit(&mut |number| match number {
            Number::Name(name) => {
                let name = &leaves.names[*name];
                let Some(meaning) = name.meaning.as_ref().filter(|meaning| meaning.field.is_none()) else { return };
                let known = scope.measured(&name.who, meaning.origin).iter().filter(|metric| metric.field.is_some());
                let known: Vec<String> = known.map(|metric| format!("`{}`", metric.name)).collect();
                let message = format!("`{}` is not known item by item, which {what} needs", name.label());
                mistakes.push(
                    Mistake::new(&name.range, message).help(match known.len() {
                        0 => {
                            "nothing is, of this kind of stage: leave it out, and the numbers are compared as they are"
                                .to_owned()
                        }
                        _ => format!("known item by item: {}", known.join(", ")),
                    }),
                );
            }
            Number::Call { function, arguments: Arguments::Checkpoints(..), range } => {
                let name = function.name;
                let message = format!("a {name} is made of checkpoints, not of items, which {what} needs");
                mistakes.push(Mistake::new(range, message));
            }
            _ => {}
        });
    }
    let tables = tables(sides, leaves);
    if let (true, [_, (_, _, range), ..]) = (mistakes.is_empty(), &tables[..]) {
        let message = format!("this is measured on other items than what stands before it, so {what} cannot pair them");
        mistakes.push(Mistake::new(range, message).help("write one rule for each table"));
    }
    mistakes
}

/// The tables of items that are read, with the subset of each, and the first place that names it.
fn tables<'a>(sides: &[&Number], leaves: &'a Leaves) -> Vec<(RecordOrigin, Option<&'a str>, Range<usize>)> {
    let mut tables: Vec<(RecordOrigin, Option<&str>, Range<usize>)> = Vec::new();
    let mut add = |origin: Option<RecordOrigin>, subset: Option<&'a str>, range: &Range<usize>| {
        if let Some(origin) = origin
            && tables.iter().all(|(known, of, _)| *known != origin || *of != subset)
        {
            tables.push((origin, subset, range.clone()));
        }
    };
    let mut others = Vec::new();
    for side in sides {
        side.visit(&mut |number| match number.leaf() {
            Some(Leaf::Name(name)) => {
                let name = &leaves.names[name];
                add(name.meaning.as_ref().map(|meaning| meaning.origin), name.subset.as_deref(), &name.range);
            }
            Some(Leaf::Other(other)) => others.push(other),
            None => {}
        });
    }
    for other in others {
        add(leaves.others[other].judge.map(RecordOrigin::Judge), None, &leaves.others[other].range);
    }
    tables
}

fn check_number(number: &Number, leaves: &Leaves, mistakes: &mut Vec<Mistake>) {
    number.visit(&mut |number| {
        let Number::Call { function, arguments, range } = number else { return };
        match arguments {
            Arguments::Numbers(of, numbers) => {
                if let Err(reason) = direction(of, numbers, leaves) {
                    let message = format!("`{}` cannot tell which is better: {reason}", function.name);
                    mistakes.push(Mistake::new(range, message).help("write `max(…)` or `min(…)`"));
                }
            }
            Arguments::Checkpoints(_, metric) => {
                let metric = &leaves.names[*metric];
                if metric.meaning.as_ref().is_some_and(|meaning| meaning.origin != RecordOrigin::Own) {
                    let message = format!("`{}` is the judge's: not every checkpoint is judged", metric.label());
                    let help = format!("a {} is of the stage's own metrics", function.name);
                    mistakes.push(Mistake::new(&metric.range, message).help(help));
                }
            }
            Arguments::Members(of, family, _) if of.asks_direction => {
                let members = leaves.families[*family].members.iter().map(|name| &leaves.names[*name]);
                let mut known = members.filter_map(|name| name.meaning.as_ref());
                if known.any(|meaning| meaning.direction == Direction::Neutral) {
                    let metric = &leaves.families[*family].typed.metric;
                    let message =
                        format!("`{}` cannot tell which is better: `{metric}` has no better side", function.name);
                    mistakes.push(
                        Mistake::new(range, message).help("count those above or below a number: `count_across(…)`"),
                    );
                }
            }
            Arguments::Answers(_) | Arguments::Field(..) | Arguments::Members(..) => {}
        }
    });
}

/// The common direction of the metrics that a function takes; neutral where it takes other numbers, and where a name
/// has no meaning.
pub fn direction(of: &OfNumbers, numbers: &[Number], leaves: &Leaves) -> Result<Direction, String> {
    if of.takes != Takes::Metrics {
        return Ok(Direction::Neutral);
    }
    let mut common = None;
    for number in numbers {
        let Number::Name(name) = number else {
            return Err("not every argument is a metric".to_owned());
        };
        let name = &leaves.names[*name];
        let Some(meaning) = &name.meaning else { return Ok(Direction::Neutral) };
        match (meaning.direction, common) {
            (Direction::Neutral, _) => return Err(format!("`{}` has no better side", name.label())),
            (found, Some(before)) if found != before => {
                return Err("of some metrics the higher value is better, of others the lower".to_owned());
            }
            (found, _) => common = Some(found),
        }
    }
    common.ok_or_else(|| "it has no arguments".to_owned())
}

#[cfg(test)]
mod tests;
