//! Enumeration with `cout`: csg-cmp-pairs a second on the shapes of the literature, and planning time of the default
//! search on random trees of 10 to 5,000 relations.
//!
//! `cargo bench --bench enumerate` measures; `cargo bench --bench enumerate -- quality` prints instead what the searches'
//! trees cost on random graphs, against the best that any search finds; shapes and sizes after it limit the table, as in
//! `quality grid 20 100`.

use criterion::{BenchmarkId, Criterion, Throughput};
use joinwright_optimizer::cost::Cout;
use joinwright_optimizer::enumerate::{
    Adaptive, DpCcp, DpHyp, Enumerator, Goo, GooDp, IkkBz, LinDp, Problem, QuickPick, SimpliOrder,
    Solution, StopReason, for_each_csg_cmp_pair,
};
use joinwright_optimizer::estimate::{Cardinalities, Estimate, ProductRows};
use joinwright_optimizer::join_graph::{EdgeKind, JoinGraph};
use joinwright_optimizer::join_tree::JoinTree;
use joinwright_optimizer::relset::RelSet;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

fn main() {
    if std::env::args().any(|argument| argument == "quality") {
        quality();
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    pairs(&mut criterion);
    planning(&mut criterion);
    criterion.final_summary();
}

/// The budget of the optimizer's options.
const BUDGET: u64 = 100_000;

#[derive(Debug)]
struct Table(Vec<f64>);

impl Cardinalities for Table {
    fn estimate(&self, set: RelSet) -> Estimate {
        Estimate::guess(self.0[set.bits() as usize])
    }
}

/// Rows from a hash of the set, uniform in their logarithm: from a table filled beforehand, so that the search alone is
/// measured.
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

fn in_order(relations: usize) -> JoinTree {
    (1..relations).fold(JoinTree::Leaf(0), |left, i| {
        JoinTree::join(left, JoinTree::Leaf(i))
    })
}

fn pairs(c: &mut Criterion) {
    let star = |n: usize| JoinGraph::new(n, (1..n).map(|i| (0, i, EdgeKind::Equality)));
    let chain = |n: usize| JoinGraph::new(n, (1..n).map(|i| (i - 1, i, EdgeKind::Equality)));
    let clique = |n: usize| {
        let edges = (0..n).flat_map(|a| (0..a).map(move |b| (a, b, EdgeKind::Equality)));
        JoinGraph::new(n, edges)
    };
    let shapes = [
        ("chain-16", chain(16)),
        ("star-20", star(20)),
        ("clique-14", clique(14)),
    ];
    for (name, graph) in shapes {
        let cardinalities = table(graph.len());
        let written = in_order(graph.len());
        let problem = Problem {
            graph: &graph,
            cardinalities: &cardinalities,
            cost: &Cout,
            written: &written,
            budget: u64::MAX,
        };
        let mut group = c.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Elements(count_pairs(&graph)));
        group.bench_function("pairs only", |b| b.iter(|| count_pairs(black_box(&graph))));
        for search in [&DpCcp as &dyn Enumerator, &DpHyp, &Adaptive] {
            group.bench_function(BenchmarkId::new(search.name(), "cout"), |b| {
                b.iter(|| search.search(black_box(&problem)));
            });
        }
        group.finish();
    }
}

fn planning(c: &mut Criterion) {
    let mut group = c.benchmark_group("random trees");
    group.sample_size(10);
    for relations in [10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000] {
        let made = Shape::Tree.make(relations, 1);
        group.throughput(Throughput::Elements(relations as u64));
        group.bench_function(BenchmarkId::new("adaptive", relations), |b| {
            b.iter(|| made.solve(&Adaptive, BUDGET));
        });
    }
    group.finish();
}

/// Shapes of random graphs.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Every relation is connected with one of those before it, any.
    Tree,
    Chain,
    Cycle,
    Grid,
    /// A fact table, a fourth of the relations around it, and chains below these.
    Snowflake,
    Star,
    /// A tree and a tenth of edges more.
    Sparse,
}

/// A graph with its estimates.
struct Made {
    graph: JoinGraph,
    rows: ProductRows,
    written: JoinTree,
}

impl Made {
    fn problem(&self, budget: u64) -> Problem<'_> {
        Problem {
            graph: &self.graph,
            cardinalities: &self.rows,
            cost: &Cout,
            written: &self.written,
            budget,
        }
    }

    fn solve(&self, search: &dyn Enumerator, budget: u64) -> Solution {
        search.search(&self.problem(budget))
    }
}

