// @ts-check
/** Knows whether the server answers; waits for it when it does not. */

const AGAIN_MS = 1500;

/** Fires `change` when the server goes or comes back. */
class Connection extends EventTarget {
  lost = false;
  /** @type {Promise<void> | null} */
  #back = null;

  /**
   * Resolves when the server answers again; many callers share one poll.
   * @returns {Promise<void>}
   */
  back() {
    this.#back ??= this.#poll();
    return this.#back;
  }

  async #poll() {
    this.#set(true);
    do await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    while (!(await answers()));
    this.#back = null;
    this.#set(false);
  }

  /** @param {boolean} lost */
  #set(lost) {
    this.lost = lost;
    this.dispatchEvent(new Event("change"));
  }
}

async function answers() {
  try {
    return (await fetch("/healthz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

export const connection = new Connection();
