//! From a region to the problem of counting: DataFusion reads each leaf once, with its predicates, and groups it by the
//! columns that joins and conditions use; what comes back is coded.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{DataFrame, SessionContext, lit};
use joinwright_optimizer::EstimatedRegion;
use joinwright_optimizer::query_graph::{JoinFilter, resolve_region_column};
use joinwright_optimizer::relset::RelSet;

use super::count::{Condition, Problem, Variable};
use super::factor::{Comparison, Factor, NULL, Test};

/// Integers are their own codes if their range is at most this many times as large as their number.
const SPREAD: usize = 4;

/// A column that a relation is reduced to.
struct Slot {
    variable: usize,
    relation: usize,
    /// In terms of the region.
    key: Expr,
}

/// How the values of some variables are coded: those share their codes.
struct Domain {
    variables: Vec<usize>,
    /// Whether NULL is a value like others.
    null_is_value: bool,
}

/// The slots of a region, before anything is read.
#[derive(Default)]
struct Layout {
    slots: Vec<Slot>,
    variables: Vec<Variable>,
    domains: Vec<Domain>,
}

impl Layout {
    fn add(&mut self, members: Vec<(usize, Expr)>, condition: Option<usize>) -> usize {
        let variable = self.variables.len();
        self.variables.push(Variable {
            domain: 0,
            relations: members.iter().map(|(relation, _)| *relation).collect(),
            condition,
        });
        for (relation, key) in members {
            self.slots.push(Slot {
                variable,
                relation,
                key,
            });
        }
        variable
    }
}

/// Reads the leaves of a region.
pub(crate) async fn reduce(region: &EstimatedRegion, context: &SessionContext) -> Result<Problem> {
    let mut layout = Layout::default();
    for class in &region.graph.classes {
        let members = class.members.iter().map(|m| (m.relation, m.key.clone()));
        let variable = layout.add(members.collect(), None);
        layout.domains.push(Domain {
            variables: vec![variable],
            null_is_value: false,
        });
    }
    let mut evaluated = vec![];
    let mut comparisons = vec![];
    for (i, filter) in region.graph.filters.iter().enumerate() {
        if let Some((comparison, left, right)) = comparison(filter, region) {
            let left = layout.add(vec![left], Some(i));
            let right = layout.add(vec![right], Some(i));
            layout.domains.push(Domain {
                variables: vec![left, right],
                null_is_value: false,
            });
            comparisons.push((i, comparison, [left, right]));
            continue;
        }
        let mut columns: Vec<&Column> = filter.predicate.column_refs().into_iter().collect();
        columns.sort();
        let mut variables = vec![];
        for column in &columns {
            let place = resolve_region_column(column).context("no column of the region")?;
            let key = Expr::Column((*column).clone());
            let variable = layout.add(vec![(place.0, key)], Some(i));
            layout.domains.push(Domain {
                variables: vec![variable],
                null_is_value: true,
            });
            variables.push(variable);
        }
        let columns: Vec<Column> = columns.into_iter().cloned().collect();
        evaluated.push((i, columns, variables));
    }
    let read = read_all(region, &layout, context).await?;
    let (codes, values) = code(&mut layout, &read.columns)?;

    let mut conditions: Vec<(usize, Condition)> = vec![];
    for (i, comparison, variables) in comparisons {
        conditions.push((
            i,
            Condition {
                relations: region.graph.filters[i].relations,
                variables: variables.to_vec(),
                test: Test::Compare(comparison),
            },
        ));
    }
    for (i, columns, variables) in evaluated {
        let filter = &region.graph.filters[i];
        let of_variables = variables.iter().map(|v| Arc::clone(&values[*v])).collect();
        conditions.push((
            i,
            Condition {
                relations: filter.relations,
                test: evaluation(filter, &columns, of_variables, context)?,
                variables,
            },
        ));
    }
    conditions.sort_by_key(|(i, _)| *i);
    Ok(Problem {
        relations: factors(&layout, codes, read.weights),
        variables: layout.variables,
        conditions: conditions
            .into_iter()
            .map(|(_, condition)| condition)
            .collect(),
    })
}

/// A side of a comparison: a relation and an expression of its columns.
type Side = (usize, Expr);

