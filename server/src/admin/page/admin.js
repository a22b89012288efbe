// Shows the state of the server again and again, and sends what the buttons say.

import { byId, command, copy, pill, setText, show } from "./elements.js";
import { ago, chooseLanguage, duration, refused, say } from "./language.js";
import * as view from "./view.js";

const INTERVAL = 2000;

let status = null;
let isLost = false;

async function call(name, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  let value;
  try {
    response = await fetch(`api/${name}`, { cache: "no-store", ...options });
    value = await response.json();
  } catch {
    throw new Error(say("lost"));
  }
  if (!response.ok) throw new Error(refused(name, response, value.error));
  return value;
}

function tell(trouble) {
  setText(byId("trouble"), trouble);
  show(byId("trouble"), trouble !== "");
}

function render() {
  if (!status) return;
  // The clock of the server may differ.
  const time = Date.parse(status.now);
  const state = isLost ? "noAnswer" : status.load.draining ? "shutsDown" : "running";
  pill(byId("state"), say(state), { noAnswer: "bad", shutsDown: "warn", running: "good" }[state]);
  const { version, since: begun } = status;
  setText(byId("version"), begun ? say("versionSince", { version, time: duration(Math.floor(ago(begun, time))) }) : say("version", { version }));
  view.now(status);
  view.cache(status.cache, status.layer_cache);
  show(byId("login"), status.access === "logged-out");
  show(byId("no-password"), status.access === "no-password");
  command(byId("no-password-try"), "docxy-server admin-password");
  const isOperator = status.access === "operator";
  show(byId("logout"), isOperator);
  for (const id of ["clients-section", "registries-section", "failures-section"]) show(byId(id), isOperator);
  const { clients = [], registries = [], failures = [] } = status;
  view.clients(clients, time);
  view.registries(registries, time);
  view.failures(failures, time);
  if (!isOperator) show(byId("invited"), false);
}

async function refresh() {
  try {
    status = await call("status");
    if (isLost) tell("");
    isLost = false;
  } catch {
    isLost = true;
    tell(say("lost"));
  }
  render();
}

async function attempt(name, body) {
  try {
    tell("");
    return await call(name, body);
  } catch (error) {
    tell(error.message);
  } finally {
    await refresh();
  }
}

async function logIn() {
  const password = byId("password").value;
  byId("password").value = "";
  if (await attempt("login", { password })) byId("main").focus();
}

async function invite() {
  const invited = await attempt("invite", { name: byId("name").value });
  if (!invited) return;
  byId("name").value = "";
  command(byId("link"), invited.link);
  show(byId("invited"), true);
}

async function revoke(name) {
  byId("revoke").close();
  if (await attempt("revoke", { name })) setText(byId("news"), say("revokedNews", { name }));
}

function ask(name) {
  byId("revoke-yes").dataset.name = name;
  setText(byId("revoke-title"), say("revokeTitle", { name }));
  byId("revoke").showModal();
}

for (const [form, send] of [["login-form", logIn], ["invite-form", invite]]) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { copy: text, language, revoke: name } = button.dataset;
  if (text !== undefined) copy(button);
  else if (name !== undefined) ask(name);
  else if (button.id === "revoke-yes") revoke(button.dataset.name);
  else if (button.id === "revoke-no") byId("revoke").close();
  else if (button.id === "logout") attempt("logout", {});
  else if (language !== undefined) {
    chooseLanguage(language);
    render();
  }
});
setInterval(() => { if (!document.hidden) refresh(); }, INTERVAL);
document.addEventListener("visibilitychange", refresh);
chooseLanguage();
refresh();
