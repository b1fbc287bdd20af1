//! One comparison of a rule → its result, and a sentence with every number in it.

use super::super::lexer::Comparison;
use super::super::tree::{Confidence, Margin, Number};
use super::super::{Decision, show};
use super::assess::{Weighing, assess, glance};
use super::certainty::{Certainty, Question};
use super::growing;
use super::nearest::{self, Movable};
use super::quantity::{Fragment, Quantity, quantity};
use super::view::{Gap, View};
use super::winner;
use stages::stage::Direction;

/// The result of a comparison, or of a test made of several.
pub struct Conclusion {
    pub decision: Decision,
    pub explanation: String,
    /// The p-value of the claim the rule makes, divided by the level it asks for; only of rules with confidence.
    pub p: Option<f64>,
    pub nearest: Option<String>,
    pub is_within_noise: bool,
}

/// The strictness of a confidence beyond what the rule says, because several claims are made at once.
#[derive(Clone, Copy)]
pub struct Multiplicity {
    pub divisor: f64,
    /// The part of the level that a rule may spend which declares its looks; `None`: that of the first of them.
    pub stake: Option<f64>,
    /// Set under `not`: the rule claims that the comparison fails.
    pub is_negated: bool,
}

/// `a > b`, `a > b by 2%`, `a < b < c`.
pub fn links(
    first: &Number,
    links: &[(Comparison, Number)],
    margin: Option<&Margin>,
    confidence: Option<&Confidence>,
    multiplicity: Multiplicity,
    view: View,
) -> Conclusion {
    let mut sides = vec![quantity(first, view)];
    sides.extend(links.iter().map(|(_, number)| quantity(number, view)));
    let threshold = sides[1].value.clone();
    if let (Some(margin), [_, right]) = (margin, &mut sides[..]) {
        add_margin(right, margin, if links[0].0.is_downwards() { -1.0 } else { 1.0 });
    }
    let digits = digits(&sides);
    let mut sentence = sides[0].show(digits);
    let mut findings = Findings::default();
    let lefts = [first].into_iter().chain(links.iter().map(|(_, number)| number));
    for ((left, (comparison, right)), two) in lefts.zip(links).zip(sides.windows(2)) {
        let (sign, shown) = (comparison.sign(), two[1].show(digits));
        let (Ok(a), Ok(b)) = (&two[0].value, &two[1].value) else {
            sentence += &format!(" {sign} {shown}");
            continue;
        };
        findings.notes.extend(distance(*comparison, *a, *b));
        let question = Question { left, right, is_upwards: !comparison.is_downwards(), margin };
        if !matches!(comparison, Comparison::Equal | Comparison::Unequal) {
            let gain = if question.is_upwards { *a - *b } else { *b - *a };
            findings.notes.extend(luck(&question, gain, view));
            findings.reach = Some(gain);
        }
        let decision = match confidence {
            Some(confidence) => findings.claim(&question, confidence, links.len(), multiplicity, view),
            None => {
                if !matches!(comparison, Comparison::Equal | Comparison::Unequal) {
                    findings.notice(&question, view);
                }
                findings.plain(comparison.holds(*a, *b))
            }
        };
        sentence += &format!(" {}{sign} {shown}", verb(decision));
    }
    let nearest = match (links, threshold) {
        ([(comparison, right)], Ok(value)) => {
            let left = nearest::number(first, view.leaves);
            let margin = nearest::amount(margin, value);
            let (comparison, right) = (*comparison, (right, value));
            findings.nearest(first, &Movable { left, comparison, right, margin, confidence, leaves: view.leaves })
        }
        _ => None,
    };
    findings.conclude(&sides, sentence, confidence, nearest)
}

/// `a between b and c`.
pub fn between(
    [number, least, most]: [&Number; 3],
    confidence: Option<&Confidence>,
    multiplicity: Multiplicity,
    view: View,
) -> Conclusion {
    let sides = [number, least, most].map(|number| quantity(number, view));
    let digits = digits(&sides);
    let mut findings = Findings::default();
    if let [Ok(value), Ok(low), Ok(high)] = &sides.each_ref().map(|side| side.value.as_ref()) {
        if value < low {
            findings.notes.push(format!("short by {}", show::number(*low - *value, 4)));
        }
        if value > high {
            findings.notes.push(format!("over by {}", show::number(*value - *high, 4)));
        }
        let above = Question { left: number, right: least, is_upwards: true, margin: None };
        let below = Question { left: number, right: most, is_upwards: false, margin: None };
        match confidence {
            // Both must hold, each at the full level (Schuirmann 1987: two one-sided tests).
            Some(confidence) => {
                for (question, side) in [(above, "low"), (below, "high")] {
                    findings.claim(&question, confidence, 2, multiplicity, view);
                    findings.notes.last_mut().into_iter().for_each(|note| *note = format!("{side} end: {note}"));
                }
            }
            None => {
                let is_low = *value - *low < *high - *value;
                let (nearer, side) = if is_low { (above, "low") } else { (below, "high") };
                let known = findings.notes.len();
                findings.notice(&nearer, view);
                // The interval is that of the distance to this end, not that of the number.
                findings.notes[known..].iter_mut().for_each(|note| *note = format!("to the {side} end: {note}"));
                findings.plain(low <= value && value <= high);
            }
        }
    }
    let [value, low, high] = sides.each_ref().map(|side| side.show(digits));
    let verb = verb(findings.decision());
    findings.conclude(&sides, format!("{value} {verb}between {low} and {high}"), confidence, None)
}

