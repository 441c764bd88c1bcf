// @ts-check
/** Keyboard shortcuts that hold everywhere on the page; never while one types. */

import { byId } from "./dom.js";
import { NOTHING, isEmpty } from "./selection.js";

/** @import { App, Tool } from "./app.js" */
/** @import { History } from "./history.js" */
/** @import { Pointer } from "./pointer.js" */
/** @import { View } from "./view.js" */

/** @type {Record<string, Tool>} */
const TOOLS = { v: "select", b: "brush", e: "eraser", h: "hand" };
const SIZE_STEP = 1.2;
const ZOOM_STEP = 1.25;

export class Keys {
  /** Whether the pointer was used last: a button that was clicked does not take Enter from Remove, one that was tabbed to does. */
  #byPointer = false;

  /**
   * @param {App} app
   * @param {{view: View, pointer: Pointer, history: History, nameField: {focus(): void}}} parts
   */
  constructor(app, { view, pointer, history, nameField }) {
    this.app = app;
    this.view = view;
    this.pointer = pointer;
    this.history = history;
    this.nameField = nameField;
    addEventListener("pointerdown", () => (this.#byPointer = true));
    addEventListener("keydown", (event) => this.#onDown(event));
    addEventListener("keyup", (event) => event.key === " " && this.#lendHand(false));
    addEventListener("blur", () => this.#lendHand(false));
  }

  /** @param {KeyboardEvent} event */
  #onDown(event) {
    if (event.key === "Tab") this.#byPointer = false;
    if (event.key === "Enter" && event.repeat) return event.preventDefault(); // a long press of Remove is no press of Cancel
    if (!this.app.current || event.altKey || document.querySelector("dialog[open]") || types(event.target)) return;
    const done = event.ctrlKey || event.metaKey ? this.#withControl(event) : this.#plain(event);
    if (done) event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  #withControl({ key, shiftKey }) {
    const letter = key.toLowerCase();
    if (letter === "z") shiftKey ? this.history.redo() : this.history.undo();
    else if (letter === "y") this.history.redo();
    else if (letter === "s") this.history.download();
    else return false;
    return true;
  }

  /** @param {KeyboardEvent} event */
  #plain({ key, target }) {
    const { app, view } = this;
    const pressable = target instanceof Element && target.closest("button, a, input, summary, [role=option]") !== null;
    if (key === " ") {
      if (pressable) return false;
      this.#lendHand(true);
    } else if (key === "Enter") {
      if (pressable && !target.closest(this.#byPointer ? "[role=option], .aim, button" : "[role=option], .aim")) return false;
      app.comparing ? app.compare(false) : void app.remove();
    } else if (key === "Escape") this.#escape();
    else if (key in TOOLS) app.take(TOOLS[key]);
    else if (key === "c") app.compare(!app.comparing);
    else if (key === "s") this.history.download();
    else if (key === "/") this.nameField.focus();
    else if (key === "o") byId("picker", HTMLInputElement).click();
    else if (key === "[") app.setSize(app.size / SIZE_STEP);
    else if (key === "]") app.setSize(app.size * SIZE_STEP);
    else if (key === "+" || key === "=") view.zoomBy(ZOOM_STEP);
    else if (key === "-") view.zoomBy(1 / ZOOM_STEP);
    else if (key === "0") view.fit();
    else return false;
    return true;
  }

  /** Gives up the nearest thing: a stroke, a removal, comparing, what is marked. */
  #escape() {
    const session = this.app.current;
    if (this.pointer.busy) this.pointer.abandon();
    else if (session?.removing) session.cancel();
    else if (this.app.comparing) this.app.compare(false);
    else if (session && !isEmpty(session.selection)) session.mark(NOTHING);
  }

  /** @param {boolean} held */
  #lendHand(held) {
    this.pointer.spaceHeld = held;
    this.view.stage.classList.toggle("moving", held);
  }
}

/** @param {EventTarget | null} target */
function types(target) {
  return target instanceof HTMLInputElement && !["range", "checkbox", "radio"].includes(target.type);
}
