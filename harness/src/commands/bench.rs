//! `joinwright bench`: the main job.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{SecondsFormat, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use joinwright_optimizer::Registry;

use super::{Prepared, prepare, print, runtime};
use crate::arm::{Arm, distinct};
use crate::arms_file::read_arms;
use crate::bench::{Schedule, bench_query};
use crate::cli::BenchArgs;
use crate::details::QueryDetails;
use crate::injection::QuerySessions;
use crate::interrupt::{Interrupt, Interrupted};
use crate::machine::{Machine, Versions, available_threads};
use crate::measure::{Measure, parse};
use crate::peers::{self, Systems};
use crate::record::{ArmRecord, Run, RunFolder, holds_run, remove_orphans};
use crate::render::table;
use crate::resume;
use crate::session::{Purpose, known_parts};
use crate::suite::{Query, Suite};
use crate::summary::Overview;
use crate::{EXIT_DIFFERENT, EXIT_INTERRUPTED, complain};

const RESULTS: &str = "results";

/// A year: beyond it the clock's arithmetic has an end, and so has patience.
const LONGEST_TIMEOUT_S: f64 = 365.0 * 86_400.0;

/// Runs the command.
pub(super) fn run(args: BenchArgs, registry: &Registry) -> Result<u8> {
    let arms = chosen_arms(&args, registry)?;
    let timeout = args.timeout;
    if !(timeout > 0.0 && timeout <= LONGEST_TIMEOUT_S) {
        bail!("timeout {timeout} is not a number of seconds above 0");
    }
    let threads = args.threads.unwrap_or_else(available_threads);
    if !(1..=4096).contains(&threads) {
        bail!("threads {threads} is not between 1 and 4096");
    }
    let suite = Suite::find(
        &args.suite.name,
        args.suite.scale,
        args.suite.queries.as_deref(),
    )?;
    let queries = suite.read_queries(&args.only)?;
    for query in &queries {
        let file = suite.queries.join(format!("{}.sql", query.name));
        parse(&query.sql).with_context(|| format!("cannot understand {}", file.display()))?;
    }
    let peers = found_peers(&args.peers)?;
    if let Some(arm) = arms.iter().find(|arm| args.peers.contains(&arm.name)) {
        bail!("arm `{}` has the name of a peer", arm.name);
    }
    let planned = Run {
        command: command_line(),
        started: now(),
        finished: None,
        interrupted: false,
        resumed: Vec::new(),
        suite: suite.name.clone(),
        scale: suite.scale(),
        queries: queries.len(),
        runs: args.runs,
        warmup: args.warmup,
        timeout_s: timeout,
        threads,
        seed: args.seed,
        arms: arms
            .iter()
            .map(|arm| ArmRecord {
                name: arm.name.clone(),
                options: arm.options(),
            })
            .chain(peers.iter().map(|(name, version)| ArmRecord {
                name: name.clone(),
                options: BTreeMap::from([("version".to_owned(), version.clone())]),
            }))
            .collect(),
        versions: Versions::here(),
        machine: Machine::here(),
        summary: Vec::new(),
        details: Vec::new(),
    };
    // Before anything is timed, or even made: hours later is too late to learn that the disk is full.
    let (folder, run) = open_folder(&args, &suite, planned, &queries)?;
    let workers = runtime(threads)?;
    // The queries have these threads to themselves. What watches them has its own, since a clock that waits for
    // a busy thread cannot end a query.
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = control.block_on(async {
        let mut interrupt = Interrupt::listen();
        let prepared = prepare(&suite, &queries, &args.suite, &mut interrupt).await?;
        let open = |purpose| open_sessions(&arms, &suite, &prepared, registry, threads, purpose);
        let sessions = Sessions {
            run: open(Purpose::Run).await?,
            explain: open(Purpose::Alternatives).await?,
        };
        let timeout = Duration::from_secs_f64(timeout);
        let mut systems = vec![];
        for (name, _) in &peers {
            let tables = &prepared.tables;
            systems.push(peers::start(name, tables, threads, timeout, &interrupt).await?);
        }
        let measure = Measure {
            sessions: vec![],
            tables: prepared.tables.clone().into(),
            workers: workers.handle().clone(),
            timeout,
            interrupt,
        };
        let mut systems = Systems {
            measure,
            peers: systems,
        };
        measure_all(&mut systems, &sessions, &queries, run, folder).await
    });
    workers.shutdown_background();
    control.shutdown_background();
    result
}

/// The other systems that are asked for and there, with their versions.
fn found_peers(names: &[String]) -> Result<Vec<(String, String)>> {
    peers::check_names(names)?;
    let mut found = vec![];
    for name in names {
        match peers::version(name) {
            Ok(version) => found.push((name.clone(), version)),
            Err(missing) => complain(&missing),
        }
    }
    Ok(found)
}

/// The arms of the command line, then those of the file.
fn chosen_arms(args: &BenchArgs, registry: &Registry) -> Result<Vec<Arm>> {
    let known = known_parts(registry);
    let Some(file) = &args.arms_file else {
        return Arm::parse_all(&args.arms, &["default", "joinwright"], &known);
    };
    let mut arms = Arm::parse_all(&args.arms, &[], &known)?;
    arms.extend(read_arms(file, &known)?);
    distinct(arms)
}

