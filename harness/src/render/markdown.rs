//! The README of a run: a function of `run.json` and `raw.csv`.

use super::{Grid, arms, bytes, overview_grid, overview_lines};
use crate::arm_metrics::arm_metrics;
use crate::q_errors::judge;
use crate::query_summary::QuerySummary;
use crate::record::{Run, Sample};
use crate::summary::Overview;

/// What stands below the table of arms.
const ABOUT_ARMS: &str = "q-errors are those of the joins of the plans that ran, as far as their rows are not cut by a LIMIT or by a filter from above: so many \
    joins. A P-error is the true cost of the order that a system \
    chose over that of the best one, by the suite's true cardinalities, under C_out and under `hashjoin`; its mean is geometric. \
    Planning is of one query on average, timed beside the runs. Peak memory is what DataFusion's operators had reserved at most, by \
    query the median of the runs; batches between operators, caches and other systems are not in it.\n\n";

/// Renders the README.
pub(crate) fn render(run: &Run, samples: &[Sample]) -> String {
    let overview = Overview::new(run, samples);
    let mut out = format!("# {}{}\n\n", run.suite, scale(run));
    out.push_str(&format!("    {}\n\n", run.command));
    for line in overview_lines(&overview) {
        out.push_str(&format!("- {line}\n"));
    }
    if run.finished.is_none() || run.interrupted {
        let (done, all) = (run.summary.len(), run.queries);
        let what = match run.interrupted {
            true => "interrupted",
            false => "not finished",
        };
        out.push_str(&format!("- {what}: {done} of {all} queries are done\n"));
        if let Some((query, samples)) = begun(run, samples) {
            out.push_str(&format!(
                "- {samples} samples of query {query} are kept for `--resume`\n"
            ));
        }
    }
    out.push('\n');
    let metrics = arm_metrics(run, samples, &judge(run));
    if let Some(grid) = arms::grid(&overview, &metrics) {
        out.push_str(&grid.to_markdown());
        out.push_str("\n\n");
        out.push_str(ABOUT_ARMS);
    }
    out.push_str(&overview_grid(&overview).to_markdown());
    out.push_str("\n\n");
    if let Some(grid) = errors_grid(run) {
        out.push_str(&grid.to_markdown());
        out.push_str("\n\n");
    }
    out.push_str(&format!(
        "Times are medians of {} runs after {} of warm-up, planning and execution together, on {} threads; \
         \"planning ms\" is the part of it from SQL text to physical plan. A ratio is the time over that of {}. \
         Every sample is in `raw.csv`.\n",
        run.runs, run.warmup, run.threads, overview.arms[0]
    ));
    let errors: Vec<String> = run
        .summary
        .iter()
        .flat_map(|query| query.arms.iter().map(move |arm| (query, arm)))
        .filter_map(|(query, arm)| {
            let error = arm.error.as_ref()?;
            Some(format!("- {} under {}: {error}\n", query.query, arm.arm))
        })
        .collect();
    if !errors.is_empty() {
        out.push_str(&format!("\n## What went wrong\n\n{}", errors.concat()));
    }
    out.push_str(&format!("\n## Where\n\n{}", conditions(run)));
    out
}

/// The query that was interrupted, and how many samples there are of it.
fn begun<'a>(run: &Run, samples: &'a [Sample]) -> Option<(&'a str, usize)> {
    let is_done = |sample: &Sample| run.summary.iter().any(|done| done.query == sample.query);
    let query = samples
        .iter()
        .find(|sample| !is_done(sample))?
        .query
        .as_str();
    let own = samples.iter().filter(|sample| sample.query == query);
    Some((query, own.count()))
}

/// By query and arm the P-error of the plan and the worst q-error of its joins, where the truth is known.
fn errors_grid(run: &Run) -> Option<Grid> {
    let judged = |query: &&QuerySummary| query.arms.iter().any(|arm| arm.p_error.is_some());
    let mut header = vec!["query".to_owned()];
    for arm in &run.arms {
        let name = &arm.name;
        header.extend(["P-error", "hashjoin", "q-error"].map(|what| format!("{name} {what}")));
    }
    let row = |query: &QuerySummary| {
        let mut row = vec![query.query.clone()];
        for arm in &query.arms {
            let errors = [
                arm.p_error.map(|errors| errors.cout),
                arm.p_error.map(|errors| errors.hashjoin),
                arm.worst_q_error,
            ];
            row.extend(errors.map(|error| error.map_or_else(|| "-".to_owned(), arms::factor)));
        }
        row
    };
    let rows: Vec<Vec<String>> = run.summary.iter().filter(judged).map(row).collect();
    (!rows.is_empty()).then(|| Grid {
        rows,
        header,
        left: vec![0],
    })
}

