//! The frame of a figure: two axes, their marks, and the way from a number to a place.

use maud::{Markup, html};

pub const WIDTH: f64 = 340.0;
pub const HEIGHT: f64 = 180.0;
pub const LEFT: f64 = 48.0;
pub const RIGHT: f64 = 12.0;
pub const TOP: f64 = 10.0;
pub const BOTTOM: f64 = 24.0;

/// The numbers at the ends of the axes.
pub struct Frame {
    x: [f64; 2],
    y: [f64; 2],
    /// Whether things are counted upwards: there are no halves.
    is_count: bool,
}

/// The least and the largest of these numbers, with some room where they are one; 0 to 1 where there are none.
pub fn span(numbers: impl Iterator<Item = f64>) -> [f64; 2] {
    let ends = numbers.filter(|number| number.is_finite()).fold(None, |ends: Option<[f64; 2]>, number| {
        Some(ends.map_or([number, number], |[low, high]| [low.min(number), high.max(number)]))
    });
    match ends {
        None => [0.0, 1.0],
        Some([low, high]) if high - low > 1e-12 * low.abs().max(high.abs()) => [low, high],
        Some([low, _]) => {
            let room = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
            [low - room, low + room]
        }
    }
}

/// A coordinate with one decimal.
pub fn at(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

impl Frame {
    pub fn of(x: [f64; 2], y: [f64; 2]) -> Frame {
        Frame { x, y, is_count: false }
    }

    pub fn of_counts(x: [f64; 2], most: usize) -> Frame {
        Frame { x, y: [0.0, most.max(1) as f64], is_count: true }
    }

    pub fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * share(self.x, value)
    }

    pub fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share(self.y, value)
    }

    /// Lines across at round numbers, a base line, and numbers.
    pub fn axes(&self) -> Markup {
        let (mut across, along) = (marks(self.y, 4.0), marks(self.x, 5.0));
        if self.is_count {
            across.retain(|(value, _)| value.fract() == 0.0);
            across.iter_mut().for_each(|(value, text)| *text = format!("{value:.0}"));
        }
        let grid: String =
            across.iter().map(|mark| format!("M{} {}H{}", at(LEFT), at(self.y(mark.0)), at(WIDTH - RIGHT))).collect();
        html! {
            path.grid d=(grid) {}
            path.base d={ "M" (at(LEFT)) " " (at(HEIGHT - BOTTOM)) "H" (at(WIDTH - RIGHT)) } {}
            g.ticks text-anchor="end" {
                @for (value, text) in &across { text x=(at(LEFT - 6.0)) y=(at(self.y(*value) + 3.5)) { (text) } }
            }
            g.ticks text-anchor="middle" {
                @for (value, text) in &along { text x=(at(self.x(*value))) y=(at(HEIGHT - BOTTOM + 16.0)) { (text) } }
            }
        }
    }
}

fn share([low, high]: [f64; 2], value: f64) -> f64 {
    (value - low) / (high - low)
}

/// Round numbers between the ends, about as many as asked for, each with its text.
fn marks([low, high]: [f64; 2], about: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / about;
    if !(rough > 0.0 && rough.is_finite()) {
        return Vec::new();
    }
    let size = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|nice| nice * size >= rough * 0.999).unwrap_or(10.0) * size;
    let first = (low / step - 1e-9).ceil();
    let count = ((high / step + 1e-9).floor() - first) as usize;
    (0..=count.min(20)).map(|n| (first + n as f64) * step).map(|value| (value, label(value, step))).collect()
}

/// A number with the decimals that its neighbours, a step apart, need.
fn label(value: f64, step: f64) -> String {
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    let most = value.abs().max(step);
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e6).contains(&most) {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    if most >= 10_000.0 && (value / 1_000.0).fract() == 0.0 {
        return format!("{}k", value / 1_000.0);
    }
    // 2.5 needs one decimal more than 1, 2 and 5.
    let decimals = (0..8).find(|decimals| {
        (step * 10f64.powi(*decimals)).fract().abs() < 1e-6 || (step * 10f64.powi(*decimals)).fract() > 1.0 - 1e-6
    });
    format!("{value:.*}", decimals.unwrap_or(4) as usize)
}

/// The path of a line in quarters of a pixel, which keeps its numbers whole and short.
pub fn path(frame: &Frame, points: &[Option<[f64; 2]>]) -> String {
    let mut path = String::new();
    let mut last: Option<[i64; 2]> = None;
    let mut is_dot = false;
    for point in points {
        let place = point.map(|point| quarters(frame, point));
        match (place, last) {
            (Some(place), None) => {
                path += &format!("M{} {}", place[0], place[1]);
                is_dot = true;
            }
            (Some(place), Some(before)) => {
                let [x, y] = [place[0] - before[0], place[1] - before[1]];
                path += &format!("l{x}{}{y}", if y < 0 { "" } else { " " });
                is_dot = false;
            }
            // A point between two breaks is a stroke of no length, which round ends make a dot.
            (None, Some(_)) if is_dot => path.push_str("h0"),
            (None, _) => {}
        }
        last = place;
    }
    if is_dot {
        path.push_str("h0");
    }
    path
}

/// The path of points apart: strokes of no length.
pub fn specks(frame: &Frame, points: &[[f64; 2]]) -> String {
    let speck = |point: &[f64; 2]| {
        let [x, y] = quarters(frame, *point);
        format!("M{x} {y}h0")
    };
    points.iter().map(speck).collect()
}

fn quarters(frame: &Frame, [x, y]: [f64; 2]) -> [i64; 2] {
    [(4.0 * frame.x(x)).round() as i64, (4.0 * frame.y(y)).round() as i64]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, high: f64) -> String {
        marks([low, high], 4.0).into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn axes_have_round_numbers() {
        let all = [(0.0, 1.0), (0.31, 0.84), (-1.5, 2.2), (0.0, 30.0), (1.0, 100_000.0), (1e-6, 4e-6), (3.0, 3.0)];
        let shown: Vec<String> = all.iter().map(|(low, high)| texts(*low, *high)).collect();
        assert_eq!(
            shown.join(" | "),
            "0 0.25 0.50 0.75 1.00 | 0.4 0.6 0.8 | -1 0 1 2 | 0 10 20 30 | 25k 50k 75k 100k | 1e-6 2e-6 3e-6 4e-6 | "
        );
    }

    #[test]
    fn a_line_is_broken_where_there_is_no_number_and_a_lone_point_is_a_dot() {
        let frame = Frame::of([0.0, 4.0], [0.0, 1.0]);
        let line = [Some([0.0, 0.0]), Some([1.0, 1.0]), None, Some([2.0, 0.0]), None, Some([3.0, 0.0])];
        assert_eq!(path(&frame, &line), "M192 624l280-584M752 624h0M1032 624h0");
    }
}
