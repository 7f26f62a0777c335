// <plutao-figure>: draws the chart that its data say, in SVG; its table, its data and its picture can be taken away.
// Without script the table stays.

import { t, number, tell, attempt } from "/static/base.js";

const SVG = "http://www.w3.org/2000/svg";
const EDGE = { left: 54, right: 12, bottom: 40 };
const DASH = { sun: "", pluto: "7 4", quiet: "2 3", ink: "10 3 2 3" };

const make = (name, attributes = {}, text) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

/** Round numbers between two ends, about `count` of them. */
function ticks(low, high, count = 5) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  return found;
}

/** A number short enough for an axis or a table. */
export function short(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size >= 1e6) return `${number(value / 1e6, size < 1e7 ? 1 : 0)} M`;
  if (size >= 1000) return number(value);
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  return number(value, size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

class PlutaoFigure extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    this.chart = JSON.parse(this.querySelector("script[type='application/json']").textContent);
    new ResizeObserver(() => { if (Math.abs(this.clientWidth - (this.drawn ?? 0)) > 8) this.draw(); }).observe(this);
    this.querySelector("[data-save]")?.addEventListener("click", () => this.save());
    this.querySelector("[data-copy]")?.addEventListener("click", () => this.copy());
  }

  update(chart) {
    this.chart = chart;
    this.draw();
    this.fill();
  }

  range() {
    const { series, from_zero: fromZero } = this.chart;
    const xs = series.flatMap((one) => one.x), ys = series.flatMap((one) => one.y).filter(Number.isFinite);
    const bars = series.some((one) => one.kind === "bars");
    let [x0, x1] = [Math.min(...xs), Math.max(...xs)];
    let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
    if (bars || fromZero || (y0 > 0 && y0 < 0.25 * y1)) y0 = Math.min(0, y0);
    if (y0 === y1) { y0 -= Math.abs(y0) * 0.1 || 0.5; y1 += Math.abs(y1) * 0.1 || 0.5; }
    if (bars) { x0 -= 0.5; x1 += 0.5; } else if (x0 === x1) { x0 -= 0.5; x1 += 0.5; }
    const room = 0.05 * (y1 - y0);
    return { x0, x1, y0: y0 === 0 ? 0 : y0 - room, y1: y1 + room };
  }

  draw() {
    const { series, title, categories } = this.chart;
    const place = this.querySelector(".picture");
    place.replaceChildren();
    if (!series.some((one) => one.x.length)) return;
    this.drawn = this.clientWidth;
    const width = Math.min(Math.max(this.clientWidth, 280), 760), { left, right, bottom } = EDGE;
    const key = this.key(width), top = 8 + key.height;
    const height = Math.round(Math.min(Math.max(0.46 * width, 190), 280)) + key.height;
    const { x0, x1, y0, y1 } = this.range();
    const x = (value) => left + ((value - x0) / (x1 - x0)) * (width - left - right);
    const y = (value) => height - bottom - ((value - y0) / (y1 - y0)) * (height - top - bottom);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${this.chart.shows}`, class: "chart" });
    svg.append(key.group);
    for (const value of ticks(y0, y1)) {
      svg.append(make("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }));
      svg.append(make("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, short(value)));
    }
    const named = (value) => (categories.length ? categories[value] : short(value));
    const all = categories.length ? categories.map((_, index) => index).filter((index) => index % Math.ceil(categories.length / 7) === 0) : ticks(x0, x1, width < 420 ? 3 : 5);
    const marks = categories.length ? all : all.filter((value, index) => index === 0 || named(value) !== named(all[index - 1]));
    for (const value of marks) svg.append(make("text", { x: x(value), y: height - bottom + 18, "text-anchor": "middle" }, named(value)));
    svg.append(make("text", { x: left + (width - left - right) / 2, y: height - 4, "text-anchor": "middle", class: "axis" }, this.chart.x));
    series.forEach((one, index) => svg.append(this.shape(one, index, x, y, y0)));
    const cross = make("line", { y1: top, y2: height - bottom, class: "cross", visibility: "hidden" });
    svg.append(cross);
    place.append(svg);
    this.listen(svg, cross, x, x0, x1, width);
  }

  /** Which voice is whose, above the picture; one voice alone is named by the title. */
  key(width) {
    const group = make("g");
    if (this.chart.series.length < 2) return { group, height: 0 };
    let at = 0, row = 0;
    for (const one of this.chart.series) {
      const room = 46 + 6.8 * one.name.length;
      if (at > 0 && at + room > width) { at = 0; row += 1; }
      const y = 12 + 18 * row;
      const sign = make("g", { class: `voice ${one.voice}${one.faint ? " faint" : ""}` });
      if (one.kind === "bars") sign.append(make("rect", { x: at, y: y - 9, width: 24, height: 9, class: "bar" }));
      else if (one.kind === "dots") sign.append(make("path", { d: `M${at + 12} ${y - 9}l5 5-5 5-5-5z`, class: "dot" }));
      else sign.append(make("path", { d: `M${at} ${y - 4}h24`, class: "line", "stroke-dasharray": one.faint ? "" : DASH[one.voice] ?? "" }));
      group.append(sign, make("text", { x: at + 30, y }, one.name));
      at += room;
    }
    return { group, height: 18 * (row + 1) + 6 };
  }

  shape(one, index, x, y, y0) {
    const group = make("g", { class: `voice ${one.voice}${one.faint ? " faint" : ""}` });
    const points = one.x.map((value, place) => [x(value), y(one.y[place])]).filter((point) => Number.isFinite(point[1]));
    if (one.kind === "bars") {
      const same = this.chart.series.filter((each) => each.kind === "bars").length;
      const room = Math.abs(x(1) - x(0)) * 0.7;
      for (const [px, py] of points) group.append(make("rect", { x: px - room / 2 + (index * room) / same, y: Math.min(py, y(Math.max(0, y0))), width: room / same - 1 > 0 ? room / same - 1 : 1, height: Math.abs(y(Math.max(0, y0)) - py), class: "bar" }));
    } else if (one.kind === "dots") {
      for (const [px, py] of points) group.append(make("path", { d: `M${px} ${py - 5}l5 5-5 5-5-5z`, class: "dot" }));
    } else if (points.length === 1) {
      group.append(make("circle", { cx: points[0][0], cy: points[0][1], r: 4, class: "dot" }));
    } else {
      group.append(make("path", { d: `M${points.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L")}`, class: "line", "stroke-dasharray": one.faint ? "" : DASH[one.voice] ?? "" }));
    }
    return group;
  }

  /** What the pointer, or the arrows, stand on is told in words below the picture. */
  listen(svg, cross, x, x0, x1, width) {
    const places = [...new Set(this.chart.series.flatMap((one) => one.x))].sort((a, b) => a - b);
    const reading = this.querySelector(".reading-out");
    let at = places.length - 1;
    const show = () => {
      const value = places[at];
      cross.setAttribute("x1", x(value)); cross.setAttribute("x2", x(value)); cross.setAttribute("visibility", "visible");
      const name = this.chart.categories.length ? this.chart.categories[value] : `${this.chart.x} ${short(value)}`;
      const told = this.chart.series.map((one) => [one.name, one.y[one.x.indexOf(value)]]).filter(([, found]) => found !== undefined);
      reading.textContent = `${name}: ${told.map(([label, found]) => `${label} ${short(found)}`).join(" · ")}`;
    };
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const inside = ((event.clientX - box.left) / box.width) * width;
      const wanted = x0 + ((inside - EDGE.left) / (width - EDGE.left - EDGE.right)) * (x1 - x0);
      at = places.reduce((best, value, index) => (Math.abs(value - wanted) < Math.abs(places[best] - wanted) ? index : best), 0);
      show();
    });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -places.length, End: places.length }[event.key];
      if (!step) return;
      event.preventDefault();
      at = Math.min(Math.max(at + step, 0), places.length - 1);
      show();
    });
  }

  rows() {
    const { series, categories } = this.chart;
    const places = [...new Set(series.flatMap((one) => one.x))].sort((a, b) => a - b);
    const values = series.map((one) => new Map(one.x.map((value, place) => [value, one.y[place]])));
    return places.map((value) => [categories.length ? categories[value] : value, ...values.map((one) => one.get(value) ?? null)]);
  }

  fill() {
    const body = this.querySelector("tbody");
    body.replaceChildren(...this.rows().map((row) => {
      const line = document.createElement("tr");
      line.append(...row.map((cell) => { const td = document.createElement("td"); td.className = "number"; td.textContent = short(cell); return td; }));
      return line;
    }));
    const shows = this.querySelector(".shows");
    if (shows) shows.textContent = this.chart.shows;
  }

  async copy() {
    const head = [this.chart.x, ...this.chart.series.map((one) => one.name)];
    const text = [head, ...this.rows()].map((row) => row.map((cell) => cell ?? "").join("\t")).join("\n");
    if (await attempt(async () => { await navigator.clipboard.writeText(text); return true; })) tell(t("charts.copied"));
  }

  /** The picture as a file that looks the same elsewhere: what the style sheet says is written into it. */
  save() {
    const drawn = this.querySelector(".picture svg"), svg = drawn.cloneNode(true);
    const shown = drawn.querySelectorAll("*");
    svg.querySelectorAll("*").forEach((element, index) => {
      const style = getComputedStyle(shown[index]);
      for (const key of ["fill", "stroke", "stroke-width", "opacity", "font-family", "font-size"]) element.setAttribute(key, style.getPropertyValue(key));
    });
    svg.setAttribute("xmlns", SVG);
    svg.prepend(make("title", {}, this.chart.title), make("desc", {}, this.chart.shows), make("rect", { width: "100%", height: "100%", fill: getComputedStyle(document.body).backgroundColor }));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
    link.download = `${this.chart.shows} ${this.chart.id}.svg`.replace(/[^\p{L}\p{N}._-]+/gu, "-");
    link.click();
    URL.revokeObjectURL(link.href);
  }
}
customElements.define("plutao-figure", PlutaoFigure);
