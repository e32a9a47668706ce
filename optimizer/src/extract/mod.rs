//! From a logical plan to the query graph of a region.
//!
//! A region is a maximal tree of joins, seen through column-only projections, aliases and filters. Its leaves are tables
//! or whole sub-plans. Every output column of every node inside a region is a column of a leaf or the mark of a mark
//! join, so that predicates can be moved freely once their columns are named by leaf and position.

mod expansion;
mod flatten;
mod large;
mod predicates;
mod text;

pub(crate) use expansion::{Expansion, Kinds, is_movable, plain_column};
pub(crate) use flatten::FlatOperator;
pub(crate) use large::{
    Condition, LargePredicate, LargeRegion, is_large, large_region, map_leaves,
};
pub(crate) use predicates::equality;
pub(crate) use text::{RegionText, leaf_text, named, readable};

use crate::conflicts;
use crate::derive::Deriver;
use crate::join_graph::{EdgeKind, JoinGraph, JoinKind, Operator};
use crate::join_tree::JoinTree;
use crate::query_graph::{EqualityClass, JoinFilter, QueryGraph, Relation, resolve_region_column};
use crate::relset::RelSet;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, JoinType, Result, plan_datafusion_err};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use flatten::{Failure, Flat, flatten};
use predicates::{Conjunct, Predicates};
use std::collections::HashMap;

/// Columns of relations from this on are marks of mark joins.
pub(crate) const MARKS: usize = 1 << 32;

/// A region of a plan: the query graph and what `emit` needs to make a plan of it again.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    /// What estimators see: all joins are inner joins, and those that only drop rows are left out.
    pub(crate) graph: QueryGraph,
    /// By relation its plan.
    pub(crate) leaves: Vec<LogicalPlan>,
    /// The join order of the plan.
    pub(crate) written: JoinTree,
    /// For each field of the region's schema the relation and field it is.
    pub(crate) output: Vec<(usize, usize)>,
    /// By relation predicates on it alone that stood above a join.
    pub(crate) leaf_predicates: Vec<Vec<Expr>>,
    /// Predicates without a column of the region.
    pub(crate) constants: Vec<Expr>,
    /// The equalities that the classes close, as the plan has them.
    pub(crate) equalities: Vec<(Expr, Expr)>,
    /// Equalities and predicates of inner joins, which may be applied wherever their relations are. Those of `graph`
    /// where there are no operators.
    pub(crate) classes: Vec<EqualityClass>,
    pub(crate) filters: Vec<JoinFilter>,
    /// Joins that may not stand anywhere, inputs before outputs.
    pub(crate) operators: Vec<RegionOperator>,
}

/// A join of a region that may not stand anywhere.
#[derive(Debug, Clone)]
pub(crate) struct RegionOperator {
    /// Where it may stand.
    pub(crate) place: Operator,
    /// What it does.
    pub(crate) join: FlatOperator,
}

impl Region {
    /// A region without a join.
    pub(crate) fn of_one(plan: &LogicalPlan, relation: Relation) -> Self {
        Self {
            output: (0..relation.output.len()).map(|field| (0, field)).collect(),
            graph: QueryGraph {
                relations: vec![relation],
                classes: vec![],
                filters: vec![],
                composites: vec![],
            },
            leaves: vec![plan.clone()],
            written: JoinTree::Leaf(0),
            leaf_predicates: vec![vec![]],
            constants: vec![],
            equalities: vec![],
            classes: vec![],
            filters: vec![],
            operators: vec![],
        }
    }

    /// The graph that search sees.
    pub(crate) fn join_graph(&self) -> JoinGraph {
        let mut edges = vec![];
        for class in &self.classes {
            let relations: Vec<usize> = class.relations().iter().collect();
            for (i, a) in relations.iter().enumerate() {
                edges.extend(relations[..i].iter().map(|b| (*a, *b, EdgeKind::Equality)));
            }
        }
        let pair = |filter: &JoinFilter| match filter.relations.len() {
            2 => filter.relations.first().zip(filter.relations.last()),
            _ => None,
        };
        let pairs = self.filters.iter().filter_map(pair);
        edges.extend(pairs.map(|(a, b)| (a, b, EdgeKind::Theta)));
        JoinGraph::new(self.leaves.len(), edges)
            .with_predicates(self.filters.iter().map(|f| f.relations))
            .with_operators(self.operators.iter().map(|o| o.place.clone()).collect())
    }
}

