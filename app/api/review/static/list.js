// The masks as a list beside the image, and as a field of the form.

import { remove } from "./drawing.js";
import {
  choose, chosen, describe, find, future, isShown, masks, past, show, toggleFrames, watch,
} from "./masks.js";
import { focusOn } from "./overlay.js";
import { $, FRAMES, made } from "./page.js";
import { goTo } from "./view.js";

function showList() {
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

function showSums() {
  $("undo").disabled = !past.length;
  $("redo").disabled = !future.length;
  $("masks-count").textContent = masks.length;
  $("masks-none").hidden = masks.length > 0;
  $("marks").value = JSON.stringify(
    masks.map(({ box, frames }) => ({ box, frames: frames ?? null })),
  );
}

$("masks").addEventListener("click", (event) => {
  const does = event.target.dataset.does;
  if (!does) return;
  const key = Number(event.target.closest("[data-key]").dataset.key);
  if (does === "delete") remove(key);
  else if (does === "frames") toggleFrames(key);
  else {
    const mask = find(key);
    if (!isShown(mask)) goTo(mask.frames[0]);
    choose(key);
    show();
    focusOn(key);
  }
});

watch(showList);
watch(showSums);
