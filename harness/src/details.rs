//! What `run.json` keeps of each query for those who ask why: its SQL, the regions of joins, and the plans that ran.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::matching::estimates_of;
use crate::operators::{Observed, Operator};
use crate::phases::{PlanningPhases, planning_phases};
use crate::record::Run;
use crate::session::{Planned, Session};
use crate::suite::Query;

/// Significant digits of an estimate: more would be noise, and most of the file.
const DIGITS: i32 = 6;

/// One query of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueryDetails {
    pub(crate) query: String,
    pub(crate) sql: String,
    /// The plans that ran, each once: arms may share one.
    pub(crate) plans: Vec<Plan>,
    /// In the order of the run's arms, as far as they returned rows.
    pub(crate) arms: Vec<ArmDetails>,
}

/// A physical plan: its operators in the order of `EXPLAIN`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) operators: Vec<Operator>,
}

/// How one arm planned a query, and what its first execution counted. The lists have one entry for each operator of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ArmDetails {
    pub(crate) arm: String,
    /// Position among the query's plans.
    pub(crate) plan: usize,
    /// Whose estimates `estimated` are: `DataFusion`, or the name of an estimator.
    pub(crate) estimator: String,
    /// Rows as the arm expected them, where that is known.
    pub(crate) estimated: Vec<Option<f64>>,
    /// Where those come from. Older runs do not say.
    #[serde(default)]
    pub(crate) sources: Vec<Option<String>>,
    /// Rows that an operator returned, in all partitions together.
    pub(crate) rows: Vec<Option<u64>>,
    /// Microseconds of work in all partitions together.
    pub(crate) elapsed_us: Vec<Option<u64>>,
    /// Positions of operators whose rows may be fewer than those of their part of the query, since a LIMIT or the keys of a join
    /// above dropped some.
    #[serde(default)]
    pub(crate) cut: Vec<usize>,
    /// The regions of adjacent joins: relations, edges, tree, tree as written, costs, why the search stopped, and the trees that it
    /// did not take.
    #[serde(default)]
    pub(crate) regions: Vec<Value>,
    /// Where the time of planning goes. Other systems do not say, nor do older runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) planning: Option<PlanningPhases>,
}

impl QueryDetails {
    /// Of a query without any plan yet.
    pub(crate) fn new(query: &Query) -> Self {
        Self {
            query: query.name.clone(),
            sql: query.sql.clone(),
            plans: vec![],
            arms: vec![],
        }
    }

    /// Adds what an arm did. Plans the query once more in `session`, which traces.
    pub(crate) async fn add(
        &mut self,
        arm: &str,
        session: &Session,
        observed: Observed,
    ) -> Result<()> {
        let planned = session
            .plan(&self.sql)
            .await
            .with_context(|| format!("cannot plan query {}", self.query))?;
        self.add_planned(arm, session.estimator(), &planned, observed)
    }

    /// Adds where the time of planning goes to what was added last. Plans the query again and again in `session`, which has a clock.
    pub(crate) async fn add_planning(&mut self, arm: &str, session: &Session) -> Result<()> {
        let phases = planning_phases(session, &self.sql)
            .await
            .with_context(|| format!("cannot plan query {}", self.query))?;
        if let Some(own) = self.arms.iter_mut().find(|own| own.arm == arm) {
            own.planning = Some(phases);
        }
        Ok(())
    }

    /// Adds what another system did, whose estimates are its own.
    pub(crate) fn add_foreign(&mut self, arm: &str, system: &str, observed: Observed) {
        let estimated = observed.own_estimates.clone();
        self.push(arm, system.to_owned(), estimated, vec![], vec![], observed);
    }

