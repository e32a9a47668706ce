// The join graph of a region, laid out by a spring embedder that starts from a circle: the same graph has the same picture.

/** Positions in the unit square, by Fruchterman and Reingold. */
function layout(count, edges) {
  const points = Array.from({ length: count }, (_, at) => {
    const angle = 2 * Math.PI * at / count - Math.PI / 2;
    return [Math.cos(angle), Math.sin(angle) + at * 1e-3];
  });
  const ideal = 1.5 / Math.sqrt(Math.max(1, count));
  for (let round = 0; round < 400; round++) {
    const heat = 0.12 * (1 - round / 400) + 0.002;
    const moves = points.map(() => [0, 0]);
    for (let a = 0; a < count; a++) {
      for (let b = a + 1; b < count; b++) {
        const [dx, dy] = [points[a][0] - points[b][0], points[a][1] - points[b][1]];
        const distance = Math.max(0.01, Math.hypot(dx, dy));
        const push = ideal * ideal / distance;
        moves[a][0] += dx / distance * push; moves[a][1] += dy / distance * push;
        moves[b][0] -= dx / distance * push; moves[b][1] -= dy / distance * push;
      }
    }
    for (const [a, b] of edges) {
      const [dx, dy] = [points[a][0] - points[b][0], points[a][1] - points[b][1]];
      const distance = Math.max(0.01, Math.hypot(dx, dy));
      const pull = distance * distance / ideal;
      moves[a][0] -= dx / distance * pull; moves[a][1] -= dy / distance * pull;
      moves[b][0] += dx / distance * pull; moves[b][1] += dy / distance * pull;
    }
    points.forEach((point, at) => {
      const length = Math.max(1e-9, Math.hypot(...moves[at]));
      // A weak pull to the middle keeps parts together that no edge connects.
      point[0] += moves[at][0] / length * Math.min(length, heat) - point[0] * 0.01;
      point[1] += moves[at][1] / length * Math.min(length, heat) - point[1] * 0.01;
    });
  }
  const range = (axis) => {
    const values = points.map((point) => point[axis]);
    return [Math.min(...values), Math.max(...values)];
  };
  const [[left, right], [top, bottom]] = [range(0), range(1)];
  const spread = (value, low, high) => high - low < 1e-6 ? 0.5 : (value - low) / (high - low);
  return points.map(([x, y]) => [spread(x, left, right), spread(y, top, bottom)]);
}

/** Moves boxes apart that overlap, each by as little as it takes, and keeps them inside. A box reaches `wide` to both sides of its point,
 * `up` and `down`. */
function apart(points, boxes, width, height) {
  const inside = (at) => {
    const [point, box] = [points[at], boxes[at]];
    point[0] = Math.max(box.wide, Math.min(width - box.wide, point[0]));
    point[1] = Math.max(box.up, Math.min(height - box.down, point[1]));
  };
  for (let round = 0; round < 200; round++) {
    let moved = false;
    for (let a = 0; a < points.length; a++) {
      for (let b = a + 1; b < points.length; b++) {
        const [p, q] = points[a][1] <= points[b][1] ? [a, b] : [b, a];
        const across = boxes[a].wide + boxes[b].wide - Math.abs(points[a][0] - points[b][0]);
        const along = boxes[p].down + boxes[q].up - (points[q][1] - points[p][1]);
        if (across <= 0.5 || along <= 0.5) continue;
        moved = true;
        if (across < along) {
          const step = points[a][0] <= points[b][0] ? across / 2 : -across / 2;
          points[a][0] -= step;
          points[b][0] += step;
        } else {
          points[p][1] -= along / 2;
          points[q][1] += along / 2;
        }
        inside(a);
        inside(b);
      }
    }
    if (!moved) break;
  }
}

