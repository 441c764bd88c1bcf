// @ts-check
/** One photo on its way: sent, searched, marked, removed from, and every result of it. Knows the server, and no element. */

import * as api from "./api.js";
import { follow } from "./jobs.js";
import { maskFiles } from "./mask.js";
import { NOTHING, boxAround, inWords, isEmpty, objectsInWords, withChosen, withPrompted } from "./selection.js";
import { forget, newStep } from "./step.js";
import { Timeline } from "./timeline.js";

/** @import { Box, Instance, Job, Point } from "./types.js" */
/** @import { Step } from "./step.js" */
/** @import { Prompted, Selection } from "./selection.js" */
/** @import { Waiting } from "./api.js" */

/** @typedef {{dilate: string, segmenter: string, prompter: string, inpainter: string}} Choices  the settings that the server is told */

const HARDER = 0.2; // least score of what is found by looking harder

/** Fires `change` whenever something to be seen is different, and `say` with a line for the user. */
export class Session extends EventTarget {
  /** Why the photo cannot be worked on, in the server's words. */
  refusal = "";
  format = "";
  /** @type {Job | null} */
  job = null;
  /** Seconds until a full queue is asked again; 0 while nothing waits. */
  busyFor = 0;
  /** Whether the file was downloaded since the last result. */
  saved = true;
  /** @type {Point | null} where an answer to a click or box is awaited */
  pinging = null;
  width = 0;
  height = 0;
  /** @type {AbortController | null} */
  #removal = null;
  #closed = new AbortController();
  #restarting = false;
  /** Classes that were named are looked for again; this is when all of them are. @type {Promise<unknown>} */
  #naming = Promise.resolve();
  /** Clicks and boxes are answered one after the other; this is the last of them. @type {Promise<unknown>} */
  #prompts = Promise.resolve();

  /**
   * @param {File} file
   * @param {() => Choices} choices  the settings as they are now
   */
  constructor(file, choices) {
    super();
    this.file = file;
    this.name = file.name || "pasted photo";
    this.localUrl = URL.createObjectURL(file);
    this.choices = choices;
    /** @type {Timeline<Step>} */
    this.steps = new Timeline(newStep());
  }

  /** @returns {Step} */
  get step() {
    return this.steps.now;
  }

  /** @returns {Selection} */
  get selection() {
    return this.step.marks.now;
  }

  /** Everything that can be chosen now. */
  get instances() {
    return [...this.step.found, ...this.selection.prompted];
  }

  get isResult() {
    return this.steps.at > 0;
  }

  get removing() {
    return this.#removal !== null;
  }

  get canRemove() {
    return !this.removing && this.step.photoId !== "" && (this.pinging !== null || !isEmpty(this.selection));
  }

  /** @returns {Waiting} */
  get #waiting() {
    return { signal: this.#closed.signal, onBusy: (seconds) => this.#setBusy(seconds) };
  }

  /** Send the photo and look what is in it. */
  async open() {
    try {
      const sent = await api.sendPhoto(this.file, this.#waiting);
      this.#setBusy(0);
      this.step.photoId = sent.photo_id;
      this.format = sent.format;
      [this.width, this.height] = [sent.width, sent.height];
      this.#changed();
      await this.search(this.step);
    } catch (error) {
      this.#failed(error, (line) => (this.refusal = line));
    }
  }

  /**
   * Look for every class in a step's photo.
   * @param {Step} step
   */
  async search(step) {
    step.asking.abort();
    Object.assign(step, { asking: new AbortController(), found: [], named: new Set(), looking: new Set(), search: "searching" });
    const { signal } = step.asking;
    this.#changed();
    const instances = await this.#detect(step, { remove: "all" });
    if (signal.aborted) return;
    step.found = instances ?? [];
    step.search = instances ? "done" : "failed";
    this.#changed();
    if (!instances) return;
    if (instances.length) this.#say(`Found ${objectsInWords(instances)}.`);
    else this.#say("Nothing was recognised in this photo.");
  }

  /**
   * Look for what the search has not shown, down to a low score, and show it as well.
   * @param {string} [classes]
   * @returns {Promise<Instance[] | null>} what was found, the known ones included; null where the search failed or another took its place
   */
  async searchHarder(classes = "all") {
    const { step } = this;
    const { signal } = step.asking;
    step.search = "searching";
    this.#changed();
    const instances = await this.#detect(step, { remove: classes, confidence: HARDER });
    if (signal.aborted) return null;
    step.search = "done";
    this.#changed();
    if (!instances) return null;
    if (classes !== "all") for (const { label } of instances) step.named.add(label);
    const known = new Map(step.found.map((one) => [`${one.label} ${one.box}`, one]));
    const merged = instances.map((one) => known.get(`${one.label} ${one.box}`) ?? one);
    step.found = byFallingArea([...new Set([...step.found, ...merged])]);
    return merged;
  }

  /**
   * The user named classes and chose their objects: what only a second look finds of them joins these a moment later.
   * @param {readonly string[]} labels
   */
  nameClasses(labels) {
    const { step } = this;
    const { found, named } = step;
    const news = labels.filter((label) => !named.has(label) && found.some((one) => one.label === label));
    if (news.length === 0 || this.removing) return;
    for (const label of news) named.add(label);
    const known = found.filter(({ label }) => news.includes(label));
    this.#naming = Promise.allSettled([this.#naming, this.#lookAgain(step, news, known)]);
  }

  /**
   * @param {Step} step
   * @param {readonly string[]} labels
   * @param {readonly Instance[]} known
   */
  async #lookAgain(step, labels, known) {
    const { named, looking, asking } = step;
    labels.forEach((label) => looking.add(label));
    this.#changed();
    let late = null;
    try {
      late = await this.#detect(step, { remove: labels.join(","), known: known.map(({ id }) => id) });
    } finally {
      labels.forEach((label) => looking.delete(label));
      if (!late) labels.forEach((label) => named.delete(label));
      this.#changed();
    }
    if (!late?.length || asking.signal.aborted) return;
    step.found = byFallingArea([...step.found, ...late]);
    for (const { id, label } of late) {
      const others = known.filter((one) => one.label === label);
      step.marks.amend((marks) =>
        others.every((one) => marks.chosen.has(one.id)) ? withChosen(marks, [id], true) : marks,
      );
    }
    this.#say(`Found more, because it was named: ${objectsInWords(late)}.`);
    this.#changed();
  }