impl Shape {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn edges(self, n: usize, random: &mut Random) -> Vec<(usize, usize)> {
        let tree = |random: &mut Random| (1..n).map(|i| (random.below(i), i)).collect::<Vec<_>>();
        match self {
            Self::Tree => tree(random),
            Self::Chain => (1..n).map(|i| (i - 1, i)).collect(),
            Self::Cycle => (0..n).map(|i| (i, (i + 1) % n)).collect(),
            Self::Star => (1..n).map(|i| (0, i)).collect(),
            Self::Grid => {
                let width = (n as f64).sqrt().round() as usize;
                let right = (1..n).filter(|i| i % width != 0).map(|i| (i - 1, i));
                right.chain((width..n).map(|i| (i - width, i))).collect()
            }
            Self::Snowflake => {
                let dimensions = (n / 4).max(1);
                (1..n).map(|i| (i.saturating_sub(dimensions), i)).collect()
            }
            Self::Sparse => {
                let mut edges = tree(random);
                edges.extend((0..n / 10).map(|_| (random.below(n), random.below(n))));
                edges.retain(|(a, b)| a != b);
                edges
            }
        }
    }

    /// Relations of 10 to 100,000 rows, uniform in their logarithm, and selectivities a tenth to ten times of those by
    /// which large joins neither vanish nor explode on average. (Were every join to reduce rows, all searches would
    /// find the same plans.)
    fn make(self, n: usize, seed: u64) -> Made {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9) ^ n as u64);
        let edges = self.edges(n, &mut random);
        let rows: Vec<f64> = (0..n)
            .map(|_| 10_f64.powf(1.0 + 4.0 * random.unit()))
            .collect();
        let share = n as f64 / (2.0 * edges.len() as f64);
        let selectivities: Vec<(usize, usize, f64)> = edges
            .iter()
            .map(|(a, b)| {
                let balanced = (rows[*a] * rows[*b]).powf(-share);
                (*a, *b, balanced * 10_f64.powf(2.0 * random.unit() - 1.0))
            })
            .collect();
        Made {
            graph: JoinGraph::new(
                n,
                edges.into_iter().map(|(a, b)| (a, b, EdgeKind::Equality)),
            ),
            rows: ProductRows::new(rows, selectivities),
            written: in_order(n),
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What each search's tree costs, over the cheapest that any of them or an exact search of a million pairs finds.
fn quality() {
    let quickpick = QuickPick {
        trees: 1_000,
        seed: 42,
    };
    let searches: [(&dyn Enumerator, u64); 7] = [
        (&Adaptive, BUDGET),
        (&GooDp, BUDGET),
        (&LinDp, 2_000_000),
        (&Goo, BUDGET),
        (&IkkBz, BUDGET),
        (&SimpliOrder, BUDGET),
        (&quickpick, BUDGET),
    ];
    println!("Cost over the best known, p50 / p95 / max, and the time of `adaptive`.");
    print!("{:22}", "graphs");
    for (search, _) in searches {
        print!(" {:>20}", search.name());
    }
    println!(" {:>10} {:>6}", "ms", "exact");
    let shapes = [
        Shape::Tree,
        Shape::Chain,
        Shape::Cycle,
        Shape::Grid,
        Shape::Snowflake,
        Shape::Star,
        Shape::Sparse,
    ];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = |name: String| arguments.contains(&name);
    let all_shapes = !shapes.iter().any(|shape| named(shape.name()));
    let sizes = [20, 50, 100, 200, 500, 1_000];
    let all_sizes = !sizes.iter().any(|size| named(size.to_string()));
    for shape in shapes.into_iter().filter(|s| all_shapes || named(s.name())) {
        for relations in sizes
            .into_iter()
            .filter(|s| all_sizes || named(s.to_string()))
        {
            let seeds = if relations > 200 { 10 } else { 20 };
            let mut ratios = vec![vec![]; searches.len()];
            let mut time = Duration::MAX;
            let mut exact = 0;
            for seed in 0..seeds {
                let made = shape.make(relations, seed);
                let mut costs: Vec<f64> = vec![];
                for (at, (search, budget)) in searches.iter().enumerate() {
                    let start = Instant::now();
                    costs.push(made.solve(*search, *budget).cost);
                    if at == 0 {
                        time = time.min(start.elapsed());
                    }
                }
                let mut best = costs.iter().copied().fold(f64::INFINITY, f64::min);
                let by_dp = made.solve(&DpCcp, 1_000_000);
                if by_dp.stop == StopReason::Exact {
                    exact += 1;
                    best = best.min(by_dp.cost);
                }
                for (ratios, cost) in ratios.iter_mut().zip(costs) {
                    ratios.push(cost / best);
                }
            }
            print!("{:22}", format!("{shape:?} {relations} ({seeds})"));
            for ratios in &mut ratios {
                ratios.sort_by(f64::total_cmp);
                let at = |share: f64| ratios[(ratios.len() as f64 * share).ceil() as usize - 1];
                print!(
                    " {:>20}",
                    format!("{:.3}/{:.3}/{:.3}", at(0.5), at(0.95), at(1.0))
                );
            }
            println!(" {:>10.3} {:>6}", time.as_secs_f64() * 1e3, exact);
        }
    }
}
