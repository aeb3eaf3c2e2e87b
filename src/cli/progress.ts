/** Paints progress: a bar on a terminal, plain lines in a pipe, JSON lines on request. Always on standard error. */
import type { createLogUpdate } from "log-update";
import { formatBytes, progressModel } from "../core/progress.ts";
import type { ProgressEvent, ProgressSink } from "../core/ports.ts";
import { OtaError } from "../core/errors.ts";
import type { Io } from "./io.ts";

const STYLES = ["auto", "plain", "json", "none"] as const;

/** `auto`: bar on a terminal, plain lines elsewhere. */
export type ProgressStyle = (typeof STYLES)[number];

export function isProgressStyle(text: string): text is ProgressStyle {
  return STYLES.some((style) => style === text);
}

export function parseProgressStyle(text = "auto"): ProgressStyle {
  if (isProgressStyle(text)) return text;
  throw new OtaError("USAGE", {
    what: "unknown progress style",
    where: "--progress",
    expected: "auto, plain, json or none",
    found: text,
  });
}

const clock = { monotonicMs: () => performance.now() };

function label(event: ProgressEvent): string {
  const place = event.count === undefined ? "" : ` ${event.index ?? 0}/${event.count}`;
  return `${event.phase}${place}${event.item === undefined ? "" : ` ${event.item}`}`;
}

function duration(seconds: number): string {
  const s = Math.ceil(seconds);
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`;
}

/** A sink that paints; call `done` before anything else is printed. */
export interface Painter extends ProgressSink {
  done(): void;
}

export function paintProgress(io: Io, style: ProgressStyle): Painter {
  const resolved = style === "auto" ? (io.errIsTerminal ? "bar" : "plain") : style;
  if (resolved === "none")
    return { progress() {}, note: (level, text) => io.err(`${noteLine(level, text)}\n`), done() {} };
  if (resolved === "json") {
    return {
      progress: (event) => io.err(`${JSON.stringify({ type: "progress", ...event })}\n`),
      note: (level, text) => io.err(`${JSON.stringify({ type: "note", level, text })}\n`),
      done() {},
    };
  }
  return resolved === "bar" ? paintBar(io) : paintLines(io);
}

function noteLine(level: "info" | "warning", text: string): string {
  return level === "warning" ? `warning: ${text}` : text;
}

function paintLines(io: Io): Painter {
  const model = progressModel(clock);
  let lastStep = "";
  let lastTenth = -1;
  let lastMs = 0;
  return {
    progress(event) {
      const state = model(event);
      const step = `${event.phase}\0${event.item ?? ""}\0${event.index ?? ""}`;
      const tenth = Math.floor(state.fraction * 10);
      const now = performance.now();
      // One line a step, then one each 10 % or 5 s: readable in a CI log of any length.
      if (step === lastStep && tenth === lastTenth) return;
      if (step === lastStep && tenth < 10 && now - lastMs < 5000 && tenth - lastTenth < 1) return;
      lastStep = step;
      lastTenth = tenth;
      lastMs = now;
      const amount =
        event.totalBytes > 0 ? ` ${Math.floor(state.fraction * 100)} % of ${formatBytes(event.totalBytes)}` : "";
      io.err(`${label(event)}${amount}\n`);
    },
    note: (level, text) => io.err(`${noteLine(level, text)}\n`),
    done() {},
  };
}

function paintBar(io: Io): Painter {
  // Terminal control is 25 small modules, 50 ms and 5 MiB: a quick command ends before it is there.
  let paint: ReturnType<typeof createLogUpdate> | undefined;
  let ended = false;
  void import("log-update").then((module) => {
    if (!ended) paint = module.createLogUpdate(process.stderr);
  });
  const model = progressModel(clock);
  let lastMs = -1000;
  return {
    progress(event) {
      const state = model(event);
      if (paint === undefined) return;
      const now = performance.now();
      if (now - lastMs < 80 && state.fraction < 1) return;
      lastMs = now;
      const width = Math.max(10, Math.min(40, io.columns - 60));
      const full = Math.round(state.fraction * width);
      const percent = `${Math.floor(state.fraction * 100)}`.padStart(3);
      const left =
        state.secondsLeft === undefined || state.fraction >= 1 ? "" : `, ${duration(state.secondsLeft)} left`;
      const speed = state.bytesPerSecond > 0 ? ` ${formatBytes(state.bytesPerSecond)}/s${left}` : "";
      paint(`${"█".repeat(full)}${"░".repeat(width - full)} ${percent} % ${label(event)}${speed}`);
    },
    note(level, text) {
      paint?.clear();
      io.err(`${noteLine(level, text)}\n`);
    },
    done() {
      ended = true;
      paint?.clear();
      paint?.done();
      paint = undefined;
    },
  };
}

/** One sink that tells several. */
export function fanOut(...sinks: readonly ProgressSink[]): ProgressSink {
  return {
    progress(event) {
      for (const sink of sinks) sink.progress(event);
    },
    note(level, text) {
      for (const sink of sinks) sink.note(level, text);
    },
  };
}
