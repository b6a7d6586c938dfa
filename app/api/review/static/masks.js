// The masks, which of them is chosen, which frame is shown; every change, and the way back.

import { tidy } from "./boxes.js";
import { $, FRAMES, plural, say } from "./page.js";

const MOST_STEPS = 200;

export let masks = JSON.parse($("marks").value).map((mark, index) => ({ ...mark, key: index + 1 }));
let lastKey = masks.length;
export let chosen = null; // key of the mask that is chosen
export let frame = 0;
export const past = [];
export const future = [];
const watchers = [];
let lastStep = "";

// Whoever shows masks is told of every change.
export const watch = (does) => { watchers.push(does); };

export function show() {
  for (const does of watchers) does();
}

export const choose = (key) => { chosen = key; };
export const turnTo = (wanted) => { frame = wanted; };

// Every change is a new list. Steps of the same name in a row are undone together.
export function change(changed, step = "") {
  if (!step || step !== lastStep) past.push(masks);
  if (past.length > MOST_STEPS) past.shift();
  future.length = 0;
  lastStep = step;
  masks = changed;
  show();
}

function goBack(from, to, word) {
  if (!from.length) return;
  to.push(masks);
  masks = from.pop();
  lastStep = "";
  if (!find(chosen)) chosen = null;
  show();
  say(`${word}. ${plural(masks.length, "mask")}.`);
}

export const undo = () => goBack(past, future, "Undone");
export const redo = () => goBack(future, past, "Done again");
export const find = (key) => masks.find((mask) => mask.key === key);
export const replaced = (mask) => masks.map((one) => (one.key === mask.key ? mask : one));
export const isShown = (mask) => !mask.frames || (mask.frames[0] <= frame && frame <= mask.frames[1]);

export function framesText(mask) {
  if (!mask.frames) return FRAMES > 1 ? "all frames" : "";
  const [first, last] = mask.frames;
  return first === last ? `frame ${first + 1}` : `frames ${first + 1} to ${last + 1}`;
}

export function describe(mask) {
  const { left, top, right, bottom } = mask.box;
  const place = `${right - left} × ${bottom - top} at ${left}, ${top}`;
  return [place, framesText(mask), mask.origin].filter(Boolean).join(", ");
}

export function add(box) {
  const mask = { key: ++lastKey, box: tidy(box), frames: null, origin: "drawn" };
  chosen = mask.key;
  change([...masks, mask]);
  say(`Mask ${masks.length} added.`);
}

export function toggleFrames(key) {
  const mask = find(key);
  if (!mask || FRAMES < 2) return;
  const changed = { ...mask, frames: mask.frames ? null : [frame, frame] };
  change(replaced(changed));
  say(`The mask is for ${framesText(changed)}.`);
}
