//! Ranks as judgements of an item, and the likeness of two of them.

use super::agreement::{kendall_distance, mean};
use super::form::Form;
use super::label::{Judgement, PairChoice};
use std::cmp::Ordering;

/// Ranks from 1 without gaps, the smallest number first; equal numbers share one.
pub fn dense_ranks(numbers: &[f64]) -> Vec<u32> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    numbers.iter().map(|number| 1 + sorted.iter().take_while(|other| *other < number).count() as u32).collect()
}

/// The judgement that ranks are, the smaller the better: of two answers of a pair a choice, else a ranking.
pub fn of_ranks(form: Form, ranks: &[f64]) -> Judgement {
    match (form, ranks) {
        (Form::Pairs, [first, second]) => Judgement::Pair(match first.partial_cmp(second) {
            Some(Ordering::Less) => PairChoice::First,
            Some(Ordering::Greater) => PairChoice::Second,
            Some(Ordering::Equal) | None => PairChoice::Tie,
        }),
        _ => Judgement::Ranking(dense_ranks(ranks)),
    }
}

/// The order of each pair of a ranking: −1 where the first is better. Rankings that say the same have the same ones.
pub fn signs(ranks: &[f64]) -> Vec<f64> {
    let pairs = (0..ranks.len()).flat_map(|one| (one + 1..ranks.len()).map(move |other| (one, other)));
    pairs
        .map(|(one, other)| ranks[one].partial_cmp(&ranks[other]).map_or(0.0, |order| f64::from(order as i8)))
        .collect()
}

/// Kendall's distance of two rankings by their signs; of things that were not ranked alike, the most.
pub fn sign_distance(one: &[f64], other: &[f64]) -> f64 {
    if one.len() != other.len() || one.is_empty() {
        return f64::from(u8::from(one.len() != other.len()));
    }
    one.iter().zip(other).map(|(a, b)| (a - b).abs() / 2.0).sum::<f64>() / one.len() as f64
}

/// The share of the pairs that are known to differ which are ordered as is known.
pub fn ordered_alike(ranks: &[f64], known: &[f64]) -> Option<f64> {
    let pairs = signs(ranks).into_iter().zip(signs(known)).filter(|(_, known)| *known != 0.0);
    let right: Vec<f64> = pairs.map(|(said, known)| f64::from(u8::from(said == known))).collect();
    mean(&right).ok()
}

/// The share of the other answers that one is better than, ties half.
pub fn share_won(ranks: &[f64], answer: usize) -> f64 {
    let others = ranks.iter().enumerate().filter(|(place, _)| *place != answer);
    let won = others.map(|(_, rank)| match ranks[answer].total_cmp(rank) {
        Ordering::Less => 1.0,
        Ordering::Equal => 0.5,
        Ordering::Greater => 0.0,
    });
    won.sum::<f64>() / (ranks.len() - 1) as f64
}

/// The likeness of two judgements of one item, from 0 to 1.
pub fn alike(one: &Judgement, other: &Judgement) -> Option<f64> {
    match (one, other) {
        (Judgement::Skip, _) | (_, Judgement::Skip) => None,
        (Judgement::Ranking(one), Judgement::Ranking(other)) => {
            let ranks = |ranks: &[u32]| ranks.iter().map(|rank| f64::from(*rank)).collect::<Vec<_>>();
            Some(1.0 - kendall_distance(&ranks(one), &ranks(other)))
        }
        (Judgement::Ratings(one), Judgement::Ratings(other)) => {
            let pairs = one.iter().filter_map(|(name, ratings)| Some(ratings.iter().zip(other.get(name)?)));
            let same: Vec<f64> = pairs.flatten().map(|(a, b)| f64::from(u8::from(a == b))).collect();
            mean(&same).ok()
        }
        (one, other) => Some(f64::from(u8::from(one == other))),
    }
}
