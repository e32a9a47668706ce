//! Cross products of small relations before a large one, from SQL to the physical plan.

use crate::support::{absurd_ordering, optimized, rows, session, set, table};
use datafusion::datasource::MemTable;
use datafusion::physical_plan::displayable;
use joinwright_optimizer::estimate::{Cardinalities, CardinalityEstimator, Estimate};
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::{MAX_RELATIONS, RelSet};
use joinwright_optimizer::{JoinOrdering, TraceLog};
use std::sync::Arc;

const QUERY: &str = "SELECT f.k2, a.s, b.s FROM t0 f, t1 a, t2 b WHERE f.k0 = a.k0 AND f.k1 = b.k1";

/// A fact table of 1,000 rows with two dimensions of 2 and 3, which keep 400 and 600 rows of it.
fn tables() -> Vec<Arc<MemTable>> {
    let fact: Vec<_> = (0..1_000)
        .map(|i| [Some(i % 5), Some(i / 5 % 5), Some(i)])
        .collect();
    let dimension = |n: i32| (0..n).map(|i| [Some(i); 3]).collect::<Vec<_>>();
    vec![table(&fact), table(&dimension(2)), table(&dimension(3))]
}

/// What these tables have, by the number of each in the region: it changes from pass to pass.
#[derive(Debug, Default)]
struct Known {
    fact: usize,
    dimensions: [usize; 2],
}

impl CardinalityEstimator for Known {
    fn name(&self) -> &str {
        "known"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        let number = |alias: &str| graph.relations.iter().position(|r| r.alias == alias);
        let [fact, a, b] = ["f", "a", "b"].map(|alias| number(alias).unwrap_or(MAX_RELATIONS - 1));
        let dimensions = [a, b];
        Box::new(Self { fact, dimensions })
    }
}

impl Cardinalities for Known {
    fn estimate(&self, set: RelSet) -> Estimate {
        let has_fact = set.contains(self.fact);
        let mut rows = if has_fact { 1_000.0 } else { 1.0 };
        for (dimension, own) in self.dimensions.into_iter().zip([2.0, 3.0]) {
            rows *= match (set.contains(dimension), has_fact) {
                (false, _) => 1.0,
                (true, false) => own,
                (true, true) => own / 5.0,
            };
        }
        Estimate::guess(rows)
    }
}

fn ordering() -> (JoinOrdering, TraceLog) {
    let (mut ordering, log) = absurd_ordering(1);
    ordering.registry.add_estimator(Arc::new(Known::default()));
    (ordering, log)
}

#[tokio::test]
async fn the_last_plan_has_the_product() {
    let expected = rows(&session(&tables(), None), QUERY).await;
    let expected = expected.expect("a valid query");
    assert_eq!(expected.len(), 240);
    for (products, cost) in [("false", 640.0), ("true", 246.0)] {
        let (ordering, log) = ordering();
        let context = session(&tables(), Some(ordering));
        set(&context, "estimator", "known");
        set(&context, "cross_products", products);
        assert_eq!(rows(&context, QUERY).await.expect("a plan"), expected);
        let last = log.take().pop().expect("a region");
        assert_eq!(last.cost, cost, "{last:?}");
        // `eliminate_cross_join` flattens products in each pass of the optimizer, and the rule comes after it.
        let plan = optimized(&context, QUERY).await.expect("a plan");
        let state = context.state();
        let physical = state.query_planner();
        let physical = physical.create_physical_plan(&plan, &state).await;
        let physical = physical.expect("a physical plan");
        let text = displayable(physical.as_ref()).indent(false).to_string();
        let cross = text.contains("CrossJoinExec");
        assert_eq!(cross, products == "true", "{text}");
    }
}

#[tokio::test]
async fn any_estimate_returns_the_same_rows() {
    let expected = rows(&session(&tables(), None), QUERY).await;
    let expected = expected.expect("a valid query");
    for seed in 0..20 {
        let (ordering, _) = absurd_ordering(seed);
        let context = session(&tables(), Some(ordering));
        set(&context, "estimator", "absurd");
        set(&context, "cross_products", "true");
        assert_eq!(rows(&context, QUERY).await.expect("a plan"), expected);
    }
}
