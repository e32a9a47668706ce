//! Predicates evaluated on sampled rows: any deterministic expression that DataFusion can evaluate.

use super::literal::value_of;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt16Array, UInt32Array,
};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer};
use datafusion::arrow::compute::{cast, prep_null_mask_filter, take};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt16Type};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{BinaryExpr, ColumnarValue, Expr, Operator};
use datafusion::physical_expr::create_physical_expr;
use foldhash::HashMap;
use joinwright_stats::{CODING, RowSet};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The outcome of a predicate on rows.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    /// By row, whether it passes.
    pub(crate) rows: BooleanBuffer,
    /// Some column was rounded to one of 256 values, so that rows near a bound may be on its other side.
    pub(crate) rounded: bool,
}

/// Values are rounded to so many.
const ROUNDED_VALUES: usize = 256;

/// Rows of so many of them pass at least, or too many of those that pass are near a bound.
const LEAST_VALUES: usize = 8;

impl Passed {
    /// Whether values are rounded, and so few rows pass that it might be several times as many.
    pub(crate) fn is_too_rough(&self) -> bool {
        let least = self.rows.len() * LEAST_VALUES / ROUNDED_VALUES;
        self.rounded && self.rows.count_set_bits() < least
    }
}

/// Rows that a mean is taken of.
const MOMENT_ROWS: usize = 1024;

/// Fewer rows are looked at one by one.
const MANY_ROWS: usize = 4096;

/// Bytes of outcomes that are kept of one query.
const MOST_BYTES: usize = 16 << 20;

/// Predicates that were evaluated while a query is planned, and their outcomes.
///
/// Regions, their sub-plans and the passes of the optimizer ask the same of the same rows many times.
#[derive(Debug, Clone, Default)]
pub struct Evaluations(Arc<Mutex<Outcomes>>);

#[derive(Debug, Default)]
struct Outcomes {
    by_address: HashMap<usize, OfRows>,
    /// Bytes of all outcomes.
    bytes: usize,
}

/// Outcomes on some rows, whose address cannot be another's as long as they are held here.
#[derive(Debug)]
struct OfRows {
    _rows: Arc<RowSet>,
    outcomes: HashMap<Expr, Option<Passed>>,
    counts: HashMap<(BTreeSet<String>, Vec<Expr>), Option<Counted>>,
}

/// Distinct combinations of some columns, and what they were counted among.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) values: f64,
    /// Rows, or keys.
    pub(crate) among: f64,
}

impl Evaluations {
    /// What [`evaluate`] says, once.
    pub(crate) fn evaluate(
        &self,
        predicate: &Expr,
        set: &Arc<RowSet>,
        type_of: &dyn Fn(&str) -> Option<DataType>,
    ) -> Option<Passed> {
        let address = Arc::as_ptr(set) as usize;
        // Nothing is left half done where it is held.
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |all: &Outcomes| {
            let of_rows = all.by_address.get(&address)?;
            of_rows.outcomes.get(predicate).cloned()
        };
        if let Some(known) = known(&lock()) {
            return known;
        }
        let outcome = evaluate(predicate, set, type_of);
        let kept = outcome.clone();
        let bytes = set.batch.num_rows() / 8;
        let of_rows = |of: &mut OfRows| of.outcomes.insert(predicate.clone(), kept);
        lock().keep(set, bytes, of_rows);
        outcome
    }

    /// The rows that pass all of some predicates. `None` if one cannot be evaluated.
    pub(crate) fn evaluate_all(
        &self,
        predicates: &[Expr],
        set: &Arc<RowSet>,
        type_of: &dyn Fn(&str) -> Option<DataType>,
    ) -> Option<BooleanBuffer> {
        let all = BooleanBuffer::new_set(set.batch.num_rows());
        predicates.iter().try_fold(all, |passing, predicate| {
            Some(&passing & &self.evaluate(predicate, set, type_of)?.rows)
        })
    }

