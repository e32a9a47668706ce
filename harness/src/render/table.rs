//! The result of a benchmark on a terminal.

use super::{overview_grid, overview_lines};
use crate::record::{Run, Sample};
use crate::summary::Overview;

/// The table, its totals, and the line that counts the queries, which comes last.
pub(crate) fn render(run: &Run, samples: &[Sample]) -> String {
    let overview = Overview::new(run, samples);
    let mut out = overview_grid(&overview).to_terminal();
    for query in &run.summary {
        for arm in &query.arms {
            if let Some(error) = &arm.error {
                out.push_str(&format!("\n{} {}: {error}", query.query, arm.arm));
            }
        }
    }
    if run.interrupted {
        let (done, all) = (run.summary.len(), run.queries);
        out.push_str(&format!("\ninterrupted after {done} of {all} queries"));
    }
    for line in overview_lines(&overview) {
        out.push('\n');
        out.push_str(&line);
    }
    out.push('\n');
    out
}

/// The lines below several tables.
pub(crate) fn render_together(runs: &[(String, Overview)]) -> String {
    let Some(overview) = Overview::together(runs) else {
        return String::new();
    };
    let names: Vec<&str> = runs.iter().map(|(name, _)| name.as_str()).collect();
    let lines = overview_lines(&overview).join("\n");
    format!("{} together\n{lines}\n", names.join(", "))
}
