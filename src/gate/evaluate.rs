//! A checked rule and the measured numbers → pass, fail, unsure or error, and a sentence with every number in it.
//! A number that is missing, null, NaN or infinite is an error of the whole rule: it never reads as false.

mod claims;
mod evidence;
mod linear;
mod quantile;
mod quantity;
mod resampled;
mod sentence;

use super::Decision;
use super::items::Items;
use super::lexer::Comparison;
use super::show;
use super::tree::{Confidence, Leaves, Margin, Number, Rule, Test, Yardstick};
use claims::{Claim, Level, claim, makes_several_claims, stepped_down};
pub(super) use evidence::{Question, standard_error};
pub(super) use quantity::Gap;
use quantity::{Part, Quantity, quantity};
use stages::stage::Direction;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use quantity::value;

/// What was measured of one artifact by one yardstick.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub metrics: BTreeMap<String, Option<f64>>,
    pub items: Option<Arc<Items>>,
}

/// What was measured of one artifact.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Its own record.
    pub own: Measured,
    /// Under each judge, in the order of the gate's list.
    pub judged: Vec<Measured>,
}

/// The numbers a rule is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub candidate: &'a Subject,
    pub incumbent: Option<&'a Subject>,
    pub stages: &'a BTreeMap<String, Subject>,
    /// Of the candidate's stage, in step order, up to the candidate.
    pub checkpoints: &'a [(u64, Subject)],
    /// How many checkpoints were compared by these records before this one was chosen: the best of many is good by
    /// luck, too.
    pub chosen_among: &'a [(Yardstick, usize)],
}

impl<'a> Facts<'a> {
    /// Of a candidate that was not chosen among others.
    pub fn of(
        candidate: &'a Subject,
        incumbent: Option<&'a Subject>,
        stages: &'a BTreeMap<String, Subject>,
    ) -> Facts<'a> {
        Facts { candidate, incumbent, stages, checkpoints: &[], chosen_among: &[] }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub outcome: Decision,
    /// `mean_score 0.412 > incumbent.mean_score 0.105 (by 0.307)`
    pub explanation: String,
}

pub fn evaluate(rule: &Rule, facts: &Facts) -> Judgement {
    // Only a choice among checkpoints that looked at the same items makes the best of them look better than it is.
    let yardsticks = rule.leaves.yardsticks();
    let among = facts.chosen_among.iter().filter(|(yardstick, _)| yardsticks.contains(yardstick));
    let among = among.map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let level = Level { divisor: among as f64, is_negated: false };
    let claim = makes_several_claims(&rule.test, false).then(|| claim(&rule.test, false, &rule.leaves, facts));
    let Weighed { outcome, explanation, .. } = judge(&rule.test, claim.as_ref(), level, &rule.leaves, facts);
    Judgement { outcome, explanation }
}

struct Weighed {
    outcome: Decision,
    explanation: String,
    /// Of the claim the rule makes, over the level it asks for; only of rules with confidence.
    p: Option<f64>,
}

/// `claim` is that of the same test, where the rule makes several.
fn judge(test: &Test, claim: Option<&Claim>, level: Level, leaves: &Leaves, facts: &Facts) -> Weighed {
    match test {
        Test::Compare { first, links, margin, confidence } => {
            compare(first, links, margin.as_ref(), confidence.as_ref(), level, leaves, facts)
        }
        Test::Between { value, low, high, confidence } => {
            between([value, low, high], confidence.as_ref(), level, leaves, facts)
        }
        Test::Improves { metric, over, margin, confidence } => {
            improves([*metric, *over], margin.as_ref(), confidence.as_ref(), level, leaves, facts)
        }
        Test::And(tests) => joined(tests, "and", Decision::Fail, claim, level, leaves, facts),
        Test::Or(tests) => joined(tests, "or", Decision::Pass, claim, level, leaves, facts),
        Test::Not(test) => {
            let claim = claim.and_then(|claim| claim.parts.first());
            let inner = judge(test, claim, Level { is_negated: !level.is_negated, ..level }, leaves, facts);
            let outcome = match inner.outcome {
                Decision::Pass => Decision::Fail,
                Decision::Fail => Decision::Pass,
                undecided => undecided,
            };
            Weighed { outcome, explanation: format!("not ({})", inner.explanation), p: inner.p }
        }
    }
}

