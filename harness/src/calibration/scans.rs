//! Scans of a Parquet file, with filters above them and with filters while they decode.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::datatypes::DataType;
use datafusion::datasource::MemTable;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use joinwright_optimizer::cost::{
    HashJoin, HashJoinConstants, JoinMode, LateOrder, Observed, SCAN_STEPS, ScanConstants,
    ScanFilter, ScanWork, Side, fit as fit_steps, value_width,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use super::made::{Keys, Payload, batches, schema};
use super::time;
use crate::interrupt::Interrupt;

/// The columns of the file.
const COLUMNS: Payload = Payload {
    numbers: 8,
    words: 4,
    texts: 4,
};
/// Bytes of an integer.
const NUMBER: f64 = 8.0;
/// Values that a column of integers has.
const VALUES: f64 = 1_000.0;

/// One scan and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScanSample {
    pub(crate) rows: f64,
    /// Columns of integers, of text of few values and of other text that are read.
    pub(crate) numbers: usize,
    pub(crate) words: usize,
    pub(crate) texts: usize,
    /// Bytes of a value of text in the file, before compression.
    pub(crate) word_bytes: f64,
    pub(crate) text_bytes: f64,
    /// Share of the rows that passes the predicate on the first integer, if there is one.
    pub(crate) predicate: Option<f64>,
    /// Rows of the build side whose keys are looked for, if there is one; each has one row in so many of the scan.
    pub(crate) build_rows: Option<f64>,
    /// Share of the scan's rows that it finds.
    pub(crate) found: Option<f64>,
    /// Whether filters decide what is decoded.
    pub(crate) late: bool,
    /// Rows returned.
    pub(crate) output_rows: f64,
    pub(crate) nanos: f64,
}

impl ScanSample {
    fn work(&self) -> ScanWork {
        let mut widths = vec![];
        // The key is read for a join only, and then first.
        widths.extend(self.build_rows.map(|_| NUMBER));
        widths.extend(vec![NUMBER; self.numbers]);
        widths.extend(vec![self.word_bytes; self.words]);
        widths.extend(vec![self.text_bytes; self.texts]);
        let filter = |column: usize| {
            move |keep| ScanFilter {
                columns: vec![column],
                keep,
                row_cost: 0.0,
            }
        };
        let first = usize::from(self.build_rows.is_some());
        ScanWork {
            rows: self.rows,
            widths,
            conjuncts: self.predicate.map(filter(first)).into_iter().collect(),
            keys: self.found.map(filter(0)).into_iter().collect(),
        }
    }

    /// What the join above takes, by its constants.
    fn join(&self, constants: HashJoinConstants) -> f64 {
        let Some(build_rows) = self.build_rows else {
            return 0.0;
        };
        let texts = (self.words + self.texts) as f64;
        let width = NUMBER * (1.0 + self.numbers as f64) + value_width(&DataType::Utf8View) * texts;
        let looked_up = match self.late {
            true => self.output_rows,
            false => self.rows * self.predicate.unwrap_or(1.0),
        };
        let side = |rows, width| Side { rows, width };
        HashJoin::new(constants, 1).join_time(
            JoinMode::Collect,
            side(build_rows, NUMBER),
            side(looked_up, width),
            side(self.output_rows, width + NUMBER),
        )
    }

    fn steps(&self) -> [f64; SCAN_STEPS] {
        match self.late {
            true => self.work().late(LateOrder::Written).0,
            false => self.work().plain(),
        }
    }

    /// What the model says it takes, in nanoseconds.
    pub(crate) fn predicted(&self, scan: ScanConstants, joins: HashJoinConstants) -> f64 {
        self.join(joins) + scan.time(&self.steps())
    }
}

/// A scan to be measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanCase {
    numbers: usize,
    words: usize,
    texts: usize,
    predicate: Option<f64>,
    found: Option<f64>,
    late: bool,
}

/// The scans of a calibration: how many columns, which filters, how many rows pass, all of it in both ways.
pub(super) fn cases(rows: usize) -> Vec<ScanCase> {
    let mut cases = vec![];
    if rows == 0 {
        return cases;
    }
    for (numbers, words, texts) in [
        (1, 0, 0),
        (4, 0, 0),
        (8, 0, 0),
        (1, 4, 0),
        (1, 0, 2),
        (1, 0, 4),
        (4, 4, 0),
        (8, 2, 2),
    ] {
        for late in [false, true] {
            for predicate in [None, Some(0.001), Some(0.05), Some(0.5), Some(0.95)] {
                for found in [None, Some(0.001), Some(0.05), Some(0.5), Some(1.0)] {
                    let filters = usize::from(predicate.is_some()) + usize::from(found.is_some());
                    // Both at once only where they are alike: the rest follows from either alone.
                    if filters == 2 && predicate != found || late && filters == 0 {
                        continue;
                    }
                    cases.push(ScanCase {
                        numbers,
                        words,
                        texts,
                        predicate,
                        found,
                        late,
                    });
                }
            }
        }
    }
    cases
}

