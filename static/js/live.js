// The live page: starts from the numbers in the page, then follows the websocket.
import { connect } from "./socket.js";
import { Timeline } from "./timeline.js";
import { PostList } from "./posts.js";
import { GapList } from "./gaps.js";
import { SourceList } from "./sources.js";
import { Training } from "./training.js";
import { startFilters, offerLanguages } from "./filters.js";
import { Details } from "./details.js";
import { Comparison } from "./compare.js";
import { decimals, netBand, signed } from "./net.js";
import { Problems } from "./problems.js";
import { BinTable } from "./table.js";
import { TryBox } from "./try.js";
import { fill, gettext, locale, ngettext } from "./words.js";

const page = JSON.parse(document.getElementById("page-data").textContent);
const categories = page.categories;
const byId = (id) => document.getElementById(id);
const { streams, shown } = page.view;
const when = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const REFRESH = 10000;
// Counts that only the server can make, of languages and words, are asked for more often.
const REFRESH_READING = 5000;
const percent = new Intl.NumberFormat(locale, { style: "percent" });
const number = new Intl.NumberFormat(locale);

let view = page.view;
let modelVersion = byId("model-version").textContent;
const timeline = new Timeline(byId("timeline"), categories, shown, showBin);
const table = new BinTable(byId("bins"), categories, timeline, showBin);
timeline.changed = () => table.show();
const posts = new PostList(byId("posts"), byId("no-posts"), byId("pause"), categories, page.streams);

const binPosts = new PostList(byId("bin-posts"), byId("no-bin-posts"), null, categories, page.streams);
const languageNames = new Intl.DisplayNames(locale, { type: "language", fallback: "code" });
const details = new Details(byId("details"), categories, (code) => (/^[a-z]{2,3}\b/i.test(code) && code !== "unknown" ? languageNames.of(code) : code));
const sources = new SourceList(byId("sources"), byId("source-list"));
const training = new Training(byId("training"));
const own = streams.map((id) => page.streams[id]).filter(Boolean).join(", ") || gettext("all streams");
const comparison = page.is_compared ? new Comparison(byId("compare"), categories, own, (told) => {
  byId("other-legend").hidden = false;
  byId("other-name").textContent = told.name;
  timeline.beside(told);
}) : null;
const gaps = new GapList(
  { box: byId("gaps"), list: byId("gap-list"), more: byId("more-gaps"), legend: byId("gap-legend") },
  (newest) => timeline.shade(newest),
);

function showTotals() {
  const total = categories.reduce((sum, c) => sum + (view.totals[c.key] || 0), 0);
  const split = byId("split");
  while (split.children.length < categories.length) split.append(document.createElement("span"));
  const net = netBand(view.totals, categories);
  categories.forEach((category, index) => {
    const count = view.totals[category.key] || 0;
    const share = total ? count / total : 0;
    const bar = split.children[index];
    bar.dataset.category = category.key;
    bar.style.flexGrow = share;
    bar.style.background = "var(--mark)";
    document.querySelector(`[data-share="${category.key}"]`).textContent = total ? percent.format(share) : "–";
    document.querySelector(`[data-count="${category.key}"]`).textContent = number.format(count);
  });
  split.setAttribute("aria-label", categories.map((c) => `${c.name} ${percent.format(total ? (view.totals[c.key] || 0) / total : 0)}`).join(", "));
  byId("net").textContent = net ? signed(net.mean) : "–";
  byId("mood").textContent = view.mood;
}

function showTerms() {
  const box = byId("terms");
  box.replaceChildren(
    ...categories.filter((c) => shown.includes(c.key)).map((category) => {
      const column = document.createElement("section");
      column.dataset.category = category.key;
      const heading = document.createElement("h3");
      const mark = document.createElement("span");
      mark.className = "mark";
      heading.append(mark, category.name);
      const list = document.createElement("ol");
      const terms = view.terms[category.key] || [];
      const strongest = Math.max(...terms.map((t) => t.z), 1);
      for (const term of terms) {
        const item = document.createElement("li");
        item.className = "term";
        item.style.setProperty("--width", `${Math.round((100 * term.z) / strongest)}%`);
        item.title = fill(ngettext("in %(count)s post", "in %(count)s posts", term.count), { count: number.format(term.count) });
        const word = document.createElement("b");
        word.textContent = term.word;
        const count = document.createElement("span");
        count.textContent = number.format(term.count);
        item.append(word, count);
        list.append(item);
      }
      if (!terms.length) {
        const none = document.createElement("p");
        none.className = "empty";
        none.textContent = gettext("not enough posts yet");
        column.append(heading, none);
      } else column.append(heading, list);
      return column;
    }),
  );
}

