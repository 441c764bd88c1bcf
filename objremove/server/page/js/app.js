// @ts-check
/** The state of the page: which photos are open, which one is seen, with which tool in hand. */

import { clamp } from "./geometry.js";
import { Session } from "./session.js";
import { dilation, loadSettings, saveSettings } from "./settings-store.js";

/** @import { Settings } from "./settings-store.js" */
/** @typedef {"select" | "brush" | "eraser" | "hand"} Tool */

const SIZE_LEAST = 6;
const SIZE_MOST = 200;

/** Fires `change`, once a frame at most, and `say` with a line for the user. */
export class App extends EventTarget {
  /** @type {Session[]} */
  sessions = [];
  /** @type {Session | null} */
  current = null;
  /** @type {Tool} */
  tool = "select";
  /** Diameter of the brush in screen pixels. */
  size = 40;
  comparing = false;
  settings = loadSettings();
  #due = false;

  /**
   * Open photos; the first of them is shown.
   * @param {readonly File[]} files
   */
  open(files) {
    const fresh = files.map((file) => new Session(file, () => ({ ...this.settings, dilate: dilation(this.settings) })));
    for (const session of fresh) {
      session.addEventListener("change", () => this.changed());
      session.addEventListener("say", (event) => this.#pass(session, /** @type {CustomEvent} */ (event)));
    }
    this.sessions.push(...fresh);
    if (fresh.length) this.show(fresh[0]);
    void openInTurn(fresh);
  }

  /** @param {Session} session */
  show(session) {
    this.current = session;
    this.comparing = false;
    this.changed();
  }

  /** @param {Session} session */
  close(session) {
    const at = this.sessions.indexOf(session);
    this.sessions.splice(at, 1);
    session.close();
    if (session === this.current) this.current = this.sessions[Math.min(at, this.sessions.length - 1)] ?? null;
    this.comparing = false;
    this.changed();
  }

  /** @param {Tool} tool */
  take(tool) {
    this.tool = tool;
    this.comparing = false;
    this.changed();
  }

  /** @param {number} size */
  setSize(size) {
    this.size = clamp(Math.round(size), SIZE_LEAST, SIZE_MOST);
    this.changed();
  }

  /** @param {boolean} on */
  compare(on) {
    this.comparing = on && this.current !== null && this.current.isResult;
    this.changed();
  }

  async remove() {
    const session = this.current;
    if (!session?.canRemove) return;
    this.comparing = false;
    const done = await session.remove();
    if (done && session === this.current) this.compare(this.settings.compareAfter);
  }

  /** @param {Partial<Settings>} some */
  set(some) {
    this.settings = { ...this.settings, ...some };
    saveSettings(this.settings);
    if (some.segmenter !== undefined) void this.current?.searchAgain();
    this.changed();
  }

  /**
   * @param {string} line
   * @param {"status" | "error"} [kind]
   */
  say(line, kind = "status") {
    this.dispatchEvent(new CustomEvent("say", { detail: { line, kind } }));
  }

  /** Let everything draw itself anew in the next frame. */
  changed() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.dispatchEvent(new Event("change"));
    });
  }

  /**
   * @param {Session} session
   * @param {CustomEvent} event
   */
  #pass(session, event) {
    const { line, kind } = event.detail;
    if (session === this.current) this.say(line, kind);
    else if (kind === "error") this.say(`${session.name}: ${line}`, kind);
  }
}

/**
 * Send photos one after the other: the first is ready soonest, and the server's queue is left to others.
 * @param {readonly Session[]} sessions
 */
async function openInTurn(sessions) {
  for (const session of sessions) await session.open();
}
