//! The pairs of an adapter in one tensor, for devices on which each kernel that is launched costs more than its sums: an
//! optimiser steps over one tensor, and a checkpoint reads one. What the passes compute with is made of it once a step:
//! the A's of projections that read the same input side by side, and each B with the adapter's scale in it, at the rows of
//! its own A.

use crate::kernel::{self, Blocks, MatrixBlock, TogetherKernel};
use crate::tensor::from_values;
use burn::tensor::{Device, Tensor};
use formats::architectures::Target;
use formats::config::Config;
use formats::peft::{Matrix, Pair};
use std::sync::Arc;

/// The pairs of projections that read the same input.
#[derive(Clone)]
pub struct AdapterGroup {
    /// A's side by side, `[in, Σr]`.
    pub a: Tensor<2>,
    pub members: Vec<Member>,
    /// Where the gradient of `a` goes, for pairs that lie together.
    pub place_of_a: usize,
}

/// A projection's part of a group: factor·(x·A)·B is added to it.
#[derive(Clone)]
pub struct Member {
    /// Its place among the layout's targets.
    pub place: usize,
    /// `[Σr, out]`, 0 in the rows of the other members.
    pub b: Tensor<2>,
    pub factor: f64,
    pub place_of_b: usize,
}

#[derive(Clone)]
pub struct Together {
    plan: Arc<Plan>,
    /// `[1, n]`, pair after pair: A, then B.
    pub trained: Tensor<2>,
    /// By layer.
    groups: Vec<Vec<AdapterGroup>>,
}

struct Plan {
    /// Where each matrix of `trained` goes in what is computed with.
    blocks: Blocks,
    /// Shapes of A and B, by layer and target.
    shapes: Vec<Vec<Option<[[usize; 2]; 2]>>>,
    groups: Vec<Vec<GroupPlan>>,
}

struct GroupPlan {
    a: Area,
    /// The places of the members among the targets, with their B's.
    members: Vec<(usize, Area)>,
}

/// A matrix in one dimension.
#[derive(Clone, Copy)]
struct Area {
    at: usize,
    shape: [usize; 2],
}

/// Every area begins at a multiple of so many numbers, so that a view of it is one for every driver.
const ALIGNMENT: usize = 64;

/// Projections of one block that read the same input.
fn input_of(target: Target) -> usize {
    match target {
        Target::Query | Target::Key | Target::Value | Target::Fused => 0,
        Target::Output => 1,
        Target::Gate | Target::Up | Target::GateUp => 2,
        Target::Down => 3,
    }
}

/// The most numbers that lie in one tensor for an adapter of this rank, whose A's and B's stand beside those of all
/// projections that read the same input.
pub fn most_numbers(config: &Config, rank: usize) -> usize {
    let targets = config.architecture.layout.targets;
    let of_target = |(target, _): &(Target, _)| {
        let together = targets.iter().filter(|(other, _)| input_of(*other) == input_of(*target)).count();
        let (inputs, outputs) = target.shape(config);
        rank * (inputs + together * outputs)
    };
    config.layers * targets.iter().map(of_target).sum::<usize>()
}

