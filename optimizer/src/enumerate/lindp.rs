//! Linearized dynamic programming: Neumann & Radke, SIGMOD 2018; Radke & Neumann, BTW 2019 (LinDP++).
//!
//! Of the trees over a linear order of the relations, those of which every subtree is an interval, the cheapest is
//! found in `n³` steps at most. The order is that of [`IKKBZ`](super::IkkBz), so that its left-deep tree is one of them; a
//! second one is a walk along the spanning tree, which for a chain has all trees; a third is that of the leaves of the
//! greedy tree, and for graphs with operators a fourth is that of the query, which is always allowed.
//!
//! What costs as much as the best tree known is no part of a better one, and so has no plan. Where the final result is small
//! and most intervals are not, that leaves few pairs: hundreds of thousands for many chains of 1,000 relations, not 167
//! million.
//!
//! Over the order 0 1 2 of a chain, the trees are `((0 1) 2)` and `(0 (1 2))`.
//!
//! Only intervals that can be joined at all have plans, those from one position in a row by their end. For each, the
//! plans that start right after it are its partners: what the graph does not connect takes no time.
//!
//! | here | in the papers |
//! |---|---|
//! | [`linearized`] | LinearizedDP |
//! | [`Intervals::link`] | the test for a cross product; in LinDP++ that of the total eligibility sets |

use super::ikkbz::{self, linear_orders, walks};
use super::intervals::{Intervals, Products, Sets};
use super::parts::{Parts, Side, orient};
use super::{Enumerator, Problem, Solution, StopReason, goo};
use crate::cost::CostModel;
use crate::join_tree::JoinTree;
use crate::relset::{MAX_RELATIONS, RelSet};

/// How many pairs of intervals may be looked at in an order for each csg-cmp-pair of the budget. They take no hashing and no
/// growing of sets, and a default budget is enough for any graph of 100 relations.
const INTERVAL_PAIRS: u64 = 2;

/// The shares of the cost of the best known tree by which plans of large graphs are bounded, one after the other. No part
/// of a tree costs more than the whole, so that whatever is found within a bound is the best of all trees over the order.
/// How many pairs that takes grows fast with the bound, and nobody knows the right one.
const BOUNDS: [f64; 3] = [1.0 / 16.0, 1.0 / 4.0, 1.0 / 2.0];

/// The most pairs of intervals to look at in an order: larger graphs have as many for each 100 relations as one of 100 has.
pub(super) fn allowance(problem: &Problem<'_>) -> u64 {
    let hundreds = problem.graph.len().div_ceil(100).max(1) as u64;
    let pairs = problem.budget.saturating_mul(INTERVAL_PAIRS);
    pairs.saturating_mul(hundreds)
}

/// The best tree over linear orders of the relations. When it needs more pairs than twice the budget,
/// the better of [`IKKBZ`](super::IkkBz)'s and [`GOO`](super::Goo)'s answers instead.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinDp;

impl Enumerator for LinDp {
    fn name(&self) -> &str {
        "lindp"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        search(problem, goo::greedy(problem), 0)
    }
}

