// @ts-check
/**
 * The life of the one event stream: it opens, it breaks, it comes back, for as long as it is followed.
 *
 * The browser's EventSource reconnects by itself with Last-Event-ID while it can, and the daemon then
 * sends what was missed. It gives up for good (readyState 2) on any answer but 200, so a timer opens a
 * new one, which begins with a snapshot. A connection that was cut without a word (a laptop that slept, a
 * network that is gone, a daemon that is stopped) looks open for ever, so one that has been silent for longer
 * than the daemon ever is counts as broken too. No DOM: it runs in the page or in the worker that all tabs share.
 * Nothing is kept here: the state is its hearer's.
 *
 * @typedef {{ device: string, what: string, done: number | null }} Stage  what a device does before it can sample
 *
 * @typedef {object} Hearer
 * @property {(snapshot: import("./fold.js").Snapshot, epoch: string) => void} snapshot
 * @property {(message: import("./fold.js").Message) => void} event
 * @property {(stages: Stage[]) => void} loading  what keeps devices from sampling now
 * @property {() => void} up  the daemon answers
 * @property {(since: Date) => void} down  it has not answered for `PATIENCE`; what was known at `since` is the newest
 */

/** Milliseconds. A daemon that is started again is back sooner than this, and nobody need be told. */
const PATIENCE = 2000;
/** Milliseconds. The daemon says `alive` after 15 seconds in which it has nothing else to say. */
const LONGEST_SILENCE = 40_000;
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15_000;

/**
 * Follow the stream at `url` for good.
 * @param {string} url
 * @param {Hearer} hearer
 */
export function follow(url, hearer) {
  let wait = FIRST_WAIT;
  /** @type {ReturnType<typeof setTimeout> | null} */
  let silence = null;
  let stirred = Date.now();
  /** How long a connection may be silent. Twice as long each time that one was open and had no time for its first
   * word, which is the whole snapshot: on a slow line it would else be begun for ever. */
  let bearable = LONGEST_SILENCE;
  let wordless = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let watch;

  /** @param {Date} since */
  function fallSilent(since) {
    silence ??= setTimeout(() => hearer.down(since), PATIENCE);
  }

  function speak() {
    if (silence !== null) clearTimeout(silence);
    silence = null;
    wait = FIRST_WAIT;
    hearer.up();
  }

  function stir() {
    stirred = Date.now();
  }

  function hear() {
    stir();
    wordless = false;
    bearable = LONGEST_SILENCE;
  }

  /** @param {EventSource} source */
  function listen(source) {
    const left = stirred + bearable - Date.now();
    if (left > 0) {
      watch = setTimeout(listen, left, source);
      return;
    }
    source.close();
    if (wordless) bearable *= 2;
    fallSilent(new Date(stirred));
    reopen();
  }

  function open() {
    const source = new EventSource(url);
    stir();
    wordless = false;
    listen(source);
    for (const kind of ["open", "error"]) source.addEventListener(kind, stir);
    for (const kind of ["snapshot", "loading", "message", "alive"]) source.addEventListener(kind, hear);
    source.addEventListener("open", () => {
      wordless = true;
      speak();
    });
    source.addEventListener("snapshot", (/** @type {MessageEvent} */ told) =>
      hearer.snapshot(JSON.parse(told.data), epochOf(told)));
    source.addEventListener("loading", (/** @type {MessageEvent} */ told) => hearer.loading(JSON.parse(told.data).loading));
    source.addEventListener("message", (told) => hearer.event(JSON.parse(told.data)));
    source.addEventListener("error", () => {
      fallSilent(new Date());
      if (source.readyState === EventSource.CLOSED) reopen();
    });
  }

  function reopen() {
    clearTimeout(watch);
    setTimeout(open, wait);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }

  fallSilent(new Date());
  open();
}

/**
 * The log's epoch, from the id `{epoch}.{seq}`.
 * @param {MessageEvent} told
 */
function epochOf(told) {
  return told.lastEventId.slice(0, told.lastEventId.lastIndexOf("."));
}
