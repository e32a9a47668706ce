//! Fitting the constants of the cost model `hashjoin` and of scans to the times of small queries on this machine.
//!
//! Queries over made tables are planned by DataFusion as it is, with the settings that lead to the operator in question, and
//! run several times; the shortest time counts, since what disturbs a run only adds to it. The steps that the
//! models count are taken from the plan that ran and from the rows it returned, so that a fit stands on what the rules see.

mod joins;
mod made;
mod scans;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use joinwright_optimizer::CostConstants;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::task::JoinSet;

pub(crate) use joins::JoinSample;
pub(crate) use scans::ScanSample;

use crate::interrupt::{Interrupt, Interrupted};
use crate::machine::{Machine, Versions};

/// The files of a calibration's folder.
pub(crate) const CONSTANTS: &str = "constants.json";
const JOINS: &str = "joins.csv";
const SCANS: &str = "scans.csv";

/// How far predictions are from measured times, as factors of at least one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FitError {
    /// How many times were measured.
    pub(crate) samples: usize,
    pub(crate) median: f64,
    pub(crate) p90: f64,
    pub(crate) max: f64,
}

impl FitError {
    /// Of pairs of predicted and measured times.
    fn of(times: impl Iterator<Item = (f64, f64)>) -> Self {
        let factor = |(predicted, measured): (f64, f64)| {
            let ratio = (predicted / measured).max(1e-6);
            ratio.max(1.0 / ratio)
        };
        let mut factors: Vec<f64> = times.map(factor).collect();
        factors.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = factors.len().saturating_sub(1);
            factors
                .get((last as f64 * share).round() as usize)
                .copied()
                .unwrap_or(1.0)
        };
        Self {
            samples: factors.len(),
            median: at(0.5),
            p90: at(0.9),
            max: at(1.0),
        }
    }
}

/// `constants.json`: the constants and where they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    pub(crate) constants: CostConstants,
    pub(crate) joins: FitError,
    pub(crate) scans: FitError,
    pub(crate) versions: Versions,
    pub(crate) machine: Machine,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples {
    pub(crate) joins: Vec<JoinSample>,
    pub(crate) scans: Vec<ScanSample>,
}

impl Samples {
    /// Runs all queries, on one thread and on `threads`, with `rows` in the largest tables, and tells after each how many of how
    /// many are done.
    pub(crate) async fn measure(
        threads: usize,
        rows: usize,
        runs: usize,
        interrupt: &Interrupt,
        done: &dyn Fn(usize, usize),
    ) -> Result<Self> {
        let joins = joins::cases(threads, rows);
        let scans = scans::cases(rows);
        let all = joins.len() + scans.len();
        let mut samples = Self::default();
        for (number, case) in joins.iter().enumerate() {
            samples.joins.push(case.measure(runs, interrupt).await?);
            done(number + 1, all);
        }
        let folder = tempfile::tempdir().context("cannot make a folder for Parquet files")?;
        let bytes = scans::write_table(folder.path(), rows)?;
        for (number, case) in scans.iter().enumerate() {
            let sample = case
                .measure(folder.path(), rows, bytes, runs, interrupt)
                .await?;
            samples.scans.push(sample);
            done(joins.len() + number + 1, all);
        }
        Ok(samples)
    }

    /// The constants that fit best, and how well.
    pub(crate) fn fit(&self) -> (CostConstants, FitError, FitError) {
        let hash_join = joins::fit(&self.joins);
        let scan = scans::fit(&self.scans, hash_join);
        let constants = CostConstants { hash_join, scan };
        let joins = self.joins.iter().map(|s| (s.predicted(hash_join), s.nanos));
        let scans = self.scans.iter();
        let scans = scans.map(|s| (s.predicted(scan, hash_join), s.nanos));
        (constants, FitError::of(joins), FitError::of(scans))
    }

    /// Writes the measurements as tables.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        write_csv(&folder.join(JOINS), &self.joins)?;
        write_csv(&folder.join(SCANS), &self.scans)
    }

    /// Reads the measurements of a calibration.
    #[cfg(test)]
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        Ok(Self {
            joins: read_csv(&folder.join(JOINS))?,
            scans: read_csv(&folder.join(SCANS))?,
        })
    }
}

/// The constants of a file that `calibrate` wrote.
pub(crate) fn read_constants(path: &Path) -> Result<CostConstants> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let calibration: Calibration = serde_json::from_str(&text)
        .with_context(|| format!("{} holds no constants", path.display()))?;
    let constants = calibration.constants;
    anyhow::ensure!(
        constants.is_sound(),
        "{} holds constants that are no times",
        path.display()
    );
    Ok(constants)
}

fn write_csv<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let writing = || format!("cannot write {}", path.display());
    let mut csv = csv::Writer::from_path(path).with_context(writing)?;
    for row in rows {
        csv.serialize(row).with_context(writing)?;
    }
    csv.flush().with_context(writing)
}

