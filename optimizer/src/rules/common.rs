//! Joins that regions of a query have in common, chosen so that a [spool](super::spool) can run them once.
//!
//! Each region by itself is best joined in an order of its own: eight counts of sales by time of day, of the same stores and households,
//! each begin with their own half hour. Joined with stores and households first, all eight read the same rows. So where regions
//! have connected tables in common, with equal predicates on them and between them, the cheapest order of each is compared with the
//! cheapest that joins the common tables first, of which each then pays a share.

use super::pass::Pass;
use crate::enumerate::{Adaptive, Enumerator, ForcedTree, Problem, Solution, constrain};
use crate::extract::{self, Region, leaf_text, readable};
use crate::join_tree::{JoinTree, Step};
use crate::relset::RelSet;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, TableReference};
use datafusion::logical_expr::LogicalPlan;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Regions of a query that are compared with each other.
const MOST_REGIONS: usize = 32;

/// The share of an order's cost by which one with common joins has to be cheaper.
const LEAST_GAIN: f64 = 0.1;

/// Rows that the common tables have, for each row of their join: as many as a spool asks for.
const LEAST_READ: f64 = 2.0;

/// The most rows of common joins: so few that a spool may keep them under any limit of memory.
const MOST_KEPT: f64 = 500_000.0;

/// Tables that several regions have in common.
#[derive(Debug)]
pub(super) struct CommonJoins {
    /// The tables with their names and predicates.
    tables: Vec<String>,
    /// The predicates between them.
    edges: BTreeSet<String>,
    /// Regions that have them.
    regions: usize,
    /// How they are joined, by places in `tables`, once a region has decided that they are joined first.
    tree: Option<JoinTree>,
    /// Regions that have decided so.
    taken: usize,
}

/// What a region has that others may have, too.
struct Outline {
    /// Tables by their text, with their place in the region.
    tables: BTreeMap<String, usize>,
    /// Predicates of inner joins: by two or more tables what is said of them.
    edges: Vec<(RelSet, String)>,
    relations: usize,
}

