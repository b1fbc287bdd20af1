//! Distributions and forms compared with published tables and exact sums.

use super::super::distributions::*;
use super::*;

/// The number of ways to choose, exactly.
fn choose(n: u128, k: u128) -> u128 {
    (0..k).fold(1, |ways, step| ways * (n - step) / (step + 1))
}

#[test]
fn binomial_tails_are_the_exact_sums() {
    for n in [1_u128, 2, 7, 20, 60] {
        for k in 0..=n {
            let ways: u128 = (k..=n).map(|wins| choose(n, wins)).sum();
            let exact = ways as f64 / (1_u128 << n) as f64;
            let tail = binomial_at_least(k as f64, n as f64, 0.5);
            close(tail / exact, 1.0, 1e-11);
        }
    }
    // P(X >= 3) of 5 at 1/4: (10 * 9 + 5 * 3 + 1) / 1024.
    close(binomial_at_least(3.0, 5.0, 0.25), 106.0 / 1024.0, 1e-15);
}

#[test]
fn the_incomplete_beta_function_has_its_closed_forms() {
    for x in [1e-6_f64, 0.01, 0.3, 0.5, 0.9, 0.999] {
        close(beta(x, 1.0 - x, 1.0, 1.0), x, 1e-15);
        close(beta(x, 1.0 - x, 3.0, 1.0), x * x * x, 1e-15);
        close(beta(x, 1.0 - x, 2.0, 2.0), x * x * (3.0 - 2.0 * x), 1e-14);
        // The arcsine law.
        close(beta(x, 1.0 - x, 0.5, 0.5), 2.0 / std::f64::consts::PI * x.sqrt().asin(), 1e-14);
        close(beta(x, 1.0 - x, 7.5, 4.25) + beta(1.0 - x, x, 4.25, 7.5), 1.0, 1e-13);
    }
}

#[test]
fn t_quantiles_are_those_of_the_tables() {
    // Abramowitz & Stegun 1964, table 26.10; infinite degrees: table 26.5.
    let table = [
        (0.05, 1.0, 6.314),
        (0.025, 1.0, 12.706),
        (0.05, 2.0, 2.920),
        (0.025, 10.0, 2.228),
        (0.05, 29.0, 1.699),
        (0.005, 30.0, 2.750),
        (0.025, 60.0, 2.000),
        (0.0005, 5.0, 6.869),
        (0.025, 120.0, 1.980),
        (0.025, 1e6, 1.960),
    ];
    for (tail, degrees, t) in table {
        close(student_quantile(tail, degrees), t, 0.00051);
        close(student_above(student_quantile(tail, degrees), degrees), tail, 1e-10);
    }
    // One degree is Cauchy: P(T > t) = 1/2 - atan(t) / pi. Two: (1 - t / sqrt(2 + t^2)) / 2.
    for t in [0.001_f64, 0.5, 1.0, 20.0] {
        close(student_above(t, 1.0), 0.5 - t.atan() / std::f64::consts::PI, 1e-14);
        close(student_above(-t, 2.0), 0.5 * (1.0 + t / (2.0 + t * t).sqrt()), 1e-14);
    }
    close(normal_above(1.0), 0.158_655_253_931, 1e-12);
    close(normal_quantile(0.025), 1.959_963_984_540_054, 1e-14);
    close(normal_quantile(0.05 / 16.0), 2.734_368_7, 1e-6);
}

#[test]
fn clopper_pearson_bounds_solve_their_definition() {
    // None of n: the upper bound is 1 - alpha^(1/n); all of n: the lower bound is alpha^(1/n).
    close(share(&ones(0, 30), 0.5, 0.05).upper, 1.0 - 0.05_f64.powf(1.0 / 30.0), 1e-13);
    close(share(&ones(30, 30), 0.5, 0.05).lower, 0.05_f64.powf(1.0 / 30.0), 1e-13);
    // Two-sided 95 % of 10 in 20: 0.272 to 0.728 (Clopper & Pearson's chart; R's binom.test: 0.2719578, 0.7280422).
    let half = share(&ones(10, 20), 0.5, 0.025);
    close(half.lower, 0.271_957_8, 5e-8);
    close(half.upper, 0.728_042_2, 5e-8);
    for (count, of) in [(1, 10), (7, 10), (55, 100), (999, 1000)] {
        let inference = share(&ones(count, of), 0.5, 0.05);
        close(binomial_at_least(count as f64, of as f64, inference.lower), 0.05, 1e-12);
        close(1.0 - binomial_at_least(count as f64 + 1.0, of as f64, inference.upper), 0.05, 1e-12);
    }
}

#[test]
fn the_sign_test_needs_the_wins_of_its_table() {
    // The usual one-sided 5 % table of the sign test, as wins: at most 0 losses of 5, 1 of 8, 5 of 20, 41 of 100.
    for (changed, wins) in [(5, 5), (6, 6), (7, 7), (8, 7), (10, 9), (12, 10), (20, 15), (25, 18), (50, 32), (100, 59)]
    {
        assert_eq!(wins_needed(changed, 0.05), Some(wins), "{changed}");
    }
    assert_eq!(wins_needed(4, 0.05), None);
    assert_eq!(wins_needed(0, 0.05), None);
    assert_eq!(wins_needed(1_000_000, 0.05), Some(500_823));
}

#[test]
fn wins_needed_is_what_the_win_rate_asks() {
    for changed in 2..80 {
        for alpha in [0.05, 0.01, 0.05 / 8.0] {
            let least = (0..=changed).find(|wins| {
                win_rate(&pairs(*wins as usize, 3, (changed - wins) as usize), 0.5, alpha).p_above <= alpha
            });
            assert_eq!(wins_needed(changed, alpha), least, "{changed} at {alpha}");
        }
    }
}

#[test]
fn a_glance_agrees_with_published_intervals() {
    // Newcombe 1998 (Statist. Med. 17, table I): 81 of 263, score method: 0.2553 to 0.3662; 15 of 148: 0.0624, 0.1605.
    for (count, of, lower, upper) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)] {
        let glance = glance_share(&ones(count, of), 0.5, 0.025).unwrap();
        close(glance.lower, lower, 0.00005);
        close(glance.upper, upper, 0.00005);
    }
    // Student 1908 (Biometrika 6), additional hours of sleep: mean 1.58, t = 4.06 with 9 degrees.
    let sleep = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4];
    let glance = glance_mean(&Sample::of_items(&sleep), 0.0, 0.025).unwrap();
    close(glance.lower, 0.700_1, 0.00005);
    close(glance.upper, 2.459_9, 0.00005);
    close(glance.p_above, 0.001_416, 0.000_001);
}