    /// What `count` says of some columns of the rows that pass some predicates, once.
    pub(crate) fn count(
        &self,
        set: &Arc<RowSet>,
        columns: &BTreeSet<String>,
        predicates: &[Expr],
        count: impl FnOnce() -> Option<Counted>,
    ) -> Option<Counted> {
        let key = (columns.clone(), predicates.to_vec());
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |all: &Outcomes| {
            let of_rows = all.by_address.get(&(Arc::as_ptr(set) as usize))?;
            of_rows.counts.get(&key).copied()
        };
        if let Some(known) = known(&lock()) {
            return known;
        }
        let counted = count();
        let of_rows = |of: &mut OfRows| of.counts.insert(key, counted);
        lock().keep(set, size_of::<Counted>(), of_rows);
        counted
    }
}

impl Outcomes {
    /// Keeps something of `bytes` bytes of some rows; before that it forgets everything if there is too much.
    fn keep<T>(&mut self, set: &Arc<RowSet>, bytes: usize, keep: impl FnOnce(&mut OfRows) -> T) {
        if self.bytes > MOST_BYTES {
            *self = Self::default();
        }
        self.bytes += bytes;
        let of_rows = self.by_address.entry(Arc::as_ptr(set) as usize);
        keep(of_rows.or_insert_with(|| OfRows {
            _rows: Arc::clone(set),
            outcomes: HashMap::default(),
            counts: HashMap::default(),
        }));
    }
}

/// Evaluates a predicate on rows, whose columns have the names that the predicate uses. `type_of` tells the types that the
/// predicate was made for. `None` if a column is missing, or coded in a way that cannot answer.
pub(crate) fn evaluate(
    predicate: &Expr,
    set: &RowSet,
    type_of: &dyn Fn(&str) -> Option<DataType>,
) -> Option<Passed> {
    if predicate.is_volatile() {
        return None;
    }
    let refs = predicate.column_refs();
    if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = predicate
        && matches!(op, Operator::Or | Operator::And)
        && (refs.len() > 1 || refs.iter().any(|column| is_print(set, &column.name)))
    {
        // What is true of one side is: each may be easier to tell than both.
        let left = evaluate(left, set, type_of)?;
        let right = evaluate(right, set, type_of)?;
        return Some(Passed {
            rows: match op {
                Operator::Or => &left.rows | &right.rows,
                _ => &left.rows & &right.rows,
            },
            rounded: left.rounded || right.rounded,
        });
    }
    let mut fields = vec![];
    let mut columns: Vec<ArrayRef> = vec![];
    let mut rounded = false;
    let mut codes = None;
    for column in &refs {
        let (place, field) = set.batch.schema_ref().column_with_name(&column.name)?;
        let data_type = type_of(&column.name)?;
        if is_print(set, &column.name) {
            let prints = set.batch.column(place);
            return fingerprints(predicate, prints, &column.name, &data_type);
        }
        if field.metadata().contains_key(CODING) {
            // Rounded values lie in the right ranges, and equal nothing.
            if !of_ranges(predicate) {
                return None;
            }
            rounded = true;
        }
        if refs.len() == 1 && set.batch.num_rows() > MANY_ROWS {
            codes = set.codes(&column.name);
        }
        let array = match &codes {
            Some(codes) => &codes.values,
            None => set.batch.column(place),
        };
        columns.push(match array.data_type() == &data_type {
            true => Arc::clone(array),
            false => cast(array, &data_type).ok()?,
        });
        fields.push(Field::new(&column.name, data_type, true));
    }
    let rows = codes
        .as_ref()
        .map_or(set.batch.num_rows(), |codes| codes.values.len());
    let pass = match evaluate_columns(predicate, fields, columns, rows) {
        Ok(pass) => pass,
        Err(error) => {
            tracing::debug!(%error, %predicate, "a predicate cannot be evaluated on a sample");
            return None;
        }
    };
    let rows = match codes {
        None => pass,
        Some(codes) => rows_of_codes(&codes.codes, &pass),
    };
    Some(Passed { rows, rounded })
}

