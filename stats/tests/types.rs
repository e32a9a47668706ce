//! What both passes find in columns of every type, and in files of every odd shape.

mod common;

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use bytes::Bytes;
use common::{batch, list, memory_store, parquet, parquet_with, put, scan};
use joinwright_stats::{AnalyzeOptions, Catalog, ColumnStats, StatsError, Value};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

/// Scans a one-column table and returns the column.
async fn column(array: impl Array + 'static) -> ColumnStats {
    let file = parquet(&batch(vec![("c", Arc::new(array))]));
    let stats = scan(&[file]).await.unwrap();
    assert!(stats.analyzed);
    stats.columns[0].clone()
}

fn int(value: i128) -> Option<Value> {
    Some(Value::Int(value))
}

fn bytes(value: &str) -> Option<Value> {
    Some(Value::Bytes(value.into()))
}

/// Checks nulls, the two bounds, NDV (these small counts are exact), and the width.
async fn check(
    array: impl Array + 'static,
    nulls: u64,
    bounds: [Option<Value>; 2],
    ndv: f64,
    width: f64,
) {
    let name = array.data_type().to_string();
    let column = column(array).await;
    assert_eq!(column.null_count, Some(nulls), "nulls of {name}");
    let [min, max] = bounds;
    assert_eq!(
        (column.min_exact, column.max_exact),
        (min.is_some(), max.is_some()),
        "{name}"
    );
    assert_eq!((column.min, column.max), (min, max), "bounds of {name}");
    assert_eq!(column.ndv, Some(ndv), "NDV of {name}");
    assert_eq!(column.byte_width, Some(width), "width of {name}");
}

#[tokio::test]
async fn integers() {
    let values = vec![Some(3), None, Some(-7), Some(3)];
    check(
        Int8Array::from_iter(values.iter().map(|v| v.map(|v: i32| v as i8))),
        1,
        [int(-7), int(3)],
        2.0,
        1.0,
    )
    .await;
    check(Int32Array::from(values), 1, [int(-7), int(3)], 2.0, 4.0).await;
    check(
        Int64Array::from(vec![i64::MIN, i64::MAX]),
        0,
        [int(i64::MIN.into()), int(i64::MAX.into())],
        2.0,
        8.0,
    )
    .await;
    check(
        UInt8Array::from(vec![0, 255]),
        0,
        [int(0), int(255)],
        2.0,
        1.0,
    )
    .await;
    check(
        UInt32Array::from(vec![1, u32::MAX]),
        0,
        [int(1), int(u32::MAX.into())],
        2.0,
        4.0,
    )
    .await;
    check(
        UInt64Array::from(vec![1, u64::MAX]),
        0,
        [int(1), int(u64::MAX.into())],
        2.0,
        8.0,
    )
    .await;
}

#[tokio::test]
async fn booleans_and_nulls() {
    let bools = |values: Vec<Option<bool>>| BooleanArray::from(values);
    let bounds = [Some(Value::Bool(false)), Some(Value::Bool(true))];
    check(
        bools(vec![Some(true), None, Some(false)]),
        1,
        bounds,
        2.0,
        0.5,
    )
    .await;
    let only = Some(Value::Bool(true));
    check(
        bools(vec![Some(true); 8]),
        0,
        [only.clone(), only],
        1.0,
        0.125,
    )
    .await;
    let column = column(NullArray::new(3)).await;
    assert_eq!((column.null_count, column.ndv), (Some(3), Some(0.0)));
    assert_eq!((column.min, column.max), (None, None));
}

