//! Profiles of plans: rows and column statistics of any sub-plan, derived from below.
//!
//! A leaf of a region may be an aggregate, a union, an outer join. Its rows and the distinct values
//! of its columns decide where it belongs in the join order as much as a table's do.

use crate::estimate::{
    Cardinalities, CardinalityEstimator, ColumnProfile, EstimateSource, MIN_ROWS, Profile, compare,
    key_profile, selectivity,
};
use crate::extract::{self, FlatOperator, Kinds, Region};
use crate::join_graph::JoinKind;
use crate::query_graph::{Membership, Relation, resolve_region_column};
use crate::relset::RelSet;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinConstraint, JoinType};
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::{MemTable, source_as_provider};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, FetchType, Filter, Join, Limit, LogicalPlan, TableScan,
};
use joinwright_stats::{Snapshot, TableDetails, provider_key};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Rows of a relation of which nothing at all is known.
const GUESS_ROWS: f64 = 1_000.0;
/// Elements of a list column.
const GUESS_UNNEST: f64 = 10.0;
/// Of the rows that an anti join or an unmatched filter would drop, this share stays at least.
const LEAST_ANTI_SHARE: f64 = 0.05;
/// The share of rows that a predicate on the result of an outer join keeps.
const GUESS_FILTER: f64 = 0.25;
/// No semi join is taken to keep less.
const LEAST_SHARE: f64 = 1e-9;

/// Derives profiles from the statistics of a catalog snapshot.
#[derive(Debug)]
pub(crate) struct Deriver<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) estimator: &'a dyn CardinalityEstimator,
    /// Sub-plans are estimated with the time that takes. While a query is planned, formulas have to do for tables below other
    /// operators, and for outer joins.
    thorough: bool,
    /// A join is asked for by each that stands above it, and more than once by some.
    joins: RefCell<HashMap<JoinKey, Derived>>,
}

/// Tells joins from each other: the addresses of the inputs, the kind, a hash of the conditions.
type JoinKey = (*const LogicalPlan, *const LogicalPlan, JoinType, u64);

/// The profile of a join, with the inputs, whose addresses must not be used again as long as it is known.
#[derive(Debug)]
struct Derived {
    profile: Profile,
    _inputs: [Arc<LogicalPlan>; 2],
}

fn join_key(join: &Join) -> JoinKey {
    let mut hasher = DefaultHasher::new();
    (&join.on, &join.filter).hash(&mut hasher);
    (
        Arc::as_ptr(&join.left),
        Arc::as_ptr(&join.right),
        join.join_type,
        hasher.finish(),
    )
}

