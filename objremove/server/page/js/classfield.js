// @ts-check
/** The field that takes class names: suggests while one types, chooses what is there, looks harder for what is not. */

import { classes } from "./api.js";
import { byId, make } from "./dom.js";
import { idsOf, objectsInWords, withChosen } from "./selection.js";

/** @import { App } from "./app.js" */

const MOST = 6;

export class ClassField {
  #field = byId("class-field", HTMLInputElement);
  #list = byId("class-list", HTMLUListElement);
  /** @type {{name: string, aliases: string[]}[]} */
  #known = [];
  #at = -1;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.#field.addEventListener("focus", () => void this.#learn(), { once: true });
    this.#field.addEventListener("input", () => this.#suggest());
    this.#field.addEventListener("keydown", (event) => this.#onKey(event));
    this.#field.addEventListener("blur", () => this.#close());
    app.addEventListener("change", () => (this.#field.disabled = !app.current?.step.photoId || app.current.removing));
  }

  focus() {
    this.#field.focus();
  }

  async #learn() {
    this.#known = (await classes()).classes;
    this.#suggest();
  }

  get #word() {
    return this.#field.value
      .slice(this.#field.value.lastIndexOf(",") + 1)
      .trim()
      .toLowerCase();
  }

  #suggest() {
    const word = this.#word;
    const here = new Set(this.app.current?.instances.map(({ label }) => label));
    /** @param {{name: string, aliases: string[]}} one */
    const rank = ({ name, aliases }) =>
      (here.has(name) ? 0 : 1) + (name.startsWith(word) ? 0 : aliases.some((alias) => alias.startsWith(word)) ? 2 : 9);
    const fit = word
      ? this.#known
          .filter((one) => rank(one) < 9)
          .sort((a, b) => rank(a) - rank(b))
          .slice(0, MOST)
      : [];
    this.#at = -1;
    this.#list.replaceChildren(...fit.map(({ name }, i) => this.#option(name, i, here.has(name))));
    this.#open(fit.length > 0);
  }

  /**
   * @param {string} name
   * @param {number} i
   * @param {boolean} here
   */
  #option(name, i, here) {
    const note = here ? make("small", {}, "in this photo") : null;
    const option = make("li", { role: "option", id: `class-${i}`, "aria-selected": "false" }, name, note);
    option.dataset.name = name;
    option.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the field keeps the focus
      this.#take(name);
    });
    return option;
  }

  /** @param {boolean} open */
  #open(open) {
    this.#list.hidden = !open;
    this.#field.setAttribute("aria-expanded", String(open));
    if (!open) this.#field.removeAttribute("aria-activedescendant");
  }

  #close() {
    this.#at = -1;
    this.#open(false);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const options = [...this.#list.children];
    if (event.key === "Enter") {
      const option = options[this.#at];
      if (option instanceof HTMLElement && option.dataset.name) this.#take(option.dataset.name);
      else void this.#submit();
    } else if (event.key === "Escape" && !this.#list.hidden) this.#close();
    else if (event.key === "Escape") this.#field.blur();
    else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && options.length) {
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.#at = (this.#at + step + options.length + (this.#at < 0 && step < 0 ? 1 : 0)) % options.length;
      options.forEach((option, i) => option.setAttribute("aria-selected", String(i === this.#at)));
      this.#field.setAttribute("aria-activedescendant", options[this.#at].id);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {string} name */
  #take(name) {
    const before = this.#field.value.slice(0, this.#field.value.lastIndexOf(",") + 1);
    this.#field.value = before ? `${before} ${name}` : name;
    this.#close();
    void this.#submit();
  }

  async #submit() {
    const session = this.app.current;
    const words = this.#field.value
      .split(",")
      .map((word) => word.trim().toLowerCase())
      .filter(Boolean);
    if (!session || words.length === 0) return;
    this.#close();
    const names = words.map((word) => this.#nameOf(word));
    /** @param {string} name */
    const there = (name) => session.instances.filter(({ label }) => label === name);
    const { step } = session;
    const missing = names.filter((name) => name !== "all" && there(name).length === 0);
    const late = missing.length ? await session.searchHarder(missing.join(",")) : [];
    if (!late || session.step !== step) return; // the answer is of a step that is no longer shown
    const going = [...names.flatMap((name) => (name === "all" ? session.step.found : there(name))), ...late];
    const absent = missing.filter((name) => !late.some(({ label }) => name.split("#")[0] === label));
    if (absent.length) this.app.say(`No ${absent.join(", no ")} was found. Click on it, or drag a box.`, "error");
    if (going.length === 0) return;
    session.mark(withChosen(session.selection, idsOf(going), true));
    session.nameClasses(names.filter((name) => !missing.includes(name)));
    this.#field.value = "";
    this.app.say(`Selected ${objectsInWords([...new Set(going)])}.`);
  }

  /** @param {string} word */
  #nameOf(word) {
    const one = this.#known.find(({ name, aliases }) =>
      [word, word.replace(/s$/, ""), word.replace(/es$/, "")].some((form) => name === form || aliases.includes(form)),
    );
    return one?.name ?? word;
  }
}
