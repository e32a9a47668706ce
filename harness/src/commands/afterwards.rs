//! What `bench` looks at once a query has run: its plans with their estimates, where planning time goes, how good the orders are.
//! Nothing of it is timed, and nothing of it ends a run.

use std::sync::Arc;

use anyhow::Result;
use joinwright_optimizer::Registry;

use super::Prepared;
use crate::arm::Arm;
use crate::bench::QueryRun;
use crate::details::QueryDetails;
use crate::injection::QuerySessions;
use crate::peers::Peer;
use crate::plan_errors::{Judge, PErrors};
use crate::session::{Purpose, Session};
use crate::suite::{Query, Suite};

/// Sessions beside those that are measured.
pub(super) struct Afterwards {
    /// With the trees that were not taken.
    explain: Vec<QuerySessions>,
    /// With a clock, and nothing else that takes time.
    clocked: Vec<QuerySessions>,
    /// Where the suite has its truth.
    judge: Option<Judge>,
}

impl Afterwards {
    pub(super) async fn open(
        arms: &[Arm],
        suite: &Suite,
        prepared: &Prepared,
        registry: &Registry,
        threads: usize,
    ) -> Result<Self> {
        let open = |purpose| open_sessions(arms, suite, prepared, registry, threads, purpose);
        let Prepared { tables, catalog } = prepared;
        Ok(Self {
            explain: open(Purpose::Alternatives).await?,
            clocked: open(Purpose::Explain).await?,
            judge: Judge::of_suite(suite, tables, catalog, threads).await?,
        })
    }

    /// Takes what was observed of a query, and adds what can be said of its plans.
    pub(super) async fn look(
        &self,
        query: &Query,
        arms: &[String],
        peers: &mut [Peer],
        done: &mut QueryRun,
    ) -> Result<QueryDetails> {
        let mut details = QueryDetails::new(query);
        let observed = std::mem::take(&mut done.observed);
        for (at, (arm, observed)) in arms.iter().zip(observed).enumerate() {
            let Some(observed) = observed else {
                continue;
            };
            let Some(of_arm) = self.explain.get(at) else {
                details.add_foreign(arm, arm, observed);
                if let Some(peer) = peers.get_mut(at - self.explain.len()) {
                    done.p_errors[at] = self.of_peer(peer, query).await;
                }
                continue;
            };
            let session = of_arm.of_query(&query.name).await?;
            if let Some(()) = kept(details.add(arm, &session, observed).await) {
                let clocked = self.clocked[at].of_query(&query.name).await?;
                kept(details.add_planning(arm, &clocked).await);
                done.p_errors[at] = self.of_arm(&session, query).await;
            }
        }
        Ok(details)
    }

    async fn of_arm(&self, session: &Arc<Session>, query: &Query) -> Option<PErrors> {
        kept(self.judge.as_ref()?.of_arm(session, query).await).flatten()
    }

    async fn of_peer(&self, peer: &mut Peer, query: &Query) -> Option<PErrors> {
        kept(self.judge.as_ref()?.of_peer(peer, query).await).flatten()
    }
}

/// What is only looked at must not end what is measured.
fn kept<T>(looked: Result<T>) -> Option<T> {
    looked
        .inspect_err(|error| {
            tracing::error!(error = crate::one_line(error), "a plan is not kept");
        })
        .ok()
}

pub(super) async fn open_sessions(
    arms: &[Arm],
    suite: &Suite,
    prepared: &Prepared,
    registry: &Registry,
    threads: usize,
    purpose: Purpose,
) -> Result<Vec<QuerySessions>> {
    let Prepared { tables, catalog } = prepared;
    let mut sessions = Vec::with_capacity(arms.len());
    for arm in arms {
        let data = (&tables[..], catalog);
        let of_arm = QuerySessions::open(arm, suite, data, registry, threads, purpose);
        sessions.push(of_arm.await?);
    }
    Ok(sessions)
}
