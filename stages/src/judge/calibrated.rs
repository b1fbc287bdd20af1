//! A mean that people told of some items and a judge of all: the estimate of PPI++, which uses the judge as far as it helps
//! (Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453). Valid where the items that people judged are a random part.

/// The mean, and the numbers of all items whose mean it is and whose spread says how sure it is.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibratedMean {
    pub mean: f64,
    /// The weight of the judge, from 0 to 1.
    pub weight: f64,
    /// The standard error, as of many items.
    pub error: f64,
    /// A number for each item that people judged, then for each other one.
    pub shares: [Vec<f64>; 2],
}

/// The facts about the items: what people said and the judge of the same, and what the judge said of the others.
#[derive(Clone, Copy, Debug)]
pub struct KnownWins<'a> {
    pub people: &'a [f64],
    pub same: &'a [f64],
    pub others: &'a [f64],
}

/// The estimate; `None` where people judged fewer than two items, or the judge no others.
pub fn mean(known: KnownWins) -> Option<CalibratedMean> {
    let KnownWins { people, same, others } = known;
    let (n, more) = (people.len() as f64, others.len() as f64);
    if people.len() < 2 || people.len() != same.len() || others.is_empty() {
        return None;
    }
    let both: Vec<f64> = same.iter().chain(others).copied().collect();
    let spread = variance(&both) * both.len() as f64 / (both.len() as f64 - 1.0);
    let (of_people, of_same) = (average(people), average(same));
    let together = people.iter().zip(same).map(|(a, b)| (a - of_people) * (b - of_same)).sum::<f64>() / n;
    let weight = if spread > 0.0 { (together / ((1.0 + n / more) * spread)).clamp(0.0, 1.0) } else { 0.0 };
    let rest: Vec<f64> = people.iter().zip(same).map(|(said, judged)| said - weight * judged).collect();
    let imputed: Vec<f64> = others.iter().map(|judged| weight * judged).collect();
    let mean = average(&imputed) + average(&rest);
    let error = (variance(&imputed) / more + variance(&rest) / n).sqrt();
    // Few items say less than a normal distribution would have it: t for z (Cornish & Fisher 1938), and n − 1 for n.
    let few = |count: f64| (1.0 + (Z * Z + 1.0) / (4.0 * (count - 1.0))) * (count / (count - 1.0)).sqrt();
    let all = n + more;
    // Numbers whose mean is the estimate and whose variance, over their count, is the square of its error.
    let around = |values: &[f64], factor: f64| {
        let own = average(values);
        values.iter().map(|value| mean + factor * (value - own)).collect::<Vec<f64>>()
    };
    let of_others = if others.len() > 1 { few(more) } else { 1.0 };
    let shares = [around(&rest, few(n) * all / n), around(&imputed, of_others * all / more)];
    Some(CalibratedMean { mean, weight, error, shares })
}

/// The normal quantile of 95 %, one-sided.
const Z: f64 = 1.644_853_626_951_472_6;

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Over the count, as the libraries have it.
fn variance(values: &[f64]) -> f64 {
    let mean = average(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Draw, Stream};
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<GoldenCase>,
    }

    #[derive(Deserialize)]
    struct GoldenCase {
        people: Vec<f64>,
        judged: Vec<f64>,
        others: Vec<f64>,
        mean: f64,
        low: f64,
        high: f64,
    }

    #[test]
    fn it_is_the_estimate_and_the_interval_of_ppi_python() {
        let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/ppi.json")).unwrap();
        assert_eq!(golden.cases.len(), 5);
        for GoldenCase { people, judged, others, mean: expected, low, high } in golden.cases {
            let found = mean(KnownWins { people: &people, same: &judged, others: &others }).unwrap();
            let half = 1.959_963_984_540_054 * found.error;
            for (found, expected) in [(found.mean, expected), (found.mean - half, low), (found.mean + half, high)] {
                assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            }
            let all: Vec<f64> = found.shares.iter().flatten().copied().collect();
            assert!((average(&all) - found.mean).abs() < 1e-12);
            // A little more than the error of the library, which has the one of many items.
            let error = (variance(&all) / all.len() as f64).sqrt();
            assert!((found.error..1.12 * found.error).contains(&error), "{error} {}", found.error);
        }
    }

    const DRAW: Draw = Draw { seed: 7, kind: "merge", purpose: "coverage" };

    /// Wins of the truth, and what a judge says that agrees as often as `right`, else draws lots.
    fn drawn(stream: &mut Stream, count: usize, right: f64) -> (Vec<f64>, Vec<f64>) {
        let win = |stream: &mut Stream| f64::from(u8::from(stream.uniform() < 0.55));
        let one = |stream: &mut Stream| {
            let truth = win(stream);
            (truth, if stream.uniform() < right { truth } else { win(stream) })
        };
        (0..count).map(|_| one(stream)).unzip()
    }

    #[test]
    fn the_truth_lies_above_the_lower_end_as_often_as_it_says_and_the_judge_never_costs_much() {
        const SIMULATIONS: u64 = 2000;
        for n in [50, 100, 200] {
            for right in [0.0, 0.5, 0.9] {
                let (mut covered, mut width, mut alone) = (0, 0.0, 0.0);
                for simulation in 0..SIMULATIONS {
                    let mut stream = DRAW.stream(simulation, n as u64);
                    let (people, same) = drawn(&mut stream, n, right);
                    let (_, others) = drawn(&mut stream, 4 * n, right);
                    let found = mean(KnownWins { people: &people, same: &same, others: &others }).unwrap();
                    let all: Vec<f64> = found.shares.iter().flatten().copied().collect();
                    let error = (variance(&all) / all.len() as f64).sqrt();
                    covered += u64::from(
                        found.mean - 1.959_963_984_540_054 * error <= 0.55
                            && found.mean + 1.959_963_984_540_054 * error >= 0.55,
                    );
                    width += error;
                    alone += (variance(&people) / (n as f64 - 1.0)).sqrt();
                }
                let share = covered as f64 / SIMULATIONS as f64;
                assert!(share >= 0.94, "{n} {right}: {share}");
                assert!(width <= 1.05 * alone, "{n} {right}: {width} {alone}");
            }
        }
    }

    #[test]
    fn nothing_is_made_of_too_little() {
        assert_eq!(mean(KnownWins { people: &[1.0], same: &[1.0], others: &[0.0] }), None);
        assert_eq!(mean(KnownWins { people: &[1.0, 0.0], same: &[1.0, 0.0], others: &[] }), None);
    }
}
