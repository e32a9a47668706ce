//! Other systems beside DataFusion: the same Parquet files, the same SQL, their plans and times as arms of a run.

mod duckdb;
mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::bench::{Attempt, Done, Rows, Runner};
use crate::fingerprint::fingerprint;
use crate::interrupt::{Interrupt, Interrupted};
use crate::measure::Measure;
use crate::operators::{Observed, Operator};
use crate::rows::{Digest, Table};
use crate::shape::Shape;
use crate::suite::Query;
use crate::tables::TablePath;
use process::{Answer, Process};

/// The systems that can be asked for.
const NAMES: [&str; 1] = ["duckdb"];

/// A system that answers queries.
pub(crate) struct Peer {
    /// The name of its arm.
    pub(crate) name: String,
    process: Process,
    /// By query, of the plan that was explained.
    fingerprints: BTreeMap<String, String>,
    timeout: Duration,
    interrupt: Interrupt,
}

/// Checks the names on the command line.
pub(crate) fn check_names(names: &[String]) -> Result<()> {
    for (at, name) in names.iter().enumerate() {
        if !NAMES.contains(&name.as_str()) {
            bail!("unknown peer `{name}`: there is {}", NAMES.join(", "));
        }
        if names[..at].contains(name) {
            bail!("peer `{name}` is given twice");
        }
    }
    Ok(())
}

/// The version of a system; the error says how to get it.
pub(crate) fn version(name: &str) -> std::result::Result<String, String> {
    match name {
        "duckdb" => duckdb::version(),
        other => Err(format!("there is no peer {other}")),
    }
}

/// Starts a system over the tables.
pub(crate) async fn start(
    name: &str,
    tables: &[TablePath],
    threads: usize,
    timeout: Duration,
    interrupt: &Interrupt,
) -> Result<Peer> {
    let mut process = duckdb::process(tables, threads)?;
    let mut waiting = interrupt.clone();
    match process.open(timeout, &mut waiting).await {
        Answer::Line(answer) => duckdb::check_opened(&answer)?,
        Answer::Interrupted => return Err(Interrupted.into()),
        Answer::TimedOut | Answer::Gone => bail!("peer {name} does not start"),
    }
    Ok(Peer {
        name: name.to_owned(),
        process,
        fingerprints: BTreeMap::new(),
        timeout,
        interrupt: interrupt.clone(),
    })
}

impl Peer {
    async fn run(&mut self, query: &Query, observe: bool) -> Attempt {
        let request = duckdb::request(&query.sql, observe);
        let answer = self
            .process
            .ask(&request, self.timeout, &mut self.interrupt)
            .await;
        match answer {
            Answer::Line(line) => match duckdb::understand(&line) {
                Ok(ran) => Attempt::Done(Box::new(self.done(query, ran))),
                Err(error) => Attempt::Failed(crate::one_line(&error)),
            },
            Answer::Interrupted => Attempt::Interrupted,
            Answer::TimedOut => Attempt::TimedOut,
            Answer::Gone => Attempt::Failed(format!("{} ended", self.name)),
        }
    }

    fn done(&mut self, query: &Query, ran: Ran) -> Done {
        if let Some(observed) = &ran.observed {
            let line = |operator: &Operator| format!("{} {}", operator.name, operator.text);
            let lines: Vec<String> = observed.operators.iter().map(line).collect();
            let plan = fingerprint(&lines.join("\n"));
            self.fingerprints.insert(query.name.clone(), plan);
        }
        let plan = self.fingerprints.get(&query.name).cloned();
        Done {
            planning_ms: ran.planning_ms,
            execution_ms: ran.execution_ms,
            rows: Rows {
                digest: Digest::of_number(ran.rows),
                table: None,
                foreign: true,
            },
            shape: Shape::default(),
            fingerprint: plan.unwrap_or_default(),
            observed: ran.observed,
        }
    }
}

/// One execution in another system. Times in milliseconds.
struct Ran {
    planning_ms: f64,
    execution_ms: f64,
    rows: u64,
    observed: Option<Observed>,
}

/// DataFusion under the first arms, other systems under the last ones.
pub(crate) struct Systems {
    pub(crate) measure: Measure,
    pub(crate) peers: Vec<Peer>,
}

impl Runner for Systems {
    async fn run(&mut self, arm: usize, query: &Query, observe: bool) -> Attempt {
        let own = self.measure.sessions.len();
        match arm.checked_sub(own).and_then(|at| self.peers.get_mut(at)) {
            Some(peer) => peer.run(query, observe).await,
            None => self.measure.run(arm, query, observe).await,
        }
    }

    async fn without_limit(&mut self, arm: usize, query: &Query) -> Option<Table> {
        match arm < self.measure.sessions.len() {
            true => self.measure.without_limit(arm, query).await,
            false => None,
        }
    }
}
