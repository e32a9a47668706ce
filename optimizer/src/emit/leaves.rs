//! The leaves of a region with unique names for their columns.

use crate::extract::{MARKS, rename_columns};
use crate::query_graph::resolve_region_column;
use datafusion::common::{Column, Result, TableReference, plan_err};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The leaves of a region under the predicates on them alone.
pub(super) struct Leaves {
    pub(super) plans: Vec<LogicalPlan>,
    /// By relation and field the column's name.
    columns: Vec<Vec<Column>>,
    /// By number the column of a mark, once its join is made.
    pub(super) marks: HashMap<usize, Column>,
    /// The names of all columns, whatever their qualifiers.
    names: HashSet<String>,
}

impl Leaves {
    pub(super) fn new(leaves: &[LogicalPlan], predicates: &[Vec<Expr>]) -> Result<Self> {
        let mut names = Names::default();
        for leaf in leaves {
            names.qualifiers.extend(
                leaf.schema()
                    .iter()
                    .filter_map(|(q, _)| q.map(|q| q.table().to_string())),
            );
        }
        let mut plans = vec![];
        let mut columns = vec![];
        for (i, (leaf, predicates)) in leaves.iter().zip(predicates).enumerate() {
            let mut own = leaf.schema().columns();
            let mut plan = leaf.clone();
            if !names.admit(&own) {
                (plan, own) = rename_leaf(plan, &names.fresh_qualifier(i))?;
                if !names.admit(&own) {
                    return plan_err!("no unique names for the columns of relation {i}");
                }
            }
            let predicates = predicates
                .iter()
                .map(|p| rename_columns(p, |c| own.get(resolve_region_column(c)?.1).cloned()))
                .collect::<Result<Vec<_>>>()?;
            if let Some(predicate) = conjunction(predicates) {
                plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
            }
            plans.push(plan);
            columns.push(own);
        }
        Ok(Self {
            names: columns.iter().flatten().map(|c| c.name.clone()).collect(),
            plans,
            columns,
            marks: HashMap::new(),
        })
    }

    /// A name that no column has, the same for the same query.
    pub(super) fn fresh_name(&mut self, start: &str) -> String {
        let mut name = start.to_string();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{start}_{number}");
        }
        name
    }

    fn column_of(&self, relation: usize, field: usize) -> Option<Column> {
        match relation.checked_sub(MARKS) {
            Some(mark) => self.marks.get(&mark).cloned(),
            None => self.columns.get(relation)?.get(field).cloned(),
        }
    }

    /// A region's predicate in terms of the emitted plan.
    pub(super) fn expr(&self, expr: &Expr) -> Result<Expr> {
        rename_columns(expr, |column| {
            let (relation, field) = resolve_region_column(column)?;
            self.column_of(relation, field)
        })
    }

    /// The joined plan under the predicates without a column, with the schema of `schema_of`.
    pub(super) fn finish(
        &self,
        mut plan: LogicalPlan,
        constants: &[Expr],
        output: &[(usize, usize)],
        schema_of: &LogicalPlan,
    ) -> Result<LogicalPlan> {
        if let Some(predicate) = conjunction(constants.iter().cloned()) {
            plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
        }
        self.restore_schema(plan, output, schema_of)
    }

    /// Puts the columns into the order and under the names that the rest of the query knows.
    fn restore_schema(
        &self,
        plan: LogicalPlan,
        output: &[(usize, usize)],
        schema_of: &LogicalPlan,
    ) -> Result<LogicalPlan> {
        let schema = schema_of.schema();
        let same = plan.schema().fields().len() == schema.fields().len()
            && plan.schema().iter().eq(schema.iter());
        if same {
            return Ok(plan);
        }
        let exprs = output
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
