//! `import`: published CSV files to a suite that runs.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::joinwright;

/// The files of the Join Order Benchmark in small: ten titles, people, companies.
fn write_job(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let write = |table: &str, line: &dyn Fn(usize) -> String| {
        let lines: String = (1..=10).map(|at| line(at) + "\n").collect();
        fs::write(folder.join(format!("{table}.csv")), lines).unwrap();
    };
    for kind in [
        "comp_cast_type",
        "company_type",
        "info_type",
        "kind_type",
        "link_type",
        "role_type",
    ] {
        write(kind, &|at| format!("{at},kind {at}"));
    }
    write("aka_name", &|at| format!("{at},{at},\"Alias, {at}\",,,,,"));
    write("aka_title", &|at| {
        format!("{at},{at},Title {at},,1,199{},,,,,,", at % 10)
    });
    write("cast_info", &|at| {
        format!(
            "{at},{at},{},{at},\"(voice, \\\"{at}\\\")\",,{at}",
            at % 10 + 1
        )
    });
    write("char_name", &|at| format!("{at},Character {at},,,,,"));
    write("company_name", &|at| format!("{at},Company {at},[us],,,,"));
    write("complete_cast", &|at| format!("{at},{at},1,2"));
    write("keyword", &|at| format!("{at},keyword-{at},K{at}"));
    write("movie_companies", &|at| {
        format!("{at},{at},{at},1,(199{}) (worldwide)", at % 10)
    });
    write("movie_info", &|at| {
        format!("{at},{at},{at},\"line one\nline two\",")
    });
    write("movie_info_idx", &|at| format!("{at},{at},{at},{at}.5,"));
    write("movie_keyword", &|at| format!("{at},{at},{}", at % 3 + 1));
    write("movie_link", &|at| format!("{at},{at},{},1", 11 - at));
    write("name", &|at| format!("{at},\"Surname, Name {at}\",,,m,,,,"));
    write("person_info", &|at| format!("{at},{at},1,info,"));
    write("title", &|at| {
        format!("{at},\"Title \\\\ {at}\",,{at},20{at:02},,,,,,,")
    });
}

const STATS: [(&str, &str, &str); 8] = [
    (
        "users",
        "Id,Reputation,CreationDate,Views,UpVotes,DownVotes",
        "{},1,2010-07-19 06:55:26,5,0,0",
    ),
    (
        "posts",
        "Id,PostTypeId,CreationDate,Score,ViewCount,OwnerUserId,AnswerCount,CommentCount,FavoriteCount,LastEditorUserId",
        "{},1,2010-07-19 19:12:12,3,,{},1,0,,",
    ),
    ("badges", "Id,UserId,Date", "{},{},2010-07-19 19:39:07"),
    (
        "comments",
        "Id,PostId,Score,CreationDate,UserId",
        "{},{},5,2010-07-19 19:15:52,{}",
    ),
    (
        "votes",
        "Id,PostId,VoteTypeId,CreationDate,UserId,BountyAmount",
        "{},{},2,2010-07-19 00:00:00,,",
    ),
    (
        "postHistory",
        "Id,PostHistoryTypeId,PostId,CreationDate,UserId",
        "{},2,{},2010-07-19 19:12:12,{}",
    ),
    (
        "postLinks",
        "Id,CreationDate,PostId,RelatedPostId,LinkTypeId",
        "{},2010-07-21 14:47:33,{},1,1",
    ),
    ("tags", "Id,Count,ExcerptPostId", "{},7,{}"),
];

fn write_stats(folder: &Path, headers: bool) {
    fs::create_dir(folder).unwrap();
    for (table, header, line) in STATS {
        let lines = (1..=20).map(|at| line.replace("{}", &at.to_string()) + "\n");
        let header = if headers {
            format!("{header}\n")
        } else {
            String::new()
        };
        let text = header + &lines.collect::<String>();
        fs::write(folder.join(format!("{table}.csv")), text).unwrap();
    }
}

/// Runs a query over an imported suite, and returns its only row.
#[track_caller]
fn query(folder: &Path, suite: &str, sql: &str) -> Value {
    let data = format!("{suite}/parquet");
    let rows = joinwright(folder, &["sql", &data, "-c", sql, "--format", "json"]).ok();
    serde_json::from_str::<Value>(&rows).unwrap()[0].clone()
}

