//! The combinations of values that several columns of a plan have room for.
//!
//! Two sub-plans that are joined by several columns find each other by chance, unless one of them has all combinations. By chance means:
//! among the combinations that the tables below have room for. A brand has one category, so both have as many combinations as there
//! are brands; customers and days come together freely.

use super::table::peel;
use super::{Deriver, clusters, column_of, groups};
use crate::estimate::{ColumnProfile, EstimateSource, Profile, key_column};
use crate::extract::{self, Region};
use crate::query_graph::{
    Composite, EqualityClass, Member, QueryGraph, Relation, resolve_region_column,
};
use crate::relset::RelSet;
use datafusion::common::JoinType;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Window, WindowFunctionDefinition};
use joinwright_stats::Value;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Sub-plans of a region whose composite keys are looked at.
const MOST_DERIVED: usize = 16;

/// Where a column of a plan comes from: a table of a region below.
#[derive(Debug, Clone)]
pub(super) struct Source {
    region: Rc<Region>,
    relation: usize,
    /// By its name in the relation's base.
    pub(super) column: String,
    /// What the bounds of a column that it is equal to say of it.
    bounds: Vec<Expr>,
}

impl Source {
    pub(super) fn relation(&self) -> &Relation {
        &self.region.graph.relations[self.relation]
    }

    /// Whether both are columns of one relation.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.region, &other.region) && self.relation == other.relation
    }
}

/// Some columns of a plan.
pub(super) struct Keys<'a> {
    pub(super) plan: &'a LogicalPlan,
    pub(super) fields: &'a [usize],
    /// What is known of them.
    pub(super) columns: Vec<ColumnProfile>,
}

/// Regions by the address of their plan.
pub(super) type Regions = HashMap<*const LogicalPlan, Option<Rc<Region>>>;