/// Writes the file that all cases scan, and returns the bytes of a value of its words and texts, before compression.
pub(super) fn write_table(folder: &Path, rows: usize) -> Result<(f64, f64)> {
    let path = folder.join("t.parquet");
    let writing = || format!("cannot write {}", path.display());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some((rows / 4).max(1)))
        .build();
    let file = File::create(&path).with_context(writing)?;
    let schema = schema(COLUMNS);
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).with_context(writing)?;
    let keys = Keys::Drawn {
        domain: domain(rows),
    };
    for batch in batches(rows, keys, COLUMNS)? {
        writer.write(&batch).with_context(writing)?;
    }
    let metadata = writer.close().with_context(writing)?;
    let bytes = |column: &str| {
        let groups = metadata.row_groups().iter();
        let chunks = groups.flat_map(|group| group.columns());
        let named = chunks.filter(|chunk| chunk.column_path().string() == column);
        named
            .map(|chunk| chunk.uncompressed_size() as f64)
            .sum::<f64>()
            / rows.max(1) as f64
    };
    Ok((bytes("w0"), bytes("t0")))
}

/// Distinct keys of the file, each in about ten rows.
fn domain(rows: usize) -> u64 {
    (rows as u64 / 10).max(1)
}

impl ScanCase {
    pub(super) async fn measure(
        &self,
        folder: &Path,
        rows: usize,
        text_bytes: (f64, f64),
        runs: usize,
        interrupt: &Interrupt,
    ) -> Result<ScanSample> {
        let mut config = SessionConfig::new().with_target_partitions(1);
        let options = config.options_mut();
        options.execution.parquet.pushdown_filters = self.late;
        options.optimizer.join_reordering = false;
        let context = SessionContext::new_with_config(config);
        let file = folder.join("t.parquet");
        let file = file
            .to_str()
            .context("the temporary folder has an odd name")?;
        context
            .register_parquet("t", file, ParquetReadOptions::default())
            .await?;
        let build_rows = self
            .found
            .map(|found| (domain(rows) as f64 * found).round().max(1.0));
        let mut columns: Vec<String> = (0..self.numbers).map(|n| format!("t.n{n}")).collect();
        columns.extend((0..self.words).map(|n| format!("t.w{n}")));
        columns.extend((0..self.texts).map(|n| format!("t.t{n}")));
        let mut from = "t".to_owned();
        if let Some(build_rows) = build_rows {
            let keys = Keys::All {
                distinct: build_rows as u64,
            };
            // Spread over the domain, so that the bounds of the build side tell nothing.
            let none = Payload::default();
            let spread = domain(rows) as i64 / build_rows as i64;
            let table = MemTable::try_new(
                schema(none),
                vec![batches(build_rows as usize, keys, none)?],
            )?;
            context.register_table("keys", Arc::new(table))?;
            let spread = context
                .sql(&format!("SELECT k * {} AS k FROM keys", spread.max(1)))
                .await?;
            let spread_schema = Arc::new(spread.schema().as_arrow().clone());
            let spread = MemTable::try_new(spread_schema, vec![spread.collect().await?])?;
            context.register_table("b", Arc::new(spread))?;
            from = "b JOIN t ON b.k = t.k".to_owned();
            columns.insert(0, "t.k".to_owned());
        }
        let predicate = match self.predicate {
            Some(keep) => format!(" WHERE t.n0 < {}", (keep * VALUES).round()),
            None => String::new(),
        };
        let sql = format!("SELECT {} FROM {from}{predicate}", columns.join(", "));
        let timed = time(&context, &sql, runs, interrupt).await?;
        let passed = rows as f64 * self.predicate.unwrap_or(1.0);
        Ok(ScanSample {
            rows: rows as f64,
            numbers: self.numbers,
            words: self.words,
            texts: self.texts,
            word_bytes: text_bytes.0,
            text_bytes: text_bytes.1,
            predicate: self.predicate,
            build_rows,
            found: self
                .found
                .map(|_| (timed.rows as f64 / passed.max(1.0)).min(1.0)),
            late: self.late,
            output_rows: timed.rows as f64,
            nanos: timed.nanos,
        })
    }
}

/// The constants that fit best, given what joins cost.
pub(super) fn fit(samples: &[ScanSample], joins: HashJoinConstants) -> ScanConstants {
    let observed: Vec<Observed<SCAN_STEPS>> = samples
        .iter()
        .map(|sample| Observed {
            steps: sample.steps(),
            offset: sample.join(joins),
            time: sample.nanos,
        })
        .collect();
    match observed.is_empty() {
        true => ScanConstants::default(),
        false => ScanConstants::from_array(fit_steps(&observed).constants),
    }
}
