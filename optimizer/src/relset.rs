//! Sets of relations as one machine word.
//!
//! Search looks at many thousands of sets; a word makes union, difference and the subset test one
//! instruction each, and the set itself the key of the plan table.

use std::fmt;

/// The most relations one [`RelSet`] can hold, and so the most that one region has.
pub const MAX_RELATIONS: usize = 64;

/// A set of relations of one region, by index.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelSet(u64);

impl RelSet {
    /// The set of no relation.
    pub const EMPTY: Self = Self(0);

    /// The set with the given bits; bit `i` stands for relation `i`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set's bits; bit `i` stands for relation `i`.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set of relation `index` alone. `index` must be below [`MAX_RELATIONS`].
    pub const fn single(index: usize) -> Self {
        debug_assert!(index < MAX_RELATIONS);
        Self(1 << index)
    }

    /// The relations `0..count`; `count` must be at most [`MAX_RELATIONS`].
    pub const fn first_n(count: usize) -> Self {
        debug_assert!(count <= MAX_RELATIONS);
        if count >= MAX_RELATIONS {
            Self(u64::MAX)
        } else {
            Self((1 << count) - 1)
        }
    }

    /// Whether the set has no relation.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of relations in the set.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether relation `index` is in the set.
    pub const fn contains(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }

    /// Whether every relation of the set is in `other`.
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether the two sets share a relation.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The relations in either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The relations in both sets.
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The relations of this set that are not in `other`.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The lowest relation, if there is one.
    pub const fn first(self) -> Option<usize> {
        if self.0 == 0 {
            None
        } else {
            Some(self.0.trailing_zeros() as usize)
        }
    }

    /// The highest relation, if there is one.
    pub const fn last(self) -> Option<usize> {
        if self.0 == 0 {
            None
        } else {
            Some(63 - self.0.leading_zeros() as usize)
        }
    }

    /// The relations of the set, from the lowest up.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let index = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            Some(index)
        })
    }

    /// The non-empty subsets of the set, itself the last, in increasing order of their bits: a
    /// subset comes before all its supersets (Vance & Maier, SIGMOD 1996).
    pub fn subsets(self) -> impl Iterator<Item = RelSet> {
        let all = self.0;
        let mut current = 0_u64;
        std::iter::from_fn(move || {
            if current == all {
                return None;
            }
            current = current.wrapping_sub(all) & all;
            Some(RelSet(current))
        })
    }
}

impl FromIterator<usize> for RelSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        indexes
            .into_iter()
            .fold(Self::EMPTY, |set, index| set.union(Self::single(index)))
    }
}

impl fmt::Debug for RelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_come_before_their_supersets() {
        let set: RelSet = [0, 3, 5].into_iter().collect();
        let subsets: Vec<RelSet> = set.subsets().collect();
        assert_eq!(subsets.len(), 7);
        assert_eq!(subsets.last(), Some(&set));
        for (i, a) in subsets.iter().enumerate() {
            assert!(a.is_subset(set) && !a.is_empty());
            assert!(subsets[..i].iter().all(|b| !a.is_subset(*b)));
        }
        assert_eq!(RelSet::EMPTY.subsets().count(), 0);
    }

    #[test]
    fn the_largest_set_fits() {
        let all = RelSet::first_n(MAX_RELATIONS);
        assert_eq!(all.len(), MAX_RELATIONS);
        assert_eq!(all.iter().last(), Some(MAX_RELATIONS - 1));
        assert!(RelSet::single(63).is_subset(all));
    }
}
