// Masks that are drawn, moved and resized with the mouse, and those that come and go by a key.

import { moved, resized, tidy } from "./boxes.js";
import { add, change, choose, chosen, find, isShown, masks, replaced, show } from "./masks.js";
import { focusOn, overlay, place, shapes, toImage } from "./overlay.js";
import { COLUMNS, ROWS, drawn, plural, say, within } from "./page.js";
import { stage } from "./view.js";

const SMALLEST_DRAWN = 2; // anything smaller is a click
let drag = null;

overlay.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || drag) return;
  const shape = event.target.closest("[data-key]");
  const start = toImage(event.clientX, event.clientY);
  const before = shape && find(Number(shape.dataset.key));
  event.preventDefault();
  overlay.setPointerCapture(event.pointerId);
  drag = { start, before, handle: event.target.dataset.handle, pointer: event.pointerId, box: null };
  choose(before ? before.key : null);
  show();
  if (before) focusOn(chosen); else stage.focus({ preventScroll: true });
});

overlay.addEventListener("pointermove", (event) => {
  if (!drag || event.pointerId !== drag.pointer) return;
  const { x, y } = toImage(event.clientX, event.clientY);
  drag.box = dragged(x, y);
  if (drag.before) place(shapes.get(drag.before.key), drag.box);
  else place(draft(), drag.box);
});

function dragged(x, y) {
  const { start, before, handle } = drag;
  const dx = Math.round(x - start.x);
  const dy = Math.round(y - start.y);
  if (handle) return resized(before.box, handle, dx, dy);
  if (before) return moved(before.box, dx, dy);
  return tidy({
    left: Math.floor(Math.min(start.x, x)), top: Math.floor(Math.min(start.y, y)),
    right: Math.ceil(Math.max(start.x, x)), bottom: Math.ceil(Math.max(start.y, y)),
  });
}

function draft() {
  let shape = overlay.querySelector(".draft");
  if (!shape) {
    shape = drawn("g", { class: "mask draft" });
    shape.append(drawn("rect", { class: "body" }));
    overlay.append(shape);
  }
  return shape;
}

export function drop(isKept) {
  if (!drag) return;
  const { before, box } = drag;
  drag = null;
  overlay.querySelector(".draft")?.remove();
  if (isKept && box && before) {
    if (JSON.stringify(box) !== JSON.stringify(before.box)) {
      change(replaced({ ...before, box, origin: "drawn" }));
    }
  } else if (isKept && box && Math.max(box.right - box.left, box.bottom - box.top) > SMALLEST_DRAWN) {
    add(box);
    focusOn(chosen);
  }
  show();
}

overlay.addEventListener("pointerup", () => drop(true));
overlay.addEventListener("pointercancel", () => drop(false));

// A new mask in the middle of what can be seen, for those who draw with the keyboard.
export function addInTheMiddle() {
  const view = stage.getBoundingClientRect();
  const { x, y } = toImage(view.left + stage.clientWidth / 2, view.top + stage.clientHeight / 2);
  const width = Math.max(Math.round(COLUMNS / 5), 1);
  const height = Math.max(Math.round(ROWS / 12), 1);
  const left = within(Math.round(x - width / 2), 0, COLUMNS - width);
  const top = within(Math.round(y - height / 2), 0, ROWS - height);
  add({ left, top, right: left + width, bottom: top + height });
  focusOn(chosen);
}

export function remove(key) {
  const index = masks.findIndex((mask) => mask.key === key);
  if (index < 0) return;
  change(masks.filter((mask) => mask.key !== key));
  choose(null);
  show();
  const next = masks.filter(isShown)[Math.min(index, masks.length - 1)];
  if (next) focusOn(next.key); else stage.focus();
  say(`Mask deleted. ${plural(masks.length, "mask")} left.`);
}
