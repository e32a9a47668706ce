//! Object stores and the files in them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::StatsError;

/// An object store together with the URL under which DataFusion knows it.
///
/// The URL distinguishes files of equal path in different stores, so it must be the one that queries use.
#[derive(Clone, Debug)]
pub struct Store {
    /// Always ends with `/`.
    url: String,
    inner: Arc<dyn ObjectStore>,
}

impl Store {
    /// The local file system from its root, `file:///`.
    pub fn local() -> Self {
        Self::new("file:///", Arc::new(LocalFileSystem::new()))
    }

    /// A store known as `url`, such as `s3://bucket/`; a missing final `/` is added.
    pub fn new(url: impl Into<String>, inner: Arc<dyn ObjectStore>) -> Self {
        let mut url = url.into();
        if !url.ends_with('/') {
            url.push('/');
        }
        Self { url, inner }
    }

    /// The URL, which ends with `/`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The object store itself.
    pub fn inner(&self) -> &Arc<dyn ObjectStore> {
        &self.inner
    }

    /// Reads a range of a file that the catalog knows as `key`.
    pub(crate) async fn read_range(
        &self,
        path: &Path,
        range: Range<u64>,
        key: &str,
    ) -> Result<Bytes, StatsError> {
        let ranges = std::slice::from_ref(&range);
        let read = self.read_ranges(path, ranges, key).await?;
        read.into_iter()
            .next()
            .ok_or_else(|| StatsError::corrupt(key, TOO_FEW))
    }

    /// Reads ranges of a file that the catalog knows as `key`. What fails and may pass is tried again.
    pub(crate) async fn read_ranges(
        &self,
        path: &Path,
        ranges: &[Range<u64>],
        key: &str,
    ) -> Result<Vec<Bytes>, StatsError> {
        let mut pauses = RETRIES.into_iter();
        loop {
            let error = match self.inner.get_ranges(path, ranges).await {
                Ok(read) if is_complete(&read, ranges) => return Ok(read),
                Ok(_) => return Err(StatsError::corrupt(key, TOO_FEW)),
                Err(error) => error,
            };
            match pauses.next().filter(|_| may_pass(&error)) {
                Some(pause) => {
                    tracing::debug!(file = key, %error, "a read failed and is tried again");
                    tokio::time::sleep(pause).await;
                }
                None => return Err(StatsError::store(key, error)),
            }
        }
    }

    /// The name of a file in the catalog: the store's URL and the path as the store holds it, not
    /// percent-encoded, e.g. `file:///tmp/my dir/x.parquet`.
    pub fn file_key(&self, location: &Path) -> String {
        format!("{}{}", self.url, location)
    }

    /// The name of all files below a prefix, for [`Snapshot::table`](crate::Snapshot::table):
    /// like [`file_key`](Self::file_key), with a final `/`.
    pub fn prefix_key(&self, prefix: &Path) -> String {
        let mut key = self.file_key(prefix);
        if !key.ends_with('/') {
            key.push('/');
        }
        key
    }
}

/// Pauses before a failed read is tried again. Remote stores try several times by themselves, so these are few.
const RETRIES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];

const TOO_FEW: &str = "the store returned fewer bytes than asked for";

fn is_complete(read: &[Bytes], ranges: &[Range<u64>]) -> bool {
    let lengths = read.iter().map(|bytes| bytes.len() as u64);
    lengths.eq(ranges.iter().map(|range| range.end - range.start))
}

/// Errors of the way to the data, not of the data or the right to it.
fn may_pass(error: &object_store::Error) -> bool {
    matches!(
        error,
        object_store::Error::Generic { .. } | object_store::Error::JoinError { .. }
    )
}

/// The Parquet files at `prefix`: the object of that name if there is one, whatever its extension, else all
/// `*.parquet` objects below it, at any depth, sorted by path.
///
/// Files and folders below the prefix whose name starts with `_` or `.` are skipped, as writers keep
/// markers and unfinished output there. Nothing found is an empty list.
///
/// # Errors
/// [`StatsError::Store`] if the store cannot be listed.
pub async fn list_parquet(store: &Store, prefix: &Path) -> Result<Vec<ObjectMeta>, StatsError> {
    if !prefix.as_ref().is_empty() {
        match store.inner.head(prefix).await {
            Ok(meta) => return Ok(vec![meta]),
            // Also stores that answer "is a directory" in words of their own: the listing decides.
            Err(error) => tracing::trace!(%prefix, %error, "not one object"),
        }
    }
    let listed = store.inner.list(Some(prefix)).try_collect::<Vec<_>>().await;
    let mut files = match listed {
        Ok(files) => files,
        Err(object_store::Error::NotFound { .. }) => Vec::new(),
        Err(source) => return Err(StatsError::from_list(prefix, store.url(), source)),
    };
    files.retain(|file| is_data_file(&file.location, prefix));
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}

fn is_data_file(location: &Path, prefix: &Path) -> bool {
    let Some(mut parts) = location.prefix_match(prefix) else {
        return false;
    };
    location
        .extension()
        .is_some_and(|extension| extension == "parquet")
        && parts.all(|part| !part.as_ref().starts_with(['_', '.']))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    async fn check(objects: &[&str], prefix: &str, expected: &[&str]) {
        let store = Store::new("memory://test", Arc::new(InMemory::new()));
        for object in objects {
            let path = Path::parse(object).unwrap();
            store.inner().put(&path, "x".into()).await.unwrap();
        }
        let prefix = Path::parse(prefix).unwrap();
        let found = list_parquet(&store, &prefix).await.unwrap();
        let found: Vec<_> = found.iter().map(|meta| meta.location.as_ref()).collect();
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn lists_data_files_only() {
        let objects = [
            "t/b.parquet",
            "t/a b.parquet",
            "t/p=1/ü.parquet",
            "t/_temporary/c.parquet",
            "t/.hidden.parquet",
            "t/_SUCCESS",
            "t/notes.txt",
            "_root/x.parquet",
        ];
        check(
            &objects,
            "t",
            &["t/a b.parquet", "t/b.parquet", "t/p=1/ü.parquet"],
        )
        .await;
        check(&objects, "t/notes.txt", &["t/notes.txt"]).await;
        check(&objects, "_root", &["_root/x.parquet"]).await;
        check(&objects, "nowhere", &[]).await;
    }

    #[test]
    fn keys_are_not_percent_encoded() {
        let path = Path::parse("tmp/my dir/größe.parquet").unwrap();
        let key = Store::local().file_key(&path);
        assert_eq!(key, "file:///tmp/my dir/größe.parquet");
        let bucket = Store::new("s3://bucket", Arc::new(InMemory::new()));
        assert_eq!(bucket.prefix_key(&Path::default()), "s3://bucket/");
        assert_eq!(bucket.prefix_key(&Path::from("t")), "s3://bucket/t/");
    }
}
