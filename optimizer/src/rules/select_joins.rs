//! `SelectJoins`: which input of a join builds, and whether it is collected or both are partitioned.
//!
//! DataFusion decides both by its own statistics, which know the rows of tables and little of what joins and filters leave. This
//! rule stands in the place of `join_selection`, and decides by the estimates that the logical optimizer left behind
//! and the cost model `hashjoin`. Joins that have no such estimate it decides as DataFusion does, and plans that it does not
//! recognize it leaves to DataFusion's own rule.

use super::join_estimates::{JoinEstimate, JoinEstimates};
use crate::cost::{HashJoin, HashJoinConstants, JoinMode, Side};
use crate::options::JoinwrightOptions;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::join_selection::JoinSelection;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, PiecewiseMergeJoinExec,
    SortMergeJoinExec, SymmetricHashJoinExec,
};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// Bytes assumed of a value that has no fixed width.
const VARIABLE_WIDTH: f64 = 24.0;
/// The share by which another way has to be cheaper than the one that the plan has.
const MIN_GAIN: f64 = 0.05;
/// The share of the memory limit that a build side may be estimated to need.
const MEMORY_SHARE: f64 = 0.25;

/// The physical optimizer rule.
#[derive(Debug, Default)]
pub struct SelectJoins {
    constants: HashJoinConstants,
}

impl SelectJoins {
    /// A rule that weighs by these constants.
    pub fn new(constants: HashJoinConstants) -> Self {
        Self { constants }
    }
}

impl PhysicalOptimizerRule for SelectJoins {
    fn name(&self) -> &str {
        "select_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = config.extensions.get::<JoinwrightOptions>();
        let estimates = config.extensions.get::<JoinEstimates>();
        let (Some(estimates), true) = (estimates, wanted.is_some_and(|w| w.select_joins)) else {
            return JoinSelection::new().optimize(plan, config);
        };
        if !matches_plan(&plan, &estimates.joins) {
            tracing::debug!("the joins of a physical plan are not those of the logical one");
            return JoinSelection::new().optimize(plan, config);
        }
        let selection = Selection {
            model: HashJoin::new(self.constants, config.execution.target_partitions),
            config,
            memory: estimates.memory.map(|bytes| bytes as f64 * MEMORY_SHARE),
        };
        let mut joins = estimates.joins.iter();
        plan.transform_up(|node| {
            if !is_join(node.as_ref()) {
                return Ok(Transformed::no(node));
            }
            Ok(match joins.next() {
                Some(estimate) => match selection.select(&node, estimate)? {
                    Some(selected) => Transformed::yes(selected),
                    None => Transformed::no(node),
                },
                None => Transformed::no(node),
            })
        })
        .data()
    }
}

/// What a join of one plan is decided by.
struct Selection<'a> {
    model: HashJoin,
    config: &'a ConfigOptions,
    /// Bytes that a build side may have, if memory is limited.
    memory: Option<f64>,
}

impl Selection<'_> {
    /// The join as it should run; `None` if it should run as it is.
    fn select(
        &self,
        node: &Arc<dyn ExecutionPlan>,
        estimate: &JoinEstimate,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            return self.hash_join(join, estimate);
        }
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let swap = join.join_type().supports_swap()
                && self.smaller_right(join.left(), join.right(), estimate)?;
            return swap.then(|| join.swap_inputs()).transpose();
        }
        if let Some(join) = node.downcast_ref::<CrossJoinExec>() {
            let swap = self.smaller_right(join.left(), join.right(), estimate)?;
            return swap.then(|| join.swap_inputs()).transpose();
        }
        Ok(None)
    }

    /// Whether the right input is the one to be gathered.
    fn smaller_right(
        &self,
        left: &Arc<dyn ExecutionPlan>,
        right: &Arc<dyn ExecutionPlan>,
        estimate: &JoinEstimate,
    ) -> Result<bool> {
        if !self.config.optimizer.join_reordering {
            return Ok(false);
        }
        let Some(sides) = Sides::new(left, right, estimate)? else {
            return Ok(false);
        };
        let bytes = |side: Side| side.rows * side.width.max(1.0);
        Ok(bytes(sides.right) < bytes(sides.left) * (1.0 - MIN_GAIN))
    }

    fn hash_join(
        &self,
        join: &HashJoinExec,
        estimate: &JoinEstimate,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let optimizer = &self.config.optimizer;
        let kind = *join.join_type();
        let may_swap = optimizer.join_reordering && kind.supports_swap() && !join.null_aware;
        let modes: &[PartitionMode] = match join.partition_mode() {
            // It has to see whether there is any NULL at all.
            _ if join.null_aware => &[PartitionMode::CollectLeft],
            PartitionMode::Auto => &[PartitionMode::CollectLeft, PartitionMode::Partitioned],
            PartitionMode::CollectLeft => &[PartitionMode::CollectLeft],
            PartitionMode::Partitioned => &[PartitionMode::Partitioned],
        };
        let sides = Sides::new(join.left(), join.right(), estimate)?;
        let Some(sides) = sides else {
            return Ok(Some(Arc::new(
                join.builder()
                    .with_partition_mode(modes[modes.len() - 1])
                    .build()?,
            )));
        };
        let output = Side {
            rows: sides.output,
            width: width(&join.schema()),
        };
        let mut best: Option<(f64, bool, PartitionMode)> = None;
        for swap in [false, true] {
            if swap && !may_swap {
                continue;
            }
            let (build, probe) = match swap {
                false => (sides.left, sides.right),
                true => (sides.right, sides.left),
            };
            for mode in modes {
                let time = self.time(*mode, build, probe, output);
                // The sides that the plan has were chosen by the search, or by who wrote the query.
                let time = if swap { time } else { time * (1.0 - MIN_GAIN) };
                if best.is_none_or(|(least, ..)| time < least) {
                    best = Some((time, swap, *mode));
                }
            }
        }
        let Some((_, swap, mode)) = best else {
            return Ok(None);
        };
        if swap {
            return join.swap_inputs(mode).map(Some);
        }
        Ok(Some(Arc::new(
            join.builder().with_partition_mode(mode).build()?,
        )))
    }

    fn time(&self, mode: PartitionMode, build: Side, probe: Side, output: Side) -> f64 {
        let mode = match mode {
            PartitionMode::Partitioned => JoinMode::Partition,
            PartitionMode::CollectLeft | PartitionMode::Auto => JoinMode::Collect,
        };
        let time = self.model.join_time(mode, build, probe, output);
        // Too much to be gathered is worse than slow: the query fails.
        let bytes = build.rows * build.width;
        match self.memory {
            Some(most) if bytes > most => time + 1e3 * bytes,
            _ => time,
        }
    }
}

