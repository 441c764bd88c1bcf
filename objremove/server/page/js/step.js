// @ts-check
/** The photo as it came, or one result of it: what was found there, and what is marked to go. */

import { forgetPhoto } from "./api.js";
import { NOTHING } from "./selection.js";
import { Timeline } from "./timeline.js";

/** @import { Box, Instance } from "./types.js" */
/** @import { Selection } from "./selection.js" */

/**
 * @typedef {object} Step
 * @property {string} photoId  on the server; empty until it was sent
 * @property {string} title  what was removed to get here
 * @property {Instance[]} found
 * @property {Set<string>} named  classes that the user chose whole, and that were looked for again
 * @property {Set<string>} looking  those of them for which that still goes on
 * @property {AbortController} asking  of what is asked of the segmenter: aborted where another search takes its place
 * @property {"waiting" | "searching" | "done" | "failed"} search
 * @property {Timeline<Selection>} marks
 * @property {Box | null} changed  around what was removed to get here
 * @property {readonly string[]} notes  what the server wants known about it
 * @property {number} filled  pixels that may differ from the step before
 */

/**
 * @param {string} [photoId]
 * @param {string} [title]
 * @param {Box | null} [changed]
 * @returns {Step}
 */
export function newStep(photoId = "", title = "", changed = null) {
  const marks = new Timeline(NOTHING);
  const [named, looking, asking] = [new Set(), new Set(), new AbortController()];
  return { photoId, title, found: [], named, looking, asking, search: "waiting", marks, changed, notes: [], filled: 0 };
}

/**
 * Let the server forget steps that nobody can go back to.
 * @param {readonly Step[]} steps
 */
export function forget(steps) {
  for (const { photoId } of steps) if (photoId) void forgetPhoto(photoId);
}
