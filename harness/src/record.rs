//! What a run leaves behind: `run.json`, `raw.csv`, and the README made from these two.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::bench::{Done, QueryRun};
use crate::details::{QueryDetails, to_json};
use crate::machine::{Machine, Versions};
use crate::q_errors::worst_of;
use crate::query_summary::{QuerySummary, summarize};
use crate::render::{self, markdown};
use crate::report::Report;
use crate::suite::natural_order;

const RUN: &str = "run.json";
const RAW: &str = "raw.csv";
const README: &str = "README.md";
const REPORT: &str = "report.html";

/// A disk that cannot take this much cannot take a run either.
const PROBE_BYTES: usize = 256 * 1024;

/// How a sample ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    #[default]
    Ok,
    Error,
    Timeout,
    /// It ran, and returned other rows than it should.
    Wrong,
}

/// One row of `raw.csv`: one query run once under one arm. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) query: String,
    pub(crate) arm: String,
    /// Counted from 1, warm-ups and runs apart.
    pub(crate) run: u32,
    pub(crate) warmup: bool,
    pub(crate) status: Status,
    pub(crate) planning_ms: Option<f64>,
    pub(crate) execution_ms: Option<f64>,
    /// Of a timeout the limit: it would have taken as long at least.
    pub(crate) total_ms: Option<f64>,
    pub(crate) rows: Option<u64>,
    /// Of the physical plan.
    pub(crate) fingerprint: Option<String>,
    /// What went wrong, if anything did.
    pub(crate) error: Option<String>,
    /// Whether the system had forgotten the files. Older runs do not say.
    #[serde(default)]
    pub(crate) cold: bool,
    /// What DataFusion's operators had reserved in its memory pool at most at one time. Other systems do not say, nor do older runs.
    #[serde(default)]
    pub(crate) peak_memory_bytes: Option<u64>,
}

impl Sample {
    /// A sample that has not run yet.
    pub(crate) fn new(query: &str, arm: &str, run: u32, warmup: bool) -> Self {
        Self {
            query: query.to_owned(),
            arm: arm.to_owned(),
            run,
            warmup,
            status: Status::Ok,
            planning_ms: None,
            execution_ms: None,
            total_ms: None,
            rows: None,
            fingerprint: None,
            error: None,
            cold: false,
            peak_memory_bytes: None,
        }
    }

    /// Fills in what is known where it was stopped: the time is a bound.
    pub(crate) fn time_out(&mut self, limit_ms: f64) {
        self.status = Status::Timeout;
        self.total_ms = Some(limit_ms);
    }

    /// Fills in what a finished query tells.
    pub(crate) fn finish(&mut self, done: &Done) {
        // To the microsecond: further digits are noise.
        let round = |ms: f64| (ms * 1e3).round() / 1e3;
        let (planning, execution) = (round(done.planning_ms), round(done.execution_ms));
        self.planning_ms = Some(planning);
        self.execution_ms = Some(execution);
        self.total_ms = Some(round(planning + execution));
        self.rows = Some(done.rows.digest.rows);
        self.fingerprint = Some(done.fingerprint.clone());
        self.peak_memory_bytes = done.peak_memory_bytes;
    }
}

/// An arm as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ArmRecord {
    pub(crate) name: String,
    /// The parts that the arm names; the others are at their default.
    pub(crate) options: BTreeMap<String, String>,
}

/// The files that a run read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataRecord {
    pub(crate) tables: usize,
    pub(crate) bytes: u64,
    /// Of names, sizes and footers.
    pub(crate) fingerprint: String,
}

impl fmt::Display for DataRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tables, bytes) = (self.tables, render::bytes(self.bytes));
        write!(f, "{tables} tables of {bytes} ({})", self.fingerprint)
    }
}

/// `run.json`: all about a run but its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) command: String,
    /// UTC, RFC 3339.
    pub(crate) started: String,
    /// Absent while it runs.
    pub(crate) finished: Option<String>,
    /// Ended by Ctrl-C, so that queries may be missing.
    pub(crate) interrupted: bool,
    /// When it went on after that, or after a crash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) resumed: Vec<String>,
    pub(crate) suite: String,
    /// Absent for data that was not made here.
    pub(crate) scale: Option<f64>,
    /// Older runs do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<DataRecord>,
    /// How many queries were to be run.
    pub(crate) queries: usize,
    pub(crate) runs: u32,
    pub(crate) warmup: u32,
    pub(crate) timeout_s: f64,
    pub(crate) threads: usize,
    /// Absent for runs that were not to be cold; whether they could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cold: Option<bool>,
    /// What shuffled the order of queries and arms, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// The first one is what the others are compared with.
    pub(crate) arms: Vec<ArmRecord>,
    pub(crate) versions: Versions,
    pub(crate) machine: Machine,
    /// One entry for each query that is done.
    pub(crate) summary: Vec<QuerySummary>,
    /// One entry for each query that is done. Older runs have none.
    #[serde(default, skip_serializing)]
    pub(crate) details: Vec<QueryDetails>,
}

