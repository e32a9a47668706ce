//! What `explain` shows: text, diagrams, and a page.

mod diagram;
mod region;

pub(crate) use diagram::{dot, mermaid};
pub(crate) use region::render_region;

use joinwright_optimizer::PlanLine;

use super::{group, milliseconds, rows};
use crate::explanation::{Explanation, OperatorLine};
use region::{render_alternatives, render_graph, render_no_alternatives};

/// Longer texts of operators end in an ellipsis.
const LONGEST_TEXT: usize = 120;

/// The explanation for a terminal.
pub(crate) fn text(explanation: &Explanation<'_>) -> String {
    let mut out = String::new();
    if explanation.execution.is_none() {
        out.push_str(&logical(explanation.logical));
        out.push('\n');
    }
    out.push_str(&physical(&explanation.operators));
    if let Some(execution) = &explanation.execution {
        out.push_str(&format!(
            "{} rows; planning {} ms, execution {} ms; expected by {}\n",
            group(execution.rows),
            milliseconds(execution.planning_ms),
            milliseconds(execution.execution_ms),
            explanation.estimator
        ));
        if explanation.operators.iter().any(|operator| operator.cut) {
            out.push_str("≥: a LIMIT or a filter from above may have cut these rows\n");
        }
    }
    for region in &explanation.regions {
        out.push('\n');
        out.push_str(&render_region(region.trace));
        out.push_str(&render_graph(region.trace));
        out.push_str(&match region.others {
            Some(others) => render_alternatives(others, region.trace),
            None => render_no_alternatives(region.trace).to_owned(),
        });
    }
    if explanation.regions.is_empty() {
        out.push_str(match explanation.operators.iter().any(|o| o.joins) {
            true => "\nno region of joins: this arm leaves them as DataFusion has them\n",
            false => "\nno region of joins\n",
        });
    }
    out
}

/// The nodes of the logical plan, indented, with estimated rows and where the estimate comes from.
fn logical(lines: &[PlanLine]) -> String {
    let cells = lines.iter().map(|line| {
        let text = format!("{}{}", "  ".repeat(line.depth), line.text);
        vec![rows(line.est_rows), line.source.as_str().to_owned(), text]
    });
    columns(&["est. rows", "from", "plan"], &[1], cells.collect())
}

/// The operators of the physical plan, indented; with what they counted, if it ran.
fn physical(operators: &[OperatorLine<'_>]) -> String {
    let ran = operators.iter().any(|operator| operator.rows.is_some());
    let sources = operators.iter().any(|operator| operator.source.is_some());
    let cells = operators.iter().map(|operator| {
        let mut cells = vec![operator.est_rows.map(rows).unwrap_or_default()];
        if sources {
            cells.push(operator.source.unwrap_or_default().to_owned());
        }
        if ran {
            let at_least = if operator.cut { "≥ " } else { "" };
            let counted = operator
                .rows
                .map(|rows| format!("{at_least}{}", group(rows)));
            cells.push(counted.unwrap_or_default());
            cells.push(operator.q_error.map(factor).unwrap_or_default());
            let work = operator.work_us.map(|us| milliseconds(us as f64 / 1e3));
            cells.push(work.unwrap_or_default());
        }
        cells.push(operator.partitions.to_string());
        cells.push(operator_text(operator));
        cells
    });
    let mut header = vec!["est. rows"];
    if sources {
        header.push("from");
    }
    if ran {
        header.extend(["rows", "q-error", "work ms"]);
    }
    header.extend(["partitions", "physical plan"]);
    let left: &[usize] = if sources { &[1] } else { &[] };
    columns(&header, left, cells.collect())
}

fn operator_text(operator: &OperatorLine<'_>) -> String {
    let mut text = "  ".repeat(operator.depth);
    if let Some(role) = operator.role {
        text.push_str(&format!("{} ", role.as_str()));
    }
    text.push_str(operator.name);
    if let Some(table) = operator.table {
        text.push_str(&format!(" {table}"));
    }
    let brief = brief(operator.text, LONGEST_TEXT);
    if !brief.is_empty() {
        text.push_str(&format!(": {brief}"));
    }
    text
}

/// Columns of text, the last one and those named flush left.
fn columns(header: &[&str], left: &[usize], cells: Vec<Vec<String>>) -> String {
    let last = header.len() - 1;
    let width = |at: usize| {
        let cells = cells.iter().filter_map(|line| line.get(at));
        let longest = cells.map(|cell| cell.chars().count()).max();
        longest.unwrap_or(0).max(header[at].chars().count())
    };
    let widths: Vec<usize> = (0..=last).map(width).collect();
    let line = |cells: &[&str]| {
        let padded = cells.iter().enumerate().map(|(at, cell)| match at {
            at if at == last => (*cell).to_owned(),
            at if left.contains(&at) => format!("{cell:<0$}", widths[at]),
            at => format!("{cell:>0$}", widths[at]),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut out = line(header);
    for cells in &cells {
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        out.push_str(&line(&cells));
    }
    out
}

/// A factor with three digits or so.
fn factor(factor: f64) -> String {
    match factor {
        factor if factor >= 1e6 => format!("{factor:.1e}"),
        factor if factor >= 100.0 => group(factor.round() as u64),
        factor if factor >= 10.0 => format!("{factor:.1}"),
        factor => format!("{factor:.2}"),
    }
}

/// What an operator does, without the places of columns and what it projects.
pub(crate) fn brief(text: &str, longest: usize) -> String {
    let text = text.split(", projection=").next().unwrap_or(text);
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '@' && rest.peek().is_some_and(char::is_ascii_digit) {
            while rest.next_if(char::is_ascii_digit).is_some() {}
        } else {
            out.push(c);
        }
    }
    match out.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &out[..end]),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explanation::tests::{details, lines};

    #[test]
    fn a_plan_that_ran() {
        let details = details();
        insta::assert_snapshot!(physical(&lines(&details)), @r#"
        est. rows  from  rows  q-error  work ms  partitions  physical plan
               50  ndv    100     2.00     1.50           2  HashJoinExec: mode=Partitioned, join_type=Inner
                7           7     1.00                    2    build DataSourceExec t "x": t "x"
                           40                             2    probe SortExec: a <b>
               40        ≥ 20              0.00           2      DataSourceExec u: u
        "#);
    }

    #[test]
    fn texts_without_places() {
        let text = "on=[(a@0, b@12)], mail='x@y', projection=[a@0]";
        assert_eq!(brief(text, 80), "on=[(a, b)], mail='x@y'");
        assert_eq!(brief("äöü", 2), "äö…");
    }

    #[test]
    fn factors_have_three_digits() {
        let shown = [1.0, 12.34, 123.4, 12_345.0, 1.5e9].map(factor);
        assert_eq!(shown, ["1.00", "12.3", "123", "12,345", "1.5e9"]);
    }
}
