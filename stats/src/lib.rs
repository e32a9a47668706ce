//! Statistics of Parquet tables for join ordering: collected a file at a time, merged into tables, cached on disk.
//!
//! | module | holds |
//! |---|---|
//! | `store` | object stores by URL, listing of data files |
//! | `catalog` | [`Catalog`]: statistics by data files, kept in a folder, within a budget |
//! | `analyze` | which files are known, footers, keys, scans of those that are not |
//! | `snapshot` | [`Snapshot`]: what the catalog knows at one moment, for planners |
//! | `table_stats` | [`TableStats`], [`ColumnStats`], and merging them from files |
//! | `details` | [`TableDetails`]: distributions, samples and degrees, read when an estimate asks for them |
//! | `histogram`, `mcv`, `degrees` | [`Histogram`], [`Mcv`], [`Degrees`], and merging them |
//! | `file_stats` | one data file, the unit of collecting and caching |
//! | `footer`, `page_index` | footer pass: rows, nulls, min, max, widths, order, without reading data |
//! | `keys` | which columns are keys of joins |
//! | `scan`, `decode` | scan pass: one read of the data, a column chunk at a time |
//! | `sketch`, `ndv`, `frequent`, `kll` | what is counted of a column while it goes by |
//! | `sampling`, `collect` | which rows are kept, and in what form |
//! | `batches` | tables that are no Parquet files |
//! | `parts`, `cache` | entries on disk: a head, and parts that are read on demand |
//! | `budget` | how large entries may be, and what gives way |
//! | `hash`, `value`, `bounds` | hashes of values, min and max |
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

mod analyze;
mod batches;
mod bounds;
mod budget;
mod cache;
mod catalog;
mod coded;
mod collect;
mod decode;
mod degrees;
mod details;
mod error;
mod file_stats;
mod footer;
mod frequent;
mod hash;
mod histogram;
mod keys;
mod kll;
mod mcv;
mod ndv;
mod page_index;
mod parts;
mod rows;
mod sampling;
mod scan;
mod sketch;
mod snapshot;
mod store;
mod table_stats;
mod value;

pub use analyze::{AnalyzeOptions, AnalyzeSummary, Progress, TableFiles};
pub use batches::provider_key;
pub use budget::Budget;
pub use catalog::Catalog;
pub use degrees::{DegreeBin, DegreeVector, Degrees};
pub use details::{CODING, Distribution, KeyRows, RowSample, TableDetails};
pub use error::StatsError;
pub use file_stats::{Order, Pass};
pub use histogram::{Bucket, Histogram, Rank};
pub use mcv::{CommonValue, Mcv};
pub use rows::{Codes, KeyIndex, RowSet, Selection};
pub use snapshot::{Snapshot, TableInfo};
pub use store::{Store, list_parquet};
pub use table_stats::{ColumnStats, TableStats};
pub use value::{Family, Value};
