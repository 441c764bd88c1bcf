// @ts-check
/** The settings dialog: growth, comparing, and which models work, with what they weigh and under which licence. */

import { byId, make } from "./dom.js";
import * as api from "./api.js";
import { follow } from "./jobs.js";

/** @import { App } from "./app.js" */
/** @import { Job, Model } from "./types.js" */

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
  /** Pulls that run, by model, each with what shows it. @type {Map<string, {stop: AbortController, box: HTMLElement}>} */
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
    const auto = this.#radio(kind, "auto", "Automatic", taken ? `Now ${taken}` : "As the server was started");
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
    row.append(this.#pulls.get(model.name)?.box ?? this.#fetcher(model, weight));
    return row;
  }

  /**
   * The button that fetches a model, and the bar beside it.
   * @param {Model} model
   * @param {string} weight
   */
  #fetcher(model, weight) {
    const button = make("button", { type: "button", class: "button" }, "Get");
    button.setAttribute("aria-label", `Get ${model.name}, ${weight}`);
    const bar = make("progress", { max: 1, hidden: true, "aria-label": `Fetching ${model.name}` });
    const box = make("div", { class: "fetch" }, bar, button);
    button.addEventListener("click", () => {
      const running = this.#pulls.get(model.name);
      if (running) running.stop.abort();
      else void this.#pull(model, { box, button, bar });
    });
    return box;
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
   * @param {Model} model
   * @param {{box: HTMLElement, button: HTMLButtonElement, bar: HTMLProgressElement}} parts
   */
  async #pull({ name }, { box, button, bar }) {
    const stop = new AbortController();
    this.#pulls.set(name, { stop, box });
    [button.textContent, button.ariaLabel, bar.hidden] = ["Cancel", `Cancel fetching ${name}`, false];
    let trouble = "";
    try {
      const show = (/** @type {Job} */ { done, total }) => (bar.value = total ? done / total : 0);
      const job = await follow(await api.pullModel(name), show, stop.signal);
      if (job.state === "done") this.app.say(`${name} is here.`);
      if (job.state === "failed") trouble = job.error?.message ?? "It could not be fetched.";
    } catch (error) {
      if (!(error instanceof api.Refused)) throw error;
      trouble = error.message;
    } finally {
      this.#pulls.delete(name);
    }
    await this.#list();
    if (trouble) this.#complain(name, trouble);
  }

  /**
   * Say what went wrong below the model that it happened to.
   * @param {string} name
   * @param {string} line
   */
  #complain(name, line) {
    const input = this.#models.querySelector(`input[value="${CSS.escape(name)}"]`);
    input?.closest(".model")?.append(make("p", { class: "trouble", role: "alert" }, line));
  }
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: bytes < 2e7 ? 1 : 0 })} MB`;
}
