/**
 * Re-packers that are programs: `xz`, `lz4`, `zstd` and GNU `gzip`, where building and patching machine have them. Their output
 * depends on their version, so what is proven here is what this machine's program does; a patch says that its device needs the same.
 */
import { spawn } from "node:child_process";
import { equalBytes, readU32 } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import { LZ4_LEGACY_MAGIC, lz4LegacyAt, lz4LegacyReach, unpackLz4Block } from "./forge/lz4.ts";
import { GNU_GZIP, GZIP, LZ4, PACKED_WITH, XZ, ZSTD } from "./forge/packed-with.ts";
import { insideRepackers, type Repacker } from "./forge/repack.ts";
import { ScanSource, type PackedPart, type PartFinder } from "./forge/scan.ts";
import { squashfsLz4Finder } from "./forge/squashfs.ts";
import { withSizes, XZ_BRANCH_FILTERS, XZ_CHECKS, xzStreamAt } from "./forge/xz-stream.ts";
import { zstdFrameAt } from "./forge/zstd-frame.ts";

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
      const { code = "" } = e as NodeJS.ErrnoException;
      const missing = code === "ENOENT";
      reject(
        new OtaError(
          "FORGE_REPACKER",
          {
            what: `a re-packer's program ${missing ? "is not there" : "cannot be started"}`,
            found: missing ? program : `${program}: ${code}`,
            hint: "Install it, or make the patch without it (--repack).",
          },
          e,
        ),
      );
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
      const whole = status === 0 && !tooLarge ? Buffer.concat(parts) : undefined;
      resolve(whole === undefined ? undefined : new Uint8Array(whole.buffer, whole.byteOffset, whole.length));
    });
    child.stdin.end(input);
  });
}

function damaged(program: string): OtaError {
  return new OtaError("CODEC_DAMAGED", `${program} does not take these bytes or parameters`);
}

/** A program as a re-packer: how it packs with parameters, and which to try. */
interface Packing {
  readonly id: number;
  /** Content of `packed`, at most `maxBytes`; undefined when it is none. */
  unpack(packed: Uint8Array, maxBytes: number): Promise<Uint8Array | undefined>;
  /** Undefined for parameters that are none, and when the program fails. */
  pack(data: Uint8Array, parameters: readonly number[]): Promise<Uint8Array | undefined>;
  /** Parameters to try, the likeliest first. */
  candidates(packed: Uint8Array, size: number): Promise<readonly (readonly number[])[]>;
}

function repackerOf(packing: Packing): Repacker {
  const { id } = packing;
  const name = PACKED_WITH[id] as string;
  return {
    name,
    id,
    inside: false,
    async pack(data, parameters) {
      const packed = await packing.pack(data, parameters);
      if (packed === undefined) throw damaged(name);
      return packed;
    },
    async unpack(packed, size) {
      const data = await packing.unpack(packed, size);
      if (data?.length !== size) throw damaged(name);
      return data;
    },
    async prove(data, packed, hint) {
      const tried = await packing.candidates(packed, data.length);
      const key = String(hint);
      for (const parameters of [...tried.filter((p) => String(p) === key), ...tried.filter((p) => String(p) !== key)]) {
        const again = await packing.pack(data, parameters);
        if (again !== undefined && equalBytes(again, packed)) return parameters;
      }
      return undefined;
    },
  };
}

/** Most a packer may make of incompressible content. */
const mostPacked = (size: number): number => 2 * size + 65536;

/** From here on a failed attempt takes seconds: only the likeliest parameters are tried. */
const LARGE_CONTENT = 8 * 1024 * 1024;

const sourceOf = (bytes: Uint8Array): ScanSource => new ScanSource(memoryReader(bytes));

/** Parameters: check, branch filter, dictionary in KiB, preset (16 more: extreme), size of a block header that notes sizes or 0. */
const XZ_PACKING: Packing = {
  id: XZ,
  unpack: (packed, maxBytes) => filter("xz", ["-dc", "-T1"], packed, maxBytes),
  async pack(data, [check = -1, branch = -1, dictionaryKiB = 0, preset = -1, sizedHeader = 0]) {
    const checkName = XZ_CHECKS[check];
    const branchName = XZ_BRANCH_FILTERS[branch];
    if (checkName === undefined || (branch !== 0 && branchName === undefined)) return undefined;
    if (!(preset >= 0 && preset <= 25 && (preset & 15) <= 9 && dictionaryKiB >= 4 && dictionaryKiB <= 1536 * 1024))
      return undefined;
    const level = `${preset & 15}${preset >= 16 ? "e" : ""}`;
    const branches = branchName === undefined ? [] : [`--${branchName}`];
    const lzma2 = `--lzma2=preset=${level},dict=${dictionaryKiB}KiB`;
    const stream = await filter(
      "xz",
      ["-c", "-T1", `--check=${checkName}`, ...branches, lzma2],
      data,
      mostPacked(data.length),
    );
    if (stream === undefined || sizedHeader === 0) return stream;
    const parsed = await xzStreamAt(sourceOf(stream), 0);
    return parsed === undefined ? undefined : withSizes(stream, parsed, data.length, sizedHeader);
  },
  async candidates(packed, size) {
    const stream = await xzStreamAt(sourceOf(packed), 0);
    if (stream === undefined) return [];
    const { check, branch, dictionary, sizedHeader } = stream;
    const presets = size > LARGE_CONTENT ? [6, 9, 25] : [6, 9, 25, 22, 3, 0];
    return presets.map((preset) => [check, branch, dictionary / 1024, preset, sizedHeader]);
  },
};

/** Size of a legacy frame's magic and of its only block's size. */
const LZ4_HEAD = 8;

