// What becomes of the object: questions before it leaves or goes, and one form that is sent once.

import { masks } from "./masks.js";
import { $, FRAMES, plural, say } from "./page.js";
import { seen } from "./view.js";

export const form = $("decision");
export const button = (action) => form.querySelector(`[value="${action}"]`);
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
