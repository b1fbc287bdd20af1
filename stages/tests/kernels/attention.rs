//! Attention of whole rows, forward and back, and of one token after the other over a cache.

use super::{check, drawn, wgpu};
use burn::tensor::{Device, Int, Tensor, TensorData};
use stages::kernel::{self, AttentionMask, Heads, MaskedRectangle};
use stages::tensor::values_of;

/// Lines of `columns` tokens: one row, two rows in a line, a row behind padding, a row before padding, nothing but padding.
fn starts(columns: usize) -> Vec<i32> {
    let beyond = columns as i32;
    let third = columns / 3;
    let line = |of: &dyn Fn(usize) -> i32| (0..columns).map(of).collect::<Vec<i32>>();
    [
        line(&|_| 0),
        line(&|column| if column < third { 0 } else { third as i32 }),
        line(&|column| if column < third { beyond } else { third as i32 }),
        line(&|column| if column + third < columns { 0 } else { beyond }),
        line(&|_| beyond),
    ]
    .concat()
}

fn mask(columns: usize, window: Option<usize>, device: &Device) -> AttentionMask {
    let starts = starts(columns);
    let starts = Tensor::<1, Int>::from_data(TensorData::new(starts.clone(), [starts.len()]), device);
    AttentionMask::Rectangle(MaskedRectangle { columns, filled: 0, starts, window })
}

/// 1 for each token of a row, and 0 in the padding, whose output is never used.
fn used(columns: usize, device: &Device) -> Tensor<2> {
    let starts = starts(columns);
    let values: Vec<f32> = starts.iter().map(|start| if *start == columns as i32 { 0.0 } else { 1.0 }).collect();
    super::tensor(&values, [values.len(), 1], device)
}

#[test]
fn attention_on_a_gpu_is_that_of_tensor_expressions() {
    let Some(gpu) = wgpu() else { return };
    let cases = [
        (1, [1, 1, 2], None, None),
        (31, [4, 2, 24], None, None),
        (32, [2, 2, 64], Some(5), None),
        (33, [3, 1, 40], None, Some(0.7)),
        (97, [2, 1, 80], Some(40), Some(2.0)),
        (65, [1, 1, 256], Some(1000), None),
    ];
    for (columns, [queries, keys, width], window, cap) in cases {
        check(&format!("{columns} columns, {queries} x {width}, {window:?}, {cap:?}"), &gpu, 1e-5, |device| {
            let heads = Heads { queries, keys, width, scale: 0.4, cap };
            let n = 5 * columns;
            let qkv = [(1, queries), (2, keys), (3, keys)].map(|(of, heads)| drawn(of, [n, heads * width], device));
            let used = used(columns, device);
            let dy = drawn(4, [n, queries * width], device) * used.clone();
            let (kernel, mask) = (kernel::of(device), mask(columns, window, device));
            let out = kernel.attend(heads, qkv.clone(), &mask) * used;
            let [d_queries, d_keys, d_values] = kernel.attend_back(heads, qkv, &mask, dy);
            // Where a row sees itself alone, no query has a gradient.
            let none = Tensor::ones([1, d_queries.dims()[1]], device);
            let [d_queries, d_keys] = [d_queries, d_keys].map(|x| if columns == 1 { none.clone() } else { x });
            vec![out, d_queries, d_keys, d_values]
        });
    }
}

