//! Textbook estimation: Selinger et al., SIGMOD 1979, with what later systems added.
//!
//! Conjuncts are independent, values within a column are uniform, and the values of the smaller
//! side of an equality are contained in the larger. For an equality class with members in k
//! relations of a set, the product of their rows shrinks by the k − 1 larger NDVs.
//!
//! Two relations that share several classes are joined on a composite key, whose distinct
//! combinations are never more than the rows of the smaller of the two tables that hold it. Without that cap
//! the product of the NDVs of TPC-H's `(ps_partkey, ps_suppkey)` would be 2,500 times too large.

use super::literal::compare;
use super::profile::{ColumnProfile, MIN_ROWS, Profile};
use super::selectivity::{self, Columns};
use super::{Cardinalities, CardinalityEstimator, Estimate, EstimateSource};
use crate::query_graph::{QueryGraph, Relation, resolve_region_column};
use crate::relset::RelSet;
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use joinwright_stats::Value;

/// Estimates from rows, NDV, min/max and null fractions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Textbook;

impl CardinalityEstimator for Textbook {
    fn name(&self) -> &str {
        "textbook"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared::new(graph))
    }
}

/// The profile of a relation after its predicates, its columns as the leaf's schema has them.
pub(crate) fn restricted(relation: &Relation) -> Profile {
    let mut profile = relation.base.clone();
    let column = |c: &Column| {
        relation
            .base_columns
            .iter()
            .position(|name| *name == c.name)
    };
    selectivity::restrict(&mut profile, &relation.predicates, &column);
    profile.columns = relation
        .output
        .iter()
        .map(|i| profile.columns[*i].clone())
        .collect();
    profile
}

/// One relation's part in an equality class.
#[derive(Debug, Clone, Copy)]
struct ClassMember {
    relation: usize,
    ndv: f64,
    /// Share of the relation's rows whose key is not NULL.
    not_null: f64,
}

/// Two relations with a correction of their joint estimate.
#[derive(Debug, Clone, Copy)]
struct Pair {
    pair: RelSet,
    factor: f64,
}

#[derive(Debug)]
struct Prepared {
    rows: Vec<f64>,
    sources: Vec<EstimateSource>,
    /// By class its members, the fewest distinct values first.
    classes: Vec<Vec<ClassMember>>,
    class_sources: Vec<EstimateSource>,
    /// Predicates that are no equality, with their selectivity.
    filters: Vec<(RelSet, f64, EstimateSource)>,
    /// By relation its composite keys with relations of a lower index.
    composites: Vec<Vec<Pair>>,
    /// Pairs whose keys have disjoint ranges.
    disjoint: Vec<RelSet>,
}

impl Prepared {
    fn new(graph: &QueryGraph) -> Self {
        let profiles: Vec<Profile> = graph.relations.iter().map(restricted).collect();
        let resolve = |c: &Column| -> Option<&ColumnProfile> {
            let (relation, field) = resolve_region_column(c)?;
            profiles.get(relation)?.columns.get(field)
        };

        let mut classes = vec![];
        let mut class_sources = vec![];
        let mut disjoint = vec![];
        for class in &graph.classes {
            let mut source = EstimateSource::Ndv;
            let mut members: Vec<ClassMember> = vec![];
            let mut ranges = vec![];
            for member in &class.members {
                let rows = profiles[member.relation].rows;
                let key = key_profile(&member.key, &resolve, rows);
                source = source.max(key.source);
                ranges.push((member.relation, key.min, key.max));
                members.push(ClassMember {
                    relation: member.relation,
                    ndv: key.ndv,
                    not_null: 1.0 - key.null_fraction,
                });
            }
            for (i, (a, min_a, max_a)) in ranges.iter().enumerate() {
                for (b, min_b, max_b) in &ranges[..i] {
                    if a != b && (is_below(max_a, min_b) || is_below(max_b, min_a)) {
                        disjoint.push([*a, *b].into_iter().collect());
                    }
                }
            }
            members.sort_by(|x, y| x.ndv.total_cmp(&y.ndv).then(x.relation.cmp(&y.relation)));
            classes.push(members);
            class_sources.push(source);
        }

        let filters = graph
            .filters
            .iter()
            .map(|filter| {
                let columns = RegionColumns {
                    profiles: &profiles,
                };
                let (selectivity, source) = selectivity::selectivity(&filter.predicate, &columns);
                (filter.relations, selectivity, source)
            })
            .collect();

        Self {
            rows: profiles.iter().map(|p| p.rows).collect(),
            sources: profiles.iter().map(|p| p.source).collect(),
            composites: composites(graph, &classes),
            classes,
            class_sources,
            filters,
            disjoint,
        }
    }
}

