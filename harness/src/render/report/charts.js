// The charts of the overview. Each takes data and a width, and returns an SVG.

/** Ticks of a logarithmic axis, about as far from each other: steps and their tenfolds, thinned until they fit. */
function logTicks(low, high, most) {
  // Within less than two doublings equal steps look even.
  if (high / low < 3.2) {
    for (const step of [0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5].flatMap((s) => [s, s * 10, s * 100, s * 1000]).sort((a, b) => a - b)) {
      const first = Math.ceil(low / step - 1e-9);
      const count = Math.floor(high / step + 1e-9) - first + 1;
      if (count <= Math.min(most, 7)) {
        if (count < 2) break;
        return Array.from({ length: count }, (_, at) => Number(((first + at) * step).toPrecision(4)));
      }
    }
  }
  for (const steps of [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power++) {
      for (const step of steps) {
        const tick = step * 10 ** power;
        if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(Number(tick.toPrecision(3)));
      }
    }
    if (ticks.length <= most) return ticks;
  }
  const ticks = [];
  const powers = Math.ceil(Math.log10(high / low) / most);
  for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power += powers) ticks.push(10 ** power);
  return ticks;
}

function logScale(low, high, from, to) {
  const span = Math.log(high / low) || 1;
  return (value) => from + (to - from) * Math.log(Math.min(high, Math.max(low, value)) / low) / span;
}

function tickText(tick) {
  if (tick >= 1e6) return "10" + superscript(Math.round(Math.log10(tick)));
  return tick >= 1000 ? grouped(tick) : String(tick);
}

