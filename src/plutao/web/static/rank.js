// Putting answers in order: by drag, by buttons, or by digits. Without this script each answer has a field for its rank.

import { ask, t, typing } from "/static/base.js";

function button(icon, label, action) {
  const one = document.createElement("button");
  one.type = "button";
  one.className = "button quiet small square";
  one.setAttribute("aria-label", label);
  one.title = label;
  one.textContent = icon;
  one.addEventListener("click", action);
  return one;
}

class RankList extends HTMLElement {
  connectedCallback() {
    if (this.list) return;
    this.list = this.querySelector("ol");
    this.form = this.closest("form");
    this.typed = [];
    this.tieNext = false;
    this.touched = false;
    this.classList.add("scripted");
    this.spoken = Object.assign(document.createElement("p"), { className: "out-of-sight" });
    this.spoken.setAttribute("aria-live", "polite");
    this.append(this.spoken);
    for (const item of this.items) this.prepare(item);
    document.addEventListener("keydown", (event) => this.key(event));
    this.update();
  }

  get items() { return [...this.list.children]; }

  prepare(item) {
    const number = item.dataset.number;
    const moves = document.createElement("div");
    moves.className = "moves";
    const grip = document.createElement("span");
    grip.className = "grip";
    grip.textContent = "⠿";
    grip.setAttribute("aria-hidden", "true");
    grip.addEventListener("pointerdown", (event) => this.drag(event, item));
    item.place = document.createElement("span");
    item.place.className = "place";
    item.tie = button("=", t("rank.tie", { number }), () => { item.tied = !item.tied; this.changed(item); });
    moves.append(
      item.place,
      button("↑", t("rank.up", { number }), () => this.move(item, -1)),
      button("↓", t("rank.down", { number }), () => this.move(item, 1)),
      item.tie, grip);
    item.append(moves);
  }

  move(item, by) {
    const at = this.items.indexOf(item) + by;
    if (at < 0 || at >= this.items.length) return;
    this.list.insertBefore(item, by < 0 ? this.items[at] : this.items[at].nextSibling);
    item.tied = false;
    this.changed(item);
    item.querySelector(by < 0 ? "button:nth-of-type(1)" : "button:nth-of-type(2)").focus();
  }

  drag(event, item) {
    event.preventDefault();
    item.classList.add("dragged");
    // On the document: an element that is moved within it loses its capture of the pointer.
    const listening = new AbortController();
    const mine = (other) => other.pointerId === event.pointerId;
    const follow = (move) => {
      if (!mine(move)) return;
      for (const other of this.items) {
        if (other === item) continue;
        const box = other.getBoundingClientRect();
        if (move.clientY < box.top || move.clientY > box.bottom) continue;
        const before = this.items.indexOf(item) > this.items.indexOf(other);
        if (before === (move.clientY < box.top + box.height / 2)) {
          this.list.insertBefore(item, before ? other : other.nextSibling);
          item.tied = false;
        }
        break;
      }
      this.update();
    };
    const end = (up) => {
      if (!mine(up)) return;
      listening.abort();
      item.classList.remove("dragged");
      this.changed(item);
    };
    document.addEventListener("pointermove", follow, listening);
    document.addEventListener("pointerup", end, listening);
    document.addEventListener("pointercancel", end, listening);
  }

  key(event) {
    if (typing(event) || event.defaultPrevented) return;
    const onControl = event.target.closest("button, a, summary");
    if (/^[1-9]$/.test(event.key)) this.digit(event.key);
    else if (event.key === "=" && this.typed.length) this.tieNext = true;
    else if (event.key === "Backspace") { this.typed.pop(); this.tieNext = false; this.say(t("rank.taken_back")); }
    else if (event.key === "s") this.form.querySelector("[value=skip]").click();
    else if (event.key === "Enter" && !onControl && this.touched) this.form.querySelector("#keep").click();
    else return;
    event.preventDefault();
  }

  digit(number) {
    const item = this.items.find((one) => one.dataset.number === number);
    if (!item) return;
    if (this.typed.length >= this.items.length) this.typed = [];
    if (this.typed.includes(item)) return;
    const after = this.typed.at(-1);
    this.list.insertBefore(item, after ? after.nextSibling : this.list.firstChild);
    item.tied = this.tieNext && Boolean(after);
    this.tieNext = false;
    this.typed.push(item);
    const next = item.nextElementSibling;
    if (next && !this.typed.includes(next)) next.tied = false;
    this.changed(item);
  }

  changed(item) {
    this.touched = true;
    this.update();
    this.say(t(item.tied ? "rank.now_tied" : "rank.now_at", { number: item.dataset.number, place: item.rank }));
  }

  say(text) { this.spoken.textContent = text; }

  update() {
    let rank = 0;
    this.items.forEach((item, at) => {
      if (at === 0) item.tied = false;
      if (!item.tied) rank += 1;
      item.rank = rank;
      item.classList.toggle("tied", Boolean(item.tied));
      item.querySelector("select").value = String(rank);
      item.place.textContent = `${rank}.`;
      item.tie.style.visibility = at === 0 ? "hidden" : "";
      item.tie.setAttribute("aria-pressed", String(Boolean(item.tied)));
    });
    const keep = this.form.querySelector("#keep");
    keep.classList.toggle("primary", this.touched);
    keep.textContent = t(this.touched ? "rank.keep" : "rank.keep_as_is");
  }
}
customElements.define("rank-list", RankList);

// While somebody ranks, the next answers are written.
class SheetAhead extends HTMLElement {
  connectedCallback() {
    setTimeout(() => ask("/web/rank/ahead", { method: "POST", body: {} }).catch(() => { /* the next page asks again */ }), 400);
  }
}
customElements.define("sheet-ahead", SheetAhead);

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-busy]");
  const pressed = form?.querySelector("button");
  if (pressed) { pressed.textContent = t("rank.writing"); pressed.setAttribute("aria-disabled", "true"); }
});
