// @ts-check
/**
 * Shows the photo: the local file at once, a result first as a preview and in full when one looks closer; and, while comparing, the
 * original over it up to the slider.
 */

import { fileUrl, previewUrl } from "./api.js";
import { byId } from "./dom.js";

/** @import { App } from "./app.js" */
/** @import { Session } from "./session.js" */
/** @import { Step } from "./step.js" */
/** @import { View } from "./view.js" */

const PREVIEW_SIDE = 2048;
const MOST_TRIES = 5;
const AGAIN_MS = 1500;
const SHOWN_BY_BROWSERS = new Set(["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "JPG"]);

export class Picture {
  #sheet = byId("sheet", HTMLElement);
  #after = byId("after", HTMLImageElement);
  #before = byId("before", HTMLImageElement);
  /** @type {Session | null} */
  #session = null;
  /** Sessions whose own file this browser cannot show. @type {WeakSet<Session>} */
  #foreign = new WeakSet();
  #wanted = "";
  /** What could not be shown last, and how often. */
  #failedLast = "";
  #tries = 0;

  /**
   * @param {App} app
   * @param {View} view
   */
  constructor(app, view) {
    this.app = app;
    this.view = view;
    app.addEventListener("change", () => this.#render());
    view.addEventListener("change", () => this.#place());
  }

  #render() {
    const session = this.app.current;
    const other = session !== this.#session;
    this.#session = session;
    if (other) {
      this.#wanted = "";
      this.#after.removeAttribute("src");
    }
    if (!session) return;
    if (session.width) this.view.show(session.width, session.height, other);
    this.#after.alt = session.isResult ? `${session.name}, without what was removed` : session.name;
    void this.#load(this.#sourceOf(session, session.step));
    this.#before.hidden = !this.app.comparing;
    if (this.app.comparing) {
      const source = this.#sourceOf(session, session.steps.all[0]);
      if (this.#before.getAttribute("src") !== source) this.#before.src = source;
    }
  }

  /**
   * @param {Session} session
   * @param {Step} step
   */
  #sourceOf(session, step) {
    const original = step === session.steps.all[0];
    const turnedByEveryone = session.format.toUpperCase() !== "WEBP"; // of which Chromium does not read the orientation
    if (original && !this.#foreign.has(session) && (turnedByEveryone || !step.photoId)) return session.localUrl;
    if (!step.photoId) return "";
    const closer = this.view.scale * devicePixelRatio * Math.max(session.width, session.height) > 1.2 * PREVIEW_SIDE;
    return closer && !original && SHOWN_BY_BROWSERS.has(session.format.toUpperCase())
      ? fileUrl(step.photoId)
      : previewUrl(step.photoId, closer ? 2 * PREVIEW_SIDE : PREVIEW_SIDE);
  }

  /**
   * Show a source once it is decoded, so that nothing flickers.
   * @param {string} source
   */
  async #load(source) {
    if (!source || source === this.#wanted) return;
    if (source !== this.#failedLast) this.#tries = 0;
    this.#wanted = source;
    const session = this.#session;
    const image = new Image();
    image.src = source;
    try {
      await image.decode();
    } catch {
      if (source !== session?.localUrl) return this.#againLater(source);
      this.#foreign.add(session); // HEIC, TIFF …: the server's preview is shown
      if (this.#wanted === source) this.#wanted = "";
      return this.#render();
    }
    if (this.#wanted !== source || !session) return;
    this.#after.src = source;
    if (!session.width) {
      [session.width, session.height] = [image.naturalWidth, image.naturalHeight];
      this.app.changed();
    }
  }

  /**
   * The server had no memory just now, or the network stumbled; what it has forgotten the next request finds out, and sends again.
   * @param {string} source
   */
  #againLater(source) {
    this.#failedLast = source;
    if (++this.#tries >= MOST_TRIES) return this.app.say("The server does not show this picture. Reload the page, or open the photo again.", "error");
    setTimeout(() => {
      if (this.#wanted !== source) return;
      this.#wanted = "";
      this.#render();
    }, AGAIN_MS * this.#tries);
  }

  #place() {
    const { view, app } = this;
    if (!app.current) return;
    const { style } = this.#sheet;
    style.width = `${app.current.width * view.scale}px`;
    style.height = `${app.current.height * view.scale}px`;
    style.translate = `${view.x}px ${view.y}px`;
    this.#sheet.classList.toggle("pixels", view.scale * devicePixelRatio >= 3);
    if (app.current.isResult) void this.#load(this.#sourceOf(app.current, app.current.step));
  }
}
