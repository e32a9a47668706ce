//! Expressions that have a value, or NULL, for every row: they may be evaluated for rows that a join would have dropped.
//!
//! `SUM(a / b)` above a join fails if a row with `b = 0` has a partner. Below the join it fails in any case.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

/// Whether an expression fails for no row. What is not known may.
#[recursive::recursive]
pub(super) fn is_total(expr: &Expr, schema: &DFSchema) -> bool {
    let total = |expr: &Expr| is_total(expr, schema);
    match expr {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Alias(alias) => total(&alias.expr),
        Expr::Not(e)
        | Expr::IsNull(e)
        | Expr::IsNotNull(e)
        | Expr::IsTrue(e)
        | Expr::IsFalse(e)
        | Expr::IsUnknown(e)
        | Expr::IsNotTrue(e)
        | Expr::IsNotFalse(e)
        | Expr::IsNotUnknown(e) => total(e),
        Expr::TryCast(cast) => total(&cast.expr),
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(schema);
            total(&cast.expr) && from.is_ok_and(|from| is_widening(&from, cast.field.data_type()))
        }
        Expr::Case(case) => {
            let branches = case.when_then_expr.iter();
            branches
                .clone()
                .all(|(when, then)| total(when) && total(then))
                && case.expr.iter().chain(&case.else_expr).all(|e| total(e))
        }
        Expr::Between(between) => [&between.expr, &between.low, &between.high]
            .into_iter()
            .all(|e| total(e)),
        Expr::InList(list) => total(&list.expr) && list.list.iter().all(total),
        Expr::BinaryExpr(binary) => {
            total(&binary.left) && total(&binary.right) && is_total_operation(binary, schema)
        }
        _ => false,
    }
}

fn is_total_operation(binary: &BinaryExpr, schema: &DFSchema) -> bool {
    use Operator::*;
    let (left, right) = (binary.left.get_type(schema), binary.right.get_type(schema));
    let (Ok(left), Ok(right)) = (left, right) else {
        return false;
    };
    match binary.op {
        Eq | NotEq | Lt | LtEq | Gt | GtEq | And | Or | IsDistinctFrom | IsNotDistinctFrom => true,
        // Those of integers wrap around.
        Plus | Minus | Multiply if is_plain(&left) && is_plain(&right) => true,
        Divide | Modulo if left.is_floating() && right.is_floating() => true,
        Divide | Modulo if left.is_integer() && right.is_integer() => {
            is_harmless_divisor(&binary.right)
        }
        Plus | Minus | Multiply | Divide => match (decimal(&left), decimal(&right)) {
            (Some(l), Some(r)) if l.most == r.most => {
                let digits = match binary.op {
                    Plus | Minus => l.whole().max(r.whole()) + l.scale.max(r.scale) + 1,
                    Multiply => l.precision + r.precision,
                    // It gives the quotient four digits more than the dividend has.
                    _ if r.scale >= 0 && is_harmless_divisor(&binary.right) => {
                        l.precision + r.scale + 4
                    }
                    _ => return false,
                };
                digits <= l.most
            }
            _ => false,
        },
        _ => false,
    }
}

/// Whether a divisor is a number, and neither zero nor, as the least integer has no opposite, −1.
fn is_harmless_divisor(divisor: &Expr) -> bool {
    let Expr::Literal(value, _) = divisor else {
        return false;
    };
    let is =
        |other: Result<ScalarValue, _>| other.map_or(true, |other: ScalarValue| other == *value);
    let zero = is(ScalarValue::new_zero(&value.data_type()));
    let signed = !value.data_type().is_unsigned_integer();
    let opposite = signed && is(ScalarValue::new_negative_one(&value.data_type()));
    !(value.is_null() || zero || opposite)
}

fn is_plain(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating()
}