/// The two sides of a filter that compares an expression of one relation with one of another.
fn comparison(filter: &JoinFilter, region: &EstimatedRegion) -> Option<(Comparison, Side, Side)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &filter.predicate else {
        return None;
    };
    let comparison = match op {
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        Operator::NotEq => Comparison::Different,
        _ => return None,
    };
    let side = |expr: &Expr| {
        let columns = expr.column_refs().into_iter();
        let places = columns
            .map(resolve_region_column)
            .collect::<Option<Vec<_>>>()?;
        let relation = places.first()?.0;
        let one = places.iter().all(|(other, _)| *other == relation);
        one.then(|| (relation, expr.clone()))
    };
    let (left, right) = (side(left)?, side(right)?);
    let type_of = |(relation, key): &Side| {
        let leaf = &region.leaves[*relation];
        own_columns(key, leaf).ok()?.get_type(leaf.schema()).ok()
    };
    let (left_type, right_type) = (type_of(&left)?, type_of(&right)?);
    // Codes of floating-point numbers would tell -0 from 0.
    let ordered = left_type == right_type && !left_type.is_floating() && !left_type.is_nested();
    (ordered && left.0 != right.0).then_some((comparison, left, right))
}

/// A region's expression on one relation in terms of its leaf's own columns.
fn own_columns(key: &Expr, leaf: &LogicalPlan) -> Result<Expr> {
    let renamed = key.clone().transform(|expr| {
        let Expr::Column(column) = &expr else {
            return Ok(Transformed::no(expr));
        };
        Ok(match resolve_region_column(column) {
            Some((_, field)) if field < leaf.schema().fields().len() => {
                let own = Column::from(leaf.schema().qualified_field(field));
                Transformed::yes(Expr::Column(own))
            }
            _ => Transformed::no(expr),
        })
    })?;
    Ok(renamed.data)
}

/// All leaves, grouped.
struct Read {
    /// By slot its values.
    columns: Vec<ArrayRef>,
    /// By relation the rows of each group.
    weights: Vec<Vec<u128>>,
}

async fn read_all(
    region: &EstimatedRegion,
    layout: &Layout,
    context: &SessionContext,
) -> Result<Read> {
    let mut columns: Vec<Option<ArrayRef>> = vec![None; layout.slots.len()];
    let mut weights = vec![];
    for (relation, leaf) in region.leaves.iter().enumerate() {
        let slots: Vec<usize> = (0..layout.slots.len())
            .filter(|slot| layout.slots[*slot].relation == relation)
            .collect();
        let cannot = || format!("cannot read {}", region.graph.relations[relation].alias);
        let keys = slots.iter().map(|slot| &layout.slots[*slot].key);
        let batch = grouped(leaf, keys, context).await.with_context(cannot)?;
        for (place, slot) in slots.iter().enumerate() {
            columns[*slot] = Some(Arc::clone(batch.column(place)));
        }
        let counts = batch.column(slots.len());
        let counts = counts
            .as_primitive_opt::<Int64Type>()
            .with_context(cannot)?;
        weights.push(
            counts
                .values()
                .iter()
                .map(|n| n.unsigned_abs().into())
                .collect(),
        );
    }
    Ok(Read {
        columns: columns
            .into_iter()
            .collect::<Option<_>>()
            .context("a column was not read")?,
        weights,
    })
}

/// `SELECT keys, count(*) … GROUP BY keys` over a leaf.
async fn grouped(
    leaf: &LogicalPlan,
    keys: impl Iterator<Item = &Expr>,
    context: &SessionContext,
) -> Result<RecordBatch> {
    let name = |i: usize| format!("k{i}");
    let mut named = vec![];
    for (i, key) in keys.enumerate() {
        named.push(own_columns(key, leaf)?.alias(name(i)));
    }
    let groups: Vec<Expr> = (0..named.len())
        .map(|i| Expr::Column(Column::from_name(name(i))))
        .collect();
    let mut plan = LogicalPlanBuilder::from(leaf.clone());
    if !named.is_empty() {
        plan = plan.project(named)?;
    }
    let plan = plan.aggregate(groups, vec![count(lit(1_i64))])?.build()?;
    let frame = DataFrame::new(context.state(), plan);
    let schema = Arc::clone(frame.schema().inner());
    Ok(arrow::compute::concat_batches(
        &schema,
        &frame.collect().await?,
    )?)
}

