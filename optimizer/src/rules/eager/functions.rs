//! Aggregate functions that can be computed in part, and from their parts as a whole.

use super::average::DecimalAverage;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::count::{Count, count_udaf};
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::{Sum, sum_udaf};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable, ScalarUDF, cast, lit, when};
use std::sync::Arc;

/// What a function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Min,
    Max,
    Sum,
    Count,
    Avg,
}

/// A function of an aggregate.
#[derive(Debug, Clone)]
pub(super) struct Function {
    kind: Kind,
    udaf: Arc<AggregateUDF>,
    pub(super) args: Vec<Expr>,
    /// As the aggregate has it.
    pub(super) whole: Expr,
    distinct: bool,
    data_type: DataType,
    /// Of its first argument, if it has one.
    argument: Option<DataType>,
}

impl Function {
    /// `None` if it is no function that can be taken apart.
    pub(super) fn of(expr: &Expr, input: &DFSchema) -> Option<Self> {
        let Expr::AggregateFunction(function) = unaliased(expr) else {
            return None;
        };
        let params = &function.params;
        if params.filter.is_some() || !params.order_by.is_empty() || params.null_treatment.is_some()
        {
            return None;
        }
        // By what it is: a session may have functions of its own under these names.
        let udaf = function.func.inner().as_ref();
        let kind = if udaf.is::<Min>() {
            Kind::Min
        } else if udaf.is::<Max>() {
            Kind::Max
        } else if udaf.is::<Sum>() {
            Kind::Sum
        } else if udaf.is::<Count>() {
            Kind::Count
        } else if udaf.is::<Avg>() {
            Kind::Avg
        } else {
            return None;
        };
        let function = Self {
            kind,
            udaf: Arc::clone(&function.func),
            args: params.args.clone(),
            whole: expr.clone(),
            distinct: params.distinct,
            data_type: expr.get_type(input).ok()?,
            argument: params.args.first().and_then(|a| a.get_type(input).ok()),
        };
        function.is_splittable().then_some(function)
    }

    fn is_splittable(&self) -> bool {
        match (self.kind, &self.argument) {
            _ if self.distinct => true,
            (Kind::Min | Kind::Max | Kind::Count, _) => true,
            (Kind::Sum, Some(argument)) => is_summed(argument),
            (Kind::Avg, Some(DataType::Float64)) => self.data_type == DataType::Float64,
            (Kind::Avg, Some(decimal)) => DecimalAverage::of(decimal, &self.data_type).is_some(),
            _ => false,
        }
    }

    /// Whether it makes no difference how often a row is there.
    pub(super) fn ignores_duplicates(&self) -> bool {
        self.distinct || matches!(self.kind, Kind::Min | Kind::Max)
    }

    /// Whether it is computed where its columns are, and not from groups of them.
    pub(super) fn is_whole(&self) -> bool {
        self.distinct
    }

    /// The functions of the rows of a group that it can be computed from, over other arguments of the same meaning.
    pub(super) fn parts(&self, args: &[Expr]) -> Vec<Expr> {
        let call = |udaf: Arc<AggregateUDF>| {
            let call = AggregateFunction::new_udf(udaf, args.to_vec(), false, None, vec![], None);
            Expr::AggregateFunction(call)
        };
        match self.kind {
            Kind::Avg => vec![call(sum_udaf()), call(count_udaf())],
            _ => vec![call(Arc::clone(&self.udaf))],
        }
    }

    /// The functions of the parts of several groups, of which [`Self::result`] makes the result.
    pub(super) fn merged(&self, parts: &[Expr]) -> Vec<Expr> {
        let merge = match self.kind {
            Kind::Min | Kind::Max => Arc::clone(&self.udaf),
            Kind::Sum | Kind::Count | Kind::Avg => sum_udaf(),
        };
        let merged = |part: &Expr| {
            let args = vec![part.clone()];
            let call =
                AggregateFunction::new_udf(Arc::clone(&merge), args, false, None, vec![], None);
            Expr::AggregateFunction(call)
        };
        parts.iter().map(merged).collect()
    }

    /// The result, of the columns that hold the merged parts. Of no rows at all, or of rows that an outer join supplied, there
    /// are no parts to merge: they count as none.
    pub(super) fn result(&self, merged: &[Expr]) -> Result<Expr> {
        Ok(match (self.kind, merged) {
            (Kind::Min | Kind::Max, [extreme]) => extreme.clone(),
            // A sum of sums is of a wider decimal type.
            (Kind::Sum, [sum]) => cast(sum.clone(), self.data_type.clone()),
            // In this order it is seen never to be NULL.
            (Kind::Count, [count]) => {
                when(count.clone().is_not_null(), count.clone()).otherwise(lit(0_i64))?
            }
            (Kind::Avg, [sum, count]) => {
                let values = self.argument.as_ref();
                match values.and_then(|values| DecimalAverage::of(values, &self.data_type)) {
                    Some(average) => Expr::ScalarFunction(ScalarFunction::new_udf(
                        Arc::new(ScalarUDF::new_from_impl(average)),
                        vec![sum.clone(), count.clone()],
                    )),
                    None => sum.clone() / cast(count.clone(), self.data_type.clone()),
                }
            }
            _ => return plan_err!("{} parts of {}", merged.len(), self.whole),
        })
    }
}

fn is_summed(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(
        data_type,
        Int64 | UInt64 | Float64 | Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..)
    )
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
