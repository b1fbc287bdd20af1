//! Numbers about people from their labels: agreement, gold, repeats, sides, pace. Every number of which a rule may ask
//! how sure it is comes with the rows that it is the mean of.

use super::agreement::{self, CodedUnits, Distance, NoValue, Statistic, kendall_distance, mean};
use super::compared::disconnected;
use super::drift::{drift, thirds};
use super::form::Form;
use super::interval::clopper_pearson;
use super::label::{EffectiveLabels, Judgement, Label};
use super::likeness::{alike, ordered_alike, sign_distance, signs};
use super::progress::median;
use super::review;
use super::worklist::{WorkItem, Worklist};
use crate::draw::Draw;
use crate::rl;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The labels of a worklist, to be measured.
pub struct People<'a> {
    worklist: &'a Worklist,
    all: &'a EffectiveLabels,
    /// With the places of their items; the items of one place are together.
    labels: Vec<(usize, &'a Label)>,
    /// First judgements of items that are no gold, without those that were skipped.
    by_item: BTreeMap<usize, Vec<&'a Label>>,
}

/// A number that a metric is the mean of, and the item that it is about.
struct Point<'a> {
    item: &'a WorkItem,
    /// The person who said it; empty where several did.
    by: &'a str,
    round: u32,
    value: f64,
}

/// The number of resamples behind an interval of α.
const RESAMPLES: usize = 10_000;

