//! The curves of a training stage: the points it wrote while it learned, as series of numbers by name.

mod line;

use super::answers;
use super::format::number;
use super::sheet::{Cell, Grid, Header, Sheet, cell, plain};
use super::sheet::{Tone, Width};
use crate::event::Metrics;
use anyhow::Result;
use line::CurveLine;
use stages::curve::{CandidateSamples, SAMPLES, STEP};

/// The points of a stage in the order in which they were written, a column for each series: there may be a hundred
/// thousand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// The names of all series, in the order in which they first came.
    pub names: Vec<String>,
    /// The step of each point.
    pub steps: Vec<f64>,
    columns: Vec<Vec<CurveValue>>,
    /// Answers of candidates of a policy to the same few prompts.
    pub samples: Vec<CandidateSamples>,
    /// The number of lines that hold no point: the last one of a stage that was killed while it wrote, or damage.
    pub unreadable: usize,
}

/// A number of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CurveValue {
    /// The index of its point.
    point: u32,
    /// NaN for one that is not finite.
    value: f64,
}

/// Reads the bytes of `metrics.jsonl`, of which some may be damaged.
pub fn read_bytes(bytes: &[u8]) -> Curves {
    // The check alone is a tenth of the work of replacing what is no text.
    std::str::from_utf8(bytes).map_or_else(|_| read(&String::from_utf8_lossy(bytes)), read)
}

/// Reads `metrics.jsonl`: one JSON object a line. A field that is an object gives a series for each of its numbers
/// (`seconds.generation`); texts and lists are no series. A point without `step` has the number of its line, from 1.
pub fn read(text: &str) -> Curves {
    let (mut curves, mut path) = (Curves::default(), String::new());
    for (line, at) in text.lines().filter(|line| !line.trim().is_empty()).zip(1u32..) {
        if line.contains(SAMPLES)
            && let Ok(samples) = serde_json::from_str(line)
        {
            curves.samples.push(samples);
            continue;
        }
        match CurveLine::read(line, &mut path, &mut |name, likely, value| curves.add(name, likely, value)) {
            Some(step) => curves.steps.push(step.unwrap_or(f64::from(at))),
            None => curves.forget_last(),
        }
    }
    curves
}

