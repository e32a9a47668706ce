// Elements, numbers and colours that all parts of the report share. Text goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: `el("a", {href: "#", onclick: f}, "text", child, [more])`. */
function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, made in the same way. */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

/** Three digits of a time, with its unit. */
function time(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 10000) return (ms / 1000).toFixed(1) + " s";
  if (ms >= 1000) return (ms / 1000).toFixed(2) + " s";
  return milliseconds(ms) + " ms";
}

function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : grouped(Math.round(ms));
}

function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** Rows: whole numbers with groups, an exponent beyond reading. */
function rows(number) {
  if (number === null || number === undefined) return "";
  if (number >= 1e9) return number.toExponential(1).replace("e+", "e");
  if (number >= 10) return grouped(Math.round(number));
  return String(Math.round(number * 10) / 10);
}

/** Rows where there is little room: millions and thousands. */
function briefly(number) {
  if (number >= 1e9 || number < 1e5) return rows(number);
  return number >= 1e6 ? (number / 1e6).toFixed(2) + "M" : Math.round(number / 1e3) + "k";
}

/** A factor, as 1.03 or 27 or 4.6e5. */
function factor(number) {
  if (number === null || number === undefined || !isFinite(number)) return "–";
  if (number >= 1e5) return number.toExponential(1).replace("e+", "e");
  return number < 10 ? number.toFixed(2) : number < 100 ? number.toFixed(1) : grouped(Math.round(number));
}

function interval(ratio) {
  return ratio && ratio.interval ? ratio.interval.low.toFixed(2) + " – " + ratio.interval.high.toFixed(2) : "";
}

const VERDICTS = {
  faster: "faster",
  slower: "slower",
  noise: "inside the noise",
  unknown: "too few runs to tell",
};

function plural(number, noun) {
  return grouped(number) + " " + noun + (number === 1 ? "" : "s");
}

function queries(number) {
  return number === 1 ? "1 query" : grouped(number) + " queries";
}

function armColor(at) {
  return "var(--arm" + (at === 0 ? 0 : 1 + (at - 1) % 5) + ")";
}

/** Names of queries in the order of people: q2 before q10. */
function byName(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}

const PEN = document.createElement("canvas").getContext("2d");

/** The width of a text in a drawing. */
function textWidth(text, bold) {
  PEN.font = (bold ? "600 " : "") + "12px " + getComputedStyle(document.body).fontFamily;
  return PEN.measureText(text).width;
}

/** As much of a text as fits into a width; nothing if that is next to nothing. */
function fitted(text, width, bold) {
  if (textWidth(text, bold) <= width) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (textWidth(text.slice(0, middle) + "…", bold) <= width) low = middle;
    else high = middle - 1;
  }
  return low < 4 ? "" : text.slice(0, low).trimEnd() + "…";
}

/** A text that fits into so many characters. */
function shortened(text, length) {
  return text.length <= length ? text : text.slice(0, Math.max(1, length - 1)) + "…";
}

/** The link to the page of a query. */
function queryHash(query, more = {}) {
  return "#" + new URLSearchParams({ q: query, ...more });
}

/** Draws into a box now and whenever its width changes. */
function responsive(box, draw) {
  let width = 0;
  const redraw = () => {
    const now = Math.floor(box.clientWidth);
    if (now > 0 && now !== width) {
      width = now;
      box.replaceChildren(draw(now));
    }
  };
  new ResizeObserver(() => requestAnimationFrame(redraw)).observe(box);
  requestAnimationFrame(redraw);
  return box;
}

/** A button that saves the drawing in a box as a file of its own, in the colours of the moment. */
function saveButton(box, name) {
  return el("button", { type: "button", class: "quiet", "aria-label": "Save " + name + " as SVG",
    onclick: () => save(box, name) }, "Save SVG");
}

function save(box, name) {
  const drawing = box.querySelector("svg");
  if (!drawing) return;
  const link = el("a", { href: URL.createObjectURL(new Blob([standalone(drawing)], { type: "image/svg+xml" })),
    download: name.replace(/[^\w.-]+/g, "-") + ".svg" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** The text of a drawing that needs no style sheet. */
function standalone(drawing) {
  const copy = drawing.cloneNode(true);
  const from = [drawing, ...drawing.querySelectorAll("*")];
  const to = [copy, ...copy.querySelectorAll("*")];
  const kept = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "paint-order",
    "font-family", "font-size", "font-weight", "text-anchor"];
  from.forEach((node, at) => {
    const style = getComputedStyle(node);
    for (const property of kept) {
      const value = style.getPropertyValue(property);
      if (value) to[at].setAttribute(property, value);
    }
    to[at].removeAttribute("class");
    to[at].removeAttribute("style");
  });
  copy.querySelectorAll("a").forEach((link) => {
    const group = svg("g");
    group.append(...link.childNodes);
    link.replaceWith(group);
  });
  const [, , width, height] = (drawing.getAttribute("viewBox") || "0 0 800 600").split(" ").map(Number);
  copy.setAttribute("xmlns", SVG);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  const page = getComputedStyle(document.documentElement).getPropertyValue("--surface").trim();
  copy.prepend(svg("rect", { width, height, fill: page }));
  return new XMLSerializer().serializeToString(copy);
}

/**
 * A table whose columns sort and whose rows can be replaced.
 * Columns: `{key, name, left, value: row => number or text, cell: row => node or text, title}`.
 */
function sortedTable(columns, sort, onSort) {
  const body = el("tbody");
  const heads = columns.map((column) => el("th", { scope: "col", class: column.left ? "left" : null, title: column.title },
    el("button", { type: "button", onclick: () => {
      // A number is asked for to see the largest, a name to find it.
      const descending = sort.key === column.key ? !sort.descending : !column.left;
      onSort({ key: column.key, descending });
    } }, column.name)));
  const table = el("table", {}, el("thead", {}, el("tr", {}, heads)), body);
  const show = (list, by) => {
    sort = by;
    const column = columns.find((c) => c.key === by.key) || columns[0];
    heads.forEach((head, at) => head.setAttribute("aria-sort",
      columns[at] !== column ? "none" : by.descending ? "descending" : "ascending"));
    const known = (row) => { const v = column.value(row); return v !== null && v !== undefined; };
    const compare = (a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      const order = typeof x === "string" ? byName(x, y) : x - y;
      return by.descending ? -order : order;
    };
    // What is not known stands last, whatever the direction.
    const sorted = [...list.filter(known).sort(compare), ...list.filter((row) => !known(row))];
    body.replaceChildren(...sorted.map((row) => el("tr", {}, columns.map((c) =>
      el("td", { class: c.left ? "left" : null }, c.cell(row))))));
  };
  return { table, show };
}
