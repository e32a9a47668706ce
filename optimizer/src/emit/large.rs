//! From a join tree over many relations back to a logical plan.

use super::Conditions;
use super::leaves::Leaves;
use crate::extract::{Condition, LargeRegion};
use crate::join_tree::{JoinTree, Step};
use datafusion::common::{JoinType, Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use std::sync::Arc;

/// The plan that joins the region's leaves as `tree` says, with the schema of `schema_of`.
pub(crate) fn emit_large(
    region: &LargeRegion,
    tree: &JoinTree,
    schema_of: &LogicalPlan,
) -> Result<LogicalPlan> {
    let n = region.leaves.len();
    let mut by_relation: Vec<Vec<usize>> = vec![vec![]; n];
    for (i, predicate) in region.predicates.iter().enumerate() {
        for relation in &predicate.relations {
            if let Some(of_relation) = by_relation.get_mut(*relation) {
                of_relation.push(i);
            }
        }
    }
    let mut emission = Emission {
        region,
        leaves: Leaves::new(&region.leaves, &region.leaf_predicates)?,
        by_relation,
        part_of: vec![usize::MAX; n],
        applied: vec![false; region.predicates.len()],
        parts: 0,
    };
    let part = tree.fold(&mut |step| match step {
        Step::Leaf(index) => emission.leaf(index),
        Step::Join(left, right) => emission.join(left?, right?),
    })?;
    if part.relations.len() != n || !emission.applied.iter().all(|applied| *applied) {
        return plan_err!("a join tree over {} of {n} relations", part.relations.len());
    }
    emission
        .leaves
        .finish(part.plan, &region.constants, &region.output, schema_of)
}

struct Emission<'a> {
    region: &'a LargeRegion,
    leaves: Leaves,
    /// By relation the predicates that use it.
    by_relation: Vec<Vec<usize>>,
    /// By relation the part that it belongs to so far.
    part_of: Vec<usize>,
    applied: Vec<bool>,
    parts: usize,
}

/// A plan of some relations.
struct Part {
    plan: LogicalPlan,
    relations: Vec<usize>,
    number: usize,
}

impl Emission<'_> {
    fn leaf(&mut self, index: usize) -> Result<Part> {
        let (Some(plan), Some(part_of)) =
            (self.leaves.plans.get(index), self.part_of.get_mut(index))
        else {
            return plan_err!("a join tree with the unknown relation {index}");
        };
        if *part_of != usize::MAX {
            return plan_err!("a join tree with relation {index} twice");
        }
        self.parts += 1;
        *part_of = self.parts;
        Ok(Part {
            plan: plan.clone(),
            relations: vec![index],
            number: self.parts,
        })
    }

    fn join(&mut self, left: Part, right: Part) -> Result<Part> {
        let left_is_small = left.relations.len() <= right.relations.len();
        let (small, large) = match left_is_small {
            true => (&left, &right),
            false => (&right, &left),
        };
        // Each relation is in the smaller part of at most log n joins.
        let mut completed: Vec<usize> = vec![];
        for relation in &small.relations {
            for i in &self.by_relation[*relation] {
                let inside = |r: &usize| [small.number, large.number].contains(&self.part_of[*r]);
                if !self.applied[*i] && self.region.predicates[*i].relations.iter().all(inside) {
                    completed.push(*i);
                }
            }
        }
        // As the query has them, each once.
        completed.sort_unstable();
        completed.dedup();
        let mut conditions = Conditions::default();
        for i in completed {
            self.applied[i] = true;
            let predicate = &self.region.predicates[i];
            match &predicate.condition {
                Condition::Equal([(low, _), (high, _)]) => {
                    let low_is_left = self.part_of[predicate.relations[0]] == left.number;
                    let (low, high) = (self.leaves.expr(low)?, self.leaves.expr(high)?);
                    conditions.on.push(match low_is_left {
                        true => (low, high),
                        false => (high, low),
                    });
                }
                Condition::Other(expr) => conditions.filters.push(self.leaves.expr(expr)?),
            }
        }
        let (kept, moved, number) = match left_is_small {
            true => (right.relations, left.relations, right.number),
            false => (left.relations, right.relations, left.number),
        };
        for relation in &moved {
            self.part_of[*relation] = number;
        }
        let mut relations = kept;
        relations.extend(moved);
        let join = conditions.join(Arc::new(left.plan), Arc::new(right.plan), JoinType::Inner)?;
        Ok(Part {
            plan: LogicalPlan::Join(join),
            relations,
            number,
        })
    }
}
