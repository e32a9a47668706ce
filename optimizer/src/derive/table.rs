//! Tables under predicates and renamings, and what is known of them.

use super::{Deriver, GUESS_ROWS};
use crate::estimate::{EstimateSource, Profile};
use crate::query_graph::Relation;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
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
        let predicates = peeled.predicates.into_iter();
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
            predicates: predicates.map(|p| self.with_constants(p)).collect(),
            output,
            details,
            memberships: vec![],
            evaluations: self.known.evaluations.clone(),
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
    pub(super) scan: &'a TableScan,
    /// Conjuncts in terms of the table's own column names.
    pub(super) predicates: Vec<Expr>,
    /// For each field of the outermost schema the table's column.
    pub(super) output: Vec<String>,
}

/// Finds the table under filters, aliases and projections whose computed columns only filters use, if there is nothing else.
pub(super) fn peel(plan: &LogicalPlan) -> Option<Peeled<'_>> {
    let Computed {
        scan,
        predicates,
        output,
    } = computed(plan)?;
    let column = |e: Expr| match e {
        Expr::Column(column) => Some(column.name),
        _ => None,
    };
    Some(Peeled {
        scan,
        predicates,
        output: output.into_iter().map(column).collect::<Option<_>>()?,
    })
}

/// A table under predicates, renamings and computations.
pub(super) struct Computed<'a> {
    pub(super) scan: &'a TableScan,
    /// Conjuncts in terms of the table's own column names.
    pub(super) predicates: Vec<Expr>,
    /// For each field of the outermost schema what it is, in terms of the table's own column names.
    pub(super) output: Vec<Expr>,
}

pub(super) fn computed(plan: &LogicalPlan) -> Option<Computed<'_>> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
            let own = |c: &Column| Some(Expr::Column(Column::from_name(&c.name)));
            let fields = scan.projected_schema.fields().iter();
            Some(Computed {
                scan,
                predicates: scan
                    .filters
                    .iter()
                    .map(|f| substitute(f, &own))
                    .collect::<Option<_>>()?,
                output: fields
                    .map(|f| Expr::Column(Column::from_name(f.name())))
                    .collect(),
            })
        }
        LogicalPlan::SubqueryAlias(alias) => computed(&alias.input),
        LogicalPlan::Filter(filter) => {
            let mut below = computed(&filter.input)?;
            let predicate = below.in_terms_of_table(&filter.predicate, filter.input.schema())?;
            below.predicates.push(predicate);
            Some(below)
        }
        LogicalPlan::Projection(projection) => {
            let mut below = computed(&projection.input)?;
            let schema = projection.input.schema();
            let output = projection.expr.iter();
            below.output = output
                .map(|e| below.in_terms_of_table(&e.clone().unalias_nested().data, schema))
                .collect::<Option<_>>()?;
            Some(below)
        }
        _ => None,
    }
}

impl Computed<'_> {
    /// An expression over `schema`, the fields of which are `output`. `None` for one that has another value each time.
    fn in_terms_of_table(&self, expr: &Expr, schema: &DFSchema) -> Option<Expr> {
        if expr.is_volatile() {
            return None;
        }
        let below = |c: &Column| self.output.get(schema.maybe_index_of_column(c)?).cloned();
        substitute(expr, &below)
    }
}

/// The expression with other expressions in the place of its columns; `None` if there is none for one of them.
fn substitute(expr: &Expr, below: &dyn Fn(&Column) -> Option<Expr>) -> Option<Expr> {
    let mut complete = true;
    let substituted = expr.clone().transform_up(|e| {
        Ok(match &e {
            Expr::Column(column) => match below(column) {
                Some(other) => Transformed::yes(other),
                None => {
                    complete = false;
                    Transformed::no(e)
                }
            },
            _ => Transformed::no(e),
        })
    });
    substituted.ok().filter(|_| complete).map(|s| s.data)
}

/// The expression with its columns renamed, unqualified; `None` if one has no new name.
pub(super) fn rename(expr: &Expr, name: &dyn Fn(&Column) -> Option<String>) -> Option<Expr> {
    substitute(expr, &|c| Some(Expr::Column(Column::from_name(name(c)?))))
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

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit, table_scan};

    fn scan() -> LogicalPlanBuilder {
        let field = |name| Field::new(name, DataType::Int64, true);
        let schema = Schema::new(vec![field("a"), field("b")]);
        table_scan(Some("t"), &schema, None).unwrap()
    }

    /// As DataFusion leaves it where filters use an expression twice.
    fn with_common_expression() -> LogicalPlanBuilder {
        let columns = [col("a").eq(lit(3i64)).alias("three"), col("a"), col("b")];
        let plan = scan().project(columns).unwrap();
        plan.filter(col("three").or(col("b").gt(lit(1i64))))
            .unwrap()
    }

    #[test]
    fn filters_may_use_computed_columns() {
        let plan = with_common_expression().project([col("b")]).unwrap();
        let plan = plan.build().unwrap();
        let peeled = peel(&plan).unwrap();
        assert_eq!(peeled.output, ["b"]);
        let column = |name: &str| Expr::Column(Column::from_name(name));
        let three = column("a").eq(lit(3i64));
        assert_eq!(peeled.predicates, [three.or(column("b").gt(lit(1i64)))]);
    }

    #[test]
    fn what_is_computed_is_no_column_of_the_table() {
        let plan = with_common_expression().build().unwrap();
        assert!(peel(&plan).is_none());
        let renamed = scan()
            .project([col("a").alias("x")])
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(peel(&renamed).unwrap().output, ["a"]);
    }
}
