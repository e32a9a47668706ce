//! `estimate --peer`: what other systems estimate of the same sub-plans.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use joinwright_optimizer::EstimatedRegion;

use crate::peers::Peer;
use crate::plan_errors::sets_of;
use crate::quality::{TrueRows, p_error, p_error_of_joins};
use crate::render::estimate::{ArmEstimates, Estimated};
use crate::session::Session;
use crate::suite::Query;
use crate::truth::sub_queries::{Columns, SubQueries};
use crate::truth::{Truth, relations_of};

/// Asks a system for all sub-plans. `session` knows which of them a query has; queries that cannot be taken apart are left out, and
/// said.
pub(super) async fn estimate(
    peer: &mut Peer,
    session: &Session,
    columns: &Columns,
    queries: &[Query],
    truth: &Truth,
) -> Result<ArmEstimates> {
    let mut all = ArmEstimates::new(&peer.name);
    let bar = progress_bar(queries, truth);
    for query in queries {
        let cannot = || format!("cannot plan query {}", query.name);
        bar.set_message(format!("{} {}", peer.name, query.name));
        let parts = match SubQueries::parse(&query.sql, columns) {
            Ok(parts) => parts,
            Err(why) => {
                let why = crate::one_line(&why);
                crate::complain(&format!(
                    "peers have no estimates of query {}: {why}",
                    query.name
                ));
                continue;
            }
        };
        let regions = session.regions(&query.sql, false).await;
        for region in &regions.with_context(cannot)? {
            add_region(&mut all, peer, &parts, region, query, truth, &bar).await?;
        }
    }
    bar.finish_and_clear();
    Ok(all)
}

async fn add_region(
    all: &mut ArmEstimates,
    peer: &mut Peer,
    parts: &SubQueries,
    region: &EstimatedRegion,
    query: &Query,
    truth: &Truth,
    bar: &ProgressBar,
) -> Result<()> {
    let (mut known, mut guessed) = (BTreeMap::new(), BTreeMap::new());
    let mut elapsed = Duration::ZERO;
    for sub_plan in &truth[&query.name] {
        let set = relations_of(&sub_plan.name, &region.graph);
        let (Some(set), Some(sql)) = (set, parts.sql(&sub_plan.name)) else {
            continue;
        };
        let start = Instant::now();
        let rows = peer.estimate(&sql).await.with_context(|| {
            let (query, name) = (&query.name, &sub_plan.name);
            format!("{} does not estimate {name} of query {query}", peer.name)
        })?;
        elapsed += start.elapsed();
        bar.inc(1);
        known.insert(set, sub_plan.true_rows as f64);
        guessed.insert(set, rows);
        all.sub_plans.push(Estimated {
            query: query.name.clone(),
            sub_plan: sub_plan.name.clone(),
            relations: set.len(),
            true_rows: sub_plan.true_rows,
            est_rows: rows,
            upper_bound: None,
            source: "peer",
        });
    }
    if known.is_empty() {
        return Ok(());
    }
    all.estimated.push((known.len(), elapsed));
    let (graph, written) = (&region.graph, &region.written);
    let truth = TrueRows(known);
    let error = p_error(graph, written, &TrueRows(guessed), &truth);
    all.p_errors
        .extend(error.map(|error| (query.name.clone(), error)));
    let joined = graph.join_graph();
    let joins = peer.chosen_joins(parts).await.with_context(|| {
        let query = &query.name;
        format!("{} does not plan query {query}", peer.name)
    })?;
    let joins = joins.and_then(|joins| sets_of(&joins, graph));
    match joins.and_then(|joins| p_error_of_joins(&joined, written, &joins, &truth)) {
        Some(error) => all.own_plans.push((query.name.clone(), error)),
        None => crate::complain(&format!(
            "{}'s own plan of query {} cannot be judged: it does not join the same relations",
            peer.name, query.name
        )),
    }
    Ok(())
}

fn progress_bar(queries: &[Query], truth: &Truth) -> ProgressBar {
    let sub_plans = queries.iter().filter_map(|query| truth.get(&query.name));
    let bar = ProgressBar::new(sub_plans.map(Vec::len).sum::<usize>() as u64);
    let style = "{wide_bar} {msg}, {human_pos} of {human_len} sub-plans, {eta} left";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
