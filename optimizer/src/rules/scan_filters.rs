//! Which Parquet scans filter while they decode.
//!
//! DataFusion's scans decode all columns of all rows, and leave predicates to a `FilterExec` and what a join does not
//! find to the join, unless `execution.parquet.pushdown_filters` is set for all scans of a session. Then a scan decodes the columns of a
//! predicate first and the others only for the rows that pass; so it does with the keys that joins found on their build
//! sides. That saves much where few rows pass and many columns wait, and costs where most rows pass. With estimates of
//! both the choice can be made scan by scan.

use super::select_joins::{Decided, JoinRows};
use super::stray_filters::has_stray_filter;
use crate::cost::{CostConstants, LateOrder, ScanFilter, ScanWork, value_width};
use datafusion::arrow::datatypes::Field;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ColumnStatistics, JoinSide, JoinType, Result};
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, LikeExpr, Literal};
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use std::sync::Arc;

/// The share of a scan's time that has to be saved, and the nanoseconds.
const MIN_GAIN: f64 = 0.15;
const MIN_SAVED: f64 = 1_000_000.0;

/// Nanoseconds a row of a regular expression, which is what a LIKE becomes that is more than the start, the end or a part of
/// a text, and of a function. A LIKE with `_` took 39 on 3 million file names of the Debian archive.
const DEAR_PREDICATE: f64 = 35.0;

/// A build side's keys that rows have to be among.
#[derive(Debug, Clone, Copy)]
struct Demand {
    /// The column of the key, in the schema of the node that is asked.
    column: usize,
    /// The share of rows that is.
    keep: f64,
}

/// What is known of a node from the nodes above it.
#[derive(Debug, Clone, Default)]
struct Above {
    demands: Vec<Demand>,
    /// Estimated rows of the node, or of a filter of it.
    rows: Option<f64>,
    /// Conjuncts of the filters between, each with the columns it needs, in the schema of the node, and what a row costs.
    conjuncts: Vec<(Vec<usize>, f64)>,
}

/// The plan with those scans that gain by it told to filter while they decode. `decided` are the estimates of its hash joins.
pub(super) fn push_filters(
    plan: &Arc<dyn ExecutionPlan>,
    decided: &Decided,
    constants: &CostConstants,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    if config.execution.parquet.pushdown_filters {
        return Ok(Arc::clone(plan));
    }
    let walk = Walk {
        decided,
        constants,
        dynamic: config.optimizer.enable_join_dynamic_filter_pushdown,
    };
    Ok(walk
        .visit(plan, Above::default())?
        .unwrap_or_else(|| Arc::clone(plan)))
}

struct Walk<'a> {
    decided: &'a Decided,
    constants: &'a CostConstants,
    /// Whether joins hand the keys of their build sides to scans.
    dynamic: bool,
}

