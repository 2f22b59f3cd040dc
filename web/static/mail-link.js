"use strict";
// What the pages share that mails link to: take the token out of the address bar, send it once, say what came of it.

const parameters = new URLSearchParams(location.search);
const fragment = new URLSearchParams(location.hash.slice(1));
const token = parameters.get("token") || fragment.get("token") || "";
const session = fragment.get("access_token") || "";
const language = parameters.get("lang");
history.replaceState(null, "", location.pathname + (language ? `?lang=${encodeURIComponent(language)}` : ""));

const form = document.querySelector("form");
const answer = document.getElementById("answer");
let notice = null; // the one that is shown, which consents refer to

function say(text, good) {
  answer.textContent = text;
  answer.className = good ? "good" : "bad";
}

function explain(problem) {
  const reasons = (problem.errors || []).map((error) => `${error.field}: ${error.reason}`);
  if (problem.code === "link_invalid") return form.dataset.invalid;
  return reasons.join("; ") || problem.detail || problem.title || form.dataset.failed;
}

function headers() {
  const authorization = form.dataset.signIn ? { Authorization: `Bearer ${session}` } : {};
  return { "Content-Type": "application/json", ...authorization };
}

function body() {
  const data = new FormData(form);
  const sent = { token, ...Object.fromEntries(data) };
  if (!notice) return sent;
  return { ...sent, consent_tiers: data.getAll("consent_tiers"), notice_id: notice.id };
}

// Show the notice in force and an empty box for each tier. Without it the form works, and asks for no consent.
async function showNotice() {
  const response = await fetch(form.dataset.notice);
  if (!response.ok) return;
  notice = await response.json();
  document.getElementById("notice-title").textContent = notice.title;
  document.getElementById("notice-body").textContent = notice.body;
  const words = (WORDS[document.documentElement.lang] || WORDS.en).tiers;
  const consents = document.getElementById("consents");
  for (const label of consents.querySelectorAll("label")) label.remove();
  for (const tier of notice.tiers) {
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", name: "consent_tiers", value: tier });
    const label = document.createElement("label");
    label.className = "choice";
    label.append(box, (words[tier] || [tier, tier])[1]);
    consents.append(label);
  }
  consents.hidden = false;
}

async function send(event) {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const response = await fetch(form.dataset.to, {
      method: "POST",
      headers: headers(),
      body: JSON.stringify(body()),
    });
    if (response.ok) {
      form.hidden = true;
      say(form.dataset.done, true);
    } else if (response.status === 401 && form.dataset.signIn) {
      form.hidden = true;
      say(form.dataset.signIn, false);
    } else {
      const problem = await response.json();
      say(explain(problem), false);
      if (problem.code === "notice_not_in_force") await showNotice(); // another one, to be read and agreed to
      button.disabled = false;
    }
  } catch {
    say(form.dataset.unreachable, false);
    button.disabled = false;
  }
}

form.addEventListener("submit", send);
if (!token) {
  form.hidden = true;
  say(form.dataset.incomplete, false);
} else if (form.dataset.signIn && !session) {
  form.hidden = true;
  say(form.dataset.signIn, false);
} else if (form.dataset.notice) {
  showNotice().catch(() => {});
}
