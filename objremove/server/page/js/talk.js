// @ts-check
/** Says things: quietly to screen readers, and what went wrong to everyone. */

import { connection } from "./connection.js";
import { byId, icon, make } from "./dom.js";

/** @import { App } from "./app.js" */

const STAYS_MS = 9000;

export class Talk {
  #live = byId("live", HTMLElement);
  #toasts = byId("toasts", HTMLElement);
  #gone = byId("gone", HTMLElement);

  /** @param {App} app */
  constructor(app) {
    app.addEventListener("say", (event) => {
      const { line, kind } = /** @type {CustomEvent} */ (event).detail;
      if (kind === "error") this.#toast(line);
      else this.#live.textContent = line;
    });
    connection.addEventListener("change", () => this.#onConnection());
    addEventListener("unhandledrejection", ({ reason }) =>
      this.#toast(`This page went wrong: ${reason?.message ?? reason}. Load it anew.`),
    );
  }

  /** @param {string} line */
  #toast(line) {
    const close = make("button", { type: "button", class: "quiet icon", "aria-label": "Dismiss" }, icon("close"));
    const toast = make("div", { class: "toast", role: "alert" }, make("p", {}, line), close);
    close.addEventListener("click", () => toast.remove());
    this.#toasts.replaceChildren(...[...this.#toasts.children].slice(-2), toast);
    setTimeout(() => toast.remove(), STAYS_MS);
  }

  #onConnection() {
    this.#gone.hidden = !connection.lost;
    this.#gone.textContent = connection.lost
      ? "The server does not answer. Start objremove serve again; this page goes on by itself."
      : "";
    if (!connection.lost) this.#live.textContent = "The server answers again.";
  }
}
