//! What reordered joins changed in a record's outcome, and whether they may.

use std::collections::HashMap;
use std::fmt;

use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use sqllogictest::TestErrorKind;

use crate::run::{Outcome, RecordRun};

/// One record, DataFusion untouched beside DataFusion with joins reordered.
pub(crate) enum Verdict {
    /// As expected in both.
    Same,
    /// An EXPLAIN that shows another plan, as it may.
    OtherPlan,
    /// As expected, but for the rows of a query without ORDER BY, which come in another order.
    OtherRowOrder,
    /// As expected, but for our own settings in a list of all settings.
    OwnSettings,
    /// Not as expected with DataFusion untouched, so it tells nothing: the reason.
    Unfit(String),
    /// As expected only with DataFusion untouched: what came instead.
    Wrong(String),
}

/// Compares the records that ran with DataFusion untouched to the same records with joins reordered.
pub(crate) fn judge(untouched: &[RecordRun], reordered: &[RecordRun]) -> Tally {
    let reordered: HashMap<usize, &RecordRun> =
        reordered.iter().map(|run| (run.index, run)).collect();
    let mut tally = Tally {
        files: 1,
        ..Tally::default()
    };
    for before in untouched {
        let verdict = match reordered.get(&before.index) {
            Some(after) => verdict(before, after),
            None => Verdict::Wrong("did not run".to_owned()),
        };
        tally.add(before, verdict);
    }
    tally
}

fn verdict(before: &RecordRun, after: &RecordRun) -> Verdict {
    let failure = match (&before.outcome, &after.outcome) {
        // TPC-H's plans over CSV files are not those over Parquet files, whatever the join order.
        (_, Outcome::Failed(failure)) if shows_another_plan(&before.sql, failure) => {
            return Verdict::OtherPlan;
        }
        (Outcome::Passed, Outcome::Passed) => return Verdict::Same,
        (Outcome::Failed(failure), _) => return Verdict::Unfit(reason(failure)),
        (Outcome::Passed, Outcome::Failed(failure)) => failure,
    };
    if let TestErrorKind::QueryResultMismatch {
        expected, actual, ..
    } = failure.as_ref()
    {
        let expected = lines(expected);
        let mut actual = lines(actual);
        if is_unordered(&before.sql) && sorted(&expected) == sorted(&actual) {
            return Verdict::OtherRowOrder;
        }
        if before.sql.trim_start().starts_with("SHOW ALL") {
            actual.retain(|line| !line.starts_with("joinwright."));
            if expected == actual {
                return Verdict::OwnSettings;
            }
        }
    }
    Verdict::Wrong(failure.to_string())
}

fn shows_another_plan(sql: &str, failure: &TestErrorKind) -> bool {
    is_explain(sql) && matches!(failure, TestErrorKind::QueryResultMismatch { .. })
}

/// Rows as the runner compares them: without blanks at the end.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).collect()
}

fn sorted<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut lines = lines.to_vec();
    lines.sort_unstable();
    lines
}

fn is_explain(sql: &str) -> bool {
    let mut words = sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .flat_map(str::split_whitespace);
    words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("explain"))
}

/// Whether SQL leaves the order of the rows open, but not which rows they are.
fn is_unordered(sql: &str) -> bool {
    let Ok(statements) = DFParser::parse_sql(sql) else {
        return false;
    };
    let Some(Statement::Statement(statement)) = statements.front() else {
        return false;
    };
    match statement.as_ref() {
        SqlStatement::Query(query) => {
            query.order_by.is_none()
                && query.limit_clause.is_none()
                && query.fetch.is_none()
                && query.pipe_operators.is_empty()
        }
        _ => false,
    }
}

/// The first line of a failure, which names its kind and what was missing.
fn reason(failure: &TestErrorKind) -> String {
    let text = failure.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Records counted by verdict.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) files: usize,
    pub(crate) records: usize,
    pub(crate) same: usize,
    pub(crate) other_plan: usize,
    pub(crate) other_row_order: usize,
    pub(crate) own_settings: usize,
    /// Place and reason.
    pub(crate) unfit: Vec<(String, String)>,
    /// Place and what came instead.
    pub(crate) wrong: Vec<(String, String)>,
}

impl Tally {
    /// A file that did not run to its end.
    pub(crate) fn broken(file: &str, instead: &str) -> Self {
        Self {
            files: 1,
            wrong: vec![(file.to_owned(), instead.to_owned())],
            ..Self::default()
        }
    }

    fn add(&mut self, record: &RecordRun, verdict: Verdict) {
        self.records += 1;
        match verdict {
            Verdict::Same => self.same += 1,
            Verdict::OtherPlan => self.other_plan += 1,
            Verdict::OtherRowOrder => self.other_row_order += 1,
            Verdict::OwnSettings => self.own_settings += 1,
            Verdict::Unfit(reason) => self.unfit.push((record.place.clone(), reason)),
            Verdict::Wrong(instead) => self.wrong.push((record.place.clone(), instead)),
        }
    }

    /// Adds another file's counts.
    pub(crate) fn merge(&mut self, other: Self) {
        self.files += other.files;
        self.records += other.records;
        self.same += other.same;
        self.other_plan += other.other_plan;
        self.other_row_order += other.other_row_order;
        self.own_settings += other.own_settings;
        self.unfit.extend(other.unfit);
        self.wrong.extend(other.wrong);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} files, {} records: {} as expected, {} EXPLAINs with another plan, \
             {} without ORDER BY in another row order, {} that list our settings, \
             {} that fail without the rule too, {} wrong",
            self.files,
            self.records,
            self.same,
            self.other_plan,
            self.other_row_order,
            self.own_settings,
            self.unfit.len(),
            self.wrong.len(),
        )
    }
}