/// The rows and widths around a join.
#[derive(Debug, Clone, Copy)]
struct Sides {
    left: Side,
    right: Side,
    output: f64,
}

impl Sides {
    /// By the estimate if there is one, else by DataFusion's; `None` if neither knows.
    fn new(
        left: &Arc<dyn ExecutionPlan>,
        right: &Arc<dyn ExecutionPlan>,
        estimate: &JoinEstimate,
    ) -> Result<Option<Self>> {
        let (left_width, right_width) = (width(&left.schema()), width(&right.schema()));
        let (left, right, output) = match estimate.known {
            true => (estimate.left, estimate.right, estimate.output),
            false => match (default_rows(left)?, default_rows(right)?) {
                (Some(left), Some(right)) => (left, right, left.max(right)),
                _ => return Ok(None),
            },
        };
        Ok(Some(Self {
            left: Side {
                rows: left,
                width: left_width,
            },
            right: Side {
                rows: right,
                width: right_width,
            },
            output,
        }))
    }
}

/// The rows that DataFusion estimates.
fn default_rows(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<f64>> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    Ok(statistics.num_rows.get_value().map(|rows| *rows as f64))
}

/// Bytes of a row.
fn width(schema: &Schema) -> f64 {
    let fields = schema.fields().iter();
    fields.map(|field| value_width(field.data_type())).sum()
}

fn value_width(data_type: &DataType) -> f64 {
    match data_type {
        DataType::Boolean | DataType::Null => 1.0,
        DataType::FixedSizeBinary(bytes) => f64::from(*bytes),
        other => other
            .primitive_width()
            .map_or(VARIABLE_WIDTH, |bytes| bytes as f64),
    }
}

/// Whether DataFusion makes such a node of a join.
fn is_join(node: &dyn ExecutionPlan) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<PiecewiseMergeJoinExec>()
        || node.is::<SymmetricHashJoinExec>()
}

/// Whether the joins of a plan are those that were estimated. Unbounded inputs are DataFusion's own business.
fn matches_plan(plan: &Arc<dyn ExecutionPlan>, estimates: &[JoinEstimate]) -> bool {
    fn visit(
        node: &Arc<dyn ExecutionPlan>,
        estimates: &mut std::slice::Iter<'_, JoinEstimate>,
    ) -> bool {
        for child in node.children() {
            if !visit(child, estimates) {
                return false;
            }
        }
        if !is_join(node.as_ref()) {
            return true;
        }
        let Some(estimate) = estimates.next() else {
            return false;
        };
        let bounded = node.children().iter().all(|c| !c.boundedness().is_unbounded());
        bounded && has_keys(node.as_ref(), &estimate.keys)
    }
    let mut estimates = estimates.iter();
    visit(plan, &mut estimates) && estimates.next().is_none()
}

/// Whether a join has these keys. Keys that are expressions have other names in the physical plan, and are left out.
fn has_keys(node: &dyn ExecutionPlan, keys: &[(String, String)]) -> bool {
    let Some(join) = node.downcast_ref::<HashJoinExec>() else {
        return true;
    };
    let on: Vec<(&str, &str)> = join
        .on()
        .iter()
        .filter_map(|(l, r)| {
            let (l, r) = (l.downcast_ref::<Column>()?, r.downcast_ref::<Column>()?);
            Some((l.name(), r.name()))
        })
        .collect();
    keys.iter().all(|(l, r)| on.contains(&(l, r)))
}
