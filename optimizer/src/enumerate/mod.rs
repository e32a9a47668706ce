//! Enumerators: searches for a good join tree.
//!
//! | name | search |
//! |---|---|
//! | `dphyp` | [`DpHyp`]: exact over all trees without cross products, joins of all kinds |
//! | `dpccp` | [`DpCcp`]: the same for plain graphs, where it is faster |
//! | `adaptive` | [`Adaptive`]: exact within the budget, else linearized, for large graphs greedy with repairs |
//! | `lindp` | [`LinDp`]: the best tree over a linear order of the relations |
//! | `ikkbz` | [`IkkBz`]: the best left-deep tree of an acyclic graph |
//! | `goo` | [`Goo`]: greedy, smallest join first |
//! | `goo-dp` | [`GooDp`]: greedy, expensive parts searched again |
//! | `quickpick:trees,seed` | [`QuickPick`]: the best of random trees |
//! | `simpli` | [`SimpliOrder`]: by table sizes alone |
//! | `exhaustive` | [`Exhaustive`]: every tree, for tests |
//! | `written` | [`Written`]: the order of the query |
//!
//! [`JoinHint`] and [`constrain`] force a tree, or a part of one that a search then keeps.
//! [`PlanSpace`] counts the trees that a search chooses from, and draws some of them.
//!
//! A search has a budget in csg-cmp-pairs, not in time, so that it finds the same plan on every
//! machine. No search forms a cross product inside a connected component, but for those that [`with_products`] allows;
//! components are joined with each other last, smallest product first.

mod adaptive;
mod contraction;
mod dpccp;
mod dphyp;
mod exhaustive;
mod forced;
mod goo;
mod goo_dp;
mod goo_heap;
mod hint;
mod ikkbz;
mod intervals;
mod lindp;
mod parts;
mod plan_table;
mod products;
mod quickpick;
mod simpli;
mod space;
mod written;

pub use adaptive::Adaptive;
pub use dpccp::{DpCcp, count_pairs, for_each_csg_cmp_pair};
pub use dphyp::DpHyp;
pub use exhaustive::Exhaustive;
pub use forced::constrain;
pub use goo::Goo;
pub use goo_dp::GooDp;
pub use hint::{Forbidden, ForcedTree, HintError, JoinHint};
pub use ikkbz::IkkBz;
pub use lindp::LinDp;
pub use products::with_products;
pub use quickpick::QuickPick;
pub use simpli::SimpliOrder;
pub use space::PlanSpace;
pub use written::Written;

use crate::cost::{CostModel, JoinRows};
use crate::estimate::Cardinalities;
use crate::join_graph::JoinGraph;
use crate::join_tree::JoinTree;
use crate::relset::{MAX_RELATIONS, RelSet};
use parts::Parts;
use std::cmp::Ordering;
use std::fmt;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Every tree of the space was considered: the result is optimal under the cost model.
    Exact,
    /// The exact search would have needed more pairs than the budget, or more than this many were looked at: the best
    /// tree over a linear order of the relations was taken.
    Linearized {
        /// Pairs that were looked at or counted before.
        after: u64,
    },
    /// A greedy search came to its end, after this many pairs of a search that did not.
    Greedy {
        /// Pairs that were looked at or counted before; 0 if nothing else was tried.
        after: u64,
    },
    /// A greedy tree, parts of which were searched again.
    Repaired {
        /// How many parts were.
        parts: u64,
    },
    /// The best of some random trees.
    Sampled {
        /// How many.
        trees: u64,
    },
    /// No search was asked for: the tree is the query's own.
    Written,
    /// The query's own tree, since no other could be made within the conflicts of its joins.
    NoOther,
    /// The tree was given.
    Forced,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Linearized { after } => write!(f, "linearized after {after} pairs"),
            Self::Greedy { after: 0 } => f.write_str("greedy"),
            Self::Greedy { after } => write!(f, "greedy after {after} pairs"),
            Self::Repaired { parts } => write!(f, "greedy, {parts} parts searched again"),
            Self::Sampled { trees } => write!(f, "best of {trees} random trees"),
            Self::Written => f.write_str("written"),
            Self::NoOther => f.write_str("no other tree"),
            Self::Forced => f.write_str("forced"),
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
        let link = self.graph.link(left.set, right.set);
        let (left_width, right_width) = self.widths(left.set, right.set);
        JoinRows {
            left: left.rows,
            right: right.rows,
            output,
            left_width,
            right_width,
            keyed: link.is_some_and(|link| link.keyed),
        }
    }

    /// The widths of the rows of two inputs, if the cost model uses them.
    fn widths(&self, left: RelSet, right: RelSet) -> (f64, f64) {
        match self.cost.uses_widths() {
            true => (self.graph.width(left), self.graph.width(right)),
            false => (0.0, 0.0),
        }
    }

    /// The cost of a tree over relations of this problem.
    pub fn tree_cost(&self, tree: &JoinTree) -> f64 {
        if self.graph.len() > MAX_RELATIONS {
            return Parts::of(self).tree_cost(tree, self.cost);
        }
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

    /// The estimated rows of each join of a tree over relations of this problem, inputs before outputs and left before
    /// right.
    pub fn rows_of_joins(&self, tree: &JoinTree) -> Vec<f64> {
        let mut rows = vec![];
        if self.graph.len() > MAX_RELATIONS {
            let parts = Parts::of(self);
            parts.for_each_join(tree, self.cost, |join| rows.push(parts::rows_of(join.rows)));
        } else {
            tree.for_each_join(&mut |left, right| {
                rows.push(self.cardinalities.rows(left.union(right)));
            });
        }
        rows
    }

    /// The query's own tree as a solution, for searches that found none.
    fn no_other(&self, pairs: u64) -> Solution {
        Solution {
            tree: self.written.clone(),
            cost: self.tree_cost(self.written),
            pairs,
            stop: StopReason::NoOther,
        }
    }
}