impl<'a> People<'a> {
    pub fn of(worklist: &'a Worklist, labels: &'a EffectiveLabels) -> People<'a> {
        People { worklist, all: labels, labels: worklist.labelled(labels).collect(), by_item: worklist.judged(labels) }
    }

    fn item(&self, place: usize) -> &'a WorkItem {
        &self.worklist.items[place]
    }

    fn ranks(&self, label: &Label) -> Option<Vec<f64>> {
        label.own_judgement().ranks(self.worklist.asked.criteria.as_ref())
    }

    fn judged(&self) -> impl Iterator<Item = &'a Label> {
        self.by_item.values().flatten().copied()
    }

    /// Those of items that tell of all items: where some were picked for what they teach, the others.
    fn sample(&self) -> impl Iterator<Item = (&usize, &Vec<&'a Label>)> {
        self.by_item.iter().filter(|(place, _)| self.worklist.is_of_sample(**place))
    }

    /// Everything that was said of each item, and the place of the item.
    fn coded(&self) -> (CodedUnits, Vec<usize>) {
        let mut places = Vec::new();
        let mut said: Vec<Vec<Vec<f64>>> = Vec::new();
        for (place, labels) in self.sample() {
            let ranks: Vec<Vec<f64>> = match self.worklist.asked.form {
                Form::Pairs | Form::Ranking => labels.iter().filter_map(|label| self.ranks(label)).collect(),
                Form::Ratings | Form::Edit => Vec::new(),
            };
            let sheet = self.worklist.asked.criteria.as_ref();
            let ratings: Vec<Vec<f64>> =
                labels.iter().filter_map(|label| label.own_judgement().ratings(sheet)).collect();
            if self.worklist.asked.form == Form::Ratings {
                for answer in 0..self.item(*place).answers.len() {
                    said.push(ratings.iter().map(|of| vec![of[answer]]).collect());
                    places.push(*place);
                }
            } else if !ranks.is_empty() {
                let order = self.item(*place).drawn_order();
                said.push(
                    ranks.iter().map(|ranks| signs(&order.iter().map(|at| ranks[*at]).collect::<Vec<_>>())).collect(),
                );
                places.push(*place);
            }
        }
        let mut values: Vec<Vec<f64>> = said.iter().flatten().cloned().collect();
        values.sort_by(|one, other| {
            one.iter()
                .zip(other)
                .map(|(a, b)| a.total_cmp(b))
                .find(|o| o.is_ne())
                .unwrap_or(one.len().cmp(&other.len()))
        });
        values.dedup();
        let number: BTreeMap<Vec<u64>, usize> =
            values.iter().enumerate().map(|(number, value)| (bits(value), number)).collect();
        let units = said.iter().map(|unit| unit.iter().map(|value| number[&bits(value)]).collect()).collect();
        let distance = match self.worklist.asked.form {
            Form::Pairs | Form::Edit => Distance::Nominal,
            Form::Ratings => Distance::Interval(values.iter().map(|value| value[0]).collect()),
            Form::Ranking => {
                let of = |one: &Vec<f64>, other: &Vec<f64>| sign_distance(one, other);
                Distance::Table(values.iter().flat_map(|one| values.iter().map(move |other| of(one, other))).collect())
            }
        };
        (CodedUnits { values: values.len(), units, distance }, places)
    }

    /// The numbers that a metric is the mean of.
    fn points(&self, metric: &str) -> Vec<Point<'a>> {
        let item = |place: usize| self.worklist.items.get(place).expect("it is a place of the worklist");
        match metric {
            "human_agreement" => {
                let of_item = |(place, labels): (&usize, &Vec<&'a Label>)| {
                    let known = item(*place).known.as_ref()?;
                    let agree: Vec<f64> = labels
                        .iter()
                        .filter_map(|label| Some(1.0 - kendall_distance(&self.ranks(label)?, known)))
                        .collect();
                    (!agree.is_empty()).then(|| Point {
                        item: item(*place),
                        by: "",
                        round: 0,
                        value: agree.iter().sum::<f64>() / agree.len() as f64,
                    })
                };
                self.sample().filter_map(of_item).collect()
            }
            "human_win_rate" => self.win_points(),
            "agreement" => {
                let (coded, places) = self.coded();
                let of_unit = |(unit, place): (&Vec<usize>, &usize)| Some((*place, coded.agreement_of(unit)?));
                let mut of_item: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
                coded
                    .units
                    .iter()
                    .zip(&places)
                    .filter_map(of_unit)
                    .for_each(|(place, value)| of_item.entry(place).or_default().push(value));
                let point = |(place, values): (usize, Vec<f64>)| Point {
                    item: item(place),
                    by: "",
                    round: 0,
                    value: values.iter().sum::<f64>() / values.len() as f64,
                };
                of_item.into_iter().map(point).collect()
            }
            "alpha" => self.alpha_points(),
            "gold_accuracy" => {
                let of = |(place, label): &(usize, &'a Label)| {
                    let known = item(*place).known.as_ref().filter(|_| item(*place).is_gold)?;
                    let value = ordered_alike(&self.ranks(label)?, known)?;
                    Some(Point { item: item(*place), by: &label.by, round: label.round, value })
                };
                self.labels.iter().filter(|(_, label)| label.round == 0).filter_map(of).collect()
            }
            "self_agreement" => {
                let again = self.labels.iter().filter(|(_, label)| label.round == 1);
                let of = |(place, label): &(usize, &'a Label)| {
                    let first = self
                        .labels
                        .iter()
                        .find(|(of, first)| of == place && first.by == label.by && first.round == 0)?;
                    let value = alike(first.1.own_judgement(), label.own_judgement())?;
                    Some(Point { item: item(*place), by: &label.by, round: label.round, value })
                };
                again.filter_map(of).collect()
            }
            "left_share" => self.choices(|label, chosen, _| Some(*label.order.first()? == chosen)),
            "longer_share" => self.choices(|_, chosen, item| {
                let [chosen, other] = [chosen, 1 - chosen].map(|place| item.answers[place].chars().count());
                (chosen != other).then_some(chosen > other)
            }),
            _ => Vec::new(),
        }
    }

    /// The numbers that a metric is the mean of, each with the person who said it, where one did.
    pub fn said(&self, metric: &str) -> Vec<(&'a str, f64)> {
        self.points(metric).into_iter().map(|point| (point.by, point.value)).collect()
    }

    /// A point for each label that chooses one of two answers, where there is something to say of it.
    fn choices(&self, is_so: impl Fn(&Label, usize, &WorkItem) -> Option<bool>) -> Vec<Point<'a>> {
        let of = |(place, label): &(usize, &'a Label)| {
            let item = self.item(*place);
            let ranks = self.ranks(label).filter(|ranks| ranks.len() == 2 && ranks[0] != ranks[1])?;
            let chosen = usize::from(ranks[1] < ranks[0]);
            let value = f64::from(u8::from(is_so(label, chosen, item)?));
            Some(Point { item, by: &label.by, round: label.round, value })
        };
        self.labels.iter().filter_map(of).collect()
    }

    /// Wins of the model that is reviewed, in the eyes of people; each counts for as much as there is of its like.
    fn win_points(&self) -> Vec<Point<'a>> {
        let won = |(place, labels): (&usize, &Vec<&'a Label>)| {
            let reviewed = self.item(*place).reviewed?;
            let ranks = labels.iter().filter_map(|label| self.ranks(label));
            let wins: Vec<f64> = ranks.map(|ranks| review::win(&ranks, reviewed)).collect();
            Some((*place, mean(&wins).ok()?))
        };
        let (places, wins): (Vec<usize>, Vec<f64>) = self.sample().filter_map(won).unzip();
        let weights = review::weights(&self.worklist.items, &places).unwrap_or_default();
        let point = |((place, win), weight): ((usize, f64), f64)| {
            let item = self.worklist.items.get(place)?;
            Some(Point { item, by: "", round: 0, value: win * weight })
        };
        places.into_iter().zip(wins).zip(weights).filter_map(point).collect()
    }

    fn alpha_points(&self) -> Vec<Point<'a>> {
        let (coded, places) = self.coded();
        let mut groups: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let group_of: Vec<usize> = places
            .iter()
            .map(|place| {
                let item = self.item(*place);
                let name = item.group.clone().unwrap_or_else(|| item.prompt.to_string());
                let next = groups.len();
                groups.entry(name).or_insert((next, *place)).0
            })
            .collect();
        let mut first: Vec<(usize, usize)> = groups.into_values().collect();
        first.sort_unstable();
        let shares = coded.alpha_by_group(&group_of).unwrap_or_default();
        let point = |(share, (_, place)): (Option<f64>, (usize, usize))| {
            let item = self.worklist.items.get(place)?;
            Some(Point { item, by: "", round: 0, value: share? })
        };
        shares.into_iter().zip(first).filter_map(point).collect()
    }

    /// The rows behind the metrics: each metric that is a mean has rows of its own, under its name as the subset.
    pub fn table(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for metric in OF_ROWS {
            for Point { item, by, round, value } in self.points(metric) {
                let again = if round > 0 { "/again" } else { "" };
                let by = if by.is_empty() { String::new() } else { format!("/{by}{again}") };
                rows.push(item.metric_row(metric, &by, value));
            }
        }
        rows
    }

    /// All metrics.
    pub fn measures(&self, draw: Draw) -> Vec<(&'static str, Statistic)> {
        let (coded, _) = self.coded();
        let by: BTreeSet<&str> = self.labels.iter().map(|(_, label)| label.by.as_str()).collect();
        let judged = self.judged().count();
        let items =
            |is_so: fn(&WorkItem) -> bool| self.by_item.keys().filter(|at| is_so(self.item(**at))).count() as f64;
        let mean = |metric: &str| mean(&self.points(metric).iter().map(|point| point.value).collect::<Vec<_>>());
        let interval = coded.bootstrap(draw, RESAMPLES);
        let end = |at: usize| interval.map(|ends| ends[at]).ok_or(NoValue::NoPairs);
        let left: Vec<f64> = self.points("left_share").iter().map(|point| point.value).collect();
        let exact = |at: usize| match left.len() {
            0 => Err(NoValue::Nothing),
            all => Ok(clopper_pearson(left.iter().sum::<f64>() as usize, all, 0.95)[at]),
        };
        let ordinal = match self.worklist.asked.form {
            Form::Pairs => CodedUnits { distance: Distance::Ordinal, ..coded.clone() }.alpha(),
            Form::Ranking | Form::Ratings | Form::Edit => Err(NoValue::Nothing),
        };
        let is_tie = |label: &Label| {
            self.ranks(label).map(|ranks| f64::from(u8::from(ranks.iter().all(|rank| *rank == ranks[0]))))
        };
        let ties: Vec<f64> = self.judged().filter_map(is_tie).collect();
        let first = self.labels.iter().filter(|(place, label)| !self.item(*place).is_gold && label.round == 0);
        let skips: Vec<f64> = first.map(|(_, label)| f64::from(u8::from(label.judgement == Judgement::Skip))).collect();
        let hinted = self.labels.iter().filter_map(|(_, label)| Some(label.before_hint.as_ref()? != &label.judgement));
        let changed: Vec<f64> = hinted.map(|is_changed| f64::from(u8::from(is_changed))).collect();
        let timed = || self.labels.iter().filter(|(_, label)| !label.is_imported());
        let fast = timed().map(|(place, label)| f64::from(u8::from(is_too_fast(self.item(*place), label))));
        let seconds = median(timed().map(|(_, label)| label.seconds).collect());
        vec![
            ("items", Ok(self.by_item.len() as f64)),
            ("labels", Ok(judged as f64)),
            ("annotators", Ok(by.len() as f64)),
            ("human_agreement", mean("human_agreement")),
            ("human_win_rate", mean("human_win_rate")),
            ("agreement", mean("agreement")),
            ("alpha", coded.alpha()),
            ("alpha_low", end(0)),
            ("alpha_high", end(1)),
            ("alpha_ordinal", ordinal),
            ("ac1", if coded.distance == Distance::Nominal { coded.ac1() } else { Err(NoValue::Nothing) }),
            ("kappa", self.kappa()),
            ("concordance", self.concordance()),
            ("gold_accuracy", mean("gold_accuracy")),
            ("self_agreement", mean("self_agreement")),
            ("left_share", mean("left_share")),
            ("left_share_low", exact(0)),
            ("left_share_high", exact(1)),
            ("longer_share", mean("longer_share")),
            ("disconnected", self.disconnected()),
            ("drift", drift(&thirds(self.worklist, self.all)).ok_or(NoValue::Nothing)),
            ("leaks_identity", Ok(items(|item| item.leaks_identity))),
            ("equal_answers", Ok(items(WorkItem::has_equal_answers))),
            ("tie_share", agreement::mean(&ties)),
            ("skip_share", agreement::mean(&skips)),
            ("changed_share", agreement::mean(&changed)),
            ("seconds_median", seconds.ok_or(NoValue::Nothing)),
            ("too_fast_share", agreement::mean(&fast.collect::<Vec<_>>())),
        ]
    }

    /// Prompts whose comparisons fall apart, of questions that compare two answers at a time.
    pub fn disconnected(&self) -> Statistic {
        match self.worklist.asked.form {
            Form::Pairs if !self.by_item.is_empty() => Ok(disconnected(self.worklist, &self.by_item) as f64),
            _ => Err(NoValue::Nothing),
        }
    }

    /// Cohen's κ of the choices of two people.
    fn kappa(&self) -> Statistic {
        let choice = |label: &Label| {
            let (ranks, order) = (self.ranks(label)?, self.item(self.worklist.place(&label.item)?).drawn_order());
            let order = ranks[order[0]].total_cmp(&ranks[*order.get(1)?]);
            Some(1_usize.saturating_add_signed(order as isize))
        };
        let twice: Vec<&Vec<&Label>> = self.by_item.values().filter(|labels| labels.len() > 1).collect();
        let people: BTreeSet<&str> =
            twice.iter().flat_map(|labels| labels.iter().map(|label| label.by.as_str())).collect();
        if people.len() != 2 || self.worklist.asked.form != Form::Pairs {
            return Err(NoValue::NotTwoPeople);
        }
        let both = |labels: &&Vec<&Label>| Some((choice(labels[0])?, choice(labels[1])?));
        // The labels of an item come in the order of the names.
        let (one, other): (Vec<usize>, Vec<usize>) = twice.iter().filter_map(both).unzip();
        let kappa = rl::cohen(&one, &other).kappa;
        if kappa.is_nan() { Err(NoValue::OneValue) } else { Ok(kappa) }
    }

    fn concordance(&self) -> Statistic {
        if self.worklist.asked.form != Form::Ranking {
            return Err(NoValue::Nothing);
        }
        let of_item = |labels: &Vec<&Label>| {
            let ranks: Vec<Vec<f64>> = labels.iter().filter_map(|label| self.ranks(label)).collect();
            super::agreement::kendall_w(&ranks).ok()
        };
        let all: Vec<f64> = self.by_item.values().filter_map(of_item).collect();
        mean(&all).map_err(|_| NoValue::NoPairs)
    }
}

