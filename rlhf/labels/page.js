"use strict";

const KEYS = { 1: "1", 2: "2", ArrowLeft: "1", ArrowRight: "2", t: "tie", 0: "tie", s: "skip", u: "undo", q: "finish" };
const SAID = { 1: "First is better.", 2: "Second is better.", tie: "Tie.", skip: "Put off.", undo: "Taken back." };
const one = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("[data-do]")];
let state = null;
let busy = true;

function element(kind, text, of) {
  const made = document.createElement("div");
  made.className = kind;
  made.textContent = text; // never as HTML: models write what they like
  Object.assign(made, of);
  return made;
}

function show() {
  const { pair, done, total } = state;
  one("question").hidden = !pair;
  one("over").hidden = Boolean(pair);
  one("who").textContent = state.annotator;
  one("count").textContent = `${done} of ${total}`;
  one("bar").max = total;
  one("bar").value = done;
  one("guide").hidden = !state.guide;
  one("guide").querySelector("p").textContent = state.guide;
  for (const button of buttons) {
    const what = button.dataset.do;
    button.disabled = what === "undo" ? !state.can_undo : what !== "finish" && !pair;
    button.classList.remove("taken");
  }
  if (!pair) return;
  one("prompt").replaceChildren(
    ...pair.prompt.map((turn) => {
      const made = element(`turn ${turn.role}`, turn.content, { dir: "auto" });
      made.dataset.role = turn.role;
      return made;
    }),
  );
  document.querySelectorAll(".answer .text").forEach((place, i) => {
    place.textContent = pair.answers[i];
    place.scrollTop = 0;
  });
  window.scrollTo(0, 0);
}

function over() {
  for (const id of ["question", "over"]) one(id).hidden = true;
  one("gone").hidden = false;
  document.querySelector("footer").hidden = true;
}

async function act(what) {
  if (busy || buttons.find((button) => button.dataset.do === what).disabled) return;
  busy = true;
  document.querySelector(`.answer[data-do="${what}"]`)?.classList.add("taken");
  try {
    const body = JSON.stringify({ do: what, key: state.pair?.key ?? null });
    const answer = await fetch("act", { method: "POST", body });
    state = await answer.json();
    if (what === "finish" || answer.status === 507) return over();
    show();
    one("said").textContent = answer.ok ? `${SAID[what]} ${state.done} of ${state.total}.` : "Already answered.";
  } catch {
    over();
  } finally {
    busy = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) {
    if (event.detail) button.blur(); // after a mouse, Enter is not to press it again; with the keyboard focus stays
    act(button.dataset.do);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "g") one("guide").open = !one("guide").open;
  const what = KEYS[event.key];
  if (what) {
    event.preventDefault();
    act(what);
  }
});

fetch("now")
  .then((answer) => answer.json())
  .then((now) => {
    state = now;
    busy = false;
    show();
  })
  .catch(over);
