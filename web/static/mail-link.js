"use strict";
// What the pages share that mails link to: take the token out of the address bar, send it once, say what came of it.

const parameters = new URLSearchParams(location.search);
const fragment = new URLSearchParams(location.hash.slice(1));
const token = parameters.get("token") || fragment.get("token") || "";
const session = fragment.get("access_token") || "";
history.replaceState(null, "", location.pathname);

const form = document.querySelector("form");
const answer = document.getElementById("answer");

function say(text, good) {
  answer.textContent = text;
  answer.className = good ? "good" : "bad";
}

function explain(problem) {
  const reasons = (problem.errors || []).map((error) => `${error.field}: ${error.reason}`);
  return reasons.join("; ") || problem.detail || problem.title || "That did not work.";
}

function headers() {
  const authorization = form.dataset.signIn ? { Authorization: `Bearer ${session}` } : {};
  return { "Content-Type": "application/json", ...authorization };
}

async function send(event) {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const response = await fetch(form.dataset.to, {
      method: "POST",
      headers: headers(),
      body: JSON.stringify({ token, ...Object.fromEntries(new FormData(form)) }),
    });
    if (response.ok) {
      form.hidden = true;
      say(form.dataset.done, true);
    } else if (response.status === 401 && form.dataset.signIn) {
      form.hidden = true;
      say(form.dataset.signIn, false);
    } else {
      say(explain(await response.json()), false);
      button.disabled = false;
    }
  } catch {
    say("The server can't be reached. Try again.", false);
    button.disabled = false;
  }
}

form.addEventListener("submit", send);
if (!token) {
  form.hidden = true;
  say("This link is not complete. Open it from the mail once more.", false);
} else if (form.dataset.signIn && !session) {
  form.hidden = true;
  say(form.dataset.signIn, false);
}