/// The one relation that all left keys of an operator without other conditions belong to, with its own predicates, and
/// the keys in its terms.
fn key_leaf(region: &Region, operator: &FlatOperator) -> Option<(LogicalPlan, Vec<Expr>)> {
    if !operator.filters.is_empty() {
        return None;
    }
    let keys = operator.on.iter().map(|equality| &equality.left);
    let used = keys.clone().fold(RelSet::EMPTY, |all, key| {
        all.union(extract::uses(key).relations)
    });
    let index = used.first().filter(|_| used.len() == 1)?;
    let leaf = region.leaves.get(index)?;
    let own = |column: &Column| {
        let (_, field) = resolve_region_column(column)?;
        let schema = leaf.schema();
        (field < schema.fields().len()).then(|| Column::from(schema.qualified_field(field)))
    };
    let named = |e: &Expr| extract::rename_columns(e, own).ok();
    let keys = keys.map(named).collect::<Option<Vec<_>>>()?;
    let predicates = region.leaf_predicates.get(index)?.iter().map(named);
    let plan = match conjunction(predicates.collect::<Option<Vec<_>>>()?) {
        Some(predicate) => {
            LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(leaf.clone())).ok()?)
        }
        None => leaf.clone(),
    };
    Some((plan, keys))
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
            joins: RefCell::default(),
        }
    }

    /// The share of rows that a join of a region keeps: of its left input for semi and anti joins, of its result for
    /// others.
    pub(crate) fn kept_share(&self, region: &Region, operator: &FlatOperator) -> f64 {
        // Nothing is known of a filter on what an outer join supplied.
        let of_filters = GUESS_FILTER.powi(operator.above.len() as i32);
        match operator.kind {
            JoinKind::Inner => 1.0,
            JoinKind::Left | JoinKind::Full | JoinKind::Mark => of_filters,
            JoinKind::Semi | JoinKind::Anti => self.partner_share(region, operator),
        }
    }

    fn partner_share(&self, region: &Region, operator: &FlatOperator) -> f64 {
        let join = &operator.join;
        let (left, right) = match operator.turned {
            true => (&join.right, &join.left),
            false => (&join.left, &join.right),
        };
        let join_type = match operator.kind {
            JoinKind::Anti => JoinType::LeftAnti,
            _ => JoinType::LeftSemi,
        };
        let on = join.on.iter().cloned().map(|(l, r)| match operator.turned {
            true => (r, l),
            false => (l, r),
        });
        let mut outer = Arc::clone(left);
        let mut on: Vec<(Expr, Expr)> = on.collect();
        // The relation that the keys belong to says more than all that it is joined with, and is known at once.
        if let Some((leaf, keys)) = key_leaf(region, operator) {
            outer = Arc::new(leaf);
            on = keys.into_iter().zip(on).map(|(l, (_, r))| (l, r)).collect();
        }
        let before = self.profile(&outer).rows;
        let semi = Join::try_new(
            outer,
            Arc::clone(right),
            on,
            join.filter.clone(),
            join_type,
            JoinConstraint::On,
            join.null_equality,
            false,
        );
        match semi {
            Ok(semi) => {
                let after = self.profile(&LogicalPlan::Join(semi)).rows;
                (after / before.max(MIN_ROWS)).clamp(LEAST_SHARE, 1.0)
            }
            Err(error) => {
                tracing::debug!(%error, "the share of a semi join is guessed");
                GUESS_FILTER
            }
        }
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
            LogicalPlan::Window(window) => self.profile(&window.input),
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
        let base = self.profile(leaf);
        Relation {
            alias,
            table: None,
            base_columns: (0..base.columns.len()).map(|i| i.to_string()).collect(),
            output: (0..base.columns.len()).collect(),
            base,
            predicates: vec![],
            details: None,
            memberships: vec![],
        }
    }

    /// A table and its predicates as a relation.
    fn table(&self, peeled: Peeled<'_>, alias: String) -> Relation {
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
            && let Some(found) = locations(listing).and_then(|l| analyzed(&l))
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

    fn limit(&self, limit: &Limit) -> Profile {
        let mut profile = self.profile(&limit.input);
        match limit.get_fetch_type() {
            Ok(FetchType::Literal(fetch)) => at_most(&mut profile, fetch),
            _ => profile.source = EstimateSource::Guess,
        }
        profile
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Profile {
        let input = self.profile(&aggregate.input);
        let schema = aggregate.input.schema();
        let groups: Vec<&Expr> = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(set)] => set.distinct_expr(),
            groups => groups.iter().collect(),
        };
        let sets = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(_)] => groups.len() as f64 + 1.0,
            _ => 1.0,
        };
        let mut columns: Vec<ColumnProfile> = groups
            .iter()
            .map(|e| column_of(e, schema, &input))
            .collect();
        let rows = (combinations(&columns, input.rows) * sets).min(input.rows * sets);
        let rows = if groups.is_empty() {
            1.0
        } else {
            rows.max(1.0)
        };
        for column in &mut columns {
            // A group that is NULL is one row among the groups.
            column.null_fraction = column.null_fraction.min(1.0 / rows);
        }
        Profile {
            rows,
            source: if groups.is_empty() {
                EstimateSource::Exact
            } else {
                input.source.max(EstimateSource::Ndv)
            },
            known: input.known,
            stale: input.stale,
            columns,
        }
    }

    fn distinct(&self, distinct: &Distinct) -> Profile {
        match distinct {
            Distinct::All(input) => {
                let mut profile = self.profile(input);
                profile.rows = combinations(&profile.columns, profile.rows).max(1.0);
                profile.source = profile.source.max(EstimateSource::Ndv);
                profile
            }
            Distinct::On(on) => {
                let input = self.profile(&on.input);
                let schema = on.input.schema();
                let keys: Vec<_> = on
                    .on_expr
                    .iter()
                    .map(|e| column_of(e, schema, &input))
                    .collect();
                Profile {
                    rows: combinations(&keys, input.rows).max(1.0),
                    source: input.source.max(EstimateSource::Ndv),
                    known: input.known,
                    stale: input.stale,
                    columns: on
                        .select_expr
                        .iter()
                        .map(|e| column_of(e, schema, &input))
                        .collect(),
                }
            }
        }
    }

    fn join(&self, plan: &LogicalPlan, join: &Join) -> Profile {
        let key = join_key(join);
        if let Some(derived) = self.joins.borrow().get(&key) {
            return derived.profile.clone();
        }
        let profile = self.derive_join(plan, join);
        let derived = Derived {
            profile: profile.clone(),
            _inputs: [Arc::clone(&join.left), Arc::clone(&join.right)],
        };
        self.joins.borrow_mut().insert(key, derived);
        profile
    }

    fn derive_join(&self, plan: &LogicalPlan, join: &Join) -> Profile {
        if let Some(region) = extract::region(plan, Kinds::Inner, self) {
            return self.region(&region);
        }
        if self.thorough
            && let Some(profile) = self.outer_join(join)
        {
            return profile;
        }
        if let Some(profile) = self.semi_join(join) {
            return profile;
        }
        self.two_way_join(join, self.profile(&join.left), self.profile(&join.right))
    }

    /// The profile of a region.
    fn region(&self, region: &extract::Region) -> Profile {
        let cardinalities = self.estimator.prepare(&region.graph);
        let all = region.graph.join_graph().all();
        let estimate = Cardinalities::estimate(cardinalities.as_ref(), all);
        // Estimators may be anybody's.
        let rows = match estimate.rows {
            rows if rows.is_nan() => MIN_ROWS,
            rows => rows.clamp(MIN_ROWS, f64::MAX),
        };
        let profiles: Vec<Profile> = region
            .graph
            .relations
            .iter()
            .map(crate::estimate::restricted)
            .collect();
        let columns = region
            .output
            .iter()
            .map(|(relation, field)| {
                let mut column = profiles[*relation].columns[*field].clone();
                column.shrink(profiles[*relation].rows, rows);
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

    /// A left or right join: the inner join, and the rows of one side that the anti join leaves.
    fn outer_join(&self, join: &Join) -> Option<Profile> {
        let (anti_type, extended) = match join.join_type {
            JoinType::Left => (
                JoinType::LeftAnti,
                join.left.schema().fields().len()..usize::MAX,
            ),
            JoinType::Right => (JoinType::RightAnti, 0..join.left.schema().fields().len()),
            _ => return None,
        };
        let of_type = |join_type| Join {
            join_type,
            ..join.clone()
        };
        let inner = LogicalPlan::Join(of_type(JoinType::Inner));
        let mut profile = self.region(&extract::region(&inner, Kinds::Inner, self)?);
        let alone = self.semi_join(&of_type(anti_type))?;
        // A row with a partner has no NULL in the key.
        for (left, right) in &join.on {
            let left =
                extract::plain_column(left).and_then(|c| join.schema.maybe_index_of_column(c));
            let right =
                extract::plain_column(right).and_then(|c| join.schema.maybe_index_of_column(c));
            for place in left.into_iter().chain(right) {
                if let Some(column) = profile.columns.get_mut(place) {
                    column.null_fraction = 0.0;
                }
            }
        }
        let matched = profile.rows;
        profile.rows += alone.rows;
        profile.source = profile.source.max(alone.source);
        for (at, column) in profile.columns.iter_mut().enumerate() {
            if extended.contains(&at) {
                // Rows without a partner have NULL there.
                let nulls = matched * column.null_fraction + alone.rows;
                column.null_fraction = (nulls / profile.rows).clamp(0.0, 1.0);
            }
        }
        Some(profile)
    }

    /// A semi or anti join whose outer side is a table or a region: it restricts the one relation that has its keys.
    fn semi_join(&self, join: &Join) -> Option<Profile> {
        let semi = Semi::of(join)?;
        let mut region = self.region_below(semi.outer).or_else(|| {
            let relation = self.relation(semi.outer, String::new());
            relation
                .table
                .is_some()
                .then(|| extract::Region::of_one(semi.outer, relation))
        })?;
        let fields = semi.outer_fields()?;
        let mut owners = fields.iter().map(|field| region.output.get(*field));
        let owner = owners.next()??.0;
        if !owners.all(|other| other.is_some_and(|other| other.0 == owner)) {
            return None;
        }
        let relations = &region.graph.relations;
        let profiles: Vec<Profile> = relations.iter().map(crate::estimate::restricted).collect();
        let outer = Profile {
            columns: region
                .output
                .iter()
                .map(|(relation, field)| profiles[*relation].columns[*field].clone())
                .collect(),
            ..profiles.get(owner)?.clone()
        };
        let fields: Vec<usize> = fields.iter().map(|field| region.output[*field].1).collect();
        let membership =
            self.membership(&semi, &fields, region.graph.relations.get(owner)?, outer)?;
        region.graph.relations[owner].memberships.push(membership);
        Some(self.region(&region))
    }

    /// The region under aliases and column-only projections.
    #[recursive::recursive]
    fn region_below(&self, plan: &LogicalPlan) -> Option<extract::Region> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.region_below(&alias.input),
            LogicalPlan::Projection(projection) => {
                let mut region = self.region_below(&projection.input)?;
                let schema = projection.input.schema();
                let place = |e: &Expr| {
                    let index = schema.maybe_index_of_column(extract::plain_column(e)?)?;
                    region.output.get(index).copied()
                };
                region.output = projection.expr.iter().map(place).collect::<Option<_>>()?;
                Some(region)
            }
            LogicalPlan::Join(_) => extract::region(plan, Kinds::Inner, self),
            _ => None,
        }
    }

    /// A table under semi and anti joins, and under what a table may be under.
    #[recursive::recursive]
    fn semi_joined(&self, plan: &LogicalPlan) -> Option<Relation> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.semi_joined(&alias.input),
            LogicalPlan::Filter(filter) => {
                let mut relation = self.semi_joined(&filter.input)?;
                let schema = filter.input.schema();
                let name = |c: &Column| {
                    let place = *relation.output.get(schema.maybe_index_of_column(c)?)?;
                    relation.base_columns.get(place).cloned()
                };
                let predicate = rename(&filter.predicate, &name)?;
                relation.predicates.push(predicate);
                Some(relation)
            }
            LogicalPlan::Projection(projection) => {
                let mut relation = self.semi_joined(&projection.input)?;
                let schema = projection.input.schema();
                let place = |e: &Expr| {
                    let index = schema.maybe_index_of_column(extract::plain_column(e)?)?;
                    relation.output.get(index).copied()
                };
                relation.output = projection.expr.iter().map(place).collect::<Option<_>>()?;
                Some(relation)
            }
            LogicalPlan::Join(join) => {
                let semi = Semi::of(join)?;
                let mut relation = match peel(semi.outer) {
                    Some(peeled) => self.table(peeled, String::new()),
                    None => self.semi_joined(semi.outer)?,
                };
                let fields = semi.outer_fields()?;
                let outer = crate::estimate::restricted(&relation);
                let membership = self.membership(&semi, &fields, &relation, outer)?;
                relation.memberships.push(membership);
                Some(relation)
            }
            _ => None,
        }
    }

    /// What a semi or anti join means for the relation that has its keys in `fields` of its schema; `outer` is the profile of the
    /// join's outer side.
    fn membership(
        &self,
        semi: &Semi<'_>,
        fields: &[usize],
        relation: &Relation,
        outer: Profile,
    ) -> Option<Membership> {
        let other = self.relation(semi.inner, String::new());
        let rows = outer.rows;
        let inner = crate::estimate::restricted(&other);
        let (left, right) = match semi.outer_is_left {
            true => (outer, inner),
            false => (inner, outer),
        };
        let joined = self.two_way_join(semi.join, left, right);
        let name = |relation: &Relation, field: usize| {
            relation
                .base_columns
                .get(*relation.output.get(field)?)
                .cloned()
        };
        let keys = match semi.join.filter {
            Some(_) => Some(vec![]),
            None => fields
                .iter()
                .zip(semi.inner_fields().unwrap_or_default())
                .map(|(field, other_field)| {
                    Some((name(relation, *field)?, name(&other, other_field)?))
                })
                .collect(),
        };
        Some(Membership {
            keys: keys?,
            other: Arc::new(other),
            anti: semi.anti,
            share: (joined.rows / rows).clamp(0.0, 1.0),
        })
    }

    /// A join that is no region of its own: an outer, semi, anti or mark join, of inputs with these profiles.
    fn two_way_join(&self, join: &Join, left: Profile, right: Profile) -> Profile {
        let mut inner = left.rows * right.rows;
        // Of the left rows the share with a partner, and of the right rows.
        let (mut left_match, mut right_match) = (1.0_f64, 1.0_f64);
        let mut source = left.source.max(right.source).max(EstimateSource::Ndv);
        for (left_key, right_key) in &join.on {
            let left_key = column_of(left_key, join.left.schema(), &left);
            let right_key = column_of(right_key, join.right.schema(), &right);
            inner /= left_key.ndv.max(right_key.ndv);
            left_match =
                left_match.min(right_key.ndv / left_key.ndv) * (1.0 - left_key.null_fraction);
            right_match =
                right_match.min(left_key.ndv / right_key.ndv) * (1.0 - right_key.null_fraction);
            source = source.max(left_key.source).max(right_key.source);
        }
        if join.on.len() > 1 {
            // As in `Textbook`: a composite key has no more combinations than the smaller side rows.
            inner = inner.max(left.rows.max(right.rows).min(left.rows * right.rows) * left_match);
        }
        if let Some(filter) = &join.filter {
            let joined = JoinColumns {
                left: (join.left.schema(), &left),
                right: (join.right.schema(), &right),
            };
            let (share, filter_source) = selectivity::selectivity(filter, &joined);
            inner *= share;
            source = source.max(filter_source);
        }
        let left_match = left_match.min(inner / left.rows).min(1.0);
        let right_match = right_match.min(inner / right.rows).min(1.0);
        let anti = |share: f64| (1.0 - share).max(LEAST_ANTI_SHARE);
        let rows = match join.join_type {
            JoinType::Inner => inner,
            JoinType::Left => inner.max(left.rows * left_match) + left.rows * (1.0 - left_match),
            JoinType::Right => {
                inner.max(right.rows * right_match) + right.rows * (1.0 - right_match)
            }
            JoinType::Full => {
                let alone = left.rows * (1.0 - left_match) + right.rows * (1.0 - right_match);
                inner + alone
            }
            JoinType::LeftSemi => left.rows * left_match,
            JoinType::RightSemi => right.rows * right_match,
            JoinType::LeftAnti => left.rows * anti(left_match),
            JoinType::RightAnti => right.rows * anti(right_match),
            JoinType::LeftMark => left.rows,
            JoinType::RightMark => right.rows,
        };
        let known = left.known && right.known;
        let stale = left.stale || right.stale;
        let rows_of = (left.rows, right.rows);
        let mut profile = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                let mut columns = left.columns;
                columns.extend(right.columns);
                Profile {
                    rows: left.rows.max(right.rows).max(rows),
                    source,
                    known,
                    stale,
                    columns,
                }
            }
        };
        profile.set_rows(rows);
        profile.source = source;
        profile.known = known;
        let left_fields = join.left.schema().fields().len();
        // Rows without a partner have NULL in the columns of the other side.
        let alone =
            |matching: f64, rows: f64, total: f64| (rows * (1.0 - matching) / total).min(1.0);
        let of_left = alone(right_match, rows_of.1, rows);
        let of_right = alone(left_match, rows_of.0, rows);
        for (at, column) in profile.columns.iter_mut().enumerate() {
            let nulls = match join.join_type {
                JoinType::Left if at >= left_fields => of_right,
                JoinType::Right if at < left_fields => of_left,
                JoinType::Full if at < left_fields => of_left,
                JoinType::Full => of_right,
                _ => continue,
            };
            column.null_fraction = (nulls + (1.0 - nulls) * column.null_fraction).clamp(0.0, 1.0);
        }
        profile
    }
}

