// Pages over a whole run: the runs, a run's curves, its files, runs beside each other.
import { curve, smoothed, sparkline } from "./charts.js";
import { load } from "./data.js";
import { address, h, link, number, seconds, table, when } from "./dom.js";
import { choice, facts, heading, problem, rolloutLink, section, stepName, withParam } from "./parts.js";

const STATES = { running: "▶", finished: "✓", interrupted: "‖", failed: "✕", killed: "†", damaged: "!" };
const state = (status) => h("span", { class: `state ${status}` }, STATES[status] || "?", " ", status || "unknown");

export async function runs(route) {
  const data = await load("runs");
  const picked = new Set((route.params.pick || "").split("\n").filter(Boolean));
  const text = (route.params.q || "").toLowerCase();
  const shown = data.runs.filter((run) =>
    `${run.id} ${run.status} ${JSON.stringify(run.differs)}`.toLowerCase().includes(text));
  const filter = h("input", { type: "search", id: "filter", value: route.params.q || "", placeholder: "name, state, key",
    "aria-label": "Filter runs", onchange: () => (location.hash = withParam(route, { q: filter.value })) });
  const pick = (id) => {
    picked.has(id) ? picked.delete(id) : picked.add(id);
    history.replaceState(null, "", withParam(route, { pick: [...picked].join("\n") }));
    bar.replaceChildren(...compareBar());
  };
  const compareBar = () => [picked.size >= 2 && picked.size <= 4
    ? link("compare", { runs: [...picked].join("\n") }, `Compare ${picked.size} runs →`)
    : h("span", { class: "quiet" }, "Tick two to four runs to compare them.")];
  const bar = h("p", {}, compareBar());
  const row = (run) => h("tr", { "data-go": address("run", { run: run.id }) },
    h("td", {}, h("input", { type: "checkbox", "aria-label": `compare ${run.id}`, checked: picked.has(run.id),
      onchange: () => pick(run.id) })),
    h("td", {}, link("run", { run: run.id }, run.id)),
    h("td", {}, state(run.status)),
    h("td", { class: "num" }, `${run.step}/${run.total_steps ?? "?"}`),
    h("td", {}, sparkline(run.curve)),
    h("td", {}, run.best.length ? run.best.map(([set, value, step]) =>
      h("div", {}, `${set} `, h("b", {}, number(value)), ` at ${step}`)) : "–"),
    h("td", { class: "small" }, Object.entries(run.differs).slice(0, 6).map(([key, value]) =>
      h("div", {}, h("span", { class: "quiet" }, key), " ", JSON.stringify(value) ?? "–"))),
    h("td", { class: "small" }, when(run.changed)));
  return {
    title: "runs",
    crumbs: [],
    node: h("div", {}, heading("Runs", filter), bar,
      table(["", "run", "state", "step", "reward", "best evaluation", "differs in", "changed"], shown.map(row))),
    every: 5000,
  };
}

function xOf(route, training, steps) {
  const kind = route.params.x || "step";
  const key = { tokens: "train/tokens", minutes: "time/step" }[kind];
  const values = training.values[key];
  if (!key || !values) return { label: "step", x: training.steps, at: (step) => step, steps };
  let sum = 0;
  const x = values.map((v) => (sum += (v || 0) / (kind === "minutes" ? 60 : 1)));
  const at = (step) => x[training.steps.findIndex((s) => s === step)] ?? 0;
  return { label: kind, x, at, steps };
}