function showView(next) {
  view = next;
  viewedAt = Date.now();
  byId("headline").textContent = view.headline;
  byId("sample").hidden = !view.sample;
  if (view.sample) byId("sample").textContent = fill(gettext("Only the newest %(count)s posts were looked through for languages and words, back to %(since)s. A shorter time range shows all."), { count: number.format(view.sample.posts), since: new Date(view.sample.since).toLocaleString(locale) });
  timeline.load(view.figure, view.bin_seconds);
  showTotals();
  showTerms();
}

function showFlow(message) {
  byId("rate").textContent = number.format(Math.round(message.rate));
  byId("lag").textContent = message.lag_seconds === null ? "–" : `${decimals(message.lag_seconds, message.lag_seconds < 10 ? 1 : 0)} s`;
}

function showModel(message) {
  const version = message.version || gettext("none");
  byId("model-version").textContent = version;
  if (version === modelVersion) return;
  toast(message.version ? fill(gettext("Version %(version)s classifies from now on."), { version }) : gettext("No version classifies any more."));
  modelVersion = version;
  // The chart says at once from when on; the ledger is asked again with the details.
  if (message.since) mark([{ at: message.since, version, reason: message.reason }, ...promotions.filter((each) => each.at !== message.since)]);
}

let promotions = [];
function mark(marks) {
  promotions = marks;
  timeline.mark(marks);
}

const ALERTS = { stream: gettext("Source"), budget: gettext("Budget"), drift: gettext("Drift"), model: gettext("Model"), training: gettext("Training") };

// What stands now; toasts tell of changes.
function showAlerts(alerts) {
  byId("alerts").hidden = !alerts.length;
  byId("alerts").replaceChildren(
    ...alerts.map((alert) => {
      const item = document.createElement("li");
      const kind = document.createElement("strong");
      kind.textContent = ALERTS[alert.kind] || alert.kind;
      const text = document.createElement("span");
      text.lang = "en";
      text.textContent = alert.message;
      item.append(kind, text);
      return item;
    }),
  );
}

const problems = new Problems(byId("away"), () => {
  socket.hurry();
  refresh();
  refreshDetails();
});
// A loss that is over before it is read is not worth a line.
const BLINK = 2000;
const STATES = { live: gettext("live"), reconnecting: gettext("reconnecting"), offline: gettext("offline") };
let telling = null;
function showState(state) {
  // Told with every message: what is the same already is not written, nor read out, again.
  if (byId("status").dataset.state === state) return;
  byId("status").dataset.state = state;
  byId("status-text").textContent = STATES[state];
  clearTimeout(telling);
  if (state === "live") {
    problems.tell("connection", null);
    return;
  }
  const since = new Date().toLocaleTimeString(locale);
  const why = state === "offline" ? gettext("This device is offline. What you see is of %(time)s; it goes on by itself.") : gettext("The server does not answer. What you see is of %(time)s; it goes on by itself.");
  telling = setTimeout(() => problems.tell("connection", fill(why, { time: since })), BLINK);
}

function toast(text) {
  const item = document.createElement("p");
  item.className = "toast";
  item.textContent = text;
  byId("toasts").append(item);
  setTimeout(() => item.remove(), 8000);
}