#[tokio::test]
async fn floats_count_signed_zeros_and_nans_once() {
    let float = |value| Some(Value::Float(value));
    let values = [0.0, -0.0, 1.5, f64::NAN, -f64::NAN, f64::INFINITY];
    let array = Float64Array::from_iter_values(values);
    check(array, 0, [float(-0.0), float(f64::INFINITY)], 4.0, 8.0).await;
    let array = Float32Array::from_iter_values(values.map(|v| v as f32));
    check(array, 0, [float(-0.0), float(f64::INFINITY)], 4.0, 4.0).await;
    let halves = values.map(<Float16Type as ArrowPrimitiveType>::Native::from_f64);
    let array = Float16Array::from_iter_values(halves);
    check(array, 0, [float(-0.0), float(f64::INFINITY)], 4.0, 2.0).await;
    let column = column(Float64Array::from(vec![f64::NAN; 3])).await;
    assert_eq!((column.min, column.max), (None, None));
    assert_eq!(column.ndv, Some(1.0));
}

#[tokio::test]
async fn decimals_of_every_width() {
    let decimal = |unscaled| Some(Value::Decimal { unscaled, scale: 2 });
    let bounds = || [decimal(-150), decimal(9999)];
    let array = Decimal32Array::from(vec![-150, 9999]);
    check(
        array.with_precision_and_scale(9, 2).unwrap(),
        0,
        bounds(),
        2.0,
        4.0,
    )
    .await;
    let array = Decimal64Array::from(vec![-150, 9999]);
    check(
        array.with_precision_and_scale(15, 2).unwrap(),
        0,
        bounds(),
        2.0,
        8.0,
    )
    .await;
    let array = Decimal128Array::from(vec![-150, 9999]);
    check(
        array.with_precision_and_scale(38, 2).unwrap(),
        0,
        bounds(),
        2.0,
        16.0,
    )
    .await;
    let array = Decimal256Array::from(vec![i256::from(-150), i256::from(9999)]);
    check(
        array.with_precision_and_scale(76, 2).unwrap(),
        0,
        bounds(),
        2.0,
        32.0,
    )
    .await;
    let huge = i256::from(10).wrapping_pow(60);
    let array = Decimal256Array::from(vec![i256::from(-150), huge]);
    let array = array.with_precision_and_scale(76, 2).unwrap();
    check(array, 0, [decimal(-150), None], 2.0, 32.0).await;
}

#[tokio::test]
async fn dates_and_times() {
    check(
        Date32Array::from(vec![-1, 20_000]),
        0,
        [int(-1), int(20_000)],
        2.0,
        4.0,
    )
    .await;
    let days = Date64Array::from(vec![0, 86_400_000]);
    check(days, 0, [int(0), int(86_400_000)], 2.0, 8.0).await;
    check(
        Time32SecondArray::from(vec![1, 2]),
        0,
        [int(1), int(2)],
        2.0,
        4.0,
    )
    .await;
    check(
        Time32MillisecondArray::from(vec![1, 2]),
        0,
        [int(1), int(2)],
        2.0,
        4.0,
    )
    .await;
    check(
        Time64MicrosecondArray::from(vec![1, 2]),
        0,
        [int(1), int(2)],
        2.0,
        8.0,
    )
    .await;
    check(
        Time64NanosecondArray::from(vec![1, 2]),
        0,
        [int(1), int(2)],
        2.0,
        8.0,
    )
    .await;
    check(
        TimestampSecondArray::from(vec![-9, 2]),
        0,
        [int(-9), int(2)],
        2.0,
        8.0,
    )
    .await;
    check(
        TimestampMillisecondArray::from(vec![-9, 2]),
        0,
        [int(-9), int(2)],
        2.0,
        8.0,
    )
    .await;
    let zoned = TimestampMicrosecondArray::from(vec![-9, 2]).with_timezone("Europe/Berlin");
    check(zoned, 0, [int(-9), int(2)], 2.0, 8.0).await;
    check(
        TimestampNanosecondArray::from(vec![-9, 2]),
        0,
        [int(-9), int(2)],
        2.0,
        8.0,
    )
    .await;
    check(
        DurationMicrosecondArray::from(vec![1, 2]),
        0,
        [int(1), int(2)],
        2.0,
        8.0,
    )
    .await;
    check(
        IntervalYearMonthArray::from(vec![1, 1, 2]),
        0,
        [None, None],
        2.0,
        4.0,
    )
    .await;
    let days = vec![IntervalDayTime::new(1, 2), IntervalDayTime::new(2, 1)];
    check(IntervalDayTimeArray::from(days), 0, [None, None], 2.0, 8.0).await;
}

