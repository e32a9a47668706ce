//! The guard: whether another order of joins is worth leaving the written one, if estimates err.
//!
//! An order that is cheaper by estimates may be dearer in truth. How far estimates err is known from where they come: see
//! [`spread`]. The guard looks at both orders in plausible worlds. In each world every relation has an error of its own, and a set of
//! relations has those of its members, so that sets with relations in common err alike, and a set that both orders join does
//! not tell between them. What counts is the share of worlds in which the new order is the cheaper one, and, for small gains, how
//! much dearer it would be where all rows are as many as they possibly can be. (Robust plans: Babcock and Chaudhuri, SIGMOD 2005.)

use crate::enumerate::Problem;
use crate::estimate::{Cardinalities, Estimate, EstimateSource, MIN_ROWS};
use crate::join_tree::JoinTree;
use crate::random::SplitMix;
use crate::relset::RelSet;

/// Worlds that are looked at, in pairs of opposite errors.
const WORLDS: u64 = 24;

/// Gains below this factor do not outweigh a worst case that is far worse.
const SMALL_GAIN: f64 = 2.0;
/// How much worse is far worse.
const FAR_WORSE: f64 = 100.0;

/// The standard deviation of the natural logarithm of estimated over true rows of a set of relations, divided by the square root of
/// their number.
///
/// Measured on the sub-plans of the Debian suite (`joinwright estimate`): 0.28 for samples, 0.2 to 0.4 for joined samples, 0.9
/// to 1.4 for formulas over numbers of distinct values, 1.0 to 3.0 where no statistic helps.
fn spread(source: EstimateSource) -> f64 {
    match source {
        EstimateSource::Exact => 0.0,
        EstimateSource::Histogram => 0.2,
        EstimateSource::Sample | EstimateSource::KeySample => 0.35,
        EstimateSource::MinMax | EstimateSource::Ndv => 1.2,
        EstimateSource::Bound | EstimateSource::Guess => 1.5,
    }
}

/// The share of plausible worlds in which `tree` costs less than the written one, within [0, 1].
pub(crate) fn share_won(problem: &Problem<'_>, tree: &JoinTree) -> f64 {
    let won = (0..WORLDS).filter(|world| {
        let errors = (0..problem.graph.len() as u64).map(|relation| error(relation, *world));
        let world = World {
            estimates: problem.cardinalities,
            errors: errors.collect(),
        };
        let there = Problem {
            cardinalities: &world,
            ..*problem
        };
        there.tree_cost(tree) < there.tree_cost(problem.written)
    });
    won.count() as f64 / WORLDS as f64
}

/// Whether `tree` gains little by estimates and may lose much where every set has as many rows as `bounds` allow.
pub(crate) fn is_reckless(
    problem: &Problem<'_>,
    tree: &JoinTree,
    bounds: impl FnOnce() -> Box<dyn Cardinalities>,
) -> bool {
    let gain = problem.tree_cost(problem.written) / problem.tree_cost(tree);
    if gain >= SMALL_GAIN {
        return false;
    }
    let bounds = bounds();
    let worst = Problem {
        cardinalities: bounds.as_ref(),
        ..*problem
    };
    let (new, written) = (worst.tree_cost(tree), worst.tree_cost(problem.written));
    new > FAR_WORSE * written
}

/// Estimates with errors.
#[derive(Debug)]
struct World<'a> {
    estimates: &'a dyn Cardinalities,
    /// Of each relation, in standard deviations.
    errors: Vec<f64>,
}

impl Cardinalities for World<'_> {
    fn estimate(&self, relations: RelSet) -> Estimate {
        let estimate = self.estimates.estimate(relations);
        let errors = relations.iter().filter_map(|r| self.errors.get(r));
        let factor = (spread(estimate.source) * errors.sum::<f64>()).exp();
        let most = estimate.upper_bound.unwrap_or(f64::MAX).max(MIN_ROWS);
        Estimate {
            rows: (estimate.rows * factor).clamp(MIN_ROWS, most),
            ..estimate
        }
    }
}

