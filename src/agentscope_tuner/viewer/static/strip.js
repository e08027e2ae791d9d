// Tokens with their numbers. Blocks out of sight are one text; in sight, neighbours of one colour
// are one element; which token is under the pointer is found in the text, not by an element of its own.
import { floats } from "./data.js";
import { h, number, visible } from "./dom.js";

const BLOCK = 256;
const LOGPROB = [-0.01, -0.1, -0.3, -0.7, -1.5, -3, -5, -8];
const SIGNED = [0.01, 0.05, 0.1, 0.3];

// The tokens on the way from the root to `leaf`, as arrays.
export function branchTokens(rollout, leaf) {
  const { segments } = rollout.trajectory;
  const path = [];
  for (let at = leaf; at !== null; at = segments[at].parent) path.unshift(segments[at]);
  const ids = path.flatMap((segment) => segment.token_ids);
  const tokens = { ids, texts: path.flatMap((segment) => segment.texts), columns: {},
    kinds: new Uint8Array(ids.length), versions: new Int32Array(ids.length).fill(-1) };
  let first = 0, end = 0;
  for (const { token_ids, sampled } of path) {
    first = end;
    end += token_ids.length;
    if (!sampled) continue;
    tokens.kinds.fill(1, first, end);
    tokens.versions.fill(sampled.version, first, end);
    for (const [at, length] of sampled.forced) tokens.kinds.fill(2, first + at, first + at + length);
    for (const [at, version] of sampled.version_changes || [])
      tokens.versions.fill(version, first + at, end);
    for (const [name, packed] of Object.entries(sampled.columns))
      (tokens.columns[name] ||= []).push([first, floats(packed)]);
  }
  for (const [name, parts] of Object.entries(tokens.columns)) {
    const whole = new Float32Array(tokens.ids.length).fill(NaN);
    for (const [first, values] of parts) whole.set(values, first);
    tokens.columns[name] = whole;
  }
  if (tokens.columns.learner) {
    tokens.columns.gap = tokens.columns.learner.map((v, i) => v - tokens.columns.logprobs[i]);
  }
  if (!tokens.columns.advantage && rollout.advantage !== null) {
    const all = new Float32Array(ids.length).fill(rollout.advantage);
    tokens.columns.advantage = all.map((v, i) => (tokens.kinds[i] === 1 ? v : NaN));
  }
  return tokens;
}

const NAMES = {
  mask: "what is trained", logprobs: "log-probability", gap: "learner − sampler",
  entropy: "entropy", advantage: "advantage",
};
const ORDER = ["logprobs", "gap", "entropy", "advantage"];

export function layers(tokens) {
  const found = Object.keys(tokens.columns);
  const known = ORDER.filter((name) => found.includes(name));
  const others = found.filter((name) => !ORDER.includes(name) && name !== "learner").sort();
  return ["mask", ...known, ...others].map((name) => [name, NAMES[name] || name]);
}

// A function from a token's index to the class of its colour; "" for none.
function painter(tokens, layer) {
  const mask = (i) => ["given", "sampled", "forced"][tokens.kinds[i]];
  const values = tokens.columns[layer];
  if (!values) return mask;
  if (layer === "logprobs")
    return (i) => Number.isNaN(values[i]) ? "given" : `t${LOGPROB.filter((edge) => values[i] < edge).length}`;
  let most = 0, signed = false;
  for (const v of values) if (!Number.isNaN(v)) (most = Math.max(most, Math.abs(v))), (signed ||= v < 0);
  const scale = layer === "gap" ? 1 : most || 1;
  if (signed || layer === "gap" || layer === "advantage")
    return (i) => {
      const v = values[i];
      if (Number.isNaN(v)) return "given";
      const size = SIGNED.filter((edge) => Math.abs(v) / scale > edge * (layer === "gap" ? 1 : 2)).length;
      return size ? `${v < 0 ? "n" : "p"}${size}` : "even";
    };
  return (i) => Number.isNaN(values[i]) ? "given" : `t${Math.min(8, Math.floor((values[i] / scale) * 8.99))}`;
}

