// @ts-check
/**
 * The composition: stream → state → page. Everything is wired here and nowhere else.
 *
 * Messages are folded as they come and painted once a display frame, whatever their number.
 */
import { requestStop } from "./api.js";
import { showArrivals } from "./arrivals.js";
import { makeCard } from "./card.js";
import { fold, fromSnapshot } from "./fold.js";
import { runForm } from "./form.js";
import { makeHeader } from "./header.js";
import { makeNotices } from "./notices.js";
import { makePrint } from "./print.js";
import { follow } from "./stream.js";
import { makeWall } from "./wall.js";
import { clock, noticeText } from "./words.js";

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const openPrint = makePrint(/** @type {HTMLDialogElement} */ (byId("print")));
const template = /** @type {HTMLTemplateElement} */ (byId("card"));
const rows = { developing: byId("developing"), waiting: byId("waiting"), ended: byId("ended") };
const wall = makeWall(byId("wall"), rows, (frame, epoch) =>
  makeCard(frame, { template, epoch, stop: requestStop, open: (shown) => openPrint(shown, epoch) }));
const showHeader = makeHeader(document);
const notify = makeNotices(byId("notices"));

/** @type {import("./fold.js").State | null} */
let state = null;
let painting = false;

/** @param {import("./fold.js").State} newer */
function become(newer) {
  state = newer;
  if (painting) return;
  painting = true;
  requestAnimationFrame(paint);
}

function paint() {
  painting = false;
  if (!state) return;
  wall.render(state);
  showHeader(state);
}

/** @param {Date} since */
function showSilence(since) {
  const known = state ? `showing what was known at ${clock(since)}` : "nothing is known yet";
  byId("banner").hidden = false;
  byId("banner").textContent = `Safelight is not answering — ${known}; it reconnects by itself`;
  document.body.classList.add("dark-lamp");
}

function hideSilence() {
  byId("banner").hidden = true;
  document.body.classList.remove("dark-lamp");
  wall.refetch();
}

showArrivals(byId("wall"));
runForm(/** @type {HTMLFormElement} */ (byId("new-prompt")));
follow("/api/events", {
  snapshot: (snapshot, epoch) => become(fromSnapshot(snapshot, epoch)),
  event: (message) => {
    if (!state) return;
    const notice = message.seq > state.position ? noticeText(message) : null;
    if (notice) notify(notice);
    become(fold(state, message));
  },
  up: hideSilence,
  down: showSilence,
});
