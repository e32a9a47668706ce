//! Eager aggregation: functions of an aggregate are computed in part below its joins, where that leaves few rows to join.
//!
//! `SUM(x) GROUP BY c.name` over facts and customers is the sum by customer's key of the facts alone, joined with the
//! customers, and summed up by name: each row of the join has a part in place of the rows of its group, which are alike in
//! everything that the joins and the groups above look at. Whether keys are unique makes no difference, as a group that
//! meets two partners is in two results, as its rows were. (Yan and Larson: Eager Aggregation and Lazy Aggregation,
//! VLDB 1995.)

mod average;
mod functions;
mod place;
mod push;
mod total;

use super::pass::Pass;
use crate::extract::{self, Kinds};
use crate::trace::TraceTree;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan};
use functions::Function;
use place::{Needs, Place, Step, input_of, places};

/// The share of the rows that an aggregate at a place has to save. Estimates of groups err, and one that saves nothing costs as
/// much as that above.
const LEAST_SHARE: f64 = 0.5;

/// Nanoseconds that an aggregate takes, in the unit of [`HashJoinConstants`](crate::cost::HashJoinConstants), read off aggregates
/// of the `store_sales` of TPC-DS with few and many groups, by up to four columns, of numbers and of text.
const ROW: f64 = 2.0;
const FIXED_KEY: f64 = 4.0;
const TEXT_KEY: f64 = 11.0;
const FUNCTION: f64 = 2.0;
const GROUP: f64 = 60.0;
const GROUP_KEY: f64 = 30.0;

impl Pass<'_> {
    /// The plan with aggregates below joins, where they cost less there.
    pub(super) fn aggregate_early(&self, plan: &LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        plan.clone().transform_up_with_subqueries(|node| {
            let LogicalPlan::Aggregate(aggregate) = &node else {
                return Ok(Transformed::no(node));
            };
            Ok(match self.aggregated_early(aggregate) {
                Some(better) => Transformed::yes(better),
                None => Transformed::no(node),
            })
        })
    }

    /// The plan of an aggregate with another one below its joins, where that costs less.
    fn aggregated_early(&self, aggregate: &Aggregate) -> Option<LogicalPlan> {
        let input = aggregate.input.as_ref();
        let joins = top_join(input)?;
        let functions = aggregate.aggr_expr.iter();
        let functions = functions.map(|expr| Function::of(expr, input.schema()));
        let functions: Vec<Function> = functions.collect::<Option<_>>()?;
        let needs = Needs::of(input.schema(), &aggregate.group_expr, &functions)?;
        let above = Keys::of_groups(aggregate)?;
        let all = places(input, &aggregate.group_expr, needs.clone(), &functions);
        if all.is_empty() {
            return None;
        }
        let tree = extract::region(joins, Kinds::All, self.deriver());
        let tree = tree.map(|region| self.written_rows(&region));
        let least = if self.is_forced() {
            f64::NEG_INFINITY
        } else {
            0.0
        };
        let mut best: Option<(f64, Place)> = None;
        for place in all {
            let gain = tree.as_ref().and_then(|tree| {
                let (node, joins) = on_the_way(input, tree, &place.path)?;
                Some(self.gain(node, &place, &joins, &above, tree.est_rows()))
            });
            let gain = match (gain, self.is_forced()) {
                (gain, true) => gain.unwrap_or(f64::MIN).max(f64::MIN),
                (Some(gain), false) => gain,
                (None, false) => continue,
            };
            if gain > best.as_ref().map_or(least, |best| best.0) {
                best = Some((gain, place));
            }
        }
        let (_, place) = best?;
        match push::push(aggregate, &needs, &functions, &place) {
            Ok(plan) => Some(plan),
            Err(error) => {
                tracing::warn!(%error, "an aggregate could not be pushed below joins");
                None
            }
        }
    }

    /// Whether a place is taken whatever it costs.
    fn is_forced(&self) -> bool {
        self.options.eager_min_rows == 0
    }

    /// What an aggregate at a place saves, in nanoseconds; negative if it costs more.
    fn gain(
        &self,
        node: &LogicalPlan,
        place: &Place,
        joins: &[Joined],
        above: &Keys,
        top: f64,
    ) -> f64 {
        // What is grouped in more than one way is grouped by all columns first.
        let rows = joins.last().map_or(top, |joined| joined.input);
        if rows < self.options.eager_min_rows as f64 {
            return 0.0;
        }
        let fields: Vec<usize> = place.needs.fields.iter().copied().collect();
        let groups = self.deriver.most_groups(node, &fields, rows);
        let fewer = 1.0 - groups / rows;
        if fewer < LEAST_SHARE && !self.is_forced() {
            return 0.0;
        }
        let constants = self.ordering.constants.hash_join;
        let saved_by_joins = joins.iter().map(|joined| {
            joined.input * constants.probe_row + joined.output * constants.output_row
        });
        let saved = saved_by_joins.sum::<f64>() + top * above.row_cost(place.needs.args.len());
        let types = fields.iter();
        let types = types.map(|field| node.schema().field(*field).data_type());
        let own = Keys::of(types);
        let functions = place.needs.args.iter().flatten().count();
        fewer * saved - rows * own.row_cost(functions) - groups * own.group_cost()
    }
}

