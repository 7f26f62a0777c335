// The chat: composing, answers as they come, versions, opinions, the settings in the drawer.

import { ask, attempt, drawer, t, tell, typing } from "./base.js";
import { showLens } from "./lens.js";

const page = () => document.querySelector("chat-page");

/** Elements of a piece of HTML that the server rendered. */
function elements(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.children];
}

const atBottom = () => window.innerHeight + window.scrollY > document.documentElement.scrollHeight - 120;
const toBottom = () => window.scrollTo(0, document.documentElement.scrollHeight);

// ---------------------------------------------------------------------------------------------------------------------

class ChatAnswer extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    this.addEventListener("click", (event) => this.clicked(event));
    this.addEventListener("keydown", (event) => walk(this, event));
    this.querySelector("[data-reason]")?.addEventListener("submit", (event) => this.explain(event));
    addCopyButtons(this);
    if (this.dataset.state === "writing") this.listen();
  }

  disconnectedCallback() { this.source?.close(); }

  get number() { return this.dataset.id; }

  /** The answer as it is written. The browser comes back by itself, and tells what it has seen. */
  listen() {
    this.source = new EventSource(`/web/messages/${this.number}/events`);
    this.source.addEventListener("version", (event) => {
      const version = JSON.parse(event.data);
      const follow = atBottom();
      const prose = this.querySelector(".prose");
      while (prose.children.length > version.from) prose.lastElementChild.remove();
      for (const html of version.html) {
        const block = document.createElement("div");
        block.className = "block";
        block.innerHTML = html;
        prose.append(block);
      }
      if (version.calls) this.querySelector(".calls").innerHTML = version.calls;
      if (follow) toBottom();
    });
    this.source.addEventListener("done", (event) => {
      this.source.close();
      const follow = atBottom();
      const [fresh] = elements(JSON.parse(event.data).html);
      const whole = fresh.matches("chat-answer") ? fresh : fresh.querySelector(`[data-id="${this.number}"]`);
      this.replaceWith(whole);
      if (follow) toBottom();
      page()?.settled();
    });
    this.source.addEventListener("error", () => {
      if (this.source.readyState === EventSource.CLOSED) setTimeout(() => this.isConnected && this.listen(), 2000);
    });
  }

  stop() { return attempt(() => ask(`/web/messages/${this.number}/stop`, { method: "POST" })); }

  clicked(event) {
    const on = (name) => event.target.closest(`[data-${name}]`);
    const button = event.target.closest("button");
    if (on("show") && button.dataset.show) page().show(button.dataset.show);
    else if (on("copy")) copy(this.querySelector(".source").value);
    else if (on("again")) page().begin(`/web/messages/${this.number}/again`, {}, this);
    else if (on("thumb")) this.thumb(button);
    else if (on("cancel")) this.querySelector("[data-reason]").hidden = true;
    else if (on("verdict")) this.verdict(button);
    else if (on("correct")) this.correct();
    else if (on("lens")) showLens(this, button, (place, token) =>
      page().begin(`/web/messages/${this.number}/instead`, { place, token }, this));
  }

  async thumb(button) {
    const pressed = button.getAttribute("aria-pressed") === "true";
    const good = pressed ? null : button.dataset.thumb === "up";
    const done = await attempt(async () => {
      await ask(`/web/messages/${this.number}/thumb`, { method: "PUT", body: { good } });
      return true;
    });
    if (!done) return;
    for (const one of this.querySelectorAll("[data-thumb]")) {
      one.setAttribute("aria-pressed", String(good !== null && (one.dataset.thumb === "up") === good));
    }
    const reason = this.querySelector("[data-reason]");
    reason.hidden = good !== false;
    if (good === false) {
      reason.scrollIntoView({ block: "nearest" });
      reason.querySelector("input").focus({ preventScroll: true });
    }
    else tell(t("chat.noted"));
  }

  async explain(event) {
    event.preventDefault();
    const form = event.target;
    const body = { good: false, reason: form.reason.value || null, comment: form.comment.value };
    const done = await attempt(async () => {
      await ask(`/web/messages/${this.number}/thumb`, { method: "PUT", body });
      return true;
    });
    if (done) { form.hidden = true; tell(t("chat.noted")); }
  }

  async verdict(button) {
    const verdict = button.dataset.verdict;
    const done = await attempt(async () => {
      await ask(`/web/messages/${this.number}/verdict`, { method: "PUT", body: { verdict } });
      return true;
    });
    if (!done) return;
    const said = document.createElement("span");
    said.className = "hint";
    said.textContent = t(`chat.compared_${verdict}`);
    said.tabIndex = -1;
    this.querySelector("[data-compare]").replaceChildren(said);
    said.focus();
  }

  correct() {
    const old = this.querySelector(".corrected .said")?.textContent ?? this.querySelector(".source").value;
    write(this, old, t("chat.correct_means"), t("chat.save"), async (text) => {
      const { html } = await ask(`/web/messages/${this.number}/correction`, { method: "PUT", body: { text } });
      const [fresh] = elements(html);
      const whole = fresh.matches("chat-answer") ? fresh : fresh.querySelector(`[data-id="${this.number}"]`);
      this.replaceWith(whole);
      tell(t("chat.noted"));
    });
  }
}
customElements.define("chat-answer", ChatAnswer);

