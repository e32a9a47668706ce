//! Predicates evaluated on sampled rows: any deterministic expression that DataFusion can evaluate.

use super::literal::value_of;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt16Array};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{cast, prep_null_mask_filter};
use datafusion::arrow::datatypes::{DataType, Field, Schema, UInt16Type};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{BinaryExpr, ColumnarValue, Expr, Operator};
use datafusion::physical_expr::create_physical_expr;
use joinwright_stats::CODING;
use std::sync::Arc;

/// The outcome of a predicate on rows.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    /// By row, whether it passes.
    pub(crate) rows: BooleanBuffer,
    /// Some column was rounded to one of 256 values, so that rows near a bound may be on its other side.
    pub(crate) rounded: bool,
}

/// Evaluates a predicate on every row of a batch, whose columns have the names that the predicate uses. `type_of` tells the
/// types that the predicate was made for. `None` if a column is missing, or coded in a way that cannot answer.
pub(crate) fn evaluate(
    predicate: &Expr,
    batch: &RecordBatch,
    type_of: &dyn Fn(&str) -> Option<DataType>,
) -> Option<Passed> {
    if predicate.is_volatile() {
        return None;
    }
    let mut fields = vec![];
    let mut columns: Vec<ArrayRef> = vec![];
    let mut rounded = false;
    for column in predicate.column_refs() {
        let (place, field) = batch.schema_ref().column_with_name(&column.name)?;
        match field.metadata().get(CODING).map(String::as_str) {
            None => {}
            Some("quantized") => rounded = true,
            Some(_) => return evaluate_coded(predicate, batch, type_of),
        }
        let data_type = type_of(&column.name)?;
        let array = batch.column(place);
        columns.push(match array.data_type() == &data_type {
            true => Arc::clone(array),
            false => cast(array, &data_type).ok()?,
        });
        fields.push(Field::new(&column.name, data_type, true));
    }
    match evaluate_columns(predicate, fields, columns, batch.num_rows()) {
        Ok(rows) => Some(Passed { rows, rounded }),
        Err(error) => {
            tracing::debug!(%error, %predicate, "a predicate cannot be evaluated on a sample");
            None
        }
    }
}

/// Evaluates a predicate on columns of the names that it uses: which rows pass.
pub(crate) fn evaluate_columns(
    predicate: &Expr,
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<BooleanBuffer> {
    let schema = Arc::new(Schema::new(fields));
    let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
    let named = DFSchema::try_from(schema)?;
    let physical = create_physical_expr(
        predicate,
        &named,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )?;
    match physical.evaluate(&batch)? {
        ColumnarValue::Scalar(ScalarValue::Boolean(value)) => Ok(match value {
            Some(true) => BooleanBuffer::new_set(rows),
            _ => BooleanBuffer::new_unset(rows),
        }),
        ColumnarValue::Array(array) if array.data_type() == &DataType::Boolean => {
            Ok(true_values(array.as_boolean()))
        }
        other => internal_err!("a predicate of type {}", other.data_type()),
    }
}

fn true_values(array: &BooleanArray) -> BooleanBuffer {
    match array.null_count() {
        0 => array.values().clone(),
        _ => prep_null_mask_filter(array).values().clone(),
    }
}

/// Combinations of predicates, some of which are on fingerprints.
fn evaluate_coded(
    predicate: &Expr,
    batch: &RecordBatch,
    type_of: &dyn Fn(&str) -> Option<DataType>,
) -> Option<Passed> {
    if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = predicate
        && matches!(op, Operator::Or | Operator::And)
    {
        let left = evaluate(left, batch, type_of)?;
        let right = evaluate(right, batch, type_of)?;
        return Some(Passed {
            rows: match op {
                Operator::Or => &left.rows | &right.rows,
                _ => &left.rows & &right.rows,
            },
            rounded: left.rounded || right.rounded,
        });
    }
    let name = &predicate.column_refs().into_iter().next()?.name;
    fingerprints(predicate, batch.column_by_name(name)?, name, type_of)
}

/// Equalities with constants, by fingerprints of 16 bits. One row in 65,536 of the others passes, too.
fn fingerprints(
    predicate: &Expr,
    prints: &ArrayRef,
    name: &str,
    type_of: &dyn Fn(&str) -> Option<DataType>,
) -> Option<Passed> {
    let is_column = |e: &Expr| matches!(e, Expr::Column(column) if column.name == name);
    let (values, negated): (Vec<&Expr>, bool) = match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::Eq | Operator::NotEq) =>
        {
            let value = match (is_column(left), is_column(right)) {
                (true, false) => right,
                (false, true) => left,
                _ => return None,
            };
            (vec![value], *op == Operator::NotEq)
        }
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) if is_column(expr) => (list.iter().collect(), *negated),
        _ => return None,
    };
    let data_type = type_of(name)?;
    let wanted: Vec<u16> = values
        .into_iter()
        .map(|value| match value {
            Expr::Literal(value, _) => Some((value_of(value, &data_type)?.hash() >> 48) as u16),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let prints: &UInt16Array = prints.as_primitive_opt::<UInt16Type>()?;
    let rows = BooleanBuffer::collect_bool(prints.len(), |row| {
        prints.is_valid(row) && (wanted.contains(&prints.value(row)) != negated)
    });
    Some(Passed {
        rows,
        rounded: false,
    })
}