#[tokio::test]
async fn strings_and_binary_of_every_layout() {
    let values = vec![Some("b"), None, Some(""), Some("größe"), Some("b")];
    let bounds = || [bytes(""), bytes("größe")];
    check(StringArray::from(values.clone()), 1, bounds(), 3.0, 2.25).await;
    check(
        LargeStringArray::from(values.clone()),
        1,
        bounds(),
        3.0,
        2.25,
    )
    .await;
    check(
        StringViewArray::from(values.clone()),
        1,
        bounds(),
        3.0,
        2.25,
    )
    .await;
    let binary = || values.iter().map(|v| v.map(str::as_bytes));
    check(BinaryArray::from_iter(binary()), 1, bounds(), 3.0, 2.25).await;
    check(
        LargeBinaryArray::from_iter(binary()),
        1,
        bounds(),
        3.0,
        2.25,
    )
    .await;
    check(BinaryViewArray::from_iter(binary()), 1, bounds(), 3.0, 2.25).await;
    let fixed = FixedSizeBinaryArray::try_from_iter(["ab", "cd", "ab"].iter()).unwrap();
    check(fixed, 0, [bytes("ab"), bytes("cd")], 2.0, 2.0).await;
    let dictionary: DictionaryArray<Int16Type> = values.into_iter().collect();
    check(dictionary, 1, bounds(), 3.0, 2.25).await;
    let keys = Int8Array::from(vec![Some(1), None, Some(1)]);
    let numbers = Arc::new(Int64Array::from(vec![5, 6]));
    let dictionary = DictionaryArray::new(keys, numbers);
    check(dictionary, 1, [int(6), int(6)], 1.0, 8.0).await;
}

#[tokio::test]
async fn long_strings_have_truncated_bounds() {
    let text = "x".repeat(1000);
    let column = column(StringArray::from(vec![text.as_str()])).await;
    let (Some(Value::Bytes(min)), Some(Value::Bytes(max))) = (column.min, column.max) else {
        panic!("no bounds");
    };
    assert!(min.as_slice() < text.as_bytes() && max.as_slice() > text.as_bytes());
    assert_eq!((column.min_exact, column.max_exact), (false, false));
    assert_eq!(column.byte_width, Some(1000.0));
}