/// `m improves over x`: both are metrics, as indices into `Leaves::names`.
pub fn improves(
    [metric, over]: [usize; 2],
    margin: Option<&Margin>,
    confidence: Option<&Confidence>,
    multiplicity: Multiplicity,
    view: View,
) -> Conclusion {
    let numbers = [Number::Name(metric), Number::Name(over)];
    let mut sides = numbers.each_ref().map(|number| quantity(number, view));
    let direction = view.name(metric).meaning.as_ref().map(|meaning| meaning.direction);
    let is_lower = direction == Some(Direction::Lower);
    let unmoved = sides[1].value.clone();
    if let Some(margin) = margin {
        add_margin(&mut sides[1], margin, if is_lower { -1.0 } else { 1.0 });
    }
    let digits = digits(&sides);
    let mut findings = Findings::default();
    if let [Ok(value), Ok(threshold)] = &sides.each_ref().map(|side| side.value.as_ref()) {
        let gain = if is_lower { *threshold - *value } else { *value - *threshold };
        findings.notes.extend(distance(Comparison::Above, gain, 0.0));
        let question = Question { left: &numbers[0], right: &numbers[1], is_upwards: !is_lower, margin };
        findings.notes.extend(luck(&question, gain, view));
        findings.reach = Some(gain);
        match confidence {
            Some(confidence) => drop(findings.claim(&question, confidence, 1, multiplicity, view)),
            None => {
                findings.notice(&question, view);
                findings.plain(gain > 0.0);
            }
        }
    }
    let [value, threshold] = sides.each_ref().map(|side| side.show(digits));
    let verb = match findings.decision() {
        Decision::Fail => "does not improve over",
        Decision::Unsure => "does not surely improve over",
        Decision::Pass | Decision::Error => "improves over",
    };
    let nearest = unmoved.ok().and_then(|value| {
        let left = view.name(metric).label();
        let comparison = if is_lower { Comparison::Below } else { Comparison::Above };
        let (right, margin) = ((&numbers[1], value), nearest::amount(margin, value));
        findings.nearest(&numbers[0], &Movable { left, comparison, right, margin, confidence, leaves: view.leaves })
    });
    findings.conclude(&sides, format!("{value} {verb} {threshold}"), confidence, nearest)
}

fn verb(decision: Decision) -> &'static str {
    match decision {
        Decision::Pass | Decision::Error => "",
        Decision::Fail => "is not ",
        Decision::Unsure => "is not surely ",
    }
}

/// The part of a difference that is the luck of the best of several, and the difference without it.
fn luck(question: &Question, gain: f64, view: View) -> Option<String> {
    let luck = winner::luck(question, view).filter(|luck| *luck > 0.0)?;
    let among = view.chosen_among();
    let rest = gain - luck;
    let side = if rest < 0.0 { "short by" } else { "by" };
    let (luck, rest) = (show::number(luck, 2), show::number(rest.abs(), 2));
    Some(format!("the best of {among} looks better than it is, by about {luck}: without that {side} {rest}"))
}

/// The distance by which a comparison holds or fails; `None` where that goes without saying.
fn distance(comparison: Comparison, left: f64, right: f64) -> Option<String> {
    let apart = show::number((left - right).abs(), 4);
    match (comparison, comparison.holds(left, right)) {
        (Comparison::Equal, true) | (Comparison::Unequal, false) => None,
        _ if left == right => Some("equal".to_owned()),
        (Comparison::Equal, false) => Some(format!("off by {apart}")),
        (_, true) => Some(format!("by {apart}")),
        (Comparison::Above | Comparison::AtLeast, false) => Some(format!("short by {apart}")),
        (_, false) => Some(format!("over by {apart}")),
    }
}

/// The results of the comparisons of one sentence so far. All of them must hold.
#[derive(Default)]
struct Findings {
    notes: Vec<String>,
    decisions: Vec<Decision>,
    gaps: Vec<Gap>,
    p: Option<f64>,
    is_noise: bool,
    /// By how much the last comparison surely holds, its margin included; below 0 it does not.
    reach: Option<f64>,
}

impl Findings {
    /// Adds a comparison without confidence.
    fn plain(&mut self, holds: bool) -> Decision {
        let decision = if holds { Decision::Pass } else { Decision::Fail };
        self.decisions.push(decision);
        decision
    }

    /// Notes the part of a difference that may be noise, for rules without confidence.
    fn notice(&mut self, question: &Question, view: View) {
        let Some(certainty) = glance(question, view) else { return };
        self.notes.push(certainty.noise(view.chosen_among()));
        self.is_noise |= certainty.is_noise(view.chosen_among());
    }

