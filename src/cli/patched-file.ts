/** Writes what a patch makes, and says so: the part of `otaforge patch` that both its forms share. */
import { createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { OtaError } from "../core/errors.ts";
import type { ByteStream } from "../core/ports.ts";
import { formatBytes } from "../core/progress.ts";
import type { Report } from "./family.ts";
import { writeBeside } from "./write-beside.ts";

/** Bytes between two looks at what else happened, an interrupt above all. */
const PAUSE_BYTES = 1024 * 1024;

export interface PatchedFile {
  readonly newSize: number;
  /** SHA-256 of the new file, hex. */
  readonly sha256: string;
}

/** Writes the stream to `target`, which appears when it is complete. Chunks need to be valid until the next only. */
export async function writePatched(content: ByteStream, target: string): Promise<PatchedFile> {
  // node:zlib, which the house's digests load for CRC-32, takes memory of its own.
  const digest = createHash("sha256");
  const newSize = await writeBeside(target, async (temporary) => {
    const file = openSync(temporary, "wx");
    let at = 0;
    let paused = 0;
    try {
      for await (const bytes of content) {
        digest.update(bytes);
        for (let done = 0; done < bytes.length;) {
          done += writeSync(file, bytes, done, bytes.length - done, at + done);
        }
        at += bytes.length;
        if (at - paused < PAUSE_BYTES) continue;
        paused = at;
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      closeSync(file);
    }
    return at;
  });
  return { newSize, sha256: digest.digest("hex") };
}

/** What a patch makes; damage is told with the patch's name, as the user gave it. */
export async function* madeBy(patchName: string, content: ByteStream): ByteStream {
  try {
    yield* content;
  } catch (e) {
    if (!(e instanceof OtaError) || e.kind !== "format") throw e;
    const { where, hint = "The patch is damaged or cut short: get it anew.", ...details } = e.details;
    const place = where === undefined ? patchName : `${patchName}, ${where}`;
    throw new OtaError(e.code, { ...details, where: place, hint }, e);
  }
}

export interface PatchRun extends PatchedFile {
  readonly format: string;
  readonly oldSize: number;
  readonly patchSize: number;
  /** The new file as the user named it. */
  readonly name: string;
  /** When the command began, by `performance.now`. */
  readonly startMs: number;
}

export function patchReport({ format, oldSize, patchSize, newSize, sha256, name, startMs }: PatchRun): Report {
  const seconds = Math.round(performance.now() - startMs) / 1000;
  return {
    text: `${name}: ${formatBytes(newSize)}, sha256 ${sha256}, ${format}, ${seconds.toFixed(1)} s`,
    json: { format, oldSize, patchSize, newSize, sha256, seconds },
    exitCode: 0,
  };
}
