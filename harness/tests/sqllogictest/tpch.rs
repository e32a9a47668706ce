//! The answers to TPC-H at scale factor 0.1 that DataFusion ships, against our own files of the queries.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion_sqllogictest::DFColumnType;
use sqllogictest::{AsyncDB, DBOutput, QueryExpect, Record, parse_file};

use crate::engine::{Engine, Mode};
use crate::suite;

const TABLES: [&str; 8] = [
    "customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier",
];

/// Runs `queries/tpch` under a mode and compares the results to the answers.
pub(crate) async fn check_answers(data: &Path, mode: Mode) -> Result<()> {
    let context = SessionContext::new();
    let rule = mode.install(&context)?;
    for table in TABLES {
        let path = data.join(format!("{table}.parquet"));
        let path = path.to_str().context("a path in UTF-8")?;
        context
            .register_parquet(table, path, ParquetReadOptions::default())
            .await?;
    }
    let mut engine = Engine::new(context, "tpch.slt".into(), rule);
    let answers = suite::crate_folder()?.join("test_files/tpch/answers");
    let queries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../queries/tpch");
    for number in 1..=22 {
        let query = fs::read_to_string(queries.join(format!("q{number:02}.sql")))?;
        let (answer, limit) = answer(&answers.join(format!("q{number}.slt.part")))?;
        let rows = match engine.run(query.trim_end().trim_end_matches(';')).await? {
            DBOutput::Rows { rows, .. } => rows,
            _ => bail!("q{number} returned no rows"),
        };
        // Some answers are only the first rows: their query has a LIMIT of its own.
        let complete = limit.is_none_or(|limit| answer.len() < limit);
        if rows.len() < answer.len() || (complete && rows.len() > answer.len()) {
            bail!("q{number}: {} rows instead of {}", rows.len(), answer.len());
        }
        for (row, expected) in rows.iter().map(|row| row.join(" ")).zip(&answer) {
            if !agree(&row, expected) {
                bail!("q{number} under {mode:?}:\nexpected {expected}\n   found {row}");
            }
        }
    }
    Ok(())
}

/// The rows of an answer file, and the LIMIT of its query.
fn answer(path: &Path) -> Result<(Vec<String>, Option<usize>)> {
    for record in parse_file::<DFColumnType>(path)? {
        if let Record::Query { sql, expected, .. } = record
            && let QueryExpect::Results { results, .. } = expected
        {
            let sql = sql.trim_end().trim_end_matches(';');
            let last = sql.lines().next_back().unwrap_or_default();
            let limit = last.trim().strip_prefix("limit ");
            return Ok((results, limit.map(str::parse).transpose()?));
        }
    }
    bail!("{} has no query", path.display())
}

/// Whether two rows agree, numbers to the decimals that the answer has: its queries round, the specification's do not.
fn agree(row: &str, expected: &str) -> bool {
    let (mut words, mut expected) = (row.split_whitespace(), expected.split_whitespace());
    loop {
        match (words.next(), expected.next()) {
            (None, None) => return true,
            (Some(word), Some(expected)) if word == expected => {}
            (Some(word), Some(expected)) => {
                let (Ok(number), Ok(answer)) = (word.parse::<f64>(), expected.parse::<f64>())
                else {
                    return false;
                };
                let decimals = expected
                    .split_once('.')
                    .map_or(0, |(_, digits)| digits.len());
                let half_a_digit = 0.5 * 10f64.powi(-(decimals as i32));
                if (number - answer).abs() > half_a_digit + 1e-9 * answer.abs() {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

#[test]
fn rows_agree_to_the_answers_decimals() {
    assert!(agree("a 0.0289 7", "a 0.03 7"));
    assert!(!agree("a 0.0389 7", "a 0.03 7"));
    assert!(!agree("a 7", "b 7"));
    assert!(!agree("a 7 1", "a 7"));
    assert!(!agree("a 8", "a 7"));
}
