// What the page shows of a snapshot.

import { button, byId, command, fill, make, named, part, pill, setBar, setClass, setText, show } from "./elements.js";
import { ago, bytes, duration, milliseconds, percent, rate, say, since, why } from "./language.js";
import { COMMANDS } from "./words.js";

// docker.io/library/ is less than what follows.
function imageName(image) {
  const cut = image.lastIndexOf("/") + 1;
  return [make("span", "where", image.slice(0, cut)), make("wbr"), image.slice(cut)];
}

export function pulls(items) {
  fill(byId("pulls"), items, (pull) => pull.id, (pull) => {
    const title = make("h3", "", ...imageName(pull.image));
    const item = make("li", "card pull",
      make("header", "", title, make("div", "tags", named("engine", "span", "tag"), named("platform", "span", "tag"))),
      make("div", "", named("bar", "progress")),
      make("p", "sums", named("percent", "strong"), named("sums", "span"), named("rate", "span"), named("left", "span")),
      named("waits", "p", "waits"),
      named("details", "details", "", named("summary", "summary"), named("layers", "ul", "plain layers")));
    // Few of them are open, so that their layers are seen at once.
    part(item, "details").open = items.length <= 3;
    return item;
  }, (item, pull) => {
    tag(part(item, "engine"), pull.engine);
    tag(part(item, "platform"), pull.platform);
    const isKnown = pull.length !== null;
    setBar(part(item, "bar"), pull.bytes, pull.length, pull.image);
    const share = isKnown ? Math.floor((100 * pull.bytes) / Math.max(1, pull.length)) : 0;
    setText(part(item, "percent"), isKnown ? percent(share / 100) : say("resolving"));
    setText(part(item, "sums"), isKnown ? say("sums", { bytes: bytes(pull.bytes), length: bytes(pull.length) }) : "");
    setText(part(item, "rate"), pull.bytes_per_second ? rate(pull.bytes_per_second) : "");
    setText(part(item, "left"), pull.seconds_left === null ? "" : say("left", { time: duration(pull.seconds_left) }));
    waits(part(item, "waits"), pull);
    const done = pull.layers.filter((layer) => layer.state === "done").length;
    show(part(item, "details"), pull.layers.length > 0);
    setText(part(item, "summary"), say("layers", { done, all: pull.layers.length }));
    if (part(item, "details").open) layers(part(item, "layers"), pull.layers);
  });
}

function tag(element, text) {
  setText(element, text ?? "");
  show(element, Boolean(text));
}

function waits(element, pull) {
  const what = pull.waits_for && `waits_${pull.waits_for}`;
  // Each request waits for a moment.
  const time = pull.waits_since ? ago(pull.waits_since) : 0;
  const words = what && (time >= 2 || pull.reason) && say("waitsSince", { what: say(what), time: duration(Math.floor(time)) });
  const reason = why(pull.reason, pull.cause);
  const text = words && reason ? say("because", { words, reason }) : words || reason;
  setText(element, text);
  setClass(element, what ? "waits" : "waits bad");
  show(element, text !== "");
}

function layers(list, items) {
  fill(list, items, (layer) => layer.id, (layer) => make("li", "",
    make("code", "", layer.id), named("text", "span"), named("bar", "progress")),
  (item, layer) => {
    const state = say(layer.state);
    const size = layer.length === null ? bytes(layer.bytes) : say("sums", { bytes: bytes(layer.bytes), length: bytes(layer.length) });
    setText(part(item, "text"), layer.state === "running" ? size : `${state} · ${bytes(layer.length ?? layer.bytes)}`);
    setBar(part(item, "bar"), layer.bytes, layer.length, say("layerLabel", { id: layer.id, state }), layer.state === "done" ? "done" : "");
  });
}

export function finished(items) {
  fill(byId("finished"), items, (pull) => pull.id, (pull) => {
    const forget = button("forget", "quiet");
    setText(forget, "✕");
    forget.dataset.forget = pull.id;
    return make("li", "row", make("h3", "", ...imageName(pull.image)),
      make("div", "ends", named("outcome", "span"), named("when", "span", "small"), forget), named("reason", "p", "wide small bad"), named("how", "p", "wide small"));
  }, (item, pull) => {
    pill(part(item, "outcome"), say(`outcome_${pull.outcome}`), { done: "good", failed: "bad", stopped: "" }[pull.outcome]);
    setText(part(item, "when"), since(pull.at));
    part(item, "forget").setAttribute("aria-label", say("forgetOne", { image: pull.image }));
    const [done, all] = pull.layers;
    const how = [
      pull.from_tunnel + pull.from_cache + (pull.from_neighbour ?? 0) === 0 && say("upToDate"),
      pull.from_tunnel > 0 && say("fromTunnel", { bytes: bytes(pull.from_tunnel) }),
      pull.from_neighbour > 0 && say("fromNeighbour", { bytes: bytes(pull.from_neighbour) }),
      pull.from_cache > 0 && say("fromCache", { bytes: bytes(pull.from_cache) }),
      say("took", { time: duration(pull.milliseconds / 1000) }),
      all > 0 && say("layers", { done, all }),
      pull.interruptions > 0 && say("resumed", { n: pull.interruptions }),
      pull.engine, pull.platform,
    ];
    setText(part(item, "reason"), why(pull.reason, pull.cause));
    show(part(item, "reason"), Boolean(pull.reason));
    setText(part(item, "how"), how.filter(Boolean).join(" · "));
  });
}

