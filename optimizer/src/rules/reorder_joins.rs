//! `ReorderJoins`: a cheaper order for every region of joins.
//!
//! The rule runs right after `push_down_filter`: later than `eliminate_cross_join`, which flattens
//! whatever order there was, and before projections are pruned. It is idempotent: the optimizer runs
//! its rules up to three times, and the last word must be the same as the first.

use super::JoinOrdering;
use super::join_estimates::JoinEstimate;
use super::memory::{Memory, QueryId};
use super::null_equality::as_keys;
use super::pass::{Parts, Pass, hint_error};
use crate::enumerate::{JoinHint, Written};
use crate::options::JoinwrightOptions;
use crate::trace::{Phase, Trace};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use joinwright_stats::{Catalog, Snapshot};
use std::collections::HashSet;
use std::sync::Arc;

/// The optimizer rule. A plan that it has nothing to offer for, or does not understand, it returns
/// as it was.
#[derive(Debug)]
pub struct ReorderJoins {
    catalog: Arc<Catalog>,
    ordering: JoinOrdering,
    memory: Memory,
    /// Whether equal sub-plans will be shared.
    plans_spools: bool,
}

impl ReorderJoins {
    /// A rule with the statistics of `catalog`.
    pub fn new(catalog: Arc<Catalog>, ordering: JoinOrdering) -> Self {
        Self {
            catalog,
            ordering,
            memory: Memory::default(),
            plans_spools: false,
        }
    }

    /// The rule for sessions whose planner runs equal sub-plans once.
    pub(super) fn with_spools(mut self, plans_spools: bool) -> Self {
        self.plans_spools = plans_spools;
        self
    }
}

impl ReorderJoins {
    /// Does something that is a part of planning.
    pub(super) fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        self.ordering.timed(Phase::All, work)
    }

    /// What an optimized plan becomes on its way to the physical optimizer: with aggregates below joins, and the estimates of its joins
    /// for [`SelectJoins`](super::SelectJoins). `memory` is what the session may use in bytes, if that is limited.
    pub(super) fn finish(
        &self,
        plan: &LogicalPlan,
        config: &dyn OptimizerConfig,
        memory: Option<usize>,
    ) -> Finished {
        let mut finished = Finished::default();
        let config_options = config.options();
        let Some(options) = config_options.extensions.get::<JoinwrightOptions>() else {
            return finished;
        };
        if options.enabled {
            match as_keys(plan, config) {
                Ok(keyed) if keyed.transformed => finished.plan = Some(keyed.data),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "conditions on NULLs stay conditions"),
            }
        }
        let spools = self.plans_spools && options.spool;
        if !options.select_joins && !options.eager_aggregation && !spools {
            return finished;
        }
        let partitions = config_options.execution.target_partitions;
        let Some(parts) = Parts::choose(&self.ordering, options, Some(partitions)) else {
            return finished;
        };
        let snapshot = self.catalog.snapshot();
        let mut pass = Pass::new(&snapshot, &self.ordering, options, parts);
        let query = QueryId::new(config, &snapshot, options);
        pass.remember(query.map(|query| (&self.memory, query)), true);
        if options.eager_aggregation {
            match pass.aggregate_early(finished.plan.as_ref().unwrap_or(plan)) {
                Ok(plan) if plan.transformed => finished.plan = Some(plan.data),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "aggregates stay above their joins"),
            }
        }
        if options.select_joins {
            finished.joins = pass.estimate_joins(finished.plan.as_ref().unwrap_or(plan));
        }
        // Last, as nothing sees through a spool.
        if spools {
            match pass.spool(finished.plan.as_ref().unwrap_or(plan), memory) {
                Ok(None) => {}
                Ok(spooled) => finished.plan = spooled,
                Err(error) => tracing::warn!(%error, "equal sub-plans run one by one"),
            }
        }
        finished
    }
}

