//! A short name for a physical plan: the same plan has the same fingerprint in every run, on every machine.

use std::fmt::Write;

use twox_hash::XxHash64;

/// The 64-bit hash, in hex, of a plan's displayed text without what depends on the run: folders, byte ranges and
/// the number of file groups, memory addresses.
pub(crate) fn fingerprint(plan: &str) -> String {
    let text = without_addresses(&without_file_groups(plan));
    format!("{:016x}", XxHash64::oneshot(0, text.as_bytes()))
}

/// Puts the names of the files, each once and sorted, in the place of each list of file groups.
pub(crate) fn without_file_groups(plan: &str) -> String {
    const START: &str = "file_groups={";
    let mut out = String::with_capacity(plan.len());
    let mut rest = plan;
    while let Some(at) = rest.find(START) {
        out.push_str(&rest[..at]);
        let body = &rest[at + START.len()..];
        let end = body.find('}').unwrap_or(body.len());
        let mut names: Vec<&str> = body[..end]
            .split(['[', ']'])
            .flat_map(|group| group.split(", "))
            .filter_map(file_name)
            .collect();
        names.sort_unstable();
        names.dedup();
        let _ = write!(out, "files={names:?}");
        rest = body.get(end + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// `data/t.parquet:0..1234` is `t.parquet`.
fn file_name(token: &str) -> Option<&str> {
    let name = token.rsplit('/').next()?;
    let name = match name.rsplit_once(':') {
        Some((stem, range)) if range.contains("..") => stem,
        _ => name,
    };
    name.contains('.').then_some(name)
}

fn without_addresses(text: &str) -> String {
    let mut pieces = text.split("0x");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.chars().take_while(char::is_ascii_hexdigit).count();
        // Short numbers are literals of the query; addresses are long.
        out.push_str("0x");
        out.push_str(&piece[if digits >= 8 { digits } else { 0 }..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "HashJoinExec: on=[(a@0, b@0)]\n  DataSourceExec: file_groups={2 groups: \
        [[home/me/data/t.parquet:0..50], [home/me/data/t.parquet:50..99]]}, projection=[a], file_type=parquet";

    #[track_caller]
    fn check(from: &str, to: &str, same: bool) {
        let changed = PLAN.replace(from, to);
        assert_ne!(changed, PLAN);
        assert_eq!(
            fingerprint(&changed) == fingerprint(PLAN),
            same,
            "{changed}"
        );
    }

    #[test]
    fn depends_on_the_plan_alone() {
        check("home/me", "srv/other", true);
        check("0..50", "0..70", true);
        check(
            "2 groups: [[home/me/data/t.parquet:0..50], ",
            "1 group: [",
            true,
        );
        check("on=[(a@0, b@0)]", "on=[(a@0, b@1)]", false);
        check("t.parquet", "u.parquet", false);
        check("projection=[a]", "projection=[b]", false);
        check("HashJoinExec", "SortMergeJoinExec", false);
    }

    #[test]
    fn names_of_files_may_have_spaces() {
        let text =
            "file_groups={2 groups: [[a/tab le.parquet:0..5, b/x.parquet], [b/x.parquet]]}, p=[c]";
        let expected = r#"files=["tab le.parquet", "x.parquet"], p=[c]"#;
        assert_eq!(without_file_groups(text), expected);
    }

    #[test]
    fn addresses_are_dropped() {
        assert_eq!(
            fingerprint("Udf 0x7f3a99d0c8b0 x"),
            fingerprint("Udf 0x55aa00ff1122 x")
        );
        assert_ne!(fingerprint("a = 0x1F"), fingerprint("a = 0x2F"));
    }

    #[test]
    fn has_a_fixed_value() {
        // Fingerprints of kept runs are compared with those of later ones, so their value must not drift.
        insta::assert_snapshot!(fingerprint(PLAN), @"9033885e64652e9d");
    }
}
