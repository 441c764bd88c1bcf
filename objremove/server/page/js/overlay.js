// @ts-check
/**
 * The outlines of the objects, over the photo. To assistive technology and the keyboard they are a list of options: arrow keys go from
 * one to the next, Space chooses.
 */

import { byId, draw } from "./dom.js";
import { toggled } from "./selection.js";

/** @import { App } from "./app.js" */
/** @import { Instance } from "./types.js" */
/** @import { View } from "./view.js" */

export class Overlay {
  #svg = byId("objects", SVGSVGElement);
  /** @type {Map<string, SVGGElement>} */
  #groups = new Map();
  #order = "";

  /**
   * @param {App} app
   * @param {View} view
   */
  constructor(app, view) {
    this.app = app;
    this.view = view;
    app.addEventListener("change", () => this.#render());
    view.addEventListener("change", () => this.#place());
    this.#svg.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /**
   * Light up all objects of a class, as when the pointer is over its chip.
   * @param {string | null} label
   */
  light(label) {
    for (const [, group] of this.#groups) group.classList.toggle("lit", group.dataset.label === label);
  }

  #render() {
    const session = this.app.current;
    const instances = session && !this.app.comparing && !session.removing ? session.instances : [];
    const order = instances.map(({ id }) => id).join(" ");
    if (order !== this.#order) this.#rebuild(instances);
    this.#order = order;
    for (const one of instances) {
      const group = this.#groups.get(one.id);
      group?.setAttribute("aria-selected", String(session?.selection.chosen.has(one.id)));
    }
  }

  /**
   * Larger ones first, so that smaller ones lie above them and can be hit.
   * @param {readonly Instance[]} instances
   */
  #rebuild(instances) {
    const focused = this.#focused();
    this.#groups = new Map(
      [...instances].sort((one, other) => other.area - one.area).map((one) => [one.id, this.#group(one)]),
    );
    this.#svg.replaceChildren(...this.#groups.values());
    this.#svg.toggleAttribute("hidden", instances.length === 0);
    const [first] = this.#groups.values();
    const again = focused ? this.#groups.get(focused) : undefined;
    (again ?? first)?.setAttribute("tabindex", "0");
    again?.focus();
  }

  /** @param {Instance} one */
  #group(one) {
    const d = one.outline.map((polygon) => `M${polygon.map((point) => point.join()).join("L")}Z`).join("");
    const group = draw("g", { class: "object", role: "option", tabindex: -1, "aria-selected": "false" });
    group.append(draw("path", { class: "halo", d }), draw("path", { class: "line", d }));
    group.setAttribute("aria-label", this.#describe(one));
    Object.assign(group.dataset, { id: one.id, label: one.label });
    return group;
  }

  /** @param {Instance} one */
  #describe({ label, number, box: [x0, y0, x1, y1] }) {
    const { width = 1, height = 1 } = this.app.current ?? {};
    const across = ["left", "middle", "right"][Math.min(2, Math.floor((1.5 * (x0 + x1)) / width))];
    const down = ["top", "centre", "bottom"][Math.min(2, Math.floor((1.5 * (y0 + y1)) / height))];
    return `${label} ${number}, ${down} ${across}`;
  }

  #focused() {
    return this.#svg.contains(document.activeElement)
      ? /** @type {SVGElement} */ (document.activeElement).dataset.id
      : undefined;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const focused = this.#focused();
    const session = this.app.current;
    if (!focused || !session || event.ctrlKey || event.metaKey || event.altKey) return;
    const ids = [...this.#groups.keys()];
    const at = ids.indexOf(focused);
    /** @type {Record<string, number>} */
    const next = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: ids.length - 1,
    };
    if (event.key === " ") session.mark(toggled(session.selection, focused));
    else if (event.key in next) this.#moveTo(ids[(next[event.key] + ids.length) % ids.length]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {string} id */
  #moveTo(id) {
    for (const [each, group] of this.#groups) group.setAttribute("tabindex", each === id ? "0" : "-1");
    this.#groups.get(id)?.focus();
    const one = this.app.current?.instances.find((instance) => instance.id === id);
    if (one) this.view.reveal([(one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2]);
  }

  #place() {
    const { width, height } = this.view.size;
    const { x, y, scale } = this.view;
    this.#svg.setAttribute("viewBox", `${-x / scale} ${-y / scale} ${width / scale} ${height / scale}`);
  }
}
