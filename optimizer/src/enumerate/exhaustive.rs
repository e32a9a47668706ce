//! Every join tree, without a plan table: the judge of the other searches.

use super::{Enumerator, Input, Problem, Solution, StopReason, best_orientation, goo};
use crate::join_tree::JoinTree;
use crate::relset::{MAX_RELATIONS, RelSet};

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
        let greedy = |pairs| Solution {
            stop: StopReason::Greedy { after: pairs },
            ..goo::greedy(problem)
        };
        if problem.graph.len() > MAX_RELATIONS {
            return greedy(0);
        }
        let mut search = Search { problem, pairs: 0 };
        let mut forest = vec![];
        for component in problem.graph.components() {
            match search.best(component) {
                Err(Spent) => return greedy(search.pairs),
                Ok(Some((_, _, tree))) => forest.push(tree),
                Ok(None) => return problem.no_other(search.pairs),
            }
        }
        let (tree, more_pairs) = goo::join_forest(problem, forest);
        let Some(tree) = tree else {
            return problem.no_other(search.pairs + more_pairs);
        };
        Solution {
            cost: problem.tree_cost(&tree),
            tree,
            pairs: search.pairs + more_pairs,
            stop: StopReason::Exact,
        }
    }
}

/// The budget is spent.
struct Spent;

struct Search<'a> {
    problem: &'a Problem<'a>,
    pairs: u64,
}

impl Search<'_> {
    /// The cheapest tree of a set with its cost and rows; `Ok(None)` if the set has no tree.
    fn best(&mut self, set: RelSet) -> Result<Option<(f64, f64, JoinTree)>, Spent> {
        let rows = self.problem.cardinalities.rows(set);
        let Some(lowest) = set.first() else {
            return Ok(None);
        };
        if set.len() == 1 {
            return Ok(Some((0.0, rows, JoinTree::Leaf(lowest))));
        }
        let mut found: Option<(f64, JoinTree)> = None;
        for a in set.subsets().filter(|a| a.contains(lowest) && *a != set) {
            let b = set.minus(a);
            let graph = self.problem.graph;
            if graph.link(a, b).is_none()
                || (graph.is_plain() && !(graph.is_connected(a) && graph.is_connected(b)))
            {
                continue;
            }
            self.pairs += 1;
            if self.pairs > self.problem.budget {
                return Err(Spent);
            }
            let Some((cost_a, rows_a, tree_a)) = self.best(a)? else {
                continue;
            };
            let Some((cost_b, rows_b, tree_b)) = self.best(b)? else {
                continue;
            };
            let input = |set, rows| Input { set, rows };
            let (a, b) = (input(a, rows_a), input(b, rows_b));
            let (join, left, _) = best_orientation(self.problem, &a, &b, rows);
            let cost = cost_a + cost_b + join;
            if found.as_ref().is_none_or(|(least, _)| cost < *least) {
                let tree = match left == a.set {
                    true => JoinTree::join(tree_a, tree_b),
                    false => JoinTree::join(tree_b, tree_a),
                };
                found = Some((cost, tree));
            }
        }
        Ok(found.map(|(cost, tree)| (cost, rows, tree)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn counts_all_trees_of_a_clique() {
        // Recursion without a table visits a split once for each tree above it; the number of
        // unordered trees of a clique of n is (2n-3)!!: 3 for n = 3, made of 3 root splits with one
        // split each below.
        let graph = clique(3);
        let rows = HashedRows(0);
        let written = in_order(3);
        let mut problem = problem(&graph, &rows, &written, u64::MAX);
        assert_eq!(Exhaustive.search(&problem).pairs, 6);
        problem.budget = 5;
        assert_eq!(
            Exhaustive.search(&problem).stop,
            StopReason::Greedy { after: 6 }
        );
    }
}
