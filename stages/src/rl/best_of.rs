//! The mean score of the best of n answers.

/// The mean of the best score over every choice of `n` of the scores: the unbiased estimate (Stiennon et al. 2020, appendix).
/// `None` of fewer.
pub fn best_of_n(scores: &[f64], n: usize) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    if n == 0 || n > sorted.len() {
        return None;
    }
    // The chance that the answer at this place is the best of n: C(place, n − 1) / C(all, n).
    let mut chance = n as f64 / sorted.len() as f64;
    let mut sum = 0.0;
    for place in (n - 1..sorted.len()).rev() {
        sum += chance * sorted[place];
        chance *= (place + 1 - n) as f64 / place.max(1) as f64;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_n_is_the_mean_over_every_choice_of_n() {
        let scores = [3.0_f64, -1.0, 2.0, 0.5];
        let pairs = (0..4).flat_map(|one| (one + 1..4).map(move |other| scores[one].max(scores[other])));
        let of_two = pairs.sum::<f64>() / 6.0;
        let expected = [scores.iter().sum::<f64>() / 4.0, of_two, (3.0 * 3.0 + 2.0) / 4.0, 3.0];
        for (n, expected) in (1..).zip(expected) {
            let found = best_of_n(&scores, n).unwrap();
            assert!((found - expected).abs() < 1e-12, "{n}: {found} {expected}");
        }
        assert_eq!((best_of_n(&scores, 5), best_of_n(&scores, 0)), (None, None));
    }
}
