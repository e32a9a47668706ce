//! Where below an aggregate's joins its functions can be computed in part.

use super::functions::Function;
use super::total::is_total;
use crate::extract::{is_movable, plain_column};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, plan_datafusion_err};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use std::collections::BTreeSet;

/// Which input of a node comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Only,
    Left,
    Right,
}

/// What a node below an aggregate has to supply.
#[derive(Debug, Clone)]
pub(super) struct Needs {
    /// Fields of its schema that are used above it as they are.
    pub(super) fields: BTreeSet<usize>,
    /// By function its arguments in terms of the node, unless it is computed above from whole rows.
    pub(super) args: Vec<Option<Vec<Expr>>>,
}

/// A node, by the way that leads to it from the aggregate's input.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: Vec<Step>,
    pub(super) needs: Needs,
}

impl Needs {
    /// Of an aggregate's input; `None` if an expression is not understood.
    pub(super) fn of(input: &DFSchema, groups: &[Expr], functions: &[Function]) -> Option<Self> {
        let mut needs = Self {
            fields: BTreeSet::new(),
            args: vec![],
        };
        for group in groups {
            needs.fields.extend(fields_of(group, input)?);
        }
        for function in functions {
            if function.is_whole() {
                needs.fields.extend(fields_of(&function.whole, input)?);
                needs.args.push(None);
            } else {
                let args = function.args.iter().map(|arg| exact(arg, input));
                needs.args.push(Some(args.collect::<Option<_>>()?));
            }
        }
        Some(needs)
    }

    /// The same for functions that are computed at a place of these needs, or above from whole rows.
    pub(super) fn for_place(
        mut self,
        input: &DFSchema,
        functions: &[Function],
        place: &Self,
    ) -> Option<Self> {
        for ((args, function), there) in self.args.iter_mut().zip(functions).zip(&place.args) {
            if there.is_none() {
                self.fields.extend(fields_of(&function.whole, input)?);
                *args = None;
            }
        }
        Some(self)
    }

    /// What the input of a node has to supply so that the node does; `None` if what is computed in part there would be another
    /// result.
    pub(super) fn of_input(
        &self,
        node: &LogicalPlan,
        step: Step,
        functions: &[Function],
    ) -> Option<Self> {
        match (node, step) {
            (LogicalPlan::Join(join), Step::Left | Step::Right) => {
                self.of_side(join, step == Step::Left, functions)
            }
            (LogicalPlan::Projection(projection), Step::Only) => {
                let field = |field: usize| projection.expr.get(field).map(unaliased);
                self.through(&projection.schema, &projection.input, field)
            }
            (LogicalPlan::SubqueryAlias(alias), Step::Only) => {
                let columns = alias.input.schema().columns();
                let field = |field: usize| columns.get(field).cloned().map(Expr::Column);
                self.through(&alias.schema, &alias.input, field)
            }
            (LogicalPlan::Filter(filter), Step::Only) => {
                let mut needs = self.clone();
                let used = fields_of(&filter.predicate, filter.input.schema())?;
                needs.fields.extend(used);
                Some(needs)
            }
            _ => None,
        }
    }

    /// Of the input of a node whose fields are expressions of it.
    fn through(
        &self,
        schema: &DFSchema,
        input: &LogicalPlan,
        field: impl Fn(usize) -> Option<Expr>,
    ) -> Option<Self> {
        let mut fields = BTreeSet::new();
        for own in &self.fields {
            fields.extend(fields_of(&field(*own)?, input.schema())?);
        }
        let of_input = |arg: &Expr| {
            let replaced = replace(arg, |column| field(schema.maybe_index_of_column(column)?))?;
            exact(&replaced, input.schema())
        };
        let args = self.args.iter().map(|args| match args {
            Some(args) => args
                .iter()
                .map(of_input)
                .collect::<Option<Vec<_>>>()
                .map(Some),
            None => Some(None),
        });
        Some(Self {
            fields,
            args: args.collect::<Option<_>>()?,
        })
    }

    fn of_side(&self, join: &Join, left: bool, functions: &[Function]) -> Option<Self> {
        let side = if left { &join.left } else { &join.right };
        let supplied = match (join.join_type, left) {
            (JoinType::Inner, _) | (JoinType::Left, true) | (JoinType::Right, false) => false,
            (JoinType::LeftSemi | JoinType::LeftAnti, true)
            | (JoinType::RightSemi | JoinType::RightAnti, false) => false,
            // Rows without a partner have NULLs here.
            (JoinType::Left, false) | (JoinType::Right, true) => true,
            _ => return None,
        };
        if join.null_aware {
            return None;
        }
        let before = match (join.join_type, left) {
            (JoinType::RightSemi | JoinType::RightAnti, _) | (_, true) => 0,
            _ => join.left.schema().fields().len(),
        };
        let here = before..before + side.schema().fields().len();
        let mut needs = Self {
            fields: BTreeSet::new(),
            args: vec![],
        };
        let mut used = self.fields.clone();
        for (args, function) in self.args.iter().zip(functions) {
            let Some(args) = args else {
                needs.args.push(None);
                continue;
            };
            let mut fields = BTreeSet::new();
            for arg in args {
                fields.extend(fields_at(arg, &join.schema)?);
            }
            if fields.iter().all(|field| here.contains(field)) {
                // Another expression may have a value where its columns have none.
                if supplied && (args.is_empty() || !args.iter().all(is_column)) {
                    return None;
                }
                needs.args.push(Some(args.clone()));
            } else if function.ignores_duplicates() {
                used.extend(fields);
                needs.args.push(None);
            } else {
                return None;
            }
        }
        let used = used.into_iter().filter(|field| here.contains(field));
        needs.fields.extend(used.map(|field| field - before));
        for (left_key, right_key) in &join.on {
            let key = if left { left_key } else { right_key };
            needs.fields.extend(fields_of(key, side.schema())?);
        }
        if let Some(filter) = &join.filter {
            if !is_movable(filter) {
                return None;
            }
            let other = if left { &join.right } else { &join.left };
            for column in filter.column_refs() {
                if let Some(field) = side.schema().maybe_index_of_column(column) {
                    needs.fields.insert(field);
                } else {
                    other.schema().maybe_index_of_column(column)?;
                }
            }
        }
        Some(needs)
    }

