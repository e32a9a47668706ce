//! The commands, one file each.

mod afterwards;
mod analyze;
mod bench;
mod calibrate;
mod compare;
mod estimate;
mod explain;
mod import;
mod joins;
mod peer_estimates;
mod plan;
mod report;
mod search;
mod sql;
mod stats;
mod truth;

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use joinwright_optimizer::Registry;
use joinwright_stats::{AnalyzeOptions, Catalog};
use tokio::runtime::Runtime;

use crate::arm::{Arm, Kind};
use crate::cli::{Command, DataArgs};
use crate::data;
use crate::interrupt::Interrupt;
use crate::machine::available_threads;
use crate::session::{Purpose, Session};
use crate::statistics::{analyze, open_catalog};
use crate::suite::{Query, Suite};
use crate::tables::{TablePath, find_tables};

/// Runs a command; the result is its exit status.
pub(crate) fn run(command: Command, registry: &Registry) -> Result<u8> {
    match command {
        Command::Bench(args) => bench::run(args, registry),
        Command::Analyze(args) => analyze::run(args),
        Command::Stats(args) => stats::run(args, registry),
        Command::Sql(args) => sql::run(args, registry),
        Command::Plan(args) => plan::run(args, registry),
        Command::Explain(args) => explain::run(args, registry),
        Command::Estimate(args) => estimate::run(args, registry),
        Command::Truth(args) => truth::run(args, registry),
        Command::Report(args) => report::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Search(args) => search::run(args, registry),
        Command::Calibrate(args) => calibrate::run(args),
    }
}

/// Plans of many joins are deep trees, and much of what walks them is recursive.
const STACK_BYTES: usize = 16 << 20;

/// A runtime of `threads` threads.
fn runtime(threads: usize) -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// Runs a future on a runtime of its own, and does not wait for what it left running.
fn block_on<T>(threads: usize, future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = runtime(threads)?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Writes to standard output.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// A suite with its data in place and analyzed.
struct Prepared {
    tables: Vec<TablePath>,
    catalog: Arc<Catalog>,
}

/// Makes or finds the data of a suite, and analyzes it, the columns that `queries` join by as keys.
async fn prepare(
    suite: &Suite,
    queries: &[Query],
    args: &DataArgs,
    interrupt: &mut Interrupt,
) -> Result<Prepared> {
    let tables = find_data(suite, interrupt).await?;
    let catalog = open_catalog(args.cache.folder.as_deref())?;
    let options = AnalyzeOptions {
        keys: keys(suite, queries, &tables, &catalog).await?,
        ..AnalyzeOptions::default()
    };
    analyze(&catalog, &tables, &options, interrupt).await?;
    Ok(Prepared { tables, catalog })
}

/// Makes or finds the data of a suite.
async fn find_data(suite: &Suite, interrupt: &Interrupt) -> Result<Vec<TablePath>> {
    let (made, watched) = (suite.clone(), interrupt.clone());
    // The generator looks for the interruption itself, and tidies up before it ends.
    tokio::task::spawn_blocking(move || data::ensure(&made, available_threads(), &watched))
        .await
        .context("the generator broke down")??;
    find_tables(&suite.data)
}

/// The keys that a suite declares, and those that its queries use.
async fn keys(
    suite: &Suite,
    queries: &[Query],
    tables: &[TablePath],
    catalog: &Arc<Catalog>,
) -> Result<BTreeSet<(String, String)>> {
    let arm = Arm {
        name: "default".to_owned(),
        kind: Kind::Default,
    };
    let registry = Registry::empty();
    let session = Session::open(&arm, tables, catalog, &registry, 1, Purpose::Run).await?;
    let mut keys = suite.keys.clone();
    for query in queries {
        keys.extend(session.join_columns(&query.sql).await);
    }
    Ok(keys)
}
