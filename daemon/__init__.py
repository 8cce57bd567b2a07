"""Safelight: a daemon that runs SDXL jobs and lets people watch every picture develop.

The map. A prompt file dropped into the inbox becomes a job, a job's frames are made one after another
by a device's child process, every fact is an event in an append-only log, and everything else (the
queue, the tables, the page) is a fold of that log.

  __main__      the command line: reads settings once
  app           composition root: makes every part, starts every task; nesting is shutdown order
  settings      what a person may choose, and the folders of a home
  prompts       what a prompt file may hold; `parse` answers a Prompt or its faults          PURE
  faults        what is wrong with a JSON text, in words and places                          PURE
  locate        where things stand in a JSON text                                            PURE
  inbox         files dropped in a folder → jobs; the task
  drops         one dropped file at a time: look, claim, file away
  files         whole files or none, fsynced where it matters
  pictures      the names of pictures, their deletion, recent previews in memory
  web           the HTTP routes · upkeep: those that commands ask the history by · answers: what
                routes share
  sse           the log as server-sent events: one cursor per client
  guards        who may talk to the daemon
  server        uvicorn, living and ending inside a block
  address       where the running daemon is to be reached: `daemon.json`
  client        the commands' way to it
  commands/     what a person types: sql · log · export · replay · verify · rebuild · prune; options,
                rows (tables, CSV, JSON) and progress are common to them
  finals        finished pictures: deleted on purpose, and missed by a start
  moments       places in time as a person types them                                        PURE
  console       what a person sees in the terminal
  samples       sample prompts for a first look

  events/       types: the vocabulary (PURE) · codec: rows and the hash chain (PURE) · versions: how
                older layouts become today's (PURE) ·
                log: one writer, group commit, followers · store: the rows on disk, in
                database (DuckDB), journal (the same rows since the last seal) and
                segments (Parquet), sums (their checksums) · opening: compares the three and mends
  projections/  frames, jobs, claims, throughput: the folds · laws: what may follow what · state: what is
                open, with drafts · decisions: requests → events · rows: structs as rows (all PURE) ·
                tables: the derived DuckDB tables · rebuilding: they are made again, and compared ·
                restoring: memory from the tables
  history/      copies: the newest rows and the tables, for readers · reading: SQL over them in the asker's
                process · views, selection: that SQL (PURE) · query: a person's SQL as rows ·
                asking, alone: through the daemon, or without one · following: the log as it grows ·
                replay, export · audit: is all as it was recorded (checks, findings)
  gpu/          in the daemon: plan (which frame next, PURE) · wire (the messages, PURE) ·
                process (a child and its pipes) · device (one task per device) ·
                making (one frame's making) · recovery (frames whose maker is gone);
                in the child only: child · orders · work · sdxl · denoise · previews · demo

Start with `events/types`, then `app`.
"""
