/** What a file of `commands/` exports for the front door. */
import { Command } from "commander";
import type { Io } from "./io.ts";

/** One subcommand of `otaforge`. `build` makes it with its options; its action sets the exit code through `done`. */
export interface Subcommand {
  build(io: Io, done: (exitCode: number) => void): Promise<Command>;
}

/** A commander command that never ends the process and prints through `io`; every command is made by it. */
export function newCommand(name: string, io: Io): Command {
  return new Command(name).exitOverride().configureOutput({
    writeOut: (text) => io.out(text),
    writeErr: (text) => io.err(text),
    getOutHelpWidth: () => io.columns,
    getErrHelpWidth: () => io.columns,
    getErrHasColors: () => false,
    getOutHasColors: () => false,
  });
}
