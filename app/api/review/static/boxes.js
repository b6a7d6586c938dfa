// Rectangles that stay inside of the image and hold a pixel at least.
// Coordinates are pixels of the image; right and bottom lie outside of a mask, as on the server.

import { COLUMNS, ROWS, within } from "./page.js";

export function tidy(box) {
  const left = within(Math.min(box.left, box.right), 0, COLUMNS - 1);
  const top = within(Math.min(box.top, box.bottom), 0, ROWS - 1);
  return {
    left, top,
    right: within(Math.max(box.left, box.right), left + 1, COLUMNS),
    bottom: within(Math.max(box.top, box.bottom), top + 1, ROWS),
  };
}

export function moved(box, dx, dy) {
  const x = within(dx, -box.left, COLUMNS - box.right);
  const y = within(dy, -box.top, ROWS - box.bottom);
  return { left: box.left + x, top: box.top + y, right: box.right + x, bottom: box.bottom + y };
}

export function resized(box, handle, dx, dy) {
  return tidy({
    left: box.left + (handle.includes("w") ? dx : 0),
    top: box.top + (handle.includes("n") ? dy : 0),
    right: box.right + (handle.includes("e") ? dx : 0),
    bottom: box.bottom + (handle.includes("s") ? dy : 0),
  });
}
