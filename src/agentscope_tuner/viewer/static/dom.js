// Elements without HTML: whatever text comes in, it is text, and what hides is shown.

const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\u3164\ufeff\ufff9-\ufffb\ud800-\udfff]|[\u{e0000}-\u{e0fff}]/gu;

export function visible(text) {
  return String(text).replace(HIDDEN, (character) => {
    const code = character.codePointAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    if (code === 0x7f) return "\u2421";
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

const SVG = "http://www.w3.org/2000/svg";

function build(element, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : visible(value));
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
}

export const h = (tag, props, ...children) =>
  build(document.createElement(tag), props, children);

export const svg = (tag, props, ...children) =>
  build(document.createElementNS(SVG, tag), props, children);

// In units of a picture's own, so that its words are as large on a telephone as elsewhere.
export const pictureWidth = () => Math.min(800, Math.max(320, innerWidth - 30));

export const link = (page, params, ...children) => h("a", { href: address(page, params) }, children);

export function address(page, params) {
  const known = Object.entries(params || {}).filter(([, v]) => v !== null && v !== undefined && v !== "");
  const query = new URLSearchParams(known).toString();
  return `#/${page}${query ? "?" + query : ""}`;
}

export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("-", "−");
  return value.toFixed(size >= 100 ? 1 : digits).replace("-", "−");
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 60) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} m ${Math.round(value % 60)} s`;
  return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} m`;
}

export const when = (unix) =>
  unix ? new Date(unix * 1000).toLocaleString("sv").slice(0, 16) : "–";

// A table behind a picture, built when it is opened.
export function tableBehind(title, head, rows) {
  const details = h("details", { class: "behind" }, h("summary", {}, title));
  details.addEventListener("toggle", () => {
    if (details.childElementCount === 1) details.append(table(head, rows()));
  });
  return details;
}

export function table(head, rows, props = {}) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": props.label || "Table" },
    h("table", { class: props.class },
      h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, cell)))),
      h("tbody", {}, rows.map((cells) =>
        cells instanceof Node ? cells : h("tr", {}, cells.map((cell) => h("td", {}, cell)))))));
}

export function copyButton(label, text) {
  const button = h("button", { type: "button" }, label);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text());
    button.textContent = "copied";
    setTimeout(() => (button.textContent = label), 1200);
  });
  return button;
}
