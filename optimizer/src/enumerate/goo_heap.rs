//! GOO for any number of parts: Fegaras 1998, with a heap.
//!
//! The pair of two roots is looked at by the one that came last: it pushes the best of its pairs alone. A pair whose
//! other root is gone by the time it is popped was no dearer than what its root has left, so that only then its root has to
//! look again, at roots older than itself. A root of many neighbours, such as the centre of a star, so scans them once a
//! join and never refills the heap. The neighbours of the root that has fewer move to the other one, which makes
//! `m log n` moves for `m` edges.

use super::parts::{PartEdge, Parts, Side, orient, rows_of};
use crate::cost::CostModel;
use crate::join_graph::EdgeKind;
use crate::join_tree::JoinTree;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The greedy tree over all parts, and how many candidate joins were looked at; no tree for no parts.
pub(super) fn greedy(parts: &Parts, cost: &dyn CostModel) -> (Option<JoinTree>, u64) {
    let mut search = Search {
        cost,
        roots: (0..parts.len())
            .map(|part| Root {
                tree: Some(JoinTree::Leaf(part)),
                logarithm: parts.rows[part],
                rows: rows_of(parts.rows[part]),
                lowest: part,
                born: part,
                edges: parts.edges(part).to_vec(),
            })
            .collect(),
        candidates: BinaryHeap::new(),
        births: parts.len(),
        pairs: 0,
    };
    for root in 0..parts.len() {
        search.push_best(root);
    }
    while let Some(Reverse(next)) = search.candidates.pop() {
        let alive = |(root, born): (usize, usize)| {
            search.roots[root].tree.is_some() && search.roots[root].born == born
        };
        if !alive(next.young) {
            continue;
        }
        match alive(next.old) {
            true => search.join(next.young.0, next.old.0),
            false => search.push_best(next.young.0),
        }
    }
    search.products()
}

/// A tree of the forest.
struct Root {
    /// `None` when the root is part of another.
    tree: Option<JoinTree>,
    /// Of its rows.
    logarithm: f64,
    rows: f64,
    lowest: usize,
    /// When it came to be; parts come in their order.
    born: usize,
    /// What connects it with other roots, by their number.
    edges: Vec<PartEdge>,
}

/// The cheapest join of a root with an older one; both with their birth, by which it is known whether they still are
/// what they were.
struct Candidate {
    cost: f64,
    old: (usize, usize),
    young: (usize, usize),
}

impl Candidate {
    /// Births break ties, so that equal costs cannot depend on the order of the heap.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.cost
            .total_cmp(&other.cost)
            .then(self.old.1.cmp(&other.old.1))
            .then(self.young.1.cmp(&other.young.1))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}
impl Eq for Candidate {}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order(other)
    }
}

struct Search<'a> {
    cost: &'a dyn CostModel,
    roots: Vec<Root>,
    candidates: BinaryHeap<Reverse<Candidate>>,
    births: usize,
    pairs: u64,
}

