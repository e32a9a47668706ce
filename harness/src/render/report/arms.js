// The arms of a run beside each other: one table, P-errors as curves, planning by phase, costs against times.

function bytesText(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  if (bytes >= 2 ** 30) return (bytes / 2 ** 30).toFixed(2) + " GiB";
  if (bytes >= 2 ** 20) return (bytes / 2 ** 20).toFixed(1) + " MiB";
  return (bytes / 2 ** 10).toFixed(1) + " KiB";
}

/** All arms with what is known of at least one. */
function armsCard(report) {
  const metric = (name) => (arm) => arm.metrics[name];
  const [join, cout, hash, planning, memory] = ["q_error", "p_error_cout", "p_error_hashjoin", "planning", "memory"].map(metric);
  const ms = (us) => milliseconds(us / 1000);
  const all = [
    { key: "arm", name: "arm", left: true, value: (arm) => report.arms.indexOf(arm), cell: (arm) =>
      el("span", { title: arm.name }, el("i", { class: "dot", style: "background: " + armColor(report.arms.indexOf(arm)) }), shortened(arm.name, 34)) },
    { key: "total", name: "total", value: (arm) => arm.total_ms, cell: (arm) => (arm.at_least ? "≥ " : "") + time(arm.total_ms) },
    { key: "ratio", name: "ratio", value: (arm) => arm.against_first && arm.against_first.of_totals.ratio,
      cell: (arm) => arm.against_first ? el("span", { class: kindOf(arm.against_first.of_totals) }, BOUNDS[arm.against_first.bound] + arm.against_first.of_totals.ratio.toFixed(2)) : "–" },
  ];
  const add = (own, key, name, title, value, text) => {
    if (report.arms.some(own)) {
      all.push({ key, name, title, value: (arm) => own(arm) && value(own(arm)), cell: (arm) => own(arm) ? text(value(own(arm))) : "–" });
    }
  };
  add(join, "joins", "joins", "Joins of the plans that ran whose rows no LIMIT or filter from above has cut", (m) => m.joins, grouped);
  add(join, "q50", "q-error p50", "Of the joins of the plans that ran", (m) => m.p50, factor);
  add(join, "q95", "p95", null, (m) => m.p95, factor);
  add(join, "qmax", "max", null, (m) => m.max, factor);
  add(cout, "pmean", "P-error C_out", "Geometric mean over the queries whose truth is known", (m) => m.mean, factor);
  add(cout, "p90", "p90", null, (m) => m.p90, factor);
  add(cout, "pmax", "max", null, (m) => m.max, factor);
  add(hash, "hmean", "P-error hashjoin", "Geometric mean", (m) => m.mean, factor);
  add(hash, "hmax", "max", null, (m) => m.max, factor);
  add(planning, "plan", "planning ms", "Of a query on average, timed beside the runs", (m) => m.total_us, ms);
  add(memory, "mem", "peak memory", "What DataFusion's operators had reserved at most, of a query on average", (m) => m.mean_bytes, bytesText);
  add(memory, "memmax", "max", null, (m) => m.max_bytes, bytesText);
  if (all.length < 4) return null;
  const { table, show } = sortedTable(all, { key: "arm", descending: false }, (by) => show(report.arms, by));
  show(report.arms, { key: "arm", descending: false });
  const known = report.arms.map(cout).filter(Boolean);
  return el("section", { class: "card", id: "arms" }, el("h2", {}, "Arms"),
    el("p", { class: "note" }, known.length ? "P-error: the true cost of the order that a system chose over that of the best one, of " +
      queries(Math.max(...known.map((own) => own.queries))) + " whose true cardinalities the suite knows. " : "",
    report.arms.some(memory) ? "Peak memory is what DataFusion's operators reserve, without batches between them and caches; other systems do not say." : ""),
    el("div", { class: "scroll" }, table));
}

/** Sorted P-errors, one line an arm. */
function pErrorCard(report) {
  const models = [["cout", "C_out"], ["hashjoin", "hashjoin"]];
  if (!report.queries.some((query) => query.arms.some((cell) => cell.p_error))) return null;
  let model = models[0];
  const box = el("div");
  const draw = (width) => pErrorChart(report, model, width);
  const choice = el("label", {}, "under", el("select", { id: "p-model", onchange: (event) => {
    model = models.find(([key]) => key === event.target.value);
    box.replaceChildren(draw(Math.floor(box.clientWidth)));
  } }, models.map(([key, name]) => el("option", { value: key }, name))));
  const shown = report.arms.map((arm, at) => [arm, at]).filter(([arm]) => arm.metrics.p_error_cout);
  return el("section", { class: "card" },
    el("div", { class: "head" }, el("h2", {}, "P-error curve"), saveButton(box, "P-errors")),
    el("p", { class: "note" }, "The true cost of each query's order over that of its best one, sorted. A line that stays low longer is better; at 1 all orders are as good as the best."),
    el("div", { class: "controls" }, choice),
    el("div", { class: "legend" }, shown.map(([arm, at]) => el("span", {}, el("i", { style: "background: " + armColor(at) }), arm.name))),
    responsive(box, draw));
}