/// By slot the codes of its values, and by variable the value of each code. Sets the domains of the variables.
fn code(layout: &mut Layout, columns: &[ArrayRef]) -> Result<(Vec<Vec<u32>>, Vec<ArrayRef>)> {
    let mut codes = vec![vec![]; layout.slots.len()];
    let mut values: Vec<Option<ArrayRef>> = vec![None; layout.variables.len()];
    for domain in &layout.domains {
        let slots: Vec<usize> = (0..layout.slots.len())
            .filter(|slot| domain.variables.contains(&layout.slots[*slot].variable))
            .collect();
        let arrays: Vec<&ArrayRef> = slots.iter().map(|slot| &columns[*slot]).collect();
        // Sides of one equality may differ in how they spell a type, such as views of text.
        let first = arrays
            .first()
            .map_or(DataType::Null, |array| array.data_type().clone());
        let arrays = arrays
            .iter()
            .map(|array| Ok(cast(array, &first)?))
            .collect::<Result<Vec<_>>>()?;
        let coded = match domain.null_is_value {
            false if first.is_integer() => code_integers(&arrays)?,
            _ => code_values(&arrays, domain.null_is_value)?,
        };
        for variable in &domain.variables {
            layout.variables[*variable].domain = coded.domain;
            values[*variable] = Some(Arc::clone(&coded.values));
        }
        for (slot, of_slot) in slots.iter().zip(coded.codes) {
            codes[*slot] = of_slot;
        }
    }
    let values = values
        .into_iter()
        .collect::<Option<_>>()
        .context("a variable has no values")?;
    Ok((codes, values))
}

/// Values as numbers in their order.
struct Coded {
    /// By array the codes.
    codes: Vec<Vec<u32>>,
    domain: u32,
    /// By code the value; empty for integers, whose conditions are comparisons of codes.
    values: ArrayRef,
}

fn code_integers(arrays: &[ArrayRef]) -> Result<Coded> {
    if arrays
        .iter()
        .any(|array| *array.data_type() == DataType::UInt64)
    {
        return code_values(arrays, false);
    }
    let wide = arrays
        .iter()
        .map(|array| Ok(cast(array, &DataType::Int64)?))
        .collect::<Result<Vec<_>>>()?;
    let wide: Vec<_> = wide
        .iter()
        .map(|array| array.as_primitive::<Int64Type>())
        .collect();
    let mut all: Vec<i64> = wide
        .iter()
        .flat_map(|array| array.iter().flatten())
        .collect();
    let (least, most) = (all.iter().min().copied(), all.iter().max().copied());
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
    let span = i128::from(most) - i128::from(least) + 1;
    let direct = span <= (all.len().max(1 << 10) * SPREAD) as i128;
    if direct {
        all = vec![];
    } else {
        all.sort_unstable();
        all.dedup();
    }
    let code = |value: Option<i64>| match value {
        None => NULL,
        Some(value) if direct => value.wrapping_sub(least) as u32,
        Some(value) => all.partition_point(|other| *other < value) as u32,
    };
    let domain = if direct { span as usize } else { all.len() };
    Ok(Coded {
        codes: wide
            .iter()
            .map(|array| array.iter().map(code).collect())
            .collect(),
        domain: domain_size(domain)?,
        values: Arc::new(UInt32Array::from(Vec::<u32>::new())),
    })
}

fn code_values(arrays: &[ArrayRef], null_is_value: bool) -> Result<Coded> {
    let slices: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    let all = concat(&slices)?;
    let converter = RowConverter::new(vec![SortField::new(all.data_type().clone())])?;
    let rows = converter.convert_columns(&[Arc::clone(&all)])?;
    let is_value = |i: &usize| null_is_value || all.is_valid(*i);
    let mut order: Vec<usize> = vec![];
    let mut seen: HashMap<&[u8], u32> = HashMap::new();
    let mut first_of = vec![];
    for i in (0..all.len()).filter(is_value) {
        let next = first_of.len() as u32;
        let entry = seen.entry(rows.row(i).data()).or_insert(next);
        if *entry == next {
            first_of.push(i);
        }
        order.push(*entry as usize);
    }
    // From numbers in the order of appearance to numbers in the order of the values.
    let mut by_value: Vec<usize> = (0..first_of.len()).collect();
    by_value.sort_unstable_by_key(|number| rows.row(first_of[*number]));
    let mut rank = vec![0_u32; by_value.len()];
    for (place, number) in by_value.iter().enumerate() {
        rank[*number] = place as u32;
    }
    let mut numbers = order.into_iter();
    let mut codes = vec![];
    let mut start = 0;
    for array in arrays {
        let cells = start..start + array.len();
        start += array.len();
        let code = |i: usize| match is_value(&i).then(|| numbers.next()).flatten() {
            Some(number) => rank[number],
            None => NULL,
        };
        codes.push(cells.map(code).collect());
    }
    let firsts: UInt32Array = by_value
        .iter()
        .map(|number| Some(first_of[*number] as u32))
        .collect();
    Ok(Coded {
        codes,
        domain: domain_size(by_value.len())?,
        values: take(&all, &firsts, None)?,
    })
}

