// @ts-check
/** A list of states with a place in it: undo, redo, and doing something new forgets what was undone. */

/** @template T */
export class Timeline {
  /** @type {T[]} */
  #states;
  #at = 0;

  /** @param {T} first */
  constructor(first) {
    this.#states = [first];
  }

  /** @returns {T} */
  get now() {
    return this.#states[this.#at];
  }

  get at() {
    return this.#at;
  }

  /** @returns {readonly T[]} */
  get all() {
    return this.#states;
  }

  get canUndo() {
    return this.#at > 0;
  }

  get canRedo() {
    return this.#at < this.#states.length - 1;
  }

  /**
   * Go on from here; answers the states that are forgotten by it.
   * @param {T} next
   * @returns {T[]}
   */
  push(next) {
    const forgotten = this.#states.splice(this.#at + 1);
    this.#states.push(next);
    this.#at += 1;
    return forgotten;
  }

  /**
   * Change every state, those that can be redone included.
   * @param {(state: T) => T} change
   */
  amend(change) {
    this.#states = this.#states.map(change);
  }

  /** @param {number} at */
  goTo(at) {
    this.#at = Math.min(Math.max(at, 0), this.#states.length - 1);
  }

  undo() {
    this.goTo(this.#at - 1);
  }

  redo() {
    this.goTo(this.#at + 1);
  }
}
