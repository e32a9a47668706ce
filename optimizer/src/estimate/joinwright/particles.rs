//! Sets of joined rows with weights, that grow by one relation at a time.

use super::leaf::{Leaf, View};
use foldhash::{HashMap, HashMapExt};
use joinwright_stats::{Degrees, KeyIndex};
use std::sync::Arc;

/// Rows looked at for one join of a set, for each particle that is kept.
const LOOKS: usize = 8;
/// Rows looked at for one key at least, if it has them.
const LEAST_LOOKS: usize = 8;

/// Weight of the rate of all rows when that of one key is estimated, in rows.
const SHRINKAGE: f64 = 3.0;

/// The fraction of the golden ratio: its multiples fill [0, 1) evenly.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Joined rows of a set of relations, each standing for `weight` rows.
#[derive(Debug, Default)]
pub(super) struct Particles {
    /// The relations, by slot.
    pub(super) relations: Vec<usize>,
    /// The rows of one particle after the other.
    pub(super) rows: Vec<u32>,
    pub(super) weights: Vec<f64>,
}

impl Particles {
    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    pub(super) fn slot(&self, relation: usize) -> Option<usize> {
        self.relations.iter().position(|r| *r == relation)
    }

    /// Keeps some of the particles, in their order.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let width = self.relations.len();
        let mut kept = 0;
        for particle in (0..self.len()).filter(|particle| keep(*particle)) {
            self.weights[kept] = self.weights[particle];
            self.rows
                .copy_within(particle * width..(particle + 1) * width, kept * width);
            kept += 1;
        }
        self.weights.truncate(kept);
        self.rows.truncate(kept * width);
    }

    pub(super) fn row(&self, particle: usize, slot: usize) -> u32 {
        self.rows[particle * self.relations.len() + slot]
    }
}

/// Chooses places in proportion to their weights: `count` draws at equal distances (systematic sampling). Calls `take` with each
/// place drawn and where within its weight, in [0, 1): at equal distances too for the draws of one place, and at a
/// different start for each place, or else places of the same weight would all be drawn at the same one.
pub(super) fn systematic(weights: &[f64], count: usize, mut take: impl FnMut(usize, f64)) {
    let total: f64 = weights.iter().sum();
    if total <= 0.0 || count == 0 {
        return;
    }
    let step = total / count as f64;
    let mut next = step / 2.0;
    let mut below = 0.0;
    for (place, weight) in weights.iter().enumerate() {
        let start = place as f64 * GOLDEN;
        while next < below + weight {
            take(place, ((next - below) / weight + start).fract());
            next += step;
        }
        below += weight;
    }
}

/// The rows of a relation to start from, `most` of them; whether these are all.
pub(super) fn start(relation: usize, view: &View, most: usize) -> (Particles, bool) {
    let mut particles = Particles {
        relations: vec![relation],
        ..Particles::default()
    };
    if view.passing <= most {
        particles.rows = view.passing_rows().collect();
        let weights = particles.rows.iter().map(|r| view.weight(*r) * view.scale);
        particles.weights = weights.collect();
        return (particles, true);
    }
    if let Some(weight) = view.constant_weight() {
        let step = view.passing as f64 / most as f64;
        let places = (0..most).map(|i| ((i as f64 + 0.5) * step) as usize);
        particles.rows = places.map(|place| view.passing_row(place)).collect();
        particles.weights = vec![weight * view.scale * step; most];
        return (particles, false);
    }
    // Enough of them to choose from.
    let some = view.passing.min(LOOKS * most);
    let step = view.passing as f64 / some as f64;
    let places = (0..some).map(|i| ((i as f64 + 0.5) * step) as usize);
    let rows: Vec<u32> = places.map(|place| view.passing_row(place)).collect();
    let weight = |row: &u32| view.weight(*row) * view.scale * step;
    let weights: Vec<f64> = rows.iter().map(weight).collect();
    let each = weights.iter().sum::<f64>() / most as f64;
    systematic(&weights, most, |place, _| {
        particles.rows.push(rows[place]);
        particles.weights.push(each);
    });
    (particles, false)
}

