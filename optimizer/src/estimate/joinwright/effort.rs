//! How much work the estimates of a query are worth.

use crate::join_graph::JoinGraph;
use crate::relset::RelSet;
use std::collections::BTreeSet;

/// Joined rows to look at for a row of the query's tables while a query is planned: scanning and joining that row takes longer.
pub(super) const PLANNING: f64 = 0.005;
/// The same where time does not matter.
pub(super) const THOROUGH: f64 = 1.0;
/// Joined rows looked at for a query, at least and at most.
const JOINED_ROWS: (f64, f64) = (1_000.0, 2_000_000.0);
/// Joined rows that are kept of a set of relations, at least and at most.
const PARTICLES: (f64, f64) = (64.0, 1000.0);

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Effort {
    /// Joined rows that are kept of a set of relations.
    pub(super) particles: usize,
    /// Sets of more relations are estimated by what smaller ones say.
    pub(super) relations: usize,
}

impl Effort {
    /// For a query that is worth looking at so many joined rows.
    pub(super) fn new(joins: &JoinGraph, joined_rows: f64) -> Self {
        let joined_rows = joined_rows.clamp(JOINED_ROWS.0, JOINED_ROWS.1);
        let (relations, sets) = largest(joins, (joined_rows / PARTICLES.0) as usize);
        let particles = (joined_rows / sets.max(1) as f64).clamp(PARTICLES.0, PARTICLES.1);
        Self {
            particles: particles as usize,
            relations,
        }
    }
}

/// The largest number of relations such that there are at most `most` connected sets of up to so many, but two at least; and
/// the number of these sets.
fn largest(joins: &JoinGraph, most: usize) -> (usize, usize) {
    let mut level: BTreeSet<RelSet> = joins.all().iter().map(RelSet::single).collect();
    let (mut relations, mut sets) = (1, level.len());
    while relations < joins.len() {
        let mut next = BTreeSet::new();
        for set in &level {
            for neighbor in joins.neighborhood(*set).minus(*set).iter() {
                next.insert(set.union(RelSet::single(neighbor)));
            }
            if relations > 1 && sets + next.len() > most {
                return (relations, sets);
            }
        }
        relations += 1;
        sets += next.len();
        level = next;
    }
    (relations, sets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join_graph::EdgeKind;

    fn star(n: usize) -> JoinGraph {
        JoinGraph::new(n, (1..n).map(|i| (0, i, EdgeKind::Equality)))
    }

    #[test]
    fn sets_are_counted_by_size() {
        // 4 single relations, 3 pairs, 3 triples, one of all.
        assert_eq!(largest(&star(4), 100), (4, 11));
        assert_eq!(largest(&star(4), 10), (3, 10));
        assert_eq!(largest(&star(4), 9), (2, 7));
        // Pairs are always looked at.
        assert_eq!(largest(&star(4), 0), (2, 7));
        assert_eq!(largest(&star(1), 0), (1, 1));
    }

    #[test]
    fn many_relations_are_cut_short() {
        let effort = Effort::new(&star(60), 1e9);
        assert_eq!((effort.relations, effort.particles), (3, 1000));
        let effort = Effort::new(&star(5), 1e9);
        assert_eq!((effort.relations, effort.particles), (5, 1000));
        assert_eq!(Effort::new(&star(5), 0.0).particles, 66);
    }
}
