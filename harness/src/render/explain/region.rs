//! Why a region of joins has the order it has, as text.

use joinwright_optimizer::Trace;
use joinwright_optimizer::join_graph::JoinKind;
use joinwright_optimizer::trace::TraceTree;

use super::factor;
use crate::alternatives::{Alternative, Alternatives, Intermediate};
use crate::render::{Grid, group, rows};

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

/// The predicates that connect the relations of a region.
pub(super) fn render_graph(region: &Trace) -> String {
    let mut out = "join graph:\n".to_owned();
    for edge in &region.edges {
        let kind = match edge.join {
            JoinKind::Inner => String::new(),
            kind => format!(" ({kind:?})").to_lowercase(),
        };
        let relations = edge.relations.join(" – ");
        out.push_str(&format!("  {relations}{kind}: {}\n", edge.predicate));
    }
    out
}

/// The trees that were not taken, and why.
pub(super) fn render_alternatives(others: &Alternatives, region: &Trace) -> String {
    let mut out = String::new();
    if !others.alternatives.is_empty() {
        out.push_str("alternatives:\n");
    }
    for other in &others.alternatives {
        let times = match other.ratio {
            Some(ratio) => format!(", {} times that of the order taken", factor(ratio)),
            None => String::new(),
        };
        out.push_str(&format!("  {} by {}\n", order(&other.tree), other.by));
        out.push_str(&format!("    cost {}{times}", rows(other.cost)));
        out.push_str(&why(other, region));
        out.push('\n');
    }
    if let Some(space) = &others.space {
        let trees = match space.trees {
            trees if trees < 1e15 => group(trees as u64),
            trees => format!("{trees:.1e}"),
        };
        out.push_str(&format!(
            "plan space: {trees} trees; of {} random ones {} cost less",
            space.sampled, space.cheaper
        ));
        if let (Some(least), Some(median), Some(most)) = (
            space.ratios.first(),
            space.ratios.get(space.ratios.len() / 2),
            space.ratios.last(),
        ) {
            out.push_str(&format!(
                ", they cost {} to {} times as much, {} at the median",
                factor(*least),
                factor(*most),
                factor(*median)
            ));
        }
        out.push('\n');
    }
    out
}

/// Why a tree was not taken.
fn why(other: &Alternative, region: &Trace) -> String {
    let named = |join: &Intermediate| {
        let relations = join.relations.join("+");
        format!("{} rows of {relations}", rows(join.est_rows))
    };
    if other.cost < region.cost {
        return format!("; cheaper, but {}", why_not(region));
    }
    match (&other.larger, &other.instead_of) {
        (Some(larger), Some(instead)) => {
            format!(": {} in place of {}", named(larger), named(instead))
        }
        (Some(larger), None) => format!(": {}", named(larger)),
        _ => String::new(),
    }
}

/// Why a region does not have a tree that costs less.
fn why_not(region: &Trace) -> &'static str {
    match region.stop.as_str() {
        _ if region.reordered => "not found by this search",
        "written" => "this arm keeps the written order",
        "forced" => "the order was given",
        _ => "not by enough to leave the written order",
    }
}

/// What is said where no other trees were looked at; nothing of two relations, which have no other.
pub(super) fn render_no_alternatives(region: &Trace) -> &'static str {
    match (region.relations.len(), region.stop.as_str()) {
        (0..=2, _) => "",
        (_, "written") => {
            "alternatives: none were looked at, as this arm does not search; --arm enumerator=written shows them beside this order\n"
        }
        _ => "alternatives: none were looked at\n",
    }
}

/// A tree as `((a b) c)`.
fn order(tree: &TraceTree) -> String {
    match tree {
        TraceTree::Leaf { alias, .. } => alias.clone(),
        TraceTree::Join { left, right, .. } => format!("({} {})", order(left), order(right)),
    }
}
