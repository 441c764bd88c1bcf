// @ts-check
/** The keyboard's way to click, drag a box and paint: a cross that arrow keys move over the photo. */

import { byId } from "./dom.js";
import { boxBetween, clamp } from "./geometry.js";
import { withStroke } from "./selection.js";

/** @import { App } from "./app.js" */
/** @import { Marks } from "./marks.js" */
/** @import { Point } from "./types.js" */
/** @import { View } from "./view.js" */

const STEP = 8; // screen pixels; with Shift ten times as many
/** @type {Record<string, Point>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Aim {
  /** @type {Point | null} */
  #at = null;
  /** @type {Point | null} */
  #corner = null;

  /**
   * @param {App} app
   * @param {View} view
   * @param {Marks} marks
   */
  constructor(app, view, marks) {
    this.app = app;
    this.view = view;
    this.marks = marks;
    const button = byId("aim", HTMLButtonElement);
    button.addEventListener("focus", () => this.#move([0, 0]));
    button.addEventListener("blur", () => this.#leave());
    button.addEventListener("keydown", (event) => this.#onKey(event));
    button.addEventListener("keyup", (event) => event.key === " " && event.preventDefault()); // no click of the button
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (!this.#at || event.ctrlKey || event.metaKey) return;
    if (event.key in ARROWS) this.#move(ARROWS[event.key], event.shiftKey ? 10 * STEP : STEP);
    else if (event.key === " ") this.#press(event);
    else if (event.key === "Escape" && this.#corner) this.#corner = this.marks.band = null;
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * @param {Point} way
   * @param {number} [by]  screen pixels
   */
  #move([dx, dy], by = 0) {
    const session = this.app.current;
    if (!session?.width) return;
    const [x, y] = this.#at ?? [session.width / 2, session.height / 2];
    const step = by / this.view.scale;
    this.#at = [clamp(x + dx * step, 0, session.width - 1), clamp(y + dy * step, 0, session.height - 1)];
    this.view.reveal(this.#at);
    this.marks.cross = this.#at;
    if (this.#corner) this.marks.band = [this.#corner, this.#at];
    this.app.say(
      `${Math.round((100 * this.#at[0]) / session.width)} % across, ${Math.round((100 * this.#at[1]) / session.height)} % down`,
    );
  }

  /** @param {KeyboardEvent} event */
  #press({ shiftKey, altKey }) {
    const session = this.app.current;
    if (!session || !this.#at || session.removing) return;
    const { tool, size } = this.app;
    if (tool === "brush" || tool === "eraser") {
      session.mark(withStroke(session.selection, { tool, size: size / this.view.scale, points: [this.#at] }));
    } else if (!shiftKey) {
      void session.point([Math.floor(this.#at[0]), Math.floor(this.#at[1])], { positive: !altKey, more: altKey });
    } else if (!this.#corner) {
      this.#corner = this.#at;
      this.app.say("First corner set. Move to the opposite corner and press Shift Space again.");
    } else {
      void session.box(boxBetween(this.#corner, this.#at, session.width, session.height));
      this.#corner = this.marks.band = null;
    }
  }

  #leave() {
    this.#corner = this.marks.band = this.marks.cross = null;
  }
}
