// The image of a held object: frames, size, and masks that are drawn, moved, resized and deleted.
// Coordinates are pixels of the image; right and bottom lie outside of a mask, as on the server.

const $ = (id) => document.getElementById(id);
const desk = $("desk");
const COLUMNS = Number(desk.dataset.columns);
const ROWS = Number(desk.dataset.rows);
const FRAMES = Number(desk.dataset.frames);
const SVG = "http://www.w3.org/2000/svg";
const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const SMALLEST_DRAWN = 2; // anything smaller is a click
const MOST_STEPS = 200;

const within = (value, least, most) => Math.min(Math.max(value, least), most);
const say = (text) => { $("said").textContent = text; };
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function drawn(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// --- masks, and the way back -------------------------------------------------------------------

let masks = JSON.parse($("marks").value).map((mark, index) => ({ ...mark, key: index + 1 }));
let lastKey = masks.length;
let chosen = null; // key of the mask that is chosen
let frame = 0;
const past = [];
const future = [];
let lastStep = "";

// Every change is a new list. Steps of the same name in a row are undone together.
function change(changed, step = "") {
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

const undo = () => goBack(past, future, "Undone");
const redo = () => goBack(future, past, "Done again");
const find = (key) => masks.find((mask) => mask.key === key);
const replaced = (mask) => masks.map((one) => (one.key === mask.key ? mask : one));
const isShown = (mask) => !mask.frames || (mask.frames[0] <= frame && frame <= mask.frames[1]);

function framesText(mask) {
  if (!mask.frames) return FRAMES > 1 ? "all frames" : "";
  const [first, last] = mask.frames;
  return first === last ? `frame ${first + 1}` : `frames ${first + 1} to ${last + 1}`;
}

function describe(mask) {
  const { left, top, right, bottom } = mask.box;
  const place = `${right - left} × ${bottom - top} at ${left}, ${top}`;
  return [place, framesText(mask), mask.origin].filter(Boolean).join(", ");
}

function tidy(box) {
  const left = within(Math.min(box.left, box.right), 0, COLUMNS - 1);
  const top = within(Math.min(box.top, box.bottom), 0, ROWS - 1);
  return {
    left, top,
    right: within(Math.max(box.left, box.right), left + 1, COLUMNS),
    bottom: within(Math.max(box.top, box.bottom), top + 1, ROWS),
  };
}

function moved(box, dx, dy) {
  const x = within(dx, -box.left, COLUMNS - box.right);
  const y = within(dy, -box.top, ROWS - box.bottom);
  return { left: box.left + x, top: box.top + y, right: box.right + x, bottom: box.bottom + y };
}

function resized(box, handle, dx, dy) {
  return tidy({
    left: box.left + (handle.includes("w") ? dx : 0),
    top: box.top + (handle.includes("n") ? dy : 0),
    right: box.right + (handle.includes("e") ? dx : 0),
    bottom: box.bottom + (handle.includes("s") ? dy : 0),
  });
}

function add(box) {
  const mask = { key: ++lastKey, box: tidy(box), frames: null, origin: "drawn" };
  chosen = mask.key;
  change([...masks, mask]);
  say(`Mask ${masks.length} added.`);
}

// A new mask in the middle of what can be seen, for those who draw with the keyboard.
function addInTheMiddle() {
  const view = stage.getBoundingClientRect();
  const { x, y } = toImage(view.left + stage.clientWidth / 2, view.top + stage.clientHeight / 2);
  const width = Math.max(Math.round(COLUMNS / 5), 1);
  const height = Math.max(Math.round(ROWS / 12), 1);
  const left = within(Math.round(x - width / 2), 0, COLUMNS - width);
  const top = within(Math.round(y - height / 2), 0, ROWS - height);
  add({ left, top, right: left + width, bottom: top + height });
  focusOn(chosen);
}

function remove(key) {
  const index = masks.findIndex((mask) => mask.key === key);
  if (index < 0) return;
  change(masks.filter((mask) => mask.key !== key));
  chosen = null;
  show();
  const next = masks.filter(isShown)[Math.min(index, masks.length - 1)];
  if (next) focusOn(next.key); else $("stage").focus();
  say(`Mask deleted. ${plural(masks.length, "mask")} left.`);
}

function toggleFrames(key) {
  const mask = find(key);
  if (!mask || FRAMES < 2) return;
  const changed = { ...mask, frames: mask.frames ? null : [frame, frame] };
  change(replaced(changed));
  say(`The mask is for ${framesText(changed)}.`);
}

// --- showing -----------------------------------------------------------------------------------

const overlay = $("overlay");
const shapes = new Map(); // key -> group in the overlay

function shapeOf(mask) {
  let shape = shapes.get(mask.key);
  if (shape) return shape;
  shape = drawn("g", { class: "mask", tabindex: "0", role: "button", "data-key": mask.key });
  shape.append(drawn("rect", { class: "body" }));
  for (const handle of HANDLES) {
    shape.append(drawn("rect", { class: `handle ${handle}`, "data-handle": handle }));
  }
  shape.addEventListener("focus", () => { if (chosen !== mask.key) { chosen = mask.key; show(); } });
  shapes.set(mask.key, shape);
  overlay.append(shape);
  return shape;
}

function place(shape, box) {
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

function show() {
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
  list();
  $("undo").disabled = !past.length;
  $("redo").disabled = !future.length;
  $("masks-count").textContent = masks.length;
  $("masks-none").hidden = masks.length > 0;
  $("marks").value = JSON.stringify(
    masks.map(({ box, frames }) => ({ box, frames: frames ?? null })),
  );
}

function list() {
  const row = document.activeElement?.closest("#masks [data-key]");
  const focused = row && [row.dataset.key, document.activeElement.dataset.does];
  $("masks").replaceChildren(...masks.map((mask, index) => {
    const row = made("li", { "data-key": mask.key, class: mask.key === chosen ? "chosen" : "" });
    const line = made("div");
    row.append(line);
    line.append(made("button", { type: "button", class: "link", "data-does": "choose" }, describe(mask)));
    if (FRAMES > 1) {
      const text = mask.frames ? "All frames" : "This frame";
      line.append(made("button", { type: "button", "data-does": "frames", title: "All frames or this one (f)",
        "aria-label": `${text} for mask ${index + 1}` }, text));
    }
    line.append(made("button", { type: "button", "data-does": "delete", title: "Delete (Del)",
      "aria-label": `Delete mask ${index + 1}` }, "×"));
    return row;
  }));
  if (focused) $("masks").querySelector(`[data-key="${focused[0]}"] [data-does="${focused[1]}"]`)?.focus();
}

const focusOn = (key) => shapes.get(key)?.focus({ preventScroll: false });

$("masks").addEventListener("click", (event) => {
  const does = event.target.dataset.does;
  if (!does) return;
  const key = Number(event.target.closest("[data-key]").dataset.key);
  if (does === "delete") remove(key);
  else if (does === "frames") toggleFrames(key);
  else {
    const mask = find(key);
    if (!isShown(mask)) goTo(mask.frames[0]);
    chosen = key;
    show();
    focusOn(key);
  }
});

// --- drawing -----------------------------------------------------------------------------------

let drag = null;

function toImage(x, y) {
  const area = overlay.getBoundingClientRect();
  return { x: ((x - area.left) / area.width) * COLUMNS, y: ((y - area.top) / area.height) * ROWS };
}

overlay.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || drag) return;
  const shape = event.target.closest("[data-key]");
  const start = toImage(event.clientX, event.clientY);
  const before = shape && find(Number(shape.dataset.key));
  event.preventDefault();
  overlay.setPointerCapture(event.pointerId);
  drag = { start, before, handle: event.target.dataset.handle, pointer: event.pointerId, box: null };
  chosen = before ? before.key : null;
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

function drop(isKept) {
  if (!drag) return;
  const { before, box } = drag;
  drag = null;
  overlay.querySelector(".draft")?.remove();
  if (isKept && box && before) {
    if (JSON.stringify(box) !== JSON.stringify(before.box)) change(replaced({ ...before, box, origin: "drawn" }));
  } else if (isKept && box && Math.max(box.right - box.left, box.bottom - box.top) > SMALLEST_DRAWN) {
    add(box);
    focusOn(chosen);
  }
  show();
}

overlay.addEventListener("pointerup", () => drop(true));
overlay.addEventListener("pointercancel", () => drop(false));

// --- size and frames ---------------------------------------------------------------------------

const stage = $("stage");
const image = $("image");
let scale = 1;
let isFitted = true;
const seen = new Set();

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
  for (const mask of masks) if (shapes.has(mask.key)) place(shapes.get(mask.key), mask.box);
}

function fit() {
  isFitted = true;
  resize(Math.min((stage.clientWidth - 2) / COLUMNS, (stage.clientHeight - 2) / ROWS, 8));
}

function zoom(factor, options) {
  isFitted = false;
  resize(scale * factor, options);
}

function goTo(wanted) {
  frame = within(wanted, 0, FRAMES - 1);
  if (FRAMES > 1) {
    $("slider").value = frame + 1;
    $("slider").setAttribute("aria-valuetext", `Frame ${frame + 1} of ${FRAMES}`);
    $("frame-text").textContent = `${frame + 1} of ${FRAMES}`;
    $("previous").disabled = frame === 0;
    $("next").disabled = frame === FRAMES - 1;
  }
  const chosenMask = find(chosen);
  if (chosenMask && !isShown(chosenMask)) chosen = null;
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

function toggleLook(name) {
  const isOn = $("picture").classList.toggle(looks[name]);
  $(name).setAttribute("aria-pressed", String(isOn));
}

// --- deciding ----------------------------------------------------------------------------------

const form = $("decision");
const button = (action) => form.querySelector(`[value="${action}"]`);
let isSent = false;

const questions = {
  release: {
    heading: "Release the image as it is?",
    text: "Nothing is masked. Everything that can be read in it leaves the hospital.",
    yes: "Release, nothing identifies",
  },
  reject: {
    heading: "Reject the object?",
    text: "Nothing of it leaves. Its sender is told, and hears the same when it is sent again.",
    yes: "Reject",
  },
};

function warningFor(action) {
  if (action !== "release") return "";
  const warnings = [];
  if (seen.size < FRAMES) warnings.push(`You have looked at ${seen.size} of ${plural(FRAMES, "frame")}.`);
  if (masks.length) warnings.push(`The ${plural(masks.length, "mask")} that you see will not be applied.`);
  return warnings.join(" ");
}

function ask(action) {
  const { heading, text, yes } = questions[action];
  const warning = warningFor(action);
  $("ask-heading").textContent = heading;
  $("ask-text").textContent = text;
  $("ask-yes").textContent = yes;
  $("ask-warning").textContent = warning;
  $("ask-warning").hidden = !warning;
  $("ask").returnValue = "";
  $("ask").dataset.action = action;
  $("ask").showModal();
}

$("ask").addEventListener("close", () => {
  if ($("ask").returnValue !== "yes") return;
  $("confirmed").value = "yes";
  form.requestSubmit(button($("ask").dataset.action));
});

form.addEventListener("submit", (event) => {
  const action = event.submitter?.value;
  if (isSent) event.preventDefault();
  else if (action in questions && $("confirmed").value !== "yes") {
    event.preventDefault();
    ask(action);
  } else if (action !== "release" && action !== "reject" && !masks.length) {
    event.preventDefault();
    say("There is no mask. Draw one, or release the image.");
    $("masks-none").classList.add("urgent");
  } else isSent = true;
});

// A page that comes back from the browser's memory shows what may be decided by now.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// --- keyboard ----------------------------------------------------------------------------------

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
  1: () => { isFitted = false; resize(1); },
  ",": () => goTo(frame - 1), ".": () => goTo(frame + 1),
  PageUp: () => goTo(frame - 1), PageDown: () => goTo(frame + 1),
  Delete: () => remove(chosen), Backspace: () => remove(chosen),
  Escape: () => { if (drag) drop(false); chosen = null; show(); stage.focus({ preventScroll: true }); },
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

// --- staying signed in -------------------------------------------------------------------------

// Whoever works on the page stays signed in; where nobody does, the image goes from the screen.
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

stage.tabIndex = 0;
goTo(0);
fit();
if (image.complete) (image.naturalWidth ? loaded : failed)();