/// The region whose topmost join is `plan`; `None` if it is not one, or has a shape that is not
/// understood.
pub(crate) fn region(plan: &LogicalPlan, kinds: Kinds, deriver: &Deriver<'_>) -> Option<Region> {
    let mut region = region_of(plan, kinds, deriver, Deriver::relation)?;
    region.graph.composites = deriver.composites(&region.leaves, &region.graph);
    Some(region)
}

/// The region whose topmost join is `plan`, of which nothing is known but its tables.
pub(crate) fn outline(plan: &LogicalPlan, deriver: &Deriver<'_>) -> Option<Region> {
    region_of(plan, Kinds::All, deriver, Deriver::table_or_unknown)
}

/// What is known of a leaf under a name.
type RelationOf<'a> = fn(&Deriver<'a>, &LogicalPlan, String) -> Relation;

fn region_of<'a>(
    plan: &LogicalPlan,
    kinds: Kinds,
    deriver: &Deriver<'a>,
    relation_of: RelationOf<'a>,
) -> Option<Region> {
    let expansion = Expansion::of(plan, kinds)?;
    let flat = match flatten(plan, &expansion) {
        Ok(flat) => flat,
        Err(Failure::Other(error)) => {
            tracing::debug!(%error, "a join region is left as it is");
            return None;
        }
        Err(Failure::Barrier(_)) => return None,
    };
    match extract(flat, deriver, relation_of) {
        Ok(region) => Some(region),
        Err(error) => {
            tracing::debug!(%error, "a join region is left as it is");
            None
        }
    }
}

fn extract<'a>(flat: Flat, deriver: &Deriver<'a>, relation_of: RelationOf<'a>) -> Result<Region> {
    let (leaves, predicates) = (&flat.leaves, &flat.predicates.of_leaves);
    let mut relations = relations_of_leaves(leaves, predicates, deriver, relation_of)?;
    let estimated = as_inner_joins(&flat);
    // Not by outer joins: they keep rows whose keys differ.
    restrict_within(&mut relations, &flat.predicates.classes)?;
    let places = match flat.operators.is_empty() {
        true => vec![],
        false => conflicts::operators(&flat.tree),
    };
    if places.len() != flat.operators.len() {
        return Err(plan_datafusion_err!(
            "{} places of {} operators",
            places.len(),
            flat.operators.len()
        ));
    }
    let operators = places
        .into_iter()
        .zip(flat.operators)
        .map(|(place, join)| RegionOperator { place, join })
        .collect();
    Ok(Region {
        graph: QueryGraph {
            relations,
            classes: estimated.classes,
            filters: estimated.filters,
            composites: vec![],
        },
        leaves: flat.leaves,
        written: flat.written,
        output: flat.fields,
        leaf_predicates: flat.predicates.of_leaves,
        constants: flat.predicates.constants,
        equalities: flat.predicates.equalities,
        classes: flat.predicates.classes,
        filters: flat.predicates.filters,
        operators,
    })
}

/// The relations of a region, with the predicates on each alone that stood above a join.
fn relations_of_leaves<'a>(
    leaves: &[LogicalPlan],
    predicates: &[Vec<Expr>],
    deriver: &Deriver<'a>,
    relation_of: RelationOf<'a>,
) -> Result<Vec<Relation>> {
    let aliases = unique_names(leaves.iter().map(leaf_name));
    let mut relations = vec![];
    for ((leaf, alias), own) in leaves.iter().zip(aliases).zip(predicates) {
        let mut relation = relation_of(deriver, leaf, alias);
        for predicate in own {
            let named = rename_columns(predicate, |c| {
                let (_, field) = resolve_region_column(c)?;
                let base = *relation.output.get(field)?;
                Some(Column::from_name(relation.base_columns.get(base)?))
            })?;
            relation.predicates.push(deriver.with_constants(named));
        }
        relations.push(relation);
    }
    Ok(relations)
}

