// @ts-check
/** Before and after: a divider over the photo that pointer and keyboard move. */

import { byId } from "./dom.js";
import { clamp } from "./geometry.js";

/** @import { App } from "./app.js" */
/** @import { View } from "./view.js" */

const SWEEP_MS = 700;

export class Compare {
  #slider = byId("slider", HTMLElement);
  #input = byId("divide", HTMLInputElement);
  #before = byId("before", HTMLImageElement);
  #toggle = byId("compare-toggle", HTMLButtonElement);
  /** Where the divider is, 0 to 1 of the photo's width. */
  #at = 0.5;
  #on = false;
  #sweep = 0;

  /**
   * @param {App} app
   * @param {View} view
   */
  constructor(app, view) {
    this.app = app;
    this.view = view;
    app.addEventListener("change", () => this.#render());
    view.addEventListener("change", () => this.#place());
    this.#input.addEventListener("input", () => this.#set(Number(this.#input.value) / 100));
    this.#toggle.addEventListener("click", () => app.compare(!app.comparing));
  }

  /** @param {number} x  in photo coordinates */
  moveTo(x) {
    this.#set(x / (this.app.current?.width || 1));
  }

  #render() {
    const { comparing, current } = this.app;
    this.#toggle.disabled = !current?.isResult || current.removing;
    this.#toggle.setAttribute("aria-pressed", String(comparing));
    this.#slider.hidden = !comparing;
    if (comparing && !this.#on) this.#start();
    this.#on = comparing;
  }

  /** Begin at the right, before, and uncover the result up to the middle of what went, so that both sides show something. */
  #start() {
    const { step, width } = this.app.current ?? {};
    const middle = step?.changed && width ? clamp((step.changed[0] + step.changed[2]) / 2 / width, 0.08, 0.92) : 0.5;
    cancelAnimationFrame(this.#sweep);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return this.#put(middle);
    const began = performance.now();
    const go = (/** @type {number} */ now) => {
      const t = clamp((now - began) / SWEEP_MS, 0, 1);
      this.#put(1 - (1 - middle) * (1 - (1 - t) ** 3));
      if (t < 1) this.#sweep = requestAnimationFrame(go);
    };
    go(began);
  }

  /** @param {number} at */
  #set(at) {
    cancelAnimationFrame(this.#sweep);
    this.#put(at);
  }

  /** @param {number} at */
  #put(at) {
    this.#at = clamp(at, 0, 1);
    this.#input.value = String(100 * this.#at);
    this.#input.setAttribute("aria-valuetext", `${Math.round(100 * this.#at)} % before`);
    this.#place();
  }

  #place() {
    const { current } = this.app;
    if (!current) return;
    const [left, top] = this.view.toStage([current.width * this.#at, 0]);
    const bottom = this.view.toStage([0, current.height])[1];
    this.#before.style.clipPath = `inset(0 ${100 * (1 - this.#at)}% 0 0)`;
    const { style } = this.#slider;
    style.translate = `${left}px ${Math.max(top, 0)}px`;
    style.height = `${Math.min(bottom, this.view.size.height) - Math.max(top, 0)}px`;
  }
}
