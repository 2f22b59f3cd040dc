"use strict";
// Shared by the pages that mails link to: remove the token from the address bar, send it once, and show the answer.

const parameters = new URLSearchParams(location.search);
const fragment = new URLSearchParams(location.hash.slice(1));
const token = parameters.get("token") || fragment.get("token") || "";
const session = fragment.get("access_token") || "";
const language = document.documentElement.lang;
const secrets = location.hash; // for the page in another language
history.replaceState(null, "", `${location.pathname}?lang=${language}`);

const form = document.getElementById("form");
const renew = document.getElementById("renew");
const words = form.dataset;
const button = form.querySelector("[type=submit]");
const answer = document.getElementById("answer");
const keep = document.getElementById("keep");
let notice = null; // the notice that is shown; consents name its id

function say(text, good) {
  answer.textContent = text;
  answer.className = good ? "good" : "bad";
}

// Show the last text of the page in place of the form. Move the focus: the focused button is hidden.
function end(text, good) {
  form.after(answer);
  form.hidden = document.getElementById("text").hidden = true;
  say(text, good);
  answer.focus();
}

function reasonOf({ field, reason }) {
  const { labels } = form.elements[field] || {};
  return `${labels ? labels[0].textContent.trim() : field} ${reason}.`;
}

function explain(problem) {
  if (problem.code === "notice_not_in_force") return words.changed;
  return (problem.errors || []).map(reasonOf).join(" ") || problem.detail || problem.title || words.failed;
}

// Mark the fields at fault for assistive technology. Move the answer below the first, and the focus to it.
function markFields(names) {
  for (const input of form.querySelectorAll("input[name]")) {
    const isWrong = names.includes(input.name);
    input.setAttribute("aria-invalid", isWrong);
    input.setAttribute("aria-describedby", [isWrong && "answer", input.dataset.rule].filter(Boolean).join(" "));
  }
  const first = form.querySelector("[aria-invalid=true]");
  if (!first) return button.before(answer);
  first.closest(".field").append(answer);
  first.focus();
}

function body() {
  const data = new FormData(form);
  const sent = { token, ...Object.fromEntries(data) };
  if (!notice) return sent;
  return { ...sent, consent_tiers: data.getAll("consent_tiers"), notice_id: notice.id };
}

// Show the notice in force and an empty box for each tier. Without a notice, the form asks for no consent.
async function showNotice() {
  const shown = await once("GET", words.notice);
  if (!shown || shown.status !== 200) return;
  notice = shown.data;
  const texts = { "notice-title": notice.title, "notice-body": notice.body };
  for (const [id, text] of Object.entries(texts)) {
    Object.assign(document.getElementById(id), { textContent: text, lang: notice.locale });
  }
  const { tiers } = WORDS[document.documentElement.lang] || WORDS.en;
  const consents = document.getElementById("consents");
  for (const label of consents.querySelectorAll("label")) label.remove();
  for (const tier of notice.tiers) {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "consent_tiers", value: tier });
    const text = Object.assign(document.createElement("span"), { textContent: (tiers[tier] || [tier, tier])[1] });
    const label = document.createElement("label");
    label.className = "choice";
    label.append(box, text);
    consents.append(label);
  }
  consents.hidden = false;
}

// Report a temporary failure instead of repeating the request. A link is good once: if only the answer was lost, the
// repetition would report a used link.
function refuseToWait(_seconds, online) {
  throw new Unreachable(online ? words.busy : words.unreachable);
}

// Send the form: as the anonymous fan of this browser who becomes the account, or without that fan's session.
async function post() {
  const keeps = !keep.hidden && keep.control.checked;
  if (!keeps) return call("POST", words.to, body(), words.signIn && session, refuseToWait);
  const made = await callAsFan("POST", words.to, body(), { create: false, locale: language, pause: refuseToWait });
  if (made.status === 200 && made.data.session) keepSession(made.data.session);
  return made;
}

async function send(event) {
  event.preventDefault();
  button.disabled = true;
  try {
    const { status, data } = await post();
    if (status < 300) return end(words.done, true);
    if (status === 401 && words.signIn) return end(words.signIn, false);
    if (data.code === "link_invalid") return offerNewLink();
    markFields((data.errors || []).map(({ field }) => field));
    say(explain(data), false);
    if (data.code === "notice_not_in_force") await showNotice(); // another one, to be read and agreed to
  } catch (error) {
    markFields([]);
    say((error instanceof Unreachable && error.message) || words.busy, false);
  }
  button.disabled = false;
}

// For a used or expired link: mail a new one to the address that the person types.
function offerNewLink() {
  end(words.invalid, false);
  if (!renew.dataset.to) return;
  answer.after(renew);
  renew.hidden = false;
}

async function mailNewLink(event) {
  event.preventDefault();
  const send = renew.querySelector("button");
  send.disabled = true;
  const email = renew.elements.email.value.trim();
  const body = renew.dataset.to.endsWith("/signup") ? { email, locale: language } : { email };
  try {
    const { status, data } = await call("POST", renew.dataset.to, body, null, refuseToWait);
    renew.hidden = status < 300;
    say(status < 300 ? renew.dataset.done : explain(data), status < 300);
  } catch (error) {
    say((error instanceof Unreachable && error.message) || words.busy, false);
  }
  send.disabled = false;
  answer.focus();
}

function reveal({ currentTarget: toggle }) {
  const input = form.elements.password;
  const isShown = input.type === "text";
  input.type = isShown ? "password" : "text";
  toggle.textContent = isShown ? words.reveal : words.conceal;
  toggle.setAttribute("aria-label", isShown ? words.revealLabel : words.concealLabel);
}

form.addEventListener("submit", send);
renew.addEventListener("submit", mailNewLink);
for (const toggle of form.querySelectorAll(".secret button")) toggle.addEventListener("click", reveal);
// The token is no longer in the address bar: take it along to the page in another language.
for (const link of document.querySelectorAll("#languages a")) link.hash = secrets;
addEventListener("hashchange", () => location.reload()); // another link was opened in this tab
if (!token) {
  end(words.incomplete, false);
} else if (words.signIn && !session) {
  end(words.signIn, false);
} else if (words.notice) {
  keep.hidden = !(kept.get("session") || {}).is_anonymous;
  showNotice();
}
