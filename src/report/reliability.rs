//! The reliability diagram: how sure a reward model is of its preferences, and how often it is right.

use super::sheet::{Grid, Header, Series, Tone, cell, plain};
use serde::Deserialize;

/// A row of a checkpoint's table of reliability: the pairs whose predicted probability lies in (low, high].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Bin {
    pub low: f64,
    pub high: f64,
    pub count: u64,
    /// Mean predicted probability.
    pub predicted: f64,
    /// Share of the pairs that were right.
    pub happened: f64,
}

/// One row for each bin, and a series of predicted against observed shares from 0.5 (a coin) to 1.
pub fn diagram(bins: &[Bin]) -> Grid {
    let mut grid = Grid::new([Header::name("says"), Header::number("pairs"), Header::number("right")]);
    for bin in bins {
        let tone = if bin.happened < bin.predicted { Tone::Doubtful } else { Tone::Good };
        grid.add([
            plain(format!("{:.2} to {:.2}", bin.low, bin.high)),
            plain(bin.count),
            cell(format!("{:.3}", bin.happened), tone),
        ]);
    }
    grid.series = Some(Series {
        title: "as far as it is right; | as far as it says".to_owned(),
        range: [0.5, 1.0],
        points: bins.iter().map(|bin| [bin.predicted, bin.happened]).collect(),
    });
    grid
}

#[cfg(test)]
mod tests {
    use super::super::page::{Page, print};
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_model_that_is_too_sure_falls_short_of_its_marks() {
        let bin = |low, count, predicted, happened| Bin { low, high: low + 0.1, count, predicted, happened };
        let bins = [bin(0.5, 40, 0.55, 0.45), bin(0.7, 60, 0.75, 0.75), bin(0.9, 13, 0.97, 0.8)];
        expect![[r#"
            says          pairs  right  as far as it is right; | as far as it says
            ────────────────────────────────────────────────────────────────────────
            0.50 to 0.60     40  0.450     |
            0.70 to 0.80     60  0.750  #############|
            0.90 to 1.00     13  0.800  ###############         |
        "#]]
        .assert_eq(&print(&[diagram(&bins).into()], Page { width: 80, has_color: false, breaks_words: true }));
    }
}
