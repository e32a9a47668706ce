//! Suites: data and queries under one name, `tpch`, `tpcds`, or a folder, which `suite.toml` may describe.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::data;
use crate::query_files::{is_sound, read_folder};
use crate::tables::find_tables;

pub(crate) use crate::query_files::{Query, natural_order};

/// What a folder says of itself.
const SUITE_FILE: &str = "suite.toml";

/// Where a suite's tables come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// Generated TPC-H at a scale factor.
    TpcH(f64),
    /// Generated TPC-DS at a scale factor.
    TpcDs(f64),
    /// A folder that is there already.
    Folder,
}

/// A suite, found but not yet read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) source: Source,
    /// The folder of `TABLE.parquet` and `TABLE/*.parquet`.
    pub(crate) data: PathBuf,
    /// The folder of `*.sql`.
    pub(crate) queries: PathBuf,
    /// Key columns that the suite declares: `(table, column)`.
    pub(crate) keys: BTreeSet<(String, String)>,
    /// By table the columns of the primary key that the suite declares, or the specification of its data.
    pub(crate) primary_keys: BTreeMap<String, Vec<String>>,
    /// The file of true cardinalities, if the suite has one.
    pub(crate) truth: Option<PathBuf>,
}

/// `suite.toml`. What is for other tools (`results`) is let be.
#[derive(Debug, Deserialize)]
struct SuiteFile {
    name: Option<String>,
    data: PathBuf,
    queries: PathBuf,
    truth: Option<PathBuf>,
    #[serde(default)]
    keys: BTreeMap<String, TableKeys>,
}

/// The keys of a table.
#[derive(Debug, Deserialize)]
struct TableKeys {
    #[serde(default)]
    primary: Vec<String>,
    /// A column and the column of another table that it refers to, `table.column`.
    #[serde(default)]
    foreign: BTreeMap<String, String>,
}

impl SuiteFile {
    /// All columns that are one side of a key.
    fn key_columns(&self) -> BTreeSet<(String, String)> {
        let mut columns = BTreeSet::new();
        for (table, keys) in &self.keys {
            let own = keys.primary.iter().chain(keys.foreign.keys());
            columns.extend(own.map(|column| (table.clone(), column.clone())));
            let others = keys
                .foreign
                .values()
                .filter_map(|target| target.rsplit_once('.'));
            columns.extend(others.map(|(table, column)| (table.to_owned(), column.to_owned())));
        }
        columns
    }
}

impl Suite {
    /// Finds the suite `name`; `queries` takes the place of its own query folder.
    pub(crate) fn find(name: &str, scale: f64, queries: Option<&Path>) -> Result<Self> {
        let mut suite = match name {
            "tpch" | "tpcds" => generated(name, scale, queries)?,
            folder => from_folder(Path::new(folder))?,
        };
        if let Some(queries) = queries {
            suite.queries = queries.to_owned();
        }
        Ok(suite)
    }

    /// The scale factor, where the data is made.
    pub(crate) fn scale(&self) -> Option<f64> {
        match self.source {
            Source::TpcH(scale) | Source::TpcDs(scale) => Some(scale),
            Source::Folder => None,
        }
    }

    /// Reads the queries in natural order, all of them or those named in `only`. Bad ones among them are said, and fail where they run.
    pub(crate) fn read_queries(&self, only: &[String]) -> Result<Vec<Query>> {
        if !self.queries.is_dir() {
            bail!(
                "no queries: {} is not a folder; name one with --queries DIR, or in suite.toml",
                self.queries.display()
            );
        }
        read_folder(&self.queries, only)
    }

    /// The same without the bad ones.
    pub(crate) fn read_sound_queries(&self, only: &[String]) -> Result<Vec<Query>> {
        let mut queries = self.read_queries(only)?;
        queries.retain(is_sound);
        Ok(queries)
    }
}

fn generated(name: &str, scale: f64, queries: Option<&Path>) -> Result<Suite> {
    if !(scale.is_finite() && scale > 0.0 && scale <= 100_000.0) {
        bail!("scale {scale} is not above 0 and at most 100000");
    }
    let source = match name {
        "tpch" => Source::TpcH(scale),
        _ => Source::TpcDs(scale),
    };
    let folder = Path::new("queries").join(name);
    // Run from elsewhere, `cargo run` still finds the queries that lie beside the source.
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(&folder);
    let queries = match queries {
        Some(queries) => queries.to_owned(),
        None if folder.is_dir() => folder,
        None if shipped.is_dir() => shipped,
        None => bail!(
            "no queries for {name}: {} is not a folder here, name one with --queries DIR",
            folder.display()
        ),
    };
    Ok(Suite {
        name: name.to_owned(),
        primary_keys: data::primary_keys(&source),
        source,
        data: Path::new("data").join(format!("{name}-sf{scale}")),
        queries,
        // Their names tell.
        keys: BTreeSet::new(),
        truth: None,
    })
}

fn from_folder(folder: &Path) -> Result<Suite> {
    if !folder.is_dir() {
        bail!(
            "unknown suite `{}`: a suite is `tpch`, `tpcds`, or a folder of Parquet files and queries",
            folder.display()
        );
    }
    let path = folder.join(SUITE_FILE);
    if !path.is_file() {
        return bare_folder(folder);
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: SuiteFile =
        toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))?;
    let keys = file.key_columns();
    let declared = file.keys.into_iter();
    let primary_keys = declared
        .map(|(table, keys)| (table, keys.primary))
        .filter(|(_, columns)| !columns.is_empty())
        .collect();
    let name = match file.name {
        Some(name) if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') => {
            bail!(
                "name `{name}` in {} cannot name a results folder",
                path.display()
            )
        }
        Some(name) => name,
        None => name_of(folder),
    };
    Ok(Suite {
        name,
        source: Source::Folder,
        data: folder.join(file.data),
        queries: folder.join(file.queries),
        keys,
        primary_keys,
        truth: match file.truth {
            Some(truth) => Some(folder.join(truth)),
            None => own_truth(folder),
        },
    })
}

