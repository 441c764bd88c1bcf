// @ts-check
/** Tints what is marked to go, over the photo: as retouchers' red film did. It shows exactly what is sent. */

import { byId } from "./dom.js";
import { drawStrokes, fillInstance } from "./mask.js";

/** @import { App } from "./app.js" */
/** @import { Stroke } from "./types.js" */
/** @import { View } from "./view.js" */

export class Tint {
  /** The stroke that is being drawn. @type {Stroke | null} */
  #live = null;
  #canvas = byId("tint", HTMLCanvasElement);
  #context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
  #due = false;

  /**
   * @param {App} app
   * @param {View} view
   */
  constructor(app, view) {
    this.app = app;
    this.view = view;
    app.addEventListener("change", () => this.#draw());
    view.addEventListener("change", () => this.#soon());
  }

  /** @param {Stroke | null} stroke */
  set live(stroke) {
    this.#live = stroke;
    this.#soon();
  }

  #soon() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  }

  #draw() {
    const { width, height } = this.view.size;
    const dense = devicePixelRatio;
    const [w, h] = [Math.round(width * dense), Math.round(height * dense)];
    if (this.#canvas.width !== w || this.#canvas.height !== h) [this.#canvas.width, this.#canvas.height] = [w, h];
    const context = this.#context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, w, h);
    const session = this.app.current;
    if (!session || this.app.comparing) return;
    const { scale, x, y } = this.view;
    context.setTransform(scale * dense, 0, 0, scale * dense, x * dense, y * dense);
    context.beginPath();
    context.fillStyle = context.strokeStyle = getComputedStyle(this.#canvas).color;
    const { chosen, strokes } = session.selection;
    for (const one of session.instances) if (chosen.has(one.id)) fillInstance(context, one);
    drawStrokes(context, this.#live ? [...strokes, this.#live] : strokes, "brush");
    context.globalCompositeOperation = "destination-in"; // strokes end where the photo does
    context.fillRect(0, 0, session.width, session.height);
    context.globalCompositeOperation = "source-over";
  }
}
