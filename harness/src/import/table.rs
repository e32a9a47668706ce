//! One CSV file to one Parquet file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use arrow::array::{
    ArrayBuilder, ArrayRef, Int16Builder, Int32Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use chrono::{NaiveDate, NaiveDateTime};
use csv::StringRecord;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::raw::{Kept, is_quoted, skipped_lines};
use super::{Benchmark, Column, Table, Type};

/// Rows that are converted before they are written.
const ROWS_PER_BATCH: usize = 16 * 1024;
/// Several row groups even in small tables, so that two threads can share a scan.
const ROWS_PER_GROUP: usize = 128 * 1024;

/// How PostgreSQL and MySQL write what is missing.
const NULL: &str = "\\N";

const TIME: &str = "%Y-%m-%d %H:%M:%S%.f";
const TIME_WITH_T: &str = "%Y-%m-%dT%H:%M:%S%.f";
const DAY: &str = "%Y-%m-%d";

/// Converts the file of a table into `TABLE.parquet` in `folder`, which appears once it is whole; the result is its rows.
/// Fields are NULL where they are empty or `\N`, but for texts in quotes: `""` is a text without any character. A header is known by its names, and may have them in another order.
pub(crate) fn convert(
    benchmark: &Benchmark,
    table: &Table,
    file: &Path,
    folder: &Path,
    progress: &mut impl FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let target = folder.join(format!("{}.parquet", table.name));
    let partial = Partial(folder.join(format!(".{}.parquet.new", table.name)));
    let rows = write(benchmark, table, file, &partial.0, progress)?;
    fs::rename(&partial.0, &target)
        .with_context(|| format!("cannot write {}", target.display()))?;
    Ok(rows)
}

/// A file that goes unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn write(
    benchmark: &Benchmark,
    table: &Table,
    file: &Path,
    path: &Path,
    progress: &mut impl FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        // The number of fields is checked against the table, not against the first line.
        .flexible(true)
        .escape(benchmark.escape)
        .double_quote(true)
        .from_reader(Kept::new(
            File::open(file).with_context(|| format!("cannot read {}", file.display()))?,
        ));
    let writing = || format!("cannot write {}", path.display());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .build();
    let out = File::create(path).with_context(writing)?;
    let schema = schema(table);
    let mut writer =
        ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties)).with_context(writing)?;
    let mut places: Vec<usize> = (0..table.columns.len()).collect();
    let mut values: Vec<Values> = table.columns.iter().map(Values::new).collect();
    let mut record = StringRecord::new();
    let (mut rows, mut reported, mut first) = (0_u64, 0, true);
    loop {
        let before = reader.position().clone();
        let more = reader.read_record(&mut record);
        let read = before.byte()..reader.position().byte();
        let raw = reader.get_mut().bytes_of(read);
        // Empty lines before a record count as lines of it.
        let line = before.line() + skipped_lines(raw);
        if !more.map_err(|error| broken(file, &error, line))? {
            break;
        }
        if std::mem::take(&mut first)
            && let Some(header) = header(table, &record)
        {
            places = header;
            continue;
        }
        let at = || format!("{}, line {line}", file.display());
        let quoted = |field| is_quoted(raw, field, benchmark.escape);
        add(table, &places, &record, quoted, &mut values).with_context(at)?;
        rows += 1;
        if rows.is_multiple_of(ROWS_PER_BATCH as u64) {
            writer
                .write(&batch(&schema, &mut values)?)
                .with_context(writing)?;
            let position = reader.position().byte();
            progress(position - std::mem::replace(&mut reported, position))?;
        }
    }
    writer
        .write(&batch(&schema, &mut values)?)
        .with_context(writing)?;
    let out = writer.into_inner().with_context(writing)?;
    out.sync_all().with_context(writing)?;
    progress(reader.position().byte() - reported)?;
    Ok(rows)
}

fn broken(file: &Path, error: &csv::Error, line: u64) -> anyhow::Error {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => anyhow!("{}, line {line}: no UTF-8", file.display()),
        _ => anyhow!("cannot read {}, line {line}: {error}", file.display()),
    }
}

/// Where the columns of a table are, if a line has their names.
fn header(table: &Table, record: &StringRecord) -> Option<Vec<usize>> {
    let place = |column: &Column| {
        record
            .iter()
            .position(|field| field.trim().eq_ignore_ascii_case(column.name))
    };
    let places: Option<Vec<usize>> = table.columns.iter().map(place).collect();
    places.filter(|_| record.len() == table.columns.len())
}

fn schema(table: &Table) -> SchemaRef {
    let field = |column: &Column| {
        let kind = match column.kind {
            Type::Small => DataType::Int16,
            Type::Int => DataType::Int32,
            Type::Text => DataType::Utf8,
            Type::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
        };
        Field::new(column.name, kind, true)
    };
    Arc::new(Schema::new(
        table.columns.iter().map(field).collect::<Vec<_>>(),
    ))
}

