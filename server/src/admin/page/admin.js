// The operator's page. Texts of others (names, addresses, reasons) become text nodes only, never markup.

const INTERVAL = 2000;
const byId = (id) => document.getElementById(id);

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

function ago(time, now) {
  const seconds = Math.max(0, Math.round((Date.parse(now) - Date.parse(time)) / 1000));
  const [count, unit] = seconds < 90 ? [seconds, "s"] : seconds < 5400 ? [Math.round(seconds / 60), "min"]
    : seconds < 172800 ? [Math.round(seconds / 3600), "h"] : [Math.round(seconds / 86400), "days"];
  return `${count} ${unit}`;
}

async function call(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await fetch(path, { cache: "no-store", ...options });
  const value = await response.json();
  if (!response.ok) throw new Error(value.error);
  return value;
}

function tell(trouble) {
  byId("trouble").textContent = trouble ?? "";
  byId("trouble").hidden = !trouble;
}

function row(title, ends, small) {
  const made = element("div", "row", element("h3", "", title), element("div", "ends", ...ends));
  for (const line of small) made.append(element("p", "wide small", line));
  return made;
}

// Replaces the rows unless one has the keyboard's focus that would be lost.
function fill(id, rows, empty) {
  const box = byId(id);
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  box.replaceChildren(...(rows.length ? rows : [element("p", "dim", empty)]));
  if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function clientRow(client, now) {
  const ends = [];
  if (client.revoked) ends.push(element("span", "tag", "revoked"));
  else {
    const online = client.sessions.length > 0;
    ends.push(element("span", online ? "pill good" : "pill", online ? "online" : "offline"));
    const revoke = element("button", "", "Revoke");
    revoke.dataset.key = client.name;
    revoke.setAttribute("aria-label", `Revoke ${client.name}`);
    revoke.addEventListener("click", async () => {
      if (!confirm(`End the access of ${client.name}? Its link stops working at once.`)) return;
      await attempt(() => call("api/revoke", { name: client.name }));
    });
    ends.push(revoke);
  }
  const seen = client.last_seen ? `last seen ${ago(client.last_seen, now)} ago` : "never connected";
  const small = [`${bytes(client.sent)} down, ${bytes(client.received)} up, ${seen}`];
  for (const session of client.sessions) {
    small.push(`${session.leg} from ${session.address}, ${session.rtt_ms} ms, ${bytes(session.bytes_per_second)}/s, for ${ago(session.since, now)}`);
  }
  return row(client.name, ends, small);
}

function registryRow(registry) {
  const quota = registry.quota;
  const ends = quota?.remaining == null ? [] : [element("span", quota.remaining === 0 ? "pill bad" : "pill good", `${quota.remaining} of ${quota.limit ?? "?"} pulls left`)];
  return row(registry.name, ends, [`${registry.requests} requests, ${registry.failed} failed, ${registry.retries} sent again`]);
}

function show(status) {
  const { load, counts } = status;
  const draining = load.draining;
  byId("state").textContent = draining ? "shutting down" : "running";
  byId("state").className = `pill ${draining ? "warn" : "good"}`;
  byId("version").textContent = `docxy-server ${status.version}, running for ${status.since ? ago(status.since, status.now) : "?"}`;
  const ended = Object.values(counts.exchanges);
  const sum = (key) => ended.reduce((total, outcomes) => total + outcomes[key], 0);
  const facts = [
    ["clients connected", status.clients_connected], ["to clients", `${bytes(status.bytes_per_second)}/s`],
    ["sent in all", bytes(counts.quic.sent + counts.tcp.sent)], ["exchanges running", load.exchanges],
    ["exchanges waiting", load.waiting], ["answered", sum("answered")], ["failed", sum("failed")],
    ["memory", status.memory_bytes == null ? "?" : bytes(status.memory_bytes)],
  ];
  byId("now").replaceChildren(...facts.map(([name, value]) =>
    element("div", "", element("dt", "", name), element("dd", "", String(value)))));
  const isOperator = status.access === "operator";
  byId("login").hidden = status.access !== "logged-out";
  byId("no-password").hidden = status.access !== "no-password";
  byId("logout").hidden = !isOperator;
  for (const id of ["clients-section", "registries-section", "failures-section"]) byId(id).hidden = !isOperator;
  if (!isOperator) {
    for (const id of ["clients", "registries", "failures"]) byId(id).replaceChildren();
    return;
  }
  fill("clients", status.clients.map((client) => clientRow(client, status.now)), "No client was invited yet.");
  fill("registries", status.registries.map(registryRow), "No registry is served.");
  fill("failures", status.failures.map((failure) => row(failure.reason, [element("span", "tag", `${ago(failure.at, status.now)} ago`)], [])), "None since the start.");
}

async function refresh() {
  try {
    show(await call("api/status"));
    if (byId("trouble").dataset.lost) { delete byId("trouble").dataset.lost; tell(); }
  } catch {
    byId("trouble").dataset.lost = "yes";
    byId("state").textContent = "no answer";
    byId("state").className = "pill bad";
    tell("The server does not answer. This page goes on when it does.");
  }
}

async function attempt(work) {
  try {
    tell();
    return await work();
  } catch (error) {
    tell(error.message);
  } finally {
    await refresh();
  }
}

byId("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const password = byId("password").value;
  byId("password").value = "";
  await attempt(() => call("api/login", { password }));
});

byId("logout").addEventListener("click", () => attempt(() => call("api/logout", {})));

byId("invite-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const invited = await attempt(() => call("api/invite", { name: byId("name").value }));
  if (!invited) return;
  byId("name").value = "";
  byId("link").textContent = invited.link;
  byId("invited").hidden = byId("link-line").hidden = false;
});

byId("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(byId("link").textContent);
  byId("copy").textContent = "Copied";
  setTimeout(() => { byId("copy").textContent = "Copy"; }, INTERVAL);
});

setInterval(() => { if (!document.hidden) refresh(); }, INTERVAL);
document.addEventListener("visibilitychange", refresh);
refresh();
