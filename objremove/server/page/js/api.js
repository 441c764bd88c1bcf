// @ts-check
/** The HTTP interface of `objremove serve`, one function a request. Knows no page. */

import { connection } from "./connection.js";

/** @import { Detection, Instance, Job, Model, PhotoInfo, Point, Box } from "./types.js" */

/** What the server refused, in its own one line. */
export class Refused extends Error {
  /**
   * @param {string} message
   * @param {string} [code]  the server's word for it
   */
  constructor(message, code = "") {
    super(message);
    this.code = code;
  }

  /** The photo or result is no longer there: it expired, or the server was restarted. */
  get photoGone() {
    return this.code === "unknown_photo";
  }

  /** An object that was marked is no longer known. */
  get objectGone() {
    return this.code === "unknown_instance";
  }
}

/**
 * @typedef {object} Waiting
 * @property {AbortSignal} [signal]
 * @property {(seconds: number) => void} [onBusy]  called when the queue is full, with the seconds until the next try
 */

const MOST_SECONDS = 30;

/**
 * One request. While the server is gone it waits for it; while its queue is full it tries again when Retry-After says.
 * @param {string} path
 * @param {RequestInit} [init]
 * @param {Waiting} [waiting]
 * @returns {Promise<any>}
 */
async function request(path, init = {}, { signal, onBusy } = {}) {
  for (;;) {
    signal?.throwIfAborted();
    const answer = await exchange(path, { ...init, signal, headers: { Accept: "application/json" } });
    if (answer === null) {
      await aborted(connection.back(), signal);
      if (!(await isReadable(init.body))) throw new Refused("This file has changed or is gone. Open it again.");
    } else if (isBusy(answer)) {
      const seconds = Math.min(Math.max(Number(answer.headers.get("Retry-After")) || 2, 1), MOST_SECONDS);
      onBusy?.(seconds);
      await aborted(new Promise((resolve) => setTimeout(resolve, 1000 * seconds)), signal);
    } else if (answer.status === 401) {
      location.assign("/"); // the server serves its sign-in page there
      return new Promise(() => {});
    } else if (answer.status < 400) return answer.text ? JSON.parse(answer.text) : null;
    else throw refusalOf(answer);
  }
}

/**
 * Whether the same request may go well in a moment: the server says so, or has no word of its own to spare.
 * @param {Answer} answer
 */
function isBusy({ status, headers }) {
  const says = headers.has("Retry-After") || !headers.get("Content-Type")?.includes("json");
  return status === 429 || (status === 503 && says);
}

/**
 * Whether the files of a form can still be read: browsers refuse such as changed on the disk.
 * @param {BodyInit | null | undefined} body
 */
async function isReadable(body) {
  const files = body instanceof FormData ? [...body.values()].filter((value) => value instanceof Blob) : [];
  const reads = await Promise.allSettled(files.map((file) => file.slice(0, 1).arrayBuffer()));
  return reads.every(({ status }) => status === "fulfilled");
}

/**
 * @typedef {{status: number, headers: Headers, text: string}} Answer
 *
 * @param {string} path
 * @param {RequestInit} init
 * @returns {Promise<Answer | null>} null where nobody answered, or broke off
 */
async function exchange(path, init) {
  try {
    const response = await fetch(path, init);
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/**
 * The promise, or an AbortError as soon as the signal says so.
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
function aborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/**
 * The server's own line on what went wrong.
 * @param {Answer} answer
 */
function refusalOf({ status, text }) {
  try {
    const { message, code } = JSON.parse(text).error;
    return new Refused(String(message), String(code));
  } catch {
    return new Refused(`The server answered ${status}, and not in its own words.`); // a proxy's page, say
  }
}

/**
 * A multipart form; lists repeat their field, empty values are left out.
 * @param {Record<string, string | number | Blob | null | undefined | readonly string[]>} fields
 */
function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Blob) data.append(name, value, value instanceof File ? value.name : `${name}.png`);
    else if (Array.isArray(value)) value.forEach((item) => data.append(name, item));
    else if (value !== null && value !== undefined && value !== "") data.append(name, String(value));
  }
  return data;
}

