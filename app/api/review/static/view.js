// The image: its frames, how large it is shown, and how.

import { choose, chosen, find, frame, isShown, show, turnTo } from "./masks.js";
import { overlay, rescale, toImage } from "./overlay.js";
import { $, COLUMNS, FRAMES, ROWS, desk, within } from "./page.js";

export const stage = $("stage");
const image = $("image");
let scale = 1;
let isFitted = true;
export const seen = new Set();

function resize(wanted, { at = null } = {}) {
  const view = stage.getBoundingClientRect();
  const point = at ?? { x: view.left + stage.clientWidth / 2, y: view.top + stage.clientHeight / 2 };
  const under = toImage(point.x, point.y);
  scale = within(wanted, 0.05, 16);
  $("picture").style.width = `${COLUMNS * scale}px`;
  $("picture").style.height = `${ROWS * scale}px`;
  $("picture").classList.toggle("coarse", scale >= 3);
  $("zoom").textContent = `${Math.round(scale * 100)} %`;
  const area = overlay.getBoundingClientRect();
  stage.scrollLeft += area.left + (under.x / COLUMNS) * area.width - point.x;
  stage.scrollTop += area.top + (under.y / ROWS) * area.height - point.y;
  rescale(scale);
}

export function fit() {
  isFitted = true;
  resize(Math.min((stage.clientWidth - 2) / COLUMNS, (stage.clientHeight - 2) / ROWS, 8));
}

export function zoom(factor, options) {
  isFitted = false;
  resize(scale * factor, options);
}

export function actualSize() {
  isFitted = false;
  resize(1);
}

export function goTo(wanted) {
  turnTo(within(wanted, 0, FRAMES - 1));
  if (FRAMES > 1) {
    $("slider").value = frame + 1;
    $("slider").setAttribute("aria-valuetext", `Frame ${frame + 1} of ${FRAMES}`);
    $("frame-text").textContent = `${frame + 1} of ${FRAMES}`;
    $("previous").disabled = frame === 0;
    $("next").disabled = frame === FRAMES - 1;
  }
  const chosenMask = find(chosen);
  if (chosenMask && !isShown(chosenMask)) choose(null);
  if (asked !== frame || stage.hasAttribute("aria-busy")) load();
  show();
}

let loading = 0;
let asked = 0; // the frame that the browser was asked to load last

// Quick moves of the slider ask for the last of many frames only.
function load() {
  clearTimeout(loading);
  stage.setAttribute("aria-busy", "true");
  loading = setTimeout(() => {
    asked = frame;
    image.src = `${desk.dataset.framesAt}${frame + 1}`;
  }, 60);
}

function loaded() {
  if (asked === frame) stage.removeAttribute("aria-busy");
  stage.dataset.shown = asked + 1;
  image.classList.remove("failed");
  $("image-failed").hidden = true;
  image.alt = FRAMES > 1 ? `The held image, frame ${asked + 1} of ${FRAMES}` : "The held image";
  seen.add(asked);
}

function failed() {
  if (asked === frame) stage.removeAttribute("aria-busy");
  image.classList.add("failed");
  $("image-failed").hidden = false;
}

image.addEventListener("load", loaded);
image.addEventListener("error", failed);
$("image-again").addEventListener("click", () => {
  image.removeAttribute("src");
  load();
});
stage.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, { at: { x: event.clientX, y: event.clientY } });
}, { passive: false });
new ResizeObserver(() => { if (isFitted) fit(); }).observe(stage);

const looks = { contrast: "strong", invert: "inverted", solid: "solid" };

export function toggleLook(name) {
  const isOn = $("picture").classList.toggle(looks[name]);
  $(name).setAttribute("aria-pressed", String(isOn));
}

export function start() {
  stage.tabIndex = 0;
  goTo(0);
  fit();
  if (image.complete) (image.naturalWidth ? loaded : failed)();
}
