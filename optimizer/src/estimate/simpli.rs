//! Simpli-Squared: Datta et al., "Simpli-Squared: A Very Simple Yet Unexpectedly Powerful Join Ordering Without Cardinality Estimates", 2021.
//!
//! No statistics but table sizes, and predicates are not looked at. The paper gives a join order; this is its assumption as an
//! estimator: every join is one of a key with a foreign key. The smallest table with a key holds every value of it once, so that
//! |A ⋈ B| = |A|·|B| / min(|A|, |B|) = max(|A|, |B|). Two foreign keys of one small table C meet in |A|·|B| / |C| rows. Any other estimator
//! must beat this one to exist.

use super::spanning::{Spanning, SpanningKey};
use super::{Cardinalities, CardinalityEstimator, EstimateSource};
use crate::query_graph::QueryGraph;

/// Estimates from table sizes alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Simpli;

impl CardinalityEstimator for Simpli {
    fn name(&self) -> &str {
        "simpli"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        let rows: Vec<f64> = graph.relations.iter().map(|r| r.base.rows).collect();
        let classes = graph.classes.iter().map(|class| {
            let members = class.relations();
            let distinct = members
                .iter()
                .map(|r| rows[r])
                .fold(f64::INFINITY, f64::min);
            let key = |relation| SpanningKey { relation, distinct };
            members.iter().map(key).collect()
        });
        Box::new(Spanning {
            classes: classes.collect(),
            sources: graph.relations.iter().map(|r| r.base.source).collect(),
            rows,
            source: EstimateSource::Guess,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relset::RelSet;

    #[test]
    fn a_key_is_held_by_the_smallest_table() {
        // A fact of 1,000 rows and another of 300 refer to a dimension of 10.
        let key = |relation| SpanningKey {
            relation,
            distinct: 10.0,
        };
        let spanning = Spanning {
            rows: vec![1000.0, 10.0, 300.0],
            sources: vec![EstimateSource::Exact; 3],
            classes: vec![(0..3).map(key).collect()],
            source: EstimateSource::Guess,
        };
        let check = |set: &[usize], rows: f64| {
            let set: RelSet = set.iter().copied().collect();
            assert_eq!(spanning.estimate(set).rows, rows);
        };
        check(&[0, 1], 1000.0);
        check(&[0, 2], 30_000.0);
        check(&[0, 1, 2], 30_000.0);
        check(&[1], 10.0);
    }
}