/// A folder that a run is written to, after each query.
pub(crate) struct RunFolder {
    path: PathBuf,
    /// Folders to be removed again if nothing is ever recorded, innermost first.
    created: Vec<PathBuf>,
    recorded: bool,
    samples: Vec<Sample>,
}

impl RunFolder {
    /// Creates `results/DATE-NAME`, with `-2`, `-3` … behind it where that is taken, or the folder named.
    /// Fails if the folder cannot be written to; then, or if nothing is recorded, nothing is left behind.
    pub(crate) fn create(out: Option<&Path>, results: &Path, name: &str) -> Result<Self> {
        let path = match out {
            Some(out) => out.to_owned(),
            None => free_name(results, name),
        };
        if [RUN, RAW].iter().any(|file| path.join(file).exists()) {
            bail!(
                "{} already holds a run: --resume goes on with it",
                path.display()
            );
        }
        let mut folder = Self {
            created: missing_folders(&path),
            path,
            recorded: false,
            samples: Vec::new(),
        };
        folder.probe().with_context(|| {
            format!(
                "cannot write to the results folder {}",
                folder.path.display()
            )
        })?;
        Ok(folder)
    }

    /// Takes up a folder that holds these samples, and perhaps more that are to go.
    pub(crate) fn reopen(path: &Path, samples: Vec<Sample>) -> Result<Self> {
        let text = csv_of(&samples, true)?;
        replace(path, RAW, &String::from_utf8(text)?)?;
        Ok(Self {
            path: path.to_owned(),
            created: vec![],
            recorded: true,
            samples,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All samples recorded so far.
    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Writes a few blocks and removes them again.
    fn probe(&mut self) -> std::io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let probe = self.path.join(".probe");
        let written = File::create(&probe).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_all()
        });
        let removed = fs::remove_file(&probe);
        written.and(removed)
    }

    /// Adds a query's samples and details, and writes all three files.
    pub(crate) fn record(
        &mut self,
        run: &mut Run,
        details: QueryDetails,
        done: QueryRun,
    ) -> Result<()> {
        self.keep(&done.samples)?;
        let arms: Vec<&str> = run.arms.iter().map(|arm| arm.name.as_str()).collect();
        let query = details.query.as_str();
        let mut summary = summarize(query, &arms, &self.samples, &done.agreements);
        for (arm, p_error) in summary.arms.iter_mut().zip(&done.p_errors) {
            arm.p_error = *p_error;
            arm.worst_q_error = worst_of(&details, &arm.arm);
        }
        run.summary.push(summary);
        run.details.push(details);
        // In the order of people, whatever the order in which they ran.
        run.summary
            .sort_by(|a, b| natural_order(&a.query, &b.query));
        run.details
            .sort_by(|a, b| natural_order(&a.query, &b.query));
        self.save(run)
    }

    /// Adds samples, perhaps of a query that was interrupted.
    pub(crate) fn keep(&mut self, samples: &[Sample]) -> Result<()> {
        self.append_raw(samples)?;
        self.recorded = true;
        self.samples.extend_from_slice(samples);
        Ok(())
    }

    /// What is known of a query already.
    pub(crate) fn samples_of(&self, query: &str) -> Vec<Sample> {
        let own = self.samples.iter().filter(|sample| sample.query == query);
        own.cloned().collect()
    }

    /// Writes `run.json` and the README.
    pub(crate) fn save(&self, run: &Run) -> Result<()> {
        replace(&self.path, RUN, &to_json(run)?)?;
        replace(&self.path, README, &markdown::render(run, &self.samples))
    }

    /// Writes the report.
    pub(crate) fn save_report(&self, run: &Run) -> Result<()> {
        write_report(&self.path, run, &self.samples).map(drop)
    }

    /// Adds rows to `raw.csv`, all of them or none.
    fn append_raw(&self, samples: &[Sample]) -> Result<()> {
        let path = self.path.join(RAW);
        let writing = || format!("cannot write {}", path.display());
        let text = csv_of(samples, !path.exists()).with_context(writing)?;
        let mut options = File::options();
        let mut file = options
            .create(true)
            .append(true)
            .open(&path)
            .with_context(writing)?;
        let before = file.metadata().with_context(writing)?.len();
        let written = file.write_all(&text).and_then(|()| file.sync_data());
        if written.is_err() {
            // A full disk still takes a shorter file.
            let _ = file.set_len(before);
            if before == 0 {
                let _ = fs::remove_file(&path);
            }
        }
        written.with_context(writing)
    }
}

/// Samples as lines of a file, which may be none; with the line of names first.
fn csv_of(samples: &[Sample], names: bool) -> Result<Vec<u8>> {
    let mut csv = csv::WriterBuilder::new()
        .has_headers(names)
        .from_writer(Vec::new());
    if samples.is_empty() && names {
        // Names are written with the first sample.
        csv.serialize(Sample::new("", "", 0, false))?;
        let text = csv.into_inner()?;
        let end = text.iter().position(|byte| *byte == b'\n');
        return Ok(text[..end.map_or(0, |end| end + 1)].to_vec());
    }
    for sample in samples {
        csv.serialize(sample)?;
    }
    Ok(csv.into_inner()?)
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.recorded {
            for folder in &self.created {
                // Only empty folders go: what somebody else put there stays.
                let _ = fs::remove_dir(folder);
            }
        }
    }
}

