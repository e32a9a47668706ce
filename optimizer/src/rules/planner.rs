//! A query planner that lends the physical optimizer the estimates of the logical one.

use super::join_estimates::JoinEstimates;
use super::reorder_joins::ReorderJoins;
use super::spool::SpoolPlanner;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use std::sync::Arc;

/// Plans as another planner does, with a copy of the session that knows the estimates of the query's joins.
#[derive(Debug)]
pub(super) struct EstimatingPlanner {
    rule: Arc<ReorderJoins>,
    /// DataFusion's own, if there is none.
    inner: Option<Arc<dyn QueryPlanner + Send + Sync>>,
}

impl EstimatingPlanner {
    pub(super) fn new(
        rule: Arc<ReorderJoins>,
        inner: Option<Arc<dyn QueryPlanner + Send + Sync>>,
    ) -> Self {
        Self { rule, inner }
    }

    /// What the rule makes of a plan, and the session with its estimates; `None` if there is nothing to be had.
    fn finished(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Option<(Option<LogicalPlan>, Option<SessionState>)> {
        let state = session.as_any().downcast_ref::<SessionState>()?;
        if !is_worth_a_look(plan) {
            return None;
        }
        let memory = match state.runtime_env().memory_pool.memory_limit() {
            MemoryLimit::Finite(bytes) => Some(bytes),
            _ => None,
        };
        let finished = self.rule.timed(|| self.rule.finish(plan, state, memory));
        let informed = finished.joins.map(|joins| {
            let mut state = state.clone();
            let options = state.config_mut().options_mut();
            options.extensions.insert(JoinEstimates {
                joins: joins.into(),
                memory,
            });
            state
        });
        Some((finished.plan, informed))
    }
}

#[async_trait]
impl QueryPlanner for EstimatingPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (finished, informed) = self.finished(plan, session).unwrap_or_default();
        let plan = finished.as_ref().unwrap_or(plan);
        let session = match &informed {
            Some(state) => state,
            None => session,
        };
        match &self.inner {
            Some(inner) => inner.create_physical_plan(plan, session).await,
            None => {
                let spools: Arc<dyn ExtensionPlanner + Send + Sync> = Arc::new(SpoolPlanner {});
                let planner = DefaultPhysicalPlanner::with_extension_planners(vec![spools]);
                planner.create_physical_plan(plan, session).await
            }
        }
    }
}

/// Whether a plan has a join, or sub-plans that might be equal.
fn is_worth_a_look(plan: &LogicalPlan) -> bool {
    let mut scans = 0;
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        scans += usize::from(matches!(node, LogicalPlan::TableScan(_)));
        found |= scans > 1 || matches!(node, LogicalPlan::Join(_));
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    walked.is_ok() && found
}
