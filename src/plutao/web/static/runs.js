// <live-stage> and <live-training>: ask the server every few seconds while something trains, and show what is new.

import { ask } from "/static/base.js";
import "/static/charts.js";

const EVERY = 4000;

class Live extends HTMLElement {
  connectedCallback() { if (this.dataset.live === "true") this.wait(); }
  disconnectedCallback() { clearTimeout(this.timer); }
  wait() { this.timer = setTimeout(() => this.look(), document.hidden ? 4 * EVERY : EVERY); }
  async look() {
    let going = true;
    try { going = this.show(await ask(this.dataset.from)); } catch { /* asked again: the server may be starting anew */ }
    if (going) this.wait(); else location.reload();
  }
}

customElements.define("live-stage", class extends Live {
  show(now) {
    if (now.state !== "training") return false;
    const figures = new Map([...this.querySelectorAll("plutao-figure")].map((one) => [one.dataset.id, one]));
    if (now.charts.some((chart) => !figures.has(chart.id))) return false;
    for (const chart of now.charts) figures.get(chart.id).update(chart);
    this.querySelector(".now").innerHTML = now.told; // rendered and escaped by our own templates
    return true;
  }
});

customElements.define("live-training", class extends Live {
  show(now) {
    const log = this.querySelector("pre");
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 40;
    log.textContent = now.log;
    if (atEnd) log.scrollTop = log.scrollHeight;
    return now.state === "running" && (now.run ?? "") === (this.dataset.run ?? "");
  }
  connectedCallback() { super.connectedCallback(); const log = this.querySelector("pre"); log.scrollTop = log.scrollHeight; }
});

document.querySelectorAll("[data-show-samples]").forEach((range) => {
  range.addEventListener("input", () => {
    const items = [...range.closest(".sample").querySelectorAll("[data-step]")];
    items.forEach((item, index) => { item.hidden = index !== Number(range.value); });
  });
});

