//! `joinwright sql`: SQL over a folder of tables.

use std::fs;
use std::io::{self, Read, Write};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::SchemaRef;
use arrow::json::WriterBuilder as JsonBuilder;
use arrow::json::writer::JsonArray;
use arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement;
use futures::StreamExt;
use joinwright_optimizer::Registry;

use super::block_on;
use crate::arm::Arm;
use crate::cli::{Format, SqlArgs};
use crate::machine::available_threads;
use crate::measure::parse;
use crate::session::{Purpose, Session, known_parts};
use crate::shape::returns_rows;
use crate::statistics::{know, open_catalog};
use crate::suite::data_folder;
use crate::tables::find_tables;

/// Runs the command.
pub(super) fn run(args: SqlArgs, registry: &Registry) -> Result<u8> {
    let arm = Arm::parse(&args.arm, &known_parts(registry))?;
    let tables = find_tables(&data_folder(&args.dir)?.0)?;
    let (text, from) = read(&args)?;
    // Editors of some systems begin a file with a mark of its encoding.
    let text = text.trim_start_matches('\u{feff}');
    let statements = parse(text).with_context(|| format!("cannot understand {from}"))?;
    let catalog = open_catalog(args.cache.folder.as_deref())?;
    let threads = available_threads();
    block_on(threads, async {
        know(&catalog, &tables).await?;
        let session =
            Session::open(&arm, &tables, &catalog, registry, threads, Purpose::Run).await?;
        for statement in statements {
            execute(&session, statement, args.format).await?;
        }
        Ok(0)
    })
}

/// The SQL, and where it comes from.
fn read(args: &SqlArgs) -> Result<(String, String)> {
    if let Some(sql) = &args.sql {
        return Ok((sql.clone(), "the SQL".to_owned()));
    }
    if let Some(file) = &args.file {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        return Ok((text, file.display().to_string()));
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    Ok((text, "standard input".to_owned()))
}

/// Runs a statement and prints its rows, if it has any to return.
async fn execute(session: &Session, statement: Statement, format: Format) -> Result<()> {
    let context = &session.context;
    let state = context.state();
    let plan = state.statement_to_plan(statement).await?;
    if !returns_rows(&plan) {
        context.execute_logical_plan(plan).await?.collect().await?;
        return Ok(());
    }
    let physical = state.create_physical_plan(&plan).await?;
    let schema = physical.schema();
    let mut stream = execute_stream(physical, state.task_ctx())?;
    let mut printer = Printer::new(format, schema);
    while let Some(batch) = stream.next().await {
        printer.write(batch?)?;
    }
    printer.finish()
}

/// Prints batches as they come, except for tables, whose columns need all rows to know their width.
enum Printer {
    Table(SchemaRef, Vec<RecordBatch>),
    Csv(Box<arrow::csv::Writer<Out>>),
    Json(arrow::json::Writer<Out, JsonArray>),
}

type Out = io::BufWriter<io::Stdout>;

impl Printer {
    fn new(format: Format, schema: SchemaRef) -> Self {
        let out = io::BufWriter::new(io::stdout());
        match format {
            Format::Table => Self::Table(schema, Vec::new()),
            Format::Csv => {
                let mut writer = CsvBuilder::new().with_header(true).build(out);
                // Without rows there would be no header either.
                let header = writer.write(&RecordBatch::new_empty(schema));
                debug_assert!(header.is_ok(), "a buffer takes a header");
                Self::Csv(Box::new(writer))
            }
            Format::Json => Self::Json(JsonBuilder::new().with_explicit_nulls(true).build(out)),
        }
    }

    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        match self {
            Self::Table(_, batches) => batches.push(batch),
            Self::Csv(writer) => writer.write(&batch).map_err(output_error)?,
            Self::Json(writer) => writer.write(&batch).map_err(output_error)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let mut out = match self {
            Self::Table(schema, mut batches) => {
                // An empty batch brings the header of a result without rows.
                batches.push(RecordBatch::new_empty(schema));
                let mut out = io::BufWriter::new(io::stdout());
                writeln!(out, "{}", pretty_format_batches(&batches)?)?;
                out
            }
            Self::Csv(writer) => writer.into_inner(),
            Self::Json(mut writer) => {
                writer.finish().map_err(output_error)?;
                let mut out = writer.into_inner();
                writeln!(out)?;
                out
            }
        };
        Ok(out.flush()?)
    }
}

/// Arrow wraps the errors of a writer; a closed pipe must be found again as what it is.
fn output_error(error: arrow::error::ArrowError) -> anyhow::Error {
    match error {
        arrow::error::ArrowError::IoError(_, error) => error.into(),
        other if other.to_string().contains("Broken pipe") => {
            io::Error::from(io::ErrorKind::BrokenPipe).into()
        }
        other => other.into(),
    }
}
