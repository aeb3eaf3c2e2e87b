/** Reads and checks the frame of an `otaforge` delta: everything but the blocks' bytes. */
import { equalBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { LayoutValue } from "../../core/layout.ts";
import type { Cancel, Digests, RandomReader } from "../../core/ports.ts";
import { checkCancel, STREAM_CHUNK } from "../../core/streams.ts";
import { decodeCovers, MAX_COVERS, type CoverList } from "./covers.ts";
import { BASE_DIGEST_SIZE, FORGE_HEADER, FORGE_MAGIC, FORGE_VERSION } from "./layout.ts";
import { readSegments, type SegmentList } from "./segments.ts";
import { decodeSmall } from "./small-data.ts";
import { VarintReader } from "./varint.ts";

export type ForgeHeader = LayoutValue<typeof FORGE_HEADER>;

/** A part of new that is coded, checked and resumed on its own. */
export interface ForgeBlock {
  readonly viewAt: number;
  readonly viewSize: number;
  readonly fileAt: number;
  readonly fileSize: number;
  /** Where its coded bytes lie in the patch. */
  readonly storedAt: number;
  readonly storedSize: number;
  /** SHA-256 of its bytes of new. */
  readonly digest: Uint8Array;
}

export interface ForgePatch {
  readonly header: ForgeHeader;
  /** Numbers of the re-packers the device needs. */
  readonly needs: readonly number[];
  readonly oldSegments: SegmentList;
  readonly newSegments: SegmentList;
  readonly blocks: readonly ForgeBlock[];
  readonly covers: CoverList;
  /** First 16 bytes of the SHA-256 of each `header.baseUnit` bytes of old. */
  readonly baseDigests: readonly Uint8Array[];
}

/** The table of a patch of gigabytes with a million packed parts stays below. */
const MAX_TABLE = 64 * 1024 * 1024;
/** Coded covers of {@link MAX_COVERS} stay below. */
const MAX_STORED_COVERS = 64 * 1024 * 1024;
const MAX_BLOCKS = 1024 * 1024;
const MAX_REPACKERS = 16;
/** Where the header's own digest lies: zero while it is made. */
const DIGEST_AT = FORGE_HEADER.fields.patchDigest.offset;

function damaged(what: string, more: { expected?: string | number; found?: string | number; where?: string } = {}) {
  return new OtaError("FORGE_DAMAGED", { what, ...more });
}

/** Whether the bytes begin an `otaforge` delta. */
export function isForgeDelta(start: Uint8Array): boolean {
  return start.length >= 8 && [...FORGE_MAGIC].every((c, i) => start[i] === c.charCodeAt(0));
}

/** The header alone, its sizes checked against the patch. @throws OtaError FORGE_DAMAGED, FORGE_VERSION */
export async function readForgeHeader(patch: RandomReader): Promise<ForgeHeader> {
  const bytes = await patch.read(0, Math.min(FORGE_HEADER.size, patch.size));
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
  if (header.bodySize !== patch.size - FORGE_HEADER.size) {
    throw damaged("the patch is not as long as its header says", {
      expected: `${header.bodySize} bytes behind the header`,
      found: patch.size - FORGE_HEADER.size,
    });
  }
  const { tableBits, baseUnit, tableRawSize, tableSize, coversSize, coverCount, blockCount } = header;
  const bases = baseUnit === 0 ? Number.NaN : Math.ceil(header.oldSize / baseUnit);
  const frame = bases * BASE_DIGEST_SIZE + tableSize + coversSize;
  if (
    !(tableBits >= 12 && tableBits <= 22) ||
    header.references > 1 ||
    tableRawSize > MAX_TABLE ||
    coversSize > MAX_STORED_COVERS ||
    coverCount > MAX_COVERS ||
    blockCount > MAX_BLOCKS ||
    !(frame <= header.bodySize)
  ) {
    throw damaged("the header's numbers are beyond the limits of the format");
  }
  return header;
}

/** SHA-256 of the patch as its header notes it. */
async function checkPatchDigest(patch: RandomReader, digests: Digests, signal: Cancel | undefined): Promise<void> {
  const digest = digests.create("sha256");
  const head = (await patch.read(0, FORGE_HEADER.size)).slice();
  const noted = head.slice(DIGEST_AT, DIGEST_AT + 32);
  head.fill(0, DIGEST_AT, DIGEST_AT + 32);
  digest.update(head);
  for (let at = FORGE_HEADER.size; at < patch.size; at += STREAM_CHUNK) {
    checkCancel(signal);
    digest.update(await patch.read(at, Math.min(STREAM_CHUNK, patch.size - at)));
  }
  if (!equalBytes(digest.digest(), noted)) throw damaged("the patch's digest is wrong: its bytes were changed");
}

/**
 * Reads header, table and covers and checks the digest over all bytes of the patch.
 * @throws OtaError FORGE_DAMAGED, FORGE_VERSION, CANCELLED
 */
export async function readForge(patch: RandomReader, digests: Digests, signal?: Cancel): Promise<ForgePatch> {
  const header = await readForgeHeader(patch);
  await checkPatchDigest(patch, digests, signal);
  const bases = Math.ceil(header.oldSize / header.baseUnit);
  let at = FORGE_HEADER.size;
  const baseBytes = await patch.read(at, bases * BASE_DIGEST_SIZE);
  const baseDigests = Array.from({ length: bases }, (_, i) =>
    baseBytes.slice(i * BASE_DIGEST_SIZE, (i + 1) * BASE_DIGEST_SIZE),
  );
  at += baseBytes.length;
  const table = new VarintReader(decodeSmall(await patch.read(at, header.tableSize), header.tableRawSize));
  at += header.tableSize;
  const coverBytes = await patch.read(at, header.coversSize);
  at += header.coversSize;
  const needCount = table.number();
  if (needCount > MAX_REPACKERS) throw damaged("too many re-packers");
  const needs = Array.from({ length: needCount }, () => table.number());
  const oldSegments = readSegments(table, header.oldSize, header.oldViewSize);
  const newSegments = readSegments(table, header.newSize, header.newViewSize);
  for (const { repacker } of [...oldSegments.items, ...newSegments.items]) {
    if (repacker !== 0 && !needs.includes(repacker))
      throw damaged("a segment uses a re-packer the patch does not name");
  }
  const blocks = readBlocks(table, header, newSegments, at);
  if (table.left > 0) throw damaged("the table goes on behind its end");
  const covers = decodeCovers(coverBytes, header.coverCount, header.oldViewSize, header.newViewSize);
  return { header, needs, oldSegments, newSegments, blocks, covers, baseDigests };
}

function readBlocks(table: VarintReader, header: ForgeHeader, segments: SegmentList, bodyAt: number): ForgeBlock[] {
  const blocks: ForgeBlock[] = [];
  let viewAt = 0;
  let fileAt = 0;
  let storedAt = bodyAt;
  for (let i = 0; i < header.blockCount; i++) {
    const viewSize = table.number();
    const fileSize = table.number();
    const storedSize = table.number();
    const digest = table.bytes(32);
    blocks.push({ viewAt, viewSize, fileAt, fileSize, storedAt, storedSize, digest });
    viewAt += viewSize;
    fileAt += fileSize;
    storedAt += storedSize;
    if (viewSize + fileSize === 0 || !borderFits(segments, viewAt, fileAt)) {
      throw damaged("a block does not end where its segments do", { where: `block ${i}, new ${hexOffset(fileAt)}` });
    }
  }
  if (
    viewAt !== header.newViewSize ||
    fileAt !== header.newSize ||
    storedAt !== bodyAt + header.bodySize - (bodyAt - FORGE_HEADER.size)
  ) {
    throw damaged("the blocks do not add up to the file");
  }
  return blocks;
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
