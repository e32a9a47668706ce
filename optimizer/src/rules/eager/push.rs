//! The plan in which an aggregate's functions are computed in part further below.

use super::functions::Function;
use super::place::{Needs, Place, Step, input_of};
use datafusion::common::{Column, DFSchema, Result, plan_err};
use datafusion::logical_expr::{Aggregate, Expr, Filter, Join, LogicalPlan, Projection};
use std::collections::HashSet;
use std::sync::Arc;

/// The plan of `aggregate` with an aggregate at a place below it, and with the same schema.
pub(super) fn push(
    aggregate: &Aggregate,
    needs: &Needs,
    functions: &[Function],
    place: &Place,
) -> Result<LogicalPlan> {
    let schema = aggregate.input.schema();
    let Some(needs) = needs.clone().for_place(schema, functions, &place.needs) else {
        return plan_err!("an aggregate pushed down needs what is not there");
    };
    let mut names = Names::of(aggregate);
    let mut parts = vec![];
    let mut columns: Vec<Vec<Expr>> = vec![];
    for (function, args) in functions.iter().zip(&place.needs.args) {
        let own = args.iter().flat_map(|args| function.parts(args));
        let mut of_function = vec![];
        for part in own {
            let name = names.fresh();
            parts.push(part.alias(&name));
            of_function.push(Expr::Column(Column::from_name(name)));
        }
        columns.push(of_function);
    }
    let passed: Vec<Expr> = columns.iter().flatten().cloned().collect();
    let pushing = Pushing {
        functions,
        parts,
        passed: &passed,
    };
    let input = pushing.rebuilt(&aggregate.input, &needs, &place.path)?;

    let mut merged = vec![];
    for ((function, args), parts) in functions.iter().zip(&place.needs.args).zip(&columns) {
        match args {
            Some(_) => merged.extend(function.merged(parts)),
            None => merged.push(function.whole.clone()),
        }
    }
    let top = Aggregate::try_new(Arc::new(input), aggregate.group_expr.clone(), merged)?;
    let own = top.schema.columns();
    let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let mut results: Vec<Expr> = own.iter().take(groups).cloned().map(Expr::Column).collect();
    let mut at = groups;
    for (function, parts) in functions.iter().zip(&columns) {
        let width = if parts.is_empty() { 1 } else { parts.len() };
        let Some(columns) = own.get(at..at + width) else {
            return plan_err!("an aggregate of {} columns", own.len());
        };
        let columns: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
        at += width;
        results.push(match (parts.is_empty(), columns.as_slice()) {
            (true, [whole]) => whole.clone(),
            _ => function.result(&columns)?,
        });
    }
    let named = aggregate.schema.iter().zip(&own).zip(results);
    let results = named
        .enumerate()
        .map(|(i, (((qualifier, field), own), expr))| {
            let same =
                i < groups && own.relation.as_ref() == qualifier && own.name == *field.name();
            match same {
                true => expr,
                false => expr.alias_qualified(qualifier.cloned(), field.name()),
            }
        });
    let results: Vec<Expr> = results.collect();
    let projection = Projection::try_new(results, Arc::new(LogicalPlan::Aggregate(top)))?;
    let plan = LogicalPlan::Projection(projection);
    // To the last bit: who asked for the plan's schema before has that of the old one.
    if !plan.schema().iter().eq(aggregate.schema.iter()) {
        return plan_err!("an aggregate pushed down has another schema");
    }
    Ok(plan)
}

struct Pushing<'a> {
    functions: &'a [Function],
    parts: Vec<Expr>,
    /// The columns of the parts.
    passed: &'a [Expr],
}

impl Pushing<'_> {
    #[recursive::recursive]
    fn rebuilt(&self, node: &LogicalPlan, needs: &Needs, path: &[Step]) -> Result<LogicalPlan> {
        let Some((step, path)) = path.split_first() else {
            return self.aggregated(node, needs);
        };
        let below = needs.of_input(node, *step, self.functions);
        let (Some(input), Some(below)) = (input_of(node, *step), below) else {
            return plan_err!("no way down to an aggregate at {}", node.display());
        };
        let input = Arc::new(self.rebuilt(input, &below, path)?);
        Ok(match node {
            LogicalPlan::Join(join) => {
                let (left, right) = match step {
                    Step::Left => (input, Arc::clone(&join.right)),
                    _ => (Arc::clone(&join.left), input),
                };
                LogicalPlan::Join(Join::try_new(
                    left,
                    right,
                    join.on.clone(),
                    join.filter.clone(),
                    join.join_type,
                    join.join_constraint,
                    join.null_equality,
                    join.null_aware,
                )?)
            }
            LogicalPlan::Projection(projection) => {
                let kept = needs
                    .fields
                    .iter()
                    .map(|field| projection.expr[*field].clone());
                self.projected(kept, input)?
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let columns = alias.input.schema().columns();
                let kept = needs.fields.iter().map(|field| {
                    let (qualifier, own) = alias.schema.qualified_field(*field);
                    let column = Expr::Column(columns[*field].clone());
                    column.alias_qualified(qualifier.cloned(), own.name())
                });
                self.projected(kept, input)?
            }
            LogicalPlan::Filter(filter) => {
                LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), input)?)
            }
            other => return plan_err!("no way down through {}", other.display()),
        })
    }

    fn projected(
        &self,
        kept: impl Iterator<Item = Expr>,
        input: Arc<LogicalPlan>,
    ) -> Result<LogicalPlan> {
        let exprs = kept.chain(self.passed.iter().cloned()).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, input)?))
    }

    fn aggregated(&self, node: &LogicalPlan, needs: &Needs) -> Result<LogicalPlan> {
        let columns = node.schema().columns();
        let groups = needs.fields.iter().map(|field| columns[*field].clone());
        let groups = groups.map(Expr::Column).collect();
        let input = Arc::new(node.clone());
        let aggregate = Aggregate::try_new(input, groups, self.parts.clone())?;
        Ok(LogicalPlan::Aggregate(aggregate))
    }
}

/// Names that no column around an aggregate has.
struct Names {
    taken: HashSet<String>,
    next: usize,
}

impl Names {
    fn of(aggregate: &Aggregate) -> Self {
        let names = |schema: &DFSchema| -> Vec<String> {
            schema.fields().iter().map(|f| f.name().clone()).collect()
        };
        let mut taken: HashSet<String> = names(&aggregate.schema).into_iter().collect();
        let mut nodes: Vec<&LogicalPlan> = vec![&aggregate.input];
        while let Some(node) = nodes.pop() {
            taken.extend(names(node.schema()));
            nodes.extend(node.inputs());
        }
        Self { taken, next: 0 }
    }

    fn fresh(&mut self) -> String {
        loop {
            let name = format!("__joinwright_part_{}", self.next);
            self.next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}