/// Writes a file so that a reader sees the old text or the new one, never a part.
pub(crate) fn replace(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    let temporary = folder.join(format!(".{name}.new"));
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes the report of a run into its folder; the result is its path.
pub(crate) fn write_report(folder: &Path, run: &Run, samples: &[Sample]) -> Result<PathBuf> {
    let page = render::report::render(&Report::new(run, samples))?;
    replace(folder, REPORT, &page)?;
    Ok(folder.join(REPORT))
}

/// Reads a run back: what any report is made from.
pub(crate) fn load(folder: &Path) -> Result<(Run, Vec<Sample>)> {
    let path = folder.join(RUN);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let run: Run = serde_json::from_str(&text)
        .with_context(|| format!("cannot understand {}", path.display()))?;
    if let Some(fault) = fault(&run) {
        bail!("cannot understand {}: {fault}", path.display());
    }
    let path = folder.join(RAW);
    let reading = || format!("cannot read {}", path.display());
    let bytes = fs::read(&path).with_context(reading)?;
    // The last line may be a part of one, where the process was killed or the disk was full.
    let cut = !bytes.ends_with(b"\n");
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let whole = &bytes[..end.map_or(0, |end| end + 1)];
    let mut csv = csv::Reader::from_reader(whole);
    let mut samples: Vec<Sample> = vec![];
    for sample in csv.deserialize() {
        match sample {
            Ok(sample) => samples.push(sample),
            Err(_) if run.finished.is_none() || cut => break,
            Err(error) => return Err(error).with_context(reading),
        }
    }
    if cut {
        crate::complain(&format!(
            "{}: the last line is cut off, and left out",
            path.display()
        ));
    }
    Ok((run, samples))
}

/// Whether a folder holds a run that can be read: one that was killed before its first query was recorded does not.
pub(crate) fn holds_run(folder: &Path) -> bool {
    folder.join(RUN).is_file() && folder.join(RAW).is_file()
}

/// Removes samples that no `run.json` tells of.
pub(crate) fn remove_orphans(folder: &Path) -> Result<()> {
    let raw = folder.join(RAW);
    match !folder.join(RUN).is_file() && raw.is_file() {
        true => fs::remove_file(&raw).with_context(|| format!("cannot write {}", raw.display())),
        false => Ok(()),
    }
}

/// What in a run does not fit together, if anything: files may come from anywhere.
fn fault(run: &Run) -> Option<String> {
    if run.arms.is_empty() {
        return Some("it has no arms".to_owned());
    }
    let arms = || run.arms.iter().map(|arm| &arm.name);
    for query in &run.summary {
        if !query.arms.iter().map(|arm| &arm.arm).eq(arms()) {
            return Some(format!("query {} has other arms than the run", query.query));
        }
    }
    for query in &run.details {
        let name = &query.query;
        for plan in &query.plans {
            let inputs = plan.operators.iter().map(|operator| operator.inputs);
            // Each operator but the first is the input of another one.
            if inputs.fold(1_usize, usize::saturating_add) != plan.operators.len() {
                return Some(format!("a plan of query {name} is no tree"));
            }
        }
        for arm in &query.arms {
            let Some(plan) = query.plans.get(arm.plan) else {
                return Some(format!("query {name} has no plan {}", arm.plan));
            };
            let lengths = [arm.estimated.len(), arm.rows.len(), arm.elapsed_us.len()];
            if lengths.iter().any(|length| *length != plan.operators.len()) {
                return Some(format!("the operators of query {name} are not all counted"));
            }
        }
    }
    None
}

fn free_name(results: &Path, name: &str) -> PathBuf {
    let mut path = results.join(name);
    let mut number = 2;
    while path.exists() {
        path = results.join(format!("{name}-{number}"));
        number += 1;
    }
    path
}

/// The folders that must be created for `path` to exist, innermost first.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    path.ancestors()
        .filter(|folder| !folder.as_os_str().is_empty())
        .take_while(|folder| !folder.exists())
        .map(Path::to_owned)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run of one arm that has not begun.
    pub(crate) fn empty_run() -> Run {
        Run {
            command: String::new(),
            started: "2026-11-23T00:00:00Z".to_owned(),
            finished: None,
            interrupted: false,
            resumed: vec![],
            suite: "s".to_owned(),
            scale: None,
            data: None,
            queries: 2,
            runs: 1,
            warmup: 0,
            timeout_s: 60.0,
            threads: 1,
            cold: None,
            seed: None,
            arms: vec![ArmRecord {
                name: "default".to_owned(),
                options: BTreeMap::new(),
            }],
            versions: Versions::default(),
            machine: Machine::default(),
            summary: vec![],
            details: vec![],
        }
    }
}
