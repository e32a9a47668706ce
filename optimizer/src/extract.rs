//! From a logical plan to the query graph of a region.
//!
//! A region is a maximal tree of inner joins, seen through column-only projections, aliases and
//! filters. Its leaves are tables or whole sub-plans. Every output column of every node inside a
//! region is a column of a leaf, so that predicates can be moved freely once their columns are
//! named by leaf and position.

use crate::derive::Deriver;
use crate::join_tree::JoinTree;
use crate::query_graph::{
    EqualityClass, JoinFilter, Member, QueryGraph, Relation, region_column, resolve_region_column,
};
use crate::relset::{MAX_RELATIONS, RelSet};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{
    Column, DFSchema, DataFusionError, JoinType, NullEquality, Result, plan_datafusion_err,
};
use datafusion::logical_expr::utils::{can_hash, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator};
use std::collections::{HashMap, HashSet, VecDeque};

/// A region of a plan: the query graph and what `emit` needs to make a plan of it again.
#[derive(Debug, Clone)]
pub(crate) struct Region {
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
            },
            leaves: vec![plan.clone()],
            written: JoinTree::Leaf(0),
            leaf_predicates: vec![vec![]],
            constants: vec![],
            equalities: vec![],
        }
    }
}

/// The region whose topmost join is `plan`; `None` if it is not one, or has a shape that is not
/// understood.
pub(crate) fn region(plan: &LogicalPlan, deriver: &Deriver<'_>) -> Option<Region> {
    let expansion = Expansion::of(plan)?;
    match Extraction::run(plan, &expansion, deriver) {
        Ok(region) => Some(region),
        Err(error) => {
            tracing::debug!(%error, "a join region is left as it is");
            None
        }
    }
}

/// The joins of one region, chosen before anything is extracted.
///
/// A region has at most [`MAX_RELATIONS`] leaves: joins are taken from the top down, level by level,
/// and what does not fit becomes a leaf, a region of its own.
#[derive(Debug)]
pub(crate) struct Expansion(HashSet<*const Join>);

impl Expansion {
    /// The region that has `plan` as its topmost join; `None` if `plan` is no such join.
    pub(crate) fn of(plan: &LogicalPlan) -> Option<Self> {
        let LogicalPlan::Join(root) = plan else {
            return None;
        };
        if !is_reorderable(root) {
            return None;
        }
        let mut joins = HashSet::new();
        let mut leaves = 1;
        let mut queue = VecDeque::from([root]);
        while let Some(join) = queue.pop_front() {
            if leaves == MAX_RELATIONS {
                break;
            }
            leaves += 1;
            joins.insert(std::ptr::from_ref(join));
            queue.extend(
                [&join.left, &join.right]
                    .into_iter()
                    .filter_map(|p| join_below(p)),
            );
        }
        Some(Self(joins))
    }

    /// Whether the region goes on at or below `plan`. If not, `plan` is one of its leaves.
    pub(crate) fn continues_in(&self, plan: &LogicalPlan) -> bool {
        join_below(plan).is_some_and(|join| self.0.contains(&std::ptr::from_ref(join)))
    }
}

/// The reorderable join at `plan` or under nodes that a region sees through.
#[recursive::recursive]
fn join_below(plan: &LogicalPlan) -> Option<&Join> {
    match plan {
        LogicalPlan::Join(join) if is_reorderable(join) => Some(join),
        LogicalPlan::Projection(p) if p.expr.iter().all(|e| plain_column(e).is_some()) => {
            join_below(&p.input)
        }
        LogicalPlan::SubqueryAlias(alias) => join_below(&alias.input),
        LogicalPlan::Filter(filter) if is_movable(&filter.predicate) => join_below(&filter.input),
        _ => None,
    }
}

/// Whether a join may take part in a region. Joins that take NULL for equal to NULL are left alone,
/// since an equality class cannot mix both kinds.
fn is_reorderable(join: &Join) -> bool {
    join.join_type == JoinType::Inner
        && (join.null_equality == NullEquality::NullEqualsNothing || join.on.is_empty())
        && join.filter.as_ref().is_none_or(is_movable)
        && join.on.iter().all(|(l, r)| is_movable(l) && is_movable(r))
}

