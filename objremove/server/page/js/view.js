// @ts-check
/** Where the photo lies on the stage, and how large: zoom, pan, fit, and the way between screen and photo coordinates. */

import { clamp } from "./geometry.js";

/** @import { Point } from "./types.js" */

const MARGIN = 24; // screen pixels around a photo that is fitted
const MOST = 16; // screen pixels a photo pixel

/** Fires `change` when anything moved. */
export class View extends EventTarget {
  scale = 1;
  x = 0;
  y = 0;
  #width = 0;
  #height = 0;
  #fitted = true;

  /** @param {HTMLElement} stage */
  constructor(stage) {
    super();
    this.stage = stage;
    new ResizeObserver(() => (this.#fitted ? this.fit() : this.panBy(0, 0))).observe(stage);
  }

  /**
   * Show a photo of this size; fits it where the size is new.
   * @param {number} width
   * @param {number} height
   * @param {boolean} anew
   */
  show(width, height, anew) {
    if (!anew && width === this.#width && height === this.#height) return;
    [this.#width, this.#height] = [width, height];
    this.fit();
  }

  get size() {
    return { width: this.stage.clientWidth, height: this.stage.clientHeight };
  }

  get #fitScale() {
    const { width, height } = this.size;
    const margin = Math.min(MARGIN, width / 30);
    const scale = Math.min((width - 2 * margin) / this.#width, (height - 2 * margin) / this.#height);
    return clamp(scale || 1, 1e-3, 2);
  }

  fit() {
    if (!this.#width) return;
    this.#fitted = true;
    this.scale = this.#fitScale;
    this.x = (this.size.width - this.#width * this.scale) / 2;
    this.y = (this.size.height - this.#height * this.scale) / 2;
    this.#changed();
  }

  /**
   * Zoom so that the place under the pointer stays there; without a pointer, the middle does.
   * @param {number} factor
   * @param {Point} [client]
   */
  zoomBy(factor, client) {
    if (!this.#width) return;
    const least = Math.min(this.#fitScale, 1);
    const scale = clamp(this.scale * factor, least, MOST);
    if (scale <= least * 1.001) return this.fit();
    const [px, py] = client ? this.#onStage(client) : [this.size.width / 2, this.size.height / 2];
    this.x = px - ((px - this.x) * scale) / this.scale;
    this.y = py - ((py - this.y) * scale) / this.scale;
    this.scale = scale;
    this.#fitted = false;
    this.panBy(0, 0);
  }

  /**
   * @param {number} dx
   * @param {number} dy
   */
  panBy(dx, dy) {
    const { width, height } = this.size;
    if (dx || dy) this.#fitted = false;
    this.x = within(this.x + dx, width, this.#width * this.scale);
    this.y = within(this.y + dy, height, this.#height * this.scale);
    this.#changed();
  }

  /**
   * Bring a place of the photo into sight.
   * @param {Point} place
   */
  reveal([x, y]) {
    const { width, height } = this.size;
    const [sx, sy] = [this.x + x * this.scale, this.y + y * this.scale];
    this.panBy(clamp(sx, 20, width - 20) - sx, clamp(sy, 20, height - 20) - sy);
  }

  /**
   * @param {Point} client
   * @returns {Point} photo coordinates
   */
  toPhoto(client) {
    const [px, py] = this.#onStage(client);
    return [(px - this.x) / this.scale, (py - this.y) / this.scale];
  }

  /**
   * @param {Point} place  in photo coordinates
   * @returns {Point} on the stage
   */
  toStage([x, y]) {
    return [this.x + x * this.scale, this.y + y * this.scale];
  }

  /**
   * @param {Point} client
   * @returns {Point}
   */
  #onStage([clientX, clientY]) {
    const { left, top } = this.stage.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * A photo smaller than the stage stays in its middle; a larger one may be moved until its edge reaches the middle.
 * @param {number} at
 * @param {number} room
 * @param {number} length
 */
function within(at, room, length) {
  return length <= room ? (room - length) / 2 : clamp(at, room / 2 - length, room / 2);
}
