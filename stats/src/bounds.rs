//! Minimum and maximum over parts (row groups, files), some of which may not know theirs.

use std::cmp::Ordering;

use crate::value::Value;

/// One end of a column's range.
#[derive(Clone, Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Bound {
    /// `None` where unknown, and where there is no value at all.
    pub(crate) value: Option<Value>,
    /// The bound is a value of the column. False for a truncated bound and without a value.
    pub(crate) exact: bool,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Min,
    Max,
}

/// Folds the bounds of parts into the bound of the whole, the same in any order.
#[derive(Clone, Debug)]
pub(crate) struct BoundFold {
    end: End,
    bound: Bound,
    unknown: bool,
}

impl BoundFold {
    pub(crate) fn new(end: End) -> Self {
        Self {
            end,
            bound: Bound::default(),
            unknown: false,
        }
    }

    /// Adds a part that holds at least one value. Parts without values are left out by the caller.
    ///
    /// A part without bound makes the whole unknown, as does one whose bound does not compare.
    pub(crate) fn add(&mut self, part: &Bound) {
        let Some(value) = &part.value else {
            self.unknown = true;
            return;
        };
        let Some(current) = &self.bound.value else {
            self.bound = part.clone();
            return;
        };
        let wins = match self.end {
            End::Min => Ordering::Less,
            End::Max => Ordering::Greater,
        };
        match value.compare(current) {
            None => self.unknown = true,
            // An exact value that nothing surpasses is the true extreme, whatever ties with it.
            Some(Ordering::Equal) => self.bound.exact |= part.exact,
            Some(order) if order == wins => self.bound = part.clone(),
            Some(_) => {}
        }
    }

    pub(crate) fn finish(self) -> Bound {
        if self.unknown {
            Bound::default()
        } else {
            self.bound
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(value: i128, exact: bool) -> Bound {
        Bound {
            value: Some(Value::Int(value)),
            exact,
        }
    }

    fn check(end: End, parts: &[Bound], expected: &Bound) {
        for rotation in 0..parts.len() {
            let mut fold = BoundFold::new(end);
            let (tail, head) = parts.split_at(rotation);
            head.iter().chain(tail).for_each(|part| fold.add(part));
            assert_eq!(&fold.finish(), expected);
        }
    }

    #[test]
    fn folds_in_any_order() {
        let parts = [part(3, true), part(1, false), part(7, true)];
        check(End::Min, &parts, &part(1, false));
        check(End::Max, &parts, &part(7, true));
        check(End::Min, &[part(1, false), part(1, true)], &part(1, true));
        let unknown = [part(3, true), Bound::default(), part(1, true)];
        check(End::Min, &unknown, &Bound::default());
        let float = Bound {
            value: Some(Value::Float(0.5)),
            exact: true,
        };
        check(End::Max, &[part(3, true), float], &Bound::default());
        check(End::Max, &[], &Bound::default());
    }
}
