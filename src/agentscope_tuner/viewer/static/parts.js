// What several pages show: rewards with their colour, facts of a rollout, a filter, a heading.
import { address, append, h, link, number, seconds } from "./dom.js";

// Nine steps from orange (low) to blue (high); the number stands beside the colour.
export function rewardClass(value, low, high) {
  if (value === null || value === undefined) return "none";
  return `r${high > low ? Math.round(((value - low) / (high - low)) * 8) : 4}`;
}

export function extent(rollouts) {
  const known = rollouts.map((r) => r.reward).filter((v) => v !== null);
  return known.length ? [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))] : [0, 0];
}

export function reward(line, range) {
  const says = [line.error && "failed", line.truncated && "cut off by a length limit",
    line.left_out && `left out of training by ${line.left_out}`].filter(Boolean).join("; ");
  const look = line.error ? "failed" : rewardClass(line.reward, ...range) + (line.truncated ? " cut" : "");
  return h("span", { class: `reward ${look}${line.left_out ? " left-out" : ""}`, title: says || null }, line.left_out ? "⊘ " : "",
    line.error ? `✕ ${line.error.kind ?? line.error}` : number(line.reward));
}

export const rolloutLink = (run, line, ...children) =>
  link("rollout", { run, step: line.step, set: line.set, id: line.id }, children);

export const stepName = (step, set) => (set ? `${set} after ${step}` : `step ${step}`);

export function heading(text, ...beside) {
  return h("div", { class: "heading" }, h("h1", {}, text), beside);
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export function lineFacts(line) {
  return [
    ["tokens", `${number(line.tokens)} sampled, ${number(line.prompt_tokens)} given`],
    ["turns", number(line.turns)],
    ["branches", number(line.branches)],
    ["took", seconds(line.seconds)],
  ];
}

// A filter whose text is part of the address; Enter applies it.
export function filterField(route, note) {
  const field = h("input", { type: "search", id: "filter", value: route.params.q || "", spellcheck: "false",
    placeholder: 'reward<0.5 turns>3 error:timeout "sorry"', "aria-label": "Filter" });
  const form = h("form", { class: "filter", role: "search" }, field,
    h("span", { class: "quiet" }, "↵"), note && h("span", { class: "note" }, note));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = address(route.page, { ...route.params, q: field.value, from: null });
  });
  return form;
}

export function withParam(route, changes) {
  return address(route.page, { ...route.params, ...changes });
}

export function choice(route, name, label, options, fallback) {
  const select = h("select", { "aria-label": label, onchange: () => (location.hash = withParam(route, { [name]: select.value })) },
    options.map(([value, text]) => h("option", { value, selected: (route.params[name] || fallback) === value }, text)));
  return h("label", { class: "choice" }, label, " ", select);
}

export function problem(error) {
  return h("p", { class: "problem", role: "alert" }, error.message || String(error));
}

export function section(title, ...children) {
  const box = h("section", {}, h("h2", {}, title));
  append(box, children);
  return box;
}
