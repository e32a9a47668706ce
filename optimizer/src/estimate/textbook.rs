//! Textbook estimation: Selinger et al., SIGMOD 1979, with what later systems added.
//!
//! Conjuncts are independent, values within a column are uniform, and the values of the smaller
//! side of an equality are contained in the larger. For an equality class with members in k
//! relations of a set, the product of their rows shrinks by the k − 1 larger NDVs.
//!
//! Two relations that share several classes are joined on a composite key. By containment one of
//! them holds all its combinations: the one with more distinct values in every column, or the smaller
//! one if they have as many. It has no more combinations than rows. Without that cap the product of the NDVs of TPC-H's
//! `(ps_partkey, ps_suppkey)` would be 2,500 times too large.

use super::literal::compare;
use super::profile::{ColumnProfile, MIN_ROWS, Profile};
use super::selectivity::{self, Columns};
use super::{Cardinalities, CardinalityEstimator, Estimate, EstimateSource};
use crate::query_graph::{Member, QueryGraph, Relation, resolve_region_column};
use crate::relset::RelSet;
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use joinwright_stats::Value;

/// Sketches err by a percent or two: numbers of distinct values this close are taken for equal.
pub(super) const SAME_DOMAIN: f64 = 1.05;

/// Estimates from rows, NDV, min/max and null fractions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Textbook;

impl CardinalityEstimator for Textbook {
    fn name(&self) -> &str {
        "textbook"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        let spread = |relation: &Relation| restricted_by(relation, true);
        let profiles = graph.relations.iter().map(spread).collect();
        Box::new(Prepared::new(graph, profiles))
    }
}

/// The profile of a relation after its predicates, its columns as the leaf's schema has them.
pub(crate) fn restricted(relation: &Relation) -> Profile {
    restricted_by(relation, false)
}

/// The same, by common values and histograms.
pub(super) fn restricted_by_spread(relation: &Relation) -> Profile {
    restricted_by(relation, true)
}

