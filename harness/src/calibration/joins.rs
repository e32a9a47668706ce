//! Joins of tables in memory, in the ways that the model tells apart.

use std::sync::Arc;

use anyhow::{Context, Result};
use datafusion::datasource::MemTable;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::prelude::{SessionConfig, SessionContext};
use joinwright_optimizer::cost::{
    HashJoin, HashJoinConstants, JOIN_STEPS, JoinMode, Observed, Side, fit as fit_steps, row_width,
};
use serde::{Deserialize, Serialize};

use super::made::{Keys, Payload, batches, schema};
use super::time;
use crate::interrupt::Interrupt;

/// One join and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JoinSample {
    pub(crate) mode: String,
    pub(crate) threads: usize,
    pub(crate) build_rows: f64,
    pub(crate) build_width: f64,
    pub(crate) probe_rows: f64,
    pub(crate) probe_width: f64,
    pub(crate) output_rows: f64,
    pub(crate) output_width: f64,
    pub(crate) nanos: f64,
}

impl JoinSample {
    fn steps(&self, constants: HashJoinConstants) -> [f64; JOIN_STEPS] {
        let mode = match self.mode.as_str() {
            "collect" => JoinMode::Collect,
            "partition" => JoinMode::Partition,
            _ => JoinMode::NestedLoop,
        };
        let side = |rows, width| Side { rows, width };
        HashJoin::new(constants, self.threads).join_steps(
            mode,
            side(self.build_rows, self.build_width),
            side(self.probe_rows, self.probe_width),
            side(self.output_rows, self.output_width),
        )
    }

    /// What the model says it takes, in nanoseconds.
    pub(crate) fn predicted(&self, constants: HashJoinConstants) -> f64 {
        constants.time(&self.steps(constants))
    }
}

/// A join to be measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinCase {
    mode: JoinMode,
    threads: usize,
    build_rows: usize,
    build: Payload,
    probe_rows: usize,
    probe: Payload,
    /// Rows of the build side with the same key.
    repeats: usize,
    /// One of how many keys of the probe side is on the build side.
    misses: usize,
}

/// The joins of a calibration whose largest table has `rows` rows: the sizes, widths, partners and modes that the model tells
/// apart, each against the others.
pub(super) fn cases(threads: usize, rows: usize) -> Vec<JoinCase> {
    let none = Payload::default();
    let numbers = Payload { numbers: 4, ..none };
    let texts = Payload {
        numbers: 1,
        texts: 2,
        ..none
    };
    let mut threads = vec![1, threads.max(1)];
    threads.dedup();
    let mut cases = vec![];
    for threads in threads {
        let case = JoinCase {
            mode: JoinMode::Collect,
            threads,
            build_rows: 1_000,
            build: none,
            probe_rows: rows,
            probe: none,
            repeats: 1,
            misses: 1,
        };
        for build_rows in [rows / 1_000, rows / 64, rows / 8, rows] {
            for (build, probe) in [
                (none, none),
                (numbers, numbers),
                (texts, none),
                (none, texts),
            ] {
                for (repeats, misses) in [(1, 1), (1, 20), (4, 1)] {
                    for probe_rows in [rows / 8, rows] {
                        for mode in [JoinMode::Collect, JoinMode::Partition] {
                            // Partitions of one thread are no exchange at all.
                            if mode == JoinMode::Partition && threads == 1 {
                                continue;
                            }
                            cases.push(JoinCase {
                                mode,
                                build_rows: build_rows.max(repeats),
                                build,
                                probe_rows: probe_rows.max(1),
                                probe,
                                repeats,
                                misses,
                                ..case
                            });
                        }
                    }
                }
            }
        }
        // What does not depend on rows.
        for mode in [JoinMode::Collect, JoinMode::Partition] {
            if mode == JoinMode::Collect || threads > 1 {
                cases.push(JoinCase {
                    mode,
                    build_rows: 10,
                    probe_rows: 100,
                    ..case
                });
            }
        }
        for (build_rows, probe_rows) in [(10, rows), (100, rows / 10), (1_000, rows / 20)] {
            cases.push(JoinCase {
                mode: JoinMode::NestedLoop,
                build_rows,
                probe_rows: probe_rows.max(1),
                ..case
            });
        }
    }
    cases
}

