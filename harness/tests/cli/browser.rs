//! A report in a browser: it opens without errors, sorts, filters, shows queries, and loads nothing.
//!
//! Chromium is spoken to by its DevTools protocol over two pipes, so nothing but the standard library is needed. Without Chromium
//! the test says so, and passes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::joinwright;
use crate::metrics::{BEST, write_judged_run};
use crate::report::{ODD_NAME, ODD_SQL, embedded, write_run};
use crate::tiny::{QUERIES, Tiny};

/// A busy machine starts a browser slowly.
const PATIENCE: Duration = Duration::from_secs(120);

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut candidates = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|candidate| candidate.is_file())
}

/// A page in a browser of its own.
struct Page {
    browser: Child,
    commands: File,
    messages: Receiver<Value>,
    session: Option<String>,
    next: u64,
    /// Errors of scripts, and what the page asked of a network.
    faults: Vec<String>,
    /// Profile and pipes.
    _folder: TempDir,
}

impl Page {
    /// Opens a browser; says so where there is none.
    fn start() -> Option<Self> {
        let Some(chromium) = chromium() else {
            println!("skipped: no chromium, chromium-browser or google-chrome in PATH");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let (to, from) = (folder.path().join("to"), folder.path().join("from"));
        assert!(
            Command::new("mkfifo")
                .args([&to, &from])
                .status()
                .unwrap()
                .success()
        );
        // The browser reads commands from descriptor 3 and writes to 4, which a shell can open.
        let browser = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<"$TO" 4>"$FROM""#])
            .arg(chromium)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--remote-debugging-pipe",
            ])
            .arg(format!(
                "--user-data-dir={}",
                folder.path().join("profile").display()
            ))
            .env("TO", &to)
            .env("FROM", &from)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = File::options().write(true).open(&to).unwrap();
        let mut answers = BufReader::new(File::open(&from).unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            while answers
                .read_until(0, &mut text)
                .is_ok_and(|length| length > 0)
            {
                text.pop();
                let message = serde_json::from_slice(&text).unwrap();
                if sender.send(message).is_err() {
                    break;
                }
                text.clear();
            }
        });
        let mut page = Self {
            browser,
            commands,
            messages,
            session: None,
            next: 0,
            faults: vec![],
            _folder: folder,
        };
        let target = page.call("Target.createTarget", json!({"url": "about:blank"}));
        let id = &target["targetId"];
        let attached = page.call(
            "Target.attachToTarget",
            json!({"targetId": id, "flatten": true}),
        );
        page.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        Some(page)
    }

    fn send(&mut self, method: &str, parameters: Value) -> u64 {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.commands
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        self.next
    }

    fn receive(&mut self) -> Value {
        let message = self
            .messages
            .recv_timeout(PATIENCE)
            .expect("the browser is silent");
        let parameters = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.faults.push(parameters["exceptionDetails"].to_string())
            }
            Some("Log.entryAdded") if parameters["entry"]["level"] == "error" => {
                self.faults.push(parameters["entry"].to_string());
            }
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                if !["file:", "data:", "blob:", "about:"]
                    .iter()
                    .any(|scheme| url.starts_with(scheme))
                {
                    self.faults.push(format!("asks for {url}"));
                }
            }
            _ => {}
        }
        message
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.send(method, parameters);
        loop {
            let message = self.receive();
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn open(&mut self, file: &Path) {
        let address = file.to_str().unwrap().replace(' ', "%20");
        let id = self.send("Page.navigate", json!({"url": format!("file://{address}")}));
        let (mut answered, mut loaded) = (false, false);
        while !(answered && loaded) {
            let message = self.receive();
            answered |= message["id"] == id;
            loaded |= message["method"] == "Page.loadEventFired";
        }
    }

    /// The value of a script, after two frames have been drawn.
    fn eval(&mut self, script: &str) -> Value {
        let frames = "await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));";
        let expression = format!("(async () => {{ {script}; {frames} return result(); }})()");
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{script}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// What an expression is worth now.
    fn get(&mut self, expression: &str) -> Value {
        self.eval(&format!("const result = () => ({expression})"))
    }

    /// Does something, and looks afterwards.
    fn act(&mut self, action: &str, expression: &str) -> Value {
        self.eval(&format!("const result = () => ({expression}); {action}"))
    }

    /// Waits until an expression is true: what follows on a new address is drawn when the browser comes to it.
    fn wait_for(&mut self, expression: &str) {
        let started = Instant::now();
        while self.get(expression) != true {
            assert!(
                started.elapsed() < PATIENCE,
                "{expression} does not become true"
            );
        }
    }

    fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let parameters = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", parameters);
        }
    }

    fn resize(&mut self, width: u32, height: u32) {
        let parameters = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", parameters);
    }

    /// Keeps a picture of the whole page if `JOINWRIGHT_SCREENSHOTS` names a folder for it.
    fn picture(&mut self, name: &str) {
        if let Some(folder) = std::env::var_os("JOINWRIGHT_SCREENSHOTS") {
            self.take_picture(Path::new(&folder), name, u64::MAX);
        }
    }

    /// A picture of the page, `longest` pixels of it at most.
    fn take_picture(&mut self, folder: &Path, name: &str, longest: u64) {
        let size = self.get("[innerWidth, document.documentElement.scrollHeight]");
        let height = size[1].as_u64().unwrap().min(longest);
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1});
        let parameters = json!({"captureBeyondViewport": true, "clip": clip});
        let picture = self.call("Page.captureScreenshot", parameters);
        let bytes = decoded(picture["data"].as_str().unwrap());
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}