/// What a join found.
#[derive(Debug)]
pub(super) struct Joined {
    /// Its rows.
    pub(super) rows: f64,
    /// Σ of the squares of what was added up, over the square of the sum: one over the number of independent hits.
    pub(super) concentration: f64,
    pub(super) particles: Particles,
    /// Rows that one more match would have stood for.
    pub(super) unit: f64,
    /// Every match was looked at.
    pub(super) exact: bool,
    /// All joined rows are among the particles.
    pub(super) complete: bool,
}

/// How the rows of each relation are looked up.
#[derive(Debug)]
pub(super) struct Lineage {
    /// By relation the rows to choose from; `None` for one without rows that are known.
    pub(super) views: Vec<Option<View>>,
    /// By relation, whether its rows are those of certain keys of this class, all of them.
    pub(super) class: Option<usize>,
    /// By relation the share of the keys of that class that its rows have; 1 for all other relations.
    pub(super) share: Vec<f64>,
    /// By relation, whether it is large and not coordinated with the others, so that only the degrees of its keys are known.
    pub(super) by_degree: Vec<bool>,
    /// By relation, whether its rows pass some predicate independently of their keys, as far as this lineage knows.
    pub(super) assumed: Vec<bool>,
    /// By relation, whether its rows are only some of those there are.
    pub(super) sampled: Vec<bool>,
    /// By relation, rows that a row of its view stands for, beside the coordination.
    scale: Vec<f64>,
}

impl Lineage {
    /// Of all `leaves`; coordinated by a class, if one is given. Relations some of whose predicates can be evaluated only on
    /// a uniform sample have that sample's rows if `exact`.
    pub(super) fn new(leaves: &[Leaf], class: Option<usize>, exact: bool) -> Self {
        let coordinated = |leaf: &Leaf| {
            let class = class?;
            match leaf.rated && exact && leaf.uniform_by_key[class] {
                true => leaf.uniform.clone(),
                false => leaf.by_key[class].clone().filter(|_| leaf.all.is_none()),
            }
        };
        let uniform = |leaf: &Leaf| {
            let sample = leaf.uniform.clone().filter(|_| exact && leaf.rated);
            sample.filter(|_| coordinated(leaf).is_none())
        };
        let by_degree = |leaf: &Leaf| leaf.all.is_none() && coordinated(leaf).is_none();
        Self {
            sampled: leaves
                .iter()
                .map(|leaf| coordinated(leaf).is_some() || uniform(leaf).is_some())
                .collect(),
            views: leaves
                .iter()
                .map(|leaf| {
                    coordinated(leaf)
                        .or_else(|| uniform(leaf))
                        .or_else(|| leaf.view().cloned())
                })
                .collect(),
            assumed: leaves
                .iter()
                .map(|leaf| match leaf.rated {
                    true => uniform(leaf).is_none() && coordinated(leaf).is_none(),
                    false => by_degree(leaf) && !leaf.unfiltered,
                })
                .collect(),
            scale: leaves
                .iter()
                .map(|leaf| uniform(leaf).map_or(1.0, |view| view.scale))
                .collect(),
            class,
            share: leaves
                .iter()
                .map(|leaf| coordinated(leaf).map_or(1.0, |view| 1.0 / view.scale))
                .collect(),
            by_degree: leaves.iter().map(by_degree).collect(),
        }
    }

    /// Leaves out relations whose rows are neither known nor in a sample of keys.
    pub(super) fn forget_degrees(&mut self) {
        for (view, by_degree) in self.views.iter_mut().zip(&self.by_degree) {
            if *by_degree {
                *view = None;
            }
        }
    }

    /// How many passing rows there are of a row's key. A sample of keys has all rows of some keys, so that nothing seen there
    /// says little of keys with many rows.
    pub(super) fn cluster(&self, leaf: &Leaf, relation: usize) -> f64 {
        let class = self.class.filter(|_| self.share[relation] < 1.0);
        let degrees = class.and_then(|class| leaf.degrees[class].as_ref());
        let Some(degrees) = degrees.filter(|degrees| degrees.rows > 0) else {
            return 1.0;
        };
        let passing = leaf.rows / leaf.base_rows;
        (degrees.norms[1].powi(2) / degrees.norms[0] * passing).max(1.0)
    }
}