function superscript(number) {
  return [...String(number)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
}

/**
 * Times of an arm over those of the first, one row a query, the slowest first.
 * Items: `{query, ratio: {ratio, interval, verdict}, samePlan}`; `null` is a gap where queries are left out.
 */
function ratioChart(items, width, label) {
  const narrow = width < 520;
  const known = items.filter(Boolean);
  const longest = Math.max(3, ...known.map((item) => item.query.length));
  const left = Math.min(narrow ? 84 : 130, 16 + longest * 7.4);
  const right = narrow ? 48 : 150;
  const step = 19;
  const top = 26;
  const height = top + items.length * step + 26;
  const ends = known.flatMap((item) => [item.ratio.ratio, ...(item.ratio.interval ? Object.values(item.ratio.interval) : [])]);
  const low = Math.min(0.8, ...ends) * 0.97;
  const high = Math.max(1.25, ...ends) * 1.03;
  const x = logScale(low, high, left, width - right);
  const chart = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": label });
  for (const tick of logTicks(low, high, narrow ? 5 : 11)) {
    const at = x(tick);
    chart.append(
      svg("line", { x1: at, x2: at, y1: top - 4, y2: height - 22, class: tick === 1 ? "one" : "grid" }),
      svg("text", { x: at, y: height - 6, "text-anchor": "middle", class: tick === 1 ? "num" : "num muted" }, tickText(tick)));
  }
  const one = x(1);
  // A label that its place cuts off says less than none.
  if (one - left > 70) chart.append(svg("text", { x: one - 8, y: 12, "text-anchor": "end", class: "muted" }, "← faster"));
  if (width - right - one > 70) chart.append(svg("text", { x: one + 8, y: 12, class: "muted" }, "slower →"));
  items.forEach((item, at) => {
    const y = top + at * step + step / 2;
    if (!item) {
      chart.append(svg("text", { x: left - 10, y: y + 4, "text-anchor": "end", class: "faint" }, "⋮"));
      return;
    }
    const { ratio, interval: range, verdict } = item.ratio;
    // Without an interval the side is all that can be told, and that palely.
    const kind = verdict !== "unknown" ? verdict : ratio < 0.95 ? "faster" : ratio > 1.05 ? "slower" : "noise";
    const tip = item.query + ": " + factor(ratio) + (range ? ", 95 % interval " + interval(item.ratio) : "") +
      ", " + VERDICTS[verdict] + (item.samePlan ? "; same plan" : "");
    const link = svg("a", { href: queryHash(item.query), "aria-label": tip },
      svg("rect", { x: 0, y: y - step / 2, width, height: step, class: "hit" }),
      svg("title", {}, tip),
      svg("text", { x: left - 10, y: y + 4, "text-anchor": "end" }, fitted(item.query, left - 14) || shortened(item.query, 4)));
    if (range) {
      link.append(svg("line", { x1: x(range.low), x2: x(range.high), y1: y, y2: y, class: "s-" + verdict, "stroke-width": 2.5,
        opacity: 0.55, "stroke-linecap": "round" }));
    }
    // A plan that is the same has a hollow mark: what differs is the time of planning, or noise.
    link.append(svg("circle", { cx: x(ratio), cy: y, r: 4.2, class: "f-" + kind + " s-" + kind, opacity: verdict === "unknown" ? 0.6 : 1, "stroke-width": 1.6,
      style: item.samePlan ? "fill: var(--surface)" : null }));
    link.append(svg("text", { x: width - right + 12, y: y + 4, class: "num" }, ratio.toFixed(2)));
    if (!narrow) {
      link.append(svg("text", { x: width - right + 48, y: y + 4, class: "num faint" }, range ? interval(item.ratio) : ""));
    }
    chart.append(link);
  });
  return chart;
}

/** Points `{query, x, y}` in milliseconds on two equal logarithmic axes, with the line where both are equal. */
function timeScatter(points, names, width, label) {
  const [left, bottom, top, height] = [52, 44, 10, Math.min(380, Math.max(260, width))];
  const values = points.flatMap((point) => [point.x, point.y]).filter((value) => value > 0);
  const low = Math.min(...values) * 0.85;
  const high = Math.max(...values) * 1.18;
  const x = logScale(low, high, left, width - 8);
  const y = logScale(low, high, height - bottom, top);
  const chart = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": label });
  for (const tick of logTicks(low, high, 6)) {
    chart.append(
      svg("line", { x1: x(tick), x2: x(tick), y1: top, y2: height - bottom, class: "grid" }),
      svg("line", { x1: left, x2: width - 8, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: x(tick), y: height - bottom + 16, "text-anchor": "middle", class: "num muted" }, tickText(tick)),
      svg("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end", class: "num muted" }, tickText(tick)));
  }
  chart.append(
    svg("line", { x1: x(low), y1: y(low), x2: x(high), y2: y(high), class: "one" }),
    svg("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle", class: "muted" }, names[0] + ", ms"),
    svg("text", { x: 12, y: (height - bottom) / 2, "text-anchor": "middle", class: "muted",
      transform: "rotate(-90 12 " + (height - bottom) / 2 + ")" }, names[1] + ", ms"));
  const distance = (point) => Math.abs(point.y - point.x);
  const far = [...points].sort((a, b) => distance(b) - distance(a)).slice(0, 4);
  // A label stands left of its point, where there is room and no other point.
  const free = (point) => x(point.x) - 10 - textWidth(point.query) > left && points.every((other) => other === point || Math.abs(y(other.y) - y(point.y)) > 11 ||
    x(other.x) > x(point.x) + 6 || x(other.x) < x(point.x) - 16 - textWidth(point.query));
  for (const point of points) {
    const tip = point.query + ": " + time(point.x) + " and " + time(point.y);
    const link = svg("a", { href: queryHash(point.query), "aria-label": tip }, svg("title", {}, tip),
      svg("circle", { cx: x(point.x), cy: y(point.y), r: 4, style: "fill: " + armColor(1), opacity: 0.75 }));
    if (far.includes(point) && free(point)) {
      link.append(svg("text", { x: x(point.x) - 8, y: y(point.y) + 4, "text-anchor": "end", class: "halo" }, point.query));
    }
    chart.append(link);
  }
  return chart;
}

