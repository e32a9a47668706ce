//! The estimates of the nodes of a plan.

use super::JoinOrdering;
use crate::derive::Deriver;
use crate::estimate::{Cardinalities, CardinalityEstimator, EstimateSource};
use crate::options::JoinwrightOptions;
use crate::query_graph::QueryGraph;
use datafusion::logical_expr::LogicalPlan;
use joinwright_stats::Snapshot;

/// A node of a plan with the rows estimated for it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PlanLine {
    /// Depth in the plan; the root has none.
    pub depth: usize,
    /// The node as `EXPLAIN` prints it.
    pub text: String,
    /// Estimated rows.
    pub est_rows: f64,
    /// Where the estimate came from.
    pub source: EstimateSource,
}

/// Each node of a plan with the rows estimated for it, in the order of `EXPLAIN`: inputs after the node, the first one first.
/// Empty if the options name an estimator that the registry does not have. `thorough` asks for estimates that take longer than
/// planning allows.
pub fn estimate_plan(
    plan: &LogicalPlan,
    snapshot: &Snapshot,
    ordering: &JoinOrdering,
    options: &JoinwrightOptions,
    thorough: bool,
) -> Vec<PlanLine> {
    let mut lines = vec![];
    if let Some(estimator) = ordering.registry.estimator(&options.estimator) {
        let thoroughly = Thoroughly(estimator.as_ref());
        let estimator = match thorough {
            true => &thoroughly,
            false => estimator.as_ref(),
        };
        let deriver = Deriver::new(snapshot, estimator, thorough);
        visit(plan, 0, &deriver, &mut lines);
    }
    lines
}

#[recursive::recursive]
fn visit(plan: &LogicalPlan, depth: usize, deriver: &Deriver<'_>, lines: &mut Vec<PlanLine>) {
    let profile = deriver.profile(plan);
    lines.push(PlanLine {
        depth,
        text: plan.display().to_string(),
        est_rows: profile.rows,
        source: profile.source,
    });
    for input in plan.inputs() {
        visit(input, depth + 1, deriver, lines);
    }
}

/// An estimator that always takes the time it needs.
#[derive(Debug)]
struct Thoroughly<'a>(&'a dyn CardinalityEstimator);

impl CardinalityEstimator for Thoroughly<'_> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        self.0.prepare_thoroughly(graph)
    }
}
