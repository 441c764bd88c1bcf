// @ts-check
/** The film strip: every open photo, small, with what has become of it. Hidden while there is one only. */

import { byId, icon, make } from "./dom.js";
import { objectsOf } from "./selection.js";

/** @import { App } from "./app.js" */
/** @import { Session } from "./session.js" */

const HEIGHT = 112; // pixels of a thumbnail: twice what is shown, for dense screens

export class Strip {
  #nav = byId("strip", HTMLElement);
  #list = byId("frames", HTMLOListElement);
  /** @type {Map<Session, HTMLLIElement>} */
  #frames = new Map();

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    app.addEventListener("change", () => this.#render());
    this.#list.addEventListener("keydown", (event) => this.#onKey(event));
  }

  #render() {
    const { sessions, current } = this.app;
    this.#nav.hidden = sessions.length < 2;
    for (const [session, frame] of this.#frames) {
      if (sessions.includes(session)) continue;
      frame.remove();
      this.#frames.delete(session);
    }
    for (const session of sessions) {
      const frame = this.#frames.get(session) ?? this.#newFrame(session);
      const state = stateOf(session);
      const [button] = frame.getElementsByTagName("button");
      button.setAttribute("aria-label", `${session.name}: ${state.words}`);
      if (session === current) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      if (frame.dataset.state === state.name) continue;
      frame.dataset.state = state.name;
      frame.querySelector(".badge")?.replaceChildren(...(state.icon ? [icon(state.icon)] : []));
    }
  }

  /** @param {Session} session */
  #newFrame(session) {
    const canvas = make("canvas", { width: HEIGHT, height: HEIGHT });
    const show = make("button", { type: "button", class: "frame" }, canvas, make("span", { class: "badge" }));
    show.title = session.name;
    show.addEventListener("click", () => this.app.show(session));
    const close = make(
      "button",
      { type: "button", class: "close", "aria-label": `Close ${session.name}` },
      icon("close"),
    );
    close.addEventListener("click", () => this.app.close(session));
    const frame = make("li", {}, show, close);
    this.#frames.set(session, frame);
    this.#list.append(frame);
    void thumbnail(session.file, canvas);
    return frame;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const { sessions, current } = this.app;
    if (event.key === "Delete" && current) this.app.close(current);
    else if (!step || !current) return;
    else this.app.show(sessions[(sessions.indexOf(current) + step + sessions.length) % sessions.length]);
    event.preventDefault();
    event.stopPropagation();
    if (this.app.current) this.#frames.get(this.app.current)?.querySelector("button")?.focus();
  }
}

/**
 * The photo's middle, square. What this browser cannot decode stays blank.
 * @param {File} file
 * @param {HTMLCanvasElement} canvas
 */
async function thumbnail(file, canvas) {
  try {
    const image = await createImageBitmap(file, { resizeHeight: HEIGHT, resizeQuality: "medium" });
    const side = Math.min(image.width, image.height);
    const [x, y] = [(image.width - side) / 2, (image.height - side) / 2];
    canvas.getContext("2d")?.drawImage(image, x, y, side, side, 0, 0, HEIGHT, HEIGHT);
    image.close();
  } catch {
    canvas.classList.add("blank");
  }
}

/** @param {Session} session */
function stateOf(session) {
  if (session.refusal) return { name: "refused", words: "refused", icon: "close" };
  if (session.removing) return { name: "busy", words: "removing", icon: "" };
  if (session.isResult) return { name: "done", words: "cleaned", icon: "check" };
  if (["waiting", "searching"].includes(session.step.search)) return { name: "busy", words: "looking", icon: "" };
  return { name: "ready", words: `${objectsOf(session.step.found).length} objects found`, icon: "" };
}
