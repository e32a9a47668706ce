// Physical plans as drawn trees. Below an operator with one input its input stands at the same depth; of a join the build side is
// indented, and the probe side goes straight down. A line between operators has as many strokes as there are partitions.

/** The operators of a plan as a tree, each with its numbers. */
function planTree(plan, arm) {
  let next = 0;
  const cut = new Set(arm.cut);
  const build = () => {
    const at = next++;
    const operator = plan.operators[at];
    const node = {
      at, name: operator.o, text: operator.t || "", partitions: operator.p, joins: Boolean(operator.j), table: operator.s,
      estimated: arm.estimated[at], source: (arm.sources || [])[at], rows: arm.rows[at], us: arm.elapsed_us[at], cut: cut.has(at), inputs: [],
    };
    for (let input = 0; input < (operator.c || 0) && next < plan.operators.length; input++) node.inputs.push(build());
    if (node.joins && !node.cut && known(node.estimated) && known(node.rows)) {
      const [estimated, counted] = [Math.max(1, node.estimated), Math.max(1, node.rows)];
      node.error = Math.max(estimated / counted, counted / estimated);
    }
    return node;
  };
  return build();
}

/** HASH_JOIN as HashJoin. */
function capitalized(name) {
  return name.toLowerCase().split("_").map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join("");
}

function known(value) {
  return value !== null && value !== undefined;
}

function walk(node, visit) {
  visit(node);
  node.inputs.forEach((input) => walk(input, visit));
}

/** The text of an operator without what changes with the place of a column. */
function ownText(node) {
  return node.name + " " + node.text.replace(/@\d+/g, "") + " " + node.partitions;
}

/** Marks what stands in one plan and not in the other: `node.differs` is "itself", "below" or "". */
function markDifferences(one, other) {
  const describe = (node, wholes, owns) => {
    node.whole = ownText(node) + "(" + node.inputs.map((input) => describe(input, wholes, owns)).join(",") + ")";
    wholes.add(node.whole);
    owns.add(ownText(node));
    return node.whole;
  };
  const [sets, others] = [[new Set(), new Set()], [new Set(), new Set()]];
  describe(one, ...sets);
  describe(other, ...others);
  const mark = (root, [wholes, owns]) => walk(root, (node) => {
    node.differs = wholes.has(node.whole) ? "" : owns.has(ownText(node)) ? "below" : "itself";
  });
  mark(one, others);
  mark(other, sets);
}

const EXCHANGES = {
  RepartitionExec: "⇄",
  CoalescePartitionsExec: "⇉→",
  SortPreservingMergeExec: "⇉→",
};

/** An operator in few words: what kind, and by what. */
function operatorLabel(node) {
  const name = node.name.replace(/Exec$/, "");
  const part = (pattern) => (node.text.match(pattern) || [])[1];
  // DuckDB's names are in capitals.
  if (node.joins && part(/conditions=(.*)/)) {
    return [capitalized(name), [part(/join type=(\w+)/), part(/conditions=(.*?)(?:, join type=|$)/)].filter(Boolean).join(" · ").toLowerCase()];
  }
  if (node.name === node.name.toUpperCase()) {
    return [node.table ? "Scan " + node.table : capitalized(name), node.text.replace(/, dynamic filters=.*$/, "").replace(/^filters=/, "")];
  }
  if (node.joins) {
    const kind = part(/join_type=(\w+)/);
    const mode = part(/mode=(\w+)/);
    const on = (part(/on=\[(.*?)\](?:,|$)/) || "").replace(/@\d+/g, "").replace(/[()]/g, "").replace(/, /g, " = ");
    return [name, [kind, mode, on].filter(Boolean).join(" · ")];
  }
  if (node.name === "DataSourceExec") {
    const predicate = (part(/predicate=(.*)$/) || "").replace(/@\d+/g, "")
      .replace(/, dynamic_rg_pruning=.*$/, "").replace(/DynamicFilter \[ empty \]/g, "run-time filter");
    return ["Scan " + (node.table || ""), predicate];
  }
  if (node.name === "RepartitionExec") {
    return [name, (part(/partitioning=(\w+)/) || "") + " → " + node.partitions];
  }
  if (node.name === "AggregateExec") {
    return [name, [part(/mode=(\w+)/), part(/gby=\[(.*?)\]/)].filter(Boolean).join(" · ").replace(/@\d+/g, "")];
  }
  return [name, node.text.replace(/@\d+/g, "").replace(/, projection=.*$/, "")];
}

