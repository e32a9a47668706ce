//! Predicates of single relations evaluated on rows, joins by textbook formulas.
//!
//! Shows what correlation within tables is worth without correlation between them.

use super::joinwright::leaf::Leaf;
use super::textbook::{Prepared, restricted};
use super::{Cardinalities, CardinalityEstimator};
use crate::query_graph::QueryGraph;

/// The rows of single relations as the default estimator sees them: counted where all rows are known, else from samples. Joins are those of
/// [`Textbook`](super::Textbook), with numbers of distinct values that shrink with the rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample;

impl CardinalityEstimator for Sample {
    fn name(&self) -> &str {
        "sample"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        let profiles = graph.relations.iter().enumerate().map(|(at, relation)| {
            let leaf = Leaf::new(graph, at);
            let mut profile = restricted(relation);
            profile.set_rows(leaf.rows);
            profile.source = leaf.source;
            profile
        });
        Box::new(Prepared::new(graph, profiles.collect()))
    }
}
