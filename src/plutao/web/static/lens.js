// The lens: tokens coloured by their surprise, with the number; what else could have stood there, at any temperature.

import { ask, attempt, drawer, number, t } from "./base.js";

const STEPS = [0.5, 1, 2, 3, 4, 6, 8, 10, 12];
/** Cividis in ten steps: the class names are in chat.css. */
const step = (bits) => { const at = STEPS.findIndex((edge) => bits < edge); return at < 0 ? STEPS.length : at; };
const share = (p) => (p > 0 && p < 0.00005 ? `< ${number(0.01, 2)} %` : `${number(100 * p, p >= 0.1 ? 1 : 2)} %`);

/** Probabilities at a temperature, from the log-probabilities that are known and what is known of the rest.
 *
 * The rest holds `left` = 1 − Σp in `others` tokens, none more probable than the last one known. Its weight at temperature T
 * is greatest where it is spread one way and least where it is spread the other (x ↦ x^(1/T) is convex below T = 1 and
 * concave above), which bounds every probability: returns [low, high] for each, and for the rest.
 */
export function atTemperature(logprobs, vocabulary, temperature) {
  if (temperature === 0) {
    const best = Math.max(...logprobs);
    return { known: logprobs.map((value) => (value === best ? [1, 1] : [0, 0])), rest: [0, 0] };
  }
  const known = logprobs.map(Math.exp);
  const left = Math.max(1 - known.reduce((sum, p) => sum + p, 0), 0);
  const others = Math.max(vocabulary - known.length, 0);
  const least = Math.min(...known);
  const weights = known.map((p) => p ** (1 / temperature));
  const sum = weights.reduce((a, b) => a + b, 0);
  let bounds = [0, 0];
  if (others > 0 && left > 1e-9) {
    const spread = others * (left / others) ** (1 / temperature);
    const most = Math.max(Math.min(least, left), 1e-12);
    const heaped = Math.min(left / most, others) * most ** (1 / temperature);
    bounds = [Math.min(spread, heaped), Math.max(spread, heaped)];
  }
  return {
    known: weights.map((w) => [w / (sum + bounds[1]), w / (sum + bounds[0])]),
    rest: [bounds[0] / (sum + bounds[0]), bounds[1] / (sum + bounds[1])],
  };
}

function make(tag, options = {}, ...children) {
  const element = Object.assign(document.createElement(tag), options);
  element.append(...children);
  return element;
}

const printed = (text) => text.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥");

/** The legend: ten steps with their numbers. */
function legend() {
  const row = make("p", { className: "lens-legend" }, t("lens.legend"));
  ["0", ...STEPS].forEach((edge, at) => row.append(make("span", { className: `token surprise-${at}`, textContent: at ? `≥ ${number(edge, edge % 1 ? 1 : 0)}` : `< ${number(STEPS[0], 1)}` })));
  return row;
}

/** Tokens as buttons; one of them opens the drawer. */
export function lensText(data, goOn) {
  const told = data.tokens.filter((one) => one.bits !== null);
  const mean = told.reduce((sum, one) => sum + one.bits, 0) / Math.max(told.length, 1);
  const box = make("div", { className: "lens-text" });
  box.setAttribute("role", "group");
  data.tokens.forEach((one, place) => {
    const bits = one.bits ?? 0;
    const button = make("button", { type: "button", className: `token surprise-${step(bits)}` }, one.text);
    if (one.text.includes("\n")) button.replaceChildren(one.text.replace(/\n/g, "⏎"));
    button.dataset.bits = one.bits === null ? "" : number(bits, 1);
    const what = one.bits === null ? t("lens.first") : t("lens.bits", { bits: number(bits, 1) });
    button.setAttribute("aria-label", `${printed(one.text)}: ${what}`);
    button.tabIndex = place ? -1 : 0;
    button.addEventListener("click", () => openToken(data, place, button, goOn));
    box.append(button);
    if (one.text.includes("\n")) box.append(make("br"));
  });
  box.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const buttons = [...box.querySelectorAll(".token")];
    const next = buttons[buttons.indexOf(document.activeElement) + move];
    if (!move || !next) return;
    event.preventDefault();
    event.stopPropagation();
    document.activeElement.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  const summary = make("p", { className: "hint", textContent: t("lens.mean", { count: number(told.length), bits: number(mean, 2) }) });
  return make("div", { className: "lens" }, legend(), box, summary, make("p", { className: "hint", textContent: t("lens.choose") }));
}