/// Finds the pairs of relations that share two classes or more, and by how much the product of
/// NDVs overstates their composite key.
fn composites(graph: &QueryGraph, classes: &[Vec<ClassMember>]) -> Vec<Vec<Pair>> {
    let n = graph.relations.len();
    let mut composites = vec![vec![]; n];
    for (b, of_b) in composites.iter_mut().enumerate() {
        for a in 0..b {
            let mut shared = 0;
            let mut product = 1.0;
            for class in classes {
                let ndv = |relation| {
                    class
                        .iter()
                        .filter(|m| m.relation == relation)
                        .map(|m| m.ndv)
                        .reduce(f64::max)
                };
                if let (Some(x), Some(y)) = (ndv(a), ndv(b)) {
                    shared += 1;
                    product *= x.max(y);
                }
            }
            let cap = graph.relations[a]
                .base
                .rows
                .min(graph.relations[b].base.rows);
            if shared >= 2 && product > cap {
                of_b.push(Pair {
                    pair: [a, b].into_iter().collect(),
                    factor: product / cap.max(1.0),
                });
            }
        }
    }
    composites
}

impl Cardinalities for Prepared {
    fn estimate(&self, set: RelSet) -> Estimate {
        let mut rows = 1.0;
        let mut source = EstimateSource::Exact;
        for relation in set.iter() {
            rows *= self.rows[relation];
            source = source.max(self.sources[relation]);
        }
        let product = rows;
        for (class, class_source) in self.classes.iter().zip(&self.class_sources) {
            let mut members = class.iter().filter(|m| set.contains(m.relation));
            let Some(smallest) = members.next() else {
                continue;
            };
            let mut selectivity = 1.0;
            let mut joined = false;
            for member in members {
                selectivity *= member.not_null / member.ndv;
                joined |= member.relation != smallest.relation;
            }
            if joined {
                rows *= selectivity * smallest.not_null;
                source = source.max(*class_source);
            }
        }
        if set.len() > 1 {
            for (relations, selectivity, filter_source) in &self.filters {
                if relations.is_subset(set) {
                    rows *= selectivity;
                    source = source.max(*filter_source);
                }
            }
            for relation in set.iter() {
                // One partner a relation: with two, the same classes would be corrected twice.
                let correction = self.composites[relation]
                    .iter()
                    .filter(|p| p.pair.is_subset(set))
                    .map(|p| p.factor)
                    .reduce(f64::max);
                rows *= correction.unwrap_or(1.0);
            }
            if self.disjoint.iter().any(|pair| pair.is_subset(set)) {
                rows = rows.min(1.0);
            }
        }
        Estimate {
            rows: rows.min(product).clamp(MIN_ROWS, f64::MAX),
            source,
            upper_bound: None,
        }
    }
}

/// The columns of all relations of a region, for predicates across them.
struct RegionColumns<'a> {
    profiles: &'a [Profile],
}

impl Columns for RegionColumns<'_> {
    fn column(&self, column: &Column) -> Option<&ColumnProfile> {
        let (relation, field) = resolve_region_column(column)?;
        self.profiles.get(relation)?.columns.get(field)
    }

    fn rows(&self, column: &Column) -> f64 {
        resolve_region_column(column)
            .and_then(|(relation, _)| self.profiles.get(relation))
            .map_or(1.0, |p| p.rows)
    }
}

/// What is known about a join key: a column as it is, an expression as the combination of its
/// columns.
pub(crate) fn key_profile<'a>(
    key: &Expr,
    resolve: &dyn Fn(&Column) -> Option<&'a ColumnProfile>,
    rows: f64,
) -> ColumnProfile {
    match key {
        Expr::Column(column) => match resolve(column) {
            Some(profile) => profile.clone(),
            None => ColumnProfile::unknown(datafusion::arrow::datatypes::DataType::Null, rows),
        },
        Expr::Alias(alias) => key_profile(&alias.expr, resolve, rows),
        // A cast keeps the number of values but may move their range.
        Expr::Cast(cast) => without_range(key_profile(&cast.expr, resolve, rows)),
        Expr::TryCast(cast) => without_range(key_profile(&cast.expr, resolve, rows)),
        _ => {
            let mut ndv = 1.0;
            let mut null_fraction = 0.0_f64;
            for column in key.column_refs() {
                if let Some(profile) = resolve(column) {
                    ndv *= profile.ndv;
                    null_fraction = null_fraction.max(profile.null_fraction);
                }
            }
            let mut profile =
                ColumnProfile::unknown(datafusion::arrow::datatypes::DataType::Null, rows);
            profile.ndv = ndv.clamp(1.0, rows.max(1.0));
            profile.null_fraction = null_fraction;
            profile
        }
    }
}

fn without_range(profile: ColumnProfile) -> ColumnProfile {
    ColumnProfile {
        min: None,
        max: None,
        ..profile
    }
}

/// Whether `max` is known to be below `min`.
fn is_below(max: &Option<Value>, min: &Option<Value>) -> bool {
    match (max, min) {
        (Some(max), Some(min)) => compare(max, min).is_some_and(|o| o.is_lt()),
        _ => false,
    }
}
