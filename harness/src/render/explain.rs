//! Why a plan joins in the order it does, as text.

use joinwright_optimizer::Trace;
use joinwright_optimizer::trace::TraceTree;

use super::{Grid, group, rows};
use crate::session::Planned;

/// The plan with estimated rows beside its nodes, then each region of joins.
pub(crate) fn render(planned: &Planned) -> String {
    let mut out = plan(planned);
    for region in &planned.regions {
        out.push('\n');
        out.push_str(&render_region(region));
    }
    if planned.regions.is_empty() {
        out.push_str("\nno region of joins\n");
    }
    out
}

/// The nodes of the plan, indented, with estimated rows and where the estimate comes from.
fn plan(planned: &Planned) -> String {
    let columns: Vec<[String; 3]> = planned
        .lines
        .iter()
        .map(|line| {
            let estimate = rows(line.est_rows);
            let text = format!("{}{}", "  ".repeat(line.depth), line.text);
            [estimate, line.source.as_str().to_owned(), text]
        })
        .collect();
    let width = |at: usize, title: &str| {
        let cells = columns.iter().map(|cells| cells[at].chars().count());
        cells.max().unwrap_or(0).max(title.len())
    };
    let (first, second) = (width(0, "est. rows"), width(1, "from"));
    let mut out = format!("{:>first$}  {:<second$}  plan\n", "est. rows", "from");
    for [estimate, source, text] in &columns {
        out.push_str(&format!("{estimate:>first$}  {source:<second$}  {text}\n"));
    }
    out
}

/// One region: its relations, the order chosen, and what the order as written would cost.
pub(crate) fn render_region(region: &Trace) -> String {
    let mut out = format!(
        "region {}: {} relations; estimator {}, enumerator {}, cost {}\n",
        region.region,
        region.relations.len(),
        region.estimator,
        region.enumerator,
        region.cost_model
    );
    let relations = Grid {
        header: ["relation", "table", "est. rows", "from"]
            .map(str::to_owned)
            .to_vec(),
        rows: region
            .relations
            .iter()
            .map(|relation| {
                vec![
                    relation.alias.clone(),
                    relation
                        .table
                        .clone()
                        .unwrap_or_else(|| "(sub-plan)".to_owned()),
                    rows(relation.est_rows),
                    match relation.stale {
                        true => format!("{}, stale", relation.source.as_str()),
                        false => relation.source.as_str().to_owned(),
                    },
                ]
            })
            .collect(),
        left: vec![0, 1, 3],
    };
    out.push_str(&relations.to_terminal());
    out.push('\n');
    if region.reordered {
        out.push_str(&format!("chosen, cost {}:\n", rows(region.cost)));
        push_tree(&mut out, &region.tree, 1);
        let times = match region.written_cost / region.cost {
            times if times.is_finite() => format!(", {times:.1} times that"),
            _ => String::new(),
        };
        out.push_str(&format!(
            "as written, cost {}{times}:\n",
            rows(region.written_cost)
        ));
        push_tree(&mut out, &region.written, 1);
    } else {
        out.push_str(&format!("left as written, cost {}:\n", rows(region.cost)));
        push_tree(&mut out, &region.tree, 1);
    }
    let time = match region.planning_us {
        Some(us) => format!(" in {} µs", group(us)),
        None => String::new(),
    };
    out.push_str(&format!(
        "search: {} pairs{time}; stopped: {}\n",
        group(region.pairs),
        region.stop
    ));
    out
}

fn push_tree(out: &mut String, tree: &TraceTree, depth: usize) {
    let indent = "  ".repeat(depth);
    let estimate = rows(tree.est_rows());
    match tree {
        TraceTree::Leaf { alias, .. } => {
            out.push_str(&format!("{indent}{alias}  {estimate} rows\n"));
        }
        TraceTree::Join { left, right, .. } => {
            out.push_str(&format!("{indent}join  {estimate} rows\n"));
            push_tree(out, left, depth + 1);
            push_tree(out, right, depth + 1);
        }
    }
}
