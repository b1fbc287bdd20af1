//! The dependency graph of the stages: cycles, paths, the order of the work.

use crate::diagnostic::{Diagnostic, Span};
use petgraph::algo::{astar, dijkstra, has_path_connecting, kosaraju_scc};
use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};
use petgraph::visit::EdgeRef;
use petgraph::{Incoming, Outgoing};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The index of a stage: first in the file, finally in the plan.
pub type StageId = usize;

/// Edges run from a stage to the stages that need it. Nodes are in the order of the file.
pub struct Graph<'a> {
    names: Vec<&'a str>,
    graph: DiGraph<(), Edge>,
}

struct Edge {
    /// The place in the file that makes the edge.
    span: Span,
    is_soft: bool,
}

impl<'a> Graph<'a> {
    pub fn new(names: Vec<&'a str>) -> Graph<'a> {
        let mut graph = DiGraph::with_capacity(names.len(), names.len());
        for _ in &names {
            graph.add_node(());
        }
        Graph { names, graph }
    }

    pub fn add(&mut self, from: StageId, to: StageId, span: Span) {
        self.graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), Edge { span, is_soft: false });
    }

    /// The stages that a stage needs, in the order of the file.
    pub fn needs(&self, id: StageId) -> Vec<StageId> {
        let edges = self.graph.edges_directed(NodeIndex::new(id), Incoming);
        let mut needs: Vec<StageId> =
            edges.filter(|edge| !edge.weight().is_soft).map(|edge| edge.source().index()).collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// The shortest path from one stage to another, both included: `ppo_1 -> ppo_2 -> eval`.
    pub fn path(&self, from: StageId, to: StageId) -> Option<String> {
        let target = NodeIndex::new(to);
        let (_, path) = astar(&self.graph, NodeIndex::new(from), |node| node == target, |_| 1, |_| 0)?;
        Some(self.show(&path))
    }

    fn show(&self, path: &[NodeIndex]) -> String {
        path.iter().map(|node| self.names[node.index()]).collect::<Vec<_>>().join(" -> ")
    }

    /// One mistake for each strongly connected component, with the shortest cycle in it.
    pub fn cycles(&self) -> Vec<Diagnostic> {
        let mut knots: Vec<Vec<NodeIndex>> =
            kosaraju_scc(&self.graph).into_iter().filter(|knot| knot.len() > 1).collect();
        knots.sort_by_key(|knot| knot.iter().min().copied());
        knots.iter().filter_map(|knot| self.cycle(*knot.iter().min()?)).collect()
    }

    /// The shortest cycle through the first stage of a component.
    fn cycle(&self, first: NodeIndex) -> Option<Diagnostic> {
        let distances = dijkstra(&self.graph, first, None, |_| 1);
        let ways = self.graph.edges_directed(first, Incoming);
        let (_, last, span) = ways
            .filter_map(|edge| Some((*distances.get(&edge.source())?, edge.source(), edge.weight().span)))
            .min_by_key(|(distance, source, _)| (*distance, *source))?;
        let (_, mut path) = astar(&self.graph, first, |node| node == last, |_| 1, |_| 0)?;
        path.push(first);
        let message = format!("these stages wait for each other: {}", self.show(&path));
        Some(Diagnostic::error(span, message))
    }

    pub fn has_cycle(&self) -> bool {
        self.order().len() < self.names.len()
    }

    pub fn edge_count(&self) -> usize {
        self.graph.edge_count()
    }

    /// Removes the edges added after the first `edge_count`.
    pub fn shrink_to(&mut self, edge_count: usize) {
        for index in (edge_count..self.graph.edge_count()).rev() {
            self.graph.remove_edge(EdgeIndex::new(index));
        }
    }

    /// Makes every eval wait for the stages it judges, unless they need it. Returns for each stage those it waits for.
    pub fn evals_after_what_they_judge(&mut self, judges: &[&[StageId]]) -> Vec<Vec<StageId>> {
        let mut after = vec![Vec::new(); judges.len()];
        for (judged, judges) in judges.iter().enumerate() {
            for judge in judges.iter().copied() {
                let (from, to) = (NodeIndex::new(judged), NodeIndex::new(judge));
                if !self.graph.contains_edge(from, to) && !has_path_connecting(&self.graph, to, from, None) {
                    self.graph.add_edge(from, to, Edge { span: Span::default(), is_soft: true });
                    after[judge].push(judged);
                }
            }
        }
        after
    }

    /// A topological order; ties follow the order of the file. Stages on or behind a cycle are left out.
    pub fn order(&self) -> Vec<StageId> {
        let mut order = Vec::with_capacity(self.names.len());
        let needs = |id| self.graph.neighbors_directed(NodeIndex::new(id), Incoming).count();
        let mut missing: Vec<usize> = (0..self.names.len()).map(needs).collect();
        let mut ready: BinaryHeap<Reverse<StageId>> =
            (0..self.names.len()).filter(|id| missing[*id] == 0).map(Reverse).collect();
        while let Some(Reverse(next)) = ready.pop() {
            order.push(next);
            for dependant in self.graph.neighbors_directed(NodeIndex::new(next), Outgoing).map(NodeIndex::index) {
                missing[dependant] -= 1;
                if missing[dependant] == 0 {
                    ready.push(Reverse(dependant));
                }
            }
        }
        order
    }
}
