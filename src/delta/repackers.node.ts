/**
 * Re-packers that are programs: `xz`, `lz4` and `zstd`, where building and patching machine have them. Their output depends on
 * their version, so what is proven here is what this machine's program does; a patch says that its device needs the same.
 */
import { spawn } from "node:child_process";
import { equalBytes, readU16, readU32 } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { lz4LegacyAt } from "./forge/lz4.ts";
import { insideRepackers, type Repacker } from "./forge/repack.ts";
import type { PartFinder } from "./forge/scan.ts";
import { MAX_SEGMENT } from "./forge/segments.ts";
import { XZ_BRANCH_FILTERS, XZ_CHECKS, xzStreamAt, type XzStream } from "./forge/xz-stream.ts";

/** Runs a program over bytes. Undefined when it fails or gives more than `maxBytes`. */
async function filter(
  program: string,
  args: readonly string[],
  input: Uint8Array,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"] });
    const parts: Buffer[] = [];
    let size = 0;
    let tooLarge = false;
    child.on("error", (e) => {
      const code = (e as NodeJS.ErrnoException).code;
      if (code !== "ENOENT") reject(e);
      else reject(new OtaError("FORGE_REPACKER", { what: "a re-packer's program is not there", found: program }));
    });
    child.stdin.on("error", () => undefined);
    child.stdout.on("data", (part: Buffer) => {
      size += part.length;
      if (size > maxBytes) {
        tooLarge = true;
        child.kill();
      } else parts.push(part);
    });
    child.on("close", (status) => {
      resolve(status === 0 && !tooLarge ? new Uint8Array(Buffer.concat(parts)) : undefined);
    });
    child.stdin.end(input);
  });
}

function damaged(program: string): OtaError {
  return new OtaError("CODEC_DAMAGED", `${program} does not take these bytes or parameters`);
}

/** A program as a re-packer: how it packs with parameters, and which to try. */
interface Packing {
  readonly name: string;
  readonly id: number;
  unpack(packed: Uint8Array, maxBytes: number): Promise<Uint8Array | undefined>;
  /** Arguments for parameters; undefined for parameters that are none. */
  args(parameters: readonly number[], size: number): readonly string[] | undefined;
  candidates(packed: Uint8Array): readonly (readonly number[])[];
}

function repackerOf(packing: Packing): Repacker {
  const { name, id } = packing;
  const pack = async (data: Uint8Array, parameters: readonly number[]): Promise<Uint8Array> => {
    const args = packing.args(parameters, data.length);
    const packed = args === undefined ? undefined : await filter(name, args, data, 2 * data.length + 65536);
    if (packed === undefined) throw damaged(name);
    return packed;
  };
  return {
    name,
    id,
    inside: false,
    pack,
    async unpack(packed, size) {
      const data = await packing.unpack(packed, size);
      if (data?.length !== size) throw damaged(name);
      return data;
    },
    async prove(data, packed, hint) {
      const tried = packing.candidates(packed);
      const key = String(hint);
      for (const parameters of [...tried.filter((p) => String(p) === key), ...tried.filter((p) => String(p) !== key)]) {
        if (equalBytes(await pack(data, parameters), packed)) return parameters;
      }
      return undefined;
    },
  };
}

/** Parameters: check, branch filter, dictionary in KiB, preset (16 more: extreme). */
const XZ: Packing = {
  name: "xz",
  id: 16,
  unpack: (packed, maxBytes) => filter("xz", ["-dc", "-T1"], packed, maxBytes),
  args([check = -1, branch = -1, dictionaryKiB = 0, preset = -1]) {
    const checkName = XZ_CHECKS[check];
    const branchName = XZ_BRANCH_FILTERS[branch];
    if (checkName === undefined || (branch !== 0 && branchName === undefined)) return undefined;
    if (!(preset >= 0 && preset <= 25 && (preset & 15) <= 9 && dictionaryKiB >= 4 && dictionaryKiB <= 1536 * 1024))
      return undefined;
    const level = `${preset & 15}${preset >= 16 ? "e" : ""}`;
    const branches = branchName === undefined ? [] : [`--${branchName}`];
    return ["-c", "-T1", `--check=${checkName}`, ...branches, `--lzma2=preset=${level},dict=${dictionaryKiB}KiB`];
  },
  candidates(packed) {
    const { check, branch, dictionary } = xzStreamAt(packed, 0) as XzStream;
    return [6, 9, 25, 22].map((preset) => [check, branch, dictionary / 1024, preset]);
  },
};

