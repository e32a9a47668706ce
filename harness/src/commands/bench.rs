//! `joinwright bench`: the main job.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{SecondsFormat, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use joinwright_optimizer::Registry;

use super::afterwards::{Afterwards, open_sessions};
use super::{block_on, prepare, print, runtime};
use crate::arm::{Arm, distinct};
use crate::arms_file::read_arms;
use crate::bench::bench_query;
use crate::cli::BenchArgs;
use crate::cold::PageCache;
use crate::data::data_record;
use crate::injection::QuerySessions;
use crate::interrupt::Interrupt;
use crate::machine::{Machine, Versions, available_threads};
use crate::measure::Measure;
use crate::peers::{self, Asked, Data, Effort, Peer, Systems, Task, without_password};
use crate::record::{ArmRecord, Run, RunFolder, holds_run, remove_orphans};
use crate::render::table;
use crate::resume;
use crate::schedule::Schedule;
use crate::session::{Purpose, known_parts};
use crate::several::{runs_below, write_index};
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
    let suites = found_suites(&args)?;
    let asked = peers::parse(&args.peers)?;
    let named = |arm: &&Arm| asked.iter().any(|peer| peer.name() == arm.name);
    if let Some(arm) = arms.iter().find(named) {
        bail!("arm `{}` has the name of a peer", arm.name);
    }
    let peers = block_on(1, async { Ok(peers::found(asked).await) })?;
    let page_cache = args.cold.then(PageCache::of_machine).and_then(|cache| {
        let said = |why: &String| complain(why);
        cache.inspect_err(said).ok()
    });
    let bench = Bench {
        args,
        arms,
        peers,
        threads,
        page_cache,
    };
    let mut runs = vec![];
    let mut status = 0;
    for (suite, queries) in &suites {
        let ended = bench.run(suite, queries, registry)?;
        runs.push((short_name(suite), ended.overview));
        status = status.max(ended.status);
        if ended.status == EXIT_INTERRUPTED {
            break;
        }
    }
    if suites.len() > 1 {
        print(&format!("\n{}", table::render_together(&runs)))?;
        if let Some(out) = &bench.args.out {
            let path = write_index(out, &runs_below(out)?)?;
            print(&format!("all reports in {}\n", path.display()))?;
        }
    }
    Ok(status)
}

/// All suites with their queries, so that what is wrong with the last one is known before the first one runs.
fn found_suites(args: &BenchArgs) -> Result<Vec<(Suite, Vec<Query>)>> {
    let several = args.suites.len() > 1;
    if several && (!args.only.is_empty() || args.data.queries.is_some()) {
        bail!("--query and --queries are for one suite, not for several");
    }
    let mut found: Vec<(Suite, Vec<Query>)> = vec![];
    for name in &args.suites {
        let suite = Suite::find(name, args.data.scale, args.data.queries.as_deref())?;
        let short = short_name(&suite);
        if found.iter().any(|(other, _)| short_name(other) == short) {
            bail!("two suites are called {short}");
        }
        let queries = suite.read_queries(&args.only)?;
        found.push((suite, queries));
    }
    Ok(found)
}

/// What all suites of a command have in common.
struct Bench {
    args: BenchArgs,
    arms: Vec<Arm>,
    /// With their versions.
    peers: Vec<(Asked, String)>,
    threads: usize,
    /// What is dropped before each sample.
    page_cache: Option<PageCache>,
}

/// How the run of a suite ended.
struct Ended {
    status: u8,
    overview: Overview,
}

impl Bench {
    /// Runs all queries of a suite, and leaves a folder.
    fn run(&self, suite: &Suite, queries: &[Query], registry: &Registry) -> Result<Ended> {
        let (args, threads) = (&self.args, self.threads);
        // Before anything is timed, or even made: hours later is too late to learn that the disk is full.
        let (folder, mut run) = open_folder(args, suite, self.planned(suite, queries), queries)?;
        let workers = runtime(threads)?;
        // The queries have these threads to themselves. What watches them has its own, since a clock that waits for
        // a busy thread cannot end a query.
        let control = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start threads")?;
        let result = control.block_on(async {
            let mut interrupt = Interrupt::listen();
            let prepared = prepare(suite, queries, &args.data, &mut interrupt).await?;
            resume::check_data(&mut run, data_record(&prepared.tables)?)?;
            let arms = &self.arms;
            let run_sessions =
                open_sessions(arms, suite, &prepared, registry, threads, Purpose::Run).await?;
            let afterwards = Afterwards::open(arms, suite, &prepared, registry, threads).await?;
            let effort = Effort {
                task: Task::Run,
                cold: self.page_cache.is_some(),
                threads,
                timeout: Duration::from_secs_f64(args.timeout),
            };
            let data = Data {
                suite,
                tables: &prepared.tables,
            };
            let mut peers = vec![];
            for (peer, _) in &self.peers {
                peers.push(Peer::start(peer, data, effort, &interrupt).await?);
            }
            let measure = Measure {
                sessions: vec![],
                tables: prepared.tables.clone().into(),
                workers: workers.handle().clone(),
                timeout: effort.timeout,
                interrupt,
            };
            let mut systems = Systems {
                measure,
                peers,
                page_cache: self.page_cache.clone(),
            };
            let sessions = (&run_sessions[..], &afterwards);
            measure_all(&mut systems, sessions, queries, run, folder).await
        });
        workers.shutdown_background();
        control.shutdown_background();
        result
    }

