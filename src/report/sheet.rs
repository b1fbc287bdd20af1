//! A section of a report as data: what it says, in which tone and in which columns. `page` prints it on a terminal.

/// One section. Parts that are empty are not printed, and a section that says nothing is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// The line above everything else.
    pub heading: String,
    /// Labels and values, one pair a row.
    pub entries: Vec<Pair>,
    pub grid: Grid,
    /// Sentences below everything else.
    pub note: String,
}

/// A label and its value. A label that is empty belongs to the value above as well.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub label: Cell,
    pub value: Cell,
}

/// Rows of cells under headers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// Where all titles are empty there is no head.
    pub headers: Vec<Header>,
    pub rows: Vec<Vec<Cell>>,
    /// Whether columns that find no room may follow below, each group beside the first column again.
    pub may_split: bool,
    /// A point for each row.
    pub series: Option<Series>,
}

/// The head of a column, and how its cells are set.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub title: String,
    /// Numbers stand to the right.
    pub is_number: bool,
    pub width: Width,
}

/// How wide a column may be, counted in terminal cells.
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

/// What a cell says about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Quiet,
    Good,
    Doubtful,
    Bad,
}

/// Points to be drawn: a curve, or a bar for each row where only letters can be drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub title: String,
    /// The ends of both axes.
    pub range: [f64; 2],
    /// `[x, y]`: a row's bar ends at y, with a mark at x.
    pub points: Vec<[f64; 2]>,
}

/// A space inside a cell at which the line is never broken: it holds a name and its number together.
pub const TOGETHER: char = '\u{a0}';

/// Where a name may be broken in two when the grid is wider than the page.
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
