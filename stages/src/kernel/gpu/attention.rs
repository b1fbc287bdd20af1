//! Attention in pieces where the scores of all of it would be more than a kernel can bind. Lines do not see each other, nor
//! do heads of keys, and each token has scores of its own: pieces of these change no number. On the way back, the gradients
//! of keys and values are sums over the tokens that saw them, which are added piece after piece.

use crate::device;
use crate::kernel::tensors::BurnTensors;
use crate::kernel::{AttentionMask, Heads, Kernel};
use burn::tensor::Tensor;
use std::ops::Range;

pub fn attend(heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask) -> Tensor<2> {
    let most = most_scores(&qkv[0]);
    attend_within(most, heads, qkv, mask)
}

pub fn attend_back(heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask, dy: Tensor<2>) -> [Tensor<2>; 3] {
    let most = most_scores(&qkv[0]);
    attend_back_within(most, heads, qkv, mask, dy)
}

/// The scores that a kernel binds.
fn most_scores(queries: &Tensor<2>) -> u64 {
    device::limits(&queries.device()).binding / 4
}

fn attend_within(most: u64, heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask) -> Tensor<2> {
    let Some(bands) = bands(most, heads, qkv[0].dims()[0], mask) else { return BurnTensors.attend(heads, qkv, mask) };
    let of_band = |band: Band| {
        let parts = band.pieces.iter().map(|piece| BurnTensors.attend(piece.heads, piece.qkv(&qkv), &piece.mask));
        Tensor::cat(parts.collect(), 1)
    };
    Tensor::cat(bands.into_iter().map(of_band).collect(), 0)
}

fn attend_back_within(
    most: u64,
    heads: Heads,
    qkv: [Tensor<2>; 3],
    mask: &AttentionMask,
    dy: Tensor<2>,
) -> [Tensor<2>; 3] {
    let Some(bands) = bands(most, heads, qkv[0].dims()[0], mask) else {
        return BurnTensors.attend_back(heads, qkv, mask, dy);
    };
    let mut d_queries = Vec::new();
    // Of the keys and the values of some lines, which several bands may read.
    let mut of_lines: Vec<(Range<usize>, [Tensor<2>; 2])> = Vec::new();
    for Band { seen, pieces } in bands {
        let mut of_heads = [Vec::new(), Vec::new(), Vec::new()];
        for piece in pieces {
            let dy = piece.part(&dy, piece.rows.clone(), heads.group());
            let now = BurnTensors.attend_back(piece.heads, piece.qkv(&qkv), &piece.mask, dy);
            of_heads.iter_mut().zip(now).for_each(|(all, now)| all.push(now));
        }
        let [queries, keys, values] = of_heads.map(|all| Tensor::cat(all, 1));
        d_queries.push(queries);
        match of_lines.last_mut().filter(|(of, _)| *of == seen) {
            Some((_, [all_keys, all_values])) => {
                *all_keys = all_keys.clone() + keys;
                *all_values = all_values.clone() + values;
            }
            None => of_lines.push((seen, [keys, values])),
        }
    }
    let (keys, values) = of_lines.into_iter().map(|(_, [keys, values])| (keys, values)).unzip();
    [d_queries, keys, values].map(|all| Tensor::cat(all, 0))
}

/// Some lines, or some tokens of one, by their heads.
struct Band {
    /// The rows of its keys.
    seen: Range<usize>,
    pieces: Vec<Piece>,
}

/// Some heads of keys of a band, with the heads of queries that share them.
struct Piece {
    heads: Heads,
    rows: Range<usize>,
    seen: Range<usize>,
    keys: Range<usize>,
    mask: AttentionMask,
}

impl Piece {
    /// Its part of `[n, heads·hd]`, with so many heads for a head of keys.
    fn part(&self, x: &Tensor<2>, rows: Range<usize>, group: usize) -> Tensor<2> {
        let width = group * self.heads.width;
        x.clone().slice([rows, self.keys.start * width..self.keys.end * width])
    }

    fn qkv(&self, [queries, keys, values]: &[Tensor<2>; 3]) -> [Tensor<2>; 3] {
        let of_seen = |x| self.part(x, self.seen.clone(), 1);
        [self.part(queries, self.rows.clone(), self.heads.group()), of_seen(keys), of_seen(values)]
    }
}