    /// The record of a run that has not begun.
    fn planned(&self, suite: &Suite, queries: &[Query]) -> Run {
        let args = &self.args;
        let own = self.arms.iter().map(|arm| ArmRecord {
            name: arm.name.clone(),
            options: arm.options(),
        });
        let peers = self.peers.iter().map(|(peer, version)| ArmRecord {
            name: peer.name().to_owned(),
            options: BTreeMap::from([("version".to_owned(), version.clone())]),
        });
        Run {
            command: command_line(),
            started: now(),
            finished: None,
            interrupted: false,
            resumed: Vec::new(),
            suite: suite.name.clone(),
            scale: suite.scale(),
            data: None,
            queries: queries.len(),
            runs: args.runs,
            // What is warm for a cold run is not what is timed.
            warmup: if args.cold { 0 } else { args.warmup },
            timeout_s: args.timeout,
            threads: self.threads,
            cold: args.cold.then_some(self.page_cache.is_some()),
            seed: args.seed,
            arms: own.chain(peers).collect(),
            versions: Versions::here(),
            machine: Machine::here(),
            summary: Vec::new(),
            details: Vec::new(),
        }
    }
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
    let out = args.out.as_ref().map(|out| match args.suites.len() {
        1 => out.clone(),
        _ => out.join(short_name(suite)),
    });
    if args.resume {
        let earlier = || resume::of_folder(results, &planned);
        match out.clone().or_else(earlier) {
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
    let name = format!("{}-{}", Utc::now().format("%Y-%m-%d"), short_name(suite));
    let folder = RunFolder::create(out.as_deref(), results, &name)?;
    Ok((folder, planned))
}

/// Runs all queries, records each, and prints the table.
async fn measure_all(
    systems: &mut Systems,
    (sessions, afterwards): (&[QuerySessions], &Afterwards),
    queries: &[Query],
    mut run: Run,
    mut folder: RunFolder,
) -> Result<Ended> {
    let arms: Vec<String> = run.arms.iter().map(|arm| arm.name.clone()).collect();
    let schedule = Schedule::of(&run);
    let whole = resume::is_whole(&run);
    if whole {
        let (done, path) = (run.queries, folder.path().display());
        print(&format!(
            "nothing is left to be done: {path} has all {done} queries\n"
        ))?;
    }
    let bar = progress_bar(queries.len());
    bar.set_position(run.summary.len() as u64);
    for query in schedule.queries(queries) {
        if run.summary.iter().any(|done| done.query == query.name) {
            continue;
        }
        bar.set_message(query.name.clone());
        systems.measure.sessions.clear();
        for of_arm in sessions {
            let session = of_arm.of_query(&query.name).await?;
            systems.measure.sessions.push(session.context.clone());
        }
        let known = folder.samples_of(&query.name);
        let mut done = bench_query(systems, query, &arms, schedule, &known)
            .await
            .with_context(|| format!("cannot compare the rows of query {}", query.name))?;
        if !done.whole {
            folder.keep(&done.samples)?;
            run.interrupted = true;
            break;
        }
        let peers = &mut systems.peers;
        let details = afterwards.look(query, &arms, peers, &mut done).await?;
        folder.record(&mut run, details, done)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !whole {
        run.finished = Some(now());
    }
    folder.save(&run)?;
    folder.save_report(&run)?;
    print(&format!(
        "{}results in {}; open report.html there in a browser\n",
        table::render(&run, folder.samples()),
        folder.path().display()
    ))?;
    let overview = Overview::new(&run, folder.samples());
    let faults = overview.has_faults(sessions.len());
    Ok(Ended {
        status: match run.interrupted {
            true => EXIT_INTERRUPTED,
            false if faults => EXIT_DIFFERENT,
            false => 0,
        },
        overview,
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

/// The suite, with its scale where it has one.
fn short_name(suite: &Suite) -> String {
    match suite.scale() {
        Some(scale) => format!("{}-{scale}", suite.name),
        None => suite.name.clone(),
    }
}

pub(super) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The command as it can be typed again, but for passwords; arguments with spaces are quoted.
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
        .map(|argument| quote(without_password(&argument.to_string_lossy())));
    std::iter::once("joinwright".to_owned())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}
