// Pages as the server has them, or as a report carries them.

let report = null;

export const isReport = () => report !== null;

// A report's data lies gzipped in its own page.
export async function openReport() {
  const stored = document.getElementById("report");
  if (!stored) return;
  const stream = new Blob([bytesOf(stored.textContent.trim())]).stream().pipeThrough(new DecompressionStream("gzip"));
  report = JSON.parse(await new Response(stream).text());
}

// What a report cannot do is to filter and to sort: its pages are kept without.
const VIEW = new Set(["q", "sort", "from", "layer", "branch", "x", "smooth", "pick", "order", "tab"]);

const key = (page, params) => {
  const names = Object.keys(params).filter((name) => !VIEW.has(name) && params[name]).sort();
  return [page, ...names.map((name) => `${name}=${params[name]}`)].join("\n");
};

export async function load(page, params = {}) {
  if (report) {
    const found = report.pages[key(page, params)];
    if (!found) throw new Error("This is not in the report: open the run with `astuner view`.");
    return found;
  }
  const answer = await fetch(`api/${page}?${new URLSearchParams(params)}`);
  const content = answer.headers.get("content-type")?.includes("json")
    ? await answer.json() : { error: await answer.text() };
  if (!answer.ok) throw new Error(content.error);
  return content;
}

export const reportRun = () => report?.run;

// Calls `heard` when a run's files change; returns what ends it. Without events it asks.
export function listen(run, heard) {
  if (report || !run) return () => {};
  const query = new URLSearchParams({ run });
  let timer = null;
  const events = new EventSource(`api/events?${query}`);
  events.onmessage = (event) => heard(JSON.parse(event.data));
  events.onerror = () => {
    if (events.readyState !== EventSource.CLOSED || timer) return;
    let last = "";
    timer = setInterval(async () => {
      const text = await (await fetch(`api/pulse?${query}`)).text().catch(() => last);
      if (text !== last) heard(JSON.parse((last = text)));
    }, 2000);
  };
  return () => {
    events.close();
    clearInterval(timer);
  };
}

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// A column of numbers: base64 of 32-bit floats, or a list in old files.
export function floats(column) {
  if (Array.isArray(column)) return Float32Array.from(column, (v) => (v === null ? NaN : v));
  return new Float32Array(bytesOf(column).buffer);
}
