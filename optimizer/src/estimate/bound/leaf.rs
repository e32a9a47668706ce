//! What is certain about one relation.

use super::message::Key;
use crate::estimate::EstimateSource;
use crate::estimate::joinwright::leaf::key_column;
use crate::estimate::literal::value_of;
use crate::query_graph::{QueryGraph, Relation};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use joinwright_stats::{CODING, TableDetails, Value};

/// A relation.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// Rows that pass its predicates, at most; infinite if nothing is known.
    pub(crate) rows: f64,
    /// All rows of the table are known, and index the keys.
    pub(crate) whole: bool,
    /// The number of rows before predicates, or of those that pass where that is known row by row.
    pub(crate) candidates: f64,
    /// By row, whether it passes the predicates that could be evaluated exactly; `None` if all rows do, or they are not known.
    pub(crate) pass: Option<BooleanBuffer>,
    /// By equality class the relation's key in it.
    pub(crate) keys: Vec<Option<Key>>,
}

impl Leaf {
    /// Relation `at` of a graph.
    pub(crate) fn new(graph: &QueryGraph, at: usize) -> Self {
        let relation = &graph.relations[at];
        let base = &relation.base;
        let mut leaf = Self {
            rows: f64::INFINITY,
            whole: false,
            candidates: f64::INFINITY,
            pass: None,
            keys: vec![None; graph.classes.len()],
        };
        // Rows that were scaled or guessed bound nothing, nor does the estimate of a sub-plan.
        let counted = relation.table.is_some() && base.source == EstimateSource::Exact;
        if !counted || !base.known || base.stale {
            return leaf;
        }
        // An empty table has a little more than no rows in its profile.
        leaf.rows = base.rows.round();
        leaf.candidates = leaf.rows;
        let Some(details) = &relation.details else {
            return leaf;
        };
        let all = details.all_rows();
        let all = all.filter(|set| set.batch.num_rows() as f64 == leaf.rows);
        leaf.whole = all.is_some();
        for (class, key) in graph.classes.iter().zip(&mut leaf.keys) {
            let data_type = |i: usize| &class.members[i].data_type;
            let same = (1..class.members.len()).all(|i| data_type(i) == data_type(0));
            let member = class.members.iter().find(|m| m.relation == at);
            let Some(column) = member.and_then(|m| key_column(relation, m)) else {
                continue;
            };
            if !same || !hashes_by_value(relation, &column) {
                continue;
            }
            let degrees = details.degrees(&column);
            let index = all.as_ref().and_then(|set| set.index(&column));
            let found = Key {
                degrees: degrees.filter(|d| d.rows as f64 == not_null(relation, &column)),
                index,
            };
            if found.index.is_some() || found.degrees.is_some() {
                *key = Some(found);
            }
        }
        let type_of = |name: &str| relation.base_type(name);
        let mut pass: Option<BooleanBuffer> = None;
        for conjunct in relation.predicates.iter().flat_map(split_conjunction) {
            leaf.rows = leaf.rows.min(common_rows(conjunct, relation, details));
            let Some(set) = &all else { continue };
            if !is_exact(conjunct, &set.batch, relation) {
                continue;
            }
            if let Some(passed) = relation.evaluations.evaluate(conjunct, set, &type_of)
                && !passed.rounded
            {
                pass = Some(match pass {
                    Some(pass) => &pass & &passed.rows,
                    None => passed.rows,
                });
            }
        }
        if let Some(pass) = &pass {
            leaf.candidates = pass.count_set_bits() as f64;
            leaf.rows = leaf.rows.min(leaf.candidates);
        }
        leaf.pass = pass;
        leaf
    }

    /// Whether a row of a whole relation passes.
    pub(super) fn passes(&self, row: u32) -> bool {
        self.pass.as_ref().is_none_or(|p| p.value(row as usize))
    }
}

/// Rows of a column that are not NULL, as far as its null count is known. Degrees that do not say the same miss some file.
fn not_null(relation: &Relation, name: &str) -> f64 {
    let place = relation.base_columns.iter().position(|c| c == name);
    let column = place.and_then(|place| relation.base.columns.get(place));
    column.map_or(f64::NAN, |c| {
        (relation.base.rows * (1.0 - c.null_fraction)).round()
    })
}