/** Where on or beside the line from `from` to `to` a text of this width covers least of what is there; adds it to what is there. */
function freePlace(from, to, width, taken) {
  const length = Math.max(1, Math.hypot(to[0] - from[0], to[1] - from[1]));
  const across = [(to[1] - from[1]) / length, (from[0] - to[0]) / length];
  let [best, least] = [null, Infinity];
  for (const beside of [0, 14, -14, 28, -28]) {
    for (const along of [0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74]) {
      const x = from[0] + along * (to[0] - from[0]) + beside * across[0];
      const y = from[1] + along * (to[1] - from[1]) + beside * across[1];
      const own = { left: x - width / 2 - 2, right: x + width / 2 + 2, top: y - 9, bottom: y + 7 };
      const covered = taken.reduce((sum, other) => {
        const wide = Math.min(own.right, other.right) - Math.max(own.left, other.left);
        const high = Math.min(own.bottom, other.bottom) - Math.max(own.top, other.top);
        return sum + (wide > 0 && high > 0 ? wide * high : 0);
      }, 0);
      if (covered < least) [best, least] = [{ x, y, own }, covered];
    }
  }
  taken.push(best.own);
  return best;
}

/** The graph of a region: discs grow with the rows of the table, the filled part with those that its predicates leave. */
function joinGraph(region, width) {
  const places = new Map(region.relations.map((relation, at) => [relation.alias, at]));
  const pairs = new Map();
  // Hyperedges and equalities of several columns: each has a hub, which is laid out as a relation is.
  const hubs = [];
  const springs = [];
  for (const edge of region.edges) {
    const ends = edge.relations.map((alias) => places.get(alias)).filter((at) => at !== undefined);
    if (ends.length > 2) {
      const hub = region.relations.length + hubs.length;
      hubs.push({ edge, ends });
      ends.forEach((end) => springs.push([end, hub]));
    } else if (ends.length === 2) {
      const key = Math.min(...ends) + " " + Math.max(...ends);
      if (!pairs.has(key)) pairs.set(key, { ends, edges: [] });
      pairs.get(key).edges.push(edge);
    }
  }
  const edges = [...pairs.values()];
  edges.forEach((edge) => springs.push(edge.ends));
  const count = region.relations.length;
  // What a narrow drawing lacks in width it has in height.
  const height = Math.round(width < 480 ? Math.min(720, 150 + count * 42) : Math.min(460, 150 + count * 26));
  const [side, top, bottom] = [Math.min(90, width / 6), 34, 48];
  const points = layout(count + hubs.length, springs).map(([x, y]) =>
    [side + x * (width - 2 * side), top + y * (height - top - bottom)]);
  const largest = Math.max(10, ...region.relations.map((relation) => relation.base_rows || 0));
  const radius = (count) => 5 + 15 * Math.log10(Math.max(1, count)) / Math.log10(largest);
  const outers = region.relations.map((relation) => radius(Math.max(relation.base_rows || 0, relation.est_rows || 0)));
  const boxes = region.relations.map((relation, at) => {
    const words = Math.max(textWidth(shortened(relation.alias, 24), true), textWidth(rows(relation.est_rows)));
    return { wide: Math.max(outers[at], words / 2) + 4, up: outers[at] + 3, down: outers[at] + 34 };
  });
  apart(points, [...boxes, ...hubs.map(() => ({ wide: 8, up: 8, down: 8 }))], width, height);
  const taken = boxes.map((box, at) => {
    const [x, y] = points[at];
    return { left: x - box.wide, right: x + box.wide, top: y - box.up, bottom: y + box.down };
  });
  const drawing = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img",
    "aria-label": "Join graph of " + count + " relations" });
  for (const edge of edges) {
    const [[x1, y1], [x2, y2]] = edge.ends.map((at) => points[at]);
    const kinds = new Set(edge.edges.map((e) => e.kind));
    const joins = [...new Set(edge.edges.map((e) => e.join))].filter((join) => join !== "inner").join(", ");
    const place = joins && freePlace([x1, y1], [x2, y2], textWidth(joins), taken);
    drawing.append(svg("g", {}, svg("title", {}, edge.edges.map((e) => e.predicate).join("\n")),
      svg("line", { x1, y1, x2, y2, style: "stroke: transparent", "stroke-width": 14 }),
      svg("line", { x1, y1, x2, y2, style: "stroke: var(--faint)", "stroke-width": 1.6,
        "stroke-dasharray": kinds.has("equality") ? null : "5 4" }),
      place && svg("text", { x: place.x, y: place.y + 4, "text-anchor": "middle", class: "halo muted" }, joins)));
  }
  hubs.forEach(({ edge, ends }, at) => {
    const [x, y] = points[count + at];
    const lines = ends.map((end) => svg("line", { x1: x, y1: y, x2: points[end][0], y2: points[end][1],
      style: "stroke: var(--faint)", "stroke-width": 1.6, "stroke-dasharray": edge.kind === "equality" ? null : "5 4" }));
    drawing.append(svg("g", {}, svg("title", {}, edge.predicate), lines,
      svg("rect", { x: x - 4, y: y - 4, width: 8, height: 8, style: "fill: var(--faint)" })));
  });
  region.relations.forEach((relation, at) => {
    const [x, y] = points[at];
    const outer = outers[at];
    const tip = [(relation.table || "sub-plan") + ": " + rows(relation.base_rows) + " rows, " + rows(relation.est_rows) + " expected",
      ...relation.predicates].join("\n");
    drawing.append(svg("g", {}, svg("title", {}, tip),
      svg("circle", { cx: x, cy: y, r: outer, style: "fill: var(--faster-soft); stroke: var(--faster)", "stroke-width": 1.3 }),
      svg("circle", { cx: x, cy: y, r: Math.min(outer, radius(relation.est_rows || 0)), style: "fill: var(--faster)", opacity: 0.8 }),
      svg("text", { x, y: y + outer + 14, "text-anchor": "middle", class: "halo", "font-weight": 600 }, shortened(relation.alias, 24)),
      svg("text", { x, y: y + outer + 28, "text-anchor": "middle", class: "halo muted num" }, rows(relation.est_rows))));
  });
  return drawing;
}

