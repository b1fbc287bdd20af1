//! One comparison as a question to the items, and how certain its answer is, as numbers and in words.

use super::super::statistics::Sample;
use super::super::tree::{Confidence, Margin, Number};
use super::super::{Decision, show, statistics};

/// One comparison to be weighed. The margin is not yet part of `right`.
pub struct Question<'a> {
    pub left: &'a Number,
    pub right: &'a Number,
    pub is_upwards: bool,
    pub margin: Option<&'a Margin>,
}

/// The chance of a false claim that is allowed to one comparison.
pub struct Bar {
    pub alpha: f64,
    /// The number of claims that share the level, and the looks.
    pub divisor: f64,
    /// The sentence about a look at a table that grows up to a declared maximum.
    pub growth: Option<String>,
}

/// The evidence of the items about `left - right`, in the direction of the comparison: above 0 it holds.
#[derive(Clone, Debug)]
pub struct Certainty {
    /// One-sided bounds of the difference.
    pub lower: f64,
    pub upper: f64,
    /// The p-values of "it does not hold" and of "it holds": small is strong.
    pub p_holds: f64,
    pub p_fails: f64,
    /// The form it was weighed by, and the number of items: `bootstrap, 120 items`.
    pub ground: String,
    pub limits: Limits,
}

/// The evidence that a form stands on, from which follows what is not promised of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub form: Option<statistics::Form>,
    pub items: usize,
    /// The number of groups; that of items where there are none.
    pub clusters: usize,
    /// The number of clusters that are not at the most frequent value.
    pub differ: usize,
}

impl Limits {
    pub fn of(form: statistics::Form, sample: &Sample) -> Limits {
        let differ = statistics::differing(sample);
        Limits { form: Some(form), items: sample.items(), clusters: sample.clusters(), differ }
    }

    /// The sentence about what is not promised at this level, and about what would be enough.
    fn text(&self, decision: Decision, alpha: f64) -> String {
        let Limits { form: Some(form), items, clusters, differ } = *self else { return String::new() };
        let unit = if clusters < items { "groups" } else { "items" };
        let mut said = Vec::new();
        if clusters == 1 && items > 1 {
            said.push("rows of one `prompt_group`, or of one prompt, are one piece of evidence".to_owned());
        } else if let Some(enough) = form.enough(unit == "groups") {
            let least = statistics::least_differing(alpha);
            if form.is_of_means() && decision == Decision::Unsure && differ < least {
                said.push(format!("only {differ} of them differ, and it takes {least} to decide"));
            }
            if clusters < enough {
                said.push(format!("the level is promised from {enough} {unit} on"));
            }
            if form.is_of_means() {
                let harm = statistics::unseen_harm(clusters, alpha);
                let takes = match harm > SMALL_HARM {
                    true => format!(" (3 % takes {})", statistics::items_to_see(SMALL_HARM, alpha)),
                    false => String::new(),
                };
                let harm = show::number(100.0 * harm, 2);
                said.push(format!("harm to less than {harm} % of the {unit} may not show{takes}"));
            }
        } else if form == statistics::Form::Percentile {
            said.push("the level of this form is not promised".to_owned());
        }
        said.into_iter().map(|text| format!("; {text}")).collect()
    }
}

/// The share of harmed items for which a sentence says how many items would show it.
const SMALL_HARM: f64 = 0.03;

impl Certainty {
    /// The text for a rule that asks for no confidence: the part of the difference that may be noise. Interval and
    /// p-value are both two-sided and corrected for the best of `among`, so that they say the same.
    pub fn noise(&self, among: usize) -> String {
        let p = self.two_sided(among);
        let best = if among > 1 { format!(" for the best of {among}") } else { String::new() };
        let noise = if self.is_noise(among) { ": within noise" } else { "" };
        let number = |bound: f64| match bound {
            bound if !bound.is_finite() => "anything".to_owned(),
            // Rounding of a closed form.
            bound if bound.abs() < 1e-12 => "0".to_owned(),
            bound => show::number(bound, 2),
        };
        format!(
            "95 % interval{best} {} to {}{noise}; two-sided p {}",
            number(self.lower),
            number(self.upper),
            p_value(p)
        )
    }

    /// Whether the difference may be noise alone, at the level that the text tells.
    pub fn is_noise(&self, among: usize) -> bool {
        self.two_sided(among) > 0.05
    }

    fn two_sided(&self, among: usize) -> f64 {
        (2.0 * among as f64 * self.p_holds.min(self.p_fails)).min(1.0)
    }

    /// The text for a rule with confidence: the bounds, the p-value and the ground.
    pub fn text(&self, decision: Decision, confidence: &Confidence, bar: &Bar) -> String {
        let Certainty { lower, upper, p_holds, p_fails, ground, limits } = self;
        let Bar { alpha, divisor, growth } = bar;
        let number = |bound: f64| if bound.is_finite() { show::number(bound, 3) } else { "anything".to_owned() };
        let limits = limits.text(decision, *alpha);
        let percent = percent(*alpha);
        let bounds = match decision {
            Decision::Pass => format!("at least {} at {percent}", number(*lower)),
            Decision::Fail => format!("misses by at least {} at {percent}", number(-upper)),
            _ => match lower.is_finite() || upper.is_finite() {
                true => format!("above {} and below {}, each at {percent}", number(*lower), number(*upper)),
                false => format!("nothing is known at {percent}"),
            },
        };
        let p = if decision == Decision::Fail { *p_fails } else { *p_holds };
        let against = match growth {
            Some(_) => format!(" against {}", show::number(*alpha, 2)),
            // A whole number of claims or looks; else a part that a promotion has handed on.
            None if *divisor > 1.0 && (divisor - divisor.round()).abs() < 1e-9 => {
                format!(" against {}/{divisor:.0}", show::number(confidence.level(), 4))
            }
            None if *divisor > 1.0 => format!(" against {}", show::number(*alpha, 4)),
            None => String::new(),
        };
        // A smaller p-value than is told apart is told where the level is smaller, too.
        let p = if *alpha < LEAST_P && p < LEAST_P { show::number(p, 2) } else { p_value(p) };
        let growth = growth.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
        format!("{bounds}; p {p}{against}; {ground}{growth}{limits}")
    }
}

/// One minus the level, in percent, with so many digits that it is not 100.
fn percent(alpha: f64) -> String {
    if alpha < 1e-5 {
        return "more than 99.999 %".to_owned();
    }
    let digits = (-alpha.log10()).ceil().max(2.0) as usize + 2;
    format!("{} %", show::number(100.0 * (1.0 - alpha), digits))
}

/// Below this the number of resamples and the tails of the approximations say no more.
const LEAST_P: f64 = 1e-4;

/// The p-value as text.
fn p_value(p: f64) -> String {
    if p < LEAST_P { "< 0.0001".to_owned() } else { show::number(p, 2) }
}

/// `120 items in 40 groups`.
pub fn count(items: usize, clusters: usize, unit: &str) -> String {
    let unit = if items == 1 { unit.trim_end_matches('s') } else { unit };
    let groups = match clusters {
        1 if items > 1 => " in 1 group".to_owned(),
        _ if clusters < items => format!(" in {clusters} groups"),
        _ => String::new(),
    };
    format!("{items} {unit}{groups}")
}
