//! One judgement out of many: strengths of answers by Bradley–Terry with ties and by Plackett–Luce, and the likeliest
//! choice by Dawid–Skene.

use std::collections::BTreeSet;

/// Comparisons of some things, two at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparisons {
    things: usize,
    /// The wins of each against each, row by row; a tie is half a win of both.
    wins: Vec<f64>,
    ties: f64,
}

impl Comparisons {
    pub fn new(things: usize) -> Comparisons {
        Comparisons { things, wins: vec![0.0; things * things], ties: 0.0 }
    }

    pub fn add_win(&mut self, winner: usize, loser: usize) {
        self.wins[winner * self.things + loser] += 1.0;
    }

    pub fn add_tie(&mut self, one: usize, other: usize) {
        self.wins[one * self.things + other] += 0.5;
        self.wins[other * self.things + one] += 0.5;
        self.ties += 1.0;
    }

    /// Adds every pair of a ranking.
    pub fn add_ranking(&mut self, ranks: &[f64]) {
        for one in 0..ranks.len() {
            for other in one + 1..ranks.len() {
                if ranks[one] < ranks[other] {
                    self.add_win(one, other);
                } else if ranks[one] > ranks[other] {
                    self.add_win(other, one);
                } else {
                    self.add_tie(one, other);
                }
            }
        }
    }

    fn won(&self, one: usize, other: usize) -> f64 {
        self.wins[one * self.things + other]
    }

    /// The sets of things that no comparison connects with each other.
    pub fn parts(&self) -> Vec<BTreeSet<usize>> {
        let mut parts: Vec<BTreeSet<usize>> = Vec::new();
        let mut left: BTreeSet<usize> = (0..self.things).collect();
        while let Some(first) = left.pop_first() {
            let (mut part, mut open) = (BTreeSet::from([first]), vec![first]);
            while let Some(one) = open.pop() {
                let met = |other: &usize| self.won(one, *other) + self.won(*other, one) > 0.0;
                let new: Vec<usize> = left.iter().copied().filter(met).collect();
                left.retain(|other| !new.contains(other));
                part.extend(&new);
                open.extend(new);
            }
            parts.push(part);
        }
        parts
    }

    /// The logarithms of the strengths by Bradley–Terry with ties (Davidson 1970), and that of the weight of a tie, as
    /// Newman's iteration finds them (Newman 2023): P(i beats j) = pᵢ / (pᵢ + pⱼ + ν√(pᵢpⱼ)). With a prior each thing has won
    /// and lost once against one of strength 1, so that one that never lost stays finite; without, the mean is 0.
    pub fn strengths(&self, has_prior: bool) -> Strengths {
        let n = self.things;
        let mut strengths = vec![1.0_f64; n];
        let mut half_nu: f64 = if self.ties > 0.0 { 0.5 } else { 0.0 };
        for _ in 0..MOST_ITERATIONS {
            let mut change: f64 = 0.0;
            for one in 0..n {
                let own = strengths[one];
                let prior = if has_prior { 1.0 / (own + 1.0) } else { 0.0 };
                let (mut won, mut lost) = (prior, prior);
                for other in (0..n).filter(|other| *other != one) {
                    let theirs = strengths[other];
                    let root = half_nu * (own * theirs).sqrt();
                    let total = own + theirs + 2.0 * root;
                    won += self.won(one, other) * (theirs + root) / total;
                    lost += self.won(other, one) * (1.0 + root / own) / total;
                }
                if won > 0.0 && lost > 0.0 {
                    let new = won / lost;
                    change = change.max((new.ln() - own.ln()).abs());
                    strengths[one] = new;
                }
            }
            if self.ties > 0.0 {
                let pairs = (0..n).flat_map(|one| (one + 1..n).map(move |other| (one, other)));
                let chances = pairs.map(|(one, other)| {
                    let root = (strengths[one] * strengths[other]).sqrt();
                    let met = self.won(one, other) + self.won(other, one);
                    met * 2.0 * root / (strengths[one] + strengths[other] + 2.0 * half_nu * root)
                });
                let new = self.ties / chances.sum::<f64>();
                change = change.max((new.ln() - half_nu.ln()).abs());
                half_nu = new;
            }
            if !has_prior {
                centre(&mut strengths);
            }
            if change < PRECISION {
                break;
            }
        }
        let log_nu = (self.ties > 0.0).then(|| (2.0 * half_nu).ln());
        Strengths { logs: strengths.iter().map(|one| one.ln()).collect(), log_nu }
    }
}

/// Strengths of things.
#[derive(Clone, Debug, PartialEq)]
pub struct Strengths {
    pub logs: Vec<f64>,
    /// The logarithm of the weight of a tie, where there were any.
    pub log_nu: Option<f64>,
}

const MOST_ITERATIONS: usize = 100_000;
const PRECISION: f64 = 1e-12;

