//! `SelectJoins`: which input of a join builds, and whether it is collected or both are partitioned.
//!
//! DataFusion decides both by its own statistics, which know the rows of tables and little of what joins and filters leave. This
//! rule stands in the place of `join_selection`, and decides by the estimates that the logical optimizer left behind
//! and the cost model `hashjoin`. Joins that have no such estimate it decides as DataFusion does, and plans that it does not
//! recognize it leaves to DataFusion's own rule.

use super::join_estimates::{JoinEstimate, JoinEstimates};
use super::scan_filters::push_filters;
use crate::cost::{CostConstants, HashJoin, JoinMode, Side, TABLE_ROW, row_width};
use crate::options::JoinwrightOptions;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::join_selection::JoinSelection;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, PiecewiseMergeJoinExec,
    SortMergeJoinExec, SymmetricHashJoinExec,
};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::collections::HashMap;
use std::sync::Arc;

/// The share by which our way has to be cheaper than DataFusion's…
const MIN_GAIN: f64 = 0.05;
/// …and the nanoseconds. Estimates err, and so do models.
const MIN_SAVED: f64 = 500_000.0;
/// The nanoseconds that it takes to build from the other input where DataFusion's build side drops rows of its probe side. Its keys
/// go down to the scans below as a dynamic filter, and may prune more there than the join itself costs.
const MIN_SAVED_FILTER: f64 = 10_000_000.0;
/// The share of probe rows that such a build side keeps at most.
const FILTERING: f64 = 0.9;
/// The share of the memory limit beyond which the bytes of a build side count more than time. A query has several, their rows
/// are estimates, and the text in them may be long.
const MEMORY_SHARE: f64 = 0.05;
/// What a byte beyond it costs, in nanoseconds.
const OUT_OF_MEMORY: f64 = 1_000.0;

/// The physical optimizer rule.
#[derive(Debug, Default)]
pub struct SelectJoins {
    constants: CostConstants,
}

impl SelectJoins {
    /// A rule that weighs by these constants.
    pub fn new(constants: CostConstants) -> Self {
        Self { constants }
    }
}

impl PhysicalOptimizerRule for SelectJoins {
    fn name(&self) -> &str {
        // That of the rule whose place it takes: who looks for that place finds it, and its errors read as they did.
        "join_selection"
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
            model: HashJoin::new(self.constants.hash_join, config.execution.target_partitions),
            config,
            memory: estimates.memory.map(|bytes| bytes as f64 * MEMORY_SHARE),
        };
        let selected = selection.apply(Arc::clone(&plan), &estimates.joins);
        let told = selected.and_then(|(selected, decided)| {
            match wanted.is_some_and(|wanted| wanted.scan_filters) {
                true => push_filters(&selected, &decided, &self.constants, config),
                false => Ok(selected),
            }
        });
        told.or_else(|error| {
            tracing::warn!(%error, "the joins of a physical plan are left to DataFusion");
            JoinSelection::new().optimize(plan, config)
        })
    }
}

/// The estimated rows around a join that is decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct JoinRows {
    pub(super) build: f64,
    pub(super) probe: f64,
    pub(super) output: f64,
}

/// The estimates of hash joins that are decided, by their address.
#[derive(Debug, Default)]
pub(super) struct Decided {
    joins: HashMap<usize, JoinRows>,
}

impl Decided {
    /// Keeps the estimate of a join that is there now, or below the projection that restores the order of its columns.
    fn keep(&mut self, selected: &Arc<dyn ExecutionPlan>, swapped: bool, estimate: &JoinEstimate) {
        if !estimate.known {
            return;
        }
        let join = match selected.children()[..] {
            [input] if selected.is::<ProjectionExec>() => input,
            _ => selected,
        };
        let (build, probe) = match swapped {
            false => (estimate.left, estimate.right),
            true => (estimate.right, estimate.left),
        };
        let rows = JoinRows {
            build,
            probe,
            output: estimate.output,
        };
        self.joins.insert(address(join), rows);
    }

    /// The estimate of a node that was kept.
    pub(super) fn of(&self, node: &Arc<dyn ExecutionPlan>) -> Option<JoinRows> {
        self.joins.get(&address(node)).copied()
    }
}

fn address(node: &Arc<dyn ExecutionPlan>) -> usize {
    Arc::as_ptr(node).cast::<()>() as usize
}

/// How a join runs: with its inputs swapped or not, and in which mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    swap: bool,
    mode: PartitionMode,
}

