// @ts-check
/** How far a removal is, in words and as a bar, with the button that cancels it. */

import { byId } from "./dom.js";

/** @import { App } from "./app.js" */
/** @import { Job } from "./types.js" */

/** @type {Record<string, string>} */
const STAGES = {
  read: "Reading the photo",
  find: "Finding the objects",
  refine: "Sharpening outlines",
  fill: "Filling in what was behind",
  encode: "Writing the file",
};

export class Progress {
  #box = byId("progress", HTMLElement);
  #name = byId("stage-name", HTMLElement);
  #count = byId("stage-count", HTMLElement);
  #bar = byId("bar", HTMLProgressElement);
  #cancel = byId("cancel", HTMLButtonElement);
  #sweep = byId("sweep", HTMLElement);
  #said = "";

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    app.addEventListener("change", () => this.#render());
    this.#cancel.addEventListener("click", () => app.current?.cancel());
  }

  #render() {
    const session = this.app.current;
    const running = session?.removing ?? false;
    this.#sweep.hidden = !running;
    if (running && this.#box.hidden) this.#reveal();
    else if (!running && !this.#box.hidden) this.#conceal();
    if (!session?.job) return;
    const { done, total } = session.job;
    const name = session.busyFor ? `The server is busy: trying again in ${session.busyFor} s` : inWords(session.job);
    this.#name.textContent = name;
    this.#count.textContent = total > 1 && session.job.stage === "fill" ? `${done} of ${total}` : "";
    if (done > 0 && session.job.stage === "fill") this.#bar.value = done / total;
    else this.#bar.removeAttribute("value"); // how long the first window takes is not known
    if (name !== this.#said) this.app.say(name);
    this.#said = name;
  }

  /** Whoever waited on Cancel goes on with the button that takes its place. */
  #conceal() {
    const waited = document.activeElement === this.#cancel;
    this.#box.hidden = true;
    if (waited) byId(this.app.comparing ? "go-on" : "remove", HTMLButtonElement).focus({ preventScroll: true });
  }

  /** Whoever pressed Remove by keyboard finds Cancel under the same key. */
  #reveal() {
    const focused = document.activeElement;
    const pressed =
      focused === document.body || focused === null || focused.closest("#remove, #objects, #aim") !== null;
    this.#box.hidden = false;
    if (pressed) this.#cancel.focus({ preventScroll: true });
  }
}

/** @param {Job} job */
function inWords({ state, stage, position }) {
  if (state === "queued") return position > 0 ? `Waiting: number ${position} in line` : "Starting";
  return STAGES[stage ?? ""] ?? "Working";
}
