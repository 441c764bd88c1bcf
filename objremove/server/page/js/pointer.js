// @ts-check
/** Mouse, pen and fingers on the photo: click, box, brush, eraser, move, pinch, wheel, and the slider while comparing. */

import { boxBetween, pixelAt } from "./geometry.js";
import { toggled, withStroke } from "./selection.js";

/** @import { App } from "./app.js" */
/** @import { Compare } from "./compare.js" */
/** @import { Marks } from "./marks.js" */
/** @import { Point, Stroke } from "./types.js" */
/** @import { Tint } from "./tint.js" */
/** @import { View } from "./view.js" */

/** @typedef {"move" | "select" | "paint" | "divide" | "pinch"} Gesture */

const STILL = { mouse: 4, pen: 6, touch: 10 }; // screen pixels that a click may wander
const WHEEL = 0.0018;
const PINCH = 0.01; // a touchpad's pinch comes as small steps of a wheel with Ctrl

export class Pointer {
  /** @type {Map<number, Point>} */
  #down = new Map();
  /** @type {Gesture | null} */
  #gesture = null;
  /** @type {Point} */
  #from = [0, 0];
  #moved = false;
  /** @type {string | undefined} */
  #hit;
  /** @type {Stroke | null} */
  #stroke = null;
  /** Whether Space is held, which lends the hand. */
  spaceHeld = false;

