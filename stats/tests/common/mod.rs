//! Parquet files in memory, and stores that count what is read.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use futures::stream::BoxStream;
use joinwright_stats::{Catalog, StatsError, Store, TableStats, list_parquet};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::*;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let nullable = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(nullable).unwrap()
}

/// A Parquet file with these row groups.
pub(crate) fn parquet_with(batches: &[RecordBatch], properties: WriterProperties) -> Bytes {
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    bytes.into()
}

pub(crate) fn parquet(batch: &RecordBatch) -> Bytes {
    let batches = std::slice::from_ref(batch);
    parquet_with(batches, WriterProperties::default())
}

pub(crate) fn memory_store() -> Store {
    Store::new("memory://test/", Arc::new(InMemory::new()))
}

pub(crate) async fn put(store: &Store, path: &str, bytes: impl Into<PutPayload>) {
    let path = Path::parse(path).unwrap();
    store.inner().put(&path, bytes.into()).await.unwrap();
}

pub(crate) async fn list(store: &Store, prefix: &str) -> Vec<ObjectMeta> {
    let prefix = Path::parse(prefix).unwrap();
    list_parquet(store, &prefix).await.unwrap()
}

/// The statistics of files in memory, after their scan pass.
pub(crate) async fn scan(files: &[Bytes]) -> Result<TableStats, StatsError> {
    let store = memory_store();
    for (index, file) in files.iter().enumerate() {
        put(&store, &format!("t/{index}.parquet"), file.clone()).await;
    }
    let catalog = Catalog::in_memory();
    let metas = list(&store, "t").await;
    catalog.analyze("t", &store, &metas).await?;
    let location = store.prefix_key(&Path::from("t"));
    let stats = catalog.snapshot().table(&[location]).unwrap();
    Ok(TableStats::clone(&stats))
}

/// Counts reads.
#[derive(Debug)]
pub(crate) struct CountingStore {
    pub(crate) inner: Arc<dyn ObjectStore>,
    /// Ranges read with data in them.
    pub(crate) reads: AtomicU64,
}

impl CountingStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        let reads = AtomicU64::new(0);
        Arc::new(Self { inner, reads })
    }

    /// Reads since the last call.
    pub(crate) fn take_reads(&self) -> u64 {
        self.reads.swap(0, Ordering::SeqCst)
    }
}

impl std::fmt::Display for CountingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "counting {}", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for CountingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !options.head {
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reads.fetch_add(ranges.len() as u64, Ordering::SeqCst);
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
