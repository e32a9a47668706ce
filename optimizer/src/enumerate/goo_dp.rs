//! Greedy, then repaired by dynamic programming: IDP-2 of Kossmann & Stocker, TODS 2000, as Neumann & Radke, SIGMOD 2018
//! use it for very large graphs.
//!
//! From the most expensive join on, a piece of the tree is taken around each join: its ancestors up to some height, and
//! below these what is most expensive, until what hangs below the piece are so many parts. The parts are searched again as if
//! they were relations, over their own order and that of [`IKKBZ`](super::IkkBz), those of a chain also along it, and a
//! cheaper piece takes the place of the old one. A join in a piece that was searched starts none itself, until a pass is over.
//!
//! | here | in the papers |
//! |---|---|
//! | `Repair::piece` | the choice of the subtree of up to k compound relations |
//! | `Repair::search` | its DP, here that of [`LinDp`](super::LinDp) |
//!
//! The papers make a compound relation of each piece, so that the next one contains it as a leaf. Here pieces overlap
//! as they like: what the first pass leaves at their borders, the next ones can still repair.

use super::ikkbz::{linear_orders, walks};
use super::intervals::{Products, Sets};
use super::lindp::{Found, allowance, best_trees};
use super::parts::Parts;
use super::{Enumerator, Problem, Solution, StopReason, goo};
use crate::cost::JoinRows;
use crate::join_tree::{JoinTree, Step};
use crate::relset::{MAX_RELATIONS, RelSet};
use std::collections::BinaryHeap;

/// The greedy tree, its expensive pieces searched again until nothing is gained or twice the budget of pairs is
/// spent.
#[derive(Debug, Clone, Copy, Default)]
pub struct GooDp;

impl Enumerator for GooDp {
    fn name(&self) -> &str {
        "goo-dp"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        repaired(problem, goo::greedy(problem))
    }
}

/// The most parts of a piece.
const MOST_PARTS: usize = 40;

/// The most passes over the joins of a tree.
const MOST_PASSES: usize = 4;

/// A pass that gains less than this share of the cost is the last.
const LEAST_GAIN: f64 = 1e-3;

/// The solution with its pieces searched again.
pub(super) fn repaired(problem: &Problem<'_>, solution: Solution) -> Solution {
    if solution.stop == StopReason::NoOther {
        return solution;
    }
    let mut repair = Repair::new(problem, &solution.tree);
    let limit = allowance(problem);
    for _ in 0..MOST_PASSES {
        let before = repair.cost();
        let finished = repair.pass(limit);
        if !finished || repair.cost() >= before * (1.0 - LEAST_GAIN) {
            break;
        }
    }
    let tree = repair.tree(repair.root);
    let cost = problem.tree_cost(&tree);
    let better = cost < solution.cost;
    Solution {
        tree: if better { tree } else { solution.tree },
        cost: if better { cost } else { solution.cost },
        pairs: solution.pairs + repair.pairs,
        stop: StopReason::Repaired {
            parts: repair.pieces,
        },
    }
}

/// A relation or a join.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The inputs of a join.
    inputs: Option<[usize; 2]>,
    parent: Option<usize>,
    /// The relation, if it is one.
    relation: usize,
    /// The cost of the join alone.
    cost: f64,
    /// The logarithm of the rows, where rows are a product.
    rows: f64,
    /// The relations, where they fit.
    set: RelSet,
    /// Whether anything connects the inputs.
    connected: bool,
    /// Whether it was in a piece in this pass.
    searched: bool,
}

/// A join as it was evaluated.
#[derive(Debug, Clone, Copy)]
struct Evaluated {
    cost: f64,
    rows: f64,
    set: RelSet,
    connected: bool,
}

struct Repair<'a> {
    problem: &'a Problem<'a>,
    /// The relations as parts; for graphs of sets without use.
    relations: Parts,
    /// By relation the part of the current piece that it is in, and the number of that piece.
    part_of: Vec<(usize, u64)>,
    nodes: Vec<Node>,
    root: usize,
    pieces: u64,
    pairs: u64,
}

/// A top part of the tree.
struct Piece {
    top: usize,
    /// Its joins.
    joins: Vec<usize>,
    /// What hangs below it, from left to right.
    parts: Vec<usize>,
}