/// A folder of Parquet and a folder of SQL, with no more set-up.
fn bare_folder(folder: &Path) -> Result<Suite> {
    let Some(data) = bare_data(folder) else {
        bail!(
            "{} is no suite: it has no {SUITE_FILE}, and no Parquet in it, in parquet/ or in data/",
            folder.display()
        );
    };
    Ok(Suite {
        name: name_of(folder),
        source: Source::Folder,
        data,
        queries: folder.join("queries"),
        keys: BTreeSet::new(),
        primary_keys: BTreeMap::new(),
        truth: own_truth(folder),
    })
}

/// Where the tables of a folder without `suite.toml` are: in itself, if there are Parquet files right in it, else in `parquet` or
/// `data`, else in the folders of tables in it.
fn bare_data(folder: &Path) -> Option<PathBuf> {
    let is_parquet = |path: &Path| path.extension().is_some_and(|ending| ending == "parquet");
    let entries = fs::read_dir(folder).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    if paths.any(|path| path.is_file() && is_parquet(&path)) {
        return Some(folder.to_owned());
    }
    let inside = ["parquet", "data"].map(|name| folder.join(name));
    let mut candidates = inside.into_iter().chain([folder.to_owned()]);
    candidates.find(|candidate| find_tables(candidate).is_ok())
}

/// The file of true cardinalities that lies in a folder, if there is one.
fn own_truth(folder: &Path) -> Option<PathBuf> {
    let path = folder.join("truth.csv");
    path.is_file().then_some(path)
}

fn name_of(folder: &Path) -> String {
    folder
        .canonicalize()
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "suite".to_owned())
}

/// The folder of tables that is meant by `folder`: itself, or the data of the suite in it, with the keys that it declares.
pub(crate) fn data_folder(folder: &Path) -> Result<(PathBuf, BTreeSet<(String, String)>)> {
    if !folder.join(SUITE_FILE).is_file() {
        let data = bare_data(folder).unwrap_or_else(|| folder.to_owned());
        return Ok((data, BTreeSet::new()));
    }
    let suite = from_folder(folder)?;
    Ok((suite.data, suite.keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_suite(toml: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("suite.toml"), toml).unwrap();
        fs::create_dir(folder.path().join("sql")).unwrap();
        for name in ["2a", "10a", "1a"] {
            fs::write(folder.path().join(format!("sql/{name}.sql")), "SELECT 1").unwrap();
        }
        fs::write(folder.path().join("sql/notes.txt"), "not a query").unwrap();
        folder
    }

    fn find(folder: &tempfile::TempDir) -> Result<Suite> {
        Suite::find(folder.path().to_str().unwrap(), 0.1, None)
    }

    #[test]
    fn folder_with_suite_toml() {
        let folder = write_suite(
            "name = 'mine'\ndata = 'parquet'\nqueries = 'sql'\ntruth = 'truth.csv'\nanything = 1\n\
             [keys.t]\nprimary = ['id']",
        );
        let suite = find(&folder).unwrap();
        assert_eq!(suite.name, "mine");
        assert_eq!(suite.data, folder.path().join("parquet"));
        let key = ("t".to_owned(), "id".to_owned());
        assert_eq!(suite.primary_keys["t"], ["id"]);
        let data = data_folder(folder.path()).unwrap();
        assert_eq!(data, (suite.data.clone(), BTreeSet::from([key])));
        let sql = folder.path().join("sql");
        assert_eq!(data_folder(&sql).unwrap(), (sql, BTreeSet::new()));
        let names = |only: &[String]| -> Vec<String> {
            let queries = suite.read_queries(only).unwrap();
            queries.into_iter().map(|query| query.name).collect()
        };
        assert_eq!(names(&[]), ["1a", "2a", "10a"]);
        assert_eq!(names(&["10a".into(), "1a".into()]), ["1a", "10a"]);
        let message = suite.read_queries(&["3a".into()]).unwrap_err().to_string();
        assert!(message.contains("unknown query `3a`"), "{message}");
    }

    #[test]
    fn broken_suites_are_named() {
        let message = |toml| format!("{:#}", find(&write_suite(toml)).unwrap_err());
        assert!(message("data = 1").contains("suite.toml"));
        assert!(message("name = '../x'\ndata = 'd'\nqueries = 'sql'").contains("../x"));
        let missing = Suite::find("/no/such/suite", 1.0, None).unwrap_err();
        assert!(missing.to_string().contains("/no/such/suite"));
    }

    #[test]
    fn made_data_lies_under_its_scale() {
        let folder = write_suite("");
        for (scale, expected) in [(0.1, "tpch-sf0.1"), (1.0, "tpch-sf1"), (10.0, "tpch-sf10")] {
            let suite = Suite::find("tpch", scale, Some(folder.path())).unwrap();
            assert_eq!(suite.data, Path::new("data").join(expected));
        }
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Suite::find("tpch", scale, Some(folder.path())).is_err());
        }
    }
}
