// @ts-check
/** How photos come in: dropped, pasted, or picked. */

import { byId } from "./dom.js";

/** @import { App } from "./app.js" */

const PHOTO_NAME = /\.(jpe?g|png|webp|avif|heic|heif|tiff?|bmp|gif|mpo)$/i;

export class Intake {
  #picker = byId("picker", HTMLInputElement);
  #veil = byId("drop", HTMLElement);

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    for (const button of document.querySelectorAll("[data-pick]")) {
      button.addEventListener("click", () => this.#picker.click());
    }
    this.#picker.addEventListener("change", () => {
      this.#take(this.#picker.files);
      this.#picker.value = "";
    });
    addEventListener("paste", (event) => this.#take(event.clipboardData?.files));
    addEventListener("dragenter", (event) => this.#onDrag(event));
    addEventListener("dragover", (event) => this.#onDrag(event));
    addEventListener("dragleave", (event) => event.relatedTarget === null && (this.#veil.hidden = true));
    addEventListener("drop", (event) => this.#onDrop(event));
  }

  /** @param {DragEvent} event */
  #onDrag(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    this.#veil.hidden = false;
  }

  /** @param {DragEvent} event */
  #onDrop(event) {
    event.preventDefault();
    this.#veil.hidden = true;
    this.#take(event.dataTransfer?.files);
  }

  /** @param {FileList | null | undefined} files */
  #take(files) {
    if (!files?.length) return;
    const photos = [...files].filter(({ type, name }) => type.startsWith("image/") || PHOTO_NAME.test(name));
    if (photos.length < files.length)
      this.app.say("Only photos can be opened: JPEG, PNG, WebP, AVIF, TIFF, HEIC …", "error");
    this.app.open(photos);
  }
}
