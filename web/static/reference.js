"use strict";
// The API reference: Scalar shows the OpenAPI document, and this script signs people in and adds their token to requests.

const $ = (id) => document.getElementById(id);
const KEPT = "companon.docs"; // of sessionStorage: it ends with the tab
const EARLY = 30_000; // ms before its end from which an access token is refreshed
globalThis.__zod_globalConfig = { jitless: true }; // Scalar's zod would try `eval` otherwise, which the page's policy reports
const document_ = fetch("/api/v1/openapi.json").then((response) => response.json());
const nowhere = { dashboardUrl: location.origin, registryUrl: location.origin, proxyUrl: location.origin, apiBaseUrl: location.origin };

let session = JSON.parse(sessionStorage.getItem(KEPT) || "null"); // { token, until, refresh, name } or null
let pending = null; // the session that still needs a code
let reference = null;

function keep(next) {
  session = next;
  if (next) sessionStorage.setItem(KEPT, JSON.stringify(next));
  else sessionStorage.removeItem(KEPT);
  $("who").textContent = next ? next.name : "";
  $("open").hidden = Boolean(next);
  $("sign-out").hidden = !next;
  if (reference) reference.updateConfiguration(configuration());
}

function sessionOf({ access_token: token, refresh_token: refresh, expires_in: seconds }, name) {
  return { token, refresh, name, until: Date.now() + seconds * 1000 };
}

async function post(path, body, token) {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const data = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(data.detail || data.title || `The server answered ${response.status}.`);
  return data;
}

let refreshing = null; // one refresh at a time: a refresh token is valid once

async function currentToken() {
  if (!session || !session.refresh || session.until - Date.now() > EARLY) return session && session.token;
  refreshing ||= post("/api/v1/auth/refresh", { refresh_token: session.refresh })
    .then((made) => keep(sessionOf(made, session.name)), () => keep(null))
    .finally(() => { refreshing = null; });
  await refreshing;
  return session && session.token;
}

// Send a request of the reference. A token of an earlier moment of the session is replaced by the present one.
async function send(input, init) {
  const request = new Request(input, init);
  const sent = request.headers.get("Authorization");
  if (session && sent === `Bearer ${session.token}`) request.headers.set("Authorization", `Bearer ${await currentToken()}`);
  return fetch(request);
}

function configuration() {
  const token = session ? session.token : "";
  return {
    ...shown,
    authentication: { preferredSecurityScheme: "accessToken", securitySchemes: { accessToken: { token }, apiKey: { token } } },
  };
}

let shown = null; // the configuration without the token

function configure(content) {
  shown = {
    content,
    servers: [{ url: location.origin }],
    customFetch: send,
    externalUrls: nowhere,
    telemetry: false,
    withDefaultFonts: false,
    proxyUrl: "",
    agent: { disabled: true },
    mcp: { disabled: true },
    showDeveloperTools: "never",
    hideClientButton: true,
    persistAuth: false,
    theme: "default",
    layout: "modern",
    hideModels: true,
    showOperationId: true,
    defaultOpenFirstTag: false,
    featuredClients: ["shell/curl", "js/fetch", "python/requests"],
    defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
    generateTagSlug: ({ name }) => name,
    generateOperationSlug: ({ operationId }) => operationId,
  };
}

// A link `#operationId` leads to the operation, whatever its section is.
function openOperation(content) {
  const id = location.hash.slice(1);
  for (const operations of Object.values(content.paths)) {
    for (const operation of Object.values(operations)) {
      if (operation.operationId === id) history.replaceState(null, "", `#tag/${operation.tags[0]}/${id}`);
    }
  }
}

async function start() {
  const content = await document_;
  openOperation(content);
  configure(content);
  $("reference").replaceChildren();
  reference = Scalar.createApiReference("#reference", configuration());
}

function report(error) {
  $("trouble").textContent = error ? error.message : "";
}

function onSubmit(id, act) {
  $(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    report(null);
    const button = $(id).querySelector("button");
    button.disabled = true;
    try {
      await act(Object.fromEntries(new FormData($(id))));
    } catch (error) {
      report(error);
    }
    button.disabled = false;
  });
}

function signedIn(next) {
  $("sign-in").close();
  for (const form of $("sign-in").querySelectorAll("form")) form.reset();
  keep(next);
}

// Show the form for the password, or for the code after it.
function ask(code) {
  $("with-password").hidden = code || document.body.dataset.signsIn !== "true";
  $("with-code").hidden = !code;
  $("with-token").hidden = code;
}

onSubmit("with-password", async ({ email, password }) => {
  const made = await post("/api/v1/auth/login", { email, password });
  if (!made.mfa_required) return signedIn(sessionOf(made, email));
  if (made.mfa_required !== "verify") throw new Error("This account must set up an authenticator first: POST /api/v1/users/me/mfa.");
  pending = sessionOf(made, email);
  ask(true);
  $("with-code").elements.code.focus();
});
onSubmit("with-code", async ({ code }) => {
  const made = await post("/api/v1/auth/mfa/verify", { code: code.trim() }, pending.token);
  signedIn(sessionOf({ ...made, refresh_token: made.refresh_token || pending.refresh }, pending.name));
});
onSubmit("with-token", async ({ token }) => {
  signedIn({ token: token.trim(), name: token.trim().startsWith("cpk_") ? "API key" : "Access token" });
});
$("open").addEventListener("click", () => { ask(false); report(null); $("sign-in").showModal(); });
$("sign-out").addEventListener("click", () => {
  if (session && session.refresh) post("/api/v1/auth/logout", {}, session.token).catch(() => {});
  keep(null);
});

keep(session);
addEventListener("DOMContentLoaded", () => start().catch((error) => {
  $("reference").replaceChildren(Object.assign(document.createElement("p"), { className: "wait", textContent: `The document could not be read: ${error}` }));
}));
