//! The default estimator: joins the rows that statistics know one by one.
//!
//! Sets of relations grow by one relation at a time. Of each set a thousand joined rows are kept, with weights; all of them, where
//! there are no more. The next relation is looked up by key: exactly, where all its rows are known; in samples that hold all
//! rows of certain keys, where it is large; or by the degree of the key. So the correlation between joins is seen, not
//! assumed away: this is index-based join sampling (Leis et al., CIDR 2017) over statistics, with systematic resampling. Where it sees
//! little, what smaller sets say is the prior of a Gamma–Poisson estimate (Markov chaining).

mod leaf;
mod particles;

use self::leaf::Leaf;
use self::particles::{Lineage, Particles, join, start};
use super::profile::MIN_ROWS;
use super::textbook::Textbook;
use super::{Cardinalities, CardinalityEstimator, Estimate, EstimateSource};
use crate::join_graph::JoinGraph;
use crate::query_graph::QueryGraph;
use crate::relset::RelSet;
use foldhash::{HashMap, HashMapExt};
use std::cell::RefCell;
use std::rc::Rc;

/// Hits that the prior counts for (the shape of a Gamma distribution).
const PRIOR_HITS: f64 = 1.0;

/// The default estimator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Joinwright;

impl CardinalityEstimator for Joinwright {
    fn name(&self) -> &str {
        "joinwright"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared::new(graph))
    }
}

/// What is known of a set of relations in one lineage.
#[derive(Debug)]
struct Node {
    rows: f64,
    /// One over the number of independent hits; zero if every row was counted.
    error: f64,
    /// Relations of which only degrees were used.
    by_degree: usize,
    particles: Option<Particles>,
    complete: bool,
}

#[derive(Debug)]
struct Prepared {
    leaves: Vec<Leaf>,
    joins: JoinGraph,
    lineages: Vec<Lineage>,
    filters: Vec<(RelSet, f64)>,
    textbook: Box<dyn Cardinalities>,
    nodes: RefCell<HashMap<(RelSet, usize), Rc<Node>>>,
    estimates: RefCell<HashMap<RelSet, Estimate>>,
}

impl Prepared {
    fn new(graph: &QueryGraph) -> Self {
        let leaves: Vec<Leaf> = (0..graph.relations.len())
            .map(|at| Leaf::new(graph, at))
            .collect();
        let coordinated =
            (0..graph.classes.len()).filter(|c| leaves.iter().any(|l| l.by_key[*c].is_some()));
        let lineages = [None]
            .into_iter()
            .chain(coordinated.map(Some))
            .map(|class| Lineage::new(&leaves, class))
            .collect();
        let textbook = Textbook.prepare(graph);
        let filters = graph
            .filters
            .iter()
            .map(|filter| (filter.relations, 1.0))
            .collect();
        Self {
            leaves,
            joins: graph.join_graph(),
            lineages,
            filters,
            textbook,
            nodes: RefCell::default(),
            estimates: RefCell::new(HashMap::new()),
        }
    }

    fn components(&self, set: RelSet) -> Vec<RelSet> {
        let mut left = set;
        let mut components = vec![];
        while let Some(first) = left.first() {
            let mut component = RelSet::single(first);
            loop {
                let more = self.joins.neighborhood(component).intersect(left);
                if more.minus(component).is_empty() {
                    break;
                }
                component = component.union(more);
            }
            left = left.minus(component);
            components.push(component);
        }
        components
    }

    /// The lineage that a set has in `lineage`: without a coordinated relation, the plain one.
    fn effective(&self, set: RelSet, lineage: usize) -> usize {
        let coordinated = set.iter().any(|r| self.lineages[lineage].share[r] < 1.0);
        if coordinated { lineage } else { 0 }
    }

    fn node(&self, set: RelSet, lineage: usize) -> Rc<Node> {
        let lineage = self.effective(set, lineage);
        if let Some(node) = self.nodes.borrow().get(&(set, lineage)) {
            return Rc::clone(node);
        }
        let node = Rc::new(self.make_node(set, lineage));
        self.nodes
            .borrow_mut()
            .insert((set, lineage), Rc::clone(&node));
        node
    }

