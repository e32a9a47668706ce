//! The joins of a region, taken apart.
//!
//! Inner joins and filters give their predicates to the region as a whole, as far as they concern relations of their
//! own *scope*: the rows of the null-supplying side of an outer join, or of the right side of a semi join, come into
//! being before that join and have a scope of their own. Every other join becomes an operator.

use super::expansion::{Expansion, plain_column};
use super::predicates::{Conjunct, Equality, Predicates};
use super::{MARKS, Uses, rename_columns, uses};
use crate::conflicts::{OperatorNode, OperatorTree};
use crate::join_graph::JoinKind;
use crate::join_tree::JoinTree;
use crate::query_graph::region_column;
use crate::relset::RelSet;
use datafusion::common::{
    Column, DFSchema, DataFusionError, JoinType, NullEquality, Result, plan_datafusion_err,
};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, Join, LogicalPlan};

/// For each field of a node's schema the relation and field it is.
pub(super) type Fields = Vec<(usize, usize)>;

/// Why a region cannot be taken apart.
#[derive(Debug)]
pub(super) enum Failure {
    /// This filter has to stay where it is.
    Barrier(*const Filter),
    Other(DataFusionError),
}

impl Failure {
    pub(super) fn barrier(self) -> Option<*const Filter> {
        match self {
            Self::Barrier(filter) => Some(filter),
            Self::Other(_) => None,
        }
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Self::Other(error)
    }
}

/// A join that is not left to the predicates of the region.
#[derive(Debug, Clone)]
pub(crate) struct FlatOperator {
    pub(crate) kind: JoinKind,
    /// Equalities, the key of the left input first.
    pub(crate) on: Vec<Equality>,
    /// Other conditions.
    pub(crate) filters: Vec<Expr>,
    pub(crate) null_equality: NullEquality,
    /// Relations of the left and the right input in the plan.
    pub(crate) sides: (RelSet, RelSet),
    /// The join in the plan; its left input is the operator's right one if `turned`.
    pub(crate) join: Join,
    pub(crate) turned: bool,
    /// The number of its mark, if it is a mark join.
    mark: usize,
}

impl FlatOperator {
    /// The number of the mark that the join makes, by which [`MARKS`] and what follows tell them apart.
    pub(crate) fn mark_index(&self) -> Option<usize> {
        (self.kind == JoinKind::Mark).then_some(self.mark)
    }

    /// All that it checks, for display.
    pub(crate) fn condition(&self) -> Option<Expr> {
        let equalities = self.on.iter().map(|e| e.clone().expr());
        let others = self.filters.iter().cloned();
        conjunction(equalities.chain(others))
    }

    /// A product: it takes part only where the region has other operators.
    fn is_product(&self) -> bool {
        self.kind == JoinKind::Inner && self.on.is_empty() && self.filters.is_empty()
    }
}

/// A region taken apart.
pub(super) struct Flat {
    pub(super) leaves: Vec<LogicalPlan>,
    pub(super) fields: Fields,
    pub(super) written: JoinTree,
    pub(super) tree: OperatorTree,
    /// In the order of [`conflicts::operators`](crate::conflicts::operators).
    pub(super) operators: Vec<FlatOperator>,
    pub(super) predicates: Predicates,
}

/// Takes the region at `plan` apart.
pub(super) fn flatten(plan: &LogicalPlan, expansion: &Expansion) -> Result<Flat, Failure> {
    let mut flattener = Flattener {
        expansion,
        leaves: vec![],
        scope_of: vec![],
        scopes: 1,
        marks: 0,
        predicates: Predicates::default(),
    };
    let mut part = flattener.flatten(plan, ROOT)?;
    flattener
        .predicates
        .of_leaves
        .resize(flattener.leaves.len(), vec![]);
    if part.operators.iter().all(FlatOperator::is_product) {
        part.operators.clear();
    }
    Ok(Flat {
        leaves: flattener.leaves,
        fields: part.fields,
        written: part.written,
        tree: part.tree,
        operators: part.operators,
        predicates: flattener.predicates,
    })
}

/// The scope of the region's result.
const ROOT: usize = 0;

struct Flattener<'a> {
    expansion: &'a Expansion,
    leaves: Vec<LogicalPlan>,
    /// By relation.
    scope_of: Vec<usize>,
    scopes: usize,
    marks: usize,
    predicates: Predicates,
}

