//! `joinwright stats`: what the catalog knows.

use std::collections::HashMap;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use arrow::datatypes::SchemaRef;
use joinwright_optimizer::Registry;
use joinwright_stats::{Budget, Catalog, TableInfo};

use super::{block_on, print};
use crate::arm::{Arm, Kind};
use crate::cli::StatsArgs;
use crate::machine::available_threads;
use crate::render::stats::{self as render, ColumnView, Sizes};
use crate::session::{Purpose, Session};
use crate::statistics::{know, open_catalog};
use crate::suite::data_folder;
use crate::tables::find_tables;

/// Runs the command.
pub(super) fn run(args: StatsArgs, registry: &Registry) -> Result<u8> {
    let paths = find_tables(&data_folder(&args.dir)?.0)?;
    let catalog = open_catalog(args.cache.folder.as_deref())?;
    let threads = available_threads();
    let schemas = block_on(threads, async {
        know(&catalog, &paths).await?;
        let arm = Arm {
            name: "default".to_owned(),
            kind: Kind::Default,
        };
        let session =
            Session::open(&arm, &paths, &catalog, registry, threads, Purpose::Run).await?;
        let mut schemas: HashMap<String, SchemaRef> = HashMap::new();
        for path in &paths {
            let name = datafusion::common::TableReference::bare(path.name.as_str());
            let schema = session.context.table_provider(name).await?.schema();
            schemas.insert(path.name.clone(), schema);
        }
        Ok(schemas)
    })?;
    let tables: Vec<TableInfo> = catalog
        .snapshot()
        .tables()
        .into_iter()
        .filter(|table| schemas.contains_key(&table.name))
        .collect();
    print(&(show(&args, &catalog, &tables, &schemas)? + "\n"))?;
    Ok(0)
}

fn show(
    args: &StatsArgs,
    catalog: &Catalog,
    tables: &[TableInfo],
    schemas: &HashMap<String, SchemaRef>,
) -> Result<String> {
    let now = SystemTime::now();
    let Some(target) = &args.table else {
        if args.json {
            return pretty(&render::tables_json(tables, schemas, now));
        }
        let data = tables.iter().map(|table| table.stats.bytes).sum();
        let sizes = Sizes {
            budget: Budget::default().limit(data),
            cache: catalog.cache_bytes(),
        };
        return Ok(render::tables(tables, sizes, now));
    };
    let Some((table, column)) = find(tables, target) else {
        bail!("unknown table `{target}` in {}", args.dir.display());
    };
    let schema = &schemas[&table.name];
    let Some(name) = column else {
        return match args.json {
            true => pretty(&render::table_json(table, schema, now)),
            false => Ok(render::table(table, schema, now)),
        };
    };
    let column = table
        .stats
        .column(name)
        .with_context(|| format!("table {} has no column `{name}`", table.name))?;
    let view = ColumnView::read(table, column, schema);
    match args.json {
        true => pretty(&render::column_json(&view)),
        false => Ok(view.to_text()),
    }
}

/// The table that is meant, or its column. Names of both may have dots in them: the whole is tried first, then the longest table.
fn find<'a, 'b>(
    tables: &'a [TableInfo],
    target: &'b str,
) -> Option<(&'a TableInfo, Option<&'b str>)> {
    let table = |name: &str| tables.iter().find(|table| table.name == name);
    if let Some(whole) = table(target) {
        return Some((whole, None));
    }
    let splits = || {
        let dots = target.rmatch_indices('.');
        dots.filter_map(|(at, _)| Some((table(&target[..at])?, &target[at + 1..])))
    };
    let known = splits().find(|(table, column)| table.stats.column(column).is_some());
    let (table, column) = known.or_else(|| splits().next())?;
    Some((table, Some(column)))
}

fn pretty(json: &serde_json::Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(json)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use joinwright_stats::{ColumnStats, TableStats};

    use super::*;

    #[test]
    fn names_may_have_dots() {
        let table = |name: &str, columns: &[&str]| TableInfo {
            name: name.to_owned(),
            files: Vec::new(),
            stats: Arc::new(TableStats {
                columns: columns
                    .iter()
                    .map(|name| ColumnStats {
                        name: (*name).to_owned(),
                        ..ColumnStats::default()
                    })
                    .collect(),
                ..TableStats::default()
            }),
            details: Arc::default(),
            analyzed_at: None,
            row_groups: 0,
            page_index: false,
            entry_bytes: 0,
        };
        let tables = [table("a", &["b", "b.c", "d.e"]), table("a.b", &["c"])];
        let check = |target: &str, expected: Option<(&str, Option<&str>)>| {
            let found = find(&tables, target);
            let names = found.map(|(table, column)| (table.name.as_str(), column));
            assert_eq!(names, expected, "{target}");
        };
        check("a", Some(("a", None)));
        check("a.b", Some(("a.b", None)));
        check("a.b.c", Some(("a.b", Some("c"))));
        check("a.d.e", Some(("a", Some("d.e"))));
        check("a.x", Some(("a", Some("x"))));
        check("x.a", None);
    }
}
