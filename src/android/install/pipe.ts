/** Lines of the update-binary protocol (formats/android.md section 4.5). */

/** What a line says. */
export type PipeCommand =
  | { readonly kind: "progress"; readonly fraction: number; readonly seconds: number }
  | { readonly kind: "set-progress"; readonly fraction: number }
  | { readonly kind: "print"; readonly text: string }
  | { readonly kind: "wipe-cache" | "clear-display" | "enable-reboot" | "retry-update" }
  | { readonly kind: "log"; readonly text: string }
  | { readonly kind: "unknown"; readonly word: string };

/** Reads one line, without its newline. Total: anything is at least `unknown`. */
export function readLine(line: string): PipeCommand {
  const [word = "", ...rest] = line.split(" ");
  const argument = rest.join(" ");
  switch (word) {
    case "progress":
      return {
        kind: "progress",
        fraction: Number(rest[0]) || 0,
        seconds: Math.trunc(Number(rest[1]) || 0),
      };
    case "set_progress":
      return { kind: "set-progress", fraction: Number(rest[0]) || 0 };
    case "ui_print":
      return { kind: "print", text: argument };
    case "wipe_cache":
      return { kind: "wipe-cache" };
    case "clear_display":
      return { kind: "clear-display" };
    case "enable_reboot":
      return { kind: "enable-reboot" };
    case "retry_update":
      return { kind: "retry-update" };
    case "log":
      return { kind: "log", text: argument };
    default:
      return { kind: "unknown", word };
  }
}
