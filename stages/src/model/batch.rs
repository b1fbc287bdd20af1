//! Token rows as a model reads them: ids, positions or rotary angles, and the mask.

use super::rotation::RopeTables;
use crate::kernel::{self, Angles, AttentionMask, MaskedRectangle, MaskedRow, Span};
use crate::tensor::from_ids;
use burn::tensor::{Device, Int, Tensor};
use formats::config::Config;
use formats::rope::Rope;

/// The arrangement of rows of unequal lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// None: one row after the other. Only for a backend that attends row by row.
    None,
    /// In a rectangle, from its left edge on; short rows share one line of it and do not attend to each other.
    Right,
    /// In a rectangle, up to its right edge, after which decoding adds new tokens.
    Left,
}

impl Padding {
    /// The padding for rows that are read once.
    pub fn of(device: &Device) -> Padding {
        if kernel::of(device).attends_by_row() { Padding::None } else { Padding::Right }
    }

    /// The padding for prompts that are continued.
    pub fn of_prompts(device: &Device) -> Padding {
        if kernel::of(device).attends_by_row() { Padding::None } else { Padding::Left }
    }
}

/// `n` new tokens, padding included.
pub struct Batch {
    pub spans: Vec<Span>,
    /// The ids of whole rows, `[n]`. Empty in decoding, where the device alone may know them.
    pub(super) host_ids: Vec<u32>,
    /// `[n]`.
    pub ids: Tensor<1, Int>,
    /// `[n]`, counted from the first token of each row; `None` where the model did not learn them.
    pub(super) positions: Option<Tensor<1, Int>>,
    /// By each rope of the model.
    pub(super) angles: Vec<Angles>,
    /// By each window of the model.
    pub(super) masks: Vec<AttentionMask>,
}

/// A row in a cache: the column of its first token, and how many columns are filled.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    pub start: usize,
    pub filled: usize,
}

impl Batch {
    /// A batch of whole rows.
    pub(super) fn new(
        config: &Config,
        ropes: &RopeTables,
        rows: &[&[u32]],
        padding: Padding,
        device: &Device,
    ) -> Batch {
        let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let spans = match padding {
            Padding::None => {
                let mut at = 0;
                let span = |row: &&[u32]| {
                    at += row.len();
                    Span { at: at - row.len(), len: row.len() }
                };
                rows.iter().map(span).collect()
            }
            Padding::Right => packed(rows, width),
            Padding::Left => {
                let span = |(line, row): (usize, &&[u32])| Span { at: (line + 1) * width - row.len(), len: row.len() };
                rows.iter().enumerate().map(span).collect::<Vec<_>>()
            }
        };
        let end = spans.iter().map(|span| span.at + span.len).max().unwrap_or(0);
        let n = if padding == Padding::None { end } else { end.next_multiple_of(width.max(1)) };
        let mut ids = vec![0; n];
        for (span, row) in spans.iter().zip(rows) {
            ids[span.at..span.at + span.len].copy_from_slice(row);
        }
        let masks = match padding {
            Padding::None => {
                let row = |span: &Span| MaskedRow { span: *span, seen: span.len };
                let rows: Vec<MaskedRow> = spans.iter().map(row).collect();
                let mask = |window: &Option<usize>| AttentionMask::Rows { rows: rows.clone(), window: *window };
                config.windows.iter().map(mask).collect()
            }
            _ => {
                let starts = from_ids(&starts(&spans, n, width), device);
                rectangles(config, width, 0, &starts)
            }
        };
        let positions = by_token(&spans, n, |_, offset| offset);
        let learned = config.architecture.layout.positions.map(|_| from_ids(&positions, device));
        let angles = |(number, rope): (usize, &Rope)| {
            let table = ropes.table(number, rope, width, device);
            let rows = by_token(&spans, n, |span, offset| table.offset(span.len) + offset);
            table.at(from_ids(&rows, device))
        };
        Batch {
            ids: from_ids(&ids, device),
            host_ids: ids,
            positions: learned,
            angles: config.ropes.iter().enumerate().map(angles).collect(),
            masks,
            spans,
        }
    }

    pub fn tokens(&self) -> usize {
        self.ids.dims()[0]
    }

    /// The position of each token in its row; 0 in the padding.
    pub(super) fn host_positions(&self) -> Vec<u32> {
        by_token(&self.spans, self.tokens(), |_, offset| offset)
    }

    /// The places of the rows in a cache, of which this is the first batch.
    pub(super) fn places(&self) -> Vec<Columns> {
        let place = |span: &Span| match self.masks[0] {
            AttentionMask::Rows { .. } => Columns { start: 0, filled: span.len },
            AttentionMask::Rectangle(MaskedRectangle { columns, .. }) => {
                Columns { start: span.at % columns, filled: columns }
            }
        };
        self.spans.iter().map(place).collect()
    }
}

/// The masks of lines of `columns` new tokens behind `filled` ones, by each window of the model.
pub(super) fn rectangles(
    config: &Config,
    columns: usize,
    filled: usize,
    starts: &Tensor<1, Int>,
) -> Vec<AttentionMask> {
    let mask = |window: &Option<usize>| {
        AttentionMask::Rectangle(MaskedRectangle { columns, filled, starts: starts.clone(), window: *window })
    };
    config.windows.iter().map(mask).collect()
}

/// A number for each of `n` tokens, by its row and its place there; 0 in the padding.
fn by_token(spans: &[Span], n: usize, number: impl Fn(&Span, usize) -> usize) -> Vec<u32> {
    let mut numbers = vec![0; n];
    for span in spans {
        (0..span.len).for_each(|offset| numbers[span.at + offset] = number(span, offset) as u32);
    }
    numbers
}

/// The column of a line of `width` in which the row of each token begins; one beyond it in the padding.
fn starts(spans: &[Span], n: usize, width: usize) -> Vec<u32> {
    let mut starts = vec![width as u32; n];
    for span in spans {
        starts[span.at..span.at + span.len].fill((span.at % width) as u32);
    }
    starts
}

/// Rows in lines of `width`: the longest first, each into the first line that has room.
fn packed(rows: &[&[u32]], width: usize) -> Vec<Span> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|row| std::cmp::Reverse(rows[*row].len()));
    let mut filled: Vec<usize> = Vec::new();
    let mut spans = vec![Span { at: 0, len: 0 }; rows.len()];
    for row in order {
        let len = rows[row].len();
        let line = filled.iter().position(|filled| filled + len <= width).unwrap_or_else(|| {
            filled.push(0);
            filled.len() - 1
        });
        spans[row] = Span { at: line * width + filled[line], len };
        filled[line] += len;
    }
    spans
}