impl<'a> Repair<'a> {
    fn new(problem: &'a Problem<'a>, tree: &JoinTree) -> Self {
        let n = problem.graph.len();
        let relations = match n <= MAX_RELATIONS {
            true => Parts::new(vec![0.0; n], []),
            false => Parts::of(problem),
        };
        let mut repair = Self {
            problem,
            part_of: vec![(0, 0); n],
            nodes: vec![],
            root: 0,
            relations,
            pieces: 0,
            pairs: 0,
        };
        let singles: Vec<RelSet> = (0..n.min(MAX_RELATIONS)).map(RelSet::single).collect();
        let mut joins = repair
            .evaluate(tree, &singles, &repair.relations)
            .into_iter();
        repair.root = tree.fold(&mut |step| {
            let id = repair.nodes.len();
            let mut node = Node {
                inputs: None,
                parent: None,
                relation: 0,
                cost: 0.0,
                rows: 0.0,
                set: RelSet::EMPTY,
                connected: true,
                searched: false,
            };
            match step {
                Step::Leaf(relation) => {
                    node.relation = relation;
                    node.rows = repair.relations.rows[relation];
                    node.set = singles.get(relation).copied().unwrap_or_default();
                }
                Step::Join(left, right) => {
                    node.inputs = Some([left, right]);
                    repair.nodes[left].parent = Some(id);
                    repair.nodes[right].parent = Some(id);
                }
            }
            repair.nodes.push(node);
            if node.inputs.is_some()
                && let Some(join) = joins.next()
            {
                repair.set(id, join);
            }
            id
        });
        repair
    }

    fn set(&mut self, id: usize, join: Evaluated) {
        let node = &mut self.nodes[id];
        node.cost = join.cost;
        node.rows = join.rows;
        node.set = join.set;
        node.connected = join.connected;
    }

    /// The cost of the whole tree.
    fn cost(&self) -> f64 {
        self.nodes.iter().map(|node| node.cost).sum()
    }

    /// The joins of a tree over parts, inputs before outputs.
    fn evaluate(&self, tree: &JoinTree, sets: &[RelSet], parts: &Parts) -> Vec<Evaluated> {
        let mut joins = vec![];
        if self.problem.graph.len() > MAX_RELATIONS {
            parts.for_each_join(tree, self.problem.cost, |join| {
                joins.push(Evaluated {
                    cost: join.cost,
                    rows: join.rows,
                    set: RelSet::EMPTY,
                    connected: join.connected,
                });
            });
            return joins;
        }
        let rows = |set: RelSet| self.problem.cardinalities.rows(set);
        tree.fold(&mut |step| match step {
            Step::Leaf(part) => sets.get(part).copied().unwrap_or_default(),
            Step::Join(left, right) => {
                let link = self.problem.graph.link(left, right);
                let set = left.union(right);
                let (left_width, right_width) = self.problem.widths(left, right);
                let cost = self.problem.cost.join_cost(JoinRows {
                    left: rows(left),
                    right: rows(right),
                    output: rows(set),
                    left_width,
                    right_width,
                    keyed: link.is_some_and(|link| link.keyed),
                });
                joins.push(Evaluated {
                    cost,
                    rows: 0.0,
                    set,
                    connected: link.is_some(),
                });
                set
            }
        });
        joins
    }

    /// Searches a piece around each join, the most expensive ones first; whether there were pairs enough for all.
    fn pass(&mut self, limit: u64) -> bool {
        let mut joins: Vec<usize> = vec![];
        for (id, node) in self.nodes.iter_mut().enumerate() {
            node.searched = false;
            if node.inputs.is_some() && node.connected {
                joins.push(id);
            }
        }
        joins.sort_by(|a, b| {
            let cost = |id: &usize| self.nodes[*id].cost;
            cost(b).total_cmp(&cost(a)).then(b.cmp(a))
        });
        for join in joins {
            if self.nodes[join].searched {
                continue;
            }
            if self.pairs >= limit {
                return false;
            }
            let piece = self.piece(join);
            for id in &piece.joins {
                self.nodes[*id].searched = true;
            }
            if piece.joins.len() > 1 {
                self.search(&piece, limit - self.pairs);
            }
        }
        true
    }

    /// The piece around a join.
    fn piece(&self, join: usize) -> Piece {
        let joins_here = |id: usize| self.nodes[id].inputs.filter(|_| self.nodes[id].connected);
        let mut top = join;
        let mut joins = vec![join];
        while let Some(parent) = self.nodes[top].parent
            && self.nodes[parent].connected
            && joins.len() < MOST_PARTS / 2
        {
            top = parent;
            joins.push(top);
        }
        // By cost, and of equal ones by number.
        let mut open: BinaryHeap<(u64, usize)> = BinaryHeap::new();
        let path = joins.clone();
        let inputs = |id: usize| joins_here(id).into_iter().flatten();
        // Costs are not negative, and the bits of such floats are in their order.
        let entry = |id: usize| (self.nodes[id].cost.max(0.0).to_bits(), id);
        let expandable = |id: &usize| joins_here(*id).is_some();
        for id in &path {
            let below = inputs(*id).filter(|input| !path.contains(input));
            open.extend(below.filter(expandable).map(entry));
        }
        while joins.len() + 1 < MOST_PARTS
            && let Some((_, id)) = open.pop()
        {
            joins.push(id);
            open.extend(inputs(id).filter(expandable).map(entry));
        }
        let mut parts = vec![];
        let mut inside = joins.clone();
        inside.sort_unstable();
        let mut stack = vec![top];
        while let Some(id) = stack.pop() {
            match self.nodes[id].inputs {
                Some([left, right]) if inside.binary_search(&id).is_ok() => {
                    stack.push(right);
                    stack.push(left);
                }
                _ => parts.push(id),
            }
        }
        Piece { top, joins, parts }
    }

