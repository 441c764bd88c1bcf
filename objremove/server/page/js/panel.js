// @ts-check
/** What was found, as chips to a class; what to do where nothing was; the quick choices; and the button that removes. */

import { byId, make } from "./dom.js";
import { counted, inWords, isEmpty, mainSubject, withChosen, NOTHING } from "./selection.js";

/** @import { App } from "./app.js" */
/** @import { Overlay } from "./overlay.js" */
/** @import { Session } from "./session.js" */

export class Panel {
  #chips = byId("chips", HTMLElement);
  #hint = byId("hint", HTMLElement);
  #remove = byId("remove", HTMLButtonElement);
  #goOn = byId("go-on", HTMLButtonElement);
  #main = byId("all-but-main", HTMLButtonElement);
  #clear = byId("clear", HTMLButtonElement);
  #found = byId("found", HTMLElement);
  #outcome = byId("outcome", HTMLElement);
  /** @type {Map<string, HTMLButtonElement>} */
  #byLabel = new Map();
  #hintKind = "";

  /**
   * @param {App} app
   * @param {Overlay} overlay
   * @param {() => void} openSettings
   */
  constructor(app, overlay, openSettings) {
    this.app = app;
    this.overlay = overlay;
    this.openSettings = openSettings;
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
    this.#renderHint(session);
    const locked = session.removing || this.app.comparing;
    this.#main.hidden = session.step.found.length < 2;
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
      chip.setAttribute("aria-pressed", some === 0 ? "false" : some === count ? "true" : "mixed");
      chip.setAttribute("aria-label", `${label}: ${some} of ${count} selected`);
      chip.disabled = session.removing || this.app.comparing;
      const tally = some && some < count ? `${some}/${count}` : count > 1 ? `×${count}` : "";
      const text = [make("span", {}, labelOf(label)), ...(tally ? [make("span", { class: "tally" }, tally)] : [])];
      chip.replaceChildren(...text);
    }
    const searching = session.step.search !== "done" && !session.refusal;
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
  }

  #chooseAllButMain() {
    const session = this.app.current;
    if (!session) return;
    const { found } = session.step;
    const main = mainSubject(found, session.width, session.height);
    if (!main) return;
    const others = found.filter((one) => one !== main).map(({ id }) => id);
    session.mark(withChosen(withChosen(session.selection, others, true), [main.id], false));
    this.app.say(`Selected all but the ${main.label}.`);
  }

  /** @param {Session} session */
  #renderHint(session) {
    const { search, found, photoId } = session.step;
    const kind = session.refusal
      ? "none"
      : session.busyFor
        ? `busy ${session.busyFor}`
        : photoId === ""
          ? "sending"
          : search !== "done"
            ? "searching"
            : found.length === 0
              ? session.isResult ? "clean" : "nothing"
              : "found";
    if (kind === this.#hintKind) return;
    this.#hintKind = kind;
    this.#hint.replaceChildren(...this.#hintOf(kind, session));
  }

  /**
   * @param {string} kind
   * @param {Session} session
   * @returns {Node[]}
   */
  #hintOf(kind, session) {
    if (kind === "sending") return [make("p", {}, "Sending the photo. You can already look around.")];
    if (kind === "searching") return [make("p", {}, "Looking for objects. You can already click, drag or paint.")];
    if (kind.startsWith("busy")) {
      return [make("p", { role: "status" }, `The server is busy. Trying again in ${session.busyFor} s.`)];
    }
    if (kind === "found") return [make("p", { class: "tip" }, "Click an object, or anything else. Drag a box around it, or paint.")];
    if (kind === "clean") return [make("p", {}, "Nothing else was recognised. Click, drag a box or paint to remove more.")];
    if (kind === "none") return [];
    const harder = make("button", { class: "button", type: "button" }, "Look harder");
    harder.addEventListener("click", () => void this.#lookHarder(session));
    const models = make("button", { class: "button", type: "button" }, "Other models");
    models.addEventListener("click", this.openSettings);
    return [
      make("h3", {}, "Nothing was recognised"),
      make("p", {}, "Click on what should go, drag a box around it, or paint over it with the brush."),
      make("div", { class: "quick" }, harder, models),
    ];
  }

  /** @param {Session} session */
  async #lookHarder(session) {
    const found = await session.searchHarder();
    this.app.say(found.length ? `Found ${inWords({ ...NOTHING, chosen: new Set(found.map(({ id }) => id)) }, found)}.` : "Still nothing. Click on it, drag a box, or paint.", found.length ? "status" : "error");
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
