//! `joinwright explain`: why a query is planned as it is.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use joinwright_optimizer::Registry;
use tokio::runtime::Handle;

use super::bench::{command_line, now};
use super::{Prepared, block_on, prepare, print};
use crate::arm::Arm;
use crate::bench::{Attempt, Done, Runner};
use crate::cli::{ExplainArgs, ExplainFormat};
use crate::details::QueryDetails;
use crate::explanation::{Execution, Explanation};
use crate::injection::QuerySessions;
use crate::interrupt::{Interrupt, Interrupted};
use crate::machine::{Machine, Versions, available_threads};
use crate::measure::{Measure, sketch};
use crate::query_summary::summarize;
use crate::record::{ArmRecord, Run, Sample};
use crate::render::{explain, report};
use crate::report::Report;
use crate::session::{Purpose, known_parts};
use crate::suite::{Query, Suite};

/// Whoever explains one query ends it by Ctrl-C.
const NO_TIMEOUT: Duration = Duration::from_secs(365 * 86_400);

/// Runs the command.
pub(super) fn run(args: ExplainArgs, registry: &Registry) -> Result<u8> {
    let arm = Arm::parse(&args.arm, &known_parts(registry))?;
    let suite = Suite::find(
        &args.suite.name,
        args.suite.data.scale,
        args.suite.data.queries.as_deref(),
    )?;
    let query = chosen_query(&args, &suite)?;
    let threads = available_threads();
    block_on(threads, async {
        let mut interrupt = Interrupt::listen();
        let queries = std::slice::from_ref(&query);
        let prepared = prepare(&suite, queries, &args.suite.data, &mut interrupt).await?;
        let Prepared { tables, catalog } = &prepared;
        let data = (&tables[..], catalog);
        let cannot_plan = || format!("cannot plan {}", described(&query, &args));
        let open = |purpose| QuerySessions::open(&arm, &suite, data, registry, threads, purpose);
        let sessions = open(Purpose::Alternatives).await?;
        let session = sessions.of_query(&query.name).await?;
        // What is read from the catalog on demand is warm the second time, as it is for users.
        session.plan(&query.sql).await.with_context(cannot_plan)?;
        let planned = session.plan(&query.sql).await.with_context(cannot_plan)?;

        // What is measured is not watched.
        let sessions = open(Purpose::Run).await?;
        let context = sessions.of_query(&query.name).await?.context.clone();
        let (observed, done) = if args.analyze {
            let mut measure = Measure {
                sessions: vec![context],
                tables: tables.clone().into(),
                workers: Handle::current(),
                timeout: NO_TIMEOUT,
                interrupt,
            };
            let mut done = execute(&mut measure, &query).await?;
            (done.observed.take(), Some(done))
        } else {
            let observed = sketch(&context, &query.sql, tables);
            (Some(observed.await.with_context(cannot_plan)?), None)
        };
        let mut details = QueryDetails::new(&query);
        let observed = observed.context("the plan was not observed")?;
        details.add_planned(&arm.name, session.estimator(), &planned, observed)?;
        let text = match args.format {
            ExplainFormat::Html => page(&suite, &query, &arm, threads, details, done)?,
            format => {
                let execution = done.as_ref().map(execution);
                let explanation = Explanation::new(&suite.name, &details, &planned, execution)
                    .context("the plan was not kept")?;
                match format {
                    ExplainFormat::Json => serde_json::to_string_pretty(&explanation)? + "\n",
                    ExplainFormat::Mermaid => explain::mermaid(&explanation.operators),
                    ExplainFormat::Dot => explain::dot(&explanation.operators),
                    ExplainFormat::Text | ExplainFormat::Html => explain::text(&explanation),
                }
            }
        };
        print(&text)?;
        Ok(0)
    })
}

/// The query of the suite that is named, or the one on the command line.
fn chosen_query(args: &ExplainArgs, suite: &Suite) -> Result<Query> {
    if let Some(sql) = &args.sql {
        return Ok(Query {
            name: String::new(),
            sql: sql.clone(),
            fault: None,
        });
    }
    let name = args.query.clone().unwrap_or_default();
    let queries = suite.read_queries(std::slice::from_ref(&name))?;
    let query = queries.into_iter().next();
    query.with_context(|| format!("unknown query `{name}`"))
}

fn described(query: &Query, args: &ExplainArgs) -> String {
    match args.sql {
        Some(_) => "the query".to_owned(),
        None => format!("query {}", query.name),
    }
}

async fn execute(measure: &mut Measure, query: &Query) -> Result<Done> {
    match measure.run(0, query, true).await {
        Attempt::Done(done) => Ok(*done),
        Attempt::Failed(message) => bail!("cannot run the query: {message}"),
        Attempt::TimedOut => bail!("the query took too long"),
        Attempt::Interrupted => Err(Interrupted.into()),
    }
}

fn execution(done: &Done) -> Execution {
    Execution {
        planning_ms: done.planning_ms,
        execution_ms: done.execution_ms,
        rows: done.rows.digest.rows,
    }
}

/// The page of the query, as a report has it.
fn page(
    suite: &Suite,
    query: &Query,
    arm: &Arm,
    threads: usize,
    details: QueryDetails,
    done: Option<Done>,
) -> Result<String> {
    let mut samples = vec![];
    if let Some(done) = &done {
        let mut sample = Sample::new(&query.name, &arm.name, 1, false);
        sample.finish(done);
        samples.push(sample);
    }
    let time = now();
    let run = Run {
        command: command_line(),
        started: time.clone(),
        finished: Some(time),
        interrupted: false,
        resumed: vec![],
        suite: suite.name.clone(),
        scale: suite.scale(),
        data: None,
        queries: 1,
        runs: samples.len() as u32,
        warmup: 0,
        timeout_s: 0.0,
        threads,
        cold: None,
        seed: None,
        arms: vec![ArmRecord {
            name: arm.name.clone(),
            options: arm.options(),
        }],
        versions: Versions::here(),
        machine: Machine::here(),
        summary: vec![summarize(&query.name, &[&arm.name], &samples, &[None])],
        details: vec![details],
    };
    let mut page = Report::new(&run, &samples);
    page.only = Some(&query.name);
    report::render(&page)
}
