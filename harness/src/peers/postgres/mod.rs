//! PostgreSQL, through its protocol: the tables lie in a schema of their own, and each query runs in a transaction that is rolled back.

mod load;
mod plan;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use futures::TryStreamExt;
use serde_json::Value;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::{Data, Effort, Ended, Joins, Ran, Task};
use crate::interrupt::Interrupt;
use crate::truth::sub_queries::SubQueries;

/// A server that does not answer so soon is none.
const TIME_TO_CONNECT: Duration = Duration::from_secs(10);
/// For statements beside the one that is timed, and for what the server takes to notice its own timeout.
const TIME_TO_STOP: Duration = Duration::from_secs(10);
/// The most milliseconds of `statement_timeout`.
const LONGEST_TIMEOUT_MS: u128 = i32::MAX as u128;

/// Estimates are those of whole inputs, and of the best plan.
const EXACT_SEARCH: &str = "; SET max_parallel_workers_per_gather = 0; SET geqo TO off; \
                            SET from_collapse_limit = 100; SET join_collapse_limit = 100";

/// A server with the tables of a suite.
pub(super) struct Postgres {
    config: Config,
    /// What a new connection is told first.
    settings: String,
    /// The names of tables and columns that were loaded in lower case.
    folded: BTreeSet<String>,
    timeout: Duration,
    /// Absent after a query that had to be left alone.
    client: Option<Client>,
}

/// Understands a URL, or words such as `host=localhost user=me`.
pub(super) fn parse(url: &str) -> Result<Config> {
    let mut config: Config = url
        .parse()
        .context("cannot understand the address of peer postgres")?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(TIME_TO_CONNECT);
    }
    Ok(config)
}

/// The version of the server; the error says how to get one.
pub(super) async fn version(config: &Config) -> std::result::Result<String, String> {
    let asked = async {
        let client = connect(config).await?;
        let row = client.query_one("SHOW server_version", &[]).await?;
        row.try_get::<_, String>(0)
    };
    asked.await.map_err(|error| {
        format!(
            "peer postgres is skipped, no server at {} lets us in ({}): get one by `docker run -d -p 5432:5432 \
             -e POSTGRES_PASSWORD=secret postgres`, then --peer postgres=postgres://postgres:secret@localhost/postgres",
            address(config),
            told(&error)
        )
    })
}

/// Where the server is, without what is secret.
fn address(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}")
}

async fn connect(config: &Config) -> std::result::Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL ended");
        }
    });
    Ok(client)
}

/// What the server says, or what happened on the way to it.
fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => error.message().to_owned(),
        None => crate::one_line(&anyhow!(error.to_string()).context(source(error))),
    }
}

fn source(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}