/// The best tree over linear orders, or the greedy one if none is cheaper, after so many pairs of another search.
pub(super) fn search(problem: &Problem<'_>, greedy: Solution, after: u64) -> Solution {
    let n = problem.graph.len();
    let limit = allowance(problem);
    let mut pairs = after + greedy.pairs;
    let mut best = greedy;
    let mut finished = false;
    let sets: Vec<RelSet> = (0..n.min(MAX_RELATIONS)).map(RelSet::single).collect();
    let parts = match n <= MAX_RELATIONS {
        true => Parts::of_sets(problem, &sets),
        false => Parts::of(problem),
    };
    let mut orders = vec![linear_orders(&parts)];
    if best.stop != StopReason::NoOther {
        orders.push(by_component(&orders[0], &best.tree.leaves()));
    }
    if !problem.graph.is_plain() {
        orders.push(by_component(&orders[0], &problem.written.leaves()));
    }
    orders.push(walks(&parts));
    // What an order leaves the next ones may use, and each but the last at most half.
    let mut left = limit.saturating_mul(orders.len() as u64);
    for (at, components) in orders.iter().enumerate() {
        let limit = match at + 1 == orders.len() {
            true => left,
            false => (left / 2).max(limit).min(left),
        };
        let ends: Vec<usize> = components
            .iter()
            .scan(0, |end, component| {
                *end += component.len();
                Some(*end)
            })
            .collect();
        let order = components.concat();
        let bound = match best.stop {
            StopReason::NoOther => f64::INFINITY,
            _ => best.cost,
        };
        let (found, looked) = match n <= MAX_RELATIONS {
            true => {
                let order = || Sets::new(problem, &sets, &order);
                bounded(order, &ends, problem.cost, bound, limit)
            }
            false => {
                let order = || Products::new(&parts, &order);
                bounded(order, &ends, problem.cost, bound, limit)
            }
        };
        pairs += looked;
        left = left.saturating_sub(looked);
        let forest = match found {
            Found::Trees(found) => {
                finished = true;
                Some(found.into_iter().map(|(_, tree)| tree).collect())
            }
            Found::Nothing => {
                finished = true;
                None
            }
            // What the order stands for.
            Found::Spent if at == 0 => components
                .iter()
                .map(|component| ikkbz::left_deep(&parts, component, problem))
                .collect(),
            Found::Spent => None,
        };
        let Some(forest) = forest else { continue };
        let Some(tree) = goo::join_components(problem, forest).0 else {
            continue;
        };
        let cost = problem.tree_cost(&tree);
        if cost < best.cost || best.stop == StopReason::NoOther {
            best = Solution {
                cost,
                tree,
                pairs,
                stop: StopReason::Linearized { after },
            };
        }
    }
    if best.stop != StopReason::NoOther {
        best.stop = match finished {
            true => StopReason::Linearized { after },
            false => StopReason::Greedy { after: pairs },
        };
    }
    best.pairs = pairs;
    best
}

/// The relations by component, as in the first list, in the order of the second.
fn by_component(components: &[Vec<usize>], order: &[usize]) -> Vec<Vec<usize>> {
    let count = components.iter().map(Vec::len).sum();
    let mut component_of = vec![usize::MAX; count];
    for (at, component) in components.iter().enumerate() {
        for relation in component {
            component_of[*relation] = at;
        }
    }
    let mut ordered = vec![vec![]; components.len()];
    for relation in order {
        // Whoever made the order: each relation once.
        let component = component_of
            .get_mut(*relation)
            .map(|of| std::mem::replace(of, usize::MAX));
        if let Some(list) = component.and_then(|component| ordered.get_mut(component)) {
            list.push(*relation);
        }
    }
    for (component, list) in components.iter().zip(&mut ordered) {
        let missing = component.iter().copied();
        list.extend(missing.filter(|relation| component_of[*relation] != usize::MAX));
    }
    ordered
}

/// The best plan of an interval.
#[derive(Debug, Clone, Copy)]
struct Plan<I> {
    interval: I,
    /// Its last position.
    to: usize,
    /// Cost of its joins.
    cost: f64,
    rows: f64,
    lowest: usize,
    /// The last position of its first half; that of the whole for a single part.
    split: usize,
    /// Whether the first half is the left input.
    in_order: bool,
}

/// What a search over a linear order found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// The best trees with their costs.
    Trees(Vec<(f64, JoinTree)>),
    /// No tree is allowed.
    Nothing,
    /// It takes more pairs than there were.
    Spent,
}

/// [`best_trees`], where not all pairs can be looked at with bounds that are too low at first.
fn bounded<S: Intervals>(
    order: impl Fn() -> S,
    ends: &[usize],
    cost: &dyn CostModel,
    bound: f64,
    limit: u64,
) -> (Found, u64) {
    let n = ends.last().map_or(0, |end| *end as u64);
    let bounds = match n.pow(3) / 6 <= limit || bound.is_infinite() {
        true => &[],
        false => &BOUNDS[..],
    };
    let mut looked = 0;
    for bound in bounds.iter().map(|share| share * bound).chain([bound]) {
        let (found, more) = best_trees(&mut order(), ends, cost, bound, limit - looked);
        looked += more;
        if found != Found::Nothing || looked > limit {
            return (found, looked);
        }
    }
    (Found::Nothing, looked)
}

/// The best trees of the intervals that end before each of `ends` and start where the one before ends, of those that cost
/// less than `bound`, and how many pairs were looked at.
pub(super) fn best_trees<S: Intervals>(
    order: &mut S,
    ends: &[usize],
    cost: &dyn CostModel,
    bound: f64,
    limit: u64,
) -> (Found, u64) {
    let (plans, pairs) = linearized(order, cost, bound, limit);
    let Some(plans) = plans else {
        return (Found::Spent, pairs);
    };
    let mut from = 0;
    let trees = ends.iter().map(|end| {
        let to = end - 1;
        let first = std::mem::replace(&mut from, *end);
        Some((plans.plan(first, to)?.cost, plans.tree(first, to)?))
    });
    let found = match trees.collect() {
        Some(trees) => Found::Trees(trees),
        None => Found::Nothing,
    };
    (found, pairs)
}

