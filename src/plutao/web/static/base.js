// What every page's scripts share: words, requests with the form token, notices, the menu, times, and copying.

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
const wordsElement = document.getElementById("words");
const WORDS = wordsElement ? JSON.parse(wordsElement.textContent) : {};
export const locale = document.documentElement.lang;

/** A text of the catalogue, as the server's `t`. */
export function t(key, values = {}) {
  const text = WORDS[key];
  if (text === undefined) throw new Error(`no words for ${key}`);
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** A number as the reader's language writes it. */
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

export class Refused extends Error {
  constructor(message, status, code) { super(message); this.status = status; this.code = code; }
}

/** Asks the server; changes carry the form token. Gives JSON, text, or null for an empty answer. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = { "X-Form-Token": meta("form-token"), Accept: "application/json, text/plain" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, signal, headers, credentials: "same-origin", body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.status === 401) location.assign(`/sign-in?back=${encodeURIComponent(location.pathname)}`);
  if (!answer.ok) {
    let error = {};
    try { error = (await answer.json()).error; } catch { /* not from us */ }
    throw new Refused(WORDS[`base.error_${error.code}`] ?? error.message ?? t("base.failed"), answer.status, error.code);
  }
  if (answer.status === 204) return null;
  const type = answer.headers.get("content-type") ?? "";
  return type.includes("json") ? answer.json() : answer.text();
}

let toastTimer;
/** Says something to everybody, those who listen included. */
export function tell(message) {
  const toast = document.getElementById("toast");
  toast.textContent = message;
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { toast.hidden = true; }, 6000);
}

/** Runs something that may be refused, and says why where it is. */
export async function attempt(work) {
  try { return await work(); } catch (error) {
    if (error.name !== "AbortError") tell(error.message);
    return undefined;
  }
}

/** Whether keys that are pressed are meant as text. */
export const typing = (event) =>
  event.target.closest("input, textarea, select, [contenteditable]") !== null || event.ctrlKey || event.metaKey || event.altKey;

// The drawer: one, at the right or below; `open(title, element)`.
export const drawer = {
  get element() { return document.getElementById("drawer"); },
  open(title, content, { focus = false } = {}) {
    const element = this.element;
    element.querySelector("h2").textContent = title;
    element.querySelector(".drawer-body").replaceChildren(content);
    element.hidden = false;
    document.querySelector(".frame").classList.add("with-drawer");
    if (focus) element.querySelector("h2").focus();
  },
  close() {
    this.element.hidden = true;
    document.querySelector(".frame").classList.remove("with-drawer");
    document.dispatchEvent(new CustomEvent("drawer-closed"));
  },
};

class MenuButton extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    const rail = document.querySelector(".rail");
    const set = (open) => {
      rail.classList.toggle("open", open);
      button.setAttribute("aria-expanded", String(open));
      if (open) rail.querySelector("a").focus();
    };
    button.addEventListener("click", () => set(!rail.classList.contains("open")));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && rail.classList.contains("open")) { set(false); button.focus(); }
    });
    document.addEventListener("click", (event) => {
      if (rail.classList.contains("open") && !rail.contains(event.target) && !this.contains(event.target)) set(false);
    });
  }
}
customElements.define("menu-button", MenuButton);

class CopyButton extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    this.addEventListener("click", async () => {
      const source = this.dataset.of ? document.getElementById(this.dataset.of) : null;
      const text = this.dataset.text ?? source?.value ?? source?.textContent ?? this.closest(".code")?.querySelector("code")?.textContent ?? "";
      const done = await attempt(async () => { await navigator.clipboard.writeText(text); return true; });
      if (done) tell(t("base.copied"));
    });
  }
}
customElements.define("copy-button", CopyButton);

class LocalTime extends HTMLElement {
  connectedCallback() {
    const moment = new Date(Number(this.dataset.seconds) * 1000);
    this.textContent = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }).format(moment);
  }
}
customElements.define("local-time", LocalTime);

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close-drawer]")) drawer.close();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && drawer.element && !drawer.element.hidden && !event.defaultPrevented) drawer.close();
  if (event.key === "?" && !typing(event)) {
    const keys = document.getElementById("keys");
    if (keys && drawer.element) drawer.open(t("base.keys"), keys.content.cloneNode(true), { focus: true });
  }
});
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-send-on-change]");
  if (form) form.requestSubmit();
});
