import { explain } from "./why.js";
import { fill, gettext, locale } from "./words.js";

// The list of newest posts; texts are set as text, never as markup.
const LIMIT = 40;
const percent = new Intl.NumberFormat(locale, { style: "percent" });
const ago = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
const day = new Intl.DateTimeFormat(locale, { dateStyle: "medium" });

export class PostList {
  constructor(list, empty, pause, categories, streams) {
    this.list = list;
    this.empty = empty;
    this.streams = streams;
    this.names = Object.fromEntries(categories.map((c) => [c.key, c.name]));
    this.held = [];
    this.paused = false;
    pause?.addEventListener("click", () => {
      this.paused = !this.paused;
      pause.setAttribute("aria-pressed", String(this.paused));
      pause.textContent = this.paused ? gettext("Go on") : gettext("Pause");
      if (!this.paused) this.add(this.held.splice(0));
    });
    setInterval(() => this.tellTimes(), 15000);
  }

  load(posts) {
    this.list.replaceChildren(...posts.map((post) => this.item(post)));
    this.empty.hidden = this.list.children.length > 0;
  }

  // A fresh reading: paused, it waits as single posts do.
  renew(posts) {
    if (this.paused) this.held = posts.slice(0, LIMIT);
    else this.load(posts);
  }

  add(posts) {
    if (this.paused) {
      this.held = [...posts, ...this.held].slice(0, LIMIT);
      return;
    }
    const known = new Set([...this.list.children].map((item) => item.dataset.id));
    const fresh = posts.filter((post) => !known.has(String(post.id)));
    this.list.prepend(...fresh.map((post) => this.item(post)));
    while (this.list.children.length > LIMIT) this.list.lastElementChild.remove();
    this.empty.hidden = this.list.children.length > 0;
  }

  // Posts that were deleted or edited at their source.
  remove(ids) {
    const gone = new Set(ids);
    this.held = this.held.filter((post) => !gone.has(post.id));
    for (const item of [...this.list.children]) if (gone.has(Number(item.dataset.id))) item.remove();
    this.empty.hidden = this.list.children.length > 0;
  }

  item(post) {
    const item = document.createElement("li");
    item.className = "post";
    item.dataset.id = post.id;
    item.dataset.category = post.category;
    const text = document.createElement("p");
    text.textContent = post.text;
    const meta = document.createElement("div");
    meta.className = "meta";
    const badge = document.createElement("span");
    badge.className = "badge";
    const mark = document.createElement("span");
    mark.className = "mark";
    badge.append(mark, this.names[post.category] || post.category);
    const meter = document.createElement("span");
    meter.className = "meter";
    meter.title = fill(gettext("confidence %(share)s"), { share: percent.format(post.confidence) });
    const bar = document.createElement("i");
    bar.style.width = `${Math.round(100 * post.confidence)}%`;
    meter.append(bar);
    const confidence = document.createElement("span");
    confidence.textContent = percent.format(post.confidence);
    const from = document.createElement("span");
    const stream = post.streams.map((id) => this.streams[id]).filter(Boolean)[0];
    from.className = "from";
    from.textContent = from.title = [post.author && `@${post.author}`, stream].filter(Boolean).join(" · ");
    const time = document.createElement("time");
    time.dateTime = post.created_at;
    time.title = new Date(post.created_at).toLocaleString(locale);
    time.textContent = relative(post.created_at);
    const why = document.createElement("button");
    why.type = "button";
    why.className = "link";
    why.textContent = gettext("Why?");
    why.setAttribute("aria-expanded", "false");
    why.addEventListener("click", () => this.tellWhy(post, item, why));
    meta.append(badge, meter, confidence, from, why, time);
    item.append(text, meta);
    return item;
  }

  async tellWhy(post, item, button) {
    const open = item.querySelector(".why");
    if (open) {
      open.remove();
      button.setAttribute("aria-expanded", "false");
      return;
    }
    button.disabled = true;
    const box = await explain(post, this.names);
    button.disabled = false;
    box.setAttribute("role", "status");
    item.append(box);
    button.setAttribute("aria-expanded", "true");
    button.focus();
  }

  tellTimes() {
    for (const time of this.list.querySelectorAll("time")) time.textContent = relative(time.dateTime);
  }
}

function relative(moment) {
  const seconds = (Date.parse(moment) - Date.now()) / 1000;
  if (seconds > -60) return ago.format(Math.min(0, Math.round(seconds)), "second");
  if (seconds > -3600) return ago.format(Math.round(seconds / 60), "minute");
  if (seconds > -86400) return ago.format(Math.round(seconds / 3600), "hour");
  return day.format(Date.parse(moment));
}