/** q-errors by number of relations: boxes from the first to the third quartile, whiskers from 5 to 95 %, a point for the largest. */
function qErrorChart(boxes, arms, width, label) {
  const [left, top, bottom] = [52, 14, 54];
  const height = 380;
  const levels = [...new Set(boxes.map((box) => box.relations))].sort((a, b) => a - b);
  const high = Math.max(10, ...boxes.map((box) => box.max)) * 1.3;
  const y = logScale(1, high, height - bottom, top);
  const band = (width - left - 8) / levels.length;
  const shown = [...new Set(boxes.map((box) => box.arm))].sort((a, b) => a - b);
  const slot = Math.min(34, band * 0.8 / shown.length);
  const chart = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": label });
  for (const tick of logTicks(1, high, 8)) {
    chart.append(
      svg("line", { x1: left, x2: width - 8, y1: y(tick), y2: y(tick), class: tick === 1 ? "one" : "grid" }),
      svg("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end", class: "num muted" }, tickText(tick)));
  }
  levels.forEach((level, place) => {
    const middle = left + band * (place + 0.5);
    const here = boxes.filter((box) => box.relations === level);
    chart.append(
      svg("text", { x: middle, y: height - bottom + 17, "text-anchor": "middle", class: "num" },
        level + (here.some((box) => box.and_more) ? "+" : "")));
    for (const box of here) {
      const at = middle + (shown.indexOf(box.arm) - (shown.length - 1) / 2) * slot;
      const half = Math.min(11, slot * 0.36);
      const color = armColor(box.arm);
      const tip = arms[box.arm].name + ", joins of " + level + " relations: " + box.joins + " joins, median " + factor(box.p50) +
        ", 5 to 95 % " + factor(box.p5) + " to " + factor(box.p95) + ", largest " + factor(box.max) + "; " + box.under +
        " estimated too low";
      chart.append(svg("g", {}, svg("title", {}, tip),
        svg("line", { x1: at, x2: at, y1: y(box.p5), y2: y(box.p95), style: "stroke: " + color, "stroke-width": 1.5 }),
        svg("rect", { x: at - half, width: 2 * half, y: y(box.p75) - 1, height: y(box.p25) - y(box.p75) + 2, rx: 1,
          style: "fill: " + color, opacity: 0.85 }),
        // In a flat box the median would hide the box.
        y(box.p25) - y(box.p75) > 5 && svg("line", { x1: at - half, x2: at + half, y1: y(box.p50), y2: y(box.p50),
          style: "stroke: var(--surface)", "stroke-width": 2 }),
        box.max > box.p95 * 1.01 && svg("circle", { cx: at, cy: y(box.max), r: 2.4, style: "fill: " + color }),
        slot > 20 && svg("text", { x: at, y: height - bottom + 33, "text-anchor": "middle", class: "num faint", "font-size": 10.5 }, box.joins)));
    }
  });
  chart.append(svg("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle", class: "muted" },
    "relations below the join" + (slot > 20 ? " (small: joins)" : "")));
  return chart;
}

/** The runs of a query under each arm as points on one axis, with their medians. */
function runStrip(cells, arms, width) {
  const left = Math.min(width * 0.4, 16 + 7 * Math.max(...arms.map((arm) => Math.min(arm.name.length, 26))));
  const step = 26;
  const height = arms.length * step + 24;
  const all = cells.flatMap((cell) => cell.times_ms);
  if (!all.length) return svg("svg", { viewBox: "0 0 10 1", width: 10, height: 1 });
  const high = Math.max(...all) * 1.05;
  const x = (ms) => left + (width - left - 70) * ms / high;
  const chart = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": "Times of all runs" });
  chart.append(svg("line", { x1: left, x2: left, y1: 0, y2: height - 22, class: "axis" }),
    svg("text", { x: left, y: height - 6, "text-anchor": "middle", class: "muted" }, "0"),
    svg("text", { x: x(high), y: height - 6, "text-anchor": "end", class: "muted num" }, time(high)));
  arms.forEach((arm, at) => {
    const y = at * step + step / 2;
    chart.append(svg("text", { x: left - 10, y: y + 4, "text-anchor": "end" }, svg("title", {}, arm.name),
      shortened(arm.name, Math.floor(left / 6.8))));
    for (const ms of cells[at].times_ms) {
      chart.append(svg("circle", { cx: x(ms), cy: y, r: 4, style: "fill: " + armColor(at), opacity: 0.55 }, svg("title", {}, time(ms))));
    }
    if (cells[at].total_ms !== null) {
      chart.append(svg("line", { x1: x(cells[at].total_ms), x2: x(cells[at].total_ms), y1: y - 9, y2: y + 9,
        style: "stroke: " + armColor(at), "stroke-width": 2 }));
      chart.append(svg("text", { x: width - 62, y: y + 4, class: "num" }, time(cells[at].total_ms)));
    }
  });
  return chart;
}