/// Kleene logic, but any error wins: every part is evaluated, and none hides another's error. `decisive` is the
/// outcome that settles the whole alone.
fn joined(
    tests: &[Test],
    word: &str,
    decisive: Decision,
    claim: Option<&Claim>,
    level: Level,
    leaves: &Leaves,
    facts: &Facts,
) -> Weighed {
    let is_any_of = (decisive == Decision::Pass) != level.is_negated;
    let claims = claim.map_or(&[][..], |claim| &claim.parts);
    let levels = if is_any_of { stepped_down(claims, level, tests.len()) } else { vec![level; tests.len()] };
    let parts: Vec<Weighed> = tests
        .iter()
        .zip(levels)
        .enumerate()
        .map(|(at, (test, level))| judge(test, claims.get(at), level, leaves, facts))
        .collect();
    let any = |outcome: Decision| parts.iter().any(|part| part.outcome == outcome);
    let otherwise = if decisive == Decision::Fail { Decision::Pass } else { Decision::Fail };
    let outcome =
        [Decision::Error, decisive, Decision::Unsure].into_iter().find(|outcome| any(*outcome)).unwrap_or(otherwise);
    let texts = tests.iter().zip(&parts).map(|(test, part)| match test {
        Test::And(_) | Test::Or(_) => format!("({})", part.explanation),
        _ => part.explanation.clone(),
    });
    Weighed { outcome, explanation: texts.collect::<Vec<_>>().join(&format!(" {word} ")), p: None }
}

fn compare(
    first: &Number,
    links: &[(Comparison, Number)],
    margin: Option<&Margin>,
    confidence: Option<&Confidence>,
    level: Level,
    leaves: &Leaves,
    facts: &Facts,
) -> Weighed {
    let mut sides = vec![quantity(first, leaves, facts)];
    sides.extend(links.iter().map(|(_, number)| quantity(number, leaves, facts)));
    if let (Some(margin), [_, right]) = (margin, &mut sides[..]) {
        add_margin(right, margin, if links[0].0.is_downwards() { -1.0 } else { 1.0 });
    }
    let digits = digits(&sides);
    let mut sentence = sides[0].show(digits);
    let mut said = Said::default();
    let lefts = [first].into_iter().chain(links.iter().map(|(_, number)| number));
    for ((left, (comparison, right)), two) in lefts.zip(links).zip(sides.windows(2)) {
        let (sign, shown) = (comparison.sign(), two[1].show(digits));
        let (Ok(a), Ok(b)) = (&two[0].value, &two[1].value) else {
            sentence += &format!(" {sign} {shown}");
            continue;
        };
        said.notes.extend(sentence::distance(*comparison, *a, *b));
        let question = Question { left, right, is_upwards: !comparison.is_downwards(), margin };
        let is_directed = !matches!(comparison, Comparison::Equal | Comparison::Unequal);
        let outcome = match confidence {
            Some(confidence) => said.weigh(&question, confidence, links.len(), level, leaves, facts),
            None => {
                if is_directed && let Some(evidence) = evidence::glance(&question, leaves, facts) {
                    said.notes.push(sentence::noise(&evidence));
                }
                said.take(if comparison.holds(*a, *b) { Decision::Pass } else { Decision::Fail })
            }
        };
        sentence += &format!(" {}{sign} {shown}", verb(outcome));
    }
    conclude(&sides, sentence, confidence, said)
}

