// Pages about rollouts: a list, a step, a group, one of them, a task over the steps.
import { histogram } from "./charts.js";
import { conversation, timeline } from "./conversation.js";
import { isReport, load } from "./data.js";
import { address, copyButton, h, link, number, pictureWidth, seconds, svg, table, tableBehind, visible, when } from "./dom.js";
import { choice, extent, facts, filterField, heading, lineFacts, problem, reward, rewardClass, rolloutLink, section, stepName, withParam } from "./parts.js";
import { branchTokens, strip } from "./strip.js";

const crumbsOf = (run, step, set, ...more) => [
  [run, "run", { run }], [stepName(step, set), "step", { run, step, set }], ...more,
];

const SORTS = ["step", "reward", "advantage", "tokens", "turns", "seconds", "began"];

export async function list(route) {
  const { run } = route.params;
  let data, trouble = null;
  try {
    data = await load("list", { run, q: route.params.q || "", sort: route.params.sort || "", from: route.params.from || 0 });
  } catch (error) {
    [data, trouble] = [{ rollouts: [], total: 0, from: 0, page: 60 }, error];
  }
  const range = extent(data.rollouts);
  const sort = route.params.sort || "";
  const head = (name, text) => SORTS.includes(name)
    ? h("a", { href: withParam(route, { sort: sort === `-${name}` ? name : `-${name}`, from: null }) },
      text || name, sort === name ? " ↑" : sort === `-${name}` ? " ↓" : "") : text || name;
  const rows = data.rollouts.map((line) => h("tr", { "data-go": address("rollout", { run, step: line.step, set: line.set, id: line.id }) },
    h("td", {}, rolloutLink(run, line, line.id)),
    h("td", { class: "clip" }, link("task", { run, task: line.task }, line.about || line.task)),
    h("td", {}, reward(line, range)),
    [line.advantage, line.turns, line.tokens].map((v) => h("td", { class: "num" }, number(v))),
    h("td", { class: "num" }, seconds(line.seconds)),
    h("td", { class: "small" }, when(line.began))));
  const to = data.from + data.rollouts.length;
  const pager = h("p", { class: "bar" },
    data.from > 0 ? h("a", { href: withParam(route, { from: Math.max(0, data.from - data.page) || null }) }, "← before") : null,
    h("span", {}, data.total ? `${number(data.from + 1)}–${number(to)} of ${number(data.total)}` : "no rollout fits"),
    to < data.total ? h("a", { href: withParam(route, { from: to }), rel: "next" }, "after →") : null);
  return {
    title: `rollouts of ${run}`,
    crumbs: [[run, "run", { run }], ["rollouts", "list", { run }]],
    run,
    node: h("div", {}, heading("Rollouts"), filterField(route, data.note), trouble && problem(trouble), pager,
      table(["rollout", "task", head("reward"), head("advantage"), head("turns"), head("tokens"), head("seconds", "took"), head("began")], rows), pager.cloneNode(true)),
  };
}

const ORDERS = {
  place: ["their order", null],
  spread: ["spread of reward", (g) => { const [low, high] = extent(g.rollouts); return low - high; }],
  reward: ["reward, lowest first", (g) => mean(g.rollouts, "reward")],
  advantage: ["advantage, largest first", (g) => -Math.max(...g.rollouts.map((r) => Math.abs(r.advantage || 0)))],
  tokens: ["length, longest first", (g) => -mean(g.rollouts, "tokens")],
  seconds: ["time, slowest first", (g) => -Math.max(...g.rollouts.map((r) => r.seconds))],
};

function mean(rollouts, key) {
  const known = rollouts.map((r) => r[key]).filter((v) => v !== null);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : Infinity;
}