/// One input of a candidate join.
#[derive(Debug, Clone, Copy)]
struct Input {
    set: RelSet,
    rows: f64,
}

/// The cost of a join in its cheaper orientation, and whether the first set is the left input then. Equal costs put the
/// input with fewer rows to the left, the build side, and then the one with the lower relation, as `tie` compares them:
/// any fixed rule makes the search deterministic.
fn cheaper_orientation(cost: &dyn CostModel, rows: JoinRows, tie: Ordering) -> (f64, bool) {
    let swapped = JoinRows {
        left: rows.right,
        right: rows.left,
        left_width: rows.right_width,
        right_width: rows.left_width,
        ..rows
    };
    let (ab, ba) = (cost.join_cost(rows), cost.join_cost(swapped));
    let a_left = ab
        .total_cmp(&ba)
        .then(rows.left.total_cmp(&rows.right))
        .then(tie)
        .is_le();
    (if a_left { ab } else { ba }, a_left)
}

/// [`cheaper_orientation`] as the cost, the left and the right set.
fn best_orientation(
    problem: &Problem<'_>,
    a: &Input,
    b: &Input,
    output: f64,
) -> (f64, RelSet, RelSet) {
    let rows = problem.join_rows(a, b, output);
    match cheaper_orientation(problem.cost, rows, a.set.first().cmp(&b.set.first())) {
        (cost, true) => (cost, a.set, b.set),
        (cost, false) => (cost, b.set, a.set),
    }
}

/// The hand-made graphs that tests and benchmarks share.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::conflicts::{OperatorNode, OperatorTree};
    use crate::cost::Cout;
    use crate::estimate::ProductRows;
    use crate::join_graph::{EdgeKind, JoinKind};
    use proptest::prelude::*;

    /// What a search is given, with costs by C_out.
    pub(crate) fn problem<'a>(
        graph: &'a JoinGraph,
        cardinalities: &'a dyn Cardinalities,
        written: &'a JoinTree,
        budget: u64,
    ) -> Problem<'a> {
        Problem {
            graph,
            cardinalities,
            cost: &Cout,
            written,
            budget,
        }
    }

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

    /// Random rows and selectivities for the edges of a graph.
    pub(crate) fn product(graph: &JoinGraph, seed: u64) -> ProductRows {
        let hashed = HashedRows(seed);
        let random = |at: usize| {
            let set = RelSet::from_bits(at as u64 + 1);
            hashed.rows(set) / 100_000.0
        };
        let rows = (0..graph.len()).map(|relation| 10_f64.powf(6.0 * random(relation)));
        let edges = graph.edges().iter().enumerate();
        let edges = edges.map(|(at, (a, b, _))| {
            let selectivity = 10_f64.powf(-6.0 * random(graph.len() + at));
            (*a, *b, selectivity)
        });
        ProductRows::new(rows.collect(), edges)
    }

    /// A random tree of joins of all kinds over relations in a row, each join with a predicate on one or two relations
    /// that are visible on either side.
    pub(crate) fn operator_tree(max: usize) -> impl Strategy<Value = (usize, OperatorTree)> {
        (2..=max)
            .prop_flat_map(|n| (Just(n), prop::collection::vec(any::<[u8; 4]>(), n - 1)))
            .prop_map(|(n, dice)| {
                let mut dice = dice.into_iter();
                let (tree, _) = build(0, n, &mut dice);
                (n, tree)
            })
    }

    fn build(
        from: usize,
        to: usize,
        dice: &mut impl Iterator<Item = [u8; 4]>,
    ) -> (OperatorTree, RelSet) {
        let dice_here = if to - from > 1 { dice.next() } else { None };
        let Some([cut, kind, a, b]) = dice_here else {
            return (OperatorTree::Leaf(from), RelSet::single(from));
        };
        let middle = from + 1 + cut as usize % (to - from - 1);
        let (left, left_visible) = build(from, middle, dice);
        let (right, right_visible) = build(middle, to, dice);
        let kind = match kind % 8 {
            0..3 => JoinKind::Inner,
            3 => JoinKind::Left,
            4 => JoinKind::Full,
            5 => JoinKind::Semi,
            6 => JoinKind::Anti,
            _ => JoinKind::Mark,
        };
        let pick = |set: RelSet, dice: u8| {
            let all: Vec<usize> = set.iter().collect();
            let one = RelSet::single(all[dice as usize % all.len()]);
            let more = RelSet::single(all[(dice >> 4) as usize % all.len()]);
            if dice.is_multiple_of(5) {
                one.union(more)
            } else {
                one
            }
        };
        let relations = pick(left_visible, a).union(pick(right_visible, b));
        let visible = match kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Full => left_visible.union(right_visible),
            _ => left_visible,
        };
        let node = OperatorNode {
            kind,
            relations,
            rejects_null: if a % 3 == 0 { RelSet::EMPTY } else { relations },
            keyed: b % 4 != 0,
            filtered: kind == JoinKind::Left && a % 7 == 0,
            free: false,
            left,
            right,
        };
        (OperatorTree::Join(Box::new(node)), visible)
    }

    /// The joins of an operator tree as they stand.
    pub(crate) fn written_tree(tree: &OperatorTree) -> JoinTree {
        match tree {
            OperatorTree::Leaf(index) => JoinTree::Leaf(*index),
            OperatorTree::Join(node) => {
                JoinTree::join(written_tree(&node.left), written_tree(&node.right))
            }
        }
    }
}
