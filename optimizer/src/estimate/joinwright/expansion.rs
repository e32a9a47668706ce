//! Joins a set of joined rows with one more relation.

use super::leaf::{Leaf, View};
use super::lineage::Lineage;
use super::particles::{GOLDEN, Particles, systematic};
use crate::estimate::textbook::SAME_DOMAIN;
use joinwright_stats::{Degrees, KeyIndex};

/// Rows looked at for one key at least, if it has them.
const LEAST_LOOKS: usize = 8;

/// Weight of the rate of all rows when that of one key is estimated, in rows.
const SHRINKAGE: f64 = 3.0;

/// Groups of keys by which it is told how many of them hold the joined rows.
const CLUSTERS: usize = 1 << 10;

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

/// How much a join looks at, and keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Joined rows to keep.
    pub(super) most: usize,
    /// Rows to look at for each of these.
    pub(super) looks: usize,
}

/// Buffers that one join after the other uses.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By particle its key.
    keys: Vec<Option<u64>>,
    /// By particle what it and its matches stand for.
    weights: Vec<f64>,
    /// Matches with their weights, those of one particle after the other.
    found: Vec<(u32, f64)>,
    /// By particle where its matches end in `found`.
    ends: Vec<usize>,
    /// Weights by group of keys.
    clusters: Vec<f64>,
}

/// A key of a relation that equals a key of the particles.
struct Link<'a> {
    class: usize,
    /// Of the particles.
    slot: usize,
    index: &'a KeyIndex,
    other: &'a KeyIndex,
}

/// Joins particles with a relation; `sampled` if the particles are not all joined rows there are. `None` if no key relates
/// them that can be looked up.
pub(super) fn join(
    particles: &Particles,
    leaves: &[Leaf],
    lineage: &Lineage,
    relation: usize,
    sampled: bool,
    extent: Extent,
    scratch: &mut Scratch,
) -> Option<Joined> {
    let view = lineage.views[relation].as_ref()?;
    let slot_of = |class: usize| {
        let mut slots = particles.relations.iter().enumerate();
        slots.find_map(|(slot, r)| {
            let index = lineage.views[*r].as_ref()?.keys[class].as_deref()?;
            leaves[*r].member[class].then_some((slot, index))
        })
    };
    let mut links = vec![];
    for class in 0..view.keys.len() {
        let is_member = |r: &usize| leaves[*r].member[class];
        if !is_member(&relation) || !particles.relations.iter().any(is_member) {
            continue;
        }
        let other = view.keys[class].as_deref()?;
        let (slot, index) = slot_of(class)?;
        links.push(Link {
            class,
            slot,
            index,
            other,
        });
    }
    // The key with most values first: it leaves the fewest rows to look at.
    let distinct = |link: &Link<'_>| leaves[relation].distinct[link.class];
    links.sort_by(|a, b| distinct(b).total_cmp(&distinct(a)));
    let (first, rest) = links.split_first()?;
    let expansion = Expansion {
        particles,
        cluster: lineage.class.and_then(slot_of),
        view,
        leaf: &leaves[relation],
        by_degree: lineage.by_degree.contains(relation),
        sampled,
        scale: lineage.coordination(particles.relations.iter().copied().collect(), relation),
        first,
        rest,
        refers: links.iter().all(|link| {
            let other = particles.relations[link.slot];
            link.slot == first.slot
                && distinct(link) * SAME_DOMAIN >= leaves[other].distinct[link.class]
        }),
        all_match: rest.is_empty() && view.is_unfiltered(),
        looks: (extent.looks * extent.most / particles.len().max(1)).max(LEAST_LOOKS),
        most: extent.most,
    };
    Some(expansion.run(relation, scratch))
}

struct Expansion<'a> {
    particles: &'a Particles,
    view: &'a View,
    leaf: &'a Leaf,
    by_degree: bool,
    sampled: bool,
    scale: f64,
    /// The key by which samples are coordinated, if the particles have it.
    cluster: Option<(usize, &'a KeyIndex)>,
    first: &'a Link<'a>,
    rest: &'a [Link<'a>],
    /// All keys are of one other relation, and none has more values there: they seem to make a composite key.
    refers: bool,
    /// Every row with the key matches.
    all_match: bool,
    /// Rows to look at for one particle.
    looks: usize,
    /// Particles to keep.
    most: usize,
}

