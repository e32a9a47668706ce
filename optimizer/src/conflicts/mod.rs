//! The conflict detector CD-C: Moerkotte, Fender & Eich, SIGMOD 2013.
//!
//! Inner joins may change places with each other as they like, others only where the result stays the same. From the
//! tree of joins as the query has it, the detector finds for each join which relations have to be on its sides, and
//! rules of the form "if one of these takes part, those have to". A join tree in which all joins obey returns what the
//! query's own tree returns.
//!
//! The detector looks at every pair of a join and one below it, and asks three questions: is
//! `(1 ∘a 2) ∘b 3 = 1 ∘a (2 ∘b 3)` (*assoc*), is `(1 ∘a 2) ∘b 3 = (1 ∘b 3) ∘a 2` (*l-asscom*), is
//! `1 ∘a (2 ∘b 3) = 2 ∘b (1 ∘a 3)` (*r-asscom*)?

use crate::join_graph::{ConflictRule, JoinKind, Operator};
use crate::relset::RelSet;

/// A tree of joins of all kinds.
#[derive(Debug, Clone)]
pub enum OperatorTree {
    /// One relation, by index.
    Leaf(usize),
    /// A join of two trees.
    Join(Box<OperatorNode>),
}

/// A join in a tree.
#[derive(Debug, Clone)]
pub struct OperatorNode {
    /// What it does with rows.
    pub kind: JoinKind,
    /// The relations that its predicate and its filter use.
    pub relations: RelSet,
    /// The relations among them for which NULL in all columns makes the predicate not true.
    pub rejects_null: RelSet,
    /// Whether an equality between the inputs is part of the predicate.
    pub keyed: bool,
    /// Rows of a left or full join are dropped by a filter that belongs to it, as for `NOT EXISTS (…) OR a.x = 1`. What
    /// the filter makes of NULLs is no part of `rejects_null`.
    pub filtered: bool,
    /// The join is inner and may stand anywhere as far as it is concerned: its predicates are edges of the graph, and
    /// it becomes no operator.
    pub free: bool,
    /// The left input.
    pub left: OperatorTree,
    /// The right input.
    pub right: OperatorTree,
}

impl OperatorTree {
    /// The relations of the tree.
    pub fn relations(&self) -> RelSet {
        match self {
            Self::Leaf(index) => RelSet::single(*index),
            Self::Join(node) => node.left.relations().union(node.right.relations()),
        }
    }

    /// The relations whose rows no join of the tree pads or hides: those that inner joins relate, and those of the left
    /// inputs of other joins that preserve them. The predicate of an inner join may be [free](OperatorNode::free) if it
    /// uses these alone, and so may what follows from such predicates.
    pub fn scope(&self) -> RelSet {
        match self {
            Self::Leaf(index) => RelSet::single(*index),
            Self::Join(node) => match node.kind {
                JoinKind::Inner => node.left.scope().union(node.right.scope()),
                JoinKind::Full => RelSet::EMPTY,
                JoinKind::Left | JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => {
                    node.left.scope()
                }
            },
        }
    }
}

/// The joins of a tree that are not [`free`](OperatorNode::free) with their conflicts, inputs before outputs, left
/// before right.
pub fn operators(tree: &OperatorTree) -> Vec<Operator> {
    let mut operators = vec![];
    visit(tree, &mut operators);
    operators
}

/// What the conflicts of a join need to know of one below it.
struct Below {
    class: Class,
    rejects_null: RelSet,
    left: RelSet,
    right: RelSet,
    /// What its predicate needs of either side: both are `left` and `right` where that is not certain.
    uses_left: RelSet,
    uses_right: RelSet,
}

/// Adds the operators of a tree, and returns what a join above it has to know of its joins.
fn visit(tree: &OperatorTree, operators: &mut Vec<Operator>) -> Vec<Below> {
    let OperatorTree::Join(node) = tree else {
        return vec![];
    };
    let below_left = visit(&node.left, operators);
    let below_right = visit(&node.right, operators);
    let (left, right) = (node.left.relations(), node.right.relations());
    let rejects_null = rejected(node.rejects_null, below_left.iter().chain(&below_right));
    if !node.free {
        let below = (&below_left[..], &below_right[..]);
        operators.push(operator(node, rejects_null, (left, right), below));
    }
    let used = |input: &OperatorTree| {
        let used = match node.free {
            // Predicates of free joins take other ways than the tree, but all within what is never padded.
            true => input.scope(),
            false => node.relations.intersect(input.relations()),
        };
        match used.is_empty() {
            true => input.relations(),
            false => used,
        }
    };
    let own = Below {
        class: Class::of(node),
        rejects_null,
        left,
        right,
        uses_left: used(&node.left),
        uses_right: used(&node.right),
    };
    below_left
        .into_iter()
        .chain(below_right)
        .chain([own])
        .collect()
}

