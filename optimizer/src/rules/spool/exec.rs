//! `SpoolExec`: an operator that returns the rows of its input, which are computed once for all operators like it.

use super::buffer::{Buffer, Reader};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};
use std::fmt::{self, Formatter};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Returns the rows of its input. Those of one number have equal inputs, and once [`ShareSpools`](super::ShareSpools) has seen them
/// also the same: each partition then runs once, for all of them.
///
/// It hides its input from what is above: no filter, limit or order is handed down, as it would have to be that of all.
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

    /// One more reader of what others of its number read, too.
    pub(super) fn sharing(mut self, shared: Arc<Shared>) -> Self {
        self.shared = Some(shared);
        self
    }
}

/// The partitions of an input, of one execution.
#[derive(Debug)]
pub(super) struct Shared {
    readers: usize,
    partitions: Vec<Mutex<Partition>>,
}

#[derive(Debug, Default)]
struct Partition {
    begun: usize,
    buffer: Option<Arc<Buffer>>,
}

impl Shared {
    pub(super) fn new(partitions: usize, readers: usize) -> Self {
        Self {
            readers,
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
        }
    }
}

impl DisplayAs for SpoolExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "SpoolExec: number={}", self.number)?;
                match &self.shared {
                    Some(shared) => write!(f, ", readers={}", shared.readers),
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
        // With another input its rows are its own.
        let mut spool = Self::new(input, self.number);
        if options.children_properties == ChildrenPropertiesMode::Keep {
            spool.properties = Arc::clone(&self.properties);
        }
        Ok(Arc::new(spool))
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
        Ok(Arc::new(Self::new(Arc::clone(&self.input), self.number)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let shared = self.shared.as_ref();
        let place = shared.and_then(|s| Some((s.readers, s.partitions.get(partition)?)));
        let Some((readers, place)) = place else {
            return self.input.execute(partition, context);
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.begun == readers {
            // All have begun: this is another execution.
            drop(place);
            return self.input.execute(partition, context);
        }
        let buffer = match &place.buffer {
            Some(buffer) => Arc::clone(buffer),
            None => {
                let input = self.input.execute(partition, Arc::clone(&context))?;
                let buffer = Buffer::new(input, readers, partition, &context, &self.metrics);
                let buffer = Arc::new(buffer);
                place.buffer = Some(Arc::clone(&buffer));
                buffer
            }
        };
        place.begun += 1;
        if place.begun == readers {
            // It ends with its readers.
            place.buffer = None;
        }
        Ok(Box::pin(cooperative(Counted {
            reader: Reader::new(buffer),
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

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
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
