// While a training or a measurement is at work, its state is asked for again and again.

import { ask } from "/static/base.js";

const EVERY = 4000;

class TrainingSteps extends HTMLElement {
  connectedCallback() {
    if (this.querySelector("[data-state=moving]")) this.later();
  }

  disconnectedCallback() { clearTimeout(this.timer); }

  later() { this.timer = setTimeout(() => this.look(), EVERY); }

  async look() {
    const before = this.innerHTML;
    const text = await ask("/web/feedback/now").catch(() => null);
    if (text !== null && text !== before && !this.contains(document.activeElement)) {
      this.replaceChildren(document.createRange().createContextualFragment(text));
    }
    if (text === null || this.querySelector("[data-state=moving]")) this.later();
    else if (!document.activeElement || document.activeElement === document.body) location.reload();
  }
}
customElements.define("training-steps", TrainingSteps);
