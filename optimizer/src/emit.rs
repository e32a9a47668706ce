//! From a join tree back to a logical plan with the region's schema.
//!
//! Each predicate is applied exactly once, at the lowest join that has all its relations. Of an
//! equality class one equality a join suffices: within each side its members are equal already. The
//! exception is a side whose members all belong to one relation, which nothing has compared yet.

use crate::extract::{MARKS, Region, RegionOperator, equality, rename_columns};
use crate::join_graph::JoinKind;
use crate::join_tree::JoinTree;
use crate::query_graph::{EqualityClass, Member, resolve_region_column};
use crate::relset::RelSet;
use datafusion::common::{
    Column, JoinConstraint, JoinType, NullEquality, Result, TableReference, plan_err,
};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator, Projection};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The plan that joins the region's leaves as `tree` says. `schema_of` is the plan that the region
/// was extracted from; the result has its schema.
pub(crate) fn emit(
    region: &Region,
    tree: &JoinTree,
    schema_of: &LogicalPlan,
) -> Result<LogicalPlan> {
    let mut leaves = Leaves::new(region)?;
    let (mut plan, set) = leaves.join(tree)?;
    if set.len() != region.leaves.len() {
        return plan_err!(
            "a join tree over {set:?} of {} relations",
            region.leaves.len()
        );
    }
    if leaves.applied != region.operators.len() + region.filters.len() {
        return plan_err!("a join tree in which not every predicate has its place");
    }
    if let Some(predicate) = conjunction(region.constants.iter().cloned()) {
        plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
    }
    leaves.restore_schema(plan, schema_of)
}

/// The region with leaves whose columns have unique names.
struct Leaves<'a> {
    region: &'a Region,
    plans: Vec<LogicalPlan>,
    /// By relation and field the column's name.
    columns: Vec<Vec<Column>>,
    /// By number the column of a mark, once its join is made.
    marks: HashMap<usize, Column>,
    /// Operators and filters that have been applied.
    applied: usize,
}

impl<'a> Leaves<'a> {
    fn new(region: &'a Region) -> Result<Self> {
        let mut names = Names::default();
        for leaf in &region.leaves {
            names.qualifiers.extend(
                leaf.schema()
                    .iter()
                    .filter_map(|(q, _)| q.map(|q| q.table().to_string())),
            );
        }
        let mut plans = vec![];
        let mut columns = vec![];
        for (i, leaf) in region.leaves.iter().enumerate() {
            let mut own = leaf.schema().columns();
            let mut plan = leaf.clone();
            if !names.admit(&own) {
                (plan, own) = rename_leaf(plan, &names.fresh_qualifier(i))?;
                if !names.admit(&own) {
                    return plan_err!("no unique names for the columns of relation {i}");
                }
            }
            let predicates = region.leaf_predicates[i].iter();
            let predicates = predicates
                .map(|p| rename_columns(p, |c| own.get(resolve_region_column(c)?.1).cloned()))
                .collect::<Result<Vec<_>>>()?;
            if let Some(predicate) = conjunction(predicates) {
                plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
            }
            plans.push(plan);
            columns.push(own);
        }
        Ok(Self {
            region,
            plans,
            columns,
            marks: HashMap::new(),
            applied: 0,
        })
    }

    fn column(&self, column: &Column) -> Option<Column> {
        let (relation, field) = resolve_region_column(column)?;
        self.column_of(relation, field)
    }

    fn column_of(&self, relation: usize, field: usize) -> Option<Column> {
        match relation.checked_sub(MARKS) {
            Some(mark) => self.marks.get(&mark).cloned(),
            None => self.columns.get(relation)?.get(field).cloned(),
        }
    }

    /// A region's predicate in terms of the emitted plan.
    fn expr(&self, expr: &Expr) -> Result<Expr> {
        rename_columns(expr, |c| self.column(c))
    }