/// The metrics that are means of rows.
const OF_ROWS: [&str; 7] =
    ["human_agreement", "human_win_rate", "agreement", "alpha", "gold_accuracy", "self_agreement", "left_share"];

/// Sentences about what is undefined although there are labels for it, and about what the numbers do not tell.
pub fn remarks(measured: &[(&'static str, Statistic)]) -> Vec<String> {
    let told = measured.iter().filter_map(|(name, value)| match (*name, value) {
        (name, Err(NoValue::OneValue)) => Some(format!("{name} is {}", NoValue::OneValue)),
        ("disconnected", Ok(prompts)) => fallen_apart(*prompts as usize),
        _ => None,
    });
    told.collect()
}

/// A sentence about prompts whose comparisons fall apart.
pub fn fallen_apart(prompts: usize) -> Option<String> {
    let of = if prompts == 1 { "1 prompt".to_owned() } else { format!("{prompts} prompts") };
    let told = || {
        format!(
            "the comparisons of {of} fall apart: nothing says which of two answers is better where no chain of comparisons \
             leads from one to the other"
        )
    };
    (prompts > 0).then(told)
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Characters that a fast reader reads in a second.
const JAPANESE: f64 = 10.0;
const OTHER: f64 = 30.0;

/// Whether a label was made faster than the answers can be read.
pub fn is_too_fast(item: &WorkItem, label: &Label) -> bool {
    !label.is_imported() && label.seconds < reading_seconds(item)
}

/// The time that it takes to read the answers of an item.
fn reading_seconds(item: &WorkItem) -> f64 {
    let is_wide =
        |letter: &char| matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}');
    let letters = item.answers.iter().flat_map(|answer| answer.chars());
    letters.map(|letter| if is_wide(&letter) { 1.0 / JAPANESE } else { 1.0 / OTHER }).sum()
}