/// A key of a relation that equals a key of the particles.
struct Link {
    class: usize,
    /// Of the particles.
    slot: usize,
    index: Arc<KeyIndex>,
    other: Arc<KeyIndex>,
}

/// Joins particles with a relation, and keeps `most` of the joined rows; `sampled` if the particles are not all joined rows there are. `None` if no key relates them that can be looked up.
pub(super) fn join(
    particles: &Particles,
    leaves: &[Leaf],
    lineage: &Lineage,
    relation: usize,
    sampled: bool,
    most: usize,
) -> Option<Joined> {
    let view = lineage.views[relation].as_ref()?;
    let mut links = vec![];
    for class in 0..view.keys.len() {
        let is_member = |r: &usize| leaves[*r].member[class];
        if !is_member(&relation) || !particles.relations.iter().any(is_member) {
            continue;
        }
        let other = view.keys[class].clone()?;
        let (slot, index) = particles
            .relations
            .iter()
            .enumerate()
            .find_map(|(slot, r)| {
                let index = lineage.views[*r].as_ref()?.keys[class].clone()?;
                is_member(r).then_some((slot, index))
            })?;
        links.push(Link {
            class,
            slot,
            index,
            other,
        });
    }
    // The key with most values first: it leaves the fewest rows to look at.
    let distinct = |link: &Link| leaves[relation].distinct[link.class];
    links.sort_by(|a, b| distinct(b).total_cmp(&distinct(a)));
    let (first, rest) = links.split_first()?;
    let cluster = lineage.class.and_then(|class| {
        particles
            .relations
            .iter()
            .enumerate()
            .find_map(|(slot, r)| {
                let index = lineage.views[*r].as_ref()?.keys[class].clone()?;
                leaves[*r].member[class].then_some((slot, index))
            })
    });
    let expansion = Expansion {
        particles,
        cluster,
        view,
        leaf: &leaves[relation],
        by_degree: lineage.by_degree[relation],
        sampled,
        scale: coordination(particles, lineage, relation),
        first,
        rest,
        looks: (LOOKS * most / particles.len().max(1)).max(LEAST_LOOKS),
        most,
    };
    Some(expansion.run(relation))
}

/// Rows that a row of a relation stands for beside particles that may be coordinated with it already.
pub(super) fn coordination(particles: &Particles, lineage: &Lineage, relation: usize) -> f64 {
    let others = particles.relations.iter().map(|r| lineage.share[*r]);
    let before = others.fold(1.0, f64::min);
    before / before.min(lineage.share[relation]) * lineage.scale[relation]
}

struct Expansion<'a> {
    particles: &'a Particles,
    view: &'a View,
    leaf: &'a Leaf,
    by_degree: bool,
    sampled: bool,
    scale: f64,
    /// The key by which samples are coordinated, if the particles have it.
    cluster: Option<(usize, Arc<KeyIndex>)>,
    first: &'a Link,
    rest: &'a [Link],
    /// Rows to look at for one particle.
    looks: usize,
    /// Particles to keep.
    most: usize,
}

/// Matches of one particle: rows that were looked at with their weights, and what one of them stands for.
#[derive(Default)]
struct Matches {
    rows: Vec<(u32, f64)>,
    weight: f64,
    /// Σ of the squares of the weights of the matches that were seen.
    squares: f64,
    /// Every match was looked at.
    complete: bool,
    /// The number of matches is known.
    exact: bool,
}

/// What is looked up for all particles before any is joined.
struct Known<'a> {
    /// By particle the rows with its key.
    candidates: Vec<&'a [u32]>,
    /// By particle the degree of its key, if only that is known.
    degrees: Vec<f64>,
}

