//! Where the time of planning goes: our preparing, searching and emitting, and the rest, which is DataFusion's own.
//!
//! Measured beside the runs, in sessions that have a clock: those that are timed have none. Of three plannings after one that warms up
//! the one in the middle counts.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::session::Session;

/// Plannings that are timed.
const TIMES: usize = 3;
/// Whose planning takes longer is not planned again and again.
const LONG: Duration = Duration::from_secs(2);

/// The time of one planning, from SQL text to physical plan, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanningPhases {
    pub(crate) total_us: u64,
    /// Regions, their statistics and estimates, the guard, and what the physical rules are told.
    pub(crate) prepare_us: u64,
    /// Searches, with the estimates that they ask for.
    pub(crate) search_us: u64,
    /// Plans of the trees that were found.
    pub(crate) emit_us: u64,
    /// All the rest: parsing, DataFusion's rules, and its physical planning.
    pub(crate) datafusion_us: u64,
}

/// Times the planning of a query.
pub(crate) async fn planning_phases(session: &Session, sql: &str) -> Result<PlanningPhases> {
    let mut all = vec![once(session, sql).await?];
    let long = Duration::from_micros(all[0].total_us) > LONG;
    if !long {
        all.clear();
        for _ in 0..TIMES {
            all.push(once(session, sql).await?);
        }
    }
    all.sort_by_key(|phases| phases.total_us);
    Ok(all[all.len() / 2])
}

async fn once(session: &Session, sql: &str) -> Result<PlanningPhases> {
    let (total, spent) = session.plan_physically(sql).await?;
    let own = spent.all.min(total);
    let parts = spent.search + spent.emit;
    let us = |time: Duration| time.as_micros() as u64;
    Ok(PlanningPhases {
        total_us: us(total),
        prepare_us: us(own.saturating_sub(parts)),
        search_us: us(spent.search),
        emit_us: us(spent.emit),
        datafusion_us: us(total - own),
    })
}
