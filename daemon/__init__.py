"""Safelight: a daemon that runs SDXL jobs and lets people watch every picture develop.

The map. A prompt file dropped into the inbox becomes a job, a job's frames are made one after another
by a device's child process, every fact is an event in an append-only log, and everything else (the
queue, the tables, the page) is a fold of that log.

  entry         where the command begins
  __main__      the command line: reads settings once
  commands/     terms: exit codes · mistakes: what was mistyped · submit, handing_in, waiting: a
                prompt on its way · status, overview: how things stand · queue: cancel, pause, resume,
                prioritise · doctor, with findings, house, machine, weights: what is wrong, and what to do
  app           composition root: makes every part, starts every task; nesting is shutdown order
  settings      what a person may choose, and the folders of a home
  prompts       one job as a person writes it; `parse` answers a Prompt or its faults        PURE
  sheets        what a prompt file may be: a job, several, or one on each line               PURE
  schema        the JSON Schema of prompt files, made from the same types                    PURE
  faults        what is wrong with a JSON text, in words and places                          PURE
  samplers      the samplers and schedulers that a prompt may name, and their pairings       PURE
  emphasis      weights and breaks in a prompt's words                                        PURE
  embeddings    learned words in a prompt                                                     PURE
  agreement     whether the keys of a job agree with each other and with the files there are  PURE
  tags          `<lora:name:0.8>` in a prompt                                                  PURE
  stock         the files in a home that a prompt may name
  misfits       what keeps a value from being of a type, part by part                        PURE
  words         a type as a person would say it                                              PURE
  locate        where things stand in a JSON text                                            PURE
  png           PNG as chunks: texts in, texts out                                           PURE
  parameters    A1111's text: written for our pictures, read from anyone's                   PURE
  workflow      ComfyUI's graph in API format → the keys of a prompt                         PURE
  reprints      a finished picture, or a workflow → the prompt that makes it again           PURE
  inbox         files dropped in a folder → jobs; the task
  arrivals      what lies in the inbox: ready in which order, or waiting, and why
  drops         one drop at a time: claim it, file it away
  watch         a folder's changes, as long as they can be had
  leases        whether anyone has a file open for writing
  mounts        what a folder lies on: can it be watched, can files be moved from it
  files         whole files or none, fsynced where it matters
  finals        finished pictures: deleted on purpose, or found gone
  pictures      the names of pictures, their deletion, recent previews in memory
  stages        what keeps devices from sampling: told while it lasts                       PURE
  strips        the kept steps of a frame's development, in one file
  web           the HTTP routes; answers: what they answer with; upkeep: those of the history;
                archive: those of what was; gallery: those of pictures
  control       pausing, cancelling, priorities, and how the queue stands
  sse           the log as server-sent events: one cursor per client
  pieces        what they get, made once for all at the same place
  guards        who may talk to the daemon
  server        uvicorn, living and ending inside a block
  address       where the running daemon is to be reached: `daemon.json`
  client        the commands' way to it
  console       what a person sees in the terminal
  samples       sample prompts for a first look
  models/demo   the built-in checkpoint: weights and their model card, no code
  moments       event numbers, dates and ages as people type them                            PURE

  events/       types: the vocabulary (PURE) · codec: rows and the hash chain (PURE) · versions: how
                older layouts become today's (PURE) ·
                redaction: words taken out of a row (PURE) ·
                log: one writer, group commit, followers · rounds: the decisions of one commit ·
                store: the rows on disk, in
                journal (the commit: all rows since the last seal), database (DuckDB, a moment behind) and
                segments (Parquet) · sums: their checksums · opening: compares the three and mends ·
                rewriting: the same files without redacted words
  projections/  frames, jobs, claims, throughput: the folds · laws: what may follow what · state: what is
                open, with drafts · decisions: requests → events · rows: structs as rows (all PURE) ·
                tables: the derived DuckDB tables · rebuilding: they are made again, and compared ·
                restoring: memory from the tables · kept: as a clean end put it down ·
                pages: frames by the page, and the wall as it once was
  history/      asking the past: views of it as SQL (PURE) · reading and query: SQL in the asker's own
                process, over the segments and fresh copies · selection: which events (PURE) ·
                logpage: a page of them ·
                following, replay, export · audit, with its checks, forgotten and findings · redacting:
                words forgotten in a whole home · asking and alone: with a daemon or without
  commands/     one module per command: submit, status, queue (cancel, pause …), doctor, samplers, models,
                sql, log, replay, verify, export, rebuild, prune, redact; and what they are made of: options,
                terms, progress, rows, handing_in, waiting, overview, findings, house, machine, weights
  gpu/          in the daemon: plan (which frames next, and which at once, PURE) · wire (the messages,
                PURE) · process (a child and its pipes) · device (one task per device) · warm (what its
                child holds in memory) · making (one frame's making) · stored (frames' states on disk) ·
                sources (the files of a frame) · sums (their SHA-256) ·
                recovery (frames whose maker is gone);
                probe (what torch sees, for the doctor);
                in the child only: child · orders · work (a batch from its begin to its ends) · passes (and
                their checkpoints) · hardware · memory · spare (when it runs out) · reading (and how far) ·
                sdxl · single_file · whole (no hole in it) · denoise · transfers (what a sampler sends to a
                GPU) · conditioning · embeddings · images · hires · refiner · precision · speed · loras ·
                merging (what is put into the weights) · differences (LoHa, LoKr, DoRA …) · sgm (names of
                layers) · samplers · snapshots · view (what of a frame is shown, when) · previews · taesd ·
                formats (pixels → PNG, JPEG, WebP) · thumbnails;
                in a process of its own: animation (a strip → WebP or GIF)

Start with `events/types`, then `app`.
"""
