// The training that is under way: how far, how well, how long still; then how it ended.
const ENDED = { succeeded: "has ended", rejected: "was rejected by the gate", failed: "has failed" };
const LINGER = 60000;
const percent = new Intl.NumberFormat(undefined, { style: "percent" });

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
    this.title.textContent = `Training run ${run.run}${end ? ` ${end}` : run.status === "running" ? "" : ` is ${run.status}`}`;
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
      run.seconds_left === null ? "" : `${this.#duration(run.seconds_left)} left`,
    ];
  }

  #outcome(run) {
    return [run.version === null ? "" : `version ${run.version}`, run.reason];
  }

  #duration(seconds) {
    return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`;
  }
}
