//! The default estimator: joins the rows that statistics know one by one.
//!
//! Sets of relations grow by one relation at a time. Of each set a thousand joined rows are kept, with weights; all of them, where
//! there are no more. The next relation is looked up by key: exactly, where all its rows are known; in samples that hold all
//! rows of certain keys, where it is large; or by the degree of the key. So the correlation between joins is seen, not
//! assumed away: this is index-based join sampling (Leis et al., CIDR 2017) over statistics, with systematic resampling. Where it sees
//! little, what smaller sets say is the prior of a Gamma–Poisson estimate (Markov chaining).

mod effort;
pub(super) mod leaf;
mod members;
mod particles;
mod theta;

use self::effort::{Effort, PLANNING, THOROUGH};
use self::leaf::Leaf;
use self::particles::{Lineage, Particles, coordination, join, start};
use self::theta::Theta;
use super::bound::Bounds;
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

/// Relations of a query up to which chaining looks at all pairs of a set.
const ALL_PAIRS: usize = 13;

/// What it adds to the relative variance of an estimate to take a relation's predicates for independent of the rest.
const INDEPENDENCE: f64 = 1.0;

/// The default estimator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Joinwright;

impl CardinalityEstimator for Joinwright {
    fn name(&self) -> &str {
        "joinwright"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared::new(graph, PLANNING, None))
    }

    fn prepare_thoroughly(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared::new(graph, THOROUGH, Some(Bounds::new(graph))))
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
        Box::new(Prepared::new(graph, PLANNING, None).of_samples())
    }

    fn prepare_thoroughly(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared::new(graph, THOROUGH, None).of_samples())
    }
}

/// What is known of a set of relations in one lineage.
#[derive(Debug)]
struct Node {
    rows: f64,
    /// Rows that one hit stands for.
    unit: f64,
    /// One over the number of independent hits; zero if every row was counted.
    error: f64,
    /// Relations whose predicates were taken for independent of their keys.
    assumed: usize,
    particles: Option<Particles>,
    complete: bool,
}

#[derive(Debug)]
struct Prepared {
    leaves: Vec<Leaf>,
    joins: JoinGraph,
    lineages: Vec<Lineage>,
    thetas: Vec<Theta>,
    textbook: Box<dyn Cardinalities>,
    effort: Effort,
    /// Only where there is time for them.
    bounds: Option<Bounds>,
    /// Smaller sets are the prior of larger ones.
    chaining: bool,
    nodes: RefCell<HashMap<(RelSet, usize), Rc<Node>>>,
    estimates: RefCell<HashMap<RelSet, Estimate>>,
}

impl Prepared {
    fn new(graph: &QueryGraph, joined_rows: f64, bounds: Option<Bounds>) -> Self {
        let leaves: Vec<Leaf> = (0..graph.relations.len())
            .map(|at| Leaf::new(graph, at))
            .collect();
        let coordinated = (0..graph.classes.len()).filter(|c| {
            leaves
                .iter()
                .any(|leaf| leaf.by_key[*c].is_some() || leaf.uniform_by_key[*c])
        });
        let classes: Vec<_> = [None].into_iter().chain(coordinated.map(Some)).collect();
        let both = match leaves
            .iter()
            .any(|leaf| leaf.rated && leaf.uniform.is_some())
        {
            true => &[false, true][..],
            false => &[false],
        };
        let lineages = both
            .iter()
            .flat_map(|exact| classes.iter().map(move |class| (*class, *exact)))
            .map(|(class, exact)| Lineage::new(&leaves, class, exact))
            .collect();
        let textbook = Textbook.prepare(graph);
        let thetas = graph
            .filters
            .iter()
            .map(|filter| {
                let mut without = graph.clone();
                without.filters.retain(|other| other != filter);
                let without = Textbook.prepare(&without);
                let share = textbook.rows(filter.relations) / without.rows(filter.relations);
                Theta::new(filter, graph, share.clamp(0.0, 1.0))
            })
            .collect();
        let joins = graph.join_graph();
        let rows: f64 = leaves.iter().map(|leaf| leaf.base_rows).sum();
        Self {
            effort: Effort::new(&joins, rows * joined_rows),
            bounds,
            chaining: true,
            leaves,
            joins,
            lineages,
            thetas,
            textbook,
            nodes: RefCell::default(),
            estimates: RefCell::new(HashMap::new()),
        }
    }