impl Search<'_> {
    /// The cost of joining two roots, whether the first is the left input, and the logarithm of the rows.
    fn pair(&self, a: &Root, b: &Root, edge: &PartEdge) -> (f64, bool, f64) {
        let side = |root: &Root| Side {
            rows: root.rows,
            lowest: root.lowest,
        };
        let logarithm = a.logarithm + b.logarithm + edge.selectivity;
        let keyed = edge.kind == Some(EdgeKind::Equality);
        let (cost, a_left) = orient(self.cost, side(a), side(b), rows_of(logarithm), keyed);
        (cost, a_left, logarithm)
    }

    /// Pushes the cheapest join of a root with one that is older.
    fn push_best(&mut self, young: usize) {
        let root = &self.roots[young];
        let mut best: Option<Candidate> = None;
        for edge in &root.edges {
            let old = &self.roots[edge.to as usize];
            if edge.kind.is_none() || old.born > root.born {
                continue;
            }
            self.pairs += 1;
            let candidate = Candidate {
                cost: self.pair(old, root, edge).0,
                old: (edge.to as usize, old.born),
                young: (young, root.born),
            };
            if best.as_ref().is_none_or(|best| candidate < *best) {
                best = Some(candidate);
            }
        }
        self.candidates.extend(best.map(Reverse));
    }

    /// Joins two roots; what they become stands where the one with more neighbours stood.
    fn join(&mut self, young: usize, old: usize) {
        let nothing = PartEdge {
            to: old as u32,
            kind: None,
            selectivity: 0.0,
        };
        let (a, b) = (&self.roots[old], &self.roots[young]);
        let edge = find(&b.edges, old).map_or(nothing, |at| b.edges[at]);
        let (_, old_left, logarithm) = self.pair(a, b, &edge);
        let lowest = a.lowest.min(b.lowest);
        let (small, large) = match a.edges.len() < b.edges.len() {
            true => (old, young),
            false => (young, old),
        };
        let trees = (self.roots[old].tree.take(), self.roots[young].tree.take());
        let tree = match trees {
            (Some(old), Some(young)) if old_left => JoinTree::join(old, young),
            (Some(old), Some(young)) => JoinTree::join(young, old),
            (one, other) => {
                self.roots[large].tree = one.or(other);
                return;
            }
        };
        let moved = std::mem::take(&mut self.roots[small].edges);
        let mut edges = std::mem::take(&mut self.roots[large].edges);
        if let Some(at) = find(&edges, small) {
            edges.remove(at);
        }
        for edge in moved {
            let other = edge.to as usize;
            if other == large {
                continue;
            }
            let back = &mut self.roots[other].edges;
            if let Some(at) = find(back, small) {
                back.remove(at);
            }
            let to_large = PartEdge {
                to: large as u32,
                ..edge
            };
            merge(back, to_large);
            merge(&mut edges, edge);
        }
        self.births += 1;
        self.roots[large] = Root {
            tree: Some(tree),
            logarithm,
            rows: rows_of(logarithm),
            lowest,
            born: self.births,
            edges,
        };
        self.push_best(large);
    }

    /// Joins what no predicate connects, the two of fewest rows first.
    fn products(mut self) -> (Option<JoinTree>, u64) {
        let key = |root: &Root, at: usize| (root.logarithm, root.born, at);
        let mut rest: Vec<(f64, usize, usize)> = (0..self.roots.len())
            .filter(|at| self.roots[*at].tree.is_some())
            .map(|at| key(&self.roots[at], at))
            .collect();
        // Descending, so that the smallest are at the end.
        let descending = |x: &(f64, usize, usize), y: &(f64, usize, usize)| {
            y.0.total_cmp(&x.0).then(y.1.cmp(&x.1))
        };
        rest.sort_by(descending);
        while rest.len() > 1 {
            let (Some(a), Some(b)) = (rest.pop(), rest.pop()) else {
                break;
            };
            self.pairs += 1;
            let (old, young) = if a.1 < b.1 { (a.2, b.2) } else { (b.2, a.2) };
            self.join(young, old);
            let at = match self.roots[old].tree.is_some() {
                true => old,
                false => young,
            };
            let joined = key(&self.roots[at], at);
            let place = rest.partition_point(|other| descending(other, &joined).is_lt());
            rest.insert(place, joined);
        }
        let tree = rest.pop().and_then(|(_, _, at)| self.roots[at].tree.take());
        (tree, self.pairs)
    }
}

fn find(edges: &[PartEdge], to: usize) -> Option<usize> {
    edges
        .binary_search_by_key(&(to as u32), |edge| edge.to)
        .ok()
}

/// Adds an edge to those of a root, which are sorted.
fn merge(edges: &mut Vec<PartEdge>, edge: PartEdge) {
    match edges.binary_search_by_key(&edge.to, |known| known.to) {
        Ok(at) => {
            edges[at].kind = edges[at].kind.max(edge.kind);
            edges[at].selectivity += edge.selectivity;
        }
        Err(at) => edges.insert(at, edge),
    }
}

#[cfg(test)]
mod tests {
    use super::super::goo;
    use super::super::testing::*;
    use super::*;
    use crate::cost::Cout;
    use proptest::prelude::*;

    proptest! {
        /// The heap finds what looking at all candidates finds.
        #[test]
        fn is_the_greedy_search(graph in connected_graph(30), seed: u64) {
            let rows = product(&graph, seed);
            let written = in_order(graph.len());
            let problem = problem(&graph, &rows, &written, 0);
            let (tree, _) = greedy(&Parts::of(&problem), &Cout);
            let cost = tree.map(|tree| problem.tree_cost(&tree));
            let expected = goo::greedy(&problem).cost;
            prop_assert!(cost.is_some_and(|cost| (cost - expected).abs() <= 1e-6 * expected));
        }
    }
}
