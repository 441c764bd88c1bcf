// @ts-check
/** What is marked to go from one photo, as an immutable value: every change is a new one, so that undo is a list of them. */

/** @import { Box, Instance, Point, Stroke } from "./types.js" */

/**
 * @typedef {object} Selection
 * @property {ReadonlySet<string>} chosen  ids of the instances that go
 * @property {readonly Prompted[]} prompted  instances that were pointed at, beside those that were found
 * @property {readonly Stroke[]} strokes  in the order in which they were drawn
 *
 * @typedef {Instance & {points?: readonly {at: Point, positive: boolean}[]}} Prompted  with the points that it was asked by
 */

/** @type {Selection} */
export const NOTHING = { chosen: new Set(), prompted: [], strokes: [] };

/**
 * @param {Selection} selection
 * @param {Iterable<string>} ids
 * @param {boolean} on
 * @returns {Selection}
 */
export function withChosen(selection, ids, on) {
  const chosen = new Set(selection.chosen);
  for (const id of ids) on ? chosen.add(id) : chosen.delete(id);
  return { ...selection, chosen };
}

/**
 * @param {Selection} selection
 * @param {string} id
 */
export function toggled(selection, id) {
  return withChosen(selection, [id], !selection.chosen.has(id));
}

/**
 * With an instance that was pointed at, chosen; it takes the place of `instead`.
 * @param {Selection} selection
 * @param {Prompted} one
 * @param {string} [instead]
 * @returns {Selection}
 */
export function withPrompted(selection, one, instead) {
  const prompted = [...selection.prompted.filter(({ id }) => id !== instead && id !== one.id), one];
  return { ...withChosen(withChosen(selection, instead ? [instead] : [], false), [one.id], true), prompted };
}

/**
 * @param {Selection} selection
 * @param {Stroke} stroke
 * @returns {Selection}
 */
export function withStroke(selection, stroke) {
  return { ...selection, strokes: [...selection.strokes, stroke] };
}

/**
 * Whether nothing would go. An eraser alone marks nothing.
 * @param {Selection} selection
 */
export function isEmpty({ chosen, strokes }) {
  return chosen.size === 0 && !strokes.some(({ tool }) => tool === "brush");
}

/**
 * What goes, in words: "2 dogs, person and painted area".
 * @param {Selection} selection
 * @param {readonly Instance[]} instances
 */
export function inWords({ chosen, strokes }, instances) {
  const going = instances.filter(({ id }) => chosen.has(id));
  const painted = strokes.some(({ tool }) => tool === "brush");
  return listed([...namesOf(going), ...(painted ? ["painted area"] : [])]);
}

/**
 * Objects in words: "2 dogs and person".
 * @param {readonly Instance[]} instances
 */
export function objectsInWords(instances) {
  return listed(namesOf(instances));
}

/**
 * Those that are objects of their own, and not more of another.
 * @param {readonly Instance[]} instances
 */
export function objectsOf(instances) {
  return instances.filter((one) => !one.extends);
}

/** @param {readonly Instance[]} instances */
export function idsOf(instances) {
  return new Set(instances.map(({ id }) => id));
}

/** @param {readonly Instance[]} instances */
function namesOf(instances) {
  return [...counted(instances)].map(([label, count]) => nameOf(label, count));
}

/** @param {readonly string[]} parts */
function listed(parts) {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}`;
}

/**
 * How many objects of each label; one that extends others counts with them.
 * @param {readonly Instance[]} instances
 * @returns {Map<string, number>}
 */
export function counted(instances) {
  const counts = new Map();
  for (const { label, extends: more } of instances) counts.set(label, (counts.get(label) ?? 0) + Number(!more));
  for (const [label, count] of counts) counts.set(label, Math.max(1, count));
  return counts;
}

/** @type {Record<string, string>} */
const PLURALS = {
  person: "people",
  sheep: "sheep",
  bus: "buses",
  skis: "pairs of skis",
  scissors: "pairs of scissors",
  couch: "couches",
  bench: "benches",
  knife: "knives",
  mouse: "mice",
  toothbrush: "toothbrushes",
  sandwich: "sandwiches",
  "wine glass": "wine glasses",
  point: "clicked objects",
  box: "boxed objects",
};

/**
 * @param {string} label
 * @param {number} count
 */
function nameOf(label, count) {
  if (count === 1) return { point: "clicked object", box: "boxed object" }[label] ?? label;
  return `${count} ${PLURALS[label] ?? `${label}s`}`;
}

/**
 * The smallest box around everything that is marked to go; null where nothing is.
 * @param {Selection} selection
 * @param {readonly Instance[]} instances
 * @returns {Box | null}
 */
export function boxAround({ chosen, strokes }, instances) {
  const boxes = instances.filter(({ id }) => chosen.has(id)).map(({ box }) => box);
  for (const { tool, size, points } of strokes) {
    if (tool !== "brush") continue;
    for (const [x, y] of points) boxes.push([x - size / 2, y - size / 2, x + size / 2, y + size / 2]);
  }
  if (boxes.length === 0) return null;
  return boxes.reduce(([a, b, c, d], [e, f, g, h]) => [Math.min(a, e), Math.min(b, f), Math.max(c, g), Math.max(d, h)]);
}

/**
 * The one that the photo is of: large, and near the middle.
 * @param {readonly Instance[]} instances
 * @param {number} width
 * @param {number} height
 * @returns {Instance | undefined}
 */
export function mainSubject(instances, width, height) {
  /** @param {Instance} one */
  const weight = ({ area, box: [x0, y0, x1, y1] }) => {
    const off = Math.hypot((x0 + x1) / width - 1, (y0 + y1) / height - 1); // 0 in the middle, about 1 at an edge
    return area / (1 + 2 * off * off);
  };
  return [...instances].sort((one, other) => weight(other) - weight(one))[0];
}