impl Way {
    fn of(self, join: &HashJoinExec) -> Result<Arc<dyn ExecutionPlan>> {
        if self.swap {
            return swap_inputs(join, self.mode);
        }
        let join = join.builder().with_partition_mode(self.mode).build()?;
        Ok(Arc::new(join))
    }
}

/// The join with its inputs swapped, the order of its columns kept.
///
/// To keep it DataFusion puts a `ProjectionExec` above a swapped join, but for one that has a projection of its own. Its filter
/// pushdown finds columns below such a node by their names, and takes the first one where both inputs have a column of that
/// name; below a join it goes by places.
fn swap_inputs(join: &HashJoinExec, mode: PartitionMode) -> Result<Arc<dyn ExecutionPlan>> {
    let columns_of_both = matches!(
        join.join_type(),
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
    );
    if columns_of_both && !join.contains_projection() {
        let columns = 0..join.schema().fields().len();
        let join = join.with_projection(Some(columns.collect()))?;
        return join.swap_inputs(mode);
    }
    join.swap_inputs(mode)
}

/// What a join of one plan is decided by.
struct Selection<'a> {
    model: HashJoin,
    config: &'a ConfigOptions,
    /// Bytes that a build side may have, if memory is limited.
    memory: Option<f64>,
}

impl Selection<'_> {
    /// The plan with its joins as they should run, and their estimates.
    fn apply(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        joins: &[JoinEstimate],
    ) -> Result<(Arc<dyn ExecutionPlan>, Decided)> {
        let mut decided = Decided::default();
        let mut joins = joins.iter();
        let plan = plan.transform_up(|node| {
            let estimate = match is_join(node.as_ref()) {
                true => joins.next(),
                false => None,
            };
            let Some(estimate) = estimate else {
                return Ok(Transformed::no(node));
            };
            if let Some(join) = node.downcast_ref::<HashJoinExec>() {
                let way = self.way(join, estimate)?;
                let selected = way.of(join)?;
                decided.keep(&selected, way.swap, estimate);
                return Ok(Transformed::yes(selected));
            }
            Ok(match self.swapped(&node, estimate)? {
                Some(swapped) => Transformed::yes(swapped),
                None => Transformed::no(node),
            })
        });
        Ok((plan.data()?, decided))
    }

    /// A join without keys with its inputs swapped; `None` if it should run as it is.
    fn swapped(
        &self,
        node: &Arc<dyn ExecutionPlan>,
        estimate: &JoinEstimate,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let swap = join.join_type().supports_swap()
                && self.gathers_right(join.left(), join.right(), estimate)?;
            return swap.then(|| join.swap_inputs()).transpose();
        }
        if let Some(join) = node.downcast_ref::<CrossJoinExec>() {
            let swap = self.gathers_right(join.left(), join.right(), estimate)?;
            return swap.then(|| join.swap_inputs()).transpose();
        }
        Ok(None)
    }

    /// Whether the right input of a join without keys is the one to be gathered: the one of fewer bytes.
    fn gathers_right(
        &self,
        left: &Arc<dyn ExecutionPlan>,
        right: &Arc<dyn ExecutionPlan>,
        estimate: &JoinEstimate,
    ) -> Result<bool> {
        if !self.config.optimizer.join_reordering {
            return Ok(false);
        }
        let (left_size, right_size) = (Size::of(left)?, Size::of(right)?);
        // Such joins stand on small inputs, whose sizes DataFusion mostly knows.
        let sized = left_size.rows.is_some() && right_size.rows.is_some();
        if sized || !estimate.known {
            return Ok(larger(&left_size, &right_size));
        }
        let sides = Sides::new(left, right, estimate);
        let bytes = |side: Side| side.rows * side.width.max(1.0);
        Ok(bytes(sides.right) < bytes(sides.left) * (1.0 - MIN_GAIN))
    }

    /// How a hash join should run.
    fn way(&self, join: &HashJoinExec, estimate: &JoinEstimate) -> Result<Way> {
        let default = self.default_way(join)?;
        if !estimate.known {
            return Ok(default);
        }
        let sides = Sides::new(join.left(), join.right(), estimate);
        let output = Side {
            rows: sides.output,
            width: row_width(&join.schema()),
        };
        let time = |way: Way| {
            let (build, probe) = match way.swap {
                false => (sides.left, sides.right),
                true => (sides.right, sides.left),
            };
            self.time(way.mode, build, probe, output)
        };
        let enough = time(default) * (1.0 - MIN_GAIN);
        let probed = match default.swap {
            false => sides.right.rows,
            true => sides.left.rows,
        };
        let filters = sides.output < FILTERING * probed;
        let mut best = (default, f64::INFINITY);
        for mode in modes(join) {
            for swap in [false, true] {
                let way = Way { swap, mode: *mode };
                let least = match filters && swap != default.swap {
                    true => MIN_SAVED_FILTER,
                    false => MIN_SAVED,
                };
                let time = time(way);
                let allowed = !swap || self.may_swap(join);
                if allowed && time < enough - least && time < best.1 {
                    best = (way, time);
                }
            }
        }
        Ok(best.0)
    }

    fn may_swap(&self, join: &HashJoinExec) -> bool {
        self.config.optimizer.join_reordering
            && join.join_type().supports_swap()
            && !join.null_aware
    }

    /// What DataFusion's `join_selection` does.
    fn default_way(&self, join: &HashJoinExec) -> Result<Way> {
        let (left, right) = (Size::of(join.left())?, Size::of(join.right())?);
        let optimizer = &self.config.optimizer;
        let small = |size: &Size| match (size.bytes, size.rows) {
            (Some(bytes), _) => bytes < optimizer.hash_join_single_partition_threshold,
            (None, Some(rows)) => rows < optimizer.hash_join_single_partition_threshold_rows,
            (None, None) => false,
        };
        let may_swap = self.may_swap(join);
        let swap = may_swap && larger(&left, &right);
        let collect = PartitionMode::CollectLeft;
        let mode = *join.partition_mode();
        Ok(match (mode, small(&left), small(&right)) {
            (PartitionMode::Partitioned, ..) => Way { swap, mode },
            (PartitionMode::CollectLeft, ..) => Way { swap, mode },
            (PartitionMode::Auto, true, true) => Way {
                swap,
                mode: collect,
            },
            (PartitionMode::Auto, true, false) => Way {
                swap: false,
                mode: collect,
            },
            (PartitionMode::Auto, false, true) if may_swap => Way {
                swap: true,
                mode: collect,
            },
            (PartitionMode::Auto, ..) => Way {
                swap,
                mode: modes(join)[modes(join).len() - 1],
            },
        })
    }

    fn time(&self, mode: PartitionMode, build: Side, probe: Side, output: Side) -> f64 {
        let mode = match mode {
            PartitionMode::Partitioned => JoinMode::Partition,
            PartitionMode::CollectLeft | PartitionMode::Auto => JoinMode::Collect,
        };
        let time = self.model.join_time(mode, build, probe, output);
        // Too much to be gathered is worse than slow: the query fails.
        let bytes = build.rows * (TABLE_ROW + build.width);
        match self.memory {
            Some(most) if bytes > most => time + OUT_OF_MEMORY * bytes,
            _ => time,
        }
    }
}

