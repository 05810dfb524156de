// The form above the page: its address is the view, so that a link shows a colleague the same.
import { fill, gettext, locale, ngettext } from "./words.js";
const MENUS = {
  stream: [gettext("all streams"), (count) => ngettext("%(count)s stream", "%(count)s streams", count)],
  lang: [gettext("all languages"), (count) => ngettext("%(count)s language", "%(count)s languages", count)],
  category: [gettext("all sentiments"), (count) => ngettext("%(count)s sentiment", "%(count)s sentiments", count)],
  against: [gettext("compare"), () => ""],
};

export function startFilters(form) {
  for (const range of form.querySelectorAll("[name=range]")) range.addEventListener("change", () => go(form));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(form);
  });
  startComparing(form.querySelector("#against"));
  for (const menu of form.querySelectorAll("details.menu")) {
    menu.addEventListener("change", () => tell(menu));
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    tell(menu);
  }
  // One menu is open at a time, and none once something else is clicked.
  document.addEventListener("click", (event) => {
    for (const menu of form.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
}

// The other period's beginning: in the address in UTC, in the form by the viewer's clock.
function startComparing(menu) {
  const since = menu.querySelector("[name=since]");
  const at = new Date(since.dataset.at);
  if (since.dataset.at && !Number.isNaN(at.getTime())) since.value = new Date(at - 60000 * at.getTimezoneOffset()).toISOString().slice(0, 16);
  since.addEventListener("input", () => {
    menu.querySelector("[value=since]").checked = true;
  });
}

// Languages are known once the newest posts are counted.
export function offerLanguages(menu, codes, chosen) {
  const names = new Intl.DisplayNames(locale, { type: "language", fallback: "code" });
  const known = new Set([...menu.querySelectorAll("input")].map((input) => input.value));
  const list = menu.querySelector(".choices");
  for (const code of codes) {
    if (known.has(code)) continue;
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "lang", value: code, checked: chosen.includes(code) });
    label.append(box, ` ${nameOf(code, names)}`);
    list.append(label);
  }
  for (const label of list.querySelectorAll("label[data-code]")) label.lastChild.textContent = ` ${nameOf(label.dataset.code, names)}`;
  menu.querySelector(".empty")?.toggleAttribute("hidden", list.querySelector("input") !== null);
  tell(menu);
}

function nameOf(code, names) {
  try {
    return names.of(code);
  } catch {
    return code;
  }
}

function tell(menu) {
  const chosen = [...menu.querySelectorAll("input:checked")].filter((input) => input.value);
  const [none, many] = MENUS[menu.dataset.name];
  const words = chosen.length === 0 ? none : chosen.length === 1 ? chosen[0].parentElement.textContent.trim() : fill(many(chosen.length), { count: chosen.length });
  const isAgainst = menu.dataset.name === "against" && chosen.length > 0;
  menu.querySelector(".chosen").textContent = isAgainst ? fill(gettext("against %(side)s"), { side: words }) : words;
}

function go(form) {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim()));
  const since = query.get("since");
  if (query.get("against") !== "since") query.delete("since");
  else if (since && !Number.isNaN(Date.parse(since))) query.set("since", `${new Date(since).toISOString().slice(0, 16)}Z`);
  location.search = query.toString();
}