/// A name as SQL text.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Postgres {
    /// Connects, and loads the tables unless they are there.
    pub(super) async fn open(
        config: &Config,
        data: Data<'_>,
        effort: Effort,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let cannot = || format!("cannot connect to PostgreSQL at {}", address(config));
        let mut client = connect(config)
            .await
            .map_err(|error| anyhow!(told(&error)))
            .with_context(cannot)?;
        let schema = load::ensure(&mut client, data, interrupt).await?;
        let timeout = effort.timeout.as_millis().clamp(1, LONGEST_TIMEOUT_MS);
        let mut settings = format!(
            "SET search_path TO {}; SET statement_timeout = {timeout}; SET TimeZone TO 'UTC'; \
             SET max_parallel_workers_per_gather = {}",
            quoted(&schema),
            effort.threads.saturating_sub(1).min(1024),
        );
        if effort.task == Task::Estimate {
            settings.push_str(EXACT_SEARCH);
        }
        let mut server = Self {
            config: config.clone(),
            settings,
            folded: load::folded_names(data)?,
            timeout: effort.timeout,
            client: None,
        };
        server.set_up(client).await?;
        Ok(server)
    }

    async fn set_up(&mut self, client: Client) -> Result<()> {
        let set = client.batch_execute(&self.settings).await;
        set.map_err(|error| anyhow!("cannot set up PostgreSQL: {}", told(&error)))?;
        self.client = Some(client);
        Ok(())
    }

    /// Connects again if the last query was left alone.
    async fn connected(&mut self) -> Result<&Client> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let client = connect(&self.config).await;
            let client = client.map_err(|error| anyhow!("PostgreSQL is gone: {}", told(&error)))?;
            self.set_up(client).await?;
        }
        self.client.as_ref().context("PostgreSQL is gone")
    }

    /// Runs a query once.
    pub(super) async fn run(
        &mut self,
        sql: &str,
        observe: bool,
        interrupt: &mut Interrupt,
    ) -> Ended<Ran> {
        let statements = match statements(sql, &self.folded) {
            Ok(statements) => statements,
            Err(error) => return Ended::Failed(crate::one_line(&error)),
        };
        // The server ends each statement itself. With the explanations there are three for each that is timed.
        let patience = self.timeout.saturating_mul(3 * statements.len() as u32) + TIME_TO_STOP;
        self.ask(patience, interrupt, async |client| {
            rolled_back(client, &statements, observe).await
        })
        .await
    }

    /// The rows that the server expects of a query.
    pub(super) async fn estimate(&mut self, sql: &str, interrupt: &mut Interrupt) -> Ended<f64> {
        let planned = self.plan(sql, interrupt).await;
        planned.and_then(|plan| match plan["Plan Rows"].as_f64() {
            Some(rows) => Ended::Done(rows),
            None => Ended::Failed("PostgreSQL's plan has no estimate".to_owned()),
        })
    }

    /// What the joins of the server's plan of a query join.
    pub(super) async fn joins(
        &mut self,
        query: &SubQueries,
        interrupt: &mut Interrupt,
    ) -> Ended<Joins> {
        let sql = query.over(|relation| load::folded(&relation.table));
        let planned = self.plan(&sql, interrupt).await;
        planned.and_then(|plan| Ended::Done(plan::joins(&plan)))
    }

    /// The plan of a query that does not run.
    async fn plan(&mut self, sql: &str, interrupt: &mut Interrupt) -> Ended<Value> {
        let patience = self.timeout + TIME_TO_STOP;
        let sql = with_folded_names(sql, &self.folded);
        let asked = self.ask(patience, interrupt, async |client| {
            let mut plan = explain(client, "SUMMARY", &sql).await?;
            Ok(plan["Plan"].take())
        });
        asked.await
    }

    /// Asks, and waits; what takes too long is told to stop, and its connection is given up.
    async fn ask<T>(
        &mut self,
        patience: Duration,
        interrupt: &mut Interrupt,
        question: impl AsyncFnOnce(&Client) -> std::result::Result<T, tokio_postgres::Error>,
    ) -> Ended<T> {
        let client = match self.connected().await {
            Ok(client) => client,
            Err(error) => return Ended::Failed(crate::one_line(&error)),
        };
        let cancel = client.cancel_token();
        let ended = tokio::select! {
            answer = question(client) => return of(answer),
            () = tokio::time::sleep(patience) => Ended::TimedOut,
            () = interrupt.wait() => Ended::Interrupted,
        };
        let _ = tokio::time::timeout(TIME_TO_STOP, cancel.cancel_query(NoTls)).await;
        self.client = None;
        ended
    }
}

fn of<T>(ended: std::result::Result<T, tokio_postgres::Error>) -> Ended<T> {
    match ended {
        Ok(done) => Ended::Done(done),
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => Ended::TimedOut,
        Err(error) => Ended::Failed(told(&error)),
    }
}

/// One statement of a query file.
#[derive(Debug, PartialEq, Eq)]
struct Statement {
    sql: String,
    returns_rows: bool,
}

/// The words of a text, which is that of all of them.
fn tokens(sql: &str, folded: &BTreeSet<String>) -> Result<Vec<Token>> {
    let mut tokens = Tokenizer::new(&GenericDialect {}, sql)
        .with_unescape(false)
        .tokenize()?;
    for token in &mut tokens {
        if let Token::Word(word) = token
            && word.quote_style == Some('"')
            && folded.contains(&load::folded(&word.value))
        {
            word.value = load::folded(&word.value);
        }
    }
    Ok(tokens)
}

/// A text whose quoted names are in lower case where the tables are.
fn with_folded_names(sql: &str, folded: &BTreeSet<String>) -> String {
    match tokens(sql, folded) {
        Ok(tokens) => tokens.iter().map(ToString::to_string).collect(),
        Err(_) => sql.to_owned(),
    }
}

/// Splits a text at its semicolons. Nothing else of it changes but quoted names that the tables have in lower case: the server is to see
/// what is written.
fn statements(sql: &str, folded: &BTreeSet<String>) -> Result<Vec<Statement>> {
    let tokens = tokens(sql, folded)?;
    let mut statements = vec![];
    for tokens in tokens.split(|token| *token == Token::SemiColon) {
        let first = tokens
            .iter()
            .find(|token| !matches!(token, Token::Whitespace(_) | Token::LParen));
        let Some(first) = first.map(|token| token.to_string().to_uppercase()) else {
            continue;
        };
        statements.push(Statement {
            sql: tokens.iter().map(ToString::to_string).collect(),
            returns_rows: ["SELECT", "WITH", "VALUES", "TABLE"].contains(&first.as_str()),
        });
    }
    match statements.iter().any(|statement| statement.returns_rows) {
        true => Ok(statements),
        false => Err(anyhow!("no statement returns rows")),
    }
}

