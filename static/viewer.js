// @ts-check
/**
 * The composition: stream → state → page. Everything is wired here and nowhere else.
 *
 * Messages are folded as they come and painted once a display frame, whatever their number. What the wall
 * shows is what is now, or a moment of the past; everything else follows what is now.
 *
 * @typedef {import("./fold.js").State} State
 * @typedef {import("./fold.js").Frame} Frame
 */
import { takingBack } from "./anew.js";
import { makeAnnouncer, tidings } from "./announce.js";
import { frameDetail, prioritise, requestStop, sendPrompt, stopJob } from "./api.js";
import { showArrivals } from "./arrivals.js";
import { makeBanner } from "./banner.js";
import { makeCard } from "./card.js";
import { makeChoice } from "./choice.js";
import { makeCompare } from "./compare.js";
import { connect } from "./connection.js";
import { makeDetail } from "./detail.js";
import { fold, recall } from "./fold.js";
import { queuedText, runForm } from "./form.js";
import { makeHeader } from "./header.js";
import { makeHistory } from "./history.js";
import { listenForKeys, writeHelp } from "./keys.js";
import { makeLog } from "./log.js";
import { makeNotices } from "./notices.js";
import { makePast } from "./past.js";
import { leaveFrame, route } from "./router.js";
import { makeActs } from "./acts.js";
import { makeWall } from "./wall.js";
import { loadingText, noticeText } from "./words.js";
import { byId } from "./write.js";

/** @type {State | null} */
let live = null;
/** @type {State | null} what the wall shows instead */
let then = null;
/** What keeps devices from sampling; nothing of the past. */
let loading = "";
let painting = false;
/** @type {import("./router.js").Place} */
let place = { view: "wall", frames: [], query: new URLSearchParams() };

const { notify, undo, over } = makeNotices(byId("notices"));
const announce = makeAnnouncer(byId("said"));
const banner = makeBanner(byId("banner"));
const showHeader = makeHeader(notify, offerBack);
const choice = makeChoice(byId("tray"), (about) => {
  paintSoon();
  history.repaint(about);
});
const history = makeHistory(choice);
const log = makeLog();
const compare = makeCompare();
const past = makePast(byId("past"), (state) => {
  then = state;
  paintSoon();
});
const detail = makeDetail({ stop: stopOne, again: makeAgain, choose: choice.toggle }, over, leaveFrame);
const rows = { developing: byId("developing"), waiting: byId("waiting"), ended: byId("ended") };
const wall = makeWall(byId("wall"), rows, (frame, epoch) => makeCard(frame, { template: byId("card"), epoch, acts: {
  stop: stopOne,
  stopJob: stopSiblings,
  prioritise: setPriority,
  again: async ({ id }) => {
    const found = await frameDetail(id);
    return "trouble" in found ? found.trouble : makeAgain(found.again);
  },
  choose: ({ id }) => choice.toggle(id),
} }));

/** @param {Frame} frame */
async function stopOne(frame) {
  const trouble = await requestStop(frame);
  if (!trouble) offerBack([frame]);
  return trouble;
}

/** @param {Frame} frame  all of its job are stopped */
async function stopSiblings({ job }) {
  const siblings = [...(live?.frames.values() ?? [])].filter((frame) => frame.job === job);
  const trouble = await stopJob(job);
  if (!trouble) offerBack(siblings);
  return trouble;
}

/** @param {readonly Frame[]} stopped  as they were before */
function offerBack(stopped) {
  const offer = takingBack(stopped);
  if (offer) notify(offer.text, offer.undo);
}

/**
 * @param {Frame} frame
 * @param {number} next
 */
async function setPriority({ job, priority }, next) {
  const trouble = await prioritise(job, next);
  if (!trouble) notify(`Job ${job} now has priority ${next}.`, () => prioritise(job, priority));
  return trouble;
}

/**
 * @param {Record<string, unknown>} prompt
 * @returns {Promise<string | null>} what went wrong
 */
async function makeAgain(prompt) {
  const answer = await sendPrompt(prompt);
  if ("trouble" in answer) return answer.trouble;
  if ("faults" in answer) return answer.faults.map(({ message }) => message).join(" ");
  notify(queuedText(answer.accepted), () => stopJob(answer.accepted.job));
  return null;
}

/** @param {State} newer */
function become(newer) {
  live = newer;
  paintSoon();
}

function paintSoon() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(paint);
}

function paint() {
  painting = false;
  if (!live) return;
  const busy = then ? "" : loading;
  wall.render(then ?? live, { past: then !== null, chosen: choice.chosen, loading: busy });
  showHeader(then ?? live, busy);
  past.follow(live);
  history.follow(live);
  detail.follow(live);
}

/**
 * A snapshot does not tell how fast its pictures develop; their own events do.
 * @param {State} state
 */
async function recollect(state) {
  const running = [...state.frames.values()].filter(({ id, status }) => status === "running" && !state.makings.has(id));
  for (const { id } of running) {
    const found = await frameDetail(id);
    if (live?.epoch === state.epoch && !("trouble" in found)) become(recall(live, found.events));
  }
}

/** @param {import("./router.js").Place} next */
function open(next) {
  const elsewhere = next.view !== place.view;
  place = next;
  for (const view of document.querySelectorAll("main > .view")) view.toggleAttribute("hidden", view.id !== `view-${next.view}`);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${next.view === "wall" ? "" : next.view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  log.close();
  compare.close();
  history.close();
  if (elsewhere) scrollTo(0, 0);
  if (!live) return; // addresses of pictures name the log: the first state opens it
  if (next.view === "history") history.open(next.query);
  if (next.view === "log") log.open(next.query);
  if (next.view === "compare") compare.open(next.frames, live.epoch);
}

/** What shows words that are forgotten now is asked for again, with the filters that it has. */
function forget() {
  past.leave();
  open({ ...place, query: new URLSearchParams() });
}

writeHelp(byId("keys"));
showArrivals(byId("wall"));
runForm(byId("new-prompt"), (accepted) => notify(queuedText(accepted), () => stopJob(accepted.job)));
route(open, detail.look);
listenForKeys(makeActs({ view: () => place.view, wall, past, history, log, compare, detail, choice, undo }));
connect({
  state: (state) => {
    const another = live?.epoch !== state.epoch;
    const missed = live !== null && live.position < state.position; // what it was, nobody tells
    become(state);
    history.follow(state);
    if (another || missed) open(place);
    recollect(state);
  },
  event: (message) => {
    if (!live) return;
    const notice = message.seq > live.position ? noticeText(message) : null;
    if (notice) notify(notice);
    announce(tidings(live, message));
    log.hear(message);
    become(fold(live, message));
    if (message.type === "EventRedacted") forget();
    if (message.type === "PreviewWritten" && !then) wall.hurry(live.frames.get(message.data.frame));
  },
  loading: (stages) => {
    loading = loadingText(stages);
    paintSoon();
  },
  up: () => {
    banner.hide();
    wall.refetch();
  },
  down: (since) => banner.show(since, live !== null),
});
