//! DPccp: Moerkotte & Neumann, VLDB 2006; corrected by Meister, Moerkotte & Saake, PVLDB 2018.
//!
//! A *csg* is a connected set of relations, its *cmp* a connected set outside it with an edge
//! between the two. Every cross-product-free join tree is made of such pairs, and a dynamic program
//! that sees each pair once, inputs before outputs, does the least work an exact search can do.
//!
//! The chain 0–1–2 yields ({1},{2}) ({0},{1}) ({0},{1,2}) ({0,1},{2}).
//!
//! | here | in the paper |
//! |---|---|
//! | [`for_each_csg_cmp_pair`] | EnumerateCsg and the loop of DPccp |
//! | `grow` | EnumerateCsgRec |
//! | `complements` | EnumerateCmp, with the exclusion X ∪ (B_i ∩ N) of the correction |

use super::{Enumerator, Input, Problem, Solution, StopReason, best_orientation, goo};
use crate::join_graph::JoinGraph;
use crate::join_tree::JoinTree;
use crate::relset::RelSet;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Calls `emit` once for each csg-cmp-pair of the graph, in an order in which every pair comes
/// after all pairs inside its two sides. Stops when `emit` breaks, for instance on a spent budget.
///
/// Each unordered pair is emitted in one orientation only. Disconnected graphs yield the pairs of
/// each component.
pub fn for_each_csg_cmp_pair<B>(
    graph: &JoinGraph,
    mut emit: impl FnMut(RelSet, RelSet) -> ControlFlow<B>,
) -> ControlFlow<B> {
    for i in (0..graph.len()).rev() {
        let start = RelSet::single(i);
        complements(graph, start, &mut emit)?;
        let below = RelSet::first_n(i + 1);
        grow(graph, start, below, &mut |csg| {
            complements(graph, csg, &mut emit)
        })?;
    }
    ControlFlow::Continue(())
}

/// Emits every connected proper superset of `set` that adds none of `excluded`.
fn grow<B>(
    graph: &JoinGraph,
    set: RelSet,
    excluded: RelSet,
    emit: &mut impl FnMut(RelSet) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let around = graph.neighborhood(set).minus(excluded);
    for more in around.subsets() {
        emit(set.union(more))?;
    }
    let excluded = excluded.union(around);
    for more in around.subsets() {
        grow(graph, set.union(more), excluded, emit)?;
    }
    ControlFlow::Continue(())
}

/// Emits `csg` with each of its complements that have no relation below the lowest of `csg`, which
/// is what makes each unordered pair appear once.
fn complements<B>(
    graph: &JoinGraph,
    csg: RelSet,
    emit: &mut impl FnMut(RelSet, RelSet) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let Some(lowest) = csg.first() else {
        return ControlFlow::Continue(());
    };
    let excluded = csg.union(RelSet::first_n(lowest + 1));
    let around = graph.neighborhood(csg).minus(excluded);
    let mut rest = around;
    while !rest.is_empty() {
        // From the highest neighbour down.
        let i = 63 - rest.bits().leading_zeros() as usize;
        rest = rest.minus(RelSet::single(i));
        let start = RelSet::single(i);
        emit(csg, start)?;
        let below = excluded.union(around.intersect(RelSet::first_n(i + 1)));
        grow(graph, start, below, &mut |cmp| emit(csg, cmp))?;
    }
    ControlFlow::Continue(())
}

/// The exact search. When the graph has more csg-cmp-pairs than the budget, [`goo`](super::Goo)
/// answers instead.
#[derive(Debug, Clone, Copy, Default)]
pub struct DpCcp;

impl Enumerator for DpCcp {
    fn name(&self) -> &str {
        "dpccp"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        // Counting costs a small part of what costing the pairs would, so an exact search that
        // cannot finish is not begun.
        let mut pairs = 0_u64;
        let count = for_each_csg_cmp_pair(problem.graph, |_, _| {
            pairs += 1;
            if pairs > problem.budget {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if count.is_break() {
            return Solution {
                stop: StopReason::Budget,
                ..goo::greedy(problem)
            };
        }

        let mut table = PlanTable::new(problem);
        let ControlFlow::Continue(()) = for_each_csg_cmp_pair(problem.graph, |a, b| {
            table.offer(a, b);
            ControlFlow::<std::convert::Infallible>::Continue(())
        });
        let forest = problem
            .graph
            .components()
            .into_iter()
            .map(|component| table.tree(component))
            .collect();
        let (tree, more_pairs) = goo::join_forest(problem, forest);
        Solution {
            cost: problem.tree_cost(&tree),
            tree,
            pairs: pairs + more_pairs,
            stop: StopReason::Complete,
        }
    }
}

/// The best known plan of a connected set.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Cost of the plan's joins; infinite while none is known.
    cost: f64,
    /// Rows of the set, whatever the plan.
    rows: f64,
    /// The left input; empty for a single relation.
    left: RelSet,
}

const UNKNOWN: Plan = Plan {
    cost: f64::INFINITY,
    rows: f64::NAN,
    left: RelSet::EMPTY,
};

/// Up to this many relations the table is an array over all sets: 2 MiB at most, and no hashing.
const DENSE_RELATIONS: usize = 16;

/// Best plans by set of relations.
struct PlanTable<'a> {
    problem: &'a Problem<'a>,
    plans: Plans,
}

enum Plans {
    Dense(Vec<Plan>),
    Sparse(HashMap<RelSet, Plan, FixedState>),
}

impl Plans {
    fn get(&self, set: RelSet) -> Plan {
        match self {
            Self::Dense(plans) => plans[set.bits() as usize],
            Self::Sparse(plans) => plans.get(&set).copied().unwrap_or(UNKNOWN),
        }
    }

