//! Enumerators: searches for a good join tree.
//!
//! | name | search |
//! |---|---|
//! | `dpccp` | [`DpCcp`]: exact over all trees without cross products; `goo` when that needs more pairs than the budget |
//! | `goo` | [`Goo`]: greedy, smallest join first |
//! | `exhaustive` | [`Exhaustive`]: every tree, for tests |
//! | `written` | [`Written`]: the order of the query |
//!
//! A search has a budget in csg-cmp-pairs, not in time, so that it finds the same plan on every
//! machine. No search forms a cross product inside a connected component; components are joined
//! with each other last, smallest product first.

mod dpccp;
mod exhaustive;
mod goo;
mod written;

pub use dpccp::{DpCcp, for_each_csg_cmp_pair};
pub use exhaustive::Exhaustive;
pub use goo::Goo;
pub use written::Written;

use crate::cost::{CostModel, JoinRows};
use crate::estimate::Cardinalities;
use crate::join_graph::JoinGraph;
use crate::join_tree::JoinTree;
use crate::relset::RelSet;

/// What a search is given. All parts are read only.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// Which relations are neighbours.
    pub graph: &'a JoinGraph,
    /// Rows of every set of relations.
    pub cardinalities: &'a dyn Cardinalities,
    /// What a join costs.
    pub cost: &'a dyn CostModel,
    /// The join tree as the query has it.
    pub written: &'a JoinTree,
    /// The most csg-cmp-pairs to look at.
    pub budget: u64,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// The tree, over all relations of the graph.
    pub tree: JoinTree,
    /// Its cost: the sum over its joins.
    pub cost: f64,
    /// The csg-cmp-pairs (for greedy searches, the candidate joins) looked at.
    pub pairs: u64,
    /// Why the search ended.
    pub stop: StopReason,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Every tree of the space was considered: the result is optimal under the cost model.
    Complete,
    /// The exact search would have needed more pairs than the budget; a greedy one answered.
    Budget,
    /// A greedy search came to its end.
    Greedy,
    /// No search was asked for: the tree is the query's own.
    Written,
}

impl StopReason {
    /// The reason as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Budget => "budget",
            Self::Greedy => "greedy",
            Self::Written => "written",
        }
    }
}

/// A search for a join tree.
pub trait Enumerator: std::fmt::Debug + Send + Sync {
    /// The name by which options and arms choose the search.
    fn name(&self) -> &str;

    /// A tree over all relations of `problem.graph`, which has at least one. The result must depend
    /// on the problem alone: no clock, no randomness without a fixed seed.
    fn search(&self, problem: &Problem<'_>) -> Solution;
}

impl Problem<'_> {
    /// The rows around the join of two sets.
    fn join_rows(&self, left: &Input, right: &Input, output: f64) -> JoinRows {
        JoinRows {
            left: left.rows,
            right: right.rows,
            output,
            keyed: self.graph.has_key(left.set, right.set),
        }
    }

    /// The cost of a tree over relations of this problem.
    pub fn tree_cost(&self, tree: &JoinTree) -> f64 {
        let mut cost = 0.0;
        tree.for_each_join(&mut |left, right| {
            let input = |set| Input {
                set,
                rows: self.cardinalities.rows(set),
            };
            let output = self.cardinalities.rows(left.union(right));
            cost += self
                .cost
                .join_cost(self.join_rows(&input(left), &input(right), output));
        });
        cost
    }
}

/// One input of a candidate join.
#[derive(Debug, Clone, Copy)]
struct Input {
    set: RelSet,
    rows: f64,
}

/// The cheaper of the two orientations of a join. Equal costs put the input with fewer rows to the
/// left, the build side, and then the one with the lower relation: any fixed rule makes the search
/// deterministic.
fn best_orientation(
    problem: &Problem<'_>,
    a: &Input,
    b: &Input,
    output: f64,
) -> (f64, RelSet, RelSet) {
    let ab = problem.join_rows(a, b, output);
    let ba = JoinRows {
        left: ab.right,
        right: ab.left,
        ..ab
    };
    let (ab, ba) = (problem.cost.join_cost(ab), problem.cost.join_cost(ba));
    let a_left = ab
        .total_cmp(&ba)
        .then(a.rows.total_cmp(&b.rows))
        .then(a.set.first().cmp(&b.set.first()));
    if a_left.is_le() {
        (ab, a.set, b.set)
    } else {
        (ba, b.set, a.set)
    }
}

/// The hand-made graphs that tests and benchmarks share.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::join_graph::EdgeKind;
    use proptest::prelude::*;

    /// Random rows by set, from a hash: any set has the same rows whenever it is asked for.
    #[derive(Debug)]
    pub(crate) struct HashedRows(pub(crate) u64);

    impl Cardinalities for HashedRows {
        fn estimate(&self, set: RelSet) -> crate::estimate::Estimate {
            let mut x = (set.bits() ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            crate::estimate::Estimate::guess(((x >> 40) % 100_000 + 1) as f64)
        }
    }

    pub(crate) fn chain(n: usize) -> JoinGraph {
        JoinGraph::new(n, (1..n).map(|i| (i - 1, i, EdgeKind::Equality)))
    }

    pub(crate) fn cycle(n: usize) -> JoinGraph {
        JoinGraph::new(n, (0..n).map(|i| (i, (i + 1) % n, EdgeKind::Equality)))
    }

    pub(crate) fn star(n: usize) -> JoinGraph {
        JoinGraph::new(n, (1..n).map(|i| (0, i, EdgeKind::Equality)))
    }

    pub(crate) fn clique(n: usize) -> JoinGraph {
        JoinGraph::new(
            n,
            (0..n).flat_map(|a| (0..a).map(move |b| (a, b, EdgeKind::Equality))),
        )
    }

    /// A random connected graph: a random spanning tree and some more edges, relations shuffled.
    pub(crate) fn connected_graph(max: usize) -> impl Strategy<Value = JoinGraph> {
        (1..=max)
            .prop_flat_map(|n| {
                let parents = prop::collection::vec(any::<prop::sample::Index>(), n - 1);
                let more = prop::collection::vec((0..n, 0..n, any::<bool>()), 0..=n);
                let names = Just((0..n).collect::<Vec<_>>()).prop_shuffle();
                (Just(n), parents, more, names)
            })
            .prop_map(|(n, parents, more, names)| {
                let tree = parents
                    .into_iter()
                    .enumerate()
                    .map(|(i, parent)| (i + 1, parent.index(i + 1), EdgeKind::Equality))
                    .collect::<Vec<_>>();
                let more = more.into_iter().map(|(a, b, theta)| {
                    let kind = if theta {
                        EdgeKind::Theta
                    } else {
                        EdgeKind::Equality
                    };
                    (a, b, kind)
                });
                JoinGraph::new(
                    n,
                    tree.into_iter()
                        .chain(more)
                        .map(|(a, b, kind)| (names[a], names[b], kind)),
                )
            })
    }

    /// The left-deep tree in the order of the relations.
    pub(crate) fn in_order(n: usize) -> JoinTree {
        (1..n).fold(JoinTree::Leaf(0), |left, i| {
            JoinTree::join(left, JoinTree::Leaf(i))
        })
    }
}
