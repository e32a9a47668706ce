//! `KeepNullEquality`: joins that find NULL equal to NULL keep doing so next to joins that do not.
//!
//! DataFusion 55.2 makes `a.x IS NOT DISTINCT FROM b.x` the key of an inner join that finds NULLs equal (`extract_equijoin_predicate`).
//! Then `eliminate_cross_join` takes adjacent inner joins apart and puts all their keys into joins of one kind: that of the topmost. Rows
//! are lost, or come out of nothing. A new join order may bring two such joins together, so between the two rules such a key becomes a
//! condition again, and at the end of all rules a key.

use crate::options::JoinwrightOptions;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, Operator};
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use std::sync::Arc;

/// The optimizer rule, for the place right before DataFusion's `eliminate_cross_join`.
#[derive(Debug, Default)]
pub(super) struct KeepNullEquality {}

impl OptimizerRule for KeepNullEquality {
    fn name(&self) -> &str {
        "keep_null_equality"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let options = config.options();
        let options = options.extensions.get::<JoinwrightOptions>();
        if !options.is_some_and(|options| options.enabled) || !has_join(&plan, finds_nulls_equal) {
            return Ok(Transformed::no(plan));
        }
        plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::Join(join) = &node else {
                return Ok(Transformed::no(node));
            };
            let inputs = [&join.left, &join.right];
            if join.join_type != JoinType::Inner || !inputs.iter().any(|input| is_inner(input)) {
                return Ok(Transformed::no(node));
            }
            if !finds_nulls_equal(join) && !inputs.iter().any(|input| is_such(input)) {
                return Ok(Transformed::no(node));
            }
            let mut join = join.clone();
            join.left = with_condition(join.left);
            join.right = with_condition(join.right);
            Ok(Transformed::yes(LogicalPlan::Join(as_condition(join))))
        })
    }
}

/// The plan with keys where a condition says that NULLs are equal, for a plan that no rule changes any more.
pub(super) fn as_keys(
    plan: &LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let may_have_key = |join: &Join| {
        let filter = join.filter.iter().flat_map(split_conjunction);
        let mut conditions = filter.filter_map(|expr| match expr {
            Expr::BinaryExpr(binary) => Some(binary.op),
            _ => None,
        });
        join.on.is_empty() && conditions.any(|op| op == Operator::IsNotDistinctFrom)
    };
    if !has_join(plan, may_have_key) {
        return Ok(Transformed::no(plan.clone()));
    }
    let rule = ExtractEquijoinPredicate::new();
    plan.clone()
        .transform_up_with_subqueries(|node| match &node {
            LogicalPlan::Join(join) if join.on.is_empty() && join.join_type == JoinType::Inner => {
                rule.rewrite(node, config)
            }
            _ => Ok(Transformed::no(node)),
        })
}

/// Whether a plan has a join of some kind, in its subqueries or elsewhere.
fn has_join(plan: &LogicalPlan, is: impl Fn(&Join) -> bool) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Join(join) if is(join));
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    walked.is_ok() && found
}

fn is_inner(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join) if join.join_type == JoinType::Inner)
}

fn finds_nulls_equal(join: &Join) -> bool {
    join.join_type == JoinType::Inner
        && join.null_equality == NullEquality::NullEqualsNull
        && !join.on.is_empty()
}

fn is_such(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join) if finds_nulls_equal(join))
}

fn with_condition(plan: Arc<LogicalPlan>) -> Arc<LogicalPlan> {
    match plan.as_ref() {
        LogicalPlan::Join(join) => Arc::new(LogicalPlan::Join(as_condition(join.clone()))),
        _ => plan,
    }
}

/// An inner join with its keys as conditions, if it finds NULLs equal.
fn as_condition(mut join: Join) -> Join {
    if !finds_nulls_equal(&join) {
        return join;
    }
    let keys = std::mem::take(&mut join.on).into_iter();
    let keys = keys.map(|(left, right)| {
        let op = Operator::IsNotDistinctFrom;
        Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
    });
    join.filter = conjunction(keys.chain(join.filter.take()));
    join.null_equality = NullEquality::NullEqualsNothing;
    join
}
