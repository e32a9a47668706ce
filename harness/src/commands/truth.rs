//! `joinwright truth`: the true cardinality of every connected sub-plan.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use joinwright_optimizer::relset::RelSet;
use joinwright_optimizer::{EstimatedRegion, Registry};

use super::{block_on, find_data, print};
use crate::arm::{Arm, Kind};
use crate::cli::TruthArgs;
use crate::interrupt::{Interrupt, Interrupted};
use crate::machine::available_threads;
use crate::render::group;
use crate::session::{Purpose, Session};
use crate::statistics::open_catalog;
use crate::suite::{Query, Suite};
use crate::truth::count::{Counter, connected_sets};
use crate::truth::factor::{GaveUp, Limits};
use crate::truth::inferred::drop_inferred;
use crate::truth::reduce::{is_written, reduce};
use crate::truth::{TruthLine, TruthWriter, name_of};

/// A region with more connected sub-plans is not counted: their file alone would be of no use.
const MOST_SUB_PLANS: usize = 1 << 20;

/// A region and those of its sub-plans that are to be counted.
struct Task {
    query: String,
    region: EstimatedRegion,
    /// With their names, small ones first.
    sub_plans: Vec<(RelSet, String)>,
}

/// What a run came to.
#[derive(Default)]
struct Tally {
    counted: usize,
    known: usize,
    /// A line for each sub-plan or region that has no number.
    missing: Vec<String>,
}

/// Runs the command.
pub(super) fn run(args: TruthArgs, registry: &Registry) -> Result<u8> {
    let suite = Suite::find(
        &args.suite.name,
        args.suite.data.scale,
        args.suite.data.queries.as_deref(),
    )?;
    let queries = suite.read_sound_queries(&args.only)?;
    let mut writer = TruthWriter::open(&args.out)?;
    let started = Instant::now();
    let threads = available_threads();
    let mut tally = Tally::default();
    block_on(threads, async {
        let interrupt = Interrupt::listen();
        let tables = find_data(&suite, &interrupt).await?;
        let catalog = open_catalog(args.suite.data.cache.folder.as_deref())?;
        // As the query is written: other arms may join by equalities that it only implies.
        let arm = Arm {
            name: "default".to_owned(),
            kind: Kind::Default,
        };
        let session =
            Session::open(&arm, &tables, &catalog, registry, threads, Purpose::Run).await?;
        let mut tasks = vec![];
        for query in &queries {
            tasks.extend(tasks_of(query, &session, &writer, &mut tally).await?);
        }
        count_all(
            tasks,
            &session,
            args.cap,
            &mut writer,
            &mut tally,
            interrupt,
        )
        .await
    })?;
    for line in &tally.missing {
        print(&format!("{line}\n"))?;
    }
    print(&format!(
        "{} sub-plans of {} {} counted in {:.1} s, {} known before, {} without a number\n",
        group(tally.counted as u64),
        queries.len(),
        if queries.len() == 1 {
            "query"
        } else {
            "queries"
        },
        started.elapsed().as_secs_f64(),
        group(tally.known as u64),
        group(tally.missing.len() as u64),
    ))?;
    Ok(0)
}

/// The regions of a query with the sub-plans that the file lacks.
async fn tasks_of(
    query: &Query,
    session: &Session,
    writer: &TruthWriter,
    tally: &mut Tally,
) -> Result<Vec<Task>> {
    let regions = session
        .regions(&query.sql, false)
        .await
        .with_context(|| format!("cannot plan query {}", query.name))?;
    let mut tasks = vec![];
    let mut names = HashSet::new();
    let written = session.predicates(&query.sql).await;
    for mut region in regions {
        drop_inferred(&mut region, &written);
        let relations = region.graph.relations.len();
        let Some(sets) = connected_sets(&region.graph.join_graph(), MOST_SUB_PLANS) else {
            tally.missing.push(format!(
                "{}: a region of {relations} relations has too many sub-plans",
                query.name
            ));
            continue;
        };
        let mut sub_plans = vec![];
        for set in sets {
            let name = name_of(set, &region.graph);
            if !names.insert(name.clone()) {
                tally.missing.push(format!(
                    "{} {name}: the name stands for a sub-plan of an outer region",
                    query.name
                ));
            } else if writer.knows(&query.name, &name) {
                tally.known += 1;
            } else {
                sub_plans.push((set, name));
            }
        }
        sub_plans.sort_by(|(a, a_name), (b, b_name)| (a.len(), a_name).cmp(&(b.len(), b_name)));
        if !sub_plans.is_empty() {
            tasks.push(Task {
                query: query.name.clone(),
                region,
                sub_plans,
            });
        }
    }
    Ok(tasks)
}

