//! Filters on the results of aggregate functions (HAVING): the distributions of counts, sums and means over groups of random sizes.

use super::domains::Regions;
use super::groups::origin;
use super::table::rename;
use super::{Deriver, column_of};
use crate::estimate::{EstimateSource, Profile, evaluate_moments, selectivity};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, Filter, LogicalPlan, Operator};
use joinwright_stats::RowSet;
use std::sync::Arc;

impl Deriver<'_> {
    /// A filter on the results of an aggregate (HAVING), by the distribution of sums of random group sizes.
    pub(super) fn having(&self, filter: &Filter) -> Option<Profile> {
        let mut rest = vec![];
        let mut share = 1.0;
        for conjunct in split_conjunction(&filter.predicate) {
            match self.share_of_groups(&filter.input, conjunct) {
                Some(part) => share *= part,
                None => rest.push(conjunct.clone()),
            }
        }
        if rest.len() == split_conjunction(&filter.predicate).len() {
            return None;
        }
        let mut profile = self.profile(&filter.input);
        let schema = filter.input.schema();
        let position = |c: &Column| schema.maybe_index_of_column(c);
        // One group is left, or somebody would not ask.
        profile.set_rows((profile.rows * share).max(1.0).min(profile.rows));
        profile.source = profile.source.max(EstimateSource::MinMax);
        selectivity::restrict(&mut profile, &rest, &position);
        Some(profile)
    }

    /// The share of an aggregate's groups that pass a comparison between sums, counts, means and numbers.
    fn share_of_groups(&self, plan: &LogicalPlan, conjunct: &Expr) -> Option<f64> {
        let Expr::BinaryExpr(binary) = conjunct else {
            return None;
        };
        use Operator::{Eq, Gt, GtEq, Lt, LtEq};
        if !matches!(binary.op, Gt | GtEq | Lt | LtEq | Eq) {
            return None;
        }
        let right = self.moments(plan, &binary.right)?;
        let difference = self.moments(plan, &binary.left)?.plus(right.times(-1.0));
        if !difference.mean.is_finite() || !difference.variance.is_finite() || difference.fixed {
            return None;
        }
        // Whole numbers: half of the one at the bound lies on either side of it.
        let half = if difference.whole { 0.5 } else { 0.0 };
        Some(match binary.op {
            Gt => 1.0 - difference.share_below(half),
            GtEq => 1.0 - difference.share_below(-half),
            Lt => difference.share_below(-half),
            LtEq => difference.share_below(half),
            Eq if difference.whole => difference.share_below(half) - difference.share_below(-half),
            _ => return None,
        })
    }

    /// Mean and variance, over the groups of an aggregate, of an expression that is linear in its results. Sums of the same group are
    /// taken for independent of each other.
    #[recursive::recursive]
    fn moments(&self, plan: &LogicalPlan, expr: &Expr) -> Option<Moments> {
        match expr {
            Expr::Alias(alias) => self.moments(plan, &alias.expr),
            Expr::Cast(cast) => self.moments(plan, &cast.expr),
            Expr::Literal(number, _) => {
                let ScalarValue::Float64(Some(number)) = number.cast_to(&DataType::Float64).ok()?
                else {
                    return None;
                };
                Some(Moments {
                    mean: number,
                    variance: 0.0,
                    whole: number.fract() == 0.0,
                    fixed: true,
                })
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (left, right) = (self.moments(plan, left)?, self.moments(plan, right)?);
                match op {
                    Operator::Plus => Some(left.plus(right)),
                    Operator::Minus => Some(left.plus(right.times(-1.0))),
                    Operator::Multiply if left.fixed => Some(right.times(left.mean)),
                    Operator::Multiply if right.fixed => Some(left.times(right.mean)),
                    Operator::Divide if right.fixed => Some(left.times(1.0 / right.mean)),
                    _ => None,
                }
            }
            Expr::Column(column) => {
                let index = plan.schema().maybe_index_of_column(column)?;
                let (leaf, index) = origin(plan, index)?;
                let LogicalPlan::Aggregate(aggregate) = leaf else {
                    return None;
                };
                let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
                let function = aggregate.aggr_expr.get(index.checked_sub(groups)?)?;
                self.moments_of_function(aggregate, function, self.profile(leaf).rows)
            }
            _ => None,
        }
    }

    /// Mean and variance of an aggregate function over groups. Their sizes are one and what falls to them at random (Poisson).
    fn moments_of_function(
        &self,
        aggregate: &Aggregate,
        function: &Expr,
        groups: f64,
    ) -> Option<Moments> {
        let function = match function {
            Expr::Alias(alias) => alias.expr.as_ref(),
            function => function,
        };
        let Expr::AggregateFunction(function) = function else {
            return None;
        };
        let params = &function.params;
        if params.distinct || params.filter.is_some() || aggregate.group_expr.is_empty() {
            return None;
        }
        let input = self.profile(&aggregate.input);
        let size = (input.rows / groups).max(1.0);
        let name = function.func.name();
        if name == "count" {
            return Some(Moments {
                mean: size,
                variance: size - 1.0,
                whole: true,
                fixed: false,
            });
        }
        let argument = params.args.first()?;
        let (mean, variance) = self
            .moments_of_rows(&aggregate.input, argument)
            .or_else(|| spread_evenly(argument, &aggregate.input, &input))?;
        let moments = match name {
            "sum" => Moments {
                mean: size * mean,
                variance: size * variance + (size - 1.0) * mean * mean,
                whole: false,
                fixed: false,
            },
            "avg" => Moments {
                mean,
                variance: variance / size,
                whole: false,
                fixed: false,
            },
            _ => return None,
        };
        (moments.mean.is_finite() && moments.variance.is_finite()).then_some(moments)
    }

    /// Mean and variance of an expression over the columns of one table, among rows of it that are known.
    fn moments_of_rows(&self, plan: &LogicalPlan, expr: &Expr) -> Option<(f64, f64)> {
        let mut regions = Regions::new();
        let mut sources = vec![];
        for column in expr.column_refs() {
            let field = plan.schema().maybe_index_of_column(column)?;
            sources.push((column.clone(), self.source(plan, field, &mut regions)?));
        }
        let (_, first) = sources.first()?;
        if !sources.iter().all(|(_, source)| source.is_beside(first)) {
            return None;
        }
        let expr = rename(expr, &|column| {
            let (_, source) = sources.iter().find(|(known, _)| known == column)?;
            Some(source.column.clone())
        })?;
        let relation = first.relation();
        let details = relation.details.as_ref()?;
        let type_of = |name: &str| relation.base_type(name);
        let moments = |set: Arc<RowSet>| evaluate_moments(&expr, &set, &type_of);
        let of_sample = details.uniform_rows().and_then(moments);
        of_sample.or_else(|| details.all_rows().and_then(moments))
    }
}

