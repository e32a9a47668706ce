//! Adaptive optimization of very large join queries: Neumann & Radke, SIGMOD 2018; Radke & Neumann, BTW 2019.
//!
//! What a graph is like decides how it is searched: exactly while its csg-cmp-pairs fit the budget, over linear orders
//! up to 100 relations, and greedily with repairs beyond. Whatever was searched is never worse than the greedy tree.
//!
//! Where conflicts of joins leave a search without a tree, the greedy one stands, and if it has none, the query's own.

use super::{Enumerator, Problem, Solution, StopReason, dpccp, goo, goo_dp, lindp};
use crate::relset::MAX_RELATIONS;

/// The default search.
#[derive(Debug, Clone, Copy, Default)]
pub struct Adaptive;

/// The most relations that are put in one linear order.
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
        let greedy = goo::greedy(problem);
        if n <= MOST_LINEARIZED {
            return lindp::search(problem, greedy, after);
        }
        goo_dp::repaired(problem, greedy)
    }
}
