//! The logical plan of a spool, and what becomes of it.

use super::exec::SpoolExec;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use std::cmp::Ordering;
use std::fmt::{self, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A sub-plan that stands in a query more than once; equal ones have one number.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    pub(super) number: usize,
    pub(super) input: LogicalPlan,
}

impl PartialEq for Spool {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Spool {}

impl Hash for Spool {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl PartialOrd for Spool {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.number.partial_cmp(&other.number)
    }
}

impl UserDefinedLogicalNodeCore for Spool {
    fn name(&self) -> &str {
        "Spool"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Spool: number={}", self.number)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Self {
                number: self.number,
                input,
            }),
            _ => internal_err!("a spool has one input"),
        }
    }
}

/// Makes operators of spools.
#[derive(Debug)]
pub(in crate::rules) struct SpoolPlanner {}

#[async_trait]
impl ExtensionPlanner for SpoolPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _planning_ctx: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let spool = node.as_any().downcast_ref::<Spool>();
        Ok(match (spool, physical_inputs) {
            // What never ends cannot be kept.
            (Some(_), [input]) if input.boundedness().is_unbounded() => Some(Arc::clone(input)),
            (Some(spool), [input]) => {
                Some(Arc::new(SpoolExec::new(Arc::clone(input), spool.number)))
            }
            _ => None,
        })
    }
}
