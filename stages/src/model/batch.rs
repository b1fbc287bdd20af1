//! Token rows made ready for a model: ids, rotary angles, and what each token may see, all built on the host.

use super::Config;
use super::host::{is_host, tensor};
use super::kernel::Turns;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// How rows of unequal lengths lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// One behind the other, without any: attention goes row by row. CPU backend only.
    None,
    /// In a rectangle, each from its left edge on; short rows share one line of it and do not see each other.
    Right,
    /// In a rectangle, each up to its right edge: the new tokens of decoding come behind all of them.
    Left,
}

impl Padding {
    /// Of rows that are read once.
    pub fn of(device: &Device) -> Padding {
        if is_host(device) { Padding::None } else { Padding::Right }
    }

    /// Of prompts that are to be continued.
    pub fn of_prompts(device: &Device) -> Padding {
        if is_host(device) { Padding::None } else { Padding::Left }
    }
}

/// Where a row lies among the tokens of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub at: usize,
    pub len: usize,
}

impl Span {
    pub fn last(self) -> usize {
        self.at + self.len - 1
    }
}

/// `n` new tokens, padding included.
pub struct Batch {
    pub spans: Vec<Span>,
    /// Of whole rows, `[n]`; in decoding nobody asks, and they may be known to the device alone.
    pub(super) host_ids: Vec<u32>,
    /// `[n]`.
    pub ids: Tensor<1, Int>,
    /// `[n]`, counted from the first token of each row; where the model learned them.
    pub(super) positions: Option<Tensor<1, Int>>,
    /// `None` where the model learned its positions.
    pub(super) turns: Option<Turns>,
    pub(super) sight: Sight,
}

/// What each token may see.
pub(super) enum Sight {
    /// All tokens of its own row up to itself, cached ones first; `seen` are those of each row, new ones included.
    Rows { seen: Vec<usize> },
    /// Lines of `columns` tokens, and `[lines, 1, columns, seen]`: 0 where a token may look, else a number no score
    /// overcomes.
    Lines { columns: usize, bias: Tensor<4> },
}

/// Finite, so that a token that sees nothing stays a number (its output is never used).
const HIDDEN: f32 = -1e9;

impl Batch {
    /// Whole rows.
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
        let sight = match padding {
            Padding::None => Sight::Rows { seen: spans.iter().map(|span| span.len).collect() },
            _ => {
                let mut bias = vec![HIDDEN; n * width];
                for span in &spans {
                    for offset in 0..span.len {
                        let query = span.at + offset;
                        let first = query * width + span.at % width;
                        bias[first..=first + offset].fill(0.0);
                    }
                }
                let bias = tensor(bias, [n / width.max(1), 1, width, width], device);
                Sight::Lines { columns: width, bias }
            }
        };
        let on_device = Batch::upload(&ids, device);
        Batch::build(config, spans, ids, on_device, &positions, sight, device)
    }

    /// One new token a row, in decoding, with what a cache holds of its rows: where their first tokens stand and how many
    /// columns are filled.
    pub(super) fn next(config: &Config, ids: Tensor<1, Int>, places: &[(usize, usize)], device: &Device) -> Batch {
        let positions: Vec<usize> = places.iter().map(|(start, filled)| filled - start).collect();
        let spans = (0..places.len()).map(|at| Span { at, len: 1 }).collect();
        let sight = match is_host(device) {
            true => Sight::Rows { seen: places.iter().map(|(_, filled)| filled + 1).collect() },
            false => {
                let seen = places.iter().map(|(_, filled)| filled + 1).max().unwrap_or(0);
                let visible = |start: usize| (0..seen).map(move |column| if column < start { HIDDEN } else { 0.0 });
                let bias = places.iter().flat_map(|(start, _)| visible(*start)).collect();
                Sight::Lines { columns: 1, bias: tensor(bias, [places.len(), 1, 1, seen], device) }
            }
        };
        Batch::build(config, spans, Vec::new(), ids, &positions, sight, device)
    }

    pub fn tokens(&self) -> usize {
        self.ids.dims()[0]
    }

    /// Where each token stands in its row; 0 in the padding.
    pub(super) fn host_positions(&self) -> Vec<u32> {
        let mut positions = vec![0; self.tokens()];
        for span in &self.spans {
            (0..span.len).for_each(|offset| positions[span.at + offset] = offset as u32);
        }
        positions
    }

    pub fn upload(ids: &[u32], device: &Device) -> Tensor<1, Int> {
        let (ids, n): (Vec<i32>, usize) = (ids.iter().map(|id| *id as i32).collect(), ids.len());
        Tensor::from_data(TensorData::new(ids, [n]), device)
    }

    fn build(
        config: &Config,
        spans: Vec<Span>,
        host_ids: Vec<u32>,
        ids: Tensor<1, Int>,
        positions: &[usize],
        sight: Sight,
        device: &Device,
    ) -> Batch {
        let n = positions.len();
        let turns = config.rope.as_ref().map(|rope| {
            let dims = rope.dims;
            let (mut cosines, mut sines) = (Vec::with_capacity(n * dims), Vec::with_capacity(n * dims));
            for position in positions {
                // Both halves of the pairs turn alike.
                for frequency in rope.frequencies.iter().chain(&rope.frequencies) {
                    let (sine, cosine) = (*position as f64 * frequency).sin_cos();
                    cosines.push(cosine as f32);
                    sines.push(sine as f32);
                }
            }
            if matches!(sight, Sight::Rows { .. }) {
                return Turns::Host { cosines, sines, dims };
            }
            let upload = |values| tensor(values, [n, 1, dims], device);
            Turns::Device { cosines: upload(cosines), sines: upload(sines) }
        });
        let positions = config.rope.is_none().then(|| {
            let positions: Vec<u32> = positions.iter().map(|position| *position as u32).collect();
            Batch::upload(&positions, device)
        });
        Batch { spans, host_ids, ids, positions, turns, sight }
    }
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