impl Deriver<'_> {
    /// Combinations that some fields of a plan have room for, from the tables that they come from.
    pub(super) fn room(&self, plan: &LogicalPlan, fields: &[usize]) -> f64 {
        let input = Keys {
            plan,
            fields,
            columns: vec![],
        };
        let (sources, others) = self.sources(&input, &[], &mut Regions::new());
        others * room_of(&sources, None)
    }

    /// Combinations that the keys of a join have room for: of its inputs the one with more of them. Predicates on the tables of the
    /// keys count where both inputs have them, bounds of one input's keys for those of the other.
    pub(super) fn room_of_both(
        &self,
        left: &Keys<'_>,
        right: &Keys<'_>,
        regions: &mut Regions,
    ) -> f64 {
        let (of_left, others_left) = self.sources(left, &right.columns, regions);
        let (of_right, others_right) = self.sources(right, &left.columns, regions);
        let room = others_left * room_of(&of_left, Some(&of_right));
        room.max(others_right * room_of(&of_right, Some(&of_left)))
    }

    /// The sources of keys, which are equal to other columns, and the product of the distinct values of those without one.
    fn sources(
        &self,
        keys: &Keys<'_>,
        equal: &[ColumnProfile],
        regions: &mut Regions,
    ) -> (Vec<Source>, f64) {
        let mut others = 1.0;
        let mut sources = vec![];
        for (at, field) in keys.fields.iter().enumerate() {
            match self.source(keys.plan, *field, regions) {
                Some(mut source) => {
                    let equal = equal.get(at);
                    source.bounds = equal.map_or_else(Vec::new, |equal| {
                        clusters::within(source.relation(), &source.column, equal)
                    });
                    sources.push(source);
                }
                None => {
                    others *= match keys.columns.get(at) {
                        Some(column) => column.ndv,
                        None => {
                            let profile = self.profile(keys.plan);
                            profile.columns.get(*field).map_or(1.0, |c| c.ndv)
                        }
                    }
                }
            }
        }
        align(&mut sources);
        (sources, others)
    }

    /// The table that a field comes from through renamings, joins, groups and windows.
    #[recursive::recursive]
    pub(super) fn source(
        &self,
        plan: &LogicalPlan,
        field: usize,
        regions: &mut Regions,
    ) -> Option<Source> {
        let is_region = peel(plan).is_some() || matches!(plan, LogicalPlan::Join(_));
        if is_region {
            let region = regions.entry(plan).or_insert_with(|| {
                let region = match peel(plan) {
                    Some(peeled) => Region::of_one(plan, self.table(peeled, String::new())),
                    None => self.region_below(plan)?,
                };
                Some(Rc::new(region))
            });
            if let Some(region) = region.clone() {
                let (relation, field) = *region.output.get(field)?;
                let at = region.graph.relations.get(relation)?;
                if at.table.is_none() {
                    return self.source(region.leaves.get(relation)?, field, regions);
                }
                let column = at.base_columns.get(*at.output.get(field)?)?.clone();
                return Some(Source {
                    region,
                    relation,
                    column,
                    bounds: vec![],
                });
            }
        }
        let column_of = |expr: &Expr, input: &LogicalPlan| {
            input
                .schema()
                .maybe_index_of_column(extract::plain_column(expr)?)
        };
        let (input, field) = match plan {
            LogicalPlan::SubqueryAlias(alias) => (&alias.input, field),
            LogicalPlan::Filter(filter) => (&filter.input, field),
            LogicalPlan::Sort(sort) => (&sort.input, field),
            LogicalPlan::Limit(limit) => (&limit.input, field),
            LogicalPlan::Distinct(Distinct::All(input)) => (input, field),
            LogicalPlan::Window(window) if field < window.input.schema().fields().len() => {
                (&window.input, field)
            }
            LogicalPlan::Projection(projection) => {
                let expr = projection.expr.get(field)?;
                (&projection.input, column_of(expr, &projection.input)?)
            }
            LogicalPlan::Aggregate(aggregate) => {
                let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
                let expr = match aggregate.group_expr.get(field).filter(|_| field < groups) {
                    Some(expr) => expr,
                    // The least and the largest value of a column are values of it.
                    None => extreme(aggregate.aggr_expr.get(field.checked_sub(groups)?)?)?,
                };
                (&aggregate.input, column_of(expr, &aggregate.input)?)
            }
            LogicalPlan::Join(join) => {
                let of_left = join.left.schema().fields().len();
                match join.join_type {
                    JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                        (&join.right, field)
                    }
                    _ if field < of_left => (&join.left, field),
                    _ => (&join.right, field - of_left),
                }
            }
            _ => return None,
        };
        self.source(input, field, regions)
    }

    /// The composite keys of sub-plans that are joined with each other.
    pub(crate) fn composites(&self, leaves: &[LogicalPlan], graph: &QueryGraph) -> Vec<Composite> {
        // An expression over one column has no more values than the column.
        let field = |key: &Expr| {
            let columns = key.column_refs();
            let mut columns = columns.into_iter();
            let only = columns.next().filter(|_| columns.next().is_none());
            resolve_region_column(only?).map(|(_, field)| field)
        };
        let fields_of = |a: usize, b: usize| -> Option<Vec<usize>> {
            let both = graph.classes.iter().filter(|class| {
                let relations = class.relations();
                relations.contains(a) && relations.contains(b)
            });
            let member = |class: &EqualityClass| {
                let own = class.members.iter().find(|m| m.relation == a);
                field(&own?.key)
            };
            both.map(member).collect()
        };
        let derived = |r: &usize| graph.relations[*r].table.is_none();
        let mut derived: Vec<usize> = (0..leaves.len()).filter(derived).collect();
        // Of more of them there are too many pairs.
        derived.truncate(MOST_DERIVED);
        let (mut composites, mut regions) = (vec![], Regions::new());
        for (i, a) in derived.iter().enumerate() {
            for b in &derived[..i] {
                let (Some(of_a), Some(of_b)) = (fields_of(*a, *b), fields_of(*b, *a)) else {
                    continue;
                };
                if !of_a.is_empty() {
                    let keys = |r: usize, fields| Keys {
                        plan: &leaves[r],
                        fields,
                        columns: columns_of(&graph.relations[r], fields),
                    };
                    let combinations =
                        self.room_of_both(&keys(*a, &of_a), &keys(*b, &of_b), &mut regions);
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
        let results = window.schema.fields().iter().skip(profile.columns.len());
        for (expr, field) in window.window_expr.iter().zip(results) {
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
                let ndv = match () {
                    // Places within a partition.
                    () if is_place(&function.fun) => profile.rows / partitions,
                    // One result for all rows of a partition.
                    () if params.order_by.is_empty() => partitions,
                    () => profile.rows,
                };
                column.ndv = ndv.clamp(1.0, profile.rows.max(1.0));
                column.source = EstimateSource::Ndv;
                if is_place(&function.fun) {
                    column.min = Some(Value::Int(1));
                    column.max = Some(Value::Int(column.ndv.round() as i128));
                }
            }
            profile.columns.push(column);
        }
        profile
    }
}

/// The argument of MIN or MAX.
fn extreme(function: &Expr) -> Option<&Expr> {
    match function {
        Expr::Alias(alias) => extreme(&alias.expr),
        Expr::AggregateFunction(function) if matches!(function.func.name(), "min" | "max") => {
            function.params.args.first()
        }
        _ => None,
    }
}

/// Whether a window function tells the place of a row in its partition.
fn is_place(function: &WindowFunctionDefinition) -> bool {
    matches!(function.name(), "row_number" | "rank" | "dense_rank")
}

/// Takes columns that are equal to others for columns of as few relations as possible: so many the fewer are free of each other.
fn align(sources: &mut [Source]) {
    for at in 0..sources.len() {
        let source = &sources[at];
        let graph = &source.region.graph;
        let column = |m: &Member| key_column(&graph.relations[m.relation], m);
        let is_source = |m: &Member| {
            m.relation == source.relation && column(m).as_ref() == Some(&source.column)
        };
        let mut classes = graph.classes.iter();
        let class = classes.find(|class| class.members.iter().any(is_source));
        let is_beside = |m: &&Member| {
            let mut others = sources.iter();
            let is_own = |other: &Source| {
                Rc::ptr_eq(&other.region, &source.region) && other.relation == m.relation
            };
            m.relation != source.relation && others.any(is_own)
        };
        let member = class.and_then(|class| class.members.iter().find(is_beside));
        let found = member.and_then(|m| Some((m.relation, column(m)?)));
        if let Some((relation, column)) = found {
            sources[at].relation = relation;
            sources[at].column = column;
        }
    }
}

/// What is known of some fields of a relation.
fn columns_of(relation: &Relation, fields: &[usize]) -> Vec<ColumnProfile> {
    let place = |field: &usize| relation.output.get(*field);
    let column = |field| relation.base.columns.get(*place(field)?).cloned();
    // All of them or none, so that they stay in their order.
    let columns: Option<Vec<_>> = fields.iter().map(column).collect();
    columns.unwrap_or_default()
}

/// Combinations that columns have room for: those of one relation by its rows, those of several come together freely. Predicates count
/// where they also restrict the same table among `others`.
fn room_of(sources: &[Source], others: Option<&[Source]>) -> f64 {
    let mut room = 1.0;
    for (at, source) in sources.iter().enumerate() {
        if sources[..at].iter().any(|before| before.is_beside(source)) {
            continue;
        }
        let beside = sources.iter().filter(|other| other.is_beside(source));
        let columns: BTreeSet<String> = beside.clone().map(|s| s.column.clone()).collect();
        let relation = source.relation();
        let is_common = |predicate: &&Expr| {
            others.is_none_or(|others| {
                others.iter().any(|other| {
                    let other = other.relation();
                    other.table == relation.table && other.predicates.contains(predicate)
                })
            })
        };
        let common = relation.predicates.iter().filter(is_common);
        let bounds = beside.flat_map(|source| &source.bounds);
        let common: Vec<Expr> = common.chain(bounds).cloned().collect();
        room *= clusters::room(&source.region.graph, source.relation, &columns, &common);
    }
    room
}
