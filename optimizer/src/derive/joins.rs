//! Profiles of joins: of regions by the estimator, of outer joins by what they consist of, of the rest by formulas.

use super::domains::{Keys, Regions};
use super::{Deriver, column_of};
use crate::estimate::{ColumnProfile, EstimateSource, Profile, selectivity};
use crate::extract::{self, Kinds};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// Of the rows that an anti join or an unmatched filter would drop, this share stays at least.
const LEAST_ANTI_SHARE: f64 = 0.05;

/// Tells joins from each other: the addresses of the inputs, the kind, a hash of the conditions.
pub(super) type JoinKey = (*const LogicalPlan, *const LogicalPlan, JoinType, u64);

/// The profile of a join, with the inputs, whose addresses must not be used again as long as it is known.
#[derive(Debug)]
pub(super) struct Derived {
    profile: Profile,
    _inputs: [Arc<LogicalPlan>; 2],
}

fn join_key(join: &Join) -> JoinKey {
    let mut hasher = DefaultHasher::new();
    (&join.on, &join.filter).hash(&mut hasher);
    (
        Arc::as_ptr(&join.left),
        Arc::as_ptr(&join.right),
        join.join_type,
        hasher.finish(),
    )
}

impl Deriver<'_> {
    pub(super) fn join(&self, plan: &LogicalPlan, join: &Join) -> Profile {
        let key = join_key(join);
        if let Some(derived) = self.joins.borrow().get(&key) {
            return derived.profile.clone();
        }
        let profile = self.derive_join(plan, join);
        let derived = Derived {
            profile: profile.clone(),
            _inputs: [Arc::clone(&join.left), Arc::clone(&join.right)],
        };
        self.joins.borrow_mut().insert(key, derived);
        profile
    }

    fn derive_join(&self, plan: &LogicalPlan, join: &Join) -> Profile {
        if let Some(region) = extract::region(plan, Kinds::Inner, self) {
            return self.region(&region);
        }
        if self.thorough
            && let Some(profile) = self.outer_join(join)
        {
            return profile;
        }
        if let Some(profile) = self.semi_join(join) {
            return profile;
        }
        self.two_way_join(join, self.profile(&join.left), self.profile(&join.right))
    }

    /// A left or right join: the inner join, and the rows of one side that the anti join leaves.
    fn outer_join(&self, join: &Join) -> Option<Profile> {
        let of_left = join.left.schema().fields().len();
        let all = join.schema.fields().len();
        let (anti_type, preserved, kept) = match join.join_type {
            JoinType::Left => (JoinType::LeftAnti, &join.left, 0..of_left),
            JoinType::Right => (JoinType::RightAnti, &join.right, of_left..all),
            _ => return None,
        };
        let of_type = |join_type| Join {
            join_type,
            ..join.clone()
        };
        let inner = LogicalPlan::Join(of_type(JoinType::Inner));
        let mut profile = self.region(&extract::region(&inner, Kinds::Inner, self)?);
        let alone = self.semi_join(&of_type(anti_type))?;
        let keys: Vec<usize> = join
            .on
            .iter()
            .flat_map(|(left, right)| [left, right])
            .filter_map(|key| {
                join.schema
                    .maybe_index_of_column(extract::plain_column(key)?)
            })
            .collect();
        let matched = profile.rows;
        profile.rows += alone.rows;
        profile.source = profile.source.max(alone.source);
        let before = self.profile(preserved);
        for (at, column) in profile.columns.iter_mut().enumerate() {
            // A row with a partner has no NULL in a key.
            let is_key = keys.contains(&at);
            let of_matched = match is_key {
                true => 0.0,
                false => matched * column.null_fraction,
            };
            let own = kept.contains(&at).then(|| at - kept.start);
            let own = own.and_then(|at| before.columns.get(at));
            let of_alone = match own {
                // So rows of this side that have one are all without a partner.
                Some(own) if is_key => (before.rows * own.null_fraction).min(alone.rows),
                Some(own) => alone.rows * own.null_fraction,
                None => alone.rows,
            };
            if let Some(own) = own {
                column.ndv = own.ndv;
            }
            column.null_fraction = ((of_matched + of_alone) / profile.rows).clamp(0.0, 1.0);
        }
        Some(profile)
    }

    /// A join that is no region of its own: an outer, semi, anti or mark join, of inputs with these profiles.
    pub(super) fn two_way_join(&self, join: &Join, left: Profile, right: Profile) -> Profile {
        let mut inner = left.rows * right.rows;
        // Of the left rows the share with a partner, and of the right rows.
        let (mut left_match, mut right_match) = (1.0_f64, 1.0_f64);
        let mut source = left.source.max(right.source).max(EstimateSource::Ndv);
        let mut regions = Regions::new();
        for (at, (left_key, right_key)) in join.on.iter().enumerate() {
            let left_key = column_of(left_key, join.left.schema(), &left);
            let right_key = column_of(right_key, join.right.schema(), &right);
            // Values that are left of a key are some of those that there are, not those that the other side has.
            let room = self.room_of_keys(join, at..at + 1, &left, &right, &mut regions);
            let room = room.unwrap_or(0.0);
            let of_left = right_key.ndv / left_key.ndv.max(room);
            let of_right = left_key.ndv / right_key.ndv.max(room);
            inner /= left_key.ndv.max(right_key.ndv).max(room);
            left_match = left_match.min(of_left) * (1.0 - left_key.null_fraction);
            right_match = right_match.min(of_right) * (1.0 - right_key.null_fraction);
            source = source.max(left_key.source).max(right_key.source);
        }
        if join.on.len() > 1 {
            // As in `Textbook`: a composite key has no more combinations than there is room for, or than the smaller side rows.
            inner = inner.max(
                match self.room_of_keys(join, 0..join.on.len(), &left, &right, &mut regions) {
                    Some(room) => left.rows * right.rows / room,
                    None => left.rows.max(right.rows).min(left.rows * right.rows) * left_match,
                },
            );
        }
        if let Some(filter) = &join.filter {
            let joined = JoinColumns {
                left: (join.left.schema(), &left),
                right: (join.right.schema(), &right),
            };
            let (share, filter_source) = selectivity::selectivity(filter, &joined);
            inner *= share;
            source = source.max(filter_source);
        }
        let left_match = left_match.min(inner / left.rows).min(1.0);
        let right_match = right_match.min(inner / right.rows).min(1.0);
        let anti = |share: f64| (1.0 - share).max(LEAST_ANTI_SHARE);
        let rows = match join.join_type {
            JoinType::Inner => inner,
            JoinType::Left => inner.max(left.rows * left_match) + left.rows * (1.0 - left_match),
            JoinType::Right => {
                inner.max(right.rows * right_match) + right.rows * (1.0 - right_match)
            }
            JoinType::Full => {
                let alone = left.rows * (1.0 - left_match) + right.rows * (1.0 - right_match);
                inner + alone
            }
            JoinType::LeftSemi => left.rows * left_match,
            JoinType::RightSemi => right.rows * right_match,
            JoinType::LeftAnti => left.rows * anti(left_match),
            JoinType::RightAnti => right.rows * anti(right_match),
            JoinType::LeftMark => left.rows,
            JoinType::RightMark => right.rows,
        };
        let known = left.known && right.known;
        let stale = left.stale || right.stale;
        let rows_of = (left.rows, right.rows);
        let mut profile = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                let mut columns = left.columns;
                columns.extend(right.columns);
                Profile {
                    rows: left.rows.max(right.rows).max(rows),
                    source,
                    known,
                    stale,
                    columns,
                }
            }
        };
        profile.set_rows(rows);
        profile.source = source;
        profile.known = known;
        let left_fields = join.left.schema().fields().len();
        // Rows without a partner have NULL in the columns of the other side.
        let alone =
            |matching: f64, rows: f64, total: f64| (rows * (1.0 - matching) / total).min(1.0);
        let of_left = alone(right_match, rows_of.1, rows);
        let of_right = alone(left_match, rows_of.0, rows);
        for (at, column) in profile.columns.iter_mut().enumerate() {
            let nulls = match join.join_type {
                JoinType::Left if at >= left_fields => of_right,
                JoinType::Right if at < left_fields => of_left,
                JoinType::Full if at < left_fields => of_left,
                JoinType::Full => of_right,
                _ => continue,
            };
            column.null_fraction = (nulls + (1.0 - nulls) * column.null_fraction).clamp(0.0, 1.0);
        }
        profile
    }
}

