// Labelling: posts are fetched ahead and answers saved behind, so that the next one shows at once.
import { Outbox, post } from "./label_outbox.js";
import { draw } from "./label_view.js";
import { fill, gettext, ngettext } from "./words.js";

const FETCH_BELOW = 8;
const ASK_AGAIN = 15000;
const PACE_SPAN = 5 * 60 * 1000;
const KEPT = 30;

const page = JSON.parse(document.getElementById("page-data").textContent);
const byId = (id) => document.getElementById(id);
// Whose page it is, too: somebody else may have signed in since.
const query = `?scheme=${encodeURIComponent(page.scheme)}&user=${page.user}`;
const name = Object.fromEntries(page.categories.map((c) => [c.key, c.name]));

const state = {
  categories: page.categories,
  // What is next; its first is on the desk, unless one looks back at `past[place]`.
  queue: [],
  past: page.history.map((item) => ({ item, did: "label", category: item.category })),
  place: null,
  // The oldest first: what undo takes back.
  done: page.history.map((item) => ({ item, do: "label", category: item.category, origin: item.origin })).reverse(),
  standing: page.standing,
  labelled: [],
  here: 0,
  suggest: localStorage.getItem("label-suggest") === "on",
  isEmpty: false,
  save: { state: "saved", count: 0 },
  problems: [],
};
let shownAt = performance.now();
// While one writes what is wrong with the post: how long it was looked at until then.
let looked = null;
let fetching = false;
let askAgain;

const outbox = new Outbox(`label:${page.user}:${page.scheme}:`, `/label/save/${query}`, {
  changed(name, count) {
    const before = state.save.state;
    state.save = { state: name, count };
    if (name !== before && ["offline", "signedout"].includes(name)) say(byIdText(name, count));
    if (name === "saved" && ["offline", "signedout"].includes(before)) say(gettext("Saved again."));
    render();
  },
  refused(action, error) {
    const text = state.past.find((one) => one.item.post === action.post)?.item.text || "";
    state.problems = [{ text, error }, ...state.problems].slice(0, 3);
    const entry = state.past.find((one) => one.item.post === action.post);
    if (entry) entry.problem = error;
    render();
  },
  saved(answer) {
    if (answer.mine) state.standing.mine = answer.mine;
    if (state.isEmpty || state.queue.length < FETCH_BELOW) fetchMore();
    render();
  },
});

function byIdText(name, count) {
  return name === "offline"
    ? fill(ngettext("No connection. %(count)s answer is kept here and sent as soon as it is back.", "No connection. %(count)s answers are kept here and sent as soon as it is back.", count), { count })
    : fill(ngettext("You are signed out. %(count)s answer is kept here until you sign in again.", "You are signed out. %(count)s answers are kept here until you sign in again.", count), { count });
}

function say(words) {
  byId("say").textContent = words;
}

function current() {
  return state.place === null ? state.queue[0] : state.past[state.place].item;
}

function render() {
  draw(state, current(), now());
}

function now() {
  const start = Date.now() - PACE_SPAN;
  state.labelled = state.labelled.filter((moment) => moment > start);
  const [first] = state.labelled;
  const span = Date.now() - first;
  return state.labelled.length < 5 || span < 15000 ? null : (state.labelled.length / span) * 3600000;
}

// Whatever else one does with the post, or with another: it is not flagged.
function closeNote() {
  looked = null;
  if (byId("odd").contains(document.activeElement)) byId("text").focus();
  byId("odd").hidden = true;
}

function show() {
  shownAt = performance.now();
  closeNote();
  render();
}

async function fetchMore() {
  if (fetching) return;
  fetching = true;
  clearTimeout(askAgain);
  const unsaved = outbox.actions.map((action) => action.id);
  const have = [...new Set([...state.queue.map((item) => item.id), ...unsaved])].filter(Boolean).slice(-200);
  const { mine } = state.standing;
  const { status, answer } = await post(`/label/next/${query}`, { have });
  fetching = false;
  if (status === 200) {
    // What has been answered here, and is only not saved yet, comes back from the server.
    const known = new Set([...state.queue, ...outbox.actions].map((one) => one.post));
    const fresh = answer.items.filter((item) => !known.has(item.post));
    const wasIdle = !state.queue.length;
    state.queue.push(...fresh);
    // What was saved since it was asked for may not be counted in it.
    state.standing = state.standing.mine === mine ? answer.standing : { ...answer.standing, mine: state.standing.mine };
    state.isEmpty = !state.queue.length;
    if (wasIdle && fresh.length && state.place === null) show();
    else render();
  } else if (status === 401 || status === 403) {
    outbox.tell("signedout");
  } else if (!state.queue.length) {
    outbox.tell("offline");
  }
  if (status !== 200 || !state.queue.length) askAgain = setTimeout(fetchMore, ASK_AGAIN);
}

// ---- what a person does

