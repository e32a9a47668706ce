//! Statistics of Parquet tables for join ordering: collected a file at a time, merged into tables, cached on disk.
//!
//! | module | holds |
//! |---|---|
//! | `store` | object stores by URL, listing of data files |
//! | `catalog` | [`Catalog`]: which files are known, reading those that are not |
//! | `snapshot` | [`Snapshot`]: what the catalog knows at one moment, for planners |
//! | `table_stats` | [`TableStats`], [`ColumnStats`], and [`merge`] |
//! | `file_stats` | [`FileStats`]: one data file, the unit of collecting and caching |
//! | `footer` | footer pass: rows, nulls, min, max, widths, without reading data |
//! | `scan`, `decode` | scan pass: one read of the data, a column chunk at a time |
//! | `hash`, `ndv` | hashes of values, HyperLogLog |
//! | `value`, `bounds` | min and max |
//! | `cache` | entries on disk |
//!
//! Nothing here knows a query plan.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
//! use joinwright_stats::{Catalog, Store, Value, list_parquet};
//! use object_store::path::Path;
//! use parquet::arrow::ArrowWriter;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let nation: ArrayRef = Arc::new(StringArray::from(vec!["PERU", "CHINA", "PERU"]));
//! let key: ArrayRef = Arc::new(Int64Array::from(vec![17, 18, 19]));
//! let batch = RecordBatch::try_from_iter([("key", key), ("nation", nation)])?;
//! let mut writer = ArrowWriter::try_new(
//!     std::fs::File::create(folder.path().join("1.parquet"))?, batch.schema(), None)?;
//! writer.write(&batch)?;
//! writer.close()?;
//!
//! let catalog = Catalog::open(folder.path().join("cache"))?;
//! let store = Store::local();
//! let prefix = Path::from_absolute_path(folder.path())?;
//! let files = list_parquet(&store, &prefix).await?;
//! let summary = catalog.analyze("supplier", &store, &files).await?;
//! assert_eq!((summary.rows, summary.scanned), (3, 1));
//!
//! let stats = catalog.snapshot().table(&[store.prefix_key(&prefix)]).unwrap();
//! assert_eq!(stats.column("key").unwrap().max, Some(Value::Int(19)));
//! assert_eq!(stats.column("nation").unwrap().ndv, Some(2.0));
//!
//! // The second time, nothing is read.
//! assert_eq!(catalog.analyze("supplier", &store, &files).await?.bytes_read, 0);
//! # Ok(())
//! # }
//! ```

mod bounds;
mod cache;
mod catalog;
mod decode;
mod error;
mod file_stats;
mod footer;
mod hash;
mod ndv;
mod scan;
mod snapshot;
mod store;
mod table_stats;
mod value;

pub use catalog::{AnalyzeOptions, AnalyzeSummary, Catalog, Progress};
pub use error::StatsError;
pub use file_stats::{FileStats, FileVersion, Pass};
pub use snapshot::{Snapshot, TableInfo};
pub use store::{Store, list_parquet};
pub use table_stats::{ColumnStats, TableStats, merge};
pub use value::{Family, Value};
