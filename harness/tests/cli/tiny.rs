//! A suite small enough to write in a moment: four tables whose keys meet, in a folder with a space in its name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

/// Rows of each table, by name, sorted.
pub(crate) const TABLES: [(&str, usize); 4] = [
    ("customer", 50),
    ("item", 1200),
    ("orders", 400),
    ("product", 20),
];

/// The queries of the suite with the number of rows each returns.
pub(crate) const QUERIES: [(&str, &str, usize); 4] = [
    (
        "q1",
        "SELECT c.city, count(*) AS items, sum(i.amount) AS amount
         FROM customer c, orders o, item i
         WHERE c.id = o.customer_id AND o.id = i.order_id
         GROUP BY c.city ORDER BY c.city;",
        5,
    ),
    (
        "q2",
        "SELECT min(c.name) AS name, min(p.name) AS product, count(*) AS n
         FROM product AS p, item AS i, orders AS o, customer AS c
         WHERE p.kind = 'kind 1' AND c.city = 'city 2'
           AND i.product_id = p.id AND i.order_id = o.id AND o.customer_id = c.id;",
        1,
    ),
    (
        "q10",
        "SELECT a.id, b.id AS other FROM orders a JOIN orders b ON a.customer_id = b.customer_id
         JOIN customer c ON c.id = a.customer_id WHERE c.city = 'city 0' AND a.total < b.total",
        280,
    ),
    (
        "q11",
        "SELECT p.name FROM product p
         WHERE EXISTS (SELECT * FROM item i, orders o WHERE i.order_id = o.id AND i.product_id = p.id AND o.total > 300)
         ORDER BY p.name LIMIT 3;",
        3,
    ),
];

/// A folder with the suite in `tiny suite`; programs run in it, so that all they leave goes with it.
pub(crate) struct Tiny {
    folder: TempDir,
}

impl Tiny {
    pub(crate) fn write() -> Self {
        let tiny = Self {
            folder: TempDir::new().unwrap(),
        };
        let (data, queries) = (tiny.data(), tiny.suite().join("my queries"));
        fs::create_dir_all(data.join("orders")).unwrap();
        fs::create_dir(&queries).unwrap();
        for (name, sql, _) in QUERIES {
            fs::write(queries.join(format!("{name}.sql")), sql).unwrap();
        }
        fs::write(
            tiny.suite().join("suite.toml"),
            "name = \"tiny\"\ndata = \"my data\"\nqueries = \"my queries\"\n\
             [keys.customer]\nprimary = [\"id\"]\n\
             [keys.orders]\nprimary = [\"id\"]\nforeign = { customer_id = \"customer.id\" }\n",
        )
        .unwrap();
        write_parquet(&data.join("customer.parquet"), customers());
        write_parquet(&data.join("product.parquet"), products());
        write_parquet(&data.join("item.parquet"), items());
        // One table of two files.
        write_parquet(&data.join("orders/part 1.parquet"), orders(0..250));
        write_parquet(&data.join("orders/part 2.parquet"), orders(250..400));
        tiny
    }

    /// The folder that programs run in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn suite(&self) -> PathBuf {
        self.folder.path().join("tiny suite")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.suite().join("my data")
    }
}

fn customers() -> RecordBatch {
    batch(vec![
        ("id", ints(0..50)),
        ("name", texts((0..50).map(|i| format!("customer {i:02}")))),
        ("city", texts((0..50).map(|i| format!("city {}", i % 5)))),
    ])
}

fn products() -> RecordBatch {
    let prices = (0..20).map(|i| Some(i * 100 + 99));
    let prices = Decimal128Array::from_iter(prices).with_precision_and_scale(10, 2);
    batch(vec![
        ("id", ints(0..20)),
        ("name", texts((0..20).map(|i| format!("product {i:02}")))),
        ("kind", texts((0..20).map(|i| format!("kind {}", i % 4)))),
        ("price", Arc::new(prices.unwrap())),
    ])
}

/// Every customer has 8 orders, but each tenth order lost its customer.
fn orders(ids: std::ops::Range<i64>) -> RecordBatch {
    let customers = ids.clone().map(|i| (i % 10 != 9).then_some(i / 8));
    batch(vec![
        ("id", ints(ids.clone())),
        ("customer_id", Arc::new(Int64Array::from_iter(customers))),
        (
            "total",
            Arc::new(Int32Array::from_iter_values(ids.map(|i| i as i32))),
        ),
    ])
}

fn items() -> RecordBatch {
    batch(vec![
        ("order_id", ints((0..1200).map(|i| i * 37 % 401))),
        ("product_id", ints((0..1200).map(|i| i * 7 % 20))),
        (
            "amount",
            Arc::new(Float64Array::from_iter_values(
                (0..1200).map(|i| f64::from(i) / 2.0),
            )),
        ),
    ])
}

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn texts(values: impl IntoIterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn write_parquet(path: &Path, batch: RecordBatch) {
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