impl JoinCase {
    pub(super) async fn measure(&self, runs: usize, interrupt: &Interrupt) -> Result<JoinSample> {
        let context = self.session()?;
        let condition = match self.mode {
            JoinMode::NestedLoop => "b.k + p.k < 0",
            _ => "b.k = p.k",
        };
        let sql = format!("SELECT * FROM b JOIN p ON {condition}");
        let timed = time(&context, &sql, runs, interrupt).await?;
        let (mode, build, probe, output) = join_of(&timed.plan)
            .with_context(|| format!("DataFusion planned no join for {self:?}"))?;
        anyhow::ensure!(mode == self.mode, "DataFusion runs {self:?} as {mode:?}");
        let mode = match mode {
            JoinMode::Collect => "collect",
            JoinMode::Partition => "partition",
            JoinMode::NestedLoop => "nested-loop",
        };
        Ok(JoinSample {
            mode: mode.to_owned(),
            threads: self.threads,
            build_rows: self.build_rows as f64,
            build_width: build,
            probe_rows: self.probe_rows as f64,
            probe_width: probe,
            output_rows: timed.rows as f64,
            output_width: output,
            nanos: timed.nanos,
        })
    }

    /// A session with both tables, in which DataFusion runs the join in this mode and with these sides.
    fn session(&self) -> Result<SessionContext> {
        let mut config = SessionConfig::new().with_target_partitions(self.threads);
        let optimizer = &mut config.options_mut().optimizer;
        optimizer.join_reordering = false;
        let threshold = match self.mode {
            JoinMode::Partition => 0,
            _ => usize::MAX,
        };
        optimizer.hash_join_single_partition_threshold = threshold;
        optimizer.hash_join_single_partition_threshold_rows = threshold;
        let context = SessionContext::new_with_config(config);
        let distinct = (self.build_rows / self.repeats).max(1) as u64;
        let domain = distinct * self.misses as u64;
        let tables = [
            ("b", self.build_rows, Keys::All { distinct }, self.build),
            ("p", self.probe_rows, Keys::Drawn { domain }, self.probe),
        ];
        for (name, rows, keys, payload) in tables {
            let mut partitions = vec![vec![]; self.threads];
            for (number, batch) in batches(rows, keys, payload)?.into_iter().enumerate() {
                partitions[number % self.threads].push(batch);
            }
            let table = MemTable::try_new(schema(payload), partitions)?;
            context.register_table(name, Arc::new(table))?;
        }
        Ok(context)
    }
}

/// The mode of a plan's join and the bytes of a row of its build side, its probe side and its result.
fn join_of(plan: &Arc<dyn ExecutionPlan>) -> Option<(JoinMode, f64, f64, f64)> {
    let (mode, left, right) = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let mode = match join.partition_mode() {
            PartitionMode::Partitioned => JoinMode::Partition,
            PartitionMode::CollectLeft | PartitionMode::Auto => JoinMode::Collect,
        };
        (mode, join.left(), join.right())
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        (JoinMode::NestedLoop, join.left(), join.right())
    } else {
        return plan.children().into_iter().find_map(join_of);
    };
    let width = |plan: &Arc<dyn ExecutionPlan>| row_width(&plan.schema());
    Some((mode, width(left), width(right), width(plan)))
}

/// The constants that fit best. Those that are no price of a step are tried: caches of the sizes that machines have, and
/// threads that help more or less.
pub(super) fn fit(samples: &[JoinSample]) -> HashJoinConstants {
    let sizes = (0..=8).map(|power| 256.0 * 1024.0 * 2_f64.powi(power));
    let tried = sizes.flat_map(|cache_bytes| {
        (0..=10).map(move |tenths| HashJoinConstants {
            cache_bytes,
            further_thread: f64::from(tenths) / 10.0,
            ..HashJoinConstants::default()
        })
    });
    let fits = tried.map(|tried| {
        let observed: Vec<Observed<JOIN_STEPS>> = samples
            .iter()
            .map(|sample| Observed {
                steps: sample.steps(tried),
                offset: 0.0,
                time: sample.nanos,
            })
            .collect();
        let fit = fit_steps(&observed);
        (tried.with_prices(fit.constants), fit.loss)
    });
    let best = fits.min_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or_else(HashJoinConstants::default, |(constants, _)| constants)
}
