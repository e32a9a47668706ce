//! Semi and anti joins: which of the rows that are known have a partner among those known of another relation.

use super::leaf::small_count;
use crate::query_graph::{Membership, Relation};
use datafusion::arrow::array::BooleanBufferBuilder;
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::logical_expr::utils::split_conjunction;
use foldhash::HashSet;
use joinwright_stats::{KeyIndex, RowSet, Selection};
use std::sync::Arc;

/// Of more rows only some are looked at.
const MOST_ROWS: usize = 16_384;
/// So many of them.
const LOOKED_UP: usize = 4096;

/// What a membership leaves of some rows.
#[derive(Debug)]
pub(super) enum Members {
    /// By row, whether it stays.
    Rows(BooleanBuffer),
    /// The share of rows that stays.
    Share(f64),
}

/// What a membership leaves of rows of its relation.
pub(super) fn members(membership: &Membership, set: &RowSet) -> Members {
    known(membership, set).unwrap_or(Members::Share(membership.share))
}

/// The rows that a membership leaves, where these are known one by one.
pub(crate) fn rows_left(membership: &Membership, set: &RowSet) -> Option<BooleanBuffer> {
    match known(membership, set)? {
        Members::Rows(rows) => Some(rows),
        Members::Share(_) => None,
    }
}

fn known(membership: &Membership, set: &RowSet) -> Option<Members> {
    let own: Vec<Arc<KeyIndex>> = indexes(set, membership.keys.iter().map(|keys| &keys.0))?;
    let (first, rest) = own.split_first()?;
    let rows = set.batch.num_rows();
    let kept = |has_partner: bool| has_partner != membership.anti;
    let other = &membership.other;
    let details = other.details.as_ref()?;
    let key = &membership.keys.first()?.1;
    if let Some(all) = details.all_rows().filter(|all| all.batch.num_rows() > 0) {
        let partners = Partners::new(other, membership, &all)?;
        if let Some(found) = partners.find(first, rest) {
            return Some(Members::Rows(match membership.anti {
                true => !&found,
                false => found,
            }));
        }
        let stays = |row: usize| kept(partners.of(first, rest, row as u32));
        if rows <= MOST_ROWS {
            return Some(Members::Rows(BooleanBuffer::collect_bool(rows, stays)));
        }
        let looked_up = (0..rows).step_by(rows.div_ceil(LOOKED_UP));
        let (seen, hits) = looked_up.fold((0.0, 0.0), |(seen, hits), row| {
            (seen + 1.0, hits + f64::from(u8::from(stays(row))))
        });
        return Some(Members::Share(small_count(hits, seen, membership.share)));
    }
    if let Some(sample) = details.rows_by_key(key)
        && let Selection::ByKey { below, .. } = sample.selection
        && let Some(partners) = Partners::new(other, membership, &sample)
    {
        let seen = |row: &u32| first.hash(*row).is_some_and(|hash| hash < below);
        let nulls = rows - first.all_rows().len();
        let known: Vec<u32> = (0..rows as u32).filter(seen).collect();
        if known.len() + nulls == rows {
            // The samples of both have the same keys.
            let stays = |row: usize| kept(partners.of(first, rest, row as u32));
            return Some(Members::Rows(BooleanBuffer::collect_bool(rows, stays)));
        }
        let stay = known
            .iter()
            .filter(|row| kept(partners.of(first, rest, **row)));
        let share = small_count(stay.count() as f64, known.len() as f64, membership.share);
        return Some(Members::Share(share));
    }
    let unrestricted = other.predicates.is_empty() && other.memberships.is_empty();
    let degrees = details
        .degrees(key)
        .filter(|_| unrestricted && rest.is_empty())?;
    let vector = degrees.vector.as_ref()?;
    let step = rows.div_ceil(LOOKED_UP).max(1);
    let looked_up = (0..rows).step_by(step).map(|row| {
        let hash = first.hash(row as u32);
        hash.is_some_and(|hash| vector.degree(hash) > 0)
    });
    let stay: Vec<bool> = looked_up.map(kept).collect();
    let hits = stay.iter().filter(|stays| **stays).count();
    let share = small_count(hits as f64, stay.len() as f64, membership.share);
    Some(Members::Share(share))
}

fn indexes<'a>(
    set: &RowSet,
    columns: impl Iterator<Item = &'a String>,
) -> Option<Vec<Arc<KeyIndex>>> {
    columns.map(|column| set.index(column)).collect()
}

/// The keys of the rows of the other relation that pass.
enum Partners {
    /// All rows pass, and there is one key.
    All(Arc<KeyIndex>),
    /// Hashes of all keys of a row together.
    Some(HashSet<u64>),
}

impl Partners {
    /// `None` if a predicate cannot be evaluated.
    fn new(other: &Relation, membership: &Membership, set: &Arc<RowSet>) -> Option<Self> {
        let keys = indexes(set, membership.keys.iter().map(|keys| &keys.1))?;
        let (first, rest) = keys.split_first()?;
        if rest.is_empty() && other.predicates.is_empty() && other.memberships.is_empty() {
            return Some(Self::All(Arc::clone(first)));
        }
        let mut pass = BooleanBuffer::new_set(set.batch.num_rows());
        let type_of = |name: &str| other.base_type(name);
        for conjunct in other.predicates.iter().flat_map(split_conjunction) {
            pass = &pass & &other.evaluations.evaluate(conjunct, set, &type_of)?.rows;
        }
        for membership in &other.memberships {
            let Members::Rows(rows) = known(membership, set)? else {
                return None;
            };
            pass = &pass & &rows;
        }
        let passing = pass.set_indices();
        let hashes = passing.filter_map(|row| together(first, rest, row as u32));
        Some(Self::Some(hashes.collect()))
    }

    /// By row of an index with the key of the partners, whether it has one, where there are few of them to look up.
    fn find(&self, index: &KeyIndex, rest: &[Arc<KeyIndex>]) -> Option<BooleanBuffer> {
        let Self::Some(keys) = self else { return None };
        if !rest.is_empty() || keys.len() > LOOKED_UP {
            return None;
        }
        let mut found = BooleanBufferBuilder::new(index.len());
        found.append_n(index.len(), false);
        for key in keys {
            for row in index.rows(*key) {
                found.set_bit(*row as usize, true);
            }
        }
        Some(found.finish())
    }

    /// Whether a row with these keys has a partner.
    fn of(&self, first: &KeyIndex, rest: &[Arc<KeyIndex>], row: u32) -> bool {
        let Some(hash) = together(first, rest, row) else {
            return false;
        };
        match self {
            Self::All(index) => !index.rows(hash).is_empty(),
            Self::Some(hashes) => hashes.contains(&hash),
        }
    }
}

/// The hash of all keys of a row, that of the first one if there is no other; `None` if one is NULL.
fn together(first: &KeyIndex, rest: &[Arc<KeyIndex>], row: u32) -> Option<u64> {
    rest.iter().try_fold(first.hash(row)?, |hash, key| {
        let mixed = hash.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Some(mixed ^ key.hash(row)?)
    })
}
