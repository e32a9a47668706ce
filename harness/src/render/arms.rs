//! The arms of a run, one a line: time, estimates, plans, planning, memory.

use super::{Grid, bounded, bytes, milliseconds};
use crate::arm_metrics::{ArmMetrics, JoinErrors, PlanErrors};
use crate::summary::Overview;

/// A table of what is known of at least one arm; `None` where that is no more than the times.
pub(crate) fn grid(overview: &Overview, metrics: &[ArmMetrics]) -> Option<Grid> {
    let mut columns: Vec<(&str, Vec<Option<String>>)> = vec![];
    let mut add = |name, value: &dyn Fn(&ArmMetrics) -> Option<String>| {
        let cells: Vec<Option<String>> = metrics.iter().map(value).collect();
        if cells.iter().any(Option::is_some) {
            columns.push((name, cells));
        }
    };
    add("joins", &|own| {
        own.q_error.map(|errors| super::group(errors.joins as u64))
    });
    add("q-error p50 / p95 / max", &|own| {
        own.q_error.map(|errors: JoinErrors| {
            let errors = [errors.p50, errors.p95, errors.max];
            errors.map(factor).join(" / ")
        })
    });
    let plans = |errors: PlanErrors| {
        [errors.mean, errors.p90, errors.max]
            .map(factor)
            .join(" / ")
    };
    add("P-error C_out mean / p90 / max", &|own| {
        own.p_error_cout.map(plans)
    });
    add("P-error hashjoin", &|own| own.p_error_hashjoin.map(plans));
    add(
        "planning ms: prepare + search + emit + DataFusion",
        &|own| {
            let phases = own.planning?;
            let parts = [
                phases.prepare_us,
                phases.search_us,
                phases.emit_us,
                phases.datafusion_us,
            ];
            Some(parts.map(|us| milliseconds(us as f64 / 1e3)).join(" + "))
        },
    );
    add("peak memory mean / max", &|own| {
        let memory = own.memory?;
        Some([memory.mean_bytes, memory.max_bytes].map(bytes).join(" / "))
    });
    if columns.is_empty() {
        return None;
    }
    let mut header = vec!["arm".to_owned(), "total ms".to_owned(), "ratio".to_owned()];
    header.extend(columns.iter().map(|(name, _)| (*name).to_owned()));
    let rows = overview.totals.iter().enumerate().map(|(at, total)| {
        let of_totals = total.ratios.as_ref().filter(|_| at > 0);
        let mut row = vec![
            total.arm.clone(),
            format!(
                "{}{}",
                if total.at_least { "≥ " } else { "" },
                milliseconds(total.total_ms)
            ),
            of_totals.map_or_else(String::new, |ratios| {
                bounded(ratios.of_totals, ratios.bound)
            }),
        ];
        let cell = |cells: &Vec<Option<String>>| cells.get(at).cloned().flatten();
        row.extend(
            columns
                .iter()
                .map(|(_, cells)| cell(cells).unwrap_or_else(|| "-".to_owned())),
        );
        row
    });
    Some(Grid {
        rows: rows.collect(),
        left: vec![0],
        header,
    })
}

/// An error in three digits, with an exponent beyond reading.
pub(crate) fn factor(factor: f64) -> String {
    match factor {
        factor if !factor.is_finite() => "∞".to_owned(),
        factor if factor >= 1e5 => format!("{factor:.1e}"),
        factor if factor >= 100.0 => super::group(factor.round() as u64),
        factor if factor >= 10.0 => format!("{factor:.1}"),
        factor => format!("{factor:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm_metrics::Memory;
    use crate::phases::PlanningPhases;
    use crate::summary::{Bound, Counts, Extreme, Ratios, Total};

    fn extreme() -> Extreme {
        Extreme {
            query: "q".to_owned(),
            ratio: 1.0,
            bound: Bound::Exact,
            interval: None,
        }
    }

    fn total(arm: &str, total_ms: f64) -> Total {
        Total {
            arm: arm.to_owned(),
            total_ms,
            at_least: false,
            ratios: Some(Ratios {
                of_totals: total_ms / 20.0,
                geometric_mean: 1.0,
                bound: Bound::Exact,
                worst: extreme(),
                best: extreme(),
            }),
        }
    }

    #[test]
    fn what_nobody_knows_is_no_column() {
        let overview = Overview {
            arms: vec!["default".to_owned(), "duckdb".to_owned()],
            lines: vec![],
            totals: vec![total("default", 20.0), total("duckdb", 10.0)],
            counted: 1,
            stopped: 0,
            counts: Counts::default(),
        };
        assert!(grid(&overview, &[ArmMetrics::default(), ArmMetrics::default()]).is_none());
        let errors = PlanErrors {
            queries: 3,
            mean: 1.25,
            p90: 12.0,
            max: 1_234.5,
        };
        let own = ArmMetrics {
            p_error_cout: Some(errors),
            planning: Some(PlanningPhases {
                total_us: 4_000,
                prepare_us: 1_000,
                search_us: 500,
                emit_us: 100,
                datafusion_us: 2_400,
            }),
            memory: Some(Memory {
                mean_bytes: 1 << 20,
                max_bytes: 3 << 20,
            }),
            ..ArmMetrics::default()
        };
        let other = ArmMetrics {
            p_error_cout: Some(errors),
            ..ArmMetrics::default()
        };
        insta::assert_snapshot!(grid(&overview, &[own, other]).unwrap().to_markdown(), @"
        | arm     | total ms | ratio | P-error C_out mean / p90 / max | planning ms: prepare + search + emit + DataFusion | peak memory mean / max |
        |---------|---------:|------:|-------------------------------:|--------------------------------------------------:|-----------------------:|
        | default |     20.0 |       |            1.25 / 12.0 / 1,235 |                         1.00 + 0.50 + 0.10 + 2.40 |    1.00 MiB / 3.00 MiB |
        | duckdb  |     10.0 |  0.50 |            1.25 / 12.0 / 1,235 |                                                 - |                      - |
        ");
    }
}
