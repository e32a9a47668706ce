//! The runs of several suites in one folder, each in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::record::{holds_run, load, replace};
use crate::render::index;
use crate::suite::natural_order;
use crate::summary::Overview;

const INDEX: &str = "index.html";

/// The names of folders with runs in a folder that has none itself: one for each suite of a command.
pub(crate) fn runs_below(folder: &Path) -> Result<Vec<String>> {
    if holds_run(folder) || !folder.is_dir() {
        return Ok(vec![]);
    }
    let reading = || format!("cannot read {}", folder.display());
    let mut names = vec![];
    for entry in fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        if let Ok(name) = entry.file_name().into_string()
            && holds_run(&entry.path())
        {
            names.push(name);
        }
    }
    names.sort_by(|a, b| natural_order(a, b));
    Ok(names)
}

/// Writes a page that links the reports of several suites; the result is its path.
pub(crate) fn write_index(folder: &Path, names: &[String]) -> Result<PathBuf> {
    let mut runs = vec![];
    for name in names {
        let (run, samples) = load(&folder.join(name))?;
        runs.push((name.clone(), Overview::new(&run, &samples)));
    }
    replace(folder, INDEX, &index::render(&runs))?;
    Ok(folder.join(INDEX))
}
