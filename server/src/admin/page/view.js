// What the page shows of a status.

import { button, byId, facts, fill, make, named, part, pill, quota, setBar, setText, show } from "./elements.js";
import { ago, bytes, count, duration, has, milliseconds, rate, say, since, why } from "./language.js";

export function now(status) {
  const { load, counts } = status;
  const ended = Object.values(counts.exchanges);
  const sum = (key) => ended.reduce((total, outcomes) => total + outcomes[key], 0);
  facts(byId("now"), [
    ["connected", count(status.clients_connected)], ["toClients", rate(status.bytes_per_second)],
    ["sent", bytes(counts.quic.sent + counts.tcp.sent)], ["exchanges", count(load.exchanges)],
    ["waiting", count(load.waiting)], ["answered", count(sum("answered"))], ["failed", count(sum("failed"))],
    ["memory", status.memory_bytes === null ? "–" : bytes(status.memory_bytes)],
  ]);
}

// A list, or that it is empty.
function list(name, items, ...rest) {
  fill(byId(name), items, ...rest);
  show(byId(name), items.length > 0);
  const empty = byId(`${name}-empty`);
  if (empty) show(empty, items.length === 0);
}

export function clients(items, time) {
  setText(byId("clients-count"), items.length > 0 ? count(items.length) : "");
  list("clients", items, (client) => client.name, (client) => {
    const revoke = button("revoke");
    revoke.dataset.revoke = client.name;
    return make("li", "row", make("h3", "", client.name), make("div", "ends", named("state", "span"), revoke),
      named("facts", "p", "wide small"), named("sessions", "ul", "plain wide small"));
  }, (item, client) => {
    const state = client.revoked ? "revoked" : client.sessions.length > 0 ? "online" : "offline";
    pill(part(item, "state"), say(state), state === "online" ? "good" : "");
    setText(part(item, "revoke"), say("revoke"));
    part(item, "revoke").setAttribute("aria-label", say("revokeLabel", client));
    show(part(item, "revoke"), !client.revoked);
    const seen = client.last_seen ? say("seen", { since: since(client.last_seen, time) }) : say("neverSeen");
    const carried = say("bytes", { sent: bytes(client.sent), received: bytes(client.received) });
    setText(part(item, "facts"), client.sessions.length > 0 ? carried : `${carried} · ${seen}`);
    fill(part(item, "sessions"), client.sessions, (session) => session.address, () => make("li"), (line, session) => {
      const { leg, address, rtt_ms: rtt, bytes_per_second: speed, since: begun } = session;
      setText(line, say("session", { leg: leg.toUpperCase(), address, rtt: milliseconds(rtt), rate: rate(speed), time: duration(Math.floor(ago(begun, time))) }));
    });
  });
}

export function registries(items, time) {
  list("registries", items, (registry) => registry.name, () => make("li", "row", named("name", "h3"), named("refuses", "span"), named("facts", "p", "wide small"), named("refusals", "p", "wide small")),
    (item, registry) => {
      setText(part(item, "name"), registry.name);
      const { requests, failed, retries, refusals } = registry;
      const words = [say("requests", { n: count(requests) }), failed > 0 && say("requestsFailed", { n: count(failed) }), retries > 0 && say("requestsAgain", { n: count(retries) })];
      setText(part(item, "facts"), words.filter(Boolean).join(" · "));
      pill(part(item, "refuses"), refusals ? say("refuses") : "", "warn");
      show(part(item, "refusals"), Boolean(refusals));
      if (refusals) setText(part(item, "refusals"), say("refusals", { n: count(refusals.count), first: since(refusals.first, time), last: since(refusals.last, time) }));
    });
  const limits = items.filter((registry) => registry.quota).map((registry) => ({ registry: registry.name, ...registry.quota }));
  show(byId("quota-section"), limits.length > 0);
  quota(byId("quota"), limits);
}

export function cache(items, layers) {
  const kinds = layers ? [...items, { kind: "layers", count: layers.blobs, bytes: layers.bytes, limit: layers.bytes_max, problem: why(layers.paused, layers.paused_cause, "store") }] : items;
  list("cache", kinds, (kind) => kind.kind, () => make("li", "", named("name", "h3"), named("text", "p"), named("bar", "progress"), named("problem", "p", "waits bad")),
    (item, { kind, count: n, bytes: used, limit, problem }) => {
      const name = has(kind) ? say(kind) : kind;
      setText(part(item, "name"), name);
      setText(part(item, "text"), say("cacheText", { bytes: bytes(used), limit: bytes(limit), n: count(n) }));
      setBar(part(item, "bar"), used, limit, name);
      setText(part(item, "problem"), problem ? say("cacheProblem", { problem }) : "");
      show(part(item, "problem"), Boolean(problem));
    });
}

export function failures(items, time) {
  list("failures", items, ({ at, reason }) => `${at} ${reason}`, () =>
    make("li", "row", named("reason", "p", "bad"), named("when", "span", "small")),
  (item, { at, reason, cause }) => {
    setText(part(item, "reason"), why(reason, cause));
    setText(part(item, "when"), since(at, time));
  });
}
