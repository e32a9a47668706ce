//! Groups: aggregates and distinct rows.

use super::clusters::Clusters;
use super::table::peel;
use super::{Deriver, column_of};
use crate::estimate::{ColumnProfile, EstimateSource, Profile};
use crate::extract;
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan};

/// Distinct values for each row from which on a column is taken for a key: sketches err by a percent or two.
pub(super) const UNIQUE: f64 = 0.95;

impl Deriver<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate) -> Profile {
        let input = self.profile(&aggregate.input);
        let schema = aggregate.input.schema();
        let groups: Vec<&Expr> = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(set)] => set.distinct_expr(),
            groups => groups.iter().collect(),
        };
        let sets = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(_)] => groups.len() as f64 + 1.0,
            _ => 1.0,
        };
        let mut columns: Vec<ColumnProfile> = groups
            .iter()
            .map(|e| column_of(e, schema, &input))
            .collect();
        let rows = self.combinations(&aggregate.input, &groups, &columns, input.rows) * sets;
        let rows = if groups.is_empty() {
            1.0
        } else {
            rows.max(1.0)
        };
        for column in &mut columns {
            // A group that is NULL is one row among the groups.
            column.null_fraction = column.null_fraction.min(1.0 / rows);
        }
        Profile {
            rows,
            source: if groups.is_empty() {
                EstimateSource::Exact
            } else {
                input.source.max(EstimateSource::Ndv)
            },
            known: input.known,
            stale: input.stale,
            columns,
        }
    }

    pub(super) fn distinct(&self, distinct: &Distinct) -> Profile {
        match distinct {
            Distinct::All(input) => {
                let mut profile = self.profile(input);
                let names: Vec<Expr> = input
                    .schema()
                    .columns()
                    .into_iter()
                    .map(Expr::Column)
                    .collect();
                let all: Vec<&Expr> = names.iter().collect();
                let rows = self.combinations(input, &all, &profile.columns, profile.rows);
                profile.rows = rows.max(1.0);
                profile.source = profile.source.max(EstimateSource::Ndv);
                profile
            }
            Distinct::On(on) => {
                let input = self.profile(&on.input);
                let schema = on.input.schema();
                let keys: Vec<_> = on
                    .on_expr
                    .iter()
                    .map(|e| column_of(e, schema, &input))
                    .collect();
                Profile {
                    rows: self
                        .combinations(
                            &on.input,
                            &on.on_expr.iter().collect::<Vec<_>>(),
                            &keys,
                            input.rows,
                        )
                        .max(1.0),
                    source: input.source.max(EstimateSource::Ndv),
                    known: input.known,
                    stale: input.stale,
                    columns: on
                        .select_expr
                        .iter()
                        .map(|e| column_of(e, schema, &input))
                        .collect(),
                }
            }
        }
    }
}

/// A relation, the relations that each of its rows has at most one row of, and the columns of all these.
struct Determined<'a> {
    leaf: Option<&'a LogicalPlan>,
    ndvs: Vec<f64>,
}

