// The queue: send dropped or chosen pictures and reload while some wait. The exhibit: keys and buttons give feedback.
"use strict";

const say = (text) => { document.getElementById("message").textContent = text; };

async function explain(answer) {
  try { return (await answer.json()).detail || answer.statusText; } catch { return answer.statusText; }
}

async function send(files) {
  const pictures = [...files];
  const size = Number(document.getElementById("drop").dataset.most);
  for (let start = 0; start < pictures.length; start += size) {
    const form = new FormData();
    pictures.slice(start, start + size).forEach((file) => form.append("picture", file, file.name));
    say(`Sending ${pictures.length} picture${pictures.length === 1 ? "" : "s"} …`);
    const answer = await fetch("/v1/jobs", { method: "POST", body: form });
    if (!answer.ok) { say(await explain(answer)); return; }
  }
  location.reload();
}

function prepareQueue(drop) {
  const input = document.getElementById("files");
  input.addEventListener("change", () => send(input.files));
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) send(event.dataTransfer.files);
  });
  if (drop.dataset.waiting !== "0") setTimeout(() => refresh(), 2000);
}

async function refresh() {
  // Only the list and the counts are replaced, so that the focus and the place on the page stay where they are.
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.ok) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focused = document.activeElement && document.activeElement.getAttribute("href");
    for (const id of ["counts", "queue"]) {
      document.getElementById(id).replaceWith(page.getElementById(id));
    }
    const again = focused && document.querySelector(`a[href="${CSS.escape(focused)}"], a[href="${focused}"]`);
    if (again) again.focus();
    if (page.getElementById("drop").dataset.waiting === "0") return;
  }
  setTimeout(() => refresh(), 2000);
}

async function answerWith(button) {
  const body = JSON.stringify({ sha256: button.closest("[data-sha256]").dataset.sha256, answer: button.value });
  const answer = await fetch("/v1/feedback", { method: "POST", body, headers: { "content-type": "application/json" } });
  if (!answer.ok) { say(await explain(answer)); return; }
  const label = (await answer.json()).label;
  document.querySelectorAll("button[value]").forEach((b) => b.setAttribute("aria-pressed", String(b === button)));
  say(`Kept: this picture is ${label === "unsure" ? "not decided" : label}.`);
}

function prepareExhibit(actions) {
  const buttons = [...actions.querySelectorAll("button[value]")];
  buttons.forEach((button) => button.addEventListener("click", () => answerWith(button)));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const button = buttons.find((b) => b.dataset.key === event.key);
    if (button) answerWith(button);
    const next = document.getElementById("next");
    if (event.key === "n" && next) next.click();
  });
}

const drop = document.getElementById("drop");
if (drop) prepareQueue(drop);
const actions = document.getElementById("actions");
if (actions) prepareExhibit(actions);
