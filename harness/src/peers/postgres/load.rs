//! Parquet files into tables of PostgreSQL, once: a schema is named by a fingerprint of the files, and appears with all its tables.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, anyhow};
use arrow::array::Array;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::SinkExt;
use indicatif::{ProgressBar, ProgressStyle};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio_postgres::{Client, Transaction};
use twox_hash::XxHash64;

use super::{Data, quoted, told};
use crate::interrupt::{Interrupt, Interrupted};
use crate::tables::TablePath;

/// Whatever is loaded in another way has another name.
const FORMAT: u64 = 1;
/// PostgreSQL cuts longer names off.
const LONGEST_NAME: usize = 63;

/// The schema that holds the tables; makes it if it is not there yet.
pub(super) async fn ensure(
    client: &mut Client,
    data: Data<'_>,
    interrupt: &Interrupt,
) -> Result<String> {
    let schema = schema_name(data)?;
    let cannot = |error: tokio_postgres::Error| anyhow!("PostgreSQL: {}", told(&error));
    let there = client
        .query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&schema])
        .await
        .map_err(cannot)?;
    if there.is_some() {
        return Ok(schema);
    }
    let transaction = client.transaction().await.map_err(cannot)?;
    let start = format!(
        "SET LOCAL statement_timeout = 0; SET LOCAL TimeZone TO 'UTC'; CREATE SCHEMA {0}; SET LOCAL search_path TO {0}",
        quoted(&schema)
    );
    transaction.batch_execute(&start).await.map_err(cannot)?;
    let bar = progress_bar(data.tables.len());
    for table in data.tables {
        bar.set_message(table.name.clone());
        let loading = || format!("cannot load table {} into PostgreSQL", table.name);
        let primary = data.suite.primary_keys.get(&table.name);
        let primary = primary.map_or(&[][..], Vec::as_slice);
        load(&transaction, table, interrupt)
            .await
            .with_context(loading)?;
        declare_key(&transaction, &table.name, primary)
            .await
            .map_err(cannot)
            .with_context(loading)?;
        let analyze = format!("ANALYZE {}", quoted(&folded(&table.name)));
        let analyzed = transaction.batch_execute(&analyze).await;
        analyzed.map_err(cannot).with_context(loading)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    transaction.commit().await.map_err(cannot)?;
    Ok(schema)
}

fn progress_bar(tables: usize) -> ProgressBar {
    let bar = ProgressBar::new(tables as u64);
    let style = "loading {msg} into PostgreSQL {wide_bar} {pos} of {len} tables {elapsed}";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// `joinwright_SUITE_HASH`, where the hash is of names, sizes and times of the files, and of the keys. Folders have no part in it.
fn schema_name(data: Data<'_>) -> Result<String> {
    let mut text = format!("{FORMAT} {:?}", data.suite.primary_keys);
    for table in data.tables {
        for file in table.files()? {
            let path = Path::new(&file);
            let reading = || format!("cannot read {file}");
            let about = fs::metadata(path).with_context(reading)?;
            let modified = about.modified().with_context(reading)?;
            let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let (size, time) = (about.len(), modified.as_nanos());
            let _ = write!(text, "\n{} {name} {size} {time}", table.name);
        }
    }
    let hash = format!("{:016x}", XxHash64::oneshot(0, text.as_bytes()));
    let plain = data.suite.name.chars();
    let mut name = String::from("joinwright_");
    name.extend(plain.map(|c| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '_',
    }));
    name.truncate(LONGEST_NAME - hash.len() - 1);
    Ok(format!("{name}_{hash}"))
}

