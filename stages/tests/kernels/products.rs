//! Products of few and of many rows.

use super::{check, drawn, wgpu};
use burn::tensor::{Device, FloatDType, Tensor};
use formats::architectures::Activation;
use stages::kernel::{self, GatedTerms, Start, Term, term};

/// `[rows, inner, columns]`: one row, few and many; odd sides; narrow and flat, as adapters are; every shape of a tile.
const SHAPES: [[usize; 3]; 11] = [
    [1, 1, 9],
    [1, 300, 5000],
    [2, 4099, 24],
    [3, 64, 2050],
    [16, 257, 130],
    [64, 24, 1100],
    [65, 1, 66],
    [130, 5000, 24],
    [2050, 40, 2049],
    [2050, 40, 700],
    [257, 33, 65],
];

fn is_gpu(device: &Device) -> bool {
    *device != Device::flex()
}

/// A matrix whose numbers a half precision holds exactly, in that precision on a GPU.
fn weight(of: u64, shape: [usize; 2], half: Option<FloatDType>, device: &Device) -> Tensor<2> {
    let drawn = drawn(of, shape, device);
    match half {
        Some(half) if is_gpu(device) => drawn.cast(half),
        Some(half) => drawn.cast(half).cast(FloatDType::F32),
        None => drawn,
    }
}

#[test]
fn products_on_a_gpu_are_those_of_the_host() {
    let Some(gpu) = wgpu() else { return };
    for [rows, inner, columns] in SHAPES {
        let halves: &[_] = if inner > 64 { &[None] } else { &[None, Some(FloatDType::F16)] };
        for half in halves.iter().copied() {
            let error = 2e-6 * (inner as f32).sqrt().max(2.0);
            check(&format!("{rows} x {inner} x {columns}, {half:?}"), &gpu, error, |device| {
                let kernel = kernel::of(device);
                let x = drawn(1, [rows, inner], device);
                let lying = weight(2, [inner, columns], half, device);
                let standing = weight(3, [columns, inner], half, device).transpose();
                let narrow = drawn(4, [rows, 9], device);
                let back = drawn(5, [9, columns], device);
                let (bias, residual) = (drawn(6, [1, columns], device), drawn(7, [rows, columns], device));
                // A left side that lies the other way, as on the way back.
                let turned = drawn(8, [inner, rows], device).transpose();
                let of = |right: &Tensor<2>, factor: f64| Term { factor, ..term(&x, right.clone()) };
                let adapter = || Term { factor: -0.5, ..term(&narrow, back.clone()) };
                vec![
                    kernel.products(Start::Zero, vec![of(&standing, 1.0)]),
                    kernel.products(Start::Zero, vec![of(&lying, 1.5)]),
                    kernel.products(Start::Bias(&bias), vec![of(&standing, 1.0), adapter()]),
                    kernel.products(Start::Residual(residual.clone()), vec![of(&lying, 2.0), adapter()]),
                    kernel.products(Start::Residual(residual), vec![of(&lying, 0.5), of(&standing, 2.0), adapter()]),
                    kernel.products(Start::Zero, vec![term(&turned, standing.clone())]),
                ]
            });
        }
    }
}

#[test]
fn a_row_has_the_bits_that_it_has_alone() {
    let Some(gpu) = wgpu() else { return };
    let (inner, columns) = (515, 200);
    let right = drawn(2, [columns, inner], &gpu).transpose();
    let x = drawn(1, [64, inner], &gpu);
    let product = |rows: usize| {
        let x = x.clone().slice([0..rows, 0..inner]);
        let product = kernel::of(&gpu).products(Start::Zero, vec![term(&x, right.clone())]);
        stages::tensor::values_of(product).unwrap()[..columns].iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
    };
    let alone = product(1);
    for rows in [2, 3, 7, 64] {
        assert_eq!(product(rows), alone, "beside {} others", rows - 1);
    }
}

#[test]
fn a_gated_product_is_the_gate_of_two_products() {
    let Some(gpu) = wgpu() else { return };
    for ([rows, inner, columns], half) in [
        ([1, 128, 192], None),
        ([3, 33, 1030], Some(FloatDType::F16)),
        ([9, 300, 70], None),
        ([64, 5, 2050], Some(FloatDType::F16)),
    ] {
        check(&format!("{rows} x {inner} x {columns}, {half:?}"), &gpu, 2e-5, |device| {
            let kernel = kernel::of(device);
            let (x, narrow) = (drawn(1, [rows, inner], device), drawn(2, [rows, 24], device));
            let [gate, up] = [3, 4].map(|of| weight(of, [columns, inner], half, device).transpose());
            let [gate_back, up_back] = [5, 6].map(|of| drawn(of, [24, columns], device).mul_scalar(0.1));
            let sides = |has_adapter: bool| {
                [(&gate, &gate_back), (&up, &up_back)].map(|(right, back)| {
                    let adapter = has_adapter.then(|| Term { factor: 0.5, ..term(&narrow, back.clone()) });
                    std::iter::once(term(&x, right.clone())).chain(adapter).collect::<Vec<_>>()
                })
            };
            let joint = |has_adapter: bool| {
                let one = |sides: [&Tensor<2>; 2]| Tensor::cat(sides.map(Tensor::clone).to_vec(), 1);
                // A matrix that lies as in a file.
                let right = one([&gate, &up]).transpose().mul_scalar(1.0).transpose();
                let adapter = Term { factor: 0.5, ..term(&narrow, one([&gate_back, &up_back])) };
                GatedTerms::Joint(std::iter::once(term(&x, right)).chain(has_adapter.then_some(adapter)).collect())
            };
            let product = |has_adapter: bool, terms: GatedTerms| match kernel.gated(Activation::Silu, terms) {
                Some(product) => product,
                None => {
                    assert!(!is_gpu(device));
                    let [gate, up] = sides(has_adapter).map(|terms| kernel.products(Start::Zero, terms));
                    kernel.gate(Activation::Silu, gate, Some(up))
                }
            };
            [false, true]
                .into_iter()
                .flat_map(|has| [product(has, GatedTerms::Apart(sides(has))), product(has, joint(has))])
                .collect()
        });
    }
}

#[test]
fn two_products_in_one_kernel_have_the_bits_of_two_kernels() {
    let Some(gpu) = wgpu() else { return };
    let kernel = kernel::of(&gpu);
    let bits = |x: Tensor<2>| stages::tensor::values_of(x).unwrap().iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    for [rows, inner, columns] in [[1, 300, 40], [3, 77, 1030], [64, 128, 2], [70, 9, 33]] {
        let (x, narrow) = (drawn(1, [rows, inner], &gpu), drawn(2, [rows, 24], &gpu));
        let sides = || {
            [3, 4].map(|of| {
                let right = drawn(of, [columns, inner], &gpu).transpose();
                let adapter = Term { factor: 0.5, ..term(&narrow, drawn(of + 2, [24, columns], &gpu)) };
                vec![term(&x, right), adapter]
            })
        };
        let apart = sides().map(|terms| bits(kernel.products(Start::Zero, terms)));
        assert_eq!(kernel.two_products(sides()).map(bits), apart, "{rows} x {inner} x {columns}");
    }
}
