//! Semi and anti joins: what they leave of the relation that has their keys.

use super::Deriver;
use super::table::{peel, rename};
use crate::estimate::Profile;
use crate::extract::{self, Kinds};
use crate::query_graph::{Membership, Relation};
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use std::sync::Arc;

impl Deriver<'_> {
    /// A semi or anti join whose outer side is a table or a region: it restricts the one relation that has its keys.
    pub(super) fn semi_join(&self, join: &Join) -> Option<Profile> {
        let semi = Semi::of(join)?;
        let mut region = self.region_below(semi.outer).or_else(|| {
            let relation = self.relation(semi.outer, String::new());
            relation
                .table
                .is_some()
                .then(|| extract::Region::of_one(semi.outer, relation))
        })?;
        let fields = semi.outer_fields()?;
        let mut owners = fields.iter().map(|field| region.output.get(*field));
        let owner = owners.next()??.0;
        if !owners.all(|other| other.is_some_and(|other| other.0 == owner)) {
            return None;
        }
        let relations = &region.graph.relations;
        let profiles: Vec<Profile> = relations.iter().map(crate::estimate::restricted).collect();
        let outer = Profile {
            columns: region
                .output
                .iter()
                .map(|(relation, field)| profiles[*relation].columns[*field].clone())
                .collect(),
            ..profiles.get(owner)?.clone()
        };
        let fields: Vec<usize> = fields.iter().map(|field| region.output[*field].1).collect();
        let membership =
            self.membership(&semi, &fields, region.graph.relations.get(owner)?, outer)?;
        region.graph.relations[owner].memberships.push(membership);
        Some(self.region(&region))
    }

    /// The region under aliases and column-only projections.
    #[recursive::recursive]
    pub(super) fn region_below(&self, plan: &LogicalPlan) -> Option<extract::Region> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.region_below(&alias.input),
            LogicalPlan::Projection(projection) => {
                let mut region = self.region_below(&projection.input)?;
                let schema = projection.input.schema();
                let place = |e: &Expr| {
                    let index = schema.maybe_index_of_column(extract::plain_column(e)?)?;
                    region.output.get(index).copied()
                };
                region.output = projection.expr.iter().map(place).collect::<Option<_>>()?;
                Some(region)
            }
            LogicalPlan::Join(_) => extract::region(plan, Kinds::Inner, self),
            _ => None,
        }
    }

    /// A table under semi and anti joins, and under what a table may be under.
    #[recursive::recursive]
    pub(super) fn semi_joined(&self, plan: &LogicalPlan) -> Option<Relation> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.semi_joined(&alias.input),
            LogicalPlan::Filter(filter) => {
                let mut relation = self.semi_joined(&filter.input)?;
                let schema = filter.input.schema();
                let name = |c: &Column| {
                    let place = *relation.output.get(schema.maybe_index_of_column(c)?)?;
                    relation.base_columns.get(place).cloned()
                };
                let predicate = rename(&filter.predicate, &name)?;
                relation.predicates.push(predicate);
                Some(relation)
            }
            LogicalPlan::Projection(projection) => {
                let mut relation = self.semi_joined(&projection.input)?;
                let schema = projection.input.schema();
                let place = |e: &Expr| {
                    let index = schema.maybe_index_of_column(extract::plain_column(e)?)?;
                    relation.output.get(index).copied()
                };
                relation.output = projection.expr.iter().map(place).collect::<Option<_>>()?;
                Some(relation)
            }
            LogicalPlan::Join(join) => {
                let semi = Semi::of(join)?;
                let mut relation = match peel(semi.outer) {
                    Some(peeled) => self.table(peeled, String::new()),
                    None => self.semi_joined(semi.outer)?,
                };
                let fields = semi.outer_fields()?;
                let outer = crate::estimate::restricted(&relation);
                let membership = self.membership(&semi, &fields, &relation, outer)?;
                relation.memberships.push(membership);
                Some(relation)
            }
            _ => None,
        }
    }

    /// What a semi or anti join of a table means for the table.
    pub(super) fn membership_of(&self, join: &Join, relation: &Relation) -> Option<Membership> {
        relation.table.as_ref()?;
        let semi = Semi::of(join)?;
        let fields = semi.outer_fields()?;
        self.membership(
            &semi,
            &fields,
            relation,
            crate::estimate::restricted(relation),
        )
    }

    /// What a semi or anti join means for the relation that has its keys in `fields` of its schema; `outer` is the profile of the
    /// join's outer side.
    fn membership(
        &self,
        semi: &Semi<'_>,
        fields: &[usize],
        relation: &Relation,
        outer: Profile,
    ) -> Option<Membership> {
        let other = self.relation(semi.inner, String::new());
        let rows = outer.rows;
        let inner = crate::estimate::restricted(&other);
        let (left, right) = match semi.outer_is_left {
            true => (outer, inner),
            false => (inner, outer),
        };
        let joined = self.two_way_join(semi.join, left, right);
        let name = |relation: &Relation, field: usize| {
            relation
                .base_columns
                .get(*relation.output.get(field)?)
                .cloned()
        };
        let keys = match semi.join.filter {
            Some(_) => Some(vec![]),
            None => fields
                .iter()
                .zip(semi.inner_fields().unwrap_or_default())
                .map(|(field, other_field)| {
                    Some((name(relation, *field)?, name(&other, other_field)?))
                })
                .collect(),
        };
        Some(Membership {
            keys: keys?,
            other: Arc::new(other),
            anti: semi.anti,
            share: (joined.rows / rows).clamp(0.0, 1.0),
        })
    }
}

/// A semi or anti join.
struct Semi<'a> {
    join: &'a Join,
    /// The side whose rows are kept or not.
    outer: &'a LogicalPlan,
    inner: &'a LogicalPlan,
    outer_is_left: bool,
    anti: bool,
}

impl<'a> Semi<'a> {
    fn of(join: &'a Join) -> Option<Self> {
        let (outer_is_left, anti) = match join.join_type {
            JoinType::LeftSemi => (true, false),
            JoinType::LeftAnti => (true, true),
            JoinType::RightSemi => (false, false),
            JoinType::RightAnti => (false, true),
            _ => return None,
        };
        let (outer, inner) = match outer_is_left {
            true => (join.left.as_ref(), join.right.as_ref()),
            false => (join.right.as_ref(), join.left.as_ref()),
        };
        (!join.on.is_empty()).then_some(Self {
            join,
            outer,
            inner,
            outer_is_left,
            anti,
        })
    }

    /// The keys as fields of the outer side; `None` if one is no column.
    fn outer_fields(&self) -> Option<Vec<usize>> {
        let schema = self.outer.schema();
        let on = self.join.on.iter();
        let keys = on.map(|(left, right)| if self.outer_is_left { left } else { right });
        keys.map(|key| schema.maybe_index_of_column(extract::plain_column(key)?))
            .collect()
    }

    /// The keys as fields of the inner side; `None` if one is no column.
    fn inner_fields(&self) -> Option<Vec<usize>> {
        let schema = self.inner.schema();
        let on = self.join.on.iter();
        let keys = on.map(|(left, right)| if self.outer_is_left { right } else { left });
        keys.map(|key| schema.maybe_index_of_column(extract::plain_column(key)?))
            .collect()
    }
}
