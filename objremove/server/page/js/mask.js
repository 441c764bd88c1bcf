// @ts-check
/** Draws what is marked: on the screen, and as the mask files that go to the server. One drawing serves both. */

import { encodeBitmap } from "./png.js";

/** @import { Instance, Stroke } from "./types.js" */

/** @typedef {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} Context */

/**
 * Draw strokes in their order, in photo coordinates: `adds` paints, the other tool takes away.
 * @param {Context} context
 * @param {readonly Stroke[]} strokes
 * @param {Stroke["tool"]} adds
 */
export function drawStrokes(context, strokes, adds) {
  context.lineCap = context.lineJoin = "round";
  for (const { tool, size, points } of strokes) {
    context.globalCompositeOperation = tool === adds ? "source-over" : "destination-out";
    context.lineWidth = size;
    context.beginPath();
    points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (points.length === 1) context.lineTo(points[0][0], points[0][1]); // a dab: a line of no length, with round ends
    context.stroke();
  }
  context.globalCompositeOperation = "source-over";
}

/**
 * Fill the outline of an instance, in photo coordinates.
 * @param {Context} context
 * @param {Instance} instance
 */
export function fillInstance(context, { outline }) {
  context.beginPath();
  for (const polygon of outline) {
    polygon.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
  }
  context.fill("evenodd");
}

/**
 * The strokes as files of the photo's size, white where they apply: `mask` goes, `keep_mask` stays.
 * @param {readonly Stroke[]} strokes
 * @param {number} width
 * @param {number} height
 * @returns {Promise<{mask: Blob | null, keep_mask: Blob | null}>}
 */
export async function maskFiles(strokes, width, height) {
  /** @param {Stroke["tool"]} tool */
  const file = (tool) =>
    strokes.some((stroke) => stroke.tool === tool)
      ? encodeBitmap(width, height, reach(strokes), (context) => drawStrokes(context, strokes, tool))
      : null;
  return { mask: await file("brush"), keep_mask: await file("eraser") };
}

/**
 * The first and last row that any stroke touches.
 * @param {readonly Stroke[]} strokes
 * @returns {[number, number]}
 */
function reach(strokes) {
  let [top, bottom] = [Infinity, -Infinity];
  for (const { size, points } of strokes) {
    for (const [, y] of points) [top, bottom] = [Math.min(top, y - size), Math.max(bottom, y + size)];
  }
  return [top, bottom];
}
