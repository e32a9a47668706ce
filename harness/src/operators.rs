//! The physical plan of one execution as plain data: its operators, and what each of them counted.
//!
//! Operators stand in the order of `EXPLAIN`: an operator, then its inputs, the first one first. Numbers stand in lists of the same
//! order, so that the text of a plan that several arms share is kept once.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec,
    SymmetricHashJoinExec,
};
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, displayable};
use serde::{Deserialize, Serialize};

use crate::fingerprint::without_file_groups;
use crate::tables::TablePath;

/// Longer texts of operators end in an ellipsis: some list hundreds of columns.
const LONGEST_TEXT: usize = 400;

/// An operator of a physical plan. The keys are short, since a run has thousands of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Operator {
    /// `HashJoinExec` and the like.
    #[serde(rename = "o")]
    pub(crate) name: String,
    /// What it does, as `EXPLAIN` says it.
    #[serde(rename = "t", default, skip_serializing_if = "String::is_empty")]
    pub(crate) text: String,
    /// How many inputs follow.
    #[serde(rename = "c", default, skip_serializing_if = "is_zero")]
    pub(crate) inputs: usize,
    /// Partitions of its output, which run in parallel.
    #[serde(rename = "p")]
    pub(crate) partitions: usize,
    /// Whether it joins. The first input of a hash join builds.
    #[serde(rename = "j", default, skip_serializing_if = "is_false")]
    pub(crate) joins: bool,
    /// The table that it reads.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<String>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A plan that ran, with what its operators counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    pub(crate) operators: Vec<Operator>,
    /// By operator: the columns that a hash join finds equal, by name. Empty for all others.
    pub(crate) keys: Vec<Vec<(String, String)>>,
    /// By operator: DataFusion's own estimate of its rows.
    pub(crate) own_estimates: Vec<Option<f64>>,
    /// By operator: the rows that it returned, in all partitions together.
    pub(crate) rows: Vec<Option<u64>>,
    /// By operator: microseconds of work in all partitions together.
    pub(crate) elapsed_us: Vec<Option<u64>>,
    /// Positions of operators that returned fewer rows than their part of the query has: a LIMIT above was content, or the keys of a
    /// join above dropped rows at a scan below. Some that lost none may be among them.
    pub(crate) cut: Vec<usize>,
}

/// A plan before it runs: filters that fill in at run time are empty yet.
pub(crate) struct Sketch {
    nodes: Vec<Arc<dyn ExecutionPlan>>,
    operators: Vec<Operator>,
}

impl Sketch {
    /// The operators of a plan over these tables.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>, tables: &[TablePath]) -> Self {
        let mut nodes = vec![];
        collect(plan, &mut nodes);
        let operators = nodes.iter().map(|node| operator(node, tables)).collect();
        Self { nodes, operators }
    }

    /// What the plan counted. Call it after the plan ran to its end.
    pub(crate) fn observe(self) -> Observed {
        let metrics: Vec<Option<MetricsSet>> =
            self.nodes.iter().map(|node| node.metrics()).collect();
        let statistics = StatisticsContext::new();
        let own_estimates = self.nodes.iter().map(|node| {
            let statistics = statistics.compute(node.as_ref(), &StatisticsArgs::new());
            let rows = statistics.ok()?.num_rows.get_value().copied()?;
            Some(rows as f64)
        });
        let rows: Vec<Option<u64>> = metrics
            .iter()
            .map(|metrics| Some(metrics.as_ref()?.output_rows()? as u64))
            .collect();
        Observed {
            keys: self.nodes.iter().map(key_names).collect(),
            own_estimates: own_estimates.collect(),
            elapsed_us: metrics
                .iter()
                .zip(first_times(&self.nodes))
                .map(|(metrics, first)| elapsed_us(metrics.as_ref().filter(|_| first)?))
                .collect(),
            cut: Cuts::new(&self.nodes, &metrics, &rows).positions(),
            rows,
            operators: self.operators,
        }
    }
}

/// By node, whether it stands here for the first time: what several spools read stands below each of them, and has run once.
fn first_times(nodes: &[Arc<dyn ExecutionPlan>]) -> impl Iterator<Item = bool> {
    let mut seen = HashSet::new();
    nodes.iter().map(move |node| seen.insert(Arc::as_ptr(node)))
}

fn collect(node: &Arc<dyn ExecutionPlan>, nodes: &mut Vec<Arc<dyn ExecutionPlan>>) {
    nodes.push(Arc::clone(node));
    for input in node.children() {
        collect(input, nodes);
    }
}

