//! `joinwright estimate`: the estimates of sub-plans beside their true rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use joinwright_optimizer::Registry;
use joinwright_optimizer::relset::RelSet;
use joinwright_stats::Catalog;
use serde::Serialize;

use super::{Prepared, block_on, joins, peer_estimates, prepare, print};
use crate::arm::Arm;
use crate::cli::EstimateArgs;
use crate::injection::QuerySessions;
use crate::interrupt::Interrupt;
use crate::machine::available_threads;
use crate::peers::{self, Asked, Data, Effort, Peer, Task};
use crate::plan_errors::{columns_of, default_session};
use crate::quality::{TrueRows, p_error, p_error_of_tree};
use crate::render::estimate::{ArmEstimates, Estimated, render};
use crate::session::{Purpose, known_parts};
use crate::suite::{Query, Suite};
use crate::truth::{SubPlan, Truth, read_truth, relations_of};

/// For one sub-plan in another system.
const TIME_TO_ESTIMATE: Duration = Duration::from_secs(300);

/// A line of the output.
#[derive(Serialize)]
struct Line<'a> {
    query: &'a str,
    sub_plan: &'a str,
    true_rows: u128,
    est_rows: f64,
    upper_bound: Option<f64>,
    source: &'a str,
    arm: &'a str,
}

/// Runs the command.
pub(super) fn run(args: EstimateArgs, registry: &Registry) -> Result<u8> {
    let arms = Arm::parse_all(
        &args.arms,
        &["estimator=joinwright"],
        &known_parts(registry),
    )?;
    let suite = Suite::find(
        &args.suite.name,
        args.suite.data.scale,
        args.suite.data.queries.as_deref(),
    )?;
    let mut queries = suite.read_sound_queries(&args.only)?;
    let truth = match args.subplans.as_ref().or(suite.truth.as_ref()) {
        Some(path) if !args.joins => {
            let truth = read_truth(path)?;
            queries.retain(|query| truth.contains_key(&query.name));
            if queries.is_empty() {
                bail!("{} has no sub-plan of these queries", path.display());
            }
            Some(truth)
        }
        _ => None,
    };
    let asked = peers::parse(&args.peers)?;
    if truth.is_none() && !asked.is_empty() {
        bail!("peers estimate the sub-plans of a file: name one with --subplans FILE");
    }
    let threads = available_threads();
    let estimates = block_on(threads, async {
        let mut interrupt = Interrupt::listen();
        let prepared = prepare(&suite, &queries, &args.suite.data, &mut interrupt).await?;
        let Prepared { tables, catalog } = &prepared;
        let mut sessions = vec![];
        for arm in &arms {
            let data = (&tables[..], catalog);
            let purpose = Purpose::Explain;
            let opened = QuerySessions::open(arm, &suite, data, registry, threads, purpose);
            sessions.push((arm, opened.await?));
        }
        let thorough = !args.as_planned;
        let Some(truth) = truth else {
            return joins::estimate(&sessions, &queries, thorough).await;
        };
        let mut estimates = vec![];
        for (arm, sessions) in &sessions {
            estimates.push(estimate_arm(arm, sessions, &queries, &truth, thorough).await?);
        }
        let data = Data {
            suite: &suite,
            tables,
        };
        let of_peers = estimate_peers(asked, data, catalog, &queries, &truth, interrupt);
        estimates.extend(of_peers.await?);
        Ok(estimates)
    })?;
    if let Some(path) = &args.out {
        write_lines(path, &estimates)?;
    }
    print(&render(&estimates))?;
    Ok(0)
}

