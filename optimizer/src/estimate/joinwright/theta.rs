//! Predicates over several relations that are no equality of keys: evaluated on joined rows.

use super::lineage::Lineage;
use super::particles::Particles;
use crate::estimate::evaluate::evaluate_columns;
use crate::extract::rename_columns;
use crate::query_graph::{JoinFilter, QueryGraph, resolve_region_column};
use crate::relset::RelSet;
use datafusion::arrow::array::{Array, UInt32Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use joinwright_stats::CODING;

/// A predicate over several relations.
#[derive(Debug)]
pub(super) struct Theta {
    pub(super) relations: RelSet,
    /// In terms of the names of `columns`.
    predicate: Expr,
    columns: Vec<ThetaColumn>,
    /// The share of rows that pass as far as statistics of columns tell.
    pub(super) selectivity: f64,
}

#[derive(Debug)]
struct ThetaColumn {
    relation: usize,
    /// Its name in the table.
    column: String,
    /// Its name in the predicate.
    name: String,
    data_type: DataType,
}

impl Theta {
    /// `None` if the predicate is one that cannot be evaluated on rows.
    pub(super) fn new(filter: &JoinFilter, graph: &QueryGraph, selectivity: f64) -> Self {
        let mut columns = vec![];
        let name = |relation: usize, field: usize| format!("{relation}.{field}");
        for column in filter.predicate.column_refs() {
            let Some((relation, field)) = resolve_region_column(column) else {
                continue;
            };
            let leaf = &graph.relations[relation];
            let Some(place) = leaf.output.get(field) else {
                continue;
            };
            columns.push(ThetaColumn {
                relation,
                column: leaf.base_columns[*place].clone(),
                name: name(relation, field),
                data_type: leaf.base.columns[*place].data_type.clone(),
            });
        }
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        let predicate = rename_columns(&filter.predicate, |column| {
            let (relation, field) = resolve_region_column(column)?;
            Some(Column::from_name(name(relation, field)))
        });
        Self {
            relations: filter.relations,
            predicate: predicate.unwrap_or_else(|_| filter.predicate.clone()),
            columns,
            selectivity,
        }
    }

    /// Drops the joined rows that fail. The result is the share of their weight that passes; `None` if that cannot be told.
    pub(super) fn restrict(&self, particles: &mut Particles, lineage: &Lineage) -> Option<f64> {
        if self.predicate.is_volatile() || particles.len() == 0 {
            return None;
        }
        let mut fields = vec![];
        let mut arrays = vec![];
        for column in &self.columns {
            let slot = particles.slot(column.relation)?;
            let batch = &lineage.views[column.relation].as_ref()?.set.batch;
            let (place, field) = batch.schema_ref().column_with_name(&column.column)?;
            if field.metadata().contains_key(CODING) {
                return None;
            }
            let rows = (0..particles.len()).map(|particle| particles.row(particle, slot));
            let rows = UInt32Array::from_iter_values(rows);
            let array = take(batch.column(place), &rows, None).ok()?;
            arrays.push(match array.data_type() == &column.data_type {
                true => array,
                false => cast(&array, &column.data_type).ok()?,
            });
            fields.push(Field::new(&column.name, column.data_type.clone(), true));
        }
        let pass = evaluate_columns(&self.predicate, fields, arrays, particles.len()).ok()?;
        let before: f64 = particles.weights.iter().sum();
        particles.retain(|particle| pass.value(particle));
        let after: f64 = particles.weights.iter().sum();
        (before > 0.0).then(|| after / before)
    }
}
