//! Other systems beside DataFusion: the same Parquet files, the same SQL, their plans and times as arms of a run.

mod duckdb;
mod duckdb_joins;
mod postgres;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::bench::{Attempt, Done, Rows, Runner};
use crate::cold::PageCache;
use crate::fingerprint::fingerprint;
use crate::interrupt::{Interrupt, Interrupted};
use crate::measure::Measure;
use crate::operators::{Observed, Operator};
use crate::rows::{Digest, Table};
use crate::shape::Shape;
use crate::suite::{Query, Suite};
use crate::tables::TablePath;
use crate::truth::sub_queries::SubQueries;
use duckdb_joins::Files;
use postgres::Postgres;
use process::Process;

/// A system that is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    DuckDb,
    /// With the way to its server.
    Postgres(Box<tokio_postgres::Config>),
}

/// What a system is to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data<'a> {
    pub(crate) suite: &'a Suite,
    pub(crate) tables: &'a [TablePath],
}

/// How a system is to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) task: Task,
    /// Files are read anew for each answer.
    pub(crate) cold: bool,
    pub(crate) threads: usize,
    /// For one answer.
    pub(crate) timeout: Duration,
}

/// What a system is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// To run queries over the files, or what it makes of them.
    Run,
    /// For estimates, which are those of tables of its own, analyzed, and of plans on one thread.
    Estimate,
}

/// A system that answers queries.
pub(crate) struct Peer {
    /// The name of its arm.
    pub(crate) name: String,
    system: System,
    /// By query, of the plan that was explained.
    fingerprints: BTreeMap<String, String>,
    timeout: Duration,
    interrupt: Interrupt,
}

enum System {
    /// With the files of the tables, where they are not loaded.
    DuckDb(Process, Option<Files>),
    Postgres(Box<Postgres>),
}

/// By join of a plan the aliases of the relations that it joins, in lower case.
pub(crate) type Joins = BTreeSet<BTreeSet<String>>;

/// How a question to a system ended.
enum Ended<T> {
    Done(T),
    Failed(String),
    TimedOut,
    Interrupted,
}

impl<T> Ended<T> {
    /// What comes of an answer.
    fn and_then<U>(self, understand: impl FnOnce(T) -> Ended<U>) -> Ended<U> {
        match self {
            Self::Done(answer) => understand(answer),
            Self::Failed(error) => Ended::Failed(error),
            Self::TimedOut => Ended::TimedOut,
            Self::Interrupted => Ended::Interrupted,
        }
    }

