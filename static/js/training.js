// The training that is under way: how far, how well, how long still; then how it ended.
import { fill, gettext, locale } from "./words.js";
const ENDED = {
  succeeded: gettext("Training run %(run)s has ended"),
  rejected: gettext("Training run %(run)s was rejected by the gate"),
  failed: gettext("Training run %(run)s has failed"),
};
const UNDER_WAY = {
  queued: gettext("Training run %(run)s is queued"),
  running: gettext("Training run %(run)s"),
  interrupted: gettext("Training run %(run)s is interrupted"),
};
const LINGER = 60000;
const percent = new Intl.NumberFormat(locale, { style: "percent" });

export class Training {
  constructor(box) {
    this.box = box;
    [this.title, this.text, this.bar] = ["title", "text", "progress"].map((name) => box.querySelector(`#training-${name}`));
  }

  load(run) {
    if (run) this.show(run);
    else if (!this.leaving) this.box.hidden = true;
  }

  show(run) {
    clearTimeout(this.leaving);
    this.leaving = null;
    const end = ENDED[run.status];
    this.title.textContent = fill(end ?? UNDER_WAY[run.status] ?? UNDER_WAY.running, run);
    this.text.textContent = (end ? this.#outcome(run) : this.#state(run)).filter(Boolean).join(" · ");
    this.bar.hidden = Boolean(end);
    this.bar.value = run.progress;
    this.box.hidden = false;
    if (end) this.leaving = setTimeout(() => { this.box.hidden = true; this.leaving = null; }, LINGER);
  }

  #state(run) {
    return [
      percent.format(run.progress),
      run.message,
      run.seconds_left === null ? "" : fill(gettext("%(span)s left"), { span: this.#duration(run.seconds_left) }),
    ];
  }

  #outcome(run) {
    return [run.version === null ? "" : fill(gettext("version %(version)s"), run), run.reason];
  }

  #duration(seconds) {
    return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`;
  }
}
