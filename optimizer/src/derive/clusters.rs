//! Distinct values among the rows that are left of a table whose rows come in clusters.
//!
//! The lines of an order share its date and its customer. The usual formula draws rows one by one ([`distinct_after`]), but a predicate
//! on the date, or a join with the customers of a city, takes or leaves an order as a whole, and so leaves fewer values than rows
//! drawn at random would. What is drawn here are combinations of the columns asked for and of those that decide which rows
//! are left. A sample that holds all rows of some keys tells how many there are.

use super::groups::UNIQUE;
use crate::estimate::{
    ColumnProfile, Counted, MIN_ROWS, compare, distinct_after, key_column, restricted, rows_left,
};
use crate::join_graph::JoinGraph;
use crate::query_graph::{Member, QueryGraph, Relation};
use crate::relset::RelSet;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::split_conjunction;
use joinwright_stats::Value;
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Of tables with all rows known, most rows that combinations are counted of.
const MOST_KNOWN: usize = 4_096;

/// The relations of a region, asked for the distinct values that are left of them.
pub(super) struct Clusters<'a> {
    graph: &'a QueryGraph,
    joins: OnceCell<JoinGraph>,
    /// Rows of the region.
    rows: f64,
}

impl<'a> Clusters<'a> {
    pub(super) fn new(graph: &'a QueryGraph, rows: f64) -> Self {
        Self {
            graph,
            joins: OnceCell::new(),
            rows,
        }
    }

    /// Distinct combinations of some columns of a relation. `None` where no sample has all rows of some keys.
    pub(super) fn distinct(&self, at: usize, columns: &BTreeSet<String>) -> Option<f64> {
        let relation = self.graph.relations.get(at)?;
        let known = known(self.graph, at, columns, &relation.predicates);
        let (values, among, left) = match known {
            Some(known) => (known.values, known.among, known.among),
            None => {
                let values = combinations(relation, columns)?;
                (values, relation.base.rows, restricted(relation).rows)
            }
        };
        let left = self.rows.min(left);
        if left >= among {
            return Some(values.max(1.0));
        }
        let mut all = columns.clone();
        all.extend(self.restricting(at));
        let clusters = combinations(relation, &all).unwrap_or(relation.base.rows);
        let base_rows = relation.base.rows.max(MIN_ROWS);
        let clusters = (clusters * among / base_rows).min(among).max(values);
        Some(distinct_after(values, clusters, clusters * left / among).max(1.0))
    }

    /// Distinct combinations of some columns of several relations, by relation and field, where one of the relations has a row's
    /// partners in the others by their keys: no more than of its own columns among them and of the keys that lead to the others.
    pub(super) fn distinct_of_all(&self, fields: &[(usize, usize)]) -> Option<f64> {
        let relations: BTreeSet<usize> = fields.iter().map(|(relation, _)| *relation).collect();
        let bounds = (0..self.graph.relations.len()).filter_map(|at| {
            let ways = self.ways(at);
            let mut columns = BTreeSet::new();
            for relation in &relations {
                if *relation != at {
                    columns.insert(ways[*relation].clone()?);
                }
            }
            for (_, field) in fields.iter().filter(|(relation, _)| *relation == at) {
                columns.insert(self.column_name(at, *field)?.clone());
            }
            self.distinct(at, &columns)
        });
        bounds.reduce(f64::min)
    }