/// Whether a predicate means the same wherever in the region it is evaluated.
fn is_movable(expr: &Expr) -> bool {
    let fixed = expr.exists(|e| {
        Ok(e.is_volatile_node()
            || matches!(
                e,
                Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
                    | Expr::OuterReferenceColumn(..)
                    | Expr::Unnest(_)
            ))
    });
    matches!(fixed, Ok(false))
}

/// The column that a projection passes on, whatever it names it.
pub(crate) fn plain_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}

/// For each field of a node's schema the relation and field it is.
type Fields = Vec<(usize, usize)>;

struct Extraction<'a> {
    expansion: &'a Expansion,
    leaves: Vec<LogicalPlan>,
    classes: Vec<EqualityClass>,
    filters: Vec<JoinFilter>,
    leaf_predicates: Vec<Vec<Expr>>,
    constants: Vec<Expr>,
    equalities: Vec<(Expr, Expr)>,
}

impl<'a> Extraction<'a> {
    fn run(plan: &LogicalPlan, expansion: &'a Expansion, deriver: &Deriver<'_>) -> Result<Region> {
        let mut extraction = Extraction {
            expansion,
            leaves: vec![],
            classes: vec![],
            filters: vec![],
            leaf_predicates: vec![],
            constants: vec![],
            equalities: vec![],
        };
        let (output, written) = extraction.flatten(plan)?;
        let aliases = unique_names(extraction.leaves.iter().map(leaf_name));
        let mut relations = vec![];
        for (i, (leaf, alias)) in extraction.leaves.iter().zip(aliases).enumerate() {
            let mut relation = deriver.relation(leaf, alias);
            for predicate in &extraction.leaf_predicates[i] {
                let named = rename_columns(predicate, |c| {
                    let (_, field) = resolve_region_column(c)?;
                    let base = *relation.output.get(field)?;
                    Some(Column::from_name(relation.base_columns.get(base)?))
                })?;
                relation.predicates.push(named);
            }
            relations.push(relation);
        }
        Ok(Region {
            graph: QueryGraph {
                relations,
                classes: extraction.classes,
                filters: extraction.filters,
            },
            leaves: extraction.leaves,
            written,
            output,
            leaf_predicates: extraction.leaf_predicates,
            constants: extraction.constants,
            equalities: extraction.equalities,
        })
    }

    #[recursive::recursive]
    fn flatten(&mut self, plan: &LogicalPlan) -> Result<(Fields, JoinTree)> {
        if !self.expansion.continues_in(plan) {
            let index = self.leaves.len();
            self.leaves.push(plan.clone());
            self.leaf_predicates.push(vec![]);
            let fields = (0..plan.schema().fields().len()).map(|f| (index, f));
            return Ok((fields.collect(), JoinTree::Leaf(index)));
        }
        match plan {
            LogicalPlan::Join(join) => {
                let (left_fields, left) = self.flatten(&join.left)?;
                let (right_fields, right) = self.flatten(&join.right)?;
                for (left_key, right_key) in &join.on {
                    let left_schema = join.left.schema();
                    let right_schema = join.right.schema();
                    self.add_equality(
                        region_expr(left_key, left_schema, &left_fields)?,
                        left_key.get_type(left_schema)?,
                        region_expr(right_key, right_schema, &right_fields)?,
                        right_key.get_type(right_schema)?,
                    );
                }
                let mut fields = left_fields;
                fields.extend(right_fields);
                if let Some(filter) = &join.filter {
                    self.add_predicates(filter, &join.schema, &fields)?;
                }
                Ok((fields, JoinTree::join(left, right)))
            }
            LogicalPlan::Projection(projection) => {
                let (fields, tree) = self.flatten(&projection.input)?;
                let schema = projection.input.schema();
                let fields = projection
                    .expr
                    .iter()
                    .map(|e| {
                        let column = plain_column(e).ok_or_else(|| not_understood(e))?;
                        Ok(fields[schema.index_of_column(column)?])
                    })
                    .collect::<Result<_>>()?;
                Ok((fields, tree))
            }
            LogicalPlan::SubqueryAlias(alias) => self.flatten(&alias.input),
            LogicalPlan::Filter(filter) => {
                let (fields, tree) = self.flatten(&filter.input)?;
                self.add_predicates(&filter.predicate, filter.input.schema(), &fields)?;
                Ok((fields, tree))
            }
            other => Err(plan_datafusion_err!(
                "no part of a region: {}",
                other.display()
            )),
        }
    }