/// Columns of one relation that equal the same other are equal to each other: a predicate on that relation alone.
fn restrict_within(relations: &mut [Relation], classes: &[EqualityClass]) -> Result<()> {
    for class in classes {
        for (at, member) in class.members.iter().enumerate() {
            let mut before = class.members[..at].iter();
            let Some(first) = before.find(|m| m.relation == member.relation) else {
                continue;
            };
            let Some(relation) = relations.get_mut(member.relation) else {
                continue;
            };
            let named = |key| {
                rename_columns(key, |c| {
                    let (_, field) = resolve_region_column(c)?;
                    let base = *relation.output.get(field)?;
                    Some(Column::from_name(relation.base_columns.get(base)?))
                })
            };
            let (first, second) = (named(&first.key)?, named(&member.key)?);
            let known = [
                first.clone().eq(second.clone()),
                second.clone().eq(first.clone()),
            ];
            let mut conjuncts = relation.predicates.iter().flat_map(split_conjunction);
            if !conjuncts.any(|conjunct| known.contains(conjunct)) {
                relation.predicates.push(first.eq(second));
            }
        }
    }
    Ok(())
}

/// All predicates between relations as if outer joins were inner ones.
fn as_inner_joins(flat: &Flat) -> Predicates {
    let mut predicates = flat.predicates.clone();
    for operator in &flat.operators {
        if !matches!(
            operator.kind,
            JoinKind::Inner | JoinKind::Left | JoinKind::Full
        ) {
            continue;
        }
        for equality in &operator.on {
            predicates.add(Conjunct::Equality(equality.clone()));
        }
        for filter in &operator.filters {
            // One on a single relation says which rows have partners, not which there are.
            if uses(filter).relations.len() > 1 {
                predicates.add(Conjunct::Other(filter.clone()));
            }
        }
    }
    predicates
}

/// What an expression needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Uses {
    /// The relations whose columns it uses.
    pub(crate) relations: RelSet,
    /// The marks that it uses, by number.
    pub(crate) marks: Vec<usize>,
}

impl Uses {
    fn and(mut self, other: Self) -> Self {
        self.relations = self.relations.union(other.relations);
        self.marks.extend(other.marks);
        self
    }
}

/// What an expression in terms of the region's columns needs.
pub(crate) fn uses(expr: &Expr) -> Uses {
    let mut uses = Uses::default();
    for column in expr.column_refs() {
        match resolve_region_column(column) {
            Some((relation, _)) if relation >= MARKS => uses.marks.push(relation - MARKS),
            Some((relation, _)) => {
                uses.relations = uses.relations.union(RelSet::single(relation));
            }
            None => {}
        }
    }
    uses.marks.sort_unstable();
    uses.marks.dedup();
    uses
}

/// The expression with every column replaced; an error if one has no replacement.
pub(crate) fn rename_columns(
    expr: &Expr,
    replacement: impl Fn(&Column) -> Option<Column>,
) -> Result<Expr> {
    expr.clone()
        .transform(|e| match &e {
            Expr::Column(column) => match replacement(column) {
                Some(column) => Ok(Transformed::yes(Expr::Column(column))),
                None => Err(not_understood(&e)),
            },
            _ => Ok(Transformed::no(e)),
        })
        .map(|t| t.data)
}

fn not_understood(expr: &Expr) -> DataFusionError {
    plan_datafusion_err!("{expr} is no column of the join region")
}

/// What a reader would call a leaf.
fn leaf_name(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => alias.alias.table().to_string(),
        LogicalPlan::TableScan(scan) => scan.table_name.table().to_string(),
        LogicalPlan::Filter(filter) => leaf_name(&filter.input),
        LogicalPlan::Projection(p) if p.expr.iter().all(|e| plain_column(e).is_some()) => {
            leaf_name(&p.input)
        }
        LogicalPlan::Projection(_) => "projection".to_string(),
        LogicalPlan::Aggregate(_) => "aggregate".to_string(),
        LogicalPlan::Distinct(_) => "distinct".to_string(),
        LogicalPlan::Union(_) => "union".to_string(),
        LogicalPlan::Window(_) => "window".to_string(),
        LogicalPlan::Limit(_) => "limit".to_string(),
        LogicalPlan::Sort(_) => "sort".to_string(),
        LogicalPlan::Values(_) => "values".to_string(),
        LogicalPlan::EmptyRelation(_) => "empty".to_string(),
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::Inner => "inner_join".to_string(),
            other => format!("{}_join", other.to_string().to_lowercase()),
        },
        _ => "subplan".to_string(),
    }
}

/// The names with a number behind those that repeat: `d`, `d#2`, `d#3`.
fn unique_names(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    names
        .map(|name| {
            let count = seen.entry(name.clone()).or_default();
            *count += 1;
            if *count == 1 {
                name
            } else {
                format!("{name}#{count}")
            }
        })
        .collect()
}
