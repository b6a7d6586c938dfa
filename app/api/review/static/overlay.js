// The masks as shapes over the image, with handles to resize them.

import { choose, chosen, describe, find, isShown, masks, show, watch } from "./masks.js";
import { $, COLUMNS, ROWS, drawn } from "./page.js";

const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];

export const overlay = $("overlay");
export const shapes = new Map(); // key -> group in the overlay
let scale = 1;

function shapeOf(mask) {
  let shape = shapes.get(mask.key);
  if (shape) return shape;
  shape = drawn("g", { class: "mask", tabindex: "0", role: "button", "data-key": mask.key });
  shape.append(drawn("rect", { class: "body" }));
  for (const handle of HANDLES) {
    shape.append(drawn("rect", { class: `handle ${handle}`, "data-handle": handle }));
  }
  shape.addEventListener("focus", () => { if (chosen !== mask.key) { choose(mask.key); show(); } });
  shapes.set(mask.key, shape);
  overlay.append(shape);
  return shape;
}

export function place(shape, box) {
  const [body, ...handles] = shape.children;
  const set = (element, x, y, width, height) => {
    element.setAttribute("x", x);
    element.setAttribute("y", y);
    element.setAttribute("width", width);
    element.setAttribute("height", height);
  };
  set(body, box.left, box.top, box.right - box.left, box.bottom - box.top);
  const size = 10 / scale; // the same on the screen, whatever the image's size
  const across = { w: box.left, e: box.right };
  const down = { n: box.top, s: box.bottom };
  for (const handle of handles) {
    const name = handle.dataset.handle;
    const x = across[name.at(-1)] ?? (box.left + box.right) / 2;
    const y = down[name[0]] ?? (box.top + box.bottom) / 2;
    set(handle, x - size / 2, y - size / 2, size, size);
  }
}

// Handles stay as large as they are when the image does not.
export function rescale(wanted) {
  scale = wanted;
  for (const mask of masks) if (shapes.has(mask.key)) place(shapes.get(mask.key), mask.box);
}

function showShapes() {
  masks.forEach((mask, index) => {
    const shape = shapeOf(mask);
    place(shape, mask.box);
    shape.classList.toggle("chosen", mask.key === chosen);
    shape.classList.toggle("other", !isShown(mask));
    shape.setAttribute("tabindex", isShown(mask) ? "0" : "-1");
    shape.setAttribute("aria-pressed", String(mask.key === chosen));
    shape.setAttribute("aria-label", `Mask ${index + 1}: ${describe(mask)}`);
  });
  for (const [key, shape] of shapes) {
    if (!find(key)) { shape.remove(); shapes.delete(key); }
  }
}

export const focusOn = (key) => shapes.get(key)?.focus({ preventScroll: false });

export function toImage(x, y) {
  const area = overlay.getBoundingClientRect();
  return { x: ((x - area.left) / area.width) * COLUMNS, y: ((y - area.top) / area.height) * ROWS };
}

watch(showShapes);
