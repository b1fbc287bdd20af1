//! Agreement of a judge with people: on the items that both judged, beside how far people agree with each other. Pure.

use crate::people::agreement::{CodedUnits, Distance};
use crate::people::label::{Judgement, Label, PairChoice};
use crate::people::likeness::alike;
use crate::people::worklist::WorkItem;
use crate::rl;
use crate::stage::Metric;
use serde_json::{Value, json};

/// An item that a judge and people judged.
pub struct SharedItem<'a> {
    pub item: &'a WorkItem,
    pub judge: &'a Judgement,
    pub people: Vec<&'a Label>,
    /// The chance that the judge gives to the first answer, where it tells.
    pub first: Option<f64>,
}

/// The numbers of a judge beside people.
pub const METRICS: [Metric; 5] = [
    Metric::higher(
        "people_agreement",
        "share of people's labels that say what the judge says; of lists, 1 − Kendall's distance of the two, and of ratings the \
         share that is the same (needs `people`)",
    )
    .mean_of("people_agreement")
    .of_unit()
    .of_own_rows()
    .needs("people"),
    Metric::higher("people_alpha", "Krippendorff's α of the judge as one of the people, ties between the sides")
        .needs("people"),
    Metric::higher(
        "people_ceiling",
        "the same of each two of the people, which the agreement of a judge with one of them is held against",
    )
    .needs("people"),
    Metric::lower(
        "people_ece",
        "expected calibration error of the judge's chances against people's votes, 10 bins, where it tells chances",
    )
    .needs("people"),
    Metric::neutral("people_items", "items that the judge and people judged").needs("people"),
];

/// The likeness of what people say of an item to what the judge says, mean.
pub fn agreement(both: &SharedItem) -> Option<f64> {
    let said: Vec<f64> = both.people.iter().filter_map(|label| likeness(&label.judgement, both.judge)).collect();
    (!said.is_empty()).then(|| rl::mean(&said))
}

/// As [`alike`]; that both answers of a pair are bad is a tie.
fn likeness(one: &Judgement, other: &Judgement) -> Option<f64> {
    match (one, other) {
        (Judgement::Pair(_), Judgement::Pair(_)) => Some(f64::from(u8::from(one.ranks(None) == other.ranks(None)))),
        _ => alike(one, other),
    }
}

/// The likeness of each two of the people who spoke of an item, mean.
fn ceiling(both: &SharedItem) -> Option<f64> {
    let pairs = both
        .people
        .iter()
        .enumerate()
        .flat_map(|(place, one)| both.people[..place].iter().map(move |other| (one, other)));
    let said: Vec<f64> = pairs.filter_map(|(one, other)| likeness(&one.judgement, &other.judgement)).collect();
    (!said.is_empty()).then(|| rl::mean(&said))
}

/// The rows behind the agreement.
pub fn table(all: &[SharedItem]) -> Vec<Value> {
    const METRIC: &str = METRICS[0].name;
    let row = |both: &SharedItem| {
        let (item, value) = (both.item, agreement(both)?);
        let mut row =
            json!({"id": format!("{METRIC}/{}", item.digest), "prompt": item.prompt.to_string(), "subset": METRIC});
        if let Some(group) = &item.group {
            row["prompt_group"] = json!(group);
        }
        row[METRIC] = json!(value);
        Some(row)
    };
    all.iter().filter_map(row).collect()
}

/// All metrics that have a value.
pub fn measures(all: &[SharedItem]) -> Vec<(&'static str, f64)> {
    let agreements: Vec<f64> = all.iter().filter_map(agreement).collect();
    if agreements.is_empty() {
        return Vec::new();
    }
    let mut measured = vec![("people_agreement", rl::mean(&agreements)), ("people_items", agreements.len() as f64)];
    // In the order that the item draws: in that of the texts, the better answer may always come first.
    let side = |both: &SharedItem, judgement: &Judgement| {
        let (ranks, order) = (judgement.ranks(None).filter(|ranks| ranks.len() == 2)?, both.item.drawn_order());
        let order = ranks[order[0]].total_cmp(&ranks[order[1]]);
        Some(1_usize.saturating_add_signed(order as isize))
    };
    let of_people = |both: &SharedItem| -> Vec<usize> {
        both.people.iter().filter_map(|label| side(both, &label.judgement)).collect()
    };
    let units: Vec<Vec<usize>> =
        all.iter().map(|both| side(both, both.judge).into_iter().chain(of_people(both)).collect()).collect();
    let coded = CodedUnits { values: 3, units, distance: Distance::Ordinal };
    measured.extend(coded.alpha().ok().map(|alpha| ("people_alpha", alpha)));
    let alone: Vec<f64> = all.iter().filter_map(ceiling).collect();
    if !alone.is_empty() {
        measured.push(("people_ceiling", rl::mean(&alone)));
    }
    let votes: Vec<[f64; 2]> = all.iter().filter_map(|both| Some([both.first?, first_votes(both)?])).collect();
    if !votes.is_empty() {
        measured.push(("people_ece", calibration_error(&votes)));
    }
    measured
}