/// Divides by the geometric mean.
fn centre(strengths: &mut [f64]) {
    let mean = strengths.iter().map(|one| one.ln()).sum::<f64>() / strengths.len().max(1) as f64;
    strengths.iter_mut().for_each(|one| *one /= mean.exp());
}

/// The logarithms of the strengths by Plackett–Luce, from rankings without ties, the best first; by the form of Newman's
/// iteration for choices among several. The prior is that of [`Comparisons::strengths`].
pub fn plackett_luce(things: usize, rankings: &[Vec<usize>], has_prior: bool) -> Vec<f64> {
    let mut strengths = vec![1.0_f64; things];
    for _ in 0..MOST_ITERATIONS {
        let prior = |own: f64| if has_prior { 1.0 / (own + 1.0) } else { 0.0 };
        let mut won: Vec<f64> = strengths.iter().map(|own| prior(*own)).collect();
        let mut lost = won.clone();
        for ranking in rankings {
            let mut left: f64 = ranking.iter().map(|thing| strengths[*thing]).sum();
            for (place, winner) in ranking.iter().enumerate().take(ranking.len().saturating_sub(1)) {
                won[*winner] += (left - strengths[*winner]) / left;
                ranking[place + 1..].iter().for_each(|loser| lost[*loser] += 1.0 / left);
                left -= strengths[*winner];
            }
        }
        let mut change: f64 = 0.0;
        for (own, (won, lost)) in strengths.iter_mut().zip(won.into_iter().zip(lost)) {
            if won > 0.0 && lost > 0.0 {
                change = change.max(((won / lost).ln() - own.ln()).abs());
                *own = won / lost;
            }
        }
        if !has_prior {
            centre(&mut strengths);
        }
        if change < PRECISION {
            break;
        }
    }
    strengths.iter().map(|one| one.ln()).collect()
}

/// The choices of people about several things, each with the same choices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Votes {
    pub choices: usize,
    /// `(person, choice)` of each thing.
    pub of: Vec<Vec<(usize, usize)>>,
}

/// The chance of each choice for each thing, and how often each person is right, by the one-coin model of Dawid & Skene
/// (1979): a person errs alike in every way.
#[derive(Clone, Debug, PartialEq)]
pub struct Consensus {
    pub chances: Vec<Vec<f64>>,
    pub skills: Vec<f64>,
}

impl Votes {
    /// The fixed point of the EM algorithm that begins at the shares of the votes.
    pub fn consensus(&self) -> Consensus {
        let people = self.of.iter().flatten().map(|(person, _)| person + 1).max().unwrap_or(0);
        let share = |votes: &Vec<(usize, usize)>| {
            let mut shares = vec![0.0; self.choices];
            votes.iter().for_each(|(_, choice)| shares[*choice] += 1.0 / votes.len() as f64);
            shares
        };
        let mut chances: Vec<Vec<f64>> = self.of.iter().map(share).collect();
        let mut skills = vec![0.0; people];
        for _ in 0..MOST_ITERATIONS {
            let prior: Vec<f64> = (0..self.choices)
                .map(|choice| chances.iter().map(|of| of[choice]).sum::<f64>() / chances.len() as f64)
                .collect();
            let (mut right, mut all) = (vec![0.0; people], vec![0.0; people]);
            for (votes, chances) in self.of.iter().zip(&chances) {
                for (person, choice) in votes {
                    right[*person] += chances[*choice];
                    all[*person] += 1.0;
                }
            }
            skills = right.iter().zip(&all).map(|(right, all): (&f64, &f64)| right / all.max(1.0)).collect();
            let mut change: f64 = 0.0;
            for (votes, chances) in self.of.iter().zip(&mut chances) {
                let new = self.chances(votes, &prior, &skills);
                for (old, new) in chances.iter_mut().zip(new) {
                    change = change.max((*old - new).abs());
                    *old = new;
                }
            }
            if change < PRECISION {
                break;
            }
        }
        Consensus { chances, skills }
    }

    fn chances(&self, votes: &[(usize, usize)], prior: &[f64], skills: &[f64]) -> Vec<f64> {
        let others = (self.choices.max(2) - 1) as f64;
        let log = |choice: usize| {
            let said = votes.iter().map(|(person, said)| {
                let skill = skills[*person];
                if *said == choice { skill.ln() } else { ((1.0 - skill) / others).ln() }
            });
            prior[choice].ln() + said.sum::<f64>()
        };
        let logs: Vec<f64> = (0..self.choices).map(log).collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if most == f64::NEG_INFINITY {
            return vec![1.0 / self.choices as f64; self.choices];
        }
        let likelihoods: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
        let sum: f64 = likelihoods.iter().sum();
        likelihoods.iter().map(|one| one / sum).collect()
    }
}