    fn set(&mut self, set: RelSet, plan: Plan) {
        match self {
            Self::Dense(plans) => plans[set.bits() as usize] = plan,
            Self::Sparse(plans) => {
                plans.insert(set, plan);
            }
        }
    }
}

impl<'a> PlanTable<'a> {
    fn new(problem: &'a Problem<'a>) -> Self {
        let n = problem.graph.len();
        let mut plans = if n <= DENSE_RELATIONS {
            Plans::Dense(vec![UNKNOWN; 1 << n])
        } else {
            Plans::Sparse(HashMap::default())
        };
        for relation in 0..n {
            let set = RelSet::single(relation);
            plans.set(
                set,
                Plan {
                    cost: 0.0,
                    rows: problem.cardinalities.rows(set),
                    left: RelSet::EMPTY,
                },
            );
        }
        Self { problem, plans }
    }

    /// Considers the join of two sets whose best plans are known.
    fn offer(&mut self, a: RelSet, b: RelSet) {
        let (plan_a, plan_b) = (self.plans.get(a), self.plans.get(b));
        let set = a.union(b);
        let known = self.plans.get(set);
        let rows = if known.rows.is_nan() {
            self.problem.cardinalities.rows(set)
        } else {
            known.rows
        };
        let a = Input {
            set: a,
            rows: plan_a.rows,
        };
        let b = Input {
            set: b,
            rows: plan_b.rows,
        };
        let (join, left, _) = best_orientation(self.problem, &a, &b, rows);
        let cost = plan_a.cost + plan_b.cost + join;
        // The first of equally cheap plans stays, whatever hashing does: enumeration has an order.
        // A cost that overflowed to infinity must still leave a plan behind.
        if cost < known.cost || known.left.is_empty() {
            self.plans.set(set, Plan { cost, rows, left });
        }
    }

