//! Weighted tables of coded values, and joins of them that sum weights on the fly.
//!
//! A factor is a relation, or a join of several, reduced to the columns by which it meets others: a tuple of codes with the number
//! of rows that have it. Joining two multiplies weights; a column that nobody needs any more is summed out in the same pass, so
//! that the joined rows themselves are never kept. The factor `(x) → w` that `R(x, y)` and `S(y)` come to is the message of
//! Yannakakis's algorithm (VLDB 1981), with counts in place of yes and no.

use std::sync::atomic::{AtomicBool, Ordering};

/// The code of NULL where NULL equals nothing.
pub(crate) const NULL: u32 = u32::MAX;

/// Joined rows between two looks at the interruption.
const STEP: u64 = 1 << 20;

/// Tuples that a factor may have: what all threads of memory hold is a small multiple of it.
const MOST_TUPLES: usize = 1 << 26;

/// Direct addressing is used up to this many slots a tuple.
const SLOTS_A_TUPLE: usize = 4;

/// Why a count was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// More rows would have to be joined than the cap allows.
    Cap,
    /// A join that is needed on the way is too large for memory.
    Memory,
    /// The count has no room in 128 bits.
    Overflow,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// A predicate could not be evaluated.
    Predicate,
}

/// What one count may cost.
#[derive(Debug)]
pub(crate) struct Limits<'a> {
    /// Joined rows that are left.
    pub(crate) rows: u64,
    /// Set when the count is to stop.
    pub(crate) stop: &'a AtomicBool,
}

impl Limits<'_> {
    fn spend(&mut self, rows: u64) -> Result<(), GaveUp> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(GaveUp::Interrupted);
        }
        self.rows = self.rows.checked_sub(rows).ok_or(GaveUp::Cap)?;
        Ok(())
    }
}

/// A table of coded values with weights. The same tuple may occur twice; its weights add up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Factor {
    /// The variables that its columns hold, sorted.
    pub(crate) variables: Vec<usize>,
    /// By variable the codes.
    pub(crate) columns: Vec<Vec<u32>>,
    /// By tuple the rows that have it.
    pub(crate) weights: Vec<u128>,
}

/// How two codes compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Different,
}

impl Comparison {
    /// Whether it holds of two codes whose order is that of their values.
    pub(crate) fn holds(self, left: u32, right: u32) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Different => left != right,
        }
    }

    /// The same comparison with its sides exchanged.
    fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Different => Self::Different,
        }
    }
}

/// Evaluates a predicate on columns of codes, one a variable; true where it holds.
pub(crate) type Evaluate = dyn Fn(&[Vec<u32>]) -> anyhow::Result<Vec<bool>> + Send + Sync;

/// A predicate on the tuples of a join.
pub(crate) enum Test {
    /// Compares two variables that share their codes.
    Compare(Comparison),
    /// Anything else.
    Evaluated(Box<Evaluate>),
}

/// A test and the variables it is about, in the order in which it takes them.
pub(crate) type Check<'a> = (&'a Test, &'a [usize]);

impl Factor {
    pub(crate) fn len(&self) -> usize {
        self.weights.len()
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.len() * (4 * self.columns.len() + 16) + 256
    }

    fn column(&self, variable: usize) -> Option<&[u32]> {
        let place = self.variables.binary_search(&variable).ok()?;
        Some(&self.columns[place])
    }

