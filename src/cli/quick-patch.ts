/**
 * `otaforge patch OLD NEW PATCH` for BSDIFF40 without the rest of the program: it runs on boards, where the option parser, its 30
 * modules and V8's optimiser would take more memory than the patch. Whatever it does not know, above all what is wrong, is left
 * to the full command, which says the same in the same words.
 */
import { resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { applyBsdiff40 } from "../delta/bsdiff40/apply.ts";
import { isBsdiff40 } from "../delta/bsdiff40/header.ts";
import { PATCH_MEMORY_SIZE } from "../delta/bsdiff40/streams.ts";
import { createMemory, createWasmCore, loadCoreModule } from "../delta/core.node.ts";
import { openBlockingReader } from "../device/blocking-reader.ts";
import type { Io } from "./io.ts";
import { madeBy, patchReport, writePatched } from "./patched-file.ts";
import { paintProgress } from "./progress.ts";
import { printReport } from "./report.ts";
import { launch } from "./run.ts";
import { paints, plainIo, shortRequest, type ShortRequest } from "./short-form.ts";
import { placeFor } from "./write-beside.ts";

/** The arguments behind `patch`; undefined when there is anything unusual about them. */
export function quickRequest(argv: readonly string[]): ShortRequest | undefined {
  return shortRequest(argv, []);
}

/** Opens the files; undefined when one cannot be, or the patch is of another format. */
async function opened({ operands: [old, , patch] }: ShortRequest) {
  const files: Awaited<ReturnType<typeof openBlockingReader>>[] = [];
  try {
    const from = await openBlockingReader(resolve(old));
    files.push(from);
    const by = await openBlockingReader(resolve(patch));
    files.push(by);
    if (isBsdiff40(await by.read(0, Math.min(8, by.size)))) return { old: from, patch: by };
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
  const name = request.operands[1];
  const main = async (_: readonly string[], io: Io): Promise<number> => {
    const startMs = performance.now();
    const progress = paintProgress(io, request.style);
    try {
      await placeFor(resolve(name));
      const content = applyBsdiff40(old, patch, {
        check: "along",
        borrow: true,
        core: createWasmCore(module, createMemory(PATCH_MEMORY_SIZE)),
        signal: io.signal,
        progress: (event) => {
          progress.progress(event);
        },
      });
      const made = await writePatched(madeBy(request.operands[2], content), resolve(name));
      progress.done();
      const sizes = { oldSize: old.size, patchSize: patch.size };
      const report = patchReport({ format: "bsdiff40", ...sizes, ...made, name, startMs });
      return printReport(report, request, io);
    } finally {
      old.close();
      patch.close();
    }
  };
  await launch("otaforge", main, plainIo);
  return true;
}
