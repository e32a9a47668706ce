//! Profiles of plans: rows and column statistics of any sub-plan, derived from below.
//!
//! A leaf of a region may be an aggregate, a union, an outer join. Its rows and the distinct values
//! of its columns decide where it belongs in the join order as much as a table's do.
//!
//! | module | derives |
//! |---|---|
//! | `table` | tables under predicates and renamings |
//! | `joins` | joins of all kinds |
//! | `semi` | semi and anti joins, as restrictions of one relation |
//! | `shares` | what joins of a region that are not inner joins keep |
//! | `groups` | aggregates and distinct rows |
//! | `having` | filters on the results of aggregates |
//! | `constants` | constants that come from scalar subqueries |
//! | `domains` | combinations of values that columns have room for, windows |
//! | `clusters` | distinct values among rows that come in clusters |

mod clusters;
mod constants;
mod domains;
mod groups;
mod having;
mod joins;
mod semi;
mod shares;
mod table;

use self::clusters::Clusters;
use self::joins::{Derived, JoinKey};
use self::table::peel;
use crate::estimate::{
    Cardinalities, CardinalityEstimator, ColumnProfile, Estimate, EstimateSource, Evaluations,
    MIN_ROWS, Profile, compare, key_profile, selectivity,
};
use crate::extract::{self, RegionText};
use crate::query_graph::Relation;
use crate::relset::RelSet;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, FetchType, Limit, LogicalPlan, TableScan};
use joinwright_stats::Snapshot;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows of a relation of which nothing at all is known.
const GUESS_ROWS: f64 = 1_000.0;
/// Regions that are remembered of one query: a session state that plans many queries looks like one query.
const MOST_REGIONS: usize = 1024;
/// Elements of a list column.
const GUESS_UNNEST: f64 = 10.0;

/// Derives profiles from the statistics of a catalog snapshot.
#[derive(Debug)]
pub(crate) struct Deriver<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) estimator: &'a dyn CardinalityEstimator,
    /// Sub-plans are estimated with the time that takes. While a query is planned, formulas have to do for tables below other
    /// operators, and for outer joins.
    thorough: bool,
    /// Names of the columns that the plan uses anywhere, if they are known: of others nothing has to be told.
    used: Option<Arc<HashSet<String>>>,
    /// A join is asked for by each that stands above it, and more than once by some.
    joins: RefCell<HashMap<JoinKey, Derived>>,
    known: Known,
}

/// What was found out about a query, shared by those who derive profiles for it one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    evaluations: Evaluations,
    /// Rows of whole regions: each that stands above such a region asks for them.
    regions: Arc<Mutex<HashMap<RegionText, Arc<RegionRows>>>>,
}

/// Rows of a region.
#[derive(Debug)]
struct RegionRows {
    all: Estimate,
    /// Of each relation alone, by its alias: the same region may name its relations in another order.
    alone: HashMap<String, f64>,
    /// Distinct values that are left of columns, by the alias of the relation and the column's name; `None` where clusters tell nothing.
    distinct: Mutex<HashMap<(String, String), Option<f64>>>,
}

impl RegionRows {
    fn new(region: &extract::Region, cardinalities: &dyn Cardinalities) -> Self {
        let relations = region.graph.relations.iter().enumerate();
        let alone = relations.map(|(at, relation)| {
            let rows = cardinalities.estimate(RelSet::single(at)).rows;
            (relation.alias.clone(), rows)
        });
        Self {
            all: cardinalities.estimate(region.graph.join_graph().all()),
            alone: alone.collect(),
            distinct: Mutex::default(),
        }
    }

    /// Distinct values of a column of the region, counted once.
    fn distinct(&self, clusters: &Clusters<'_>, relation: usize, field: usize) -> Option<f64> {
        let name = clusters.column_name(relation, field)?;
        let key = (clusters.alias(relation)?.clone(), name.clone());
        // Nothing is left half done where it is held.
        let lock = || self.distinct.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&key).copied();
        known.unwrap_or_else(|| {
            let distinct = clusters.distinct(relation, &[name.clone()].into());
            lock().insert(key, distinct);
            distinct
        })
    }
}