/// The attention of `n` tokens in pieces with at most so many scores; `None` where everything goes at once.
fn bands(most: u64, heads: Heads, n: usize, mask: &AttentionMask) -> Option<Vec<Band>> {
    let AttentionMask::Rectangle { columns, filled, bias: parts } = mask else { return None };
    let columns = *columns;
    let seen = parts[0].dims()[4];
    let of_token = (heads.group() * seen) as u64;
    let of_head = of_token * columns as u64;
    let of_line = of_head * heads.keys as u64;
    if parts.len() == 1 && of_line * (n / columns) as u64 <= most {
        return None;
    }
    // A device that cannot hold those of one token would hold no model.
    let fit = |size: u64, of: usize| usize::try_from(most / size).unwrap_or(of).clamp(1, of);
    let keys_at_once = fit(of_head, heads.keys);
    let mut bands = Vec::new();
    let mut row = 0;
    for bias in parts {
        let [lines, _, _, tokens, _] = bias.dims();
        let (lines_at_once, tokens_at_once) = (fit(of_line, lines), fit(of_token, tokens));
        for line in (0..lines).step_by(lines_at_once) {
            for token in (0..tokens).step_by(tokens_at_once) {
                let of_lines = line..(line + lines_at_once).min(lines);
                let of_tokens = token..(token + tokens_at_once).min(tokens);
                let rows = row..row + of_lines.len() * of_tokens.len();
                // A band of some tokens has one line.
                let first = row / columns * columns;
                let all_seen = first..first + of_lines.len() * seen;
                row = rows.end;
                let piece = |key: usize| {
                    let keys = key..(key + keys_at_once).min(heads.keys);
                    let of_piece = Heads { queries: keys.len() * heads.group(), keys: keys.len(), ..heads };
                    let bias = bias.clone().slice([of_lines.clone(), 0..1, 0..1, of_tokens.clone(), 0..seen]);
                    let mask = AttentionMask::Rectangle { columns: of_tokens.len(), filled: *filled, bias: vec![bias] };
                    Piece { heads: of_piece, rows: rows.clone(), seen: all_seen.clone(), keys, mask }
                };
                let pieces = (0..heads.keys).step_by(keys_at_once).map(piece).collect();
                bands.push(Band { seen: all_seen.clone(), pieces });
            }
        }
    }
    Some(bands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;
    use crate::tensor::{from_values, values_of};
    use burn::tensor::Device;

    const HEADS: Heads = Heads { queries: 6, keys: 3, width: 2, scale: 0.7, cap: None };
    const LINES: usize = 3;
    const TOKENS: usize = 5;

    fn numbers(of: u64, shape: [usize; 2]) -> Tensor<2> {
        let mut stream = Draw { seed: 7, kind: "test", purpose: "attention" }.stream(1, of);
        let values = (0..shape[0] * shape[1]).map(|_| stream.normal() as f32).collect();
        from_values(values, shape, &Device::flex())
    }

    fn mask(parts: &[(usize, Range<usize>)]) -> AttentionMask {
        let part = |(lines, tokens): &(usize, Range<usize>)| {
            let hidden = Tensor::<2>::ones([tokens.len(), TOKENS], &Device::flex()).triu(tokens.start as i64 + 1);
            hidden.mul_scalar(-1e9).reshape([1, 1, 1, tokens.len(), TOKENS]).repeat_dim(0, *lines)
        };
        AttentionMask::Rectangle { columns: TOKENS, filled: 0, bias: parts.iter().map(part).collect() }
    }

    #[test]
    fn pieces_of_any_size_give_what_all_at_once_gives() {
        let n = LINES * TOKENS;
        let qkv = [(1, 12), (2, 6), (3, 6)].map(|(of, width)| numbers(of, [n, width]));
        let dy = numbers(4, [n, 12]);
        let whole = mask(&[(LINES, 0..TOKENS)]);
        let by_line = mask(&[(2, 0..TOKENS), (1, 0..TOKENS)]);
        let by_token: Vec<_> = (0..LINES).flat_map(|_| [(1, 0..2), (1, 2..4), (1, 4..5)]).collect();
        let all = |most, mask: &AttentionMask| {
            let back = attend_back_within(most, HEADS, qkv.clone(), mask, dy.clone());
            let all = [attend_within(most, HEADS, qkv.clone(), mask)].into_iter().chain(back);
            all.flat_map(|x| values_of(x).unwrap()).collect::<Vec<f32>>()
        };
        let at_once = all(u64::MAX, &whole);
        // All; two lines; one; two heads of keys; one; two tokens; one.
        for most in [450, 300, 150, 100, 50, 20, 10] {
            for mask in [&whole, &by_line, &mask(&by_token)] {
                let off = all(most, mask).iter().zip(&at_once).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                assert!(off < 1e-5, "at most {most} scores: off by {off}");
            }
        }
    }

    #[test]
    fn no_piece_has_more_scores_than_are_bound() {
        // 64 rows of 512 tokens with 32 heads, where a kernel binds 128 MiB.
        let (lines, tokens, most) = (64, 512, 1 << 25);
        let heads = Heads { queries: 32, keys: 32, ..HEADS };
        let bias = Tensor::zeros([lines, 1, 1, tokens, tokens], &Device::flex());
        let mask = AttentionMask::Rectangle { columns: tokens, filled: 0, bias: vec![bias] };
        let bands = bands(most, heads, lines * tokens, &mask).unwrap();
        assert_eq!(bands.len(), 16);
        let mut rows = 0;
        for piece in bands.iter().flat_map(|band| &band.pieces) {
            assert!((piece.rows.len() * piece.heads.queries * tokens) as u64 <= most);
            rows += piece.rows.len();
        }
        assert_eq!(rows, lines * tokens);
    }
}