    /// Searches a piece again and replaces it if that is cheaper.
    fn search(&mut self, piece: &Piece, limit: u64) {
        self.pieces += 1;
        let sets: Vec<RelSet> = piece.parts.iter().map(|id| self.nodes[*id].set).collect();
        let large = self.problem.graph.len() > MAX_RELATIONS;
        let parts = match large {
            true => self.parts(piece),
            false => Parts::of_sets(self.problem, &sets),
        };
        let own: Vec<usize> = (0..parts.len()).collect();
        let mut orders = vec![own];
        // Not connected in pairs is not connected at all, or by a predicate that the search will know.
        if let [order] = &mut linear_orders(&parts)[..] {
            orders.push(std::mem::take(order));
        }
        // All trees of a chain are trees over it; of a graph with branches other orders have better ones.
        if (0..parts.len()).all(|part| parts.edges(part).len() <= 2)
            && let [walk] = &mut walks(&parts)[..]
        {
            orders.push(std::mem::take(walk));
        }
        let mut best = None;
        let mut least: f64 = piece.joins.iter().map(|id| self.nodes[*id].cost).sum();
        // What is no more than rounding is no gain.
        least *= 1.0 - 1e-9;
        let mut looked = 0;
        for order in orders {
            let left = limit.saturating_sub(looked);
            let (ends, cost) = ([parts.len()], self.problem.cost);
            let (found, more) = match large {
                true => best_trees(&mut Products::new(&parts, &order), &ends, cost, least, left),
                false => {
                    let mut order = Sets::new(self.problem, &sets, &order);
                    best_trees(&mut order, &ends, cost, least, left)
                }
            };
            looked += more;
            if let Found::Trees(mut trees) = found
                && let Some((cost, tree)) = trees.pop()
                && cost < least
            {
                least = cost;
                best = Some(tree);
            }
        }
        self.pairs += looked;
        if let Some(tree) = best {
            let joins = self.evaluate(&tree, &sets, &parts);
            self.replace(piece, &tree, joins);
        }
    }

    /// The parts of a piece where rows are a product.
    fn parts(&mut self, piece: &Piece) -> Parts {
        let mut inside: Vec<usize> = vec![];
        for (part, id) in piece.parts.iter().enumerate() {
            let mut stack = vec![*id];
            while let Some(id) = stack.pop() {
                match self.nodes[id].inputs {
                    Some(inputs) => stack.extend(inputs),
                    None => {
                        let relation = self.nodes[id].relation;
                        self.part_of[relation] = (part, self.pieces);
                        inside.push(relation);
                    }
                }
            }
        }
        let mut edges = vec![];
        for relation in inside {
            let (part, _) = self.part_of[relation];
            for edge in self.relations.edges(relation) {
                let (other, piece) = self.part_of[edge.to as usize];
                if piece == self.pieces && part < other {
                    edges.push((part, other, edge.kind, edge.selectivity));
                }
            }
        }
        let rows = piece.parts.iter().map(|id| self.nodes[*id].rows).collect();
        Parts::new(rows, edges)
    }

    /// Puts a tree over the parts of a piece in its place. Its joins are those of the piece, with other inputs.
    fn replace(&mut self, piece: &Piece, tree: &JoinTree, joins: Vec<Evaluated>) {
        let parent = self.nodes[piece.top].parent;
        // The last join of the tree is its root, and takes the place of the piece's.
        let others = piece.joins.iter().copied().filter(|id| *id != piece.top);
        let mut places = others.chain([piece.top]).zip(joins);
        tree.fold(&mut |step| match step {
            Step::Leaf(part) => piece.parts[part],
            Step::Join(left, right) => {
                let Some((id, join)) = places.next() else {
                    return left;
                };
                self.set(id, join);
                self.nodes[id].inputs = Some([left, right]);
                self.nodes[left].parent = Some(id);
                self.nodes[right].parent = Some(id);
                id
            }
        });
        self.nodes[piece.top].parent = parent;
    }

    #[recursive::recursive]
    fn tree(&self, id: usize) -> JoinTree {
        match self.nodes[id].inputs {
            None => JoinTree::Leaf(self.nodes[id].relation),
            Some([left, right]) => JoinTree::join(self.tree(left), self.tree(right)),
        }
    }
}