/// The best plans of all intervals that have one.
struct Plans<I> {
    /// By first position, then by last.
    plans: Vec<Plan<I>>,
    /// By first position where its plans are.
    rows: Vec<std::ops::Range<usize>>,
    /// By position the part.
    parts: Vec<usize>,
}

/// The best plans over a linear order that cost less than `bound`, unless that takes more than so many pairs; and how many were looked at.
fn linearized<S: Intervals>(
    order: &mut S,
    cost: &dyn CostModel,
    bound: f64,
    limit: u64,
) -> (Option<Plans<S::Interval>>, u64) {
    let n = order.len();
    let mut plans: Vec<Plan<S::Interval>> = vec![];
    let mut rows = vec![0..0; n];
    let mut row: Vec<Option<Plan<S::Interval>>> = vec![None; n];
    // By last position the rows of the interval, NaN while nobody asked: those too dear for a plan are met again and again.
    let mut known_rows = vec![f64::NAN; n];
    let mut pairs = 0_u64;
    for from in (0..n).rev() {
        order.start(from);
        let interval = order.interval(from);
        row[from] = Some(Plan {
            interval,
            to: from,
            cost: 0.0,
            rows: order.rows(interval),
            lowest: order.part(from),
            split: from,
            in_order: true,
        });
        // Plans end at `last` at most, and rows are known up to `asked`: under a low bound that is soon.
        let (mut last, mut asked, mut middle) = (from, from, from);
        while middle <= last && middle + 1 < n {
            let split = middle;
            middle += 1;
            let Some(left) = row[split] else { continue };
            let partners = &plans[rows[split + 1].clone()];
            pairs += partners.len() as u64;
            if pairs > limit {
                return (None, pairs);
            }
            for right in partners {
                let known = &mut row[right.to];
                let inputs = left.cost + right.cost;
                // No join costs less than nothing.
                if inputs >= known.map_or(bound, |known| known.cost) {
                    continue;
                }
                let both = order.interval(right.to);
                let Some(keyed) = order.link(left.interval, right.interval, both) else {
                    continue;
                };
                let rows = &mut known_rows[right.to];
                if rows.is_nan() {
                    *rows = order.rows(both);
                    asked = asked.max(right.to);
                }
                let rows = *rows;
                let side = |plan: &Plan<S::Interval>| Side {
                    rows: plan.rows,
                    lowest: plan.lowest,
                };
                let (join, in_order) = orient(cost, side(&left), side(right), rows, keyed);
                let cost = inputs + join;
                if cost < known.map_or(bound, |known| known.cost) {
                    *known = Some(Plan {
                        interval: both,
                        to: right.to,
                        cost,
                        rows,
                        lowest: left.lowest.min(right.lowest),
                        split,
                        in_order,
                    });
                    last = last.max(right.to);
                }
            }
        }
        let first = plans.len();
        plans.extend(row[from..=last].iter_mut().filter_map(Option::take));
        known_rows[from..=asked].fill(f64::NAN);
        rows[from] = first..plans.len();
    }
    let parts = (0..n).map(|position| order.part(position)).collect();
    (Some(Plans { plans, rows, parts }), pairs)
}

impl<I: Copy> Plans<I> {
    fn plan(&self, from: usize, to: usize) -> Option<&Plan<I>> {
        let row = self.plans.get(self.rows.get(from)?.clone())?;
        let at = row.binary_search_by_key(&to, |plan| plan.to).ok()?;
        row.get(at)
    }

    /// The best tree over an interval, if it has one.
    #[recursive::recursive]
    fn tree(&self, from: usize, to: usize) -> Option<JoinTree> {
        let plan = self.plan(from, to)?;
        if from == to {
            return Some(JoinTree::Leaf(self.parts[from]));
        }
        let first = self.tree(from, plan.split)?;
        let second = self.tree(plan.split + 1, to)?;
        Some(match plan.in_order {
            true => JoinTree::join(first, second),
            false => JoinTree::join(second, first),
        })
    }
}
