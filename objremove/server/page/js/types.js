// @ts-check
/**
 * The shapes that cross walls, named once. Coordinates are photo pixels, upright, origin at the top left.
 *
 * @typedef {[number, number]} Point
 * @typedef {[number, number, number, number]} Box  x0, y0, x1, y1; x1 and y1 are outside
 *
 * @typedef {object} Instance  an object that the server found, or one that was pointed at
 * @property {string} id
 * @property {string} label
 * @property {number} number  within its class, from 1
 * @property {number} score
 * @property {Box} box
 * @property {number} area
 * @property {boolean} extends  whether it holds more of objects of its class: together they count as one
 * @property {Point[][]} outline  closed polygons; holes by the even-odd rule
 *
 * @typedef {object} Stroke  one line of the brush or the eraser
 * @property {"brush" | "eraser"} tool
 * @property {number} size  diameter in photo pixels
 * @property {Point[]} points
 *
 * @typedef {object} PhotoInfo  what the server says of a photo
 * @property {string} photo_id
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {string} format
 *
 * @typedef {object} Detection
 * @property {Instance[]} instances
 * @property {Record<string, number>} classes
 *
 * @typedef {object} Job
 * @property {string} job_id
 * @property {"queued" | "running" | "done" | "failed" | "cancelled"} state
 * @property {string | null} stage  read, find, refine, fill, encode; fetch for a model
 * @property {number} done
 * @property {number} total
 * @property {number} position  place in the line, 0 once it runs
 * @property {{photo_id: string, changed: boolean, notes: string[], warnings: string[], mask_area: number} | null} [result]  of a removal
 * @property {{message: string} | null} [error]
 *
 * @typedef {object} Model
 * @property {string} name
 * @property {"segmenter" | "prompter" | "inpainter"} kind
 * @property {string} title
 * @property {string} licence
 * @property {number | null} size  bytes
 * @property {"built in" | "embedded" | "here" | "remote" | "missing"} state
 * @property {boolean} auto  whether `auto` takes it now
 */

export {};