/// Mean and variance of an expression whose values are spread evenly between its bounds.
fn spread_evenly(expr: &Expr, plan: &LogicalPlan, profile: &Profile) -> Option<(f64, f64)> {
    // Numbers are made wider before they are added up, which keeps their bounds.
    let expr = match expr {
        Expr::Cast(cast) => cast.expr.as_ref(),
        expr => expr,
    };
    let column = column_of(expr, plan.schema(), profile);
    let (min, max) = (column.min?.to_f64()?, column.max?.to_f64()?);
    Some(((min + max) / 2.0, (max - min).powi(2) / 12.0))
}

/// What is known of the values of an aggregate function.
#[derive(Debug, Clone, Copy)]
struct Moments {
    mean: f64,
    variance: f64,
    /// Values are whole numbers.
    whole: bool,
    /// There is one value, the same for all groups.
    fixed: bool,
}

impl Moments {
    /// Of the sum of two independent values.
    fn plus(self, other: Self) -> Self {
        Self {
            mean: self.mean + other.mean,
            variance: self.variance + other.variance,
            whole: self.whole && other.whole,
            fixed: self.fixed && other.fixed,
        }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            mean: self.mean * factor,
            variance: self.variance * factor * factor,
            whole: self.whole && factor.fract() == 0.0,
            fixed: self.fixed,
        }
    }

    /// The share of the values below a bound if they are distributed normally (central limit theorem).
    fn share_below(self, bound: f64) -> f64 {
        let distance = bound - self.mean;
        if self.variance <= 0.0 {
            return if distance > 0.0 { 1.0 } else { 0.0 };
        }
        normal(distance / self.variance.sqrt())
    }
}

/// The distribution function of the standard normal distribution, to 7.5e-8 (Abramowitz and Stegun, 26.2.17).
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = [
        1.330_274_429,
        -1.821_255_978,
        1.781_477_937,
        -0.356_563_782,
        0.319_381_530,
    ];
    let series = series.iter().fold(0.0, |sum, c| (sum + c) * t);
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let above = density * series;
    if z > 0.0 { 1.0 - above } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution() {
        for (z, share) in [
            (0.0, 0.5),
            (1.0, 0.841_344_7),
            (-1.96, 0.024_997_9),
            (6.0, 1.0),
        ] {
            assert!((normal(z) - share).abs() < 1e-6, "{z}: {}", normal(z));
        }
    }

    #[test]
    fn groups_of_one_row_are_counted_exactly() {
        let sizes = Moments {
            mean: 1.0,
            variance: 0.0,
            whole: true,
            fixed: false,
        };
        assert_eq!((sizes.share_below(1.5), sizes.share_below(0.5)), (1.0, 0.0));
    }
}
