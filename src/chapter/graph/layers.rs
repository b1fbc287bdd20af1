//! Places of the stages of a graph: each stands one layer behind all that it needs, and within a layer so that arrows cross
//! seldom (Sugiyama, Tagawa & Toda 1981: layers, a place in every layer that an arrow passes, barycentres).

use std::collections::HashMap;

/// Passes over the layers, forth and back.
const PASSES: usize = 6;

/// The places of the stages and the ways of the arrows.
pub struct Layout {
    /// The layer of each stage, and its row within it.
    pub places: Vec<[f64; 2]>,
    /// The places that each arrow passes, from its origin to its end.
    pub ways: Vec<Vec<[f64; 2]>>,
    pub layers: usize,
    pub rows: usize,
}

/// `arrows` are pairs of indices below `count`. An arrow that closes a circle is taken as if it were not there.
pub fn layout(count: usize, arrows: &[(usize, usize)]) -> Layout {
    let layer = layers(count, arrows);
    // What stands in each layer: a stage, or an arrow on its way. Numbers from `count` on are of arrows.
    let depth = layer.iter().max().map_or(0, |last| last + 1);
    let mut standing: Vec<Vec<usize>> = vec![Vec::new(); depth];
    for (stage, layer) in layer.iter().enumerate() {
        standing[*layer].push(stage);
    }
    let mut next = count;
    let chains: Vec<Vec<usize>> = arrows
        .iter()
        .map(|(from, to)| {
            let mut chain = vec![*from];
            for passed in &mut standing[(layer[*from] + 1).min(layer[*to])..layer[*to]] {
                passed.push(next);
                chain.push(next);
                next += 1;
            }
            chain.push(*to);
            chain
        })
        .collect();
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); next];
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); next];
    for link in chains.iter().flat_map(|chain| chain.windows(2)) {
        before[link[1]].push(link[0]);
        after[link[0]].push(link[1]);
    }
    for pass in 0..PASSES {
        let (neighbours, order): (&[Vec<usize>], Vec<usize>) =
            if pass % 2 == 0 { (&before, (0..depth).collect()) } else { (&after, (0..depth).rev().collect()) };
        let mut row: HashMap<usize, f64> = HashMap::new();
        for layer in &standing {
            row.extend(layer.iter().enumerate().map(|(at, node)| (*node, at as f64)));
        }
        for layer in order {
            let mean = |node: &usize| {
                let rows: Vec<f64> = neighbours[*node].iter().filter_map(|other| row.get(other)).copied().collect();
                if rows.is_empty() { row[node] } else { rows.iter().sum::<f64>() / rows.len() as f64 }
            };
            let mut keyed: Vec<(f64, usize)> = standing[layer].iter().map(|node| (mean(node), *node)).collect();
            // Equal ones stay in the order in which they stood.
            keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
            standing[layer] = keyed.iter().map(|(_, node)| *node).collect();
            row.extend(standing[layer].iter().enumerate().map(|(at, node)| (*node, at as f64)));
        }
    }
    let rows = standing.iter().map(Vec::len).max().unwrap_or(0);
    let mut places = vec![[0.0; 2]; next];
    for (layer, nodes) in standing.iter().enumerate() {
        let margin = (rows - nodes.len()) as f64 / 2.0;
        for (row, node) in nodes.iter().enumerate() {
            places[*node] = [layer as f64, margin + row as f64];
        }
    }
    let ways = chains.iter().map(|chain| chain.iter().map(|node| places[*node]).collect()).collect();
    places.truncate(count);
    Layout { places, ways, layers: depth, rows }
}

/// The longest way to each stage from one that needs nothing.
fn layers(count: usize, arrows: &[(usize, usize)]) -> Vec<usize> {
    let mut layer = vec![0; count];
    // Stages mostly stand behind what they need, and then one pass is enough; a circle would never end.
    for _ in 0..count {
        let mut is_moved = false;
        for (from, to) in arrows {
            if layer[*to] <= layer[*from] && layer[*from] + 1 < count {
                layer[*to] = layer[*from] + 1;
                is_moved = true;
            }
        }
        if !is_moved {
            break;
        }
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_stands_behind_what_it_needs_and_long_arrows_have_places_between() {
        // base → sft → rm → ppo, and sft → ppo past rm.
        let Layout { places, ways, layers, rows } = layout(4, &[(0, 1), (1, 2), (2, 3), (1, 3)]);
        assert_eq!(places.iter().map(|place| place[0]).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!((layers, rows, ways[3].len()), (4, 2, 3));
        assert_ne!(ways[3][1], places[2]);
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(layout(2, &[(0, 1), (1, 0)]).places.len(), 2);
        assert_eq!(layout(0, &[]).layers, 0);
    }
}
