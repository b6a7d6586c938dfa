// Keys and buttons, and what they do.

import { moved, resized } from "./boxes.js";
import { button, form } from "./deciding.js";
import { addInTheMiddle, drop, remove } from "./drawing.js";
import {
  change, choose, chosen, describe, find, frame, redo, replaced, show, toggleFrames, undo,
} from "./masks.js";
import { $, FRAMES, say } from "./page.js";
import { actualSize, fit, goTo, stage, toggleLook, zoom } from "./view.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function arrow(event) {
  const mask = find(chosen);
  const step = event.shiftKey ? 10 : 1;
  const [dx, dy] = ARROWS[event.key].map((part) => part * step);
  const isResizing = event.ctrlKey || event.metaKey;
  const box = isResizing ? resized(mask.box, "se", dx, dy) : moved(mask.box, dx, dy);
  change(replaced({ ...mask, box, origin: "drawn" }), `${isResizing ? "resize" : "move"} ${chosen}`);
  say(describe({ ...mask, box }));
}

const keys = {
  "?": () => $("keys").showModal(),
  n: addInTheMiddle,
  f: () => toggleFrames(chosen),
  m: () => form.requestSubmit(button("mask")),
  M: () => form.requestSubmit(button("remember")),
  r: () => form.requestSubmit(button("release")),
  x: () => form.requestSubmit(button("reject")),
  s: () => $("leave").click(),
  c: () => toggleLook("contrast"),
  i: () => toggleLook("invert"),
  p: () => toggleLook("solid"),
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: fit,
  1: actualSize,
  ",": () => goTo(frame - 1), ".": () => goTo(frame + 1),
  PageUp: () => goTo(frame - 1), PageDown: () => goTo(frame + 1),
  Delete: () => remove(chosen), Backspace: () => remove(chosen),
  Escape: () => { drop(false); choose(null); show(); stage.focus({ preventScroll: true }); },
};

function command(event) {
  const name = event.key.toLowerCase();
  if (name === "z") return event.shiftKey ? redo : undo;
  return name === "y" ? redo : null;
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.altKey || event.defaultPrevented) return;
  if (event.target.matches("input")) return;
  const isCommand = event.ctrlKey || event.metaKey;
  if (event.key in ARROWS) {
    if (!find(chosen) || !event.target.closest(".mask, #stage")) return;
    event.preventDefault();
    arrow(event);
    return;
  }
  const does = isCommand ? command(event) : keys[event.key];
  if (!does) return;
  event.preventDefault();
  does();
});

const clicks = {
  "zoom-in": () => zoom(1.25), "zoom-out": () => zoom(0.8), "zoom-fit": fit, undo, redo,
  contrast: () => toggleLook("contrast"), invert: () => toggleLook("invert"),
  solid: () => toggleLook("solid"), "keys-open": () => $("keys").showModal(),
};
for (const [id, does] of Object.entries(clicks)) $(id).addEventListener("click", does);
if (FRAMES > 1) {
  $("slider").addEventListener("input", () => goTo($("slider").value - 1));
  $("previous").addEventListener("click", () => goTo(frame - 1));
  $("next").addEventListener("click", () => goTo(frame + 1));
}