    /// The table's column that a field of a relation is.
    pub(super) fn column_name(&self, at: usize, field: usize) -> Option<&'a String> {
        let relation = self.graph.relations.get(at)?;
        relation.base_columns.get(*relation.output.get(field)?)
    }

    pub(super) fn alias(&self, at: usize) -> Option<&'a String> {
        Some(&self.graph.relations.get(at)?.alias)
    }

    /// By relation the column of relation `at` that decides its row, directly or by way of others.
    fn ways(&self, at: usize) -> Vec<Option<String>> {
        let mut ways: Vec<Option<String>> = vec![None; self.graph.relations.len()];
        let mut next = vec![at];
        while let Some(from) = next.pop() {
            for class in &self.graph.classes {
                let Some(own) = class.members.iter().find(|m| m.relation == from) else {
                    continue;
                };
                let way = match from == at {
                    true => key_column(&self.graph.relations[at], own),
                    false => ways[from].clone(),
                };
                for member in &class.members {
                    let to = member.relation;
                    if to != at && ways[to].is_none() && way.is_some() && self.is_key(member) {
                        ways[to] = way.clone();
                        next.push(to);
                    }
                }
            }
        }
        ways
    }

    /// Whether no two rows of a member's relation agree in it.
    fn is_key(&self, member: &Member) -> bool {
        self.values(member) >= self.graph.relations[member.relation].base.rows * UNIQUE
    }

    /// Distinct values of a member before any predicate; 0 if it is no column.
    fn values(&self, member: &Member) -> f64 {
        let relation = &self.graph.relations[member.relation];
        let name = key_column(relation, member);
        let column = name.and_then(|name| relation.base_column(&name));
        column.map_or(0.0, |column| column.ndv)
    }

    /// The columns of a relation that decide which of its rows are kept: those of its predicates, and those that lead to relations
    /// with predicates, or with fewer keys.
    fn restricting(&self, at: usize) -> Vec<String> {
        let relation = &self.graph.relations[at];
        let of_predicates = relation.predicates.iter().flat_map(Expr::column_refs);
        let mut columns: Vec<String> = of_predicates.map(|column| column.name.clone()).collect();
        let keys = relation.memberships.iter().flat_map(|m| &m.keys);
        columns.extend(keys.map(|(own, _)| own.clone()));
        let is_restricted = |at: usize| {
            let other = &self.graph.relations[at];
            !other.predicates.is_empty() || !other.memberships.is_empty() || other.table.is_none()
        };
        for class in &self.graph.classes {
            let Some(own) = class.members.iter().find(|m| m.relation == at) else {
                continue;
            };
            let least = class.members.iter().map(|member| self.values(member));
            let fewer = least.fold(f64::INFINITY, f64::min) < self.values(own) * UNIQUE;
            if fewer || self.behind(class.relations(), at).iter().any(is_restricted) {
                columns.extend(key_column(relation, own));
            }
        }
        columns
    }

    /// Some relations, and those that they are connected with other than by relation `at`.
    fn behind(&self, some: RelSet, at: usize) -> RelSet {
        let joins = self.joins.get_or_init(|| self.graph.join_graph());
        let others = joins.all().minus(RelSet::single(at));
        let (mut all, mut last) = (RelSet::EMPTY, some.intersect(others));
        while !last.is_empty() {
            all = all.union(last);
            last = joins.neighborhood(last).intersect(others).minus(all);
        }
        all
    }
}

/// Distinct combinations of some columns of a relation among its rows that pass some predicates, and whose keys are within the bounds of
/// the columns that they are equal to; and the number of these rows. `None` unless every row is known.
fn known(
    graph: &QueryGraph,
    at: usize,
    columns: &BTreeSet<String>,
    predicates: &[Expr],
) -> Option<Counted> {
    let relation = graph.relations.get(at)?;
    let all = relation.details.as_ref()?.all_rows()?;
    let conjuncts = predicates.iter().flat_map(split_conjunction).cloned();
    let conjuncts: Vec<Expr> = conjuncts.chain(bounds(graph, at)).collect();
    let count = || {
        let mut passing = relation
            .evaluations
            .evaluate_all(&conjuncts, &all, &|name| relation.base_type(name))?;
        for membership in &relation.memberships {
            if let Some(rows) = rows_left(membership, &all) {
                passing = &passing & &rows;
            }
        }
        let rows = passing.count_set_bits();
        let counted = |values: f64| {
            Some(Counted {
                values,
                among: rows as f64,
            })
        };
        let only = columns.first().filter(|_| columns.len() == 1);
        if let Some(column) = only.and_then(|column| relation.base_column(column)) {
            if conjuncts.is_empty() && relation.memberships.is_empty() {
                return counted(column.ndv);
            }
            if column.ndv >= relation.base.rows * UNIQUE {
                return counted(rows as f64);
            }
        }
        if rows > MOST_KNOWN {
            return None;
        }
        counted(all.combinations(columns, passing.set_indices())? as f64)
    };
    match relation.memberships.is_empty() {
        true => relation.evaluations.count(&all, columns, &conjuncts, count),
        false => count(),
    }
}