/// Base64, which the protocol has pictures in.
fn decoded(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let Some(value) = digits.iter().position(|digit| *digit == byte) else {
            break;
        };
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

/// The names of the queries in the table, from top to bottom.
const NAMES: &str =
    "[...document.querySelectorAll('#queries tbody td:first-child a')].map((a) => a.textContent)";
const TITLE: &str = "document.querySelector('.title h2').textContent";

#[test]
fn the_report_works_in_a_browser() {
    let Some(mut page) = Page::start() else {
        return;
    };
    let tiny = Tiny::write();
    write_run(&tiny);
    let file = tiny.folder().join("run/report.html");
    let data = embedded(&file);
    page.resize(1400, 1000);
    page.open(&file);

    // The headline is that of the data.
    let ratio = data["arms"][1]["against_first"]["of_totals"]["ratio"]
        .as_f64()
        .unwrap();
    let shown = page.get("document.querySelector('.tile .big').textContent");
    assert_eq!(shown, format!("{ratio:.2}×"));
    assert!(
        page.get("document.title")
            .as_str()
            .unwrap()
            .starts_with("tiny")
    );
    assert!(
        page.get("document.querySelectorAll('main svg').length")
            .as_u64()
            .unwrap()
            >= 3
    );

    // By name, as people count; then by ratio, the largest first, and by the keyboard the other way round.
    assert_eq!(page.get(NAMES), json!([ODD_NAME, "q1", "q2", "q10", "q11"]));
    let ratios = "[...document.querySelectorAll('#queries tbody td:nth-child(4)')].map((td) => Number(td.textContent))";
    let header = "[...document.querySelectorAll('#queries th button')].find((b) => b.textContent === 'ratio')";
    let sorted = page.act(&format!("{header}.click()"), ratios);
    let mut expected: Vec<f64> = sorted
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r.as_f64().unwrap())
        .collect();
    expected.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(sorted, json!(expected));
    page.act(&format!("{header}.focus()"), "0");
    page.press("Enter", 13, "\r");
    expected.reverse();
    assert_eq!(page.get(ratios), json!(expected));
    assert_eq!(
        page.get(&format!("{header}.parentNode.getAttribute('aria-sort')")),
        "ascending"
    );

    // Filters: by text and by kind.
    let find = "const box = document.querySelector('input[type=search]'); box.value = 'Q1'; box.dispatchEvent(new Event('input'))";
    let mut found: Vec<String> = serde_json::from_value(page.act(find, NAMES)).unwrap();
    found.sort();
    assert_eq!(found, ["q1", "q10", "q11"]);
    let show = "const kind = document.getElementById('show'); kind.value = 'changed'; kind.dispatchEvent(new Event('change'))";
    let changed = page.act(show, NAMES);
    let queries = data["queries"].as_array().unwrap().iter();
    let expected = queries.filter(|query| {
        query["query"].as_str().unwrap().starts_with("q1") && query["arms"][1]["same_plan"] == false
    });
    assert_eq!(changed.as_array().unwrap().len(), expected.count());
    page.picture("overview");

    // A query's page, from a link, then the next one, then one by its address.
    page.act("location.hash = ''", "0");
    let link = "[...document.querySelectorAll('#queries tbody a')].find((a) => a.textContent === 'q2').click()";
    assert_eq!(page.act(link, TITLE), "q2");
    let sql = page.get("document.querySelector('pre').textContent");
    assert_eq!(sql, QUERIES[1].1.trim());
    let details = data["details"].as_array().unwrap();
    let q2 = details.iter().find(|query| query["query"] == "q2").unwrap();
    let operators: usize = (q2["arms"].as_array().unwrap().iter())
        .map(|arm| {
            q2["plans"][arm["plan"].as_u64().unwrap() as usize]["operators"]
                .as_array()
                .unwrap()
                .len()
        })
        .sum();
    assert_eq!(
        page.get("document.querySelectorAll('svg .row').length"),
        operators
    );
    let said = page.act(
        "document.querySelector('svg .row').dispatchEvent(new MouseEvent('click'))",
        "document.querySelector('.detail').textContent",
    );
    assert!(said.as_str().unwrap().contains("Exec"), "{said}");
    page.picture("query");
    assert_eq!(
        page.act("document.querySelector('a[rel=next]').click()", TITLE),
        "q10"
    );
    // One arm on both sides is shown once.
    let choose = "const arms = document.querySelectorAll('.plans, .card select'); \
        const left = [...document.querySelectorAll('select')].find((s) => s.value === 'default'); \
        left.value = 'joinwright'; left.dispatchEvent(new Event('change'))";
    page.act(choose, "0");
    page.wait_for("document.querySelectorAll('svg[role=tree]').length === 1");

    // Text that looks like markup is text.
    let address =
        "'#' + new URLSearchParams({ q: document.querySelector('nav select option').value })";
    assert_eq!(
        page.act(&format!("location.hash = {address}"), TITLE),
        ODD_NAME
    );
    assert_eq!(
        page.get("document.querySelector('pre').textContent"),
        ODD_SQL
    );
    assert_eq!(page.get("typeof broken"), "undefined");

    // Dark, and narrow: the page itself never scrolls sideways.
    let theme = page.get("document.documentElement.dataset.theme || ''");
    let other = page.act(
        "document.getElementById('theme').click()",
        "document.documentElement.dataset.theme",
    );
    assert_ne!(other, theme);
    page.resize(390, 844);
    for (name, address) in [
        ("query phone", "#q=q2"),
        ("overview phone", "#"),
        ("unknown", "#q=none"),
    ] {
        let width = page.act(
            &format!(
                "location.hash = '{address}'; await new Promise((done) => setTimeout(done, 200))"
            ),
            "document.documentElement.scrollWidth",
        );
        assert!(width.as_u64().unwrap() <= 390, "{name} is {width} wide");
        page.picture(name);
    }
    // A drawing on its own names its colours.
    let alone = page.act(
        "location.hash = '#q=q2'",
        "standalone(document.querySelector('svg[role=tree]'))",
    );
    let alone = alone.as_str().unwrap();
    assert!(
        alone.contains("xmlns=\"http://www.w3.org/2000/svg\"") && !alone.contains("var("),
        "{alone}"
    );
    assert!(page.faults.is_empty(), "{:#?}", page.faults);
}

