//! Regions of more relations than a [`RelSet`](crate::relset::RelSet) holds.
//!
//! They have inner joins alone, and their predicates stay as they are: what a class of equal keys would add is worth
//! less here than the time it takes.

use super::expansion::{Kinds, is_movable, is_reorderable, plain_column};
use super::flatten::{Fields, region_expr};
use super::relations_of_leaves;
use crate::derive::Deriver;
use crate::join_tree::JoinTree;
use crate::query_graph::{Relation, resolve_region_column};
use crate::relset::MAX_RELATIONS;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, plan_datafusion_err};
use datafusion::logical_expr::utils::{can_hash, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator};
use std::collections::BTreeSet;

/// The most relations of a region.
const MOST_RELATIONS: usize = 5_000;

/// A region of many relations.
#[derive(Debug)]
pub(crate) struct LargeRegion {
    pub(crate) relations: Vec<Relation>,
    /// By relation its plan.
    pub(crate) leaves: Vec<LogicalPlan>,
    /// The join order of the plan.
    pub(crate) written: JoinTree,
    /// For each field of the region's schema the relation and field it is.
    pub(crate) output: Vec<(usize, usize)>,
    /// By relation predicates on it alone that stood above a join.
    pub(crate) leaf_predicates: Vec<Vec<Expr>>,
    /// Predicates without a column of the region.
    pub(crate) constants: Vec<Expr>,
    /// Predicates on two relations or more.
    pub(crate) predicates: Vec<LargePredicate>,
}

/// A predicate on two relations or more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LargePredicate {
    /// Sorted.
    pub(crate) relations: Vec<usize>,
    pub(crate) condition: Condition,
}

/// What a predicate asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    /// A key of the lower relation and one of the other are equal; with their types.
    Equal([(Expr, DataType); 2]),
    /// Anything else.
    Other(Expr),
}

/// The topmost joins of a region of more than [`MAX_RELATIONS`] relations; `None` if `plan` is none.
pub(crate) fn is_large(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Join(root) = plan else {
        return false;
    };
    if !is_plain(root) {
        return false;
    }
    let mut leaves = 0;
    let mut inputs = vec![&root.left, &root.right];
    while let Some(input) = inputs.pop() {
        match join_below(input) {
            Some(join) => inputs.extend([&join.left, &join.right]),
            None => leaves += 1,
        }
    }
    (MAX_RELATIONS + 1..=MOST_RELATIONS).contains(&leaves)
}

/// The region of many relations at `plan`, for which [`is_large`] holds.
pub(crate) fn large_region(plan: &LogicalPlan, deriver: &Deriver<'_>) -> Result<LargeRegion> {
    let mut flattener = Flattener::default();
    let (output, written) = flattener.flatten(plan)?;
    let Flattener {
        leaves,
        leaf_predicates,
        constants,
        predicates,
    } = flattener;
    let relations = relations_of_leaves(&leaves, &leaf_predicates, deriver, Deriver::relation)?;
    Ok(LargeRegion {
        relations,
        leaves,
        written,
        output,
        leaf_predicates,
        constants,
        predicates,
    })
}

/// Rewrites the leaves of a large region, and leaves its joins as they are.
#[recursive::recursive]
pub(crate) fn map_leaves(
    plan: LogicalPlan,
    is_root: bool,
    rewrite: &mut impl FnMut(LogicalPlan) -> Result<LogicalPlan>,
) -> Result<LogicalPlan> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    if !is_root && join_below(&plan).is_none() {
        return rewrite(plan);
    }
    let mapped = plan.map_children(|input| {
        let input = map_leaves(input, false, rewrite)?;
        Ok(Transformed::yes(input))
    })?;
    Ok(mapped.data)
}

/// An inner join all of whose predicates can be moved.
fn is_plain(join: &Join) -> bool {
    is_reorderable(join, Kinds::Inner)
}

/// The join at `plan` or under nodes that a region sees through.
#[recursive::recursive]
fn join_below(plan: &LogicalPlan) -> Option<&Join> {
    match plan {
        LogicalPlan::Join(join) if is_plain(join) => Some(join),
        LogicalPlan::Projection(p) if p.expr.iter().all(|e| plain_column(e).is_some()) => {
            join_below(&p.input)
        }
        LogicalPlan::SubqueryAlias(alias) => join_below(&alias.input),
        LogicalPlan::Filter(filter) if is_movable(&filter.predicate) => join_below(&filter.input),
        _ => None,
    }
}

