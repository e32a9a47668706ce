//! Linearized dynamic programming: Neumann & Radke, SIGMOD 2018; Radke & Neumann, BTW 2019 (LinDP++).
//!
//! Of the trees over a linear order of the relations, those of which every subtree is an interval, the cheapest is
//! found in `n³` steps at most. The order is that of [`IKKBZ`](super::IkkBz), so that its left-deep tree is one of them; a
//! second one is that of the leaves of [`GOO`](super::Goo)'s tree, which is among its own trees, and for graphs with
//! operators a third is that of the query, which is always allowed.
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

use super::ikkbz::{self, linear_orders};
use super::parts::{Parts, Side, orient, rows_of};
use super::{Enumerator, Problem, Solution, StopReason, goo};
use crate::cost::CostModel;
use crate::join_graph::EdgeKind;
use crate::join_tree::JoinTree;
use crate::relset::{MAX_RELATIONS, RelSet};

/// How many pairs of intervals may be looked at for each csg-cmp-pair of the budget. They take no hashing and no growing of
/// sets, and a default budget is enough for any graph of 100 relations.
const INTERVAL_PAIRS: u64 = 4;

/// The most pairs of intervals to look at: larger graphs have as many for each 100 relations as one of 100 has.
pub(super) fn allowance(problem: &Problem<'_>) -> u64 {
    let hundreds = problem.graph.len().div_ceil(100).max(1) as u64;
    let pairs = problem.budget.saturating_mul(INTERVAL_PAIRS);
    pairs.saturating_mul(hundreds)
}

/// The best tree over linear orders of the relations. When it needs more pairs than four times the budget,
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
    for (at, components) in orders.iter().enumerate() {
        let ends: Vec<usize> = components
            .iter()
            .scan(0, |end, component| {
                *end += component.len();
                Some(*end)
            })
            .collect();
        let order = components.concat();
        let (found, looked) = match n <= MAX_RELATIONS {
            true => best_trees(
                &mut Sets::new(problem, &sets, &order),
                &ends,
                problem.cost,
                limit,
            ),
            false => best_trees(
                &mut Products::new(&parts, &order),
                &ends,
                problem.cost,
                limit,
            ),
        };
        pairs += looked;
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

/// The intervals of a linear order, those from one position at a time.
pub(super) trait Intervals {
    /// What is known of an interval.
    type Interval: Copy;

    /// How many positions the order has.
    fn len(&self) -> usize;

    /// The part at a position.
    fn part(&self, position: usize) -> usize;

    /// Turns to the intervals that start at `from`, which is one below the last one.
    fn start(&mut self, from: usize);

    /// The interval from the current start to `to`.
    fn interval(&self, to: usize) -> Self::Interval;

    /// Its rows.
    fn rows(&self, interval: Self::Interval) -> f64;

    /// Whether two neighbouring intervals can be joined to a third, and then whether by a key.
    fn link(
        &self,
        left: Self::Interval,
        right: Self::Interval,
        both: Self::Interval,
    ) -> Option<bool>;
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

/// The best trees of the intervals that end before each of `ends` and start where the one before ends, and how many
/// pairs were looked at.
pub(super) fn best_trees<S: Intervals>(
    order: &mut S,
    ends: &[usize],
    cost: &dyn CostModel,
    limit: u64,
) -> (Found, u64) {
    let (plans, pairs) = linearized(order, cost, limit);
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

/// The best plans over a linear order, unless that takes more than so many pairs; and how many were looked at.
fn linearized<S: Intervals>(
    order: &mut S,
    cost: &dyn CostModel,
    limit: u64,
) -> (Option<Plans<S::Interval>>, u64) {
    let n = order.len();
    let mut plans: Vec<Plan<S::Interval>> = vec![];
    let mut rows = vec![0..0; n];
    let mut row: Vec<Option<Plan<S::Interval>>> = vec![None; n];
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
        for middle in from..n - 1 {
            let Some(left) = row[middle] else { continue };
            let partners = &plans[rows[middle + 1].clone()];
            pairs += partners.len() as u64;
            if pairs > limit {
                return (None, pairs);
            }
            for right in partners {
                let known = &mut row[right.to];
                let inputs = left.cost + right.cost;
                // No join costs less than nothing.
                if known.is_some_and(|known| inputs >= known.cost) {
                    continue;
                }
                let both = order.interval(right.to);
                let Some(keyed) = order.link(left.interval, right.interval, both) else {
                    continue;
                };
                let rows = known.map_or_else(|| order.rows(both), |known| known.rows);
                let side = |plan: &Plan<S::Interval>| Side {
                    rows: plan.rows,
                    lowest: plan.lowest,
                };
                let (join, in_order) = orient(cost, side(&left), side(right), rows, keyed);
                let cost = inputs + join;
                if known.is_none_or(|known| cost < known.cost) {
                    *known = Some(Plan {
                        interval: both,
                        to: right.to,
                        cost,
                        rows,
                        lowest: left.lowest.min(right.lowest),
                        split: middle,
                        in_order,
                    });
                }
            }
        }
        let first = plans.len();
        plans.extend(row[from..].iter_mut().filter_map(Option::take));
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

/// Intervals as sets of relations: all that graphs and cardinalities know is obeyed.
pub(super) struct Sets<'a> {
    problem: &'a Problem<'a>,
    sets: &'a [RelSet],
    order: &'a [usize],
    /// By last position the interval from the current start.
    current: Vec<RelSet>,
}

impl<'a> Sets<'a> {
    /// An order of disjoint sets, by their positions in the list.
    pub(super) fn new(problem: &'a Problem<'a>, sets: &'a [RelSet], order: &'a [usize]) -> Self {
        Self {
            problem,
            sets,
            order,
            current: vec![RelSet::EMPTY; order.len()],
        }
    }
}

impl Intervals for Sets<'_> {
    type Interval = RelSet;

    fn len(&self) -> usize {
        self.order.len()
    }

    fn part(&self, position: usize) -> usize {
        self.order[position]
    }

    fn start(&mut self, from: usize) {
        let first = self.sets[self.order[from]];
        for set in &mut self.current[from..] {
            *set = set.union(first);
        }
    }

    fn interval(&self, to: usize) -> RelSet {
        self.current[to]
    }

    fn rows(&self, set: RelSet) -> f64 {
        self.problem.cardinalities.rows(set)
    }

    fn link(&self, left: RelSet, right: RelSet, _: RelSet) -> Option<bool> {
        Some(self.problem.graph.link(left, right)?.keyed)
    }
}

/// What is inside an interval: sums by which two intervals and the one they become tell what is between them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inside {
    /// The logarithm of the rows.
    rows: f64,
    /// Pairs of parts that a predicate connects.
    joins: u32,
    /// Those that an equality connects.
    keys: u32,
}

/// Intervals of parts with rows as a product.
pub(super) struct Products<'a> {
    parts: &'a Parts,
    order: &'a [usize],
    /// By part its position; the greatest number for a part that is not in the order.
    positions: Vec<usize>,
    /// By last position the interval from the current start.
    current: Vec<Inside>,
}

