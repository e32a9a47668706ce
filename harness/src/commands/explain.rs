//! `joinwright explain`: why a query is planned as it is.

use anyhow::{Context, Result};
use joinwright_optimizer::Registry;

use super::{Prepared, block_on, prepare, print};
use crate::arm::Arm;
use crate::cli::ExplainArgs;
use crate::injection::QuerySessions;
use crate::interrupt::Interrupt;
use crate::machine::available_threads;
use crate::render::explain::render;
use crate::session::{Purpose, known_parts};
use crate::suite::{Query, Suite};

/// Runs the command.
pub(super) fn run(args: ExplainArgs, registry: &Registry) -> Result<u8> {
    let arm = Arm::parse(&args.arm, &known_parts(registry))?;
    let suite = Suite::find(
        &args.suite.name,
        args.suite.scale,
        args.suite.queries.as_deref(),
    )?;
    let (name, sql) = match (&args.sql, &args.query) {
        (Some(sql), _) => ("the query".to_owned(), sql.clone()),
        (None, name) => {
            let name = name.clone().unwrap_or_default();
            let queries = suite.read_queries(std::slice::from_ref(&name))?;
            let sql = queries.into_iter().map(|query| query.sql).collect();
            (format!("query {name}"), sql)
        }
    };
    let query = Query {
        name: name.clone(),
        sql: sql.clone(),
    };
    let threads = available_threads();
    block_on(threads, async {
        let queries = std::slice::from_ref(&query);
        let prepared = prepare(&suite, queries, &args.suite, &mut Interrupt::listen()).await?;
        let Prepared { tables, catalog } = &prepared;
        let data = (&tables[..], catalog);
        let purpose = Purpose::Explain;
        let sessions = QuerySessions::open(&arm, &suite, data, registry, threads, purpose).await?;
        let session = sessions
            .of_query(args.query.as_deref().unwrap_or_default())
            .await?;
        let planned = session
            .plan(&sql)
            .await
            .with_context(|| format!("cannot plan {name}"))?;
        print(&render(&planned))?;
        Ok(0)
    })
}
