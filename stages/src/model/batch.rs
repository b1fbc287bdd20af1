//! Token rows as a model reads them: ids, positions or rotary angles, and the mask, all built on the host.

use crate::kernel::{self, Angles, AttentionMask, MaskedRow, Span};
use crate::tensor::{from_ids, from_values};
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

/// Finite, so that a token that attends to nothing stays a number (its output is never used).
const HIDDEN: f32 = -1e9;

impl Batch {
    /// A batch of whole rows.
    pub fn new(config: &Config, rows: &[&[u32]], padding: Padding, device: &Device) -> Batch {
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
        let (mut ids, mut positions) = (vec![0; n], vec![0; n]);
        for (span, row) in spans.iter().zip(rows) {
            ids[span.at..span.at + span.len].copy_from_slice(row);
            (0..span.len).for_each(|offset| positions[span.at + offset] = offset);
        }
        let mask = |window: &Option<usize>| match padding {
            Padding::None => {
                let rows = spans.iter().map(|span| MaskedRow { span: *span, seen: span.len }).collect();
                AttentionMask::Rows { rows, window: *window }
            }
            _ => {
                let mut bias = vec![HIDDEN; n * width];
                for span in &spans {
                    for offset in 0..span.len {
                        let query = span.at + offset;
                        let line = query * width + span.at % width;
                        let first = window.map_or(0, |window| (offset + 1).saturating_sub(window));
                        bias[line + first..=line + offset].fill(0.0);
                    }
                }
                let bias = from_values(bias, [n / width.max(1), 1, width, width], device);
                AttentionMask::Rectangle { columns: width, bias }
            }
        };
        let lengths = row_lengths(&spans, n);
        Batch {
            ids: from_ids(&ids, device),
            host_ids: ids,
            positions: learned_positions(config, &positions, device),
            angles: config.ropes.iter().map(|rope| angles(rope, &positions, &lengths, device)).collect(),
            masks: config.windows.iter().map(mask).collect(),
            spans,
        }
    }

    /// A batch of one new token a row, in decoding, after the rows that a cache holds.
    pub(super) fn next(config: &Config, ids: Tensor<1, Int>, places: &[Columns]) -> Batch {
        let device = ids.device();
        let positions: Vec<usize> = places.iter().map(|place| place.filled - place.start).collect();
        let spans: Vec<Span> = (0..places.len()).map(|at| Span { at, len: 1 }).collect();
        let mask = |window: &Option<usize>| match kernel::of(&device).attends_by_row() {
            true => {
                let row = |(span, place): (&Span, &Columns)| MaskedRow { span: *span, seen: place.filled + 1 };
                AttentionMask::Rows { rows: spans.iter().zip(places).map(row).collect(), window: *window }
            }
            false => {
                let seen = places.iter().map(|place| place.filled + 1).max().unwrap_or(0);
                let line = |place: &Columns| {
                    let first = window.map_or(0, |window| (place.filled + 1).saturating_sub(window)).max(place.start);
                    (0..seen).map(move |column| if column < first { HIDDEN } else { 0.0 })
                };
                let bias = places.iter().flat_map(line).collect();
                AttentionMask::Rectangle { columns: 1, bias: from_values(bias, [places.len(), 1, 1, seen], &device) }
            }
        };
        // Rows that grow turn as rows of this length do: decoding never goes past the length at which that changes.
        let lengths: Vec<usize> = positions.iter().map(|position| position + 1).collect();
        Batch {
            ids,
            host_ids: Vec::new(),
            positions: learned_positions(config, &positions, &device),
            angles: config.ropes.iter().map(|rope| angles(rope, &positions, &lengths, &device)).collect(),
            masks: config.windows.iter().map(mask).collect(),
            spans,
        }
    }

    pub fn tokens(&self) -> usize {
        self.ids.dims()[0]
    }

    /// The position of each token in its row; 0 in the padding.
    pub(super) fn host_positions(&self) -> Vec<u32> {
        let mut positions = vec![0; self.tokens()];
        for span in &self.spans {
            (0..span.len).for_each(|offset| positions[span.at + offset] = offset as u32);
        }
        positions
    }

    /// The places of the rows in a cache, of which this is the first batch.
    pub(super) fn places(&self) -> Vec<Columns> {
        let place = |span: &Span| match self.masks[0] {
            AttentionMask::Rows { .. } => Columns { start: 0, filled: span.len },
            AttentionMask::Rectangle { columns, .. } => Columns { start: span.at % columns, filled: columns },
        };
        self.spans.iter().map(place).collect()
    }
}

fn learned_positions(config: &Config, positions: &[usize], device: &Device) -> Option<Tensor<1, Int>> {
    config.architecture.layout.positions.map(|_| {
        let positions: Vec<u32> = positions.iter().map(|position| *position as u32).collect();
        from_ids(&positions, device)
    })
}

/// The length of the row of each of `n` tokens; 0 in the padding.
fn row_lengths(spans: &[Span], n: usize) -> Vec<usize> {
    let mut lengths = vec![0; n];
    for span in spans {
        lengths[span.at..span.at + span.len].fill(span.len);
    }
    lengths
}

/// The angles of tokens at `positions` in rows of `lengths` tokens.
fn angles(rope: &Rope, positions: &[usize], lengths: &[usize], device: &Device) -> Angles {
    let (n, dims) = (positions.len(), rope.dims);
    let (mut cosines, mut sines) = (Vec::with_capacity(n * dims), Vec::with_capacity(n * dims));
    for (position, length) in positions.iter().zip(lengths) {
        let frequencies = rope.frequencies_of(*length);
        for frequency in frequencies.iter().chain(frequencies) {
            let (sine, cosine) = (*position as f64 * frequency).sin_cos();
            cosines.push((cosine * rope.scale) as f32);
            sines.push((sine * rope.scale) as f32);
        }
    }
    let [cosines, sines] = [cosines, sines].map(|values| from_values(values, [n, dims], device));
    Angles { cosines, sines }
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
