/** Runs a package's own `update-binary` on a board, where the user asks for it (formats/android.md section 4.5). */
import { BINARY_NAME } from "../android/entry-names.ts";
import { spawn } from "node:child_process";
import { chmod, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { OtaError } from "../core/errors.ts";
import type { ZipArchive } from "../core/zip/index.ts";
import { deviceError } from "../device/system-errors.ts";

/** Version of the protocol that recovery 4.4 and later speak. */
const API_VERSION = "3";

export interface UpdateBinaryRun {
  readonly zip: ZipArchive;
  /** Path of the package, which the program opens itself. */
  readonly path: string;
  readonly pipe: (line: string) => void;
  readonly log: (text: string) => void;
  readonly retry?: boolean;
}

/** Exit code of the program; a signal counts as 128 and its number, as in a shell. @throws OtaError ZIP_MISSING, DEVICE_* */
export async function runUpdateBinary({ zip, path, pipe, log, retry }: UpdateBinaryRun): Promise<number> {
  const entry = zip.need(BINARY_NAME);
  const folder = await mkdtemp(join(tmpdir(), "otaforge-update-"));
  try {
    const program = join(folder, "update_binary");
    const file = await open(program, "wx", 0o700);
    try {
      for await (const chunk of zip.stream(entry)) await file.write(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await chmod(program, 0o755);
    return await new Promise<number>((resolve, reject) => {
      const args = [API_VERSION, "3", path, ...(retry === true ? ["retry"] : [])];
      const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe", "pipe"], cwd: "/" });
      child.stdout?.setEncoding("latin1").on("data", log);
      child.stderr?.setEncoding("latin1").on("data", log);
      const commands = createInterface({ input: child.stdio[3] as Readable });
      commands.on("line", pipe);
      child.on("error", (e) => {
        const failure = deviceError(e, program) as Error;
        reject(failure);
      });
      child.on("close", (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @throws OtaError USAGE on anything but a board */
export function checkRunUpdateBinary(kind: "board" | "image" | "simulated"): void {
  if (kind === "board") return;
  throw new OtaError("USAGE", {
    what: "--run-update-binary runs a program of the package and works on a board only",
    hint: "Without it our own interpreter runs the update script, on any device.",
  });
}