impl Walk<'_> {
    /// The node with its scans told; `None` if it stays as it is.
    #[recursive::recursive]
    fn visit(
        &self,
        node: &Arc<dyn ExecutionPlan>,
        above: Above,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(scan) = node.downcast_ref::<DataSourceExec>() {
            return self.scan(scan, &above);
        }
        let below = self.below(node, above);
        let mut changed = false;
        let mut children = vec![];
        for (child, above) in node.children().into_iter().zip(below) {
            let told = self.visit(child, above)?;
            changed |= told.is_some();
            children.push(told.unwrap_or_else(|| Arc::clone(child)));
        }
        match changed {
            true => replace_children_if_necessary(Arc::clone(node), children).map(Some),
            false => Ok(None),
        }
    }

    /// What the children of a node are asked for.
    fn below(&self, node: &Arc<dyn ExecutionPlan>, above: Above) -> Vec<Above> {
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            return self.below_join(join, self.decided.of(node), above);
        }
        if let Some(filter) = node.downcast_ref::<FilterExec>() {
            let projection = filter.projection().as_ref();
            let below = |column: usize| match projection {
                Some(projection) => projection.get(column).copied(),
                None => Some(column),
            };
            let mut above = above.mapped(below);
            let conjuncts = split_conjunction(filter.predicate());
            let conjuncts = conjuncts.into_iter();
            above
                .conjuncts
                .extend(conjuncts.map(|conjunct| (columns_of(conjunct), row_cost(conjunct))));
            return vec![above];
        }
        if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            let below = |column: usize| {
                let expr = &projection.expr().get(column)?.expr;
                Some(expr.downcast_ref::<Column>()?.index())
            };
            return vec![above.mapped(below)];
        }
        if node.is::<RepartitionExec>() || node.is::<CoalescePartitionsExec>() {
            return vec![above];
        }
        vec![Above::default(); node.children().len()]
    }

    fn below_join(&self, join: &HashJoinExec, rows: Option<JoinRows>, above: Above) -> Vec<Above> {
        let (keeps_left, keeps_right) = join.join_type().on_lr_is_preserved();
        let projection = join.projection.as_ref();
        // The left columns come first, if the join has any.
        let fields = join.left().schema().fields().len();
        let lefts = match join.join_type() {
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => 0,
            _ => fields,
        };
        let to_side = |side: JoinSide| {
            move |column: usize| {
                let column = match projection {
                    Some(projection) => *projection.get(column)?,
                    None => column,
                };
                match side {
                    JoinSide::Left => (column < lefts).then_some(column),
                    _ => column.checked_sub(lefts),
                }
            }
        };
        let demands = match join.join_type() {
            // A mark is no column of either side.
            JoinType::LeftMark | JoinType::RightMark => vec![],
            _ => above.demands,
        };
        // Filters above a join are DataFusion's to push, and have been pushed as far as they go.
        let demands = Above {
            demands,
            ..Above::default()
        };
        let side = |keeps: bool, side: JoinSide| match keeps {
            true => demands.clone().mapped(to_side(side)),
            false => Above::default(),
        };
        let mut left = side(keeps_left, JoinSide::Left);
        let mut right = side(keeps_right, JoinSide::Right);
        let Some(rows) = rows else {
            return vec![left, right];
        };
        left.rows = Some(rows.build);
        right.rows = Some(rows.probe);
        if self.dynamic && keeps_right && !join.null_aware && !has_stray_filter(join) {
            let keep = (rows.output / rows.probe.max(1.0)).min(1.0);
            let keys = join.on().iter();
            let key = keys.filter_map(|(_, key)| Some(key.downcast_ref::<Column>()?.index()));
            // A lookup is by all keys at once; the first one tells which scan is asked.
            right
                .demands
                .extend(key.take(1).map(|column| Demand { column, keep }));
        }
        vec![left, right]
    }

    /// The scan, if it should filter while it decodes.
    fn scan(&self, exec: &DataSourceExec, above: &Above) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        // Predicates alone gain little: evaluating them stage by stage costs about what late decoding saves.
        if above.demands.is_empty() {
            return Ok(None);
        }
        let Some(scan) = exec.data_source().downcast_ref::<FileScanConfig>() else {
            return Ok(None);
        };
        let Some(source) = scan.file_source().downcast_ref::<ParquetSource>() else {
            return Ok(None);
        };
        if scan.limit.is_some() {
            return Ok(None);
        }
        let statistics = StatisticsContext::new().compute(exec, &StatisticsArgs::new())?;
        let Some(rows) = statistics.num_rows.get_value() else {
            return Ok(None);
        };
        let rows = *rows as f64;
        let schema = exec.schema();
        let columns = schema.fields().iter().zip(&statistics.column_statistics);
        let width = |(field, column): (&Arc<Field>, &ColumnStatistics)| match column.byte_size {
            // Of text, what it takes in the file, before compression: of a dictionary little more than its keys.
            Precision::Exact(bytes) | Precision::Inexact(bytes)
                if field.data_type().primitive_width().is_none() =>
            {
                bytes as f64 / rows.max(1.0)
            }
            _ => value_width(field.data_type()),
        };
        let Some(order) = self.late_order(rows, columns.map(width).collect(), above) else {
            return Ok(None);
        };
        let source = source
            .clone()
            .with_pushdown_filters(true)
            .with_reorder_filters(order == LateOrder::SmallestFirst);
        let source = Arc::new(source);
        let scan = FileScanConfigBuilder::from(scan.clone())
            .with_source(source)
            .build();
        Ok(Some(Arc::new(
            exec.clone().with_data_source(Arc::new(scan)),
        )))
    }

    /// The order in which to decode the columns of filters first, if that saves time.
    fn late_order(&self, rows: f64, widths: Vec<f64>, above: &Above) -> Option<LateOrder> {
        let kept = above.rows.map_or(1.0, |kept| kept / rows.max(1.0));
        let share = kept.clamp(0.0, 1.0);
        // Conjuncts come one after the other, in the order of the predicate, then the keys of joins.
        let keep = share.powf(1.0 / above.conjuncts.len().max(1) as f64);
        let conjuncts = above
            .conjuncts
            .iter()
            .map(|(columns, row_cost)| ScanFilter {
                columns: columns.clone(),
                keep,
                row_cost: *row_cost,
            });
        let keys = above.demands.iter().map(|demand| ScanFilter {
            columns: vec![demand.column],
            keep: demand.keep,
            row_cost: 0.0,
        });
        let work = ScanWork {
            rows,
            widths,
            conjuncts: conjuncts.collect(),
            keys: keys.collect(),
        };
        let constants = &self.constants;
        let plain = constants.scan.time(&work.plain()) + work.plain_predicates();
        // What does not pass here is not looked up in the joins.
        let found: f64 = work.keys.iter().map(|key| key.keep).product();
        let filtered = match above.conjuncts.is_empty() {
            true => rows,
            false => rows * share,
        };
        let saved = filtered * (1.0 - found) * constants.hash_join.probe_row;
        let late = |order| {
            let (steps, predicates) = work.late(order);
            (constants.scan.time(&steps) + predicates, order)
        };
        let orders = [LateOrder::Written, LateOrder::SmallestFirst].map(late);
        let (late, order) = orders.into_iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
        let gain = plain + saved - late;
        (gain > MIN_SAVED && gain > MIN_GAIN * plain).then_some(order)
    }
}