/// The values of one column that are not written yet.
enum Values {
    Small(Int16Builder),
    Int(Int32Builder),
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Values {
    fn new(column: &Column) -> Self {
        match column.kind {
            Type::Small => Self::Small(Int16Builder::new()),
            Type::Int => Self::Int(Int32Builder::new()),
            Type::Text => Self::Text(StringBuilder::new()),
            Type::Time => Self::Time(TimestampMicrosecondBuilder::new()),
        }
    }

    /// Adds a field, which may have stood in quotes; `None` if it cannot be understood.
    fn add(&mut self, field: &str, quoted: impl Fn() -> bool) -> Option<()> {
        let null = field == NULL && !quoted();
        let known = !field.is_empty() && !null;
        match self {
            Self::Small(values) => {
                values.append_option(if known {
                    Some(field.trim().parse().ok()?)
                } else {
                    None
                });
            }
            Self::Int(values) => {
                values.append_option(if known {
                    Some(field.trim().parse().ok()?)
                } else {
                    None
                });
            }
            Self::Text(values) => {
                values.append_option((known || (!null && quoted())).then_some(field));
            }
            Self::Time(values) => {
                values.append_option(if known {
                    Some(microseconds(field.trim())?)
                } else {
                    None
                });
            }
        }
        Some(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Small(values) => ArrayBuilder::finish(values),
            Self::Int(values) => ArrayBuilder::finish(values),
            Self::Text(values) => ArrayBuilder::finish(values),
            Self::Time(values) => ArrayBuilder::finish(values),
        }
    }
}

fn microseconds(text: &str) -> Option<i64> {
    let time = NaiveDateTime::parse_from_str(text, TIME)
        .or_else(|_| NaiveDateTime::parse_from_str(text, TIME_WITH_T))
        .ok()
        .or_else(|| {
            NaiveDate::parse_from_str(text, DAY)
                .ok()?
                .and_hms_opt(0, 0, 0)
        })?;
    Some(time.and_utc().timestamp_micros())
}

/// Adds a line to the values of all columns.
fn add(
    table: &Table,
    places: &[usize],
    record: &StringRecord,
    quoted: impl Fn(usize) -> bool,
    values: &mut [Values],
) -> Result<()> {
    if record.len() != table.columns.len() {
        bail!(
            "{} fields, where table {} has {} columns",
            record.len(),
            table.name,
            table.columns.len()
        );
    }
    for ((column, place), values) in table.columns.iter().zip(places).zip(values) {
        let field = record.get(*place).unwrap_or_default();
        if values.add(field, || quoted(*place)).is_none() {
            let what = match column.kind {
                Type::Small => "a whole number of 16 bits",
                Type::Int => "a whole number of 32 bits",
                Type::Text => "text",
                Type::Time => "a time such as 2010-07-19 06:55:26",
            };
            bail!("`{field}` in column {} is not {what}", column.name);
        }
    }
    Ok(())
}

fn batch(schema: &SchemaRef, values: &mut [Values]) -> Result<RecordBatch> {
    let columns = values.iter_mut().map(Values::finish).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).context("the columns do not fit together")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{JOB, STATS};
    use arrow::util::display::FormatOptions;
    use arrow::util::pretty::pretty_format_batches_with_options;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    /// The rows that come of a file, or the error with the folder taken out.
    fn converted(benchmark: &Benchmark, name: &str, text: impl AsRef<[u8]>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("{name}.csv"));
        fs::write(&file, text).unwrap();
        let table = benchmark.tables.iter().find(|table| table.name == name);
        let out = convert(benchmark, table.unwrap(), &file, folder.path(), &mut |_| {
            Ok(())
        });
        let path = folder.path().join(format!("{name}.parquet"));
        let files = fs::read_dir(folder.path()).unwrap().count();
        if let Err(error) = out {
            assert_eq!(files, 1, "something is left");
            let said = crate::one_line(&error);
            return said.replace(&format!("{}/", folder.path().display()), "");
        }
        assert_eq!(files, 2, "something is left");
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap());
        let batches: Vec<RecordBatch> = reader
            .unwrap()
            .build()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let options = FormatOptions::new().with_null("NULL");
        let shown = pretty_format_batches_with_options(&batches, &options);
        shown.unwrap().to_string()
    }

    /// As in PostgreSQL's COPY, quotes make an empty text one that is known. Other types have no such value.
    #[test]
    fn empty_quotes_are_a_text() {
        let text = "1,\"\",,\"\",a,\"\",\n2,,\"\",\"7\",\"x\\\",y\",,\"\"\n";
        insta::assert_snapshot!(converted(&JOB, "char_name", text), @r#"
        +----+------+------------+---------+---------------+---------------+--------+
        | id | name | imdb_index | imdb_id | name_pcode_nf | surname_pcode | md5sum |
        +----+------+------------+---------+---------------+---------------+--------+
        | 1  |      | NULL       | NULL    | a             |               | NULL   |
        | 2  | NULL |            | 7       | x",y          | NULL          |        |
        +----+------+------------+---------+---------------+---------------+--------+
        "#);
    }

    #[test]
    fn quotes_escapes_and_nulls() {
        let text = concat!(
            "1,\"Smith, \\\"Bob\\\"\",,us,\"a\\\\b\",\n",
            "2,\"two\nlines\",x\\y,,,\r\n",
            "\n",
            "3,\"doubled \"\"quotes\"\"\",é,,,\n",
        );
        let text = text.replace(",us,", ",7,").replace("x\\y,,", "x\\y,-8,");
        let text = text.replace(",\n", ",,\n").replace(",\r\n", ",,\r\n");
        let rows = converted(&JOB, "char_name", text);
        insta::assert_snapshot!(rows, @r#"
        +----+------------------+------------+---------+---------------+---------------+--------+
        | id | name             | imdb_index | imdb_id | name_pcode_nf | surname_pcode | md5sum |
        +----+------------------+------------+---------+---------------+---------------+--------+
        | 1  | Smith, "Bob"     | NULL       | 7       | a\b           | NULL          | NULL   |
        | 2  | two              | x\y        | -8      | NULL          | NULL          | NULL   |
        |    | lines            |            |         |               |               |        |
        | 3  | doubled "quotes" | é          | NULL    | NULL          | NULL          | NULL   |
        +----+------------------+------------+---------+---------------+---------------+--------+
        "#);
    }

    #[test]
    fn a_header_may_have_another_order() {
        let text =
            "id,Date,UserId\n1,2010-07-19 06:55:26,5\n2,2010-07-19T06:55:26.5,\n3,2010-07-19,6\n";
        insta::assert_snapshot!(converted(&STATS, "badges", text), @r"
        +----+--------+-------------------------+
        | Id | UserId | Date                    |
        +----+--------+-------------------------+
        | 1  | 5      | 2010-07-19T06:55:26     |
        | 2  | NULL   | 2010-07-19T06:55:26.500 |
        | 3  | 6      | 2010-07-19T00:00:00     |
        +----+--------+-------------------------+
        ");
        let text = "1,5,2010-07-19 06:55:26\n";
        let row = "| 1  | 5      | 2010-07-19T06:55:26 |";
        assert!(converted(&STATS, "badges", text).contains(row));
    }

    #[test]
    fn broken_lines_are_named() {
        let check = |text: &[u8], expected: &str| {
            assert_eq!(converted(&JOB, "link_type", text), expected);
        };
        check(
            b"1,follows\n2,\"a\nb\"\nthree,c\n",
            "link_type.csv, line 4: `three` in column id is not a whole number of 32 bits",
        );
        check(
            b"1,follows\n2\n",
            "link_type.csv, line 2: 1 fields, where table link_type has 2 columns",
        );
        check(
            b"1,follows\n3000000000,x\n",
            "link_type.csv, line 2: `3000000000` in column id is not a whole number of 32 bits",
        );
        check(b"1,a\n2,\xff\n", "link_type.csv, line 2: no UTF-8");
        check(b"1,a\n\n2,\xff\n", "link_type.csv, line 3: no UTF-8");
        check(
            b"1,a\r\n2,b\r\n\r\n\r\nx,c\r\n",
            "link_type.csv, line 5: `x` in column id is not a whole number of 32 bits",
        );
        check(
            b"\n\nx,c\n",
            "link_type.csv, line 3: `x` in column id is not a whole number of 32 bits",
        );
        let said = converted(&STATS, "badges", "1,2,yesterday\n");
        assert!(
            said.starts_with("badges.csv, line 1: `yesterday` in column Date"),
            "{said}"
        );
    }

    #[test]
    fn more_rows_than_a_batch() {
        let rows = ROWS_PER_BATCH as u64 + 3;
        let text: String = (0..rows).map(|at| format!("{at},x\n")).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("link_type.csv");
        fs::write(&file, &text).unwrap();
        let table = JOB.tables.iter().find(|table| table.name == "link_type");
        let mut bytes = 0;
        let mut progress = |more| {
            bytes += more;
            Ok(())
        };
        let converted = convert(&JOB, table.unwrap(), &file, folder.path(), &mut progress);
        assert_eq!(converted.unwrap(), rows);
        assert_eq!(bytes, text.len() as u64);
    }
}
