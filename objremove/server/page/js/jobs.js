// @ts-check
/** Follows a job of the server to its end, and cancels it. */

import * as api from "./api.js";

/** @import { Job } from "./types.js" */

const POLL_MS = 700;
/** Browsers allow a server six connections, and each stream of events takes one: further jobs are asked for now and then. */
const MOST_STREAMS = 2;
let streams = 0;

/**
 * Follow a job until it is done, failed or cancelled; asks now and then where events do not come through.
 * @param {Job} job
 * @param {(job: Job) => void} onChange
 * @param {AbortSignal} signal  aborting cancels the job on the server
 * @returns {Promise<Job>}
 */
export async function follow(job, onChange, signal) {
  const cancel = () => void api.cancelJob(job.job_id).catch(() => null); // a job that is over needs no cancelling
  if (signal.aborted) cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    const ended = streams < MOST_STREAMS ? await byEvents(job.job_id, onChange) : null;
    return ended ?? (await byAsking(job.job_id, onChange));
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

/**
 * @param {string} id
 * @param {(job: Job) => void} onChange
 * @returns {Promise<Job | null>} null where the stream broke off
 */
function byEvents(id, onChange) {
  return new Promise((resolve) => {
    const events = api.jobEvents(id);
    streams++;
    /** @param {Job | null} job */
    const end = (job) => {
      events.close();
      streams--;
      resolve(job);
    };
    events.onmessage = ({ data }) => {
      const job = /** @type {Job} */ (JSON.parse(data));
      onChange(job);
      if (isOver(job)) end(job);
    };
    events.onerror = () => end(null);
  });
}

/**
 * @param {string} id
 * @param {(job: Job) => void} onChange
 */
async function byAsking(id, onChange) {
  for (;;) {
    const job = await api.jobState(id);
    onChange(job);
    if (isOver(job)) return job;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** @param {Job} job */
function isOver({ state }) {
  return state === "done" || state === "failed" || state === "cancelled";
}
