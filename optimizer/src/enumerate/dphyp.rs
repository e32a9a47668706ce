//! DPhyp: Moerkotte & Neumann, SIGMOD 2008. DPccp for hypergraphs, and so for joins of all kinds.
//!
//! A hyperedge leads from a set of relations to another. What it leads to is represented by its lowest relation while
//! sets grow; whether a grown set can be joined at all shows in the plan table, since all its parts come before it.
//! Conflict rules and the kinds of joins are looked at where a pair is complete ([`JoinGraph::link`]).
//!
//! | here | in the paper |
//! |---|---|
//! | `Walk::run` | Solve |
//! | `Walk::grow_csg` | EnumerateCsgRec |
//! | `Walk::complements` | EmitCsg |
//! | `Walk::grow_cmp` | EnumerateCmpRec |

use super::plan_table::PlanTable;
use super::{Enumerator, Problem, Solution, StopReason, dpccp, goo};
use crate::join_graph::{JoinGraph, Link};
use crate::relset::RelSet;
use std::ops::ControlFlow;

/// The exact search of any graph. When it needs more pairs than the budget, [`goo`](super::Goo) answers instead.
#[derive(Debug, Clone, Copy, Default)]
pub struct DpHyp;

impl Enumerator for DpHyp {
    fn name(&self) -> &str {
        "dphyp"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        dpccp::exact(problem).unwrap_or_else(|pairs| Solution {
            stop: StopReason::Greedy { after: pairs },
            ..goo::greedy(problem)
        })
    }
}

/// The optimal tree of a hypergraph, or how many pairs were looked at until the budget was spent.
pub(super) fn exact(problem: &Problem<'_>) -> Result<Solution, u64> {
    let mut search = Search {
        table: PlanTable::new(problem, problem.budget),
        budget: problem.budget,
        pairs: 0,
    };
    if for_each_linked_pair(problem.graph, &mut search).is_break() {
        return Err(search.pairs);
    }
    let components = problem.graph.components();
    if !components.iter().all(|c| search.table.has(*c)) {
        return Ok(problem.no_other(search.pairs));
    }
    let forest = components.iter().map(|c| search.table.tree(*c)).collect();
    let (tree, more_pairs) = goo::join_forest(problem, forest);
    let Some(tree) = tree else {
        return Ok(problem.no_other(search.pairs + more_pairs));
    };
    Ok(Solution {
        cost: problem.tree_cost(&tree),
        tree,
        pairs: search.pairs + more_pairs,
        stop: StopReason::Exact,
    })
}

struct Search<'a> {
    table: PlanTable<'a>,
    budget: u64,
    pairs: u64,
}

impl LinkedPairs for Search<'_> {
    fn has(&self, set: RelSet) -> bool {
        self.table.has(set)
    }

    fn pair(&mut self, a: RelSet, b: RelSet, link: Link) -> ControlFlow<()> {
        self.pairs += 1;
        if self.pairs > self.budget {
            return ControlFlow::Break(());
        }
        self.table.offer_link(a, b, link);
        ControlFlow::Continue(())
    }
}

/// Who is told of pairs, and remembers which sets can be joined.
pub(super) trait LinkedPairs {
    /// Whether the set is a single relation, or there was a pair of it.
    fn has(&self, set: RelSet) -> bool;

    /// Two sets that can be joined, and how. Both come after all pairs inside them, and each pair comes once.
    fn pair(&mut self, a: RelSet, b: RelSet, link: Link) -> ControlFlow<()>;
}

/// Tells `of` each pair of sets of which a join tree of the graph can be made, until it breaks.
pub(super) fn for_each_linked_pair(
    graph: &JoinGraph,
    of: &mut impl LinkedPairs,
) -> ControlFlow<()> {
    Walk { graph, of }.run()
}

struct Walk<'a, P> {
    graph: &'a JoinGraph,
    of: &'a mut P,
}

