//! How sure a model is of its preferences, and how often it is right: the reliability diagram, in letters.

use super::page::{self, Page, Tone, cell};
use serde::Deserialize;

/// A line of the table `reliability` of a checkpoint: pairs whose probability lies in (low, high].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Bin {
    pub low: f64,
    pub high: f64,
    pub count: u64,
    /// Mean probability.
    pub predicted: f64,
    /// Share that was right.
    pub happened: f64,
}

/// Cells from a coin's half to certainty.
const WIDTH: f64 = 25.0;

/// One line a bin: as far as it is right, with `|` where it says it would be.
pub fn diagram(bins: &[Bin], page: Page) -> String {
    let mut table = page::table(page, &["says", "pairs", "right", "as far as it is right; | as far as it says"]);
    for bin in bins {
        let place = |share: f64| ((share - 0.5).max(0.0) * 2.0 * WIDTH).round() as usize;
        let (right, says) = (place(bin.happened), place(bin.predicted));
        let bar = |at: usize| {
            if at == says {
                '|'
            } else if at < right {
                '#'
            } else {
                ' '
            }
        };
        let bar: String = (0..=right.max(says)).map(bar).collect();
        let tone = if bin.happened < bin.predicted { Tone::Doubtful } else { Tone::Good };
        table.add_row([
            cell(format!("{:.2} to {:.2}", bin.low, bin.high), Tone::Plain),
            cell(bin.count, Tone::Plain),
            cell(format!("{:.3}", bin.happened), tone),
            cell(bar.trim_end(), Tone::Plain),
        ]);
    }
    page::align_right(&mut table, 1..3);
    page::keep_whole(&mut table, 0..4);
    page::print(table)
}

#[cfg(test)]
mod tests {
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
        .assert_eq(&diagram(&bins, Page { width: 80, has_color: false }));
    }
}
