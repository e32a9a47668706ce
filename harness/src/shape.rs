//! What a query promises about its result: an order, or a cut that may choose among ties.

use anyhow::Result;
use arrow::compute::SortOptions;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::compare::SortKey;

/// The promises of a query's outermost clauses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Whether the outermost clause is ORDER BY, before any LIMIT.
    pub(crate) ordered: bool,
    /// The leading sort keys that are columns of the result; those after the first hidden one cannot be checked.
    pub(crate) keys: Vec<SortKey>,
    /// Whether the outermost query cuts its result by LIMIT or OFFSET.
    pub(crate) limited: bool,
}

/// Reads the promises off a plan as SQL made it, before optimization.
pub(crate) fn shape(plan: &LogicalPlan) -> Shape {
    let mut shape = Shape::default();
    // For each column of the result, its position in the node looked at, as long as it is a plain column there.
    let mut positions: Vec<Option<usize>> = (0..plan.schema().fields().len()).map(Some).collect();
    let mut node = plan;
    loop {
        node = match node {
            LogicalPlan::Limit(limit) => {
                shape.limited = true;
                &limit.input
            }
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Projection(projection) => {
                for position in &mut positions {
                    *position = position.and_then(|at| {
                        let column = projection.expr.get(at)?.clone().unalias();
                        match column {
                            Expr::Column(column) => {
                                projection.input.schema().maybe_index_of_column(&column)
                            }
                            _ => None,
                        }
                    });
                }
                &projection.input
            }
            LogicalPlan::Sort(sort) => {
                shape.ordered = true;
                shape.limited |= sort.fetch.is_some();
                for key in &sort.expr {
                    let Expr::Column(column) = &key.expr else {
                        break;
                    };
                    let at = sort.input.schema().maybe_index_of_column(column);
                    let visible = at.and_then(|at| positions.iter().position(|p| *p == Some(at)));
                    let Some(column) = visible else { break };
                    shape.keys.push(SortKey {
                        column,
                        options: SortOptions {
                            descending: !key.asc,
                            nulls_first: key.nulls_first,
                        },
                    });
                }
                return shape;
            }
            _ => return shape,
        }
    }
}

/// The same query without its outermost LIMIT: all the rows that the cut could choose from.
pub(crate) fn without_limit(plan: &LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Limit(limit) => without_limit(&limit.input),
        LogicalPlan::Sort(sort) => {
            let mut sort = sort.clone();
            sort.fetch = None;
            Ok(LogicalPlan::Sort(sort))
        }
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Projection(_) => {
            let input = without_limit(plan.inputs()[0])?;
            Ok(plan.with_new_exprs(plan.expressions(), vec![input])?)
        }
        other => Ok(other.clone()),
    }
}

/// Whether a statement gives rows to its user, so that it can be the result of a file of statements.
pub(crate) fn returns_rows(plan: &LogicalPlan) -> bool {
    !matches!(
        plan,
        LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::SessionContext;

    async fn plan(sql: &str) -> LogicalPlan {
        let context = SessionContext::new();
        let table = "CREATE TABLE t AS SELECT 1 AS a, 2 AS b, 3 AS c";
        context.sql(table).await.unwrap().collect().await.unwrap();
        context.state().create_logical_plan(sql).await.unwrap()
    }

    /// `keys` are written as `column` or `-column`, by position.
    async fn check(sql: &str, ordered: bool, keys: &str, limited: bool) {
        let shape = shape(&plan(sql).await);
        let found: Vec<String> = shape
            .keys
            .iter()
            .map(|key| {
                format!(
                    "{}{}",
                    if key.options.descending { "-" } else { "" },
                    key.column
                )
            })
            .collect();
        assert_eq!(
            (shape.ordered, found.join(" ").as_str(), shape.limited),
            (ordered, keys, limited),
            "{sql}"
        );
    }

    #[tokio::test]
    async fn shapes() {
        check("SELECT a FROM t", false, "", false).await;
        check("SELECT a, b FROM t ORDER BY b DESC, a", true, "-1 0", false).await;
        check("SELECT a AS x FROM t ORDER BY x LIMIT 3", true, "0", true).await;
        check("SELECT a FROM t LIMIT 3 OFFSET 1", false, "", true).await;
        // b is not in the result, so the order by c after it cannot be seen.
        check("SELECT a, c FROM t ORDER BY a, b, c", true, "0", false).await;
        check(
            "SELECT a + 1 AS s, count(*) AS n FROM t GROUP BY a ORDER BY n DESC, s",
            true,
            "-1 0",
            false,
        )
        .await;
        // The order of a subquery is no promise of the query around it.
        check(
            "SELECT s.a + 1 FROM (SELECT a FROM t ORDER BY a LIMIT 1) AS s JOIN t ON s.a = t.a",
            false,
            "",
            false,
        )
        .await;
    }

    #[tokio::test]
    async fn limits_are_taken_off() {
        let limited = plan("SELECT a FROM t ORDER BY b LIMIT 3").await;
        let free = without_limit(&limited).unwrap();
        assert!(shape(&limited).limited && !shape(&free).limited);
        assert_eq!(limited.schema(), free.schema());
    }

    #[tokio::test]
    async fn statements_that_return_rows() {
        assert!(returns_rows(&plan("SELECT 1").await));
        assert!(!returns_rows(&plan("CREATE VIEW v AS SELECT 1").await));
        assert!(!returns_rows(
            &plan("SET datafusion.execution.batch_size = 10").await
        ));
    }
}
