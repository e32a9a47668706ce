//! `KeepStrayFilters`: dynamic filters that would reach another column than their own stay where they are.
//!
//! A hash join hands the keys of its build side down to the scans of the other input as a dynamic filter. On its way down
//! (`FilterPushdown` of DataFusion 55.2) the filter's column is looked up by name in the schema of each input, and the first one
//! of that name is taken. Physical columns have no qualifiers, so two relations of a query may well have columns of one name, such
//! as the sides of a self-join: the filter of the second then drops rows of the first. Which order the joins have decides
//! whether it happens, so a new order may bring it about. Here the way of each filter is walked by places, and a join whose filter
//! would take another way gets one that leads nowhere, in place of the one that DataFusion would make.
//!
//! MIN and MAX without groups and sorts with a limit hand down filters, too: what is beyond the best that they have seen. Where
//! these would go astray, a limit without effect stands in their way, through which no filter goes.

use super::spool::SpoolExec;
use crate::options::JoinwrightOptions;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinSide, JoinType, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr, lit};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use std::sync::Arc;

/// The physical optimizer rule, for the place right before the last `FilterPushdown`.
#[derive(Debug, Default)]
pub struct KeepStrayFilters {}

impl PhysicalOptimizerRule for KeepStrayFilters {
    fn name(&self) -> &str {
        "keep_stray_filters"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = config.extensions.get::<JoinwrightOptions>();
        let ours = options.is_some_and(|o| o.enabled || o.select_joins || o.eager_aggregation);
        if !ours || !config.optimizer.enable_dynamic_filter_pushdown {
            return Ok(plan);
        }
        let kept = Arc::clone(&plan).transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return match has_stray_bound(&node) {
                    true => fenced(node).map(Transformed::yes),
                    false => Ok(Transformed::no(node)),
                };
            };
            if !has_stray_filter(join) {
                return Ok(Transformed::no(node));
            }
            let keys = join.on().iter().map(|(_, key)| Arc::clone(key)).collect();
            let nowhere = Arc::new(DynamicFilterPhysicalExpr::new(keys, lit(true)));
            let join = join.builder().build()?.with_dynamic_filter_expr(nowhere)?;
            Ok(Transformed::yes(Arc::new(join) as _))
        });
        kept.data().or_else(|error| {
            tracing::warn!(%error, "dynamic filters are left to DataFusion");
            Ok(plan)
        })
    }
}

/// Whether the filter that an aggregate or a sort makes of what it has seen would reach another column.
fn has_stray_bound(node: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(sort) = node.downcast_ref::<SortExec>() {
        let mut keys = sort.expr().iter();
        return sort.fetch().is_some()
            && keys.any(|key| expression_strays(sort.input(), &key.expr));
    }
    let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
        return false;
    };
    // The only ones that hand something down.
    let bounds = |name: &str| name.eq_ignore_ascii_case("min") || name.eq_ignore_ascii_case("max");
    let mut functions = aggregate.aggr_expr().iter();
    *aggregate.mode() == AggregateMode::Partial
        && aggregate.group_expr().is_empty()
        && functions.clone().all(|f| bounds(f.fun().name()))
        && functions.any(|function| {
            let args = function.expressions();
            args.iter()
                .any(|arg| expression_strays(aggregate.input(), arg))
        })
}

/// A node whose filters do not reach its input.
fn fenced(node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let inputs = node.children().into_iter();
    let fences = inputs.map(|input| {
        let limit = LocalLimitExec::new(Arc::clone(input), usize::MAX);
        Arc::new(limit) as Arc<dyn ExecutionPlan>
    });
    let fences = fences.collect();
    replace_children_if_necessary(node, fences)
}

/// Whether the dynamic filter of a join would reach another column than that of its keys.
pub(super) fn has_stray_filter(join: &HashJoinExec) -> bool {
    let keys = join.on().iter().map(|(_, key)| key);
    keys.into_iter()
        .any(|key| expression_strays(join.right(), key))
}

