/** What recovery shows, on standard output and on the screen of the board. */
import type { RecoveryUi } from "../android/index.ts";
import type { Io } from "./io.ts";
import type { OpenScreen } from "./screen.ts";

/** Parts of the bar: a screen counts whole numbers. */
const PARTS = 10_000;
/** Time between two steps of a part that only takes time, ms. */
const TICK_MS = 250;

/** Recovery's screen; `stop` ends its clock. */
export interface RecoveryScreen extends RecoveryUi {
  stop(): Promise<void>;
}

/**
 * The bar of recovery: parts one behind the other, each moved by `set_progress` or by time. `animated`: parts that only take time
 * move by the clock, as on the original's screen.
 */
export function recoveryScreen(io: Io, screen: OpenScreen | undefined, animated: boolean): RecoveryScreen {
  let base = 0;
  let share = 0;
  let within = 0;
  let phase: "verify" | "update" | "erase" = "update";
  let line = "";
  let timer: ReturnType<typeof setInterval> | undefined;
  let failed = false;
  const paint = (): void => {
    // An error stays on the screen until the restart.
    if (failed) return;
    const whole = Math.min(1, base + share * within);
    screen?.progress({ phase, item: line, doneBytes: Math.round(within * PARTS), totalBytes: PARTS });
    screen?.progress({ phase: "all records", doneBytes: Math.round(whole * PARTS), totalBytes: PARTS });
  };
  const halt = (): void => {
    if (timer !== undefined) clearInterval(timer);
    timer = undefined;
  };
  return {
    background(picture) {
      if (picture === "erasing") phase = "erase";
      if (picture === "installing") phase = "verify";
      if (picture === "error") {
        halt();
        failed = true;
        void screen?.failed(line === "" ? "Error!" : line);
      }
    },
    showProgress(fraction, seconds) {
      halt();
      base = Math.min(1, base + share);
      share = fraction;
      within = 0;
      if (base > 0) phase = "update";
      paint();
      if (!animated || seconds <= 0) return;
      timer = setInterval(() => {
        within = Math.min(1, within + TICK_MS / (seconds * 1000));
        paint();
      }, TICK_MS);
      timer.unref();
    },
    setProgress(fraction) {
      within = Math.max(0, Math.min(1, fraction));
      paint();
    },
    print(text) {
      io.out(Buffer.from(text.endsWith("\n") ? text : `${text}\n`, "latin1"));
      const shown = text.trim().split("\n").at(-1) ?? "";
      if (shown !== "") line = shown;
      paint();
    },
    showText: () => undefined,
    menu: async () => undefined,
    async stop() {
      halt();
      await screen?.finish();
    },
  };
}
