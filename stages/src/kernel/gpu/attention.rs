//! Attention in tiles of 32 queries by 32 keys: scores never leave a workgroup (Dao et al. 2022, algorithms 1 and 4). On the
//! way back weights are computed again, from the logarithm of their total; queries, and then keys, have their own kernels,
//! so that each gradient is one sum in one order. [`tiles`] has what the kernels share.

mod back;
mod forward;
mod tiles;

use super::memory::{cube, cube_of_ints, empty, one_each, tensor, threads};
use crate::kernel::{AttentionMask, Heads, MaskedRectangle};
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
use tiles::{KEPT, TILE};

pub use tiles::{Shape, UNSEEN, bounded};

pub fn attend(heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask) -> Tensor<2> {
    let shape = qkv[0].dims();
    let qkv = qkv.map(cube);
    let out = empty::<f32>(&qkv[0], &shape);
    forward(heads, &qkv, mask, &qkv[0], out.clone(), false);
    tensor(out)
}

pub fn attend_back(heads: Heads, qkv: [Tensor<2>; 3], mask: &AttentionMask, dy: Tensor<2>) -> [Tensor<2>; 3] {
    let shapes = [qkv[0].dims(), qkv[1].dims(), qkv[2].dims()];
    let (qkv, dy) = (qkv.map(cube), cube(dy));
    let n = shapes[0][0];
    let kept = empty::<f32>(&dy, &[n * heads.queries * KEPT]);
    forward(heads, &qkv, mask, &dy, kept.clone(), true);
    let [queries, keys, values] = &qkv;
    let [d_queries, d_keys, d_values] = shapes.map(|shape| empty::<f32>(&dy, &shape));
    let plan = AttentionWork::of(heads, n, mask);
    let client = dy.client.clone();
    let groups = plan.lines * heads.queries * plan.tiles;
    back::queries_back::launch(
        &client,
        one_each(&client, groups),
        threads(),
        queries.clone().into_buffer_arg(),
        keys.clone().into_buffer_arg(),
        values.clone().into_buffer_arg(),
        dy.clone().into_buffer_arg(),
        kept.clone().into_buffer_arg(),
        d_queries.clone().into_buffer_arg(),
        plan.columns as u32,
        plan.window,
        heads.scale as f32,
        plan.cap,
        groups as u32,
        plan.shape,
    );
    let groups = plan.lines * heads.keys * plan.tiles;
    back::keys_back::launch(
        &client,
        one_each(&client, groups),
        threads(),
        queries.clone().into_buffer_arg(),
        keys.clone().into_buffer_arg(),
        values.clone().into_buffer_arg(),
        dy.into_buffer_arg(),
        kept.into_buffer_arg(),
        d_keys.clone().into_buffer_arg(),
        d_values.clone().into_buffer_arg(),
        plan.columns as u32,
        plan.window,
        heads.scale as f32,
        plan.cap,
        groups as u32,
        plan.shape,
    );
    [d_queries, d_keys, d_values].map(tensor)
}

/// The output, or what the way back needs of it.
fn forward(
    heads: Heads,
    [queries, keys, values]: &[CubeTensor; 3],
    mask: &AttentionMask,
    dy: &CubeTensor,
    out: CubeTensor,
    keeps: bool,
) {
    let plan = AttentionWork::of(heads, queries.meta.shape()[0], mask);
    let client = out.client.clone();
    let groups = plan.lines * heads.queries * plan.tiles;
    forward::attend_tiles::launch(
        &client,
        one_each(&client, groups),
        threads(),
        queries.clone().into_buffer_arg(),
        keys.clone().into_buffer_arg(),
        values.clone().into_buffer_arg(),
        cube_of_ints(mask.rectangle().starts.clone()).into_buffer_arg(),
        dy.clone().into_buffer_arg(),
        out.into_buffer_arg(),
        plan.columns as u32,
        plan.window,
        heads.scale as f32,
        plan.cap,
        groups as u32,
        plan.shape,
        keeps,
    );
}

/// The work of `n` tokens.
struct AttentionWork {
    lines: usize,
    columns: usize,
    tiles: usize,
    window: u32,
    cap: f32,
    shape: Shape,
}

impl AttentionWork {
    fn of(heads: Heads, n: usize, mask: &AttentionMask) -> AttentionWork {
        let MaskedRectangle { columns, window, .. } = *mask.rectangle();
        AttentionWork {
            lines: n / columns,
            columns,
            tiles: columns.div_ceil(TILE),
            window: window_of(window),
            cap: heads.cap.unwrap_or(0.0) as f32,
            shape: Shape::of(heads),
        }
    }
}

/// A window as a kernel is told it: wider than all rows where there is none.
pub fn window_of(window: Option<usize>) -> u32 {
    window.map_or(1 << 30, |window| window.min(1 << 30) as u32)
}