fn expression_strays(node: &Arc<dyn ExecutionPlan>, expr: &Arc<dyn PhysicalExpr>) -> bool {
    let mut found = false;
    // The closure returns no error.
    let _ = expr.apply(|e| {
        if let Some(column) = e.downcast_ref::<Column>() {
            found |= strays(node, column.index());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Whether a filter on a column of a node, which it has reached, goes wrong further down.
#[recursive::recursive]
fn strays(node: &Arc<dyn ExecutionPlan>, column: usize) -> bool {
    let schema = node.schema();
    let Some(field) = schema.fields().get(column) else {
        return true;
    };
    let name = field.name();
    if node.is::<SpoolExec>() {
        return false;
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return strays_below_join(join, column, name);
    }
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        // By name among its own columns, where the last one of a name counts for the first, and from there by place.
        let expr = projection.expr().get(column);
        let named = schema.fields().iter().filter(|field| field.name() == name);
        return named.count() > 1
            || expr.is_none_or(|e| expression_strays(projection.input(), &e.expr));
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        // Groups come first, and nothing else is handed down.
        let group = aggregate.group_expr().expr().get(column);
        return group.is_some_and(|(expr, _)| match expr.downcast_ref::<Column>() {
            Some(own) => is_missed(aggregate.input(), name, own.index()),
            None => aggregate.input().schema().index_of(name).is_ok(),
        });
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let own = match filter.projection().as_ref() {
            Some(projection) => projection.get(column).copied(),
            None => Some(column),
        };
        return own.is_none_or(|own| is_missed(filter.input(), name, own));
    }
    match node.children()[..] {
        [] => false,
        [input] if input.schema().fields().len() == schema.fields().len() => {
            is_missed(input, name, column)
        }
        ref inputs => inputs.iter().any(|input| has_twice(input, name)),
    }
}

/// Whether a search by name in an input finds another column than its own, there or further down.
fn is_missed(input: &Arc<dyn ExecutionPlan>, name: &str, own: usize) -> bool {
    match input.schema().index_of(name) {
        Ok(found) => found != own || strays(input, own),
        // What is not found is not handed down.
        Err(_) => false,
    }
}

fn strays_below_join(join: &HashJoinExec, column: usize, name: &str) -> bool {
    let place = match join.projection.as_ref() {
        Some(projection) => projection.get(column).copied(),
        None => Some(column),
    };
    let Some(place) = place else {
        return true;
    };
    let lefts = join.left().schema().fields().len();
    let (side, own) = match join.join_type() {
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => (JoinSide::Right, place),
        _ if place < lefts => (JoinSide::Left, place),
        // The mark itself goes nowhere.
        JoinType::LeftMark => return false,
        JoinType::LeftSemi | JoinType::LeftAnti => return true,
        _ => (JoinSide::Right, place - lefts),
    };
    if *join.join_type() == JoinType::RightMark && own >= join.right().schema().fields().len() {
        return false;
    }
    let input = match side {
        JoinSide::Left => join.left(),
        _ => join.right(),
    };
    if is_missed(input, name, own) {
        return true;
    }
    // Of a semi join, filters on keys go to both sides.
    let is = |key: &Arc<dyn PhysicalExpr>, place| {
        let key = key.downcast_ref::<Column>();
        key.is_some_and(|key| key.index() == place)
    };
    let other = match join.join_type() {
        JoinType::LeftSemi => join.right(),
        JoinType::RightSemi => join.left(),
        _ => return false,
    };
    let Ok(there) = other.schema().index_of(name) else {
        return false;
    };
    let left = side == JoinSide::Left;
    let mut keys = join.on().iter();
    let is_key = join
        .on()
        .iter()
        .any(|(l, r)| is(if left { l } else { r }, own));
    let is_pair = keys.any(|(l, r)| match left {
        true => is(l, own) && is(r, there),
        false => is(r, own) && is(l, there),
    });
    is_key && (!is_pair || strays(other, there))
}

/// Whether any node of a plan has two columns of a name.
#[recursive::recursive]
fn has_twice(node: &Arc<dyn ExecutionPlan>, name: &str) -> bool {
    let schema = node.schema();
    let named = schema.fields().iter().filter(|field| field.name() == name);
    named.count() > 1
        || node
            .children()
            .into_iter()
            .any(|input| has_twice(input, name))
}