    /// The nearest comparison that would have passed. With confidence only where the bound is one of the difference of
    /// the two sides as they stand.
    fn nearest(&self, left: &Number, movable: &Movable) -> Option<String> {
        let is_movable = movable.confidence.is_none()
            || ((left.leaf().is_some() || left.is_across()) && nearest::is_linear(movable.right.0));
        let is_short = matches!(self.decision(), Decision::Fail | Decision::Unsure) && self.gaps.is_empty();
        self.reach.filter(|_| is_short && is_movable).and_then(|reach| nearest::moved(movable, reach))
    }

    /// Adds one of the `together` comparisons that the sentence makes with confidence: each has to hold at the full
    /// level, and the claim that any of them fails has as many chances to be luck.
    fn claim(
        &mut self,
        question: &Question,
        confidence: &Confidence,
        together: usize,
        multiplicity: Multiplicity,
        view: View,
    ) -> Decision {
        // Rules that declare nothing have the whole level, whatever the ledger says.
        let stake = match (confidence.looks, confidence.growth) {
            (None, None) => 1.0,
            (None, Some(_)) => multiplicity.stake.unwrap_or(1.0),
            (Some(looks), _) => multiplicity.stake.unwrap_or(looks.part(1)),
        };
        // Looks that are spent leave no level at which anything could be claimed.
        if stake == 0.0 {
            self.reach = None;
            self.p = Some(f64::INFINITY);
            self.decisions.push(Decision::Unsure);
            return Decision::Unsure;
        }
        let weighed = growing::bar(question, confidence, multiplicity.divisor / stake, view)
            .and_then(|bar| Ok((assess(question, bar.alpha, Weighing::of(confidence), view)?, bar)));
        let (decision, p) = match weighed {
            Err(gap) => {
                self.reach = None;
                let decision = if matches!(gap, Gap::Error(_)) { Decision::Error } else { Decision::Unsure };
                self.gaps.push(gap);
                (decision, f64::INFINITY)
            }
            Ok((certainty, bar)) => {
                let certainty = Certainty { p_fails: (certainty.p_fails * together as f64).min(1.0), ..certainty };
                let decision = match () {
                    () if certainty.p_holds <= bar.alpha => Decision::Pass,
                    () if certainty.p_fails <= bar.alpha => Decision::Fail,
                    () => Decision::Unsure,
                };
                self.notes.push(certainty.text(decision, confidence, &bar));
                // A percentage of a measured number is no fixed distance.
                let is_fixed = question.margin.is_none_or(|margin| !margin.is_percent);
                self.reach = Some(certainty.lower).filter(|_| is_fixed);
                let p = if multiplicity.is_negated { certainty.p_fails } else { certainty.p_holds };
                // The level of a look at a growing table is no fixed part of the level of the rule: where one claim of
                // several is enough, it lets the others have none of its own.
                (decision, if bar.growth.is_some() { f64::INFINITY } else { p / bar.alpha })
            }
        };
        let weaker = if multiplicity.is_negated { f64::min } else { f64::max };
        self.p = Some(self.p.map_or(p, |before| weaker(before, p)));
        self.decisions.push(decision);
        decision
    }

    fn decision(&self) -> Decision {
        let order = [Decision::Error, Decision::Fail, Decision::Unsure];
        order.into_iter().find(|decision| self.decisions.contains(decision)).unwrap_or(Decision::Pass)
    }

    fn conclude(
        self,
        sides: &[Quantity],
        sentence: String,
        confidence: Option<&Confidence>,
        nearest: Option<String>,
    ) -> Conclusion {
        let asked = confidence.map(|confidence| format!(" {}", confidence.phrase())).unwrap_or_default();
        let gaps: Vec<&Gap> = sides.iter().filter_map(|side| side.value.as_ref().err()).chain(&self.gaps).collect();
        // A claim without a number counts as one that nothing speaks for.
        let p = confidence.map(|_| self.p.unwrap_or(f64::INFINITY));
        if !gaps.is_empty() {
            let mut reasons: Vec<&str> = gaps.iter().map(|gap| gap.reason()).collect();
            reasons.dedup();
            let is_error = gaps.iter().any(|gap| matches!(gap, Gap::Error(_)));
            let decision = if is_error { Decision::Error } else { Decision::Unsure };
            let explanation = format!("{sentence}{asked} ({})", reasons.join("; "));
            return Conclusion { decision, explanation, p, nearest: None, is_within_noise: false };
        }
        let notes = if self.notes.is_empty() { String::new() } else { format!(" ({})", self.notes.join("; ")) };
        let explanation = sentence + &asked + &notes;
        Conclusion { decision: self.decision(), explanation, p, nearest, is_within_noise: self.is_noise }
    }
}

/// Adds the margin, which raises the threshold (`sign` 1) or lowers it (-1).
fn add_margin(right: &mut Quantity, margin: &Margin, sign: f64) {
    let Ok(value) = right.value else { return };
    let threshold = value + sign * nearest::amount(Some(margin), value);
    right.close();
    right.fragments.push(Fragment::Text(format!(" {} {} = ", if sign > 0.0 { "+" } else { "-" }, margin.text)));
    right.fragments.push(Fragment::Value(threshold));
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
