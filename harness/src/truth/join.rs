//! Joins of factors that sum weights on the fly.
//!
//! Joining two multiplies weights; a column that nobody needs any more is summed out in the same pass, so that the joined rows themselves
//! are never kept. The factor `(x) → w` that `R(x, y)` and `S(y)` come to is the message of Yannakakis's algorithm (VLDB 1981), with
//! counts in place of yes and no.

use super::factor::{Check, Comparison, Factor, GaveUp, Limits, NULL, Test, passes};
use super::index::{Index, keys};
use super::sums::Sink;

/// Joined rows between two looks at the interruption.
const STEP: u64 = 1 << 20;

impl Factor {
    /// The factor on some of its variables, without the tuples that have a NULL there.
    pub(crate) fn project(
        &self,
        keep: &[usize],
        bits: &[u32],
        checks: &[Check<'_>],
        limits: &mut Limits<'_>,
    ) -> Result<Self, GaveUp> {
        let one = Self {
            variables: vec![],
            columns: vec![],
            weights: vec![1],
        };
        join(self, &one, keep, bits, checks, limits)
    }
}

/// The join of two factors on the variables they share, the tuples that pass all `checks`, on the variables in `keep`.
///
/// `bits` has for each variable the bits of its codes. All variables of the checks must be in one of the factors.
pub(super) fn join(
    a: &Factor,
    b: &Factor,
    keep: &[usize],
    bits: &[u32],
    checks: &[Check<'_>],
    limits: &mut Limits<'_>,
) -> Result<Factor, GaveUp> {
    // The smaller one gets the index, unless sums over ranges ask for the other way.
    let (big, small) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    for (probe, build) in [(big, small), (small, big)] {
        if let Some(range) = RangeTest::of(probe, build, keep, checks) {
            return join_ranges(probe, build, keep, bits, &range, limits);
        }
    }
    join_pairs(big, small, keep, bits, checks, limits)
}

fn join_pairs(
    probe: &Factor,
    build: &Factor,
    keep: &[usize],
    bits: &[u32],
    checks: &[Check<'_>],
    limits: &mut Limits<'_>,
) -> Result<Factor, GaveUp> {
    let shared = shared(probe, build);
    let index = Index::new(build, &shared, bits)?;
    let probe_keys = keys(probe, &shared, bits)?;
    let mut sink = Sink::new(probe, build, keep, bits);
    let mut checker = Checker::new(probe, build, checks);
    let nulls = null_columns(probe, keep);
    let mut unspent = 0;
    for (i, key) in probe_keys.iter().enumerate() {
        let matches = index.matches(*key);
        unspent += matches.len() as u64 + 1;
        if unspent >= STEP {
            limits.spend(unspent)?;
            unspent = 0;
        }
        if matches.is_empty() || nulls.iter().any(|column| column[i] == NULL) {
            continue;
        }
        if !checks.is_empty() {
            for &j in matches {
                checker.add(i, j as usize, &mut sink)?;
            }
            continue;
        }
        let weight = probe.weights[i];
        for &j in matches {
            let product = times(weight, build.weights[j as usize])?;
            sink.add(i, j as usize, product)?;
        }
    }
    limits.spend(unspent)?;
    checker.flush(&mut sink)?;
    sink.finish()
}

/// NULL is only in relations as they were read, which are projected before they are joined.
fn null_columns<'a>(probe: &'a Factor, keep: &[usize]) -> Vec<&'a [u32]> {
    let kept = keep.iter().filter_map(|variable| probe.column(*variable));
    kept.filter(|column| column.contains(&NULL)).collect()
}

fn times(a: u128, b: u128) -> Result<u128, GaveUp> {
    match (u64::try_from(a), u64::try_from(b)) {
        (Ok(a), Ok(b)) => Ok(u128::from(a) * u128::from(b)),
        _ => a.checked_mul(b).ok_or(GaveUp::Overflow),
    }
}

fn shared(a: &Factor, b: &Factor) -> Vec<usize> {
    let in_b = |variable: &&usize| b.variables.contains(variable);
    a.variables.iter().filter(in_b).copied().collect()
}

/// One comparison whose right side is all that the build side has beside the key: its matches are a range of a sorted
/// group, and the sum of their weights a difference of two prefix sums.
struct RangeTest {
    comparison: Comparison,
    probe_variable: usize,
    build_variable: usize,
}

impl RangeTest {
    fn of(probe: &Factor, build: &Factor, keep: &[usize], checks: &[Check<'_>]) -> Option<Self> {
        let [(Test::Compare(comparison), [left, right])] = checks else {
            return None;
        };
        let has = |factor: &Factor, variable: &usize| factor.variables.contains(variable);
        let (probe_variable, build_variable, comparison) = if has(probe, left)
            && has(build, right)
            && !has(build, left)
            && !has(probe, right)
        {
            (*left, *right, *comparison)
        } else if has(probe, right) && has(build, left) && !has(build, right) && !has(probe, left) {
            (*right, *left, comparison.flipped())
        } else {
            return None;
        };
        let only_key = |v: &usize| *v == build_variable || has(probe, v);
        (build.variables.iter().all(only_key) && !keep.contains(&build_variable)).then_some(Self {
            comparison,
            probe_variable,
            build_variable,
        })
    }
}

fn join_ranges(
    probe: &Factor,
    build: &Factor,
    keep: &[usize],
    bits: &[u32],
    range: &RangeTest,
    limits: &mut Limits<'_>,
) -> Result<Factor, GaveUp> {
    let shared = shared(probe, build);
    let mut index = Index::new(build, &shared, bits)?;
    let (Some(build_codes), Some(probe_codes)) = (
        build.column(range.build_variable),
        probe.column(range.probe_variable),
    ) else {
        return Err(GaveUp::Predicate);
    };
    for group in index.starts.windows(2) {
        let rows = &mut index.rows[group[0] as usize..group[1] as usize];
        rows.sort_unstable_by_key(|&j| build_codes[j as usize]);
    }
    let mut sums = vec![0_u128; index.rows.len() + 1];
    for (place, &j) in index.rows.iter().enumerate() {
        let weight = build.weights[j as usize];
        sums[place + 1] = sums[place].checked_add(weight).ok_or(GaveUp::Overflow)?;
    }
    let mut sink = Sink::new(probe, build, keep, bits);
    limits.spend((probe.len() + build.len()) as u64)?;
    for (i, key) in keys(probe, &shared, bits)?.into_iter().enumerate() {
        let Some((start, end)) = index.group(key) else {
            continue;
        };
        let code = probe_codes[i];
        let below = |limit: bool| {
            let rows = &index.rows[start..end];
            start
                + rows.partition_point(|&j| {
                    let other = build_codes[j as usize];
                    other < code || (limit && other == code)
                })
        };
        let between = |from: usize, to: usize| sums[to] - sums[from];
        // The comparison has the probe's code on its left.
        let sum = match range.comparison {
            Comparison::Less => between(below(true), end),
            Comparison::LessOrEqual => between(below(false), end),
            Comparison::Greater => between(start, below(false)),
            Comparison::GreaterOrEqual => between(start, below(true)),
            Comparison::Different => between(start, below(false)) + between(below(true), end),
        };
        if sum > 0 {
            sink.add(i, usize::MAX, times(probe.weights[i], sum)?)?;
        }
    }
    sink.finish()
}

/// Pairs that are tested at once.
const BATCH: usize = 8192;

/// Passes on the pairs for which all tests hold.
struct Checker<'a> {
    probe: &'a Factor,
    build: &'a Factor,
    checks: &'a [Check<'a>],
    pairs: Vec<(usize, usize)>,
}