// Training and evaluations in one picture: the x of both, merged.
function rewardChart(route, pages, onStep) {
  const window = Number(route.params.smooth || 5);
  const all = new Map();
  const put = (x, name, value) => all.set(x, { ...all.get(x), [name]: value });
  const series = [];
  pages.forEach((page, i) => {
    const name = pages.length > 1 ? `${page.id} ` : "";
    const axis = xOf(route, page.training, page.steps);
    const raw = page.training.values[page.headline] || [];
    const mean = smoothed(raw, window);
    axis.x.forEach((x, at) => {
      put(x, `raw${i}`, raw[at]);
      put(x, `mean${i}`, mean[at]);
    });
    if (window > 1) series.push({ label: `${name}each step`, key: `raw${i}`, colour: i, faint: true });
    series.push({ label: `${name}${page.headline}${window > 1 ? `, mean of ${window}` : ""}`, key: `mean${i}`, colour: i });
    const sets = Object.keys(page.evaluations.values).filter((key) => /^eval\/.*\/reward\/mean$/.test(key));
    sets.forEach((key, n) => {
      const set = key.slice(5, -12);
      page.evaluations.steps.forEach((step, at) => {
        const value = page.evaluations.values[key][at];
        if (value === null) return;
        put(axis.at(step), key + i, value);
        put(axis.at(step), `error ${key + i}`, page.errors[set]?.[step] ?? null);
      });
      series.push({ label: `${name}${set} (held out, ± standard error)`, key: key + i, points: true,
        colour: pages.length > 1 ? i : n + 1 });
    });
  });
  const xs = [...all.keys()].sort((a, b) => a - b);
  const column = (key) => xs.map((x) => all.get(x)[key] ?? null);
  return curve({
    title: pages[0].headline === "policy/loss" ? "Loss" : "Reward", x: xs, xLabel: route.params.x || "step", big: true,
    height: 300, onStep: onStep && ((at) => onStep(xs[at])), sync: "run",
    series: series.map((s) => ({ ...s, values: column(s.key), error: s.points ? column(`error ${s.key}`) : null })),
  });
}

const pattern = (key) => new RegExp(`^${key.split(/<\w+>/).map((s) => s.replace(/[.*+?^${}()|[\]\\@]/g, "\\$&")).join(".+")}$`);

// Metrics in the sections of the documentation; what it does not know comes last.
function metricSections(help, page) {
  const left = new Set([...Object.keys(page.training.values), ...Object.keys(page.evaluations.values)]);
  const sections = help.map(({ title, metrics }) => ({
    title,
    metrics: metrics.flatMap(([key, unit, meaning]) =>
      [...left].filter((name) => pattern(key).test(name)).map((name) => (left.delete(name), { name, unit, meaning }))),
  }));
  sections.push({ title: "Others", metrics: [...left].map((name) => ({ name, unit: "", meaning: "" })) });
  return sections.filter((s) => s.metrics.length);
}

// What only rounding moves stands still.
function varies(values) {
  const known = values.filter((v) => v !== null), low = Math.min(...known), high = Math.max(...known);
  return high - low > 1e-6 * Math.max(Math.abs(low), Math.abs(high));
}

const SIGNS = { high: "▲", medium: "◆", low: "●" };

const diagnoses = new Map();

// What the doctor says: the page does not wait for it, and shows the last answer meanwhile, so that nothing jumps.
function doctor(name) {
  const box = h("section", { class: "doctor", "aria-live": "polite" });
  const item = (f) => h("li", { class: f.severity },
    h("p", {}, h("b", {}, `${SIGNS[f.severity]} ${f.severity}`), " ", f.what),
    h("p", { class: "small quiet" }, f.evidence),
    f.rollouts.map((seen) => h("p", { class: "small" }, rolloutLink(name, seen, seen.id), seen.says && ` ${seen.says}`)),
    h("p", {}, "→ ", f.do));
  const show = (findings) => box.replaceChildren(...(findings.length
    ? [h("h2", {}, "What the doctor says"), h("ul", {}, findings.map(item))] : []));
  show(diagnoses.get(name) || []);
  load("findings", { run: name }).then(({ findings }) => {
    const same = JSON.stringify(diagnoses.get(name)) === JSON.stringify(findings);
    diagnoses.set(name, findings);
    if (!same) show(findings);
  }, (error) => box.replaceChildren(problem(error)));
  return box;
}

