//! The tables of a folder: `TABLE.parquet` or `TABLE/*.parquet`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One table of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TablePath {
    pub(crate) name: String,
    /// A file, or a folder of files; absolute.
    pub(crate) path: PathBuf,
}

impl TablePath {
    /// Its Parquet files, sorted.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        if self.path.is_file() {
            return Ok(vec![self.path.display().to_string()]);
        }
        let reading = || format!("cannot read {}", self.path.display());
        let mut files = vec![];
        for entry in fs::read_dir(&self.path).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            if path.extension().is_some_and(|end| end == "parquet") {
                files.push(path.display().to_string());
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Finds the tables of `folder`, sorted by name; a folder without any is an error that names it.
pub(crate) fn find_tables(folder: &Path) -> Result<Vec<TablePath>> {
    let read = || format!("cannot read the data folder {}", folder.display());
    let root = folder.canonicalize().with_context(read)?;
    let mut tables: Vec<TablePath> = Vec::new();
    for entry in fs::read_dir(&root).with_context(read)? {
        let path = entry.with_context(read)?.path();
        let Some(name) = table_name(&path) else {
            continue;
        };
        if let Some(other) = tables.iter().find(|table| table.name == name) {
            bail!(
                "table {name} is there twice: {} and {}",
                other.path.display(),
                path.display()
            );
        }
        tables.push(TablePath { name, path });
    }
    if tables.is_empty() {
        bail!("{} has no Parquet tables", folder.display());
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

/// The name of the table at `path`, if it is one. Names that start with `.` or `_` are unfinished output.
fn table_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if name.starts_with(['.', '_']) {
        return None;
    }
    if path.is_dir() {
        return contains_parquet(path).then(|| name.to_owned());
    }
    Some(name.strip_suffix(".parquet")?.to_owned())
}

fn contains_parquet(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let path = entry.path();
        path.is_file()
            && path.extension().is_some_and(|end| end == "parquet")
            && !entry.file_name().to_string_lossy().starts_with(['.', '_'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_tables() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(find_tables(folder.path()).is_err());
        for name in ["b.parquet", "notes.txt", "_tmp.parquet"] {
            fs::write(at(name), "").unwrap();
        }
        for name in ["a", "empty", ".hidden"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("a/part-0.parquet"), "").unwrap();
        fs::write(at(".hidden/part-0.parquet"), "").unwrap();
        let names: Vec<String> = find_tables(folder.path())
            .unwrap()
            .into_iter()
            .map(|table| table.name)
            .collect();
        assert_eq!(names, ["a", "b"]);
        fs::write(at("a.parquet"), "").unwrap();
        let message = find_tables(folder.path()).unwrap_err().to_string();
        assert!(message.contains("table a is there twice"), "{message}");
    }

    #[test]
    fn missing_folder_is_named() {
        let message = find_tables(Path::new("/no/such/data")).unwrap_err();
        assert!(message.to_string().contains("/no/such/data"));
    }
}
