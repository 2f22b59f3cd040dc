"use strict";
// The page of a code: read the code's needs, ask the person for them, send one scan, and show the answer.
// A scan is stored until it is answered, and repeated with the same id, so that it counts once.

const DAY = 86_400_000; // ms; older scans are refused
const FRESH = 30_000; // ms; the description of a code is fetched again after that
const LATE = 120_000; // ms; a scan stored for longer is an earlier one, not the one that the person is making
const MARKS = { accepted: "good", replay: "good", test: "wait", limit_reached: "wait", account_required: "wait", campaign_not_active: "wait", scan_window_closed: "wait", unreachable: "wait", offline: "wait",
  geofence_outside: "place", geofence_uncertain: "place", location_inaccurate: "place", location_stale: "place" };
const FINAL = ["accepted", "replay", "cap_exhausted", "limit_reached", "campaign_ended", "unknown_code", "bad_token"];

const code = location.pathname.split("/")[2];
const language = navigator.language || "en";
const locale = document.documentElement.lang;
const format = language.split("-")[0] === locale ? language : locale; // of dates: the browser's region, the page's language
const words = WORDS[locale];
const PENDING = `pending.${code}`;
const COUNTED = `counted.${code}`;

const $ = (id) => document.getElementById(id);
const said = (path) => path.split(".").reduce((at, name) => at[name], words);
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const time = (moment) => new Intl.DateTimeFormat(format, new Date(moment).toDateString() === new Date().toDateString()
  ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" }).format(new Date(moment));

const STATUS = { not_started: "campaign_not_active", paused: "campaign_not_active", closed: "scan_window_closed", ended: "campaign_ended" };

const opening = ({ opens_at: at }) => (at ? { scope: "opening", at: time(at) } : {});

let described = null; // the description of the code
let describedAt = -Infinity;
let sharesPlace = false; // whether the person has agreed to share the location

function show(view) {
  for (const section of document.querySelectorAll("[data-view]")) section.hidden = section.dataset.view !== view;
  $("consents").hidden = view === "working" || view === "mine" || !kept.get("session");
  const heading = document.querySelector(`[data-view=${view}] h1`);
  heading.tabIndex = -1;
  if (view !== "intro") heading.focus();
  if (described) document.title = [...new Set([heading.textContent, described.campaign.name, described.brand.name])].join(" · ");
}

function work(text) {
  $("status").textContent = text;
  show("working");
}

// Wait, and show the seconds left. A request that didn't reach the API is repeated earlier, on reconnect or by hand.
function pause(seconds, online) {
  return new Promise((resolve) => {
    const until = Date.now() + seconds * 1000;
    const finish = () => {
      clearInterval(timer);
      removeEventListener("online", finish);
      $("now").hidden = true;
      $("status").textContent = words.working.sending;
      resolve();
    };
    const tick = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      if (left <= 0) return finish();
      $("status").textContent = filled(words.working[online ? "busy" : "offline"], { seconds: left });
    };
    const timer = setInterval(tick, 500);
    $("now").hidden = online;
    $("now").onclick = finish;
    if (!online) addEventListener("online", finish);
    tick();
  });
}

const ask = (method, path, body, create = false) => callAsFan(method, path, body, { create, locale, pause });

// Run a step of the page. If the API can't be reached, a stored scan can be sent later by `again`.
async function run(step, again) {
  try {
    await step();
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    outcome(pending() ? "unreachable" : "offline", {}, { label: words.again, act: again });
  }
}

// ---- the code

// Fetch the description of the code, which does not scan it. Return whether it can be scanned; if not, show the reason.
async function describe() {
  const answer = await ask("GET", `/api/v1/qr/codes/${code}?locale=${locale}`);
  described = answer.status === 200 ? answer.data : null;
  describedAt = performance.now();
  if (!described) {
    outcome(answer.data.code, answer.data, FINAL.includes(answer.data.code) ? null : { label: words.again, act: start });
    return false;
  }
  const { brand, campaign, location_required: here, account_required: forAccounts } = described;
  $("whose").textContent = `${campaign.name} · ${brand.name}`;
  $("needs-consent").hidden = !missing().length;
  $("needs-place").hidden = !here;
  $("needs-no-account").hidden = forAccounts;
  if (described.status === "active") {
    if (!lacksAccount()) return true;
    outcome("account_required", {}, { label: words.again, act: start });
    return false;
  }
  outcome(STATUS[described.status], opening(described), described.status === "ended" ? null : { label: words.again, act: start });
  return false;
}