impl<'a> Products<'a> {
    /// An order of parts.
    pub(super) fn new(parts: &'a Parts, order: &'a [usize]) -> Self {
        let mut positions = vec![usize::MAX; parts.len()];
        for (position, part) in order.iter().enumerate() {
            positions[*part] = position;
        }
        Self {
            parts,
            order,
            positions,
            current: vec![Inside::default(); order.len()],
        }
    }
}

impl Intervals for Products<'_> {
    type Interval = Inside;

    fn len(&self) -> usize {
        self.order.len()
    }

    fn part(&self, position: usize) -> usize {
        self.order[position]
    }

    fn start(&mut self, from: usize) {
        let part = self.order[from];
        let rows = self.parts.rows[part];
        for inside in &mut self.current[from..] {
            inside.rows += rows;
        }
        for edge in self.parts.edges(part) {
            let to = self.positions[edge.to as usize];
            if to <= from || to >= self.current.len() {
                continue;
            }
            let (joins, keys) = match edge.kind {
                Some(EdgeKind::Equality) => (1, 1),
                Some(EdgeKind::Theta | EdgeKind::Product) => (1, 0),
                None => (0, 0),
            };
            for inside in &mut self.current[to..] {
                inside.rows += edge.selectivity;
                inside.joins += joins;
                inside.keys += keys;
            }
        }
    }

    fn interval(&self, to: usize) -> Inside {
        self.current[to]
    }

    fn rows(&self, inside: Inside) -> f64 {
        rows_of(inside.rows)
    }

    fn link(&self, left: Inside, right: Inside, both: Inside) -> Option<bool> {
        let joined = both.joins > left.joins + right.joins;
        joined.then_some(both.keys > left.keys + right.keys)
    }
}