/// The arms beside each other: a table, P-errors, planning, costs against times.
#[test]
fn a_judged_run_shows_its_orders() {
    let Some(mut page) = Page::start() else {
        return;
    };
    let tiny = Tiny::write();
    write_judged_run(
        &tiny,
        "q1,q2,q10",
        &["--arm", "default", "--arm", "joinwright", "--arm", BEST],
    );
    page.resize(1400, 1000);
    page.open(&tiny.folder().join("run/report.html"));
    let titles = "[...document.querySelectorAll('main section h2')].map((h) => h.textContent)";
    let shown: Vec<String> = serde_json::from_value(page.get(titles)).unwrap();
    for title in [
        "Arms",
        "P-error curve",
        "Planning time by phase",
        "Estimated cost against time",
    ] {
        assert!(
            shown.iter().any(|own| own == title),
            "no {title} in {shown:?}"
        );
    }
    let arms = "document.querySelectorAll('#arms tbody tr').length";
    assert_eq!(page.get(arms), 3);
    let sort = "[...document.querySelectorAll('#arms th button')].find((b) => b.textContent === 'P-error C_out').click()";
    assert_eq!(page.act(sort, arms), 3);
    page.wait_for("document.querySelectorAll('svg .curve').length === 3");
    let label = "document.querySelector('svg .curve').parentNode.getAttribute('aria-label')";
    assert_eq!(page.get(label), "P-errors under C_out, sorted");
    let other = "const model = document.getElementById('p-model'); model.value = 'hashjoin'; model.dispatchEvent(new Event('change'))";
    assert_eq!(page.act(other, label), "P-errors under hashjoin, sorted");
    page.picture("judged");
    page.resize(390, 844);
    let width = page.act(
        "await new Promise((done) => setTimeout(done, 200))",
        "document.documentElement.scrollWidth",
    );
    let wide = "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 391 && !e.closest('.scroll')) \
        .map((e) => e.tagName + '.' + e.className + ' ' + (e.textContent || '').slice(0, 40))";
    assert!(
        width.as_u64().unwrap() <= 390,
        "{width}: {}",
        page.get(wide)
    );
    page.picture("judged phone");
    assert!(page.faults.is_empty(), "{:#?}", page.faults);
}

