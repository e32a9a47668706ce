//! Constants that come from scalar subqueries: what they are, as far as known rows tell.
//!
//! `d_month_seq = (SELECT DISTINCT d_month_seq FROM date_dim WHERE d_year = 2001 AND d_moy = 1)` compares with a constant that is not known
//! before the query runs. Where every row of the subquery's table is known, so is the constant. It serves estimates alone.

use super::Deriver;
use super::table::{Peeled, computed};
use crate::estimate::evaluate_at;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
use joinwright_stats::CODING;

impl Deriver<'_> {
    /// The predicate with constants in the place of scalar subqueries, where these are known.
    pub(crate) fn with_constants(&self, predicate: Expr) -> Expr {
        let is_subquery = |e: &Expr| Ok(matches!(e, Expr::ScalarSubquery(_)));
        if !predicate.exists(is_subquery).unwrap_or(false) {
            return predicate;
        }
        let replaced = predicate.clone().transform_up(|e| {
            Ok(match &e {
                Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() => {
                    match self.constant(&subquery.subquery) {
                        Some(value) => Transformed::yes(Expr::Literal(value, None)),
                        None => Transformed::no(e),
                    }
                }
                _ => Transformed::no(e),
            })
        });
        replaced.map_or(predicate, |replaced| replaced.data)
    }

    /// The one value of a plan without joins.
    #[recursive::recursive]
    fn constant(&self, plan: &LogicalPlan) -> Option<ScalarValue> {
        match plan {
            LogicalPlan::Distinct(Distinct::All(input)) => return self.constant(input),
            LogicalPlan::SubqueryAlias(alias) => return self.constant(&alias.input),
            LogicalPlan::Projection(projection) => {
                if let [Expr::Column(_)] = projection.expr.as_slice()
                    && projection.input.schema().fields().len() == 1
                {
                    return self.constant(&projection.input);
                }
            }
            LogicalPlan::Aggregate(aggregate) => {
                let [Expr::Column(_)] = aggregate.group_expr.as_slice() else {
                    return None;
                };
                let alone = aggregate.aggr_expr.is_empty();
                let one_field = aggregate.input.schema().fields().len() == 1;
                return (alone && one_field).then(|| self.constant(&aggregate.input))?;
            }
            _ => {}
        }
        let table = computed(plan)?;
        let [output] = table.output.as_slice() else {
            return None;
        };
        let output = output.clone();
        let names = output.column_refs().into_iter().map(|c| c.name.clone());
        let peeled = Peeled {
            scan: table.scan,
            predicates: table.predicates,
            output: names.collect(),
        };
        let relation = self.table(peeled, String::new());
        let all = relation.details.as_ref()?.all_rows()?;
        // What is wrong here would be wrong in bounds, too.
        let fields = all.batch.schema();
        let is_plain = |name: &String| {
            let field = fields.field_with_name(name);
            field.is_ok_and(|field| !field.metadata().contains_key(CODING))
        };
        if relation.base.stale || !relation.base_columns.iter().all(is_plain) {
            return None;
        }
        let type_of = |name: &str| relation.base_type(name);
        let conjuncts = relation.predicates.iter().flat_map(split_conjunction);
        let conjuncts: Vec<Expr> = conjuncts.cloned().collect();
        let passing = relation
            .evaluations
            .evaluate_all(&conjuncts, &all, &type_of)?;
        evaluate_at(&output, &all, passing.set_indices().next()?, &type_of)
    }
}
