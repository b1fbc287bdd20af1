//! Preferences that a judge has whatever the answers say: those shown first, and longer ones. Both at once, by a logistic regression of
//! its choices, so that neither is taken for the other; intervals allow for the choices about one item being alike.

/// A choice between two answers as they were shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownChoice {
    /// The item, from 0; choices about one item are no independent evidence.
    pub item: usize,
    /// The logarithm of the length of the first over that of the second.
    pub length: f64,
    pub chose_first: bool,
}

/// A coefficient with the ends of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// The preferences of a judge, as changes of the logarithm of the odds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JudgeBias {
    /// That of being shown first.
    pub order: Effect,
    /// That of being e times as long.
    pub length: Effect,
}

const STEPS: usize = 50;
/// A coefficient beyond this says that the choices are told apart wholly: it has no value.
const BEYOND: f64 = 15.0;
/// The normal quantile of 97.5 %.
const Z: f64 = 1.959_963_984_540_054;

/// Fits both; `None` where they have no value: too few choices, or all alike.
pub fn fit(choices: &[ShownChoice]) -> Option<JudgeBias> {
    let mut at = [0.0_f64; 2];
    let row = |choice: &ShownChoice| [1.0, choice.length];
    let chance = |at: &[f64; 2], choice: &ShownChoice| 1.0 / (1.0 + (-(at[0] + at[1] * choice.length)).exp());
    let residual = |at: &[f64; 2], choice: &ShownChoice| f64::from(u8::from(choice.chose_first)) - chance(at, choice);
    let information = |at: &[f64; 2]| {
        let mut sums = [[0.0; 2]; 2];
        for choice in choices {
            let (row, p) = (row(choice), chance(at, choice));
            for i in 0..2 {
                for j in 0..2 {
                    sums[i][j] += p * (1.0 - p) * row[i] * row[j];
                }
            }
        }
        inverse(sums)
    };
    for _ in 0..STEPS {
        let mut slope = [0.0; 2];
        for choice in choices {
            let (row, residual) = (row(choice), residual(&at, choice));
            slope.iter_mut().zip(row).for_each(|(sum, x)| *sum += residual * x);
        }
        let step = times(information(&at)?, slope);
        at.iter_mut().zip(step).for_each(|(own, step)| *own += step.clamp(-2.0, 2.0));
        if at.iter().any(|own| own.abs() > BEYOND) {
            return None;
        }
        if step.iter().all(|step| step.abs() < 1e-10) {
            break;
        }
    }
    // The sandwich of clusters (Liang & Zeger 1986).
    let items = choices.iter().map(|choice| choice.item + 1).max()?;
    let mut by_item = vec![[0.0; 2]; items];
    for choice in choices {
        let (row, residual) = (row(choice), residual(&at, choice));
        by_item[choice.item].iter_mut().zip(row).for_each(|(sum, x)| *sum += residual * x);
    }
    let mut middle = [[0.0; 2]; 2];
    for sums in &by_item {
        for i in 0..2 {
            for j in 0..2 {
                middle[i][j] += sums[i] * sums[j];
            }
        }
    }
    let clusters = by_item.iter().filter(|sums| sums.iter().any(|sum| *sum != 0.0)).count() as f64;
    if clusters < 3.0 {
        return None;
    }
    let bread = information(&at)?;
    let effect = |place: usize| {
        let of = times(middle, bread[place]);
        let variance = clusters / (clusters - 1.0) * (bread[place][0] * of[0] + bread[place][1] * of[1]);
        let half = Z * variance.max(0.0).sqrt();
        Effect { value: at[place], low: at[place] - half, high: at[place] + half }
    };
    Some(JudgeBias { order: effect(0), length: effect(1) })
}

fn inverse([[a, b], [c, d]]: [[f64; 2]; 2]) -> Option<[[f64; 2]; 2]> {
    let determinant = a * d - b * c;
    (determinant.abs() > 1e-12).then(|| [[d / determinant, -b / determinant], [-c / determinant, a / determinant]])
}

fn times(matrix: [[f64; 2]; 2], vector: [f64; 2]) -> [f64; 2] {
    matrix.map(|row| row[0] * vector[0] + row[1] * vector[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    const DRAW: Draw = Draw { seed: 7, kind: "rank", purpose: "planted" };

    /// Choices of a judge with these preferences about as many items, each in both orders.
    fn planted(simulation: u64, items: usize, order: f64, length: f64) -> Vec<ShownChoice> {
        let mut choices = Vec::new();
        for item in 0..items {
            let mut stream = DRAW.stream(simulation, item as u64);
            let longer = stream.normal();
            for shown in [longer, -longer] {
                let chance = 1.0 / (1.0 + (-(order + length * shown)).exp());
                choices.push(ShownChoice { item, length: shown, chose_first: stream.uniform() < chance });
            }
        }
        choices
    }

    #[test]
    fn planted_preferences_lie_in_their_intervals_as_often_as_these_say() {
        const SIMULATIONS: u64 = 1000;
        for (order, length) in [(0.0, 0.0), (0.6, 0.0), (0.0, 0.8), (-0.4, 0.5)] {
            let within = |effect: Effect, truth: f64| u64::from(effect.low <= truth && truth <= effect.high);
            let (mut orders, mut lengths) = (0, 0);
            for simulation in 0..SIMULATIONS {
                let bias = fit(&planted(simulation, 120, order, length)).unwrap();
                orders += within(bias.order, order);
                lengths += within(bias.length, length);
            }
            assert!(orders >= 930 && lengths >= 930, "{order} {length}: {orders} {lengths}");
        }
    }

    #[test]
    fn choices_that_are_all_alike_have_no_coefficients() {
        let alike: Vec<ShownChoice> =
            planted(0, 50, 0.0, 0.0).into_iter().map(|choice| ShownChoice { chose_first: true, ..choice }).collect();
        assert_eq!(fit(&alike), None);
        assert_eq!(fit(&[]), None);
    }
}