/// The modes in which a join may run, that of DataFusion's large joins last.
fn modes(join: &HashJoinExec) -> &'static [PartitionMode] {
    match join.partition_mode() {
        // It has to see whether there is any NULL at all.
        _ if join.null_aware => &[PartitionMode::CollectLeft],
        PartitionMode::Auto => &[PartitionMode::CollectLeft, PartitionMode::Partitioned],
        PartitionMode::CollectLeft => &[PartitionMode::CollectLeft],
        PartitionMode::Partitioned => &[PartitionMode::Partitioned],
    }
}

/// The size of an input by DataFusion's statistics.
struct Size {
    bytes: Option<usize>,
    rows: Option<usize>,
}

impl Size {
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
        Ok(Self {
            bytes: statistics.total_byte_size.get_value().copied(),
            rows: statistics.num_rows.get_value().copied(),
        })
    }
}

/// Whether the left input is the larger one, as far as DataFusion knows.
fn larger(left: &Size, right: &Size) -> bool {
    match ((left.bytes, right.bytes), (left.rows, right.rows)) {
        ((Some(left), Some(right)), _) | (_, (Some(left), Some(right))) => left > right,
        _ => false,
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
    fn new(
        left: &Arc<dyn ExecutionPlan>,
        right: &Arc<dyn ExecutionPlan>,
        estimate: &JoinEstimate,
    ) -> Self {
        let side = |rows, plan: &Arc<dyn ExecutionPlan>| Side {
            rows,
            width: row_width(&plan.schema()),
        };
        Self {
            left: side(estimate.left, left),
            right: side(estimate.right, right),
            output: estimate.output,
        }
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
    #[recursive::recursive]
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
        let bounded = node
            .children()
            .iter()
            .all(|c| !c.boundedness().is_unbounded());
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
