// The first page: the numbers that matter, the charts, the table of queries; and what shows which page.

function tile(what, big, more, kind) {
  return el("div", { class: "tile" }, el("div", { class: "what" }, what), el("div", { class: "big " + (kind || "") }, big),
    el("div", { class: "more" }, more));
}

/** What is known of a number in which times are those of the limit. */
const BOUNDS = { exact: "", atleast: "≥ ", atmost: "≤ ", unclear: "~ " };

function kindOf(ratio) {
  return ratio.verdict === "faster" || ratio.verdict === "slower" ? ratio.verdict : "";
}

/** A ratio's interval, and whether the ratio is more than noise. */
function intervalNote(ratio) {
  if (!ratio.interval) return "too few runs for an interval";
  return "95 %: " + interval(ratio) + (ratio.verdict === "noise" ? ", inside the noise" : "");
}

function tiles(report, at) {
  const [first, arm] = [report.arms[0], report.arms[at]];
  const against = arm && arm.against_first;
  const { counts } = report;
  const faults = [[counts.differ, "with different rows"], [counts.unknown, "not comparable"], [counts.unfinished, "failed or timed out"]]
    .filter(([count]) => count > 0).map(([count, what]) => count + " " + what);
  const good = report.arms.length === 1 ? "finished" : "with the same rows";
  const rowsTile = tile("Queries", counts.same + " of " + counts.queries, [good, faults.length ? "; " + faults.join(", ") : ""].join(""),
    counts.differ > 0 ? "slower" : "");
  const each = (ms) => time(ms / Math.max(1, report.counted));
  if (!against) return [tile("Total time", (first.at_least ? "≥ " : "") + time(first.total_ms), "of " + queries(report.counted)),
    tile("Planning", each(first.planning_ms), "a query"), rowsTile];
  const found = (query) => {
    const line = report.queries.find((own) => own.query === query);
    return line && line.arms[at];
  };
  const cell = (query) => found(query) && found(query).against_first;
  const extreme = (what, query) => {
    const ratio = cell(query);
    return ratio && tile(what, el("a", { href: queryHash(query), style: "text-decoration: none; color: inherit" }, BOUNDS[found(query).bound] + factor(ratio.ratio) + "×"),
      [el("a", { href: queryHash(query) }, query), ", ", intervalNote(ratio)], kindOf(ratio));
  };
  const judged = against.faster + against.slower + against.noise;
  const bar = ["faster", "noise", "slower"].map((kind) =>
    el("i", { style: "flex: " + against[kind] + "; background: var(--" + kind + ")" }));
  return [
    tile("Total time", BOUNDS[against.bound] + factor(against.of_totals.ratio) + "×",
      [(arm.at_least ? "≥ " : "") + time(arm.total_ms) + " for " + (first.at_least ? "≥ " : "") + time(first.total_ms), el("br"), intervalNote(against.of_totals)], kindOf(against.of_totals)),
    tile("Geometric mean of ratios", BOUNDS[against.bound] + factor(against.geometric_mean.ratio) + "×", intervalNote(against.geometric_mean), kindOf(against.geometric_mean)),
    extreme(cell(against.worst) && cell(against.worst).ratio > 1 ? "Worst regression" : "Highest ratio", against.worst),
    extreme("Best", against.best),
    judged > 0 && el("div", { class: "tile wide" }, el("div", { class: "what" }, "Beyond the noise"),
      el("div", { class: "bar", "aria-hidden": true }, bar),
      el("div", { class: "more" }, el("span", { class: "faster" }, against.faster + " faster"), " · " + against.noise + " inside the noise · ",
        el("span", { class: "slower" }, against.slower + " slower"))),
    tile("Planning", each(arm.planning_ms), "a query, " + each(first.planning_ms) + " under " + first.name),
    rowsTile,
  ];
}