impl Known {
    fn regions(&self) -> MutexGuard<'_, HashMap<RegionText, Arc<RegionRows>>> {
        // Nothing is left half done where it is held.
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Deriver<'a> {
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        estimator: &'a dyn CardinalityEstimator,
        thorough: bool,
    ) -> Self {
        Self {
            snapshot,
            estimator,
            thorough,
            used: None,
            joins: RefCell::default(),
            known: Known::default(),
        }
    }

    /// Goes on from what was found out before, by the same estimator from the same statistics.
    pub(crate) fn set_known(&mut self, known: Known) {
        self.known = known;
    }

    /// Tells nothing of columns of other names.
    pub(crate) fn set_used(&mut self, used: Option<Arc<HashSet<String>>>) {
        self.used = used;
    }

    fn is_used(&self, column: &str) -> bool {
        self.used.as_ref().is_none_or(|used| used.contains(column))
    }

    /// Remembers the rows of a region of inner joins.
    pub(crate) fn remember(&self, region: &extract::Region, cardinalities: &dyn Cardinalities) {
        self.remember_rows(
            RegionText::of_set(region),
            Arc::new(RegionRows::new(region, cardinalities)),
        );
    }

    fn remember_rows(&self, text: RegionText, rows: Arc<RegionRows>) {
        let mut regions = self.known.regions();
        if regions.len() == MOST_REGIONS {
            regions.clear();
        }
        regions.insert(text, rows);
    }

    /// The profile of a plan, its columns in the order of the plan's schema.
    #[recursive::recursive]
    pub(crate) fn profile(&self, plan: &LogicalPlan) -> Profile {
        let mut profile = self.node(plan);
        // Whatever happened below, there is one column a field, and none has more values than rows.
        let fields = plan.schema().fields();
        profile.columns.truncate(fields.len());
        for field in &fields[profile.columns.len()..] {
            let unknown = ColumnProfile::unknown(field.data_type().clone(), profile.rows);
            profile.columns.push(unknown);
        }
        for column in &mut profile.columns {
            column.ndv = column.ndv.min(profile.rows).max(1.0);
        }
        profile
    }

    fn node(&self, plan: &LogicalPlan) -> Profile {
        if let Some(peeled) = peel(plan) {
            let relation = self.table(peeled, String::new());
            if relation.predicates.is_empty() || !self.thorough {
                return crate::estimate::restricted(&relation);
            }
            return self.region(&extract::Region::of_one(plan, relation));
        }
        match plan {
            LogicalPlan::TableScan(scan) => {
                // With a limit inside: the predicates come first.
                let scan_all = TableScan {
                    fetch: None,
                    ..scan.clone()
                };
                let mut profile = self.profile(&LogicalPlan::TableScan(scan_all));
                at_most(&mut profile, scan.fetch);
                profile
            }
            LogicalPlan::Filter(filter) => {
                if let Some(profile) = self.having(filter) {
                    return profile;
                }
                let mut profile = self.profile(&filter.input);
                let schema = filter.input.schema();
                let position = |c: &Column| schema.maybe_index_of_column(c);
                selectivity::restrict(
                    &mut profile,
                    std::slice::from_ref(&filter.predicate),
                    &position,
                );
                profile
            }
            LogicalPlan::Projection(projection) => {
                let input = self.profile(&projection.input);
                let columns = projection
                    .expr
                    .iter()
                    .map(|e| column_of(e, projection.input.schema(), &input))
                    .collect();
                Profile { columns, ..input }
            }
            LogicalPlan::SubqueryAlias(alias) => self.profile(&alias.input),
            LogicalPlan::Subquery(subquery) => self.profile(&subquery.subquery),
            LogicalPlan::Repartition(repartition) => self.profile(&repartition.input),
            LogicalPlan::Sort(sort) => {
                let mut profile = self.profile(&sort.input);
                at_most(&mut profile, sort.fetch);
                profile
            }
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(distinct) => self.distinct(distinct),
            LogicalPlan::Join(join) => self.join(plan, join),
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|i| self.profile(i));
                inputs.reduce(union_all).unwrap_or_else(|| guess(1.0))
            }
            LogicalPlan::Values(values) => {
                let types = values.schema.fields().iter().map(|f| f.data_type().clone());
                Profile::counted(values.values.len() as f64, types)
            }
            LogicalPlan::EmptyRelation(empty) => {
                let rows = if empty.produce_one_row { 1.0 } else { 0.0 };
                Profile::counted(rows, [])
            }
            LogicalPlan::Unnest(unnest) => {
                let mut profile = self.profile(&unnest.input);
                profile.columns.clear();
                profile.rows *= GUESS_UNNEST;
                profile.source = EstimateSource::Guess;
                profile
            }
            LogicalPlan::RecursiveQuery(query) => {
                let mut profile = self.profile(&query.static_term);
                profile.columns.clear();
                profile.rows = profile.rows.max(GUESS_ROWS);
                profile.source = EstimateSource::Guess;
                profile
            }
            // An extension may do anything; most pass their input on.
            _ => {
                let inputs = plan.inputs().into_iter().map(|i| self.profile(i));
                match inputs.max_by(|a, b| a.rows.total_cmp(&b.rows)) {
                    Some(input) => Profile {
                        columns: vec![],
                        source: EstimateSource::Guess,
                        ..input
                    },
                    None => guess(GUESS_ROWS),
                }
            }
        }
    }

    /// A leaf of a region as a relation of the query graph.
    pub(crate) fn relation(&self, leaf: &LogicalPlan, alias: String) -> Relation {
        if let Some(peeled) = peel(leaf) {
            return self.table(peeled, alias);
        }
        if let Some(relation) = self.semi_joined(leaf) {
            return Relation { alias, ..relation };
        }
        self.derived(self.profile(leaf), alias)
    }

    /// A leaf of a region as a relation, of which nothing is known if it is no table.
    pub(crate) fn table_or_unknown(&self, leaf: &LogicalPlan, alias: String) -> Relation {
        match peel(leaf) {
            Some(peeled) => self.table(peeled, alias),
            None => {
                let types = leaf.schema().fields().iter().map(|f| f.data_type().clone());
                self.derived(Profile::counted(GUESS_ROWS, types), alias)
            }
        }
    }

    fn derived(&self, base: Profile, alias: String) -> Relation {
        Relation {
            alias,
            table: None,
            base_columns: (0..base.columns.len()).map(|i| i.to_string()).collect(),
            output: (0..base.columns.len()).collect(),
            base,
            predicates: vec![],
            details: None,
            memberships: vec![],
            evaluations: self.known.evaluations.clone(),
        }
    }

    fn limit(&self, limit: &Limit) -> Profile {
        let mut profile = self.profile(&limit.input);
        match limit.get_fetch_type() {
            Ok(FetchType::Literal(fetch)) => at_most(&mut profile, fetch),
            _ => profile.source = EstimateSource::Guess,
        }
        profile
    }

    /// The profile of a region.
    fn region(&self, region: &extract::Region) -> Profile {
        let text = RegionText::of_set(region);
        let known = self.known.regions().get(&text).cloned();
        let known = known.unwrap_or_else(|| {
            let cardinalities = self.estimator.prepare(&region.graph);
            let rows = Arc::new(RegionRows::new(region, cardinalities.as_ref()));
            self.remember_rows(text, Arc::clone(&rows));
            rows
        });
        // Estimators may be anybody's.
        let finite = |rows: f64| match rows.is_nan() {
            true => MIN_ROWS,
            false => rows.clamp(MIN_ROWS, f64::MAX),
        };
        let estimate = known.all;
        let rows = finite(estimate.rows);
        let relations = region.graph.relations.iter();
        let profiles = relations.map(|relation| {
            let mut profile = crate::estimate::restricted(relation);
            if let Some(alone) = known.alone.get(&relation.alias) {
                profile.correct_rows(relation, finite(*alone));
            }
            profile
        });
        let profiles: Vec<Profile> = profiles.collect();
        let clusters = Clusters::new(&region.graph, rows);
        let columns = region
            .output
            .iter()
            .map(|(relation, field)| {
                let name = region.leaves[*relation].schema().field(*field).name();
                if !self.is_used(name) {
                    let data_type = profiles[*relation].columns[*field].data_type.clone();
                    return ColumnProfile::unknown(data_type, rows);
                }
                let mut column = profiles[*relation].columns[*field].clone();
                column.shrink(profiles[*relation].rows, rows);
                if let Some(distinct) = known.distinct(&clusters, *relation, *field) {
                    column.ndv = column.ndv.min(distinct);
                }
                column
            })
            .collect();
        Profile {
            rows,
            source: estimate.source,
            known: profiles.iter().all(|p| p.known),
            stale: profiles.iter().any(|p| p.stale),
            columns,
        }
    }
}