    fn make_node(&self, set: RelSet, at: usize) -> Node {
        let lineage = &self.lineages[at];
        if set.len() == 1
            && let Some(relation) = set.first()
        {
            let leaf = &self.leaves[relation];
            let Some(view) = &lineage.views[relation] else {
                return Node {
                    rows: leaf.rows,
                    error: 1.0,
                    by_degree: 1,
                    particles: None,
                    complete: false,
                };
            };
            let (particles, complete) = start(relation, view);
            let exact = view.is_all();
            return Node {
                rows: leaf.rows,
                error: if exact {
                    0.0
                } else {
                    1.0 / view.passing.max(1) as f64
                },
                by_degree: usize::from(lineage.by_degree[relation]),
                particles: Some(particles),
                complete: complete && exact,
            };
        }
        // What is left when one relation is taken away: the fewer hits were lost before, and the fewer rows, the better.
        let mut best: Option<(Rc<Node>, usize)> = None;
        for relation in set.iter() {
            let rest = set.minus(RelSet::single(relation));
            if !self.joins.is_connected(rest) || lineage.views[relation].is_none() {
                continue;
            }
            let node = self.node(rest, at);
            if node.particles.is_none() {
                continue;
            }
            let key = |n: &Node, r: usize| {
                (
                    n.by_degree + usize::from(lineage.by_degree[r]),
                    n.error,
                    n.rows,
                )
            };
            let better = best
                .as_ref()
                .is_none_or(|(other, last)| key(&node, relation) < key(other, *last));
            if better {
                best = Some((node, relation));
            }
        }
        let failed = Node {
            rows: f64::NAN,
            error: f64::INFINITY,
            by_degree: set.len(),
            particles: None,
            complete: false,
        };
        let Some((from, relation)) = best else {
            return failed;
        };
        let Some(particles) = &from.particles else {
            return failed;
        };
        let Some(joined) = join(particles, &self.leaves, lineage, relation) else {
            return failed;
        };
        let sampled = lineage.share[relation] < 1.0 || lineage.by_degree[relation];
        let exact = from.complete && !sampled && joined.exact;
        Node {
            rows: joined.rows,
            error: if exact {
                0.0
            } else {
                joined.concentration.max(from.error)
            },
            by_degree: from.by_degree + usize::from(lineage.by_degree[relation]),
            complete: from.complete && joined.complete && !sampled,
            particles: Some(joined.particles),
        }
    }

    fn rows_of(&self, set: RelSet) -> f64 {
        self.get(set).rows
    }

    fn get(&self, set: RelSet) -> Estimate {
        if let Some(estimate) = self.estimates.borrow().get(&set) {
            return *estimate;
        }
        let estimate = self.make(set);
        self.estimates.borrow_mut().insert(set, estimate);
        estimate
    }

    fn make(&self, set: RelSet) -> Estimate {
        if set.len() == 1
            && let Some(relation) = set.first()
        {
            let leaf = &self.leaves[relation];
            return Estimate {
                rows: leaf.rows,
                source: leaf.source,
                upper_bound: None,
            };
        }
        let components = self.components(set);
        if components.len() > 1 {
            let rows = components.iter().map(|c| self.rows_of(*c)).product();
            return Estimate {
                rows,
                source: EstimateSource::Sample,
                upper_bound: None,
            };
        }
        let mut best: Option<Rc<Node>> = None;
        for lineage in 0..self.lineages.len() {
            if lineage > 0 && self.effective(set, lineage) == 0 {
                continue;
            }
            let node = self.node(set, lineage);
            let key = |n: &Node| (n.by_degree, n.error);
            if best.as_ref().is_none_or(|best| key(&node) < key(best)) {
                best = Some(node);
            }
        }
        let rows = match best {
            Some(node) if node.error == 0.0 => node.rows,
            Some(node) if node.rows.is_finite() => {
                let prior = self.prior(set);
                let hits = 1.0 / node.error;
                let unit = node.rows / hits;
                if hits > 0.0 && node.rows > 0.0 {
                    unit * (PRIOR_HITS + hits) / (1.0 + PRIOR_HITS * unit / prior)
                } else {
                    prior * 0.5
                }
            }
            _ => self.prior(set),
        };
        Estimate {
            rows: rows.max(MIN_ROWS),
            source: EstimateSource::KeySample,
            upper_bound: None,
        }
    }

    /// What smaller sets say (Markov chaining).
    fn prior(&self, set: RelSet) -> f64 {
        let mut logs = 0.0;
        let mut count = 0;
        for a in set.iter() {
            let without_a = set.minus(RelSet::single(a));
            if !self.joins.is_connected(without_a) {
                continue;
            }
            for b in set.iter().filter(|b| *b > a) {
                if self.joins.neighbors(a).contains(b) {
                    continue;
                }
                let without_b = set.minus(RelSet::single(b));
                let without_both = without_a.intersect(without_b);
                if without_both.is_empty()
                    || !self.joins.is_connected(without_b)
                    || !self.joins.is_connected(without_both)
                {
                    continue;
                }
                logs += (self.rows_of(without_a) * self.rows_of(without_b)
                    / self.rows_of(without_both))
                .ln();
                count += 1;
            }
        }
        if count > 0 {
            return (logs / f64::from(count)).exp();
        }
        let textbook = |set| self.textbook.rows(set);
        let mut rows = textbook(set);
        for relation in set.iter() {
            let alone = RelSet::single(relation);
            rows *= self.rows_of(alone) / textbook(alone);
        }
        rows
    }
}

impl Cardinalities for Prepared {
    fn estimate(&self, relations: RelSet) -> Estimate {
        self.get(relations)
    }
}