    /// The sum of all weights.
    pub(crate) fn total(&self) -> Result<u128, GaveUp> {
        let mut sum = 0_u128;
        for weight in &self.weights {
            sum = sum.checked_add(*weight).ok_or(GaveUp::Overflow)?;
        }
        Ok(sum)
    }

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
pub(crate) fn join(
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

/// By tuple its codes of `variables` in one word.
fn keys(factor: &Factor, variables: &[usize], bits: &[u32]) -> Result<Vec<u64>, GaveUp> {
    if width(variables, bits) > 64 {
        return Err(GaveUp::Memory);
    }
    Ok(partial_keys(factor, variables, bits))
}

/// The part of the keys that a factor's own columns make up; the parts of two factors add up.
fn partial_keys(factor: &Factor, variables: &[usize], bits: &[u32]) -> Vec<u64> {
    let mut keys = vec![0; factor.len()];
    let mut shift = 0;
    for variable in variables {
        if let Some(column) = factor.column(*variable) {
            for (key, code) in keys.iter_mut().zip(column) {
                *key |= u64::from(*code) << shift;
            }
        }
        shift += bits[*variable];
    }
    keys
}

fn width(variables: &[usize], bits: &[u32]) -> u32 {
    variables.iter().map(|variable| bits[*variable]).sum()
}

/// The slots of direct addressing by keys of so many bits, if there are few enough for so many tuples.
fn dense_slots(width: u32, tuples: usize) -> Option<usize> {
    let slots = 1_usize.checked_shl(width)?;
    (width < 40 && slots <= (tuples * SLOTS_A_TUPLE).max(1 << 12)).then_some(slots)
}

/// The tuples of a factor by key.
struct Index {
    /// The group of a key, where keys are too sparse to be groups themselves.
    groups: Option<Groups>,
    /// Where each group starts among `rows`, and where the last one ends.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Index {
    fn new(factor: &Factor, variables: &[usize], bits: &[u32]) -> Result<Self, GaveUp> {
        let mut group_of = keys(factor, variables, bits)?;
        let mut groups = None;
        let count = match dense_slots(width(variables, bits), factor.len()) {
            Some(slots) => slots,
            None => {
                let mut found = Groups::default();
                for key in &mut group_of {
                    *key = found.insert(*key) as u64;
                }
                let count = found.len();
                groups = Some(found);
                count
            }
        };
        let mut starts = vec![0_u32; count + 1];
        for group in &group_of {
            starts[*group as usize + 1] += 1;
        }
        for place in 1..starts.len() {
            starts[place] += starts[place - 1];
        }
        let mut next = starts.clone();
        let mut rows = vec![0_u32; factor.len()];
        for (row, group) in group_of.iter().enumerate() {
            let place = &mut next[*group as usize];
            rows[*place as usize] = row as u32;
            *place += 1;
        }
        Ok(Self {
            groups,
            starts,
            rows,
        })
    }

    fn group(&self, key: u64) -> Option<(usize, usize)> {
        let group = match &self.groups {
            None => key as usize,
            Some(groups) => groups.find(key)?,
        };
        let (start, end) = (self.starts[group] as usize, self.starts[group + 1] as usize);
        (start < end).then_some((start, end))
    }

    fn matches(&self, key: u64) -> &[u32] {
        match self.group(key) {
            Some((start, end)) => &self.rows[start..end],
            None => &[],
        }
    }
}

/// Numbers keys in the order in which they come: open addressing, half full at most.
#[derive(Default)]
struct Groups {
    /// By slot the number of a key plus one, or zero.
    slots: Vec<u32>,
    keys: Vec<u64>,
}

impl Groups {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn slot(&self, key: u64) -> usize {
        // Fibonacci hashing: the high bits of the product are the well mixed ones.
        let mixed = (key ^ (key >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    fn find(&self, key: u64) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.slot(key);
        loop {
            match self.slots[slot] {
                0 => return None,
                number if self.keys[number as usize - 1] == key => {
                    return Some(number as usize - 1);
                }
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }

    fn insert(&mut self, key: u64) -> usize {
        if self.slots.len() < 2 * (self.keys.len() + 1) {
            self.grow();
        }
        let mut slot = self.slot(key);
        loop {
            match self.slots[slot] {
                0 => break,
                number if self.keys[number as usize - 1] == key => return number as usize - 1,
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
        self.keys.push(key);
        self.slots[slot] = self.keys.len() as u32;
        self.keys.len() - 1
    }

    fn grow(&mut self) {
        self.slots = vec![0; (2 * self.slots.len()).max(64)];
        for number in 0..self.keys.len() {
            let mut slot = self.slot(self.keys[number]);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (self.slots.len() - 1);
            }
            self.slots[slot] = number as u32 + 1;
        }
    }
}

/// Where joined tuples go: summed by the variables that are kept.
struct Sink<'a> {
    keep: &'a [usize],
    bits: &'a [u32],
    probe: &'a Factor,
    build: &'a Factor,
    /// By tuple of each side its part of the key of the output.
    probe_keys: Vec<u64>,
    build_keys: Vec<u64>,
    sums: Sums,
}

enum Sums {
    /// Nothing is kept.
    One(u128),
    /// By key.
    Dense(Vec<u128>),
    /// By number of the key.
    Sparse(Groups, Vec<u128>),
    /// Summing would not help, or the keys are too wide: tuple after tuple.
    All(Factor),
}

impl<'a> Sink<'a> {
    fn new(probe: &'a Factor, build: &'a Factor, keep: &'a [usize], bits: &'a [u32]) -> Self {
        let width = width(keep, bits);
        let kept = |variable: &usize| keep.contains(variable);
        let whole = probe.variables.iter().chain(&build.variables).all(kept);
        let sums = if keep.is_empty() {
            Sums::One(0)
        } else if whole || width > 64 {
            Sums::All(Factor {
                variables: keep.to_vec(),
                columns: vec![vec![]; keep.len()],
                weights: vec![],
            })
        } else if let Some(slots) = dense_slots(width, probe.len() + build.len()) {
            Sums::Dense(vec![0; slots])
        } else {
            Sums::Sparse(Groups::default(), vec![])
        };
        let keyed = matches!(sums, Sums::Dense(_) | Sums::Sparse(..));
        let only_build: Vec<usize> = build
            .variables
            .iter()
            .filter(|v| !probe.variables.contains(v))
            .copied()
            .collect();
        let mut build_keys = vec![];
        if keyed && only_build.iter().any(kept) {
            // A column of both sides counts once.
            let own = Factor {
                columns: only_build
                    .iter()
                    .filter_map(|v| Some(build.column(*v)?.to_vec()))
                    .collect(),
                variables: only_build,
                weights: build.weights.clone(),
            };
            build_keys = partial_keys(&own, keep, bits);
        }
        Self {
            keep,
            bits,
            probe_keys: if keyed {
                partial_keys(probe, keep, bits)
            } else {
                vec![]
            },
            build_keys,
            probe,
            build,
            sums,
        }
    }

    /// Adds the joined tuple of `i` of the probe side and `j` of the build side, which is out of range if nothing of it is kept.
    #[inline]
    fn add(&mut self, i: usize, j: usize, weight: u128) -> Result<(), GaveUp> {
        let sum = match &mut self.sums {
            Sums::One(sum) => sum,
            Sums::Dense(sums) => {
                let key = self.probe_keys[i] | self.build_keys.get(j).copied().unwrap_or(0);
                &mut sums[key as usize]
            }
            Sums::Sparse(groups, sums) => {
                let key = self.probe_keys[i] | self.build_keys.get(j).copied().unwrap_or(0);
                let group = groups.insert(key);
                if group == sums.len() {
                    if group == MOST_TUPLES {
                        return Err(GaveUp::Memory);
                    }
                    sums.push(0);
                }
                &mut sums[group]
            }
            Sums::All(factor) => {
                if factor.len() == MOST_TUPLES {
                    return Err(GaveUp::Memory);
                }
                for (variable, column) in self.keep.iter().zip(&mut factor.columns) {
                    let code = match self.probe.column(*variable) {
                        Some(codes) => codes.get(i),
                        None => self.build.column(*variable).and_then(|codes| codes.get(j)),
                    };
                    column.push(code.copied().unwrap_or(NULL));
                }
                factor.weights.push(weight);
                return Ok(());
            }
        };
        *sum = sum.checked_add(weight).ok_or(GaveUp::Overflow)?;
        Ok(())
    }

    fn finish(self) -> Result<Factor, GaveUp> {
        let (keys, weights) = match self.sums {
            Sums::All(factor) => return Ok(factor),
            Sums::One(sum) => (vec![0], vec![sum]),
            Sums::Sparse(groups, sums) => (groups.keys, sums),
            Sums::Dense(sums) => {
                let used = sums.iter().enumerate().filter(|(_, sum)| **sum > 0);
                used.map(|(key, sum)| (key as u64, *sum)).unzip()
            }
        };
        let mut shift = 0;
        let mut columns = Vec::with_capacity(self.keep.len());
        for variable in self.keep {
            let mask = (1_u64 << self.bits[*variable]) - 1;
            columns.push(
                keys.iter()
                    .map(|key| (key >> shift & mask) as u32)
                    .collect(),
            );
            shift += self.bits[*variable];
        }
        Ok(Factor {
            variables: self.keep.to_vec(),
            columns,
            weights,
        })
    }
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

/// By tuple whether a test holds.
pub(crate) fn passes(test: &Test, columns: &[Vec<u32>]) -> Result<Vec<bool>, GaveUp> {
    match (test, columns) {
        (Test::Compare(comparison), [left, right]) => {
            let pairs = left.iter().zip(right);
            Ok(pairs.map(|(l, r)| comparison.holds(*l, *r)).collect())
        }
        (Test::Evaluated(evaluate), columns) => evaluate(columns).map_err(|error| {
            tracing::warn!(%error, "a predicate cannot be evaluated");
            GaveUp::Predicate
        }),
        _ => Err(GaveUp::Predicate),
    }
}
