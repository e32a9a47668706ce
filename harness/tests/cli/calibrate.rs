//! `calibrate`: small measurements, and an arm that uses them.

use std::fs;

use serde_json::Value;

use crate::joinwright;
use crate::tiny::Tiny;

#[test]
fn measured_constants_serve_as_an_arm() {
    let tiny = Tiny::write();
    let arguments = [
        "calibrate",
        "--out",
        "my machine",
        "--rows",
        "4000",
        "--runs",
        "1",
    ];
    let said = joinwright(tiny.folder(), &arguments).ok();
    assert!(
        said.contains("hash_join.build_row") && said.contains("scan.switch"),
        "{said}"
    );

    let folder = tiny.folder().join("my machine");
    let text = fs::read_to_string(folder.join("constants.json")).unwrap();
    let calibration: Value = serde_json::from_str(&text).unwrap();
    for (model, table) in [("joins", "joins.csv"), ("scans", "scans.csv")] {
        let rows = csv::Reader::from_path(folder.join(table))
            .unwrap()
            .into_records()
            .count();
        assert!(rows > 50, "{table} has {rows} rows");
        assert_eq!(calibration[model]["samples"], rows);
        // Whatever the noise of a single run, a factor is at least one, and few are not.
        assert!(calibration[model]["median"].as_f64().unwrap() >= 1.0);
    }
    for (_, constants) in calibration["constants"].as_object().unwrap() {
        for (name, value) in constants.as_object().unwrap() {
            assert!(value.as_f64().unwrap() >= 0.0, "{name} is {value}");
        }
    }

    let arm = "cost=hashjoin,constants=my machine/constants.json";
    let arguments = [
        "bench",
        "tiny suite",
        "--runs",
        "1",
        "--arm",
        "default",
        "--arm",
        arm,
    ];
    let said = joinwright(tiny.folder(), &arguments).ok();
    assert!(!said.contains("wrong"), "{said}");
}
