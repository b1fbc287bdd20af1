//! The order in which items teach a reward model most: what it is unsure of, far from what is picked already. A third is drawn at random, so
//! that what is measured of people holds for all items, and not for the hard ones. Source of the product: uncertainty alone picks near
//! duplicates (Melo et al. 2024, arXiv 2406.10023).

use super::worklist::WorkItem;
use crate::draw::Draw;

/// An item that was picked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivePick {
    pub item: usize,
    /// The chance with which it is among those that are drawn at random; `None` of one that was picked for what it teaches.
    pub propensity: Option<f64>,
}

/// One in so many is drawn at random.
const RANDOM: usize = 3;

/// The most picks whose distance from those before is looked at; later ones go by what the model is unsure of.
const FAR: usize = 2_000;

/// The uncertainty of a model that gives answers these scores: the mean of p(1 − p) over their pairs, p by Bradley–Terry.
pub fn uncertainty(scores: &[f64]) -> f64 {
    let pairs = (0..scores.len()).flat_map(|one| (one + 1..scores.len()).map(move |other| (one, other)));
    let values: Vec<f64> = pairs
        .map(|(one, other)| {
            let chance = 1.0 / (1.0 + (scores[other] - scores[one]).exp());
            chance * (1.0 - chance)
        })
        .collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// All items in the order in which they are asked: of the first `needed`, each third one is of a sample of all of them.
pub fn picks(items: &[WorkItem], unsure: &[f64], needed: usize, draw: Draw) -> Vec<ActivePick> {
    let needed = needed.min(items.len());
    let (drawn, sample) = (draw.order(0, items.len()), needed.div_ceil(RANDOM));
    let propensity = Some(sample as f64 / items.len() as f64);
    let texts: Vec<Vec<f32>> = items.iter().map(features).collect();
    let (mut distances, mut is_picked) = (vec![2.0_f32; items.len()], vec![false; items.len()]);
    let pick = |item: usize, distances: &mut [f32], is_picked: &mut [bool], looks_far: bool| {
        is_picked[item] = true;
        if looks_far {
            for (distance, text) in distances.iter_mut().zip(&texts) {
                *distance = distance.min(1.0 - text.iter().zip(&texts[item]).map(|(a, b)| a * b).sum::<f32>());
            }
        }
    };
    // They will be labelled, too.
    for (number, item) in drawn[..sample].iter().enumerate() {
        pick(*item, &mut distances, &mut is_picked, number < FAR);
    }
    let (mut order, mut random) = (Vec::with_capacity(items.len()), drawn[..sample].iter());
    for place in 0..needed {
        if place % RANDOM == 0
            && let Some(item) = random.next()
        {
            order.push(ActivePick { item: *item, propensity });
            continue;
        }
        let worth = |item: &usize| unsure[*item] * f64::from(distances[*item]).max(1e-6);
        let open = (0..items.len()).filter(|item| !is_picked[*item]);
        // Of equal ones the first: the order of the items is that of the rows.
        let best = open.max_by(|one, other| worth(one).total_cmp(&worth(other)).then(other.cmp(one)));
        let Some(item) = best else { break };
        pick(item, &mut distances, &mut is_picked, place < FAR);
        order.push(ActivePick { item, propensity: None });
    }
    let rest = drawn.into_iter().filter(|item| !is_picked[*item]);
    order.extend(rest.map(|item| ActivePick { item, propensity: None }));
    order
}

/// The numbers of a text's features.
const FEATURES: usize = 256;

/// The numbers of pairs of letters in prompt and answers, as a vector of length 1. It knows no language.
fn features(item: &WorkItem) -> Vec<f32> {
    let mut counts = vec![0.0_f32; FEATURES];
    let texts = std::iter::once(item.prompt.to_string()).chain(item.answers.iter().cloned());
    for text in texts {
        let letters: Vec<char> = text.chars().collect();
        for pair in letters.windows(2) {
            let number = (pair[0] as usize).wrapping_mul(0x9e37_79b1) ^ (pair[1] as usize).wrapping_mul(0x85eb_ca6b);
            counts[(number >> 7) % FEATURES] += 1.0;
        }
    }
    let length = counts.iter().map(|count| count * count).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    counts.iter_mut().for_each(|count| *count /= length);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::dialogue::Prompt;
    use std::collections::BTreeSet;

    fn draw(seed: u64) -> Draw {
        Draw { seed, kind: "label", purpose: "active" }
    }

    fn items(texts: &[&str]) -> Vec<WorkItem> {
        let item = |text: &&str| WorkItem::of(Prompt::Text((*text).to_owned()), vec!["a".to_owned(), "b".to_owned()]);
        texts.iter().map(item).collect()
    }

    #[test]
    fn what_a_model_is_unsure_of_comes_first_and_near_duplicates_come_late() {
        assert!((uncertainty(&[1.0, 1.0]) - 0.25).abs() < 1e-12 && uncertainty(&[9.0, 0.0]) < 0.001);
        let texts =
            ["catching fish in the stream", "catching fish in the stream.", "餅つきの思い出", "baking bread", "a", "b"];
        let items = items(&texts);
        let unsure = [0.25, 0.2, 0.2, 0.01, 0.01, 0.01];
        // The sample of a seed that draws none of the first three.
        let seed = (0..).find(|seed| draw(*seed).order(0, 6)[0] >= 3).unwrap();
        let order = picks(&items, &unsure, 3, draw(seed));
        // Which of the two is first is a matter of what was drawn before them.
        let first: BTreeSet<usize> = order[1..3].iter().map(|pick| pick.item).collect();
        assert_eq!(first, BTreeSet::from([0, 2]), "the duplicate waits: {order:?}");
        assert_eq!(order[0].propensity, Some(1.0 / 6.0));
        assert_eq!(order.iter().map(|pick| pick.item).collect::<BTreeSet<_>>().len(), 6);
        assert!(order[1..].iter().all(|pick| pick.propensity.is_none()));
    }

    #[test]
    fn the_random_third_estimates_agreement_without_bias_where_the_picked_ones_do_not() {
        let texts: Vec<String> = (0..60).map(|number| format!("prompt {number}")).collect();
        let items = items(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        // The model is unsure of every third item, and people agree with it there in one of two.
        let unsure: Vec<f64> = (0..60_usize).map(|at| if at.is_multiple_of(3) { 0.25 } else { 0.05 }).collect();
        let agree = |at: usize| if at.is_multiple_of(3) { 0.5 } else { 0.95 };
        let truth = (0..60).map(agree).sum::<f64>() / 60.0;
        let mean = |is_random: bool| {
            let mut means = Vec::new();
            for seed in 0..1000 {
                let order = picks(&items, &unsure, 18, draw(seed));
                let some = order[..18].iter().filter(|pick| pick.propensity.is_some() == is_random);
                let values: Vec<f64> = some.map(|pick| agree(pick.item)).collect();
                means.push(values.iter().sum::<f64>() / values.len() as f64);
            }
            means.iter().sum::<f64>() / 1000.0
        };
        assert!((mean(true) - truth).abs() < 0.01, "{} {truth}", mean(true));
        assert!(mean(false) < truth - 0.1, "{}", mean(false));
    }
}
