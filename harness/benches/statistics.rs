//! The statistics catalog against its promises, on data of any size: `cargo bench --bench statistics -- MODE`.
//!
//! | mode | compares | bar |
//! |---|---|---|
//! | `accuracy DIR [TABLE…]` | what the catalog says of tables with exact answers | see `tests/common/accuracy.rs` |
//! | `speed DIR [TABLE]` | an analysis of a table, `lineitem` by default, with reading and hashing its columns; peak memory for the folder | 3 times; 600 MB |
//! | `incremental` | adding a file to 100, and adding none, with the first pass over them | 3 %; no byte |
//! | `footers` | the footer pass over 1,000 small files | 1 s |
//! | `open DIR` | opening a warm catalog of a folder; its size with its budget | 20 ms |
//!
//! Each mode prints a table, and fails where a bar is missed. Caches and made data lie in temporary folders.

#[path = "../tests/common/accuracy.rs"]
mod accuracy;
#[path = "../tests/common/tables.rs"]
mod tables;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrow::array::RecordBatchReader;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table, TableComponent};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::TryStreamExt;
use joinwright_stats::{AnalyzeOptions, AnalyzeSummary, Budget, Catalog, Pass, TableFiles};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;

use crate::tables::{locations, tables_of};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads of everything that is timed.
const THREADS: usize = 2;

/// Samples of each time, after one that does not count.
const RUNS: usize = 5;

const USAGE: &str = "usage: cargo bench --bench statistics -- accuracy DIR [TABLE…] | speed DIR [TABLE] | incremental | footers | open DIR";

fn main() -> ExitCode {
    // Cargo says so itself.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench" && argument != "--test")
        .collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs a mode; the result is whether its bars are kept.
fn run(arguments: &[String]) -> Result<bool> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?;
    match &arguments[..] {
        ["accuracy", folder, only @ ..] => {
            runtime.block_on(check_accuracy(Path::new(folder), only))
        }
        ["speed", folder] => speed(&runtime, Path::new(folder), "lineitem"),
        ["speed", folder, table] => speed(&runtime, Path::new(folder), table),
        ["incremental"] => incremental(&runtime),
        ["footers"] => footers(&runtime),
        ["open", folder] => open(&runtime, Path::new(folder)),
        // `cargo bench` runs all benchmarks: this one needs to be asked for.
        [] => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => bail!("{USAGE}"),
    }
}

async fn check_accuracy(folder: &Path, only: &[&str]) -> Result<bool> {
    let cache = tempfile::tempdir()?;
    let catalog = Catalog::open(cache.path())?;
    let found = tables_of(folder).await?;
    if let Some(name) = only
        .iter()
        .find(|name| !found.iter().any(|table| table.name == **name))
    {
        bail!("{} has no table {name}", folder.display());
    }
    // Which columns are keys follows from all tables.
    catalog
        .analyze_tables(&found, &options(Pass::Scan), &())
        .await?;
    let snapshot = catalog.snapshot();
    let mut reports = Vec::new();
    for table in found
        .iter()
        .filter(|table| only.is_empty() || only.contains(&&*table.name))
    {
        let context = session(folder, &table.name).await?;
        let locations = locations(table);
        let stats = snapshot
            .table(&locations)
            .context("analyzed tables have statistics")?;
        let details = snapshot.details(&locations);
        reports.extend(accuracy::check_table(&context, &table.name, &stats, &details).await?);
    }
    print_table(
        &accuracy::HEADER,
        reports.iter().map(accuracy::ColumnReport::cells).collect(),
    );
    let mut errors: Vec<f64> = reports
        .iter()
        .filter_map(accuracy::ColumnReport::ndv_error)
        .collect();
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| {
        errors.get(((errors.len() as f64 * share) as usize).min(errors.len().saturating_sub(1)))
    };
    println!(
        "{} columns; NDV off by {:.2} % in the median, {:.2} % at 95 % of the columns, {:.2} % at worst",
        reports.len(),
        100.0 * at(0.5).unwrap_or(&0.0),
        100.0 * at(0.95).unwrap_or(&0.0),
        100.0 * errors.last().unwrap_or(&0.0),
    );
    let violations = accuracy::violations(&reports);
    for violation in &violations {
        println!("{violation}");
    }
    println!("{} violations", violations.len());
    Ok(violations.is_empty())
}

