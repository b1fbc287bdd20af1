//! Kernels that go row by row.

use super::{check, drawn, wgpu};
use burn::tensor::{Int, Tensor, TensorData};
use formats::architectures::Activation;
use stages::kernel::{self, AngleRows, Angles, ByRow, Heads, Normalization};

#[test]
fn norms_on_a_gpu_are_those_of_the_host() {
    let Some(gpu) = wgpu() else { return };
    // One row; rows of one number; odd sides; more rows than a step adds up; a wide row.
    for (n, d) in [(1, 64), (5, 1), (7, 33), (300, 128), (3, 5003), (70_001, 2)] {
        for is_centred in [false, true] {
            if (is_centred && d == 1) || (!is_centred && n > 1000) {
                continue;
            }
            check(&format!("norm of {n} x {d}, {is_centred}"), &gpu, 2e-5, |device| {
                let [x, dy, residual] = [1, 2, 3].map(|of| drawn(of, [n, d], device));
                let [weight, bias] = [4, 5].map(|of| drawn(of, [1, d], device));
                let bias = is_centred.then_some(&bias);
                let norm = Normalization { weight, bias, epsilon: 1e-2, is_centred };
                let kernel = kernel::of(device);
                let mut out = vec![
                    kernel.norm(x.clone(), norm.clone()),
                    kernel.norm_back(x.clone(), norm.clone(), dy.clone(), None),
                    kernel.norm_back(x.clone(), norm.clone(), dy.clone(), Some(residual)),
                ];
                out.extend(kernel.norm_weight_back(x.clone(), norm, dy));
                out.push(kernel.sum_of_rows(x));
                out
            });
        }
    }
}

#[test]
fn gates_on_a_gpu_are_those_of_the_host() {
    let Some(gpu) = wgpu() else { return };
    for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
        for (n, inner) in [(2, 5), (5, 33), (301, 192)] {
            check(&format!("{activation:?} of {n} x {inner}"), &gpu, 2e-6, |device| {
                let both = drawn(1, [n, 2 * inner], device).mul_scalar(4.0);
                let dy = drawn(2, [n, inner], device);
                let [x, up] = [0, inner].map(|from| both.clone().slice([0..n, from..from + inner]));
                let kernel = kernel::of(device);
                let (alone, none) = kernel.gate_back(activation, x.clone(), None, dy.clone());
                assert!(none.is_none());
                let (dx, d_up) = kernel.gate_back(activation, x.clone(), Some(up.clone()), dy);
                let far = x.clone().mul_scalar(1e4);
                vec![
                    kernel.gate(activation, x.clone(), None),
                    kernel.gate(activation, x, Some(up)),
                    kernel.gate(activation, far, None),
                    alone,
                    dx,
                    d_up.expect("there is another half"),
                ]
            });
        }
    }
}

#[test]
fn rotations_on_a_gpu_are_those_of_the_host() {
    let Some(gpu) = wgpu() else { return };
    for (n, queries, keys, width, dims) in [(1, 1, 1, 2, 2), (9, 6, 2, 24, 24), (257, 4, 2, 64, 16)] {
        check(&format!("rotation of {n} tokens, {dims} of {width}"), &gpu, 1e-6, |device| {
            let heads = Heads { queries, keys, width, scale: 1.0, cap: None };
            let both = [(1, queries), (2, keys)].map(|(of, heads)| drawn(of, [n, heads * width], device));
            let table = drawn(3, [20, dims], device);
            // Both halves of a pair turn alike, and the sines of the first are negative.
            let half = table.clone().slice([0..20, 0..dims / 2]);
            let cosines = Tensor::cat(vec![half.clone(), half], 1);
            let half = table.slice([0..20, dims / 2..dims]);
            let sines = Tensor::cat(vec![half.clone().neg(), half], 1);
            let ids = |ids: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [ids.len()]), device);
            let rows = ids((0..n as i32).map(|token| token * 7 % 20).collect());
            let halves = ids((0..dims as i32).map(|at| (at + dims as i32 / 2) % dims as i32).collect());
            let kernel = kernel::of(device);
            let angles = match kernel.reads_tables() {
                true => Angles { cosines, sines, rows: AngleRows::Listed(rows), halves },
                false => {
                    let [cosines, sines] = [cosines, sines].map(|x| x.select(0, rows.clone()));
                    Angles { cosines, sines, rows: AngleRows::InOrder, halves }
                }
            };
            let [one, two] = kernel.rotate(both.clone(), &angles, heads);
            let [three, four] = kernel.rotate_back(both, &angles, heads);
            vec![one, two, three, four]
        });
    }
}

#[test]
fn predictions_on_a_gpu_are_those_of_the_host() {
    let Some(gpu) = wgpu() else { return };
    for (n, v) in [(1, 2), (7, 33), (300, 5003)] {
        let targets: Vec<u32> = (0..n as u32).map(|row| row * 7 % v as u32).collect();
        check(&format!("predictions of {n} among {v}"), &gpu, 1e-5, |device| {
            let kernel = kernel::of(device);
            let logits = drawn(1, [n, v], device).mul_scalar(3.0);
            let other = drawn(2, [n, v], device);
            let predicted = kernel.log_softmax(logits.clone(), &targets).get().unwrap();
            let numbers = [predicted.log_probs, predicted.entropies].concat();
            let numbers: Vec<f32> = numbers.into_iter().map(|number| number as f32).collect();
            let slopes = ByRow::Host((0..n).map(|row| row as f32 - 2.5).collect());
            let of_entropies: Vec<f32> = (0..n).map(|row| 0.1 * row as f32 + 0.1).collect();
            vec![
                super::tensor(&numbers, [2, n], device),
                kernel.log_softmax_back(logits.clone(), &targets, &slopes, &vec![0.0; n]),
                kernel.log_softmax_back(logits.clone(), &targets, &slopes, &of_entropies),
                kernel.divergence(logits, other),
            ]
        });
    }
}