#[tokio::test]
async fn nested_columns_have_null_counts_alone() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        None,
    ]);
    let numbers = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), None])) as ArrayRef;
    let field = Arc::new(Field::new("a", DataType::Int32, true));
    let nulls = Some(vec![true, true, true, false].into());
    let fields: Fields = vec![field].into();
    let record = StructArray::new(fields.clone(), vec![numbers.clone()], nulls);
    let required = StructArray::new(fields.clone(), vec![numbers.clone()], None);
    let schema = Schema::new(vec![
        Field::new("list", list.data_type().clone(), true),
        Field::new("record", DataType::Struct(fields.clone()), true),
        Field::new("required", DataType::Struct(fields), false),
        Field::new("flat", DataType::Int32, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(list),
        Arc::new(record),
        Arc::new(required),
        numbers,
    ];
    let table = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let stats = scan(&[parquet(&table)]).await.unwrap();
    for (name, nulls) in [("list", 2), ("record", 1), ("required", 0)] {
        let expected = ColumnStats {
            name: name.to_owned(),
            null_count: Some(nulls),
            ..ColumnStats::default()
        };
        assert_eq!(stats.column(name), Some(&expected));
    }
    let flat = stats.column("flat").unwrap();
    assert_eq!((flat.null_count, flat.ndv), (Some(2), Some(2.0)));
    assert_eq!(flat.max, int(3));
}

#[tokio::test]
async fn all_null_row_groups_do_not_blur_bounds() {
    let groups = [
        vec![None, None],
        vec![Some(4), None],
        vec![Some(2), Some(9)],
    ];
    let groups = groups.map(|values| batch(vec![("c", Arc::new(Int32Array::from(values)))]));
    let file = parquet_with(&groups, WriterProperties::default());
    let stats = scan(&[file]).await.unwrap();
    let column = stats.column("c").unwrap();
    assert_eq!((&column.min, &column.max), (&int(2), &int(9)));
    assert_eq!(column.null_count, Some(3));
    let nulls = self::column(Int32Array::from(vec![None::<i32>; 5])).await;
    assert_eq!(
        (nulls.null_count, nulls.min, nulls.ndv),
        (Some(5), None, Some(0.0))
    );
}

#[tokio::test]
async fn files_without_statistics_are_counted_by_the_scan() {
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let table = batch(vec![(
        "c",
        Arc::new(Int32Array::from(vec![Some(1), None, Some(2)])),
    )]);
    let stats = scan(&[parquet_with(&[table], properties)]).await.unwrap();
    let column = stats.column("c").unwrap();
    assert_eq!((&column.min, column.min_exact), (&int(1), true));
    assert_eq!((&column.max, column.max_exact), (&int(2), true));
    assert_eq!(column.null_count, Some(1));
    assert_eq!(column.ndv, Some(2.0));
}

#[tokio::test]
async fn empty_files_are_tables_of_no_rows() {
    let none = batch(vec![("c", Arc::new(StringArray::from(Vec::<&str>::new())))]);
    let stats = scan(&[parquet(&none)]).await.unwrap();
    assert_eq!((stats.rows, stats.files, stats.analyzed), (0, 1, true));
    let column = stats.column("c").unwrap();
    assert_eq!((column.null_count, column.ndv), (Some(0), Some(0.0)));
    assert_eq!((&column.min, column.byte_width), (&None, None));
    // An empty file beside a full one changes nothing.
    let some = batch(vec![("c", Arc::new(StringArray::from(vec!["a"])))]);
    let stats = scan(&[parquet(&none), parquet(&some)]).await.unwrap();
    assert_eq!(stats.column("c").unwrap().max, bytes("a"));
}

#[tokio::test]
async fn schemas_may_evolve() {
    let narrow = batch(vec![
        ("id", Arc::new(Int32Array::from_iter_values(0..1000))),
        ("odd", Arc::new(Int32Array::from(vec![1; 1000]))),
    ]);
    let wide = batch(vec![
        ("note", Arc::new(StringViewArray::from(vec!["x"; 500]))),
        ("id", Arc::new(Int64Array::from_iter_values(500..1000))),
        ("odd", Arc::new(StringArray::from(vec!["1"; 500]))),
    ]);
    let stats = scan(&[parquet(&narrow), parquet(&wide)]).await.unwrap();
    let names: Vec<_> = stats.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((stats.rows, names), (1500, vec!["id", "odd", "note"]));
    let id = stats.column("id").unwrap();
    assert_eq!((&id.min, &id.max), (&int(0), &int(999)));
    // The same keys in 32 and in 64 bits are the same keys.
    assert!((970.0..=1000.0).contains(&id.ndv.unwrap()), "{:?}", id.ndv);
    assert_eq!(stats.column("note").unwrap().null_count, Some(1000));
    // Numbers in one file and strings in the other have no common bound.
    let odd = stats.column("odd").unwrap();
    assert_eq!((&odd.min, &odd.max, odd.ndv), (&None, &None, None));
}

#[tokio::test]
async fn wide_tables_and_many_row_groups() {
    let column = |i: i32| Arc::new(Int32Array::from(vec![i, i + 1])) as ArrayRef;
    let names: Vec<_> = (0..2000).map(|i| format!("c{i}")).collect();
    let columns = names
        .iter()
        .zip(0..)
        .map(|(name, i)| (name.as_str(), column(i)));
    let wide = batch(columns.collect());
    let file = parquet_with(&[wide.clone(), wide], WriterProperties::default());
    let stats = scan(&[file]).await.unwrap();
    assert_eq!((stats.rows, stats.columns.len()), (4, 2000));
    for (column, i) in stats.columns.iter().zip(0..) {
        assert_eq!((&column.min, &column.max), (&int(i), &int(i + 1)));
        assert_eq!(column.ndv, Some(2.0));
    }
}

#[tokio::test]
async fn large_strings_are_read_a_few_at_a_time() {
    let text = |i: usize| format!("{i}").repeat(1 << 18);
    let strings: Vec<_> = (1..30).map(text).collect();
    let table = batch(vec![("c", Arc::new(StringArray::from(strings.clone())))]);
    let stats = scan(&[parquet(&table)]).await.unwrap();
    let column = stats.column("c").unwrap();
    assert_eq!(column.ndv, Some(29.0));
    let mean = strings.iter().map(|s| s.len() as f64).sum::<f64>() / 29.0;
    assert_eq!(column.byte_width, Some(mean));
}

#[tokio::test]
async fn distinct_values_within_three_percent() {
    let n = 200_000;
    let table = batch(vec![
        (
            "unique",
            Arc::new(Int64Array::from_iter_values((0..n).map(|i| i * 7919))),
        ),
        (
            "tenth",
            Arc::new(Int64Array::from_iter_values((0..n).map(|i| i % 20_000))),
        ),
        (
            "text",
            Arc::new(StringArray::from_iter_values(
                (0..n).map(|i| format!("v{}", i % 50_000)),
            )),
        ),
        (
            "float",
            Arc::new(Float64Array::from_iter_values(
                (0..n).map(|i| (i % 3000) as f64 / 7.0),
            )),
        ),
        (
            "flag",
            Arc::new(StringArray::from_iter_values(
                (0..n).map(|i| ["A", "N", "R"][i as usize % 3]),
            )),
        ),
    ]);
    let stats = scan(&[parquet(&table)]).await.unwrap();
    for (name, truth) in [
        ("unique", 200_000.0),
        ("tenth", 20_000.0),
        ("text", 50_000.0),
        ("float", 3000.0),
        ("flag", 3.0),
    ] {
        let ndv = stats.column(name).unwrap().ndv.unwrap();
        assert!(
            (ndv / truth - 1.0).abs() < 0.03,
            "{name}: {ndv} for {truth}"
        );
    }
    assert!(stats.column("unique").unwrap().ndv.unwrap() <= n as f64);
}

/// Every damage is an error that names the file, or harmless; never a panic.
#[tokio::test]
async fn damaged_files_are_errors_that_name_them() {
    let table = batch(vec![
        (
            "c",
            Arc::new(StringArray::from_iter_values(
                (0..500).map(|i| format!("value {i}")),
            )),
        ),
        ("d", Arc::new(Int64Array::from_iter_values(0..500))),
    ]);
    let whole = parquet(&table);
    let named = |error: &StatsError| error.to_string().contains("memory://test/t/0.parquet");
    for length in [0, 3, 8, 12, whole.len() / 2, whole.len() - 1] {
        let error = scan(&[whole.slice(..length)]).await.unwrap_err();
        assert!(named(&error), "{error}");
        assert!(matches!(error, StatsError::Parquet { .. }), "{error:?}");
    }
    // The footer is whole, the data before it is not.
    let error = scan(&[whole.slice(whole.len() / 3..)]).await.unwrap_err();
    assert!(named(&error), "{error}");
    for position in (0..whole.len()).step_by(13) {
        let mut damaged = whole.to_vec();
        damaged[position] ^= 0x55;
        if let Err(error) = scan(&[Bytes::from(damaged)]).await {
            assert!(named(&error), "{error}");
        }
    }
}

/// Every type at once, through all that is read on demand.
#[tokio::test]
async fn details_of_every_type() {
    let rows = 1000i64;
    let ints = || Int64Array::from_iter((0..rows).map(|i| (i % 9 != 0).then_some(i % 100)));
    let to = |data_type: DataType| arrow::compute::cast(&ints(), &data_type).unwrap();
    let text = |i: i64| format!("value {}", i % 100);
    let floats =
        (0..rows).map(|i| [f64::NAN, 0.0, -0.0, f64::NEG_INFINITY, i as f64][(i % 5) as usize]);
    let texts = || StringArray::from_iter((0..rows).map(|i| (i % 9 != 0).then(|| text(i))));
    let days =
        Int64Array::from_iter((0..rows).map(|i| (i % 9 != 0).then_some(i % 100 * 86_400_000)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "bool",
            Arc::new(BooleanArray::from_iter((0..rows).map(|i| Some(i % 3 == 0)))),
        ),
        ("i8", to(DataType::Int8)),
        ("u64", to(DataType::UInt64)),
        ("f16", to(DataType::Float16)),
        ("f64", Arc::new(Float64Array::from_iter_values(floats))),
        ("d32", to(DataType::Decimal32(9, 2))),
        ("d64", to(DataType::Decimal64(15, 2))),
        ("d128", to(DataType::Decimal128(30, 2))),
        ("d256", to(DataType::Decimal256(60, 2))),
        (
            "date32",
            arrow::compute::cast(&to(DataType::Int32), &DataType::Date32).unwrap(),
        ),
        (
            "date64",
            arrow::compute::cast(&days, &DataType::Date64).unwrap(),
        ),
        (
            "time32",
            arrow::compute::cast(&to(DataType::Int32), &DataType::Time32(TimeUnit::Second))
                .unwrap(),
        ),
        ("time64", to(DataType::Time64(TimeUnit::Nanosecond))),
        (
            "zoned",
            to(DataType::Timestamp(
                TimeUnit::Millisecond,
                Some("+02:00".into()),
            )),
        ),
        ("duration", to(DataType::Duration(TimeUnit::Microsecond))),
        ("utf8", Arc::new(texts())),
        (
            "large",
            arrow::compute::cast(&texts(), &DataType::LargeUtf8).unwrap(),
        ),
        (
            "view",
            arrow::compute::cast(&texts(), &DataType::Utf8View).unwrap(),
        ),
        (
            "binary",
            arrow::compute::cast(&texts(), &DataType::Binary).unwrap(),
        ),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_iter((0..rows).map(|i| [(i % 100) as u8, 7]))
                    .unwrap(),
            ),
        ),
        (
            "dictionary",
            arrow::compute::cast(
                &texts(),
                &DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Utf8)),
            )
            .unwrap(),
        ),
        ("null", Arc::new(NullArray::new(rows as usize))),
    ];
    let names: Vec<&str> = columns.iter().map(|column| column.0).collect();
    let keys = names
        .iter()
        .map(|name| ("t".to_owned(), (*name).to_owned()));
    let options = AnalyzeOptions {
        keys: keys.collect(),
        ..AnalyzeOptions::default()
    };
    // Small, of middling size, and large.
    for copies in [1, 40, 300] {
        let one = batch(columns.clone());
        let many: Vec<_> = std::iter::repeat_n(one, copies).collect();
        let store = memory_store();
        put(
            &store,
            "t/x.parquet",
            parquet_with(
                &[arrow::compute::concat_batches(&many[0].schema(), &many).unwrap()],
                WriterProperties::default(),
            ),
        )
        .await;
        let catalog = Catalog::in_memory();
        catalog
            .analyze_with("t", &store, &list(&store, "t").await, &options, &())
            .await
            .unwrap();
        let snapshot = catalog.snapshot();
        let location = ["memory://test/t/".to_owned()];
        let (stats, details) = (
            snapshot.table(&location).unwrap(),
            snapshot.details(&location),
        );
        let sample = details.sample().unwrap();
        assert_eq!(
            sample.batch.num_columns(),
            names.len() - 1,
            "all but the null column"
        );
        for name in &names {
            let column = stats.column(name).unwrap();
            let distribution = details.distribution(name).unwrap();
            let values = (stats.rows - column.null_count.unwrap()) as f64;
            let ordered = values * if *name == "f64" { 0.8 } else { 1.0 };
            assert!(
                (distribution.histogram.rows() - ordered).abs() <= 0.01 * values + 1.0,
                "{name} {}",
                distribution.histogram.rows()
            );
            let counted: u64 = distribution
                .common
                .entries
                .iter()
                .map(|entry| entry.count)
                .sum();
            assert!(
                distribution.common.entries.len() >= 2 || *name == "null",
                "{name}"
            );
            assert!(counted as f64 <= values, "{name}");
            if column.ndv.unwrap() <= 100.0 && *name != "null" {
                assert_eq!(counted as f64, values, "{name}");
                assert!(
                    distribution
                        .common
                        .entries
                        .iter()
                        .all(|entry| entry.value.is_some() || *name == "f64"),
                    "{name}"
                );
                let degrees = details.degrees(name).unwrap();
                assert_eq!(
                    (degrees.rows as f64, degrees.exact),
                    (values, true),
                    "{name}"
                );
            }
            if copies < 300 && *name != "null" {
                assert_eq!(
                    details.key_rows(name).unwrap().batch.num_rows() as f64,
                    values,
                    "{name}"
                );
            }
        }
    }
}

