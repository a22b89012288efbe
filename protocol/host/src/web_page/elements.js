// Makes and changes elements. All text goes in as text: names, errors and links may come from anywhere.

import { isOld, quotaTimes, say, since } from "./language.js";

export const byId = (id) => document.getElementById(id);

export function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function button(name, className = "") {
  const element = named(name, "button", className);
  element.type = "button";
  return element;
}

// Only what has changed, so that a screen reader and a selection are left alone.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setClass(element, className) {
  if (element.className !== className) element.className = className;
}

export function show(element, isShown) {
  element.hidden = !isShown;
}

export function setBar(bar, value, max, label, className = "") {
  if (max === null) bar.removeAttribute("value");
  else [bar.max, bar.value] = [Math.max(max, 1), max === 0 ? 1 : value];
  bar.setAttribute("aria-label", label);
  setClass(bar, className);
}

// One child of `list` for each item, which keeps its element while its key stays.
export function fill(list, items, key, create, update) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let place = null;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    update(child, item);
    const next = place ? place.nextElementSibling : list.firstElementChild;
    if (next !== child) list.insertBefore(child, next);
    place = child;
  }
  known.forEach((child) => child.remove());
}

export const part = (element, name) => element.querySelector(`[data-part="${name}"]`);

export function named(name, tag, className = "", ...children) {
  const element = make(tag, className, ...children);
  element.dataset.part = name;
  return element;
}

export function pill(element, text, look = "") {
  setText(element, text);
  setClass(element, look ? `pill ${look}` : "pill");
  show(element, text !== "");
}

// Facts as [name of a word, value].
export function facts(list, items) {
  fill(list, items, ([name]) => name, () => make("div", "", make("dt"), make("dd")), (item, [name, value]) => {
    setText(item.querySelector("dt"), say(name));
    setText(item.querySelector("dd"), value);
  });
}

// A command, and a button that copies it. Not a text that could be a link or HTML.
export function command(place, text) {
  if (place.dataset.command === text && place.dataset.language === document.documentElement.lang) return;
  place.dataset.command = text;
  place.dataset.language = document.documentElement.lang;
  const copies = make("button", "", say("copy"));
  copies.type = "button";
  copies.dataset.copy = text;
  copies.setAttribute("aria-label", say("copyLabel", { text }));
  place.replaceChildren(make("code", "", text), copies);
}

export async function copy(copies) {
  const text = copies.dataset.copy;
  let isCopied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A browser that keeps pages from the clipboard.
    const field = make("textarea", "unseen", text);
    document.body.append(field);
    field.select();
    isCopied = document.execCommand("copy");
    field.remove();
    copies.focus();
  }
  const label = (word, name) => {
    setText(copies, word);
    copies.setAttribute("aria-label", name);
  };
  const word = say(isCopied ? "copied" : "copyFailed");
  label(word, word);
  setText(byId("news"), word);
  setTimeout(() => label(say("copy"), say("copyLabel", { text })), 2000);
}

// The pull limits of registries.
export function quota(list, items) {
  fill(list, items, (limit) => `${limit.registry} ${limit.source}`, () => make("li", "row",
    make("div", "names", named("registry", "h3"), named("source", "span", "small")), named("left", "strong", "number"),
    make("div", "wide", named("bar", "progress")), named("when", "p", "wide small")),
  (item, limit) => {
    const { registry, source, remaining: left, limit: all } = limit;
    setText(part(item, "registry"), registry);
    setText(part(item, "source"), source ?? "");
    setText(part(item, "left"), all === null ? say("quotaRefuses") : say("quotaLeft", { left: left ?? "?", limit: all }));
    show(part(item, "bar").parentElement, all !== null && left !== null);
    setBar(part(item, "bar"), left, all, say("quotaLabel", { registry }), left * 10 < all && !isOld(limit) ? "low" : "");
    setText(part(item, "when"), say("quotaAt", { when: quotaTimes(limit), since: since(limit.at) }));
  });
}
