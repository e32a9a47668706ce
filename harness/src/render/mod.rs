//! Turns what was recorded into what people read. Nothing here measures.

pub(crate) mod arms;
pub(crate) mod comparison;
pub(crate) mod estimate;
pub(crate) mod explain;
pub(crate) mod index;
pub(crate) mod markdown;
pub(crate) mod report;
pub(crate) mod stats;
pub(crate) mod table;

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_HORIZONTAL_ONLY};
use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent};

use crate::bootstrap::Interval;
use crate::record::Status;
use crate::summary::{Bound, Cell, Line, Overview, Total};

/// A table as text: a header and rows of cells, of which some columns are numbers.
pub(crate) struct Grid {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// Columns that stand flush left; numbers stand flush right.
    pub(crate) left: Vec<usize>,
}

impl Grid {
    /// For a terminal.
    pub(crate) fn to_terminal(&self) -> String {
        text(&self.table(UTF8_HORIZONTAL_ONLY))
    }

    /// For a terminal, with less air between columns.
    pub(crate) fn to_narrow_terminal(&self) -> String {
        let mut table = self.table(UTF8_HORIZONTAL_ONLY);
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        text(&table)
    }

    /// As a Markdown table.
    pub(crate) fn to_markdown(&self) -> String {
        let text = text(&self.table(ASCII_MARKDOWN));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if let Some(rule) = lines.get_mut(1) {
            // A colon at the end of a column's rule is what aligns it to the right.
            let mut cells: Vec<String> = rule.split('|').map(str::to_owned).collect();
            for at in (0..self.header.len()).filter(|at| !self.left.contains(at)) {
                if let Some(cell) = cells.get_mut(at + 1) {
                    cell.pop();
                    cell.push(':');
                }
            }
            *rule = cells.join("|");
        }
        lines.join("\n")
    }