/// The estimates of other systems, as far as they are there.
async fn estimate_peers(
    asked: Vec<Asked>,
    data: Data<'_>,
    catalog: &Arc<Catalog>,
    queries: &[Query],
    truth: &Truth,
    interrupt: Interrupt,
) -> Result<Vec<ArmEstimates>> {
    let session = default_session(data.tables, catalog).await?;
    let columns = columns_of(&session, data.tables).await?;
    let effort = Effort {
        task: Task::Estimate,
        cold: false,
        threads: available_threads(),
        timeout: TIME_TO_ESTIMATE,
    };
    let mut estimates = vec![];
    for (peer, _) in peers::found(asked).await {
        let mut peer = Peer::start(&peer, data, effort, &interrupt).await?;
        let of_peer = peer_estimates::estimate(&mut peer, &session, &columns, queries, truth);
        estimates.push(of_peer.await?);
    }
    Ok(estimates)
}

async fn estimate_arm(
    arm: &Arm,
    sessions: &QuerySessions,
    queries: &[Query],
    truth: &Truth,
    thorough: bool,
) -> Result<ArmEstimates> {
    let mut all = ArmEstimates::new(&arm.name);
    for query in queries {
        let cannot = || format!("cannot plan query {}", query.name);
        let session = sessions.of_query(&query.name).await?;
        // What is read from the catalog on demand is warm the second time, as it is for users.
        session
            .regions(&query.sql, thorough)
            .await
            .with_context(cannot)?;
        let regions = session
            .regions(&query.sql, thorough)
            .await
            .with_context(cannot)?;
        all.prepared.extend(regions.iter().map(|region| {
            let relations = region.graph.relations.len();
            (relations, region.prepared_in.unwrap_or_default())
        }));
        for region in &regions {
            let mut known = BTreeMap::new();
            let mut elapsed = Duration::ZERO;
            let mut sub_plans = 0;
            for sub_plan in &truth[&query.name] {
                let Some(set) = relations_of(&sub_plan.name, &region.graph) else {
                    continue;
                };
                known.insert(set, sub_plan.true_rows as f64);
                let start = Instant::now();
                let estimate = region.cardinalities.estimate(set);
                elapsed += start.elapsed();
                sub_plans += 1;
                all.sub_plans
                    .push(estimated(query, sub_plan, set, &estimate));
            }
            all.estimated.push((sub_plans, elapsed));
            let all_relations = RelSet::first_n(region.graph.relations.len());
            if !known.contains_key(&all_relations) {
                continue;
            }
            let (graph, written) = (&region.graph, &region.written);
            let truth = TrueRows(known);
            let named = |error| (query.name.clone(), error);
            let by_estimates = p_error(graph, written, region.cardinalities.as_ref(), &truth);
            all.p_errors.extend(by_estimates.map(named));
            // The order in which this arm joins, for which it may have more reasons than its estimates.
            let own = p_error_of_tree(&graph.join_graph(), written, &truth);
            all.own_plans.extend(own.map(named));
        }
    }
    Ok(all)
}

fn estimated(
    query: &Query,
    sub_plan: &SubPlan,
    set: RelSet,
    estimate: &joinwright_optimizer::estimate::Estimate,
) -> Estimated {
    Estimated {
        query: query.name.clone(),
        sub_plan: sub_plan.name.clone(),
        relations: set.len(),
        true_rows: sub_plan.true_rows,
        est_rows: estimate.rows,
        upper_bound: estimate.upper_bound,
        source: estimate.source.as_str(),
    }
}

fn write_lines(path: &Path, arms: &[ArmEstimates]) -> Result<()> {
    let file = || format!("cannot write {}", path.display());
    let mut writer = csv::Writer::from_path(path).with_context(file)?;
    for arm in arms {
        for estimated in &arm.sub_plans {
            writer
                .serialize(Line {
                    query: &estimated.query,
                    sub_plan: &estimated.sub_plan,
                    true_rows: estimated.true_rows,
                    est_rows: estimated.est_rows,
                    upper_bound: estimated.upper_bound,
                    source: estimated.source,
                    arm: &arm.arm,
                })
                .with_context(file)?;
        }
    }
    writer.flush().with_context(file)?;
    Ok(())
}
