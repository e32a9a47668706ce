//! Enumeration: csg-cmp-pairs a second with `cout`, on the shapes of the literature.
//!
//! Cardinalities come from a table filled beforehand, so that the search alone is measured.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use joinwright_optimizer::cost::Cout;
use joinwright_optimizer::enumerate::{DpCcp, Enumerator, Problem, for_each_csg_cmp_pair};
use joinwright_optimizer::estimate::{Cardinalities, Estimate};
use joinwright_optimizer::join_graph::{EdgeKind, JoinGraph};
use joinwright_optimizer::join_tree::JoinTree;
use joinwright_optimizer::relset::RelSet;
use std::hint::black_box;
use std::ops::ControlFlow;

#[derive(Debug)]
struct Table(Vec<f64>);

impl Cardinalities for Table {
    fn estimate(&self, set: RelSet) -> Estimate {
        Estimate::guess(self.0[set.bits() as usize])
    }
}

/// Rows from a hash of the set, uniform in their logarithm.
fn table(relations: usize) -> Table {
    let rows = |set: u64| {
        let hash = (set + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        10_f64.powf(hash as f64 / (1 << 24) as f64 * 8.0)
    };
    Table((0..1_u64 << relations).map(rows).collect())
}

fn count_pairs(graph: &JoinGraph) -> u64 {
    let mut pairs = 0;
    let _ = for_each_csg_cmp_pair(graph, |_, _| {
        pairs += 1;
        ControlFlow::<()>::Continue(())
    });
    pairs
}

fn enumerate(c: &mut Criterion) {
    let star = |n: usize| JoinGraph::new(n, (1..n).map(|i| (0, i, EdgeKind::Equality)));
    let chain = |n: usize| JoinGraph::new(n, (1..n).map(|i| (i - 1, i, EdgeKind::Equality)));
    let clique = |n: usize| {
        let edges = (0..n).flat_map(|a| (0..a).map(move |b| (a, b, EdgeKind::Equality)));
        JoinGraph::new(n, edges)
    };
    let shapes = [
        ("star-16", star(16)),
        ("clique-12", clique(12)),
        ("chain-16", chain(16)),
    ];
    for (name, graph) in shapes {
        let cardinalities = table(graph.len());
        let written = (1..graph.len()).fold(JoinTree::Leaf(0), |left, i| {
            JoinTree::join(left, JoinTree::Leaf(i))
        });
        let problem = Problem {
            graph: &graph,
            cardinalities: &cardinalities,
            cost: &Cout,
            written: &written,
            budget: u64::MAX,
        };
        let mut group = c.benchmark_group(name);
        group.sample_size(20);
        group.throughput(Throughput::Elements(count_pairs(&graph)));
        group.bench_function("pairs only", |b| b.iter(|| count_pairs(black_box(&graph))));
        group.bench_function(BenchmarkId::new("dpccp", "cout"), |b| {
            b.iter(|| DpCcp.search(black_box(&problem)));
        });
        group.finish();
    }
}

criterion_group!(benches, enumerate);
criterion_main!(benches);
