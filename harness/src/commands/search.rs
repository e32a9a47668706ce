//! `joinwright search`: search alone, on made graphs.

use std::time::Instant;

use anyhow::{Result, bail};
use joinwright_optimizer::enumerate::{Problem, Solution};
use joinwright_optimizer::join_tree::JoinTree;
use joinwright_optimizer::shapes::Shape;
use joinwright_optimizer::{JoinwrightOptions, Registry};
use serde::Serialize;

use super::print;
use crate::cli::SearchArgs;
use crate::render::Grid;

/// A clique of more has more edges than it is good for.
const MOST_CLIQUE_RELATIONS: usize = 1_000;

/// A search and what it found: a line of the output.
#[derive(Serialize)]
struct Line<'a> {
    shape: &'a str,
    relations: usize,
    seed: u64,
    enumerator: &'a str,
    pairs: u64,
    cost: f64,
    search_us: u64,
    stop: String,
}

/// Runs the command.
pub(super) fn run(args: SearchArgs, registry: &Registry) -> Result<u8> {
    let defaults = JoinwrightOptions::default();
    let Some(shape) = Shape::parse(&args.shape) else {
        let known = Shape::ALL.map(Shape::as_str).join(", ");
        bail!("unknown shape `{}`: there is {known}", args.shape);
    };
    let relations = usize::try_from(args.relations)?;
    if shape == Shape::Clique && relations > MOST_CLIQUE_RELATIONS {
        bail!("a clique of {relations} relations: {MOST_CLIQUE_RELATIONS} at most");
    }
    let enumerators = match args.enumerators.is_empty() {
        true => vec![defaults.enumerator.clone()],
        false => args.enumerators,
    };
    for name in &enumerators {
        if registry.enumerator(name).is_none() {
            let known = registry.enumerators().collect::<Vec<_>>().join(", ");
            bail!("unknown enumerator `{name}`: there is {known}");
        }
    }
    let Some(cost) = registry.cost_model(&args.cost) else {
        let known = registry.cost_models().collect::<Vec<_>>().join(", ");
        bail!("unknown cost `{}`: there is {known}", args.cost);
    };
    let budget = args.budget.unwrap_or(defaults.budget);
    let mut lines = vec![];
    for seed in &args.seeds {
        let (graph, rows) = shape.make(relations, *seed);
        // A lower relation joins each but the first: no cross product.
        let written = (1..relations).fold(JoinTree::Leaf(0), |left, relation| {
            JoinTree::join(left, JoinTree::Leaf(relation))
        });
        let problem = Problem {
            graph: &graph,
            cardinalities: &rows,
            cost: cost.as_ref(),
            written: &written,
            budget,
        };
        for name in &enumerators {
            let Some(enumerator) = registry.enumerator(name) else {
                continue;
            };
            let start = Instant::now();
            let Solution {
                cost, pairs, stop, ..
            } = enumerator.search(&problem);
            let line = Line {
                shape: shape.as_str(),
                relations,
                seed: *seed,
                enumerator: name,
                pairs,
                cost,
                search_us: u64::try_from(start.elapsed().as_micros())?,
                stop: stop.to_string(),
            };
            match args.json {
                // Long searches show what is done.
                true => print(&format!("{}\n", serde_json::to_string(&line)?))?,
                false => lines.push(line),
            }
        }
    }
    if !args.json {
        print(&table(&lines))?;
    }
    Ok(0)
}

fn table(lines: &[Line<'_>]) -> String {
    let header = [
        "shape",
        "relations",
        "seed",
        "enumerator",
        "pairs",
        "cost",
        "search_us",
        "stop",
    ];
    let row = |line: &Line<'_>| {
        vec![
            line.shape.to_owned(),
            line.relations.to_string(),
            line.seed.to_string(),
            line.enumerator.to_owned(),
            line.pairs.to_string(),
            format!("{:.4e}", line.cost),
            line.search_us.to_string(),
            line.stop.clone(),
        ]
    };
    let grid = Grid {
        header: header.map(str::to_owned).to_vec(),
        rows: lines.iter().map(row).collect(),
        left: vec![0, 3, 7],
    };
    format!("{}\n", grid.to_terminal())
}