/// Predicates on a relation that say what the bounds of other columns say of its keys.
fn bounds(graph: &QueryGraph, at: usize) -> Vec<Expr> {
    let relation = &graph.relations[at];
    let mut bounds = vec![];
    for class in &graph.classes {
        let own = class.members.iter().find(|m| m.relation == at);
        let Some(name) = own.and_then(|member| key_column(relation, member)) else {
            continue;
        };
        for other in class.members.iter().filter(|m| m.relation != at) {
            let of_other = &graph.relations[other.relation];
            let column = key_column(of_other, other);
            if let Some(other) = column.and_then(|name| of_other.base_column(&name)) {
                bounds.extend(within(relation, &name, other));
            }
        }
    }
    bounds
}

/// Predicates on a column of a relation that say what the bounds of another one say if both are equal.
pub(super) fn within(relation: &Relation, name: &str, other: &ColumnProfile) -> Vec<Expr> {
    let Some(own) = relation.base_column(name) else {
        return vec![];
    };
    let literal = |value: &Option<Value>| match value {
        Some(Value::Int(value)) => {
            let value = ScalarValue::Int64(Some(i64::try_from(*value).ok()?));
            Some(Expr::Literal(value.cast_to(&own.data_type).ok()?, None))
        }
        _ => None,
    };
    let is_above = |a: &Option<Value>, b: &Option<Value>| match (a, b) {
        (Some(a), Some(b)) => compare(a, b).is_some_and(Ordering::is_gt),
        _ => false,
    };
    let key = Expr::Column(Column::from_name(name));
    let low = literal(&other.min).filter(|_| is_above(&other.min, &own.min));
    let high = literal(&other.max).filter(|_| is_above(&own.max, &other.max));
    let low = low.map(|value| key.clone().gt_eq(value));
    low.into_iter()
        .chain(high.map(|value| key.lt_eq(value)))
        .collect()
}

/// Combinations that some columns of a relation have room for among rows that pass some predicates: see [`known`]; elsewhere as many as
/// their distinct values allow, predicates or not.
pub(super) fn room(
    graph: &QueryGraph,
    at: usize,
    columns: &BTreeSet<String>,
    predicates: &[Expr],
) -> f64 {
    if let Some(known) = known(graph, at, columns, predicates) {
        return known.values.max(1.0);
    }
    let relation = &graph.relations[at];
    combinations(relation, columns).unwrap_or_else(|| {
        let columns = columns.iter().filter_map(|c| relation.base_column(c));
        let product: f64 = columns.map(|c| c.ndv).product();
        product.min(relation.base.rows)
    })
}

/// Distinct combinations of some columns of a large table, from a sample that has all rows of some keys of one of them. `None` where there
/// is none.
fn combinations(relation: &Relation, columns: &BTreeSet<String>) -> Option<f64> {
    let details = relation.details.as_ref()?;
    columns.iter().find_map(|key| {
        let ndv = relation.base_column(key)?.ndv;
        // All rows have all rows of any key.
        let set = details.all_rows().or_else(|| details.rows_by_key(key))?;
        match columns.len() {
            1 => Some(ndv),
            _ => Some(set.combinations_per_key(key, columns)? * ndv),
        }
    })
}