/// Values of the column in files hash as those that the query compares: files may have narrower types than their table, but for these
/// types that changes no hash.
fn hashes_by_value(relation: &Relation, name: &str) -> bool {
    let place = relation.base_columns.iter().position(|c| c == name);
    let Some(column) = place.and_then(|place| relation.base.columns.get(place)) else {
        return false;
    };
    let bound_is_int = |otherwise| match &column.min {
        Some(value) => matches!(value, Value::Int(_)),
        None => otherwise,
    };
    match &column.data_type {
        t if t.is_integer() => bound_is_int(true),
        DataType::Date32 => bound_is_int(true),
        DataType::Boolean => matches!(column.min, None | Some(Value::Bool(_))),
        t if t.is_string() || t.is_binary() => {
            matches!(column.min, None | Some(Value::Bytes(_)))
        }
        _ => false,
    }
}

/// Whether what an evaluation says of a predicate holds every row that passes. Fingerprints of strings take a few rows too many for an
/// equality, and would take too few for its negation.
fn is_exact(predicate: &Expr, batch: &RecordBatch, relation: &Relation) -> bool {
    let coded = |name: &str| {
        let field = batch.schema_ref().column_with_name(name);
        field.is_none_or(|(_, field)| field.metadata().contains_key(CODING))
    };
    if predicate.column_refs().iter().all(|c| !coded(&c.name)) {
        return true;
    }
    match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And | Operator::Or => {
                is_exact(left, batch, relation) && is_exact(right, batch, relation)
            }
            Operator::Eq => [left, right].iter().all(|side| match side.as_ref() {
                Expr::Column(column) => relation
                    .base_type(&column.name)
                    .is_some_and(|t| is_text(&t)),
                Expr::Literal(value, _) => is_text(&value.data_type()),
                _ => false,
            }),
            _ => false,
        },
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => {
            let text = |e: &Expr| matches!(e, Expr::Literal(v, _) if is_text(&v.data_type()));
            let column = match expr.as_ref() {
                Expr::Column(column) => relation
                    .base_type(&column.name)
                    .is_some_and(|t| is_text(&t)),
                _ => false,
            };
            column && list.iter().all(text)
        }
        _ => false,
    }
}

fn is_text(data_type: &DataType) -> bool {
    data_type.is_string()
}

/// Rows that a column's common values leave for equalities with constants, infinite for any other predicate.
fn common_rows(predicate: &Expr, relation: &Relation, details: &TableDetails) -> f64 {
    let (column, values): (&Expr, Vec<&ScalarValue>) = match predicate {
        Expr::Column(_) => (predicate, vec![&ScalarValue::Boolean(Some(true))]),
        Expr::Not(inner) => (inner, vec![&ScalarValue::Boolean(Some(false))]),
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(_), Expr::Literal(value, _)) => (left, vec![value]),
            (Expr::Literal(value, _), Expr::Column(_)) => (right, vec![value]),
            _ => return f64::INFINITY,
        },
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => {
            let values = list.iter().map(|e| match e {
                Expr::Literal(value, _) => Some(value),
                _ => None,
            });
            let Some(values) = values.collect::<Option<Vec<_>>>() else {
                return f64::INFINITY;
            };
            (expr, values)
        }
        _ => return f64::INFINITY,
    };
    let Expr::Column(column) = column else {
        return f64::INFINITY;
    };
    let Some(data_type) = relation.base_type(&column.name) else {
        return f64::INFINITY;
    };
    let Some(distribution) = details.distribution(&column.name) else {
        return f64::INFINITY;
    };
    let common = &distribution.common;
    // Without a scan pass there are no common values, and nothing is said of the others.
    let scanned = !common.entries.is_empty() || common.missing > 0;
    if !scanned || !hashes_by_value(relation, &column.name) {
        return f64::INFINITY;
    }
    let mut rows = 0.0;
    for value in values {
        // NULL equals nothing, but that is not for us to say.
        let value = match value_of(value, &data_type) {
            Some(value @ (Value::Bool(_) | Value::Int(_) | Value::Bytes(_))) => value,
            _ => return f64::INFINITY,
        };
        rows += match common.find(&value) {
            Some(entry) => (entry.count + entry.error) as f64,
            None => common.missing as f64,
        };
    }
    rows
}