/** The rows of the drawing, with depths, and for each the strokes that come from above. */
function planRows(root) {
  const list = [];
  const place = (node, depth, parent, role) => {
    const row = { node, depth, parent, role };
    list.push(row);
    node.inputs.forEach((input, at) => {
      const last = at === node.inputs.length - 1;
      place(input, last ? depth : depth + 1, row, node.joins ? (at === 0 ? "build" : "probe") : "");
    });
  };
  place(root, 0, null, "");
  list.forEach((row, at) => { row.at = at; });
  return list;
}

/** Draws a plan; `select` is called with the operator that the reader picks. */
function drawPlan(root, width, label, select) {
  const list = planRows(root);
  const [step, top, indent] = [21, 30, width < 480 ? 9 : 18];
  // A phone shows the rows; the work of an operator is told when it is picked.
  const narrow = width < 480;
  const drawn = Math.max(width, narrow ? 300 : 520);
  const told = narrow ? briefly : rows;
  const numbers = list.map(({ node }) => ({
    estimated: known(node.estimated) ? told(node.estimated) : "",
    rows: known(node.rows) ? (node.cut && node.joins ? "≥ " : "") + told(node.rows) : "",
    error: known(node.error) ? factor(node.error) : "",
  }));
  const names = { estimated: "expected", rows: "rows", error: "q-error", us: "work" };
  // Each column is as wide as what stands in it, and a gap.
  const widest = (column) => Math.max(textWidth(names[column]), ...numbers.map((own) => textWidth(own[column], column === "error"))) + (narrow ? 9 : 16);
  const columns = { us: narrow ? null : drawn - 4, error: narrow ? drawn - 6 : drawn - 66 };
  columns.rows = columns.error - widest("error");
  columns.estimated = columns.rows - widest("rows");
  const height = top + list.length * step + 6;
  let worst = null;
  let slowest = 0;
  for (const { node } of list) {
    if (known(node.error) && node.error >= 2 && (!worst || node.error > worst.error)) worst = node;
    slowest = Math.max(slowest, node.us || 0);
  }
  const drawing = svg("svg", { viewBox: "0 0 " + drawn + " " + height, width: drawn, height, role: "tree", "aria-label": label });
  for (const [column, name] of Object.entries(names)) {
    if (columns[column] !== null) drawing.append(svg("text", { x: columns[column], y: 14, "text-anchor": "end", class: "muted" }, name));
  }
  drawing.append(svg("line", { x1: 0, x2: drawn, y1: top - 8, y2: top - 8, class: "axis" }));
  const x = (row) => 16 + row.depth * indent;
  const y = (row) => top + row.at * step + step / 2;
  for (const row of list.filter((row) => row.parent)) {
    const strokes = Math.min(4, Math.max(1, row.node.partitions));
    const straight = row.depth === row.parent.depth;
    for (let stroke = 0; stroke < strokes; stroke++) {
      const off = (stroke - (strokes - 1) / 2) * 2.6;
      const path = straight
        ? "M" + (x(row) + off) + " " + (y(row.parent) + 5) + "V" + (y(row) - 5)
        : "M" + (x(row.parent) + off) + " " + (y(row.parent) + 5) + "V" + (y(row) + off) + "H" + (x(row) - 5);
      drawing.append(svg("path", { d: path, style: "stroke: var(--faint); fill: none", "stroke-width": 1.1 }));
    }
  }
  const lines = list.map((row) => {
    const { node } = row;
    const [name, text] = operatorLabel(node);
    const own = numbers[row.at];
    const first = ["estimated", "rows", "error"].find((column) => own[column]);
    const room = (first ? columns[first] - textWidth(own[first]) : drawn - 4) - x(row) - 20;
    const exchange = EXCHANGES[node.name];
    const tip = node.name + (node.text ? ": " + node.text : "") + "\n" + plural(node.partitions, "partition") +
      (row.role ? ", " + row.role + " side" : "") + (node.cut ? "\nrows cut by a LIMIT or a filter from above" : "");
    const bold = node.joins || node.table ? 600 : 400;
    const group = svg("g", { class: "row", tabindex: 0, role: "treeitem", "aria-level": row.depth + 1, "aria-label": tip,
      onclick: () => pick(row.at), onkeydown: (event) => move(event, row.at) },
      svg("title", {}, tip),
      svg("rect", { x: 0, y: y(row) - step / 2, width: drawn, height: step, class: "hit" }),
      node.differs && svg("rect", { x: 0, y: y(row) - step / 2, width: 4, height: step, style: "fill: var(--mark)",
        opacity: node.differs === "itself" ? 1 : 0.35 }),
      svg("circle", { cx: x(row), cy: y(row), r: exchange ? 3 : 4.5,
        style: node.joins ? "fill: var(--arm1)" : exchange ? "fill: var(--mark)" : "fill: var(--surface); stroke: var(--muted)",
        "stroke-width": 1.4 }));
    const before = row.role ? textWidth(row.role + " ") : 0;
    const title = fitted(name, room - before, bold > 400) || name;
    const words = svg("text", { x: x(row) + 11, y: y(row) + 4 },
      row.role && svg("tspan", { class: "faint" }, row.role + " "),
      svg("tspan", { "font-weight": bold, style: exchange ? "fill: var(--mark)" : null }, title));
    const used = textWidth(title, bold > 400) + before + 8;
    const shown = text && room > used ? fitted(text, room - used) : "";
    if (shown) words.append(svg("tspan", { class: "muted", dx: 7 }, shown));
    group.append(words);
    if (known(node.estimated)) {
      group.append(svg("text", { x: columns.estimated, y: y(row) + 4, "text-anchor": "end", class: node.joins ? "num" : "num muted" }, own.estimated));
    }
    if (known(node.rows)) {
      group.append(svg("text", { x: columns.rows, y: y(row) + 4, "text-anchor": "end", class: node.joins ? "num" : "num muted" },
        own.rows));
    }
    if (known(node.error)) {
      if (node === worst) {
        group.append(svg("rect", { x: columns.error - textWidth(own.error, true) - 6, y: y(row) - 8.5, width: textWidth(own.error, true) + 12, height: 17, rx: 8.5, style: "fill: var(--slower-soft)" }));
      }
      group.append(svg("text", { x: columns.error, y: y(row) + 4, "text-anchor": "end", class: "num", "font-weight": node === worst ? 700 : 400,
        style: node === worst ? "fill: var(--slower)" : null }, own.error));
    }
    if (known(node.us) && columns.us !== null) {
      group.append(svg("rect", { x: columns.us - 50, y: y(row) + 6, width: 50 * node.us / Math.max(1, slowest), height: 2.5,
        style: "fill: var(--faint)", opacity: 0.7 }),
        svg("text", { x: columns.us, y: y(row) + 3, "text-anchor": "end", class: "num muted" }, time(node.us / 1000)));
    }
    drawing.append(group);
    return group;
  });
  const pick = (at) => {
    lines.forEach((line, other) => line.classList.toggle("on", other === at));
    select(list[at].node, list[at].role);
  };
  const move = (event, at) => {
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
    if (to !== undefined && lines[to]) {
      event.preventDefault();
      lines[to].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      pick(at);
    }
  };
  return drawing;
}