/// The topmost join of an aggregate's input, if no more than renamings and filters are above it.
fn top_join(input: &LogicalPlan) -> Option<&LogicalPlan> {
    match input {
        LogicalPlan::Join(_) => Some(input),
        _ => top_join(input_of(input, Step::Only)?),
    }
}

/// A join on the way to a place.
#[derive(Debug, Clone, Copy)]
struct Joined {
    /// Rows of the input that the place is in.
    input: f64,
    /// Rows of the join.
    output: f64,
}

/// The node at a place and the joins above it, if all are joins of the region that the tree tells of.
fn on_the_way<'p>(
    input: &'p LogicalPlan,
    tree: &TraceTree,
    path: &[Step],
) -> Option<(&'p LogicalPlan, Vec<Joined>)> {
    let mut node = input;
    let mut tree = tree;
    let mut joins = vec![];
    for step in path {
        if *step != Step::Only {
            let TraceTree::Join {
                left,
                right,
                est_rows,
                ..
            } = tree
            else {
                return None;
            };
            tree = if *step == Step::Left { left } else { right };
            joins.push(Joined {
                input: tree.est_rows(),
                output: *est_rows,
            });
        }
        node = input_of(node, *step)?;
    }
    Some((node, joins))
}

/// The keys of an aggregate, as far as they make it slow.
#[derive(Debug, Clone, Copy, Default)]
struct Keys {
    fixed: f64,
    text: f64,
    /// How often each row is grouped.
    sets: f64,
}

impl Keys {
    fn of<'t>(types: impl Iterator<Item = &'t DataType>) -> Self {
        let mut keys = Self {
            sets: 1.0,
            ..Self::default()
        };
        for data_type in types {
            match data_type.primitive_width() {
                Some(_) => keys.fixed += 1.0,
                None => keys.text += 1.0,
            }
        }
        keys
    }

    fn of_groups(aggregate: &Aggregate) -> Option<Self> {
        let schema = aggregate.input.schema();
        let (groups, sets): (Vec<&Expr>, usize) = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(set)] => {
                let groups = set.distinct_expr();
                let sets = groups.len() + 1;
                (groups, sets)
            }
            groups => (groups.iter().collect(), 1),
        };
        let types = groups.iter().map(|group| group.get_type(schema).ok());
        let types: Vec<DataType> = types.collect::<Option<_>>()?;
        Some(Self {
            sets: sets as f64,
            ..Self::of(types.iter())
        })
    }

    /// To find a row's group and add to so many functions.
    fn row_cost(&self, functions: usize) -> f64 {
        let keys = ROW + self.fixed * FIXED_KEY + self.text * TEXT_KEY;
        self.sets * (keys + functions as f64 * FUNCTION)
    }

    /// To hand a group to its partition, and put it there and out.
    fn group_cost(&self) -> f64 {
        GROUP + (self.fixed + 2.0 * self.text) * GROUP_KEY
    }
}
