//! The order in which DuckDB joins the relations of a query.
//!
//! Its plans name tables, or their files, and not aliases. A table that stands in the query again is therefore read from a copy: one that
//! is loaded as well, or a view of the same files by other paths, with a dot in them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::duckdb::{Reply, ask, children};
use super::process::Process;
use super::{Ended, Joins, add_joins};
use crate::interrupt::Interrupt;
use crate::truth::sub_queries::SubQueries;

/// The files of tables that are read where they are.
pub(super) type Files = BTreeMap<String, Vec<String>>;

/// What tells the relations of a query apart.
struct Names {
    /// By alias the table to read, each another one.
    tables: BTreeMap<String, String>,
    /// By copy its original, or its files.
    copies: BTreeMap<String, Value>,
    /// By file the alias that reads it.
    files: BTreeMap<String, String>,
}

/// What the joins of its plan of a query join. Of tables that are not loaded the plan has to run before it says what it reads.
pub(super) async fn joins(
    process: &mut Process,
    query: &SubQueries,
    files: Option<&Files>,
    timeout: Duration,
    interrupt: &mut Interrupt,
) -> Ended<Joins> {
    let names = own_names(query, files);
    let sql = query.over(|relation| names.tables[&relation.alias].clone());
    let request = json!({"estimate": sql, "copies": names.copies, "run": files.is_some()});
    ask(process, &request, timeout, interrupt, |line| {
        joined(line, &names)
    })
    .await
}

fn own_names(query: &SubQueries, files: Option<&Files>) -> Names {
    let mut names = Names {
        tables: BTreeMap::new(),
        copies: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for relation in query.relations() {
        let table = &relation.table;
        let seen = times.entry(table.to_lowercase()).or_default();
        *seen += 1;
        let name = match *seen {
            1 => table.clone(),
            seen => format!("{table} (copy {seen})"),
        };
        let own = files.and_then(|files| {
            let mut known = files.iter();
            known.find(|(known, _)| known.eq_ignore_ascii_case(table))
        });
        let paths: Vec<String> = own.map_or(vec![], |(_, paths)| {
            paths.iter().map(|path| dotted(path, *seen - 1)).collect()
        });
        if *seen > 1 {
            let original = match files {
                Some(_) => json!(paths),
                None => json!(table),
            };
            names.copies.insert(name.clone(), original);
        }
        let alias = &relation.alias;
        let paths = paths.into_iter();
        names.files.extend(paths.map(|path| (path, alias.clone())));
        names.tables.insert(alias.clone(), name);
    }
    names
}

/// The same file by another path.
fn dotted(path: &str, times: usize) -> String {
    match path.rsplit_once('/') {
        Some((folder, file)) => format!("{folder}/{}{file}", "./".repeat(times)),
        None => format!("{}{path}", "./".repeat(times)),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What is joined.
fn joined(answer: &str, names: &Names) -> Result<Joins> {
    let reply: Reply = serde_json::from_str(answer).context("duckdb's answer is no JSON")?;
    if let Some(error) = reply.error {
        bail!("{error}");
    }
    let plan = reply.plan.context("duckdb tells no plan")?;
    // One that ran stands below what is said of the whole.
    let root = match plan["operator"].as_array() {
        Some(operators) => operators.first(),
        None => plan.get(0),
    };
    let alias = |node: &Value| {
        let info = &node["extra_info"];
        if let Some(table) = info["Table"].as_str() {
            let is = |name: &str| {
                let ends = |name: &str| table.eq_ignore_ascii_case(name) || ends_with(table, name);
                ends(name) || ends(&quoted(name))
            };
            let named = names.tables.iter().find(|(_, name)| is(name));
            return named.map(|(alias, _)| alias.clone());
        }
        let mut read = info["Filename(s)"].as_str()?.split(", ");
        read.find_map(|file| names.files.get(file).cloned())
    };
    let mut joins = Joins::new();
    add_joins(
        root.context("duckdb's plan is empty")?,
        children,
        &alias,
        &mut joins,
    );
    Ok(joins)
}

/// Whether `path` is `name` behind a dot, in whatever case.
fn ends_with(path: &str, name: &str) -> bool {
    let path = path.to_lowercase();
    let before = path.strip_suffix(&name.to_lowercase());
    before.is_some_and(|before| before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_are_told_by_tables_of_their_own() {
        let columns = BTreeMap::from([("T".to_owned(), vec!["x".to_owned()])]);
        let sql = "SELECT 1 FROM T a, T b, T c WHERE a.x = b.x AND b.x = c.x";
        let query = SubQueries::parse(sql, &columns).unwrap();
        let names = own_names(&query, None);
        assert_eq!(
            query.over(|relation| names.tables[&relation.alias].clone()),
            r#"SELECT 1 FROM "T" a, "T (copy 2)" b, "T (copy 3)" c WHERE a.x = b.x AND b.x = c.x"#
        );
        assert_eq!(names.copies["T (copy 3)"], "T");
        let scan = |table: &str| json!({"extra_info": {"Table": table}});
        let join = |left: Value, right: Value| json!({"extra_info": {}, "children": [left, right]});
        // A list of values is none of the query's relations.
        let values = json!({"extra_info": {}, "name": "COLUMN_DATA_SCAN"});
        let listed = join(scan("memory.main.\"T (copy 2)\""), values);
        let plan = join(
            join(scan("memory.main.T"), scan("memory.main.\"T (copy 3)\"")),
            listed,
        );
        let answer = json!({"plan": [plan]}).to_string();
        let set = |aliases: &str| aliases.chars().map(String::from).collect();
        let joins = joined(&answer, &names).unwrap();
        assert_eq!(joins, Joins::from([set("ac"), set("abc")]));
    }

    /// A plan that ran over files.
    #[test]
    fn joins_are_told_by_paths_of_their_own() {
        let columns = BTreeMap::from([("T".to_owned(), vec!["x".to_owned()])]);
        let sql = "SELECT 1 FROM T a, T b, T c WHERE a.x = b.x AND b.x = c.x";
        let query = SubQueries::parse(sql, &columns).unwrap();
        let paths = vec!["/d/T/1.parquet".to_owned(), "/d/T/2.parquet".to_owned()];
        let names = own_names(&query, Some(&Files::from([("t".to_owned(), paths)])));
        let copy = json!(["/d/T/././1.parquet", "/d/T/././2.parquet"]);
        assert_eq!(names.copies["T (copy 3)"], copy);
        let scan = |files: &str| json!({"extra_info": {"Filename(s)": files}});
        let join = |left: Value, right: Value| json!({"extra_info": {}, "children": [left, right]});
        let first = join(
            scan("/d/T/1.parquet, /d/T/2.parquet"),
            scan("/d/T/././2.parquet"),
        );
        let plan = json!({"operator": [join(first, scan("/d/T/./1.parquet"))]});
        let set = |aliases: &str| aliases.chars().map(String::from).collect();
        let joins = joined(&json!({"plan": plan}).to_string(), &names).unwrap();
        assert_eq!(joins, Joins::from([set("ac"), set("abc")]));
    }
}
