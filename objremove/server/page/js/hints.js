// @ts-check
/** What happens now, or what to do next, below the chips. */

import { byId, make } from "./dom.js";
import { objectsInWords } from "./selection.js";

/** @import { App } from "./app.js" */
/** @import { Session } from "./session.js" */

/** @typedef {"none" | "busy" | "sending" | "searching" | "failed" | "found" | "clean" | "nothing"} Kind */

export class Hints {
  #box = byId("hint", HTMLElement);
  #shown = "";

  /**
   * @param {App} app
   * @param {() => void} openSettings
   */
  constructor(app, openSettings) {
    this.app = app;
    this.openSettings = openSettings;
    app.addEventListener("change", () => this.#render());
  }

  #render() {
    const session = this.app.current;
    if (!session) return;
    const kind = kindOf(session);
    const key = `${kind} ${session.busyFor}`;
    if (key !== this.#shown) this.#box.replaceChildren(...this.#content(kind, session.busyFor));
    this.#shown = key;
  }

  /**
   * @param {Kind} kind
   * @param {number} seconds
   * @returns {Node[]}
   */
  #content(kind, seconds) {
    switch (kind) {
      case "none":
        return [];
      case "busy":
        return [make("p", { role: "status" }, `The server is busy. Trying again in ${seconds} s.`)];
      case "sending":
        return [make("p", {}, "Sending the photo. You can already click, drag or paint.")];
      case "searching":
        return [make("p", {}, "Looking for objects. You can already click, drag or paint.")];
      case "found":
        return [make("p", { class: "tip" }, "Click an object, or anything else. Drag a box around it, or paint.")];
      case "clean":
        return [make("p", {}, "Nothing else was recognised. Click, drag a box or paint to remove more.")];
      case "failed":
        return this.#advice(
          "The search failed",
          this.#button("Try again", () => this.app.current?.searchAgain()),
        );
      case "nothing":
        return this.#advice(
          "Nothing was recognised",
          this.#button("Look harder", () => this.#lookHarder()),
        );
    }
  }

  /**
   * @param {string} title
   * @param {HTMLButtonElement} button
   */
  #advice(title, button) {
    return [
      make("h3", {}, title),
      make("p", {}, "Click on what should go, drag a box around it, or paint over it with the brush."),
      make("div", { class: "quick" }, button, this.#button("Other models", this.openSettings)),
    ];
  }

  /**
   * @param {string} text
   * @param {() => void} action
   */
  #button(text, action) {
    const button = make("button", { class: "button", type: "button" }, text);
    button.addEventListener("click", action);
    return button;
  }

  async #lookHarder() {
    const found = await this.app.current?.searchHarder();
    if (!found) return;
    if (found.length === 0) this.app.say("Still nothing. Click on it, drag a box, or paint.", "error");
    else this.app.say(`Found ${objectsInWords(found)}.`);
  }
}

/**
 * @param {Session} session
 * @returns {Kind}
 */
function kindOf({ refusal, busyFor, isResult, step: { photoId, search, found } }) {
  if (refusal) return "none";
  if (busyFor) return "busy";
  if (photoId === "") return "sending";
  if (search === "failed") return "failed";
  if (search !== "done") return "searching";
  if (found.length) return "found";
  return isResult ? "clean" : "nothing";
}
