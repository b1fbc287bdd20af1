//! Which stage needs which: cycles, what lies downstream, the order of work. Knows indices and names, no meaning.

use super::{Gate, StageId};
use crate::diagnostic::{Diagnostic, Span};
use petgraph::algo::{astar, has_path_connecting, tarjan_scc};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use std::collections::BTreeSet;

/// Edges run from what is needed to who needs it. In the order of the file.
pub struct Graph {
    names: Vec<String>,
    graph: DiGraph<(), Edge>,
}

struct Edge {
    /// Where the file says so.
    span: Span,
    is_soft: bool,
}

impl Graph {
    pub fn new(names: Vec<String>) -> Graph {
        let mut graph = DiGraph::new();
        for _ in &names {
            graph.add_node(());
        }
        Graph { names, graph }
    }

    pub fn add(&mut self, from: StageId, to: StageId, span: Span) {
        self.graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), Edge { span, is_soft: false });
    }

    pub fn needs(&self, id: StageId) -> BTreeSet<StageId> {
        let edges = self.graph.edges_directed(NodeIndex::new(id), petgraph::Direction::Incoming);
        edges.filter(|edge| !edge.weight().is_soft).map(|edge| edge.source().index()).collect()
    }

    /// The shortest way from one stage to another, both included: `ppo_1 -> ppo_2 -> eval`.
    pub fn path(&self, from: StageId, to: StageId) -> Option<String> {
        let target = NodeIndex::new(to);
        let (_, path) = astar(&self.graph, NodeIndex::new(from), |node| node == target, |_| 1, |_| 0)?;
        Some(self.show(&path))
    }

    fn show(&self, path: &[NodeIndex]) -> String {
        path.iter().map(|node| self.names[node.index()].as_str()).collect::<Vec<_>>().join(" -> ")
    }

    /// One mistake per knot of stages, with the shortest way around it.
    pub fn cycles(&self) -> Vec<Diagnostic> {
        let mut knots: Vec<Vec<NodeIndex>> =
            tarjan_scc(&self.graph).into_iter().filter(|knot| knot.len() > 1).collect();
        knots.sort_by_key(|knot| knot.iter().min().copied());
        knots.iter().filter_map(|knot| self.cycle(*knot.iter().min()?)).collect()
    }

    /// The shortest cycle through the first stage of a knot.
    fn cycle(&self, first: NodeIndex) -> Option<Diagnostic> {
        let ways = self.graph.edges_directed(first, petgraph::Direction::Incoming).filter_map(|edge| {
            let (length, mut path) = astar(&self.graph, first, |node| node == edge.source(), |_| 1, |_| 0)?;
            path.push(first);
            Some((length, path, edge.weight().span))
        });
        let (_, path, span) = ways.min_by_key(|(length, path, _)| (*length, path.clone()))?;
        let message = format!("these stages wait for each other: {}", self.show(&path));
        Some(Diagnostic::error(span, message))
    }

    /// Lets every eval wait for the stages it judges, as far as these do not need it. Who waits for whom, by stage.
    pub fn evals_after_what_they_judge(&mut self, gates: &[Option<Gate>]) -> Vec<Vec<StageId>> {
        let mut after = vec![Vec::new(); gates.len()];
        for (judged, gate) in gates.iter().enumerate() {
            for judge in gate.iter().flat_map(|gate| &gate.judges).copied() {
                let (from, to) = (NodeIndex::new(judged), NodeIndex::new(judge));
                if !self.graph.contains_edge(from, to) && !has_path_connecting(&self.graph, to, from, None) {
                    self.graph.add_edge(from, to, Edge { span: Span::default(), is_soft: true });
                    after[judge].push(judged);
                }
            }
        }
        after
    }

    /// What is needed first; the order of the file where that leaves a choice. The graph has no cycle.
    pub fn order(&self) -> Vec<StageId> {
        let mut order = Vec::new();
        let mut waiting: BTreeSet<StageId> = (0..self.names.len()).collect();
        while let Some(next) = waiting.iter().copied().find(|id| {
            self.graph
                .neighbors_directed(NodeIndex::new(*id), petgraph::Direction::Incoming)
                .all(|need| !waiting.contains(&need.index()))
        }) {
            waiting.remove(&next);
            order.push(next);
        }
        order
    }
}
