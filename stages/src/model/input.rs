//! The input of projections, and what they share of their work.

use super::lora::Adapter;
use super::together::AdapterGroup;
use crate::kernel::{HalfRows, Kernel, Start, Term, term};
use burn::tensor::{DType, Tensor};

/// x·A of a group of projections that read the same x.
pub(super) struct NarrowInput {
    pub place_of_a: usize,
    pub x: Tensor<2>,
}

/// The input `[n, in]` of projections of a block, and what they share of their work.
pub(super) struct Input<'a> {
    pub layer: usize,
    adapter: Option<&'a Adapter>,
    pub x: &'a Tensor<2>,
    halved: Option<HalfRows>,
    /// x·A of each group of the adapter that was asked for.
    narrow: Vec<(AdapterGroup, Tensor<2>)>,
}

impl<'a> Input<'a> {
    pub fn of(layer: usize, adapter: Option<&'a Adapter>, x: &'a Tensor<2>) -> Input<'a> {
        Input { layer, adapter, x, halved: None, narrow: Vec::new() }
    }

    /// The input in the precision of a weight; `None` if that is f32. All others of a block have one precision.
    pub fn halved(&mut self, weight: &Tensor<2>, kernel: &dyn Kernel) -> Option<HalfRows> {
        if weight.dtype() == DType::F32 {
            return None;
        }
        if self.halved.is_none() {
            self.halved = kernel.half_rows(self.x, weight);
        }
        self.halved.clone()
    }

    /// Keeps x·A for the way back, where the matrices of the adapter lie together.
    pub fn keep_narrow(self, kept: &mut Vec<NarrowInput>) {
        if self.adapter.is_some_and(Adapter::lies_together) {
            kept.extend(self.narrow.into_iter().map(|(group, x)| NarrowInput { place_of_a: group.place_of_a, x }));
        }
    }

    /// The part of the adapter in the projection at a place of the layout's targets.
    pub fn added(&mut self, place: usize, kernel: &dyn Kernel) -> Option<Term> {
        let member = |group: &AdapterGroup| group.members.iter().find(|member| member.place == place).cloned();
        let known = self.narrow.iter().find_map(|(group, narrow)| Some((member(group)?, narrow.clone())));
        let (member, narrow) = match known {
            Some(known) => known,
            None => {
                let group = self.adapter?.group(self.layer, place)?;
                let narrow = kernel.products(Start::Zero, vec![term(self.x, group.a.clone())]);
                self.narrow.push((group.clone(), narrow.clone()));
                (member(&group)?, narrow)
            }
        };
        Some(Term { factor: member.factor, ..term(&narrow, member.b) })
    }
}
