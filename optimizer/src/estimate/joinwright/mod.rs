//! The default estimator: joins the rows that statistics know one by one.
//!
//! Sets of relations grow by one relation at a time. Of each set some joined rows are kept, with weights; all of them, where
//! there are no more. The next relation is looked up by key: exactly, where all its rows are known; in samples that hold all
//! rows of certain keys, where it is large; or by the degree of the key. So the correlation between joins is seen, not
//! assumed away: this is index-based join sampling (Leis et al., CIDR 2017) over statistics, with systematic resampling. Where it sees
//! little, what smaller sets say is the prior of a Bayesian estimate (Markov chaining).

mod chaining;
mod effort;
mod expansion;
pub(super) mod leaf;
mod lineage;
pub(super) mod members;
mod nodes;
mod particles;
mod posterior;
mod theta;

use self::chaining::Chaining;
use self::effort::{Effort, Work};
use self::leaf::Leaf;
use self::nodes::Nodes;
use self::posterior::Prior;
use self::theta::Theta;
use super::bound::Bounds;
use super::profile::MIN_ROWS;
use super::textbook::{self, restricted};
use super::{Cardinalities, CardinalityEstimator, Estimate, EstimateSource};
use crate::query_graph::QueryGraph;
use crate::relset::RelSet;
use foldhash::{HashMap, HashMapExt};
use std::cell::{LazyCell, RefCell};

/// The variance of the logarithm of what smaller sets say of a larger one: a factor of e either way. Between 0.5 and 4, joins of
/// STATS, TPC-DS and TPC-H are estimated as well.
const CHAINED: f64 = 1.0;
/// The same of formulas: a factor of 7 either way.
const FORMULA: f64 = 4.0;

/// Pairs of rows that a predicate across relations is evaluated on.
const PAIRS: usize = 512;

/// The default estimator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Joinwright;

impl CardinalityEstimator for Joinwright {
    fn name(&self) -> &str {
        "joinwright"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared::new(graph, Work::Planning, None))
    }

    fn prepare_thoroughly(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared::new(
            graph,
            Work::Thorough,
            Some(Bounds::new(graph)),
        ))
    }
}

/// Samples that hold all rows of certain keys, joined with each other (correlated sampling; Vengerov et al., VLDB 2015), and
/// nothing else: no degrees, no chaining. Where they run dry it falls back to [`Textbook`] with the rows that leaves have.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeySample;

impl CardinalityEstimator for KeySample {
    fn name(&self) -> &str {
        "keysample"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared::new(graph, Work::Planning, None).of_samples())
    }

    fn prepare_thoroughly(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared::new(graph, Work::Thorough, None).of_samples())
    }
}

#[derive(Debug)]
struct Prepared {
    nodes: Nodes,
    chaining: Chaining,
    /// Smaller sets are the prior of larger ones.
    chains: bool,
    textbook: textbook::Prepared,
    /// Only where there is time for them.
    bounds: Option<Bounds>,
    known: RefCell<HashMap<RelSet, Known>>,
}

/// What was estimated before.
#[derive(Debug, Clone, Copy)]
struct Known {
    estimate: Estimate,
    /// The logarithm of its rows.
    log: f64,
}

impl Prepared {
    fn new(graph: &QueryGraph, work: Work, bounds: Option<Bounds>) -> Self {
        let leaves: Vec<Leaf> = (0..graph.relations.len())
            .map(|at| Leaf::new(graph, at))
            .collect();
        let mut textbook = textbook_of(graph);
        let thetas = graph.filters.iter().enumerate().map(|(at, filter)| {
            let mut without = graph.clone();
            without.filters.retain(|other| other != filter);
            let without = textbook_of(&without);
            let share = textbook.rows(filter.relations) / without.rows(filter.relations);
            let mut theta = Theta::new(filter, graph, share.clamp(0.0, 1.0));
            if let Some(share) = theta.share_of_pairs(&leaves, PAIRS) {
                theta.selectivity = share;
                textbook.set_filter_share(at, share);
            }
            theta
        });
        let thetas: Vec<Theta> = thetas.collect();
        let joins = graph.join_graph();
        let of_thetas = thetas.iter().map(|theta| theta.relations).collect();
        let rows: f64 = leaves.iter().map(|leaf| leaf.base_rows).sum();
        let effort = Effort::new(&joins, rows, work);
        Self {
            chaining: Chaining::new(&joins, &leaves, of_thetas),
            chains: true,
            nodes: Nodes::new(leaves, thetas, effort),
            textbook,
            bounds,
            known: RefCell::new(HashMap::new()),
        }
    }

