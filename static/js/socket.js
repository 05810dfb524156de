// A websocket that comes back: waits 0.5 s after a loss, then twice as long each time up to 15 s.
// It tells "live", and after a loss "reconnecting", or "offline" where the browser knows why.
const SIGN_IN = 4401;
// The server tells something every second; one that is silent for so long is not there any more.
const SILENCE = 12000;

export function connect(path, { message, state }) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  let wait = 500;
  let sequence = null;
  let socket = null;
  let heard = 0;
  let retry = null;
  let wasLost = false;

  function open() {
    clearTimeout(retry);
    retry = null;
    const own = new WebSocket(url);
    socket = own;
    heard = Date.now();
    own.addEventListener("message", (event) => {
      if (own !== socket) return;
      const data = JSON.parse(event.data);
      wait = 500;
      heard = Date.now();
      wasLost = false;
      state("live");
      if (data.type === "tick") {
        // A gap means that this viewer was skipped ahead: start again from a snapshot.
        if (sequence !== null && data.sequence > sequence + 1) own.send("snapshot");
        if (sequence !== null && data.sequence <= sequence) return;
      }
      if (data.sequence !== undefined) sequence = data.sequence;
      message(data);
    });
    own.addEventListener("close", (event) => {
      if (own === socket) lose(event.code);
    });
  }

  function lose(code) {
    socket = null;
    sequence = null;
    if (code === SIGN_IN) {
      location.reload();
      return;
    }
    tellLoss();
    retry = setTimeout(open, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, 15000);
  }

  // Offline, a server of this same machine may still answer: it is tried all the same.
  function tellLoss() {
    wasLost = true;
    state(navigator.onLine ? "reconnecting" : "offline");
  }

  // A laptop that slept, or a network that changed, closes no socket.
  function look() {
    if (socket !== null && Date.now() - heard > SILENCE) {
      const dead = socket;
      lose(0);
      dead.close();
    }
  }
  function hurry() {
    look();
    if (retry !== null) open();
  }
  setInterval(look, 3000);
  addEventListener("online", () => {
    hurry();
    if (wasLost) tellLoss();
  });
  addEventListener("offline", () => wasLost && tellLoss());
  document.addEventListener("visibilitychange", () => document.hidden || hurry());
  open();
  return { hurry };
}
