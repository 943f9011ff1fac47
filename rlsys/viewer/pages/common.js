// What pages have in common that show pictures and take keys. Each has its own press(key, isDown) and ready().
"use strict";
const element = (id) => document.getElementById(id);
const names = { " ": "space", ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right", Escape: "escape",
                Enter: "return", PageUp: "pgup", PageDown: "pgdn" };
const held = new Map();  // physical key -> the name that was given for it: Shift may change the letter before it is released

function veil(text) {
  element("veil").textContent = text;
  element("veil").classList.toggle("shown", Boolean(text));
}

function tell(key, isDown) {
  press(key, isDown);
  for (const cap of document.querySelectorAll("kbd")) if (cap.dataset.key === key) cap.classList.toggle("held", isDown);
}

function releaseAll() {
  for (const key of held.values()) tell(key, false);
  held.clear();
}

function showLegend(rows) {
  const items = rows.map(([keys, meaning]) => {
    const item = document.createElement("div"), term = document.createElement("dt"), text = document.createElement("dd");
    for (const key of keys.split(" ")) {
      const cap = document.createElement("kbd");
      cap.textContent = key;
      cap.dataset.key = key.toLowerCase();
      term.append(cap);
    }
    text.textContent = meaning;
    item.append(term, text);
    return item;
  });
  element("legend").replaceChildren(...items);
}

function showStatus(status) {
  const parts = status.split(" | ").filter(Boolean).map((text) => {
    const part = document.createElement("span");
    part.textContent = text;
    if (text === "WAIT") part.className = "wait";
    if (text === "real time") part.className = "go";
    return part;
  });
  element("status").replaceChildren(...parts);
}

function fit() {  // small pictures are enlarged by a whole factor, large ones shrunk until they fit
  const canvas = element("picture"), room = Math.min(innerWidth * 0.94 / canvas.width, innerHeight * 0.72 / canvas.height);
  const factor = room < 1 ? room : Math.min(Math.floor(room), Math.ceil(400 / Math.min(canvas.width, canvas.height)));
  canvas.style.width = `${canvas.width * factor}px`;
  canvas.style.height = `${canvas.height * factor}px`;
  canvas.classList.toggle("enlarged", factor >= 1);
}

function canvasOf(width, height) {  // what is drawn on, in the size of the picture
  const canvas = element("picture");
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    fit();
  }
  return canvas.getContext("2d");
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = names[event.key] ?? (event.key.length === 1 ? event.key.toLowerCase() : "");
  if (!key) return;
  event.preventDefault();  // arrows and space would scroll
  if (event.repeat || held.has(event.code)) return;
  held.set(event.code, key);
  tell(key, true);
});
addEventListener("keyup", (event) => {
  const key = held.get(event.code);
  if (key === undefined) return;
  held.delete(event.code);
  tell(key, false);
});
addEventListener("resize", fit);
addEventListener("blur", () => { releaseAll(); if (ready()) veil("click to play"); });
addEventListener("focus", () => { if (ready()) veil(""); });
document.addEventListener("visibilitychange", () => { if (document.hidden) releaseAll(); });
