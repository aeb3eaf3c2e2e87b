/** Scripts of packages: text for `sh` on standard input, values in the environment, nothing spliced. */
import { existsSync } from "node:fs";
import { OtaError } from "../core/index.ts";
import type { ScriptRun, ScriptRunner } from "../core/index.ts";
import { runProgram } from "./run-program.ts";
import type { RunProgram } from "./run-program.ts";

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

/** @throws OtaError USAGE for a name that is no shell variable */
function checkNames(variables: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(variables)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || value.includes("\0")) {
      throw new OtaError("USAGE", { what: "not a shell variable", where: JSON.stringify(name) });
    }
  }
}

/** Runs scripts on this machine; `root` is a folder that stands for `/`, used as a private root when the user may. */
export function shellScripts(root: string | undefined, run: RunProgram = runProgram): ScriptRunner {
  return {
    async run({ text, variables }: ScriptRun) {
      checkNames(variables);
      const options = { input: one(text), variables, output: "show" } as const;
      const isPrivate = root !== undefined && process.getuid?.() === 0 && existsSync(`${root}/bin/sh`);
      // The shell takes every variable of its environment as a shell variable, so both ways of reading it work.
      const { exitCode } = isPrivate
        ? await run("chroot", [root, "/bin/sh"], options)
        : await run(
            "sh",
            [],
            root === undefined ? options : { ...options, folder: root, variables: { ...variables, OTA_ROOT: root } },
          );
      return { ran: true, exitCode };
    },
  };
}

/** Runs nothing: a PC that holds a board's picture is no board. */
export const notedScripts: ScriptRunner = {
  async run({ variables }) {
    checkNames(variables);
    return { ran: false, exitCode: 0 };
  },
};
