//! The combinations of values that several columns of a plan have room for.
//!
//! Two sub-plans that are joined by several columns find each other by chance, unless one of them has all combinations. By chance means:
//! among the combinations that the tables below have room for. A brand has one category, so both have as many combinations as there
//! are brands; customers and days come together freely.

use super::clusters::combinations;
use super::table::peel;
use super::{Deriver, column_of, groups};
use crate::estimate::{ColumnProfile, EstimateSource, Profile};
use crate::extract;
use crate::query_graph::{Composite, QueryGraph, resolve_region_column};
use crate::relset::RelSet;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Window, WindowFunctionDefinition};
use std::collections::BTreeSet;

impl Deriver<'_> {
    /// Combinations that some fields of a plan have room for, from the tables that they come from.
    pub(super) fn room(&self, plan: &LogicalPlan, fields: &[usize]) -> f64 {
        let mut sources: Vec<(&LogicalPlan, Vec<usize>)> = vec![];
        let mut room = 1.0;
        for field in fields {
            let Some((leaf, column)) = source(plan, *field) else {
                room *= self
                    .profile(plan)
                    .columns
                    .get(*field)
                    .map_or(1.0, |c| c.ndv);
                continue;
            };
            match sources
                .iter_mut()
                .find(|(other, _)| std::ptr::eq(*other, leaf))
            {
                Some((_, columns)) => columns.push(column),
                None => sources.push((leaf, vec![column])),
            }
        }
        room * sources
            .iter()
            .map(|(leaf, columns)| self.room_of_leaf(leaf, columns))
            .product::<f64>()
    }

    fn room_of_leaf(&self, leaf: &LogicalPlan, columns: &[usize]) -> f64 {
        let product = |profile: &Profile, places: &[usize]| {
            let ndvs = places
                .iter()
                .filter_map(|place| profile.columns.get(*place));
            ndvs.map(|c| c.ndv).product::<f64>().min(profile.rows)
        };
        let Some(peeled) = peel(leaf) else {
            return product(&self.profile(leaf), columns);
        };
        let relation = self.table(peeled, String::new());
        let places = columns
            .iter()
            .filter_map(|c| relation.output.get(*c).copied());
        let places: Vec<usize> = places.collect();
        let names: BTreeSet<String> = places
            .iter()
            .map(|p| relation.base_columns[*p].clone())
            .collect();
        combinations(&relation, &names).unwrap_or_else(|| product(&relation.base, &places))
    }

    /// The composite keys of sub-plans that are joined with each other.
    pub(crate) fn composites(&self, leaves: &[LogicalPlan], graph: &QueryGraph) -> Vec<Composite> {
        let fields_of = |a: usize, b: usize| -> Vec<usize> {
            let both = graph.classes.iter().filter(|class| {
                let relations = class.relations();
                relations.contains(a) && relations.contains(b)
            });
            let members = both.filter_map(|class| class.members.iter().find(|m| m.relation == a));
            let fields =
                members.filter_map(|m| resolve_region_column(extract::plain_column(&m.key)?));
            fields.map(|(_, field)| field).collect()
        };
        let derived = |r: &usize| graph.relations[*r].table.is_none();
        let derived: Vec<usize> = (0..leaves.len()).filter(derived).collect();
        let mut composites = vec![];
        for (i, a) in derived.iter().enumerate() {
            for b in &derived[..i] {
                let (of_a, of_b) = (fields_of(*a, *b), fields_of(*b, *a));
                if of_a.len() > 1 && of_a.len() == of_b.len() {
                    let combinations = self
                        .room(&leaves[*a], &of_a)
                        .max(self.room(&leaves[*b], &of_b));
                    let pair: RelSet = [*a, *b].into_iter().collect();
                    composites.push(Composite { pair, combinations });
                }
            }
        }
        composites
    }

    /// The profile of a plan with the results of window functions.
    pub(super) fn window(&self, window: &Window) -> Profile {
        let mut profile = self.profile(&window.input);
        let schema = window.input.schema();
        for (expr, field) in window
            .window_expr
            .iter()
            .zip(&window.schema.fields()[profile.columns.len()..])
        {
            let mut column = ColumnProfile::unknown(field.data_type().clone(), profile.rows);
            if let Expr::WindowFunction(function) = expr.clone().unalias_nested().data {
                let params = &function.params;
                let place = |e: &Expr| schema.maybe_index_of_column(extract::plain_column(e)?);
                let fields: Option<Vec<usize>> = params.partition_by.iter().map(place).collect();
                let of_columns = || {
                    let columns = params.partition_by.iter();
                    let columns = columns.map(|e| column_of(e, schema, &profile).ndv);
                    groups::backoff(columns.collect())
                };
                let partitions =
                    fields.map_or_else(of_columns, |fields| self.room(&window.input, &fields));
                let partitions = partitions.clamp(1.0, profile.rows.max(1.0));
                let counts = matches!(function.fun, WindowFunctionDefinition::WindowUDF(_));
                let ndv = match () {
                    // Places within a partition.
                    () if counts => profile.rows / partitions,
                    // One result for all rows of a partition.
                    () if params.order_by.is_empty() => partitions,
                    () => profile.rows,
                };
                column.ndv = ndv.clamp(1.0, profile.rows.max(1.0));
                column.source = EstimateSource::Ndv;
            }
            profile.columns.push(column);
        }
        profile
    }
}

/// The table, or other plan, that a column comes from, through joins, groups and windows, and its place there.
#[recursive::recursive]
fn source(plan: &LogicalPlan, field: usize) -> Option<(&LogicalPlan, usize)> {
    let (leaf, column) = groups::origin(plan, field)?;
    if peel(leaf).is_some() {
        return Some((leaf, column));
    }
    match leaf {
        LogicalPlan::Aggregate(aggregate) => {
            let group = aggregate
                .group_expr
                .get(column)
                .and_then(extract::plain_column);
            match group.and_then(|c| aggregate.input.schema().maybe_index_of_column(c)) {
                Some(field) => source(&aggregate.input, field),
                None => Some((leaf, column)),
            }
        }
        LogicalPlan::Distinct(Distinct::All(input)) => source(input, column),
        LogicalPlan::Window(window) if column < window.input.schema().fields().len() => {
            source(&window.input, column)
        }
        _ => Some((leaf, column)),
    }
}
