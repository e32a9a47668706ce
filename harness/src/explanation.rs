//! What `explain` says of one query: the plan with estimates and counts, its regions, and the trees that they do not have.

use joinwright_optimizer::PlanLine;
use serde::Serialize;

use crate::details::{ArmDetails, QueryDetails};
use crate::operators::Operator;
use crate::quality::q_error;
use crate::session::{ExplainedRegion, Planned};

/// One query under one arm.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation<'a> {
    pub(crate) suite: &'a str,
    pub(crate) query: &'a str,
    pub(crate) sql: &'a str,
    pub(crate) arm: &'a str,
    /// Whose estimates those of the operators are.
    pub(crate) estimator: &'a str,
    /// What its execution came to, if it ran.
    pub(crate) execution: Option<Execution>,
    /// The nodes of the optimized logical plan in the order of `EXPLAIN`.
    pub(crate) logical: &'a [PlanLine],
    /// The operators of the physical plan in the order of `EXPLAIN`.
    pub(crate) operators: Vec<OperatorLine<'a>>,
    pub(crate) regions: Vec<ExplainedRegion<'a>>,
}

/// One execution of a query.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Execution {
    pub(crate) planning_ms: f64,
    pub(crate) execution_ms: f64,
    pub(crate) rows: u64,
}

/// An operator of the physical plan.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct OperatorLine<'a> {
    /// The root has none.
    pub(crate) depth: usize,
    pub(crate) name: &'a str,
    /// What it does, as DataFusion says it.
    pub(crate) text: &'a str,
    /// What it is to the join above.
    pub(crate) role: Option<Role>,
    /// Of a join: whether its build side is collected or both inputs are partitioned.
    pub(crate) mode: Option<&'a str>,
    pub(crate) joins: bool,
    pub(crate) table: Option<&'a str>,
    /// Partitions of its output.
    pub(crate) partitions: usize,
    pub(crate) est_rows: Option<f64>,
    /// Where that estimate comes from.
    pub(crate) source: Option<&'a str>,
    /// Rows that it returned; absent if it did not run.
    pub(crate) rows: Option<u64>,
    /// Whether a LIMIT or a filter from above may have cut these rows.
    pub(crate) cut: bool,
    /// The factor between the two, where nothing was cut.
    pub(crate) q_error: Option<f64>,
    /// Microseconds of work in all partitions together.
    pub(crate) work_us: Option<u64>,
}

/// A side of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Build,
    Probe,
}

impl Role {
    /// As one word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Probe => "probe",
        }
    }
}

impl<'a> Explanation<'a> {
    /// Of the one arm in `details`.
    pub(crate) fn new(
        suite: &'a str,
        details: &'a QueryDetails,
        planned: &'a Planned,
        execution: Option<Execution>,
    ) -> Option<Self> {
        let arm = details.arms.first()?;
        let operators = &details.plans.get(arm.plan)?.operators;
        Some(Self {
            suite,
            query: &details.query,
            sql: &details.sql,
            arm: &arm.arm,
            estimator: &arm.estimator,
            execution,
            logical: &planned.lines,
            operators: operator_lines(operators, arm),
            regions: planned.explained().collect(),
        })
    }
}

/// The operators with their places in the tree.
fn operator_lines<'a>(operators: &'a [Operator], arm: &'a ArmDetails) -> Vec<OperatorLine<'a>> {
    let mut lines = Vec::with_capacity(operators.len());
    // The depths and roles of the inputs that are still to come, the next one last.
    let mut missing = vec![(0, None)];
    for (at, operator) in operators.iter().enumerate() {
        let (depth, role) = missing.pop().unwrap_or((0, None));
        let roles = roles_of_inputs(operator);
        let inputs = (0..operator.inputs).rev();
        missing.extend(inputs.map(|input| (depth + 1, roles.get(input).copied())));
        let est_rows = arm.estimated.get(at).copied().flatten();
        let rows = arm.rows.get(at).copied().flatten();
        let cut = rows.is_some() && arm.cut.contains(&at);
        lines.push(OperatorLine {
            depth,
            name: &operator.name,
            text: &operator.text,
            role,
            mode: mode(operator),
            joins: operator.joins,
            table: operator.table.as_deref(),
            partitions: operator.partitions,
            est_rows,
            source: arm.sources.get(at).and_then(|source| source.as_deref()),
            rows,
            cut,
            q_error: est_rows
                .zip(rows.filter(|_| !cut))
                .map(|(estimate, rows)| q_error(estimate, rows as f64)),
            work_us: arm.elapsed_us.get(at).copied().flatten(),
        });
    }
    lines
}

/// Joins that merge sorted inputs have no build side.
fn roles_of_inputs(operator: &Operator) -> &'static [Role] {
    match operator.joins && !operator.name.contains("Merge") {
        true => &[Role::Build, Role::Probe],
        false => &[],
    }
}

fn mode(operator: &Operator) -> Option<&str> {
    let (_, rest) = operator.text.split_once("mode=")?;
    let mode = rest.split([',', ' ']).next()?;
    operator.joins.then_some(mode)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn operator(name: &str, text: &str, inputs: usize) -> Operator {
        Operator {
            name: name.to_owned(),
            text: text.to_owned(),
            inputs,
            partitions: 2,
            joins: name.ends_with("JoinExec"),
            table: (inputs == 0).then(|| text.to_owned()),
        }
    }

    /// A join of `t "x"` with the rows of a table that are sorted, as it ran.
    pub(crate) fn details() -> QueryDetails {
        let operators = vec![
            operator("HashJoinExec", "mode=Partitioned, join_type=Inner", 2),
            operator("DataSourceExec", "t \"x\"", 0),
            operator("SortExec", "a@0 <b>", 1),
            operator("DataSourceExec", "u", 0),
        ];
        let arm = ArmDetails {
            arm: "joinwright".to_owned(),
            plan: 0,
            estimator: "textbook".to_owned(),
            estimated: vec![Some(50.0), Some(7.0), None, Some(40.0)],
            sources: vec![Some("ndv".to_owned()), None, None, None],
            rows: vec![Some(100), Some(7), Some(40), Some(20)],
            elapsed_us: vec![Some(1_500), None, None, Some(2)],
            cut: vec![3],
            regions: vec![],
            planning: None,
        };
        QueryDetails {
            query: "q".to_owned(),
            sql: "SELECT 1".to_owned(),
            plans: vec![crate::details::Plan { operators }],
            arms: vec![arm],
        }
    }

    /// The operators of [`details`].
    pub(crate) fn lines(details: &QueryDetails) -> Vec<OperatorLine<'_>> {
        operator_lines(&details.plans[0].operators, &details.arms[0])
    }

    #[test]
    fn operators_know_their_places() {
        let details = details();
        let lines = lines(&details);
        let depths: Vec<usize> = lines.iter().map(|line| line.depth).collect();
        assert_eq!(depths, [0, 1, 1, 2]);
        let roles: Vec<Option<Role>> = lines.iter().map(|line| line.role).collect();
        let expected = [None, Some(Role::Build), Some(Role::Probe), None];
        assert_eq!(roles, expected);
        assert_eq!((lines[0].mode, lines[2].mode), (Some("Partitioned"), None));
        assert_eq!((lines[0].q_error, lines[1].q_error), (Some(2.0), Some(1.0)));
        // Without an estimate, and of rows that were cut.
        assert_eq!((lines[2].q_error, lines[3].q_error), (None, None));
    }
}