#[derive(Default)]
struct Flattener {
    leaves: Vec<LogicalPlan>,
    leaf_predicates: Vec<Vec<Expr>>,
    constants: Vec<Expr>,
    predicates: Vec<LargePredicate>,
}

impl Flattener {
    #[recursive::recursive]
    fn flatten(&mut self, plan: &LogicalPlan) -> Result<(Fields, JoinTree)> {
        if join_below(plan).is_none() {
            let index = self.leaves.len();
            self.leaves.push(plan.clone());
            self.leaf_predicates.push(vec![]);
            let fields = (0..plan.schema().fields().len()).map(|f| (index, f));
            return Ok((fields.collect(), JoinTree::Leaf(index)));
        }
        match plan {
            LogicalPlan::Join(join) => {
                let (mut fields, left) = self.flatten(&join.left)?;
                let (right_fields, right) = self.flatten(&join.right)?;
                let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
                for (left_key, right_key) in &join.on {
                    let left = (
                        region_expr(left_key, left_schema, &fields)?,
                        left_key.get_type(left_schema)?,
                    );
                    let right = (
                        region_expr(right_key, right_schema, &right_fields)?,
                        right_key.get_type(right_schema)?,
                    );
                    self.add_equality(left, right);
                }
                fields.extend(right_fields);
                if let Some(filter) = &join.filter {
                    self.add_predicates(filter, &join.schema, &fields)?;
                }
                Ok((fields, JoinTree::join(left, right)))
            }
            LogicalPlan::Projection(projection) => {
                let (fields, tree) = self.flatten(&projection.input)?;
                let schema = projection.input.schema();
                let place = |e: &Expr| {
                    let column =
                        plain_column(e).ok_or_else(|| plan_datafusion_err!("{e} is no column"))?;
                    Ok(fields[schema.index_of_column(column)?])
                };
                let fields = projection.expr.iter().map(place).collect::<Result<_>>()?;
                Ok((fields, tree))
            }
            LogicalPlan::SubqueryAlias(alias) => self.flatten(&alias.input),
            LogicalPlan::Filter(filter) => {
                let (fields, tree) = self.flatten(&filter.input)?;
                self.add_predicates(&filter.predicate, filter.input.schema(), &fields)?;
                Ok((fields, tree))
            }
            other => Err(plan_datafusion_err!(
                "no part of a region: {}",
                other.display()
            )),
        }
    }

    fn add_predicates(&mut self, expr: &Expr, schema: &DFSchema, fields: &Fields) -> Result<()> {
        for conjunct in split_conjunction(expr) {
            let named = region_expr(conjunct, schema, fields)?;
            match (conjunct, named) {
                (
                    Expr::BinaryExpr(BinaryExpr { left, right, .. }),
                    Expr::BinaryExpr(BinaryExpr {
                        left: l,
                        op: Operator::Eq,
                        right: r,
                    }),
                ) => self.add_equality((*l, left.get_type(schema)?), (*r, right.get_type(schema)?)),
                (_, named) => self.add(named),
            }
        }
        Ok(())
    }

    fn add_equality(&mut self, left: (Expr, DataType), right: (Expr, DataType)) {
        let (l, r) = (relations_of(&left.0), relations_of(&right.0));
        let hashable = can_hash(&left.1) && can_hash(&right.1);
        let ([l], [r]) = (&l[..], &r[..]) else {
            return self.add(super::equality(left.0, right.0));
        };
        if l == r || !hashable {
            return self.add(super::equality(left.0, right.0));
        }
        let (relations, keys) = match l < r {
            true => (vec![*l, *r], [left, right]),
            false => (vec![*r, *l], [right, left]),
        };
        self.predicates.push(LargePredicate {
            relations,
            condition: Condition::Equal(keys),
        });
    }

    fn add(&mut self, predicate: Expr) {
        let relations = relations_of(&predicate);
        match relations[..] {
            [] => self.constants.push(predicate),
            [relation] => self.leaf_predicates[relation].push(predicate),
            _ => self.predicates.push(LargePredicate {
                relations,
                condition: Condition::Other(predicate),
            }),
        }
    }
}

/// The relations whose columns a predicate uses, sorted.
fn relations_of(expr: &Expr) -> Vec<usize> {
    let columns = expr.column_refs().into_iter();
    let relations: BTreeSet<usize> = columns
        .filter_map(resolve_region_column)
        .map(|(relation, _)| relation)
        .collect();
    relations.into_iter().collect()
}