/// The share of people who prefer the first answer, ties half.
fn first_votes(both: &SharedItem) -> Option<f64> {
    let of = |label: &&Label| match label.judgement {
        Judgement::Pair(PairChoice::First) => Some(1.0),
        Judgement::Pair(PairChoice::Second) => Some(0.0),
        Judgement::Pair(PairChoice::Tie | PairChoice::BothBad) => Some(0.5),
        _ => None,
    };
    let votes: Vec<f64> = both.people.iter().filter_map(of).collect();
    (!votes.is_empty()).then(|| rl::mean(&votes))
}

/// The mean distance, over ten bins of chances, of their mean from that of the votes.
fn calibration_error(votes: &[[f64; 2]]) -> f64 {
    const BINS: usize = 10;
    let mut bins = vec![[0.0; 3]; BINS];
    for [chance, vote] in votes {
        let bin = ((chance * BINS as f64) as usize).min(BINS - 1);
        bins[bin].iter_mut().zip([1.0, *chance, *vote]).for_each(|(sum, value)| *sum += value);
    }
    bins.iter().map(|[_, chances, votes]| (chances - votes).abs()).sum::<f64>() / votes.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::dialogue::Prompt;

    #[test]
    fn a_judge_that_says_what_people_say_agrees_wholly_and_one_that_never_does_not_at_all() {
        let items: Vec<WorkItem> = (0..20)
            .map(|number| WorkItem::of(Prompt::Text(format!("p{number}")), vec!["a".to_owned(), "b".to_owned()]))
            .collect();
        let choice = |number: usize| if number.is_multiple_of(3) { PairChoice::First } else { PairChoice::Second };
        let label = |item: &WorkItem, choice: PairChoice| Label {
            item: item.digest.clone(),
            criteria: String::new(),
            by: "m".to_owned(),
            round: 0,
            order: Vec::new(),
            judgement: Judgement::Pair(choice),
            before_hint: None,
            seconds: 0.0,
            at: String::new(),
            client: String::new(),
            note: None,
        };
        let labels: Vec<Label> = items.iter().enumerate().map(|(at, item)| label(item, choice(at))).collect();
        let measured = |judge: fn(PairChoice) -> PairChoice| {
            let judged: Vec<Judgement> = (0..20).map(|at| Judgement::Pair(judge(choice(at)))).collect();
            let both: Vec<SharedItem> = (0..20)
                .map(|at| SharedItem {
                    item: &items[at],
                    judge: &judged[at],
                    people: vec![&labels[at], &labels[at]],
                    first: Some(if judged[at] == Judgement::Pair(PairChoice::First) { 1.0 } else { 0.0 }),
                })
                .collect();
            measures(&both)
        };
        let of = |measured: &[(&str, f64)], name: &str| measured.iter().find(|(own, _)| *own == name).unwrap().1;
        let same = measured(|choice| choice);
        let names = ["people_agreement", "people_alpha", "people_ceiling", "people_ece", "people_items"];
        assert_eq!(names.map(|name| of(&same, name)), [1.0, 1.0, 1.0, 0.0, 20.0]);
        let never = measured(|choice| match choice {
            PairChoice::First => PairChoice::Second,
            _ => PairChoice::First,
        });
        assert_eq!((of(&never, "people_agreement"), of(&never, "people_ece")), (0.0, 1.0));
        assert!(of(&never, "people_alpha") < 0.0);
    }
}