/// Names are in lower case, as PostgreSQL takes those of a query that does not quote them.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// The names of all tables and columns that are loaded in lower case, unless another one is loaded as it is.
pub(super) fn folded_names(data: Data<'_>) -> Result<BTreeSet<String>> {
    let (mut folded_names, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for table in data.tables {
        folded_names.insert(folded(&table.name));
        let Some(file) = table.files()?.into_iter().next() else {
            continue;
        };
        let reading = || format!("cannot read {file}");
        let opened = File::open(&file).with_context(reading)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(opened).with_context(reading)?;
        for name in column_names(reader.schema()) {
            match folded(&name) == name {
                true => folded_names.insert(name),
                false => kept.insert(folded(&name)),
            };
        }
    }
    Ok(&folded_names - &kept)
}

/// The names of a table's columns; as they are, where two would become one.
fn column_names(schema: &SchemaRef) -> Vec<String> {
    let written = || schema.fields().iter().map(|field| field.name());
    let names: Vec<String> = written().map(|name| folded(name)).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    match distinct.len() == names.len() {
        true => names,
        false => written().cloned().collect(),
    }
}

/// Makes a table of all its files.
async fn load(
    transaction: &Transaction<'_>,
    path: &TablePath,
    interrupt: &Interrupt,
) -> Result<()> {
    let cannot = |error: tokio_postgres::Error| anyhow!(told(&error));
    let table = quoted(&folded(&path.name));
    let mut made = false;
    for file in path.files()? {
        let reading = || format!("cannot read {file}");
        let opened = File::open(&file).with_context(reading)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(opened).with_context(reading)?;
        let schema = reader.schema().clone();
        let names: Vec<String> = column_names(&schema).iter().map(|n| quoted(n)).collect();
        if !made {
            let columns = names.iter().zip(schema.fields());
            let columns: Vec<String> = columns
                .map(|(name, field)| format!("{name} {}", type_of(field.data_type())))
                .collect();
            let create = format!("CREATE TABLE {table} ({})", columns.join(", "));
            transaction.batch_execute(&create).await.map_err(cannot)?;
            made = true;
        }
        let copy = format!("COPY {table} ({}) FROM STDIN (FREEZE)", names.join(", "));
        let sink = transaction.copy_in(copy.as_str()).await.map_err(cannot)?;
        let mut sink = std::pin::pin!(sink);
        for batch in reader.build().with_context(reading)? {
            if interrupt.is_set() {
                return Err(Interrupted.into());
            }
            let text = copy_text(&batch.with_context(reading)?)?;
            sink.send(Cursor::new(text)).await.map_err(cannot)?;
        }
        sink.as_mut().finish().await.map_err(cannot)?;
    }
    Ok(())
}

/// Declares a primary key. One that the rows do not keep to is left out, and said.
async fn declare_key(
    transaction: &Transaction<'_>,
    name: &str,
    columns: &[String],
) -> std::result::Result<(), tokio_postgres::Error> {
    if columns.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = columns.iter().map(|name| quoted(&folded(name))).collect();
    let table = quoted(&folded(name));
    let key = format!("ALTER TABLE {table} ADD PRIMARY KEY ({})", names.join(", "));
    transaction.batch_execute("SAVEPOINT keyless").await?;
    if let Err(error) = transaction.batch_execute(&key).await {
        transaction.batch_execute("ROLLBACK TO keyless").await?;
        crate::complain(&format!(
            "table {name} has no primary key ({}) in PostgreSQL: {}",
            columns.join(", "),
            told(&error)
        ));
    }
    Ok(())
}

/// The type of a column. What PostgreSQL has no type for is text.
fn type_of(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::UInt64 => "numeric(20)",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            return format!("numeric({precision}, {scale})");
        }
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Dictionary(_, values) => return type_of(values),
        other if is_binary(other) => "bytea",
        _ => "text",
    };
    name.to_owned()
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// Rows in the text format of COPY.
fn copy_text(batch: &RecordBatch) -> Result<Vec<u8>> {
    let options = FormatOptions::default();
    let columns = batch
        .columns()
        .iter()
        .map(|column| {
            let formatter = ArrayFormatter::try_new(column, &options)?;
            // The keys of a dictionary may be there where its values are not.
            Ok((column, column.logical_nulls(), formatter))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut text = String::new();
    let mut value = String::new();
    for row in 0..batch.num_rows() {
        for (at, (column, nulls, formatter)) in columns.iter().enumerate() {
            if at > 0 {
                text.push('\t');
            }
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                text.push_str("\\N");
                continue;
            }
            value.clear();
            write!(value, "{}", formatter.value(row))?;
            if is_binary(column.data_type()) {
                text.push_str("\\\\x");
            }
            push_escaped(&mut text, &value);
        }
        text.push('\n');
    }
    Ok(text.into_bytes())
}

fn push_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
        Int32Array, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Schema};

    #[test]
    fn values_are_those_of_copy() {
        let decimals = Decimal128Array::from(vec![Some(-12_345), None]);
        let decimals = decimals.with_precision_and_scale(9, 2).unwrap();
        let text = StringArray::from(vec![Some("a\tb\\N\r\n"), Some("")]);
        let columns: [(&str, ArrayRef); 8] = [
            ("i", Arc::new(Int32Array::from(vec![Some(-7), None]))),
            ("t", Arc::new(text)),
            ("d", Arc::new(decimals)),
            (
                "f",
                Arc::new(Float64Array::from(vec![f64::NAN, f64::NEG_INFINITY])),
            ),
            ("b", Arc::new(BooleanArray::from(vec![true, false]))),
            ("day", Arc::new(Date32Array::from(vec![0, -1]))),
            (
                "time",
                Arc::new(TimestampMicrosecondArray::from(vec![1_500_000, 0])),
            ),
            (
                "bytes",
                Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b""])),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let types: Vec<String> = (batch.schema().fields().iter())
            .map(|field| type_of(field.data_type()))
            .collect();
        assert_eq!(
            types.join(", "),
            "integer, text, numeric(9, 2), double precision, boolean, date, timestamp, bytea"
        );
        insta::assert_snapshot!(String::from_utf8(copy_text(&batch).unwrap()).unwrap(), @r"
        -7	a\tb\\N\r\n	-123.45	NaN	true	1970-01-01	1970-01-01T00:00:01.500	\\x00ff
        \N		\N	-inf	false	1969-12-31	1970-01-01T00:00:00	\\x
        ");
    }

    #[test]
    fn names_are_folded_where_they_stay_apart() {
        let names = |columns: &[&str]| {
            let field = |name: &&str| Field::new(*name, DataType::Int32, true);
            let fields: Vec<Field> = columns.iter().map(field).collect();
            column_names(&Arc::new(Schema::new(fields)))
        };
        assert_eq!(names(&["Id", "PostId"]), ["id", "postid"]);
        assert_eq!(names(&["Id", "id"]), ["Id", "id"]);
    }
}
