//! DataFusion's own test files: where the registry keeps them, and a copy that may be written to.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatchReader;
use datafusion_sqllogictest::read_dir_recursive;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use tpchgen::generators as tpch;
use tpchgen_arrow as arrow_tpch;

/// The scale factor of the answers that DataFusion ships.
const ANSWERS_SCALE: f64 = 0.1;

/// A copy of the test files. Statements in them name files relative to the folder above `test_files`.
pub(crate) struct Suite {
    /// Kept so that the copy is deleted at the end.
    _copy: TempDir,
    root: PathBuf,
}

impl Suite {
    /// Copies the test files, puts TPC-H data beside them, and lets its tables be Parquet.
    pub(crate) fn copy() -> Result<Self> {
        let copy = TempDir::new()?;
        // Statements also name `../../testing/data`: two folders down, that cannot meet anything by accident.
        let root = copy.path().join("datafusion").join("sqllogictest");
        let crate_folder = crate_folder()?;
        for folder in ["test_files", "data"] {
            copy_folder(&crate_folder.join(folder), &root.join(folder))?;
        }
        let suite = Self { _copy: copy, root };

        let tpch = suite.test_files().join("tpch");
        write_tpch(&tpch.join("data"))?;
        let create = tpch.join("create_tables.slt.part");
        let statements = fs::read_to_string(&create).context("tpch/create_tables.slt.part")?;
        fs::write(&create, parquet_tables(&statements)?)?;
        Ok(suite)
    }

    /// The folder that relative paths in statements start from.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn test_files(&self) -> PathBuf {
        self.root.join("test_files")
    }

    /// Paths of all test files, relative to [`Self::test_files`], sorted.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let folder = self.test_files();
        let mut files = Vec::new();
        for path in read_dir_recursive(&folder)? {
            if path.extension().is_some_and(|extension| extension == "slt") {
                files.push(path.strip_prefix(&folder)?.to_path_buf());
            }
        }
        files.sort();
        Ok(files)
    }
}

/// The source folder of `datafusion-sqllogictest`, wherever cargo keeps it.
pub(crate) fn crate_folder() -> Result<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "datafusion-sqllogictest")
        .and_then(|package| package["manifest_path"].as_str())
        .context("cargo metadata lists no datafusion-sqllogictest")?;
    let folder = Path::new(manifest).parent();
    Ok(folder.context("a manifest without a folder")?.to_path_buf())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for path in read_dir_recursive(from)? {
        let target = to.join(path.strip_prefix(from)?);
        fs::create_dir_all(target.parent().context("a file without a folder")?)?;
        // Not `fs::copy`, which would keep the registry's read-only permissions.
        fs::write(&target, fs::read(&path)?).with_context(|| target.display().to_string())?;
    }
    Ok(())
}

/// The statements that create TPC-H's tables over `.tbl` files, rewritten for Parquet files of the same names.
/// The column `*_rev`, which stands for the delimiter at the end of each `.tbl` line, goes.
fn parquet_tables(statements: &str) -> Result<String> {
    let mut tables = 0;
    let mut rewritten = String::new();
    for line in statements.lines() {
        if line.trim_end().ends_with("_rev VARCHAR,") {
            continue;
        }
        match line.split_once("STORED AS CSV LOCATION '") {
            Some((before, after)) => {
                let (file, _) = after.split_once(".tbl'").context("a table without .tbl")?;
                rewritten += &format!("{before}STORED AS PARQUET LOCATION '{file}.parquet';\n");
                tables += 1;
            }
            None => rewritten += &format!("{line}\n"),
        }
    }
    if tables != 8 {
        bail!("TPC-H has 8 tables, but create_tables.slt.part creates {tables}");
    }
    Ok(rewritten)
}

/// Writes TPC-H's eight tables at the answers' scale factor, one `TABLE.parquet` each.
pub(crate) fn write_tpch(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let (scale, part, parts) = (ANSWERS_SCALE, 1, 1);
    macro_rules! write {
        ($table:literal, $arrow:ident, $generator:ident) => {
            write_table(
                &folder.join(concat!($table, ".parquet")),
                arrow_tpch::$arrow::new(tpch::$generator::new(scale, part, parts)),
            )?
        };
    }
    write!("customer", CustomerArrow, CustomerGenerator);
    write!("lineitem", LineItemArrow, LineItemGenerator);
    write!("nation", NationArrow, NationGenerator);
    write!("orders", OrderArrow, OrderGenerator);
    write!("part", PartArrow, PartGenerator);
    write!("partsupp", PartSuppArrow, PartSuppGenerator);
    write!("region", RegionArrow, RegionGenerator);
    write!("supplier", SupplierArrow, SupplierGenerator);
    Ok(())
}

fn write_table(path: &Path, batches: impl RecordBatchReader) -> Result<()> {
    let mut writer = ArrowWriter::try_new(File::create(path)?, batches.schema(), None)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}