fn between(
    numbers: [&Number; 3],
    confidence: Option<&Confidence>,
    level: Level,
    leaves: &Leaves,
    facts: &Facts,
) -> Weighed {
    let sides = numbers.map(|number| quantity(number, leaves, facts));
    let digits = digits(&sides);
    let mut said = Said::default();
    if let [Ok(value), Ok(low), Ok(high)] = &sides.each_ref().map(|side| side.value.as_ref()) {
        if value < low {
            said.notes.push(format!("short by {}", show::number(*low - *value, 4)));
        }
        if value > high {
            said.notes.push(format!("over by {}", show::number(*value - *high, 4)));
        }
        let [number, least, most] = numbers;
        let above = Question { left: number, right: least, is_upwards: true, margin: None };
        let below = Question { left: number, right: most, is_upwards: false, margin: None };
        match confidence {
            // Both must hold, each at the full level (Schuirmann 1987: two one-sided tests).
            Some(confidence) => {
                for (question, side) in [(above, "low"), (below, "high")] {
                    said.weigh(&question, confidence, 2, level, leaves, facts);
                    said.notes.last_mut().into_iter().for_each(|note| *note = format!("{side} end: {note}"));
                }
            }
            None => {
                let nearer = if *value - *low < *high - *value { above } else { below };
                said.notes.extend(evidence::glance(&nearer, leaves, facts).as_ref().map(sentence::noise));
                let is_inside = low <= value && value <= high;
                said.take(if is_inside { Decision::Pass } else { Decision::Fail });
            }
        }
    }
    let [value, low, high] = sides.each_ref().map(|side| side.show(digits));
    let verb = verb(said.outcome());
    conclude(&sides, format!("{value} {verb}between {low} and {high}"), confidence, said)
}

fn improves(
    [metric, over]: [usize; 2],
    margin: Option<&Margin>,
    confidence: Option<&Confidence>,
    level: Level,
    leaves: &Leaves,
    facts: &Facts,
) -> Weighed {
    let numbers = [Number::Name(metric), Number::Name(over)];
    let mut sides = numbers.each_ref().map(|number| quantity(number, leaves, facts));
    let direction = leaves.names[metric].meaning.as_ref().map(|meaning| meaning.direction);
    let is_lower = direction == Some(Direction::Lower);
    if let Some(margin) = margin {
        add_margin(&mut sides[1], margin, if is_lower { -1.0 } else { 1.0 });
    }
    let digits = digits(&sides);
    let mut said = Said::default();
    if let [Ok(value), Ok(threshold)] = &sides.each_ref().map(|side| side.value.as_ref()) {
        let gain = if is_lower { *threshold - *value } else { *value - *threshold };
        said.notes.extend(sentence::distance(Comparison::Above, gain, 0.0));
        let question = Question { left: &numbers[0], right: &numbers[1], is_upwards: !is_lower, margin };
        match confidence {
            Some(confidence) => drop(said.weigh(&question, confidence, 1, level, leaves, facts)),
            None => {
                said.notes.extend(evidence::glance(&question, leaves, facts).as_ref().map(sentence::noise));
                said.take(if gain > 0.0 { Decision::Pass } else { Decision::Fail });
            }
        }
    }
    let [value, threshold] = sides.each_ref().map(|side| side.show(digits));
    let verb = match said.outcome() {
        Decision::Fail => "does not improve over",
        Decision::Unsure => "does not surely improve over",
        Decision::Pass | Decision::Error => "improves over",
    };
    conclude(&sides, format!("{value} {verb} {threshold}"), confidence, said)
}

fn verb(outcome: Decision) -> &'static str {
    match outcome {
        Decision::Pass | Decision::Error => "",
        Decision::Fail => "is not ",
        Decision::Unsure => "is not surely ",
    }
}

/// What has been found so far: the comparisons of one sentence must all hold.
#[derive(Default)]
struct Said {
    notes: Vec<String>,
    outcomes: Vec<Decision>,
    gaps: Vec<Gap>,
    p: Option<f64>,
}

impl Said {
    fn take(&mut self, outcome: Decision) -> Decision {
        self.outcomes.push(outcome);
        outcome
    }