export async function step(route) {
  const { run, step: number_, set = "" } = route.params;
  let data, trouble = null;
  try {
    data = await load("step", { run, step: number_, set, q: route.params.q || "" });
  } catch (error) {
    trouble = error;
    data = await load("step", { run, step: number_, set });
  }
  const { steps } = await load("run", { run });
  const all = data.groups.flatMap((g) => g.rollouts);
  const shown = all.filter((line) => !line.out);
  const range = extent(all);
  const order = ORDERS[route.params.order]?.[1];
  const groups = order ? [...data.groups].sort((a, b) => order(a) - order(b)) : data.groups;
  const narrow = (key) => (low, high, last) => {
    const kept = (route.params.q || "").split(" ").filter((word) => word && !word.startsWith(key));
    const term = (v) => Number(v.toPrecision(6));
    location.hash = withParam(route, { q: [...kept, `${key}>=${term(low)}`, `${key}${last ? "<=" : "<"}${term(high)}`].join(" ") });
  };
  const cell = (line, i) => h("td", {}, h("a", {
    href: address("rollout", { run, step: line.step, set: line.set, id: line.id }), class: line.out ? "out" : null,
    title: `rollout ${i}: ${line.tokens} tokens, ${line.turns} turns, ${seconds(line.seconds)}`,
  }, reward(line, range)));
  const row = (group) => h("tr", { "data-go": address("group", { run, step: number_, set, group: group.group }) },
    h("th", { scope: "row", class: "clip" }, link("group", { run, step: number_, set, group: group.group }, group.rollouts[0].about || group.group),
      " ", link("task", { run, task: group.rollouts[0].task }, h("span", { class: "small quiet", title: "this task over the steps" }, "↺"))),
    group.rollouts.map(cell));
  const failed = all.filter((l) => l.error).length, cut = all.filter((l) => l.truncated).length;
  const here = steps.findIndex((s) => s.step === Number(number_) && (s.set || "") === set);
  const beside = (at) => steps[at] && address("step", { run, step: steps[at].step, set: steps[at].set });
  const names = ["task", ...Array.from({ length: groups.reduce((n, g) => Math.max(n, g.rollouts.length), 0) }, (_, i) => i)];
  return {
    title: `${stepName(number_, set)} of ${run}`,
    crumbs: crumbsOf(run, number_, set),
    run,
    keys: { "[": beside(here - 1), "]": beside(here + 1) },
    node: h("div", {}, heading(stepName(number_, set),
      beside(here - 1) && h("a", { href: beside(here - 1), title: "[" }, "← before"),
      beside(here + 1) && h("a", { href: beside(here + 1), title: "]" }, "after →")),
    facts([["rollouts", number(all.length)], ["mean reward", number(mean(all, "reward"))],
      ["failed", number(failed)], ["cut off", number(cut)], ["mean length", `${number(mean(all, "tokens"), 0)} tokens`]]),
    h("div", { class: "histograms" }, histogram("Reward", shown.map((l) => l.reward), narrow("reward")),
      histogram("Sampled tokens", shown.map((l) => l.tokens), narrow("tokens")),
      histogram("Seconds", shown.map((l) => l.seconds), narrow("seconds"))),
    isReport() ? null : filterField(route, data.note), trouble && problem(trouble),
    h("div", { class: "bar" }, choice(route, "order", "groups by", Object.entries(ORDERS).map(([k, [t]]) => [k, t]), "place"),
      route.params.q ? h("span", { class: "note" }, `${number(data.fitting)} of ${number(all.length)} fit`) : null,
      h("span", { class: "legend" }, h("span", { class: "reward r0" }, "lowest"), h("span", { class: "reward r8" }, "highest"),
        h("span", { class: "reward r4 cut" }, "cut off"), h("span", { class: "reward failed" }, "✕ failed"),
        h("span", { class: "reward r4 left-out" }, "⊘ not learnt from"))),
    table(names, groups.map(row), { class: "grid" })),
  };
}

// What operators made of a rollout: the reward that is learnt in place of its own, or that nothing is.
const learnt = (rollout) => [
  (rollout.shaped_reward ?? null) !== null && ["reward learnt", number(rollout.shaped_reward)],
  rollout.left_out && ["left out by", rollout.left_out],
].filter(Boolean);

const reason = (rollout) => rollout.explanation &&
  h("blockquote", {}, h("span", { class: "quiet small" }, "the judge: "), rollout.explanation);

// The branch that is shown first: the one that the last call ended.
function leaves(rollout) {
  const { segments } = rollout.trajectory;
  const parents = new Set(segments.map((s) => s.parent));
  return segments.map((_, i) => i).filter((i) => !parents.has(i));
}

function firstBranch(rollout) {
  const { segments } = rollout.trajectory;
  let at = null;
  for (;;) {
    const next = segments.findIndex((s) => s.parent === at);
    if (next < 0) return at;
    at = next;
  }
}

const noTokenizer = (data) => data.no_tokenizer &&
  problem({ message: "There is no tokenizer in this run, nor in a checkpoint of it: tokens are shown as their ids." });

