/**
 * Executes a transfer list on an image in memory: what a list is judged by. It knows nothing of how lists are made, reads the
 * text as the updater does, and stops at the first command that reads what was overwritten or saved wrongly.
 */
import { concatBytes, toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Digests } from "../../core/ports.ts";
import { memoryReader } from "../../core/streams.ts";
import { applyBsdiff40 } from "../../delta/index.ts";
import { applyImgdiff2 } from "../../delta/imgdiff/apply.ts";

const BLOCK = 4096;

export interface SimulatedUpdate {
  readonly list: string;
  readonly newData: Uint8Array;
  readonly patchData: Uint8Array;
}

export interface SimulationResult {
  /** The image afterwards. */
  readonly image: Uint8Array;
  /** Most blocks in the stash at once, implicit ones included. */
  readonly maxStashedBlocks: number;
  readonly writtenBlocks: number;
}

function fail(line: number, what: string, found?: string): OtaError {
  return new OtaError("ANDROID_NOT_POSSIBLE", {
    what: `the transfer list is wrong: ${what}`,
    where: `line ${line + 1}`,
    ...(found === undefined ? {} : { found }),
  });
}

async function gather(stream: ByteStream): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return concatBytes(...parts);
}

/** @throws OtaError ANDROID_NOT_POSSIBLE at a wrong command, and what damaged patches throw */
export async function simulateUpdate(
  old: Uint8Array,
  update: SimulatedUpdate,
  digests: Digests,
): Promise<SimulationResult> {
  const image = old.slice();
  const lines = update.list.split("\n").filter((l) => l !== "");
  const version = Number(lines[0]);
  const total = Number(lines[1]);
  const stash = new Map<string, Uint8Array>();
  let stashed = 0;
  let most = 0;
  let written = 0;
  let newAt = 0;
  const sha1 = (bytes: Uint8Array): string => {
    const digest = digests.create("sha1");
    digest.update(bytes);
    return toHex(digest.digest());
  };

  for (const [n, line] of lines.entries()) {
    if (n < (version === 1 ? 2 : 4)) continue;
    const words = line.split(" ");
    let w = 0;
    const word = (): string => {
      const next = words[w++];
      if (next === undefined) throw fail(n, "a word is missing", line);
      return next;
    };
    const rangeOf = (text: string): [number, number][] => {
      const [count, ...values] = text.split(",").map(Number);
      if (count === undefined || count !== values.length || count === 0 || count % 2 !== 0)
        throw fail(n, "bad range", text);
      const pairs: [number, number][] = [];
      for (let i = 0; i < count; i += 2) {
        const [start, end] = [values[i] as number, values[i + 1] as number];
        if (!(start >= 0 && start < end)) throw fail(n, "bad range", text);
        pairs.push([start, end]);
      }
      return pairs;
    };
    const read = (pairs: [number, number][], from = image): Uint8Array => {
      const parts = pairs.map(([s, e]) => {
        if (e * BLOCK > from.length) throw fail(n, "a range leaves the image", line);
        return from.subarray(s * BLOCK, e * BLOCK);
      });
      return concatBytes(...parts);
    };
    const write = (pairs: [number, number][], data: Uint8Array): void => {
      let at = 0;
      for (const [s, e] of pairs) {
        const size = (e - s) * BLOCK;
        if (at + size > data.length || e * BLOCK > image.length)
          throw fail(n, "a range leaves the image or its data", line);
        image.set(data.subarray(at, at + size), s * BLOCK);
        at += size;
      }
      if (at !== data.length) throw fail(n, "data is longer than its blocks", line);
      written += at / BLOCK;
    };
    const command = word();
    const source = (): { data: Uint8Array; ranges: [number, number][] } => {
      if (version === 1) {
        const pairs = rangeOf(word());
        return { data: read(pairs), ranges: pairs };
      }
      const buffer = new Uint8Array(Number(word()) * BLOCK);
      const first = word();
      const inPlace = first === "-" ? [] : rangeOf(first);
      const place = (pairs: [number, number][], data: Uint8Array): void => {
        let at = 0;
        for (const [s, e] of pairs) {
          buffer.set(data.subarray(at, at + (e - s) * BLOCK), s * BLOCK);
          at += (e - s) * BLOCK;
        }
      };
      if (inPlace.length > 0) place(w < words.length ? rangeOf(word()) : [[0, buffer.length / BLOCK]], read(inPlace));
      while (w < words.length) {
        const [name, range] = word().split(":") as [string, string];
        const data = stash.get(name);
        if (data === undefined) throw fail(n, "a stash is not there", name);
        place(rangeOf(range), data);
      }
      return { data: buffer, ranges: inPlace };
    };
    switch (command) {
      case "erase":
      case "zero": {
        const pairs = rangeOf(word());
        for (const [s, e] of pairs) image.fill(0, s * BLOCK, e * BLOCK);
        if (command === "zero") written += pairs.reduce((sum, [s, e]) => sum + e - s, 0);
        break;
      }
      case "new": {
        const pairs = rangeOf(word());
        const size = pairs.reduce((sum, [s, e]) => sum + e - s, 0) * BLOCK;
        write(pairs, update.newData.subarray(newAt, newAt + size));
        newAt += size;
        break;
      }
      case "stash": {
        const name = word();
        const data = read(rangeOf(word()));
        if (version >= 3 && sha1(data) !== name) throw fail(n, "blocks are saved after they were overwritten", name);
        if (stash.has(name)) throw fail(n, "a stash is written twice", name);
        stash.set(name, data);
        stashed += data.length / BLOCK;
        most = Math.max(most, stashed);
        break;
      }
      case "free": {
        const name = word();
        const data = stash.get(name);
        if (data === undefined) throw fail(n, "a stash is freed twice", name);
        stashed -= data.length / BLOCK;
        stash.delete(name);
        break;
      }
      case "move":
      case "bsdiff":
      case "imgdiff": {
        const [offset, length] = command === "move" ? [0, 0] : [Number(word()), Number(word())];
        const sourceHash = version >= 3 ? word() : "";
        const targetHash = version >= 3 ? (command === "move" ? sourceHash : word()) : "";
        const early = version === 1 ? source() : undefined;
        const targets = rangeOf(word());
        const from = early ?? source();
        if (version >= 3 && sha1(from.data) !== sourceHash) throw fail(n, "source blocks were overwritten", line);
        const overlap = from.ranges.some(([s, e]) => targets.some(([ts, te]) => s < te && ts < e));
        if (version >= 3 && overlap) most = Math.max(most, stashed + from.data.length / BLOCK);
        const patch = memoryReader(update.patchData.subarray(offset, offset + length));
        const data =
          command === "move"
            ? from.data
            : await gather((command === "bsdiff" ? applyBsdiff40 : applyImgdiff2)(memoryReader(from.data), patch));
        if (version >= 3 && sha1(data) !== targetHash) throw fail(n, "a patch gives the wrong result", line);
        write(targets, data);
        break;
      }
      default:
        throw fail(n, "unknown command", command);
    }
  }
  if (stash.size > 0) throw fail(lines.length, "stashes are left", [...stash.keys()].join(" "));
  if (newAt !== update.newData.length) throw fail(lines.length, "new data is left");
  if (written > total) throw fail(1, "more blocks are written than the list says", String(written));
  return { image, maxStashedBlocks: most, writtenBlocks: written };
}