export function strip(tokens, { layer = "mask", from = 0, label = "Tokens", onLayer } = {}) {
  const texts = tokens.texts.map((text) => visible(text).replace(/\n/g, "↵\n"));
  const ends = new Int32Array(texts.length);
  for (let i = from, sum = 0; i < texts.length; i++) ends[i] = sum += texts[i].length;
  const startOf = (i) => (i > from ? ends[i - 1] : 0);
  const firsts = new WeakMap();
  let paint = painter(tokens, layer), current = null;
  const blocks = [];
  const body = h("div", { class: "tokens", tabindex: "0", role: "application", "aria-label":
    `${label}: ${texts.length - from} tokens. Left and right arrows move from token to token.` });
  const detail = h("output", { class: "token-detail", "aria-live": "polite" },
    h("span", { class: "quiet" }, "Point at a token, or focus the strip and use the arrow keys."));

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) dress(entry.target, entry.isIntersecting);
  }, { rootMargin: "600px" });

  function plain(block) {
    const node = document.createTextNode(texts.slice(block.first, block.last).join(""));
    firsts.set(node, block.first);
    block.replaceChildren(node);
  }

  function dress(block, inSight) {
    block.inSight = inSight;
    if (!inSight) return plain(block);
    const parts = [];
    for (let i = block.first; i < block.last; ) {
      const colour = paint(i), first = i;
      while (i < block.last && paint(i) === colour) i++;
      const span = document.createElement("span");
      const node = document.createTextNode(texts.slice(first, i).join(""));
      span.className = colour;
      span.append(node);
      firsts.set(node, first);
      parts.push(span);
    }
    block.replaceChildren(...parts);
    if (current !== null && current >= block.first && current < block.last) mark();
  }

  for (let first = from; first < texts.length; first += BLOCK) {
    const block = document.createElement("span");
    block.first = first;
    block.last = Math.min(texts.length, first + BLOCK);
    plain(block);
    blocks.push(block);
    watcher.observe(block);
  }
  body.append(...blocks);

  function tokenAt(node, offset) {
    const first = firsts.get(node);
    if (first === undefined) return null;
    const wanted = startOf(first) + offset;
    let low = first, high = texts.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle] <= wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function nodeOf(i) {
    const block = blocks[Math.floor((i - from) / BLOCK)];
    if (!block.inSight) dress(block, true);
    const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
      const offset = startOf(i) - startOf(firsts.get(node));
      if (offset >= 0 && offset < node.length) return [node, offset];
    }
    return null;
  }

  function mark() {
    const place = nodeOf(current);
    if (!place || !window.Highlight) return;
    const range = new Range();
    range.setStart(...place);
    range.setEnd(place[0], Math.min(place[0].length, place[1] + texts[current].length));
    CSS.highlights.set("token", new Highlight(range));
    return range;
  }

  function show(i, scroll) {
    if (i === null || i === current || i < from || i >= texts.length) return;
    current = i;
    const range = mark();
    if (scroll && range) {
      const box = range.getBoundingClientRect();
      if (box.top < 80 || box.bottom > innerHeight - 80) scrollBy({ top: box.top - innerHeight / 2 });
    }
    detail.replaceChildren(...describe(tokens, i));
  }

  body.addEventListener("pointermove", (event) => {
    const caret = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    const old = caret ? null : document.caretRangeFromPoint?.(event.clientX, event.clientY);
    if (caret) show(tokenAt(caret.offsetNode, caret.offset));
    else if (old) show(tokenAt(old.startContainer, old.startOffset));
  });
  body.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, PageDown: 50, PageUp: -50 }[event.key];
    if (!step || event.metaKey || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    show(Math.min(texts.length - 1, Math.max(from, (current ?? from - 1) + step)), true);
  });

  function choose(name) {
    layer = name;
    paint = painter(tokens, name);
    for (const block of blocks) if (block.inSight) dress(block, true);
    legend.replaceChildren(...legendOf(name));
    for (const button of tabs.children) button.setAttribute("aria-pressed", button.value === name);
    onLayer?.(name);
  }
  const legend = h("span", { class: "legend" }, legendOf(layer));
  const tabs = h("div", { class: "layers", role: "group", "aria-label": "Colour by" },
    layers(tokens).map(([name, text]) => h("button", {
      type: "button", value: name, "aria-pressed": String(name === layer), onclick: () => choose(name),
    }, text)));
  return { body, detail, choose, controls: h("div", { class: "strip-head" }, tabs, legend) };
}

function describe(tokens, i) {
  const text = visible(tokens.texts[i]).replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "␣");
  const kind = ["given, not trained on", "sampled", "forced, not trained on"][tokens.kinds[i]];
  const facts = [h("b", {}, text || "(part of the character before)"), `token ${i}`, `id ${tokens.ids[i]}`, kind];
  if (tokens.versions[i] >= 0) facts.push(`weights ${tokens.versions[i]}`);
  for (const [name, values] of Object.entries(tokens.columns)) {
    if (Number.isNaN(values[i])) continue;
    const chance = name === "logprobs" ? ` (${(100 * Math.exp(values[i])).toFixed(1)}%)` : "";
    facts.push(`${NAMES[name] || name} ${number(values[i], 4)}${chance}`);
  }
  return facts.map((fact) => h("span", {}, fact));
}

function legendOf(layer) {
  const sample = (name, text) => h("span", { class: name }, text);
  if (layer === "mask")
    return [sample("given", "given"), sample("sampled", "sampled, trained on"), sample("forced", "forced, not trained on")];
  if (layer === "logprobs")
    return [sample("t0", "certain"), sample("t3", "likely"), sample("t5", "e⁻³"), sample("t8", "surprising")];
  if (layer === "gap" || layer === "advantage")
    return [sample("n4", "−"), sample("n2", "−"), sample("even", "0"), sample("p2", "+"), sample("p4", "+")];
  return [sample("t0", "low"), sample("t4", "middle"), sample("t8", "high")];
}
