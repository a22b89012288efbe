// Shows what the client sends, as it changes, and sends what the buttons say.

import { draw } from "./graph.js";
import { byId, command, copy, facts, pill, quota as showQuota, setBar, setText, show } from "./elements.js";
import { ago, bytes, chooseLanguage, count, duration, milliseconds, percent, rate, refused, say, why } from "./language.js";
import * as view from "./view.js";

const token = document.querySelector('meta[name="docxy-token"]').content;

let snapshot = null;
let stream = null;
let known = null;

function connect() {
  stream?.close();
  stream = new EventSource("/api/events");
  stream.onmessage = (event) => {
    snapshot = JSON.parse(event.data);
    show(byId("lost"), false);
    tellNews();
    render();
  };
  stream.onerror = () => {
    const isRefused = stream.readyState === EventSource.CLOSED;
    setText(byId("lost"), say(isRefused ? "full" : "lost"));
    show(byId("lost"), true);
    // The browser itself connects again, but not after a refusal.
    if (isRefused) setTimeout(watch, 5000);
  };
}

// Nothing is sent to a page in a hidden tab.
function watch() {
  if (document.visibilityState === "visible") connect();
  else stream?.close();
}

function render() {
  if (!snapshot) return;
  const { line, pulls, finished, errors, servers, quota, cache, engines } = snapshot;
  renderLine(line);
  draw(snapshot.history);
  setText(byId("pulls-count"), pulls.length > 0 ? String(pulls.length) : "");
  show(byId("pulls-empty"), pulls.length === 0);
  command(byId("pulls-try"), `docker pull ${location.host}/library/alpine`);
  view.pulls(pulls);
  show(byId("finished-section"), finished.length > 0);
  view.finished(finished);
  show(byId("errors-section"), errors.length > 0);
  view.errors(errors);
  show(byId("servers"), servers.length > 0);
  show(byId("servers-empty"), servers.length === 0);
  command(byId("servers-try"), "docxy-client join");
  show(byId("any-server"), servers.some((server) => server.preferred));
  view.servers(servers);
  show(byId("quota"), quota.length > 0);
  show(byId("quota-empty"), quota.length === 0);
  showQuota(byId("quota"), quota);
  show(byId("cache-section"), cache !== null);
  if (cache) {
    const problem = why(cache.problem, cache.cause, "store");
    const text = problem ? say("cacheProblem", { problem }) : say("cacheText", { used: bytes(cache.bytes), limit: bytes(cache.limit) });
    setText(byId("cache-text"), text);
    setBar(byId("cache-bar"), cache.bytes, cache.limit, say("cache"));
    // There is nothing to measure, and nothing to remove, in a cache that cannot be opened.
    for (const id of ["cache-bar", "prune-form"]) show(byId(id), cache.limit > 0 || cache.bytes > 0);
  }
  view.engines(engines, location.host);
  setText(byId("version"), `docxy-client ${snapshot.version}`);
}

function renderLine(line) {
  const server = line.server_name;
  const state = say(server ? line.tunnel : "noServer");
  pill(byId("state"), state, server ? view.LOOKS[line.tunnel] : "warn");
  const isUp = line.tunnel === "up";
  setText(byId("line-title"), server ? (isUp ? server : say("lineTo", { state, server })) : say("noLink"));
  const notes = [why(line.reason, line.cause, "line"), line.leg_cause && say(`leg_${line.leg_cause}`), line.proxy && say("lineProxy", { proxy: line.proxy })];
  setText(byId("line-reason"), notes.filter(Boolean).join(" · "));
  facts(byId("line-facts"), [
    ["rate", rate(snapshot.history.at(-1) ?? 0)],
    ["roundTrip", line.rtt_ms === undefined ? "–" : milliseconds(line.rtt_ms)],
    ["loss", line.loss == null ? "–" : percent(line.loss)],
    ["leg", line.leg?.toUpperCase() ?? "–"],
    ["since", line.since ? duration(Math.floor(ago(line.since))) : "–"],
  ]);
  document.title = `${state} · Docxy`;
}

// A screen reader is told of pulls that begin and end, and not of their bytes.
function tellNews() {
  const now = { running: new Map(snapshot.pulls.map((pull) => [pull.id, pull])), ended: new Map(snapshot.finished.map((pull) => [pull.id, pull])) };
  if (known) {
    const began = [...now.running.values()].filter((pull) => !known.running.has(pull.id)).map((pull) => say("began", pull));
    const ended = [...now.ended.values()].filter((pull) => !known.ended.has(pull.id));
    const words = [...began, ...ended.map((pull) => say(pull.outcome === "failed" ? "failedNews" : "ended", pull))];
    if (words.length > 0) setText(byId("news"), words.slice(0, 3).join(say("nextSentence")));
  }
  known = now;
}

async function act(action, choice) {
  const tell = (trouble) => {
    setText(byId("lost"), trouble);
    show(byId("lost"), true);
  };
  let response;
  let value;
  try {
    response = await fetch(`/api/${action}`, { method: "POST", headers: { "docxy-token": token }, body: JSON.stringify(choice) });
    value = await response.json();
  } catch {
    return tell(say("lost"));
  }
  // The client was started again, and has another token.
  if (response.status === 403) return location.reload();
  if (!response.ok) return tell(refused(action, response, value.errors?.[0]?.message));
  snapshot = value;
  if (snapshot.pruned) tellPruned(snapshot.pruned);
  render();
}

function tellPruned({ blobs, bytes: size }) {
  const text = blobs > 0 ? say("pruned", { size: bytes(size), n: count(blobs) }) : say("prunedNone");
  setText(byId("pruned"), text);
  show(byId("pruned"), true);
}

function speak(language) {
  chooseLanguage(language);
  show(byId("pruned"), false);
  render();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { copy: text, forget, prefer, language } = button.dataset;
  if (text !== undefined) copy(button);
  else if (forget !== undefined) act("forget", { pull: Number(forget) });
  else if (button.id === "forget") act("forget", {});
  else if (prefer !== undefined) act("prefer", { server: prefer });
  else if (button.id === "any-server") act("prefer", {});
  else if (button.id === "prune") act("prune", { unused_days: byId("prune-choice").value ? Number(byId("prune-choice").value) : null });
  else if (language !== undefined) speak(language);
});
// What was closed is filled when it opens.
document.addEventListener("toggle", render, true);
document.addEventListener("visibilitychange", watch);
// Times pass also while nothing changes.
setInterval(render, 1000);
speak();
watch();