#[tokio::test]
async fn two_thousand_columns() {
    let array: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2), None]));
    let names: Vec<_> = (0..2000).map(|i| format!("column_{i}_id")).collect();
    let wide = batch(
        names
            .iter()
            .map(|name| (name.as_str(), Arc::clone(&array)))
            .collect(),
    );
    let stats = scan(&[parquet(&wide), parquet(&wide)]).await.unwrap();
    assert_eq!(stats.columns.len(), 2000);
    assert!(
        stats
            .columns
            .iter()
            .all(|column| column.ndv == Some(2.0) && column.null_count == Some(2))
    );
}

#[tokio::test]
async fn rows_of_megabytes() {
    let texts: StringArray = (0..40)
        .map(|i| Some(format!("{i}").repeat(1 << 20)))
        .collect();
    let ids = Int32Array::from_iter_values(0..40);
    let rows = batch(vec![
        ("text", Arc::new(texts) as ArrayRef),
        ("id", Arc::new(ids)),
    ]);
    let store = memory_store();
    put(&store, "t/x.parquet", parquet(&rows)).await;
    let catalog = Catalog::in_memory();
    catalog
        .analyze("t", &store, &list(&store, "t").await)
        .await
        .unwrap();
    let snapshot = catalog.snapshot();
    let location = ["memory://test/t/".to_owned()];
    assert_eq!(
        snapshot
            .table(&location)
            .unwrap()
            .column("text")
            .unwrap()
            .ndv,
        Some(40.0)
    );
    let details = snapshot.details(&location);
    // Too wide to be kept; what is beside it is.
    let sample = details.sample().unwrap();
    assert_eq!(
        sample
            .batch
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect::<Vec<_>>(),
        ["id"]
    );
    let common = &details.distribution("text").unwrap().common;
    assert!(common.entries.len() == 40 && common.entries.iter().all(|entry| entry.value.is_none()));
    assert!(snapshot.sizes().1 < 100_000);
}
