//! What two runs must have in common for their times to be comparable, as far as `run.json` knows it.

use crate::machine::Machine;
use crate::record::{ArmRecord, Run};

/// Memory of the same machine is told a little differently by each kernel.
const SAME_MEMORY: f64 = 0.05;

/// A sentence for each circumstance in which the runs differ; those that are about all times first.
pub(crate) fn differences(before: &Run, after: &Run) -> Vec<String> {
    let mut found = vec![];
    let mut differ = |what: &str, old: String, new: String| {
        if old != new {
            found.push(format!("{what}: {old} before, {new} after"));
        }
    };
    differ(
        "page cache",
        temperature(before).to_owned(),
        temperature(after).to_owned(),
    );
    differ("suite", before.suite.clone(), after.suite.clone());
    let scale = |run: &Run| {
        run.scale
            .map_or("none".to_owned(), |scale| scale.to_string())
    };
    differ("scale factor", scale(before), scale(after));
    // Older runs do not say what they read.
    if let (Some(old), Some(new)) = (&before.data, &after.data) {
        differ("data", old.to_string(), new.to_string());
    }
    let count = |number: usize| number.to_string();
    differ("threads", count(before.threads), count(after.threads));
    // A cold run has none, which goes without saying.
    if temperature(before) == temperature(after) {
        let warm = |run: &Run| if run.warmup > 0 { "some" } else { "none" };
        let (old, new) = (warm(before), warm(after));
        differ("warm-up runs", old.to_owned(), new.to_owned());
    }
    if !is_same_machine(&before.machine, &after.machine) {
        differ("machine", machine(&before.machine), machine(&after.machine));
    }
    let build = |run: &Run| match run.versions.optimized {
        true => "optimized".to_owned(),
        false => "not optimized".to_owned(),
    };
    differ("build", build(before), build(after));
    let timeout = |run: &Run| format!("{} s", run.timeout_s);
    differ("timeout", timeout(before), timeout(after));
    for arm in &before.arms {
        if let Some(other) = after.arms.iter().find(|other| other.name == arm.name) {
            differ(&format!("arm {}", arm.name), options(arm), options(other));
        }
    }
    found.extend(other_queries(before, after));
    found
}

fn temperature(run: &Run) -> &'static str {
    match run.cold {
        Some(true) => "dropped before each sample (cold)",
        // Asked for, and not permitted.
        Some(false) | None => "kept (hot)",
    }
}

fn is_same_machine(old: &Machine, new: &Machine) -> bool {
    let memory = match (old.memory_bytes, new.memory_bytes) {
        (Some(old), Some(new)) => (new as f64 / old as f64 - 1.0).abs() < SAME_MEMORY,
        (old, new) => old == new,
    };
    memory && (&old.cpu, old.cores, &old.os) == (&new.cpu, new.cores, &new.os)
}

fn machine(machine: &Machine) -> String {
    let cpu = machine.cpu.as_deref().unwrap_or("unknown processor");
    let memory = machine.memory_bytes.map(crate::render::bytes);
    let memory = memory.unwrap_or_else(|| "unknown memory".to_owned());
    format!("{cpu}, {} cores, {memory}, {}", machine.cores, machine.os)
}

fn options(arm: &ArmRecord) -> String {
    let options = arm.options.iter();
    let options: Vec<String> = options
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    match options.is_empty() {
        true => "no options".to_owned(),
        false => options.join(","),
    }
}

/// Queries of one name and two texts.
fn other_queries(before: &Run, after: &Run) -> Option<String> {
    let changed = before.details.iter().filter(|query| {
        let mut others = after.details.iter();
        others.any(|other| other.query == query.query && other.sql != query.sql)
    });
    let names: Vec<&str> = changed.map(|query| query.query.as_str()).collect();
    (!names.is_empty()).then(|| format!("the text of queries: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DataRecord, tests::empty_run};

    #[track_caller]
    fn check(change: impl FnOnce(&mut Run), expected: &str) {
        let mut other = empty_run();
        change(&mut other);
        assert_eq!(differences(&empty_run(), &other).join("\n"), expected);
    }

    #[test]
    fn circumstances_are_told() {
        check(|run| run.command = "other".to_owned(), "");
        check(|run| run.runs = 9, "");
        check(
            |run| run.cold = Some(true),
            "page cache: kept (hot) before, dropped before each sample (cold) after",
        );
        // It was not permitted, so that run was as hot as the other.
        check(|run| run.cold = Some(false), "");
        check(
            |run| run.scale = Some(10.0),
            "scale factor: none before, 10 after",
        );
        check(|run| run.threads = 8, "threads: 1 before, 8 after");
        check(
            |run| run.warmup = 3,
            "warm-up runs: none before, some after",
        );
        check(
            |run| run.machine.cores = 64,
            "machine: unknown processor, 0 cores, unknown memory,  before, unknown processor, 64 cores, unknown memory,  after",
        );
        check(
            |run| run.versions.optimized = true,
            "build: not optimized before, optimized after",
        );
        check(
            |run| {
                drop(
                    run.arms[0]
                        .options
                        .insert("enumerator".to_owned(), "goo".to_owned()),
                )
            },
            "arm default: no options before, enumerator=goo after",
        );
    }

    #[test]
    fn data_is_compared_where_both_runs_name_it() {
        let data = |bytes| DataRecord {
            tables: 3,
            bytes,
            fingerprint: "f00".to_owned(),
        };
        let run = |data| Run {
            data,
            ..empty_run()
        };
        assert!(differences(&run(None), &run(Some(data(1)))).is_empty());
        assert!(differences(&run(Some(data(1))), &run(Some(data(1)))).is_empty());
        assert_eq!(
            differences(&run(Some(data(1))), &run(Some(data(2_048)))),
            ["data: 3 tables of 1 B (f00) before, 3 tables of 2.00 KiB (f00) after"]
        );
    }
}
