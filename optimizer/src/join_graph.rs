//! The join graph as search sees it: a neighbour table.

use crate::relset::{MAX_RELATIONS, RelSet};
use petgraph::graph::{NodeIndex, UnGraph};
use petgraph::visit::EdgeRef;

/// What connects two relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// A predicate that no hash join can use: `a.x < b.y`.
    Theta,
    /// An equality, written or implied.
    Equality,
}

/// Which relations of a region are neighbours.
///
/// Made from a petgraph graph, which is for drawing and checking; search reads only the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinGraph {
    /// By relation: those that any predicate connects it with.
    neighbors: Vec<RelSet>,
    /// By relation: those that an equality connects it with.
    keyed: Vec<RelSet>,
}

impl JoinGraph {
    /// A graph over relations `0..count` with the given edges. Edges from a relation to itself are
    /// dropped.
    ///
    /// # Panics
    /// If `count` is above [`MAX_RELATIONS`] or an edge names a relation that is not there; callers
    /// take both from the region they extracted.
    pub fn new(count: usize, edges: impl IntoIterator<Item = (usize, usize, EdgeKind)>) -> Self {
        assert!(count <= MAX_RELATIONS, "{count} relations in one region");
        let mut neighbors = vec![RelSet::EMPTY; count];
        let mut keyed = vec![RelSet::EMPTY; count];
        for (a, b, kind) in edges {
            assert!(a < count && b < count, "edge {a}-{b} of {count} relations");
            if a == b {
                continue;
            }
            for (from, to) in [(a, b), (b, a)] {
                neighbors[from] = neighbors[from].union(RelSet::single(to));
                if kind == EdgeKind::Equality {
                    keyed[from] = keyed[from].union(RelSet::single(to));
                }
            }
        }
        Self { neighbors, keyed }
    }

    /// The graph of a petgraph graph whose node indexes are the relations.
    ///
    /// # Panics
    /// If the graph has more than [`MAX_RELATIONS`] nodes.
    pub fn from_petgraph<N>(graph: &UnGraph<N, EdgeKind>) -> Self {
        Self::new(
            graph.node_count(),
            graph
                .edge_references()
                .map(|e| (e.source().index(), e.target().index(), *e.weight())),
        )
    }

    /// The graph as petgraph knows it, a node a relation, for drawing and checking.
    pub fn to_petgraph(&self) -> UnGraph<usize, EdgeKind> {
        let mut graph = UnGraph::new_undirected();
        for relation in 0..self.len() {
            graph.add_node(relation);
        }
        for a in 0..self.len() {
            for b in self.neighbors[a].iter().filter(|b| *b > a) {
                let kind = if self.keyed[a].contains(b) {
                    EdgeKind::Equality
                } else {
                    EdgeKind::Theta
                };
                graph.add_edge(NodeIndex::new(a), NodeIndex::new(b), kind);
            }
        }
        graph
    }

    /// The number of relations.
    pub fn len(&self) -> usize {
        self.neighbors.len()
    }

    /// Whether the graph has no relation.
    pub fn is_empty(&self) -> bool {
        self.neighbors.is_empty()
    }

    /// All relations of the graph.
    pub fn all(&self) -> RelSet {
        RelSet::first_n(self.len())
    }

    /// The neighbours of one relation.
    pub fn neighbors(&self, relation: usize) -> RelSet {
        self.neighbors[relation]
    }

    /// The relations outside `set` that have a neighbour in it.
    pub fn neighborhood(&self, set: RelSet) -> RelSet {
        let mut around = RelSet::EMPTY;
        for relation in set.iter() {
            around = around.union(self.neighbors[relation]);
        }
        around.minus(set)
    }

    /// Whether a predicate connects the two sets.
    pub fn connects(&self, a: RelSet, b: RelSet) -> bool {
        let (small, other) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        small.iter().any(|r| self.neighbors[r].intersects(other))
    }

    /// Whether an equality connects the two sets, so that their join can be a hash join.
    pub fn has_key(&self, a: RelSet, b: RelSet) -> bool {
        let (small, other) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        small.iter().any(|r| self.keyed[r].intersects(other))
    }

    /// Whether the relations of `set` are connected with each other. The empty set is not.
    pub fn is_connected(&self, set: RelSet) -> bool {
        match set.first() {
            None => false,
            Some(first) => self.reach(first, set) == set,
        }
    }

    /// The connected components, each as a set, ordered by their lowest relation.
    pub fn components(&self) -> Vec<RelSet> {
        let mut rest = self.all();
        let mut components = vec![];
        while let Some(first) = rest.first() {
            let component = self.reach(first, rest);
            components.push(component);
            rest = rest.minus(component);
        }
        components
    }

    /// The relations of `within` that can be reached from `start` inside `within`.
    fn reach(&self, start: usize, within: RelSet) -> RelSet {
        let mut reached = RelSet::single(start);
        loop {
            let next = self.neighborhood(reached).intersect(within);
            if next.is_empty() {
                return reached;
            }
            reached = reached.union(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_and_keys() {
        let graph = JoinGraph::new(
            5,
            [
                (0, 1, EdgeKind::Equality),
                (1, 2, EdgeKind::Theta),
                (3, 4, EdgeKind::Equality),
                (3, 3, EdgeKind::Equality),
            ],
        );
        let set = |i: &[usize]| i.iter().copied().collect::<RelSet>();
        assert_eq!(graph.components(), [set(&[0, 1, 2]), set(&[3, 4])]);
        assert!(graph.is_connected(set(&[0, 1, 2])) && !graph.is_connected(set(&[0, 2])));
        assert!(graph.connects(set(&[0, 1]), set(&[2])));
        assert!(!graph.has_key(set(&[0, 1]), set(&[2])));
        assert!(graph.has_key(set(&[0]), set(&[1, 2])));
        assert_eq!(graph.neighborhood(set(&[0])), set(&[1]));
        assert_eq!(JoinGraph::from_petgraph(&graph.to_petgraph()), graph);
    }
}