#[cfg(test)]
fn read_csv<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>> {
    let mut csv = csv::Reader::from_path(path)?;
    Ok(csv.deserialize().collect::<Result<_, _>>()?)
}

/// One query run several times.
struct Timed {
    /// The last plan that ran.
    plan: Arc<dyn ExecutionPlan>,
    /// The shortest time.
    nanos: f64,
    /// Rows returned.
    rows: u64,
}

/// Runs a query several times; planning does not count.
async fn time(
    context: &SessionContext,
    sql: &str,
    runs: usize,
    interrupt: &Interrupt,
) -> Result<Timed> {
    let mut best: Option<Timed> = None;
    for _ in 0..runs.max(1) {
        if interrupt.is_set() {
            return Err(Interrupted.into());
        }
        let plan = context.sql(sql).await?.create_physical_plan().await?;
        let (rows, time) = drain(Arc::clone(&plan), context).await?;
        let nanos = time.as_nanos() as f64;
        if best.as_ref().is_none_or(|best| nanos < best.nanos) {
            best = Some(Timed { plan, nanos, rows });
        }
    }
    best.context("no run")
}

/// Runs a plan to its end, all partitions at once, and keeps none of its rows.
async fn drain(plan: Arc<dyn ExecutionPlan>, context: &SessionContext) -> Result<(u64, Duration)> {
    let started = Instant::now();
    let mut partitions = JoinSet::new();
    for mut stream in execute_stream_partitioned(plan, context.task_ctx())? {
        partitions.spawn(async move {
            let mut rows = 0;
            while let Some(batch) = stream.next().await {
                rows += batch?.num_rows() as u64;
            }
            anyhow::Ok(rows)
        });
    }
    let mut rows = 0;
    while let Some(partition) = partitions.join_next().await {
        rows += partition.context("a partition broke down")??;
    }
    Ok((rows, started.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn committed() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../calibration")
    }

    /// Every constant of the first within the tolerance of that of the second, relative to it.
    #[track_caller]
    fn assert_close(found: &CostConstants, expected: &CostConstants, tolerance: f64) {
        let [found, expected] =
            [found, expected].map(|constants| serde_json::to_value(constants).unwrap());
        for (model, constants) in expected.as_object().unwrap() {
            for (name, constant) in constants.as_object().unwrap() {
                let number = |value: &Value| value.as_f64().unwrap();
                let (found, constant) = (number(&found[model][name]), number(constant));
                assert!(
                    (found - constant).abs() <= tolerance * constant,
                    "{model}.{name} is {found}, not {constant}"
                );
            }
        }
    }

    /// Whoever measures again ships what was measured.
    #[test]
    fn the_shipped_constants_are_the_fit_of_the_committed_measurements() {
        let samples = Samples::read(&committed()).unwrap();
        let (constants, joins, scans) = samples.fit();
        assert_close(&CostConstants::default(), &constants, 0.01);
        assert_close(
            &read_constants(&committed().join(CONSTANTS)).unwrap(),
            &constants,
            1e-4,
        );
        assert!(joins.median < 1.35 && joins.p90 < 2.0, "{joins:?}");
        assert!(scans.median < 1.45 && scans.p90 < 2.2, "{scans:?}");
    }

    #[test]
    fn samples_survive_their_files() {
        let samples = Samples::read(&committed()).unwrap();
        assert!(samples.joins.len() > 200 && samples.scans.len() > 100);
        let folder = tempfile::tempdir().unwrap();
        samples.write(folder.path()).unwrap();
        assert_eq!(Samples::read(folder.path()).unwrap(), samples);
    }

    #[test]
    fn constants_that_are_no_times_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my constants.json");
        let text = fs::read_to_string(committed().join(CONSTANTS)).unwrap();
        let sound: Value = serde_json::from_str(&text).unwrap();
        for (model, name, value) in [
            ("hash_join", "build_row", -1.0),
            ("hash_join", "cache_bytes", 0.0),
            ("hash_join", "further_thread", 1.5),
            ("scan", "lookup", -0.1),
        ] {
            let mut broken = sound.clone();
            broken["constants"][model][name] = value.into();
            fs::write(&path, broken.to_string()).unwrap();
            let error = read_constants(&path).unwrap_err().to_string();
            assert!(error.contains("my constants.json"), "{error}");
        }
        fs::write(&path, "{}").unwrap();
        assert!(read_constants(&path).is_err());
        assert!(read_constants(folder.path()).is_err());
    }

    #[test]
    fn errors_are_factors() {
        let times = [(1.0, 2.0), (3.0, 3.0), (8.0, 2.0)];
        let error = FitError::of(times.into_iter());
        assert_eq!((error.samples, error.median, error.max), (3, 2.0, 4.0));
        assert_eq!(FitError::of([].into_iter()).max, 1.0);
    }
}