fn speed(runtime: &Runtime, folder: &Path, table: &str) -> Result<bool> {
    let found = runtime.block_on(tables_of(folder))?;
    let named = found.iter().find(|other| other.name == table);
    let files = named.with_context(|| format!("{} has no table {table}", folder.display()))?;
    let context = runtime.block_on(session(folder, table))?;
    let cache = tempfile::tempdir()?;
    let (mut hashing, mut analysis) = (Vec::new(), Vec::new());
    let (mut hashing_cpu, mut analysis_cpu) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let started = cpu_time()?;
        let (hashed, rows) = timed(|| runtime.block_on(read_and_hash(&context, table)))?;
        let between = cpu_time()?;
        let (analyzed, summary) = timed(|| {
            let catalog = Catalog::open(cache.path())?;
            let options = AnalyzeOptions {
                refresh: true,
                ..options(Pass::Scan)
            };
            analyze(runtime, &catalog, std::slice::from_ref(files), &options)
        })?;
        ensure!(
            rows == summary.rows,
            "{rows} rows were hashed, {} analyzed",
            summary.rows
        );
        if run > 0 {
            hashing.push(hashed);
            analysis.push(analyzed);
            hashing_cpu.push(between - started);
            analysis_cpu.push(cpu_time()? - between);
        }
    }
    let peak = (0..3)
        .map(|_| peak_memory(folder))
        .collect::<Result<Vec<u64>>>()?;
    let peak = peak.into_iter().max().unwrap_or(0) as f64 / 1e6;
    let ratio = median(&analysis).as_secs_f64() / median(&hashing).as_secs_f64();
    let of_cpu = median(&analysis_cpu).as_secs_f64() / median(&hashing_cpu).as_secs_f64();
    let mut grid = Bars::default();
    grid.note(&format!("read and hash {table}"), spread(&hashing));
    grid.note(&format!("analyze {table}"), spread(&analysis));
    grid.note("processor time to read and hash", spread(&hashing_cpu));
    grid.note("processor time to analyze", spread(&analysis_cpu));
    grid.note("ratio of processor times", format!("{of_cpu:.2}"));
    grid.check(
        "ratio of the medians",
        format!("{ratio:.2}"),
        "3",
        ratio <= 3.0,
    );
    grid.check(
        "peak memory of `analyze` of all tables",
        format!("{peak:.0} MB"),
        "600 MB",
        peak < 600.0,
    );
    Ok(grid.print())
}

/// Reads all columns of a table and hashes each of them. Returns the number of rows.
async fn read_and_hash(context: &SessionContext, table: &str) -> Result<u64> {
    let frame = context.table(format!("\"{table}\"")).await?;
    let streams = frame.execute_stream_partitioned().await?;
    let hash =
        async |mut stream: datafusion::execution::SendableRecordBatchStream| -> Result<(u64, u64)> {
            let state = RandomState::default();
            let (mut rows, mut sum, mut hashes) = (0, 0u64, Vec::new());
            while let Some(batch) = stream.try_next().await? {
                for column in batch.columns() {
                    hashes.clear();
                    hashes.resize(batch.num_rows(), 0);
                    let hashes = create_hashes([column], &state, &mut hashes)?;
                    // So that nobody finds the hashes to be unused.
                    sum ^= hashes.last().copied().unwrap_or(0);
                }
                rows += batch.num_rows() as u64;
            }
            Ok((rows, std::hint::black_box(sum)))
        };
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::spawn(hash(stream)))
        .collect();
    let mut rows = 0;
    for task in tasks {
        rows += task.await??.0;
    }
    Ok(rows)
}

