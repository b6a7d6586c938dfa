// What every part of the page needs: its elements, the image's size, and words for the reader.

export const $ = (id) => document.getElementById(id);
export const desk = $("desk");
export const COLUMNS = Number(desk.dataset.columns);
export const ROWS = Number(desk.dataset.rows);
export const FRAMES = Number(desk.dataset.frames);
const SVG = "http://www.w3.org/2000/svg";

export const within = (value, least, most) => Math.min(Math.max(value, least), most);
export const say = (text) => { $("said").textContent = text; };
export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

export function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function drawn(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
