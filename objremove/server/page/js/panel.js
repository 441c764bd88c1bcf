// @ts-check
/** What was found, a chip for each class; the quick choices; the button that removes; and what came of it. */

import { byId, make } from "./dom.js";
import { counted, idsOf, inWords, isEmpty, mainSubject, objectsOf, withChosen, NOTHING } from "./selection.js";

/** @import { App } from "./app.js" */
/** @import { Overlay } from "./overlay.js" */
/** @import { Session } from "./session.js" */

export class Panel {
  #chips = byId("chips", HTMLElement);
  #remove = byId("remove", HTMLButtonElement);
  #goOn = byId("go-on", HTMLButtonElement);
  #main = byId("all-but-main", HTMLButtonElement);
  #clear = byId("clear", HTMLButtonElement);
  #found = byId("found", HTMLElement);
  #outcome = byId("outcome", HTMLElement);
  /** @type {Map<string, HTMLButtonElement>} */
  #byLabel = new Map();

  /**
   * @param {App} app
   * @param {Overlay} overlay
   */
  constructor(app, overlay) {
    this.app = app;
    this.overlay = overlay;
    app.addEventListener("change", () => this.#render());
    this.#remove.addEventListener("click", () => void app.remove());
    this.#goOn.addEventListener("click", () => app.compare(false));
    this.#main.addEventListener("click", () => this.#chooseAllButMain());
    this.#clear.addEventListener("click", () => app.current?.mark(NOTHING));
  }

  #render() {
    const session = this.app.current;
    if (!session) return;
    this.#renderChips(session);
    const locked = session.removing || this.app.comparing;
    this.#main.hidden = objectsOf(session.step.found).length < 2;
    this.#main.disabled = locked;
    this.#clear.hidden = isEmpty(session.selection) && session.selection.strokes.length === 0;
    this.#clear.disabled = locked;
    this.#remove.hidden = session.removing || this.app.comparing || session.refusal !== "";
    this.#goOn.hidden = !this.app.comparing;
    this.#remove.disabled = !session.canRemove;
    const what = inWords(session.selection, session.instances);
    this.#remove.textContent = what ? `Remove ${what}` : "Remove";
    this.#renderOutcome(session);
  }

  /**
   * What a removal came to, in the place of what could be chosen, while before and after are compared.
   * @param {Session} session
   */
  #renderOutcome(session) {
    const { comparing } = this.app;
    this.#found.hidden = comparing || session.refusal !== "";
    this.#outcome.hidden = !comparing;
    const { title, notes, filled } = session.step;
    const share = (100 * filled) / (session.width * session.height || 1);
    const percent = share.toLocaleString("en", { maximumSignificantDigits: 2 });
    const rest = notes.length ? notes.map(sentence).join(" ") : "All others are exactly as they were.";
    byId("outcome-title", HTMLElement).textContent = `Removed ${title}`;
    byId("outcome-text", HTMLElement).textContent = `${percent}% of the pixels were filled in. ${rest}`;
  }

  /** @param {Session} session */
  #renderChips(session) {
    const { chosen } = session.selection;
    const instances = session.instances;
    const all = counted(instances);
    const picked = counted(instances.filter(({ id }) => chosen.has(id)));
    const stale = [...this.#byLabel.keys()].filter((label) => !all.has(label));
    for (const label of stale) {
      this.#byLabel.get(label)?.remove();
      this.#byLabel.delete(label);
    }
    for (const [label, count] of all) {
      const chip = this.#byLabel.get(label) ?? this.#newChip(label);
      const some = picked.get(label) ?? 0;
      const whole = instances.every((one) => one.label !== label || chosen.has(one.id));
      chip.setAttribute("aria-pressed", some === 0 ? "false" : whole ? "true" : "mixed");
      const part = some === count && !whole ? ", not all of it" : "";
      chip.setAttribute("aria-label", `${label}: ${some} of ${count} selected${part}`);
      chip.setAttribute("aria-busy", String(session.step.looking.has(label)));
      chip.disabled = session.removing || this.app.comparing;
      const tally = some && some < count ? `${some}/${count}` : count > 1 ? `×${count}` : "";
      const text = [make("span", {}, labelOf(label)), ...(tally ? [make("span", { class: "tally" }, tally)] : [])];
      chip.replaceChildren(...text);
    }
    const searching = ["waiting", "searching"].includes(session.step.search) && session.refusal === "";
    this.#chips.classList.toggle("searching", searching && all.size === 0);
    this.#chips.setAttribute("aria-busy", String(searching));
  }

  /** @param {string} label */
  #newChip(label) {
    const chip = make("button", { class: "chip", type: "button" });
    chip.addEventListener("click", () => this.#toggleClass(label));
    for (const name of ["pointerenter", "focus"]) chip.addEventListener(name, () => this.overlay.light(label));
    for (const name of ["pointerleave", "blur"]) chip.addEventListener(name, () => this.overlay.light(null));
    this.#byLabel.set(label, chip);
    this.#chips.append(chip);
    return chip;
  }

  /** @param {string} label */
  #toggleClass(label) {
    const session = this.app.current;
    if (!session) return;
    const ids = session.instances.filter((one) => one.label === label).map(({ id }) => id);
    const all = ids.every((id) => session.selection.chosen.has(id));
    session.mark(withChosen(session.selection, ids, !all));
    if (!all) session.nameClasses([label]);
  }

  #chooseAllButMain() {
    const session = this.app.current;
    if (!session) return;
    const { found } = session.step;
    const main = mainSubject(objectsOf(found), session.width, session.height);
    if (!main) return;
    // What extends an object of its class may be more of the main one.
    const stays = found.filter((one) => one === main || (one.extends && one.label === main.label)).map(({ id }) => id);
    session.mark(withChosen(withChosen(session.selection, idsOf(found), true), stays, false));
    this.app.say(`Selected all but the ${main.label}.`);
  }
}

/** @param {string} label */
function labelOf(label) {
  return { point: "clicked", box: "boxed" }[label] ?? label;
}

/** @param {string} note */
function sentence(note) {
  return `${note[0].toUpperCase()}${note.slice(1)}${/[.!?]$/.test(note) ? "" : "."}`;
}
