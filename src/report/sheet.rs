//! A section of a report as data: heading, labelled values, a grid of cells with tones, a series of points. `page`
//! prints it on a terminal.

/// One section. Empty parts are not printed, and neither is a section without any content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// The line above everything else.
    pub heading: String,
    /// Labelled values, one per row.
    pub entries: Vec<Pair>,
    pub grid: Grid,
    /// Sentences below everything else.
    pub note: String,
}

/// A label and its value. An empty label repeats the one above.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub label: Cell,
    pub value: Cell,
}

/// Rows of cells under headers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// One header for each column; no head is printed if all titles are empty.
    pub headers: Vec<Header>,
    pub rows: Vec<Vec<Cell>>,
    /// Whether columns that do not fit may continue below, beside a repeated first column.
    pub may_split: bool,
    /// A series with one point for each row.
    pub series: Option<Series>,
}

/// The head of a column, and how its cells are set.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub title: String,
    /// Numbers are aligned to the right.
    pub is_number: bool,
    pub width: Width,
}

/// The width of a column in terminal cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// As wide as the page allows; longer text is broken.
    Free,
    /// As wide as its content: names and numbers are never broken.
    Whole,
    Exactly(u16),
    AtMost(usize),
    /// An equal share of what the other columns leave.
    Share,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
}

/// The meaning of a cell's content for the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Quiet,
    Good,
    Doubtful,
    Bad,
}

/// Points of a drawing: a curve, or, in text, one bar for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub title: String,
    /// The ends of each axis.
    pub range: [f64; 2],
    /// `[x, y]`; in text, a bar that ends at y, with a mark at x.
    pub points: Vec<[f64; 2]>,
}

/// A space at which a line is never broken: it keeps a name and its number together.
pub const TOGETHER: char = '\u{a0}';

/// A place where a name may be broken if the grid is wider than the page.
pub const MAY_BREAK: char = '\u{200b}';

impl Sheet {
    pub fn heading(text: impl Into<String>) -> Sheet {
        Sheet { heading: text.into(), ..Sheet::default() }
    }

    pub fn note(text: impl Into<String>) -> Sheet {
        Sheet { note: text.into(), ..Sheet::default() }
    }

    pub fn say(&mut self, label: &str, value: impl ToString, tone: Tone) {
        self.entries.push(Pair { label: cell(label, Tone::Quiet), value: cell(value, tone) });
    }

    /// Several values of one label.
    pub fn list(&mut self, label: &str, values: impl IntoIterator<Item = String>) {
        for (row, value) in values.into_iter().enumerate() {
            self.say(if row == 0 { label } else { "" }, value, Tone::Plain);
        }
    }

    /// Whether there is nothing to print; headers alone are nothing.
    pub fn is_empty(&self) -> bool {
        self.heading.is_empty() && self.entries.is_empty() && self.grid.rows.is_empty() && self.note.is_empty()
    }
}

impl From<Grid> for Sheet {
    fn from(grid: Grid) -> Sheet {
        Sheet { grid, ..Sheet::default() }
    }
}

impl Grid {
    pub fn new(headers: impl IntoIterator<Item = Header>) -> Grid {
        Grid { headers: headers.into_iter().collect(), ..Grid::default() }
    }

    pub fn add(&mut self, row: impl IntoIterator<Item = Cell>) {
        self.rows.push(row.into_iter().collect());
    }
}

impl Header {
    /// A column whose text may be broken over lines.
    pub fn text(title: impl Into<String>) -> Header {
        Header { title: title.into(), is_number: false, width: Width::Free }
    }

    /// A column of names.
    pub fn name(title: impl Into<String>) -> Header {
        Header { width: Width::Whole, ..Header::text(title) }
    }

    pub fn number(title: impl Into<String>) -> Header {
        Header { is_number: true, ..Header::name(title) }
    }
}

pub fn cell(text: impl ToString, tone: Tone) -> Cell {
    Cell { text: text.to_string(), tone }
}

pub fn plain(text: impl ToString) -> Cell {
    cell(text, Tone::Plain)
}