class ChatQuestion extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    this.addEventListener("keydown", (event) => walk(this, event));
    this.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      const said = this.querySelector(".said");
      if (!button) return;
      if (button.dataset.show) page().show(button.dataset.show);
      else if ("copy" in button.dataset) copy(said.textContent);
      else if ("edit" in button.dataset) {
        write(this, said.textContent, "", t("chat.send"), (text) => page().say(text, this.dataset.parent, this));
      } else if ("ownLens" in button.dataset) showLens(this, button);
    });
  }
}
customElements.define("chat-question", ChatQuestion);

/** A field in place of a turn's words; `done(text)` when it is sent. */
function write(turn, text, hint, label, done) {
  if (turn.querySelector(".rewrite")) return;
  const form = document.createElement("form");
  form.className = "rewrite stack";
  const area = document.createElement("textarea");
  area.className = "input";
  area.value = text;
  area.rows = Math.min(12, text.split("\n").length + 2);
  area.setAttribute("aria-label", label);
  const row = document.createElement("p");
  row.className = "row";
  const send = Object.assign(document.createElement("button"), { className: "button small primary", textContent: label });
  const cancel = Object.assign(document.createElement("button"), { className: "button small quiet", textContent: t("chat.cancel"), type: "button" });
  row.append(send, cancel);
  form.append(area, row);
  if (hint) {
    const told = Object.assign(document.createElement("p"), { className: "hint", textContent: hint });
    form.append(told);
  }
  const close = () => form.remove();
  cancel.addEventListener("click", close);
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.preventDefault(); close(); } });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await attempt(async () => { await done(area.value); close(); });
  });
  turn.querySelector(".actions").before(form);
  form.scrollIntoView({ block: "nearest" });
  area.focus({ preventScroll: true });
}

/** Arrows walk the versions of the turn that has the focus. */
function walk(turn, event) {
  if (typing(event) || !["ArrowLeft", "ArrowRight"].includes(event.key) || event.target.closest(".lens-text")) return;
  const step = event.key === "ArrowLeft" ? "-1" : "1";
  const button = turn.querySelector(`[data-step="${step}"]:not(:disabled)`);
  if (button) { event.preventDefault(); button.click(); }
}

const copy = (text) => attempt(async () => { await navigator.clipboard.writeText(text); tell(t("base.copied")); });

function addCopyButtons(turn) {
  for (const code of turn.querySelectorAll(".code")) {
    const button = document.createElement("copy-button");
    const inner = Object.assign(document.createElement("button"), { type: "button", className: "button quiet small", textContent: t("chat.copy") });
    button.append(inner);
    code.prepend(button);
  }
}

// ---------------------------------------------------------------------------------------------------------------------

