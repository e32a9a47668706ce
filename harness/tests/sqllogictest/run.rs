//! Runs one test file, record by record, and keeps what each record came to.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Result, anyhow};
use datafusion_sqllogictest::{
    DFColumnType, TestContext, df_value_validator, setup_scratch_dir, value_normalizer,
};
use sqllogictest::{
    Record, RecordOutput, Runner, TestErrorKind, parse_file, strict_column_validator,
};

use crate::engine::{Engine, Mode};

/// What a record came to. Records that run nothing (comments, settings of the runner) have none.
pub(crate) enum Outcome {
    Passed,
    Failed(Box<TestErrorKind>),
}

/// A record that ran.
pub(crate) struct RecordRun {
    /// Place in the file after includes: the same in every mode.
    pub(crate) index: usize,
    /// Where the record stands, for people.
    pub(crate) place: String,
    pub(crate) sql: String,
    pub(crate) outcome: Outcome,
}

/// A file that ran.
#[derive(Default)]
pub(crate) struct FileRun {
    pub(crate) records: Vec<RecordRun>,
    /// Parquet tables with statistics in the catalog.
    pub(crate) tables: usize,
    /// Join regions that were reordered.
    pub(crate) reordered: usize,
}

/// Runs `file`, relative to `test_files`. `None` where DataFusion's runner skips the file, too.
///
/// # Errors
/// When the file cannot be parsed, or a part of the engine panics.
pub(crate) async fn run_file(
    test_files: &Path,
    file: &Path,
    mode: Mode,
) -> Result<Option<FileRun>> {
    let (path, file) = (test_files.join(file), file.to_path_buf());
    // A task of its own: a panic ends this file, not the run.
    tokio::spawn(run_records(path, file, mode))
        .await
        .unwrap_or_else(|panic| Err(anyhow!("panicked: {panic}")))
}

async fn run_records(path: PathBuf, file: PathBuf, mode: Mode) -> Result<Option<FileRun>> {
    let records = parse_file::<DFColumnType>(&path)?;
    let Some(context) = TestContext::try_new_for_test_file(&file).await else {
        return Ok(None);
    };
    setup_scratch_dir(&file)?;
    let rule = mode.install(context.session_ctx())?;

    let mut runner = Runner::new(|| async {
        Ok(Engine::new(
            context.session_ctx().clone(),
            file.clone(),
            rule.clone(),
        ))
    });
    runner.add_label("Datafusion");
    runner.with_column_validator(strict_column_validator);
    runner.with_normalizer(value_normalizer);
    runner.with_validator(df_value_validator);

    let mut runs = Vec::new();
    for (index, record) in records.into_iter().enumerate() {
        let (sql, place) = match &record {
            Record::Halt { .. } => break,
            Record::Statement { sql, loc, .. }
            | Record::Query { sql, loc, .. }
            | Record::Let { sql, loc, .. } => (sql.clone(), loc.to_string()),
            Record::System { command, loc, .. } => (command.clone(), loc.to_string()),
            _ => (String::new(), String::new()),
        };
        let outcome = match runner.run_async(record).await {
            Ok(RecordOutput::Nothing) => continue,
            Ok(_) => Outcome::Passed,
            Err(error) => Outcome::Failed(Box::new(error.kind())),
        };
        runs.push(RecordRun {
            index,
            place,
            sql,
            outcome,
        });
    }
    runner.shutdown_async().await;
    let (tables, reordered) = rule.map_or((0, 0), |rule| {
        let tables = rule.catalog.snapshot().tables().len();
        (tables, rule.reordered.load(Relaxed))
    });
    Ok(Some(FileRun {
        records: runs,
        tables,
        reordered,
    }))
}
