//! QuickPick: Waas & Pellenkoft, BNCOD 2000. Random join trees, of which the best is kept.
//!
//! Edges of the join graph are drawn at random; one that connects two trees joins them. The trees are not drawn
//! uniformly from all trees, but good ones are not rare among them.

use super::ikkbz::UnionFind;
use super::parts::{Parts, Side, orient, rows_of};
use super::{Enumerator, Problem, Solution, StopReason, goo};
use crate::join_tree::JoinTree;
use crate::relset::{MAX_RELATIONS, RelSet};

/// The best of some random trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuickPick {
    /// How many trees.
    pub trees: u64,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Default for QuickPick {
    fn default() -> Self {
        Self {
            trees: 1_000,
            seed: 42,
        }
    }
}

impl QuickPick {
    /// The search by its parameters, `trees` or `trees,seed`: `10,42`. At least one tree.
    pub fn parse(parameters: &str) -> Option<Self> {
        let (trees, seed) = match parameters.split_once(',') {
            Some((trees, seed)) => (trees, seed.trim().parse().ok()?),
            None => (parameters, Self::default().seed),
        };
        let trees = trees.trim().parse().ok().filter(|trees| *trees > 0)?;
        Some(Self { trees, seed })
    }
}

impl Enumerator for QuickPick {
    fn name(&self) -> &str {
        "quickpick"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        let n = problem.graph.len();
        let mut picker = Picker::new(problem, self.seed);
        let mut best: Option<(f64, JoinTree)> = None;
        for _ in 0..self.trees {
            let Some(forest) = picker.forest() else {
                continue;
            };
            let (Some(tree), _) = goo::join_components(problem, forest) else {
                continue;
            };
            let cost = match n <= MAX_RELATIONS {
                true => problem.tree_cost(&tree),
                false => picker.parts.tree_cost(&tree, problem.cost),
            };
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, tree));
            }
        }
        match best {
            Some((cost, tree)) => Solution {
                cost,
                tree,
                pairs: picker.pairs,
                stop: StopReason::Sampled { trees: self.trees },
            },
            None => goo::greedy(problem),
        }
    }
}

/// Draws trees.
struct Picker<'a> {
    problem: &'a Problem<'a>,
    parts: Parts,
    edges: Vec<(usize, usize)>,
    random: SplitMix,
    pairs: u64,
}

/// A tree of a forest.
struct Root {
    tree: Option<JoinTree>,
    set: RelSet,
    /// The logarithm of the rows of a large graph's tree.
    rows: f64,
    lowest: usize,
}

impl<'a> Picker<'a> {
    fn new(problem: &'a Problem<'a>, seed: u64) -> Self {
        let n = problem.graph.len();
        let parts = match n <= MAX_RELATIONS {
            true => {
                let singles: Vec<RelSet> = (0..n).map(RelSet::single).collect();
                Parts::of_sets(problem, &singles)
            }
            false => Parts::of(problem),
        };
        let mut edges: Vec<(usize, usize)> = vec![];
        for a in 0..n {
            let joins = parts.edges(a).iter().filter(|edge| edge.kind.is_some());
            let others = joins.map(|edge| edge.to as usize).filter(|b| a < *b);
            edges.extend(others.map(|b| (a, b)));
        }
        Self {
            problem,
            parts,
            edges,
            random: SplitMix(seed),
            pairs: 0,
        }
    }

    /// A random tree of each component; `None` if the conflicts of joins leave more trees than these.
    fn forest(&mut self) -> Option<Vec<JoinTree>> {
        let n = self.problem.graph.len();
        let mut roots: Vec<Root> = (0..n)
            .map(|relation| Root {
                tree: Some(JoinTree::Leaf(relation)),
                set: RelSet::from_iter((n <= MAX_RELATIONS).then_some(relation)),
                rows: self.parts.rows[relation],
                lowest: relation,
            })
            .collect();
        let mut sets = UnionFind::new(n);
        let mut left = self.edges.clone();
        // An edge that is not allowed yet may be after other joins.
        let mut refused = vec![];
        while !left.is_empty() {
            let at = self.random.below(left.len());
            let edge = left.swap_remove(at);
            let (a, b) = (sets.find(edge.0), sets.find(edge.1));
            if a == b {
                continue;
            }
            let Some(joined) = self.join(&mut roots, a, b) else {
                refused.push(edge);
                continue;
            };
            sets.union(a, b);
            let root = sets.find(a);
            roots[root] = joined;
            left.append(&mut refused);
        }
        let trees: Vec<JoinTree> = roots.into_iter().filter_map(|root| root.tree).collect();
        let plain = self.problem.graph.is_plain();
        (plain || trees.len() == self.problem.graph.components().len()).then_some(trees)
    }

    /// The join of two roots, which are taken.
    fn join(&mut self, roots: &mut [Root], a: usize, b: usize) -> Option<Root> {
        self.pairs += 1;
        let set = roots[a].set.union(roots[b].set);
        let lowest = roots[a].lowest.min(roots[b].lowest);
        let small = self.problem.graph.len() <= MAX_RELATIONS;
        let a_left = if small {
            let keyed = self.problem.graph.link(roots[a].set, roots[b].set)?.keyed;
            let rows = |set| self.problem.cardinalities.rows(set);
            let side = |root: &Root| Side {
                rows: rows(root.set),
                lowest: root.lowest,
            };
            let (a, b) = (side(&roots[a]), side(&roots[b]));
            orient(self.problem.cost, a, b, rows(set), keyed).1
        } else {
            // What is between two large trees takes time to find, and says little of which of them to build from.
            let (rows_a, rows_b) = (rows_of(roots[a].rows), rows_of(roots[b].rows));
            rows_a
                .total_cmp(&rows_b)
                .then(roots[a].lowest.cmp(&roots[b].lowest))
                .is_le()
        };
        let tree = match (roots[a].tree.take()?, roots[b].tree.take()?) {
            (a, b) if a_left => JoinTree::join(a, b),
            (a, b) => JoinTree::join(b, a),
        };
        let rows = roots[a].rows.max(roots[b].rows);
        Some(Root {
            tree: Some(tree),
            set,
            rows,
            lowest,
        })
    }
}

/// SplitMix64: Steele, Lea & Flood, OOPSLA 2014.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}
