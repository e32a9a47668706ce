//! A cardinality estimator of your own, chosen by its name.
//!
//! ```sh
//! cargo run --release --example own_estimator
//! ```
//!
//! It prints a plan whose join order follows from [`Largest`].

use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use joinwright_optimizer::estimate::{
    Cardinalities, CardinalityEstimator, Estimate, EstimateSource,
};
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::RelSet;
use joinwright_optimizer::{Catalog, JoinOrdering, JoinwrightOptions, SessionStateBuilderExt};
use std::sync::Arc;

/// Takes a join for as large as its largest relation, and any predicate for one that keeps a tenth.
#[derive(Debug)]
struct Largest;

/// What `Largest` knows of one query: the rows of each relation.
#[derive(Debug)]
struct Rows(Vec<f64>);

impl CardinalityEstimator for Largest {
    fn name(&self) -> &str {
        "largest"
    }

    // Called once for every region of joins.
    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        let rows = graph.relations.iter().map(|relation| {
            let kept = 0.1_f64.powi(relation.predicates.len() as i32);
            (relation.base.rows * kept).max(1.0)
        });
        Box::new(Rows(rows.collect()))
    }
}

impl Cardinalities for Rows {
    // Called for every set of relations that the search looks at: it should be quick, and say the same whenever it is asked.
    fn estimate(&self, relations: RelSet) -> Estimate {
        Estimate {
            rows: relations.iter().map(|r| self.0[r]).fold(1.0, f64::max),
            source: EstimateSource::Guess,
            upper_bound: None,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut ordering = JoinOrdering::default();
    ordering.registry.add_estimator(Arc::new(Largest));
    let mut config = SessionConfig::new();
    let mut options = JoinwrightOptions::default();
    options.estimator = "largest".to_string();
    // The tables below were never analyzed.
    options.require_statistics = false;
    config.options_mut().extensions.insert(options);
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_join_ordering(Arc::new(Catalog::in_memory()), ordering)
        .build();
    let context = SessionContext::new_with_state(state);
    for table in [
        "CREATE TABLE big AS SELECT value AS id, value % 7 AS kind FROM range(10000)",
        "CREATE TABLE middle AS SELECT value AS id, value % 7 AS kind FROM range(1000)",
        "CREATE TABLE small AS SELECT value AS kind FROM range(7)",
    ] {
        context.sql(table).await?.collect().await?;
    }
    let query = "EXPLAIN FORMAT INDENT SELECT * FROM big, middle, small \
                 WHERE big.id = middle.id AND middle.kind = small.kind AND small.kind = 3";
    context.sql(query).await?.show().await
}
