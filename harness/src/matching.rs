//! Which estimate of a logical plan belongs to which operator of the physical plan made of it.
//!
//! A physical plan has no names for its joins. DataFusion makes one join of each logical one, in the same places, but for inputs
//! that change places. So both plans are reduced to their joins and the tables below them, and compared from the top: where the
//! tables differ, nothing is matched.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use joinwright_optimizer::PlanLine;

use crate::operators::Observed;

/// A plan reduced to where its branches meet.
#[derive(Clone, Debug, PartialEq)]
struct Branch {
    /// The operator whose rows go into the branch above; between it and `node` are operators with one input.
    top: usize,
    /// Where branches meet, or the leaf.
    node: usize,
    /// If it is a join: the columns that it finds equal, as far as they are plain columns.
    join: Option<Vec<(String, String)>>,
    /// The tables below, sorted.
    tables: Vec<String>,
    inputs: Vec<Branch>,
}

/// By operator: what the logical plan's estimator says of its rows, for joins and for what goes into them. `lines` are the
/// estimates of `plan` in the order of `EXPLAIN`.
pub(crate) fn estimates_of<'a>(
    plan: &LogicalPlan,
    lines: &'a [PlanLine],
    observed: &Observed,
) -> Vec<Option<&'a PlanLine>> {
    let mut places = vec![None; observed.operators.len()];
    let logical = logical_query(plan, &mut 0);
    let physical = physical(observed, &mut 0);
    if let (Some(logical), Some(physical)) = (logical, physical) {
        assign(&logical, &physical, &mut places);
    }
    let line = |place: Option<usize>| lines.get(place?);
    places.into_iter().map(line).collect()
}

/// Gives the places of one branch's nodes to the other's.
fn assign(logical: &Branch, physical: &Branch, places: &mut [Option<usize>]) {
    if logical.tables != physical.tables || logical.inputs.len() != physical.inputs.len() {
        return;
    }
    if let Some(place) = places.get_mut(physical.top) {
        *place = Some(logical.top);
    }
    match (&logical.join, &physical.join) {
        (None, None) => {
            for (logical, physical) in logical.inputs.iter().zip(&physical.inputs) {
                assign(logical, physical, places);
            }
        }
        (Some(keys), Some(found)) => {
            if let Some(place) = places.get_mut(physical.node) {
                *place = Some(logical.node);
            }
            let ([left, right], [first, second]) = (&logical.inputs[..], &physical.inputs[..])
            else {
                return;
            };
            let straight = left.tables == first.tables && right.tables == second.tables;
            let crossed = left.tables == second.tables && right.tables == first.tables;
            let crossed = match straight && crossed {
                // The same tables on both sides, which the names of columns may tell apart.
                true => match (agree(keys, found), agree(&swapped(keys), found)) {
                    (true, false) => false,
                    (false, true) => true,
                    _ => return,
                },
                false => crossed,
            };
            let (left, right) = match crossed {
                true => (right, left),
                false => (left, right),
            };
            assign(left, first, places);
            assign(right, second, places);
        }
        _ => {}
    }
}

fn agree(keys: &[(String, String)], found: &[(String, String)]) -> bool {
    !keys.is_empty() && keys.iter().all(|pair| found.contains(pair))
}

fn swapped(keys: &[(String, String)]) -> Vec<(String, String)> {
    keys.iter()
        .map(|(left, right)| (right.clone(), left.clone()))
        .collect()
}

/// A branch of these inputs, whose node is `node`.
fn branch(node: usize, join: Option<Vec<(String, String)>>, inputs: Vec<Branch>) -> Branch {
    let mut tables: Vec<String> = inputs.iter().flat_map(|i| i.tables.clone()).collect();
    tables.sort_unstable();
    Branch {
        top: node,
        node,
        join,
        tables,
        inputs,
    }
}

/// A plan with the scalar subqueries that it uses, which DataFusion plans beside it. `None` if it cannot be walked.
fn logical_query(plan: &LogicalPlan, next: &mut usize) -> Option<Branch> {
    let at = *next;
    let main = logical(plan, next)?;
    let subqueries = scalar_subqueries(plan)?;
    if subqueries.is_empty() {
        return Some(main);
    }
    let mut inputs = vec![main];
    for subquery in &subqueries {
        // The estimates are of the plan itself: those in a subquery have none.
        let mut nowhere = usize::MAX / 2;
        inputs.push(logical_query(&subquery.subquery, &mut nowhere)?);
    }
    Some(branch(at, None, inputs))
}

fn logical(plan: &LogicalPlan, next: &mut usize) -> Option<Branch> {
    let at = *next;
    *next += 1;
    let inputs = plan.inputs().into_iter().map(|input| logical(input, next));
    let mut inputs: Vec<Branch> = inputs.collect::<Option<_>>()?;
    Some(match plan {
        LogicalPlan::Join(join) => {
            let name = |expr: &Expr| match expr {
                Expr::Column(column) => Some(column.name.clone()),
                _ => None,
            };
            let keys = join.on.iter().filter_map(|(l, r)| name(l).zip(name(r)));
            branch(at, Some(keys.collect()), inputs)
        }
        LogicalPlan::TableScan(scan) => {
            let mut leaf = branch(at, None, vec![]);
            leaf.tables.push(scan.table_name.table().to_owned());
            leaf
        }
        _ => match inputs.pop() {
            Some(input) if inputs.is_empty() => Branch { top: at, ..input },
            last => {
                inputs.extend(last);
                branch(at, None, inputs)
            }
        },
    })
}