// What is being rolled out at this moment: replaced in place with every beat of the run. The place keeps its height
// between two steps, so that nothing below jumps.
function underWay() {
  const box = h("section", { class: "under-way" });
  const row = (one, now) => h("tr", {},
    h("td", {}, one.id), h("td", { class: "clip" }, one.about || one.task),
    h("td", { class: "num" }, seconds(Math.max(0, now - one.began))), h("td", { class: "num" }, number(one.calls)),
    h("td", { class: "num" }, number(one.attempt)));
  let seen = false;
  const hear = ({ live }) => {
    const running = live?.running || [], count = live?.running_count || 0;
    seen = Boolean(live) && (seen || count > 0);
    const later = count > running.length ? `, the first ${running.length} of them` : "", top = box.querySelector(".scroll")?.scrollTop;
    box.replaceChildren(...(seen ? [h("h2", {}, `Under way: ${number(count)}${later}`),
      table(["rollout", "task", "for", "calls so far", "attempt"], running.map((one) => row(one, live.updated)), { label: "Rollouts under way" })] : []));
    if (seen) box.querySelector(".scroll").scrollTop = top || 0;
  };
  return { box, hear };
}

export async function run(route) {
  const name = route.params.run;
  const data = await load("run", { run: name });
  const page = { ...data, id: name };
  const now = underWay();
  now.hear(data.pulse);
  const goTo = (step, set) => (location.hash = address("step", { run: name, step, set }));
  const axis = xOf(route, data.training, data.steps);
  const toStep = (x) => {
    const at = axis.x.indexOf(x);
    if (at >= 0) goTo(data.training.steps[at]);
  };
  const smooth = h("input", { type: "range", min: 1, max: 50, value: route.params.smooth || 5, "aria-label": "Smoothing",
    onchange: () => (location.hash = withParam(route, { smooth: smooth.value })) });
  const last = (key) => data.training.values[key]?.findLast((v) => v !== null);
  const chart = ({ name: key, unit, meaning }) => {
    const held = key.startsWith("eval/");
    const source = held ? data.evaluations : data.training;
    const keep = held ? source.steps.map((_, i) => source.values[key][i] !== null) : null;
    const pickKept = (values) => (keep ? values.filter((_, i) => keep[i]) : values);
    const x = held ? pickKept(source.steps).map(axis.at) : axis.x;
    return curve({ title: key, tip: meaning && `${meaning}${unit && unit !== "1" ? ` (${unit})` : ""}`, x, xLabel: axis.label,
      series: [{ label: key, values: pickKept(source.values[key]) }], onStep: (i) => toStep(x[i]), sync: "run" });
  };
  const sections = metricSections(data.help, page).map(({ title, metrics }) => {
    const moving = metrics.filter((m) => varies((m.name.startsWith("eval/") ? data.evaluations : data.training).values[m.name]));
    const still = metrics.filter((m) => !moving.includes(m));
    const box = h("details", { class: "metrics", open: !["Evaluation"].includes(title) }, h("summary", {}, h("h2", {}, title)),
      h("div", { class: "charts" }, moving.map(chart)),
      still.length ? h("p", { class: "small quiet" }, "Always the same: ", still.map((m) =>
        h("span", { class: "still", title: m.meaning },
          `${m.name} ${number((m.name.startsWith("eval/") ? data.evaluations : data.training).values[m.name].find((v) => v !== null))}`))) : null);
    return box;
  });
  const steps = h("ol", { class: "steps" }, data.steps.map((s) =>
    h("li", {}, link("step", { run: name, step: s.step, set: s.set },
      h("span", { class: s.set ? "held" : "" }, stepName(s.step, s.set)), h("span", { class: "quiet" }, ` ${s.count}`)))));
  return {
    title: name,
    crumbs: [[name, "run", { run: name }]],
    run: name,
    live: true,
    hear: now.hear,
    node: h("div", {},
      heading(name, state(data.pulse.alive || data.status !== "running" ? data.status : "killed"),
        link("list", { run: name }, "all rollouts"), link("files", { run: name }, "configuration, log, files")),
      data.problem && problem({ message: data.problem }),
      doctor(name),
      facts([
        ["step", `${data.step ?? "–"} of ${data.total_steps ?? "–"}`],
        ["reward", number(last("reward/mean"))],
        ["failed", number(last("rollout/failed"))],
        ["cut off", number(last("rollout/truncated"))],
        ["a step takes", seconds(last("time/step"))],
        ["sampler–learner KL", number(last("policy/kl_sampler_learner"))],
      ]),
      data.training.steps.length || data.evaluations.steps.length ? [
        h("div", { class: "bar" },
          choice(route, "x", "over", [["step", "steps"], ["tokens", "trained tokens"], ["minutes", "minutes"]], "step"),
          h("label", { class: "choice" }, "smooth ", smooth),
          h("span", { class: "quiet" }, "A click on a step opens it.")),
        rewardChart(route, [page], toStep),
      ] : h("p", { class: "quiet" }, "There are no metrics yet."),
      now.box,
      section("Steps and evaluations", data.steps.length ? steps : h("p", { class: "quiet" }, "No rollouts are stored yet.")),
      sections),
  };
}