  /**
   * @param {Step} step
   * @param {{remove: string, known?: string[], confidence?: number}} what
   * @returns {Promise<Instance[] | null>} null where that failed, which the user was told, or where the photo is searched anew
   */
  async #detect(step, what) {
    const signal = AbortSignal.any([this.#closed.signal, step.asking.signal]);
    try {
      const { segmenter } = this.choices();
      const { instances } = await api.detect(step.photoId, { ...what, segmenter }, { ...this.#waiting, signal });
      return byFallingArea(instances);
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
      return null;
    } finally {
      if (!signal.aborted) this.#setBusy(0);
    }
  }

  /** Look again, as another segmenter may find other things; what was chosen of the old ones is forgotten, and so is undo. */
  searchAgain() {
    const { step, selection } = this;
    if (step.photoId === "" || this.removing) return;
    const stays = selection.prompted.map(({ id }) => id).filter((id) => selection.chosen.has(id));
    step.marks = new Timeline({ ...selection, chosen: new Set(stays) });
    return this.search(step);
  }

  /**
   * Change what is marked; nothing can be marked while a removal runs.
   * @param {Selection} selection
   */
  mark(selection) {
    if (this.removing) return;
    this.step.marks.push(selection);
    this.#changed();
  }

  /**
   * Ask for the object at a point; `more` adds the point to the object that was pointed at last.
   * @param {Point} at
   * @param {{positive?: boolean, more?: boolean}} [how]
   */
  point(at, { positive = true, more = false } = {}) {
    return this.#inTurn(async () => {
      const last = more ? this.selection.prompted.findLast(({ points }) => points !== undefined) : undefined;
      const points = [...(last?.points ?? []), { at, positive }];
      if (points.some((point) => point.positive)) await this.#prompt(at, { points }, last?.id);
      else this.#say("Click the object first, then what is not part of it.", "error");
    });
  }

  /** @param {Box} box */
  box(box) {
    const [x0, y0, x1, y1] = box;
    return this.#inTurn(() => this.#prompt([(x0 + x1) / 2, (y0 + y1) / 2], { box }));
  }

  /**
   * Do something when all clicks and boxes before it are answered.
   * @param {() => Promise<void>} task
   */
  #inTurn(task) {
    const turn = this.#prompts.then(task);
    this.#prompts = turn.catch(() => {}); // whoever asked hears of it; the next one need not
    return turn;
  }

  /**
   * @param {Point} near
   * @param {{points?: Prompted["points"], box?: Box}} what
   * @param {string} [instead]
   */
  async #prompt(near, what, instead) {
    if (this.removing) return;
    this.pinging = near;
    this.#changed();
    await this.#sent();
    const { step } = this;
    try {
      const { prompter } = this.choices();
      const one = await api.select(step.photoId, { ...what, prompter }, this.#waiting);
      if (one.area === 0) this.#say("Nothing to select there. Drag a box around it, or paint it.", "error");
      else {
        step.marks.push(withPrompted(step.marks.now, { ...one, points: what.points }, instead));
        this.#say(`Selected what is ${what.box ? "in the box" : "at that point"}.`);
      }
    } catch (error) {
      this.#failed(error);
    } finally {
      this.pinging = null;
      this.#setBusy(0);
      this.#changed();
    }
  }