/// Matches of one particle.
struct Matches {
    /// How many were seen.
    count: usize,
    weight: f64,
    /// Σ of the squares of the weights of the matches that were seen.
    squares: f64,
    /// Every match was looked at.
    complete: bool,
    /// The number of matches is known.
    exact: bool,
}

const NO_MATCHES: Matches = Matches {
    count: 0,
    weight: 0.0,
    squares: 0.0,
    complete: true,
    exact: true,
};

impl Expansion<'_> {
    /// Adds up the matches of a particle, and appends them to `found` if some had to be looked at.
    fn count(
        &self,
        particle: usize,
        degree: f64,
        candidates: &[u32],
        found: &mut Vec<(u32, f64)>,
    ) -> Matches {
        if self.by_degree {
            self.likely_matches(degree, candidates, found)
        } else if self.all_match {
            let rows = candidates.len() as f64;
            Matches {
                count: candidates.len(),
                weight: rows * self.scale,
                squares: rows * self.scale * self.scale,
                ..NO_MATCHES
            }
        } else if candidates.is_empty() {
            NO_MATCHES
        } else {
            self.matches(particle, candidates, found)
        }
    }

    /// Finds the matches of a particle.
    fn matches(&self, particle: usize, candidates: &[u32], found: &mut Vec<(u32, f64)>) -> Matches {
        let step = candidates.len().div_ceil(self.looks).max(1);
        let start = found.len();
        let mut seen = 0;
        // The first of the rows looked at differs between particles, so that no row is never looked at.
        for row in candidates.iter().skip(particle % step).step_by(step) {
            seen += 1;
            let weight = self.view.weight(*row);
            let equal = |link: &Link<'_>| {
                let key = link.index.hash(self.particles.row(particle, link.slot));
                key.is_some() && key == link.other.hash(*row)
            };
            if weight > 0.0 && self.rest.iter().all(equal) {
                found.push((*row, weight));
            }
        }
        let factor = candidates.len() as f64 / f64::from(seen.max(1)) * self.scale;
        let mut matches = Matches {
            count: found.len() - start,
            complete: step == 1,
            exact: step == 1,
            ..NO_MATCHES
        };
        for (_, weight) in &mut found[start..] {
            *weight *= factor;
            matches.weight += *weight;
            matches.squares += *weight * *weight;
        }
        matches
    }

    /// Finds rows that a particle may match: the degree of its key is known, the rows are not.
    fn likely_matches(&self, degree: f64, same: &[u32], found: &mut Vec<(u32, f64)>) -> Matches {
        let mut matches = Matches {
            complete: false,
            ..NO_MATCHES
        };
        if degree <= 0.0 {
            return matches;
        }
        let overall = self.leaf.rows / self.leaf.base_rows;
        let (mut num, mut den) = (0.0, 0.0);
        for row in same.iter().take(LEAST_LOOKS) {
            let weight = self.view.weight(*row);
            den += 1.0;
            num += weight;
            if weight > 0.0 {
                found.push((*row, weight));
            }
        }
        let mut rate = match self.view.passing {
            // Nothing that the estimate of the relation does not say.
            0 => overall,
            _ => (num + SHRINKAGE * overall) / (den + SHRINKAGE),
        };
        if !self.rest.is_empty() {
            let values = self.rest.iter().map(|link| self.leaf.distinct[link.class]);
            let values: f64 = values.product();
            // A composite key has no more combinations than its relation rows: a row that refers to it finds one.
            let most = if self.refers { degree } else { f64::INFINITY };
            rate /= values.min(most).max(1.0);
        }
        matches.weight = degree * rate;
        // An unfiltered relation has as many matches as the degree tells.
        matches.exact = self.leaf.unfiltered && self.rest.is_empty();
        matches.squares = match matches.exact {
            true => 0.0,
            false => matches.weight * matches.weight / (1.0 + num),
        };
        matches
    }

    /// The row of a match that a draw hits: `within` is its place among the matches, in [0, 1).
    fn drawn(&self, candidates: &[u32], within: f64, found: &[(u32, f64)]) -> Option<u32> {
        if !self.by_degree && self.all_match {
            let place = within * candidates.len() as f64;
            return candidates.get(place as usize).copied();
        }
        let total: f64 = found.iter().map(|row| row.1).sum();
        let mut left = within * total;
        let chosen = found.iter().find(|row| {
            left -= row.1;
            left < 0.0
        });
        chosen.or(found.last()).map(|row| row.0)
    }

    fn run(&self, relation: usize, scratch: &mut Scratch) -> Joined {
        let all = self.particles;
        let Scratch {
            keys,
            weights,
            found,
            ends,
            clusters,
        } = scratch;
        keys.clear();
        keys.extend((0..all.len()).map(|p| self.first.index.hash(all.row(p, self.first.slot))));
        weights.clear();
        found.clear();
        ends.clear();
        let candidates = self.first.other.rows_of(keys);
        let degrees = self.leaf.degrees[self.first.class].as_deref();
        let degrees = degrees.filter(|_| self.by_degree);
        let (mut rows, mut squares, mut count) = (0.0, 0.0, 0);
        let (mut complete, mut exact) = (true, true);
        for (particle, (key, candidates)) in keys.iter().zip(&candidates).enumerate() {
            let degree = match (degrees, key) {
                (Some(degrees), Some(key)) => degree(degrees, *key),
                _ => 0.0,
            };
            let matches = self.count(particle, degree, candidates, found);
            count += matches.count;
            ends.push(found.len());
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
        if let Some((slot, index)) = self.cluster {
            // Rows of one key are in the sample together or not at all. Keys of samples differ in the low bits, the high ones
            // decide which are in it.
            clusters.clear();
            clusters.resize(CLUSTERS, 0.0);
            for (particle, weight) in weights.iter().enumerate().filter(|w| *w.1 > 0.0) {
                if let Some(key) = index.hash(all.row(particle, slot)) {
                    clusters[key as usize % CLUSTERS] += weight;
                }
            }
            let of_clusters: f64 = clusters.iter().map(|weight| weight * weight).sum();
            squares = squares.max(of_clusters);
        }
        complete &= count <= self.most;
        let found_of = |particle: usize| {
            let start = match particle {
                0 => 0,
                _ => ends[particle - 1],
            };
            &found[start..ends[particle]]
        };
        let mut joined = Particles {
            relations: all.relations.iter().copied().chain([relation]).collect(),
            ..Particles::default()
        };
        let draws = match (complete, self.by_degree) {
            (true, _) => count,
            // What is not known one by one is not worth more.
            (false, true) => self.most,
            (false, false) => self.most.min(count.max(1)),
        };
        let width = all.relations.len();
        joined.rows.reserve(draws * (width + 1));
        joined.weights.reserve(draws);
        let mut push = |particle: usize, row: u32, weight: f64| {
            let tuple = &all.rows[particle * width..(particle + 1) * width];
            joined.rows.extend_from_slice(tuple);
            joined.rows.push(row);
            joined.weights.push(weight);
        };
        if complete {
            for particle in (0..all.len()).filter(|p| weights[*p] > 0.0) {
                if self.all_match {
                    for row in candidates[particle] {
                        push(particle, *row, all.weights[particle] * self.scale);
                    }
                }
                for (row, weight) in found_of(particle) {
                    push(particle, *row, all.weights[particle] * weight);
                }
            }
        } else {
            let each = rows / draws as f64;
            let mut chance = 0u64;
            systematic(weights, draws, |particle, within| {
                let found = found_of(particle);
                let row = match self.drawn(candidates[particle], within, found) {
                    Some(row) => Some(row),
                    // The rows with its key are not known: any that passes.
                    None if self.by_degree => {
                        chance = chance.wrapping_add(GOLDEN);
                        self.view.any_passing_row(chance >> 32)
                    }
                    None => None,
                };
                if let Some(row) = row {
                    push(particle, row, each);
                }
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
fn degree(degrees: &Degrees, key: u64) -> f64 {
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
