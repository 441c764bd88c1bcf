// @ts-check
/** The settings dialog: growth, comparing, and which models work, with what they weigh and under which licence. */

import { byId, make } from "./dom.js";
import * as api from "./api.js";
import { follow } from "./jobs.js";

/** @import { App } from "./app.js" */
/** @import { Model } from "./types.js" */

/** @type {Record<Model["kind"], string>} */
const KINDS = {
  segmenter: "Finds objects",
  prompter: "Draws around what you click or box",
  inpainter: "Fills in what was behind",
};

export class SettingsDialog {
  #dialog = byId("settings", HTMLDialogElement);
  #models = byId("models", HTMLElement);
  #note = byId("models-note", HTMLElement);
  #growAuto = byId("grow-auto", HTMLInputElement);
  #grow = byId("grow", HTMLInputElement);
  #compareAfter = byId("compare-after", HTMLInputElement);
  /** Pulls that run, by model. @type {Map<string, AbortController>} */
  #pulls = new Map();

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    byId("open-settings", HTMLButtonElement).addEventListener("click", () => this.open());
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    for (const input of [this.#growAuto, this.#grow]) {
      input.addEventListener("input", () =>
        app.set({ grow: this.#growAuto.checked ? "auto" : Number(this.#grow.value) }),
      );
    }
    this.#compareAfter.addEventListener("input", () => app.set({ compareAfter: this.#compareAfter.checked }));
    app.addEventListener("change", () => this.#render());
    this.#render();
  }

  open() {
    this.#dialog.showModal();
    void this.#list();
  }

  #render() {
    const { grow, compareAfter } = this.app.settings;
    this.#growAuto.checked = grow === "auto";
    if (grow !== "auto") this.#grow.value = String(grow);
    this.#compareAfter.checked = compareAfter;
    byId("grow-row", HTMLElement).hidden = grow === "auto";
    byId("grow-value", HTMLOutputElement).textContent = `${this.#grow.value}%`;
  }

  async #list() {
    const { offline, models } = await api.models();
    this.#note.textContent = offline
      ? "The server was started offline: it fetches nothing."
      : "Automatic takes the best that is on the server’s machine. Nothing is fetched unless you ask.";
    const kinds = /** @type {Model["kind"][]} */ (Object.keys(KINDS));
    this.#models.replaceChildren(...kinds.map((kind) => this.#section(kind, models, offline)));
  }

  /**
   * @param {Model["kind"]} kind
   * @param {Model[]} models
   * @param {boolean} offline
   */
  #section(kind, models, offline) {
    const some = models.filter((model) => model.kind === kind);
    const taken = some.find(({ auto }) => auto)?.name;
    const rows = some.map((model) => this.#row(model, offline));
    const auto = this.#radio(kind, "auto", "Automatic", `Now ${taken}`);
    return make("fieldset", {}, make("legend", {}, KINDS[kind]), make("div", { class: "model" }, auto), ...rows);
  }

  /**
   * @param {Model} model
   * @param {boolean} offline
   */
  #row(model, offline) {
    const weight = model.size
      ? megabytes(model.size)
      : model.state === "built in"
        ? "no weights"
        : "size not published";
    const facts = `${weight} · ${model.licence}`;
    const radio = this.#radio(model.kind, model.name, model.name, model.title, facts);
    const row = make("div", { class: "model" }, radio);
    if (model.state !== "remote" && model.state !== "missing") return row;
    const input = /** @type {HTMLInputElement} */ (radio.querySelector("input"));
    input.disabled = true;
    if (offline || model.state === "missing") return row;
    const get = make("button", { type: "button", class: "button" }, "Get");
    get.setAttribute("aria-label", `Get ${model.name}, ${weight}`);
    const bar = make("progress", { max: 1, hidden: true, "aria-label": `Fetching ${model.name}` });
    get.addEventListener("click", () => void this.#pull(model, get, bar));
    row.append(make("div", { class: "fetch" }, bar, get));
    return row;
  }

  /**
   * @param {Model["kind"]} kind
   * @param {string} value
   * @param {string} name
   * @param {...string} about  a line each
   */
  #radio(kind, value, name, ...about) {
    const input = make("input", { type: "radio", name: kind, value, checked: this.app.settings[kind] === value });
    input.addEventListener("change", () => this.app.set({ [kind]: value }));
    return make("label", {}, input, make("span", {}, name, ...about.map((line) => make("small", {}, line))));
  }

  /**
   * Fetch a model, or stop fetching it.
   * @param {Model} model
   * @param {HTMLButtonElement} button
   * @param {HTMLProgressElement} bar
   */
  async #pull(model, button, bar) {
    const running = this.#pulls.get(model.name);
    if (running) return running.abort();
    const stop = new AbortController();
    this.#pulls.set(model.name, stop);
    [button.textContent, bar.hidden] = ["Cancel", false];
    try {
      const job = await follow(
        await api.pullModel(model.name),
        ({ done, total }) => (bar.value = total ? done / total : 0),
        stop.signal,
      );
      if (job.state === "done") this.app.say(`${model.name} is here.`);
      if (job.state === "failed") this.#complain(button, job.error?.message ?? "It could not be fetched.");
      else await this.#list();
    } catch (error) {
      if (!(error instanceof api.Refused)) throw error;
      this.#complain(button, error.message);
    } finally {
      this.#pulls.delete(model.name);
      [button.textContent, bar.hidden] = ["Get", true];
    }
  }

  /**
   * @param {HTMLElement} button
   * @param {string} line
   */
  #complain(button, line) {
    const row = button.closest(".model");
    row?.querySelector(".trouble")?.remove();
    row?.append(make("p", { class: "trouble", role: "alert" }, line));
  }
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: bytes < 2e7 ? 1 : 0 })} MB`;
}
