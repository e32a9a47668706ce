//! The predicates of a region: classes of equal keys, and the rest by the relations it concerns.

use super::uses;
use crate::query_graph::{EqualityClass, JoinFilter, Member};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::{can_hash, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

/// An equality between two keys.
#[derive(Debug, Clone)]
pub(crate) struct Equality {
    pub(crate) left: Expr,
    pub(crate) left_type: DataType,
    pub(crate) right: Expr,
    pub(crate) right_type: DataType,
}

/// A predicate that is no conjunction, in terms of the region's columns.
#[derive(Debug, Clone)]
pub(super) enum Conjunct {
    Equality(Equality),
    Other(Expr),
}

impl Equality {
    /// The same equality with its sides exchanged.
    pub(crate) fn turned(self) -> Self {
        Self {
            left: self.right,
            left_type: self.right_type,
            right: self.left,
            right_type: self.left_type,
        }
    }

    /// The equality as an expression.
    pub(crate) fn expr(self) -> Expr {
        equality(self.left, self.right)
    }
}

impl Conjunct {
    /// The conjuncts of a predicate over `schema`; `region_expr` puts it in terms of the region's columns.
    pub(super) fn split(
        predicate: &Expr,
        schema: &DFSchema,
        region_expr: &impl Fn(&Expr) -> Result<Expr>,
    ) -> Result<Vec<Self>> {
        split_conjunction(predicate)
            .into_iter()
            .map(|conjunct| {
                let Expr::BinaryExpr(BinaryExpr {
                    left,
                    op: Operator::Eq,
                    right,
                }) = conjunct
                else {
                    return Ok(Self::Other(region_expr(conjunct)?));
                };
                Ok(Self::Equality(Equality {
                    left: region_expr(left)?,
                    left_type: left.get_type(schema)?,
                    right: region_expr(right)?,
                    right_type: right.get_type(schema)?,
                }))
            })
            .collect()
    }

    pub(super) fn expr(self) -> Expr {
        match self {
            Self::Equality(equality) => equality.expr(),
            Self::Other(expr) => expr,
        }
    }
}

/// Predicates of inner joins, which may be applied wherever their relations are.
#[derive(Debug, Clone, Default)]
pub(super) struct Predicates {
    pub(super) classes: Vec<EqualityClass>,
    pub(super) filters: Vec<JoinFilter>,
    /// By relation predicates on it alone.
    pub(super) of_leaves: Vec<Vec<Expr>>,
    /// Predicates without a column of the region.
    pub(super) constants: Vec<Expr>,
    /// The equalities that the classes close, as the plan has them.
    pub(super) equalities: Vec<(Expr, Expr)>,
}

impl Predicates {
    pub(super) fn add(&mut self, conjunct: Conjunct) {
        match conjunct {
            Conjunct::Equality(equality) => self.add_equality(equality),
            Conjunct::Other(expr) => self.add_predicate(expr),
        }
    }

    /// Takes an equality into the classes if it relates one relation with one other.
    fn add_equality(&mut self, equality: Equality) {
        let (l, r) = (
            uses(&equality.left).relations,
            uses(&equality.right).relations,
        );
        let one_each = l.len() == 1 && r.len() == 1 && l != r;
        let hashable = can_hash(&equality.left_type) && can_hash(&equality.right_type);
        let (Some(l), Some(r)) = (l.first(), r.first()) else {
            return self.add_predicate(equality.expr());
        };
        if !one_each || !hashable {
            return self.add_predicate(equality.expr());
        }
        self.equalities
            .push((equality.left.clone(), equality.right.clone()));
        let closed = equality.left_type == equality.right_type;
        let left = Member {
            relation: l,
            key: equality.left,
            data_type: equality.left_type,
        };
        let right = Member {
            relation: r,
            key: equality.right,
            data_type: equality.right_type,
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
        let relations = uses(&predicate).relations;
        match (relations.len(), relations.first()) {
            (0, _) | (_, None) => push_new(&mut self.constants, predicate),
            (1, Some(relation)) => {
                if self.of_leaves.len() <= relation {
                    self.of_leaves.resize(relation + 1, vec![]);
                }
                push_new(&mut self.of_leaves[relation], predicate);
            }
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
