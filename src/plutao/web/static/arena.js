// Votes by keys: left, right, a tie, both bad.

import { typing } from "/static/base.js";

const CHOICES = { ArrowLeft: "left", ArrowRight: "right", "=": "tie", 0: "bad" };

class DuelVotes extends HTMLElement {
  connectedCallback() {
    document.addEventListener("keydown", (event) => {
      const choice = CHOICES[event.key];
      if (!choice || typing(event)) return;
      event.preventDefault();
      this.querySelector(`[value=${choice}]`).click();
    });
  }
}
customElements.define("duel-votes", DuelVotes);