impl<'a> Checker<'a> {
    fn new(probe: &'a Factor, build: &'a Factor, checks: &'a [Check<'a>]) -> Self {
        Self {
            probe,
            build,
            checks,
            pairs: vec![],
        }
    }

    fn add(&mut self, i: usize, j: usize, sink: &mut Sink<'_>) -> Result<(), GaveUp> {
        self.pairs.push((i, j));
        if self.pairs.len() == BATCH {
            self.flush(sink)?;
        }
        Ok(())
    }

    fn flush(&mut self, sink: &mut Sink<'_>) -> Result<(), GaveUp> {
        for (test, variables) in self.checks {
            let mut columns = vec![];
            for variable in *variables {
                let codes: Vec<u32> =
                    match (self.probe.column(*variable), self.build.column(*variable)) {
                        (Some(codes), _) => self.pairs.iter().map(|(i, _)| codes[*i]).collect(),
                        (_, Some(codes)) => self.pairs.iter().map(|(_, j)| codes[*j]).collect(),
                        _ => return Err(GaveUp::Predicate),
                    };
                columns.push(codes);
            }
            let holds = passes(test, &columns)?;
            let mut holds = holds.into_iter();
            self.pairs.retain(|_| holds.next() == Some(true));
        }
        for (i, j) in self.pairs.drain(..) {
            let weight = times(self.probe.weights[i], self.build.weights[j])?;
            sink.add(i, j, weight)?;
        }
        Ok(())
    }
}
