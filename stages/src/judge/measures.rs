//! Numbers about a judge from what it said: whether the order matters to it, whether length does, and how much could be read.

use super::bias::{self, Effect, JudgeBias, ShownChoice};
use super::hearing::Hearing;
use crate::people::interval::clopper_pearson;
use crate::people::label::Judgement;
use crate::rl;
use crate::stage::Metric;
use serde_json::Value;

/// The numbers of a judge.
pub const METRICS: &[Metric] = &[
    Metric::neutral("items", "items that were judged"),
    Metric::higher(
        "order_consistency",
        "share of pairs that are judged alike in both orders; of lists, 1 − Kendall's distance of the two",
    )
    .mean_of("order_consistency")
    .of_unit()
    .of_own_rows()
    .of_orders(),
    Metric::lower("order_flips", "items that are judged otherwise in the other order").of_orders(),
    Metric::neutral("first_share", "of choices between two: share that fell on what was shown first")
        .mean_of("first_share")
        .of_unit()
        .of_own_rows()
        .of_orders(),
    Metric::neutral("first_share_low", "lower end of its exact 95 % interval (Clopper–Pearson), items counted")
        .of_orders(),
    Metric::neutral("first_share_high", "its upper end").of_orders(),
    Metric::neutral("longer_share", "of pairs that are no tie: share in which the longer answer was chosen")
        .mean_of("longer_share")
        .of_unit()
        .of_own_rows(),
    Metric::neutral(
        "longer_share_controlled",
        "chance that an answer twice as long is chosen, the order held (logistic regression); of judges that see no order, by \
         length alone",
    ),
    Metric::neutral("longer_share_controlled_low", "lower end of its 95 % interval"),
    Metric::neutral("longer_share_controlled_high", "its upper end"),
    Metric::neutral("order_effect", "what being shown first adds to the logarithm of the odds, length held")
        .of_orders(),
    Metric::neutral("order_effect_low", "lower end of its 95 % interval").of_orders(),
    Metric::neutral("order_effect_high", "its upper end").of_orders(),
    Metric::neutral("tie_share", "share of the judgements that prefer nothing"),
    Metric::lower("unparsed", "share of items of which a reply could not be read"),
    Metric::higher("repeat_stability", "share of the pairs of samples of one question that say the same")
        .mean_of("repeat_stability")
        .of_unit()
        .of_own_rows()
        .of_orders(),
];

/// The metrics that are means of rows, with the number of an item.
type OfItem = fn(&Hearing) -> Option<f64>;
const OF_ROWS: [(&str, OfItem); 4] = [
    ("order_consistency", |hearing| hearing.consistency()),
    ("first_share", |hearing| hearing.first_share()),
    ("longer_share", |hearing| hearing.longer()),
    ("repeat_stability", |hearing| hearing.repeat_stability()),
];

/// The rows behind the metrics: each that is a mean has rows of its own, under its name as the subset.
pub fn table(hearings: &[Hearing]) -> Vec<Value> {
    let mut rows = Vec::new();
    for (metric, of) in OF_ROWS {
        for hearing in hearings {
            let (item, Some(value)) = (hearing.item, of(hearing)) else { continue };
            rows.push(item.metric_row(metric, "", value));
        }
    }
    rows
}

/// All metrics that have a value.
pub fn measures(hearings: &[Hearing]) -> Vec<(&'static str, f64)> {
    let of_rows = |of: OfItem| hearings.iter().filter_map(of).collect::<Vec<f64>>();
    let mut measured: Vec<(&str, f64)> = Vec::new();
    for (name, of) in OF_ROWS {
        let values = of_rows(of);
        if !values.is_empty() {
            measured.push((name, rl::mean(&values)));
        }
    }
    let consistency = of_rows(|hearing| hearing.consistency());
    if !consistency.is_empty() {
        measured.push(("order_flips", consistency.iter().filter(|same| **same < 1.0).count() as f64));
    }
    let first = of_rows(|hearing| hearing.first_share());
    if !first.is_empty() {
        let [low, high] = clopper_pearson(first.iter().sum::<f64>().round() as usize, first.len(), 0.95);
        measured.extend([("first_share_low", low), ("first_share_high", high)]);
    }
    let shown = choices(hearings);
    let has_orders = !shown.is_empty();
    let bias = bias::fit(&if has_orders { shown } else { orderless(hearings) });
    if let Some(JudgeBias { length, order }) = bias {
        let twice = |effect: f64| 1.0 / (1.0 + (-effect * std::f64::consts::LN_2).exp());
        let Effect { value, low, high } = length;
        measured.extend([
            ("longer_share_controlled", twice(value)),
            ("longer_share_controlled_low", twice(low)),
            ("longer_share_controlled_high", twice(high)),
        ]);
        if has_orders {
            let Effect { value, low, high } = order;
            measured.extend([("order_effect", value), ("order_effect_low", low), ("order_effect_high", high)]);
        }
    }
    let judged: Vec<Judgement> = hearings.iter().filter_map(Hearing::judgement).collect();
    let ties = judged.iter().filter_map(|judgement| judgement.ranks(None));
    let ties: Vec<f64> = ties.map(|ranks| f64::from(u8::from(ranks.iter().all(|rank| *rank == ranks[0])))).collect();
    if !ties.is_empty() {
        measured.push(("tie_share", rl::mean(&ties)));
    }
    measured.push(("items", judged.len() as f64));
    measured.push(("unparsed", (hearings.len() - judged.len()) as f64 / hearings.len().max(1) as f64));
    measured
}

/// Choices between each two answers by a judge that looks at each by itself, such as a reward model. Each is counted from both
/// sides, so that the regression finds no order, and that of length stands alone; the interval is the same as of one side.
fn orderless(hearings: &[Hearing]) -> Vec<ShownChoice> {
    let mut choices = Vec::new();
    for (item, hearing) in hearings.iter().enumerate() {
        let reply = hearing.replies.iter().find(|reply| reply.order.is_empty());
        let ranks = reply.and_then(|reply| reply.judgement.as_ref()?.ranks(None)).unwrap_or_default();
        for (one, rank) in ranks.iter().enumerate() {
            for (other, _) in ranks.iter().enumerate().filter(|(_, than)| *than != rank) {
                choices.push(ShownChoice {
                    item,
                    length: longer(hearing, one, other),
                    chose_first: rank < &ranks[other],
                });
            }
        }
    }
    choices
}

/// The logarithm of the length of one answer over that of another.
fn longer(hearing: &Hearing, one: usize, other: usize) -> f64 {
    let letters = |place: usize| hearing.item.answers[place].chars().count() as f64 + 1.0;
    (letters(one) / letters(other)).ln()
}

/// Choices between two answers, as they were shown. A judge that was asked in one order alone says nothing of the order.
fn choices(hearings: &[Hearing]) -> Vec<ShownChoice> {
    let mut choices = Vec::new();
    for (item, hearing) in hearings.iter().enumerate().filter(|(_, hearing)| hearing.consistency().is_some()) {
        for reply in &hearing.replies {
            let ranks = reply.judgement.as_ref().and_then(|judgement| judgement.ranks(None));
            let Some(ranks) = ranks.filter(|ranks| ranks.len() == 2 && ranks[0] != ranks[1]) else { continue };
            let [first, second] = [0, 1].map(|place| reply.order[place]);
            let length = longer(hearing, first, second);
            choices.push(ShownChoice { item, length, chose_first: ranks[first] < ranks[second] });
        }
    }
    choices
}