fn domain_size(values: usize) -> Result<u32> {
    let size = u32::try_from(values).ok().filter(|size| *size < NULL);
    size.context("a column has more distinct values than can be counted")
}

/// Evaluates a filter by DataFusion on the values that codes stand for.
fn evaluation(
    filter: &JoinFilter,
    columns: &[Column],
    values: Vec<ArrayRef>,
    context: &SessionContext,
) -> Result<Test> {
    let name = |i: usize| format!("c{i}");
    let fields: Vec<Field> = values
        .iter()
        .enumerate()
        .map(|(i, values)| Field::new(name(i), values.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let renamed = filter.predicate.clone().transform(|expr| {
        let place = match &expr {
            Expr::Column(column) => columns.iter().position(|other| other == column),
            _ => None,
        };
        Ok(match place {
            Some(i) => Transformed::yes(Expr::Column(Column::from_name(name(i)))),
            None => Transformed::no(expr),
        })
    })?;
    let of_fields = DFSchema::try_from(Arc::clone(&schema))?;
    let physical = context.create_physical_expr(renamed.data, &of_fields)?;
    Ok(Test::Evaluated(Box::new(move |codes| {
        let tuples = codes.first().map_or(0, Vec::len);
        let columns = codes
            .iter()
            .zip(&values)
            .map(|(codes, values)| Ok(take(values, &UInt32Array::from(codes.clone()), None)?))
            .collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let holds = physical.evaluate(&batch)?.into_array(tuples)?;
        let holds: &BooleanArray = holds.as_boolean_opt().context("no predicate")?;
        Ok(holds.iter().map(|holds| holds == Some(true)).collect())
    })))
}

/// The factors of all relations. Members of a class in one relation are equal in it, and one column.
fn factors(layout: &Layout, codes: Vec<Vec<u32>>, weights: Vec<Vec<u128>>) -> Vec<Factor> {
    let mut codes: Vec<Option<Vec<u32>>> = codes.into_iter().map(Some).collect();
    let mut factors = vec![];
    for (relation, weights) in weights.into_iter().enumerate() {
        let mut factor = Factor {
            weights,
            ..Factor::default()
        };
        let mut equal = vec![true; factor.len()];
        for (slot, codes) in layout.slots.iter().zip(&mut codes) {
            if slot.relation != relation {
                continue;
            }
            let codes = codes.take().unwrap_or_default();
            // Slots are in the order of their variables.
            if factor.variables.last() == Some(&slot.variable)
                && let Some(other) = factor.columns.last()
            {
                for (equal, (a, b)) in equal.iter_mut().zip(other.iter().zip(&codes)) {
                    *equal &= a == b && *a != NULL;
                }
                continue;
            }
            factor.variables.push(slot.variable);
            factor.columns.push(codes);
        }
        if equal.contains(&false) {
            for column in &mut factor.columns {
                retain(column, &equal);
            }
            retain(&mut factor.weights, &equal);
        }
        factors.push(factor);
    }
    factors
}

fn retain<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next() == Some(&true));
}

/// Whether the equalities of a plan alone say of these relations what all that they imply says.
pub(crate) fn is_written(region: &EstimatedRegion, set: RelSet) -> bool {
    region.graph.classes.iter().all(|class| {
        let members: Vec<&Expr> = class
            .members
            .iter()
            .filter(|member| set.contains(member.relation))
            .map(|member| &member.key)
            .collect();
        let Some(first) = members.first() else {
            return true;
        };
        let mut reached = vec![*first];
        let mut next = 0;
        while let Some(member) = reached.get(next).copied() {
            next += 1;
            for (left, right) in &region.equalities {
                for (from, to) in [(left, right), (right, left)] {
                    if from == member && members.contains(&to) && !reached.contains(&to) {
                        reached.push(to);
                    }
                }
            }
        }
        reached.len() == members.len()
    })
}