async fn count_all(
    tasks: Vec<Task>,
    session: &Session,
    cap: u64,
    writer: &mut TruthWriter,
    tally: &mut Tally,
    interrupt: Interrupt,
) -> Result<()> {
    let all: usize = tasks.iter().map(|task| task.sub_plans.len()).sum();
    let bar = bar(all as u64);
    let stop = Arc::new(AtomicBool::new(false));
    let (mut wait, set) = (interrupt.clone(), Arc::clone(&stop));
    tokio::spawn(async move {
        wait.wait().await;
        set.store(true, Ordering::Relaxed);
    });
    for task in tasks {
        bar.set_message(task.query.clone());
        let counted = count_region(&task, session, cap, writer, tally, &stop, &bar).await;
        counted.map_err(|error| match stop.load(Ordering::Relaxed) {
            true => anyhow::Error::new(Interrupted).context(format!(
                "interrupted: {} of {} sub-plans counted and kept, the next run goes on from there",
                group(tally.counted as u64),
                group(all as u64)
            )),
            false => error.context(format!("cannot count query {}", task.query)),
        })?;
    }
    bar.finish_and_clear();
    Ok(())
}

async fn count_region(
    task: &Task,
    session: &Session,
    cap: u64,
    writer: &mut TruthWriter,
    tally: &mut Tally,
    stop: &AtomicBool,
    bar: &ProgressBar,
) -> Result<()> {
    let problem = reduce(&task.region, &session.context).await?;
    let mut counter = match Counter::new(problem) {
        Ok(counter) => counter,
        Err(reason) => anyhow::bail!("{}", told(reason)),
    };
    for (set, name) in &task.sub_plans {
        let mut limits = Limits { rows: cap, stop };
        let started = Instant::now();
        let rows = counter.count(*set, &mut limits);
        tracing::debug!(
            query = task.query,
            sub_plan = name,
            joined = cap - limits.rows,
            ms = started.elapsed().as_secs_f64() * 1e3,
            "counted"
        );
        match rows {
            Ok(_) => tally.counted += 1,
            Err(GaveUp::Interrupted) => return Err(Interrupted.into()),
            Err(reason) => {
                tally
                    .missing
                    .push(format!("{} {name}: {}", task.query, told(reason)));
            }
        }
        let edges = if is_written(&task.region, *set) {
            "written"
        } else {
            "implied"
        };
        writer.write(&TruthLine {
            query: task.query.clone(),
            sub_plan: name.clone(),
            true_rows: rows.ok(),
            n_rels: set.len(),
            edges: edges.to_owned(),
        })?;
        bar.inc(1);
    }
    Ok(())
}

fn told(reason: GaveUp) -> &'static str {
    match reason {
        GaveUp::Cap => "more rows to join than the cap allows",
        GaveUp::Memory => "a join on the way does not fit memory",
        GaveUp::Overflow => "too many rows for 128 bits",
        GaveUp::Interrupted => "interrupted",
        GaveUp::Predicate => "a predicate cannot be evaluated",
    }
}

fn bar(sub_plans: u64) -> ProgressBar {
    let bar = ProgressBar::new(sub_plans);
    let style = "{wide_bar} {msg}, {human_pos} of {human_len} sub-plans, {eta} left";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