/** A tree as `((a b) c)`. */
function treeText(tree) {
  return tree.alias !== undefined ? tree.alias : "(" + treeText(tree.left) + " " + treeText(tree.right) + ")";
}

/** What the optimizer knew and did about one region. */
function regionFacts(region, total) {
  const facts = [];
  if (total > 1) facts.push(["region", region.region + 1 + " of " + total]);
  facts.push(["estimator, search, cost model", [region.estimator, region.enumerator, region.cost_model].join(", ")]);
  facts.push([region.reordered ? "order chosen" : "order, as written", el("code", {}, treeText(region.tree))]);
  facts.push(["its cost", rows(region.cost)]);
  if (region.reordered) {
    facts.push(["order as written", el("code", {}, treeText(region.written))]);
    const times = region.written_cost / region.cost;
    facts.push(["its cost", rows(region.written_cost) + (isFinite(times) ? ", " + factor(times) + " times as much" : "")]);
  }
  const spent = region.planning_us === null || region.planning_us === undefined ? "" : " in " + grouped(region.planning_us) + " µs";
  facts.push(["search", plural(region.pairs, "pair") + spent + "; stopped: " + region.stop]);
  return el("table", { class: "facts" }, el("tbody", {}, facts.map(([name, value]) =>
    el("tr", {}, el("td", { class: "left" }, name), el("td", { class: "left wrap" }, value)))));
}

function relationTable(region) {
  const head = ["relation", "table", "rows", "expected", "from", "predicates"];
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((name, at) =>
      el("th", { scope: "col", class: at === 2 || at === 3 ? null : "left" }, name)))),
    el("tbody", {}, region.relations.map((relation) => el("tr", {},
      el("td", { class: "left" }, relation.alias),
      el("td", { class: "left" }, relation.table || "(sub-plan)"),
      el("td", {}, rows(relation.base_rows)),
      el("td", {}, rows(relation.est_rows)),
      el("td", { class: "left" }, String(relation.source).replace("_", " ") + (relation.stale ? ", stale" : "")),
      el("td", { class: "left wrap" }, el("code", {}, shortened(relation.predicates.join(" AND "), 160))))))));
}
