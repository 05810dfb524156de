// A websocket that comes back: waits 0.5 s after a loss, then twice as long each time up to 15 s.
const SIGN_IN = 4401;

export function connect(path, { message, state }) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  let wait = 500;
  let sequence = null;

  function open() {
    const socket = new WebSocket(url);
    socket.addEventListener("message", (event) => {
      const data = JSON.parse(event.data);
      wait = 500;
      state("live");
      if (data.type === "tick") {
        // A gap means that this viewer was skipped ahead: start again from a snapshot.
        if (sequence !== null && data.sequence > sequence + 1) socket.send("snapshot");
        if (sequence !== null && data.sequence <= sequence) return;
      }
      if (data.sequence !== undefined) sequence = data.sequence;
      message(data);
    });
    socket.addEventListener("close", (event) => {
      sequence = null;
      if (event.code === SIGN_IN) {
        location.reload();
        return;
      }
      state("reconnecting");
      setTimeout(open, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, 15000);
    });
  }
  open();
}
