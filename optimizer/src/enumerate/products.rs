//! Cross products where they can pay: two small relations of a star, whose product meets the large one by both keys at
//! once and so never forms what it has in common with either alone.
//!
//! With 10 and 20 of the dimensions left by their filters, and a fact table of a million rows of which each keeps a tenth,
//! the product of 200 rows spares the 100,000 rows of the first join.
//!
//! A product is an edge like others, so that all searches know of it; its price is that of a join without a key. The
//! graph grows by few such edges, as otherwise the dimensions of a star were a clique. Products of more than two
//! relations follow from edges that meet, and a set of relations takes part in a product by any of its relations.

use super::count_pairs;
use crate::estimate::Cardinalities;
use crate::join_graph::{EdgeKind, JoinGraph};
use crate::relset::{MAX_RELATIONS, RelSet};

/// The most rows that a product may be estimated to have.
const MOST_ROWS: f64 = 10_000.0;

/// The graph with edges for products that may pay: of two relations without a predicate between them, whose product has
/// few rows and which share a neighbour by key. There are at most as many as relations, the smallest products.
/// Relations that an operator speaks of take no part: a product could bring them to the wrong side of it. The graph stays
/// as it is where `budget` pairs, as far as plain edges tell, are no longer enough for an exact search: greedy ones would
/// take any small product.
pub fn with_products(graph: JoinGraph, rows: &dyn Cardinalities, budget: u64) -> JoinGraph {
    let n = graph.len();
    if n > MAX_RELATIONS {
        return graph;
    }
    let keyed = |relation: usize| graph.keyed_neighbors(RelSet::single(relation));
    let free: Vec<usize> = graph.all().minus(graph.restricted()).iter().collect();
    let mut products = vec![];
    for (at, b) in free.iter().enumerate() {
        for a in &free[..at] {
            if graph.neighbors(*a).contains(*b) || !keyed(*a).intersects(keyed(*b)) {
                continue;
            }
            let product = rows.rows(RelSet::single(*a)) * rows.rows(RelSet::single(*b));
            if product <= MOST_ROWS {
                products.push((product, *a, *b));
            }
        }
    }
    if products.is_empty() {
        return graph;
    }
    products.sort_by(|x, y| x.0.total_cmp(&y.0).then((x.1, x.2).cmp(&(y.1, y.2))));
    products.truncate(n);
    let edges = products.into_iter();
    let edges = edges.map(|(_, a, b)| (a, b, EdgeKind::Product));
    let more = JoinGraph::new(n, graph.edges().iter().copied().chain(edges))
        .with_predicates(graph.predicates().iter().copied())
        .with_operators(graph.operators().to_vec());
    match count_pairs(&more, budget) {
        Some(_) => more,
        None => graph,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Adaptive, Enumerator, Exhaustive};
    use super::*;
    use crate::conflicts::operators;
    use crate::estimate::ProductRows;
    use crate::join_graph::{JoinKind, Operator};
    use proptest::prelude::*;

    /// A fact table, 0, of a million rows with two dimensions of 10 and 20 rows, each of which keeps that share of it.
    fn fact(keeps: f64) -> ProductRows {
        let edges = [(0, 1, keeps / 10.0), (0, 2, keeps / 20.0)];
        ProductRows::new(vec![1e6, 10.0, 20.0], edges)
    }

    /// The cost of the best tree, and whether 1 and 2 meet in it before 0.
    #[track_caller]
    fn check(graph: JoinGraph, rows: &ProductRows, cost: f64, product: bool) {
        let graph = with_products(graph, rows, 1_000);
        let written = in_order(3);
        let problem = problem(&graph, rows, &written, 1_000);
        let solution = Adaptive.search(&problem);
        assert!((solution.cost - cost).abs() < 1e-6 * cost, "{solution:?}");
        let mut found = false;
        solution.tree.for_each_join(&mut |a, b| {
            found |= a.union(b) == RelSet::from_bits(0b110);
        });
        assert_eq!(found, product, "{solution:?}");
    }

    #[test]
    fn a_product_of_small_dimensions_pays() {
        check(star(3), &fact(0.1), 200.0 + 1e4, true);
        // The first join leaves less than the product would have.
        check(star(3), &fact(1e-4), 100.0 + 0.01, false);
    }

    #[test]
    fn where_there_is_no_product() {
        let by_range = JoinGraph::new(3, [(0, 1, EdgeKind::Equality), (0, 2, EdgeKind::Theta)]);
        assert_eq!(with_products(by_range.clone(), &fact(0.1), 1_000), by_range);
        let large = ProductRows::new(vec![1e6, 1e3, 20.0], [(0, 1, 1e-4), (0, 2, 1e-2)]);
        assert_eq!(with_products(star(3), &large, 1_000), star(3));
        // Three dimensions make a clique of four, of 25 pairs.
        let small = ProductRows::new(vec![1e6, 10.0, 10.0, 10.0], []);
        assert_eq!(with_products(star(4), &small, 24), star(4));
        assert_eq!(with_products(star(4), &small, 25).edges().len(), 6);
    }

    #[test]
    fn no_product_of_what_an_operator_speaks_of() {
        let outer = |left, right| {
            vec![Operator {
                kind: JoinKind::Left,
                relations: [left, right].into_iter().collect(),
                left: RelSet::single(left),
                right: RelSet::single(right),
                keyed: true,
                rules: vec![],
            }]
        };
        let edges = [(0, 1, EdgeKind::Equality), (0, 2, EdgeKind::Equality)];
        let small = ProductRows::new(vec![1e6, 10.0, 10.0, 10.0], []);
        let of_dimension = JoinGraph::new(4, edges).with_operators(outer(1, 3));
        assert_eq!(
            with_products(of_dimension.clone(), &small, 1_000),
            of_dimension
        );
        let of_fact = JoinGraph::new(4, edges).with_operators(outer(0, 3));
        let graph = with_products(of_fact, &small, 1_000);
        let set = |bits| RelSet::from_bits(bits);
        let link = graph.link(set(0b10), set(0b100)).unwrap();
        assert_eq!((link.kind, link.keyed), (JoinKind::Inner, false));
        // Together with a restricted relation there is none.
        let graph = JoinGraph::new(5, [(0, 1, EdgeKind::Product)])
            .with_operators(vec![outer(2, 3).remove(0)]);
        assert!(graph.link(set(0b1), set(0b10)).is_some());
        assert_eq!(graph.link(set(0b101), set(0b10)), None);
    }

    proptest! {
        /// All searches know products: the exact ones find the cheapest tree with them, no dearer than without.
        #[test]
        fn more_trees_are_no_dearer(graph in connected_graph(7), seed: u64) {
            let rows = product(&graph, seed);
            let written = in_order(graph.len());
            let more = with_products(graph.clone(), &rows, u64::MAX);
            let [without, with, every] = [
                (&graph, &Adaptive as &dyn Enumerator),
                (&more, &Adaptive),
                (&more, &Exhaustive),
            ]
            .map(|(graph, search)| {
                let problem = problem(graph, &rows, &written, u64::MAX);
                search.search(&problem).cost
            });
            prop_assert!(with <= without * (1.0 + 1e-9));
            prop_assert!((with - every).abs() <= 1e-9 * every);
        }

        /// The same where operators restrict what may be joined.
        #[test]
        fn conflicts_are_obeyed((n, tree) in operator_tree(8), seed: u64) {
            let graph = JoinGraph::new(n, []).with_operators(operators(&tree));
            let rows = product(&graph, seed);
            let more = with_products(graph, &rows, u64::MAX);
            let products = more.edges().iter().filter(|e| e.2 == EdgeKind::Product);
            for (a, b, _) in products {
                prop_assert!(!more.restricted().contains(*a) && !more.restricted().contains(*b));
            }
        }
    }
}