/** All ratios, or where they are many the ends of the list with a gap. */
function ratioCard(report, at) {
  const name = report.arms[at].name;
  const items = report.queries.filter((query) => query.arms[at].against_first)
    .map((query) => ({ query: query.query, ratio: query.arms[at].against_first, samePlan: query.arms[at].same_plan }))
    .sort((a, b) => b.ratio.ratio - a.ratio.ratio);
  if (!items.length) return null;
  const many = items.length > 44;
  let all = !many;
  const label = "Time of " + name + " over the time of " + report.arms[0].name + ", by query";
  const box = el("div");
  const draw = (width) => ratioChart(all ? items : [...items.slice(0, 15), null, ...items.slice(-15)], width, label);
  const toggle = many && el("button", { type: "button", "aria-expanded": false, onclick: () => {
    all = !all;
    toggle.textContent = all ? "Show the ends only" : "Show all " + items.length;
    toggle.setAttribute("aria-expanded", all);
    box.replaceChildren(draw(Math.floor(box.clientWidth)));
  } }, "Show all " + items.length);
  const against = report.arms[at].against_first;
  const spread = against && against.same_plan_ratios;
  return el("section", { class: "card" },
    el("div", { class: "head" }, el("h2", {}, "Runtime ratio by query"), saveButton(box, "runtime ratios " + name)),
    el("p", { class: "note" }, "Median time under " + name + " over the median under " + report.arms[0].name +
      (items.some((item) => item.ratio.interval) ? ", with bootstrap intervals of 95 %. Grey: the interval contains 1. "
        : ". Pale: too few runs for an interval; grey: within 5 %. ") + "Hollow: both ran the same plan",
    spread ? "; the ratios of those " + against.same_plan + " lie between " + factor(spread.low) + " and " + factor(spread.high) +
      ", which is planning time and the noise of the machine." : "."),
    responsive(box, draw), toggle && el("div", { class: "controls" }, toggle));
}

function planningCard(report, at) {
  const points = report.queries.map((query) => ({ query: query.query, x: query.arms[0].planning_ms, y: query.arms[at].planning_ms }))
    .filter((point) => point.x > 0 && point.y > 0);
  if (points.length < 2) return null;
  const names = [report.arms[0].name, report.arms[at].name];
  const box = responsive(el("div"), (width) => timeScatter(points, names, width, "Planning time by query"));
  return el("section", { class: "card" },
    el("div", { class: "head" }, el("h2", {}, "Planning time"), saveButton(box, "planning time " + names[1])),
    el("p", { class: "note" }, "From SQL text to physical plan, medians. On the line both take the same time; above it " + names[1] + " takes longer."), box);
}

function qErrorCard(report) {
  if (!report.boxes.length) return null;
  const box = responsive(el("div"), (width) => qErrorChart(report.boxes, report.arms, width, "q-errors by number of relations and arm"));
  const shown = [...new Set(report.boxes.map((own) => own.arm))];
  const estimators = shown.map((at) => {
    const own = report.details.flatMap((query) => query.arms).find((arm) => arm.arm === report.arms[at].name);
    const { coverage } = report.arms[at];
    const held = coverage.joins - coverage.cut - coverage.unknown;
    return el("span", {}, el("i", { style: "background: " + armColor(at) }), report.arms[at].name + ", expected by " + (own ? own.estimator : "?") +
      ": " + held + " of " + coverage.joins + " joins" + (coverage.cut ? ", " + coverage.cut + " cut" : "") +
      (coverage.unknown ? ", " + coverage.unknown + " without an estimate" : ""));
  });
  return el("section", { class: "card" },
    el("div", { class: "head" }, el("h2", {}, "q-error of joins"), saveButton(box, "q-errors")),
    el("p", { class: "note" }, "The factor between expected rows and those that the joins of the executed plans returned. Boxes span the quartiles, " +
      "whiskers 5 to 95 %, points are the largest. Each arm has the joins of its own plans. Left out is what a LIMIT or a filter from above cut."),
    el("div", { class: "legend" }, estimators), box);
}

const FILTERS = {
  all: ["all", () => true],
  faster: ["faster", (cell) => cell.against_first && cell.against_first.verdict === "faster"],
  slower: ["slower", (cell) => cell.against_first && cell.against_first.verdict === "slower"],
  noise: ["inside the noise", (cell) => cell.against_first && cell.against_first.verdict === "noise"],
  changed: ["other plan", (cell) => cell.same_plan === false],
  fault: ["not the same rows, or failed", (cell, query) => query.arms.some((own) => own.status !== "ok")],
};

function timeCell(cell) {
  if (cell.status === "timeout") return "timeout";
  return cell.total_ms === null ? cell.status === "ok" ? "–" : cell.status : milliseconds(cell.total_ms);
}