impl Together {
    pub fn of(pairs: Vec<Vec<Option<Pair>>>, scale: f64, config: &Config, device: &Device) -> Together {
        let targets = config.architecture.layout.targets;
        let shape = |pair: &Option<Pair>| pair.as_ref().map(|pair| [pair.a.shape, pair.b.shape]);
        let shapes: Vec<Vec<_>> = pairs.iter().map(|block| block.iter().map(shape).collect()).collect();
        let mut end = 0;
        let mut area = |shape: [usize; 2]| {
            let at = end;
            end = (end + shape[0] * shape[1]).next_multiple_of(ALIGNMENT);
            Area { at, shape }
        };
        let mut groups = Vec::new();
        for block in &shapes {
            let mut inputs: Vec<usize> = targets.iter().map(|(target, _)| input_of(*target)).collect();
            inputs.sort_unstable();
            inputs.dedup();
            let mut of_block = Vec::new();
            for input in inputs {
                let places = (0..block.len()).filter(|place| input_of(targets[*place].0) == input);
                let members: Vec<_> = places.filter_map(|place| block[place].map(|shapes| (place, shapes))).collect();
                let Some((_, [[inputs, _], _])) = members.first().copied() else { continue };
                let rank = members.iter().map(|(_, [[_, rank], _])| rank).sum();
                let a = area([inputs, rank]);
                let members =
                    members.iter().map(|(place, [_, [_, outputs]])| (*place, area([rank, *outputs]))).collect();
                of_block.push(GroupPlan { a, members });
            }
            groups.push(of_block);
        }
        let mut blocks = Vec::new();
        for (layer, block) in shapes.iter().enumerate() {
            for (place, shapes) in block.iter().enumerate() {
                let Some([a, b]) = shapes else { continue };
                let is_its = |group: &&GroupPlan| group.members.iter().any(|(member, _)| *member == place);
                let group = groups[layer].iter().find(is_its).expect("every pair is in a group");
                // The members before it, whose columns of A and rows of B come first.
                let before = group.members.iter().take_while(|(member, _)| *member != place);
                let skipped: usize = before.map(|(member, _)| block[*member].map_or(0, |[[_, rank], _]| rank)).sum();
                let of_b = group.members.iter().find(|(member, _)| *member == place).expect("it is a member").1;
                let (at, width) = (group.a.at + skipped, group.a.shape[1]);
                blocks.push(MatrixBlock { shape: *a, at, width, factor: 1.0 });
                let (width, at) = (of_b.shape[1], of_b.at + skipped * of_b.shape[1]);
                blocks.push(MatrixBlock { shape: *b, at, width, factor: scale as f32 });
            }
        }
        let values: Vec<f32> =
            pairs.into_iter().flatten().flatten().flat_map(|pair| [pair.a.values, pair.b.values].concat()).collect();
        let trained = from_values(values.clone(), [1, values.len()], device);
        let plan = Arc::new(Plan { blocks: Blocks::of(&blocks, end, device), shapes, groups });
        Together { plan, trained: trained.clone(), groups: Vec::new() }.with(trained)
    }

    pub fn with(&self, trained: Tensor<2>) -> Together {
        let ready = kernel(&trained).spread(&self.plan.blocks, trained.clone());
        let view = |area: Area| {
            let [rows, columns] = area.shape;
            ready.clone().narrow(0, area.at, rows * columns).reshape([rows, columns])
        };
        let member = |(place, b): &(usize, Area)| Member { place: *place, b: view(*b), factor: 1.0, place_of_b: b.at };
        let group = |group: &GroupPlan| AdapterGroup {
            a: view(group.a),
            members: group.members.iter().map(member).collect(),
            place_of_a: group.a.at,
        };
        let groups = self.plan.groups.iter().map(|block| block.iter().map(group).collect()).collect();
        Together { plan: self.plan.clone(), trained, groups }
    }

    pub fn group(&self, layer: usize, place: usize) -> Option<&AdapterGroup> {
        self.groups.get(layer)?.iter().find(|group| group.members.iter().any(|member| member.place == place))
    }

    /// A buffer for the gradients of what is computed with.
    pub fn place_of_gradients(&self) -> Tensor<1> {
        Tensor::empty([self.plan.blocks.size()], &self.trained.device())
    }

    /// The gradient of `trained`, from that of what is computed with.
    pub fn gathered(&self, gradients: Tensor<1>) -> Tensor<2> {
        kernel(&self.trained).gather(&self.plan.blocks, gradients)
    }

    /// The pairs on the host, of the values of `trained`.
    pub fn apart(&self, values: &[f32]) -> Vec<Vec<Option<Pair>>> {
        let mut rest = values;
        let mut matrix = |shape: [usize; 2]| {
            let (values, later) = rest.split_at(shape[0] * shape[1]);
            rest = later;
            Matrix { values: values.to_vec(), shape }
        };
        let mut pair = |[a, b]: [[usize; 2]; 2]| Pair { a: matrix(a), b: matrix(b) };
        let mut block = |block: &Vec<Option<_>>| block.iter().map(|shapes| shapes.map(&mut pair)).collect();
        self.plan.shapes.iter().map(&mut block).collect()
    }
}

fn kernel(trained: &Tensor<2>) -> &'static dyn TogetherKernel {
    kernel::of(&trained.device()).together().expect("only such a device is given an adapter in one tensor")
}