class ChatPage extends HTMLElement {
  connectedCallback() {
    this.messages = document.getElementById("messages");
    this.composer = document.getElementById("composer");
    this.area = document.getElementById("message");
    this.model = document.getElementById("model");
    this.beside = [];
    this.composer.addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    this.area.addEventListener("input", () => this.grow());
    this.area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.send(); }
    });
    this.model.addEventListener("change", () => this.change({ model: this.model.value }));
    this.composer.querySelector(".stop").addEventListener("click", () => this.stop());
    this.querySelector("[data-settings]").addEventListener("click", () => this.settings());
    this.querySelector("[data-older-button]")?.addEventListener("click", () => this.older());
    for (const starter of this.querySelectorAll("[data-starter]")) {
      starter.addEventListener("click", () => { this.area.value = starter.textContent; this.send(); });
    }
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !typing(event)) { event.preventDefault(); this.area.focus(); }
      if (event.key === "Escape" && this.writing.length && !event.defaultPrevented) { event.preventDefault(); this.stop(); }
    }, true);
    this.searching();
    const draft = sessionStorage.getItem(this.draftKey);
    if (draft) this.area.value = draft;
    this.grow();
    this.settled();
    if (location.hash) document.querySelector(location.hash)?.scrollIntoView();
    else if (this.dataset.id) toBottom();
  }

  get id() { return this.dataset.id; }
  get draftKey() { return `draft-${this.dataset.id}`; }
  get writing() { return [...this.querySelectorAll('chat-answer[data-state="writing"]')]; }

  grow() {
    this.area.style.height = "auto";
    this.area.style.height = `${Math.min(this.area.scrollHeight + 2, window.innerHeight * 0.4)}px`;
    sessionStorage.setItem(this.draftKey, this.area.value);
  }

  /** Sending and stopping share a place. */
  settled() {
    const busy = this.writing.length > 0;
    const stop = this.composer.querySelector(".stop");
    const held = document.activeElement === stop;
    stop.hidden = !busy;
    this.composer.querySelector(".send").hidden = busy;
    if (held && !busy) this.area.focus();
  }

  stop() { return Promise.all(this.writing.map((answer) => answer.stop())); }

  async send() {
    const text = this.area.value;
    if (!text.trim() || this.writing.length || this.sending) return;
    this.sending = true;
    await attempt(async () => {
      if (!this.dataset.id) {
        const made = await ask("/web/chat", { method: "POST", body: { ...this.fresh(), model: this.model.value } });
        const models = this.beside;
        await ask(`/web/chat/${made.id}/turns`, { method: "POST", body: { text, models } });
        sessionStorage.removeItem(this.draftKey);
        location.assign(`/chat/${made.id}`);
        return;
      }
      await this.say(text, this.dataset.last || null, null);
      this.area.value = "";
      this.grow();
    });
    this.sending = false;
  }

  /** A turn after `parent`; where it is another version of a turn, what came after that one goes out of sight. */
  async say(text, parent, replaced) {
    const body = { text, parent: parent ? Number(parent) : null, models: this.beside };
    const made = await ask(`/web/chat/${this.dataset.id}/turns`, { method: "POST", body });
    this.put(made, replaced);
  }

  /** Another version of an answer. */
  begin(path, body, replaced) {
    return attempt(async () => {
      await this.stop();
      this.put(await ask(path, { method: "POST", body }), replaced);
    });
  }

  put({ html, last }, replaced) {
    if (replaced) {
      const first = replaced.closest(".beside-group") ?? replaced;
      while (first.nextElementSibling) first.nextElementSibling.remove();
      first.remove();
    }
    this.querySelector(".empty")?.remove();
    this.messages.append(...elements(html));
    this.dataset.last = last;
    this.settled();
    toBottom();
  }

  show(message) {
    return attempt(async () => {
      await ask(`/web/chat/${this.dataset.id}/show`, { method: "POST", body: { message: Number(message) } });
      location.replace(`/chat/${this.dataset.id}#message-${message}`);
      location.reload();
    });
  }

  async older() {
    const button = this.querySelector("[data-older-button]");
    const first = this.messages.querySelector(".turn");
    await attempt(async () => {
      const { html, older } = await ask(`/web/chat/${this.dataset.id}/older?before=${this.dataset.older}`);
      const before = first.getBoundingClientRect().top;
      button.closest("p").after(...elements(html));
      window.scrollBy(0, first.getBoundingClientRect().top - before);
      this.dataset.older = older ?? "";
      if (!older) button.closest("p").remove();
    });
  }

  searching() {
    const field = document.getElementById("search");
    let timer;
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => attempt(async () => {
        const html = await ask(`/web/chat/list?search=${encodeURIComponent(field.value)}`);
        document.getElementById("conversations").innerHTML = html;
      }), 200);
    });
  }

  // The settings in the drawer -----------------------------------------------------------------------------------------

  settings() {
    if (!this.panel) {
      this.panel = document.createElement("div");
      this.panel.append(document.getElementById("settings").content.cloneNode(true));
      const form = this.panel.querySelector("form");
      form.addEventListener("submit", (event) => event.preventDefault());
      form.addEventListener("input", (event) => {
        const output = form.querySelector(`output[for="${event.target.id}"]`);
        if (output) output.textContent = event.target.value;
      });
      form.addEventListener("change", (event) => this.changed(event.target, form));
      this.panel.addEventListener("click", (event) => this.pressed(event.target.closest("button")));
    }
    drawer.open(t("chat.settings"), this.panel, { focus: true });
  }

  sampling(form) {
    const values = {};
    for (const name of ["temperature", "top_p", "repetition_penalty", "top_k", "max_tokens"]) values[name] = Number(form[name].value);
    values.seed = form.seed.value === "" ? null : Number(form.seed.value);
    return values;
  }

  /** What a new conversation begins with, where the drawer was opened. */
  fresh() {
    const form = this.panel?.querySelector("form");
    return form ? { consent: form.consent.checked, system: form.system.value, sampling: this.sampling(form) } : {};
  }

  changed(field, form) {
    if (field.name === "beside") {
      this.beside = [...form.querySelectorAll('[name="beside"]:checked')].map((box) => box.value);
      if (this.beside.length === 1) this.beside = [];
      const told = document.getElementById("beside-count");
      told.hidden = !this.beside.length;
      told.textContent = t("chat.beside_count", { count: this.beside.length });
    } else if (["title", "system"].includes(field.name)) this.change({ [field.name]: field.value });
    else if (field.name === "consent") this.consent(field.checked);
    else if (form.reportValidity()) this.change({ sampling: this.sampling(form) });
  }

  async consent(yes) {
    await this.change({ consent: yes });
    const badge = document.getElementById("consent-badge");
    if (!badge) return;
    badge.textContent = yes ? badge.dataset.yes : badge.dataset.no;
    badge.classList.toggle("sun", yes);
  }

  change(body) {
    if (!this.dataset.id) return undefined;
    return attempt(async () => {
      await ask(`/web/chat/${this.dataset.id}`, { method: "PATCH", body });
      if (body.title !== undefined) {
        this.querySelector("h1").textContent = body.title || t("chat.new");
        const entry = document.querySelector('.conversation-list [aria-current] bdi');
        if (entry) entry.textContent = body.title || t("chat.new");
      }
    });
  }

  pressed(button) {
    if (!button) return;
    const result = this.panel.querySelector("[data-share-result]");
    const path = `/web/chat/${this.dataset.id}`;
    if ("pin" in button.dataset) {
      attempt(async () => { await ask(path, { method: "PATCH", body: { pinned: !button.dataset.pinned } }); location.reload(); });
    } else if ("share" in button.dataset) {
      attempt(async () => {
        const { url } = await ask(`${path}/share`, { method: "POST" });
        const link = Object.assign(document.createElement("a"), { href: url, textContent: url });
        result.replaceChildren(t("chat.share_is"), document.createElement("br"), link);
        result.hidden = false;
      });
    } else if ("unshare" in button.dataset) {
      attempt(async () => { await ask(`${path}/share`, { method: "DELETE" }); result.textContent = t("chat.unshared"); result.hidden = false; });
    } else if ("delete" in button.dataset) {
      if (!button.dataset.sure) { button.dataset.sure = "1"; button.textContent = t("chat.delete_sure"); return; }
      attempt(async () => { await ask(path, { method: "DELETE" }); location.assign("/chat"); });
    }
  }
}
customElements.define("chat-page", ChatPage);
