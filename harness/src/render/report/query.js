// The page of one query: its times, its SQL, its join graph, and the plans of two arms side by side.

const KEYWORDS = new Set(("select from where and or not in is null exists between like case when then else end as on join inner left right full " +
  "outer cross semi anti using group by order having limit offset union all distinct with intersect except interval date extract " +
  "cast count sum min max avg over partition rows asc desc rollup create view drop").split(" "));

/** SQL with its keywords, strings and comments set apart. */
function sqlText(sql) {
  const parts = sql.trim().split(/('(?:[^']|'')*'|--[^\n]*|\/\*[\s\S]*?\*\/|[A-Za-z_][A-Za-z0-9_]*)/);
  return el("pre", { tabindex: 0, "aria-label": "SQL" }, parts.map((part) => {
    if (KEYWORDS.has(part.toLowerCase())) return el("span", { class: "k" }, part);
    if (part.startsWith("'")) return el("span", { class: "s" }, part);
    if (part.startsWith("--") || part.startsWith("/*")) return el("span", { class: "c" }, part);
    return part;
  }));
}

/** A choice among arms. */
function armChoice(label, names, chosen, onChange) {
  return el("label", {}, label, el("select", { onchange: (event) => onChange(event.target.value) },
    names.map((name) => el("option", { value: name, selected: name === chosen }, name))));
}

function queryPage(report, name, parameters) {
  const at = report.queries.findIndex((query) => query.query === name);
  if (at < 0) {
    return [el("div", { class: "card" }, el("h2", {}, "No such query"), el("p", { class: "note" }, "This run has no query " + name + "."),
      el("a", { href: "#" }, "Overview"))];
  }
  const query = report.queries[at];
  const details = report.details.find((own) => own.query === name);
  const neighbor = (step, text) => {
    const other = report.queries[at + step];
    return other ? el("a", { href: queryHash(other.query), rel: step < 0 ? "prev" : "next" }, text.replace("%", other.query)) : null;
  };
  const jump = el("select", { "aria-label": "Query", onchange: (event) => { location.hash = queryHash(event.target.value); } },
    report.queries.map((other) => el("option", { value: other.query, selected: other.query === name }, other.query)));
  // The page of an explanation stands alone.
  const page = report.only !== null ? [el("div", { class: "title" }, el("h2", {}, name || "Query"))] : [
    el("nav", { class: "crumbs", "aria-label": "Queries" }, el("a", { href: "#" }, "← Overview"), el("span", { class: "grow" }),
      neighbor(-1, "‹ %"), jump, neighbor(1, "% ›")),
    el("div", { class: "title" }, el("h2", {}, name), verdictLine(report, query)),
  ];
  if (query.arms.some((cell) => cell.times_ms.length || cell.status !== "ok")) page.push(timesCard(report, query));
  if (!details) {
    page.push(el("div", { class: "card" }, el("p", { class: "note" },
      "This run kept no SQL and no plans: it was made by an earlier version of the bench command.")));
    return page;
  }
  page.push(plansCard(report, details, parameters));
  if (query.cost_against_time) page.push(costCard(report, query));
  const others = alternativesCard(details, parameters);
  if (others) page.push(others);
  const graph = graphCard(report, details, parameters);
  const sql = el("section", { class: "card" }, el("div", { class: "head" }, el("h2", {}, "SQL"),
    el("button", { type: "button", class: "quiet", onclick: (event) => copy(details.sql, event.target) }, "Copy")), sqlText(details.sql));
  page.push(graph ? el("div", { class: "side" }, graph, sql) : sql);
  return page;
}