    #[recursive::recursive]
    fn join(&mut self, tree: &JoinTree) -> Result<(LogicalPlan, RelSet)> {
        let (left, right) = match tree {
            JoinTree::Leaf(index) => {
                let Some(plan) = self.plans.get(*index) else {
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
                inner.on.push((self.expr(&l.key)?, self.expr(&r.key)?));
            }
        }
        for filter in region.filters.iter().filter(|f| completed(f.relations)) {
            inner.filters.push(self.expr(&filter.predicate)?);
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
        if let Some(mark) = operator.join.mark_index() {
            // A mark join's mark is its last column.
            self.marks
                .extend(join.schema.columns().pop().map(|c| (mark, c)));
        }
        let mut plan = LogicalPlan::Join(join);
        let above = operator.join.above.iter().map(|e| self.expr(e));
        if let Some(predicate) = conjunction(above.collect::<Result<Vec<_>>>()?) {
            plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
        }
        Ok((plan, both))
    }

    /// The conditions of an operator; the left input of the join is the right one of the operator if `swapped`.
    fn conditions(&self, operator: &RegionOperator, swapped: bool) -> Result<Conditions> {
        let on = operator.join.on.iter().map(|equality| {
            let (left, right) = (self.expr(&equality.left)?, self.expr(&equality.right)?);
            Ok(match swapped {
                true => (right, left),
                false => (left, right),
            })
        });
        let filters = operator.join.filters.iter().map(|e| self.expr(e));
        Ok(Conditions {
            on: on.collect::<Result<_>>()?,
            filters: filters.collect::<Result<_>>()?,
            null_equals_null: operator.join.null_equality == NullEquality::NullEqualsNull,
        })
    }

    /// Puts the columns into the order and under the names that the rest of the query knows.
    fn restore_schema(&self, plan: LogicalPlan, schema_of: &LogicalPlan) -> Result<LogicalPlan> {
        let schema = schema_of.schema();
        let same = plan.schema().fields().len() == schema.fields().len()
            && plan.schema().iter().eq(schema.iter());
        if same {
            return Ok(plan);
        }
        let exprs = self
            .region
            .output
            .iter()
            .zip(schema.iter())
            .map(|((relation, field), (qualifier, wanted))| {
                let Some(column) = self.column_of(*relation, *field) else {
                    return plan_err!("no column {field} of relation {relation}");
                };
                let named = column.relation.as_ref() == qualifier && column.name == *wanted.name();
                let column = Expr::Column(column);
                Ok(match named {
                    true => column,
                    false => column.alias_qualified(qualifier.cloned(), wanted.name().clone()),
                })
            })
            .collect::<Result<_>>()?;
        let projection =
            Projection::try_new_with_schema(exprs, Arc::new(plan), Arc::clone(schema))?;
        Ok(LogicalPlan::Projection(projection))
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

/// The column names in use. A schema may not have one name twice, nor an unqualified name beside a
/// qualified one that ends the same.
#[derive(Debug, Default)]
struct Names {
    qualified: HashSet<Column>,
    unqualified: HashSet<String>,
    /// The last parts of all qualified names.
    tails: HashSet<String>,
    qualifiers: HashSet<String>,
}

impl Names {
    /// Takes in the columns of a leaf, unless one of them collides with those of other leaves.
    fn admit(&mut self, columns: &[Column]) -> bool {
        let collides = |c: &Column| match c.relation {
            Some(_) => self.qualified.contains(c) || self.unqualified.contains(&c.name),
            None => self.unqualified.contains(&c.name) || self.tails.contains(&c.name),
        };
        if columns.iter().any(collides) {
            return false;
        }
        for column in columns {
            if column.relation.is_some() {
                self.tails.insert(column.name.clone());
                self.qualified.insert(column.clone());
            } else {
                self.unqualified.insert(column.name.clone());
            }
        }
        true
    }

    /// A qualifier that no leaf has, the same for the same query.
    fn fresh_qualifier(&mut self, relation: usize) -> TableReference {
        let mut name = format!("__joinwright_{relation}");
        while !self.qualifiers.insert(name.clone()) {
            name.push('_');
        }
        TableReference::bare(name)
    }
}

/// A leaf under a projection that gives its columns unique names.
fn rename_leaf(
    plan: LogicalPlan,
    qualifier: &TableReference,
) -> Result<(LogicalPlan, Vec<Column>)> {
    let mut columns = vec![];
    let mut exprs = vec![];
    for (i, column) in plan.schema().columns().into_iter().enumerate() {
        // The position tells columns apart that only their qualifier did.
        let name = format!("{}:{i}", column.name);
        columns.push(Column::new(Some(qualifier.clone()), &name));
        exprs.push(Expr::Column(column).alias_qualified(Some(qualifier.clone()), name));
    }
    let projection = Projection::try_new(exprs, Arc::new(plan))?;
    Ok((LogicalPlan::Projection(projection), columns))
}

/// The predicates of a class as the query graph states them, for display.
pub(crate) fn class_equality(class: &EqualityClass) -> Option<Expr> {
    let first = class.members.first()?;
    class.members[1..]
        .iter()
        .map(|m| equality(first.key.clone(), m.key.clone()))
        .reduce(Expr::and)
}
