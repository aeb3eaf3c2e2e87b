/**
 * `otaforge patch OLD NEW PATCH` for BSDIFF40 without the rest of the program: it runs on boards, where the option parser, its 30
 * modules and V8's optimiser would take more memory than the patch. Whatever it does not know, above all what is wrong, is left
 * to the full command, which says the same in the same words.
 */
import { fstatSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { applyBsdiff40 } from "../delta/bsdiff40/apply.ts";
import { isBsdiff40 } from "../delta/bsdiff40/header.ts";
import { PATCH_MEMORY_SIZE } from "../delta/bsdiff40/streams.ts";
import { createMemory, createWasmCore, loadCoreModule } from "../delta/core.node.ts";
import { openBlockingReader } from "../device/blocking-reader.ts";
import type { Io } from "./io.ts";
import { patchReport, writePatched } from "./patched-file.ts";
import { isProgressStyle, paintProgress, type ProgressStyle } from "./progress.ts";
import { printReport } from "./report.ts";
import { launch } from "./run.ts";

interface Request {
  readonly old: string;
  readonly fresh: string;
  readonly patch: string;
  readonly json: boolean;
  readonly style: ProgressStyle;
}

/** The arguments behind `patch`; undefined when there is anything unusual about them. */
export function quickRequest(argv: readonly string[]): Request | undefined {
  const operands: string[] = [];
  let json = false;
  let style = "auto";
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] as string;
    if (word === "--json") json = true;
    else if (word === "--progress") style = argv[++i] ?? "";
    else if (word.startsWith("--progress=")) style = word.slice("--progress=".length);
    else if (word.startsWith("-")) return undefined;
    else operands.push(word);
  }
  const [old, fresh, patch] = operands;
  if (operands.length !== 3 || old === undefined || fresh === undefined || patch === undefined) return undefined;
  return isProgressStyle(style) ? { old, fresh, patch, json, style } : undefined;
}

/** Linux's number of /dev/null: the only character device that is no terminal and usual here. */
const NULL_DEVICE = 0x103;

/** Whether progress would be painted: that takes what this form leaves out. */
function paints(style: ProgressStyle): boolean {
  if (style !== "auto") return false;
  const stat = fstatSync(2);
  return stat.isCharacterDevice() && stat.rdev !== NULL_DEVICE;
}

/** Writes all of a text to a descriptor. A reader that went away is no failure of ours. */
function writeText(file: number, text: string | Uint8Array): void {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(file, bytes, done);
    } catch (e) {
      const { code } = e as NodeJS.ErrnoException;
      if (code === "EPIPE") process.exit(0);
      if (code !== "EAGAIN") throw e;
      // A pipe that does not block and is full: its reader gets time.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** Standard streams by their descriptors: Node's own bring sockets and terminals with them. */
function plainIo(signal: AbortSignal): Io {
  return {
    out: (text) => {
      writeText(1, text);
    },
    err: (text) => {
      writeText(2, text);
    },
    stdin: (async function* () {})(),
    errIsTerminal: false,
    columns: 80,
    env: process.env,
    cwd: process.cwd(),
    signal,
  };
}

/** Opens the files; undefined when one cannot be, or the patch is of another format. */
async function opened(request: Request) {
  const files: Awaited<ReturnType<typeof openBlockingReader>>[] = [];
  try {
    for (const name of [request.old, request.patch]) files.push(await openBlockingReader(resolve(name)));
    const [old, patch] = files;
    if (old !== undefined && patch !== undefined && isBsdiff40(await patch.read(0, Math.min(8, patch.size)))) {
      return { old, patch };
    }
  } catch {
    // The full command opens them once more and says what is wrong.
  }
  for (const file of files) file.close();
  return undefined;
}

/**
 * Runs the command if this form can. @param argv what follows `patch`
 * @returns whether it did; if not, nothing has happened
 */
export async function quickPatch(argv: readonly string[]): Promise<boolean> {
  const request = quickRequest(argv);
  if (request === undefined || paints(request.style)) return false;
  const module = loadCoreModule();
  const files = module === undefined ? undefined : await opened(request);
  if (module === undefined || files === undefined) return false;
  // What is left of JavaScript moves bytes between calls of the core: optimising it costs 3 MiB and saves nothing. A scavenge
  // leaves next to nothing alive, so a larger new space would only be touched once.
  setFlagsFromString("--no-opt");
  setFlagsFromString("--semi-space-growth-factor=1");
  const { old, patch } = files;
  const main = async (_: readonly string[], io: Io): Promise<number> => {
    const startMs = performance.now();
    const progress = paintProgress(io, request.style);
    try {
      const content = applyBsdiff40(old, patch, {
        check: "along",
        borrow: true,
        core: createWasmCore(module, createMemory(PATCH_MEMORY_SIZE)),
        signal: io.signal,
        progress: (event) => {
          progress.progress(event);
        },
      });
      const made = await writePatched(content, resolve(request.fresh));
      progress.done();
      const sizes = { oldSize: old.size, patchSize: patch.size };
      const report = patchReport({ format: "bsdiff40", ...sizes, ...made, name: request.fresh, startMs });
      return printReport(report, request, io);
    } finally {
      old.close();
      patch.close();
    }
  };
  await launch("otaforge", main, plainIo);
  return true;
}
