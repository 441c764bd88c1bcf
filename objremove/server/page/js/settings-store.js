// @ts-check
/** The few settings, kept in this browser. */

/**
 * @typedef {object} Settings
 * @property {"auto" | number} grow  how far each object is grown: `auto`, or percent of its size
 * @property {boolean} compareAfter  whether before and after are shown when a removal is done
 * @property {string} segmenter
 * @property {string} prompter
 * @property {string} inpainter
 */

const KEY = "objremove.settings";

/** @type {Readonly<Settings>} */
const DEFAULTS = { grow: "auto", compareAfter: true, segmenter: "auto", prompter: "auto", inpainter: "auto" };

/** @returns {Settings} */
export function loadSettings() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
  } catch {
    return { ...DEFAULTS }; // storage is switched off, or holds something else
  }
}

/** @param {Settings} settings */
export function saveSettings(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // storage is switched off: the settings hold until the page is closed
  }
}

/**
 * What the server's `dilate` is to be.
 * @param {Settings} settings
 */
export function dilation({ grow }) {
  return grow === "auto" ? "auto" : `${grow}%`;
}