/// The page of an explanation is about one query, whatever its address says.
#[test]
fn an_explanation_works_in_a_browser() {
    let Some(mut page) = Page::start() else {
        return;
    };
    let tiny = Tiny::write();
    page.resize(1400, 1000);
    for (name, option) in [
        ("explain", "--arm=joinwright"),
        ("explain analyze", "--analyze"),
    ] {
        let arguments = ["explain", "tiny suite", "q2", "--format", "html", option];
        let file = tiny.folder().join(format!("{name}.html"));
        fs::write(&file, joinwright(tiny.folder(), &arguments).ok()).unwrap();
        page.open(&file);
        assert_eq!(page.get(TITLE), "q2");
        assert_eq!(page.get("document.querySelectorAll('nav').length"), 0);
        let cards = "[...document.querySelectorAll('main section h2')].map((h) => h.textContent)";
        let shown: Vec<String> = serde_json::from_value(page.get(cards)).unwrap();
        for card in ["Plans", "Alternatives", "Join graph", "SQL"] {
            assert!(
                shown.iter().any(|own| own == card),
                "no {card} in {shown:?}"
            );
        }
        assert_eq!(shown.iter().any(|own| own == "Runs"), option == "--analyze");
        page.picture(name);
    }
    assert_eq!(page.act("location.hash = '#q=q1'", TITLE), "q2");
    page.resize(390, 844);
    let width = page.act("location.hash = ''", "document.documentElement.scrollWidth");
    assert!(width.as_u64().unwrap() <= 390);
    page.picture("explain phone");
    assert!(page.faults.is_empty(), "{:#?}", page.faults);
}

/// Larger files are no good in a repository.
const LARGEST_PICTURE: u64 = 250 * 1024;