export async function group(route) {
  const { run, step: number_, set = "", group: name } = route.params;
  const data = await load("group", { run, step: number_, set, group: name });
  const byReward = [...data.rollouts.keys()].sort((a, b) => (data.rollouts[b].reward ?? -1e9) - (data.rollouts[a].reward ?? -1e9));
  const fallback = [...new Set([byReward[0], byReward.at(-1)])];
  const picked = route.params.pick ? route.params.pick.split(",").map(Number).filter((i) => data.rollouts[i]).slice(0, 4) : fallback;
  const range = extent(data.rollouts);
  const toggle = (i) => {
    const next = picked.includes(i) ? picked.filter((p) => p !== i) : [...picked, i].slice(-4);
    location.hash = withParam(route, { pick: next.sort((a, b) => a - b).join(",") });
  };
  const strips = [];
  const layer = route.params.layer || "logprobs";
  const first = data.rollouts[0];
  const column = (i) => {
    const rollout = data.rollouts[i], leaf = firstBranch(rollout);
    const head = h("div", { class: "bar" }, h("h2", {}, rolloutLink(run, rollout.facts, `rollout ${i}`)), reward({ ...rollout.facts, ...rollout }, range),
      h("span", { class: "quiet" }, [`advantage ${number(rollout.advantage)}`, ...learnt(rollout).map((pair) => pair.join(" ")), `${rollout.facts.tokens} tokens`].join(" · ")));
    if (leaf === null) return h("article", {}, head, problem({ message: rollout.error?.message || "It never called the model." }));
    const made = strip(branchTokens(rollout, leaf), { layer, from: data.shared, label: `Rollout ${i}` });
    strips.push(made);
    return h("article", {}, head, reason(rollout),
      rollout.error && problem(rollout.error), made.body, made.detail);
  };
  const columns = picked.map(column);
  if (strips.length) {
    const others = strips.slice(1);
    strips[0].controls.querySelectorAll("button").forEach((b) => b.addEventListener("click", () => {
      others.forEach((s) => s.choose(b.value));
      history.replaceState(null, "", withParam(route, { layer: b.value }));
    }));
  }
  const leaf = firstBranch(first);
  const shared = leaf === null ? "" : branchTokens(first, leaf).texts.slice(0, data.shared).join("");
  return {
    title: `${name} of ${run}`,
    crumbs: crumbsOf(run, number_, set, [name, "group", { run, step: number_, set, group: name }]),
    run,
    node: h("div", {}, heading("Group", link("task", { run, task: first.facts.task }, "this task over the steps")),
      h("pre", { class: "task" }, JSON.stringify(first.task, null, 1)), noTokenizer(data),
      h("div", { class: "picker", role: "group", "aria-label": "Rollouts beside each other" }, data.rollouts.map((rollout, i) =>
        h("button", { type: "button", "aria-pressed": String(picked.includes(i)), onclick: () => toggle(i) }, `${i} `, reward({ ...rollout.facts, ...rollout }, range)))),
      h("details", {}, h("summary", {}, `All begin with the same ${number(data.shared)} tokens`), h("div", { class: "said" }, shared)),
      strips.length ? strips[0].controls : null,
      h("div", { class: "columns" }, columns)),
  };
}

