// What is not saved yet: kept in the browser until the server has it, sent in order, again and
// again. Every action may safely arrive twice.
const SEND_AT_ONCE = 20;
const TIMEOUT = 15000;
const LONGEST_WAIT = 15000;

export class Outbox {
  // `changed(state, count)`: saved, saving, offline or signedout; `refused(action, error)`: what
  // the server will not take; `saved(answer)`: its word on a part that it took.
  constructor(prefix, address, { changed, refused, saved }) {
    Object.assign(this, { prefix, address, changed, refused, saved });
    this.name = crypto.getRandomValues(new Uint32Array(2)).join("-");
    this.actions = [];
    this.state = "saved";
    this.wait = 1000;
    this.busy = false;
    addEventListener("online", () => this.now());
    addEventListener("beforeunload", (event) => this.actions.length && event.preventDefault());
  }

  // Takes over what other visits left behind, but not what another open page still sends.
  async open() {
    const alive = new Set([this.prefix + this.name]);
    if (navigator.locks) {
      // Held until the page goes.
      navigator.locks.request(this.prefix + this.name, () => new Promise(() => {}));
      for (const lock of (await navigator.locks.query()).held) alive.add(lock.name);
    }
    for (const key of Object.keys(localStorage).filter((k) => k.startsWith(this.prefix) && !alive.has(k))) {
      try {
        this.actions.unshift(...JSON.parse(localStorage.getItem(key)));
      } catch {
        // Not written by us: nothing to save.
      }
      localStorage.removeItem(key);
    }
    this.keep();
    await this.send();
  }

  add(action) {
    this.actions.push(action);
    this.keep();
    this.send();
  }

  keep() {
    const key = this.prefix + this.name;
    try {
      if (this.actions.length) localStorage.setItem(key, JSON.stringify(this.actions));
      else localStorage.removeItem(key);
    } catch {
      // Storage is full or forbidden: they are kept in memory, and leaving the page warns.
    }
  }

  now() {
    clearTimeout(this.timer);
    this.wait = 1000;
    return this.send();
  }

  tell(state) {
    this.state = state;
    this.changed(state, this.actions.length);
  }

  async send() {
    if (this.busy) return this.changed(this.state, this.actions.length);
    this.busy = true;
    clearTimeout(this.timer);
    while (this.actions.length) {
      if (this.state !== "offline") this.tell("saving");
      const part = this.actions.slice(0, SEND_AT_ONCE);
      const { status, answer } = await post(this.address, { actions: part });
      if (status === 200) {
        this.settle(part, answer);
      } else if (status === 400 || status === 404 || status === 413) {
        // It will never be taken as it is; one by one, so that the others are.
        if (part.length > 1) await this.singly(part);
        else this.settle(part, { results: [{ saved: false, error: answer.detail || `refused (${status})` }] });
      } else {
        this.tell(status === 401 || status === 403 ? "signedout" : "offline");
        this.timer = setTimeout(() => this.send(), this.wait);
        this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
        break;
      }
    }
    this.busy = false;
    if (!this.actions.length) this.tell("saved");
  }

  settle(part, answer) {
    this.wait = 1000;
    this.actions.splice(0, part.length);
    this.keep();
    if (this.state === "offline" || this.state === "signedout") this.tell("saving");
    answer.results.forEach((result, index) => result.saved || this.refused(part[index], result.error));
    this.saved(answer);
  }

  async singly(part) {
    for (const action of part) {
      const { status, answer } = await post(this.address, { actions: [action] });
      if (status === 200) this.settle([action], answer);
      else if (status >= 400 && status < 500 && ![401, 403, 429].includes(status)) {
        this.settle([action], { results: [{ saved: false, error: answer.detail || `refused (${status})` }] });
      } else return;
    }
  }
}

// Status 0 when no answer came.
export async function post(address, body) {
  // Read anew each time: signing in again changes it.
  const token = document.cookie.match(/csrftoken=([^;]+)/);
  try {
    const answer = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": token ? token[1] : "" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT),
    });
    const type = answer.headers.get("Content-Type") || "";
    return { status: answer.status, answer: type.includes("json") ? await answer.json() : {} };
  } catch {
    return { status: 0, answer: {} };
  }
}
