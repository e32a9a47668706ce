//! Weighted tables of coded values, and tests of their tuples.
//!
//! A factor is a relation, or a join of several, reduced to the columns by which it meets others: a tuple of codes with the number
//! of rows that have it.

use std::sync::atomic::{AtomicBool, Ordering};

/// The code of NULL where NULL equals nothing.
pub(crate) const NULL: u32 = u32::MAX;

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
    pub(super) fn spend(&mut self, rows: u64) -> Result<(), GaveUp> {
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
    pub(super) fn flipped(self) -> Self {
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

    pub(super) fn column(&self, variable: usize) -> Option<&[u32]> {
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
