//! The tables of a folder, `TABLE.parquet` or `TABLE/*.parquet`, as the catalog takes them.

use std::path::Path;

use anyhow::{Context, Result};
use joinwright_stats::{Store, TableFiles, list_parquet};
use object_store::path::Path as StorePath;

/// All tables of a folder, sorted by name.
pub(crate) async fn tables_of(folder: &Path) -> Result<Vec<TableFiles>> {
    let store = Store::local();
    let read = || format!("cannot read {}", folder.display());
    let folder = folder.canonicalize().with_context(read)?;
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = match name.strip_suffix(".parquet") {
            Some(name) => name.to_owned(),
            None if path.is_dir() => name.into_owned(),
            None => continue,
        };
        let prefix = StorePath::from_absolute_path(&path)?;
        tables.push(TableFiles {
            name,
            store: store.clone(),
            files: list_parquet(&store, &prefix).await?,
        });
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

/// The keys of a table's files, as a snapshot knows them.
pub(crate) fn locations(table: &TableFiles) -> Vec<String> {
    let files = table.files.iter();
    files
        .map(|file| table.store.file_key(&file.location))
        .collect()
}