impl<P: LinkedPairs> Walk<'_, P> {
    fn run(&mut self) -> ControlFlow<()> {
        for i in (0..self.graph.len()).rev() {
            let start = RelSet::single(i);
            self.complements(start)?;
            self.grow_csg(start, RelSet::first_n(i + 1))?;
        }
        ControlFlow::Continue(())
    }

    /// The relations by which `set` can grow without `excluded`; of what a hyperedge leads to the lowest.
    fn neighborhood(&self, set: RelSet, excluded: RelSet) -> RelSet {
        let plain = self.graph.neighborhood(set).minus(excluded);
        let closed = set.union(excluded);
        self.graph
            .ways()
            .iter()
            .filter(|(from, to)| from.is_subset(set) && !to.intersects(closed))
            .filter_map(|(_, to)| to.first())
            .fold(plain, |around, relation| {
                around.union(RelSet::single(relation))
            })
    }

    fn grow_csg(&mut self, set: RelSet, excluded: RelSet) -> ControlFlow<()> {
        let around = self.neighborhood(set, excluded);
        for more in around.subsets() {
            let csg = set.union(more);
            if self.of.has(csg) {
                self.complements(csg)?;
            }
        }
        let excluded = excluded.union(around);
        for more in around.subsets() {
            self.grow_csg(set.union(more), excluded)?;
        }
        ControlFlow::Continue(())
    }

    fn complements(&mut self, csg: RelSet) -> ControlFlow<()> {
        let Some(lowest) = csg.first() else {
            return ControlFlow::Continue(());
        };
        let excluded = csg.union(RelSet::first_n(lowest + 1));
        let around = self.neighborhood(csg, excluded);
        let mut rest = around;
        while let Some(i) = rest.last() {
            rest = rest.minus(RelSet::single(i));
            let start = RelSet::single(i);
            self.pair(csg, start)?;
            let below = excluded.union(around.intersect(RelSet::first_n(i + 1)));
            self.grow_cmp(csg, start, below)?;
        }
        ControlFlow::Continue(())
    }

    fn grow_cmp(&mut self, csg: RelSet, set: RelSet, excluded: RelSet) -> ControlFlow<()> {
        let around = self.neighborhood(set, excluded);
        for more in around.subsets() {
            let cmp = set.union(more);
            if self.of.has(cmp) {
                self.pair(csg, cmp)?;
            }
        }
        let excluded = excluded.union(around);
        for more in around.subsets() {
            self.grow_cmp(csg, set.union(more), excluded)?;
        }
        ControlFlow::Continue(())
    }

    fn pair(&mut self, a: RelSet, b: RelSet) -> ControlFlow<()> {
        let Some(link) = self.graph.link(a, b) else {
            return ControlFlow::Continue(());
        };
        self.of.pair(a, b, link)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Exhaustive, Goo};
    use super::*;
    use crate::conflicts::operators;
    use crate::join_graph::EdgeKind;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// All kinds of joins: the exact search costs what exhaustive search costs, and the query's own tree is always
        /// one of the space.
        #[test]
        fn costs_what_exhaustive_search_costs((n, tree) in operator_tree(8), seed: u64) {
            let graph = JoinGraph::new(n, []).with_operators(operators(&tree));
            let rows = HashedRows(seed);
            let written = written_tree(&tree);
            let problem = problem(&graph, &rows, &written, u64::MAX);
            let mut legal = true;
            written.for_each_join(&mut |a, b| legal &= graph.link(a, b).is_some());
            prop_assert!(legal, "{graph:?} forbids {written:?}");
            let exact = DpHyp.search(&problem);
            let every = Exhaustive.search(&problem);
            prop_assert_eq!(exact.stop, StopReason::Exact);
            prop_assert_eq!(exact.tree.relations(), graph.all());
            prop_assert!((exact.cost - every.cost).abs() <= 1e-9 * every.cost.abs());
            let greedy = Goo.search(&problem);
            prop_assert!(exact.cost <= greedy.cost * (1.0 + 1e-9));
            let mut legal = true;
            exact.tree.for_each_join(&mut |a, b| legal &= graph.link(a, b).is_some());
            prop_assert!(legal, "{graph:?} forbids {:?}", exact.tree);
        }

        /// Plain edges and predicates on three relations and more.
        #[test]
        fn predicates_on_many_relations(
            graph in connected_graph(7),
            more in prop::collection::vec(prop::bits::u64::masked(0x7f), 0..3),
            seed: u64,
        ) {
            let all = graph.all();
            let more = more.into_iter().map(|bits| RelSet::from_bits(bits).intersect(all));
            let graph = graph.with_predicates(more);
            let rows = HashedRows(seed);
            let written = in_order(graph.len());
            let problem = problem(&graph, &rows, &written, u64::MAX);
            let exact = DpHyp.search(&problem);
            let every = Exhaustive.search(&problem);
            prop_assert_eq!(exact.stop, StopReason::Exact);
            prop_assert!((exact.cost - every.cost).abs() <= 1e-9 * every.cost.abs());
        }
    }

    #[test]
    fn plain_graphs_have_the_same_pairs() {
        let graph = clique(6);
        let rows = HashedRows(5);
        let written = in_order(6);
        let problem = problem(&graph, &rows, &written, u64::MAX);
        let hyper = exact(&problem).unwrap_or_else(|pairs| panic!("{pairs} pairs"));
        let plain = dpccp::exact(&problem).unwrap_or_else(|pairs| panic!("{pairs} pairs"));
        assert_eq!(hyper, plain);
    }

    #[test]
    fn a_spent_budget_is_answered_greedily() {
        let graph = JoinGraph::new(12, (1..12).map(|i| (0, i, EdgeKind::Equality)))
            .with_predicates([RelSet::first_n(3)]);
        let rows = HashedRows(7);
        let written = in_order(12);
        let problem = problem(&graph, &rows, &written, 100);
        let solution = DpHyp.search(&problem);
        assert_eq!(solution.stop, StopReason::Greedy { after: 101 });
        assert_eq!(solution.tree, Goo.search(&problem).tree);
    }
}