/** Parameters: level; 1 for a bare block, as squashfs has them, instead of a legacy frame. */
const LZ4_PACKING: Packing = {
  id: LZ4,
  async unpack(packed, maxBytes) {
    if (packed.length >= LZ4_HEAD && readU32(packed, 0) === LZ4_LEGACY_MAGIC) {
      const found = lz4LegacyAt(packed, 0, maxBytes);
      if (found?.size === packed.length) return found.content;
    }
    return unpackLz4Block(packed, maxBytes);
  },
  async pack(data, [level = 0, bare = 0]) {
    if (!(level >= 1 && level <= 12)) return undefined;
    const frame = await filter("lz4", ["-l", `-${level}`, "-c", "-q"], data, mostPacked(data.length));
    return bare === 1 ? frame?.subarray(LZ4_HEAD) : frame;
  },
  async candidates(packed) {
    const bare = packed.length >= LZ4_HEAD && readU32(packed, 0) === LZ4_LEGACY_MAGIC ? 0 : 1;
    return [9, 12, 1].map((level) => [level, bare]);
  },
};

/** Parameters: level; 1 when the size of the content is noted in the frame; 1 when there is a checksum. */
const ZSTD_PACKING: Packing = {
  id: ZSTD,
  unpack: (packed, maxBytes) => filter("zstd", ["-dcq", "--memory=2048MB"], packed, maxBytes),
  async pack(data, [level = 0, sized = 0, checked = 0]) {
    if (!(level >= 1 && level <= 22)) return undefined;
    const args = ["-cq", "--single-thread", "--ultra", `-${level}`, checked === 1 ? "--check" : "--no-check"];
    if (sized === 1) args.push(`--stream-size=${data.length}`);
    return filter("zstd", args, data, mostPacked(data.length));
  },
  async candidates(packed, size) {
    const frame = await zstdFrameAt(sourceOf(packed), 0);
    if (frame === undefined) return [];
    const levels = size > LARGE_CONTENT ? [22, 19, 3] : [15, 22, 19, 3, 9, 12];
    return levels.map((level) => [level, frame.sized ? 1 : 0, frame.checked ? 1 : 0]);
  },
};

/** Header of a gzip member without name. */
const GZIP_HEAD = 10;

/** GNU gzip's own deflate, whose blocks end elsewhere than zlib's: kernels, initial file systems, tarballs. Parameter: level. */
const GNU_GZIP_PACKING: Packing = {
  id: GNU_GZIP,
  async unpack(packed, maxBytes) {
    return insideRepackers()
      .find((r) => r.id === GZIP)
      ?.unpack(packed, maxBytes);
  },
  async pack(data, [level = 0]) {
    if (!(level >= 1 && level <= 9)) return undefined;
    return (await filter("gzip", ["-nc", `-${level}`], data, mostPacked(data.length)))?.subarray(GZIP_HEAD);
  },
  candidates: async (_packed, size) =>
    size > LARGE_CONTENT ? [[9], [6], [1]] : [9, 6, 1, 8, 7, 5, 4, 3, 2].map((n) => [n]),
};

/** A finder of streams that tell their own size. */
function streamFinder(
  packing: Packing,
  firstBytes: readonly number[],
  sizeOf: (source: ScanSource, at: number) => Promise<number | undefined>,
): PartFinder {
  return {
    firstByte: firstBytes[0] as number,
    repackers: [packing.id],
    plausible: (bytes, at) => firstBytes.every((b, i) => bytes[at + i] === b),
    async *find(source, at): AsyncIterable<PackedPart> {
      const size = await sizeOf(source, at);
      if (size === undefined) return;
      const content = await packing.unpack(await source.bytes(at, size), source.limit(at));
      if (content === undefined) source.failed(size);
      else if (content.length > 0) yield { at, size, repackers: [packing.id], content };
    },
  };
}

const LZ4_LEGACY_FINDER: PartFinder = {
  firstByte: 0x02,
  repackers: [LZ4],
  plausible: (bytes, at) => at + 4 <= bytes.length && readU32(bytes, at) === LZ4_LEGACY_MAGIC,
  async *find(source, at): AsyncIterable<PackedPart> {
    const reach = await lz4LegacyReach(source, at);
    if (reach === 0) return;
    const found = lz4LegacyAt(await source.bytes(at, reach), 0, source.limit(at));
    if (found === undefined) source.failed(reach);
    else yield { at, repackers: [LZ4], ...found };
  },
};

const FINDERS: readonly PartFinder[] = [
  streamFinder(XZ_PACKING, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], async (s, at) => (await xzStreamAt(s, at))?.size),
  streamFinder(ZSTD_PACKING, [0x28, 0xb5, 0x2f, 0xfd], async (s, at) => (await zstdFrameAt(s, at))?.size),
  LZ4_LEGACY_FINDER,
  squashfsLz4Finder(LZ4),
];

/** Names `--repack` takes. */
export const REPACKER_CHOICES: readonly string[] = Object.freeze(Object.values(PACKED_WITH));

/** Every re-packer this program knows, those of the toolkit first. */
export function allRepackers(): Repacker[] {
  return [...insideRepackers(), ...[XZ_PACKING, LZ4_PACKING, ZSTD_PACKING, GNU_GZIP_PACKING].map(repackerOf)];
}

/** Re-packers by name, and the finders of their streams. @throws OtaError USAGE for unknown names */
export function repackersNamed(names: readonly string[]): { repackers: Repacker[]; finders: readonly PartFinder[] } {
  for (const name of names) {
    if (!REPACKER_CHOICES.includes(name)) {
      throw new OtaError("USAGE", { what: "unknown re-packer", expected: REPACKER_CHOICES.join(", "), found: name });
    }
  }
  return { repackers: allRepackers().filter((r) => names.includes(r.name)), finders: FINDERS };
}