function pErrorChart(report, [key, name], width) {
  const [left, right, top, bottom, height] = [52, 12, 12, 44, 340];
  const lines = report.arms.map((arm, at) => report.queries.filter((query) => query.arms[at].p_error)
    .map((query) => ({ query: query.query, error: query.arms[at].p_error[key] })).sort((a, b) => a.error - b.error));
  const most = Math.max(2, ...lines.map((line) => line.length));
  const high = Math.max(2, ...lines.flat().map((point) => point.error)) * 1.15;
  const x = (place) => left + (width - left - right) * place / (most - 1);
  const y = logScale(1, high, height - bottom, top);
  const chart = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": "P-errors under " + name + ", sorted" });
  for (const tick of logTicks(1, high, 8)) {
    chart.append(svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: tick === 1 ? "one" : "grid" }),
      svg("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end", class: "num muted" }, tickText(tick)));
  }
  chart.append(svg("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle", class: "muted" }, "queries, by their P-error under " + name));
  lines.forEach((line, at) => {
    if (!line.length) return;
    const path = line.map((point, place) => (place ? "L" : "M") + x(place).toFixed(1) + " " + y(point.error).toFixed(1)).join("");
    chart.append(svg("path", { d: path, fill: "none", style: "stroke: " + armColor(at), "stroke-width": 2, "stroke-linejoin": "round", class: "curve" }));
    line.forEach((point, place) => {
      const tip = report.arms[at].name + ", " + point.query + ": " + factor(point.error);
      chart.append(svg("a", { href: queryHash(point.query), "aria-label": tip }, svg("title", {}, tip),
        svg("circle", { cx: x(place), cy: y(point.error), r: most > 120 ? 2 : 3, style: "fill: " + armColor(at) })));
    });
  });
  return chart;
}

const PHASES = [["prepare_us", "prepare", "var(--arm1)"], ["search_us", "search", "var(--arm4)"], ["emit_us", "emit", "var(--arm2)"],
  ["datafusion_us", "DataFusion's own", "var(--arm0)"]];

/** Where planning time goes, one bar an arm. */
function phasesCard(report) {
  const arms = report.arms.filter((arm) => arm.metrics.planning);
  if (!arms.length) return null;
  const box = responsive(el("div"), (width) => phasesChart(arms, width));
  return el("section", { class: "card" },
    el("div", { class: "head" }, el("h2", {}, "Planning time by phase"), saveButton(box, "planning by phase")),
    el("p", { class: "note" }, "Of a query on average, timed beside the runs, with a clock that those do not have. Prepare: regions, statistics, estimates, and what the physical rules are told."),
    el("div", { class: "legend" }, PHASES.map(([, name, color]) => el("span", {}, el("i", { style: "background: " + color }), name))), box);
}

function phasesChart(arms, width) {
  const left = Math.min(width * 0.4, 16 + 7 * Math.max(...arms.map((arm) => Math.min(arm.name.length, 26))));
  const [right, step] = [76, 34];
  const height = arms.length * step + 8;
  const most = Math.max(...arms.map((arm) => arm.metrics.planning.total_us), 1);
  const chart = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": "Planning time by phase and arm" });
  arms.forEach((arm, at) => {
    const y = at * step + 6;
    chart.append(svg("text", { x: left - 10, y: y + 15, "text-anchor": "end" }, svg("title", {}, arm.name), shortened(arm.name, Math.floor(left / 6.8))));
    let x = left;
    for (const [key, name, color] of PHASES) {
      const wide = (width - left - right) * arm.metrics.planning[key] / most;
      const tip = arm.name + ", " + name + ": " + time(arm.metrics.planning[key] / 1000);
      chart.append(svg("rect", { x, y, width: Math.max(0, wide), height: 22, style: "fill: " + color }, svg("title", {}, tip)));
      if (wide > 44) chart.append(svg("text", { x: x + wide / 2, y: y + 15, "text-anchor": "middle", class: "num", style: "fill: var(--surface)" }, milliseconds(arm.metrics.planning[key] / 1000)));
      x += wide;
    }
    chart.append(svg("text", { x: x + 8, y: y + 15, class: "num" }, time(arm.metrics.planning.total_us / 1000)));
  });
  return chart;
}

/** The estimated cost of each query under each arm against its time. */
function costTimeCard(report) {
  const points = report.queries.flatMap((query) => query.arms.map((cell, arm) => ({ query: query.query, arm, cell })))
    .filter(({ cell }) => cell.cost && cell.status !== "timeout" && cell.cost.model === report.cost_model && cell.total_ms !== null && cell.cost.cost > 0)
    .map(({ query, arm, cell }) => ({ query, arm, cost: cell.cost.cost, total_ms: cell.total_ms }));
  if (points.length < 2) return null;
  const shown = [...new Set(points.map((point) => point.arm))];
  const box = responsive(el("div"), (width) => costScatter({ cost_model: report.cost_model, points }, report.arms, width));
  return el("section", { class: "card" },
    el("div", { class: "head" }, el("h2", {}, "Estimated cost against time"), saveButton(box, "cost against time")),
    el("p", { class: "note" }, "One point for each query and arm: the cost of its join orders by the arm's own estimates under " + report.cost_model +
      ", and the median time. What costs more should take longer."),
    el("div", { class: "legend" }, shown.map((at) => el("span", {}, el("i", { style: "background: " + armColor(at) }), report.arms[at].name))), box);
}
