//! The queries of a suite: a folder of SQL files, one query a file.
//!
//! One bad file does not stop the others. What is empty, or only makes tables and indexes as `schema.sql` of the Join Order Benchmark
//! does, is left out with a line; what is no text stays as a query that fails. A folder without any good query is an error.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::measure::parse;

/// One query of a suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// The file's name without `.sql`.
    pub(crate) name: String,
    /// The text of the file: one or several statements.
    pub(crate) sql: String,
    /// Why nobody can run it, if that is so.
    pub(crate) fault: Option<String>,
}

/// Words that statements begin with which return no rows, whatever follows.
const RETURN_NOTHING: [&str; 17] = [
    "ALTER", "ANALYZE", "BEGIN", "COMMENT", "COMMIT", "COPY", "CREATE", "DELETE", "DROP", "GRANT",
    "INSERT", "MERGE", "ROLLBACK", "SET", "TRUNCATE", "UPDATE", "VACUUM",
];

/// What a file is good for.
#[derive(Debug, PartialEq, Eq)]
enum Worth {
    Good,
    /// It fails wherever it runs, or at least here.
    Bad(String),
    /// Nothing is to be run.
    None(&'static str),
}

/// A file with the query in it.
struct Found {
    path: PathBuf,
    query: Query,
}

/// The queries of a folder in natural order, all of them or those named in `only`.
pub(crate) fn read_folder(folder: &Path, only: &[String]) -> Result<Vec<Query>> {
    let mut found = read_all(folder)?;
    if let Some(name) = only
        .iter()
        .find(|name| !found.iter().any(|file| file.query.name == **name))
    {
        bail!(
            "unknown query `{name}`: {} has no {name}.sql",
            folder.display()
        );
    }
    found.retain(|file| only.is_empty() || only.contains(&file.query.name));
    let worths: Vec<Worth> = found.iter().map(|file| worth(&file.query)).collect();
    if !worths.contains(&Worth::Good)
        && let Some((file, worth)) = found.iter().zip(&worths).next()
    {
        match worth {
            Worth::None(why) => bail!("nothing to run: {} {why}", file.path.display()),
            Worth::Bad(why) => bail!("cannot understand {}: {why}", file.path.display()),
            Worth::Good => {}
        }
    }
    let mut queries = vec![];
    for (file, worth) in found.into_iter().zip(worths) {
        let path = file.path.display();
        match worth {
            Worth::None(why) => crate::complain(&format!("{path} {why}: it is left out")),
            Worth::Bad(why) => {
                crate::complain(&format!("cannot understand {path}: {why}"));
                queries.push(file.query);
            }
            Worth::Good => queries.push(file.query),
        }
    }
    Ok(queries)
}

/// Whether a query can be planned as far as its text tells. Those that cannot have been said.
pub(crate) fn is_sound(query: &Query) -> bool {
    worth(query) == Worth::Good
}

fn read_all(folder: &Path) -> Result<Vec<Found>> {
    let reading = || format!("cannot read the query folder {}", folder.display());
    let mut found: Vec<Found> = vec![];
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if !ending.is_some_and(|ending| ending.eq_ignore_ascii_case("sql")) || !path.is_file() {
            continue;
        }
        let Some(name) = path.file_stem() else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        if let Some(other) = found.iter().find(|other| other.query.name == name) {
            bail!(
                "query {name} is there twice: {} and {}",
                other.path.display(),
                path.display()
            );
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let query = query_of(name, &bytes);
        found.push(Found { path, query });
    }
    if found.is_empty() {
        bail!("{} has no .sql file", folder.display());
    }
    found.sort_by(|a, b| natural_order(&a.query.name, &b.query.name));
    Ok(found)
}

/// Editors of some systems begin a file with a mark of its encoding, which is none of the text.
fn query_of(name: String, bytes: &[u8]) -> Query {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let sql = String::from_utf8_lossy(bytes).into_owned();
    let fault = std::str::from_utf8(bytes).err();
    let fault = fault.map(|error| format!("no UTF-8 at byte {}", error.valid_up_to()));
    Query { name, sql, fault }
}

fn worth(query: &Query) -> Worth {
    if let Some(fault) = &query.fault {
        return Worth::Bad(fault.clone());
    }
    if let Some(first_words) = first_words(&query.sql) {
        if first_words.is_empty() {
            return Worth::None("is empty");
        }
        if (first_words.iter()).all(|word| RETURN_NOTHING.contains(&word.as_str())) {
            return Worth::None("has no query");
        }
    }
    match parse(&query.sql) {
        Ok(_) => Worth::Good,
        Err(error) => Worth::Bad(crate::one_line(&error)),
    }
}

/// The words with which the statements of a text begin; `None` if it cannot be taken apart.
fn first_words(sql: &str) -> Option<Vec<String>> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().ok()?;
    let statements = tokens.split(|token| *token == Token::SemiColon);
    let words = statements.filter_map(|tokens| {
        let mut tokens = tokens.iter();
        let first = tokens.find(|token| !matches!(token, Token::Whitespace(_)))?;
        Some(first.to_string().to_uppercase())
    });
    Some(words.collect())
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

    #[test]
    fn files_are_worth_what_is_in_them() {
        let check = |bytes: &[u8], expected: Option<&str>| {
            let found = worth(&query_of("q".to_owned(), bytes));
            match (&found, expected) {
                (Worth::Good, None) => {}
                (Worth::Bad(why), Some(expected)) => assert!(why.contains(expected), "{why}"),
                (Worth::None(why), Some(expected)) => assert_eq!(*why, expected),
                _ => panic!("{found:?}, not {expected:?}"),
            }
        };
        check(b"SELECT 1;", None);
        check(b"\xEF\xBB\xBFSELECT 1;", None);
        check(b"-- one\n(SELECT 1) UNION SELECT 2", None);
        check(
            b"CREATE VIEW v AS SELECT 1; SELECT * FROM v; DROP VIEW v",
            None,
        );
        check(b"", Some("is empty"));
        check(b"-- only this\n/* and this */ ;", Some("is empty"));
        check(
            b"CREATE TABLE t (id integer NOT NULL PRIMARY KEY);",
            Some("has no query"),
        );
        check(
            b"create index i on t(id);\ncreate index j on t(k);",
            Some("has no query"),
        );
        check(b"SELEC 1", Some("SELEC"));
        check(b"SELECT '\xFF'", Some("no UTF-8 at byte 8"));
    }
}
