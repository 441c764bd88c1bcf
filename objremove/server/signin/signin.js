// Exchanges the token for a session: from the address's fragment, which no browser ever sends, or as typed.
"use strict";

const field = document.getElementById("token");
const word = document.getElementById("word");

async function enter(token) {
  const answer = await fetch("/v1/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  if (answer.ok) {
    location.replace("/");
  } else {
    word.textContent = answer.status === 401 ? "That is not the token." : "The server does not answer as it should.";
    field.focus();
  }
}

const given = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", "/");
if (given) enter(given);
document.getElementById("enter").addEventListener("click", () => enter(field.value.trim()));
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter") enter(field.value.trim());
});