impl Deriver<'_> {
    /// Distinct combinations of expressions over a plan of so many `rows`; `columns` are what is known of the expressions.
    ///
    /// Those of one relation are no more than its rows. Nor are those of the relations that it refers to by their keys, so that a
    /// customer's name, address and nation are no more than the customers.
    fn combinations(
        &self,
        plan: &LogicalPlan,
        expressions: &[&Expr],
        columns: &[ColumnProfile],
        rows: f64,
    ) -> f64 {
        let schema = plan.schema();
        let mut relations: Vec<Determined<'_>> = vec![];
        for (expression, column) in expressions.iter().zip(columns) {
            let ndv = column.ndv + if column.null_fraction > 0.0 { 1.0 } else { 0.0 };
            let of = |c: &Column| Some(origin(plan, schema.maybe_index_of_column(c)?)?.0);
            let mut leaves = expression.column_refs().into_iter().map(of);
            let leaf = leaves.next().flatten();
            let leaf = leaf.filter(|leaf| leaves.all(|other| is_same(other, Some(leaf))));
            let known = relations.iter_mut().find(|r| is_same(r.leaf, leaf));
            match known {
                Some(relation) => relation.ndvs.push(ndv),
                None => relations.push(Determined {
                    leaf,
                    ndvs: vec![ndv],
                }),
            }
        }
        if relations.len() > 1 {
            let mut references = vec![];
            self.references(plan, &mut references);
            for (from, to) in references {
                let place = |leaf| relations.iter().position(|r| is_same(r.leaf, Some(leaf)));
                // What refers to another relation may be referred to itself: the columns move on with it.
                if let (Some(from), Some(to)) = (place(from), place(to)) {
                    let ndvs = std::mem::take(&mut relations[to].ndvs);
                    relations[from].ndvs.extend(ndvs);
                    relations.swap_remove(to);
                }
            }
        }
        let of_relation = |relation: Determined<'_>| {
            let most = relation.leaf.map_or(rows, |leaf| self.profile(leaf).rows);
            backoff(relation.ndvs).min(most.max(1.0))
        };
        let free = backoff(relations.into_iter().map(of_relation).collect()).min(rows);
        match self.clustered(plan, expressions, rows) {
            Some(clustered) => free.min(clustered),
            None => free,
        }
    }

    /// Distinct combinations of expressions over a region, where their columns are those of one relation or of relations that it
    /// refers to.
    fn clustered(&self, plan: &LogicalPlan, expressions: &[&Expr], rows: f64) -> Option<f64> {
        // The profile of the region has said it of a single column.
        if let [Expr::Column(_)] = expressions {
            return None;
        }
        let region = match peel(plan) {
            Some(peeled) => extract::Region::of_one(plan, self.table(peeled, String::new())),
            None => self.region_below(plan).or_else(|| {
                let relation = self.semi_joined(plan)?;
                Some(extract::Region::of_one(plan, relation))
            })?,
        };
        let columns = expressions.iter().flat_map(|e| e.column_refs());
        let field = |c: &Column| region.output.get(plan.schema().maybe_index_of_column(c)?);
        let fields = columns.map(|c| field(c).copied());
        Clusters::new(&region.graph, rows).distinct_of_all(&fields.collect::<Option<Vec<_>>>()?)
    }

    /// Groups of a plan's rows by some of its fields, rather too many than too few: values of all columns come together freely, and
    /// rows fall to the combinations at random.
    pub(crate) fn most_groups(&self, plan: &LogicalPlan, fields: &[usize], rows: f64) -> f64 {
        let mut relations: Vec<(&LogicalPlan, f64, f64)> = vec![];
        let mut others = 1.0;
        for field in fields {
            let Some((leaf, column)) = origin(plan, *field) else {
                others = f64::INFINITY;
                continue;
            };
            let place = relations.iter().position(|r| std::ptr::eq(r.0, leaf));
            let profile = self.profile(leaf);
            let values = profile.columns.get(column).map_or(profile.rows, |c| {
                c.ndv + if c.null_fraction > 0.0 { 1.0 } else { 0.0 }
            });
            match place {
                Some(place) => relations[place].2 *= values,
                None => relations.push((leaf, profile.rows.max(1.0), values)),
            }
        }
        let of_relations = relations
            .into_iter()
            .map(|(_, rows, values)| values.min(rows));
        let combinations = others * of_relations.product::<f64>();
        let filled = match combinations.is_finite() {
            true => combinations * -(-rows / combinations.max(1.0)).exp_m1(),
            false => rows,
        };
        filled.clamp(1.0, rows.max(1.0))
    }

    /// Pairs of relations, the first of which has a key of the second. Those that are joined further below come first: the
    /// relations that these refer to are theirs by then.
    #[recursive::recursive]
    fn references<'p>(
        &self,
        plan: &'p LogicalPlan,
        found: &mut Vec<(&'p LogicalPlan, &'p LogicalPlan)>,
    ) {
        if let LogicalPlan::Join(join) = plan {
            self.references(&join.left, found);
            self.references(&join.right, found);
            let [(left, right)] = join.on.as_slice() else {
                return;
            };
            let origin_of = |plan: &'p LogicalPlan, key: &Expr| {
                let key = extract::plain_column(key)?;
                origin(plan, plan.schema().maybe_index_of_column(key)?)
            };
            let (Some(left), Some(right)) =
                (origin_of(&join.left, left), origin_of(&join.right, right))
            else {
                return;
            };
            let is_key = |(leaf, column): (&LogicalPlan, usize)| {
                let profile = self.profile(leaf);
                let ndv = profile.columns.get(column).map_or(0.0, |c| c.ndv);
                ndv >= profile.rows * UNIQUE
            };
            if is_key(right) {
                found.push((left.0, right.0));
            } else if is_key(left) {
                found.push((right.0, left.0));
            }
        } else if let [input] = plan.inputs().as_slice() {
            self.references(input, found);
        }
    }
}

fn is_same(a: Option<&LogicalPlan>, b: Option<&LogicalPlan>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if std::ptr::eq(a, b))
}

/// The relation that a column of a plan comes from, and its place there: a table with its predicates, or the first plan below
/// that is no join and changes more than names.
#[recursive::recursive]
pub(super) fn origin(plan: &LogicalPlan, column: usize) -> Option<(&LogicalPlan, usize)> {
    if peel(plan).is_some() {
        return Some((plan, column));
    }
    match plan {
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, column),
        LogicalPlan::Filter(filter) => origin(&filter.input, column),
        LogicalPlan::Sort(sort) => origin(&sort.input, column),
        LogicalPlan::Limit(limit) => origin(&limit.input, column),
        LogicalPlan::Projection(projection) => {
            let input = projection.input.as_ref();
            let name = extract::plain_column(projection.expr.get(column)?)?;
            origin(input, input.schema().maybe_index_of_column(name)?)
        }
        LogicalPlan::Join(join) => {
            let of_left = join.left.schema().fields().len();
            let of_right = join.right.schema().fields().len();
            match join.join_type {
                // The mark itself comes last, and from neither side.
                JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                    (column < of_left).then_some((join.left.as_ref(), column))
                }
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                    (column < of_right).then_some((join.right.as_ref(), column))
                }
                _ if column < of_left => Some((join.left.as_ref(), column)),
                _ => Some((join.right.as_ref(), column - of_left)),
            }
            .and_then(|(side, column)| origin(side, column))
        }
        _ => Some((plan, column)),
    }
}

/// Combinations of so many values each. Columns correlate, so each further one counts with the square root of the last one's
/// weight (exponential backoff).
pub(super) fn backoff(mut ndvs: Vec<f64>) -> f64 {
    ndvs.sort_by(|a, b| b.total_cmp(a));
    let mut weight = 1.0;
    let mut product = 1.0;
    for ndv in ndvs {
        product *= ndv.powf(weight);
        weight /= 2.0;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_columns_count_less() {
        assert_eq!(backoff(vec![4.0, 100.0]), 200.0);
        assert_eq!(backoff(vec![]), 1.0);
    }
}