/// The most memory in bytes that a process needs to analyze a folder, as the kernel counts it.
fn peak_memory(folder: &Path) -> Result<u64> {
    let cache = tempfile::tempdir()?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_joinwright"))
        .arg("analyze")
        .arg(folder)
        .arg("--refresh")
        .arg("--cache")
        .arg(cache.path())
        .stdout(Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        // The mark never falls, and the last look is taken a moment before the end at most.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "analyze failed");
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    ensure!(
        peak > 0,
        "this system does not tell how much memory a process had"
    );
    Ok(peak)
}

fn incremental(runtime: &Runtime) -> Result<bool> {
    const FILES: usize = 100;
    let data = make_lines(1.0, FILES + 1)?;
    let all = runtime.block_on(tables_of(data.path()))?;
    let mut before = all.clone();
    before[0].files.truncate(FILES);
    let options = options(Pass::Scan);
    let (mut first, mut none, mut one) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes, mut read) = (0, 0);
    for _ in 0..3 {
        let cache = tempfile::tempdir()?;
        let pass = |tables: &[TableFiles]| {
            // As a new process would.
            let catalog = Catalog::open(cache.path())?;
            analyze(runtime, &catalog, tables, &options)
        };
        let (time, _) = timed(|| pass(&before))?;
        first.push(time);
        let (time, summary) = timed(|| pass(&before))?;
        none.push(time);
        bytes += summary.bytes_read;
        let (time, summary) = timed(|| pass(&all))?;
        one.push(time);
        ensure!(summary.scanned == 1, "{} files were read", summary.scanned);
        read = summary.bytes_read;
    }
    let share = |times: &[Duration]| median(times).as_secs_f64() / median(&first).as_secs_f64();
    let (none_share, one_share) = (share(&none), share(&one));
    let mut grid = Bars::default();
    grid.note(&format!("first pass over {FILES} files"), spread(&first));
    grid.note(
        "none changed",
        format!(
            "{}, {:.1} % of the first pass",
            spread(&none),
            none_share * 100.0
        ),
    );
    grid.check("bytes read of them", bytes.to_string(), "0", bytes == 0);
    grid.note(
        "one added",
        format!("{}, {:.2} MB read", spread(&one), read as f64 / 1e6),
    );
    grid.check(
        "share of the first pass",
        format!("{:.1} %", one_share * 100.0),
        "3 %",
        one_share <= 0.03,
    );
    Ok(grid.print())
}

fn footers(runtime: &Runtime) -> Result<bool> {
    const FILES: usize = 1_000;
    let data = make_lines(0.02, FILES)?;
    let found = runtime.block_on(tables_of(data.path()))?;
    let options = options(Pass::Footer);
    let (mut fresh, mut known) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let cache = tempfile::tempdir()?;
        let pass = || {
            let catalog = Catalog::open(cache.path())?;
            analyze(runtime, &catalog, &found, &options)
        };
        let (time, summary) = timed(pass)?;
        ensure!(
            summary.scanned == FILES,
            "{} files were read",
            summary.scanned
        );
        let (again, _) = timed(pass)?;
        if run > 0 {
            fresh.push(time);
            known.push(again);
        }
    }
    let time = median(&fresh);
    let mut grid = Bars::default();
    grid.check(
        &format!("footers of {FILES} files"),
        spread(&fresh),
        "1 s",
        time < Duration::from_secs(1),
    );
    grid.note("the same from the cache", spread(&known));
    Ok(grid.print())
}

fn open(runtime: &Runtime, folder: &Path) -> Result<bool> {
    let cache = tempfile::tempdir()?;
    let found = runtime.block_on(tables_of(folder))?;
    let filling = Catalog::open(cache.path())?;
    let summary = analyze(runtime, &filling, &found, &options(Pass::Scan))?;
    let (mut opening, mut merging) = (Vec::new(), Vec::new());
    for run in 0..=20 {
        let (time, catalog) = timed(|| {
            let catalog = Catalog::open(cache.path())?;
            let listed = runtime.block_on(tables_of(folder))?;
            let summary = analyze(runtime, &catalog, &listed, &options(Pass::Footer))?;
            ensure!(summary.scanned == 0, "{} files were read", summary.scanned);
            Ok(catalog)
        })?;
        let (merged, _) = timed(|| Ok(catalog.snapshot().tables()))?;
        if run > 0 {
            opening.push(time);
            merging.push(merged);
        }
    }
    let limit = Budget::default().limit(summary.bytes) as f64 / 1e6;
    let size = filling.cache_bytes() as f64 / 1e6;
    let data = summary.bytes as f64 / 1e6;
    let mut grid = Bars::default();
    let bar = Duration::from_millis(20);
    grid.check(
        &format!("opening a catalog of {} tables", found.len()),
        spread(&opening),
        "20 ms",
        median(&opening) < bar,
    );
    grid.note("merging the statistics of each", spread(&merging));
    grid.check(
        "size of the cache",
        format!("{size:.1} MB for {data:.0} MB of data"),
        &format!("{limit:.1} MB"),
        size <= limit,
    );
    Ok(grid.print())
}

