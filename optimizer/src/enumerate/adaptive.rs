//! Adaptive optimization of very large join queries: Neumann & Radke, SIGMOD 2018; Radke & Neumann, BTW 2019.
//!
//! What a graph is like decides how it is searched: exactly while its csg-cmp-pairs fit the budget, over linear orders
//! while the intervals do, and with repairs of what was found. The paper repairs the greedy tree, and that of more than 100
//! relations alone. Here the greedy tree is repaired at any size, what it costs then bounds the search over linear orders, and
//! if that finds a cheaper tree it is repaired, too: repairs stay near to what they start from, and on cyclic graphs the
//! linear order of a spanning tree is a poor guide. Whatever was searched is never worse than the greedy tree.
//!
//! Where conflicts of joins leave a search without a tree, the greedy one stands, and if it has none, the query's own.

use super::{Enumerator, Problem, Solution, StopReason, dpccp, goo, goo_dp, lindp};
use crate::relset::MAX_RELATIONS;

/// The default search.
#[derive(Debug, Clone, Copy, Default)]
pub struct Adaptive;

/// Up to so many relations a search says that it was linearized, beyond that it was repaired.
const MOST_LINEARIZED: usize = 100;

impl Enumerator for Adaptive {
    fn name(&self) -> &str {
        "adaptive"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        let n = problem.graph.len();
        let mut after = 0;
        if n <= MAX_RELATIONS {
            match dpccp::exact(problem) {
                Ok(solution) if solution.stop == StopReason::Exact => return solution,
                Ok(solution) => after = solution.pairs,
                Err(pairs) => after = pairs,
            }
        }
        let greedy = goo_dp::repaired(problem, goo::greedy(problem));
        let linearized = lindp::search(problem, greedy.clone(), after);
        let stop = linearized.stop;
        let better = match linearized.tree == greedy.tree {
            true => Solution {
                stop: greedy.stop,
                ..linearized
            },
            false => goo_dp::repaired(problem, linearized),
        };
        match n <= MOST_LINEARIZED {
            true => Solution { stop, ..better },
            false => better,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Exhaustive, Goo, GooDp, IkkBz, LinDp, QuickPick, SimpliOrder};
    use super::*;
    use crate::conflicts::operators;
    use crate::estimate::{Cardinalities, ProductRows};
    use crate::join_graph::{EdgeKind, JoinGraph};
    use proptest::prelude::*;

    const PICK: QuickPick = QuickPick { trees: 5, seed: 7 };
    const ALL: [&dyn Enumerator; 8] = [
        &Adaptive,
        &LinDp,
        &GooDp,
        &Goo,
        &IkkBz,
        &PICK,
        &SimpliOrder,
        &Exhaustive,
    ];

    /// Every search gives every relation once, the cost that its tree has, and the same answer twice.
    fn check(problem: &Problem<'_>) -> [f64; 8] {
        ALL.map(|search| {
            let solution = search.search(problem);
            let name = search.name();
            let mut leaves = solution.tree.leaves();
            leaves.sort_unstable();
            let n = problem.graph.len();
            assert!(leaves.into_iter().eq(0..n), "{name}: {solution:?}");
            let cost = problem.tree_cost(&solution.tree);
            let close = (cost - solution.cost).abs() <= 1e-9 * cost.abs();
            assert!(close, "{name}: {cost}, {solution:?}");
            assert_eq!(search.search(problem), solution, "{name}");
            solution.cost
        })
    }

    fn dearer(a: f64, b: f64) -> bool {
        a >= b * (1.0 - 1e-9)
    }

    proptest! {
        /// Greedy, linearized, exact: each no dearer than the one before, and the same for all that builds on them.
        #[test]
        fn costs_are_in_order(graph in connected_graph(9), seed: u64, product_rows: bool) {
            let hashed = HashedRows(seed);
            let product = product(&graph, seed);
            let rows: &dyn Cardinalities = if product_rows { &product } else { &hashed };
            let written = in_order(graph.len());
            let costs = check(&problem(&graph, rows, &written, u64::MAX));
            let [adaptive, lindp, goo_dp, goo, ikkbz, pick, simpli, exact] = costs;
            prop_assert!(dearer(exact, adaptive) && dearer(adaptive, exact));
            for cost in [lindp, goo_dp, goo, ikkbz, pick, simpli] {
                prop_assert!(dearer(cost, exact));
            }
            prop_assert!(dearer(goo, lindp) && dearer(goo, goo_dp) && dearer(ikkbz, lindp));
        }

        /// The same without enough pairs for an exact search.
        #[test]
        fn costs_are_in_order_on_a_budget(graph in connected_graph(40), seed: u64, budget in 0_u64..2_000) {
            let rows = product(&graph, seed);
            let written = in_order(graph.len());
            let problem = problem(&graph, &rows, &written, budget);
            // All but the exhaustive one, which looks at all sets.
            let costs: Vec<f64> = ALL[..7].iter().map(|search| search.search(&problem).cost).collect();
            prop_assert!(dearer(costs[3], costs[0]));
            prop_assert!(dearer(costs[3], costs[1]) && dearer(costs[3], costs[2]));
            let n = graph.len() as u64;
            // Three linear orders and two repairs with twice the budget each, and a row of partners before each notices.
            let most = budget + 3 * (2 * budget + n) + 2 * (2 * budget + 3 * n) + n * n;
            prop_assert!(Adaptive.search(&problem).pairs <= most);
        }

        /// Joins of all kinds: every join of every tree is allowed, exact search or not.
        #[test]
        fn conflicts_are_obeyed((n, tree) in operator_tree(12), seed: u64, budget in 0_u64..300) {
            let graph = JoinGraph::new(n, []).with_operators(operators(&tree));
            let rows = HashedRows(seed);
            let written = written_tree(&tree);
            let problem = problem(&graph, &rows, &written, budget);
            let best = Adaptive.search(&problem);
            for search in ALL {
                let solution = search.search(&problem);
                let mut legal = true;
                solution.tree.for_each_join(&mut |a, b| legal &= graph.link(a, b).is_some());
                prop_assert!(legal, "{}: {graph:?} forbids {:?}", search.name(), solution.tree);
                prop_assert_eq!(solution.tree.relations(), graph.all());
            }
            prop_assert!(dearer(Goo.search(&problem).cost, best.cost));
        }
    }

    /// A tree of relations, each connected with one of the few before it.
    fn large(n: usize) -> JoinGraph {
        let edges = (1..n).map(|i| (i - 1 - (i * 7919 % i.min(5)), i, EdgeKind::Equality));
        JoinGraph::new(n, edges)
    }

    #[test]
    fn graphs_beyond_a_word() {
        for n in [65, 150] {
            let graph = large(n);
            let rows = product(&graph, 3);
            let written = in_order(n);
            let costs = check(&problem(&graph, &rows, &written, 50_000));
            assert!(dearer(costs[3], costs[0]) && dearer(costs[3], costs[1]));
            assert!(dearer(costs[3], costs[2]) && dearer(costs[4], costs[1]));
        }
    }

    #[test]
    fn thousands_of_relations_fit_the_stack() {
        let n = 5_000;
        for graph in [large(n), chain(n), star(n)] {
            let rows = product(&graph, 3);
            let written = in_order(n);
            let problem = problem(&graph, &rows, &written, 1_000);
            let solution = Adaptive.search(&problem);
            assert_eq!(solution.tree.leaves().len(), n);
            assert!(solution.cost.is_finite() && solution.cost <= Goo.search(&problem).cost);
            assert_eq!(IkkBz.search(&problem).tree.leaves().len(), n);
        }
    }

    #[test]
    fn parts_of_a_large_graph_that_nothing_connects() {
        let n = 300;
        let graph = JoinGraph::new(
            n,
            (1..n)
                .filter(|i| i % 3 > 0)
                .map(|i| (i - 1, i, EdgeKind::Theta)),
        );
        let rows = product(&graph, 5);
        let written = in_order(n);
        check(&problem(&graph, &rows, &written, 50_000));
        // Nor is anything known of it.
        let rows = ProductRows::new(vec![], []);
        check(&problem(&graph, &rows, &written, 50_000));
    }

    #[test]
    fn why_it_stopped() {
        let stop = |graph: &JoinGraph, budget| {
            let rows = product(graph, 1);
            let written = in_order(graph.len());
            Adaptive
                .search(&problem(graph, &rows, &written, budget))
                .stop
        };
        assert_eq!(stop(&star(10), 50_000), StopReason::Exact);
        assert_eq!(
            stop(&star(30), 50_000),
            StopReason::Linearized { after: 50_000 }
        );
        assert!(matches!(
            stop(&chain(300), 50_000),
            StopReason::Repaired { parts: 1.. }
        ));
        assert!(matches!(
            stop(&clique(30), 100),
            StopReason::Greedy { after: 100.. }
        ));
    }
}