/// Runs all statements and takes back what they changed.
async fn rolled_back(
    client: &Client,
    statements: &[Statement],
    observe: bool,
) -> std::result::Result<Ran, tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    let ran = run_statements(client, statements, observe).await;
    client.batch_execute("ROLLBACK").await?;
    ran
}

/// Runs all statements; the last one that returns rows is the result. Its plan is explained in an execution of its own.
async fn run_statements(
    client: &Client,
    statements: &[Statement],
    observe: bool,
) -> std::result::Result<Ran, tokio_postgres::Error> {
    let mut ran = Ran {
        planning_ms: 0.0,
        execution_ms: 0.0,
        rows: 0,
        observed: None,
    };
    let last = statements.iter().rposition(|s| s.returns_rows);
    let mut total_ms = 0.0;
    for (at, statement) in statements.iter().enumerate() {
        let started = Instant::now();
        let rows = count_rows(client, &statement.sql).await?;
        total_ms += started.elapsed().as_secs_f64() * 1e3;
        if !statement.returns_rows {
            continue;
        }
        // Afterwards, so that nothing is warm for the run that is timed.
        let plan = explain(client, "SUMMARY", &statement.sql).await?;
        ran.planning_ms += plan["Planning Time"].as_f64().unwrap_or_default();
        ran.rows = rows;
        if observe && Some(at) == last {
            client.batch_execute("SAVEPOINT explained").await?;
            // Counting takes longer than running, and may take too long.
            let plan = explain(client, "ANALYZE", &statement.sql).await;
            client.batch_execute("ROLLBACK TO explained").await?;
            ran.observed = plan.ok().map(|plan| plan::observed(&plan["Plan"]));
        }
    }
    // What ran has planned as well: that time is not counted twice.
    ran.planning_ms = ran.planning_ms.min(total_ms);
    ran.execution_ms = total_ms - ran.planning_ms;
    Ok(ran)
}

/// Runs a statement to its end; the rows are read and not kept.
async fn count_rows(client: &Client, sql: &str) -> std::result::Result<u64, tokio_postgres::Error> {
    let mut messages = std::pin::pin!(client.simple_query_raw(sql).await?);
    let mut rows = 0;
    while let Some(message) = messages.try_next().await? {
        rows += u64::from(matches!(message, SimpleQueryMessage::Row(_)));
    }
    Ok(rows)
}

/// What `EXPLAIN` says of a statement.
async fn explain(
    client: &Client,
    how: &str,
    sql: &str,
) -> std::result::Result<Value, tokio_postgres::Error> {
    let question = format!("EXPLAIN ({how}, FORMAT JSON) {sql}");
    let messages = client.simple_query(&question).await?;
    let text = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let mut told: Value = serde_json::from_str(text.unwrap_or_default()).unwrap_or_default();
    Ok(told.get_mut(0).map(Value::take).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_of_texts() {
        let text =
            "CREATE VIEW v AS SELECT 1;\n-- not; here\n(SELECT 'a;''b', $$x;y$$ FROM \"t;u\") ;\n;";
        let none = BTreeSet::new();
        let parts = statements(text, &none).unwrap();
        let texts: Vec<&str> = parts.iter().map(|part| part.sql.trim()).collect();
        assert_eq!(
            texts,
            [
                "CREATE VIEW v AS SELECT 1",
                "-- not; here\n(SELECT 'a;''b', $$x;y$$ FROM \"t;u\")"
            ]
        );
        let rows: Vec<bool> = parts.iter().map(|part| part.returns_rows).collect();
        assert_eq!(rows, [false, true]);
        assert!(statements("CREATE TABLE t (a int)", &none).is_err());
    }

    #[test]
    fn quoted_names_are_those_of_the_tables() {
        let folded = BTreeSet::from(["items".to_owned(), "id".to_owned()]);
        let sql = r#"SELECT i."Id", 'Id "Id"' AS "Other" FROM "Items" i -- "Items""#;
        assert_eq!(
            with_folded_names(sql, &folded),
            r#"SELECT i."id", 'Id "Id"' AS "Other" FROM "items" i -- "Items""#
        );
    }

    #[test]
    fn addresses_have_no_password() {
        let config = parse("postgres://me:secret@db.example:5433/x").unwrap();
        assert_eq!(address(&config), "db.example:5433");
        assert!(config.get_connect_timeout().is_some());
        let error = parse("postgres://me:secret@host:port/x").unwrap_err();
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    }
}
