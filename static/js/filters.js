// The form above the page: its address is the view, so that a link shows a colleague the same.
const MENUS = { stream: ["all streams", "streams"], lang: ["all languages", "languages"], category: ["all sentiments", "sentiments"] };

export function startFilters(form) {
  for (const range of form.querySelectorAll("[name=range]")) range.addEventListener("change", () => go(form));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(form);
  });
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

// Languages are known once the newest posts are counted.
export function offerLanguages(menu, codes, chosen) {
  const names = new Intl.DisplayNames(undefined, { type: "language", fallback: "code" });
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
  const chosen = [...menu.querySelectorAll("input:checked")];
  const [none, many] = MENUS[menu.dataset.name];
  const words = chosen.length === 0 ? none : chosen.length === 1 ? chosen[0].parentElement.textContent.trim() : `${chosen.length} ${many}`;
  menu.querySelector(".chosen").textContent = words;
}

function go(form) {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim()));
  location.search = query.toString();
}
