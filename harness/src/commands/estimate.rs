//! `joinwright estimate`: the estimates of sub-plans beside their true rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use joinwright_optimizer::EstimatedRegion;
use joinwright_optimizer::Registry;
use joinwright_optimizer::relset::RelSet;
use serde::Serialize;

use super::{Prepared, block_on, joins, prepare, print};
use crate::arm::Arm;
use crate::cli::EstimateArgs;
use crate::injection::QuerySessions;
use crate::interrupt::Interrupt;
use crate::machine::available_threads;
use crate::quality::{TrueRows, p_error};
use crate::render::estimate::{ArmEstimates, Estimated, render};
use crate::session::{Purpose, known_parts};
use crate::suite::{Query, Suite};
use crate::truth::{SubPlan, Truth, read_truth, relations_of};

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
        args.suite.scale,
        args.suite.queries.as_deref(),
    )?;
    let mut queries = suite.read_queries(&args.only)?;
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
    let threads = available_threads();
    let estimates = block_on(threads, async {
        let prepared = prepare(&suite, &queries, &args.suite, &mut Interrupt::listen()).await?;
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
        Ok(estimates)
    })?;
    if let Some(path) = &args.out {
        write_lines(path, &estimates)?;
    }
    print(&render(&estimates))?;
    Ok(0)
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
            all.p_errors
                .extend(plan_error(region, known).map(|error| (query.name.clone(), error)));
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
        source: estimate.source,
    }
}

fn plan_error(region: &EstimatedRegion, known: BTreeMap<RelSet, f64>) -> Option<f64> {
    let all = RelSet::first_n(region.graph.relations.len());
    if !known.contains_key(&all) {
        return None;
    }
    let cardinalities = region.cardinalities.as_ref();
    p_error(
        &region.graph,
        &region.written,
        cardinalities,
        &TrueRows(known),
    )
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
                    source: estimated.source.as_str(),
                    arm: &arm.arm,
                })
                .with_context(file)?;
        }
    }
    writer.flush().with_context(file)?;
    Ok(())
}