    fn add_predicates(&mut self, expr: &Expr, schema: &DFSchema, fields: &Fields) -> Result<()> {
        for conjunct in split_conjunction(expr) {
            if let Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Eq,
                right,
            }) = conjunct
            {
                self.add_equality(
                    region_expr(left, schema, fields)?,
                    left.get_type(schema)?,
                    region_expr(right, schema, fields)?,
                    right.get_type(schema)?,
                );
            } else {
                self.add_predicate(region_expr(conjunct, schema, fields)?);
            }
        }
        Ok(())
    }

    /// Takes an equality into the classes if it relates one relation with one other.
    fn add_equality(&mut self, left: Expr, left_type: DataType, right: Expr, right_type: DataType) {
        let (l, r) = (relations_of(&left), relations_of(&right));
        let one_each = l.len() == 1 && r.len() == 1 && l != r;
        let hashable = can_hash(&left_type) && can_hash(&right_type);
        let (Some(l), Some(r)) = (l.first(), r.first()) else {
            return self.add_predicate(equality(left, right));
        };
        if !one_each || !hashable {
            return self.add_predicate(equality(left, right));
        }
        self.equalities.push((left.clone(), right.clone()));
        let closed = left_type == right_type;
        let left = Member {
            relation: l,
            key: left,
            data_type: left_type,
        };
        let right = Member {
            relation: r,
            key: right,
            data_type: right_type,
        };
        if !closed {
            // Equal after a conversion that the engine does: true of these two, not of others that
            // equal either.
            let members = vec![left, right];
            if !self.classes.iter().any(|c| c.members == members) {
                self.classes.push(EqualityClass { members });
            }
            return;
        }
        let class_of = |classes: &[EqualityClass], member: &Member| {
            classes.iter().position(|c| {
                let one_type = c.members.iter().all(|m| m.data_type == member.data_type);
                one_type && c.members.contains(member)
            })
        };
        match (
            class_of(&self.classes, &left),
            class_of(&self.classes, &right),
        ) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => {
                let other = self.classes.remove(a.max(b));
                self.classes[a.min(b)].members.extend(other.members);
            }
            (Some(a), None) => self.classes[a].members.push(right),
            (None, Some(b)) => self.classes[b].members.push(left),
            (None, None) => self.classes.push(EqualityClass {
                members: vec![left, right],
            }),
        }
    }

    fn add_predicate(&mut self, predicate: Expr) {
        let relations = relations_of(&predicate);
        match (relations.len(), relations.first()) {
            (0, _) | (_, None) => push_new(&mut self.constants, predicate),
            (1, Some(relation)) => push_new(&mut self.leaf_predicates[relation], predicate),
            _ => push_new(
                &mut self.filters,
                JoinFilter {
                    relations,
                    predicate,
                },
            ),
        }
    }
}

/// The same predicate twice is one predicate.
fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

pub(crate) fn equality(left: Expr, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(
        Box::new(left),
        Operator::Eq,
        Box::new(right),
    ))
}

/// The relations whose columns a region's predicate uses.
fn relations_of(expr: &Expr) -> RelSet {
    expr.column_refs()
        .into_iter()
        .filter_map(resolve_region_column)
        .map(|(relation, _)| relation)
        .collect()
}

/// An expression over a node's schema in terms of the region's columns.
fn region_expr(expr: &Expr, schema: &DFSchema, fields: &Fields) -> Result<Expr> {
    rename_columns(expr, |column| {
        let (relation, field) = *fields.get(schema.maybe_index_of_column(column)?)?;
        Some(region_column(relation, field))
    })
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