function answer(what, category, note = "") {
  const item = current();
  if (!item) return;
  const seconds = Math.round((looked ?? performance.now() - shownAt) / 100) / 10;
  const looksBack = state.place !== null;
  if (looksBack && what === "skip") return back();
  const before = looksBack ? state.past[state.place] : null;
  if (looksBack && what === "label" && before.did === "label" && before.category === category) return back();
  state.done.push({ item, do: what, category, before: before && { did: before.did, category: before.category } });
  if (looksBack) Object.assign(before, { did: what, category, problem: "" });
  else {
    state.queue.shift();
    state.past.unshift({ item, did: what, category });
    state.past.length = Math.min(state.past.length, KEPT);
  }
  if (what === "label") {
    state.here += 1;
    state.labelled.push(Date.now());
  }
  outbox.add({ do: what, post: item.post, id: item.id, category, seconds: looksBack ? null : seconds, note });
  back();
  if (state.queue.length < FETCH_BELOW) fetchMore();
}

// The post stays until one has written what is wrong with it, or will not say.
function askForNote() {
  if (!current()) return;
  if (byId("odd").hidden) {
    looked = performance.now() - shownAt;
    byId("note").value = "";
    byId("odd").hidden = false;
  }
  byId("note").focus();
}

function flag(note) {
  answer("flag", undefined, note.trim());
}

function undo() {
  const last = state.done.pop();
  if (!last) return say(gettext("There is nothing to undo."));
  const { item } = last;
  // What was said here is one's own label; only earlier visits' may be of a review.
  outbox.add({ do: last.do === "label" ? "undo" : "take_up", post: item.post, id: item.id, category: last.category, origin: last.origin });
  if (last.do === "label") {
    state.here = Math.max(0, state.here - 1);
    state.labelled.pop();
  }
  const index = state.past.findIndex((one) => one.item.post === item.post);
  if (last.before && index >= 0) {
    Object.assign(state.past[index], last.before);
    state.place = index;
  } else {
    if (index >= 0) state.past.splice(index, 1);
    state.queue = [item, ...state.queue.filter((one) => one.post !== item.post)];
    state.place = null;
  }
  const words = last.do === "label" ? name[last.category] || last.category : last.do === "skip" ? gettext("skipped") : gettext("flagged");
  say(fill(gettext("Undone: %(what)s."), { what: words }));
  show();
}

function back() {
  state.place = null;
  show();
}

function look(step) {
  const place = (state.place === null ? -1 : state.place) + step;
  if (place >= state.past.length) return;
  state.place = place < 0 ? null : place;
  show();
}

function toggleOpinion() {
  state.suggest = !state.suggest;
  localStorage.setItem("label-suggest", state.suggest ? "on" : "off");
  render();
}

// ---- keys, mouse, touch

const help = byId("keys");
const keysOn = byId("keys-on");
keysOn.checked = localStorage.getItem("label-keys") !== "off";
keysOn.addEventListener("change", () => localStorage.setItem("label-keys", keysOn.checked ? "on" : "off"));

const KEYS = {
  u: undo,
  f: askForNote,
  j: () => look(1),
  k: () => look(-1),
  m: toggleOpinion,
  "?": () => help.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (help.open) {
    if (event.key === "?") help.close();
    return;
  }
  if (!keysOn.checked || event.target.closest("input, textarea, select, [contenteditable]")) return;
  // A key that is held down must not label post after post.
  const repeats = event.repeat && !["j", "k"].includes(event.key);
  const number = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
  const category = page.categories[number - 1];
  if (number && category) {
    if (!repeats) answer("label", category.key);
  } else if (event.key === " ") {
    // On a button the space bar presses the button.
    if (event.target.closest("button, a, summary")) return;
    if (!repeats) answer("skip");
  } else if (KEYS[event.key]) {
    if (!repeats) KEYS[event.key]();
  } else return;
  event.preventDefault();
});

function pressed(id, action) {
  byId(id).addEventListener("click", (event) => {
    // After a click by hand the keys act on the post again, not on the button.
    if (event.detail) event.currentTarget.blur();
    action();
  });
}
pressed("skip", () => answer("skip"));
pressed("undo", undo);
pressed("flag", askForNote);
pressed("suggest", toggleOpinion);
pressed("help", () => help.showModal());
byId("odd").addEventListener("submit", (event) => {
  event.preventDefault();
  flag(byId("note").value);
});
byId("odd").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  event.preventDefault();
  flag("");
});
byId("no-note").addEventListener("click", () => flag(""));
byId("choices").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (event.detail) button.blur();
  answer("label", button.dataset.category);
});
byId("past").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const place = Number(button.dataset.place);
  state.place = state.place === place ? null : place;
  show();
});

setInterval(render, 5000);
render();
// What is left of earlier visits first: else its posts would be handed out again.
outbox.open().then(fetchMore);