    /// Without degrees and without chaining.
    fn of_samples(mut self) -> Self {
        self.lineages.iter_mut().for_each(Lineage::forget_degrees);
        self.chaining = false;
        self
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

    /// The first lineage that looks up the relations of a set as `lineage` does.
    fn effective(&self, set: RelSet, lineage: usize) -> usize {
        let this = &self.lineages[lineage];
        let same = |other: &Lineage| {
            set.iter()
                .all(|r| other.share[r] == this.share[r] && other.sampled[r] == this.sampled[r])
        };
        let mut others = self.lineages[..lineage].iter();
        others.position(same).unwrap_or(lineage)
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

    /// Relations of a set whose predicates, or whose keys, are taken for independent of the rest.
    fn assumptions(&self, set: RelSet, lineage: &Lineage) -> usize {
        let assumed = |r: &usize| {
            let others = set.minus(RelSet::single(*r));
            let is_joined = |class: &usize| {
                self.leaves[*r].member[*class]
                    && others.iter().any(|other| self.leaves[other].member[*class])
            };
            let classes = || (0..self.leaves[*r].member.len()).filter(is_joined);
            lineage.assumed[*r] || lineage.by_degree[*r] && classes().count() > 1
        };
        set.iter().filter(assumed).count()
    }

    /// The relative second moment of the degrees that joined rows of a set find in a relation: so many times more of them have to
    /// be drawn than if every key had as many rows. 1 where the degrees are not known.
    fn skew(&self, set: RelSet, relation: usize) -> f64 {
        let leaf = &self.leaves[relation];
        let joined = |class: &usize| {
            leaf.member[*class] && set.iter().any(|other| self.leaves[other].member[*class])
        };
        let classes = (0..leaf.member.len()).filter(joined);
        let first = classes.max_by(|a, b| leaf.distinct[*a].total_cmp(&leaf.distinct[*b]));
        let Some((class, degrees)) = first.and_then(|c| Some((c, leaf.degrees[c].as_ref()?)))
        else {
            return 1.0;
        };
        let moment = leaf.distinct[class] * (degrees.norms[1] / degrees.norms[0]).powi(2);
        if moment.is_finite() {
            moment.max(1.0)
        } else {
            1.0
        }
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
                    unit: leaf.rows,
                    error: 1.0,
                    assumed: 1,
                    particles: None,
                    complete: false,
                };
            };
            let (particles, complete) = start(relation, view, self.effort.particles);
            let all = view.is_all();
            return Node {
                rows: leaf.rows,
                unit: view.scale * lineage.cluster(leaf, relation),
                error: if all {
                    0.0
                } else {
                    1.0 / view.passing.max(1) as f64
                },
                assumed: self.assumptions(set, lineage),
                particles: Some(particles),
                complete: complete && all,
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
                let before = set.minus(RelSet::single(r));
                let assumed = self.assumptions(before, lineage);
                let particles = n.particles.as_ref();
                // Of the hits there are, a join with a sample keeps some.
                let drawn = match n.complete {
                    true => 0.0,
                    false => 1.0 / particles.map_or(1, Particles::len).max(1) as f64,
                };
                let factor = particles.map_or(1.0, |p| coordination(p, lineage, r));
                let drawn = drawn * self.skew(before, r);
                (
                    (n.error + drawn) * factor + INDEPENDENCE * assumed as f64,
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
            unit: f64::INFINITY,
            error: f64::INFINITY,
            assumed: set.len(),
            particles: None,
            complete: false,
        };
        let Some((from, relation)) = best else {
            return failed;
        };
        let Some(particles) = &from.particles else {
            return failed;
        };
        let Some(mut joined) = join(
            particles,
            &self.leaves,
            lineage,
            relation,
            !from.complete,
            self.effort.particles,
        ) else {
            return failed;
        };
        let sampled = lineage.sampled[relation] || lineage.by_degree[relation];
        let mut exact = from.complete && !lineage.sampled[relation] && joined.exact;
        let rest = set.minus(RelSet::single(relation));
        for theta in &self.thetas {
            if !theta.relations.is_subset(set) || theta.relations.is_subset(rest) {
                continue;
            }
            let seen = joined.particles.len() as f64;
            if seen == 0.0 {
                // Nothing is left that it could drop; of what was not seen it leaves its share.
                if !joined.complete {
                    joined.rows *= theta.selectivity;
                }
                continue;
            }
            match theta.restrict(&mut joined.particles, lineage) {
                // None of the rows that were looked at passes: half a row would.
                Some(0.0) if !joined.complete => joined.rows *= 0.5 / seen,
                Some(share) => joined.rows *= share,
                None => {
                    joined.rows *= theta.selectivity;
                    joined
                        .particles
                        .weights
                        .iter_mut()
                        .for_each(|w| *w *= theta.selectivity);
                    joined.complete = false;
                }
            }
            let left = joined.particles.len().max(1) as f64;
            joined.concentration = joined.concentration.max(1.0 / left);
            exact &= joined.complete;
        }
        // Rows that were drawn from few hits are no more than these.
        let error = joined.concentration.max(from.error);
        let unit = match joined.rows > 0.0 {
            true => joined.rows * error,
            false => from
                .unit
                .max(joined.unit * lineage.cluster(&self.leaves[relation], relation)),
        };
        Node {
            rows: joined.rows,
            unit,
            error: if exact {
                0.0
            } else {
                joined.concentration.max(from.error)
            },
            assumed: self.assumptions(set, lineage),
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
        let mut estimate = self.make(set);
        let product: f64 = set.iter().map(|r| self.leaves[r].base_rows).product();
        estimate.rows = estimate.rows.min(product).clamp(MIN_ROWS, f64::MAX);
        if let Some(bounds) = &self.bounds {
            let bound = bounds.upper_bound(set);
            estimate.upper_bound = bound.is_finite().then_some(bound);
            estimate.rows = estimate.rows.min(bound.max(MIN_ROWS));
        }
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
        if self.chaining && set.len() > self.effort.relations {
            return Estimate {
                rows: self.prior(set).max(MIN_ROWS),
                source: EstimateSource::KeySample,
                upper_bound: None,
            };
        }
        // Hits, and how many a row would give: what the lineages saw adds up (Gamma–Poisson).
        let (mut hits, mut exposure) = (0.0, 0.0);
        let mut exact = None;
        let distinct = |lineage: &usize| self.effective(set, *lineage) == *lineage;
        let assumptions = |lineage: &usize| self.assumptions(set, &self.lineages[*lineage]);
        let lineages = || (0..self.lineages.len()).filter(distinct);
        // Lineages that assume less come first; the others count only if these saw nothing.
        let mut levels: Vec<(usize, usize)> = lineages()
            .map(|lineage| (assumptions(&lineage), lineage))
            .collect();
        levels.sort_unstable();
        let mut level = 0;
        for (assumed, lineage) in levels {
            if assumed > level && hits > 0.0 {
                break;
            }
            level = assumed;
            let node = self.node(set, lineage);
            let error = node.error + INDEPENDENCE * node.assumed as f64;
            if error == 0.0 {
                exact = Some(node.rows);
                break;
            }
            if node.rows > 0.0 && error.is_finite() {
                hits += 1.0 / error;
                exposure += 1.0 / (error * node.rows);
            } else if node.unit.is_finite() && node.assumed == 0 {
                exposure += 1.0 / node.unit;
            }
        }
        let rows = match exact {
            Some(rows) => rows,
            None => {
                let prior = self.prior(set);
                (PRIOR_HITS + hits) / (PRIOR_HITS / prior + exposure)
            }
        };
        Estimate {
            rows: rows.max(MIN_ROWS),
            source: EstimateSource::KeySample,
            upper_bound: None,
        }
    }

    /// Whether two relations of a set are joined by something that the rest of the set does not say as well.
    fn depend(&self, a: usize, b: usize, set: RelSet) -> bool {
        if !self.joins.neighbors(a).contains(b) {
            return false;
        }
        let pair = RelSet::single(a).union(RelSet::single(b));
        let rest = set.minus(pair);
        let class_between = |class: usize| {
            let member = |r: usize| self.leaves[r].member[class];
            member(a) && member(b) && !rest.iter().any(member)
        };
        (0..self.leaves[a].member.len()).any(class_between)
            || self
                .thetas
                .iter()
                .any(|theta| theta.relations.is_subset(set) && pair.is_subset(theta.relations))
    }

    /// What smaller sets say (Markov chaining).
    fn prior(&self, set: RelSet) -> f64 {
        let mut logs = 0.0;
        let mut count = 0;
        // All pairs of a large query would be all of its subsets: there one pair has to do.
        let pairs = match self.leaves.len() <= ALL_PAIRS {
            true => i32::MAX,
            false => 1,
        };
        for a in set.iter().filter(|_| self.chaining) {
            let without_a = set.minus(RelSet::single(a));
            if !self.joins.is_connected(without_a) {
                continue;
            }
            for b in set.iter().filter(|b| *b > a) {
                if count >= pairs {
                    break;
                }
                if self.depend(a, b, set) {
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