impl Curves {
    /// Adds what was measured on candidates alone, as the loss on held-out rows: series whose points are the candidates. A
    /// name that the curve has is left as it is, and so is a candidate of a step without a point.
    pub fn add_candidates<'a>(&mut self, candidates: impl IntoIterator<Item = (u64, &'a Metrics)>) {
        let known = self.names.len();
        for (step, metrics) in candidates {
            let Ok(point) = self.steps.binary_search_by(|other| other.total_cmp(&(step as f64))) else { continue };
            for (name, value) in metrics {
                let index = self.names.iter().position(|other| other == name).unwrap_or_else(|| {
                    self.names.push(name.clone());
                    self.columns.push(Vec::new());
                    self.names.len() - 1
                });
                if index >= known {
                    self.columns[index].push(CurveValue { point: point as u32, value: value.unwrap_or(f64::NAN) });
                }
            }
        }
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// The numbers of one series that are not finite.
    pub fn gaps(&self, name: &str) -> usize {
        self.series(name).filter(|(_, value)| value.is_none()).count()
    }

    /// The points of one series: step and value, where it has one. `None` stands for a number that is not finite.
    pub fn series(&self, name: &str) -> impl Iterator<Item = (f64, Option<f64>)> + Clone {
        let finite = |value: f64| value.is_finite().then_some(value);
        self.column(name).iter().map(move |value| (self.steps[value.point as usize], finite(value.value)))
    }

    fn column(&self, name: &str) -> &[CurveValue] {
        self.names.iter().position(|known| known == name).map_or(&[], |at| &self.columns[at])
    }

    /// Adds a number to the point that is being read, and returns the index of its series. `likely` is that of this name
    /// in the point before.
    fn add(&mut self, name: &str, likely: usize, value: f64) -> usize {
        let is_likely = self.names.get(likely).is_some_and(|known| known == name);
        let known = if is_likely { Some(likely) } else { self.names.iter().position(|known| known == name) };
        let index = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.columns.push(Vec::new());
            self.names.len() - 1
        });
        let (point, column) = (self.steps.len() as u32, &mut self.columns[index]);
        // The last of two fields with one name counts.
        column.pop_if(|last| last.point == point);
        column.push(CurveValue { point, value });
        index
    }

    /// Takes back what was read of a line that holds no point.
    fn forget_last(&mut self) {
        self.unreadable += 1;
        let point = self.steps.len() as u32;
        for column in &mut self.columns {
            column.pop_if(|last| last.point == point);
        }
        while self.columns.pop_if(|column| column.is_empty()).is_some() {
            self.names.pop();
        }
    }

    /// Every number as it was written, for other programs: a row a point, an empty cell where a point has no such number,
    /// `NaN` where it was not finite.
    ///
    /// # Errors
    /// None that a writer to memory has.
    pub fn csv(&self) -> Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record([STEP].into_iter().chain(self.names.iter().map(String::as_str)))?;
        let mut rest: Vec<_> = self.columns.iter().map(|column| column.iter().peekable()).collect();
        for (point, step) in self.steps.iter().enumerate() {
            writer.write_field(step.to_string())?;
            for column in &mut rest {
                let value = column.next_if(|value| value.point as usize == point);
                writer.write_field(value.map(|value| value.value.to_string()).unwrap_or_default())?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }

    /// A row for each series: its first, last, lowest and highest number, and a small drawing.
    pub fn table(&self) -> Sheet {
        let numbers = ["points", "first", "last", "lowest", "highest"].map(Header::number);
        let drawing = Header { width: Width::Whole, ..Header::text("curve") };
        let mut grid = Grid::new([Header::name("series")].into_iter().chain(numbers).chain([drawing]));
        for name in &self.names {
            grid.add(self.row(name));
        }
        Sheet { grid, note: self.notes(), ..Sheet::default() }
    }

    fn row(&self, name: &str) -> Vec<Cell> {
        let series: Vec<_> = self.series(name).collect();
        let finite: Vec<f64> = series.iter().filter_map(|(_, value)| *value).collect();
        let lowest = finite.iter().copied().reduce(f64::min);
        let highest = finite.iter().copied().reduce(f64::max);
        let numbers = [
            series.first().and_then(|(_, value)| *value),
            series.last().and_then(|(_, value)| *value),
            lowest,
            highest,
        ];
        let cells = [plain(name), plain(series.len())];
        let numbers = numbers.map(|value| cell(number(value), Tone::Plain));
        cells.into_iter().chain(numbers).chain([plain(sparkline(&series))]).collect()
    }

    /// The answers of up to three candidates, the first and the last among them.
    pub fn shown_samples(&self) -> Vec<&CandidateSamples> {
        let last = self.samples.len().saturating_sub(1);
        let mut shown = vec![0, last / 2, last];
        shown.dedup();
        shown.into_iter().filter_map(|at| self.samples.get(at)).collect()
    }

    /// The same as a table, by prompt; empty without any.
    pub fn samples(&self) -> Sheet {
        let shown = self.shown_samples();
        let (Some(first), count) = (shown.first(), self.samples.len()) else { return Sheet::default() };
        let text = |title: String| Header { width: Width::Share, ..Header::text(title) };
        let steps = shown.iter().map(|samples| text(format!("step {}", samples.step)));
        let mut grid = Grid::new([text("prompt".to_owned())].into_iter().chain(steps));
        for (row, sample) in first.samples.iter().enumerate() {
            let answers = shown.iter().map(|samples| samples.samples.get(row));
            let answers =
                answers.map(|answer| plain(answer.map_or("–".to_owned(), |answer| answers::shown(&answer.answer))));
            grid.add([cell(answers::shown(&sample.prompt), Tone::Quiet)].into_iter().chain(answers));
        }
        let plural = if count == 1 { "" } else { "s" };
        let heading = format!("greedy answers of {count} candidate{plural} to the same prompts");
        Sheet { heading, grid, ..Sheet::default() }
    }

    fn notes(&self) -> String {
        let gaps: usize = self.names.iter().map(|name| self.gaps(name)).sum();
        let counted = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let notes = [
            counted(gaps, "not finite: a gap in the drawing"),
            counted(self.unreadable, "of the curve's lines cannot be read"),
        ];
        notes.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }
}

