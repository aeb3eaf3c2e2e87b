/** Progress as a model: events in, a state with percent, speed and time left out. Painting is the caller's. */
import type { Clock, ProgressEvent, ProgressSink } from "./ports.ts";

export interface ProgressState {
  readonly event: ProgressEvent;
  /** 0 to 1; 1 only when all bytes are done. */
  readonly fraction: number;
  /** Bytes a second over the phase so far; 0 until something is measured. */
  readonly bytesPerSecond: number;
  /** Seconds left at that speed; undefined while unknown. */
  readonly secondsLeft?: number;
}

/** A sink that swallows everything. */
export const silentProgress: ProgressSink = { progress() {}, note() {} };

/** Follows events and tells the state after each. One per piece of work. */
export function progressModel(clock: Pick<Clock, "monotonicMs">): (event: ProgressEvent) => ProgressState {
  let phase: string | undefined;
  let startMs = 0;
  let startBytes = 0;
  return (event) => {
    const now = clock.monotonicMs();
    if (event.phase !== phase) {
      phase = event.phase;
      startMs = now;
      startBytes = event.doneBytes;
    }
    const seconds = (now - startMs) / 1000;
    const bytesPerSecond = seconds > 0 ? (event.doneBytes - startBytes) / seconds : 0;
    const fraction = event.totalBytes > 0 ? Math.min(1, event.doneBytes / event.totalBytes) : 1;
    return {
      event,
      fraction,
      bytesPerSecond,
      ...(bytesPerSecond > 0 ? { secondsLeft: (event.totalBytes - event.doneBytes) / bytesPerSecond } : {}),
    };
  };
}

/** `12.3 MiB`, `417 B`: binary units, for people. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(1)} ${units[unit] as string}`;
}