  /**
   * @param {App} app
   * @param {View} view
   * @param {{tint: Tint, marks: Marks, compare: Compare}} parts
   */
  constructor(app, view, { tint, marks, compare }) {
    this.app = app;
    this.view = view;
    this.tint = tint;
    this.marks = marks;
    this.compare = compare;
    const { stage } = view;
    stage.addEventListener("mousedown", (event) => this.#keepFocus(event));
    stage.addEventListener("pointerdown", (event) => this.#onDown(event));
    stage.addEventListener("pointermove", (event) => this.#onMove(event));
    stage.addEventListener("pointerup", (event) => this.#onUp(event));
    stage.addEventListener("pointercancel", (event) => this.#abandon(event.pointerId));
    stage.addEventListener("pointerleave", () => (marks.nib = null));
    stage.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    stage.addEventListener("contextmenu", (event) => event.pointerType === "touch" && event.preventDefault());
  }

  /** Whether something is being drawn or dragged, which Esc gives up. */
  get busy() {
    return this.#gesture === "select" || this.#gesture === "paint";
  }

  /** Give up what is being drawn. */
  abandon() {
    this.#gesture = null;
    this.#stroke = this.tint.live = null;
    this.marks.band = null;
  }

  /**
   * A click focuses the stage and no outline, so that Space lends the hand and does not undo the click.
   * @param {MouseEvent} event
   */
  #keepFocus(event) {
    if (onButton(event)) return;
    event.preventDefault();
    this.view.stage.focus({ preventScroll: true });
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    const session = this.app.current;
    if (!session?.width || session.refusal || onButton(event)) return;
    if (event.button > 1) return;
    this.view.stage.setPointerCapture(event.pointerId);
    const at = /** @type {Point} */ ([event.clientX, event.clientY]);
    this.#down.set(event.pointerId, at);
    if (this.#down.size === 2) {
      this.abandon();
      this.#gesture = "pinch";
    } else if (this.#down.size === 1) {
      this.#gesture = this.#gestureFor(event);
      [this.#from, this.#moved] = [at, false];
      this.#hit = this.#objectAt(event);
      if (this.#gesture === "paint") this.#startStroke(at);
      if (this.#gesture === "divide") this.compare.moveTo(this.view.toPhoto(at)[0]);
    }
  }

  /**
   * @param {PointerEvent} event
   * @returns {Gesture | null}
   */
  #gestureFor({ button }) {
    const { tool, comparing, current } = this.app;
    if (button === 1 || this.spaceHeld) return "move";
    if (comparing) return "divide";
    if (tool === "hand") return "move";
    if (current?.removing) return null;
    return tool === "select" ? "select" : "paint";
  }

  /** @param {PointerEvent} event */
  #onMove(event) {
    const at = /** @type {Point} */ ([event.clientX, event.clientY]);
    if (event.pointerType !== "touch") this.marks.nib = at;
    const before = this.#down.get(event.pointerId);
    if (!before) return;
    if (this.#gesture === "pinch") this.#pinch(event.pointerId, before, at);
    this.#down.set(event.pointerId, at);
    const still = STILL[/** @type {keyof typeof STILL} */ (event.pointerType)] ?? STILL.mouse;
    this.#moved ||= Math.hypot(at[0] - this.#from[0], at[1] - this.#from[1]) > still;
    if (this.#gesture === "move") this.view.panBy(at[0] - before[0], at[1] - before[1]);
    else if (this.#gesture === "divide") this.compare.moveTo(this.view.toPhoto(at)[0]);
    else if (this.#gesture === "paint") this.#goOn(event);
    else if (this.#gesture === "select" && this.#moved) {
      this.marks.band = [this.view.toPhoto(this.#from), this.view.toPhoto(at)];
    }
  }

  /** @param {PointerEvent} event */
  #onUp(event) {
    if (!this.#down.delete(event.pointerId)) return;
    const gesture = this.#gesture;
    const stroke = this.#stroke;
    if (this.#down.size === 0 || gesture !== "pinch") this.abandon();
    const session = this.app.current;
    if (!session || session.removing) return;
    if (gesture === "paint" && stroke) session.mark(withStroke(session.selection, stroke));
    if (gesture === "select") this.#select(event, session);
  }

  /**
   * @param {PointerEvent} event
   * @param {import("./session.js").Session} session
   */
  #select(event, session) {
    const to = this.view.toPhoto([event.clientX, event.clientY]);
    if (this.#moved) {
      void session.box(boxBetween(this.view.toPhoto(this.#from), to, session.width, session.height));
      return;
    }
    const refines = event.shiftKey || event.altKey;
    if (this.#hit && !refines) return session.mark(toggled(session.selection, this.#hit));
    const pixel = pixelAt(to, session.width, session.height);
    if (pixel) void session.point(pixel, { positive: !event.altKey, more: refines });
  }

  /** @param {Point} at */
  #startStroke(at) {
    const tool = this.app.tool === "eraser" ? "eraser" : "brush";
    this.#stroke = { tool, size: this.app.size / this.view.scale, points: [this.view.toPhoto(at)] };
    this.tint.live = this.#stroke;
  }

  /** @param {PointerEvent} event */
  #goOn(event) {
    if (!this.#stroke) return;
    const every = event.getCoalescedEvents?.() ?? [];
    const points = (every.length ? every : [event]).map((each) => this.view.toPhoto([each.clientX, each.clientY]));
    this.#stroke = { ...this.#stroke, points: [...this.#stroke.points, ...points] };
    this.tint.live = this.#stroke;
  }

  /**
   * @param {number} id
   * @param {Point} before
   * @param {Point} at
   */
  #pinch(id, before, at) {
    const other = [...this.#down].find(([each]) => each !== id)?.[1];
    if (!other) return;
    const spread = (/** @type {Point} */ one) => Math.max(Math.hypot(one[0] - other[0], one[1] - other[1]), 1);
    this.view.zoomBy(spread(at) / spread(before), [(before[0] + other[0]) / 2, (before[1] + other[1]) / 2]);
    this.view.panBy((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
  }

  /** @param {number} id */
  #abandon(id) {
    this.#down.delete(id);
    this.abandon();
  }

  /** @param {PointerEvent} event */
  #objectAt({ clientX, clientY }) {
    const group = document.elementFromPoint(clientX, clientY)?.closest(".object");
    return group instanceof SVGElement ? group.dataset.id : undefined;
  }

  /** @param {WheelEvent} event */
  #onWheel(event) {
    if (!this.app.current?.width) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    if (event.shiftKey || (Math.abs(event.deltaX) > Math.abs(event.deltaY) && !event.ctrlKey)) {
      const sideways = event.deltaX || event.deltaY;
      return this.view.panBy(-sideways * lines, event.deltaX ? -event.deltaY * lines : 0);
    }
    this.view.zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? PINCH : WHEEL)), [event.clientX, event.clientY]);
  }
}

/** @param {Event} event */
function onButton({ target }) {
  return target instanceof Element && target.closest("button") !== null;
}