fn operator(node: &Arc<dyn ExecutionPlan>, tables: &[TablePath]) -> Operator {
    let line = displayable(node.as_ref()).one_line().to_string();
    let line = without_file_groups(line.trim());
    let (name, text) = line.split_once(": ").unwrap_or((&line, ""));
    // What follows is derived from the predicate, and longer than all the rest.
    let text = text.split(", pruning_predicate=").next().unwrap_or(text);
    Operator {
        name: name.to_owned(),
        text: shortened(text),
        inputs: node.children().len(),
        partitions: node.output_partitioning().partition_count(),
        joins: is_join(node.as_ref()),
        table: table_of(node.as_ref(), tables),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_join(node: &dyn ExecutionPlan) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<PiecewiseMergeJoinExec>()
        || node.is::<SymmetricHashJoinExec>()
}

/// The table whose first file a scan reads.
fn table_of(node: &dyn ExecutionPlan, tables: &[TablePath]) -> Option<String> {
    let scan = node.downcast_ref::<DataSourceExec>()?;
    let config = scan.data_source().downcast_ref::<FileScanConfig>()?;
    let file = config
        .file_groups
        .iter()
        .find_map(|group| group.iter().next())?;
    let file = Path::new("/").join(file.object_meta.location.as_ref());
    let table = tables.iter().find(|table| file.starts_with(&table.path))?;
    Some(table.name.clone())
}

fn key_names(node: &Arc<dyn ExecutionPlan>) -> Vec<(String, String)> {
    let Some(join) = node.downcast_ref::<HashJoinExec>() else {
        return vec![];
    };
    let names = join.on().iter().filter_map(|(left, right)| {
        let (left, right) = (
            left.downcast_ref::<Column>()?,
            right.downcast_ref::<Column>()?,
        );
        Some((left.name().to_owned(), right.name().to_owned()))
    });
    names.collect()
}

fn elapsed_us(metrics: &MetricsSet) -> Option<u64> {
    let computing = metrics.elapsed_compute().filter(|&nanos| nanos > 0);
    // Scans count the time of decoding under a name of their own.
    let processing = || {
        metrics
            .sum_by_name("time_elapsed_processing")
            .map(|time| time.as_usize())
    };
    let nanos = computing.or_else(processing)?;
    Some((nanos as u64).div_ceil(1000))
}

/// Which operators may have returned fewer rows than their part of the query has.
struct Cuts<'a> {
    nodes: &'a [Arc<dyn ExecutionPlan>],
    rows: &'a [Option<u64>],
    /// By operator: the position behind its last input.
    ends: Vec<usize>,
    /// By operator: filters that it fills in at run time.
    produced: Vec<BTreeSet<u64>>,
    /// By operator: filters of that kind by which it may have dropped rows.
    obeyed: Vec<BTreeSet<u64>>,
}

impl<'a> Cuts<'a> {
    fn new(
        nodes: &'a [Arc<dyn ExecutionPlan>],
        metrics: &[Option<MetricsSet>],
        rows: &'a [Option<u64>],
    ) -> Self {
        let produced: Vec<BTreeSet<u64>> = nodes
            .iter()
            .map(|node| {
                let filters = node.dynamic_expressions_produced();
                filters.iter().filter_map(|f| f.expression_id()).collect()
            })
            .collect();
        let obeyed = nodes
            .iter()
            .zip(metrics)
            .map(
                |(node, metrics)| match dropped_rows(node.as_ref(), metrics.as_ref()) {
                    true => run_time_filters(node.as_ref()),
                    false => BTreeSet::new(),
                },
            )
            .collect();
        let mut ends = vec![0; nodes.len()];
        if !nodes.is_empty() {
            find_ends(nodes, 0, &mut ends);
        }
        Self {
            nodes,
            rows,
            ends,
            produced,
            obeyed,
        }
    }

    fn positions(&self) -> Vec<usize> {
        let mut stopped = BTreeSet::new();
        if !self.nodes.is_empty() {
            self.stop(0, false, &mut stopped);
        }
        let filtered = |at: usize| {
            let own: BTreeSet<u64> = self.produced[at..self.ends[at]]
                .iter()
                .flatten()
                .copied()
                .collect();
            let mut obeyed = self.obeyed[at..self.ends[at]].iter().flatten();
            obeyed.any(|filter| !own.contains(filter))
        };
        (0..self.nodes.len())
            .filter(|&at| stopped.contains(&at) || filtered(at))
            .collect()
    }

    /// Walks down with whether what is above may stop asking for rows before there are no more.
    fn stop(&self, at: usize, stops: bool, stopped: &mut BTreeSet<usize>) {
        let node = self.nodes[at].as_ref();
        if stops {
            stopped.insert(at);
        }
        let all = node.is::<SortExec>() || node.is::<AggregateExec>();
        let stops = !all && (stops || node.fetch().is_some());
        let merges = node.is::<SortMergeJoinExec>() || node.is::<PiecewiseMergeJoinExec>();
        let mut input = at + 1;
        let mut nothing_built = false;
        for place in 0..node.children().len() {
            let builds = is_join(node) && !merges && place == 0;
            self.stop(
                input,
                !builds && (stops || merges || nothing_built),
                stopped,
            );
            // Without rows to be found, a join need not look.
            nothing_built |= builds && self.rows[input] == Some(0);
            input = self.ends[input];
        }
    }
}

fn find_ends(nodes: &[Arc<dyn ExecutionPlan>], at: usize, ends: &mut [usize]) -> usize {
    let mut next = at + 1;
    for _ in nodes[at].children() {
        next = find_ends(nodes, next, ends);
    }
    ends[at] = next;
    next
}

/// Whether an operator may have dropped rows by a filter. A scan counts what it skips.
fn dropped_rows(node: &dyn ExecutionPlan, metrics: Option<&MetricsSet>) -> bool {
    let Some(metrics) = metrics.filter(|_| node.is::<DataSourceExec>()) else {
        return true;
    };
    metrics.iter().any(|metric| match metric.value() {
        MetricValue::PruningMetrics {
            pruning_metrics, ..
        } => pruning_metrics.pruned() > 0,
        MetricValue::Count { name, count } => name.contains("pruned") && count.value() > 0,
        _ => false,
    })
}

/// The filters in an operator that others fill in at run time.
fn run_time_filters(node: &dyn ExecutionPlan) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    let mut look =
        |root: &Arc<dyn datafusion::physical_plan::PhysicalExpr>| -> Result<TreeNodeRecursion> {
            root.apply(|expr| {
                if expr.is::<DynamicFilterPhysicalExpr>() {
                    found.extend(expr.expression_id());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        };
    if let Err(error) = node.apply_expressions(&mut look) {
        tracing::debug!(%error, "the expressions of an operator are not known");
    }
    found
}
