//! The tuples of a factor by key: some of its codes in one word.

use super::factor::{Factor, GaveUp};

/// Direct addressing is used up to this many slots a tuple.
const SLOTS_A_TUPLE: usize = 4;

/// By tuple its codes of `variables` in one word.
pub(super) fn keys(factor: &Factor, variables: &[usize], bits: &[u32]) -> Result<Vec<u64>, GaveUp> {
    if width(variables, bits) > 64 {
        return Err(GaveUp::Memory);
    }
    Ok(partial_keys(factor, variables, bits))
}

/// The part of the keys that a factor's own columns make up; the parts of two factors add up.
pub(super) fn partial_keys(factor: &Factor, variables: &[usize], bits: &[u32]) -> Vec<u64> {
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

pub(super) fn width(variables: &[usize], bits: &[u32]) -> u32 {
    variables.iter().map(|variable| bits[*variable]).sum()
}

/// The slots of direct addressing by keys of so many bits, if there are few enough for so many tuples.
pub(super) fn dense_slots(width: u32, tuples: usize) -> Option<usize> {
    let slots = 1_usize.checked_shl(width)?;
    (width < 40 && slots <= (tuples * SLOTS_A_TUPLE).max(1 << 12)).then_some(slots)
}

/// The tuples of a factor by key.
pub(super) struct Index {
    /// The group of a key, where keys are too sparse to be groups themselves.
    groups: Option<Groups>,
    /// Where each group starts among `rows`, and where the last one ends.
    pub(super) starts: Vec<u32>,
    pub(super) rows: Vec<u32>,
}

impl Index {
    pub(super) fn new(factor: &Factor, variables: &[usize], bits: &[u32]) -> Result<Self, GaveUp> {
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

    pub(super) fn group(&self, key: u64) -> Option<(usize, usize)> {
        let group = match &self.groups {
            None => key as usize,
            Some(groups) => groups.find(key)?,
        };
        let (start, end) = (self.starts[group] as usize, self.starts[group + 1] as usize);
        (start < end).then_some((start, end))
    }

    pub(super) fn matches(&self, key: u64) -> &[u32] {
        match self.group(key) {
            Some((start, end)) => &self.rows[start..end],
            None => &[],
        }
    }
}

/// Numbers keys in the order in which they come: open addressing, half full at most.
#[derive(Default)]
pub(super) struct Groups {
    /// By slot the number of a key plus one, or zero.
    slots: Vec<u32>,
    pub(super) keys: Vec<u64>,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    fn slot(&self, key: u64) -> usize {
        // Fibonacci hashing: the high bits of the product are the well mixed ones.
        let mixed = (key ^ (key >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    pub(super) fn find(&self, key: u64) -> Option<usize> {
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

    pub(super) fn insert(&mut self, key: u64) -> usize {
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