function tableCard(report, at, parameters) {
  const hasErrors = report.queries.some((query) => query.arms.some((cell) => cell.worst_q_error !== null));
  const columns = [
    { key: "query", name: "query", left: true, value: (q) => q.query, cell: (q) => el("a", { href: queryHash(q.query) }, q.query) },
    { key: "first", name: report.arms[0].name + " ms", value: (q) => q.arms[0].total_ms, cell: (q) => timeCell(q.arms[0]) },
  ];
  const own = (q) => q.arms[at];
  if (at > 0) {
    const ratio = (q) => own(q).against_first;
    columns.push(
      { key: "own", name: report.arms[at].name + " ms", value: (q) => own(q).total_ms, cell: (q) => timeCell(own(q)) },
      { key: "ratio", name: "ratio", value: (q) => ratio(q) && ratio(q).ratio, cell: (q) => ratio(q)
        ? el("span", { class: kindOf(ratio(q)) }, BOUNDS[own(q).bound] + ratio(q).ratio.toFixed(2)) : "–" },
      { key: "low", name: "95 %", title: "Sorts by the lower end", value: (q) => ratio(q) && ratio(q).interval && ratio(q).interval.low,
        cell: (q) => el("span", { class: "noise" }, interval(ratio(q)) || "–") });
  }
  columns.push({ key: "planning", name: "planning ms", value: (q) => own(q).planning_ms, cell: (q) => milliseconds(own(q).planning_ms) });
  if (hasErrors) columns.push({ key: "error", name: "worst q-error", value: (q) => own(q).worst_q_error, cell: (q) => factor(own(q).worst_q_error) });
  if (report.queries.some((q) => own(q).p_error)) {
    columns.push({ key: "perror", name: "P-error", title: "Under C_out, of the order that this arm chose", value: (q) => own(q).p_error && own(q).p_error.cout,
      cell: (q) => own(q).p_error ? factor(own(q).p_error.cout) : "–" });
  }
  if (report.queries.some((q) => own(q).peak_memory_bytes !== null)) {
    columns.push({ key: "memory", name: "peak memory", value: (q) => own(q).peak_memory_bytes, cell: (q) => bytesText(own(q).peak_memory_bytes) });
  }
  if (at > 0) {
    columns.push(
      { key: "plan", name: "plan", left: true, value: (q) => own(q).same_plan === null ? null : own(q).same_plan ? "same" : "other",
        cell: (q) => own(q).same_plan === null ? "–" : own(q).same_plan ? "same" : "other" },
      { key: "rows", name: "same rows", left: true, value: (q) => own(q).same_rows, cell: (q) => own(q).same_rows || "–" });
  }
  const state = {
    key: parameters.get("sort") || "query", descending: parameters.get("desc") === "1",
    text: parameters.get("find") || "", show: FILTERS[parameters.get("show")] ? parameters.get("show") : "all",
  };
  const count = el("span", { class: "noise", role: "status" });
  const { table, show } = sortedTable(columns, state, (sort) => { Object.assign(state, sort); update(true); });
  const update = (keep) => {
    const matches = report.queries.filter((q) => q.query.toLowerCase().includes(state.text.toLowerCase()) && FILTERS[state.show][1](own(q), q));
    show(matches, state);
    count.textContent = matches.length === report.queries.length ? queries(matches.length) : matches.length + " of " + queries(report.queries.length);
    if (keep) {
      // So that Back comes to the same table, and its address can be passed on.
      const more = { arm: report.arms[at].name, sort: state.key };
      if (state.descending) more.desc = "1";
      if (state.text) more.find = state.text;
      if (state.show !== "all") more.show = state.show;
      history.replaceState(null, "", "#" + new URLSearchParams(more));
    }
  };
  update(false);
  return el("section", { class: "card", id: "queries" }, el("h2", {}, "All queries"),
    el("div", { class: "controls" },
      el("input", { type: "search", placeholder: "Find a query", "aria-label": "Find a query", value: state.text,
        oninput: (event) => { state.text = event.target.value; update(true); } }),
      at > 0 && el("label", {}, "show", el("select", { id: "show", onchange: (event) => { state.show = event.target.value; update(true); } },
        Object.entries(FILTERS).map(([key, [name]]) => el("option", { value: key, selected: key === state.show }, name)))),
      count),
    el("div", { class: "scroll" }, table));
}