    fn table(&self, preset: &str) -> Table {
        let mut table = Table::new();
        table
            .load_preset(preset)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(&self.header)
            .add_rows(&self.rows);
        for (at, column) in table.column_iter_mut().enumerate() {
            if !self.left.contains(&at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        // Lines around the header, none between rows.
        table.remove_style(TableComponent::HorizontalLines);
        table.remove_style(TableComponent::MiddleIntersections);
        table
    }
}

/// Rows end where their text ends.
fn text(table: &Table) -> String {
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// With more arms than this, a group of columns for each would be too wide to read.
const MOST_WIDE_ARMS: usize = 4;

/// The table of a run: a group of columns for each arm, or one column for each of many.
fn overview_grid(overview: &Overview) -> Grid {
    if overview.arms.len() > MOST_WIDE_ARMS {
        return narrow_grid(overview);
    }
    let mut header = vec!["query".to_owned()];
    let mut left = vec![0];
    for (at, arm) in overview.arms.iter().enumerate() {
        header.push(format!("{arm} ms"));
        if at > 0 {
            header.extend(["ratio".to_owned(), "planning ms".to_owned()]);
            left.push(header.len());
            header.push("same rows".to_owned());
        }
    }
    let rows = overview
        .lines
        .iter()
        .map(|line| {
            let mut row = vec![line.query.clone()];
            for (at, cell) in line.cells.iter().enumerate() {
                row.push(time_or_status(cell));
                if at > 0 {
                    row.push(
                        cell.ratio
                            .map(|own| bounded(own, cell.bound))
                            .unwrap_or_default(),
                    );
                    row.push(cell.planning_ms.map(milliseconds).unwrap_or_default());
                    row.push(cell.same_rows.clone().unwrap_or_else(|| "-".to_owned()));
                }
            }
            row
        })
        .collect();
    Grid { header, rows, left }
}

/// The table of many arms, by number: the time of the first, the ratios of the others, and whose rows are in doubt.
fn narrow_grid(overview: &Overview) -> Grid {
    let mut header = vec!["query".to_owned(), "[1] ms".to_owned()];
    header.extend((2..=overview.arms.len()).map(|number| format!("[{number}] ratio")));
    header.push("same rows".to_owned());
    let row = |line: &Line| {
        let mut row = vec![line.query.clone()];
        let mut doubts = vec![];
        for (at, cell) in line.cells.iter().enumerate() {
            row.push(match cell.ratio.filter(|_| at > 0) {
                Some(times) => bounded(times, cell.bound),
                None => time_or_status(cell),
            });
            let same = cell.same_rows.as_deref().unwrap_or("-");
            if !same.starts_with("yes") {
                doubts.push(format!("[{}] {same}", at + 1));
            }
        }
        row.push(match doubts.is_empty() {
            true => "yes".to_owned(),
            false => doubts.join(", "),
        });
        row
    };
    Grid {
        rows: overview.lines.iter().map(row).collect(),
        left: vec![0, header.len() - 1],
        header,
    }
}

fn time_or_status(cell: &Cell) -> String {
    match (cell.status, cell.total_ms) {
        (Status::Ok | Status::Wrong, Some(ms)) => milliseconds(ms),
        (Status::Error, _) => "error".to_owned(),
        (Status::Timeout, _) => "timeout".to_owned(),
        // No measured run, only warm-ups.
        _ => "-".to_owned(),
    }
}

/// The lines below the table: totals, ratios, counts.
fn overview_lines(overview: &Overview) -> Vec<String> {
    let mut lines = Vec::new();
    if overview.arms.len() > MOST_WIDE_ARMS {
        let arms = overview.arms.iter().enumerate();
        let named: Vec<String> = arms
            .map(|(at, arm)| format!("[{}] {arm}", at + 1))
            .collect();
        lines.push(named.join(", "));
    }
    if overview.counted > 0 {
        let total = |total: &Total| {
            let bound = if total.at_least { "≥ " } else { "" };
            format!("{} {bound}{} ms", total.arm, milliseconds(total.total_ms))
        };
        let totals: Vec<String> = overview.totals.iter().map(total).collect();
        let (counted, stopped) = (overview.counted, overview.stopped);
        let all = match (counted == overview.counts.queries, stopped) {
            (true, 0) => String::new(),
            (false, 0) => format!(" (of {counted} queries that all finished)"),
            _ => format!(
                " (of {counted} queries, {stopped} of them stopped at the limit, which counts)"
            ),
        };
        lines.push(format!("total{all}: {}", totals.join(", ")));
    }
    for total in &overview.totals {
        if let Some(ratios) = &total.ratios {
            lines.push(format!(
                "{} against {}: total {}, geometric mean {}, worst {} ({}; {}), best {} ({})",
                total.arm,
                overview.arms[0],
                bounded(ratios.of_totals, ratios.bound),
                bounded(ratios.geometric_mean, ratios.bound),
                bounded(ratios.worst.ratio, ratios.worst.bound),
                ratios.worst.query,
                noise(ratios.worst.interval),
                bounded(ratios.best.ratio, ratios.best.bound),
                ratios.best.query
            ));
        }
    }
    lines.push(count_line(overview));
    lines
}

/// Whether a ratio is more than noise.
fn noise(interval: Option<Interval>) -> String {
    match interval {
        None => "too few runs to tell".to_owned(),
        Some(interval) => {
            let inside = if interval.contains_one() {
                "inside the noise, "
            } else {
                ""
            };
            format!(
                "{inside}95 %: {} to {}",
                ratio(interval.low),
                ratio(interval.high)
            )
        }
    }
}

fn count_line(overview: &Overview) -> String {
    let counts = &overview.counts;
    let noun = if counts.queries == 1 {
        "query"
    } else {
        "queries"
    };
    // One arm has nothing to be the same as.
    let good = if overview.arms.len() == 1 {
        "ok"
    } else {
        "same"
    };
    let mut line = format!("{} {noun}, {} {good}", counts.queries, counts.same);
    for (count, what) in [
        (counts.differ, "with different rows"),
        (counts.unknown, "not comparable"),
        (counts.unfinished, "failed or timed out"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    line
}

/// Three digits, as far as a time has them.
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

/// A ratio, or what it is at least or at most.
fn bounded(number: f64, bound: Bound) -> String {
    format!("{}{}", bound.sign(), ratio(number))
}

pub(crate) fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// Estimated rows: whole numbers, and the exponent where they are beyond reading.
pub(crate) fn rows(rows: f64) -> String {
    match rows {
        rows if !rows.is_finite() => "∞".to_owned(),
        rows if rows >= 1e12 => format!("{rows:.2e}"),
        rows if rows >= 10.0 => group(rows.round() as u64),
        rows => format!("{:.1}", rows).trim_end_matches(".0").to_owned(),
    }
}

/// 1234567 as 1,234,567.
pub(crate) fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the unit that leaves a number below 1024.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(group(0), "0");
        assert_eq!(group(999), "999");
        assert_eq!(group(1_234_567), "1,234,567");
        assert_eq!(rows(0.25), "0.2");
        assert_eq!(rows(3.0), "3");
        assert_eq!(rows(1500.4), "1,500");
        assert_eq!(rows(2.5e13), "2.50e13");
        assert_eq!(milliseconds(1.234), "1.23");
        assert_eq!(milliseconds(1234.5), "1234");
    }
}
