//! The regions of a plan with their estimates, for those who study estimators.

use super::JoinOrdering;
use crate::derive::Deriver;
use crate::estimate::Cardinalities;
use crate::extract::{self, Kinds, Region, rename_columns};
use crate::join_tree::JoinTree;
use crate::options::JoinwrightOptions;
use crate::query_graph::{QueryGraph, resolve_region_column};
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use joinwright_stats::Snapshot;
use std::sync::Arc;
use std::time::Duration;

/// A region of a plan, and what an estimator says of its relations.
#[derive(Debug)]
pub struct EstimatedRegion {
    /// Relations, equality classes and predicates.
    pub graph: QueryGraph,
    /// By relation its plan, with all predicates on it alone.
    pub leaves: Vec<LogicalPlan>,
    /// The equalities that the plan has, by which the classes of the graph were closed; sides as [`Member::key`].
    ///
    /// [`Member::key`]: crate::query_graph::Member::key
    pub equalities: Vec<(Expr, Expr)>,
    /// The order in which the plan joins.
    pub written: JoinTree,
    /// The estimates of all sets of its relations.
    pub cardinalities: Box<dyn Cardinalities>,
    /// How long the estimator took to prepare, if `ordering` has a clock.
    pub prepared_in: Option<Duration>,
}

/// The regions of an optimized plan, outer ones before those in their leaves. Empty if the options name an estimator that the
/// registry does not have. `thorough` asks for estimates that take longer than planning allows.
pub fn estimate_regions(
    plan: &LogicalPlan,
    snapshot: &Snapshot,
    ordering: &JoinOrdering,
    options: &JoinwrightOptions,
    thorough: bool,
) -> Vec<EstimatedRegion> {
    let mut regions = vec![];
    if let Some(estimator) = ordering.registry.estimator(&options.estimator) {
        let estimator = estimator.as_ref();
        let deriver = Deriver::new(snapshot, estimator, thorough);
        visit(plan, &deriver, ordering.clock, thorough, &mut regions);
    }
    regions
}

#[recursive::recursive]
fn visit(
    plan: &LogicalPlan,
    deriver: &Deriver<'_>,
    clock: Option<fn() -> Duration>,
    thorough: bool,
    regions: &mut Vec<EstimatedRegion>,
) {
    let region = extract::region(plan, Kinds::Inner, deriver);
    if let Some(region) = region {
        let start = clock.map(|clock| clock());
        let cardinalities = match thorough {
            true => deriver.estimator.prepare_thoroughly(&region.graph),
            false => deriver.estimator.prepare(&region.graph),
        };
        regions.push(EstimatedRegion {
            leaves: whole_leaves(&region),
            equalities: region.equalities,
            graph: region.graph,
            written: region.written,
            cardinalities,
            prepared_in: start
                .zip(clock)
                .map(|(start, clock)| clock().saturating_sub(start)),
        });
        for leaf in &region.leaves {
            visit(leaf, deriver, clock, thorough, regions);
        }
        return;
    }
    // Subqueries are rarely left in an optimized plan; their regions count like any other.
    let walked = plan.apply_subqueries(|subquery| {
        visit(subquery, deriver, clock, thorough, regions);
        Ok(TreeNodeRecursion::Continue)
    });
    if let Err(error) = walked {
        tracing::debug!(%error, "a subquery is not looked at");
    }
    for input in plan.inputs() {
        visit(input, deriver, clock, thorough, regions);
    }
}

/// The leaves of a region under the predicates that stood above a join.
fn whole_leaves(region: &Region) -> Vec<LogicalPlan> {
    let whole = |(leaf, predicates): (&LogicalPlan, &Vec<Expr>)| {
        let own = |column: &Column| {
            let (_, field) = resolve_region_column(column)?;
            let schema = leaf.schema();
            (field < schema.fields().len()).then(|| Column::from(schema.qualified_field(field)))
        };
        let named = predicates.iter().map(|p| rename_columns(p, own));
        let predicate = conjunction(named.collect::<Result<Vec<_>, _>>().ok()?)?;
        let filter = Filter::try_new(predicate, Arc::new(leaf.clone())).ok()?;
        Some(LogicalPlan::Filter(filter))
    };
    let leaves = region.leaves.iter();
    leaves
        .zip(&region.leaf_predicates)
        .map(|pair| whole(pair).unwrap_or_else(|| pair.0.clone()))
        .collect()
}
