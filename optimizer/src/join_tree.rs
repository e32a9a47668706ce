//! The result of a search: which relations are joined with which, in what order.

use crate::relset::{MAX_RELATIONS, RelSet};

/// A binary join tree over the relations of one region.
///
/// The left input of a join is the one that a hash join builds its table from. A tree has any number of relations, up to
/// thousands; [`relations`](Self::relations) and [`for_each_join`](Self::for_each_join) are for those that a [`RelSet`]
/// holds, [`fold`](Self::fold) is for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinTree {
    /// One relation, by index.
    Leaf(usize),
    /// The join of two trees with disjoint relations.
    Join(Box<JoinTree>, Box<JoinTree>),
}

/// What [`JoinTree::fold`] is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<T> {
    /// A relation, by index.
    Leaf(usize),
    /// A join, and what came of its left and its right input.
    Join(T, T),
}

impl JoinTree {
    /// The join of two trees.
    pub fn join(left: JoinTree, right: JoinTree) -> Self {
        Self::Join(Box::new(left), Box::new(right))
    }

    /// What `step` makes of the tree, inputs before outputs and left before right.
    // A left-deep tree of thousands of relations is as deep.
    #[recursive::recursive]
    pub fn fold<T>(&self, step: &mut impl FnMut(Step<T>) -> T) -> T {
        match self {
            Self::Leaf(index) => step(Step::Leaf(*index)),
            Self::Join(left, right) => {
                let left = left.fold(step);
                let right = right.fold(step);
                step(Step::Join(left, right))
            }
        }
    }

    /// The relations of the tree from left to right.
    pub fn leaves(&self) -> Vec<usize> {
        let mut leaves = vec![];
        self.fold(&mut |step| {
            if let Step::Leaf(index) = step {
                leaves.push(index);
            }
        });
        leaves
    }

    /// The relations of the tree; those that a [`RelSet`] cannot hold are left out.
    pub fn relations(&self) -> RelSet {
        self.for_each_join(&mut |_, _| ())
    }

    /// Calls `visit` with the relations of both inputs of every join, inputs before outputs, and returns the relations
    /// of the whole tree; those that a [`RelSet`] cannot hold are left out.
    pub fn for_each_join(&self, visit: &mut impl FnMut(RelSet, RelSet)) -> RelSet {
        self.fold(&mut |step| match step {
            Step::Leaf(index) if index < MAX_RELATIONS => RelSet::single(index),
            Step::Leaf(_) => RelSet::EMPTY,
            Step::Join(left, right) => {
                visit(left, right);
                left.union(right)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_are_visited_inputs_first() {
        let tree = JoinTree::join(
            JoinTree::join(JoinTree::Leaf(2), JoinTree::Leaf(0)),
            JoinTree::Leaf(1),
        );
        let mut seen = vec![];
        let all = tree.for_each_join(&mut |l, r| seen.push((l.bits(), r.bits())));
        assert_eq!(seen, [(0b100, 0b001), (0b101, 0b010)]);
        assert_eq!(all, tree.relations());
        assert_eq!(tree.leaves(), [2, 0, 1]);
    }

    #[test]
    fn a_deep_tree_fits_the_stack() {
        let n = 5_000;
        let tree = (1..n).fold(JoinTree::Leaf(0), |left, i| {
            JoinTree::join(left, JoinTree::Leaf(i))
        });
        assert_eq!(tree.leaves(), (0..n).collect::<Vec<_>>());
        assert_eq!(tree.relations(), RelSet::first_n(MAX_RELATIONS));
        assert!(tree.clone() == tree);
    }
}