fn physical(observed: &Observed, next: &mut usize) -> Option<Branch> {
    let at = *next;
    *next += 1;
    let operator = observed.operators.get(at)?;
    let inputs = (0..operator.inputs).map(|_| physical(observed, next));
    let mut inputs: Vec<Branch> = inputs.collect::<Option<_>>()?;
    if operator.joins {
        return Some(branch(at, Some(observed.keys.get(at)?.clone()), inputs));
    }
    Some(match inputs.pop() {
        Some(input) if inputs.is_empty() => Branch { top: at, ..input },
        last => {
            inputs.extend(last);
            let mut branch = branch(at, None, inputs);
            branch.tables.extend(operator.table.clone());
            branch
        }
    })
}

/// The uncorrelated scalar subqueries that a plan uses itself, each once, in the order in which DataFusion plans them.
fn scalar_subqueries(plan: &LogicalPlan) -> Option<Vec<Subquery>> {
    let mut subqueries: Vec<Subquery> = vec![];
    let walked = plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarSubquery(subquery) = expr
                    && subquery.outer_ref_columns.is_empty()
                    && !subqueries.contains(subquery)
                {
                    subqueries.push(subquery.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.ok().map(|_| subqueries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::Operator;
    use datafusion::prelude::SessionContext;
    use joinwright_optimizer::estimate::EstimateSource;

    /// An operator, with the inputs that follow; a name in lower case is the scan of that table.
    fn operator(name: &str, inputs: usize) -> Operator {
        Operator {
            name: name.to_owned(),
            inputs,
            joins: name == "Join",
            table: name
                .starts_with(char::is_lowercase)
                .then(|| name.to_owned()),
            ..Operator::default()
        }
    }

    /// Estimates are the positions of the lines; `keys` are those of the joins, in order.
    async fn check(
        sql: &str,
        operators: &[(&str, usize)],
        keys: &[(&str, &str)],
        expected: &[Option<f64>],
    ) {
        let context = SessionContext::new();
        for table in ["t", "u", "v"] {
            let create = format!("CREATE TABLE {table} (a INT, b INT)");
            context.sql(&create).await.unwrap();
        }
        let state = context.state();
        let plan = state.create_logical_plan(sql).await.unwrap();
        let plan = state.optimize(&plan).unwrap();
        let lines = plan.display_indent().to_string();
        let lines: Vec<PlanLine> = (0..lines.lines().count())
            .map(|at| PlanLine {
                depth: 0,
                text: String::new(),
                est_rows: at as f64,
                source: EstimateSource::Guess,
            })
            .collect();
        let mut keys = keys.iter();
        let operators: Vec<Operator> = operators.iter().map(|(o, i)| operator(o, *i)).collect();
        let observed = Observed {
            keys: operators
                .iter()
                .map(|operator| match operator.joins {
                    true => keys.next().map(|(l, r)| ((*l).to_owned(), (*r).to_owned())),
                    false => None,
                })
                .map(|pair| pair.into_iter().collect())
                .collect(),
            operators,
            ..Observed::default()
        };
        let found: Vec<Option<f64>> = estimates_of(&plan, &lines, &observed)
            .into_iter()
            .map(|line| line.map(|line| line.est_rows))
            .collect();
        assert_eq!(found, expected, "{sql}\n{plan}");
    }

    /// The joins of `t`, `u` and `v` in that order have the lines: join, join, t, u, v.
    const CHAIN: &str = "SELECT * FROM t JOIN u ON t.a = u.b JOIN v ON u.a = v.b";

    #[tokio::test]
    async fn inputs_may_change_places() {
        let straight = [("Join", 2), ("Join", 2), ("t", 0), ("u", 0), ("v", 0)];
        let same = [Some(0.0), Some(1.0), Some(2.0), Some(3.0), Some(4.0)];
        check(CHAIN, &straight, &[("a", "b"), ("a", "b")], &same).await;
        let swapped = [
            ("Join", 2),
            ("v", 0),
            ("Exchange", 1),
            ("Join", 2),
            ("u", 0),
            ("t", 0),
        ];
        let found = [
            Some(0.0),
            Some(4.0),
            Some(1.0),
            Some(1.0),
            Some(3.0),
            Some(2.0),
        ];
        check(CHAIN, &swapped, &[("b", "a"), ("b", "a")], &found).await;
    }

    #[tokio::test]
    async fn what_does_not_fit_has_no_estimate() {
        let other = [("Join", 2), ("Join", 2), ("t", 0), ("v", 0), ("u", 0)];
        let found = [Some(0.0), None, None, None, None];
        check(CHAIN, &other, &[("a", "b"), ("a", "b")], &found).await;
        check(CHAIN, &[("t", 0)], &[], &[None]).await;
    }

    #[tokio::test]
    async fn a_table_with_itself_is_told_apart_by_columns() {
        let sql = "SELECT * FROM t x JOIN t y ON x.a = y.b WHERE x.b > 5";
        let plan = [("Join", 2), ("t", 0), ("t", 0)];
        // Line 1 is the alias of x, with its filter and table below; line 4 that of y.
        let straight = [Some(0.0), Some(1.0), Some(4.0)];
        check(sql, &plan, &[("a", "b")], &straight).await;
        let crossed = [Some(0.0), Some(4.0), Some(1.0)];
        check(sql, &plan, &[("b", "a")], &crossed).await;
        let sql = "SELECT * FROM t x JOIN t y ON x.a = y.a";
        check(sql, &plan, &[("a", "a")], &[Some(0.0), None, None]).await;
    }
}