#[test]
fn job_runs_after_import() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    write_job(&folder.join("csv"));
    let import = ["import", "job", "--csv", "csv", "--out", "my job"];
    let said = joinwright(folder, &import).ok();
    assert!(
        said.contains("cast_info: 10 rows") && !said.contains("no file of"),
        "{said}"
    );
    assert_eq!(
        fs::read_dir(folder.join("my job/parquet")).unwrap().count(),
        21
    );
    let row = query(
        folder,
        "my job",
        "SELECT min(ci.note) AS note, min(t.title) AS title, count(mi.note) AS notes, max(mi.info) AS info, max(t.production_year) AS year
         FROM cast_info ci, title t, movie_info mi WHERE ci.movie_id = t.id AND mi.movie_id = t.id",
    );
    assert_eq!(row["note"], "(voice, \"1\")");
    assert_eq!(row["title"], "Title \\ 1");
    assert_eq!((&row["notes"], &row["year"]), (&0.into(), &2010.into()));
    assert_eq!(row["info"], "line one\nline two");

    // The benchmark runs with queries from elsewhere, and knows its keys.
    fs::create_dir(folder.join("queries")).unwrap();
    let sql = "SELECT MIN(n.name) AS of_person FROM cast_info AS ci, name AS n, title AS t, movie_keyword AS mk, keyword AS k
               WHERE k.keyword = 'keyword-1' AND n.name LIKE '%Name%' AND t.production_year > 2000 AND k.id = mk.keyword_id
               AND t.id = mk.movie_id AND t.id = ci.movie_id AND ci.movie_id = mk.movie_id AND n.id = ci.person_id;";
    fs::write(folder.join("queries/6x.sql"), sql).unwrap();
    let table = joinwright(
        folder,
        &[
            "bench",
            "my job",
            "--queries",
            "queries",
            "--runs",
            "1",
            "--warmup",
            "0",
        ],
    )
    .ok();
    assert!(table.contains("1 query, 1 same"), "{table}");
    let keys = joinwright(folder, &["stats", "my job", "cast_info", "--json"]).ok();
    assert!(keys.contains("person_role_id"), "{keys}");
    // Again, over what is there.
    joinwright(folder, &import).ok();
}

/// The two words that a newcomer types, and NULL as PostgreSQL writes it.
#[test]
fn a_folder_beside_the_files_needs_no_name() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    write_job(&folder.join("imdb"));
    let titles = "1,\\N,,1,2001,,,,,,,\n2,\"\\\\N\",,1,\\N,,,,,,,\n";
    fs::write(folder.join("imdb/title.csv"), titles).unwrap();
    let said = joinwright(folder, &["import", "job", "--csv", "imdb/"]).ok();
    assert!(
        said.contains("suite in imdb-parquet; run it by: joinwright bench imdb-parquet"),
        "{said}"
    );
    let sql = "SELECT count(*) AS n, count(title) AS titles, count(production_year) AS years, max(title) AS title FROM title";
    let row = query(folder, "imdb-parquet", sql);
    assert_eq!([&row["n"], &row["titles"], &row["years"]], [2, 1, 1]);
    assert_eq!(row["title"], "\\N");
    write_stats(&folder.join("csv"), true);
    let said = joinwright(&folder.join("csv"), &["import", "stats", "--csv", "."]).ok();
    assert!(
        said.contains("csv-parquet") && folder.join("csv-parquet/suite.toml").is_file(),
        "{said}"
    );
}

#[test]
fn stats_with_and_without_headers() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    write_stats(&folder.join("with"), true);
    write_stats(&folder.join("without"), false);
    let sql = "SELECT count(*) AS n, max(v.CreationDate) AS last, count(v.UserId) AS users FROM votes AS v, posts AS p, postLinks AS pl
               WHERE v.PostId = p.Id AND pl.PostId = p.Id AND p.CreationDate >= '2010-07-19 00:00:00'::timestamp";
    let mut rows = vec![];
    for csv in ["with", "without"] {
        let out = format!("{csv} suite");
        let said = joinwright(folder, &["import", "stats", "--csv", csv, "--out", &out]).ok();
        assert!(said.contains("postHistory: 20 rows"), "{said}");
        rows.push(query(folder, &out, sql));
    }
    assert_eq!(rows[0], rows[1]);
    assert_eq!((&rows[0]["n"], &rows[0]["users"]), (&20.into(), &0.into()));
    assert_eq!(rows[0]["last"], "2010-07-19T00:00:00");
}

#[test]
fn a_part_is_imported_and_the_rest_named() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    write_stats(&folder.join("csv"), true);
    for table in ["users", "votes"] {
        fs::remove_file(folder.join(format!("csv/{table}.csv"))).unwrap();
    }
    let said = joinwright(folder, &["import", "stats", "--csv", "csv", "--out", "out"]).ok();
    assert!(said.contains("no file of users, votes"), "{said}");
    let suite = fs::read_to_string(folder.join("out/suite.toml")).unwrap();
    assert!(
        suite.contains("posts.Id") && !suite.contains("users.Id"),
        "{suite}"
    );
}

#[test]
fn bad_files_are_named() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let check = |csv: &str, named: &[&str]| {
        let run = joinwright(folder, &["import", "stats", "--csv", csv, "--out", "out"]);
        assert_eq!(run.status, 2, "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        for named in named {
            assert!(run.stderr.contains(named), "no {named} in {}", run.stderr);
        }
        assert!(!folder.join("out/suite.toml").exists());
    };
    check("nowhere", &["nowhere"]);
    fs::create_dir(folder.join("empty")).unwrap();
    check("empty", &["empty", "postHistory"]);
    write_stats(&folder.join("csv"), true);
    fs::write(
        folder.join("csv/badges.csv"),
        "1,2,2010-07-19 06:55:26\n2,x,2010-07-19 06:55:26\n",
    )
    .unwrap();
    check("csv", &["badges.csv", "line 2", "`x`", "UserId"]);
    // Nothing half-written: tables before it are whole, its own is not there.
    let mut tables: Vec<String> = fs::read_dir(folder.join("out/parquet"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    tables.sort();
    assert_eq!(tables, ["posts.parquet", "users.parquet"]);
}