/// A semi or anti join.
struct Semi<'a> {
    join: &'a Join,
    /// The side whose rows are kept or not.
    outer: &'a LogicalPlan,
    inner: &'a LogicalPlan,
    outer_is_left: bool,
    anti: bool,
}

impl<'a> Semi<'a> {
    fn of(join: &'a Join) -> Option<Self> {
        let (outer_is_left, anti) = match join.join_type {
            JoinType::LeftSemi => (true, false),
            JoinType::LeftAnti => (true, true),
            JoinType::RightSemi => (false, false),
            JoinType::RightAnti => (false, true),
            _ => return None,
        };
        let (outer, inner) = match outer_is_left {
            true => (join.left.as_ref(), join.right.as_ref()),
            false => (join.right.as_ref(), join.left.as_ref()),
        };
        (!join.on.is_empty()).then_some(Self {
            join,
            outer,
            inner,
            outer_is_left,
            anti,
        })
    }

    /// The keys as fields of the outer side; `None` if one is no column.
    fn outer_fields(&self) -> Option<Vec<usize>> {
        let schema = self.outer.schema();
        let on = self.join.on.iter();
        let keys = on.map(|(left, right)| if self.outer_is_left { left } else { right });
        keys.map(|key| schema.maybe_index_of_column(extract::plain_column(key)?))
            .collect()
    }

