/** Mutations of SigmaStar packages, shared by the short and the long suite. */
import { equalBytes, writeU32 } from "../../src/core/bytes.ts";
import { OtaError } from "../../src/core/errors.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { headerSum, md5Of } from "../../src/sigmastar/integrity.ts";
import { mapPackage, verifyPackage } from "../../src/sigmastar/read.ts";
import type { PackageMap } from "../../src/sigmastar/read.ts";
import { chunked, digests } from "./sigmastar.ts";

/** `fine`, or the code of the typed error. Anything else is thrown on. */
export async function outcome(bytes: Uint8Array): Promise<string> {
  try {
    await verifyPackage(chunked(bytes), digests);
    return "fine";
  } catch (e) {
    if (e instanceof OtaError && e.kind === "format") return e.code;
    throw e;
  }
}

/** Bytes of the record heads that v0.x does not protect and whose meaning a flip may change: all but sizes and check values. */
function unprotected(map: PackageMap): (at: number) => boolean {
  if (map.format.integrity === "md5") return () => false;
  return (at) => map.records.some((r) => at >= r.offset && at < r.payloadOffset);
}

/** Which offsets are tried: every `step`-th one from `start` on; by default all. */
export interface Every {
  readonly step: number;
  readonly start: number;
}

const ALL: Every = { step: 1, start: 0 };

/** Flips every byte once, with a mask that differs from byte to byte. */
export async function flips(bytes: Uint8Array, { step, start }: Every = ALL): Promise<void> {
  const map = await mapPackage(memoryReader(bytes), digests);
  const free = unprotected(map);
  const copy = bytes.slice();
  for (let at = start; at < bytes.length; at += step) {
    (copy[at] as number) ^= (at * 37) % 255 || 255;
    const code = await outcome(copy);
    if (code === "fine" && !free(at)) throw new Error(`a flip at ${at} was not noticed`);
    copy[at] = bytes[at] as number;
  }
}

/** Cuts at every offset. */
export async function truncations(bytes: Uint8Array, { step, start }: Every = ALL): Promise<void> {
  for (let length = start; length < bytes.length; length += step) {
    const code = await outcome(bytes.subarray(0, length));
    if (code === "fine") throw new Error(`a cut at ${length} was not noticed`);
  }
}

const EXTREMES = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff];

function reseal(bytes: Uint8Array, map: PackageMap): void {
  if (map.format.integrity === "md5") bytes.set(md5Of(digests, bytes.subarray(16, 128)), 0);
  else {
    const header = bytes.slice(0, map.format.headerSize);
    writeU32(bytes, 0, headerSum(header, map.beginScript, map.endScript));
  }
}

/** Puts every size, count and total to its extremes, once as it is and once with the header's check value made right again. */
export async function extremes(bytes: Uint8Array): Promise<void> {
  const map = await mapPackage(memoryReader(bytes), digests);
  const names = /^(fileSize|totalSize|blkCount|beginShFileSize|endShFileSize)$/;
  const places: { at: number; size: number; header: boolean }[] = [];
  for (const [name, field] of Object.entries(map.format.header.fields)) {
    if (names.test(name)) places.push({ at: field.offset, size: field.size, header: true });
  }
  for (const record of map.records) {
    for (const [name, field] of Object.entries(map.format.record.fields)) {
      if (names.test(name)) places.push({ at: record.offset + field.offset, size: field.size, header: false });
    }
  }
  for (const place of places) {
    for (const low of EXTREMES) {
      for (const high of place.size === 8 ? EXTREMES : [undefined]) {
        for (const sealed of place.header ? [false, true] : [false]) {
          const copy = bytes.slice();
          writeU32(copy, place.at, low);
          if (high !== undefined) writeU32(copy, place.at + 4, high);
          if (equalBytes(copy, bytes)) continue;
          if (sealed) reseal(copy, map);
          if ((await outcome(copy)) === "fine") throw new Error(`${low} at ${place.at} was not noticed`);
          await mapPackage(memoryReader(copy), digests).then(
            () => {
              // Only a digest of head and payload tells: seeking does not read payloads.
              if (place.header) throw new Error(`${low} at ${place.at} was not noticed by the map`);
            },
            (e: unknown) => {
              if (!(e instanceof OtaError)) throw e;
            },
          );
        }
      }
    }
  }
}
