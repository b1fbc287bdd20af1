//! The facts that the comparison of two runs is a function of.

use super::{AnswerContest, Facts};
use crate::gate::statistics::Glance;
use crate::gate::{Items, pair};
use crate::report::diff::{Diff, MetricDiff};

/// Two runs, the old one first.
pub struct RunComparison {
    pub runs: [Facts; 2],
    pub diff: Diff,
    /// The metrics of which both runs have a table of the same items.
    pub gains: Vec<MetricGain>,
    /// Models that both runs measured and whose answers changed.
    pub answers: Vec<SharedAnswers>,
    /// Further ones, which the page would be too large with.
    pub left_out: usize,
    /// Models whose answers cannot be paired, each with the reason.
    pub unpaired: Vec<String>,
}

/// The mean of a metric in the new run less that in the old, item by item.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricGain {
    pub stage: String,
    pub metric: String,
    pub items: usize,
    /// Its 95 % interval.
    pub within: Glance,
}

/// The answers of a model in both runs: the candidate's are the new ones.
pub struct SharedAnswers {
    pub contest: AnswerContest,
    /// The reason why their scores are not compared.
    pub unscored: Option<String>,
}

impl RunComparison {
    pub fn gain(&self, stage: &str, metric: &str) -> Option<&MetricGain> {
        self.gains.iter().find(|gain| gain.stage == stage && gain.metric == metric)
    }
}

/// The gain of a metric that is the mean of one of these fields in both tables; `None` where it is the mean of none, or
/// where the tables do not pair.
pub fn metric_gain(stage: &str, metric: &MetricDiff, fields: &[String], [old, new]: [&Items; 2]) -> Option<MetricGain> {
    let means = [metric.old?, metric.new?];
    let is_mean = |field: &&String| {
        [old, new].into_iter().zip(means).all(|(items, mean)| {
            let Ok(numbers) = items.numbers(field) else { return false };
            let found = numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
            (found - mean).abs() <= 1e-5 * (1.0 + mean.abs())
        })
    };
    let field = fields.iter().find(is_mean)?;
    let rows = pair(new, old).ok()?;
    let difference =
        |(mine, theirs): &(usize, usize)| Some(new.number(field, *mine).ok()? - old.number(field, *theirs).ok()?);
    let differences = rows.iter().map(difference).collect::<Option<Vec<f64>>>()?;
    let order: Vec<usize> = rows.iter().map(|(mine, _)| *mine).collect();
    let within = super::contest::mean_within(&differences, &new.groups(&order))?;
    Some(MetricGain { stage: stage.to_owned(), metric: metric.name.clone(), items: rows.len(), within })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(scores: &[f64]) -> Items {
        let line = |(at, score): (usize, &f64)| format!("{{\"id\": {at}, \"prompt\": \"p{at}\", \"score\": {score}}}");
        Items::read(&scores.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")).unwrap()
    }

    fn metric(old: f64, new: f64) -> MetricDiff {
        let (name, shown) = ("mean_score".to_owned(), [old, new].map(|value| value.to_string()));
        let change = Some(new - old);
        MetricDiff { name, old: Some(old), new: Some(new), change, judged: None, yardstick: None, shown }
    }

    #[test]
    fn an_interval_is_that_of_the_field_whose_mean_the_metric_is_or_there_is_none() {
        let fields = ["length", "score"].map(str::to_owned);
        let (old, new) = (items(&[0.0, 1.0, 2.0, 3.0]), items(&[0.5, 1.4, 2.6, 3.5]));
        let gain = metric_gain("ppo", &metric(1.5, 2.0), &fields, [&old, &new]).unwrap();
        assert_eq!((gain.stage.as_str(), gain.items), ("ppo", 4));
        // Item by item the differences are 0.5, 0.4, 0.6, 0.5: far narrower than the scores.
        assert!(gain.within.lower > 0.36 && gain.within.lower < 0.5 && gain.within.upper < 0.64, "{:?}", gain.within);
        // The metrics are of another model, or the items are others.
        assert_eq!(metric_gain("ppo", &metric(1.5, 2.25), &fields, [&old, &new]), None);
        assert_eq!(metric_gain("ppo", &metric(1.5, 1.0), &fields, [&old, &items(&[1.0])]), None);
    }
}