/**
 * @param {File} photo
 * @param {Waiting} [waiting]
 * @returns {Promise<PhotoInfo>}
 */
export function sendPhoto(photo, waiting) {
  return request("/v1/photos", { method: "POST", body: form({ photo }) }, waiting);
}

/**
 * What the server knows of a photo or result; refused where it has forgotten it.
 * @param {string} id
 * @param {Waiting} [waiting]
 * @returns {Promise<PhotoInfo>}
 */
export function photoInfo(id, waiting) {
  return request(photoPath(id), {}, waiting);
}

/**
 * Forget a photo; it is no error when it is gone already.
 * @param {string} id
 */
export function forgetPhoto(id) {
  return fetch(photoPath(id), { method: "DELETE", keepalive: true }).catch(() => null);
}

/**
 * What is in a photo.
 * @param {string} id
 * @param {{remove?: string, known?: string[], confidence?: number, segmenter?: string}} options
 * @param {Waiting} [waiting]
 * @returns {Promise<Detection>}
 */
export function detect(id, options, waiting) {
  return request("/v1/detect", { method: "POST", body: form({ photo_id: id, ...options }) }, waiting);
}

/**
 * The object at points or in a box.
 * @param {string} id
 * @param {{points?: readonly {at: Point, positive: boolean}[], box?: Box, prompter?: string}} options
 * @param {Waiting} [waiting]
 * @returns {Promise<Instance>}
 */
export function select(id, { points = [], box, prompter }, waiting) {
  const body = form({
    photo_id: id,
    points: points.map(({ at, positive }) => (positive ? at.join() : `${at.join()},-`)),
    boxes: box ? [box.join()] : [],
    prompter,
  });
  return request("/v1/select", { method: "POST", body }, waiting);
}

/**
 * Start a removal.
 * @param {string} id
 * @param {{instances: readonly string[], mask: Blob | null, keep_mask: Blob | null, dilate: string, segmenter?: string,
 *   inpainter?: string}} options
 * @param {Waiting} [waiting]
 * @returns {Promise<Job>}
 */
export function remove(id, options, waiting) {
  return request("/v1/remove", { method: "POST", body: form({ photo_id: id, ...options }) }, waiting);
}

/**
 * @param {string} id
 * @returns {Promise<Job>}
 */
export function jobState(id) {
  return request(`/v1/jobs/${encodeURIComponent(id)}`);
}

/** @param {string} id */
export function cancelJob(id) {
  return request(`/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** @param {string} id */
export function jobEvents(id) {
  return new EventSource(`/v1/jobs/${encodeURIComponent(id)}/events`);
}

/** @returns {Promise<{classes: {name: string, aliases: string[]}[]}>} */
export function classes() {
  return request("/v1/classes");
}

/** @returns {Promise<{offline: boolean, models: Model[]}>} */
export function models() {
  return request("/v1/models");
}

/**
 * Fetch a model's weights to the server's machine.
 * @param {string} name
 * @returns {Promise<Job>}
 */
export function pullModel(name) {
  return request(`/v1/models/${encodeURIComponent(name)}/pull`, { method: "POST" });
}

/**
 * @param {string} id
 * @param {number} side  of the longest side, in pixels
 */
export function previewUrl(id, side) {
  return `${photoPath(id)}/preview?side=${side}`;
}

/** @param {string} id */
export function fileUrl(id) {
  return `${photoPath(id)}/file`;
}

/** @param {string} id */
export function maskUrl(id) {
  return `${photoPath(id)}/mask`;
}

/** @param {string} id */
function photoPath(id) {
  return `/v1/photos/${encodeURIComponent(id)}`;
}