export function errors(items) {
  fill(byId("errors"), items, (error) => `${error.image} ${error.text}`, (error) => make("li", "row",
    make("p", "names", ...(error.image ? [make("h3", "", ...imageName(error.image))] : []), named("text", "span", "bad")),
    named("when", "span", "small"), named("advice", "p", "wide small"), named("command", "div", "wide line-of-code")),
  (item, error) => {
    const times = error.count > 1 ? ` · ${say("times", { n: error.count })}` : "";
    setText(part(item, "text"), why(error.text, error.cause));
    setText(part(item, "when"), since(error.at) + times);
    setText(part(item, "advice"), say(`advice_${error.advice}`));
    // Only a name that means nothing else to a shell.
    const registry = /^[\w.:-]+(?=\/)/.exec(error.image ?? "")?.[0] ?? "REGISTRY";
    const text = COMMANDS[error.advice]?.replace("REGISTRY", () => registry);
    show(part(item, "command"), Boolean(text));
    if (text) command(part(item, "command"), text);
  });
}

export const LOOKS = { up: "good", suspected: "warn", connecting: "warn", down: "bad", refused: "bad", spare: "" };

export function servers(items) {
  fill(byId("servers"), items, (server) => server.server, (server) => {
    const use = button("use");
    use.dataset.prefer = server.server;
    return make("li", "row", make("div", "names", make("h3", "", server.server), named("state", "span"), named("marks", "span", "small")),
      make("div", "ends", use), named("facts", "p", "wide small"));
  }, (item, server) => {
    pill(part(item, "state"), say(server.state), LOOKS[server.state]);
    const marks = [server.in_use && say("inUse"), server.preferred && say("preferred"), server.draining && say("draining"), !server.trusted && say("untrusted")];
    setText(part(item, "marks"), marks.filter(Boolean).join(" · "));
    const facts = [
      server.leg?.toUpperCase(), server.rtt_ms !== null && milliseconds(server.rtt_ms),
      server.bytes_received !== null && bytes(server.bytes_received), why(server.reason, server.cause, "line"),
    ];
    setText(part(item, "facts"), facts.filter(Boolean).join(" · "));
    const use = part(item, "use");
    setText(use, say("use"));
    use.setAttribute("aria-label", say("useLabel", { server: server.server }));
    show(use, items.length > 1 && server.state === "up" && !server.preferred);
  });
}

export function engines(items, host) {
  const any = { name: say("engineAny"), hint: say("engineAnyHint"), lines: [`docker pull ${host}/library/alpine`], state: "", look: "" };
  const none = { name: "docxy-client pull", hint: say("enginesNone"), lines: ["docxy-client pull alpine -o alpine.tar"], state: "", look: "" };
  const rows = (items ?? []).map((engine) => ({
    name: engine.name,
    state: say(engine.problem ? "engineProblem" : engine.is_set_up ? "engineReady" : "engineNot"),
    look: engine.problem ? "warn" : engine.is_set_up ? "good" : "",
    hint: why(engine.problem, engine.cause, "engine") || say(engine.is_set_up ? "engineTest" : "engineSet"),
    lines: [engine.is_set_up ? engine.test : engine.setup].filter(Boolean),
  }));
  if (items?.length === 0) rows.push(none);
  fill(byId("engines"), [...rows, any], (row) => row.name, () => make("li", "row",
    make("div", "names", named("name", "h3"), named("state", "span"), named("hint", "span", "small")), named("lines", "div", "wide")),
  (item, row) => {
    setText(part(item, "name"), row.name);
    pill(part(item, "state"), row.state, row.look);
    setText(part(item, "hint"), row.hint);
    fill(part(item, "lines"), row.lines, (line) => line, () => make("div", "line-of-code"), command);
  });
}