/// The value of an expression on one row. `None` if a column is missing or coded, or the expression fails.
pub(crate) fn evaluate_at(
    expr: &Expr,
    set: &RowSet,
    row: usize,
    type_of: &dyn Fn(&str) -> Option<DataType>,
) -> Option<ScalarValue> {
    let in_range = row < set.batch.num_rows();
    let rows = UInt32Array::from(vec![u32::try_from(row).ok()?]);
    let array = in_range.then(|| evaluate_rows(expr, set, &rows, type_of))??;
    ScalarValue::try_from_array(&array, 0).ok()
}

/// Mean and variance of a number on some of many rows. `None` if a column is missing or coded, the expression fails, or is NULL on all rows.
pub(crate) fn evaluate_moments(
    expr: &Expr,
    set: &RowSet,
    type_of: &dyn Fn(&str) -> Option<DataType>,
) -> Option<(f64, f64)> {
    let count = set.batch.num_rows();
    // At equal distances: samples are in the order of the table.
    let rows = (0..u32::try_from(count).ok()?).step_by(count.div_ceil(MOMENT_ROWS).max(1));
    let array = evaluate_rows(expr, set, &UInt32Array::from_iter_values(rows), type_of)?;
    let numbers = cast(&array, &DataType::Float64).ok()?;
    let numbers = numbers.as_primitive_opt::<Float64Type>()?;
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for number in numbers.iter().flatten() {
        count += 1.0;
        sum += number;
        squares += number * number;
    }
    let mean = sum / count;
    let variance = (squares / count - mean * mean).max(0.0);
    (mean.is_finite() && variance.is_finite()).then_some((mean, variance))
}

fn evaluate_rows(
    expr: &Expr,
    set: &RowSet,
    rows: &UInt32Array,
    type_of: &dyn Fn(&str) -> Option<DataType>,
) -> Option<ArrayRef> {
    if expr.is_volatile() {
        return None;
    }
    let (mut fields, mut columns) = (vec![], vec![]);
    for column in expr.column_refs() {
        let (place, field) = set.batch.schema_ref().column_with_name(&column.name)?;
        if field.metadata().contains_key(CODING) {
            return None;
        }
        let data_type = type_of(&column.name)?;
        let values = take(set.batch.column(place), rows, None).ok()?;
        columns.push(cast(&values, &data_type).ok()?);
        fields.push(Field::new(&column.name, data_type, true));
    }
    let values = evaluate_expression(expr, fields, columns, rows.len()).ok()?;
    values.into_array(rows.len()).ok()
}

/// By row, whether its code is one of those that pass.
fn rows_of_codes(codes: &[u16], pass: &BooleanBuffer) -> BooleanBuffer {
    // Every code has its place, so that no bound is checked row by row.
    let mut passes = [0u8; 1 << 16];
    for code in pass.set_indices() {
        passes[code] = 1;
    }
    let word = |codes: &[u16]| {
        let bits = codes.iter().enumerate();
        bits.fold(0u64, |word, (at, code)| {
            word | u64::from(passes[usize::from(*code)]) << at
        })
    };
    let words: Vec<u64> = codes.chunks(64).map(word).collect();
    BooleanBuffer::new(Buffer::from_vec(words), 0, codes.len())
}

/// Whether a predicate only compares with constants, by order.
fn of_ranges(predicate: &Expr) -> bool {
    let is_plain = |e: &Expr| match e {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Cast(cast) => matches!(*cast.expr, Expr::Column(_) | Expr::Literal(..)),
        _ => false,
    };
    match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And | Operator::Or => of_ranges(left) && of_ranges(right),
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                is_plain(left) && is_plain(right)
            }
            _ => false,
        },
        Expr::Between(between) => {
            let ends = [&between.expr, &between.low, &between.high];
            ends.into_iter().all(|e| is_plain(e))
        }
        Expr::Not(inner) => of_ranges(inner),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => is_plain(inner),
        _ => false,
    }
}

/// Whether only fingerprints of a column are known.
fn is_print(set: &RowSet, column: &str) -> bool {
    let field = set.batch.schema_ref().field_with_name(column).ok();
    let coding = field.and_then(|field| field.metadata().get(CODING));
    coding.is_some_and(|coding| coding != "quantized")
}

