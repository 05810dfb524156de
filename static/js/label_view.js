// What the labelling page shows; texts are set as text, never as markup.
const byId = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat(undefined, { style: "percent" });
const number = new Intl.NumberFormat();
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
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
  set(byId("refused"), state.problems.map((one) => `Not saved: “${one.text.slice(0, 60)}”. ${one.error}`).join(" "));
}

function drawPost(state, item) {
  const waiting = state.isEmpty
    ? "Nothing is left to label for now. New posts are asked about as they arrive."
    : state.save.state === "offline"
      ? "No posts are left here, and there is no connection to fetch more."
      : "Fetching posts…";
  const text = byId("text");
  set(text, item ? item.text : waiting);
  text.lang = item && /^[a-z]{2,3}$/.test(item.lang) ? item.lang : "";
  text.dir = "auto";
  byId("sheet").dataset.state = item ? (item.text.length > 280 ? "long" : "post") : "waiting";
  set(byId("why"), item ? item.why : "");
  set(byId("place"), state.place === null ? "" : `Looking back: ${state.place + 1} of ${state.past.length}`);
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
    set(words, is ? `model ${percent.format(opinion.confidence)}` : "");
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
    saved: "all saved",
    saving: `${count} not saved yet`,
    offline: count ? `offline: ${count} not saved yet` : "offline",
    signedout: `signed out: ${count} not saved yet`,
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
    link.textContent = "Sign in";
    box.append(link);
  } else if (state !== "signedout" && link) link.remove();
}

function drawStanding(state, pace) {
  const { mine, labels, run, agreement } = state.standing;
  const unsaved = state.save.count;
  byId("goal").value = Math.min(1, labels.new / labels.needed);
  const left = labels.needed - labels.new;
  set(byId("goal-text"), left > 0
    ? `${number.format(labels.new)} of ${number.format(labels.needed)} labelled posts that it takes: ${number.format(left)} to go.`
    : `${number.format(labels.new)} new labelled posts are enough: it starts with the next check.`);
  byId("run").hidden = !run;
  if (run) {
    byId("run-link").href = run.url;
    set(byId("run-link"), `Training run ${run.id} is ${run.status} (${percent.format(run.progress)})`);
  }
  set(byId("here"), number.format(state.here));
  set(byId("day"), number.format(mine.day));
  set(byId("total"), number.format(mine.total));
  set(byId("pace"), pace === null ? "–" : number.format(Math.round(pace)));
  byId("here").title = unsaved ? `${unsaved} not saved yet` : "";
  set(byId("agree"), agreement.value === null ? "–" : agreement.value.toFixed(2));
  set(byId("agree-text"), agreement.value === null
    ? "No post has been labelled by two people yet."
    : `${agreement.measure} of ${agreement.people} people, over ${number.format(agreement.posts)} posts. 1 is perfect, 0 is chance.`);
}

const DID = { skip: "skipped", flag: "flagged" };

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
    text.textContent = (entry.problem ? "not saved: " : "") + entry.item.text.slice(0, 120);
    button.replaceChildren(mark, label, text);
  });
}
