//! Simpli-Squared as an order: Datta et al., "Simpli-Squared: A Very Simple Yet Unexpectedly Powerful Join Ordering
//! Without Cardinality Estimates", 2021.
//!
//! The join graph and the sizes of the relations are all that is looked at. Every equality is taken for one of a key
//! with a foreign key, the smaller relation having the key, so that a join has as many rows as the larger one; and
//! those joins come first that have the fewest. Of equalities in a circle, those of the most values count.
//!
//! The paper reads from the schema which side has the key; a [`Problem`] does not say. What it gives as sizes are rows
//! after the predicates on single relations.

use super::ikkbz::UnionFind;
use super::{Enumerator, Problem, Solution, goo};
use crate::estimate::ProductRows;
use crate::join_graph::EdgeKind;
use crate::relset::{MAX_RELATIONS, RelSet};

/// The greedy order by the sizes of the relations alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimpliOrder;

impl Enumerator for SimpliOrder {
    fn name(&self) -> &str {
        "simpli"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        let n = problem.graph.len();
        let product = problem.cardinalities.product();
        let mut rows: Vec<f64> = match n <= MAX_RELATIONS {
            true => (0..n)
                .map(|relation| problem.cardinalities.rows(RelSet::single(relation)))
                .collect(),
            false => product.map_or_else(Vec::new, |product| product.relations().to_vec()),
        };
        rows.resize(n, 1.0);
        let equalities = problem.graph.edges().iter();
        let equalities = equalities.filter(|(_, _, kind)| *kind == EdgeKind::Equality);
        let mut keys: Vec<(f64, usize, usize)> = equalities
            .map(|(a, b, _)| (rows[*a].min(rows[*b]).max(1.0), *a, *b))
            .collect();
        keys.sort_by(|x, y| y.0.total_cmp(&x.0).then((x.1, x.2).cmp(&(y.1, y.2))));
        let mut sets = UnionFind::new(n);
        keys.retain(|(_, a, b)| sets.union(*a, *b));
        let selectivities = keys.into_iter().map(|(values, a, b)| (a, b, 1.0 / values));
        let sizes = ProductRows::new(rows, selectivities);
        let solution = goo::greedy(&Problem {
            cardinalities: &sizes,
            ..*problem
        });
        Solution {
            cost: problem.tree_cost(&solution.tree),
            ..solution
        }
    }
}
