//! Every join tree, without a plan table: the judge of the other searches.

use super::{Enumerator, Input, Problem, Solution, StopReason, best_orientation, goo};
use crate::join_tree::JoinTree;
use crate::relset::RelSet;

/// Looks at every cross-product-free tree of every component. It takes exponentially longer than
/// [`DpCcp`](super::DpCcp) and is meant for tests of up to 8 or 9 relations; a spent budget is
/// answered greedily.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exhaustive;

impl Enumerator for Exhaustive {
    fn name(&self) -> &str {
        "exhaustive"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        let mut pairs = 0;
        let mut forest = vec![];
        for component in problem.graph.components() {
            match best(problem, component, &mut pairs) {
                Some((_, _, tree)) => forest.push(tree),
                None => {
                    return Solution {
                        stop: StopReason::Budget,
                        ..goo::greedy(problem)
                    };
                }
            }
        }
        let (tree, more_pairs) = goo::join_forest(problem, forest);
        Solution {
            cost: problem.tree_cost(&tree),
            tree,
            pairs: pairs + more_pairs,
            stop: StopReason::Complete,
        }
    }
}

/// The cheapest tree of a connected set with its cost and rows; `None` when the budget is spent.
fn best(problem: &Problem<'_>, set: RelSet, pairs: &mut u64) -> Option<(f64, f64, JoinTree)> {
    let rows = problem.cardinalities.rows(set);
    let lowest = set.first()?;
    if set.len() == 1 {
        return Some((0.0, rows, JoinTree::Leaf(lowest)));
    }
    let mut found: Option<(f64, JoinTree)> = None;
    for a in set.subsets().filter(|a| a.contains(lowest) && *a != set) {
        let b = set.minus(a);
        let graph = problem.graph;
        if !graph.is_connected(a) || !graph.is_connected(b) || !graph.connects(a, b) {
            continue;
        }
        *pairs += 1;
        if *pairs > problem.budget {
            return None;
        }
        let (cost_a, rows_a, tree_a) = best(problem, a, pairs)?;
        let (cost_b, rows_b, tree_b) = best(problem, b, pairs)?;
        let input_a = Input {
            set: a,
            rows: rows_a,
        };
        let input_b = Input {
            set: b,
            rows: rows_b,
        };
        let (join, left, _) = best_orientation(problem, &input_a, &input_b, rows);
        let cost = cost_a + cost_b + join;
        if found.as_ref().is_none_or(|(least, _)| cost < *least) {
            let tree = if left == a {
                JoinTree::join(tree_a, tree_b)
            } else {
                JoinTree::join(tree_b, tree_a)
            };
            found = Some((cost, tree));
        }
    }
    found.map(|(cost, tree)| (cost, rows, tree))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::cost::Cout;

    #[test]
    fn counts_all_trees_of_a_clique() {
        // Recursion without a table visits a split once for each tree above it; the number of
        // unordered trees of a clique of n is (2n-3)!!: 3 for n = 3, made of 3 root splits with one
        // split each below.
        let graph = clique(3);
        let rows = HashedRows(0);
        let written = in_order(3);
        let mut problem = Problem {
            graph: &graph,
            cardinalities: &rows,
            cost: &Cout,
            written: &written,
            budget: u64::MAX,
        };
        assert_eq!(Exhaustive.search(&problem).pairs, 6);
        problem.budget = 5;
        assert_eq!(Exhaustive.search(&problem).stop, StopReason::Budget);
    }
}