/** The costs of random join trees over that of the one taken: their quartiles and range on a logarithmic axis, with the one taken at 1. */
function spaceStrip(space, width) {
  const [left, right, height, middle] = [16, 16, 74, 28];
  const at = (share) => space.ratios[Math.round(share * (space.ratios.length - 1))];
  const low = Math.min(0.8, at(0)) * 0.95;
  const high = Math.max(1.5, at(1)) * 1.1;
  const x = logScale(low, high, left, width - right);
  const chart = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label":
    "Costs of random join trees over that of the one taken: from " + factor(at(0)) + " to " + factor(at(1)) + ", median " + factor(at(0.5)) });
  for (const tick of logTicks(low, high, width < 520 ? 5 : 10)) {
    chart.append(svg("line", { x1: x(tick), x2: x(tick), y1: 8, y2: height - 26, class: "grid" }),
      svg("text", { x: x(tick), y: height - 10, "text-anchor": "middle", class: "num muted" }, tickText(tick) + "×"));
  }
  const color = "fill: var(--noise)";
  chart.append(svg("line", { x1: x(at(0)), x2: x(at(1)), y1: middle, y2: middle, class: "s-noise", "stroke-width": 1.5 }),
    svg("rect", { x: x(at(0.25)), width: Math.max(1, x(at(0.75)) - x(at(0.25))), y: middle - 8, height: 16, rx: 2, style: color, opacity: 0.5 }),
    svg("line", { x1: x(at(0.5)), x2: x(at(0.5)), y1: middle - 8, y2: middle + 8, style: "stroke: var(--text)", "stroke-width": 1.6 }));
  for (const ratio of space.ratios) {
    chart.append(svg("circle", { cx: x(ratio), cy: middle, r: 2.6, style: color, opacity: 0.8 }, svg("title", {}, factor(ratio) + "×")));
  }
  chart.append(svg("path", { d: "M" + x(1) + " " + (middle - 9) + "l6 9l-6 9l-6 -9z", class: "f-faster" }, svg("title", {}, "the tree taken")));
  return chart;
}

/** Estimated costs against times, both logarithmic: `{cost_model, points: [{arm, cost, total_ms, query}]}`, where the query is linked if it is told. */
function costScatter(found, arms, width) {
  const [left, right, top, bottom, height] = [60, 16, 12, 44, 300];
  const spread = (values) => [Math.min(...values) / 1.15, Math.max(...values) * 1.15];
  const cost = (point) => Math.max(1, point.cost);
  const [lowest, highest] = spread(found.points.map(cost));
  const [fastest, slowest] = spread(found.points.map((point) => point.total_ms));
  const x = logScale(lowest, highest, left, width - right);
  const y = logScale(fastest, slowest, height - bottom, top);
  const chart = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": "Estimated cost against time" });
  for (const tick of logTicks(lowest, highest, width < 520 ? 4 : 8)) {
    chart.append(svg("line", { x1: x(tick), x2: x(tick), y1: top, y2: height - bottom, class: "grid" }),
      svg("text", { x: x(tick), y: height - bottom + 16, "text-anchor": "middle", class: "num muted" }, tickText(tick)));
  }
  for (const tick of logTicks(fastest, slowest, 6)) {
    chart.append(svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end", class: "num muted" }, tickText(tick)));
  }
  chart.append(svg("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle", class: "muted" }, "cost by " + found.cost_model),
    svg("text", { x: 12, y: (height - bottom) / 2, "text-anchor": "middle", class: "muted",
      transform: "rotate(-90 12 " + (height - bottom) / 2 + ")" }, "ms"));
  for (const point of found.points) {
    const tip = (point.query ? point.query + ", " : "") + arms[point.arm].name + ": cost " + rows(point.cost) + ", " + time(point.total_ms);
    const mark = svg("circle", { cx: x(cost(point)), cy: y(point.total_ms), r: point.query ? 4 : 5, style: "fill: " + armColor(point.arm),
      opacity: point.query ? 0.65 : 0.8 }, svg("title", {}, tip));
    chart.append(point.query ? svg("a", { href: queryHash(point.query), "aria-label": tip }, mark) : mark);
  }
  return chart;
}