/** What else could have stood at a place. */
function openToken(data, place, button, goOn) {
  const one = data.tokens[place];
  for (const other of document.querySelectorAll(".token.chosen")) other.classList.remove("chosen");
  button.classList.add("chosen");
  const panel = make("div", { className: "lens-panel" });
  if (one.logprob === null) {
    panel.append(make("p", { textContent: t("lens.first") }));
    drawer.open(`“${printed(one.text)}”`, panel);
    return;
  }
  const rows = one.alternatives.map((each) => ({ ...each, written: each.id === one.id && each.text === one.text }));
  if (!rows.some((each) => each.written)) rows.push({ id: one.id, text: one.text, logprob: one.logprob, written: true });
  panel.append(make("p", { textContent: t("lens.surprise", { share: share(Math.exp(one.logprob)), bits: number(one.bits, 1) }) }));
  const slider = make("input", { type: "range", min: 0, max: 2, step: 0.05, value: 1, id: "lens-temperature" });
  const output = make("output", { className: "value" });
  panel.append(make("div", { className: "field" }, make("label", { htmlFor: "lens-temperature" }, t("lens.temperature"), " ", output), slider));
  const body = make("tbody");
  const table = make("table", { className: "table alternatives" }, make("caption", { className: "out-of-sight", textContent: t("lens.probability") }));
  const head = make("tr", {}, ...[t("lens.token"), t("lens.probability")].map((text) => make("th", { scope: "col", textContent: text })));
  const mayGoOn = goOn && data.continues;
  if (mayGoOn) head.append(make("th", { scope: "col" }, make("span", { className: "out-of-sight", textContent: t("lens.instead") })));
  table.append(make("thead", {}, head), body);
  const note = make("p", { className: "hint" });
  panel.append(table, note);
  if (goOn && !data.continues) panel.append(make("p", { className: "hint", textContent: t("lens.no_continue") }));
  const draw = () => {
    const temperature = Number(slider.value);
    output.textContent = number(temperature, 2);
    const { known, rest } = atTemperature(rows.map((row) => row.logprob), data.vocabulary, temperature);
    let bounded = false;
    const line = (text, [low, high], extra) => {
      const unsure = high - low > 0.005;
      bounded ||= unsure;
      const bar = make("span", { className: "bar" }, make("span"));
      bar.firstChild.style.width = `${100 * high}%`;
      const value = unsure ? `${share(low)} – ${share(high)}` : share(high);
      const cell = make("td", { className: "number" }, value, bar);
      const row = make("tr", {}, make("td", {}, text), cell);
      if (mayGoOn) row.append(make("td", {}, extra ?? ""));
      return row;
    };
    body.replaceChildren(...rows.map((row, at) => {
      const name = make("span", {}, make("code", { textContent: printed(row.text) }));
      if (row.written) name.append(" ", make("span", { className: "badge", textContent: t("lens.written") }));
      let instead = "";
      if (mayGoOn && !row.written) {
        instead = make("button", { type: "button", className: "button small", textContent: "→", title: t("lens.instead") });
        instead.setAttribute("aria-label", t("lens.instead_of", { token: printed(row.text) }));
        instead.addEventListener("click", () => { drawer.close(); goOn(place, row.id); });
      }
      return line(name, known[at], instead);
    }), line(t("lens.others"), rest));
    note.textContent = bounded ? t("lens.bounds", { count: rows.length }) : "";
  };
  slider.addEventListener("input", draw);
  draw();
  drawer.open(`“${printed(one.text)}”`, panel);
}

/** Puts the lens over a turn, or takes it away. */
export async function showLens(turn, button, goOn) {
  const there = turn.querySelector(":scope > .lens");
  const prose = turn.querySelector(".prose, .said");
  if (there) {
    there.remove();
    prose.hidden = false;
    button.setAttribute("aria-pressed", "false");
    drawer.close();
    return;
  }
  const own = turn.matches("chat-question");
  const model = document.getElementById("model")?.value;
  const data = await attempt(() => own
    ? ask("/web/lens", { method: "POST", body: { text: prose.textContent, model } })
    : ask(`/web/messages/${turn.dataset.id}/lens`));
  if (!data) return;
  prose.hidden = true;
  prose.after(lensText(data, own ? undefined : goOn));
  button.setAttribute("aria-pressed", "true");
}

class OwnLens extends HTMLElement {
  connectedCallback() {
    const form = this.querySelector("form");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const body = { text: form.text.value, model: form.model.value };
      const data = await attempt(() => ask("/web/lens", { method: "POST", body }));
      if (data) this.querySelector(".lens-result").replaceChildren(lensText(data));
    });
  }
}
customElements.define("own-lens", OwnLens);