    /// Adds a plan that was made by the estimates of `estimator`, or by DataFusion's own.
    pub(crate) fn add_planned(
        &mut self,
        arm: &str,
        estimator: Option<String>,
        planned: &Planned,
        observed: Observed,
    ) -> Result<()> {
        let (estimator, estimated, sources) = match estimator {
            Some(name) => {
                let lines = estimates_of(&planned.plan, &planned.lines, &observed);
                let rows = lines.iter().map(|line| line.map(|line| line.est_rows));
                let sources = lines
                    .iter()
                    .map(|line| line.map(|line| line.source.as_str()));
                let sources = sources.map(|source| source.map(str::to_owned));
                (name, rows.collect(), sources.collect())
            }
            None => {
                let own = observed.own_estimates.clone();
                ("DataFusion".to_owned(), own, vec![])
            }
        };
        let regions = planned.explained().map(|region| {
            let mut region = serde_json::to_value(region)?;
            shorten(&mut region);
            Ok(region)
        });
        let regions = regions.collect::<Result<_>>()?;
        self.push(arm, estimator, estimated, sources, regions, observed);
        Ok(())
    }

    fn push(
        &mut self,
        arm: &str,
        estimator: String,
        estimated: Vec<Option<f64>>,
        sources: Vec<Option<String>>,
        regions: Vec<Value>,
        observed: Observed,
    ) {
        let plan = Plan {
            operators: observed.operators,
        };
        let place = self.plans.iter().position(|other| *other == plan);
        let place = place.unwrap_or_else(|| {
            self.plans.push(plan);
            self.plans.len() - 1
        });
        self.arms.push(ArmDetails {
            arm: arm.to_owned(),
            plan: place,
            estimator,
            estimated: estimated
                .into_iter()
                .map(|rows| rows.and_then(rounded))
                .collect(),
            sources,
            rows: observed.rows,
            elapsed_us: observed.elapsed_us,
            cut: observed.cut,
            regions,
            planning: None,
        });
    }
}

/// `run.json`: for people as far as the summary, and one line for each query below.
pub(crate) fn to_json(run: &Run) -> Result<String> {
    let mut text = serde_json::to_string_pretty(run)?;
    // The details are written apart: indented, they would be tens of thousands of lines.
    text.truncate(text.trim_end_matches(['}', '\n']).len());
    text.push_str(",\n  \"details\": [");
    for (at, query) in run.details.iter().enumerate() {
        text.push_str(if at == 0 { "\n    " } else { ",\n    " });
        text.push_str(&serde_json::to_string(query)?);
    }
    text.push_str(if run.details.is_empty() { "]" } else { "\n  ]" });
    text.push_str("\n}\n");
    Ok(text)
}

/// A number with few digits; `None` if it is none.
fn rounded(number: f64) -> Option<f64> {
    if number == 0.0 || !number.is_finite() {
        return number.is_finite().then_some(number);
    }
    let scale = 10_f64.powi(DIGITS - 1 - number.abs().log10().floor() as i32);
    match (number * scale).round() / scale {
        rounded if rounded.is_finite() => Some(rounded),
        // Beyond the range of the scale.
        _ => Some(number),
    }
}

/// Rounds all fractions.
fn shorten(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let short = number.as_f64().and_then(rounded);
            if let Some(short) = short.and_then(whole_or_fraction) {
                *number = short;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

/// 7.0 as 7.
fn whole_or_fraction(number: f64) -> Option<Number> {
    let whole = number as i64;
    match whole as f64 == number && whole.unsigned_abs() < 1 << 53 {
        true => Some(whole.into()),
        false => Number::from_f64(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shortened = |json: &str| {
            let mut value: Value = serde_json::from_str(json).unwrap();
            shorten(&mut value);
            value.to_string()
        };
        assert_eq!(
            shortened("[123456.789, 0.000123456789]"),
            "[123457,0.000123457]"
        );
        assert_eq!(
            shortened(r#"{"a": [7.0, 12345678, null]}"#),
            r#"{"a":[7,12345678,null]}"#
        );
        assert_eq!(rounded(0.0), Some(0.0));
        assert_eq!(rounded(f64::INFINITY), None);
        assert!((rounded(1e300).unwrap() / 1e300 - 1.0).abs() < 1e-6);
        assert!(rounded(5e-320).is_some());
    }
}
