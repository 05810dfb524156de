// What the labelling page shows; texts are set as text, never as markup.
import { fill, gettext, locale, ngettext } from "./words.js";
const byId = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat(locale, { style: "percent" });
const number = new Intl.NumberFormat(locale);
const moment = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const KNOWN = new Set(["negative", "neutral", "positive"]);

// Only what changes is touched: else a screen reader would read the same post again.
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function draw(state, item, pace) {
  drawPost(state, item);
  drawChoices(state, item);
  drawSave(state.save);
  drawStanding(state, pace);
  drawPast(state);
  byId("refused").hidden = !state.problems.length;
  set(byId("refused"), state.problems.map((one) => fill(gettext("Not saved: “%(text)s”. %(error)s"), { text: one.text.slice(0, 60), error: one.error })).join(" "));
}

function drawPost(state, item) {
  const waiting = state.isEmpty
    ? gettext("Nothing is left to label for now. New posts are asked about as they arrive.")
    : state.save.state === "offline"
      ? gettext("No posts are left here, and there is no connection to fetch more.")
      : gettext("Fetching posts…");
  const text = byId("text");
  set(text, item ? item.text : waiting);
  text.lang = item && /^[a-z]{2,3}$/.test(item.lang) ? item.lang : "";
  text.dir = "auto";
  byId("sheet").dataset.state = item ? (item.text.length > 280 ? "long" : "post") : "waiting";
  set(byId("why"), item ? item.why : "");
  set(byId("place"), state.place === null ? "" : fill(gettext("Looking back: %(place)s of %(count)s"), { place: state.place + 1, count: state.past.length }));
  set(byId("from"), item ? [item.author && `@${item.author}`, item.source, moment.format(Date.parse(item.created_at))].filter(Boolean).join(" · ") : "");
}

function drawChoices(state, item) {
  const given = state.place === null ? null : state.past[state.place];
  const opinion = state.suggest && item && !item.is_blind ? item.suggestion : null;
  for (const button of byId("choices").children) {
    const key = button.dataset.category;
    const chosen = given?.did === "label" && given.category === key;
    button.disabled = !item;
    if (given) button.setAttribute("aria-pressed", String(chosen));
    else button.removeAttribute("aria-pressed");
    const words = button.querySelector(".opinion");
    const is = opinion?.category === key;
    words.hidden = !is;
    set(words, is ? fill(gettext("model %(share)s"), { share: percent.format(opinion.confidence) }) : "");
    button.classList.toggle("suggested", is);
    if (!KNOWN.has(key)) paint(button, state.categories.find((c) => c.key === key)?.color);
  }
  byId("skip").disabled = byId("flag").disabled = !item;
  byId("undo").disabled = !state.done.length;
  const suggest = byId("suggest");
  suggest.setAttribute("aria-pressed", String(state.suggest));
}

function paint(element, color) {
  if (color) element.style.setProperty("--mark", color);
}

function drawSave({ state, count }) {
  const words = {
    saved: gettext("all saved"),
    saving: fill(gettext("%(count)s not saved yet"), { count }),
    offline: count ? fill(gettext("offline: %(count)s not saved yet"), { count }) : gettext("offline"),
    signedout: fill(gettext("signed out: %(count)s not saved yet"), { count }),
  };
  const box = byId("save");
  box.dataset.state = state;
  const text = byId("save-text");
  set(text, words[state]);
  let link = box.querySelector("a");
  if (state === "signedout" && !link) {
    link = document.createElement("a");
    link.href = `/login/?next=${encodeURIComponent(location.pathname + location.search)}`;
    link.target = "_blank";
    link.textContent = gettext("Sign in");
    box.append(link);
  } else if (state !== "signedout" && link) link.remove();
}

function drawStanding(state, pace) {
  const { mine, labels, run, agreement } = state.standing;
  const unsaved = state.save.count;
  byId("goal").value = Math.min(1, labels.new / labels.needed);
  const left = labels.needed - labels.new;
  set(byId("goal-text"), left > 0
    ? fill(ngettext("%(count)s of %(needed)s labelled posts that it takes: %(left)s to go.", "%(count)s of %(needed)s labelled posts that it takes: %(left)s to go.", left), { count: number.format(labels.new), needed: number.format(labels.needed), left: number.format(left) })
    : fill(ngettext("%(count)s new labelled post is enough: it starts with the next check.", "%(count)s new labelled posts are enough: it starts with the next check.", labels.new), { count: number.format(labels.new) }));
  byId("run").hidden = !run;
  if (run) {
    byId("run-link").href = run.url;
    set(byId("run-link"), fill(RUNS[run.status] ?? RUNS.running, { run: run.id, share: percent.format(run.progress) }));
  }
  set(byId("here"), number.format(state.here));
  set(byId("day"), number.format(mine.day));
  set(byId("total"), number.format(mine.total));
  set(byId("pace"), pace === null ? "–" : number.format(Math.round(pace)));
  byId("here").title = unsaved ? fill(gettext("%(count)s not saved yet"), { count: unsaved }) : "";
  set(byId("agree"), agreement.value === null ? "–" : agreement.value.toLocaleString(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 }));
  set(byId("agree-text"), agreement.value === null
    ? gettext("No post has been labelled by two people yet.")
    : fill(ngettext("%(measure)s of %(people)s people, over %(posts)s post. 1 is perfect, 0 is chance.", "%(measure)s of %(people)s people, over %(posts)s posts. 1 is perfect, 0 is chance.", agreement.posts), { measure: agreement.measure, people: agreement.people, posts: number.format(agreement.posts) }));
}

const RUNS = {
  queued: gettext("Training run %(run)s is queued (%(share)s)"),
  running: gettext("Training run %(run)s is running (%(share)s)"),
  interrupted: gettext("Training run %(run)s is interrupted (%(share)s)"),
};
const DID = { skip: gettext("skipped"), flag: gettext("flagged") };

function drawPast(state) {
  const list = byId("past");
  const names = Object.fromEntries(state.categories.map((c) => [c.key, c]));
  byId("no-past").hidden = state.past.length > 0;
  const wanted = state.past.map((entry, place) => ({
    entry,
    place,
    signature: [entry.item.post, entry.did, entry.category, entry.problem, place === state.place].join(),
  }));
  while (list.children.length > wanted.length) list.lastElementChild.remove();
  wanted.forEach(({ entry, place, signature }, index) => {
    let row = list.children[index];
    if (row?.dataset.signature === signature) return;
    if (!row) {
      row = document.createElement("li");
      row.append(document.createElement("button"));
      list.append(row);
    }
    row.dataset.signature = signature;
    const button = row.firstElementChild;
    button.type = "button";
    button.dataset.place = place;
    button.dataset.category = entry.did === "label" ? entry.category : "";
    if (entry.did === "label" && !KNOWN.has(entry.category)) paint(button, names[entry.category]?.color);
    if (place === state.place) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    const mark = document.createElement("span");
    mark.className = entry.did === "label" ? "mark" : "mark none";
    const label = document.createElement("b");
    label.textContent = DID[entry.did] || names[entry.category]?.name || entry.category;
    const text = document.createElement("span");
    text.className = "line";
    text.textContent = entry.problem ? fill(gettext("not saved: %(text)s"), { text: entry.item.text.slice(0, 120) }) : entry.item.text.slice(0, 120);
    button.replaceChildren(mark, label, text);
  });
}
