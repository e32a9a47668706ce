//! What reordered joins changed in a record's outcome, and whether they may.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use sqllogictest::TestErrorKind;

use crate::run::{FileRun, Outcome, RecordRun};

/// One record, DataFusion untouched beside DataFusion with joins reordered.
pub(crate) enum Verdict {
    /// As expected in both.
    Same,
    /// An EXPLAIN that shows another plan, as it may.
    OtherPlan,
    /// An EXPLAIN that shows an aggregate computed in part below joins.
    EagerPlan,
    /// As expected, but for the rows of a query without ORDER BY, which come in another order.
    OtherRowOrder,
    /// As expected, but for our own settings in a list of all settings.
    OwnSettings,
    /// Not as expected with DataFusion untouched, so it tells nothing: the reason.
    Unfit(&'static str),
    /// As expected only with DataFusion untouched: what came instead.
    Wrong(String),
}

/// Compares the records that ran with DataFusion untouched to the same records with joins reordered.
pub(crate) fn judge(untouched: &FileRun, reordered: &FileRun) -> Tally {
    let records = reordered.records.iter();
    let records: HashMap<usize, &RecordRun> = records.map(|run| (run.index, run)).collect();
    let mut tally = Tally {
        files: 1,
        tables: reordered.tables,
        reordered: reordered.reordered,
        ..Tally::default()
    };
    for before in &untouched.records {
        let verdict = match records.get(&before.index) {
            Some(after) => verdict(before, after),
            None => Verdict::Wrong("did not run".to_owned()),
        };
        tally.add(before, verdict);
    }
    tally
}

fn verdict(before: &RecordRun, after: &RecordRun) -> Verdict {
    let failure = match (&before.outcome, &after.outcome) {
        (Outcome::Passed, Outcome::Passed) => return Verdict::Same,
        (Outcome::Failed(failure), _) => return Verdict::Unfit(reason(&before.sql, failure)),
        (Outcome::Passed, Outcome::Failed(failure)) => failure,
    };
    if let TestErrorKind::QueryResultMismatch {
        expected, actual, ..
    } = failure.as_ref()
    {
        if is_explain(&before.sql) {
            return match actual.contains("__joinwright_part") {
                true => Verdict::EagerPlan,
                false => Verdict::OtherPlan,
            };
        }
        let expected = lines(expected);
        let mut actual = lines(actual);
        if is_unordered(&before.sql) && sorted(&expected) == sorted(&actual) {
            return Verdict::OtherRowOrder;
        }
        if before.sql.trim_start().starts_with("SHOW ALL") {
            actual.retain(|line| line.starts_with("datafusion."));
            if expected == actual {
                return Verdict::OwnSettings;
            }
        }
    }
    Verdict::Wrong(failure.to_string())
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

/// Why a record fails with DataFusion untouched. Tables may be declared over files that are not there: they are empty.
fn reason(sql: &str, failure: &TestErrorKind) -> &'static str {
    let text = failure.to_string();
    let missing = [
        "not found",
        "doesn't exist",
        "No such file",
        "No files found",
        "single file",
    ];
    match failure {
        TestErrorKind::QueryResultMismatch { .. } if is_explain(sql) => "EXPLAIN",
        TestErrorKind::QueryResultMismatch { .. } => "other rows",
        _ if missing.iter().any(|missing| text.contains(missing)) => "a file or table is missing",
        _ => "other",
    }
}

/// Records counted by verdict.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) files: usize,
    /// Parquet tables whose statistics were there.
    pub(crate) tables: usize,
    /// Join regions that were reordered.
    pub(crate) reordered: usize,
    pub(crate) records: usize,
    pub(crate) same: usize,
    pub(crate) other_plan: usize,
    pub(crate) eager_plan: usize,
    pub(crate) other_row_order: usize,
    pub(crate) own_settings: usize,
    /// By reason.
    pub(crate) unfit: BTreeMap<&'static str, usize>,
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
            Verdict::EagerPlan => self.eager_plan += 1,
            Verdict::OtherRowOrder => self.other_row_order += 1,
            Verdict::OwnSettings => self.own_settings += 1,
            Verdict::Unfit(reason) => *self.unfit.entry(reason).or_default() += 1,
            Verdict::Wrong(instead) => self.wrong.push((record.place.clone(), instead)),
        }
    }

    /// Adds another file's counts.
    pub(crate) fn merge(&mut self, other: Self) {
        self.files += other.files;
        self.tables += other.tables;
        self.reordered += other.reordered;
        self.records += other.records;
        self.same += other.same;
        self.other_plan += other.other_plan;
        self.eager_plan += other.eager_plan;
        self.other_row_order += other.other_row_order;
        self.own_settings += other.own_settings;
        for (reason, records) in other.unfit {
            *self.unfit.entry(reason).or_default() += records;
        }
        self.wrong.extend(other.wrong);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} files, {} Parquet tables, {} join regions reordered, {} records: {} as expected",
            self.files, self.tables, self.reordered, self.records, self.same,
        )?;
        let others = [
            (self.wrong.len(), "wrong"),
            (self.other_plan, "EXPLAINs with another plan"),
            (self.eager_plan, "EXPLAINs with an aggregate below joins"),
            (self.other_row_order, "without ORDER BY in another order"),
            (self.own_settings, "that list our settings"),
        ];
        for (records, what) in others.iter().filter(|(records, _)| *records > 0) {
            write!(f, ", {records} {what}")?;
        }
        for (reason, records) in &self.unfit {
            write!(f, ", {records} unfit ({reason})")?;
        }
        Ok(())
    }
}
