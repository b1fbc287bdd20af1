//! Agreement of raters beyond chance, and the bits that the labels of a data set cost a learner.

use serde::Serialize;

/// Agreement of raters who put things into categories.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Share of pairs of ratings that agree.
    pub observed: f64,
    /// The same for raters who keep to their shares of the categories and draw lots.
    pub expected: f64,
    /// (observed − expected) / (1 − expected): 1 is full agreement, 0 is chance. NaN where only one category is ever
    /// used: chance agrees fully as well.
    pub kappa: f64,
}

fn agreement(observed: f64, expected: f64) -> Agreement {
    Agreement { observed, expected, kappa: (observed - expected) / (1.0 - expected) }
}

/// Fleiss' κ, for the same number of ratings, two or more, of each thing: `table[thing][category]` counts them (Fleiss
/// 1971).
pub fn fleiss(table: &[Vec<usize>]) -> Agreement {
    let raters = table.first().map_or(0, |row| row.iter().sum::<usize>());
    assert!(table.iter().all(|row| row.iter().sum::<usize>() == raters), "as many ratings of each thing");
    let (things, n) = (table.len() as f64, raters as f64);
    let squares: usize = table.iter().flatten().map(|count| count * count).sum();
    let observed = (squares as f64 - things * n) / (things * n * (n - 1.0));
    let categories = table.iter().map(Vec::len).max().unwrap_or(0);
    let share = |category: usize| {
        let count: usize = table.iter().filter_map(|row| row.get(category)).sum();
        count as f64 / (things * n)
    };
    agreement(observed, (0..categories).map(|category| share(category).powi(2)).sum())
}

/// Cohen's κ of two raters of the same things (Cohen 1960). Categories are any numbers.
pub fn cohen(one: &[usize], other: &[usize]) -> Agreement {
    assert_eq!(one.len(), other.len(), "both rated the same things");
    let n = one.len() as f64;
    let categories: std::collections::BTreeSet<usize> = one.iter().copied().collect();
    let count = |ratings: &[usize], category: usize| ratings.iter().filter(|rating| **rating == category).count();
    // A category that only one of them uses is never agreed on by chance.
    let by_chance: usize = categories.into_iter().map(|category| count(one, category) * count(other, category)).sum();
    let equal = one.iter().zip(other).filter(|(one, other)| one == other).count();
    agreement(equal as f64 / n, by_chance as f64 / (n * n))
}

/// Bits to send the labels of a data set by a learner that trains on the labels sent before (Voita & Titov 2020,
/// "Information-Theoretic Probing with Minimum Description Length"): the first block by the uniform code, n₁·log₂K,
/// then −log₂ of the probability that the learner, trained on all blocks before, gave to each true label.
pub fn description_length(first_block: usize, classes: usize, probabilities: &[f64]) -> f64 {
    first_block as f64 * (classes as f64).log2() - probabilities.iter().map(|p| p.log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::golden::{close, counts, group, number, row};
    use super::*;

    #[test]
    fn fleiss_kappa_is_the_published_one() {
        let golden = group("fleiss");
        let table: Vec<Vec<usize>> = golden["table"].as_array().unwrap().iter().map(counts).collect();
        let kappa = fleiss(&table).kappa;
        close(&[kappa], &[number(&golden["kappa"])], 1e-15);
        close(&[kappa], &[number(&golden["published"])], 5e-3);
    }

    /// The golden file has no table, only what follows from it. 879 of 999 unanimous and this mean agreement leave 120
    /// that are two to one; these category totals, 326, 1255 and 1416, are among the few that give this kappa.
    #[test]
    fn fleiss_kappa_of_three_raters_follows_from_their_totals() {
        let golden = group("fleiss_pandalm");
        let table: Vec<Vec<usize>> =
            [(107, [3, 0, 0]), (378, [0, 3, 0]), (394, [0, 0, 3]), (1, [1, 2, 0]), (2, [2, 1, 0]), (117, [0, 1, 2])]
                .into_iter()
                .flat_map(|(times, row)| std::iter::repeat_n(row.to_vec(), times))
                .collect();
        let unanimous = table.iter().filter(|row| row.contains(&3)).count();
        assert_eq!((table.len(), unanimous), (number(&golden["n"]) as usize, number(&golden["unanimous"]) as usize));
        let ours = fleiss(&table);
        close(&[ours.observed, ours.kappa], &["mean_agreement", "kappa"].map(|name| number(&golden[name])), 1e-14);
    }

    #[test]
    fn cohens_kappa_is_the_golden_one() {
        let golden = group("cohen");
        let [one, other] = ["a", "b"].map(|name| counts(&golden[name]));
        let ours = cohen(&one, &other);
        close(&[ours.observed, ours.kappa], &[0.75, number(&golden["kappa"])], 1e-15);
        assert_eq!(cohen(&other, &one), ours);
    }

    #[test]
    fn kappa_is_1_for_full_agreement_and_says_nothing_of_a_single_category() {
        assert_eq!(cohen(&[0, 1, 7], &[0, 1, 7]).kappa, 1.0);
        assert_eq!(fleiss(&[vec![2, 0], vec![0, 2]]).kappa, 1.0);
        assert_eq!(fleiss(&[vec![1, 1], vec![1, 1]]).kappa, -1.0);
        assert!(cohen(&[3, 3], &[3, 3]).kappa.is_nan());
        assert!(fleiss(&[vec![2, 0], vec![2, 0]]).kappa.is_nan());
    }

    #[test]
    fn the_description_length_is_the_golden_one() {
        let golden = group("mdl")["example"].clone();
        let first = counts(&golden["block_sizes"])[0];
        let probabilities = [row(&golden["p_true_block2"]), row(&golden["p_true_block3"])].concat();
        let bits = description_length(first, golden["K"].as_u64().unwrap() as usize, &probabilities);
        close(&[bits], &[number(&golden["bits"])], 1e-14);
    }

    #[test]
    fn a_learner_that_knows_nothing_costs_the_uniform_code() {
        close(&[description_length(3, 4, &[0.25; 5])], &[16.0], 1e-15);
        assert_eq!(description_length(1, 2, &[0.0]), f64::INFINITY);
    }
}