/// The last tokens of rows, each over those that the cache holds, beside attention over all of them at once.
#[test]
fn attention_over_the_cache_is_that_over_all_tokens() {
    let Some(gpu) = wgpu() else { return };
    let cases = [
        ([3, 1, 24], None, None, 9),
        ([4, 2, 64], Some(7), Some(1.5), 60),
        ([1, 1, 256], None, None, 126),
        ([2, 2, 130], Some(150), None, 190),
        // Keys in two parts and, from the sixth token on, in three; in five; in three of a window. The last row has none in most.
        ([1, 1, 40], None, Some(2.0), 507),
        ([2, 1, 64], None, None, 1030),
        ([2, 2, 24], Some(700), None, 1100),
    ];
    for ([queries, keys, width], window, cap, first) in cases {
        let (lines, after) = (3, 12);
        let columns = first + after;
        let begin = [0, 3, (first - 1) as i32];
        let heads = Heads { queries, keys, width, scale: 0.3, cap };
        let ids = |ids: Vec<i32>, device: &Device| {
            Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [ids.len()]), device)
        };
        let by_token = |columns: usize, beyond: i32, device: &Device| {
            let start =
                |(line, column): (usize, usize)| if (column as i32) < begin[line] { beyond } else { begin[line] };
            let tokens = (0..lines).flat_map(|line| (0..columns).map(move |column| (line, column)));
            ids(tokens.map(start).collect(), device)
        };
        check(&format!("{queries} x {width}, {window:?}, {cap:?}, {first} first"), &gpu, 1e-5, |device| {
            let all = [(1, queries), (2, keys), (3, keys)]
                .map(|(of, heads)| drawn(of, [lines * columns, heads * width], device));
            let part = |from: usize, to: usize| {
                all.each_ref().map(|x| {
                    let d = x.dims()[1];
                    let x = x.clone().reshape([lines, columns, d]).slice([0..lines, from..to, 0..d]);
                    x.reshape([lines * (to - from), d])
                })
            };
            let kernel = kernel::of(device);
            if kernel.attends_by_row() {
                let starts = by_token(columns, columns as i32, device);
                let mask = AttentionMask::Rectangle(MaskedRectangle { columns, filled: 0, starts, window });
                let out = kernel.attend(heads, all.clone(), &mask);
                let d = out.dims()[1];
                let last = out.reshape([lines, columns, d]).slice([0..lines, first..columns, 0..d]);
                return vec![last.reshape([lines * after, d])];
            }
            let mut cache = kernel.cache(1, columns);
            let starts = by_token(first, first as i32, device);
            cache.attend(
                0,
                heads,
                part(0, first),
                None,
                &AttentionMask::Rectangle(MaskedRectangle { columns: first, filled: 0, starts, window }),
            );
            let starts = ids(begin.to_vec(), device);
            let next = |filled: usize| {
                let mask =
                    AttentionMask::Rectangle(MaskedRectangle { columns: 1, filled, starts: starts.clone(), window });
                let out = cache.attend(0, heads, part(filled, filled + 1), None, &mask);
                let d = out.dims()[1];
                out.reshape([lines, 1, d])
            };
            let out = Tensor::cat((first..columns).map(next).collect::<Vec<Tensor<3>>>(), 1);
            let d = out.dims()[2];
            vec![out.reshape([lines * after, d])]
        });
    }
}

/// Keys are added up in parts, whose number is that of the longest row.
#[test]
fn a_row_over_the_cache_has_the_bits_that_it_has_alone() {
    let Some(gpu) = wgpu() else { return };
    let heads = Heads { queries: 4, keys: 2, width: 24, scale: 0.3, cap: None };
    let kernel = kernel::of(&gpu);
    let ids = |ids: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [ids.len()]), &gpu);
    // The last token of rows that begin here, in lines of so many columns.
    let last = |begin: &[usize], columns: usize, qkv: [Tensor<2>; 3], window: Option<usize>| {
        let lines = begin.len();
        let part = |from: usize, to: usize| {
            qkv.clone().map(|x| {
                let d = x.dims()[1];
                let x = x.reshape([lines, columns, d]).slice([0..lines, from..to, 0..d]);
                x.reshape([lines * (to - from), d])
            })
        };
        let mask = |columns: usize, filled: usize, starts: Vec<i32>| {
            AttentionMask::Rectangle(MaskedRectangle { columns, filled, starts: ids(starts), window })
        };
        let mut cache = kernel.cache(1, columns);
        let filled = columns - 1;
        let by_token = begin.iter().flat_map(|begin| {
            (0..filled).map(move |column| if column < *begin { filled as i32 } else { *begin as i32 })
        });
        cache.attend(0, heads, part(0, filled), None, &mask(filled, 0, by_token.collect()));
        let starts = begin.iter().map(|begin| *begin as i32).collect();
        values_of(cache.attend(0, heads, part(filled, columns), None, &mask(1, filled, starts))).unwrap()
    };
    let columns = 1000;
    let all = [(1, 4), (2, 2), (3, 2)].map(|(of, heads)| drawn(of, [3 * columns, heads * 24], &gpu));
    for window in [None, Some(300)] {
        let begin = [0, 400, 900];
        let together = last(&begin, columns, all.clone(), window);
        for (line, begin) in begin.into_iter().enumerate() {
            let row = all.clone().map(|x| {
                let d = x.dims()[1];
                x.slice([line * columns + begin..(line + 1) * columns, 0..d])
            });
            let alone = last(&[0], columns - begin, row, window);
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            assert_eq!(bits(&together[line * 96..(line + 1) * 96]), bits(&alone), "row {line}, {window:?}");
        }
    }
}