let newsSinceRefresh = false;
let viewedAt = Date.now();
// Where no posts come, old ones leave the window all the same, a bin at a time.
const windowHasMoved = () => Date.now() - viewedAt >= Math.max(60000, 1000 * view.bin_seconds);
const handlers = {
  snapshot(message) {
    showView(message.view);
    posts.renew(message.posts);
    gaps.load(message.gaps, view);
    sources.load(message.sources);
    showAlerts(message.alerts);
    training.load(message.training);
    showFlow(message);
    showModel(message.model);
  },
  tick(message) {
    showFlow(message);
    const mine = message.counts.filter((c) => (streams.length ? streams.includes(c.stream) : c.stream === null)
      && Date.parse(c.minute) >= Date.parse(view.start));
    if (mine.length) newsSinceRefresh = true;
    if (mine.length && !view.reads_posts) {
      for (const c of mine) view.totals[c.category] = Math.max(0, (view.totals[c.category] || 0) + c.count);
      timeline.add(mine);
      showTotals();
    }
    if (!view.reads_posts) posts.add(message.posts.filter((p) => shown.includes(p.category) && (!streams.length || p.streams.some((id) => streams.includes(id)))));
    posts.remove(message.withdrawn);
    gaps.add(message.gaps);
    if (message.sources !== null) sources.load(message.sources);
    if (message.alerts !== null) showAlerts(message.alerts);
  },
  model: showModel,
  training: (message) => training.show(message),
  alert(message) {
    toast(fill(message.active ? gettext("Alert: %(message)s") : gettext("Over: %(message)s"), message));
  },
};

// Words, headline and the left edge of the window move slower than the counts.
async function refresh() {
  const hasMoved = windowHasMoved();
  if (!(newsSinceRefresh || gaps.isOpen || hasMoved) || document.hidden) return;
  newsSinceRefresh = false;
  const answer = await fetch(`/live/data/${location.search}`, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) {
    newsSinceRefresh = true;
    problems.tell("data", gettext("Words and headline cannot be brought up to date now. They are asked for again."));
    return;
  }
  problems.tell("data", null);
  const next = await answer.json();
  showView(next);
  if (view.reads_posts || hasMoved) posts.renew(next.posts);
  gaps.move(view);
  await comparison?.load();
}
setInterval(refresh, page.view.reads_posts ? REFRESH_READING : REFRESH);

async function refreshDetails() {
  if (document.hidden) return;
  const told = await details.load().catch(() => null);
  problems.tell("details", told ? null : gettext("What stands side by side cannot be read now. It is asked for again."));
  if (!told) return;
  mark(told.promotions);
  offerLanguages(byId("languages"), told.choices.languages, page.view.languages);
}
setInterval(refreshDetails, 30000);
// A tab that was hidden catches up as soon as it is looked at.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  refresh();
  refreshDetails();
});

// The posts that a bin of the chart counts.
async function showBin(start, side) {
  const query = new URLSearchParams(location.search);
  query.set("at", start);
  query.set("range", view.range);
  if (side) query.set("side", side);
  const answer = await fetch(`/live/posts/?${query}`, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer || !answer.ok) {
    toast(gettext("The posts of that time cannot be read now."));
    return;
  }
  byId("bin-title").textContent = fill(gettext("Posts of %(time)s"), { time: when.formatRange(new Date(start), new Date(Date.parse(start) + 1000 * view.bin_seconds)) });
  binPosts.load((await answer.json()).posts);
  if (!byId("bin").open) byId("bin").showModal();
}
byId("bin-close").addEventListener("click", () => byId("bin").close());

startFilters(byId("filters"));
for (const button of document.querySelectorAll(".toggle button")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll(".toggle button")) other.setAttribute("aria-pressed", String(other === button));
    byId("timeline").setAttribute("aria-label", button.title);
    timeline.show(button.dataset.mode);
  });
}
byId("png").addEventListener("click", () => timeline.download(`sentiment-${view.range}`));
byId("csv").href = `/live/bins.csv${location.search}`;
byId("print").addEventListener("click", () => print());
addEventListener("beforeprint", () => {
  byId("printed-at").textContent = `${location.href}, ${new Date().toLocaleString(locale)}`;
  Plotly.relayout(byId("timeline"), { autosize: false, width: 680, height: comparison ? 150 : 200 });
});
addEventListener("afterprint", () => timeline.schedule());
new TryBox(byId("try-text"), byId("try-result"), categories);

showView(view);
posts.load(page.posts);
gaps.load(page.gaps, view);
refreshDetails();
if (comparison) {
  // Two lines say most of net sentiment.
  document.querySelector("[data-mode=net]").click();
  comparison.load();
}
const socket = connect(`/ws/live/${location.search}`, {
  message: (message) => handlers[message.type]?.(message),
  state: showState,
});
