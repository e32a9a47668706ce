//! Estimated costs against times: whether what a cost model prefers is what runs faster.

use serde::Serialize;

use crate::details::QueryDetails;

/// With fewer arms an order says nothing.
const FEWEST_ARMS: usize = 5;

/// The arms of one query whose costs are of one model.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct CostAgainstTime {
    pub(crate) cost_model: String,
    pub(crate) points: Vec<Point>,
    /// Spearman's rank correlation; absent where all costs or all times are equal.
    pub(crate) spearman: Option<f64>,
}

/// What the regions of a query cost under an arm.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Cost {
    pub(crate) model: String,
    pub(crate) cost: f64,
}

/// One arm.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Its position in the run.
    pub(crate) arm: usize,
    /// Of all its regions together, by its own estimates.
    pub(crate) cost: f64,
    pub(crate) total_ms: f64,
}

/// The costs of a query's arms beside their times, given in the order of the arms; `None` if fewer than five have both.
pub(crate) fn cost_against_time(
    details: &QueryDetails,
    arms: &[(&str, Option<f64>)],
) -> Option<CostAgainstTime> {
    let mut by_model: Vec<(String, Vec<Point>)> = vec![];
    for (at, (name, time)) in arms.iter().enumerate() {
        let Some(Cost { model, cost }) = cost_of(details, name) else {
            continue;
        };
        let Some(total_ms) = *time else {
            continue;
        };
        let point = Point {
            arm: at,
            cost,
            total_ms,
        };
        match by_model.iter_mut().find(|(other, _)| *other == model) {
            Some((_, points)) => points.push(point),
            None => by_model.push((model, vec![point])),
        }
    }
    let (cost_model, points) = by_model
        .into_iter()
        .max_by_key(|(_, points)| points.len())?;
    let pairs: Vec<(f64, f64)> = points.iter().map(|p| (p.cost, p.total_ms)).collect();
    (points.len() >= FEWEST_ARMS).then(|| CostAgainstTime {
        cost_model,
        spearman: spearman(&pairs),
        points,
    })
}

/// The cost model of an arm, and what its regions cost; `None` if it has no region, or regions of several models.
pub(crate) fn cost_of(details: &QueryDetails, arm: &str) -> Option<Cost> {
    let arm = details.arms.iter().find(|own| own.arm == arm)?;
    let mut model: Option<&str> = None;
    let mut cost = 0.0;
    for region in &arm.regions {
        let own = region["cost_model"].as_str()?;
        if model.is_some_and(|model| model != own) {
            return None;
        }
        model = Some(own);
        cost += region["cost"].as_f64()?;
    }
    let model = model?.to_owned();
    Some(Cost { model, cost })
}

/// Spearman's rank correlation: Pearson's of the ranks, where equal values share the mean of theirs.
pub(crate) fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let first = ranks(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let second = ranks(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
    // Ranks have the mean of 1 to n, whatever is tied.
    let mean = (pairs.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let spread = (product(&first, &first) * product(&second, &second)).sqrt();
    (spread > 0.0).then(|| product(&first, &second) / spread)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::details::ArmDetails;
    use serde_json::json;

    #[test]
    fn ranks_correlate() {
        assert_eq!(
            spearman(&[(1.0, 10.0), (2.0, 20.0), (3.0, 900.0)]),
            Some(1.0)
        );
        assert_eq!(spearman(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
        assert_eq!(spearman(&[(1.0, 3.0), (1.0, 2.0)]), None);
        // Of ranks 1.5, 1.5, 3, 4 and 1, 2, 3, 4: 4.5 over the root of 4.5 times 5.
        let tied = spearman(&[(1.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]);
        assert!((tied.unwrap() - (4.5_f64 / 5.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn arms_of_one_model_are_compared() {
        let arm = |name: &str, cost: f64, model: &str| ArmDetails {
            arm: name.to_owned(),
            plan: 0,
            estimator: String::new(),
            estimated: vec![],
            sources: vec![],
            rows: vec![],
            elapsed_us: vec![],
            cut: vec![],
            regions: vec![
                json!({"cost": cost, "cost_model": model}),
                json!({"cost": 1.0, "cost_model": model}),
            ],
            planning: None,
        };
        let names = ["a", "b", "c", "d", "e", "f"];
        let mut arms: Vec<ArmDetails> = (1..=5)
            .map(|at| arm(names[at - 1], at as f64, "cout"))
            .collect();
        arms.push(arm("f", 9.0, "hashjoin"));
        let details = QueryDetails {
            query: "q".to_owned(),
            sql: String::new(),
            plans: vec![],
            arms,
        };
        let times: Vec<(&str, Option<f64>)> = names
            .iter()
            .map(|name| (*name, Some(name.len() as f64)))
            .collect();
        let found = cost_against_time(&details, &times).unwrap();
        assert_eq!((found.points.len(), found.spearman), (5, None));
        assert_eq!(
            (found.points[4].cost, found.cost_model.as_str()),
            (6.0, "cout")
        );
        let mut some = times.clone();
        some[0].1 = None;
        assert_eq!(cost_against_time(&details, &some), None);
    }
}
