//! From a join tree back to a logical plan with the region's schema.
//!
//! Each predicate is applied exactly once, at the lowest join that has all its relations. Of an
//! equality class one equality a join suffices: within each side its members are equal already. The
//! exception is a side whose members all belong to one relation, which nothing has compared yet.

mod large;
mod leaves;

pub(crate) use large::emit_large;

use crate::extract::{Region, RegionOperator, equality};
use crate::join_graph::JoinKind;
use crate::join_tree::JoinTree;
use crate::query_graph::{EqualityClass, Member};
use crate::relset::RelSet;
use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality, Result, plan_err};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Join, LogicalPlan, Operator, Projection};
use leaves::Leaves;
use std::sync::Arc;

/// The plan that joins the region's leaves as `tree` says. `schema_of` is the plan that the region
/// was extracted from; the result has its schema.
pub(crate) fn emit(
    region: &Region,
    tree: &JoinTree,
    schema_of: &LogicalPlan,
) -> Result<LogicalPlan> {
    let mut emission = Emission {
        region,
        leaves: Leaves::new(&region.leaves, &region.leaf_predicates)?,
        applied: 0,
    };
    let (plan, set) = emission.join(tree)?;
    if set.len() != region.leaves.len() {
        return plan_err!(
            "a join tree over {set:?} of {} relations",
            region.leaves.len()
        );
    }
    if emission.applied != region.operators.len() + region.filters.len() {
        return plan_err!("a join tree in which not every predicate has its place");
    }
    emission
        .leaves
        .finish(plan, &region.constants, &region.output, schema_of)
}

/// A region while it becomes a plan.
struct Emission<'a> {
    region: &'a Region,
    leaves: Leaves,
    /// Operators and filters that have been applied.
    applied: usize,
}

impl Emission<'_> {
    #[recursive::recursive]
    fn join(&mut self, tree: &JoinTree) -> Result<(LogicalPlan, RelSet)> {
        let (left, right) = match tree {
            JoinTree::Leaf(index) => {
                let Some(plan) = self.leaves.plans.get(*index) else {
                    return plan_err!("a join tree with the unknown relation {index}");
                };
                return Ok((plan.clone(), RelSet::single(*index)));
            }
            JoinTree::Join(left, right) => (self.join(left)?, self.join(right)?),
        };
        let ((left, left_set), (right, right_set)) = (left, right);
        if left_set.intersects(right_set) {
            return plan_err!("a join tree with {left_set:?} and {right_set:?}");
        }
        let both = left_set.union(right_set);
        let completed = |relations: RelSet| {
            relations.is_subset(both)
                && !relations.is_subset(left_set)
                && !relations.is_subset(right_set)
        };
        let region = self.region;
        let mut inner = Conditions::default();
        for class in &region.classes {
            for (l, r) in key_pairs(class, left_set, right_set) {
                inner
                    .on
                    .push((self.leaves.expr(&l.key)?, self.leaves.expr(&r.key)?));
            }
        }
        for filter in region.filters.iter().filter(|f| completed(f.relations)) {
            inner.filters.push(self.leaves.expr(&filter.predicate)?);
            self.applied += 1;
        }
        let mut outer = None;
        let operators = region.operators.iter();
        for operator in operators.filter(|o| completed(o.place.relations)) {
            let Some(swapped) = operator.place.applicable(left_set, right_set) else {
                return plan_err!(
                    "{left_set:?} and {right_set:?} meet where {:?} forbids it",
                    operator.place
                );
            };
            let conditions = self.conditions(operator, swapped)?;
            self.applied += 1;
            if operator.place.kind == JoinKind::Inner {
                inner.add(conditions);
            } else if outer.replace((operator, swapped, conditions)).is_some() {
                return plan_err!("two outer joins at {left_set:?} and {right_set:?}");
            }
        }
        let (left, right) = (Arc::new(left), Arc::new(right));
        let Some((operator, swapped, conditions)) = outer else {
            let plan = inner.join(left, right, JoinType::Inner)?;
            return Ok((LogicalPlan::Join(plan), both));
        };
        if !inner.is_empty() {
            return plan_err!("predicates of inner joins at {:?}", operator.place);
        }
        let join = conditions.join(left, right, join_type(operator.place.kind, swapped))?;
        let mut plan = LogicalPlan::Join(join);
        if let Some(mark) = operator.join.mark_index() {
            plan = self.name_mark(plan, mark)?;
        }
        Ok((plan, both))
    }

    /// Gives the mark of a mark join, its last column, a name of its own. All are called `mark`, and the engine tells
    /// columns of physical plans apart by their names alone where it moves filters.
    fn name_mark(&mut self, join: LogicalPlan, mark: usize) -> Result<LogicalPlan> {
        let name = self.leaves.fresh_name("__joinwright_mark");
        let mut exprs: Vec<Expr> = join
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        if let Some(last) = exprs.pop() {
            exprs.push(last.alias(&name));
        }
        let projection = Projection::try_new(exprs, Arc::new(join))?;
        self.leaves.marks.insert(mark, Column::from_name(name));
        Ok(LogicalPlan::Projection(projection))
    }

    /// The conditions of an operator; the left input of the join is the right one of the operator if `swapped`.
    fn conditions(&self, operator: &RegionOperator, swapped: bool) -> Result<Conditions> {
        let on = operator.join.on.iter().map(|equality| {
            let (left, right) = (
                self.leaves.expr(&equality.left)?,
                self.leaves.expr(&equality.right)?,
            );
            Ok(match swapped {
                true => (right, left),
                false => (left, right),
            })
        });
        let filters = operator.join.filters.iter().map(|e| self.leaves.expr(e));
        Ok(Conditions {
            on: on.collect::<Result<_>>()?,
            filters: filters.collect::<Result<_>>()?,
            null_equals_null: operator.join.null_equality == NullEquality::NullEqualsNull,
        })
    }
}

