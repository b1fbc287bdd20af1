//! The filter of rows: bad ones are left out, as many as the user allows, and all are counted.

use crate::unreadable;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;

/// Leaves out bad rows, as many as the user allows, and counts what became of all rows.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// `--skip-bad-rows`.
    pub may_skip: u64,
    /// Rows of the files.
    pub rows: u64,
    /// Rows that are not used: bad ones, those that are too long, and those that say nothing (a preference between equals).
    pub dropped: u64,
    /// Rows cut to the longest length.
    pub truncated: u64,
    bad: u64,
    /// Rows of the present file that are left out, by cause, with the first of each.
    left_out: BTreeMap<&'static str, (u64, String)>,
    /// Rows of the present file that are cut, with the first of them.
    cut: Option<(u64, String)>,
    remarks: Vec<String>,
}

/// Names of the counts, as metrics.
pub const METRICS: [&str; 3] = ["data_rows", "data_dropped", "data_truncated"];

impl RowFilter {
    pub fn new(may_skip: u64) -> RowFilter {
        RowFilter { may_skip, ..RowFilter::default() }
    }

    /// A row that was read; `None` for a bad row that is left out.
    ///
    /// # Errors
    /// The row's own, if no more rows may be left out.
    pub fn take<T>(&mut self, row: Result<T>) -> Result<Option<T>> {
        match row {
            Ok(row) => Ok(Some(row)),
            Err(error) if self.bad < self.may_skip => {
                self.bad += 1;
                self.leave_out("cannot be read", &unreadable::fault(&error));
                Ok(None)
            }
            Err(error) if self.may_skip == 0 => Err(error),
            Err(error) => Err(error.context(format!(
                "there are more bad rows than the {} that `--skip-bad-rows` lets pass; the next",
                self.may_skip
            ))),
        }
    }

    /// Leaves out a row that is too long.
    pub fn leave_out_long(&mut self, why: &str) {
        self.leave_out("too long", why);
    }

    /// Counts a row that is cut.
    pub fn cut(&mut self, place: &str) {
        self.truncated += 1;
        self.cut.get_or_insert_with(|| (0, place.to_owned())).0 += 1;
    }

    fn leave_out(&mut self, cause: &'static str, why: &str) {
        self.dropped += 1;
        self.left_out.entry(cause).or_insert_with(|| (0, why.to_owned())).0 += 1;
    }

    /// Ends a file: what is to be said of its rows becomes one remark.
    pub fn end_file(&mut self, name: impl fmt::Display) {
        let causes = std::mem::take(&mut self.left_out).into_iter();
        let causes: Vec<String> =
            causes.map(|(cause, (rows, why))| format!("{cause}: {rows} (the first: {why})")).collect();
        let left_out = (!causes.is_empty()).then(|| format!("rows are left out; {}", causes.join("; ")));
        let cut = self
            .cut
            .take()
            .map(|(rows, place)| format!("rows are cut to the longest length: {rows} (the first: {place})"));
        let said: Vec<String> = [left_out, cut].into_iter().flatten().collect();
        if !said.is_empty() {
            self.remarks.push(format!("{name}: {}", said.join("; ")));
        }
    }

    /// Adds a remark on a file.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// Remarks on the files, one sentence each.
    pub fn take_remarks(&mut self) -> Vec<String> {
        self.end_file("the data");
        std::mem::take(&mut self.remarks)
    }

    /// The counts that every training kind reports, under their names.
    pub fn metrics(&self) -> [(&'static str, f64); 3] {
        let counts = [self.rows, self.dropped, self.truncated];
        std::array::from_fn(|at| (METRICS[at], counts[at] as f64))
    }
}
