/**
 * Runs a command: errors become one sentence and an exit code, an interrupt becomes an abort.
 *
 * The exit codes are one table for every command of ours: 0 done, 2 wrong usage, 3 bad or damaged package, 4 signature or
 * trust, 5 wrong device, version or base, 6 device I/O or space, 7 interrupted and can be resumed, 70 a bug.
 */
import { isOtaError, type OtaError } from "../core/errors.ts";
import { processIo, type Io } from "./io.ts";

export const EXIT_BUG = 70;
/** Input and output, as a device's. */
const EXIT_OUTPUT = 6;

/**
 * Exit code of a failure around a program whose own codes are an original's, so that ours are not read as its verdicts: 64 wrong
 * options, 7 interrupted, 69 everything else (a device description that cannot be read, a locked device).
 */
export function exitCodeBesideOriginal(error: OtaError): number {
  if (error.code === "USAGE") return 64;
  return error.code === "CANCELLED" ? error.exitCode : 69;
}

/** A command: arguments without the program's name in, exit code out. */
export type CommandMain = (argv: readonly string[], io: Io) => Promise<number>;

/** Whether the arguments ask for JSON, also when they could not be parsed any further. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return (end < 0 ? argv : argv.slice(0, end)).includes("--json");
}

/** Whether Commander ended the parsing. It is told by its name, as commands that do without it should not load it. */
function isParserError(e: unknown): e is Error & { readonly exitCode: number } {
  return e instanceof Error && e.name === "CommanderError" && "exitCode" in e;
}

/** Runs `main` and turns whatever it throws into a message and an exit code. Never throws. */
export async function runGuarded(
  name: string,
  main: CommandMain,
  argv: readonly string[],
  io: Io,
  exitCodeOf = (error: OtaError): number => error.exitCode,
): Promise<number> {
  try {
    return await main(argv, io);
  } catch (e) {
    // Commander has printed its own message and suggestion by then.
    if (isParserError(e)) return e.exitCode === 0 ? 0 : 2;
    if (isOtaError(e)) {
      if (wantsJson(argv)) io.out(`${JSON.stringify({ error: e.toJSON() })}\n`);
      io.err(`${name}: ${e.message}\n`);
      return exitCodeOf(e);
    }
    const error = e instanceof Error ? e : new Error(String(e));
    if (wantsJson(argv)) io.out(`${JSON.stringify({ error: { code: "BUG", message: error.message } })}\n`);
    io.err(`${name}: this is a bug, please report it: ${error.stack ?? error.message}\n`);
    return EXIT_BUG;
  }
}

/** The body of every launcher in `bin/`: runs `main` over the process's arguments and sets its exit code. */
export async function launch(
  name: string,
  main: CommandMain,
  makeIo = processIo,
  exitCodeOf?: (error: OtaError) => number,
): Promise<void> {
  const controller = new AbortController();
  const stop = (): void => {
    // The second interrupt ends the process at once; the first lets the command tidy up.
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  const io = makeIo(controller.signal, (e) => {
    io.err(`${name}: standard output cannot be written: ${e.code ?? e.message}\n`);
    // The codes of an original's program say how its work ended, and nothing else.
    process.once("exit", (code) => {
      if (code === 0 && exitCodeOf === undefined) process.exitCode = EXIT_OUTPUT;
    });
  });
  process.exitCode = await runGuarded(name, main, process.argv.slice(2), io, exitCodeOf);
  process.off("SIGINT", stop);
  process.off("SIGTERM", stop);
}
