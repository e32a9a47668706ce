//! Files of `query,sub_plan,true_rows`.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::Path;

use anyhow::{Context, Result, bail};
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::RelSet;
use serde::{Deserialize, Serialize};

/// A set of relations of a query with their predicates, and the rows of its join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubPlan {
    /// The aliases of its relations, sorted, joined by `+`.
    pub(crate) name: String,
    pub(crate) true_rows: u128,
}

/// The sub-plans of a file by query, in its order.
pub(crate) type Truth = BTreeMap<String, Vec<SubPlan>>;

/// A line of a truth file; columns beside the first three need not be there to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TruthLine {
    pub(crate) query: String,
    /// The aliases of its relations, sorted, joined by `+`.
    pub(crate) sub_plan: String,
    /// Empty where the count was given up.
    pub(crate) true_rows: Option<u128>,
    pub(crate) n_rels: usize,
    /// `written` where the equalities of the query say all that they imply of these relations, else `implied`.
    pub(crate) edges: String,
}

/// The columns without which a file has no truth.
const NEEDED: [&str; 3] = ["query", "sub_plan", "true_rows"];

/// Reads a truth file. Sub-plans whose count was given up are left out.
pub(crate) fn read_truth(path: &Path) -> Result<Truth> {
    let mut truth = Truth::new();
    for line in read_lines(path)? {
        if let Some(true_rows) = line.true_rows {
            truth.entry(line.query).or_default().push(SubPlan {
                name: line.sub_plan,
                true_rows,
            });
        }
    }
    Ok(truth)
}

fn read_lines(path: &Path) -> Result<Vec<TruthLine>> {
    let file = || format!("cannot read {}", path.display());
    let mut reader = csv::Reader::from_path(path).with_context(file)?;
    let headers = reader.headers().with_context(file)?;
    if let Some(missing) = NEEDED
        .iter()
        .find(|name| !headers.iter().any(|h| h == **name))
    {
        bail!("{}: there is no column {missing}", file());
    }
    reader
        .deserialize()
        .map(|line| line.with_context(file))
        .collect()
}

/// The relations that a sub-plan names; `None` if the region has not all of them.
pub(crate) fn relations_of(name: &str, graph: &QueryGraph) -> Option<RelSet> {
    let place = |alias: &str| graph.relations.iter().position(|r| r.alias == alias);
    name.split('+').map(place).collect()
}

/// The name of a set of relations.
pub(crate) fn name_of(set: RelSet, graph: &QueryGraph) -> String {
    let mut aliases: Vec<&str> = set
        .iter()
        .map(|relation| graph.relations[relation].alias.as_str())
        .collect();
    aliases.sort_unstable();
    aliases.join("+")
}

/// A truth file that grows line by line, and is whole after each.
pub(crate) struct TruthWriter {
    writer: csv::Writer<File>,
    known: HashSet<(String, String)>,
}

impl TruthWriter {
    /// Opens a file to be continued, or a new one. Lines without a number, and one that was cut off, are not kept.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let mut lines = if path.exists() {
            cut_off(path).with_context(cannot)?;
            read_lines(path)?
        } else {
            vec![]
        };
        lines.retain(|line| line.true_rows.is_some());
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut whole = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
        let mut writer = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(BufWriter::new(whole.as_file_mut()));
        let header = ["query", "sub_plan", "true_rows", "n_rels", "edges"];
        writer.write_record(header).with_context(cannot)?;
        for line in &lines {
            writer.serialize(line).with_context(cannot)?;
        }
        writer.flush().with_context(cannot)?;
        drop(writer);
        whole.persist(path).with_context(cannot)?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .with_context(cannot)?;
        let names = lines.into_iter().map(|line| (line.query, line.sub_plan));
        Ok(Self {
            known: names.collect(),
            writer: csv::WriterBuilder::new()
                .has_headers(false)
                .from_writer(file),
        })
    }

    /// Whether the file has the number of this sub-plan.
    pub(crate) fn knows(&self, query: &str, sub_plan: &str) -> bool {
        self.known
            .contains(&(query.to_owned(), sub_plan.to_owned()))
    }

    /// Appends a line.
    pub(crate) fn write(&mut self, line: &TruthLine) -> Result<()> {
        self.writer.serialize(line)?;
        self.writer.flush()?;
        Ok(())
    }
}

/// Cuts off what follows the last end of a line.
fn cut_off(path: &Path) -> io::Result<()> {
    let text = fs::read(path)?;
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    if whole > 0 && whole < text.len() {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(whole as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_on_where_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("truth.csv");
        let line = |sub_plan: &str, true_rows| TruthLine {
            query: "q".to_owned(),
            sub_plan: sub_plan.to_owned(),
            true_rows,
            n_rels: 1,
            edges: "written".to_owned(),
        };
        let mut writer = TruthWriter::open(&path).unwrap();
        writer.write(&line("a", Some(1 << 70))).unwrap();
        writer.write(&line("b", None)).unwrap();
        drop(writer);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("q,c,12");
        fs::write(&path, text).unwrap();
        let mut writer = TruthWriter::open(&path).unwrap();
        let known = ["a", "b", "c"].map(|name| writer.knows("q", name));
        assert_eq!(known, [true, false, false]);
        writer.write(&line("b", Some(3))).unwrap();
        let truth = read_truth(&path).unwrap();
        let rows: Vec<u128> = truth["q"]
            .iter()
            .map(|sub_plan| sub_plan.true_rows)
            .collect();
        assert_eq!(rows, [1 << 70, 3]);
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.csv");
        fs::write(&path, "query,rows\nq,1\n").unwrap();
        let message = TruthWriter::open(&path).err().unwrap().to_string();
        assert!(message.contains("no column sub_plan"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "query,rows\nq,1\n");
    }
}
