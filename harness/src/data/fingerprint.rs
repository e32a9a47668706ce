//! What data a run read: the same files have the same fingerprint on every machine.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use twox_hash::XxHash64;

use crate::record::DataRecord;
use crate::tables::TablePath;

/// A Parquet file ends with the length of its footer and four more bytes.
const TAIL: u64 = 8;

/// Tables, bytes, and a hash of names, sizes and footers. Footers have the rows, bounds and sizes of all column chunks, so other values
/// mostly make another footer; times and folders have no part in it.
pub(crate) fn data_record(tables: &[TablePath]) -> Result<DataRecord> {
    let mut bytes = 0;
    let mut text = vec![];
    for table in tables {
        text.extend_from_slice(table.name.as_bytes());
        for file in table.files()? {
            let path = Path::new(&file);
            let reading = || format!("cannot read {file}");
            let (size, footer) = footer(path).with_context(reading)?;
            bytes += size;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let hash = XxHash64::oneshot(0, &footer);
            text.extend_from_slice(format!("\n{name} {size} {hash:016x}").as_bytes());
        }
        text.push(b'\n');
    }
    Ok(DataRecord {
        tables: tables.len(),
        bytes,
        fingerprint: format!("{:016x}", XxHash64::oneshot(0, &text)),
    })
}

/// The size of a file, and its footer; of a file that has none its last bytes.
fn footer(path: &Path) -> std::io::Result<(u64, Vec<u8>)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut tail = [0; TAIL as usize];
    let mut length = TAIL.min(size);
    if size >= TAIL {
        file.seek(SeekFrom::Start(size - TAIL))?;
        file.read_exact(&mut tail)?;
        let [a, b, c, d, ..] = tail;
        length = (TAIL + u64::from(u32::from_le_bytes([a, b, c, d]))).min(size);
    }
    file.seek(SeekFrom::Start(size - length))?;
    let mut footer = vec![];
    file.take(length).read_to_end(&mut footer)?;
    Ok((size, footer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn record(files: &[(&str, &[u8])]) -> DataRecord {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        data_record(&crate::tables::find_tables(folder.path()).unwrap()).unwrap()
    }

    #[test]
    fn the_same_files_have_the_same_fingerprint() {
        let file = |body: &str, footer: &str| {
            let length = (footer.len() as u32).to_le_bytes();
            [body.as_bytes(), footer.as_bytes(), &length, b"PAR1"].concat()
        };
        let (a, b) = (file("rows", "bounds"), file("more", "bounds"));
        let first = record(&[("t.parquet", &a), ("u/1.parquet", &b)]);
        assert_eq!((first.tables, first.bytes), (2, 36));
        assert_eq!(first, record(&[("t.parquet", &a), ("u/1.parquet", &b)]));
        let other =
            |files: &[(&str, &[u8])]| assert_ne!(first.fingerprint, record(files).fingerprint);
        other(&[("t.parquet", &file("rows", "BOUNDS")), ("u/1.parquet", &b)]);
        other(&[("t.parquet", &file("rows ", "bounds")), ("u/1.parquet", &b)]);
        other(&[("v.parquet", &a), ("u/1.parquet", &b)]);
        other(&[("t.parquet", &a), ("u/1.parquet", &b), ("u/2.parquet", &b)]);
        // What is no Parquet file at all has a fingerprint, too: reading it will say what is wrong.
        record(&[("t.parquet", b""), ("u.parquet", b"\xff\xff\xff\xffPAR1")]);
    }
}