/** Parameter: level. */
const LZ4: Packing = {
  name: "lz4",
  id: 17,
  async unpack(packed, maxBytes) {
    const found = lz4LegacyAt(packed, 0, maxBytes);
    return found?.size === packed.length ? found.content : undefined;
  },
  args: ([level = 0]) => (level >= 1 && level <= 12 ? ["-l", `-${level}`, "-c", "-q"] : undefined),
  candidates: () => [[9], [12], [1]],
};

/** Parameters: level; 1 when the size of the content is noted in the frame; 1 when there is a checksum. */
const ZSTD: Packing = {
  name: "zstd",
  id: 18,
  unpack: (packed, maxBytes) => filter("zstd", ["-dcq", "--memory=2048MB"], packed, maxBytes),
  args([level = 0, sized = 0, checked = 0], size) {
    if (!(level >= 1 && level <= 22)) return undefined;
    return [
      "-cq",
      "--single-thread",
      "--ultra",
      `-${level}`,
      ...(sized === 1 ? [`--stream-size=${size}`] : []),
      checked === 1 ? "--check" : "--no-check",
    ];
  },
  candidates(packed) {
    const flags = packed[4] as number;
    const sized = (flags & 0xe0) !== 0 ? 1 : 0;
    return [22, 19, 15, 3].map((level) => [level, sized, (flags >> 2) & 1]);
  },
};

/** Size of the zstd frame at `at`; undefined when there is none. */
function zstdFrameSize(bytes: Uint8Array, at: number): number | undefined {
  if (at + 10 > bytes.length || readU32(bytes, at) !== 0xfd2fb528) return undefined;
  const flags = bytes[at + 4] as number;
  const single = (flags >> 5) & 1;
  const sizes = [single, 2, 4, 8];
  let p = at + 5 + (1 - single) + ([0, 1, 2, 4][flags & 3] as number) + (sizes[flags >> 6] as number);
  for (;;) {
    if (p + 3 > bytes.length) return undefined;
    const head = readU16(bytes, p) + (bytes[p + 2] as number) * 65536;
    const type = (head >> 1) & 3;
    if (type === 3) return undefined;
    p += 3 + (type === 1 ? 1 : head >>> 3);
    if (p > bytes.length) return undefined;
    if ((head & 1) === 1) break;
  }
  const end = p + ((flags & 4) !== 0 ? 4 : 0);
  return end > bytes.length ? undefined : end - at;
}

const FINDERS: readonly PartFinder[] = [
  {
    firstByte: 0xfd,
    repacker: XZ.id,
    async find(bytes, at) {
      const stream = xzStreamAt(bytes, at);
      if (stream === undefined) return undefined;
      const content = await XZ.unpack(bytes.subarray(at, at + stream.size), MAX_SEGMENT);
      return content === undefined ? undefined : { size: stream.size, content };
    },
  },
  { firstByte: 0x02, repacker: LZ4.id, find: async (bytes, at) => lz4LegacyAt(bytes, at, MAX_SEGMENT) },
  {
    firstByte: 0x28,
    repacker: ZSTD.id,
    async find(bytes, at) {
      const size = zstdFrameSize(bytes, at);
      if (size === undefined) return undefined;
      const content = await ZSTD.unpack(bytes.subarray(at, at + size), MAX_SEGMENT);
      return content === undefined ? undefined : { size, content };
    },
  },
];

/** Names `--repack` takes. */
export const REPACKER_CHOICES = Object.freeze(["deflate", "zlib", "gzip", "xz", "lz4", "zstd"]);

/** Re-packers by name, and the finders of their streams. @throws OtaError USAGE for unknown names */
export function repackersNamed(names: readonly string[]): { repackers: Repacker[]; finders: readonly PartFinder[] } {
  const all = [...insideRepackers(), ...[XZ, LZ4, ZSTD].map(repackerOf)];
  for (const name of names) {
    if (!REPACKER_CHOICES.includes(name)) {
      throw new OtaError("USAGE", { what: "unknown re-packer", expected: REPACKER_CHOICES.join(", "), found: name });
    }
  }
  return { repackers: all.filter((r) => names.includes(r.name)), finders: FINDERS };
}