fn scale(run: &Run) -> String {
    match run.scale {
        Some(scale) => format!(", scale factor {scale}"),
        None => String::new(),
    }
}

fn conditions(run: &Run) -> String {
    let machine = &run.machine;
    let versions = &run.versions;
    let mut lines = vec![
        ("started", run.started.clone()),
        ("finished", run.finished.clone().unwrap_or_default()),
        (
            "data",
            run.data
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
        ("timeout", format!("{} s a sample", run.timeout_s)),
        (
            "cold",
            match run.cold {
                Some(true) => "the page cache was dropped before each sample".to_owned(),
                Some(false) => "NO: the page cache could not be dropped".to_owned(),
                None => String::new(),
            },
        ),
        (
            "machine",
            format!(
                "{}, {} cores, {}, {}",
                machine.cpu.as_deref().unwrap_or("unknown processor"),
                machine.cores,
                machine.memory_bytes.map(bytes).unwrap_or_default(),
                machine.os
            ),
        ),
        (
            "versions",
            format!(
                "joinwright {}{}, DataFusion {}, Arrow {}, {}{}",
                versions.joinwright,
                (versions.commit.as_ref())
                    .map(|commit| format!(" ({commit})"))
                    .unwrap_or_default(),
                versions.datafusion,
                versions.arrow,
                versions.rustc.as_deref().unwrap_or("unknown compiler"),
                if versions.optimized {
                    ""
                } else {
                    ", NOT an optimized build"
                },
            ),
        ),
    ];
    for arm in &run.arms {
        let options: Vec<String> = arm
            .options
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        if !options.is_empty() {
            lines.push(("arm", format!("{}: {}", arm.name, options.join(", "))));
        }
    }
    lines
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("- {name}: {value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::agreement::Agreement;
    use crate::bench::QueryRun;
    use crate::details::QueryDetails;
    use crate::machine::{Machine, Versions};
    use crate::record::{ArmRecord, RunFolder, Status, load};
    use crate::suite::Query;

    fn run() -> Run {
        let arm = |name: &str| ArmRecord {
            name: name.to_owned(),
            options: BTreeMap::new(),
        };
        Run {
            command: "joinwright bench tpch".to_owned(),
            started: "2026-01-02T03:04:05Z".to_owned(),
            finished: Some("2026-01-02T03:05:05Z".to_owned()),
            interrupted: false,
            resumed: vec![],
            suite: "tpch".to_owned(),
            scale: Some(0.1),
            data: None,
            queries: 3,
            runs: 2,
            warmup: 1,
            timeout_s: 60.0,
            threads: 2,
            cold: None,
            seed: None,
            arms: vec![arm("default"), arm("joinwright")],
            versions: Versions {
                joinwright: "0.1.0".to_owned(),
                datafusion: "55.2.0".to_owned(),
                arrow: "59.3.0".to_owned(),
                rustc: Some("rustc 1.95.0".to_owned()),
                commit: Some("0123456789ab".to_owned()),
                optimized: true,
            },
            machine: Machine {
                cpu: Some("Some CPU".to_owned()),
                cores: 2,
                memory_bytes: Some(8 << 30),
                os: "Linux".to_owned(),
            },
            summary: Vec::new(),
            details: Vec::new(),
        }
    }

    /// `times` are total milliseconds, warm-up first; a negative one is a failure.
    fn query_run(query: &str, times: [&[f64]; 2], second: Option<Agreement>) -> QueryRun {
        let mut samples = Vec::new();
        for (arm, times) in ["default", "joinwright"].into_iter().zip(times) {
            for (at, &ms) in times.iter().enumerate() {
                let mut sample = Sample::new(query, arm, at.max(1) as u32, at == 0);
                if ms < 0.0 {
                    sample.status = Status::Error;
                    sample.error = Some("no such column, \"x\"".to_owned());
                } else {
                    sample.planning_ms = Some(1.5);
                    sample.execution_ms = Some(ms - 1.5);
                    sample.total_ms = Some(ms);
                    sample.rows = Some(4);
                    sample.fingerprint = Some("00ff".to_owned());
                }
                if arm == "joinwright" && matches!(second, Some(Agreement::Different(_))) {
                    sample.status = Status::Wrong;
                    sample.error = Some("extra row: 1 | 2".to_owned());
                }
                samples.push(sample);
            }
        }
        QueryRun {
            samples,
            agreements: vec![Some(Agreement::Same), second],
            observed: vec![None, None],
            p_errors: vec![None, None],
            whole: true,
        }
    }

    #[test]
    fn readme_is_made_from_the_two_files_alone() {
        let results = tempfile::tempdir().unwrap();
        let mut folder = RunFolder::create(None, results.path(), "day-tpch-0.1").unwrap();
        let mut run = run();
        let same = Some(Agreement::Same);
        let wrong = Some(Agreement::Different(String::new()));
        for (query, times, agreement) in [
            (
                "q01",
                [&[99.0, 20.0, 22.0], &[50.0, 10.0, 11.0]] as [&[f64]; 2],
                same,
            ),
            ("q02", [&[99.0, 20.0, 22.0], &[50.0, 30.0, 31.0]], wrong),
            ("q03", [&[9.0, 5.0, 5.0], &[-1.0]], None),
        ] {
            let done = query_run(query, times, agreement);
            let details = QueryDetails::new(&Query {
                name: query.to_owned(),
                sql: "SELECT 1".to_owned(),
                fault: None,
            });
            folder.record(&mut run, details, done).unwrap();
        }
        let written = std::fs::read_to_string(folder.path().join("README.md")).unwrap();
        let (loaded, samples) = load(folder.path()).unwrap();
        assert_eq!(loaded, run);
        assert_eq!(samples, folder.samples());
        assert_eq!(render(&loaded, &samples), written);
        insta::assert_snapshot!(written, @r#"
        # tpch, scale factor 0.1

            joinwright bench tpch

        - total (of 2 queries that all finished): default 42.0 ms, joinwright 41.0 ms
        - joinwright against default: total 0.98, geometric mean 0.85, worst 1.45 (q02; too few runs to tell), best 0.50 (q01)
        - 3 queries, 1 same, 1 with different rows, 1 failed or timed out

        | query | default ms | joinwright ms | ratio | planning ms | same rows |
        |-------|-----------:|--------------:|------:|------------:|-----------|
        | q01   |       21.0 |          10.5 |  0.50 |        1.50 | yes       |
        | q02   |       21.0 |          30.5 |  1.45 |        1.50 | NO        |
        | q03   |       5.00 |         error |       |             | -         |

        Times are medians of 2 runs after 1 of warm-up, planning and execution together, on 2 threads; "planning ms" is the part of it from SQL text to physical plan. A ratio is the time over that of default. Every sample is in `raw.csv`.

        ## What went wrong

        - q02 under joinwright: extra row: 1 | 2
        - q03 under joinwright: no such column, "x"

        ## Where

        - started: 2026-01-02T03:04:05Z
        - finished: 2026-01-02T03:05:05Z
        - timeout: 60 s a sample
        - machine: Some CPU, 2 cores, 8.00 GiB, Linux
        - versions: joinwright 0.1.0 (0123456789ab), DataFusion 55.2.0, Arrow 59.3.0, rustc 1.95.0
        "#);
        insta::assert_snapshot!(crate::render::table::render(&run, &samples), @r#"
        ──────────────────────────────────────────────────────────────────────
         query   default ms   joinwright ms   ratio   planning ms   same rows
        ══════════════════════════════════════════════════════════════════════
         q01           21.0            10.5    0.50          1.50   yes
         q02           21.0            30.5    1.45          1.50   NO
         q03           5.00           error                         -
        ──────────────────────────────────────────────────────────────────────
        q02 joinwright: extra row: 1 | 2
        q03 joinwright: no such column, "x"
        total (of 2 queries that all finished): default 42.0 ms, joinwright 41.0 ms
        joinwright against default: total 0.98, geometric mean 0.85, worst 1.45 (q02; too few runs to tell), best 0.50 (q01)
        3 queries, 1 same, 1 with different rows, 1 failed or timed out
        "#);
    }

    #[test]
    fn folders_without_samples_vanish_and_names_are_free() {
        let results = tempfile::tempdir().unwrap();
        let root = results.path().join("results");
        let path = |number| root.join(format!("day-tpch{number}"));
        drop(RunFolder::create(None, &root, "day-tpch").unwrap());
        assert!(!root.exists());
        std::fs::create_dir_all(path("")).unwrap();
        let second = RunFolder::create(None, &root, "day-tpch").unwrap();
        assert_eq!(second.path(), path("-2"));
        drop(second);
        assert!(path("").exists() && !path("-2").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let results = tempfile::tempdir().unwrap();
        let file = results.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = RunFolder::create(Some(&file.join("run")), results.path(), "x")
            .err()
            .map(|error| format!("{error:#}"))
            .unwrap_or_default();
        assert!(message.contains("file/run"), "{message}");
    }
}
