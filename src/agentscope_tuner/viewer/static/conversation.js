// What was said, as people read it: results beside their calls, long things folded.
import { h, pictureWidth, seconds, svg, tableBehind } from "./dom.js";

const LONG = 1500;

function folded(text, label, open = text.length <= LONG) {
  if (open && text.length <= LONG) return h("div", { class: "said" }, text);
  return h("details", {}, h("summary", {}, `${label} (${text.length.toLocaleString("en")} characters)`),
    h("div", { class: "said" }, text));
}

export function textOf(content) {
  if (content === null || content === undefined) return "";
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return JSON.stringify(content, null, 1);
  return content.map((part) => part.text ?? JSON.stringify(part)).join("\n");
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return String(text);
  }
}

export function conversation(messages) {
  const results = new Map();
  for (const m of messages) if (m.role === "tool" && m.tool_call_id) results.set(m.tool_call_id, m);
  const called = new Set(messages.flatMap((m) => (m.tool_calls || []).map((c) => c.id)));
  return h("ol", { class: "conversation" }, messages.map((message) => {
    if (message.role === "tool" && called.has(message.tool_call_id)) return null;
    const parts = [];
    const thinking = message.reasoning_content;
    if (thinking)
      parts.push(h("details", { class: "thinking" },
        h("summary", {}, `thinking (${thinking.length.toLocaleString("en")} characters)`),
        h("div", { class: "said" }, thinking)));
    const text = textOf(message.content);
    if (text) parts.push(folded(text, message.role));
    for (const call of message.tool_calls || []) {
      const result = results.get(call.id);
      parts.push(h("div", { class: "tool" },
        h("div", {}, h("b", {}, call.function?.name ?? "tool"), h("pre", {}, pretty(call.function?.arguments))),
        result ? h("div", { class: "result" }, h("span", { class: "quiet" }, "result"),
          folded(textOf(result.content), "result")) : h("div", { class: "quiet" }, "no result")));
    }
    if (!parts.length) parts.push(h("span", { class: "quiet" }, "nothing"));
    return h("li", { class: `message ${["system", "user", "assistant", "tool"].includes(message.role) ? message.role : ""}` },
      h("span", { class: "role" }, message.role ?? "?"), h("div", {}, parts));
  }));
}

// Where the time went: calls of the model, of auxiliary models, and the judge; between them tools.
export function timeline(rollout) {
  const spans = [];
  const calls = rollout.trajectory.calls;
  calls.forEach((call, i) => spans.push(["model", `call ${i + 1} (${call.finish_reason})`, call.began, call.seconds]));
  for (const call of rollout.auxiliary_calls || [])
    spans.push(["auxiliary", call.model, call.began, call.seconds]);
  if (rollout.judge_seconds)
    spans.push(["judge", "judge", rollout.began + rollout.seconds - rollout.judge_seconds, rollout.judge_seconds]);
  const known = spans.filter(([, , began]) => began);
  if (!rollout.began || !known.length) return h("p", { class: "quiet" }, "No times were recorded.");
  const rows = ["model", "auxiliary", "judge"].filter((kind) => known.some((s) => s[0] === kind));
  const total = rollout.seconds || 1e-9, height = rows.length * 24 + 20;
  const width = pictureWidth(), end = width - 10;
  const x = (unix) => 90 + Math.max(0, Math.min(1, (unix - rollout.began) / total)) * (end - 90);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "timeline", role: "img", "aria-label": "Timeline" },
    rows.map((kind, i) => [
      svg("text", { x: 0, y: i * 24 + 16 }, kind),
      svg("line", { x1: 90, x2: end, y1: i * 24 + 22, y2: i * 24 + 22 }),
      known.filter((s) => s[0] === kind).map(([, label, began, length]) =>
        svg("rect", { class: kind, x: x(began), y: i * 24 + 3, height: 16, rx: 2,
          width: Math.max(2, x(began + length) - x(began)) },
        svg("title", {}, `${label}: ${seconds(length)}, from ${seconds(began - rollout.began)} on`))),
    ]),
    svg("text", { x: 90, y: height - 3 }, "0"),
    svg("text", { x: end, y: height - 3, class: "end" }, seconds(rollout.seconds)));
  const model = calls.reduce((sum, call) => sum + call.seconds, 0);
  const other = Math.max(0, rollout.seconds - model - (rollout.judge_seconds || 0));
  return h("div", {},
    h("p", {}, `Model ${seconds(model)}, judge ${seconds(rollout.judge_seconds || 0)}, `,
      `tools and the rest ${seconds(other)}`,
      rollout.attempts > 1 ? `; ${rollout.attempts} attempts, of which the last is shown` : "", "."),
    picture,
    tableBehind("table", ["what", "from", "for"], () =>
      known.map(([, label, began, length]) => [label, seconds(began - rollout.began), seconds(length)])));
}