    /// One of so many comparisons that the sentence makes `together`: each has to hold at the full level; that any of
    /// them fails has as many chances to be luck.
    fn weigh(
        &mut self,
        question: &Question,
        confidence: &Confidence,
        together: usize,
        level: Level,
        leaves: &Leaves,
        facts: &Facts,
    ) -> Decision {
        let alpha = (1.0 - confidence.percent / 100.0) / level.divisor;
        let (outcome, p) = match evidence::weigh(question, alpha, leaves, facts) {
            Err(gap) => {
                let outcome = if matches!(gap, Gap::Error(_)) { Decision::Error } else { Decision::Unsure };
                self.gaps.push(gap);
                (outcome, 1.0)
            }
            Ok(evidence) => {
                let evidence =
                    evidence::Evidence { p_fails: (evidence.p_fails * together as f64).min(1.0), ..evidence };
                let outcome = match () {
                    () if evidence.p_holds <= alpha => Decision::Pass,
                    () if evidence.p_fails <= alpha => Decision::Fail,
                    () => Decision::Unsure,
                };
                self.notes.push(sentence::sure(&evidence, outcome, confidence, level.divisor));
                (outcome, if level.is_negated { evidence.p_fails } else { evidence.p_holds })
            }
        };
        let weaker = if level.is_negated { f64::min } else { f64::max };
        self.p = Some(self.p.map_or(p / alpha, |before| weaker(before, p / alpha)));
        self.take(outcome)
    }

    fn outcome(&self) -> Decision {
        let any = |outcome: Decision| self.outcomes.contains(&outcome);
        let order = [Decision::Error, Decision::Fail, Decision::Unsure];
        order.into_iter().find(|outcome| any(*outcome)).unwrap_or(Decision::Pass)
    }
}

/// The margin raises what is asked for (`sign` 1), or lowers it (-1).
fn add_margin(right: &mut Quantity, margin: &Margin, sign: f64) {
    let Ok(value) = right.value else { return };
    let amount = if margin.is_percent { margin.amount / 100.0 * value.abs() } else { margin.amount };
    let threshold = value + sign * amount;
    right.close();
    right.parts.push(Part::Text(format!(" {} {} = ", if sign > 0.0 { "+" } else { "-" }, margin.text)));
    right.parts.push(Part::Value(threshold));
    right.value = if threshold.is_finite() {
        Ok(threshold)
    } else {
        Err(Gap::Error("the margin gives no finite number".to_owned()))
    };
}

fn digits(sides: &[Quantity]) -> usize {
    let numbers: Vec<f64> = sides.iter().flat_map(Quantity::numbers).filter(|number| number.is_finite()).collect();
    show::digits(&numbers)
}

fn conclude(sides: &[Quantity], sentence: String, confidence: Option<&Confidence>, said: Said) -> Weighed {
    let asked = confidence.map(|confidence| format!(" with {}% confidence", confidence.text)).unwrap_or_default();
    let gaps: Vec<&Gap> = sides.iter().filter_map(|side| side.value.as_ref().err()).chain(&said.gaps).collect();
    // A claim without a number counts as one that nothing speaks for.
    let p = confidence.map(|_| said.p.unwrap_or(f64::INFINITY));
    if !gaps.is_empty() {
        let mut reasons: Vec<&str> = gaps.iter().map(|gap| gap.reason()).collect();
        reasons.dedup();
        let is_error = gaps.iter().any(|gap| matches!(gap, Gap::Error(_)));
        let outcome = if is_error { Decision::Error } else { Decision::Unsure };
        return Weighed { outcome, explanation: format!("{sentence}{asked} ({})", reasons.join("; ")), p };
    }
    let notes = if said.notes.is_empty() { String::new() } else { format!(" ({})", said.notes.join("; ")) };
    Weighed { outcome: said.outcome(), explanation: sentence + &asked + &notes, p }
}

#[cfg(test)]
mod tests;