  /**
   * Remove what is marked; answers whether there is a new result.
   * @returns {Promise<boolean>}
   */
  async remove() {
    await this.#prompts; // what was clicked just now goes as well
    if (!this.canRemove) return false;
    const { signal } = (this.#removal = new AbortController());
    this.job = { job_id: "", state: "queued", stage: null, done: 0, total: 0, position: 0 };
    this.#changed();
    try {
      await orAborted(this.#naming, signal); // and what was named just now goes whole
      const { step, selection, instances } = this;
      const files = await maskFiles(selection.strokes, this.width, this.height);
      const { dilate, segmenter, inpainter } = this.choices();
      const request = { instances: [...selection.chosen], ...files, dilate, segmenter, inpainter };
      const accepted = await api.remove(step.photoId, request, { signal, onBusy: (seconds) => this.#setBusy(seconds) });
      this.#setBusy(0);
      const job = await follow(accepted, (state) => this.#progress(state), signal);
      if (job.state === "done" && job.result?.changed) {
        this.#arrive(job.result, inWords(selection, instances), boxAround(selection, instances));
        return true;
      }
      if (job.state === "done") this.#say("Nothing was left to remove: the eraser took all of it back.", "error");
      else if (job.state === "cancelled") this.#say("Cancelled. Nothing was changed.");
      else this.#say(job.error?.message ?? "The removal failed.", "error");
    } catch (error) {
      if (signal.aborted) this.#say("Cancelled. Nothing was changed.");
      else this.#failed(error);
    } finally {
      this.#removal = null;
      this.job = null;
      this.#setBusy(0);
      this.#changed();
    }
    return false;
  }

  cancel() {
    this.#removal?.abort();
  }

  /** Whether the server still has what is shown; where not, the photo is sent again. */
  async isKept() {
    try {
      await api.photoInfo(this.step.photoId, this.#waiting);
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  /** Undo the last change: a mark, or the removal itself where nothing was marked since. */
  undo() {
    if (this.removing) return;
    if (this.step.marks.canUndo) this.step.marks.undo();
    else this.steps.undo();
    this.#changed();
  }

  redo() {
    if (this.removing) return;
    if (this.step.marks.canRedo) this.step.marks.redo();
    else this.steps.redo();
    this.#changed();
  }

  get canUndo() {
    return !this.removing && (this.step.marks.canUndo || this.steps.canUndo);
  }

  get canRedo() {
    return !this.removing && (this.step.marks.canRedo || this.steps.canRedo);
  }

  /** @param {number} at */
  goTo(at) {
    if (this.removing) return;
    this.steps.goTo(at);
    this.#changed();
  }

  /** Resolves when the photo is on the server. */
  async #sent() {
    while (this.step.photoId === "") {
      await new Promise((resolve) => this.addEventListener("change", resolve, { once: true }));
    }
  }

  /** Stop everything and let the server forget the photo and its results. */
  close() {
    this.cancel();
    this.#closed.abort();
    URL.revokeObjectURL(this.localUrl);
    forget(this.steps.all);
  }

  /**
   * @param {NonNullable<Job["result"]>} result
   * @param {string} what
   * @param {Box | null} changed
   */
  #arrive({ photo_id, notes, warnings, mask_area }, what, changed) {
    const step = newStep(photo_id, what, changed);
    step.notes = [...new Set([...notes, ...warnings])];
    step.filled = mask_area;
    forget(this.steps.push(step));
    this.saved = false;
    this.#say(`Removed: ${what}.`);
    void this.search(step);
  }

  /** @param {Job} job */
  #progress(job) {
    this.job = job;
    this.#changed();
  }

  /** @param {number} seconds */
  #setBusy(seconds) {
    if (seconds === this.busyFor) return;
    this.busyFor = seconds;
    this.#changed();
  }

  /**
   * @param {unknown} error
   * @param {(line: string) => void} [tell]
   */
  #failed(error, tell = (line) => this.#say(line, "error")) {
    if (this.#closed.signal.aborted) return;
    if (!(error instanceof api.Refused)) throw error;
    if (error.photoGone) void this.#restart();
    else if (error.objectGone) this.#markAnew();
    else tell(error.message);
    this.#changed();
  }

  /** The server has forgotten objects, as it does where many large ones were pointed at: look again; what was painted stays. */
  #markAnew() {
    const { step, selection } = this;
    step.marks = new Timeline({ ...NOTHING, strokes: selection.strokes });
    this.#say("The server no longer had some of these objects. Choose again what should go.", "error");
    void this.search(step);
  }

  /** The server has forgotten the photo: send it again and begin anew; what was painted stays. */
  async #restart() {
    if (this.#restarting) return;
    this.#restarting = true;
    const { strokes } = this.selection;
    this.steps = new Timeline(newStep());
    if (strokes.length) this.step.marks = new Timeline({ ...NOTHING, strokes });
    const painted = strokes.length ? " What was painted is still marked." : "";
    this.#say(`The server no longer had this photo, so it was sent again. Earlier results are gone.${painted}`, "error");
    await this.open();
    this.#restarting = false;
  }

  /**
   * @param {string} line
   * @param {"status" | "error"} [kind]
   */
  #say(line, kind = "status") {
    this.dispatchEvent(new CustomEvent("say", { detail: { line, kind } }));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * Wait, but no longer than the user does; throws where the signal is aborted.
 * @param {Promise<unknown>} promise
 * @param {AbortSignal} signal
 */
async function orAborted(promise, signal) {
  await Promise.race([promise, new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }))]);
  signal.throwIfAborted();
}

/** @param {readonly Instance[]} instances */
function byFallingArea(instances) {
  return [...instances].sort((one, other) => other.area - one.area);
}
