//! The figures of the page as inline SVG: lines, histograms, reliability, clouds of points, intervals. Colours and type come
//! from the style sheet, so that one drawing serves light, dark and paper; words stand in HTML around it, where Japanese has
//! room. Drawn by hand, since `kuva` (90,000 lines, `chrono` and `colorous` in its tree) is as large as this program, guesses
//! the widths of letters, and writes the sizes of its fonts into the drawing.

mod frame;

use super::table::{TableEntry, table};
use super::words::{self, Language};
use frame::{BOTTOM, Frame, HEIGHT, LEFT, RIGHT, TOP, WIDTH, at, path, span};
use maud::{Markup, html};

/// A drawing with everything that is said of it: its name, what it shows, its numbers as a table.
pub struct Figure {
    pub name: String,
    /// A sentence for those who do not see it.
    pub says: String,
    pub drawing: Markup,
    pub caption: Markup,
    pub headers: Vec<&'static str>,
    pub rows: Vec<Vec<TableEntry>>,
}

pub fn figure(figure: &Figure, language: Language) -> Markup {
    let Figure { name, caption, headers, rows, .. } = figure;
    html! {
        figure {
            p.name { (name) }
            (plot(figure))
            figcaption { (caption) }
            details {
                summary { (words::NUMBERS.say(language)) }
                (table(name, headers, rows))
            }
        }
    }
}

/// The drawing of a figure alone.
pub fn plot(figure: &Figure) -> Markup {
    html! {
        svg.plot viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" {
            title { (figure.name) }
            desc { (figure.says) }
            (figure.drawing)
        }
    }
}

/// A point of a line, or a break in it.
pub type LinePoint = Option<[f64; 2]>;

/// Lines in the order of their weight: the first one is what the figure is about.
pub fn lines(lines: &[&[LinePoint]], marks: &[f64]) -> Markup {
    let all = || lines.iter().flat_map(|line| line.iter().flatten());
    let frame = Frame::of(span(all().map(|point| point[0])), span(all().map(|point| point[1])));
    html! {
        (frame.axes())
        @for mark in marks { path.mark d={ "M" (at(frame.x(*mark))) " " (at(TOP)) "V" (at(HEIGHT - BOTTOM)) } {} }
        g transform="scale(.25)" {
            @for (number, line) in lines.iter().enumerate().rev() {
                path class=(style(number)) d=(path(&frame, line)) {}
            }
        }
    }
}

/// Points along a line, of which one is the chosen one.
pub fn checkpoints(points: &[[f64; 2]], chosen: Option<f64>) -> Markup {
    let frame = Frame::of(span(points.iter().map(|point| point[0])), span(points.iter().map(|point| point[1])));
    let line: Vec<LinePoint> = points.iter().copied().map(Some).collect();
    html! {
        (frame.axes())
        g transform="scale(.25)" { path.line0 d=(path(&frame, &line)) {} }
        @for point in points {
            @let is_chosen = chosen == Some(point[0]);
            circle .dot .chosen[is_chosen] cx=(at(frame.x(point[0]))) cy=(at(frame.y(point[1])))
                r=(if is_chosen { 5 } else { 2 }) {}
        }
    }
}

/// The class of the line with this number.
fn style(number: usize) -> &'static str {
    ["line0", "line1", "line2"][number.min(2)]
}

/// The sample of a line of that style, for the words beside a figure.
pub fn sample(number: usize) -> Markup {
    html! {
        svg.sample viewBox="0 0 22 8" aria-hidden="true" { path class=(style(number)) d="M1 4H21" {} }
    }
}

/// The sample of a cloud, likewise.
pub fn cloud_sample(number: usize) -> Markup {
    html! {
        svg.sample viewBox="0 0 22 8" aria-hidden="true" {
            g transform="scale(.25)" { path class=(if number == 0 { "cloud0" } else { "cloud1" }) d="M44 16h0" {} }
        }
    }
}

/// The bins of all histograms.
const BINS: usize = 24;

/// Bars of two sets of numbers on one axis: `(low, high, count of the first, count of the second)`.
pub struct Histogram(pub Vec<(f64, f64, usize, usize)>);