// `account_missing` is null without a session: then there is no account either.
const lacksAccount = () => described.account_required && described.account_missing !== false;
const missing = () => described.missing_tiers || described.consent_tiers;

async function start() {
  work("");
  await run(async () => {
    const isFresh = described && described.status === "active" && !lacksAccount() && performance.now() - describedAt < FRESH;
    if (isFresh || await describe()) await scan();
  }, start);
}

function requestOf(place) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const tagged = /^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/.test(language) && language.length <= 35;
  return {
    code,
    client_scan_id: randomId(),
    scanned_at: new Date().toISOString(),
    location: place,
    device: { fingerprint: fingerprint(), platform: "web", locale: tagged ? language : locale, ...(zone && { timezone: zone }) },
  };
}

function pending() {
  const request = kept.get(PENDING);
  return request && Date.now() - Date.parse(request.scanned_at) < DAY ? request : null;
}

// Ask for missing consent, then for the location, or send the scan. A stored scan is sent before a new one.
async function scan() {
  if (missing().length) return askConsent(missing());
  const waiting = pending();
  if (waiting) return send(waiting);
  if (described.location_required) return sharesPlace ? locate() : askPlace();
  await send(requestOf(null));
}

async function send(request) {
  kept.set(PENDING, request);
  work(words.working.sending);
  await run(async () => {
    // If the campaign needs no consent, the scan itself is the agreement to get a session.
    const isFree = Boolean(described && !described.consent_tiers.length);
    const answer = await ask("POST", "/api/v1/qr/scan", request, isFree);
    // The session has ended, and its consent with it: the next person has to agree first.
    if (answer.status === 401 && !isFree) return (await describe()) && scan();
    kept.remove(PENDING);
    await answered(request, answer);
  }, () => send(request));
}

async function answered(request, { status, data, wait }) {
  if (status === 201 || status === 200) {
    // A test counts for nothing: let the person scan again, for real when the campaign has left test mode.
    if (data.is_test) return outcome("test", data, { label: words.anew, act: start });
    // The API answers 200 if only its first answer was lost: show it as a new scan.
    const told = (ofThisTab.get(COUNTED) || {}).client_scan_id === request.client_scan_id;
    ofThisTab.set(COUNTED, request);
    return outcome(told ? "replay" : "accepted", data, anew(request));
  }
  if (data.code === "consent_required") return (await describe()) && askConsent(data.missing);
  if (data.code === "location_required") return (await describe()) && askPlace();
  const again = FINAL.includes(data.code) ? anew(request) : { label: words.again, act: start };
  outcome(data.code, { ...data, until: time(Date.now() + wait * 1000), ...opening(data) }, again);
}

// After the answer to an earlier scan, offer the new scan.
function anew(request) {
  return Date.now() - Date.parse(request.scanned_at) > LATE ? { label: words.anew, act: start } : null;
}

function outcome(name, data, again) {
  const known = words.outcomes[name] ? name : "other";
  const [title, text, byScope] = words.outcomes[known];
  $("mark").className = `mark ${MARKS[known] || "bad"}`;
  $("outcome-title").textContent = title;
  $("outcome-text").textContent = filled((byScope && byScope[data.scope]) || text, data);
  const notes = [data.late && !data.is_test && words.late, data.scanned_at && filled(words.at, { time: time(data.scanned_at) })];
  $("outcome-note").textContent = notes.filter(Boolean).join(" · ");
  const id = data.id || data.request_id;
  $("reference").textContent = id ? filled(words.reference, { id }) : "";
  $("sign-up").hidden = name !== "account_required";
  $("again").hidden = !again;
  if (again) {
    $("again").textContent = again.label;
    $("again").onclick = again.act;
  }
  show("outcome");
}

// ---- consent

function askConsent(tiers) {
  const { notice } = described;
  if (!notice) return outcome("other", {}, { label: words.again, act: start });
  $("notice-title").textContent = notice.title;
  $("notice-title").lang = notice.locale;
  $("notice-body").textContent = notice.body;
  $("notice-body").lang = notice.locale;
  $("notice-version").textContent = filled(words.consent.version, notice);
  $("tiers").replaceChildren(...tiers.map(tierBox));
  $("agree").querySelector("[type=submit]").disabled = true;
  $("notice").scrollTop = 0;
  show("consent");
}