    /// The keys as fields of the inner side; `None` if one is no column.
    fn inner_fields(&self) -> Option<Vec<usize>> {
        let schema = self.inner.schema();
        let on = self.join.on.iter();
        let keys = on.map(|(left, right)| if self.outer_is_left { right } else { left });
        keys.map(|key| schema.maybe_index_of_column(extract::plain_column(key)?))
            .collect()
    }
}

/// A table under nothing but predicates and renamings.
pub(crate) struct Peeled<'a> {
    scan: &'a TableScan,
    /// Conjuncts in terms of the table's own column names.
    predicates: Vec<Expr>,
    /// For each field of the outermost schema the table's column.
    output: Vec<String>,
}

/// Finds the table under filters, aliases and column-only projections, if there is nothing else.
pub(crate) fn peel(plan: &LogicalPlan) -> Option<Peeled<'_>> {
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
fn rename(expr: &Expr, name: &dyn Fn(&Column) -> Option<String>) -> Option<Expr> {
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

/// The catalog's keys of the files of a listing table. A pattern of file names has none: the
/// catalog finds files by prefix.
fn locations(table: &ListingTable) -> Option<Vec<String>> {
    table
        .table_paths()
        .iter()
        .map(|url| {
            let folder = if url.is_collection() && !url.prefix().as_ref().is_empty() {
                "/"
            } else {
                ""
            };
            url.get_glob()
                .is_none()
                .then(|| format!("{}{}{folder}", url.object_store().as_str(), url.prefix()))
        })
        .collect()
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

/// Distinct combinations of columns among `rows` rows. Columns of one relation correlate, so each
/// further column counts with the square root of the last one's weight (exponential backoff).
fn combinations(columns: &[ColumnProfile], rows: f64) -> f64 {
    let mut ndvs: Vec<f64> = columns
        .iter()
        .map(|c| c.ndv + if c.null_fraction > 0.0 { 1.0 } else { 0.0 })
        .collect();
    ndvs.sort_by(|a, b| b.total_cmp(a));
    let mut weight = 1.0;
    let mut product = 1.0;
    for ndv in ndvs {
        product *= ndv.powf(weight);
        weight /= 2.0;
    }
    product.min(rows)
}

/// What is known about an expression over a plan's columns.
fn column_of(expr: &Expr, schema: &DFSchema, profile: &Profile) -> ColumnProfile {
    let resolve = |c: &Column| profile.columns.get(schema.maybe_index_of_column(c)?);
    key_profile(expr, &resolve, profile.rows)
}

/// The columns of both inputs of a join.
struct JoinColumns<'a> {
    left: (&'a DFSchema, &'a Profile),
    right: (&'a DFSchema, &'a Profile),
}

impl<'a> JoinColumns<'a> {
    fn find(&self, column: &Column) -> Option<(usize, &'a Profile)> {
        [self.left, self.right]
            .into_iter()
            .find_map(|(schema, profile)| Some((schema.maybe_index_of_column(column)?, profile)))
    }
}

impl selectivity::Columns for JoinColumns<'_> {
    fn column(&self, column: &Column) -> Option<&ColumnProfile> {
        let (index, profile) = self.find(column)?;
        profile.columns.get(index)
    }

    fn rows(&self, column: &Column) -> f64 {
        self.find(column).map_or(1.0, |(_, profile)| profile.rows)
    }
}
