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

use super::plan_table::PlanTable;
use super::{Enumerator, Problem, Solution, StopReason, dphyp, goo};
use crate::join_graph::JoinGraph;
use crate::relset::{MAX_RELATIONS, RelSet};
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
    while let Some(i) = rest.last() {
        rest = rest.minus(RelSet::single(i));
        let start = RelSet::single(i);
        emit(csg, start)?;
        let below = excluded.union(around.intersect(RelSet::first_n(i + 1)));
        grow(graph, start, below, &mut |cmp| emit(csg, cmp))?;
    }
    ControlFlow::Continue(())
}

/// The exact search of plain graphs. When the graph has more csg-cmp-pairs than the budget, [`goo`](super::Goo)
/// answers instead; a graph that is not plain is searched by [`DpHyp`](super::DpHyp).
#[derive(Debug, Clone, Copy, Default)]
pub struct DpCcp;

impl Enumerator for DpCcp {
    fn name(&self) -> &str {
        "dpccp"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        exact(problem).unwrap_or_else(|pairs| Solution {
            stop: StopReason::Greedy { after: pairs },
            ..goo::greedy(problem)
        })
    }
}

/// The optimal tree, or how many pairs were looked at or counted until the budget was spent.
pub(super) fn exact(problem: &Problem<'_>) -> Result<Solution, u64> {
    if problem.graph.len() > MAX_RELATIONS {
        return Err(0);
    }
    if !problem.graph.is_plain() {
        return dphyp::exact(problem);
    }
    let pairs = count_pairs(problem.graph, problem.budget).ok_or(problem.budget)?;
    let mut table = PlanTable::new(problem, pairs);
    let ControlFlow::Continue(()) = for_each_csg_cmp_pair(problem.graph, |a, b| {
        table.offer(a, b);
        ControlFlow::<std::convert::Infallible>::Continue(())
    });
    let components = problem.graph.components();
    if let [component] = components[..] {
        return Ok(Solution {
            cost: table.cost(component),
            tree: table.tree(component),
            pairs,
            stop: StopReason::Exact,
        });
    }
    let forest = components.into_iter().map(|c| table.tree(c)).collect();
    let (tree, more_pairs) = goo::join_forest(problem, forest);
    let Some(tree) = tree else {
        return Ok(problem.no_other(pairs + more_pairs));
    };
    Ok(Solution {
        cost: problem.tree_cost(&tree),
        tree,
        pairs: pairs + more_pairs,
        stop: StopReason::Exact,
    })
}

/// How many csg-cmp-pairs a plain graph has, `None` if more than `most`. Counting costs a small part of what costing
/// the pairs would, so an exact search that cannot finish is not begun.
pub fn count_pairs(graph: &JoinGraph, most: u64) -> Option<u64> {
    let mut pairs = 0_u64;
    let counted = for_each_csg_cmp_pair(graph, |_, _| {
        pairs += 1;
        match pairs > most {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    counted.is_continue().then_some(pairs)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Exhaustive, Goo};
    use super::*;
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
            let problem = problem(&graph, &rows, &written, u64::MAX);
            let exact = DpCcp.search(&problem);
            let every = Exhaustive.search(&problem);
            prop_assert_eq!(exact.stop, StopReason::Exact);
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
        let problem = problem(&graph, &rows, &written, 100);
        let solution = DpCcp.search(&problem);
        assert_eq!(solution.stop, StopReason::Greedy { after: 100 });
        assert_eq!(solution.tree, Goo.search(&problem).tree);
        assert_eq!(solution.tree.relations(), graph.all());
    }

    #[test]
    fn components_are_joined_last() {
        use crate::join_graph::EdgeKind::Equality;
        let graph = JoinGraph::new(5, [(0, 3, Equality), (1, 4, Equality)]);
        let rows = HashedRows(1);
        let written = in_order(5);
        let problem = problem(&graph, &rows, &written, u64::MAX);
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
            let problem = problem(&graph, &rows, &written, u64::MAX);
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