    /// The answer to a question that has to have one.
    fn answer(self, timeout: Duration) -> Result<T> {
        match self {
            Self::Done(answer) => Ok(answer),
            Self::Failed(error) => bail!("{error}"),
            Self::TimedOut => bail!("no answer within {} s", timeout.as_secs()),
            Self::Interrupted => Err(Interrupted.into()),
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

impl Asked {
    /// The name of its arm.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::DuckDb => "duckdb",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The version of the system; the error says how to get it.
    async fn version(&self) -> std::result::Result<String, String> {
        match self {
            Self::DuckDb => duckdb::version(),
            Self::Postgres(config) => postgres::version(config).await,
        }
    }
}

/// Understands what the command line asks for.
pub(crate) fn parse(texts: &[String]) -> Result<Vec<Asked>> {
    let mut asked: Vec<Asked> = vec![];
    for text in texts {
        let (name, url) = match text.split_once('=') {
            Some((name, url)) => (name, Some(url)),
            None => (text.as_str(), None),
        };
        let peer = match (name, url) {
            ("duckdb", None) => Asked::DuckDb,
            ("postgres", Some(url)) => Asked::Postgres(Box::new(postgres::parse(url)?)),
            ("postgres", None) => {
                bail!("peer `postgres` needs a server: postgres=postgres://USER@HOST:PORT/DATABASE")
            }
            _ => bail!("unknown peer `{name}`: there are duckdb and postgres=URL"),
        };
        if asked.iter().any(|other| other.name() == peer.name()) {
            bail!("peer `{}` is given twice", peer.name());
        }
        asked.push(peer);
    }
    Ok(asked)
}

/// The systems that are there, with their versions; a line says of each other one how to get it.
pub(crate) async fn found(asked: Vec<Asked>) -> Vec<(Asked, String)> {
    let mut found = vec![];
    for peer in asked {
        match peer.version().await {
            Ok(version) => found.push((peer, version)),
            Err(missing) => crate::complain(&missing),
        }
    }
    found
}

/// An argument of the command line as it may be kept: passwords are none of a report's business.
pub(crate) fn without_password(argument: &str) -> String {
    if !argument.contains("postgres=") {
        return argument.to_owned();
    }
    let mut kept = argument.to_owned();
    if let Some((scheme, rest)) = argument.split_once("://")
        && let Some((user, host)) = rest.rsplit_once('@')
        && let Some((user, _)) = user.split_once(':')
    {
        kept = format!("{scheme}://{user}:***@{host}");
    }
    const KEY: &str = "password=";
    if let Some(at) = kept.find(KEY) {
        let value = at + KEY.len();
        let end = kept[value..]
            .find([' ', '&'])
            .map_or(kept.len(), |end| value + end);
        kept.replace_range(value..end, "***");
    }
    kept
}

/// Adds what is joined in a part of a plan, whose operators have these inputs and perhaps a relation; the result are its relations.
/// What joins a relation with something else, such as a list of values, is no join.
fn add_joins<'a>(
    node: &'a Value,
    inputs: impl Fn(&'a Value) -> &'a [Value] + Copy,
    relation: &impl Fn(&'a Value) -> Option<String>,
    joins: &mut Joins,
) -> BTreeSet<String> {
    let mut below: BTreeSet<String> = relation(node).into_iter().collect();
    let mut parts = 0;
    for input in inputs(node) {
        let more = add_joins(input, inputs, relation, joins);
        parts += usize::from(!more.is_empty());
        below.extend(more);
    }
    if parts > 1 {
        joins.insert(below.clone());
    }
    below
}

impl Peer {
    /// Starts a system over the tables.
    pub(crate) async fn start(
        asked: &Asked,
        data: Data<'_>,
        effort: Effort,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let system = match asked {
            Asked::DuckDb => {
                let process = duckdb::start(data, effort, interrupt.clone()).await?;
                let files = (effort.task == Task::Run).then(|| duckdb::files(data));
                System::DuckDb(process, files.transpose()?)
            }
            Asked::Postgres(config) => {
                let server = Postgres::open(config, data, effort, interrupt).await?;
                System::Postgres(Box::new(server))
            }
        };
        Ok(Self {
            name: asked.name().to_owned(),
            system,
            fingerprints: BTreeMap::new(),
            timeout: effort.timeout,
            interrupt: interrupt.clone(),
        })
    }

    async fn run(&mut self, query: &Query, observe: bool) -> Attempt {
        let (timeout, interrupt) = (self.timeout, &mut self.interrupt);
        let ended = match &mut self.system {
            System::DuckDb(process, _) => {
                duckdb::run(process, &query.sql, observe, timeout, interrupt).await
            }
            System::Postgres(server) => server.run(&query.sql, observe, interrupt).await,
        };
        match ended {
            Ended::Done(ran) => Attempt::Done(Box::new(self.done(query, ran))),
            Ended::Failed(error) => Attempt::Failed(error),
            Ended::TimedOut => Attempt::TimedOut,
            Ended::Interrupted => Attempt::Interrupted,
        }
    }

    /// The rows that the system expects of a query.
    pub(crate) async fn estimate(&mut self, sql: &str) -> Result<f64> {
        let (timeout, interrupt) = (self.timeout, &mut self.interrupt);
        let ended = match &mut self.system {
            System::DuckDb(process, _) => duckdb::estimate(process, sql, timeout, interrupt).await,
            System::Postgres(server) => server.estimate(sql, interrupt).await,
        };
        ended.answer(timeout)
    }

    /// What the joins of the system's own plan of a query join; `None` where the plan does not read each relation once.
    pub(crate) async fn chosen_joins(&mut self, query: &SubQueries) -> Result<Option<Joins>> {
        let (timeout, interrupt) = (self.timeout, &mut self.interrupt);
        let ended = match &mut self.system {
            System::DuckDb(process, files) => {
                duckdb_joins::joins(process, query, files.as_ref(), timeout, interrupt).await
            }
            System::Postgres(server) => server.joins(query, interrupt).await,
        };
        let joins = ended.answer(timeout)?;
        let all: BTreeSet<String> = query.relations().iter().map(|r| r.alias.clone()).collect();
        Ok((all.len() < 2 || joins.contains(&all)).then_some(joins))
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
            peak_memory_bytes: None,
            observed: ran.observed,
        }
    }
}

/// DataFusion under the first arms, other systems under the last ones.
pub(crate) struct Systems {
    pub(crate) measure: Measure,
    pub(crate) peers: Vec<Peer>,
    /// What is dropped before each sample of a cold run.
    pub(crate) page_cache: Option<PageCache>,
}

impl Runner for Systems {
    async fn run(&mut self, arm: usize, query: &Query, observe: bool) -> Attempt {
        if let Some(fault) = &query.fault {
            return Attempt::Failed(fault.clone());
        }
        if let Some(cache) = &self.page_cache
            && let Err(error) = cache.drop_pages()
        {
            return Attempt::Failed(format!("the run is not cold any more: {error}"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_kept() {
        for (given, kept) in [
            (
                "postgres=postgres://me:se:cr@t@host:5432/db",
                "postgres=postgres://me:***@host:5432/db",
            ),
            (
                "--peer=postgres=postgresql://me@host/db?password=abc&x=1",
                "--peer=postgres=postgresql://me@host/db?password=***&x=1",
            ),
            (
                "postgres=host=h password=abc user=me",
                "postgres=host=h password=*** user=me",
            ),
            (
                "postgres=postgres://me@host/db",
                "postgres=postgres://me@host/db",
            ),
            ("../a:b@c://x", "../a:b@c://x"),
        ] {
            assert_eq!(without_password(given), kept);
        }
    }
}
