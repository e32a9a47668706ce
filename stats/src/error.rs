//! What can go wrong while statistics are collected. Each error names the file it is about.

use std::path::PathBuf;

use object_store::path::Path;

/// An error of the statistics crate.
///
/// Missing statistics are never an error; unreadable data files and an unusable cache folder are.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// The object store could not list or read a location.
    #[error("cannot read {path}: {source}")]
    Store {
        /// The file or prefix, with the store's URL.
        path: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// A file is not a sound Parquet file: truncated, corrupt, empty, or of an unsupported encoding.
    #[error("{path} is not a readable Parquet file: {source}")]
    Parquet {
        /// The file, with the store's URL.
        path: String,
        /// What the Parquet reader said.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The file was replaced or removed while it was being read, so what was read may mix two versions.
    #[error("{path} changed while it was analyzed")]
    Changed {
        /// The file, with the store's URL.
        path: String,
    },
    /// The cache folder cannot be created or is not a folder.
    #[error("cannot use {} as the statistics cache: {source}", path.display())]
    CacheFolder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The batches of a table that is no file could not be had or kept.
    #[error("cannot analyze table {table}: {source}")]
    Batches {
        /// The table.
        table: String,
        /// What its provider said, or what was wrong with what it gave.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A worker died (a panic in a decoder, or the runtime shutting down).
    #[error("the analysis of {path} was cut off: {message}")]
    Worker {
        /// The file, with the store's URL.
        path: String,
        /// The reason as the runtime gives it.
        message: String,
    },
}

impl StatsError {
    pub(crate) fn store(path: &str, source: object_store::Error) -> Self {
        Self::Store {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn parquet(path: &str, source: impl Into<parquet::errors::ParquetError>) -> Self {
        Self::Parquet {
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn corrupt(path: &str, message: &str) -> Self {
        Self::parquet(
            path,
            parquet::errors::ParquetError::General(message.to_owned()),
        )
    }

    pub(crate) fn worker(path: &str, source: &tokio::task::JoinError) -> Self {
        Self::Worker {
            path: path.to_owned(),
            message: source.to_string(),
        }
    }

    /// The location of an error, in the form of [`Store::file_key`](crate::Store::file_key).
    pub(crate) fn from_list(path: &Path, url: &str, source: object_store::Error) -> Self {
        Self::store(&format!("{url}{path}"), source)
    }
}