/// A number from the standard normal distribution, always the same one for a relation and a world: the sum of twelve uniform
/// numbers (Irwin–Hall). Every second world has the errors of the one before it with the other sign.
fn error(relation: u64, world: u64) -> f64 {
    let mut random = SplitMix::new((relation << 32) | (world / 2));
    let sum: f64 = (0..12).map(|_| random.unit()).sum();
    match world % 2 {
        0 => sum - 6.0,
        _ => 6.0 - sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cout;
    use crate::join_graph::{EdgeKind, JoinGraph};

    /// Rows by the bits of a set, all from one source.
    #[derive(Debug)]
    struct Given(EstimateSource, Vec<(u64, f64)>);

    impl Cardinalities for Given {
        fn estimate(&self, relations: RelSet) -> Estimate {
            let bits = relations.iter().fold(0, |bits, r| bits | 1 << r);
            let rows = self.1.iter().find(|known| known.0 == bits);
            Estimate {
                rows: rows.map_or(100.0, |known| known.1),
                source: self.0,
                upper_bound: None,
            }
        }
    }

    fn tree(first: usize, second: usize, third: usize) -> JoinTree {
        let pair = JoinTree::join(JoinTree::Leaf(first), JoinTree::Leaf(second));
        JoinTree::join(pair, JoinTree::Leaf(third))
    }

    /// A chain of three relations as written, whose two pairs have these rows; what the guard says of the other order.
    fn won(source: EstimateSource, written: f64, other: f64) -> f64 {
        let edges = [(0, 1, EdgeKind::Equality), (1, 2, EdgeKind::Equality)];
        let graph = JoinGraph::new(3, edges);
        let rows = Given(source, vec![(0b011, written), (0b110, other)]);
        let problem = Problem {
            graph: &graph,
            cardinalities: &rows,
            cost: &Cout,
            written: &tree(0, 1, 2),
            budget: 100,
        };
        share_won(&problem, &tree(1, 2, 0))
    }

    #[test]
    fn sure_gains_win_everywhere() {
        assert_eq!(won(EstimateSource::Exact, 1000.0, 900.0), 1.0);
        assert_eq!(won(EstimateSource::Exact, 900.0, 1000.0), 0.0);
        assert_eq!(won(EstimateSource::KeySample, 1e6, 10.0), 1.0);
    }

    #[test]
    fn small_gains_by_guesses_are_won_in_half_of_the_worlds() {
        let share = won(EstimateSource::Guess, 1100.0, 1000.0);
        assert!((0.3..=0.7).contains(&share), "{share}");
        assert!(won(EstimateSource::Guess, 3000.0, 1000.0) > share);
        assert!(
            won(EstimateSource::Sample, 3000.0, 1000.0)
                > won(EstimateSource::Guess, 3000.0, 1000.0)
        );
    }

    #[test]
    fn what_both_orders_join_does_not_tell_between_them() {
        let source = EstimateSource::Guess;
        let graph = JoinGraph::new(3, [(0, 1, EdgeKind::Equality), (1, 2, EdgeKind::Equality)]);
        let rows = Given(source, vec![(0b011, 10.0)]);
        let problem = Problem {
            graph: &graph,
            cardinalities: &rows,
            cost: &Cout,
            written: &tree(0, 1, 2),
            budget: 100,
        };
        assert_eq!(
            share_won(&problem, &tree(1, 0, 2)),
            0.0,
            "equal is not less"
        );
    }

    #[test]
    fn errors_are_normal_and_opposite() {
        let all: Vec<f64> = (0..200)
            .flat_map(|r| (0..WORLDS).map(move |w| error(r, w)))
            .collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|e| e * e).sum::<f64>() / all.len() as f64;
        assert!(
            mean.abs() < 1e-9 && (variance - 1.0).abs() < 0.1,
            "{mean} {variance}"
        );
        assert_eq!(error(3, 4), -error(3, 5));
    }

    #[test]
    fn a_far_worse_worst_case_outweighs_a_small_gain() {
        let graph = JoinGraph::new(3, [(0, 1, EdgeKind::Equality), (1, 2, EdgeKind::Equality)]);
        let reckless = |other: f64, bound: f64| {
            let rows = Given(
                EstimateSource::Sample,
                vec![(0b011, 1000.0), (0b110, other)],
            );
            let problem = Problem {
                graph: &graph,
                cardinalities: &rows,
                cost: &Cout,
                written: &tree(0, 1, 2),
                budget: 100,
            };
            let bounds = Given(EstimateSource::Bound, vec![(0b011, 2000.0), (0b110, bound)]);
            is_reckless(&problem, &tree(1, 2, 0), || Box::new(bounds))
        };
        assert!(reckless(900.0, 1e7));
        assert!(!reckless(900.0, 1e4));
        assert!(!reckless(10.0, 1e7));
    }
}
