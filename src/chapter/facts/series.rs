//! A series of a curve as the page draws it: with no more points than can be seen, and none of its peaks lost.

use crate::report::curves::Curves;

/// One series, thinned to what a figure of a given width shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub name: String,
    /// The number of its points, and how many of them are not finite.
    pub points: usize,
    pub gaps: usize,
    pub first: Option<f64>,
    pub last: Option<f64>,
    /// `[step, value]` of the lowest and of the highest number; the first of equal ones.
    pub lowest: Option<[f64; 2]>,
    pub highest: Option<[f64; 2]>,
    /// `[step, value]`; `None` breaks the line.
    pub drawn: Vec<Option<[f64; 2]>>,
}

/// A series of a stage, drawn in this many columns of pixels.
pub fn trace(curves: &Curves, name: &str, columns: usize) -> Trace {
    let series = curves.series(name);
    let (mut points, mut gaps, mut ends) = (0, 0, None);
    let (mut lowest, mut highest): (Option<[f64; 2]>, Option<[f64; 2]>) = (None, None);
    for (step, value) in series.clone() {
        points += 1;
        ends = Some(ends.map_or([step, step], |[first, last]: [f64; 2]| [first.min(step), last.max(step)]));
        let Some(value) = value else {
            gaps += 1;
            continue;
        };
        if lowest.is_none_or(|lowest| value < lowest[1]) {
            lowest = Some([step, value]);
        }
        if highest.is_none_or(|highest| value > highest[1]) {
            highest = Some([step, value]);
        }
    }
    let drawn = match ends {
        Some(ends) if points > 2 * columns => thin(series.clone(), ends, columns),
        _ => series.clone().map(|(step, value)| Some([step, value?])).collect(),
    };
    let value = |point: Option<(f64, Option<f64>)>| point.and_then(|(_, value)| value);
    let (first, last) = (value(series.clone().next()), value(series.last()));
    Trace { name: name.to_owned(), points, gaps, first, last, lowest, highest, drawn }
}

/// The lowest and the highest point of each column of pixels, in the order in which they come: at most two points a
/// column, and breaks where numbers are not finite. `ends` are the least and the largest step.
fn thin(
    series: impl Iterator<Item = (f64, Option<f64>)>,
    [first, last]: [f64; 2],
    columns: usize,
) -> Vec<Option<[f64; 2]>> {
    let width = (last - first).max(f64::MIN_POSITIVE) / columns as f64;
    let column = |step: f64| (((step - first) / width) as usize).min(columns - 1);
    let mut drawn = Vec::new();
    let mut part: Option<Extremes> = None;
    for (at, point) in series.map(|(step, value)| Some([step, value?])).enumerate() {
        match (point, &mut part) {
            (Some(point), Some(part)) if part.column == column(point[0]) => part.add(at, point),
            (Some(point), _) => {
                let ended = part.replace(Extremes::of(column(point[0]), at, point));
                ended.into_iter().for_each(|part| part.draw(&mut drawn));
            }
            (None, _) => {
                part.take().into_iter().for_each(|part| part.draw(&mut drawn));
                // Many gaps in a row are one break.
                if drawn.last().is_some_and(Option::is_some) {
                    drawn.push(None);
                }
            }
        }
    }
    part.into_iter().for_each(|part| part.draw(&mut drawn));
    drawn
}

/// The lowest and the highest point of a column so far, each with its index.
struct Extremes {
    column: usize,
    low: (usize, [f64; 2]),
    high: (usize, [f64; 2]),
}

impl Extremes {
    fn of(column: usize, at: usize, point: [f64; 2]) -> Extremes {
        Extremes { column, low: (at, point), high: (at, point) }
    }

    fn add(&mut self, at: usize, point: [f64; 2]) {
        if point[1] < self.low.1[1] {
            self.low = (at, point);
        }
        if point[1] > self.high.1[1] {
            self.high = (at, point);
        }
    }

    fn draw(self, drawn: &mut Vec<Option<[f64; 2]>>) {
        let (one, other) = if self.low.0 <= self.high.0 { (self.low, self.high) } else { (self.high, self.low) };
        drawn.push(Some(one.1));
        if one.0 != other.0 {
            drawn.push(Some(other.1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::curves::read;

    /// Numbers below `bound` that look as if drawn, the same every time.
    fn drawn(seed: u64, bound: usize) -> usize {
        let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20) as usize % bound
    }

    /// A curve of these numbers, drawn.
    fn shown(values: impl Iterator<Item = Option<f64>>, columns: usize) -> Trace {
        let line = |(step, value): (usize, Option<f64>)| {
            let value = value.map_or("null".to_owned(), |value| value.to_string());
            format!("{{\"step\":{step},\"loss\":{value}}}\n")
        };
        trace(&read(&values.enumerate().map(line).collect::<String>()), "loss", columns)
    }

    #[test]
    fn no_single_peak_is_lost_wherever_it_stands() {
        for seed in 0..200 {
            let at = drawn(seed, 10_000);
            let series = shown((0..10_000).map(|n| Some(f64::from(u8::from(n == at)))), 400);
            assert!(series.drawn.len() <= 800, "{}", series.drawn.len());
            assert!(series.drawn.contains(&Some([at as f64, 1.0])), "{at}");
            assert_eq!((series.points, series.gaps, series.highest), (10_000, 0, Some([at as f64, 1.0])));
        }
    }

    #[test]
    fn a_gap_breaks_the_line_and_the_ends_are_drawn() {
        let gap = |n: usize| (5_000..5_010).contains(&n);
        let series = shown((0..10_000).map(|n| (!gap(n)).then_some(n as f64)), 100);
        assert_eq!((series.drawn.iter().filter(|point| point.is_none()).count(), series.gaps), (1, 10));
        assert_eq!((series.drawn[0], *series.drawn.last().unwrap()), (Some([0.0, 0.0]), Some([9_999.0, 9_999.0])));
        let few = [Some(2.0), None, Some(1.0)];
        assert_eq!(shown(few.into_iter(), 400).drawn, [Some([0.0, 2.0]), None, Some([2.0, 1.0])]);
        assert!(shown([].into_iter(), 4).drawn.is_empty() && shown([None; 20].into_iter(), 4).drawn.is_empty());
    }
}