/// Cells of a sparkline.
const CELLS: usize = 32;

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A series as one line of blocks, from its lowest to its highest number. Where a cell covers several points it shows the
/// one that is farthest from the mean of all, so that a single peak is seen; a cell without a finite number is
/// blank.
pub fn sparkline(series: &[(f64, Option<f64>)]) -> String {
    let finite = || series.iter().filter_map(|(_, value)| *value);
    let (Some(low), Some(high)) = (finite().reduce(f64::min), finite().reduce(f64::max)) else { return String::new() };
    let mean = finite().sum::<f64>() / finite().count() as f64;
    let cells = series.len().min(CELLS);
    let shown = (0..cells).map(|cell| {
        let part = &series[cell * series.len() / cells..(cell + 1) * series.len() / cells];
        let far = |one: f64, other: f64| if (other - mean).abs() > (one - mean).abs() { other } else { one };
        let Some(value) = part.iter().filter_map(|(_, value)| *value).reduce(far) else { return ' ' };
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        LEVELS[(share * (LEVELS.len() - 1) as f64).round() as usize]
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::super::page::{Page, print};
    use super::*;
    use expect_test::expect;

    #[test]
    fn points_of_every_kind_are_series_by_name() {
        let curves = read(concat!(
            r#"{"step":1,"loss":2.5,"metrics":{"kl":0.125,"reward":-1.0},"seconds":{"update":0.5},"note":"x"}"#,
            "\n\n",
            r#"{"step":2,"loss":null,"metrics":{"kl":0.25,"reward":1.5},"heldout_loss":2.25}"#,
            "\n",
            r#"{"step":2,"samples":[{"prompt":"Hi","answer":" there","ended":true}]}"#,
            "\n",
            r#"{"step":3,"lo"#,
        ));
        let answers =
            vec![stages::curve::SampleAnswer { prompt: "Hi".to_owned(), answer: " there".to_owned(), ended: true }];
        assert_eq!(curves.samples, [CandidateSamples { step: 2, samples: answers }]);
        expect![[r#"
            step,loss,kl,reward,seconds.update,heldout_loss
            1,2.5,0.125,-1,0.5,
            2,NaN,0.25,1.5,,2.25
        "#]]
        .assert_eq(&curves.csv().unwrap());
        expect![[r#"
            series          points  first   last  lowest  highest  curve
            ──────────────────────────────────────────────────────────────
            loss                 2  2.500    NaN   2.500    2.500  ▅
            kl                   2  0.125  0.250   0.125    0.250  ▁█
            reward               2     -1  1.500      -1    1.500  ▁█
            seconds.update       1  0.500  0.500   0.500    0.500  ▅
            heldout_loss         1  2.250  2.250   2.250    2.250  ▅
            1 not finite: a gap in the drawing
            1 of the curve's lines cannot be read
        "#]]
        .assert_eq(&print(&[curves.table()], Page { width: 100, has_color: false, breaks_words: true }));
    }

    #[test]
    fn no_single_peak_is_lost_in_a_sparkline() {
        for at in [0, 17, 4_999, 9_999] {
            let series: Vec<_> = (0..10_000).map(|n| (f64::from(n), Some(f64::from(u8::from(n == at))))).collect();
            assert!(sparkline(&series).contains('█'), "{at}");
        }
        assert_eq!(sparkline(&[(1.0, None)]), "");
    }
}
