// A training run as it goes: asks every two seconds, and loads the page anew once it has ended.
import { show } from "./models.js";
import { decimals } from "./net.js";
import { fill, gettext, locale } from "./words.js";

const INTERVAL = 2000;
const box = document.getElementById("run");
const byId = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat(locale, { style: "percent" });
const FIGURES = ["loss", "macro_recall", "macro_f1", "accuracy", "ece"];
let epochs = document.querySelectorAll(".epochs tbody tr").length;
let curve = 0;

function left(seconds) {
  if (seconds === null) return "";
  return fill(gettext("%(span)s left"), { span: seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min` });
}

function tell(run) {
  byId("run-progress").value = run.progress;
  byId("run-share").textContent = percent.format(run.progress);
  byId("run-message").textContent = run.message;
  byId("run-left").textContent = left(run.seconds_left);
  byId("run-loss").textContent = run.loss === null ? "–" : decimals(run.loss, 3);
  // A live region: written to only when it says something else.
  if (byId("run-status").textContent !== run.words) byId("run-status").textContent = run.words;
  if (run.curve !== curve || run.epochs !== epochs) {
    curve = run.curve;
    show(document.querySelector("[data-figure=figure-history]"), run.figure);
  }
  if (run.epochs !== epochs) {
    epochs = run.epochs;
    byId("no-epochs")?.remove();
    document.querySelector(".epochs tbody").replaceChildren(...run.history.map(row));
  }
}

function row(epoch) {
  const item = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = epoch.epoch;
  item.append(head, ...FIGURES.map((name) => {
    const cell = document.createElement("td");
    cell.className = "n";
    cell.textContent = epoch[name] === undefined ? "–" : decimals(epoch[name], 3);
    return cell;
  }));
  return item;
}

async function ask() {
  if (!document.hidden) {
    const answer = await fetch(box.dataset.address, { headers: { Accept: "application/json" } });
    if (answer.status === 401) return location.reload();
    if (answer.ok) {
      const run = await answer.json();
      if (!run.is_active) return location.reload();
      tell(run);
    }
  }
  return setTimeout(again, INTERVAL);
}

function again() {
  // A server that is away for a moment is asked again.
  ask().catch(() => setTimeout(again, INTERVAL));
}
again();