function tierBox(tier) {
  const [name, text] = words.tiers[tier] || [tier, ""];
  const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "tier", value: tier, required: true });
  const title = Object.assign(document.createElement("b"), { textContent: name });
  const label = document.createElement("label");
  label.append(box, title, Object.assign(document.createElement("span"), { textContent: text }));
  return label;
}

const boxes = () => [...$("tiers").querySelectorAll("input")];

async function agree(event) {
  event.preventDefault();
  work(words.working.sending);
  const tiers = boxes().filter((box) => box.checked).map((box) => box.value);
  await run(async () => {
    for (const tier of tiers) {
      const given = await ask("POST", "/api/v1/consents", { tier, notice_id: described.notice.id, locale }, true);
      // The notice may have been replaced meanwhile: show the new one.
      if (given.status >= 300 && given.data.code !== "unknown_notice") {
        return outcome("other", given.data, { label: words.again, act: start });
      }
    }
    if (await describe()) await scan();
  }, start);
}

// ---- place

function askPlace(trouble) {
  $("location-trouble").hidden = !trouble;
  $("location-trouble").textContent = trouble || "";
  show("location");
}

// Some receivers count weeks modulo 1,024, and some browsers years from 2001: their positions seem to be years old.
// The position was just requested with `maximumAge: 0`: a timestamp that is a day or more off is wrong.
function takenAt(timestamp) {
  return Math.abs(Date.now() - timestamp) < DAY ? timestamp : Date.now();
}

function locate() {
  if (!navigator.geolocation || !window.isSecureContext) return askPlace(words.location.unsupported);
  sharesPlace = true;
  work(words.working.locating);
  return new Promise((resolve) => {
    const found = ({ coords, timestamp }) => resolve(send(requestOf({
      lat: coords.latitude, lon: coords.longitude, accuracy_m: Math.min(coords.accuracy, 1_000_000),
      captured_at: new Date(takenAt(timestamp)).toISOString(),
    })));
    const failed = (error) => resolve(askPlace(words.location[error.code === error.PERMISSION_DENIED ? "denied" : "unavailable"]));
    navigator.geolocation.getCurrentPosition(found, failed, { enableHighAccuracy: true, timeout: 20_000, maximumAge: 0 });
  });
}

// ---- consents in force

async function showMine() {
  work("");
  await run(async () => {
    const answer = await ask("GET", "/api/v1/consents"); // never as a new person, who has no consents
    const active = (answer.data.items || []).filter((consent) => consent.active);
    $("mine-text").textContent = answer.status === 401 ? words.mine.over : active.length ? words.mine.text : words.mine.none;
    $("given").replaceChildren(...active.map(givenRow));
    show("mine");
  }, showMine);
}

function givenRow(consent) {
  const withdraw = Object.assign(document.createElement("button"),
    { type: "button", className: "second", textContent: words.mine.withdraw });
  withdraw.onclick = () => run(async () => {
    await ask("DELETE", `/api/v1/consents/${consent.id}`);
    await showMine();
  }, showMine);
  const row = document.createElement("li");
  const name = (words.tiers[consent.tier] || [consent.tier])[0];
  row.append(Object.assign(document.createElement("span"), { textContent: `${name} · ${time(consent.granted_at)}` }), withdraw);
  return row;
}

// ---- begin

async function begin() {
  document.title = `${words.intro.title} · Compañon`;
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = said(node.dataset.say);
  $("start").onclick = start;
  $("share").onclick = locate;
  $("agree").onsubmit = agree;
  $("agree").onchange = () => { $("agree").querySelector("[type=submit]").disabled = !boxes().every((box) => box.checked); };
  $("decline").onclick = () => outcome("declined", {}, { label: words.review, act: () => show("consent") });
  $("consents").onclick = showMine;
  $("back").onclick = () => show("intro");
  show("intro");
  // Reloading the page or going back is not another scan: show the answer to the counted scan.
  const [navigation] = performance.getEntriesByType("navigation");
  const returned = navigation && ["reload", "back_forward"].includes(navigation.type) && ofThisTab.get(COUNTED);
  const request = pending() || returned;
  if (request) return send(request);
  try {
    await describe();
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error; // `start` repeats the request
  }
}

begin();
