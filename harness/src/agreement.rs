//! Whether an arm's rows are those of the first arm that returned any.

use anyhow::Result;

use crate::bench::{Done, Rows, Runner};
use crate::compare;
use crate::rows::Table;
use crate::suite::Query;

/// A result so large that its rows were compared once is afterwards compared by its digest.
const ROWS_TO_COMPARE_EACH_TIME: u64 = 100_000;

/// Whether an arm's rows agree with the reference, from best to worst.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Agreement {
    Same,
    /// The same by number and hash; the results were too large to keep.
    SameByHash,
    /// The same by number; another system returned them.
    SameByNumber,
    /// Other rows of equal sort keys around the cut of a LIMIT; all are rows of the query without it.
    SameUpToTies,
    /// LIMIT without ORDER BY chose other rows, all of them rows of the query without it.
    SameOfUnorderedLimit,
    /// A LIMIT chose other rows, and the whole result could not be had to check them.
    Unknown,
    /// No arm of ours came to an end that it could be held to.
    Alone,
    /// Why the rows differ.
    Different(String),
}

impl Agreement {
    /// In the words of the table.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Same => "yes",
            Self::SameByHash => "yes (by hash)",
            Self::SameByNumber => "yes (by number)",
            Self::SameUpToTies => "yes (ties)",
            Self::SameOfUnorderedLimit => "yes (unordered limit)",
            Self::Unknown => "unknown (limit)",
            Self::Alone => "unknown (alone)",
            Self::Different(_) => "NO",
        }
        .to_owned()
    }
}

/// The first result of a query, to which all others are held.
pub(crate) struct Reference {
    arm: usize,
    rows: Rows,
    /// The result without LIMIT, once it was needed; the inner `None` is a result that could not be had.
    unlimited: Option<Option<Table>>,
}

/// Holds the number of rows that another system returned to the reference.
pub(crate) fn judge_number(reference: Option<&Reference>, found: u64) -> Agreement {
    match reference.map(|own| own.rows.digest.rows) {
        Some(expected) if expected != found => {
            Agreement::Different(format!("{found} rows against {expected}"))
        }
        Some(_) => Agreement::SameByNumber,
        None => Agreement::Alone,
    }
}

/// Holds a result of our own to the reference, or makes it the reference.
pub(crate) async fn judge(
    runner: &mut impl Runner,
    query: &Query,
    reference: &mut Option<Reference>,
    arm: usize,
    done: &Done,
    first_time: bool,
) -> Result<Agreement> {
    if let Some(table) = &done.rows.table
        && let Some(row) = compare::first_out_of_order(table, &done.shape.keys)?
    {
        return Ok(Agreement::Different(format!(
            "row {} is out of the order that the query asks for",
            row + 1
        )));
    }
    let Some(reference) = reference else {
        *reference = Some(Reference {
            arm,
            rows: done.rows.clone(),
            unlimited: None,
        });
        return Ok(Agreement::Same);
    };
    let (expected, found) = (&reference.rows, &done.rows);
    if expected.digest.rows != found.digest.rows {
        return Ok(Agreement::Different(format!(
            "{} rows against {}",
            found.digest.rows, expected.digest.rows
        )));
    }
    let same_digest = expected.digest == found.digest;
    let (Some(expected), Some(found)) = (&expected.table, &found.table) else {
        return Ok(match (same_digest, done.shape.limited) {
            (true, _) => Agreement::SameByHash,
            (false, true) => Agreement::Unknown,
            (false, false) => Agreement::Different("the rows have another hash".to_owned()),
        });
    };
    if same_digest && !first_time && done.rows.digest.rows > ROWS_TO_COMPARE_EACH_TIME {
        return Ok(Agreement::Same);
    }
    let Some(difference) = compare::difference(found, expected)? else {
        return Ok(Agreement::Same);
    };
    if !done.shape.limited {
        return Ok(Agreement::Different(difference));
    }
    // A LIMIT may choose among rows of equal sort keys, but the keys are given.
    let keys = &done.shape.keys;
    if !keys.is_empty() {
        let found = compare::key_columns(found, keys)?;
        let expected = compare::key_columns(expected, keys)?;
        if let Some(difference) = compare::difference(&found, &expected)? {
            return Ok(Agreement::Different(difference));
        }
    }
    if reference.unlimited.is_none() {
        reference.unlimited = Some(runner.without_limit(reference.arm, query).await);
    }
    let Some(Some(unlimited)) = &reference.unlimited else {
        return Ok(Agreement::Unknown);
    };
    Ok(match compare::not_contained(found, unlimited)? {
        Some(difference) => Agreement::Different(difference),
        None if done.shape.ordered => Agreement::SameUpToTies,
        None => Agreement::SameOfUnorderedLimit,
    })
}