fn guess(rows: f64) -> Profile {
    Profile {
        rows,
        source: EstimateSource::Guess,
        known: false,
        stale: false,
        columns: vec![],
    }
}

fn at_most(profile: &mut Profile, fetch: Option<usize>) {
    if let Some(fetch) = fetch {
        profile.set_rows(profile.rows.min(fetch as f64));
    }
}

/// Rows and columns of `a UNION ALL b`.
fn union_all(a: Profile, b: Profile) -> Profile {
    let rows = a.rows + b.rows;
    let columns = a
        .columns
        .into_iter()
        .zip(b.columns)
        .map(|(x, y)| {
            let extreme = |p: Option<_>, q: Option<_>, keep_first: fn(&_, &_) -> bool| match (p, q)
            {
                (Some(p), Some(q)) => Some(if keep_first(&p, &q) { p } else { q }),
                _ => None,
            };
            ColumnProfile {
                // Inputs of a union mostly share their domain, and never have more than the sum.
                ndv: x.ndv.max(y.ndv),
                null_fraction: (x.null_fraction * a.rows + y.null_fraction * b.rows) / rows,
                min: extreme(x.min, y.min, |p, q| {
                    compare(p, q).is_some_and(|o| o.is_le())
                }),
                max: extreme(x.max, y.max, |p, q| {
                    compare(p, q).is_some_and(|o| o.is_ge())
                }),
                source: x.source.max(y.source),
                data_type: x.data_type,
            }
        })
        .collect();
    Profile {
        rows,
        source: a.source.max(b.source),
        known: a.known && b.known,
        stale: a.stale || b.stale,
        columns,
    }
}

/// What is known about an expression over a plan's columns.
fn column_of(expr: &Expr, schema: &DFSchema, profile: &Profile) -> ColumnProfile {
    let resolve = |c: &Column| profile.columns.get(schema.maybe_index_of_column(c)?);
    key_profile(expr, &resolve, profile.rows)
}
