//! In which order the variables of a region are eliminated.

use std::collections::HashMap;
use std::rc::Rc;

use super::count::{Problem, sorted};
use super::factor::{Factor, NULL};

/// An order of elimination for the whole region: greedily the variable whose join is estimated to be smallest.
pub(super) fn elimination_order(problem: &Problem, tables: &[Option<Rc<Factor>>]) -> Vec<usize> {
    let mut parts: Vec<Size> = problem.relations.iter().map(Size::of).collect();
    for (condition, table) in problem.conditions.iter().zip(tables) {
        match table {
            Some(table) => parts.push(Size::of(table)),
            // Its variables must meet in one factor, as if another factor had them all.
            None => parts.push(Size {
                rows: f64::INFINITY,
                shares: condition.variables.iter().map(|v| (*v, 0.0)).collect(),
            }),
        }
    }
    let mut left: Vec<usize> = (0..problem.variables.len()).collect();
    let mut order = vec![];
    while !left.is_empty() {
        let work = |variable: &usize| Size::eliminated(*variable, &parts, problem).1;
        let works: Vec<f64> = left.iter().map(work).collect();
        let cheapest = (0..left.len()).min_by(|a, b| works[*a].total_cmp(&works[*b]));
        let variable = left.remove(cheapest.unwrap_or_default());
        let (joined, _) = Size::eliminated(variable, &parts, problem);
        let wanted = Size::wanted(variable, &parts);
        parts.retain(|part| !part.has_any(&wanted));
        parts.extend(joined);
        order.push(variable);
    }
    order
}

/// What is known of a factor while the order is planned.
struct Size {
    rows: f64,
    /// Its variables, each with the chance that two of its tuples agree.
    shares: Vec<(usize, f64)>,
}

impl Size {
    fn of(factor: &Factor) -> Self {
        let rows = factor.len().max(1) as f64;
        let share = |codes: &Vec<u32>| {
            let mut counts: HashMap<u32, u64> = HashMap::new();
            for code in codes.iter().filter(|code| **code != NULL) {
                *counts.entry(*code).or_default() += 1;
            }
            let square = |count: &u64| (*count as f64 / rows).powi(2);
            counts.values().map(square).sum::<f64>().max(1e-12)
        };
        let shares = factor.columns.iter().map(share);
        Self {
            rows,
            shares: factor.variables.iter().copied().zip(shares).collect(),
        }
    }

    fn has(&self, variable: usize) -> bool {
        self.shares.iter().any(|(other, _)| *other == variable)
    }

    fn has_any(&self, variables: &[usize]) -> bool {
        variables.iter().any(|variable| self.has(*variable))
    }

    /// A variable, and those that must meet it in one factor before a condition on it can be tested.
    fn wanted(variable: usize, parts: &[Self]) -> Vec<usize> {
        let mut wanted = vec![variable];
        for condition in parts
            .iter()
            .filter(|p| p.rows.is_infinite() && p.has(variable))
        {
            wanted.extend(condition.shares.iter().map(|(v, _)| *v));
        }
        wanted
    }

    /// What eliminating a variable makes of its parts, if there are any, and the tuples that are looked at.
    fn eliminated(variable: usize, parts: &[Self], problem: &Problem) -> (Option<Self>, f64) {
        let wanted = Self::wanted(variable, parts);
        let (bucket, rest): (Vec<&Self>, Vec<&Self>) =
            parts.iter().partition(|p| p.has_any(&wanted));
        let is_table = |part: &&&Self| part.rows.is_finite();
        let tables: Vec<&Self> = bucket.iter().filter(is_table).copied().collect();
        let all = sorted(bucket.iter().flat_map(|p| p.shares.iter().map(|(v, _)| v)));
        let mut rows: f64 = tables.iter().map(|part| part.rows).product();
        let mut shares = vec![];
        for v in &all {
            let of_parts: Vec<f64> = tables
                .iter()
                .flat_map(|part| part.shares.iter().filter(|(other, _)| other == v))
                .map(|(_, share)| *share)
                .collect();
            let count = of_parts.len() as f64;
            // Cauchy and Schwarz: two parts agree no more often than the geometric mean says.
            rows *= of_parts
                .iter()
                .map(|share| share.powf((count - 1.0) / count))
                .product::<f64>();
            shares.push((*v, of_parts.iter().copied().fold(1e-12, f64::max)));
        }
        for part in &tables {
            if all.iter().all(|v| part.has(*v)) {
                rows = rows.min(part.rows);
            }
        }
        let read: f64 = tables.iter().map(|part| part.rows).sum();
        let work = rows + read;
        shares.retain(|(v, _)| rest.iter().any(|part| part.has(*v)));
        let room: f64 = shares
            .iter()
            .map(|(v, _)| f64::from(problem.variables[*v].domain.max(1)))
            .product();
        let joined = (!bucket.is_empty()).then(|| Self {
            rows: rows.min(room).max(1.0),
            shares,
        });
        (joined, work)
    }
}
