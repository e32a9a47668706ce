//! The joins of DataFusion's own plans: estimates beside counted rows. For suites that have no truth, and for joins that are no
//! inner ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result};
use datafusion::common::JoinType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use indicatif::ProgressIterator;

use crate::arm::Arm;
use crate::injection::QuerySessions;
use crate::render::estimate::{ArmEstimates, Estimated};
use crate::suite::Query;

/// Estimates the joins of the default plans under each arm, and counts them by running them.
pub(super) async fn estimate(
    sessions: &[(&Arm, QuerySessions)],
    queries: &[Query],
    thorough: bool,
) -> Result<Vec<ArmEstimates>> {
    let mut arms: Vec<_> = sessions
        .iter()
        .map(|(arm, _)| ArmEstimates::new(&arm.name))
        .collect();
    for query in queries.iter().progress() {
        // Arms find the same joins, and a plan may have one twice.
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for ((_, sessions), arm) in sessions.iter().zip(&mut arms) {
            let session = sessions.of_query(&query.name).await?;
            let cannot = || format!("cannot plan query {}", query.name);
            session
                .default_joins(&query.sql, thorough)
                .await
                .with_context(cannot)?;
            // What is read from the catalog on demand is warm the second time, as it is for users.
            let start = Instant::now();
            let joins = session
                .default_joins(&query.sql, thorough)
                .await
                .with_context(cannot)?;
            arm.estimated.push((joins.len(), start.elapsed()));
            let mut seen = BTreeSet::new();
            for (join, line) in joins {
                let text = join.display_indent().to_string();
                if !seen.insert(text.clone()) {
                    continue;
                }
                let (name, relations) = describe(&join);
                let rows = match counted.get(&text) {
                    Some(rows) => *rows,
                    None => {
                        let cannot = || format!("cannot count {name} of query {}", query.name);
                        let rows = session.count(join).await.with_context(cannot)?;
                        counted.insert(text, rows);
                        rows
                    }
                };
                arm.sub_plans.push(Estimated {
                    query: query.name.clone(),
                    sub_plan: name,
                    relations,
                    true_rows: rows.into(),
                    est_rows: line.est_rows,
                    upper_bound: None,
                    source: line.source.as_str(),
                });
            }
        }
    }
    Ok(arms)
}

/// The tables of a join, with its kind if it is no inner one; and how many there are.
fn describe(join: &LogicalPlan) -> (String, usize) {
    let mut tables = vec![];
    // An alias stands right above its table; the walk itself cannot fail.
    let walked = join.apply(|node| {
        match node {
            LogicalPlan::TableScan(scan) => tables.push(scan.table_name.table().to_owned()),
            LogicalPlan::SubqueryAlias(alias) if is_table(&alias.input) => {
                tables.push(alias.alias.table().to_owned());
                return Ok(TreeNodeRecursion::Jump);
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if let Err(error) = walked {
        tracing::debug!(%error, "the tables of a join are not known");
    }
    tables.sort_unstable();
    let names = tables.join("+");
    let name = match join {
        LogicalPlan::Join(join) if join.join_type != JoinType::Inner => {
            format!("{}({names})", join.join_type)
        }
        _ => names,
    };
    (name, tables.len())
}

fn is_table(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Filter(filter) => is_table(&filter.input),
        LogicalPlan::Projection(projection) => is_table(&projection.input),
        _ => false,
    }
}