/** Cards two by two. */
function pairs(cards) {
  const there = cards.filter(Boolean);
  const rows = [];
  for (let at = 0; at < there.length; at += 2) {
    rows.push(at + 1 < there.length ? el("div", { class: "pair" }, there[at], there[at + 1]) : there[at]);
  }
  return rows;
}

function overviewPage(report, parameters) {
  const named = report.arms.findIndex((arm) => arm.name === parameters.get("arm"));
  const at = report.arms.length === 1 ? 0 : Math.max(1, named);
  const choice = report.arms.length > 2 && el("div", { class: "controls" },
    armChoice("Arm, against " + report.arms[0].name, report.arms.slice(1).map((arm) => arm.name), report.arms[at].name,
      (name) => { location.hash = "#" + new URLSearchParams({ arm: name }); }));
  const { run } = report;
  const done = report.queries.length;
  const planning = at > 0 ? planningCard(report, at) : null;
  const errors = qErrorCard(report);
  return [
    (run.interrupted || !run.finished) && el("div", { class: "card" }, (run.interrupted ? "Interrupted: " : "Not finished: ") +
      done + " of " + run.queries + " queries are done."),
    choice,
    el("div", { class: "tiles" }, tiles(report, at)),
    at > 0 && (report.counted < done || report.stopped > 0) && el("p", { class: "note" }, "Totals and means are over the " + queries(report.counted) +
      " that every arm finished" + (report.stopped ? ", or was stopped in: in " + report.stopped + " of them a time is the limit, and the real one longer." : ".")),
    armsCard(report),
    at > 0 && ratioCard(report, at),
    ...pairs([pErrorCard(report), errors, phasesCard(report), planning, costTimeCard(report)]),
    tableCard(report, at, parameters),
  ];
}

function head(report) {
  const { run } = report;
  const title = run.suite + (run.scale === null ? "" : ", scale factor " + run.scale);
  document.title = (report.only ? report.only + ", " : "") + title + " – joinwright";
  const themes = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("joinwright-theme", root.dataset.theme); } catch { /* Then the choice ends with the page. */ }
  };
  document.getElementById("top").replaceChildren(
    el("h1", {}, el("a", { href: "#" }, title)),
    el("div", { class: "sub" }, report.arms.map((arm) => arm.name).join(" · ") + " — " + run.started.slice(0, 10) + ", " +
      (report.only === null ? "medians of " + run.runs + (run.runs === 1 ? " run" : " runs") : run.runs ? "run once" : "not run") + ", " + run.threads + (run.threads === 1 ? " thread" : " threads")),
    el("div", { class: "tools" }, el("button", { type: "button", id: "theme", onclick: themes, "aria-label": "Light or dark" }, "◐")));
  const { machine, versions } = run;
  const facts = [
    ["command", el("code", {}, run.command)],
    ["machine", [machine.cpu || "unknown processor", machine.cores + " cores",
      machine.memory_bytes ? (machine.memory_bytes / 2 ** 30).toFixed(1) + " GiB" : null, machine.os].filter(Boolean).join(", ")],
    ["versions", "joinwright " + versions.joinwright + (versions.commit ? " (" + versions.commit + ")" : "") + ", DataFusion " + versions.datafusion +
      ", Arrow " + versions.arrow + (versions.rustc ? ", " + versions.rustc : "") + (versions.optimized ? "" : ", NOT an optimized build")],
    report.only === null && ["runs", run.runs + " after " + run.warmup + " of warm-up, arms interleaved; started " + run.started + (run.finished ? ", finished " + run.finished : "")],
    ...report.arms.filter((arm) => Object.keys(arm.options).length).map((arm) =>
      [arm.name, Object.entries(arm.options).map(([key, value]) => key + "=" + value).join(", ")]),
  ].filter(Boolean);
  document.getElementById("foot").replaceChildren(el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    report.only === null ? "All numbers are made from run.json and raw.csv, which lie beside this file." : "");
}

function start() {
  const report = JSON.parse(document.getElementById("data").textContent);
  const main = document.getElementById("main");
  let shown = null;
  const show = () => {
    const parameters = new URLSearchParams(location.hash.slice(1));
    const query = report.only !== null ? report.only : parameters.get("q");
    main.replaceChildren(...(query !== null ? queryPage(report, query, parameters) : overviewPage(report, parameters)).filter(Boolean));
    if (shown !== null && shown !== query) {
      scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
    shown = query;
  };
  document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  head(report);
  show();
  addEventListener("hashchange", show);
}

start();