impl Pass<'_> {
    /// Finds what the regions of a plan have in common. Not for searches that are named for a study of them: theirs is the order.
    pub(super) fn find_common(&mut self, plan: &LogicalPlan) -> Result<()> {
        let searches = self.parts.enumerator.name() == Adaptive.name();
        if !searches || self.hint.is_some() || !has_tables_in_two(plan) {
            return Ok(());
        }
        let mut outlines = vec![];
        self.outline(plan, &mut outlines)?;
        let mut found: BTreeMap<Vec<String>, CommonJoins> = BTreeMap::new();
        for (at, one) in outlines.iter().enumerate() {
            for other in &outlines[at + 1..] {
                for common in one.common(other) {
                    found.entry(common.tables.clone()).or_insert(common);
                }
            }
        }
        let mut found: Vec<CommonJoins> = found.into_values().collect();
        for common in &mut found {
            let has = outlines.iter().filter(|o| o.has(common).is_some());
            common.regions = has.count();
        }
        // Those that most regions have come first, and of these the larger ones.
        found.sort_by_key(|c| std::cmp::Reverse((c.regions, c.tables.len())));
        self.common = RefCell::new(found);
        Ok(())
    }

    pub(super) fn has_common(&self) -> bool {
        !self.common.borrow().is_empty()
    }

    /// Whether a region begins with joins that no other does, although it counted on others.
    pub(super) fn shares_with_none(&self) -> bool {
        self.common.borrow().iter().any(|common| common.taken == 1)
    }

    #[recursive::recursive]
    fn outline(&self, plan: &LogicalPlan, outlines: &mut Vec<Outline>) -> Result<()> {
        if extract::is_large(plan) || outlines.len() == MOST_REGIONS {
            return Ok(());
        }
        if let Some(region) = extract::outline(plan, self.deriver()) {
            for leaf in &region.leaves {
                self.outline(leaf, outlines)?;
            }
            outlines.push(Outline::of(&region));
            return Ok(());
        }
        plan.apply_subqueries(|subquery| {
            self.outline(subquery, outlines)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        for input in plan.inputs() {
            self.outline(input, outlines)?;
        }
        Ok(())
    }

    /// The order of a region that begins with joins that others have, too, if that is cheaper than `best`.
    pub(super) fn with_common(
        &self,
        region: &Region,
        problem: &Problem<'_>,
        best: &Solution,
    ) -> Option<Solution> {
        let mut all = self.common.borrow_mut();
        if all.is_empty() {
            return None;
        }
        let outline = Outline::of(region);
        for common in all.iter_mut().filter(|common| common.regions > 1) {
            let Some(places) = outline.has(common) else {
                continue;
            };
            let own = match &common.tree {
                Some(tree) => tree.fold(&mut |step| match step {
                    Step::Leaf(table) => {
                        JoinTree::Leaf(places.get(table).copied().unwrap_or(table))
                    }
                    Step::Join(left, right) => JoinTree::join(left, right),
                }),
                None => {
                    let trees = [&best.tree, problem.written].into_iter();
                    let mut trees = trees.filter_map(|tree| restricted(tree, &places));
                    match trees.find(|tree| is_connected(tree, problem)) {
                        Some(tree) => tree,
                        None => continue,
                    }
                }
            };
            let Some(solution) = self.shared_order(problem, region, &own, common.regions, best)
            else {
                // One less to share it with.
                common.regions -= 1;
                continue;
            };
            let back: HashMap<usize, usize> =
                places.iter().enumerate().map(|(t, p)| (*p, t)).collect();
            let tree = own.fold(&mut |step| match step {
                Step::Leaf(place) => JoinTree::Leaf(back.get(&place).copied().unwrap_or(place)),
                Step::Join(left, right) => JoinTree::join(left, right),
            });
            common.tree = Some(tree);
            common.taken += 1;
            return Some(solution);
        }
        None
    }

    /// The cheapest order with these joins in it, if it is cheaper than `best` where each of so many regions pays its share of them.
    fn shared_order(
        &self,
        problem: &Problem<'_>,
        region: &Region,
        own: &JoinTree,
        regions: usize,
        best: &Solution,
    ) -> Option<Solution> {
        let rows = |set| problem.cardinalities.rows(set);
        let tables = own.relations();
        let read: f64 = tables.iter().map(|table| rows(RelSet::single(table))).sum();
        let kept = rows(tables);
        let least = self.options.spool_min_rows as f64;
        if read < least || read < LEAST_READ * kept || kept > MOST_KEPT {
            return None;
        }
        let forced = ForcedTree::new(own.clone(), super::region::aliases(region));
        let solution = constrain(problem, &forced, self.parts.enumerator.as_ref()).ok()?;
        let share = 1.0 - 1.0 / regions as f64;
        let cost = solution.cost - share * (problem.tree_cost(own) + read);
        (cost < best.cost * (1.0 - LEAST_GAIN)).then_some(solution)
    }
}

impl Outline {
    fn of(region: &Region) -> Self {
        let relations = region.graph.relations.iter().enumerate();
        let tables = relations.filter(|(_, r)| r.table.is_some() && r.memberships.is_empty());
        let tables = tables.map(|(place, _)| (leaf_text(region, place), place));
        let mut edges = vec![];
        for class in &region.classes {
            // Each pair by itself: of a class two regions may have other members.
            for (at, one) in class.members.iter().enumerate() {
                for other in &class.members[at + 1..] {
                    let set = RelSet::single(one.relation).union(RelSet::single(other.relation));
                    let mut sides = [readable(&one.key, region), readable(&other.key, region)];
                    sides.sort_unstable();
                    edges.push((set, sides.join(" = ")));
                }
            }
        }
        for filter in &region.filters {
            edges.push((filter.relations, readable(&filter.predicate, region)));
        }
        Self {
            tables: tables.collect(),
            edges,
            relations: region.leaves.len(),
        }
    }

    /// The predicates between the tables at these places.
    fn within(&self, places: RelSet) -> BTreeSet<String> {
        let inside = self.edges.iter().filter(|(set, _)| set.is_subset(places));
        inside.map(|(_, text)| text.clone()).collect()
    }

    /// The places of common tables, if they are all there, with the same predicates.
    fn has(&self, common: &CommonJoins) -> Option<Vec<usize>> {
        let places = common.tables.iter().map(|t| self.tables.get(t).copied());
        let places: Vec<usize> = places.collect::<Option<_>>()?;
        let set: RelSet = places.iter().copied().collect();
        (self.within(set) == common.edges).then_some(places)
    }

    /// What is joined in the same way here and there, in connected parts.
    fn common(&self, other: &Self) -> Vec<CommonJoins> {
        let both = self.tables.iter();
        let both: Vec<(usize, usize)> = both
            .filter_map(|(text, place)| Some((*place, *other.tables.get(text)?)))
            .collect();
        let theirs: BTreeSet<&str> = other.edges.iter().map(|(_, text)| text.as_str()).collect();
        let all: RelSet = both.iter().map(|(own, _)| *own).collect();
        let shared = self
            .edges
            .iter()
            .filter(|(set, text)| set.is_subset(all) && theirs.contains(text.as_str()));
        let shared: Vec<RelSet> = shared.map(|(set, _)| *set).collect();
        let mut left = all;
        let mut found = vec![];
        while let Some(first) = left.first() {
            let mut part = RelSet::single(first);
            while let Some(set) = shared
                .iter()
                .find(|set| set.intersects(part) && !set.is_subset(part))
            {
                part = part.union(*set);
            }
            left = left.minus(part);
            // What two regions are as a whole they join in the same way anyhow.
            let whole = part.len() == self.relations && part.len() == other.relations;
            if part.len() < 2 || whole {
                continue;
            }
            let tables = self
                .tables
                .iter()
                .filter(|(_, place)| part.contains(**place));
            let common = CommonJoins {
                tables: tables.map(|(text, _)| text.clone()).collect(),
                edges: self.within(part),
                regions: 2,
                tree: None,
                taken: 0,
            };
            if other.has(&common).is_some() {
                found.push(common);
            }
        }
        found
    }
}

/// The tree without the relations that are not named.
fn restricted(tree: &JoinTree, places: &[usize]) -> Option<JoinTree> {
    tree.fold(&mut |step| match step {
        Step::Leaf(leaf) => places.contains(&leaf).then_some(JoinTree::Leaf(leaf)),
        Step::Join(Some(left), Some(right)) => Some(JoinTree::join(left, right)),
        Step::Join(left, right) => left.or(right),
    })
}

/// Whether a predicate stands at every join of a tree.
fn is_connected(tree: &JoinTree, problem: &Problem<'_>) -> bool {
    let mut connected = true;
    tree.for_each_join(&mut |left, right| connected &= problem.graph.connects(left, right));
    connected
}

/// Whether two regions read the same two tables.
fn has_tables_in_two(plan: &LogicalPlan) -> bool {
    let mut regions = vec![];
    tables_of_regions(plan, None, &mut regions);
    let mut pairs = regions.iter().enumerate().flat_map(|(at, one)| {
        let others = regions[at + 1..].iter();
        others.map(|other| one.intersection(other).count())
    });
    regions.len() > 1 && pairs.any(|tables| tables > 1)
}

/// The names of the tables of each region. Joins with nothing but renamings, aliases and filters between them are about a region.
#[recursive::recursive]
fn tables_of_regions(
    plan: &LogicalPlan,
    region: Option<usize>,
    regions: &mut Vec<BTreeSet<TableReference>>,
) {
    let below = match plan {
        LogicalPlan::Join(_) if region.is_none() => {
            regions.push(BTreeSet::new());
            Some(regions.len() - 1)
        }
        LogicalPlan::Join(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_) => region,
        LogicalPlan::TableScan(scan) => {
            if let Some(tables) = region.and_then(|region| regions.get_mut(region)) {
                tables.insert(scan.table_name.clone());
            }
            return;
        }
        _ => None,
    };
    // The closure returns no error.
    let _ = plan.apply_subqueries(|subquery| {
        tables_of_regions(subquery, None, regions);
        Ok(TreeNodeRecursion::Continue)
    });
    for input in plan.inputs() {
        tables_of_regions(input, below, regions);
    }
}
