//! `joinwright plan`: the join order of each region, without running anything.

use std::io::{self, Write};

use anyhow::{Context, Result};
use joinwright_optimizer::{Registry, Trace};
use serde::Serialize;

use super::{Prepared, block_on, prepare};
use crate::arm::Arm;
use crate::cli::PlanArgs;
use crate::injection::QuerySessions;
use crate::interrupt::Interrupt;
use crate::machine::available_threads;
use crate::render::explain::render_region;
use crate::session::{Purpose, known_parts};
use crate::suite::Suite;

/// A line of the JSON output.
#[derive(Serialize)]
struct Region<'a> {
    query: &'a str,
    arm: &'a str,
    #[serde(flatten)]
    trace: &'a Trace,
}

/// Runs the command.
pub(super) fn run(args: PlanArgs, registry: &Registry) -> Result<u8> {
    let arms = Arm::parse_all(&args.arms, &["joinwright"], &known_parts(registry))?;
    let suite = Suite::find(
        &args.suite.name,
        args.suite.data.scale,
        args.suite.data.queries.as_deref(),
    )?;
    let queries = suite.read_sound_queries(&args.only)?;
    let threads = available_threads();
    block_on(threads, async {
        let prepared =
            prepare(&suite, &queries, &args.suite.data, &mut Interrupt::listen()).await?;
        let Prepared { tables, catalog } = &prepared;
        let mut out = io::BufWriter::new(io::stdout());
        for arm in &arms {
            let data = (&tables[..], catalog);
            let purpose = Purpose::Explain;
            let sessions =
                QuerySessions::open(arm, &suite, data, registry, threads, purpose).await?;
            for query in &queries {
                let session = sessions.of_query(&query.name).await?;
                let planned = session
                    .plan(&query.sql)
                    .await
                    .with_context(|| format!("cannot plan query {}", query.name))?;
                for trace in &planned.regions {
                    if args.json {
                        let line = Region {
                            query: &query.name,
                            arm: &arm.name,
                            trace,
                        };
                        writeln!(out, "{}", serde_json::to_string(&line)?)?;
                    } else {
                        writeln!(out, "{} {}, {}", query.name, arm.name, render_region(trace))?;
                    }
                }
            }
        }
        out.flush()?;
        Ok(0)
    })
}
