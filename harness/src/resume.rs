//! Goes on with a run that was interrupted, or killed: what is recorded of a query is kept, and nothing of it is run again.
//!
//! A query's samples go into `raw.csv` before `run.json` tells of it, so samples of queries that `run.json` does not know belong to one
//! that was not recorded in full: they are kept, and what is missing of it is run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::record::{DataRecord, Run, RunFolder, Sample, load};
use crate::schedule::{self, Schedule};
use crate::suite::Query;

/// The run in `folder`, without what is not whole. It has to be the one that is `planned`: numbers of other arms, settings, or versions do
/// not belong together.
pub(crate) fn take_up(folder: &Path, planned: &Run, queries: &[Query]) -> Result<(RunFolder, Run)> {
    let (mut run, mut samples) = load(folder)?;
    if let Some(difference) = difference(&run, planned) {
        bail!("cannot go on with {}: {difference}", folder.display());
    }
    for details in &run.details {
        let query = queries.iter().find(|query| query.name == details.query);
        match query {
            None => bail!(
                "cannot go on with {}: it has query {}, which is not to be run",
                folder.display(),
                details.query
            ),
            Some(query) if query.sql != details.sql => bail!(
                "cannot go on with {}: query {} was another one",
                folder.display(),
                details.query
            ),
            Some(_) => {}
        }
    }
    samples.retain(|sample| queries.iter().any(|query| query.name == sample.query));
    let arms: Vec<String> = run.arms.iter().map(|arm| arm.name.clone()).collect();
    let schedule = Schedule::of(&run);
    let is_done = |query: &str| {
        let own = samples.iter().filter(|sample| sample.query == query);
        let own: Vec<Sample> = own.cloned().collect();
        schedule::is_whole(&own, &arms, schedule)
    };
    run.summary.retain(|query| is_done(&query.query));
    let done: BTreeSet<&str> = run.summary.iter().map(|q| q.query.as_str()).collect();
    run.details
        .retain(|query| done.contains(query.query.as_str()));
    let folder = RunFolder::reopen(folder, samples)?;
    Ok((folder, run))
}

/// Remembers what data a run reads; one that goes on has to read what it read before.
pub(crate) fn check_data(run: &mut Run, data: DataRecord) -> Result<()> {
    match &run.data {
        Some(old) if *old != data => {
            bail!("cannot go on: the data was {old}, and is {data}")
        }
        _ => run.data = Some(data),
    }
    Ok(())
}

/// Whether all queries of a run are recorded.
pub(crate) fn is_whole(run: &Run) -> bool {
    run.summary.len() == run.queries
}

/// Where a run may go on that was started without naming its folder: the last one in `results` that is `planned` and not whole, or where
/// all are whole the last one, of which nothing is left to be done.
pub(crate) fn of_folder(results: &Path, planned: &Run) -> Option<PathBuf> {
    let entries = fs::read_dir(results).ok()?;
    let mut found: Vec<(bool, String, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let (run, _) = load(&path).ok()?;
            let fits = difference(&run, planned).is_none();
            fits.then(|| (!is_whole(&run), run.started, path))
        })
        .collect();
    found.sort();
    found.pop().map(|(.., path)| path)
}

/// What makes a run another one than is planned.
fn difference(run: &Run, planned: &Run) -> Option<String> {
    fn differ<T: PartialEq + std::fmt::Debug>(what: &str, old: &T, new: &T) -> Option<String> {
        (old != new).then(|| format!("its {what} is {old:?}, not {new:?}"))
    }
    let versions = |run: &Run| {
        let versions = &run.versions;
        let parts = [&versions.joinwright, &versions.datafusion, &versions.arrow];
        (parts.map(String::clone), versions.optimized)
    };
    let arms = |run: &Run| -> Vec<_> {
        let arms = run.arms.iter();
        arms.map(|arm| (arm.name.clone(), arm.options.clone()))
            .collect()
    };
    differ("suite", &run.suite, &planned.suite)
        .or_else(|| differ("scale", &run.scale, &planned.scale))
        .or_else(|| differ("number of queries", &run.queries, &planned.queries))
        .or_else(|| differ("number of runs", &run.runs, &planned.runs))
        .or_else(|| differ("number of warm-up runs", &run.warmup, &planned.warmup))
        .or_else(|| differ("timeout", &run.timeout_s, &planned.timeout_s))
        .or_else(|| differ("number of threads", &run.threads, &planned.threads))
        .or_else(|| differ("cold", &run.cold, &planned.cold))
        .or_else(|| differ("seed", &run.seed, &planned.seed))
        .or_else(|| differ("list of arms", &arms(run), &arms(planned)))
        .or_else(|| differ("version", &versions(run), &versions(planned)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::empty_run as run;

    #[test]
    fn other_runs_are_told_apart() {
        assert_eq!(difference(&run(), &run()), None);
        let mut other = run();
        other.command = "joinwright bench s --resume".to_owned();
        assert_eq!(difference(&run(), &other), None);
        other.runs = 7;
        assert_eq!(
            difference(&run(), &other).unwrap(),
            "its number of runs is 1, not 7"
        );
        let mut other = run();
        other.versions.datafusion = "56.0.0".to_owned();
        assert!(difference(&run(), &other).unwrap().contains("version"));
        let mut other = run();
        other.cold = Some(true);
        assert!(difference(&run(), &other).unwrap().contains("cold"));
        let mut other = run();
        other.seed = Some(1);
        assert!(difference(&run(), &other).unwrap().contains("seed"));
    }
}