/// See [`ReorderJoins::finish`].
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// Another plan of the same rows, if it is better.
    pub(super) plan: Option<LogicalPlan>,
    /// `None` if there are none to be had.
    pub(super) joins: Option<Vec<JoinEstimate>>,
}

impl OptimizerRule for ReorderJoins {
    fn name(&self) -> &str {
        "reorder_joins"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        self.timed(|| self.reordered(plan, config))
    }
}

impl ReorderJoins {
    fn reordered(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let config_options = config.options();
        let Some(options) = config_options.extensions.get::<JoinwrightOptions>() else {
            return Ok(Transformed::no(plan));
        };
        if !options.enabled {
            return Ok(Transformed::no(plan));
        }
        let partitions = config_options.execution.target_partitions;
        let Some(parts) = Parts::choose(&self.ordering, options, Some(partitions)) else {
            return Ok(Transformed::no(plan));
        };
        let snapshot = self.catalog.snapshot();
        let query = QueryId::new(config, &snapshot, options);
        let hint = hint(options)?;
        let log = |traces| {
            if let Some(log) = &self.ordering.trace {
                log.pass(traces);
            }
        };
        let memory = query.as_ref().map(|query| (&self.memory, query));
        if let Some(mut traces) = memory.and_then(|(memory, query)| memory.as_left(query, &plan)) {
            for trace in &mut traces {
                trace.planning_us = trace.planning_us.map(|_| 0);
            }
            log(traces);
            return Ok(Transformed::no(plan));
        }
        let used_columns = Arc::new(used_columns(&plan)?);
        let new_pass = || {
            let mut pass = Pass::new(&snapshot, &self.ordering, options, parts.clone());
            pass.hint = hint.clone();
            pass.use_columns(Arc::clone(&used_columns));
            pass.remember(query.clone().map(|query| (&self.memory, query)), false);
            pass
        };
        let mut pass = new_pass();
        if self.plans_spools && options.spool {
            pass.find_common(&plan)?;
        }
        let written = pass.has_common().then(|| plan.clone());
        let mut plan = pass.rewrite(plan)?;
        if let Some(written) = written
            && pass.shares_with_none()
        {
            pass = new_pass();
            plan = pass.rewrite(written)?;
        }
        pass.check_hint()?;
        if let Some((memory, query)) = memory {
            memory.settle_shapes(query, std::mem::take(&mut pass.shapes));
        }
        let traces = pass.into_traces();
        if let Some((memory, query)) = memory.filter(|_| !traces.is_empty()) {
            memory.leave(query, plan.data.clone(), traces.clone());
        }
        log(traces);
        Ok(plan)
    }
}

/// The regions of an already optimized plan as they stand there, with our estimates. Changes
/// nothing; for comparing the orders that others chose.
pub fn observe(
    plan: &LogicalPlan,
    snapshot: &Snapshot,
    ordering: &JoinOrdering,
    options: &JoinwrightOptions,
) -> Vec<Trace> {
    let Some(parts) = Parts::choose(ordering, options, None) else {
        return vec![];
    };
    let parts = Parts {
        enumerator: Arc::new(Written),
        ..parts
    };
    let mut pass = Pass::new(snapshot, ordering, options, parts);
    match pass.rewrite(plan.clone()) {
        Ok(_) => pass.into_traces(),
        Err(error) => {
            tracing::warn!(%error, "a plan could not be observed");
            vec![]
        }
    }
}

/// Names of the columns in the expressions of a plan.
fn used_columns(plan: &LogicalPlan) -> Result<HashSet<String>> {
    let mut used = HashSet::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            used.extend(expr.column_refs().into_iter().map(|c| c.name.clone()));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(used)
}

/// The join hint of a session, if it has one.
fn hint(options: &JoinwrightOptions) -> Result<Option<JoinHint>> {
    if options.join_hint.trim().is_empty() {
        return Ok(None);
    }
    JoinHint::parse(&options.join_hint)
        .map(Some)
        .map_err(hint_error)
}
