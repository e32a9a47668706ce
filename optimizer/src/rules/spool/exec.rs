//! `SpoolExec`: an operator that returns the rows of its input, which are computed once for all operators like it.

use super::buffer::{Reader, Shared};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};
use std::fmt::{self, Formatter};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Returns the rows of its input. Those of one number have equal inputs, and once [`ShareSpools`](super::ShareSpools) has seen them
/// also the same: each partition then runs once, for all of them.
///
/// It hides its input from what is above: no filter, limit or order is handed down, as it would have to be that of all. (So its
/// effect on the number of rows is left unknown: DataFusion hands a sort's limit through operators of which it knows that they keep
/// them all.)
#[derive(Debug)]
pub struct SpoolExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    number: usize,
    /// `None` as long as this one runs its input for itself.
    shared: Option<Arc<Shared>>,
    metrics: ExecutionPlanMetricsSet,
}

impl SpoolExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, number: usize) -> Self {
        let properties = PlanProperties::clone(input.properties())
            .with_scheduling_type(SchedulingType::Cooperative);
        Self {
            input,
            properties: Arc::new(properties),
            number,
            shared: None,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    pub(super) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// One that reads from another input with the same properties, together with others if they share it.
    pub(super) fn reading(
        &self,
        input: Arc<dyn ExecutionPlan>,
        shared: Option<Arc<Shared>>,
    ) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self {
            input,
            properties: Arc::clone(&self.properties),
            number: self.number,
            shared,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for SpoolExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "SpoolExec: number={}", self.number)?;
                match &self.shared {
                    Some(shared) => write!(f, ", readers={}", shared.readers()),
                    None => Ok(()),
                }
            }
            DisplayFormatType::TreeRender => write!(f, "number={}", self.number),
        }
    }
}

impl ExecutionPlan for SpoolExec {
    fn name(&self) -> &str {
        "SpoolExec"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop().filter(|_| children.is_empty()) else {
            return internal_err!("a spool has one input");
        };
        if Arc::ptr_eq(&input, &self.input) {
            return Ok(self);
        }
        // With another input its rows are its own.
        Ok(match options.children_properties {
            ChildrenPropertiesMode::Keep => self.reading(input, None),
            ChildrenPropertiesMode::Recompute => Arc::new(Self::new(input, self.number)),
        })
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn with_new_children_and_same_properties(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = ChildrenPropertiesMode::Keep;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.reading(Arc::clone(&self.input), None))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let reader = match &self.shared {
            Some(shared) => shared.reader(partition, &self.input, &context, &self.metrics)?,
            None => None,
        };
        let Some(reader) = reader else {
            return self.input.execute(partition, context);
        };
        Ok(Box::pin(cooperative(Counted {
            reader,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        })))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match input_stats {
            [input] => Ok(Arc::clone(input)),
            _ => self.input.statistics_from_inputs(input_stats, args),
        }
    }
}

/// A reader whose rows are counted.
struct Counted {
    reader: Reader,
    metrics: BaselineMetrics,
}

impl Stream for Counted {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let poll = self.reader.poll_next_unpin(context);
        self.metrics.record_poll(poll)
    }
}

impl RecordBatchStream for Counted {
    fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }
}
