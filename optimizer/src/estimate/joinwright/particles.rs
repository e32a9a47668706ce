//! Sets of joined rows with weights, that grow by one relation at a time.

use super::leaf::View;

/// Rows looked at for each that is kept, where rows do not count the same.
const LOOKS: usize = 8;

/// The fraction of the golden ratio, in units of 2⁻⁶⁴.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

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
        let above = below + weight;
        if next < above {
            let start = fraction(place);
            while next < above {
                let within = (next - below) / weight + start;
                take(place, within - f64::from(u8::from(within >= 1.0)));
                next += step;
            }
        }
        below = above;
    }
}

/// The fractional part of a multiple of the golden ratio: these fill [0, 1) evenly.
fn fraction(multiple: usize) -> f64 {
    let bits = (multiple as u64).wrapping_mul(GOLDEN);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The rows of a relation to start from, `most` of them; whether these are all.
pub(super) fn start(relation: usize, view: &View, most: usize) -> (Particles, bool) {
    let mut particles = Particles {
        relations: vec![relation],
        ..Particles::default()
    };
    if view.passing <= most {
        particles.rows = view.passing_rows();
        let weights = particles.rows.iter().map(|r| view.weight(*r) * view.scale);
        particles.weights = weights.collect();
        return (particles, true);
    }
    if let Some(weight) = view.constant_weight() {
        let step = view.passing as f64 / most as f64;
        particles.rows = view.some_passing_rows(most);
        particles.weights = vec![weight * view.scale * step; most];
        return (particles, false);
    }
    // Enough of them to choose from.
    let some = view.passing.min(LOOKS * most);
    let step = view.passing as f64 / some as f64;
    let rows = view.some_passing_rows(some);
    let weight = |row: &u32| view.weight(*row) * view.scale * step;
    let weights: Vec<f64> = rows.iter().map(weight).collect();
    let each = weights.iter().sum::<f64>() / most as f64;
    systematic(&weights, most, |place, _| {
        particles.rows.push(rows[place]);
        particles.weights.push(each);
    });
    (particles, false)
}