export async function files(route) {
  const name = route.params.run;
  const data = await load("files", { run: name });
  const text = (title, content) => section(title, content
    ? h("pre", { class: "file", tabindex: "0" }, content) : h("p", { class: "quiet" }, "This run has none."));
  const size = (bytes) => bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  return {
    title: `files of ${name}`,
    crumbs: [[name, "run", { run: name }], ["files", "files", route.params]],
    run: name,
    node: h("div", {}, heading("Configuration, versions, log, files"),
      section("Files", table(["name", "size", "files"], data.files.map(([file, bytes, count]) => [file, size(bytes), number(count)]))),
      text("Configuration", data.configuration), text("Versions", data.versions), text("Log", data.log)),
  };
}

export async function compare(route) {
  const data = await load("compare", { runs: route.params.runs });
  const names = data.runs.map((r) => r.id);
  const pages = data.runs.map((r) => ({ ...r, steps: [] }));
  const differs = Object.entries(data.differs);
  const keys = ["policy/kl_sampler_learner", "policy/entropy", "rollout/response_tokens", "rollout/truncated", "time/step"];
  const small = keys.filter((key) => pages.some((p) => p.training.values[key])).map((key) => {
    const axes = pages.map((p) => xOf(route, p.training, []));
    const xs = [...new Set(axes.flatMap((a) => a.x))].sort((a, b) => a - b);
    const series = pages.map((p, i) => {
      const found = new Map(axes[i].x.map((x, at) => [x, p.training.values[key]?.[at] ?? null]));
      return { label: p.id, values: xs.map((x) => found.get(x) ?? null), colour: i };
    });
    return curve({ title: key, x: xs, xLabel: axes[0].label, series, sync: "run" });
  });
  const answers = ({ rewards, answers: texts }) => h("details", { class: "behind" }, h("summary", {}, "answers"),
    texts.map((text, i) => h("p", { class: "small" }, h("b", {}, number(rewards[i])), " ", text)));
  const changes = data.changes.map((change) => section(`${change.run} against ${names[0]} on ${change.set}`,
    h("p", {}, `Over ${change.tasks} tasks that both have (after steps ${change.steps[1]} and ${change.steps[0]}) the mean reward changes by `,
      h("b", {}, change.mean > 0 ? "+" : "", number(change.mean)),
      change.error === null ? "." : ` ± ${number(change.error)} (standard error, task by task)${
        change.tells_apart ? "." : ": these tasks cannot tell the two apart."}`),
    change.flipped.length ? table(["task", names[0], change.run, "change", ""], change.flipped.map((flip) => [
      h("span", {}, link("task", { run: names[0], task: flip.task }, flip.about || flip.task), " ",
        link("task", { run: change.run, task: flip.task }, "(there)")),
      ...flip.rewards.map((value) => number(value)),
      `${flip.rewards[1] > flip.rewards[0] ? "▲ +" : "▼ "}${number(flip.rewards[1] - flip.rewards[0])}`, answers(flip)])) : null));
  return {
    title: "compare",
    crumbs: [["compare", "compare", route.params]],
    node: h("div", {}, heading("Compare"),
      section("What differs in the configuration", differs.length
        ? table(["key", ...names], differs.map(([key, values]) => [key, ...names.map((n) => JSON.stringify(values[n]) ?? "–")]))
        : h("p", {}, "Nothing.")),
      h("div", { class: "bar" }, choice(route, "x", "over", [["step", "steps"], ["tokens", "trained tokens"], ["minutes", "minutes"]], "step")),
      rewardChart(route, pages), h("div", { class: "charts" }, small), changes),
  };
}