/// What a node of the plan has become.
struct Part {
    fields: Fields,
    written: JoinTree,
    tree: OperatorTree,
    operators: Vec<FlatOperator>,
}

impl Flattener<'_> {
    #[recursive::recursive]
    fn flatten(&mut self, plan: &LogicalPlan, scope: usize) -> Result<Part, Failure> {
        if !self.expansion.continues_in(plan) {
            let index = self.leaves.len();
            self.leaves.push(plan.clone());
            self.scope_of.push(scope);
            let fields = (0..plan.schema().fields().len()).map(|f| (index, f));
            return Ok(Part {
                fields: fields.collect(),
                written: JoinTree::Leaf(index),
                tree: OperatorTree::Leaf(index),
                operators: vec![],
            });
        }
        match plan {
            LogicalPlan::Join(join) => self.join(join, scope),
            LogicalPlan::Projection(projection) => {
                let mut part = self.flatten(&projection.input, scope)?;
                let schema = projection.input.schema();
                part.fields = projection
                    .expr
                    .iter()
                    .map(|e| {
                        let column = plain_column(e)
                            .ok_or_else(|| plan_datafusion_err!("{e} is no column"))?;
                        Ok(part.fields[schema.index_of_column(column)?])
                    })
                    .collect::<Result<_>>()?;
                Ok(part)
            }
            LogicalPlan::SubqueryAlias(alias) => self.flatten(&alias.input, scope),
            LogicalPlan::Filter(filter) => self.filter(filter, scope),
            other => Err(plan_datafusion_err!("no part of a region: {}", other.display()).into()),
        }
    }

    fn filter(&mut self, filter: &Filter, scope: usize) -> Result<Part, Failure> {
        let part = self.flatten(&filter.input, scope)?;
        let schema = filter.input.schema();
        let named = |e: &Expr| region_expr(e, schema, &part.fields);
        for conjunct in Conjunct::split(&filter.predicate, schema, &named)? {
            // What says something of rows that a join supplied with NULLs, or of a mark, is true of that join's result
            // alone. It could be carried along with the join, but the engine moves filters between joins by the names
            // of columns, which repeat, and then returns wrong rows.
            if !self.is_free(&uses(&conjunct.clone().expr()), scope) {
                return Err(Failure::Barrier(filter));
            }
            self.predicates.add(conjunct);
        }
        Ok(part)
    }

    /// Whether a predicate may be applied wherever its relations are, as far as they go.
    fn is_free(&self, used: &Uses, scope: usize) -> bool {
        // Without any column it decides about all rows of its scope.
        let about_all = used.relations.is_empty() && scope != ROOT;
        let inside = |relation: usize| self.scope_of.get(relation) == Some(&scope);
        used.marks.is_empty() && !about_all && used.relations.iter().all(inside)
    }

    fn join(&mut self, join: &Join, scope: usize) -> Result<Part, Failure> {
        let (kind, turned) = kind_of(join.join_type);
        let mut own_scope = || {
            self.scopes += 1;
            self.scopes - 1
        };
        let (left_scope, right_scope) = match (kind, turned) {
            (JoinKind::Inner, _) => (scope, scope),
            (JoinKind::Full, _) => (own_scope(), own_scope()),
            (_, false) => (scope, own_scope()),
            (_, true) => (own_scope(), scope),
        };
        let left = self.flatten(&join.left, left_scope)?;
        let right = self.flatten(&join.right, right_scope)?;
        let on = equalities(join, &left.fields, &right.fields)?;
        let both: Fields = left.fields.iter().chain(&right.fields).copied().collect();
        let conditions = match &join.filter {
            Some(filter) => {
                let schema = join.left.schema().join(join.right.schema())?;
                Conjunct::split(filter, &schema, &|e| region_expr(e, &schema, &both))?
            }
            None => vec![],
        };
        let relations = (left.tree.relations(), right.tree.relations());
        let used: Vec<Uses> = on
            .iter()
            .map(|e| uses(&e.left).and(uses(&e.right)))
            .chain(conditions.iter().map(|c| uses(&c.clone().expr())))
            .collect();
        let one_null = join.null_equality == NullEquality::NullEqualsNothing || on.is_empty();
        let all_free = used.iter().all(|used| self.is_free(used, scope));
        let used = used.into_iter().fold(Uses::default(), Uses::and);
        let product = on.is_empty() && conditions.is_empty();
        let free = kind == JoinKind::Inner && one_null && all_free && !product;
        if !used.marks.is_empty() && !free {
            // Marks are read by filters alone.
            return Err(plan_datafusion_err!("a join by a mark").into());
        }
        let rejects_null = match join.null_equality {
            NullEquality::NullEqualsNothing => on
                .iter()
                .flat_map(|e| [&e.left, &e.right])
                .filter(|key| is_null_of_null(key))
                .fold(RelSet::EMPTY, |all, key| all.union(uses(key).relations)),
            NullEquality::NullEqualsNull => RelSet::EMPTY,
        };
        let keyed = !on.is_empty();
        let written = JoinTree::join(left.written, right.written);
        let mut operators = vec![];
        let mut fields = match kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Full => both,
            _ if turned => right.fields,
            _ => left.fields,
        };
        if kind == JoinKind::Mark {
            fields.push((MARKS + self.marks, 0));
        }
        let (first, second, sides) = match turned {
            true => (right.tree, left.tree, (relations.1, relations.0)),
            false => (left.tree, right.tree, relations),
        };
        let (below_first, below_second) = match turned {
            true => (right.operators, left.operators),
            false => (left.operators, right.operators),
        };
        operators.extend(below_first);
        operators.extend(below_second);
        if free {
            on.into_iter()
                .for_each(|e| self.predicates.add(Conjunct::Equality(e)));
            conditions.into_iter().for_each(|c| self.predicates.add(c));
        } else {
            let turn = |e: Equality| match turned {
                true => e.turned(),
                false => e,
            };
            operators.push(FlatOperator {
                kind,
                on: on.into_iter().map(turn).collect(),
                filters: conditions.into_iter().map(Conjunct::expr).collect(),
                null_equality: join.null_equality,
                sides,
                join: join.clone(),
                turned,
                mark: self.marks,
            });
        }
        if kind == JoinKind::Mark {
            self.marks += 1;
        }
        let node = OperatorNode {
            kind,
            relations: used.relations,
            rejects_null,
            keyed,
            filtered: false,
            free,
            left: first,
            right: second,
        };
        Ok(Part {
            fields,
            written,
            tree: OperatorTree::Join(Box::new(node)),
            operators,
        })
    }
}

