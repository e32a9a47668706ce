//! Estimation: what it takes to prepare a query of eight relations with warm statistics, and to estimate one of its sub-plans, as
//! planning does it. A fact table of a million skewed rows, with dimensions and a dimension of one of them, four of which have a predicate.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::RelSet;
use joinwright_optimizer::{
    JoinOrdering, JoinwrightOptions, Registry, analyze_provider, estimate_regions,
};
use joinwright_stats::{AnalyzeOptions, Catalog};

const ESTIMATORS: [&str; 3] = ["textbook", "sample", "joinwright"];

const FACT_ROWS: u64 = 1_000_000;

/// Rows of the dimensions `d0` to `d6`; the last one belongs to `d5`.
const DIMENSIONS: [u64; 7] = [200_000, 100_000, 20_000, 5_000, 500, 150_000, 1_000];

const QUERY: &str = "SELECT * FROM fact, d0, d1, d2, d3, d4, d5, d6
    WHERE fact.k0 = d0.id AND fact.k1 = d1.id AND fact.k2 = d2.id AND fact.k3 = d3.id AND fact.k4 = d4.id
    AND fact.k5 = d5.id AND d5.parent = d6.id
    AND d0.name LIKE '%7%' AND d1.parent < 20 AND d6.name = 'name 3' AND fact.value > 500";

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Skewed: the logarithm is uniform.
fn skewed(seed: u64, most: u64) -> i64 {
    let uniform = (mix(seed) >> 11) as f64 / (1u64 << 53) as f64;
    (most as f64).powf(uniform) as i64 - 1
}

fn integers(rows: u64, value: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new((0..rows).map(value).collect::<Int64Array>())
}

fn tables() -> Vec<(String, RecordBatch)> {
    let made = "columns of one length";
    let mut tables = vec![];
    for (at, rows) in DIMENSIONS.into_iter().enumerate() {
        let seed = (at as u64) << 32;
        let names = (0..rows).map(|row| format!("name {}", mix(seed + row) % (rows / 10)));
        let batch = RecordBatch::try_from_iter([
            ("id", integers(rows, |row| row as i64)),
            ("parent", integers(rows, |row| skewed(seed + row, 1_000))),
            (
                "name",
                Arc::new(names.map(Some).collect::<StringArray>()) as ArrayRef,
            ),
        ]);
        tables.push((format!("d{at}"), batch.expect(made)));
    }
    let keys = (0..6).map(|at| {
        let key = move |row| skewed(row * 6 + at, DIMENSIONS[at as usize]);
        (format!("k{at}"), integers(FACT_ROWS, key))
    });
    let value = (
        "value".to_owned(),
        integers(FACT_ROWS, |row| (mix(row) % 1_000) as i64),
    );
    let batch = RecordBatch::try_from_iter(keys.chain([value]));
    tables.push(("fact".to_owned(), batch.expect(made)));
    tables
}

/// The query graph, with statistics of all tables.
async fn graph() -> QueryGraph {
    let context = SessionContext::new();
    let catalog = Arc::new(Catalog::in_memory());
    let keys = (0..6).map(|at| ("fact".to_owned(), format!("k{at}")));
    let ids = (0..7).flat_map(|at| ["id", "parent"].map(|key| (format!("d{at}"), key.to_owned())));
    let options = AnalyzeOptions {
        keys: keys.chain(ids).collect(),
        ..AnalyzeOptions::default()
    };
    for (name, batch) in tables() {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("one partition");
        let table = Arc::new(table);
        let state = context.state();
        let analyzed =
            analyze_provider(&catalog, &name, "1", table.as_ref(), &state, &options, &());
        analyzed.await.expect("statistics of a table in memory");
        context.register_table(name, table).expect("a new name");
    }
    let plan = context
        .sql(QUERY)
        .await
        .expect("a valid query")
        .into_optimized_plan();
    let plan = plan.expect("a plan");
    let (ordering, options) = (JoinOrdering::default(), JoinwrightOptions::default());
    let regions = estimate_regions(&plan, &catalog.snapshot(), &ordering, &options, false);
    regions.into_iter().next().expect("a region").graph
}

fn estimate(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let graph = runtime.block_on(graph());
    let joins = graph.join_graph();
    let mut sets: Vec<RelSet> = RelSet::first_n(graph.relations.len())
        .subsets()
        .filter(|set| joins.is_connected(*set))
        .collect();
    // As the search asks: small sets first.
    sets.sort_by_key(|set| set.len());
    let registry = Registry::default();
    for name in ESTIMATORS {
        let estimator = registry.estimator(name).expect("a known estimator");
        let mut group = c.benchmark_group("prepare");
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| black_box(estimator.prepare(&graph)));
        });
        group.finish();
        let mut group = c.benchmark_group("sub-plans");
        group.throughput(Throughput::Elements(sets.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            let estimate =
                |cardinalities: Box<dyn joinwright_optimizer::estimate::Cardinalities>| {
                    sets.iter().map(|set| cardinalities.rows(*set)).sum::<f64>()
                };
            b.iter_batched(
                || estimator.prepare(&graph),
                estimate,
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, estimate);
criterion_main!(benches);
