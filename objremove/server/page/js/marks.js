// @ts-check
/** What passes over the photo while one works: the rubber band, the ring that waits for an answer, the keyboard's cross, the nib. */

import { byId } from "./dom.js";

/** @import { App } from "./app.js" */
/** @import { Point } from "./types.js" */
/** @import { View } from "./view.js" */

export class Marks {
  #band = byId("band", SVGRectElement);
  #ping = byId("ping", SVGCircleElement);
  #cross = byId("cross", SVGGElement);
  #nib = byId("nib", HTMLElement);
  /** @type {Point | null} */
  #crossAt = null;
  /** @type {[Point, Point] | null} */
  #corners = null;
  /** @type {Point | null} */
  #nibAt = null;

  /**
   * @param {App} app
   * @param {View} view
   */
  constructor(app, view) {
    this.app = app;
    this.view = view;
    app.addEventListener("change", () => {
      this.#place();
      this.#placeNib();
    });
    view.addEventListener("change", () => this.#place());
  }

  /** Opposite corners in photo coordinates. @param {[Point, Point] | null} corners */
  set band(corners) {
    this.#corners = corners;
    this.#place();
  }

  /** In photo coordinates. @param {Point | null} place */
  set cross(place) {
    this.#crossAt = place;
    this.#place();
  }

  /** The brush's ring, on the screen. @param {Point | null} client */
  set nib(client) {
    this.#nibAt = client;
    this.#placeNib();
  }

  #placeNib() {
    const client = this.#nibAt;
    const paints = ["brush", "eraser"].includes(this.app.tool) && !this.app.comparing && !this.app.current?.removing;
    this.#nib.hidden = client === null || !paints;
    if (client === null) return;
    const { left, top } = this.view.stage.getBoundingClientRect();
    const { style } = this.#nib;
    style.width = style.height = `${this.app.size}px`;
    style.translate = `${client[0] - left - this.app.size / 2}px ${client[1] - top - this.app.size / 2}px`;
  }

  #place() {
    const pinging = this.app.current?.pinging ?? null;
    shown(this.#ping, pinging);
    if (pinging) this.#ping.setAttribute("transform", `translate(${this.view.toStage(pinging)})`);
    shown(this.#cross, this.#crossAt);
    if (this.#crossAt) this.#cross.setAttribute("transform", `translate(${this.view.toStage(this.#crossAt)})`);
    shown(this.#band, this.#corners);
    if (!this.#corners) return;
    const [[ax, ay], [bx, by]] = this.#corners.map((corner) => this.view.toStage(corner));
    this.#band.setAttribute("x", String(Math.min(ax, bx)));
    this.#band.setAttribute("y", String(Math.min(ay, by)));
    this.#band.setAttribute("width", String(Math.abs(ax - bx)));
    this.#band.setAttribute("height", String(Math.abs(ay - by)));
  }
}

/**
 * @param {SVGElement} element
 * @param {unknown} value
 */
function shown(element, value) {
  element.toggleAttribute("hidden", !value);
}
