//! Suites: data and queries under one name, `tpch`, `tpcds`, or a folder with `suite.toml`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::data;

/// One query of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// The file's name without `.sql`.
    pub(crate) name: String,
    /// The text of the file: one or several statements.
    pub(crate) sql: String,
}

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

    /// Reads the queries in natural order, all of them or those named in `only`.
    pub(crate) fn read_queries(&self, only: &[String]) -> Result<Vec<Query>> {
        let all = read_query_folder(&self.queries)?;
        if only.is_empty() {
            return Ok(all);
        }
        if let Some(name) = only
            .iter()
            .find(|name| !all.iter().any(|query| query.name == **name))
        {
            bail!(
                "unknown query `{name}`: {} has no {name}.sql",
                self.queries.display()
            );
        }
        Ok(all
            .into_iter()
            .filter(|query| only.contains(&query.name))
            .collect())
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
            "unknown suite `{}`: a suite is `tpch`, `tpcds`, or a folder with suite.toml",
            folder.display()
        );
    }
    let path = folder.join("suite.toml");
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
        None => folder
            .canonicalize()
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "suite".to_owned()),
    };
    Ok(Suite {
        name,
        source: Source::Folder,
        data: folder.join(file.data),
        queries: folder.join(file.queries),
        keys,
        primary_keys,
        truth: file.truth.map(|truth| folder.join(truth)),
    })
}

/// The folder of tables that is meant by `folder`: itself, or the data of the suite in it, with the keys that it declares.
pub(crate) fn data_folder(folder: &Path) -> Result<(PathBuf, BTreeSet<(String, String)>)> {
    if !folder.join("suite.toml").is_file() {
        return Ok((folder.to_owned(), BTreeSet::new()));
    }
    let suite = from_folder(folder)?;
    Ok((suite.data, suite.keys))
}

fn read_query_folder(folder: &Path) -> Result<Vec<Query>> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read the query folder {}", folder.display()))?;
    let mut queries = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read the query folder {}", folder.display()))?
            .path();
        if path.extension().is_none_or(|extension| extension != "sql") || !path.is_file() {
            continue;
        }
        let Some(name) = path.file_stem() else {
            continue;
        };
        queries.push(Query {
            name: name.to_string_lossy().into_owned(),
            sql: fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?,
        });
    }
    if queries.is_empty() {
        bail!("{} has no .sql file", folder.display());
    }
    queries.sort_by(|a, b| natural_order(&a.name, &b.name));
    Ok(queries)
}

/// Orders names as people do: runs of digits by their number, so that q2 comes before q10.
pub(crate) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while !left.is_empty() && !right.is_empty() {
        let (left_part, left_rest) = split_part(left);
        let (right_part, right_rest) = split_part(right);
        let both_numbers = left_part.starts_with(|c: char| c.is_ascii_digit())
            && right_part.starts_with(|c: char| c.is_ascii_digit());
        let order = if both_numbers {
            // Without leading zeros, the longer number is the larger.
            let (x, y) = (
                left_part.trim_start_matches('0'),
                right_part.trim_start_matches('0'),
            );
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            left_part.cmp(right_part)
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    // Names that differ in leading zeros alone still need one order.
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Splits off the leading run of digits, or of anything else.
fn split_part(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order_of_names() {
        let mut names = vec!["10a", "2b", "q10", "1a", "q2", "q02", "2a", "q", "10"];
        names.sort_by(|a, b| natural_order(a, b));
        insta::assert_compact_debug_snapshot!(names, @r#"["1a", "2a", "2b", "10", "10a", "q", "q02", "q2", "q10"]"#);
    }

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