fn options(pass: Pass) -> AnalyzeOptions {
    AnalyzeOptions {
        pass,
        concurrency: THREADS,
        ..AnalyzeOptions::default()
    }
}

fn analyze(
    runtime: &Runtime,
    catalog: &Catalog,
    tables: &[TableFiles],
    options: &AnalyzeOptions,
) -> Result<AnalyzeSummary> {
    Ok(runtime.block_on(catalog.analyze_tables(tables, options, &()))?)
}

/// A session that knows one table of a folder.
async fn session(folder: &Path, table: &str) -> Result<SessionContext> {
    let config = SessionConfig::new().with_target_partitions(THREADS);
    let context = SessionContext::new_with_config(config);
    let path = folder.canonicalize()?.join(table);
    let path = if path.is_dir() {
        path
    } else {
        path.with_file_name(format!("{table}.parquet"))
    };
    let path = path.to_str().context("paths are text")?;
    let name = datafusion::common::TableReference::bare(table);
    context
        .register_parquet(name, path, ParquetReadOptions::default())
        .await?;
    Ok(context)
}

/// Makes TPC-H's `lineitem` at a scale, in so many files.
fn make_lines(scale: f64, files: usize) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let table = folder.path().join("lineitem");
    fs::create_dir(&table)?;
    let next = AtomicI32::new(1);
    let count = i32::try_from(files)?;
    let work = || -> Result<()> {
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part > count {
                return Ok(());
            }
            let lines = LineItemArrow::new(LineItemGenerator::new(scale, part, count));
            write(&table.join(format!("{part:04}.parquet")), lines)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join())
            .try_for_each(|ended| ended.unwrap_or_else(|_| bail!("the generator broke down")))
    })?;
    Ok(folder)
}

fn write(path: &PathBuf, reader: impl RecordBatchReader) -> Result<()> {
    let mut writer = ArrowWriter::try_new(File::create(path)?, reader.schema(), None)?;
    for batch in reader {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let started = Instant::now();
    let result = work()?;
    Ok((started.elapsed(), result))
}

/// What all threads of this process have used: unlike time, it is about the same on a busy machine.
fn cpu_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold anything; the two numbers are the 12th and 13th after it, in hundredths of a second.
    let after = stat.rsplit_once(')').context("no process name")?.1;
    let ticks = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>);
    Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The median with the least and the greatest.
fn spread(times: &[Duration]) -> String {
    let text = |time: Option<&Duration>| {
        let time = time.copied().unwrap_or_default();
        format!("{:.1}", time.as_secs_f64() * 1e3)
    };
    let (least, most) = (text(times.iter().min()), text(times.iter().max()));
    format!("{} ms ({least} to {most})", text(Some(&median(times))))
}

/// A table of what was measured, with bars where there are some.
#[derive(Default)]
struct Bars {
    rows: Vec<Vec<String>>,
    missed: bool,
}

impl Bars {
    fn note(&mut self, what: &str, found: String) {
        self.rows
            .push(vec![what.to_owned(), found, String::new(), String::new()]);
    }

    fn check(&mut self, what: &str, found: String, bar: &str, kept: bool) {
        self.missed |= !kept;
        let verdict = if kept { "kept" } else { "missed" };
        self.rows.push(vec![
            what.to_owned(),
            found,
            bar.to_owned(),
            verdict.to_owned(),
        ]);
    }

    /// Prints all; the result is whether all bars are kept.
    fn print(self) -> bool {
        print_table(&["", "measured", "bar", ""], self.rows);
        !self.missed
    }
}

fn print_table(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table
        .load_preset(UTF8_HORIZONTAL_ONLY)
        .set_header(header)
        .add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    // Lines around the header, none between rows.
    table.remove_style(TableComponent::HorizontalLines);
    table.remove_style(TableComponent::MiddleIntersections);
    println!(
        "{}",
        table
            .lines()
            .map(|line| line.trim_end().to_owned() + "\n")
            .collect::<String>()
    );
}