/// The folder of a new run, or of one that goes on, with what is known of it.
fn open_folder(
    args: &BenchArgs,
    suite: &Suite,
    planned: Run,
    queries: &[Query],
) -> Result<(RunFolder, Run)> {
    let results = Path::new(RESULTS);
    if args.resume {
        let unfinished = || resume::unfinished(results, &planned);
        match args.out.clone().or_else(unfinished) {
            Some(folder) if holds_run(&folder) => {
                let (folder, mut run) = resume::take_up(&folder, &planned, queries)?;
                if !resume::is_whole(&run) {
                    run.resumed.push(now());
                    run.interrupted = false;
                    run.finished = None;
                }
                return Ok((folder, run));
            }
            Some(folder) => remove_orphans(&folder)?,
            None => {}
        }
    }
    let name = folder_name(suite);
    let folder = RunFolder::create(args.out.as_deref(), results, &name)?;
    Ok((folder, planned))
}

/// The sessions of all arms.
struct Sessions {
    run: Vec<QuerySessions>,
    /// Others for what is kept of plans, so that tracing them has no part in what is measured.
    explain: Vec<QuerySessions>,
}

async fn open_sessions(
    arms: &[Arm],
    suite: &Suite,
    prepared: &Prepared,
    registry: &Registry,
    threads: usize,
    purpose: Purpose,
) -> Result<Vec<QuerySessions>> {
    let Prepared { tables, catalog } = prepared;
    let mut sessions = Vec::with_capacity(arms.len());
    for arm in arms {
        let data = (&tables[..], catalog);
        let of_arm = QuerySessions::open(arm, suite, data, registry, threads, purpose);
        sessions.push(of_arm.await?);
    }
    Ok(sessions)
}

/// Runs all queries, records each, and prints the table.
async fn measure_all(
    systems: &mut Systems,
    sessions: &Sessions,
    queries: &[Query],
    mut run: Run,
    mut folder: RunFolder,
) -> Result<u8> {
    let arms: Vec<String> = run.arms.iter().map(|arm| arm.name.clone()).collect();
    let schedule = Schedule {
        warmup: run.warmup,
        runs: run.runs,
        seed: run.seed,
    };
    let whole = resume::is_whole(&run);
    let bar = progress_bar(queries.len());
    bar.set_position(run.summary.len() as u64);
    for query in schedule.queries(queries) {
        if run.summary.iter().any(|done| done.query == query.name) {
            continue;
        }
        bar.set_message(query.name.clone());
        systems.measure.sessions.clear();
        for of_arm in &sessions.run {
            let session = of_arm.of_query(&query.name).await?;
            systems.measure.sessions.push(session.context.clone());
        }
        let done = bench_query(systems, query, &arms, schedule)
            .await
            .with_context(|| format!("cannot compare the rows of query {}", query.name))?;
        let Some(mut done) = done else {
            run.interrupted = true;
            break;
        };
        let mut details = QueryDetails::new(query);
        let observed = std::mem::take(&mut done.observed);
        for (at, (arm, observed)) in arms.iter().zip(observed).enumerate() {
            let Some(observed) = observed else {
                continue;
            };
            if let Some(of_arm) = sessions.explain.get(at) {
                let session = of_arm.of_query(&query.name).await?;
                // What is only looked at must not end what is measured.
                if let Err(error) = details.add(arm, &session, observed).await {
                    tracing::error!(error = crate::one_line(&error), "a plan is not kept");
                }
            } else {
                details.add_foreign(arm, arm, observed);
            }
        }
        folder.record(&mut run, details, done)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !whole {
        run.finished = Some(now());
    }
    if run.summary.is_empty() {
        // Interrupted within the first query: nothing is worth keeping.
        return Err(Interrupted.into());
    }
    folder.save(&run)?;
    folder.save_report(&run)?;
    print(&format!(
        "{}results in {}\n",
        table::render(&run, folder.samples()),
        folder.path().display()
    ))?;
    if run.interrupted {
        return Ok(EXIT_INTERRUPTED);
    }
    let overview = Overview::new(&run, folder.samples());
    Ok(if overview.has_faults(sessions.run.len()) {
        EXIT_DIFFERENT
    } else {
        0
    })
}

fn progress_bar(queries: usize) -> ProgressBar {
    let bar = ProgressBar::new(queries as u64);
    match ProgressStyle::with_template("running {msg} {wide_bar} {pos} of {len} queries {elapsed}")
    {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn folder_name(suite: &Suite) -> String {
    let date = Utc::now().format("%Y-%m-%d");
    match suite.scale() {
        Some(scale) => format!("{date}-{}-{scale}", suite.name),
        None => format!("{date}-{}", suite.name),
    }
}

pub(super) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The command as it can be typed again; arguments with spaces are quoted.
pub(super) fn command_line() -> String {
    let quote = |argument: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+".contains(c);
        match !argument.is_empty() && argument.chars().all(plain) {
            true => argument,
            false => format!("'{}'", argument.replace('\'', r"'\''")),
        }
    };
    let arguments = std::env::args_os()
        .skip(1)
        .map(|argument| quote(argument.to_string_lossy().into_owned()));
    std::iter::once("joinwright".to_owned())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}