impl Above {
    /// In the schema of a node below, where `below` finds columns.
    fn mapped(self, below: impl Fn(usize) -> Option<usize>) -> Self {
        let demands = self.demands.into_iter();
        let demands = demands.filter_map(|demand| {
            Some(Demand {
                column: below(demand.column)?,
                ..demand
            })
        });
        let conjuncts = self.conjuncts.into_iter();
        let conjuncts = conjuncts.filter_map(|(columns, cost)| {
            let columns = columns.into_iter().map(&below);
            Some((columns.collect::<Option<Vec<_>>>()?, cost))
        });
        Self {
            demands: demands.collect(),
            rows: self.rows,
            conjuncts: conjuncts.collect(),
        }
    }
}

/// The columns that an expression uses.
fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    let mut columns = vec![];
    // The closure returns no error.
    let _ = expr.apply(|node| {
        if let Some(column) = node.downcast_ref::<Column>()
            && !columns.contains(&column.index())
        {
            columns.push(column.index());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    columns
}

/// Nanoseconds that a predicate takes for each row, beyond a comparison.
fn row_cost(predicate: &Arc<dyn PhysicalExpr>) -> f64 {
    let mut cost = 0.0;
    // The closure returns no error.
    let _ = predicate.apply(|node| {
        let binary = node.downcast_ref::<BinaryExpr>();
        let regex = binary.is_some_and(|binary| {
            matches!(
                binary.op(),
                Operator::RegexMatch
                    | Operator::RegexIMatch
                    | Operator::RegexNotMatch
                    | Operator::RegexNotIMatch
            )
        });
        if regex || node.is::<ScalarFunctionExpr>() || is_regex(node) {
            cost += DEAR_PREDICATE;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    cost
}

/// Whether an expression is a LIKE that needs a regular expression.
fn is_regex(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let Some(like) = expr.downcast_ref::<LikeExpr>() else {
        return false;
    };
    let pattern = like.pattern().downcast_ref::<Literal>();
    let Some(Some(pattern)) = pattern.map(|literal| literal.value().try_as_str().flatten()) else {
        return true;
    };
    let inner = pattern.strip_prefix('%').unwrap_or(pattern);
    let inner = inner.strip_suffix('%').unwrap_or(inner);
    like.case_insensitive() || inner.contains(['%', '_', '\\'])
}