function copy(text, button) {
  const told = (word) => { button.textContent = word; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
  if (!navigator.clipboard) return told("not possible here");
  navigator.clipboard.writeText(text).then(() => told("Copied"), () => told("not allowed"));
}

function verdictLine(report, query) {
  return query.arms.map((cell, at) => {
    if (at === 0 || !cell.against_first) return null;
    const { ratio, verdict } = cell.against_first;
    const kind = verdict === "unknown" ? "noise" : verdict;
    const range = interval(cell.against_first);
    return el("span", { class: "verdict" }, el("span", { class: "pill " + kind }, factor(ratio) + "× · " + VERDICTS[verdict]), " ",
      el("span", { class: "noise" }, (report.arms.length > 2 ? report.arms[at].name + " " : "") + (range ? "95 %: " + range : "")));
  });
}

function timesCard(report, query) {
  const box = responsive(el("div"), (width) => runStrip(query.arms, report.arms, width));
  const details = report.details.find((other) => other.query === query.query);
  const facts = query.arms.map((cell, at) => {
    const words = [];
    if (cell.planning_ms !== null) words.push("planning " + time(cell.planning_ms));
    const own = details && details.arms.find((arm) => arm.arm === report.arms[at].name);
    if (own && own.planning && own.planning.prepare_us) {
      const part = (name) => time(own.planning[name] / 1000);
      words.push("by phase: prepare " + part("prepare_us") + ", search " + part("search_us") + ", emit " + part("emit_us") + ", DataFusion " + part("datafusion_us"));
    }
    if (cell.p_error) words.push("P-error " + factor(cell.p_error.cout) + " (C_out), " + factor(cell.p_error.hashjoin) + " (hashjoin)");
    if (cell.peak_memory_bytes !== null) words.push("peak memory " + bytesText(cell.peak_memory_bytes));
    if (cell.same_rows !== null && at > 0) words.push("same rows: " + cell.same_rows);
    if (cell.status !== "ok") words.push(cell.status + (cell.error ? ": " + cell.error : ""));
    if (cell.fingerprint) words.push("plan " + cell.fingerprint.slice(0, 8));
    return el("span", {}, el("i", { style: "background: " + armColor(at) }), report.arms[at].name + ": " + words.join(", "));
  });
  return el("section", { class: "card" }, el("div", { class: "head" }, el("h2", {}, "Runs"), saveButton(box, query.query + " runs")),
    el("div", { class: "legend" }, facts), box);
}

/** The arms to show: those of the address, or the first and the second with a plan. */
function chosenArms(details, parameters) {
  const names = details.arms.map((arm) => arm.arm);
  const pick = (key, otherwise) => names.includes(parameters.get(key)) ? parameters.get(key) : names[Math.min(otherwise, names.length - 1)];
  return { names, left: pick("a", 0), right: pick("b", 1) };
}

function plansCard(report, details, parameters) {
  const { names, left, right } = chosenArms(details, parameters);
  if (!names.length) {
    return el("section", { class: "card" }, el("h2", {}, "Plans"), el("p", { class: "note" }, "No arm came to an end, so there is no plan with counts."));
  }
  const go = (change) => { location.replace(queryHash(details.query, { a: left, b: right, ...change })); };
  const trees = [left, right].map((name) => {
    const arm = details.arms.find((own) => own.arm === name);
    return { arm, tree: planTree(details.plans[arm.plan], arm) };
  });
  const [one, other] = trees;
  markDifferences(one.tree, other.tree);
  const same = one.tree.whole === other.tree.whole;
  const detail = el("div", { class: "detail", "aria-live": "polite", hidden: true });
  const select = (node, role) => {
    detail.hidden = false;
    detail.replaceChildren(el("strong", {}, node.name), node.text ? ": " + node.text : "", el("br"),
      [plural(node.partitions, "partition"), role && role + " side", known(node.rows) && plural(node.rows, "row"),
        known(node.estimated) && rows(node.estimated) + " expected", known(node.us) && time(node.us / 1000) + " of work",
        known(node.estimated) && node.source && "from " + node.source.replace("_", " "), node.cut && "rows cut by a LIMIT or a filter from above"].filter(Boolean).join(" · "));
  };
  const shown = names.length === 1 || left === right ? trees.slice(0, 1) : trees;
  const columns = shown.map(({ arm, tree }) => {
    const box = responsive(el("div", { class: "scroll" }), (width) =>
      drawPlan(tree, width, "Plan of " + details.query + " under " + arm.arm, select));
    return el("div", {}, el("div", { class: "head controls" }, el("strong", {}, arm.arm), el("span", { class: "noise" }, "rows expected by " + arm.estimator),
      el("span", { class: "grow" }), saveButton(box, details.query + " " + arm.arm)), box);
  });
  return el("section", { class: "card" },
    el("div", { class: "head" }, el("h2", {}, "Plans"), names.length > 1 && el("div", { class: "controls" },
      armChoice("left", names, left, (name) => go({ a: name })), armChoice("right", names, right, (name) => go({ b: name })))),
    el("p", { class: "note" }, names.length > 1 && same && left !== right ? "Both arms ran the same plan. " : "",
      report.run.runs ? "Rows and work are of one execution; work adds up the partitions. " : "", "Strokes between operators are partitions, up to four."),
    el("div", { class: "legend" },
      el("span", {}, el("i", { style: "background: var(--arm1); border-radius: 50%" }), "join"),
      el("span", {}, el("i", { style: "background: var(--mark); border-radius: 50%; transform: scale(.7)" }), "exchange between partitions"),
      !same && el("span", {}, el("i", { style: "background: var(--mark); width: 4px" }), "differs from the other plan (pale: only below)"),
      report.run.runs > 0 && el("span", {}, el("i", { style: "background: var(--slower-soft)" }), "worst estimate"),
      report.run.runs > 0 && el("span", {}, "≥: a LIMIT or a filter from above may have cut the rows, so there is no q-error")),
    el("div", { class: shown.length > 1 ? "plans" : "" }, columns), detail);
}

function graphCard(report, details, parameters) {
  const { names, right } = chosenArms(details, parameters);
  const arm = details.arms.find((own) => own.arm === right);
  if (!arm || !arm.regions.length) return null;
  const parts = arm.regions.map((region) => {
    const box = responsive(el("div"), (width) => joinGraph(region, width));
    const predicates = region.edges.map((edge) => el("li", {}, el("code", {}, edge.predicate), edge.join !== "inner" ? " (" + edge.join + ")" : ""));
    return el("div", {}, el("div", { class: "head controls" }, arm.regions.length > 1 && el("strong", {}, "Region " + (region.region + 1)),
      saveButton(box, details.query + " join graph " + (region.region + 1))), box, el("div", { class: "scroll" }, regionFacts(region, arm.regions.length)),
    el("details", {}, el("summary", {}, "Relations and predicates"), relationTable(region), el("ul", {}, predicates)));
  });
  const whose = names.length > 1 ? "Estimates and order of " + right + ". " : "";
  return el("section", { class: "card" }, el("h2", {}, "Join graph"), el("p", { class: "note" }, whose,
    "Discs grow with the logarithm of rows: pale those of the table, full those expected after its predicates. Dashed lines have no equality."), parts);
}

/** Trees that the search of the arm on the right did not take: what they cost, and which join makes them lose. */
function alternativesCard(details, parameters) {
  const { names, right } = chosenArms(details, parameters);
  const arm = details.arms.find((own) => own.arm === right);
  const regions = arm ? arm.regions.filter((region) => region.space || (region.alternatives || []).length) : [];
  if (!regions.length) return noAlternatives(details, arm);
  const parts = regions.map((region) => {
    const box = region.space && region.space.ratios.length > 0 && responsive(el("div"), (width) => spaceStrip(region.space, width));
    const { space } = region;
    return [el("div", { class: "head controls" }, el("p", { class: "note", style: "margin: 0" },
      arm.regions.length > 1 && el("strong", {}, "Region " + (region.region + 1) + ". "),
      space && "Of " + rows(space.trees) + " join trees " + space.sampled + " were drawn at random: " +
        (space.cheaper === 0 ? "none costs" : space.cheaper === 1 ? "one costs" : space.cheaper + " cost") + " less than the one taken."),
    el("span", { class: "grow" }), box && saveButton(box, details.query + " plan space " + (region.region + 1))),
    box, alternativesTable(region)];
  });
  return el("section", { class: "card" }, el("h2", {}, "Alternatives"), el("p", { class: "note" }, names.length > 1 ? "Of " + right + ". " : "",
    "Other join trees under the same estimates and the same cost model, with the largest join that makes each lose."), parts);
}

/** What is said of an arm that looks at no other trees, if the query has any. */
function noAlternatives(details, arm) {
  const larger = (own) => own.regions.some((region) => region.relations.length > 2);
  if (!arm || !details.arms.some(larger)) return null;
  const searching = details.arms.find((own) => own.regions.some((region) => region.space || (region.alternatives || []).length));
  return el("section", { class: "card" }, el("h2", {}, "Alternatives"), el("p", { class: "note" },
    arm.arm + (larger(arm) ? " searches for no other order. " : " tells nothing of other orders. "),
    searching && "Choose " + searching.arm + " on the right for the trees that its search did not take."));
}

/** Why a region does not have a tree that costs less. */
function whyNot(region) {
  if (region.reordered) return "not found by this search";
  return { written: "this arm keeps the written order", forced: "the order was given" }[region.stop] || "not by enough to leave the written order";
}

function alternativesTable(region) {
  if (!(region.alternatives || []).length) return null;
  const join = (own) => own ? [rows(own.est_rows) + " rows of ", el("code", {}, own.relations.join(" + "))] : "";
  const taken = { tree: region.tree, cost: region.cost, by: region.reordered ? "taken" : "taken, as written" };
  const line = (own, ratio, why) => el("tr", {}, el("td", {}, rows(own.cost)), el("td", {}, ratio), el("td", { class: "left" }, own.by),
    el("td", { class: "left wrap" }, el("code", {}, treeText(own.tree))), el("td", { class: "left wrap" }, why));
  const lines = [line(taken, "1", "")];
  if (region.reordered) {
    lines.push(line({ tree: region.written, cost: region.written_cost, by: "as written" }, factor(region.written_cost / region.cost), ""));
  }
  for (const own of region.alternatives) {
    const why = own.cost < region.cost ? "cheaper, but " + whyNot(region)
      : [join(own.larger), own.larger && own.instead_of ? " in place of " : "", join(own.instead_of)];
    lines.push(line(own, factor(own.ratio), why));
  }
  return el("div", { class: "scroll" }, el("table", { class: "stacked" }, el("thead", {}, el("tr", {},
    ["cost", "ratio"].map((name) => el("th", { scope: "col" }, name)),
    ["by", "tree", "why it lost"].map((name) => el("th", { scope: "col", class: "left" }, name)))), el("tbody", {}, lines)));
}

/** Whether what costs less by the estimates of its arm ran faster. */
function costCard(report, query) {
  const found = query.cost_against_time;
  const box = responsive(el("div"), (width) => costScatter(found, report.arms, width));
  return el("section", { class: "card" }, el("div", { class: "head" }, el("h2", {}, "Cost against time"), saveButton(box, query.query + " cost")),
    el("p", { class: "note" }, "The cost of each arm's join trees by its own estimates, and its median time. Spearman's rank correlation: " +
      (found.spearman === null ? "none, since all are equal" : found.spearman.toFixed(2)) + "."),
    el("div", { class: "legend" }, found.points.map((point) =>
      el("span", {}, el("i", { style: "background: " + armColor(point.arm) }), report.arms[point.arm].name))), box);
}