/// Whether all values of one type are values of another.
fn is_widening(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let bits = |t: &DataType| t.primitive_width().map_or(0, |bytes| 8 * bytes as i32);
    match (from, to) {
        (from, to) if from == to => true,
        (Null, _) => true,
        (Dictionary(_, from), to) => is_widening(from, to),
        (Utf8, LargeUtf8 | Utf8View) | (Utf8View, LargeUtf8) => true,
        (from, to) if is_plain(from) && to.is_floating() => true,
        (from, to) if from.is_integer() && to.is_integer() => {
            match (from.is_signed_integer(), to.is_signed_integer()) {
                (true, false) => false,
                (false, true) => bits(from) < bits(to),
                _ => bits(from) <= bits(to),
            }
        }
        (from, Float64) if decimal(from).is_some() => true,
        (from, to) => {
            let Some(to) = decimal(to) else {
                return false;
            };
            match decimal(from) {
                Some(from) => from.scale <= to.scale && from.whole() <= to.whole(),
                None if from.is_integer() && to.scale >= 0 => {
                    // Digits of the greatest integer of so many bits.
                    let digits = (f64::from(bits(from)) * std::f64::consts::LOG10_2).ceil() as i32;
                    digits <= to.whole()
                }
                None => false,
            }
        }
    }
}

/// A decimal type.
struct Decimal {
    precision: i32,
    scale: i32,
    /// The digits that are sure to fit its representation.
    most: i32,
}

impl Decimal {
    /// Digits before the point.
    fn whole(&self) -> i32 {
        self.precision - self.scale
    }
}

fn decimal(data_type: &DataType) -> Option<Decimal> {
    let (precision, scale, most) = match data_type {
        DataType::Decimal32(precision, scale) => (precision, scale, 9),
        DataType::Decimal64(precision, scale) => (precision, scale, 18),
        DataType::Decimal128(precision, scale) => (precision, scale, 38),
        DataType::Decimal256(precision, scale) => (precision, scale, 76),
        _ => return None,
    };
    Some(Decimal {
        precision: i32::from(*precision),
        scale: i32::from(*scale),
        most,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{cast, col, lit, try_cast};

    #[test]
    fn expressions_that_never_fail() {
        let fields = [
            ("i", DataType::Int32),
            ("b", DataType::Int64),
            ("u", DataType::UInt64),
            ("x", DataType::Float64),
            ("s", DataType::Utf8),
            ("d", DataType::Decimal128(15, 2)),
            ("wide", DataType::Decimal128(38, 2)),
        ];
        let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
        let schema = Schema::new(fields.to_vec());
        let schema = DFSchema::try_from(schema).unwrap();
        let decimal = |precision, scale| DataType::Decimal128(precision, scale);
        let number =
            |value, precision, scale| lit(ScalarValue::Decimal128(Some(value), precision, scale));
        for (expr, expected) in [
            (col("i") + lit(1), true),
            (col("i") * col("i") - col("i"), true),
            (col("i") / lit(2), true),
            (col("i") / lit(0), false),
            (col("i") / lit(-1), false),
            (col("i") % col("i"), false),
            (col("x") / col("x"), true),
            (cast(col("i"), DataType::Int64), true),
            (cast(col("b"), DataType::Int32), false),
            (cast(col("u"), DataType::Int64), false),
            (cast(col("i"), DataType::UInt64), false),
            (cast(col("i"), decimal(10, 0)), true),
            (cast(col("i"), decimal(10, 1)), false),
            (cast(col("b"), decimal(19, 0)), false),
            (cast(col("b"), decimal(20, 0)), true),
            (cast(col("d"), decimal(16, 3)), true),
            (cast(col("d"), decimal(15, 3)), false),
            (cast(col("d"), DataType::Float64), true),
            (cast(col("s"), DataType::Int32), false),
            (try_cast(col("s"), DataType::Int32), true),
            (cast(col("s"), DataType::Utf8View), true),
            // Of TPC-H.
            (col("d") * (number(1, 20, 0) - col("d")), true),
            (col("d") / number(2, 20, 0), true),
            (col("d") / number(0, 20, 0), false),
            (col("d") + col("wide"), false),
            (col("d") * col("wide"), false),
            (col("i").eq(lit(1)).and(col("s").is_null()), true),
            (col("i").eq(lit(1) / col("i")), false),
        ] {
            assert_eq!(is_total(&expr, &schema), expected, "{expr}");
        }
    }
}