/// The kind of a join, and whether its right input is the one that is preserved.
fn kind_of(join_type: JoinType) -> (JoinKind, bool) {
    match join_type {
        JoinType::Inner => (JoinKind::Inner, false),
        JoinType::Left => (JoinKind::Left, false),
        JoinType::Right => (JoinKind::Left, true),
        JoinType::Full => (JoinKind::Full, false),
        JoinType::LeftSemi => (JoinKind::Semi, false),
        JoinType::RightSemi => (JoinKind::Semi, true),
        JoinType::LeftAnti => (JoinKind::Anti, false),
        JoinType::RightAnti => (JoinKind::Anti, true),
        JoinType::LeftMark => (JoinKind::Mark, false),
        JoinType::RightMark => (JoinKind::Mark, true),
    }
}

fn equalities(join: &Join, left: &Fields, right: &Fields) -> Result<Vec<Equality>> {
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    join.on
        .iter()
        .map(|(left_key, right_key)| {
            Ok(Equality {
                left: region_expr(left_key, left_schema, left)?,
                left_type: left_key.get_type(left_schema)?,
                right: region_expr(right_key, right_schema, right)?,
                right_type: right_key.get_type(right_schema)?,
            })
        })
        .collect()
}

/// Whether a key is surely NULL where its columns are.
fn is_null_of_null(key: &Expr) -> bool {
    match key {
        Expr::Column(_) => true,
        Expr::Cast(cast) => is_null_of_null(&cast.expr),
        Expr::TryCast(cast) => is_null_of_null(&cast.expr),
        _ => false,
    }
}

/// An expression over a node's schema in terms of the region's columns.
pub(super) fn region_expr(expr: &Expr, schema: &DFSchema, fields: &Fields) -> Result<Expr> {
    rename_columns(expr, |column: &Column| {
        let (relation, field) = *fields.get(schema.maybe_index_of_column(column)?)?;
        Some(region_column(relation, field))
    })
}