/// Evaluates a predicate on columns of the names that it uses: which rows pass.
pub(crate) fn evaluate_columns(
    predicate: &Expr,
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<BooleanBuffer> {
    match evaluate_expression(predicate, fields, columns, rows)? {
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

/// Evaluates an expression on columns of the names that it uses.
fn evaluate_expression(
    expr: &Expr,
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<ColumnarValue> {
    let schema = Arc::new(Schema::new(fields));
    let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
    let named = DFSchema::try_from(schema)?;
    let physical = create_physical_expr(
        expr,
        &named,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )?;
    physical.evaluate(&batch)
}

fn true_values(array: &BooleanArray) -> BooleanBuffer {
    match array.null_count() {
        0 => array.values().clone(),
        _ => prep_null_mask_filter(array).values().clone(),
    }
}

/// Equalities with constants, by fingerprints of 16 bits. One row in 65,536 of the others passes, too.
fn fingerprints(
    predicate: &Expr,
    prints: &ArrayRef,
    name: &str,
    data_type: &DataType,
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
    let wanted: Vec<u16> = values
        .into_iter()
        .map(|value| match value {
            Expr::Literal(value, _) => Some((value_of(value, data_type)?.hash() >> 48) as u16),
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

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Int64Array;
    use datafusion::logical_expr::{col, lit};
    use joinwright_stats::Selection;
    use proptest::prelude::*;

    fn rows(values: Vec<Option<i64>>) -> Arc<RowSet> {
        let fields = vec![Field::new("a", DataType::Int64, true)];
        let column: ArrayRef = Arc::new(Int64Array::from(values));
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![column]).unwrap();
        Arc::new(RowSet::new(batch, Selection::All))
    }

    fn passed(evaluations: &Evaluations, predicate: &Expr, set: &Arc<RowSet>) -> Vec<usize> {
        let type_of = |_: &str| Some(DataType::Int64);
        let passed = evaluations.evaluate(predicate, set, &type_of).unwrap();
        passed.rows.set_indices().collect()
    }

    #[test]
    fn outcomes_belong_to_their_rows_and_predicates() {
        let evaluations = Evaluations::default();
        let (first, second) = (rows(vec![Some(1), Some(5)]), rows(vec![Some(9), None]));
        let (large, small) = (col("a").gt(lit(4i64)), col("a").lt(lit(4i64)));
        for _ in 0..2 {
            assert_eq!(passed(&evaluations, &large, &first), [1]);
            assert_eq!(passed(&evaluations, &small, &first), [0]);
            assert_eq!(passed(&evaluations, &large, &second), [0]);
        }
        let missing = col("b").gt(lit(4i64));
        let type_of = |_: &str| Some(DataType::Int64);
        for _ in 0..2 {
            assert!(evaluations.evaluate(&missing, &first, &type_of).is_none());
        }
        // A copy knows what the other one does.
        let lock = evaluations.clone().0;
        assert_eq!(lock.lock().unwrap().by_address.len(), 2);
    }

    #[test]
    fn memory_is_bounded() {
        let evaluations = Evaluations::default();
        let set = rows(vec![Some(1); 1 << 20]);
        for bound in 0..300i64 {
            passed(&evaluations, &col("a").gt(lit(bound)), &set);
        }
        let all = evaluations.0.lock().unwrap();
        let kept: usize = all.by_address.values().map(|of| of.outcomes.len()).sum();
        assert!(kept < 300 && all.bytes <= MOST_BYTES + (1 << 17), "{kept}");
    }

    proptest! {
        /// Many rows of few values go by codes.
        #[test]
        fn codes_say_what_rows_say(values in prop::collection::vec(prop::option::of(0..7i64), 4097..4300), bound in 0..7i64) {
            let set = rows(values.clone());
            let expected: Vec<usize> = (0..values.len()).filter(|row| values[*row].is_some_and(|v| v >= bound)).collect();
            prop_assert_eq!(passed(&Evaluations::default(), &col("a").gt_eq(lit(bound)), &set), expected);
        }
    }
}