    /// Without degrees and without chaining.
    fn of_samples(mut self) -> Self {
        self.nodes.forget_degrees();
        self.chains = false;
        self
    }

    fn get(&self, set: RelSet) -> Known {
        if let Some(known) = self.known.borrow().get(&set) {
            return *known;
        }
        let mut estimate = self.make(set);
        let leaves = &self.nodes.leaves;
        let product: f64 = set.iter().map(|r| leaves[r].base_rows).product();
        estimate.rows = estimate.rows.min(product).clamp(MIN_ROWS, f64::MAX);
        if let Some(bounds) = &self.bounds {
            let bound = bounds.upper_bound(set);
            estimate.upper_bound = bound.is_finite().then_some(bound);
            estimate.rows = estimate.rows.min(bound.max(MIN_ROWS));
        }
        let log = estimate.rows.ln();
        let known = Known { estimate, log };
        self.known.borrow_mut().insert(set, known);
        known
    }

    fn make(&self, set: RelSet) -> Estimate {
        let of = |rows, source| Estimate {
            rows,
            source,
            upper_bound: None,
        };
        if let (Some(relation), 1) = (set.first(), set.len()) {
            let leaf = &self.nodes.leaves[relation];
            return of(leaf.rows, leaf.source);
        }
        let component = self.chaining.component(set);
        if component != set {
            let rest = self.get(set.minus(component)).estimate.rows;
            let rows = self.get(component).estimate.rows * rest;
            return of(rows, EstimateSource::Sample);
        }
        if self.chains && set.len() > self.nodes.effort.relations {
            return of(
                self.prior(set).median.max(MIN_ROWS),
                EstimateSource::KeySample,
            );
        }
        // Hits, and how many a row would give: what the lineages saw adds up (see [`posterior`]).
        let (mut hits, mut exposure) = (0.0, 0.0);
        let mut exact = None;
        let mut level = 0;
        let prior = LazyCell::new(|| self.prior(set));
        for (assumed, lineage) in self.nodes.lineages_of(set) {
            // The others count only if those that assume less saw nothing.
            if assumed > level && hits > 0.0 || hits >= self.nodes.effort.hits {
                break;
            }
            level = assumed;
            let node = self.nodes.get(set, lineage, &self.chaining);
            let variance = node.variance();
            if variance == 0.0 {
                exact = Some(node.rows);
                break;
            }
            if node.rows > 0.0 && variance.is_finite() {
                // Of keys that have fewer rows than expected many have none: few are seen where there are some.
                let keys = self.nodes.keys(set, lineage);
                let seen = match keys.is_finite() {
                    true => (keys * node.rows / prior.median).min(1.0 / variance),
                    false => 1.0 / variance,
                };
                hits += seen;
                exposure += seen / node.rows;
            } else if node.unit.is_finite()
                && node.assumed == 0
                && !self.nodes.lacks_rows(set, lineage)
            {
                exposure += 1.0 / node.unit;
            }
        }
        let rows = match exact {
            Some(rows) => rows,
            None => prior.updated(hits, exposure),
        };
        of(rows.max(MIN_ROWS), EstimateSource::KeySample)
    }

    /// What is expected of a connected set without looking at its joined rows.
    fn prior(&self, set: RelSet) -> Prior {
        if self.chains
            && let Some(log) = self.chaining.log_rows(set, |subset| self.get(subset).log)
        {
            return Prior {
                median: log.exp(),
                variance: CHAINED,
            };
        }
        let textbook = |set| self.textbook.rows(set);
        let mut rows = textbook(set);
        for relation in set.iter() {
            let alone = RelSet::single(relation);
            rows *= self.nodes.leaves[relation].rows / textbook(alone);
        }
        Prior {
            median: rows,
            variance: FORMULA,
        }
    }
}

/// Formulas for joins, to start from where no joined rows are seen.
fn textbook_of(graph: &QueryGraph) -> textbook::Prepared {
    textbook::Prepared::new(graph, graph.relations.iter().map(restricted).collect())
}

impl Cardinalities for Prepared {
    fn estimate(&self, relations: RelSet) -> Estimate {
        self.get(relations).estimate
    }
}
