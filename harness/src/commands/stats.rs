//! `joinwright stats`: what the catalog knows.

use std::collections::HashMap;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use arrow::datatypes::SchemaRef;
use joinwright_optimizer::Registry;
use joinwright_stats::TableInfo;

use super::{block_on, print};
use crate::arm::{Arm, Kind};
use crate::cli::StatsArgs;
use crate::machine::available_threads;
use crate::render::stats as render;
use crate::session::{Purpose, Session};
use crate::statistics::{know, open_catalog};
use crate::tables::find_tables;

/// Runs the command.
pub(super) fn run(args: StatsArgs, registry: &Registry) -> Result<u8> {
    let paths = find_tables(&args.dir)?;
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
    print(&(show(&args, &tables, &schemas)? + "\n"))?;
    Ok(0)
}

fn show(
    args: &StatsArgs,
    tables: &[TableInfo],
    schemas: &HashMap<String, SchemaRef>,
) -> Result<String> {
    let now = SystemTime::now();
    let Some(target) = &args.table else {
        if !args.json {
            return Ok(render::tables(tables, now));
        }
        let all: Vec<_> = tables
            .iter()
            .map(|table| render::table_json(table, &schemas[&table.name], now))
            .collect();
        return Ok(serde_json::to_string_pretty(&all)?);
    };
    // A table's name may have a dot in it, so the whole is tried first.
    let whole = tables.iter().find(|table| table.name == *target);
    let (table, column) = match (whole, target.rsplit_once('.')) {
        (Some(table), _) => (Some(table), None),
        (None, Some((table, column))) => {
            (tables.iter().find(|info| info.name == table), Some(column))
        }
        (None, None) => (None, None),
    };
    let Some(table) = table else {
        bail!("unknown table `{target}` in {}", args.dir.display());
    };
    let schema = &schemas[&table.name];
    let Some(name) = column else {
        return Ok(match args.json {
            true => serde_json::to_string_pretty(&render::table_json(table, schema, now))?,
            false => render::columns(&table.stats, schema),
        });
    };
    let column = table
        .stats
        .column(name)
        .with_context(|| format!("table {} has no column `{name}`", table.name))?;
    Ok(match args.json {
        true => serde_json::to_string_pretty(&render::column_json(column, schema))?,
        false => render::column(table, column, schema),
    })
}
