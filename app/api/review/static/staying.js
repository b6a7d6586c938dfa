// Whoever works on the page stays signed in; where nobody does, the image goes from the screen.

import { desk } from "./page.js";

const idleMs = desk.dataset.idleS * 1000;
let isActive = false;
let leaving = setTimeout(() => location.reload(), idleMs);
for (const kind of ["pointerdown", "keydown"]) {
  document.addEventListener(kind, () => { isActive = true; }, { capture: true, passive: true });
}
setInterval(async () => {
  if (!isActive) return;
  isActive = false;
  const answer = await fetch(desk.dataset.aliveAt, { redirect: "error" }).catch(() => null);
  if (!answer?.ok) return;
  clearTimeout(leaving);
  leaving = setTimeout(() => location.reload(), idleMs);
}, idleMs / 10);