    /// Whether no argument fails for a row that the joins above would drop.
    fn are_total(&self, schema: &DFSchema) -> bool {
        let mut args = self.args.iter().flatten().flatten();
        args.all(|arg| is_total(arg, schema))
    }

    /// Whether rows can be grouped by all fields that are needed as they are: types of which equal values are the same.
    fn can_group(&self, schema: &DFSchema) -> bool {
        !self.fields.is_empty()
            && self.fields.iter().all(|field| {
                let field = schema.fields().get(*field);
                field.is_some_and(|field| is_grouped(field.data_type()))
            })
    }
}

/// All places at and below an aggregate's input, those further up first. The input itself is one where rows are grouped in more than
/// one way, as by ROLLUP: from groups by all columns the others are made.
pub(super) fn places(
    input: &LogicalPlan,
    groups: &[Expr],
    needs: Needs,
    functions: &[Function],
) -> Vec<Place> {
    let mut found = vec![];
    if matches!(groups, [Expr::GroupingSet(_)]) && needs.can_group(input.schema()) {
        found.push(Place {
            path: vec![],
            needs: needs.clone(),
        });
    }
    descend(input, needs, functions, &mut vec![], &mut found);
    found
}

#[recursive::recursive]
fn descend(
    node: &LogicalPlan,
    needs: Needs,
    functions: &[Function],
    path: &mut Vec<Step>,
    found: &mut Vec<Place>,
) {
    let steps: &[Step] = match node {
        LogicalPlan::Join(_) => &[Step::Left, Step::Right],
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
            &[Step::Only]
        }
        _ => return,
    };
    for step in steps {
        let (Some(input), Some(needs)) = (
            input_of(node, *step),
            needs.of_input(node, *step, functions),
        ) else {
            continue;
        };
        path.push(*step);
        let schema = input.schema();
        if *step != Step::Only && needs.can_group(schema) && needs.are_total(schema) {
            found.push(Place {
                path: path.clone(),
                needs: needs.clone(),
            });
        }
        descend(input, needs, functions, path, found);
        path.pop();
    }
}

/// The input that a step leads to.
pub(super) fn input_of(node: &LogicalPlan, step: Step) -> Option<&LogicalPlan> {
    match (node, step) {
        (LogicalPlan::Join(join), Step::Left) => Some(&join.left),
        (LogicalPlan::Join(join), Step::Right) => Some(&join.right),
        (LogicalPlan::Projection(projection), Step::Only) => Some(&projection.input),
        (LogicalPlan::SubqueryAlias(alias), Step::Only) => Some(&alias.input),
        (LogicalPlan::Filter(filter), Step::Only) => Some(&filter.input),
        _ => None,
    }
}

/// The fields that an expression uses; `None` if it is more than a function of a row.
fn fields_of(expr: &Expr, schema: &DFSchema) -> Option<BTreeSet<usize>> {
    is_movable(expr).then(|| fields_at(expr, schema)).flatten()
}

fn fields_at(expr: &Expr, schema: &DFSchema) -> Option<BTreeSet<usize>> {
    let columns = expr.column_refs().into_iter();
    columns.map(|c| schema.maybe_index_of_column(c)).collect()
}

/// An expression with its columns qualified as the schema has them.
fn exact(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    if !is_movable(expr) {
        return None;
    }
    let columns = schema.columns();
    replace(expr, |column| {
        let index = schema.maybe_index_of_column(column)?;
        columns.get(index).cloned().map(Expr::Column)
    })
}

/// An expression with every column replaced; `None` if one has no replacement.
fn replace(expr: &Expr, replacement: impl Fn(&Column) -> Option<Expr>) -> Option<Expr> {
    let replaced = expr.clone().transform_up(|e| match &e {
        Expr::Column(column) => match replacement(column) {
            Some(expr) => Ok(Transformed::yes(expr)),
            None => Err(plan_datafusion_err!("no column {column}")),
        },
        _ => Ok(Transformed::no(e)),
    });
    replaced.ok().map(|t| t.data)
}

/// A column, also of another type: NULL wherever the column is.
fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is_column(&cast.expr),
        expr => plain_column(expr).is_some(),
    }
}

fn unaliased(expr: &Expr) -> Expr {
    expr.clone().unalias_nested().data
}

/// Whether all values that are equal in a group are one value, so that any of them stands for all. Floating-point numbers have
/// two zeros.
fn is_grouped(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => false,
        DataType::Dictionary(_, values) => is_grouped(values),
        DataType::RunEndEncoded(..) => false,
        other => !other.is_nested(),
    }
}