/// The same, by common values and histograms if `spread`.
fn restricted_by(relation: &Relation, spread: bool) -> Profile {
    let mut profile = relation.base.clone();
    let column = |c: &Column| {
        relation
            .base_columns
            .iter()
            .position(|name| *name == c.name)
    };
    let details = relation.details.as_ref().filter(|_| spread);
    let distribution = |c: &Column| details?.distribution(&c.name);
    selectivity::restrict_spread(&mut profile, &relation.predicates, &column, &distribution);
    if !relation.memberships.is_empty() {
        let shares = relation
            .memberships
            .iter()
            .map(|membership| membership.share);
        profile.set_rows((profile.rows * shares.product::<f64>()).max(MIN_ROWS));
        profile.source = profile.source.max(EstimateSource::Ndv);
    }
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

/// The formulas on the relations of one region.
#[derive(Debug)]
pub(super) struct Prepared {
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
    /// `profiles` are what the predicates leave of each relation, by field of its schema.
    pub(super) fn new(graph: &QueryGraph, profiles: Vec<Profile>) -> Self {
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
                // What a second key of a relation says is one of the relation's own predicates.
                if members.iter().any(|m| m.relation == member.relation) {
                    continue;
                }
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

impl Prepared {
    /// Sets the share of rows that a predicate which is no equality leaves, by its place in the graph.
    pub(super) fn set_filter_share(&mut self, filter: usize, share: f64) {
        if let Some(filter) = self.filters.get_mut(filter) {
            filter.1 = share;
        }
    }
}

/// Finds the pairs of relations that share two classes or more, and by how much the product of
/// NDVs overstates their composite key.
fn composites(graph: &QueryGraph, classes: &[Vec<ClassMember>]) -> Vec<Vec<Pair>> {
    let n = graph.relations.len();
    let unfiltered = |c: &Column| {
        let (relation, field) = resolve_region_column(c)?;
        let relation = graph.relations.get(relation)?;
        relation.base.columns.get(*relation.output.get(field)?)
    };
    // By class and member, the distinct values before any predicate.
    let domains: Vec<Vec<(usize, f64)>> = graph
        .classes
        .iter()
        .map(|class| {
            let ndv = |m: &Member| {
                let rows = graph.relations[m.relation].base.rows;
                key_profile(&m.key, &unfiltered, rows).ndv
            };
            class.members.iter().map(|m| (m.relation, ndv(m))).collect()
        })
        .collect();
    let mut composites = vec![vec![]; n];
    for (b, of_b) in composites.iter_mut().enumerate() {
        for a in 0..b {
            let mut shared = 0;
            let mut product = 1.0;
            let (mut a_holds, mut b_holds) = (true, true);
            for (class, domain) in classes.iter().zip(&domains) {
                let most = |ndvs: &mut dyn Iterator<Item = f64>| ndvs.reduce(f64::max);
                let ndv = |r| most(&mut class.iter().filter(|m| m.relation == r).map(|m| m.ndv));
                let all = |r| most(&mut domain.iter().filter(|m| m.0 == r).map(|m| m.1));
                let (Some(x), Some(y)) = (ndv(a), ndv(b)) else {
                    continue;
                };
                shared += 1;
                product *= x.max(y);
                if let (Some(x), Some(y)) = (all(a), all(b)) {
                    a_holds &= x * SAME_DOMAIN >= y;
                    b_holds &= y * SAME_DOMAIN >= x;
                }
            }
            let pair: RelSet = [a, b].into_iter().collect();
            let known = graph.composites.iter().find(|known| known.pair == pair);
            if shared == 0 || shared == 1 && known.is_none() {
                continue;
            }
            let (rows_a, rows_b) = (graph.relations[a].base.rows, graph.relations[b].base.rows);
            let cap = match (known, a_holds, b_holds) {
                (Some(known), ..) => known.combinations,
                (None, true, true) => rows_a.min(rows_b),
                (None, true, false) => rows_a,
                (None, false, true) => rows_b,
                (None, false, false) => rows_a.max(rows_b),
            };
            // One key with room for more values than either side has left: it is by chance that they meet.
            if product > cap || shared == 1 {
                of_b.push(Pair {
                    pair,
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
                joined = true;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_graph::{EqualityClass, JoinFilter, region_column};
    use datafusion::arrow::datatypes::DataType;
    use datafusion::logical_expr::{col, lit};

    /// A relation of `rows` rows whose columns have the given NDVs and values from 1 to the NDV.
    fn relation(rows: f64, ndvs: &[f64]) -> Relation {
        let column = |ndv: &f64| ColumnProfile {
            data_type: DataType::Int64,
            ndv: *ndv,
            null_fraction: 0.0,
            min: Some(Value::Int(1)),
            max: Some(Value::Int(*ndv as i128)),
            source: EstimateSource::Ndv,
        };
        Relation {
            alias: String::new(),
            table: None,
            base: Profile {
                rows,
                source: EstimateSource::Exact,
                known: true,
                stale: false,
                columns: ndvs.iter().map(column).collect(),
            },
            base_columns: (0..ndvs.len()).map(|i| format!("c{i}")).collect(),
            predicates: vec![],
            output: (0..ndvs.len()).collect(),
            details: None,
            memberships: vec![],
            evaluations: Default::default(),
        }
    }

    fn class(members: &[(usize, usize)]) -> EqualityClass {
        let member = |(relation, field): &(usize, usize)| Member {
            relation: *relation,
            key: Expr::Column(region_column(*relation, *field)),
            data_type: DataType::Int64,
        };
        EqualityClass {
            members: members.iter().map(member).collect(),
        }
    }

    fn graph(relations: Vec<Relation>, classes: &[&[(usize, usize)]]) -> QueryGraph {
        QueryGraph {
            relations,
            classes: classes.iter().map(|c| class(c)).collect(),
            filters: vec![],
            composites: vec![],
        }
    }

    fn check(graph: &QueryGraph, set: &[usize], rows: f64) {
        let prepared = Textbook.prepare(graph);
        let estimate = prepared.estimate(set.iter().copied().collect());
        let error = (estimate.rows - rows).abs() / rows;
        assert!(error < 0.01, "{set:?}: {} rows, not {rows}", estimate.rows);
    }

    #[test]
    fn a_filtered_dimension_thins_the_fact() {
        let mut dimension = relation(1000.0, &[1000.0, 10.0]);
        dimension.predicates = vec![col("c1").eq(lit(3_i64))];
        let graph = graph(
            vec![relation(1e6, &[1000.0]), dimension],
            &[&[(0, 0), (1, 0)]],
        );
        check(&graph, &[1], 100.0);
        check(&graph, &[0, 1], 1e5);
    }

    #[test]
    fn a_class_of_three_divides_by_the_two_larger_ndvs() {
        let relations = vec![
            relation(1000.0, &[100.0]),
            relation(500.0, &[50.0]),
            relation(200.0, &[200.0]),
        ];
        let graph = graph(relations, &[&[(0, 0), (1, 0), (2, 0)]]);
        check(&graph, &[0, 1, 2], 1000.0 * 500.0 * 200.0 / (100.0 * 200.0));
        check(&graph, &[0, 1], 1000.0 * 500.0 / 100.0);
    }

    #[test]
    fn composite_keys() {
        // TPC-H: partsupp holds the pairs, lineitem refers to them.
        let line_item = || relation(6e6, &[2e5, 1e4]);
        let part_supp = || relation(8e5, &[2e5, 1e4]);
        let on: &[&[(usize, usize)]] = &[&[(0, 0), (1, 0)], &[(0, 1), (1, 1)]];
        check(&graph(vec![line_item(), part_supp()], on), &[0, 1], 6e6);
        let mut few = part_supp();
        few.predicates = vec![col("c0").lt_eq(lit(2_000_i64))];
        check(&graph(vec![line_item(), few], on), &[0, 1], 6e4);
        // TPC-DS: the larger table, store_sales, holds the pairs, store_returns refers to them.
        let sales = relation(2.88e6, &[2.4e5, 1.8e4]);
        let returns = relation(2.87e5, &[1.68e5, 1.7e4]);
        check(&graph(vec![sales, returns], on), &[0, 1], 2.87e5);
    }

    #[test]
    fn disjoint_keys_do_not_join() {
        let mut other = relation(1000.0, &[1000.0]);
        other.base.columns[0].min = Some(Value::Int(5000));
        other.base.columns[0].max = Some(Value::Int(6000));
        let graph = graph(
            vec![relation(1000.0, &[1000.0]), other],
            &[&[(0, 0), (1, 0)]],
        );
        check(&graph, &[0, 1], 1.0);
    }

    #[test]
    fn nulls_do_not_join() {
        let mut half = relation(1000.0, &[100.0]);
        half.base.columns[0].null_fraction = 0.5;
        let graph = graph(vec![relation(100.0, &[100.0]), half], &[&[(0, 0), (1, 0)]]);
        check(&graph, &[0, 1], 500.0);
    }

    #[test]
    fn predicates_across_relations_count_once_they_are_inside() {
        let mut graph = graph(vec![relation(90.0, &[10.0]); 2], &[]);
        let column = |relation| Expr::Column(region_column(relation, 0));
        graph.filters.push(JoinFilter {
            relations: RelSet::first_n(2),
            predicate: column(0).lt(column(1)),
        });
        check(&graph, &[0], 90.0);
        check(&graph, &[0, 1], 90.0 * 90.0 / 3.0);
    }
}
