"use strict";
// What the pages share that mails link to: take the token out of the address bar, send it once, say what came of it.

const parameters = new URLSearchParams(location.search);
const token = parameters.get("token") || new URLSearchParams(location.hash.slice(1)).get("token") || "";
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

async function send(event) {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const response = await fetch(form.dataset.to, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, ...Object.fromEntries(new FormData(form)) }),
    });
    if (response.ok) {
      form.hidden = true;
      say(form.dataset.done, true);
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
}