/// Texts of a line of a plan, and those of a join graph, that lie on each other.
const OVERLAPS: &str = "(() => {
    const found = [];
    const look = (texts) => {
        const boxes = texts.map((text) => text.getBoundingClientRect());
        for (let a = 0; a < boxes.length; a++) for (let b = 0; b < a; b++) {
            const across = Math.min(boxes[a].right, boxes[b].right) - Math.max(boxes[a].left, boxes[b].left);
            const along = Math.min(boxes[a].bottom, boxes[b].bottom) - Math.max(boxes[a].top, boxes[b].top);
            if (across > 1 && along > 4) found.push(texts[a].textContent + ' | ' + texts[b].textContent);
        }
    };
    document.querySelectorAll('svg[role=tree] .row').forEach((row) => look([...row.querySelectorAll('text')]));
    document.querySelectorAll('svg[aria-label^=\"Join graph\"]').forEach((graph) => look([...graph.querySelectorAll('text')]));
    return found;
})()";

/// The pictures of a run: overview and one query, at the width of a desktop and of a phone, in `docs/` of the run's folder. Those of a run
/// that is kept are made by
/// `JOINWRIGHT_PICTURES=results/DATE-NAME cargo test --release --workspace --test cli -- pictures_of_a_run`, from the folder above `harness`.
#[test]
fn pictures_of_a_run() {
    let Some(mut page) = Page::start() else {
        return;
    };
    let tiny = Tiny::write();
    let run = match std::env::var_os("JOINWRIGHT_PICTURES") {
        Some(kept) => Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(kept),
        None => {
            write_run(&tiny);
            tiny.folder().join("run")
        }
    };
    let report = tiny.folder().join("pictures.html");
    let arguments = ["report", run.to_str().unwrap(), "--out", "pictures.html"];
    joinwright(tiny.folder(), &arguments).ok();
    let data = embedded(&report);
    let query = best_query(&data);
    for (device, width, longest) in [("desktop", 1280, 1100), ("phone", 390, 2200)] {
        page.resize(width, 900);
        page.open(&report);
        page.act("document.documentElement.dataset.theme = 'light'", "0");
        for (name, hash) in [
            ("overview", "#".to_owned()),
            ("query", format!("#q={query}")),
        ] {
            page.act(&format!("location.hash = '{hash}'"), "0");
            let there = match name {
                "query" => format!(
                    "(document.querySelector('.title h2') || {{}}).textContent === '{query}'"
                ),
                _ => "document.querySelector('.tile') !== null".to_owned(),
            };
            page.wait_for(&there);
            let wide = page.get("document.documentElement.scrollWidth");
            assert!(
                wide.as_u64().unwrap() <= u64::from(width),
                "{name} is {wide} wide"
            );
            assert_eq!(page.get(OVERLAPS), json!([]), "{name} {device}");
            page.take_picture(&run.join("docs"), &format!("{name}-{device}"), longest);
            let file = run.join(format!("docs/{name}-{device}.png"));
            let bytes = fs::metadata(&file).unwrap().len();
            assert!(
                (5_000..LARGEST_PICTURE).contains(&bytes),
                "{file:?} has {bytes} bytes"
            );
        }
    }
    assert!(page.faults.is_empty(), "{:#?}", page.faults);
}

/// The query with a plain name that gained most from another plan.
fn best_query(data: &Value) -> String {
    let queries = data["queries"].as_array().unwrap().iter();
    let ratio = |query: &Value| query["arms"][1]["against_first"]["ratio"].as_f64();
    let plain = |query: &&Value| {
        let name = query["query"].as_str().unwrap();
        name.chars().all(|c| c.is_ascii_alphanumeric()) && query["arms"][1]["same_plan"] == false
    };
    let compared = queries
        .filter(plain)
        .filter_map(|query| Some((ratio(query)?, query)));
    let best = compared.min_by(|a, b| a.0.total_cmp(&b.0));
    best.expect("no query has another plan").1["query"]
        .as_str()
        .unwrap()
        .to_owned()
}
