// @ts-check
/** The tools, the brush's size, the zoom, and the line that names the photo. */

import { byId } from "./dom.js";

/** @import { App, Tool } from "./app.js" */
/** @import { View } from "./view.js" */

const ZOOM_STEP = 1.25;

export class Toolbar {
  #tools = /** @type {HTMLButtonElement[]} */ ([...document.querySelectorAll("[data-tool].tool")]);
  #size = byId("size", HTMLInputElement);
  #zoom = byId("zoom", HTMLOutputElement);
  #caption = byId("caption", HTMLElement);

  /**
   * @param {App} app
   * @param {View} view
   */
  constructor(app, view) {
    this.app = app;
    this.view = view;
    app.addEventListener("change", () => this.#render());
    view.addEventListener(
      "change",
      () => (this.#zoom.textContent = `${Math.round(100 * view.scale * devicePixelRatio)}%`),
    );
    for (const button of this.#tools)
      button.addEventListener("click", () => app.take(/** @type {Tool} */ (button.dataset.tool)));
    this.#size.addEventListener("input", () => app.setSize(Number(this.#size.value)));
    byId("zoom-in", HTMLButtonElement).addEventListener("click", () => view.zoomBy(ZOOM_STEP));
    byId("zoom-out", HTMLButtonElement).addEventListener("click", () => view.zoomBy(1 / ZOOM_STEP));
    byId("zoom-fit", HTMLButtonElement).addEventListener("click", () => view.fit());
  }

  #render() {
    const { current, tool, comparing } = this.app;
    for (const button of this.#tools)
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool && !comparing));
    this.view.stage.dataset.tool = comparing ? "compare" : tool;
    byId("size-row", HTMLElement).hidden = comparing || (tool !== "brush" && tool !== "eraser");
    this.#size.value = String(this.app.size);
    document.body.dataset.state = current ? "open" : "empty";
    byId("aim", HTMLElement).hidden = !current || comparing;
    const refused = current?.refusal ?? "";
    byId("refused", HTMLElement).hidden = refused === "";
    byId("refused-why", HTMLElement).textContent = refused;
    const facts = current
      ? [current.name, current.width ? `${current.width} × ${current.height}` : "", current.format]
      : [];
    this.#caption.textContent = this.#caption.title = facts.filter(Boolean).join("  ·  ");
    document.title = current ? `${current.name} – objremove` : "objremove";
  }
}
