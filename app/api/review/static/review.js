// The image of a held object: frames, size, and masks that are drawn, moved, resized and deleted.
// Each part is a module; those that nobody asks anything of are only begun here.

import "./list.js";
import "./deciding.js";
import "./keyboard.js";
import "./staying.js";
import { start } from "./view.js";

start();
