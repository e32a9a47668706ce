//! An estimator of your own in the workbench: the command line of `joinwright`, with one more estimator to choose.
//!
//! The tutorial `docs/own-estimator.md` goes through it.

use std::process::ExitCode;
use std::sync::Arc;

use joinwright_optimizer::estimate::{
    Cardinalities, CardinalityEstimator, Estimate, EstimateSource,
};
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::RelSet;

/// Takes every equality for one of a foreign key with the key of the smallest table in it, and any predicate for one that keeps a tenth.
#[derive(Debug)]
struct ForeignKeys;

/// What it knows of one region of joins.
#[derive(Debug)]
struct Region {
    /// By relation: rows after its predicates.
    rows: Vec<f64>,
    /// By equality class: its relations, and how many different keys they have.
    classes: Vec<(RelSet, f64)>,
}

impl CardinalityEstimator for ForeignKeys {
    fn name(&self) -> &str {
        "foreign-keys"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        let kept = |predicates: usize| 0.1_f64.powi(predicates as i32);
        let relations = graph.relations.iter();
        let rows = relations.map(|relation| relation.base.rows * kept(relation.predicates.len()));
        let classes = graph.classes.iter().map(|class| {
            let relations = class.relations();
            let sizes = relations.iter().map(|at| graph.relations[at].base.rows);
            (relations, sizes.fold(f64::INFINITY, f64::min))
        });
        Box::new(Region {
            rows: rows.collect(),
            classes: classes.collect(),
        })
    }
}

impl Cardinalities for Region {
    fn estimate(&self, relations: RelSet) -> Estimate {
        let mut rows: f64 = relations.iter().map(|at| self.rows[at]).product();
        for (class, keys) in &self.classes {
            let equalities = class.intersect(relations).len().saturating_sub(1);
            rows /= keys.max(1.0).powi(equalities as i32);
        }
        Estimate {
            rows: rows.max(1.0),
            source: EstimateSource::Guess,
            upper_bound: None,
        }
    }
}

fn main() -> ExitCode {
    let mut registry = joinwright::Registry::default();
    registry.add_estimator(Arc::new(ForeignKeys));
    joinwright::run(registry)
}