impl Histogram {
    pub fn of(first: &[f64], second: &[f64]) -> Histogram {
        let [low, high] = span(first.iter().chain(second).copied());
        let width = (high - low) / BINS as f64;
        let count = |numbers: &[f64]| {
            let mut counts = [0; BINS];
            for number in numbers.iter().filter(|number| number.is_finite()) {
                counts[(((number - low) / width) as usize).min(BINS - 1)] += 1;
            }
            counts
        };
        let (first, second) = (count(first), count(second));
        let edge = |bin: usize| low + width * bin as f64;
        Histogram((0..BINS).map(|bin| (edge(bin), edge(bin + 1), first[bin], second[bin])).collect())
    }

    pub fn drawing(&self) -> Markup {
        let Histogram(bins) = self;
        let most = bins.iter().map(|(.., first, second)| *first.max(second)).max().unwrap_or(0);
        let (low, high) = (bins.first().map_or(0.0, |bin| bin.0), bins.last().map_or(1.0, |bin| bin.1));
        let frame = Frame::of_counts([low, high], most);
        let outline = |count: fn(&(f64, f64, usize, usize)) -> usize| {
            let mut path = format!("M{} {}", at(frame.x(low)), at(frame.y(0.0)));
            for bin in bins {
                path += &format!("V{}H{}", at(frame.y(count(bin) as f64)), at(frame.x(bin.1)));
            }
            path + &format!("V{}", at(frame.y(0.0)))
        };
        html! {
            (frame.axes())
            path.area d=(outline(|bin| bin.2)) {}
            path.line0 d=(outline(|bin| bin.2)) {}
            path.line1 d=(outline(|bin| bin.3)) {}
        }
    }
}

/// A drawing of what was said against what happened, both from 0 to 1: the diagonal is a model that is right as often as it says. Each
/// point has the weight of its count.
pub fn reliability(points: &[([f64; 2], u64)]) -> Markup {
    let frame = Frame::of([0.5, 1.0], [0.0, 1.0]);
    let most = points.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1) as f64;
    let line: Vec<LinePoint> = points.iter().map(|(point, _)| Some(*point)).collect();
    html! {
        (frame.axes())
        path.line2 d={ "M" (at(frame.x(0.5))) " " (at(frame.y(0.5))) "L" (at(frame.x(1.0))) " " (at(frame.y(1.0))) } {}
        g transform="scale(.25)" { path.line0 d=(path(&frame, &line)) {} }
        @for (point, count) in points {
            circle.dot cx=(at(frame.x(point[0]))) cy=(at(frame.y(point[1])))
                r=(at(1.5 + 4.5 * (*count as f64 / most).sqrt())) {}
        }
    }
}

/// Two clouds of points: the first filled, the second as rings.
pub fn clouds(clouds: &[&[[f64; 2]]]) -> Markup {
    let all = || clouds.iter().flat_map(|cloud| cloud.iter());
    let frame = Frame::of(span(all().map(|point| point[0])), span(all().map(|point| point[1])));
    html! {
        (frame.axes())
        @for (number, cloud) in clouds.iter().enumerate().rev() {
            // One path for all points of a cloud: each is a stroke of no length with round ends.
            g transform="scale(.25)" {
                path class=(if number == 0 { "cloud0" } else { "cloud1" }) d=(frame::specks(&frame, cloud)) {}
            }
        }
    }
}

/// An interval of shares on a line from 0 to 1, with its middle marked.
pub fn interval(estimate: f64, low: f64, high: f64) -> Markup {
    let x = |share: f64| at(2.0 + 116.0 * share.clamp(0.0, 1.0));
    html! {
        svg.interval viewBox="0 0 120 14" aria-hidden="true" {
            path.rule d={ "M2 7H118M" (x(0.5)) " 1V13" } {}
            path.reach d={ "M" (x(low)) " 7H" (x(high)) } {}
            circle.dot cx=(x(estimate)) cy="7" r="3.5" {}
        }
    }
}

/// The width and the height of a figure, in pixels.
pub const SIZE: [f64; 2] = [WIDTH, HEIGHT];

/// The width of the part of a figure in which points are drawn, in pixels.
pub const COLUMNS: usize = (WIDTH - LEFT - RIGHT) as usize;