    /// The best tree of a set that the enumeration has covered.
    fn tree(&self, set: RelSet) -> JoinTree {
        let left = self.plans.get(set).left;
        if left.is_empty() {
            debug_assert_eq!(set.len(), 1, "no plan for {set:?}");
            return JoinTree::Leaf(set.first().unwrap_or(0));
        }
        JoinTree::join(self.tree(left), self.tree(set.minus(left)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Exhaustive, Goo};
    use super::*;
    use crate::cost::Cout;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn pairs(graph: &JoinGraph) -> Vec<(RelSet, RelSet)> {
        let mut pairs = vec![];
        let ControlFlow::Continue(()) = for_each_csg_cmp_pair(graph, |a, b| {
            pairs.push((a, b));
            ControlFlow::<std::convert::Infallible>::Continue(())
        });
        pairs
    }

    fn check_count(graph: &JoinGraph, expected: usize) {
        assert_eq!(pairs(graph).len(), expected, "{graph:?}");
    }

    #[test]
    fn pair_counts_are_the_closed_forms() {
        for n in 2..=12 {
            check_count(&chain(n), (n.pow(3) - n) / 6);
            if n > 2 {
                check_count(&cycle(n), (n.pow(3) - 2 * n.pow(2) + n) / 2);
            }
            check_count(&star(n), (n - 1) << (n - 2));
            check_count(
                &clique(n),
                (3_usize.pow(n as u32) - (1 << (n + 1))).div_ceil(2),
            );
        }
    }

    #[test]
    fn worked_example() {
        let bits: Vec<(u64, u64)> = pairs(&chain(3))
            .into_iter()
            .map(|(a, b)| (a.bits(), b.bits()))
            .collect();
        assert_eq!(
            bits,
            [
                (0b010, 0b100),
                (0b001, 0b010),
                (0b001, 0b110),
                (0b011, 0b100)
            ]
        );
    }

    proptest! {
        /// Each unordered pair of connected, disjoint, connected-with-each-other sets once, and
        /// after all pairs inside its sides.
        #[test]
        fn each_pair_once_and_inputs_first(graph in connected_graph(8)) {
            let mut expected = HashSet::new();
            for a in graph.all().subsets().filter(|s| graph.is_connected(*s)) {
                for b in graph.all().minus(a).subsets().filter(|s| graph.is_connected(*s)) {
                    if a.first() < b.first() && graph.connects(a, b) {
                        expected.insert((a, b));
                    }
                }
            }
            let mut complete: HashSet<RelSet> = (0..graph.len()).map(RelSet::single).collect();
            let mut left: Vec<(RelSet, RelSet)> = expected.iter().copied().collect();
            let emitted = pairs(&graph);
            prop_assert_eq!(emitted.len(), expected.len());
            for (a, b) in emitted {
                let key = if a.first() < b.first() { (a, b) } else { (b, a) };
                prop_assert!(expected.remove(&key), "{:?} twice or unexpected", key);
                prop_assert!(complete.contains(&a) && complete.contains(&b));
                left.retain(|pair| *pair != key);
                let union = a.union(b);
                if left.iter().all(|(c, d)| c.union(*d) != union) {
                    complete.insert(union);
                }
            }
            prop_assert!(expected.is_empty());
        }

        #[test]
        fn costs_what_exhaustive_search_costs(graph in connected_graph(8), seed: u64) {
            let rows = HashedRows(seed);
            let written = in_order(graph.len());
            let problem = Problem {
                graph: &graph,
                cardinalities: &rows,
                cost: &Cout,
                written: &written,
                budget: u64::MAX,
            };
            let exact = DpCcp.search(&problem);
            let every = Exhaustive.search(&problem);
            prop_assert_eq!(exact.stop, StopReason::Complete);
            prop_assert_eq!(exact.tree.relations(), graph.all());
            prop_assert!((exact.cost - every.cost).abs() <= 1e-9 * every.cost.abs());
            prop_assert!(exact.cost <= Goo.search(&problem).cost * (1.0 + 1e-9));
        }
    }

    #[test]
    fn a_spent_budget_is_answered_greedily() {
        let graph = clique(10);
        let rows = HashedRows(7);
        let written = in_order(10);
        let problem = Problem {
            graph: &graph,
            cardinalities: &rows,
            cost: &Cout,
            written: &written,
            budget: 100,
        };
        let solution = DpCcp.search(&problem);
        assert_eq!(solution.stop, StopReason::Budget);
        assert_eq!(solution.tree, Goo.search(&problem).tree);
        assert_eq!(solution.tree.relations(), graph.all());
    }

    #[test]
    fn components_are_joined_last() {
        use crate::join_graph::EdgeKind::Equality;
        let graph = JoinGraph::new(5, [(0, 3, Equality), (1, 4, Equality)]);
        let rows = HashedRows(1);
        let written = in_order(5);
        let problem = Problem {
            graph: &graph,
            cardinalities: &rows,
            cost: &Cout,
            written: &written,
            budget: u64::MAX,
        };
        let solution = DpCcp.search(&problem);
        assert_eq!(solution.tree.relations(), graph.all());
        let mut products = 0;
        solution.tree.for_each_join(&mut |l, r| {
            products += usize::from(!graph.connects(l, r));
        });
        assert_eq!(products, 2);
    }

    #[test]
    fn sparse_and_dense_tables_agree() {
        // 17 relations use the hash table; a chain of 17 has a sub-chain of 16 in the dense one.
        for n in [16, 17] {
            let graph = chain(n);
            let rows = HashedRows(3);
            let written = in_order(n);
            let problem = Problem {
                graph: &graph,
                cardinalities: &rows,
                cost: &Cout,
                written: &written,
                budget: u64::MAX,
            };
            let solution = DpCcp.search(&problem);
            assert_eq!(solution.pairs, (n.pow(3) - n) as u64 / 6);
            // The classic interval dynamic program is an independent check for chains.
            let set = |i: usize, j: usize| RelSet::first_n(j + 1).minus(RelSet::first_n(i));
            let mut best = vec![vec![0.0_f64; n]; n];
            for len in 2..=n {
                for i in 0..=n - len {
                    let j = i + len - 1;
                    let own = crate::estimate::Cardinalities::rows(&rows, set(i, j));
                    best[i][j] = (i..j)
                        .map(|k| best[i][k] + best[k + 1][j] + own)
                        .fold(f64::INFINITY, f64::min);
                }
            }
            assert!((solution.cost - best[0][n - 1]).abs() < 1e-6 * solution.cost);
        }
    }
}
