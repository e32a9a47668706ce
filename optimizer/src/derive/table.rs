//! Tables under predicates and renamings, and what is known of them.

use super::{Deriver, GUESS_ROWS};
use crate::estimate::{EstimateSource, Profile};
use crate::extract;
use crate::query_graph::Relation;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::{MemTable, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::object_store::path::Path;
use joinwright_stats::{Snapshot, TableDetails, provider_key};
use std::collections::HashSet;
use std::sync::Arc;

impl Deriver<'_> {
    /// A table and its predicates as a relation.
    pub(super) fn table(&self, peeled: Peeled<'_>, alias: String) -> Relation {
        let scan = peeled.scan;
        let schema = scan.source.schema();
        let mut base_columns = peeled.output.clone();
        for predicate in &peeled.predicates {
            base_columns.extend(predicate.column_refs().into_iter().map(|c| c.name.clone()));
        }
        let mut seen = HashSet::new();
        base_columns.retain(|name| seen.insert(name.clone()));
        let typed = base_columns.iter().map(|name| {
            let data_type = schema
                .field_with_name(name)
                .map_or(DataType::Null, |f| f.data_type().clone());
            (name.as_str(), data_type)
        });
        let (base, details) = self.scan(scan, &typed.collect::<Vec<_>>());
        let output = peeled
            .output
            .iter()
            .filter_map(|name| base_columns.iter().position(|c| c == name))
            .collect();
        Relation {
            alias,
            table: Some(scan.table_name.table().to_string()),
            base,
            base_columns,
            predicates: peeled.predicates,
            output,
            details,
            memberships: vec![],
            evaluations: self.evaluations.clone(),
        }
    }

    /// What the catalog, or the provider itself, knows about a table.
    fn scan(
        &self,
        scan: &TableScan,
        columns: &[(&str, DataType)],
    ) -> (Profile, Option<Arc<TableDetails>>) {
        let types = || columns.iter().map(|(_, t)| t.clone());
        let Ok(provider) = source_as_provider(&scan.source) else {
            return (unknown_table(types()), None);
        };
        let provider: &dyn TableProvider = provider.as_ref();
        let known = || columns.iter().map(|(n, t)| (*n, t.clone()));
        let analyzed = |locations: &[String]| {
            let stats = self.snapshot.table(locations)?;
            let profile = Profile::from_stats(&stats, known());
            Some((profile, Some(self.snapshot.details(locations))))
        };
        if let Some(listing) = provider.downcast_ref::<ListingTable>()
            && let Some(found) = analyzed(&locations(listing, self.snapshot))
        {
            return found;
        }
        let rows = provider.downcast_ref::<MemTable>().and_then(memory_rows);
        // What is no listing may have been analyzed from its batches, under the name that queries use.
        let name = provider_key(&scan.table_name.to_string());
        if let Some((mut profile, details)) = analyzed(&[name]) {
            if let Some(rows) = rows.filter(|rows| *rows != profile.rows) {
                profile.set_rows(rows);
                profile.stale = true;
            }
            return (profile, details);
        }
        let profile = match (rows, provider.statistics().map(|s| s.num_rows)) {
            (Some(rows), _) => Profile::counted(rows, types()),
            (None, Some(Precision::Exact(rows) | Precision::Inexact(rows))) => {
                Profile::counted(rows as f64, types())
            }
            _ => unknown_table(types()),
        };
        (profile, None)
    }
}

/// A table under nothing but predicates and renamings.
pub(super) struct Peeled<'a> {
    scan: &'a TableScan,
    /// Conjuncts in terms of the table's own column names.
    predicates: Vec<Expr>,
    /// For each field of the outermost schema the table's column.
    output: Vec<String>,
}

/// Finds the table under filters, aliases and column-only projections, if there is nothing else.
pub(super) fn peel(plan: &LogicalPlan) -> Option<Peeled<'_>> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => Some(Peeled {
            scan,
            predicates: scan
                .filters
                .iter()
                .map(|f| rename(f, &|c| Some(c.name.clone())))
                .collect::<Option<_>>()?,
            output: scan
                .projected_schema
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .collect(),
        }),
        LogicalPlan::SubqueryAlias(alias) => peel(&alias.input),
        LogicalPlan::Filter(filter) => {
            let mut peeled = peel(&filter.input)?;
            let schema = filter.input.schema();
            let name = |c: &Column| peeled.output.get(schema.maybe_index_of_column(c)?).cloned();
            let predicate = rename(&filter.predicate, &name)?;
            peeled.predicates.push(predicate);
            Some(peeled)
        }
        LogicalPlan::Projection(projection) => {
            let mut peeled = peel(&projection.input)?;
            let schema = projection.input.schema();
            peeled.output = projection
                .expr
                .iter()
                .map(|e| {
                    let index = schema.maybe_index_of_column(extract::plain_column(e)?)?;
                    peeled.output.get(index).cloned()
                })
                .collect::<Option<_>>()?;
            Some(peeled)
        }
        _ => None,
    }
}

/// The expression with its columns renamed, unqualified; `None` if one has no new name.
pub(super) fn rename(expr: &Expr, name: &dyn Fn(&Column) -> Option<String>) -> Option<Expr> {
    let mut complete = true;
    let renamed = expr.clone().transform(|e| {
        Ok(match &e {
            Expr::Column(column) => match name(column) {
                Some(name) => Transformed::yes(Expr::Column(Column::from_name(name))),
                None => {
                    complete = false;
                    Transformed::no(e)
                }
            },
            _ => Transformed::no(e),
        })
    });
    renamed.ok().filter(|_| complete).map(|r| r.data)
}

/// Where the catalog finds the files of a listing table: files by their keys, folders by their prefix. A pattern, such as the
/// `*.parquet` that `CREATE EXTERNAL TABLE` adds to a folder, stands for the known files that match it.
fn locations(table: &ListingTable, snapshot: &Snapshot) -> Vec<String> {
    let mut locations = vec![];
    for url in table.table_paths() {
        let store = url.object_store();
        let whole = url.is_collection() && !url.prefix().as_ref().is_empty();
        let folder = if whole { "/" } else { "" };
        let prefix = format!("{}{}{folder}", store.as_str(), url.prefix());
        if url.get_glob().is_none() {
            locations.push(prefix);
            continue;
        }
        let below = format!("{}/", prefix.trim_end_matches('/'));
        let matches = |key: &String| {
            let path = key.strip_prefix(store.as_str());
            let path = path.and_then(|path| Path::parse(path).ok());
            path.is_some_and(|path| url.contains(&path, true))
        };
        locations.extend(snapshot.files_at(&[below]).into_iter().filter(matches));
    }
    locations
}

/// Rows of a table in memory; `None` while somebody writes to it.
fn memory_rows(table: &MemTable) -> Option<f64> {
    let mut rows = 0;
    for partition in &table.batches {
        let batches = partition.try_read().ok()?;
        rows += batches.iter().map(|b| b.num_rows()).sum::<usize>();
    }
    Some(rows as f64)
}

fn unknown_table(types: impl IntoIterator<Item = DataType>) -> Profile {
    Profile {
        source: EstimateSource::Guess,
        known: false,
        ..Profile::counted(GUESS_ROWS, types)
    }
}
