//! Predicates over several relations that are no equality of keys: evaluated on joined rows.

use super::leaf::{Leaf, View, small_count};
use super::lineage::Lineage;
use super::particles::{GOLDEN, Particles};
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

    /// The share of pairs of rows that pass, among rows of its relations that pass what is asked of each alone: what the predicate says of
    /// a single relation may have been asked of it before. `None` where rows are not known.
    pub(super) fn share_of_pairs(&self, leaves: &[Leaf], pairs: usize) -> Option<f64> {
        let mut views: Vec<Option<&View>> = vec![None; leaves.len()];
        let mut particles = Particles {
            relations: self.relations.iter().collect(),
            weights: vec![1.0; pairs],
            ..Particles::default()
        };
        let mut chosen = vec![];
        for relation in self.relations.iter() {
            let leaf = leaves.get(relation)?;
            let of_view = |view: &&View| {
                let columns = self.columns.iter().filter(|c| c.relation == relation);
                view.passing > 0 && columns.into_iter().all(|c| is_plain(view, &c.column))
            };
            let known = [leaf.all.as_deref(), leaf.uniform.as_deref()];
            let view = known.into_iter().flatten().find(of_view)?;
            views[relation] = Some(view);
            chosen.push(view.some_passing_rows(view.passing.min(pairs)));
        }
        let mut random = 0u64;
        for _ in 0..pairs {
            for rows in &chosen {
                random = random.wrapping_add(GOLDEN);
                // The finalizer of SplitMix64: rows of one relation meet any of the next.
                let mixed = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                let place = (mixed >> 32) as usize % rows.len();
                particles.rows.push(rows[place]);
            }
        }
        self.keep(&mut particles, |relation| {
            views.get(relation).copied().flatten()
        })?;
        let hits = particles.len() as f64;
        Some(small_count(hits, pairs as f64, self.selectivity))
    }

    /// Drops the joined rows that fail. The result is the share of their weight that passes; `None` if that cannot be told.
    pub(super) fn restrict(&self, particles: &mut Particles, lineage: &Lineage) -> Option<f64> {
        let before: f64 = particles.weights.iter().sum();
        self.keep(particles, |relation| lineage.views[relation].as_deref())?;
        let after: f64 = particles.weights.iter().sum();
        (before > 0.0).then(|| after / before)
    }

    fn keep<'a>(
        &self,
        particles: &mut Particles,
        view: impl Fn(usize) -> Option<&'a View>,
    ) -> Option<()> {
        if self.predicate.is_volatile() || particles.len() == 0 {
            return None;
        }
        let mut fields = vec![];
        let mut arrays = vec![];
        for column in &self.columns {
            let slot = particles.slot(column.relation)?;
            let view = view(column.relation)?;
            if !is_plain(view, &column.column) {
                return None;
            }
            let batch = &view.set.batch;
            let rows = (0..particles.len()).map(|particle| particles.row(particle, slot));
            let rows = UInt32Array::from_iter_values(rows);
            let array = take(batch.column_by_name(&column.column)?, &rows, None).ok()?;
            arrays.push(match array.data_type() == &column.data_type {
                true => array,
                false => cast(&array, &column.data_type).ok()?,
            });
            fields.push(Field::new(&column.name, column.data_type.clone(), true));
        }
        let pass = evaluate_columns(&self.predicate, fields, arrays, particles.len()).ok()?;
        particles.retain(|particle| pass.value(particle));
        Some(())
    }
}

/// Whether the values of a column are known as they are.
fn is_plain(view: &View, column: &str) -> bool {
    let field = view.set.batch.schema_ref().field_with_name(column);
    field.is_ok_and(|field| !field.metadata().contains_key(CODING))
}
