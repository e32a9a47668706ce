//! `joinwright import`: published CSV files of a benchmark to Parquet tables with types and keys, as a suite.

mod job;
mod raw;
mod stats;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

pub(crate) use table::convert;

/// The folder of the tables in that of the suite.
const TABLES: &str = "parquet";
const SUITE: &str = "suite.toml";

/// What a CSV file has in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// 16 bits.
    Small,
    /// 32 bits.
    Int,
    Text,
    /// `2010-07-19 06:55:26`, without a time zone, kept in microseconds.
    Time,
}

/// A column, in the order of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Type,
    /// `table.column` that it refers to.
    pub(crate) refers_to: Option<&'static str>,
}

/// A table and its file, `NAME.csv`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The first one is the primary key.
    pub(crate) columns: &'static [Column],
}

/// A benchmark whose data is published as CSV files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Benchmark {
    pub(crate) name: &'static str,
    pub(crate) tables: &'static [Table],
    /// What takes quotes into quoted text, if not their doubling.
    pub(crate) escape: Option<u8>,
}

/// STATS: Han et al., VLDB 2021. Dates and numbers of a Stack Exchange site, eight tables.
pub(crate) const STATS: Benchmark = Benchmark {
    name: "stats",
    tables: stats::TABLES,
    escape: None,
};

/// The Join Order Benchmark: Leis et al., VLDB 2015. The Internet Movie Database, 21 tables.
pub(crate) const JOB: Benchmark = Benchmark {
    name: "job",
    tables: job::TABLES,
    escape: Some(b'\\'),
};

const fn column(name: &'static str, kind: Type) -> Column {
    Column {
        name,
        kind,
        refers_to: None,
    }
}

const fn small(name: &'static str) -> Column {
    column(name, Type::Small)
}

const fn int(name: &'static str) -> Column {
    column(name, Type::Int)
}

const fn text(name: &'static str) -> Column {
    column(name, Type::Text)
}

const fn time(name: &'static str) -> Column {
    column(name, Type::Time)
}

/// A column of numbers that refers to another one, `table.column`.
const fn key(name: &'static str, refers_to: &'static str) -> Column {
    Column {
        name,
        kind: Type::Int,
        refers_to: Some(refers_to),
    }
}

/// The files of a benchmark in a folder: those that are there, and the names of tables that are not.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) files: Vec<(&'static Table, PathBuf)>,
    pub(crate) missing: Vec<&'static str>,
}

/// Finds `TABLE.csv` for each table, in letters of any case.
pub(crate) fn find(benchmark: &Benchmark, folder: &Path) -> Result<Found> {
    let reading = || format!("cannot read the folder {}", folder.display());
    let mut there = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            there.insert(name.to_lowercase(), path);
        }
    }
    let mut found = Found {
        files: vec![],
        missing: vec![],
    };
    for table in benchmark.tables {
        match there.remove(&format!("{}.csv", table.name.to_lowercase())) {
            Some(path) => found.files.push((table, path)),
            None => found.missing.push(table.name),
        }
    }
    if found.files.is_empty() {
        let names: Vec<&str> = benchmark.tables.iter().map(|table| table.name).collect();
        bail!(
            "{} has no file of {}: they are called TABLE.csv, for {}",
            folder.display(),
            benchmark.name,
            names.join(", ")
        );
    }
    Ok(found)
}

/// Makes the folder of a suite; the result is that of its tables.
pub(crate) fn create(out: &Path) -> Result<PathBuf> {
    let tables = out.join(TABLES);
    fs::create_dir_all(&tables).with_context(|| format!("cannot create {}", tables.display()))?;
    Ok(tables)
}

/// `suite.toml`.
#[derive(Serialize)]
struct SuiteFile<'a> {
    name: &'a str,
    data: &'a str,
    queries: &'a str,
    keys: BTreeMap<&'a str, Keys<'a>>,
}

#[derive(Serialize)]
struct Keys<'a> {
    primary: Vec<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    foreign: BTreeMap<&'a str, &'a str>,
}

/// Writes `suite.toml` with the keys of these tables; those that refer to a table which is not there are left out.
pub(crate) fn write_suite(benchmark: &Benchmark, tables: &[&Table], out: &Path) -> Result<()> {
    let there = |target: &str| {
        let table = target.split('.').next().unwrap_or(target);
        tables.iter().any(|other| other.name == table)
    };
    let keys = |table: &&Table| {
        let columns = table.columns.iter();
        let foreign =
            columns.filter_map(|c| Some((c.name, c.refers_to.filter(|target| there(target))?)));
        let primary = table.columns.first().map(|column| column.name);
        let keys = Keys {
            primary: primary.into_iter().collect(),
            foreign: foreign.collect(),
        };
        (table.name, keys)
    };
    let file = SuiteFile {
        name: benchmark.name,
        data: TABLES,
        queries: "queries",
        keys: tables.iter().map(keys).collect(),
    };
    let path = out.join(SUITE);
    let writing = || format!("cannot write {}", path.display());
    let text = toml::to_string(&file).with_context(writing)?;
    let temporary = out.join(format!(".{SUITE}.new"));
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .with_context(writing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_refer_to_primary_keys() {
        for (benchmark, tables, columns) in [(STATS, 8, 43), (JOB, 21, 108)] {
            assert_eq!(benchmark.tables.len(), tables);
            let all: usize = benchmark.tables.iter().map(|t| t.columns.len()).sum();
            assert_eq!(all, columns, "{}", benchmark.name);
            let primary: BTreeSet<String> = benchmark
                .tables
                .iter()
                .map(|table| format!("{}.{}", table.name, table.columns[0].name))
                .collect();
            assert_eq!(primary.len(), tables, "a table is there twice");
            for column in benchmark.tables.iter().flat_map(|table| table.columns) {
                if let Some(target) = column.refers_to {
                    assert!(primary.contains(target), "{target}");
                }
            }
        }
    }
}
