//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Cost-based join ordering for Apache DataFusion, and the workbench to study it with.
#[derive(Debug, Parser)]
#[command(name = "joinwright", version)]
pub(crate) struct Cli {
    /// Log to standard error; twice for more. RUST_LOG takes precedence.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every query of a suite under every arm, check that all return the same rows, and compare times.
    Bench(BenchArgs),
    /// Read the tables of a folder into the statistics cache.
    Analyze(AnalyzeArgs),
    /// Show what is known about the tables of a folder.
    Stats(StatsArgs),
    /// Run SQL over a folder of Parquet tables.
    Sql(SqlArgs),
    /// Show the join order of each region of a suite's queries, without running them.
    Plan(PlanArgs),
    /// Show why a query is planned as it is.
    Explain(ExplainArgs),
    /// Compare the estimates of sub-plans with their true rows.
    Estimate(EstimateArgs),
    /// Count the rows of every connected sub-plan of a suite's queries.
    Truth(TruthArgs),
    /// Write the report of a run as one HTML file.
    Report(ReportArgs),
    /// Compare two runs: what got faster or slower, other plans, other estimates. Exits with 1 on a regression.
    Compare(CompareArgs),
    /// Make a suite of the published CSV files of a benchmark: Parquet tables with the right types and keys.
    Import(ImportArgs),
    /// Search alone: join orders of made graphs with random rows.
    Search(SearchArgs),
    /// Fit the constants of the cost model `hashjoin` and of scans to this machine.
    Calibrate(CalibrateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SuiteArgs {
    /// `tpch`, `tpcds`, or a folder: with suite.toml, or with Parquet files in it, in parquet/ or in data/, and SQL files in queries/.
    #[arg(value_name = "SUITE")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Scale factor of the data to be made.
    #[arg(long, default_value_t = 0.1)]
    pub(crate) scale: f64,
    /// The folder of the queries, one a file, instead of the suite's own.
    #[arg(long, value_name = "DIR")]
    pub(crate) queries: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// The folder of the statistics cache [default: .joinwright]
    #[arg(long = "cache", value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// `tpch`, `tpcds`, or a folder: with suite.toml, or with Parquet files in it, in parquet/ or in data/, and SQL files in queries/;
    /// several run one after the other.
    #[arg(value_name = "SUITE", required = true)]
    pub(crate) suites: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// `default`, `default+stats`, `literal`, `joinwright`, or parts such as `estimator=textbook,enumerator=goo`; may be
    /// repeated [default: default joinwright]
    #[arg(long = "arm", value_name = "ARM")]
    pub(crate) arms: Vec<String>,
    /// A TOML file with more arms: `[[arm]]` with `name` and `parts`, and a `[matrix]` of lists `estimator`, `enumerator` and `cost`, of
    /// which every combination is an arm
    #[arg(long = "arms", value_name = "FILE")]
    pub(crate) arms_file: Option<PathBuf>,
    /// Another system over the same Parquet files, as one more arm: `duckdb`, by its Python package, or `postgres=URL`, which loads them
    /// into a schema of its own; may be repeated. One that is not there is skipped
    #[arg(long = "peer", value_name = "PEER")]
    pub(crate) peers: Vec<String>,
    /// The queries to run, separated by commas [default: all]
    #[arg(long = "query", value_name = "QUERY", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Measured runs of each query under each arm.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) runs: u32,
    /// Runs before those.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) warmup: u32,
    /// Drops what the system keeps of files in memory before each sample, where that is permitted; without warm-up
    #[arg(long, conflicts_with = "warmup")]
    pub(crate) cold: bool,
    /// Seconds for one sample. What takes longer is ended, is a row with this time, which is a lower bound, and is not tried again.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) timeout: f64,
    /// Threads and partitions [default: all cores]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Shuffles the order of the queries, and of the arms of each [default: in their order; each round starts with another arm]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// The folder for the results, of several suites that of their folders SUITE-SCALE [default: results/DATE-SUITE-SCALE]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Goes on with a run that was interrupted or killed, the one in the folder of `--out` or the last one of the same suite, arms and
    /// settings: no sample that is recorded is taken again, and of a finished run nothing is left to be done. Without such a run, starts one.
    #[arg(long)]
    pub(crate) resume: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AnalyzeArgs {
    /// A folder of TABLE.parquet and TABLE/*.parquet, or a suite, which has such a folder and may declare keys.
    pub(crate) dir: PathBuf,
    /// Read every file anew, whatever the cache holds.
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Columns that joins use, beside those whose names and values tell; separated by commas, may be repeated.
    #[arg(long = "keys", value_name = "TABLE.COLUMN", value_delimiter = ',')]
    pub(crate) keys: Vec<String>,
    /// The size that the statistics may have, in percent of the data; what exceeds it is dropped
    /// [default: 12, less beyond a gigabyte of data, and 2 MiB at least]
    #[arg(long, value_name = "PERCENT")]
    pub(crate) budget: Option<f64>,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// A folder of TABLE.parquet and TABLE/*.parquet, or a suite, which has such a folder.
    pub(crate) dir: PathBuf,
    /// A table, or one of its columns [default: all tables]
    #[arg(value_name = "TABLE[.COLUMN]")]
    pub(crate) table: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// A folder of TABLE.parquet and TABLE/*.parquet, or a suite, which has such a folder.
    pub(crate) dir: PathBuf,
    /// The SQL, one or several statements [default: standard input]
    #[arg(
        short = 'c',
        allow_hyphen_values = true,
        long = "command",
        value_name = "SQL",
        conflicts_with = "file"
    )]
    pub(crate) sql: Option<String>,
    /// A file of SQL.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// What plans the queries.
    #[arg(long, default_value = "joinwright")]
    pub(crate) arm: String,
    /// How to print rows.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Columns for a terminal.
    Table,
    /// Comma-separated, with a header.
    Csv,
    /// One array of objects for each statement.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
    /// The queries to plan, separated by commas [default: all]
    #[arg(long = "query", value_name = "QUERY", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// What plans the queries; may be repeated [default: joinwright]
    #[arg(long = "arm", value_name = "ARM")]
    pub(crate) arms: Vec<String>,
    /// One JSON object a line and region.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
    /// The name of a query of the suite.
    #[arg(required_unless_present = "sql")]
    pub(crate) query: Option<String>,
    /// A query of your own over the suite's data.
    #[arg(long, conflicts_with = "query")]
    pub(crate) sql: Option<String>,
    /// What plans the query.
    #[arg(long, default_value = "joinwright")]
    pub(crate) arm: String,
    /// Runs the query, once, and shows the rows that each operator returned beside those expected.
    #[arg(long)]
    pub(crate) analyze: bool,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub(crate) format: ExplainFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    /// For a terminal.
    Text,
    /// All of it as one document.
    Json,
    /// The plan as a Mermaid flowchart.
    Mermaid,
    /// The plan as a graph for Graphviz.
    Dot,
    /// One page for a browser, which needs nothing else.
    Html,
}

#[derive(Debug, Args)]
pub(crate) struct EstimateArgs {
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
    /// The queries to look at, separated by commas [default: all]
    #[arg(long = "query", value_name = "QUERY", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// What estimates; may be repeated [default: estimator=joinwright]
    #[arg(long = "arm", value_name = "ARM")]
    pub(crate) arms: Vec<String>,
    /// Another system over the same tables, `duckdb` or `postgres=URL`, that loads them and is asked for its estimates of the same
    /// sub-plans; may be repeated
    #[arg(long = "peer", value_name = "PEER", conflicts_with = "joins")]
    pub(crate) peers: Vec<String>,
    /// A file of `query,sub_plan,true_rows`; a sub-plan is the aliases of its relations, sorted, joined by `+`
    /// [default: the suite's truth; without one as `--joins`]
    #[arg(long, value_name = "FILE")]
    pub(crate) subplans: Option<PathBuf>,
    /// Instead of listed sub-plans the joins of DataFusion's own plans, of all kinds, which are counted by running them.
    #[arg(long, conflicts_with = "subplans")]
    pub(crate) joins: bool,
    /// With the effort that planning can afford; otherwise estimators take the time that they need.
    #[arg(long)]
    pub(crate) as_planned: bool,
    /// Where to write `query,sub_plan,true_rows,est_rows,upper_bound,source`, with `arm` as the last column.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TruthArgs {
    #[command(flatten)]
    pub(crate) suite: SuiteArgs,
    /// The queries to look at, separated by commas [default: all]
    #[arg(long = "query", value_name = "QUERY", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Where to write `query,sub_plan,true_rows,n_rels,edges`; what the file has already is not counted again.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Rows that may be joined to count one sub-plan; beyond it the number is left empty.
    #[arg(long, value_name = "ROWS", default_value_t = 20_000_000_000)]
    pub(crate) cap: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A folder that `bench` wrote, of one suite or of several, which also have an index then.
    pub(crate) run: PathBuf,
    /// Where to write the report [default: report.html in the folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// A regression is a query that takes longer by more than the tolerance, and by at least a millisecond, with 95 % confidence (the whole
/// bootstrap interval of the ratio of medians lies above), an arm whose total time does, or a query that no longer
/// succeeds. Where both runs have the arm `default` first, under the same DataFusion, its times tell how fast the machine was: then the
/// ratio over that of `default` has to lie above as well. Where `default` itself is slower beyond noise and tolerance, in total or on average,
/// the machine or the engine drifted: that is said, and is a regression, unless `--relative` is given. Folders of several suites are
/// compared suite by suite.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A folder that `bench` wrote: what was before.
    pub(crate) before: PathBuf,
    /// Another one: what is now.
    pub(crate) after: PathBuf,
    /// How much slower is no regression yet, in percent: two runs are not interleaved, and machines drift.
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    pub(crate) tolerance: f64,
    /// A slower arm `default` is said and no more: all others are judged beside it, as on machines that are shared.
    #[arg(long)]
    pub(crate) relative: bool,
    /// One JSON object, with all queries.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Files are called TABLE.csv; a header may be there or not, empty fields and `\N` are NULL unless they are in quotes, and `""` is a text without any character. Tables without a file are left out, and named.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Whose files they are.
    #[arg(value_enum)]
    pub(crate) benchmark: Published,
    /// The folder of the CSV files.
    #[arg(long, value_name = "DIR")]
    pub(crate) csv: PathBuf,
    /// The folder for `suite.toml` and the tables, `parquet/TABLE.parquet`; tables that are there are replaced
    /// [default: that of the CSV files with `-parquet` behind its name, beside it]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Published {
    /// STATS, a Stack Exchange site: 8 tables.
    Stats,
    /// The Join Order Benchmark, the Internet Movie Database: 21 tables.
    Job,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// `chain`, `cycle`, `star`, `clique`, `grid`, `tree` or `snowflake`.
    #[arg(long)]
    pub(crate) shape: String,
    /// Relations of the graph.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=5_000))]
    pub(crate) relations: u64,
    /// What decides rows and selectivities; several separated by commas, may be repeated.
    #[arg(long = "seed", default_value = "0", value_delimiter = ',')]
    pub(crate) seeds: Vec<u64>,
    /// The search, such as `dpccp` or `goo`; may be repeated [default: that of the joinwright arm]
    #[arg(long = "enumerator", value_name = "NAME")]
    pub(crate) enumerators: Vec<String>,
    /// The cost model.
    #[arg(long, value_name = "NAME", default_value = "cout")]
    pub(crate) cost: String,
    /// The most csg-cmp-pairs to look at [default: that of the joinwright arm]
    #[arg(long, value_name = "PAIRS")]
    pub(crate) budget: Option<u64>,
    /// One JSON object a line and search.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// The folder for `constants.json` and the measurements `joins.csv` and `scans.csv`.
    #[arg(long, value_name = "DIR", default_value = "calibration")]
    pub(crate) out: PathBuf,
    /// Rows of the largest table.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    pub(crate) rows: u64,
    /// Runs of each query; the shortest counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) runs: u32,
    /// Threads and partitions of the queries that do not run on one [default: all cores]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
