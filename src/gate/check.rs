//! Rules against the names there are: every mistake of a rule at once, before anything runs.
//! What the names were found to mean is kept in the rule; evaluation refuses a rule that was not checked.

use super::Mistake;
use super::functions::Body;
use super::resolve::{self, Scope};
use super::tree::{Arguments, Expression, Leaves, Meaning, Number, Rule, Test, Who, Yardstick};
use stages::stage::Direction;

/// All mistakes of the rule; it may be evaluated when there are none.
pub fn check(rule: &mut Rule, scope: &Scope) -> Vec<Mistake> {
    let mut mistakes = check_leaves(&mut rule.leaves, scope);
    check_test(&rule.test, &rule.leaves, &mut mistakes);
    sorted(mistakes)
}

/// `where` filters checkpoints by what their own stage measured on them, before anything is judged.
pub fn check_where(rule: &mut Rule, scope: &Scope) -> Vec<Mistake> {
    const HELP: &str = "`where` filters checkpoints by the stage's own metrics, before anything is judged";
    let own = Scope { own: scope.own.clone(), ..Scope::default() };
    let is_foreign = |who: &Who, said: Option<Yardstick>| *who != Who::Candidate || said == Some(Yardstick::Judge);
    let names = rule.leaves.names.iter().filter(|name| is_foreign(&name.who, name.said)).map(|name| &name.range);
    let foreign: Vec<_> = names.chain(rule.leaves.others.iter().map(|other| &other.range)).cloned().collect();
    if !foreign.is_empty() {
        return foreign
            .iter()
            .map(|range| Mistake::new(range, "no checkpoint has this of its own").help(HELP))
            .collect();
    }
    let mut mistakes = check(rule, &own);
    let judged = scope.judge.as_ref().map_or(&[][..], |judge| &judge.metrics);
    for mistake in &mut mistakes {
        let name = rule.leaves.names.iter().find(|name| name.metric_range == mistake.range);
        if name.is_some_and(|name| judged.iter().any(|metric| metric.name == name.metric)) {
            mistake.help = Some(HELP.to_owned());
        }
    }
    mistakes
}

/// `best` compares the checkpoints of one stage with each other.
pub fn check_best(best: &mut Expression, scope: &Scope) -> Vec<Mistake> {
    const HELP: &str = "`best` compares the checkpoints of this stage by its own metrics or the judge's";
    let names = best.leaves.names.iter().filter(|name| name.who != Who::Candidate).map(|name| &name.range);
    let foreign: Vec<_> = names.chain(best.leaves.others.iter().map(|other| &other.range)).cloned().collect();
    if !foreign.is_empty() {
        return foreign
            .iter()
            .map(|range| Mistake::new(range, "this is not one checkpoint's number").help(HELP))
            .collect();
    }
    let mut mistakes = check_leaves(&mut best.leaves, scope);
    check_number(&best.number, &best.leaves, &mut mistakes);
    if let Number::Name(name) = best.number {
        let name = &best.leaves.names[name];
        if name.meaning.is_some_and(|meaning| meaning.direction == Direction::Neutral) {
            let message = format!("`{}` is neither better high nor better low", name.metric);
            let help = format!("`1 * {0}` takes the largest, `-{0}` the smallest", name.label());
            mistakes.push(Mistake::new(&name.range, message).help(help));
        }
    }
    sorted(mistakes)
}

/// What is allowed but likely not meant. Call it after `check`.
pub fn warnings(rule: &Rule) -> Vec<Mistake> {
    let is_own = |meaning: Meaning| meaning.yardstick == Yardstick::Own;
    let names = rule.leaves.names.iter();
    names
        .filter(|name| name.who == Who::Incumbent && name.meaning.is_some_and(is_own))
        .map(|name| {
            let message =
                format!("`{}` was measured by the incumbent's own stage: a different yardstick", name.label());
            Mistake::new(&name.range, message).help("add `judge: STAGE`, so that both are measured alike")
        })
        .collect()
}

fn sorted(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by_key(|mistake| mistake.range.start);
    mistakes
}

fn check_leaves(leaves: &mut Leaves, scope: &Scope) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for at in 0..leaves.names.len() {
        let like = match leaves.names[at].like {
            // The metric itself is unknown, and that was said.
            Some(first) if leaves.names[first].meaning.is_none() => continue,
            Some(first) => leaves.names[first].meaning,
            None => None,
        };
        match resolve::resolve(&leaves.names[at], like, scope) {
            Ok(meaning) => leaves.names[at].meaning = Some(meaning),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    for other in &leaves.others {
        if let Err(mistake) = resolve::artifact(&other.who, &other.range, scope) {
            mistakes.push(mistake);
        }
        match &scope.judge {
            None => mistakes.push(
                Mistake::new(
                    &other.range,
                    format!("`{}` compares answers, and no judge asks for any", other.function.name),
                )
                .help("add `judge: STAGE` to the gate"),
            ),
            Some(judge) if !judge.has_items => {
                let message =
                    format!("`{}` compares answers, and `{}` leaves no table of them", other.function.name, judge.name);
                mistakes.push(Mistake::new(&other.range, message).help("judge by a stage of kind `eval`"));
            }
            Some(_) => {}
        }
    }
    mistakes
}

fn check_test(test: &Test, leaves: &Leaves, mistakes: &mut Vec<Mistake>) {
    match test {
        Test::Compare { first, links, .. } => {
            check_number(first, leaves, mistakes);
            links.iter().for_each(|(_, number)| check_number(number, leaves, mistakes));
        }
        Test::Between { value, low, high } => {
            [value, low, high].into_iter().for_each(|number| check_number(number, leaves, mistakes));
        }
        Test::Improves { metric, .. } => {
            let name = &leaves.names[*metric];
            if name.meaning.is_some_and(|meaning| meaning.direction == Direction::Neutral) {
                let message =
                    format!("`{}` is neither better high nor better low, so nothing improves it", name.metric);
                mistakes.push(Mistake::new(&name.range, message).help("compare with `>` or `<`"));
            }
        }
        Test::And(tests) | Test::Or(tests) => tests.iter().for_each(|test| check_test(test, leaves, mistakes)),
        Test::Not(test) => check_test(test, leaves, mistakes),
    }
}

fn check_number(number: &Number, leaves: &Leaves, mistakes: &mut Vec<Mistake>) {
    match number {
        Number::Literal { .. } | Number::Name(_) => {}
        Number::Negative(inner) => check_number(inner, leaves, mistakes),
        Number::Chain { first, rest } => {
            check_number(first, leaves, mistakes);
            rest.iter().for_each(|(_, number)| check_number(number, leaves, mistakes));
        }
        Number::Call { function, arguments: Arguments::Numbers(numbers), range } => {
            numbers.iter().for_each(|number| check_number(number, leaves, mistakes));
            if matches!(function.body, Body::Directed(_))
                && let Err(reason) = direction(numbers, leaves)
            {
                let message = format!("`{}` cannot tell which is better: {reason}", function.name);
                mistakes.push(Mistake::new(range, message).help("write `max(…)` or `min(…)`"));
            }
        }
        Number::Call { .. } => {}
    }
}

/// The one direction of these metrics; neutral stands for "not known", when a name has no meaning.
pub fn direction(numbers: &[Number], leaves: &Leaves) -> Result<Direction, String> {
    let mut common = None;
    for number in numbers {
        let Number::Name(name) = number else {
            return Err("not every argument is a metric".to_owned());
        };
        let name = &leaves.names[*name];
        let Some(meaning) = name.meaning else { return Ok(Direction::Neutral) };
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