/// The relations whose NULLs fail a predicate, given those whose NULLs do at once: a left join below that finds no
/// partner for NULLs pads its right input with more of them.
fn rejected<'a>(at_once: RelSet, below: impl Iterator<Item = &'a Below>) -> RelSet {
    let mut rejected = at_once;
    let padding: Vec<&Below> = below
        .filter(|b| matches!(b.class, Class::Left | Class::FilteredLeft))
        .collect();
    // Each join counts once at most, so that this ends; those further up come last, and are looked at first.
    for join in padding.iter().rev() {
        if join.right.intersects(rejected) {
            rejected = rejected.union(join.rejects_null.intersect(join.left));
        }
    }
    rejected
}

fn operator(
    node: &OperatorNode,
    rejects_null: RelSet,
    (left, right): (RelSet, RelSet),
    (below_left, below_right): (&[Below], &[Below]),
) -> Operator {
    let own = Class::of(node);
    let mut rules = vec![];
    let mut rule = |if_any, then_all| rules.push(ConflictRule { if_any, then_all });
    for a in below_left {
        let rejects = (a.rejects_null, rejects_null);
        if !assoc(a.class, own, rejects, a.right) {
            rule(a.right, a.uses_left);
        }
        if !l_asscom(a.class, own, rejects, a.left) {
            rule(a.left, a.uses_right);
        }
    }
    for a in below_right {
        let rejects = (rejects_null, a.rejects_null);
        if !assoc(own, a.class, rejects, a.left) {
            rule(a.left, a.uses_right);
        }
        if !r_asscom(own, a.class, rejects, a.right) {
            rule(a.right, a.uses_left);
        }
    }
    // A predicate that says nothing of one side is bound to all of it.
    let mut relations = node.relations;
    for side in [left, right] {
        if !relations.intersects(side) {
            relations = relations.union(side);
        }
    }
    // A rule that always applies is part of the eligibility set.
    let mut eligible = relations;
    loop {
        let more = rules
            .iter()
            .filter(|rule| rule.if_any.intersects(eligible))
            .fold(eligible, |all, rule| all.union(rule.then_all));
        if more == eligible {
            break;
        }
        eligible = more;
    }
    rules.retain(|rule| !rule.then_all.is_subset(eligible));
    Operator {
        kind: node.kind,
        relations,
        left: eligible.intersect(left),
        right: eligible.intersect(right),
        keyed: node.keyed,
        rules,
    }
}

/// What a join may change places with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Inner,
    /// Decides for each left row alone what becomes of it: semi, anti and mark joins.
    Restricting,
    Left,
    Full,
    /// A left join with a filter restricts its left rows, too, but its right ones are still there.
    FilteredLeft,
    /// A full join with a filter, which sees the padded rows of both inputs.
    FilteredFull,
}

impl Class {
    fn of(node: &OperatorNode) -> Self {
        match (node.kind, node.filtered) {
            (JoinKind::Inner, _) => Self::Inner,
            (JoinKind::Semi | JoinKind::Anti | JoinKind::Mark, _) => Self::Restricting,
            (JoinKind::Left, false) => Self::Left,
            (JoinKind::Left, true) => Self::FilteredLeft,
            (JoinKind::Full, false) => Self::Full,
            (JoinKind::Full, true) => Self::FilteredFull,
        }
    }

    /// Whether it decides for each left row alone what becomes of it, and makes rows of nothing else.
    fn by_left_row(self) -> bool {
        !matches!(self, Self::Full | Self::FilteredFull)
    }
}

/// `(1 ∘a 2) ∘b 3 = 1 ∘a (2 ∘b 3)`; `rejects` are the relations for which NULLs fail `a` and `b`, `two` is input 2.
fn assoc(a: Class, b: Class, rejects: (RelSet, RelSet), two: RelSet) -> bool {
    use Class::*;
    match (a, b) {
        (Inner, _) => b.by_left_row(),
        // A filter of a keeps or drops what b makes of a row as it does with the row.
        (Left | Full | FilteredLeft | FilteredFull, Left) => rejects.1.intersects(two),
        (Full, Full) => rejects.0.intersects(two) && rejects.1.intersects(two),
        _ => false,
    }
}

/// `(1 ∘a 2) ∘b 3 = (1 ∘b 3) ∘a 2`; `one` is input 1.
fn l_asscom(a: Class, b: Class, rejects: (RelSet, RelSet), one: RelSet) -> bool {
    use Class::*;
    match (a, b) {
        (Left, Full | FilteredFull) => rejects.0.intersects(one),
        (Full | FilteredFull, Left) => rejects.1.intersects(one),
        (Full, Full) => rejects.0.intersects(one) && rejects.1.intersects(one),
        _ => a.by_left_row() && b.by_left_row(),
    }
}

/// `1 ∘a (2 ∘b 3) = 2 ∘b (1 ∘a 3)`; `three` is input 3.
fn r_asscom(a: Class, b: Class, rejects: (RelSet, RelSet), three: RelSet) -> bool {
    use Class::*;
    match (a, b) {
        (Inner, Inner) => true,
        (Full, Full) => rejects.0.intersects(three) && rejects.1.intersects(three),
        _ => false,
    }
}

#[cfg(test)]
mod complete;
#[cfg(test)]
mod evaluate;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
