// @ts-check
/** Small sums on numbers, points and boxes. */

/** @import { Box, Point } from "./types.js" */

/**
 * @param {number} value
 * @param {number} least
 * @param {number} most
 */
export function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

/**
 * The box between two corners in whole pixels, at least one pixel wide and high, inside the photo.
 * @param {Point} one
 * @param {Point} other
 * @param {number} width
 * @param {number} height
 * @returns {Box}
 */
export function boxBetween([ax, ay], [bx, by], width, height) {
  const x0 = clamp(Math.floor(Math.min(ax, bx)), 0, width - 1);
  const y0 = clamp(Math.floor(Math.min(ay, by)), 0, height - 1);
  return [
    x0,
    y0,
    clamp(Math.ceil(Math.max(ax, bx)), x0 + 1, width),
    clamp(Math.ceil(Math.max(ay, by)), y0 + 1, height),
  ];
}

/**
 * The pixel that a place lies in; null outside the photo.
 * @param {Point} place
 * @param {number} width
 * @param {number} height
 * @returns {Point | null}
 */
export function pixelAt([x, y], width, height) {
  return x < 0 || y < 0 || x >= width || y >= height ? null : [Math.floor(x), Math.floor(y)];
}
