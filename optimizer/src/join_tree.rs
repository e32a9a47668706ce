//! The result of a search: which relations are joined with which, in what order.

use crate::relset::RelSet;

/// A binary join tree over the relations of one region.
///
/// The left input of a join is the one that a hash join builds its table from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinTree {
    /// One relation, by index.
    Leaf(usize),
    /// The join of two trees with disjoint relations.
    Join(Box<JoinTree>, Box<JoinTree>),
}

impl JoinTree {
    /// The join of two trees.
    pub fn join(left: JoinTree, right: JoinTree) -> Self {
        Self::Join(Box::new(left), Box::new(right))
    }

    /// The relations of the tree.
    pub fn relations(&self) -> RelSet {
        match self {
            Self::Leaf(index) => RelSet::single(*index),
            Self::Join(left, right) => left.relations().union(right.relations()),
        }
    }

    /// Calls `visit` with the relations of both inputs of every join, inputs before outputs, and
    /// returns the relations of the whole tree.
    pub fn for_each_join(&self, visit: &mut impl FnMut(RelSet, RelSet)) -> RelSet {
        match self {
            Self::Leaf(index) => RelSet::single(*index),
            Self::Join(left, right) => {
                let left = left.for_each_join(visit);
                let right = right.for_each_join(visit);
                visit(left, right);
                left.union(right)
            }
        }
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
    }
}
