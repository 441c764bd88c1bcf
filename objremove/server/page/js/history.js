// @ts-check
/** The photo and its results as a list to step back in; download of the one that is shown; and the undo buttons. */

import { fileUrl, maskUrl, previewUrl } from "./api.js";
import { byId, make } from "./dom.js";

/** @import { App } from "./app.js" */
/** @import { Session } from "./session.js" */

const THUMB_SIDE = 160;

export class History {
  #section = byId("steps", HTMLElement);
  #list = byId("history", HTMLOListElement);
  #undo = byId("undo", HTMLButtonElement);
  #redo = byId("redo", HTMLButtonElement);
  #download = byId("download", HTMLAnchorElement);
  #downloadMask = byId("download-mask", HTMLAnchorElement);
  #drawn = "";
  /** Whether the next click on Download was seen to lead to a file. */
  #leads = false;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    app.addEventListener("change", () => this.#render());
    this.#undo.addEventListener("click", () => this.undo());
    this.#redo.addEventListener("click", () => this.redo());
    this.#download.addEventListener("click", (event) => void this.#onDownload(event));
    addEventListener("beforeunload", (event) => {
      if (app.sessions.some(({ saved }) => !saved)) event.preventDefault();
    });
  }

  undo() {
    this.app.compare(false);
    this.app.current?.undo();
  }

  redo() {
    this.app.compare(false);
    this.app.current?.redo();
  }

  download() {
    if (this.app.current?.isResult) this.#download.click();
  }

  /**
   * A browser says nothing of a download that fails, so the server is asked first whether it still has the result.
   * @param {Event} event
   */
  async #onDownload(event) {
    const session = this.app.current;
    if (this.#leads || !session) {
      this.#leads = false;
      return;
    }
    event.preventDefault();
    const { step } = session;
    if (!(await session.isKept()) || this.app.current?.step !== step) return;
    this.#leads = session.saved = true;
    this.#download.click();
  }

  #render() {
    const session = this.app.current;
    this.#undo.disabled = !session?.canUndo;
    this.#redo.disabled = !session?.canRedo;
    const result = session?.isResult ? session.step.photoId : null;
    document.body.toggleAttribute("data-result", result !== null);
    if (result) [this.#download.href, this.#downloadMask.href] = [fileUrl(result), maskUrl(result)];
    if (!session) return;
    this.#section.hidden = session.steps.all.length < 2;
    const key = `${session.localUrl} ${session.steps.all.map(({ photoId }) => photoId)} ${session.steps.at} ${session.removing}`;
    if (key !== this.#drawn) this.#list.replaceChildren(...this.#items(session));
    this.#drawn = key;
  }

  /** @param {Session} session */
  #items(session) {
    return session.steps.all.map(({ photoId, title }, at) => {
      const thumb = make("img", { alt: "", src: photoId ? previewUrl(photoId, THUMB_SIDE) : session.localUrl });
      const text = at ? `Without ${title}` : "As it came";
      const button = make(
        "button",
        { type: "button", class: "step", disabled: session.removing },
        thumb,
        make("span", {}, text),
      );
      if (at === session.steps.at) button.setAttribute("aria-current", "step");
      button.addEventListener("click", () => {
        this.app.compare(false);
        session.goTo(at);
      });
      return make("li", { class: at > session.steps.at ? "later" : "" }, button);
    });
  }
}