/// What a join checks, in terms of its inputs.
#[derive(Debug, Default)]
struct Conditions {
    on: Vec<(Expr, Expr)>,
    filters: Vec<Expr>,
    /// The equalities take NULL for equal to NULL.
    null_equals_null: bool,
}

impl Conditions {
    fn is_empty(&self) -> bool {
        self.on.is_empty() && self.filters.is_empty()
    }

    /// Takes in those of another inner join at the same place.
    fn add(&mut self, other: Self) {
        if self.on.is_empty() {
            self.on = other.on;
            self.null_equals_null = other.null_equals_null;
        } else if self.null_equals_null == other.null_equals_null {
            self.on.extend(other.on);
        } else {
            // One join has one kind of equality: the strict one, and the other as an expression.
            let (strict, lax) = match other.null_equals_null {
                true => (std::mem::take(&mut self.on), other.on),
                false => (other.on, std::mem::take(&mut self.on)),
            };
            self.on = strict;
            self.null_equals_null = false;
            self.filters.extend(lax.into_iter().map(|(l, r)| {
                let op = Operator::IsNotDistinctFrom;
                Expr::BinaryExpr(BinaryExpr::new(Box::new(l), op, Box::new(r)))
            }));
        }
        self.filters.extend(other.filters);
    }

    fn join(
        self,
        left: Arc<LogicalPlan>,
        right: Arc<LogicalPlan>,
        join_type: JoinType,
    ) -> Result<Join> {
        let null_equality = match self.null_equals_null {
            true => NullEquality::NullEqualsNull,
            false => NullEquality::NullEqualsNothing,
        };
        Join::try_new(
            left,
            right,
            self.on,
            conjunction(self.filters),
            join_type,
            JoinConstraint::On,
            null_equality,
            false,
        )
    }
}

/// The type of a join whose preserved input, if it has one, is the right one if `swapped`.
fn join_type(kind: JoinKind, swapped: bool) -> JoinType {
    match (kind, swapped) {
        (JoinKind::Inner, _) => JoinType::Inner,
        (JoinKind::Full, _) => JoinType::Full,
        (JoinKind::Left, false) => JoinType::Left,
        (JoinKind::Left, true) => JoinType::Right,
        (JoinKind::Semi, false) => JoinType::LeftSemi,
        (JoinKind::Semi, true) => JoinType::RightSemi,
        (JoinKind::Anti, false) => JoinType::LeftAnti,
        (JoinKind::Anti, true) => JoinType::RightAnti,
        (JoinKind::Mark, false) => JoinType::LeftMark,
        (JoinKind::Mark, true) => JoinType::RightMark,
    }
}

/// The equalities that the join of two sets has to check so that all members of the class in them
/// are equal.
fn key_pairs<'c>(
    class: &'c EqualityClass,
    left: RelSet,
    right: RelSet,
) -> Vec<(&'c Member, &'c Member)> {
    let side = |set: RelSet| -> Vec<&'c Member> {
        let members: Vec<&Member> = class
            .members
            .iter()
            .filter(|m| set.contains(m.relation))
            .collect();
        let relations: RelSet = members.iter().map(|m| m.relation).collect();
        match relations.len() {
            // Not yet compared with each other.
            1 => members,
            // Equal already; the first stands for all.
            _ => members.into_iter().take(1).collect(),
        }
    };
    let (left, right) = (side(left), side(right));
    let (Some(first_left), Some(first_right)) = (left.first(), right.first()) else {
        return vec![];
    };
    let rest_left = left[1..].iter().map(|l| (*l, *first_right));
    let rest_right = right[1..].iter().map(|r| (*first_left, *r));
    std::iter::once((*first_left, *first_right))
        .chain(rest_left)
        .chain(rest_right)
        .collect()
}

/// The predicates of a class as the query graph states them, for display.
pub(crate) fn class_equality(class: &EqualityClass) -> Option<Expr> {
    let first = class.members.first()?;
    class.members[1..]
        .iter()
        .map(|m| equality(first.key.clone(), m.key.clone()))
        .reduce(Expr::and)
}
