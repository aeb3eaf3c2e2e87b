/** Packers of a building machine: bzip2 in WebAssembly, brotli of the platform, xz as a program where there is one. */
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import { OtaError } from "../../core/errors.ts";
import { createAnyCore } from "../../delta/any-core.node.ts";
import { compressBzip2 } from "../../delta/bzip2/compress.ts";
import { PIECE_MEMORY_SIZE, type Cutting } from "../../delta/bzip2/writer.ts";
import type { PayloadPackers } from "./packers.ts";

/** Blocks as bzip2 -9 cuts them: finer ones gain 1 % of what xz mostly wins anyway, for several times the work. */
const WHOLE_BLOCKS: Cutting = Object.freeze({ leaf: 899_981, leaves: 1, merge: false });

const brotliAsync = promisify(brotliCompress);

/** Runs `xz`; undefined when the machine has none. @throws OtaError CODEC_DAMAGED when it fails */
async function runXz(args: readonly string[], input: Uint8Array): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn("xz", args, { stdio: ["pipe", "pipe", "pipe"] });
    const parts: Buffer[] = [];
    let errors = "";
    child.on("error", (e) => {
      if ((e as NodeJS.ErrnoException).code === "ENOENT") resolve(undefined);
      else reject(e);
    });
    child.stdin.on("error", () => undefined);
    child.stdout.on("data", (part: Buffer) => parts.push(part));
    child.stderr.on("data", (part: Buffer) => (errors = (errors + part.toString()).slice(-500)));
    child.on("close", (status) => {
      if (status === 0) resolve(new Uint8Array(Buffer.concat(parts)));
      else reject(new OtaError("CODEC_DAMAGED", { what: "xz failed", found: errors.trim() }));
    });
    child.stdin.end(input);
  });
}

// One thread: more would cut the stream into blocks whose size depends on the machine.
const XZ_ARGUMENTS = ["--format=xz", "--check=crc32", "-T1", "-6", "--stdout", "-"] as const;

/** @param jobs operations worked on at once; default: all processors */
export async function createPackers(jobs: number = availableParallelism()): Promise<PayloadPackers> {
  const hasXz = (await runXz(["--version"], new Uint8Array(0)).catch(() => undefined)) !== undefined;
  const core = createAnyCore(PIECE_MEMORY_SIZE);
  return {
    jobs,

    bzip2: async (bytes) => compressBzip2(bytes, WHOLE_BLOCKS, core),
    brotli: async (bytes) =>
      new Uint8Array(
        await brotliAsync(bytes, {
          params: {
            [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
            [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
            [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
          },
        }),
      ),
    ...(hasXz ? { xz: async (bytes: Uint8Array) => (await runXz(XZ_ARGUMENTS, bytes)) ?? bytes } : {}),
  };
}
