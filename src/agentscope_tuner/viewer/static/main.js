// The address says what is shown; keys move; a running run tells when there is more.
import { isReport, listen, openReport, reportRun } from "./data.js";
import { h, link, seconds, visible } from "./dom.js";
import { compare, files, run, runs } from "./overview.js";
import { problem } from "./parts.js";
import { group, list, rollout, step, task } from "./rollouts.js";

const PAGES = { runs, run, files, compare, list, step, group, rollout, task };
const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
const said = h("span", {}), ago = h("span", { "aria-hidden": "true" });  // a clock is not read out
pulse.append(said, ago);
const help = document.getElementById("help");
let shown = {}, drawing = 0, heard = null, unlisten = () => {}, timer = null, ticking = null;

function currentRoute() {
  const [page, query] = location.hash.replace(/^#\/?/, "").split("?");
  const params = Object.fromEntries(new URLSearchParams(query || ""));
  if (!page && isReport()) return { page: "run", params: { run: reportRun() } };
  return { page: page || "runs", params };
}

async function draw({ keep = false } = {}) {
  const turn = ++drawing, route = currentRoute();
  let next;
  try {
    if (!Object.hasOwn(PAGES, route.page)) throw new Error(`There is no page ${route.page}.`);
    next = await PAGES[route.page](route);
  } catch (error) {
    next = { title: "problem", crumbs: [], node: problem(error), run: route.params.run };
  }
  if (turn !== drawing) return;
  const top = scrollY, open = keep ? [...main.querySelectorAll("details")].map((d) => d.open) : [];
  const row = keep ? selected() : -1;
  if (keep) main.style.minHeight = `${main.offsetHeight}px`;
  main.replaceChildren(next.node);
  if (keep) {
    main.querySelectorAll("details").forEach((d, i) => i < open.length && (d.open = open[i]));
    if (row >= 0) select(row);
    scrollTo(0, top);
    setTimeout(() => (main.style.minHeight = ""), 500);
  } else scrollTo(0, 0);
  document.title = `${visible(next.title)} · astuner view`;
  document.getElementById("crumbs").replaceChildren(
    isReport() ? h("span", {}, "astuner report") : link("runs", {}, "runs"),
    ...next.crumbs.flatMap(([text, page, params]) => [h("span", { class: "quiet" }, " / "), link(page, params, text)]));
  clearInterval(timer);
  if (next.every && !isReport()) timer = setInterval(() => document.visibilityState === "visible" && draw({ keep: true }), next.every);
  if (next.run !== shown.run) {
    unlisten();
    heard = null;
    clearInterval(ticking);
    said.replaceChildren();
    ago.replaceChildren();
    unlisten = listen(next.run, onPulse);
  }
  shown = next;
}

// A run that goes on: its curves grow in place, other pages only say that there is more.
function onPulse(now) {
  const live = now.live, ahead = Date.now() / 1e3 - now.at;  // of the server's clock
  const parts = live?.total ? ` ${live.done}/${live.total}` : "";
  const text = !now.alive ? "" : live
    ? `● step ${Math.min(live.step + 1, live.total_steps)}/${live.total_steps}: ${live.phase}${parts}` : "● running";
  if (said.textContent !== text) said.replaceChildren(text);
  const tick = () => {
    const since = live && Math.max(0, Math.round(Date.now() / 1e3 - ahead - live.began));
    ago.replaceChildren(live ? `, ${since < 60 ? `${since} s` : seconds(since)}` : "");
  };
  pulse.title = live ? `since ${new Date((live.began + ahead) * 1e3).toLocaleTimeString()}` : "";
  clearInterval(ticking);
  if (live) ticking = setInterval(tick, 1000);
  tick();
  const files = JSON.stringify(now.files);
  if (heard !== null && heard !== files && shown.live) draw({ keep: true });
  else if (shown.hear) shown.hear(now);
  heard = files;
}

const rows = () => [...main.querySelectorAll("tr[data-go]")];
const selected = () => rows().findIndex((row) => row.classList.contains("selected"));

function select(at) {
  const all = rows();
  all.forEach((row) => row.classList.remove("selected"));
  const row = all[Math.max(0, Math.min(all.length - 1, at))];
  if (!row) return;
  row.classList.add("selected");
  row.scrollIntoView({ block: "nearest" });
}

const KEYS = [
  ["j / k", "next, previous rollout, or row of a list"], ["Enter", "open the row"], ["g", "the rollout's group"],
  ["[ / ]", "step before, step after"], ["/", "filter"], ["u", "one page up"], ["← →", "from token to token, in a strip"],
  ["1 … 9", "colour tokens by"], ["?", "this"], ["Esc", "close"],
];

function showHelp() {
  help.replaceChildren(h("h2", {}, "Keyboard"), h("dl", { class: "keys" }, KEYS.map(([key, what]) =>
    h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)))),
  h("p", { class: "quiet" }, 'A filter: reward<0.5 turns>3 tokens>=100 error:timeout failed truncated began>2026-11-24T16:00 "some text"'),
  h("form", { method: "dialog" }, h("button", {}, "close")));
  help.showModal();
}

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input:not([type=checkbox]), select, textarea");
  if (typing && event.key === "Escape") typing.blur();
  if (typing || help.open || event.metaKey || event.ctrlKey || event.altKey) return;
  const own = shown.keys?.[event.key];
  if (own) location.hash = own;
  else if (event.key === "j" || event.key === "k") select(selected() + (event.key === "j" ? 1 : -1));
  else if (event.key === "Enter" && selected() >= 0 && event.target.matches("body, main")) location.hash = rows()[selected()].dataset.go;
  else if (event.key === "/") document.getElementById("filter")?.focus();
  else if (event.key === "?") showHelp();
  else if (event.key === "u") document.querySelectorAll("#crumbs a").item(document.querySelectorAll("#crumbs a").length - 2)?.click();
  else if (/^[1-9]$/.test(event.key)) main.querySelectorAll(".layers button")[event.key - 1]?.click();
  else return;
  event.preventDefault();
});

document.getElementById("keys").addEventListener("click", showHelp);
document.getElementById("theme").addEventListener("click", () => {
  const next = { "": "light", light: "dark", dark: "" }[document.documentElement.dataset.theme || ""];
  setTheme(next);
  draw({ keep: true });
});

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch { /* a file opened from disk may keep nothing */ }
}

try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") || "";
} catch { /* as above */ }
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw({ keep: true }));
addEventListener("hashchange", () => draw());
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname + location.hash);
await openReport();
draw();
