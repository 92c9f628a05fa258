// The queue: send dropped or chosen pictures and reload while some wait. The exhibit: keys and buttons give feedback,
// a slider blends the score map into the face, and the page waits for a report that is not there yet.
"use strict";

const say = (text) => { document.getElementById("message").textContent = text; };

async function explain(answer) {
  try { return (await answer.json()).detail || answer.statusText; } catch { return answer.statusText; }
}

function inParts(files, drop) {
  // A request has a limit on the number of its pictures and one on its bytes; a tenth of those is left for headers.
  const parts = [[]];
  let size = 0;
  for (const file of files) {
    if (parts.at(-1).length && (parts.at(-1).length >= Number(drop.most) || size + file.size > 0.9 * Number(drop.body))) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1).push(file);
    size += file.size;
  }
  return parts;
}

async function send(files) {
  const pictures = [...files].filter((file) => !file.name.startsWith("."));
  if (!pictures.length) { say("There is no file in it."); return; }
  say(`Sending ${pictures.length} file${pictures.length === 1 ? "" : "s"} …`);
  for (const part of inParts(pictures, document.getElementById("drop").dataset)) {
    const form = new FormData();
    part.forEach((file) => form.append("picture", file, file.name));
    const answer = await fetch("/v1/jobs", { method: "POST", body: form });
    if (!answer.ok) { say(await explain(answer)); return; }
  }
  location.reload();
}

async function listFiles(entry) {
  // The files of a dropped entry: itself, or all below a folder; a folder is read in portions until one is empty.
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader(), files = [];
  for (;;) {
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!portion.length) return files;
    for (const inner of portion) files.push(...await listFiles(inner));
  }
}

async function sendDropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  const files = entries.length ? (await Promise.all(entries.map(listFiles))).flat() : [...transfer.files];
  await send(files);
}

function prepareQueue(drop) {
  for (const id of ["files", "folder"]) {
    document.getElementById(id).addEventListener("change", (event) => send(event.target.files));
  }
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    sendDropped(event.dataTransfer).catch((error) => say(String(error)));
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
    const waiting = page.getElementById("drop").dataset.waiting;
    say(waiting === "0" ? "All pictures are judged." : `Pictures that wait: ${waiting}.`);
    if (waiting === "0") return;
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
    const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "range";
    if (event.ctrlKey || event.metaKey || event.altKey || writing) return;
    const button = buttons.find((b) => b.dataset.key === event.key);
    if (button) answerWith(button);
    const next = document.getElementById("next");
    if (event.key === "n" && next) next.click();
  });
}

function prepareMap(map) {
  const slider = document.getElementById("strength"), shown = document.getElementById("shown");
  document.getElementById("slider").hidden = false;
  slider.addEventListener("input", () => {
    map.style.opacity = slider.value / 100;
    shown.value = `${slider.value} %`;
    slider.setAttribute("aria-valuetext", `${slider.value} percent`);
  });
}

async function awaitReport(progress) {
  // The page answers 202 until the report is there or cannot be made; only its line of progress changes meanwhile.
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.ok && answer.status !== 202) { location.reload(); return; }
  if (answer.ok) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    progress.querySelector("p").textContent = page.querySelector("#progress p").textContent;
  } else { say(await explain(answer)); }
  setTimeout(() => awaitReport(progress), 1000 * progress.dataset.retry);
}

const progress = document.getElementById("progress");
if (progress && progress.dataset.retry) setTimeout(() => awaitReport(progress), 500);
const drop = document.getElementById("drop");
if (drop) prepareQueue(drop);
const actions = document.getElementById("actions");
if (actions) prepareExhibit(actions);
const map = document.getElementById("map");
if (map) prepareMap(map);