impl Deriver<'_> {
    /// Combinations that some keys of a join have room for, at least one. `None` if one is no column.
    fn room_of_keys(
        &self,
        join: &Join,
        keys: Range<usize>,
        left: &Profile,
        right: &Profile,
        regions: &mut Regions,
    ) -> Option<f64> {
        let place = |plan: &LogicalPlan, key: &Expr| {
            plan.schema()
                .maybe_index_of_column(extract::plain_column(key)?)
        };
        let keys = join.on.get(keys)?.iter();
        let places = keys.map(|(l, r)| Some((place(&join.left, l)?, place(&join.right, r)?)));
        let places = places.collect::<Option<Vec<_>>>()?;
        let (of_left, of_right): (Vec<usize>, Vec<usize>) = places.into_iter().unzip();
        let of = |profile: &Profile, fields: &[usize]| {
            let columns = fields
                .iter()
                .map(|field| profile.columns.get(*field).cloned());
            columns.collect::<Option<Vec<_>>>().unwrap_or_default()
        };
        let left = Keys {
            plan: &join.left,
            columns: of(left, &of_left),
            fields: &of_left,
        };
        let right = Keys {
            plan: &join.right,
            columns: of(right, &of_right),
            fields: &of_right,
        };
        Some(self.room_of_both(&left, &right, regions).max(1.0))
    }
}

/// The columns of both inputs of a join.
struct JoinColumns<'a> {
    left: (&'a DFSchema, &'a Profile),
    right: (&'a DFSchema, &'a Profile),
}

impl<'a> JoinColumns<'a> {
    fn find(&self, column: &Column) -> Option<(usize, &'a Profile)> {
        [self.left, self.right]
            .into_iter()
            .find_map(|(schema, profile)| Some((schema.maybe_index_of_column(column)?, profile)))
    }
}

impl selectivity::Columns for JoinColumns<'_> {
    fn column(&self, column: &Column) -> Option<&ColumnProfile> {
        let (index, profile) = self.find(column)?;
        profile.columns.get(index)
    }

    fn rows(&self, column: &Column) -> f64 {
        self.find(column).map_or(1.0, |(_, profile)| profile.rows)
    }
}
