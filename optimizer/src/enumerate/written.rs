//! The order in which the query was written, as DataFusion hands it over.

use super::{Enumerator, Problem, Solution, StopReason};

/// Keeps the written tree.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written;

impl Enumerator for Written {
    fn name(&self) -> &str {
        "written"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        Solution {
            tree: problem.written.clone(),
            cost: problem.tree_cost(problem.written),
            pairs: 0,
            stop: StopReason::Written,
        }
    }
}
