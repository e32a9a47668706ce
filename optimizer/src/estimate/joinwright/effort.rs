//! How much work the estimates of a query are worth.

use crate::join_graph::JoinGraph;
use crate::relset::RelSet;
use std::collections::BTreeSet;

/// What estimates are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// A query waits to be planned: a joined row takes about 0.1 µs to look at, so 4,096 of them 0.4 ms.
    Planning,
    /// Somebody studies estimates and can wait.
    Thorough,
}

/// Joined rows that are looked at for a query, but `FEWEST` a set.
const PLANNED_ROWS: f64 = 4096.0;
/// Relations of the largest sets that are looked at. Correlation between two relations comes through the one or two
/// that join them, so that chaining loses little above.
const PLANNED_RELATIONS: usize = 4;
/// Sets that are looked at. A query with more of them takes longer to search than to look at these.
const PLANNED_SETS: usize = 512;
/// Joined rows that are kept of a set at most.
const PLANNED_MOST: f64 = 512.0;
/// Hits that are enough: what they say has a relative standard error of a fourth.
const PLANNED_HITS: f64 = 16.0;

/// Where time does not matter, the joined rows to look at for each row of the query's tables,
const THOROUGH_SHARE: f64 = 1.0;
/// for a query, at least and at most,
const THOROUGH_ROWS: (f64, f64) = (1_000.0, 2_000_000.0);
/// and what is kept of a set at most.
const THOROUGH_MOST: f64 = 1000.0;

/// Joined rows that are kept of a set at least: with so many independent ones the relative standard error is an eighth.
const FEWEST: f64 = 64.0;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Effort {
    /// Joined rows that are kept of a set of relations.
    pub(super) particles: usize,
    /// Rows looked at for each of them in a join.
    pub(super) looks: usize,
    /// Sets of more relations are estimated by what smaller ones say.
    pub(super) relations: usize,
    /// Independent hits that are enough: no further lineage is looked at.
    pub(super) hits: f64,
}

impl Effort {
    /// For a query of tables with so many rows.
    pub(super) fn new(joins: &JoinGraph, rows: f64, work: Work) -> Self {
        match work {
            Work::Planning => {
                let (relations, sets) = largest(joins, PLANNED_SETS, PLANNED_RELATIONS);
                let particles = (PLANNED_ROWS / sets.max(1) as f64).clamp(FEWEST, PLANNED_MOST);
                Self {
                    particles: particles as usize,
                    looks: 4,
                    relations,
                    hits: PLANNED_HITS,
                }
            }
            Work::Thorough => {
                let joined_rows = (rows * THOROUGH_SHARE).clamp(THOROUGH_ROWS.0, THOROUGH_ROWS.1);
                let most = (joined_rows / FEWEST) as usize;
                let (relations, sets) = largest(joins, most, joins.len());
                let particles = (joined_rows / sets.max(1) as f64).clamp(FEWEST, THOROUGH_MOST);
                Self {
                    particles: particles as usize,
                    looks: 8,
                    relations,
                    hits: f64::INFINITY,
                }
            }
        }
    }
}

/// The largest number of relations such that there are at most `most` connected sets of up to so many, but two at least; and
/// the number of these sets. No more relations than `limit`.
fn largest(joins: &JoinGraph, most: usize, limit: usize) -> (usize, usize) {
    let mut level: BTreeSet<RelSet> = joins.all().iter().map(RelSet::single).collect();
    let (mut relations, mut sets) = (1, level.len());
    while relations < joins.len().min(limit) {
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
        assert_eq!(largest(&star(4), 100, 9), (4, 11));
        assert_eq!(largest(&star(4), 10, 9), (3, 10));
        assert_eq!(largest(&star(4), 9, 9), (2, 7));
        // Pairs are always looked at.
        assert_eq!(largest(&star(4), 0, 9), (2, 7));
        assert_eq!(largest(&star(1), 0, 9), (1, 1));
    }

    #[test]
    fn many_relations_are_cut_short() {
        let effort = |n, rows, work| {
            let effort = Effort::new(&star(n), rows, work);
            (effort.relations, effort.particles)
        };
        assert_eq!(effort(60, 1e9, Work::Thorough), (3, 1000));
        assert_eq!(effort(5, 1e9, Work::Thorough), (5, 1000));
        assert_eq!(effort(5, 0.0, Work::Thorough), (3, 66));
        assert_eq!(effort(60, 1e9, Work::Planning), (2, 64));
        assert_eq!(effort(10, 1e9, Work::Planning), (4, 64));
        assert_eq!(effort(3, 1e9, Work::Planning), (3, 512));
    }
}
