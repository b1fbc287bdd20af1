//! Rotary positions of one tensor.

use crate::kernel::Angles;
use burn::tensor::Tensor;

#[derive(Clone, Copy)]
pub enum Turn {
    Forward,
    Back,
}

pub fn rotated(x: Tensor<2>, angles: &Angles, hd: usize, turn: Turn) -> Tensor<2> {
    let [n, width] = x.dims();
    let heads = width / hd;
    let dims = angles.cosines.dims()[1];
    let [cosines, sines] = [&angles.cosines, &angles.sines].map(|x| x.clone().reshape([n, 1, dims]));
    let x = x.reshape([n, heads, hd]);
    let part = |from: usize, to: usize| x.clone().slice([0..n, 0..heads, from..to]);
    let turning = if dims == hd { x.clone() } else { part(0, dims) };
    let (along, across) = (turning.clone() * cosines, turning.select(2, angles.halves.clone()) * sines);
    let rotated = match turn {
        Turn::Forward => along + across,
        Turn::Back => along - across,
    };
    let rotated = if dims == hd { rotated } else { Tensor::cat(vec![rotated, part(dims, hd)], 2) };
    rotated.reshape([n, width])
}