impl Expansion<'_> {
    fn key(&self, link: &Link, particle: usize) -> Option<u64> {
        link.index.hash(self.particles.row(particle, link.slot))
    }

    /// Whether every row with the key matches.
    fn all_match(&self) -> bool {
        self.rest.is_empty() && self.view.is_unfiltered()
    }

    /// Finds the matches of a particle.
    fn matches(&self, particle: usize, candidates: &[u32], matches: &mut Matches) {
        matches.rows.clear();
        matches.weight = 0.0;
        matches.squares = 0.0;
        matches.complete = true;
        matches.exact = true;
        let looks = if self.all_match() {
            candidates.len()
        } else {
            self.looks
        };
        let step = candidates.len().div_ceil(looks.max(1)).max(1);
        matches.complete = step == 1;
        matches.exact = matches.complete;
        let mut seen = 0;
        // The first of the rows looked at differs between particles, so that no row is never looked at.
        for row in candidates.iter().skip(particle % step).step_by(step) {
            seen += 1;
            let weight = self.view.weight(*row);
            let equal = |link: &Link| {
                let key = self.key(link, particle);
                key.is_some() && key == link.other.hash(*row)
            };
            if weight > 0.0 && self.rest.iter().all(equal) {
                matches.rows.push((*row, weight));
                matches.weight += weight;
            }
        }
        let factor = candidates.len() as f64 / f64::from(seen.max(1)) * self.scale;
        matches.weight *= factor;
        matches.squares = 0.0;
        for row in &mut matches.rows {
            row.1 *= factor;
            matches.squares += row.1 * row.1;
        }
    }

    /// Finds rows that a particle may match: the degree of its key is known, the rows are not.
    fn likely_matches(&self, degree: f64, same: &[u32], matches: &mut Matches) {
        matches.rows.clear();
        matches.weight = 0.0;
        matches.squares = 0.0;
        matches.complete = false;
        matches.exact = true;
        if degree <= 0.0 {
            return;
        }
        let overall = self.leaf.rows / self.leaf.base_rows;
        let (mut num, mut den) = (0.0, 0.0);
        for row in same.iter().take(LEAST_LOOKS) {
            let weight = self.view.weight(*row);
            den += 1.0;
            num += weight;
            if weight > 0.0 {
                matches.rows.push((*row, weight));
            }
        }
        let mut rate = (num + SHRINKAGE * overall) / (den + SHRINKAGE);
        for link in self.rest {
            rate /= self.leaf.distinct[link.class];
        }
        matches.weight = degree * rate;
        // An unfiltered relation has as many matches as the degree tells.
        matches.exact = self.leaf.unfiltered && self.rest.is_empty();
        matches.squares = match matches.exact {
            true => 0.0,
            false => matches.weight * matches.weight / (1.0 + num),
        };
    }

    /// The matches of a particle among its candidates, their rows only if some have to be looked at.
    fn count(&self, particle: usize, known: &Known<'_>, matches: &mut Matches) -> usize {
        let candidates = known.candidates[particle];
        if self.by_degree {
            self.likely_matches(known.degrees[particle], candidates, matches);
            return 0;
        }
        if self.all_match() {
            let rows = candidates.len();
            matches.weight = rows as f64 * self.scale;
            matches.squares = rows as f64 * self.scale * self.scale;
            matches.complete = true;
            matches.exact = true;
            return rows;
        }
        self.matches(particle, candidates, matches);
        matches.rows.len()
    }

    /// The row of a match that a draw hits: `within` is its place among `matches`, in [0, 1).
    fn drawn(&self, candidates: &[u32], within: f64, matches: &Matches) -> Option<u32> {
        if !self.by_degree && self.all_match() {
            let place = within * candidates.len() as f64;
            return candidates.get(place as usize).copied();
        }
        let total: f64 = matches.rows.iter().map(|row| row.1).sum();
        let mut left = within * total;
        let chosen = matches.rows.iter().find(|row| {
            left -= row.1;
            left < 0.0
        });
        chosen.or(matches.rows.last()).map(|row| row.0)
    }

    fn run(&self, relation: usize) -> Joined {
        let all = self.particles;
        let mut matches = Matches::default();
        let mut weights = Vec::with_capacity(all.len());
        let (mut rows, mut squares, mut count) = (0.0, 0.0, 0);
        let (mut complete, mut exact) = (true, true);
        let keys: Vec<Option<u64>> = (0..all.len()).map(|p| self.key(self.first, p)).collect();
        let known = Known {
            candidates: self.first.other.rows_of(&keys),
            degrees: match (&self.leaf.degrees[self.first.class], self.by_degree) {
                (Some(degrees), true) => {
                    let of_key = |key: &Option<u64>| key.map_or(0.0, |key| degree(degrees, key));
                    keys.iter().map(of_key).collect()
                }
                _ => vec![0.0; keys.len()],
            },
        };
        for particle in 0..all.len() {
            count += self.count(particle, &known, &mut matches);
            let weight = all.weights[particle] * matches.weight;
            weights.push(weight);
            rows += weight;
            squares += match self.sampled {
                true => weight * weight,
                false => all.weights[particle] * all.weights[particle] * matches.squares,
            };
            complete &= matches.complete;
            exact &= matches.exact;
        }
        if let Some((slot, index)) = &self.cluster {
            // Rows of one key are in the sample together or not at all.
            let mut clusters: HashMap<u64, f64> = HashMap::with_capacity(all.len());
            for (particle, weight) in weights.iter().enumerate().filter(|w| *w.1 > 0.0) {
                if let Some(key) = index.hash(all.row(particle, *slot)) {
                    *clusters.entry(key).or_default() += weight;
                }
            }
            let of_clusters: f64 = clusters.values().map(|weight| weight * weight).sum();
            squares = squares.max(of_clusters);
        }
        complete &= count <= self.most;
        let mut joined = Particles {
            relations: all.relations.iter().copied().chain([relation]).collect(),
            ..Particles::default()
        };
        let width = all.relations.len();
        let mut push = |particle: usize, row: u32, weight: f64| {
            let tuple = &all.rows[particle * width..(particle + 1) * width];
            joined.rows.extend_from_slice(tuple);
            joined.rows.push(row);
            joined.weights.push(weight);
        };
        if complete {
            for particle in (0..all.len()).filter(|p| weights[*p] > 0.0) {
                self.matches(particle, known.candidates[particle], &mut matches);
                for (row, weight) in &matches.rows {
                    push(particle, *row, all.weights[particle] * weight);
                }
            }
        } else {
            let draws = match self.by_degree {
                // What is not known one by one is not worth more.
                true => self.most,
                false => self.most.min(count.max(1)),
            };
            let each = rows / draws as f64;
            let mut last = usize::MAX;
            let mut chance = 0u64;
            systematic(&weights, draws, |particle, within| {
                if last != particle {
                    self.count(particle, &known, &mut matches);
                    last = particle;
                }
                let row = match self.drawn(known.candidates[particle], within, &matches) {
                    Some(row) => row,
                    // The rows with its key are not known: any that passes.
                    None if self.by_degree && self.view.passing > 0 => {
                        chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
                        let place = (chance >> 32) as usize % self.view.passing;
                        self.view.passing_row(place)
                    }
                    None => return,
                };
                push(particle, row, each);
            });
        }
        Joined {
            rows,
            concentration: if rows > 0.0 {
                squares / (rows * rows)
            } else {
                f64::INFINITY
            },
            particles: joined,
            unit: all.weights.iter().sum::<f64>() / all.len().max(1) as f64 * self.scale,
            exact,
            complete,
        }
    }
}

/// Rows with a key.
pub(super) fn degree(degrees: &Degrees, key: u64) -> f64 {
    if let Some(vector) = &degrees.vector {
        return f64::from(vector.degree(key));
    }
    let bin = degrees.bins.len().trailing_zeros();
    match degrees.bins.get((key >> (u64::BITS - bin)) as usize) {
        // Of a key that joins it is more likely that it exists.
        Some(bin) => bin.rows as f64 / (bin.keys.max(1)) as f64,
        None => 1.0,
    }
}
