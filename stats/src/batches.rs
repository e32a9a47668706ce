//! Statistics of tables that are no Parquet files: from their record batches, by the same sketches.
//!
//! Batches are written to a Parquet file of their own first, which is analyzed like any other and then removed. So memory is bounded
//! whatever the size of the table, samples are drawn knowing its rows, and what is found is the same as for a file. The
//! file lies in the cache folder, or in memory for a catalog without one.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::file_stats::{FileColumn, FileVersion};
use crate::parts::can_be_packed;
use crate::value::Family;
use crate::{AnalyzeOptions, AnalyzeSummary, Catalog, Progress, StatsError, Store};

/// Batches on their way to the file.
const QUEUED: usize = 2;

/// The location under which a [`Snapshot`](crate::Snapshot) knows a table that was analyzed from its batches.
pub fn provider_key(table: &str) -> String {
    format!("provider:{table}")
}

impl Catalog {
    /// Analyzes a table from its record batches. `batches` is not polled if this `version` of the table is known.
    ///
    /// The version is any text that changes when the table does. Columns that Parquet cannot hold (nested ones, intervals) get null
    /// counts and nothing else.
    ///
    /// # Errors
    /// The error of the stream, [`StatsError::Batches`], as it is if the batches do not fit the schema. Nothing is
    /// published then. Space that runs out is a [`StatsError::Store`].
    pub async fn analyze_batches<S, E>(
        &self,
        table: &str,
        version: &str,
        schema: SchemaRef,
        batches: S,
        options: &AnalyzeOptions,
        progress: &dyn Progress,
    ) -> Result<AnalyzeSummary, StatsError>
    where
        S: Stream<Item = Result<RecordBatch, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut version = FileVersion {
            key: provider_key(table),
            size: 0,
            modified: (0, 0),
            e_tag: Some(version.to_owned()),
        };
        if let Some(entry) = self.known(&version, options).await {
            let summary = AnalyzeSummary {
                files: 1,
                cached: 1,
                rows: entry.stats.rows,
                bytes: entry.stats.version.size,
                ..AnalyzeSummary::default()
            };
            return Ok(self.publish_one(table, entry, summary, options).await);
        }
        let spilled = spill(table, self.temporary_path(), &schema, batches).await?;
        version.size = spilled.meta.size;
        let analyzed = self
            .analyze_file(
                table,
                &spilled.store,
                &spilled.meta,
                version,
                spilled.aside.clone(),
                options,
                progress,
            )
            .await;
        let (entry, bytes_read) = analyzed?;
        let summary = AnalyzeSummary {
            files: 1,
            scanned: 1,
            rows: entry.stats.rows,
            bytes: entry.stats.version.size,
            bytes_read,
            ..AnalyzeSummary::default()
        };
        Ok(self.publish_one(table, entry, summary, options).await)
    }
}

/// Batches in a file of their own, which is removed with this.
struct Spilled {
    store: Store,
    meta: ObjectMeta,
    /// Columns that the file does not hold, with their nulls.
    aside: Vec<FileColumn>,
    file: Option<PathBuf>,
}

impl Drop for Spilled {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // Best effort: what stays behind is removed with other abandoned files.
            let _ = fs::remove_file(file);
        }
    }
}

/// Where batches are written.
enum Target {
    File(File),
    Memory(Vec<u8>),
}

impl io::Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Memory(memory) => memory.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Memory(_) => Ok(()),
        }
    }
}

fn is_written(field: &Field) -> bool {
    let data_type = match field.data_type() {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    can_be_packed(data_type) && Family::of(data_type) != Family::Nested
}

async fn spill<E>(
    table: &str,
    path: Option<PathBuf>,
    schema: &SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, E>> + Send,
) -> Result<Spilled, StatsError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| StatsError::Batches {
        table: table.to_owned(),
        source,
    };
    let mut spilled = Spilled {
        store: Store::local(),
        meta: ObjectMeta {
            location: Path::from(table),
            last_modified: Default::default(),
            size: 0,
            e_tag: None,
            version: None,
        },
        aside: Vec::new(),
        file: path.clone(),
    };
    let written: Vec<usize> = (0..schema.fields().len())
        .filter(|at| is_written(schema.field(*at)))
        .collect();
    let to_write = Arc::new(
        schema
            .project(&written)
            .map_err(|error| failed(error.into()))?,
    );
    let target = match &path {
        Some(path) => Target::File(File::create(path).map_err(|error| failed(error.into()))?),
        None => Target::Memory(Vec::new()),
    };
    let (sender, receiver) = mpsc::channel(QUEUED);
    let writer = spawn_blocking(move || write(target, to_write, receiver));
    let mut nulls = vec![0; schema.fields().len()];
    let mut batches = std::pin::pin!(batches);
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| failed(error.into()))?;
        for (nulls, array) in nulls.iter_mut().zip(batch.columns()) {
            *nulls += array.logical_null_count() as u64;
        }
        let batch = batch
            .project(&written)
            .map_err(|error| failed(error.into()))?;
        // A writer that has ended says why below.
        if sender.send(batch).await.is_err() {
            break;
        }
    }
    drop(sender);
    let target = writer
        .await
        .map_err(|source| StatsError::worker(table, &source))?;
    let target = target.map_err(|error| failed(error.into()))?;
    let described = |(at, nulls): (usize, u64)| {
        let field = schema.field(at);
        (!written.contains(&at)).then(|| side_column(field, nulls))
    };
    spilled.aside = nulls
        .into_iter()
        .enumerate()
        .filter_map(described)
        .collect();
    match (target, path) {
        (Target::Memory(memory), _) => {
            let store = InMemory::new();
            let location = spilled.meta.location.clone();
            let put = store.put(&location, Bytes::from(memory).into()).await;
            put.map_err(|source| StatsError::store(table, source))?;
            spilled.store = Store::new("memory:///", Arc::new(store));
        }
        (Target::File(_), Some(path)) => {
            let path = path.canonicalize().map_err(|error| failed(error.into()))?;
            let location = Path::from_absolute_path(path);
            spilled.meta.location = location.map_err(|error| failed(error.into()))?;
        }
        (Target::File(_), None) => {}
    }
    let head = spilled.store.inner().head(&spilled.meta.location).await;
    spilled.meta = head.map_err(|source| StatsError::store(table, source))?;
    Ok(spilled)
}

fn write(
    target: Target,
    schema: Arc<Schema>,
    mut batches: mpsc::Receiver<RecordBatch>,
) -> Result<Target, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = ArrowWriter::try_new(target, schema, Some(properties))?;
    while let Some(batch) = batches.blocking_recv() {
        writer.write(&batch)?;
    }
    writer.into_inner()
}

/// A column that is known by its nulls alone.
fn side_column(field: &Field, nulls: u64) -> FileColumn {
    let family = match Family::of(field.data_type()) {
        Family::Null => Family::Null,
        _ => Family::Nested,
    };
    FileColumn {
        null_count: Some(nulls),
        ..FileColumn::unknown(field.name(), family)
    }
}
