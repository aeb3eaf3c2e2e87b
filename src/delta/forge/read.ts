/** Reads and checks the frame of an `otaforge` delta: everything but its windows' bytes. */
import { concatBytes, equalBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { LayoutValue } from "../../core/layout.ts";
import type { Cancel, Digests, RandomReader } from "../../core/ports.ts";
import { checkCancel, STREAM_CHUNK } from "../../core/streams.ts";
import { MAX_COVERS, MAX_MAPPED, type MappedRange } from "./covers.ts";
import { FORGE_HEADER, FORGE_MAGIC, FORGE_VERSION, PART_DIGEST_SIZE } from "./layout.ts";
import { readSegments, type SegmentList } from "./segments.ts";
import { decodeSmall } from "./small-data.ts";
import { VarintReader } from "./varint.ts";

export type ForgeHeader = LayoutValue<typeof FORGE_HEADER>;

/** A stretch of new's view with covers of its own. */
export interface ForgeWindow extends MappedRange {
  readonly viewAt: number;
  readonly viewSize: number;
  readonly coverCount: number;
  /** Where its coded covers lie in the patch. */
  readonly coversAt: number;
  readonly coversSize: number;
}

/** A part of new that is coded, checked and resumed on its own. */
export interface ForgeBlock {
  /** Number of its window. */
  readonly window: number;
  readonly viewAt: number;
  readonly viewSize: number;
  readonly fileAt: number;
  readonly fileSize: number;
  /** Where its coded bytes lie in the patch. */
  readonly storedAt: number;
  readonly storedSize: number;
  /** First 16 bytes of the SHA-256 of its bytes of new. */
  readonly digest: Uint8Array;
}

/** The frame of a patch: what there is to know without decoding. */
export interface ForgePatch {
  readonly header: ForgeHeader;
  /** Numbers of the re-packers the device needs. */
  readonly needs: readonly number[];
  readonly oldSegments: SegmentList;
  readonly newSegments: SegmentList;
  readonly windows: readonly ForgeWindow[];
  readonly blocks: readonly ForgeBlock[];
  /** First 16 bytes of the SHA-256 of each `header.baseUnit` bytes of old. */
  readonly baseDigests: readonly Uint8Array[];
}

/** The table of a patch of gigabytes with a million packed parts stays below. */
const MAX_TABLE = 64 * 1024 * 1024;
/** Decoding a table takes time: it may be so many times its stored size, and some more. */
const TABLE_RATIO = 256;
const TABLE_SURE = 65536;
/** Most bytes of a block, in view and file. */
export const MAX_BLOCK = 1024 * 1024 * 1024;
/** Base digests of 4 TiB in units of 1 MiB. */
const MAX_BASES = 4 * 1024 * 1024;
/** Coded covers of {@link MAX_COVERS} stay below. */
const MAX_STORED_COVERS = 32 * 1024 * 1024;
/** Most blocks of a patch, and most windows. */
const MAX_BLOCKS = 1024 * 1024;
const MAX_REPACKERS = 16;
/** Where the header's own digest lies: zero while it is made. */
const DIGEST_AT = FORGE_HEADER.fields.frameDigest.offset;

function damaged(what: string, more: { expected?: string | number; found?: string | number; where?: string } = {}) {
  return new OtaError("FORGE_DAMAGED", { what, ...more });
}

/** Whether the bytes begin an `otaforge` delta. */
export function isForgeDelta(start: Uint8Array): boolean {
  return start.length >= 8 && [...FORGE_MAGIC].every((c, i) => start[i] === c.charCodeAt(0));
}

/** Base digests a header asks for. */
function baseCount(header: ForgeHeader): number {
  return header.baseUnit === 0 ? Number.NaN : Math.ceil(header.oldSize / header.baseUnit);
}

/** Size of header, base digests and table, bytes. */
export function frameSizeOf(header: ForgeHeader): number {
  return FORGE_HEADER.size + baseCount(header) * PART_DIGEST_SIZE + header.tableSize;
}

/** A header from its bytes, its numbers within the format's limits. @throws OtaError FORGE_DAMAGED, FORGE_VERSION */
export function parseForgeHeader(bytes: Uint8Array): ForgeHeader {
  if (!isForgeDelta(bytes)) throw damaged("not an otaforge delta", { where: "0x0", expected: FORGE_MAGIC });
  if (bytes.length < FORGE_HEADER.size) throw damaged("the patch is cut short in its header");
  const header = FORGE_HEADER.decode(bytes);
  if (header.version !== FORGE_VERSION) {
    throw new OtaError("FORGE_VERSION", {
      what: "unknown version of the format",
      expected: FORGE_VERSION,
      found: header.version,
    });
  }
  const { tableBits, grainBits, tableRawSize, tableSize, windowCount } = header;
  const ok =
    tableBits >= 12 &&
    tableBits <= 22 &&
    (grainBits === 0 || (grainBits >= 5 && grainBits <= 16)) &&
    tableRawSize <= Math.min(MAX_TABLE, TABLE_RATIO * tableSize + TABLE_SURE) &&
    tableSize <= MAX_TABLE &&
    windowCount <= MAX_BLOCKS &&
    baseCount(header) <= MAX_BASES;
  if (!ok) throw damaged("the header's numbers are beyond the limits of the format");
  return header;
}

/** The header of a patch whose whole size is known. @throws OtaError FORGE_DAMAGED, FORGE_VERSION */
export async function readForgeHeader(patch: RandomReader): Promise<ForgeHeader> {
  const header = parseForgeHeader(await patch.read(0, Math.min(FORGE_HEADER.size, patch.size)));
  const expected = frameSizeOf(header) + header.bodySize;
  if (expected !== patch.size) {
    throw damaged("the patch is not as long as its header says", { expected: `${expected} bytes`, found: patch.size });
  }
  return header;
}

/**
 * The frame from its bytes: header, base digests, table, as `frameSizeOf` measures them. Its digest is checked first.
 * @throws OtaError FORGE_DAMAGED, FORGE_VERSION
 */
export function parseForgeFrame(bytes: Uint8Array, digests: Digests): ForgePatch {
  const header = parseForgeHeader(bytes);
  if (bytes.length !== frameSizeOf(header)) throw damaged("the patch is cut short in its table");
  const digest = digests.create("sha256");
  digest.update(bytes.subarray(0, DIGEST_AT));
  digest.update(new Uint8Array(32));
  digest.update(bytes.subarray(DIGEST_AT + 32));
  if (!equalBytes(digest.digest(), header.frameDigest)) {
    throw damaged("the digest of header and table is wrong: the patch was changed");
  }
  const tableAt = bytes.length - header.tableSize;
  const baseDigests: Uint8Array[] = [];
  for (let at = FORGE_HEADER.size; at < tableAt; at += PART_DIGEST_SIZE) {
    baseDigests.push(bytes.slice(at, at + PART_DIGEST_SIZE));
  }
  const table = new VarintReader(decodeSmall(bytes.subarray(tableAt), header.tableRawSize));
  const needCount = table.number();
  if (needCount > MAX_REPACKERS) throw damaged("too many re-packers");
  const needs = Array.from({ length: needCount }, () => table.number());
  const oldSegments = readSegments(table, header.oldSize, header.oldViewSize);
  const newSegments = readSegments(table, header.newSize, header.newViewSize);
  for (const { repacker } of [...oldSegments.items, ...newSegments.items]) {
    if (repacker !== 0 && !needs.includes(repacker)) {
      throw damaged("a segment uses a re-packer the patch does not name");
    }
  }
  const { windows, blocks } = readWindows(table, header, newSegments, bytes.length);
  if (table.left > 0) throw damaged("the table goes on behind its end");
  return { header, needs, oldSegments, newSegments, windows, blocks, baseDigests };
}

function readWindows(
  table: VarintReader,
  header: ForgeHeader,
  segments: SegmentList,
  bodyAt: number,
): { windows: ForgeWindow[]; blocks: ForgeBlock[] } {
  const windows: ForgeWindow[] = [];
  const blocks: ForgeBlock[] = [];
  let viewAt = 0;
  let fileAt = 0;
  let storedAt = bodyAt;
  for (let w = 0; w < header.windowCount; w++) {
    const where = `window ${w}`;
    const mapAt = table.number();
    const mapSize = table.number();
    const coverCount = table.number();
    const coversSize = table.number();
    const blockCount = table.number();
    if (
      mapSize > MAX_MAPPED ||
      mapAt + mapSize > header.oldViewSize ||
      coverCount > MAX_COVERS ||
      coversSize > MAX_STORED_COVERS ||
      blockCount === 0 ||
      blocks.length + blockCount > MAX_BLOCKS
    ) {
      throw damaged("a window's numbers are beyond the limits of the format", { where });
    }
    const coversAt = storedAt;
    const windowAt = viewAt;
    storedAt += coversSize;
    for (let i = 0; i < blockCount; i++) {
      const viewSize = table.number();
      const fileSize = table.number();
      const storedSize = table.number();
      const digest = table.bytes(PART_DIGEST_SIZE);
      blocks.push({ window: w, viewAt, viewSize, fileAt, fileSize, storedAt, storedSize, digest });
      viewAt += viewSize;
      fileAt += fileSize;
      storedAt += storedSize;
      if (viewSize > MAX_BLOCK || fileSize > MAX_BLOCK || storedSize > MAX_BLOCK) {
        throw damaged("a block is beyond the limits of the format", { where });
      }
      if (fileSize === 0 || !borderFits(segments, viewAt, fileAt)) {
        throw damaged("a block does not end where its segments do", { where: `${where}, new ${hexOffset(fileAt)}` });
      }
    }
    windows.push({ mapAt, mapSize, coverCount, coversAt, coversSize, viewAt: windowAt, viewSize: viewAt - windowAt });
  }
  if (viewAt !== header.newViewSize || fileAt !== header.newSize || storedAt !== bodyAt + header.bodySize) {
    throw damaged("the blocks do not add up to the file");
  }
  return { windows, blocks };
}

/** Whether view and file position are the same border: between segments or inside a plain one. */
function borderFits(segments: SegmentList, viewAt: number, fileAt: number): boolean {
  if (viewAt === segments.viewSize) return fileAt === segments.fileSize;
  if (viewAt > segments.viewSize || segments.items.length === 0) return false;
  const segment = segments.items[segments.find(viewAt)];
  if (segment === undefined) return false;
  const inside = viewAt - segment.viewAt;
  return fileAt === segment.fileAt + inside && (inside === 0 || segment.repacker === 0);
}

/**
 * Reads the frame of a patch that can be read anywhere, and checks the digests over all of its bytes.
 * @throws OtaError FORGE_DAMAGED, FORGE_VERSION, CANCELLED
 */
export async function readForge(patch: RandomReader, digests: Digests, signal?: Cancel): Promise<ForgePatch> {
  const header = await readForgeHeader(patch);
  const frameSize = frameSizeOf(header);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < frameSize; at += STREAM_CHUNK) {
    parts.push((await patch.read(at, Math.min(STREAM_CHUNK, frameSize - at))).slice());
  }
  const frame = parseForgeFrame(concatBytes(...parts), digests);
  const digest = digests.create("sha256");
  for (let at = frameSize; at < patch.size; at += STREAM_CHUNK) {
    checkCancel(signal);
    digest.update(await patch.read(at, Math.min(STREAM_CHUNK, patch.size - at)));
  }
  if (!equalBytes(digest.digest(), header.bodyDigest)) {
    throw damaged("the digest of the patch's windows is wrong: its bytes were changed");
  }
  return frame;
}
