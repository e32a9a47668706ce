//! Columns that queries join by, so that their statistics can be collected as those of keys.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use std::collections::{BTreeMap, BTreeSet};

/// The columns that a plan compares with columns of other tables for equality, as `(table, column)`; subqueries included. Names are
/// those of the tables without their schemas. Columns that were computed or renamed on the way are left out.
pub fn join_columns(plan: &LogicalPlan) -> BTreeSet<(String, String)> {
    let mut found = Found::default();
    // A part that cannot be walked only leaves fewer columns.
    if let Err(error) = found.walk(plan) {
        tracing::debug!(%error, "join columns were not all found");
    }
    let Found { tables, columns } = found;
    let named = columns.into_iter().filter_map(|(relation, column)| {
        let (table, known) = tables.get(&relation)?;
        known.contains(&column).then(|| (table.clone(), column))
    });
    named.collect()
}

#[derive(Default)]
struct Found {
    /// By the name that a query calls it: a table and its columns.
    tables: BTreeMap<String, (String, BTreeSet<String>)>,
    /// By the relation's name in the query.
    columns: BTreeSet<(String, String)>,
}

impl Found {
    fn walk(&mut self, plan: &LogicalPlan) -> Result<()> {
        plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::TableScan(scan) => self.add_table(scan.table_name.table(), node),
                LogicalPlan::SubqueryAlias(alias) => {
                    self.add_table(alias.alias.table(), &alias.input);
                }
                LogicalPlan::Join(join) => {
                    for (left, right) in &join.on {
                        self.add_equality(left, right);
                    }
                }
                _ => {}
            }
            for expression in node.expressions() {
                expression.apply(|expression| {
                    if let Expr::BinaryExpr(binary) = expression
                        && binary.op == Operator::Eq
                    {
                        self.add_equality(&binary.left, &binary.right);
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    fn add_table(&mut self, name: &str, plan: &LogicalPlan) {
        let LogicalPlan::TableScan(scan) = plan else {
            return;
        };
        let schema = scan.source.schema();
        let columns = schema.fields().iter().map(|field| field.name().clone());
        let table = (scan.table_name.table().to_owned(), columns.collect());
        self.tables.insert(name.to_owned(), table);
    }

    fn add_equality(&mut self, left: &Expr, right: &Expr) {
        if let (Some(left), Some(right)) = (column_of(left), column_of(right))
            && left.0 != right.0
        {
            self.columns.extend([left, right]);
        }
    }
}

/// The relation and name of a column under casts, those of an outer query included.
fn column_of(expression: &Expr) -> Option<(String, String)> {
    let of = |column: &Column| {
        let relation = column.relation.as_ref()?.table().to_owned();
        Some((relation, column.name.clone()))
    };
    match expression {
        Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => of(column),
        Expr::Cast(cast) => column_of(&cast.expr),
        Expr::TryCast(cast) => column_of(&cast.expr),
        _ => None,
    }
}