export async function rollout(route) {
  const { run, step: number_, set = "", id } = route.params;
  const data = await load("rollout", { run, step: number_, set, id });
  const found = data.rollout, line = found.facts, { calls } = found.trajectory;
  const ends = leaves(found);
  const last = calls.length ? calls.at(-1).segment : null;
  const chosen = route.params.branch !== undefined && ends[route.params.branch] !== undefined
    ? ends[route.params.branch] : ends.includes(last) ? last : ends[0] ?? null;
  const pathOf = (leaf) => { const path = new Set(); for (let at = leaf; at !== null; at = found.trajectory.segments[at].parent) path.add(at); return path; };
  const path = chosen === null || chosen === undefined ? new Set() : pathOf(chosen);
  const onPath = calls.filter((call) => path.has(call.segment));
  const call = onPath.at(-1);
  const causeOf = (leaf) => calls.find((c) => c.segment === leaf || pathOf(leaf).has(c.segment) && c.branch)?.branch;
  const branches = ends.length > 1 ? h("div", { class: "picker", role: "group", "aria-label": "Branches" }, ends.map((leaf, i) =>
    h("button", { type: "button", "aria-pressed": String(leaf === chosen), onclick: () => (location.hash = withParam(route, { branch: i })) },
      `branch ${i + 1}`, causeOf(leaf) ? ` (${causeOf(leaf)})` : ""))) : null;
  const messages = call ? [...call.messages, call.response] : [];
  const made = path.size ? strip(branchTokens(found, chosen), { layer: route.params.layer || "logprobs",
    onLayer: (layer) => history.replaceState(null, "", withParam(route, { layer })) }) : null;
  const plain = () => messages.map((m) => `${m.role}: ${typeof m.content === "string" ? m.content : JSON.stringify(m.content)}`).join("\n\n");
  const go = (to) => to && address("rollout", { run, step: number_, set, id: to, layer: route.params.layer });
  const groupAt = address("group", { run, step: number_, set, group: line.group });
  const auxiliary = found.auxiliary_calls || [];
  return {
    title: `${id} of ${run}`,
    crumbs: crumbsOf(run, number_, set, [line.group, "group", { run, step: number_, set, group: line.group }], [id, "rollout", route.params]),
    run,
    keys: { j: go(data.after), k: go(data.before), g: groupAt },
    node: h("div", {}, heading(id, reward({ ...line, ...found }, [Math.min(0, line.reward ?? 0), Math.max(1, line.reward ?? 0)]),
      go(data.before) && h("a", { href: go(data.before), title: "k" }, "← before"), go(data.after) && h("a", { href: go(data.after), title: "j" }, "after →"),
      h("a", { href: groupAt, title: "g" }, "its group"), link("task", { run, task: line.task }, "this task over the steps")),
    facts([["reward", number(found.reward)], ...learnt(found), ["advantage", number(found.advantage)], ...lineFacts(line),
      ["began", when(found.began)], found.attempts > 1 && ["attempts", number(found.attempts)],
      ...Object.entries(found.metrics).map(([name, value]) => [name, number(value)])]),
    reason(found),
    found.error && h("div", { class: "problem", role: "alert" }, `${found.error.kind}: ${found.error.message}`,
      found.error.traceback && h("details", {}, h("summary", {}, "traceback"), h("pre", {}, found.error.traceback))),
    noTokenizer(data),
    h("details", {}, h("summary", {}, "task"), h("pre", { class: "task" }, JSON.stringify(found.task, null, 1))),
    branches,
    h("div", { class: "two" },
      section("Conversation", messages.length ? conversation(messages) : h("p", { class: "quiet" }, "The model was never called."),
        h("div", { class: "bar" }, copyButton("copy as text", plain), copyButton("copy as JSON", () => JSON.stringify(found, null, 1)))),
      made && section("Tokens", made.controls, made.body, made.detail)),
    section("Time", timeline(found)),
    auxiliary.length ? section("Calls of other models", auxiliary.map((other) =>
      h("details", {}, h("summary", {}, `${other.model} (${seconds(other.seconds)})`), conversation([...other.messages, other.response])))) : null,
    found.log?.length ? section("Log", h("pre", { class: "file" }, found.log.map((l) =>
      `${new Date(l.time * 1000).toISOString().slice(11, 23)} ${l.level} ${visible(l.text)}\n`))) : null),
  };
}

export async function task(route) {
  const { run, task: digest } = route.params;
  const data = await load("task", { run, task: digest });
  const range = extent(data.rollouts);
  const steps = [...new Set(data.rollouts.map((l) => l.step))];
  const width = pictureWidth();
  const x = (step_) => 50 + (steps.length > 1 ? steps.indexOf(step_) / (steps.length - 1) : 0.5) * (width - 100);
  const y = (value) => 130 - (range[1] > range[0] ? (value - range[0]) / (range[1] - range[0]) : 0.5) * 110;
  const seen = new Map();
  const dots = data.rollouts.filter((l) => l.reward !== null).map((l) => {
    const at = `${l.step} ${l.reward}`, nth = seen.get(at) || 0;
    seen.set(at, nth + 1);
    return svg("circle", { cx: x(l.step) + (nth % 12) * 9 - 9, cy: y(l.reward), r: 4, class: `${rewardClass(l.reward, ...range)}${l.set ? " held" : ""}` },
      svg("title", {}, `${stepName(l.step, l.set)}: ${number(l.reward)}`));
  });
  const picture = svg("svg", { viewBox: `0 0 ${width} 160`, class: "dots", role: "img", "aria-label": "Reward of this task over the steps" },
    [range[0], range[1]].map((v) => svg("text", { x: 0, y: y(v) + 4 }, number(v))),
    steps.filter((_, i) => i % Math.ceil((steps.length * 66) / width) === 0).map((s) => svg("text", { x: x(s), y: 156, class: "mid" }, s)), dots);
  const rows = data.rollouts.map((l) => h("tr", { "data-go": address("rollout", { run, step: l.step, set: l.set, id: l.id }) },
    h("td", {}, rolloutLink(run, l, stepName(l.step, l.set))), h("td", {}, reward(l, range)), h("td", { class: "answer" }, l.answer || "–")));
  return {
    title: `a task of ${run}`,
    crumbs: [[run, "run", { run }], ["task", "task", route.params]],
    run,
    node: h("div", {}, heading("Task over the steps"), h("pre", { class: "task" }, JSON.stringify(data.task, null, 1)), picture,
      tableBehind("table", ["when", "reward"], () => data.rollouts.map((l) => [stepName(l.step, l.set), number(l.reward)])),
      data.left_out ? h("p", { class: "note" }, `${number(data.left_out)} earlier rollouts are not shown.`) : null,
      table(["when", "reward", "answer"], rows)),
  };
}
