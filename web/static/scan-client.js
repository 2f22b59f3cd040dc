"use strict";
// State of the pages between two visits, and their requests to the API. Used by the page of a code and by mail pages.

const PATIENCE = 15_000; // ms; timeout of a request. The server's own timeout is 10 s
const TRIES = 6;
const LONGEST_WAIT = 60; // s; limits per minute are reset by then

class Unreachable extends Error {}

// Storage may be disabled in the browser: then the state is kept in memory until the page is closed.
function storeOf(kind) {
  const memory = new Map();
  let storage = null;
  try {
    storage = window[kind];
    storage.setItem("companon.probe", "1");
    storage.removeItem("companon.probe");
  } catch {
    storage = { getItem: (name) => memory.get(name) ?? null, setItem: (name, value) => memory.set(name, value),
      removeItem: (name) => memory.delete(name) };
  }
  return {
    get: (name) => JSON.parse(storage.getItem(`companon.${name}`) || "null"),
    set: (name, value) => storage.setItem(`companon.${name}`, JSON.stringify(value)),
    remove: (name) => storage.removeItem(`companon.${name}`),
  };
}

const kept = storeOf("localStorage");
const ofThisTab = storeOf("sessionStorage");

// crypto.randomUUID exists only on pages from HTTPS or localhost.
function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

function fingerprint() {
  const known = kept.get("device") || randomId();
  kept.set("device", known);
  return known;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // a proxy's page, not an answer of the API
  }
}

// Send one request. Return null without an answer of the API.
async function once(method, path, body, token) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), PATIENCE);
  // The page may be in another language than the browser prefers.
  const headers = { "Accept-Language": document.documentElement.lang, ...(body && { "Content-Type": "application/json" }),
    ...(token && { Authorization: `Bearer ${token}` }) };
  try {
    const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: stop.signal });
    const data = parsed(await response.text());
    if (response.ok && response.status !== 204 && !data) return null;
    return { status: response.status, data: data || {}, wait: Number(response.headers.get("Retry-After")) || 0 };
  } catch {
    return null; // no network, or too slow
  } finally {
    clearTimeout(timer);
  }
}

// Return whether to repeat the request. A 429 that is the decision about a scan is final.
function isTemporary(answer) {
  return !answer || answer.status >= 500 || (answer.status === 429 && answer.data.code === "rate_limited");
}

// Repeat a request until it is answered. `pause(seconds, online)` waits; `online`: whether the API was reached.
async function call(method, path, body, token, pause) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await once(method, path, body, token);
    if (!isTemporary(answer)) return answer;
    const wait = (answer && answer.wait) || Math.min(30, 2 ** (attempt - 1));
    if (attempt === TRIES || wait > LONGEST_WAIT) throw new Unreachable();
    await pause(wait + Math.random(), Boolean(answer)); // spreads the requests of many phones
  }
}

// Run one step at a time: in all tabs if the browser has Web Locks (HTTPS or localhost), else in this tab.
let last = Promise.resolve();
function inTurn(step) {
  if (navigator.locks) return navigator.locks.request("companon.session", step);
  last = last.then(step, step);
  return last;
}

function keepSession(data) {
  const { access_token, refresh_token, user } = data;
  kept.set("session", { access_token, refresh_token, is_anonymous: user.is_anonymous });
  return kept.get("session");
}

// Return the session that replaces a refused one. Without a session: a new anonymous person if `create`, else null.
// Only the server's 401 ends a session: without an answer it is kept, so that one phone stays one person.
function nextSession(refused, create, locale, pause) {
  return inTurn(async () => {
    const session = kept.get("session");
    if (session && session.access_token !== (refused && refused.access_token)) return session; // another tab was first
    if (session) {
      const answer = await call("POST", "/api/v1/auth/refresh", { refresh_token: session.refresh_token }, null, pause);
      if (answer.status === 200) return keepSession(answer.data);
      if (answer.status !== 401) throw new Unreachable();
      kept.remove("session");
    }
    if (!create) return null;
    const answer = await call("POST", "/api/v1/auth/anonymous", { locale }, null, pause);
    if (answer.status !== 201) throw new Unreachable();
    return keepSession(answer.data);
  });
}

// Send a request with this browser's session, if any. `create`: the person has agreed to get one.
async function callAsFan(method, path, body, { create, locale, pause }) {
  let session = kept.get("session") || (create && await nextSession(null, create, locale, pause));
  for (let renewed = false; ; renewed = true) {
    const answer = await call(method, path, body, session && session.access_token, pause);
    if (answer.status !== 401 || !session || renewed) return answer;
    session = await nextSession(session, create, locale, pause);
  }
}
