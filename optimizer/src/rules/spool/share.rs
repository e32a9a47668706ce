//! `ShareSpools`: operators that return the same rows read them from one input.

use super::buffer::Shared;
use super::exec::SpoolExec;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, displayable, replace_children_if_necessary};
use std::collections::HashMap;
use std::sync::Arc;

/// The physical optimizer rule, for the last place: each [`SpoolExec`] of a number gets the input of the first. They come from equal
/// plans, and no rule sees through a spool, so the optimizer has treated them alike. Where their texts differ it has not, and a
/// plan keeps its own input and loses the operator.
#[derive(Debug, Default)]
pub struct ShareSpools {}

impl PhysicalOptimizerRule for ShareSpools {
    fn name(&self) -> &str {
        "share_spools"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !has_spool(&plan) {
            return Ok(plan);
        }
        let mut inputs = Inputs::default();
        let unified = inputs.unify(&plan).and_then(|plan| inputs.connect(&plan));
        unified.or_else(|error| {
            // Each runs its input for itself.
            tracing::warn!(%error, "equal sub-plans are not shared");
            Ok(plan)
        })
    }
}

#[recursive::recursive]
fn has_spool(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<SpoolExec>() || plan.children().into_iter().any(has_spool)
}

/// The inputs by the number of their spools.
#[derive(Default)]
struct Inputs {
    first: HashMap<usize, First>,
}

struct First {
    /// As the optimizer left it.
    text: String,
    input: Arc<dyn ExecutionPlan>,
    readers: usize,
    /// What they read; `None` until the readers are counted.
    shared: Option<Arc<Shared>>,
}

impl Inputs {
    /// The plan with one input for all spools of a number.
    #[recursive::recursive]
    fn unify(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(spool) = plan.downcast_ref::<SpoolExec>() else {
            let children = plan.children().into_iter().map(|child| self.unify(child));
            let children = children.collect::<Result<_>>()?;
            return replace_children_if_necessary(Arc::clone(plan), children);
        };
        let text = displayable(spool.input().as_ref()).indent(true).to_string();
        let number = spool.number();
        if !self.first.contains_key(&number) {
            let first = First {
                text: text.clone(),
                input: self.unify(spool.input())?,
                readers: 0,
                shared: None,
            };
            self.first.insert(number, first);
        }
        match self.first.get_mut(&number) {
            Some(first) if first.text == text => {
                first.readers += 1;
                Ok(spool.reading(Arc::clone(&first.input), None))
            }
            _ => self.unify(spool.input()),
        }
    }

    /// The plan with spools that know of each other, and without those that stand alone.
    #[recursive::recursive]
    fn connect(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(spool) = plan.downcast_ref::<SpoolExec>() else {
            let children = plan.children().into_iter().map(|child| self.connect(child));
            let children = children.collect::<Result<_>>()?;
            return replace_children_if_necessary(Arc::clone(plan), children);
        };
        let number = spool.number();
        let connected = self.first.get(&number).and_then(|f| f.shared.clone());
        let shared = match connected {
            Some(shared) => shared,
            None => {
                let input = self.connect(spool.input())?;
                let Some(first) = self.first.get_mut(&number) else {
                    return Ok(input);
                };
                if first.readers < 2 {
                    return Ok(input);
                }
                let shared = Arc::new(Shared::new(first.readers));
                first.input = input;
                first.shared = Some(Arc::clone(&shared));
                shared
            }
        };
        let input = self.first.get(&number).map_or(spool.input(), |f| &f.input);
        Ok(spool.reading(Arc::clone(input), Some(shared)))
    }
}
