//! joinwright, the workbench: makes data, collects statistics, and compares join orders by plan and by time.
//!
//! The binary is [`run`] with the parts that come with the project. A crate of your own gets the same command line with
//! your estimator, enumerator or cost model in it:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     let registry = joinwright::Registry::default();
//!     // Add parts of your own here; an arm then finds them by name.
//!     joinwright::run(registry)
//! }
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `cli`, `commands` | the command line, one file a command |
//! | `suite`, `query_files`, `tables`, `data` | queries and tables: found in folders, or made |
//! | `import` | suites of published CSV files |
//! | `arm`, `arms_file`, `session` | what plans the queries, and its DataFusion session |
//! | `injection` | estimators with a file behind them, and their sessions |
//! | `statistics` | filling the catalog |
//! | `schedule`, `bench`, `measure`, `cold` | the order of samples; one query under all arms; one sample; cold runs |
//! | `peers` | other systems over the same files |
//! | `rows`, `compare`, `agreement`, `shape` | results; whether two are the same; what a query promises of its own |
//! | `fingerprint` | whether two plans are the same |
//! | `calibration` | what the steps of joins and scans cost on this machine |
//! | `operators`, `matching`, `details` | the plan that ran: what its operators counted, and the estimates that belong to them |
//! | `alternatives`, `explanation` | the join trees that a search did not take; what `explain` says of a query |
//! | `truth`, `quality`, `plan_errors` | true rows of sub-plans, read and counted; how far estimates are from them; how good the plans of a run are by them |
//! | `q_errors`, `phases`, `arm_metrics` | expected rows of joins against counted ones; where planning time goes; what an arm comes to over all queries |
//! | `record`, `resume`, `several`, `machine` | what a run leaves behind, how it goes on, runs of several suites |
//! | `query_summary`, `summary` | what it adds up to, by query and in all |
//! | `bootstrap`, `correlation`, `report`, `comparison` | intervals of ratios; costs against times; what a report says of a run; what differs between two |
//! | `render` | tables, READMEs, explanations, reports |
//!
//! Measuring, recording and rendering are apart: what is rendered can be made again from what was recorded.

mod agreement;
mod alternatives;
mod arm;
mod arm_metrics;
mod arms_file;
mod bench;
mod bootstrap;
mod calibration;
mod cli;
mod cold;
mod commands;
mod comparability;
mod compare;
mod comparison;
mod correlation;
mod data;
mod details;
mod explanation;
mod fingerprint;
mod import;
mod injection;
mod interrupt;
mod machine;
mod matching;
mod measure;
mod operators;
mod peers;
mod phases;
mod plan_errors;
mod q_errors;
mod quality;
mod query_files;
mod query_summary;
mod record;
mod render;
mod report;
mod resume;
mod rows;
mod schedule;
mod session;
mod several;
mod shape;
mod statistics;
mod suite;
mod summary;
mod tables;
mod truth;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
pub use joinwright_optimizer::Registry;

use crate::interrupt::Interrupted;

/// Rows differ between arms, or an arm fails where DataFusion does not.
const EXIT_DIFFERENT: u8 = 1;
/// The input or the arguments are at fault.
const EXIT_BAD_INPUT: u8 = 2;
/// Stopped by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Runs the command line of this process with the parts of `registry`.
///
/// The exit status is 0 if all went well, 1 if a benchmark found different rows, 2 for bad input, with one line on
/// standard error that names it, and 130 after Ctrl-C.
pub fn run(registry: Registry) -> ExitCode {
    let cli = cli::Cli::parse();
    init_logging(cli.verbose);
    match commands::run(cli.command, &registry) {
        Ok(code) => ExitCode::from(code),
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            complain(&one_line(&error));
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(error) => {
            complain(&format!("error: {}", one_line(&error)));
            ExitCode::from(EXIT_BAD_INPUT)
        }
    }
}

/// Writes a line to standard error; nothing is left to be done if even that is closed.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn init_logging(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // A program that calls `run` may have its own logging.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .try_init();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// An error with its causes in one line; a cause that the text before it already tells is left out.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The tutorials, whose code is compiled with the tests.
#[cfg(doctest)]
mod tutorials {
    #[doc = include_str!("../../docs/own-estimator.md")]
    struct OwnEstimator;
    #[doc = include_str!("../../docs/use-in-your-application.md")]
    struct UseInYourApplication;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line() {
        let error = anyhow::anyhow!("no column x\n  in table").context("query q1");
        assert_eq!(one_line(&error), "query q1: no column x in table");
        let told = anyhow::anyhow!("disk full").context("cannot write: disk full");
        assert_eq!(one_line(&told), "cannot write: disk full");
    }
}
