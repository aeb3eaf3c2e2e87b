/** `otaforge inspect` of a patch instead of a package: its header, what it needs, its windows and blocks. */
import { toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { formatBytes } from "../core/progress.ts";
import { openPatch } from "../delta/forge/arriving.ts";
import { FORGE_HEADER } from "../delta/forge/layout.ts";
import { repackerNames } from "../delta/forge/packed-with.ts";
import { isForgeDelta, type ForgePatch } from "../delta/forge/read.ts";
import type { SegmentList } from "../delta/forge/segments.ts";
import { nodeDigests } from "../device/digests.ts";
import type { CommonOptions, PackageInput, Report } from "./family.ts";

/** Whether the input begins like a delta of the own format. */
export function isDelta(input: PackageInput): boolean {
  return isForgeDelta(input.head);
}

/** Packed parts of a file by re-packer. */
function openedParts(
  list: SegmentList,
): { repacker: string; parts: number; packedBytes: number; contentBytes: number }[] {
  const byId = new Map<number, { parts: number; packedBytes: number; contentBytes: number }>();
  for (const { repacker, fileSize, viewSize } of list.items) {
    if (repacker === 0) continue;
    const sum = byId.get(repacker) ?? { parts: 0, packedBytes: 0, contentBytes: 0 };
    sum.parts++;
    sum.packedBytes += fileSize;
    sum.contentBytes += viewSize;
    byId.set(repacker, sum);
  }
  return [...byId].sort(([a], [b]) => a - b).map(([id, sum]) => ({ repacker: repackerNames([id]).join(), ...sum }));
}

function jsonOf(patch: ForgePatch, wholeChecked: boolean): Record<string, unknown> {
  const { header, needs, oldSegments, newSegments, windows, blocks } = patch;
  const { newDigest, bodyDigest, frameDigest, ...numbers } = header;
  return {
    kind: "otaforge delta",
    ...numbers,
    newDigest: toHex(newDigest),
    bodyDigest: toHex(bodyDigest),
    frameDigest: toHex(frameDigest),
    checked: wholeChecked ? "every byte" : "header and table",
    repackers: repackerNames(needs),
    oldOpened: openedParts(oldSegments),
    newOpened: openedParts(newSegments),
    windows,
    blocks: blocks.map(({ digest, ...block }) => ({ ...block, digest: toHex(digest) })),
  };
}

/** Blocks listed in the text; all of them are in the JSON. */
const LISTED = 40;

function textOf(patch: ForgePatch, head: Uint8Array, wholeChecked: boolean): string {
  const { header, needs, oldSegments, newSegments, windows, blocks } = patch;
  const lines = [
    `otaforge delta: makes ${formatBytes(header.newSize)} of ${formatBytes(header.oldSize)}`,
    `checked: ${wholeChecked ? "digests of every byte of the patch" : "digest of header and table; the rest arrives later"}`,
    `needs: ${needs.length === 0 ? "no re-packer" : repackerNames(needs).join(", ")}; ${formatBytes(header.memoryBytes)} of memory`,
    "",
    ...FORGE_HEADER.dump(head).map((row) => `  ${row.name.padEnd(14)} ${row.value}`),
    "",
  ];
  for (const [name, list] of [
    ["old", oldSegments],
    ["new", newSegments],
  ] as const) {
    for (const { repacker, parts, packedBytes, contentBytes } of openedParts(list)) {
      lines.push(
        `${name}: ${parts} ${repacker} parts opened, ${formatBytes(packedBytes)} hold ${formatBytes(contentBytes)}`,
      );
    }
  }
  for (const [i, w] of windows.entries()) {
    lines.push(`window ${i}: view ${w.viewAt}+${w.viewSize}, ${w.coverCount} covers in ${w.coversSize} bytes`);
  }
  for (const [i, b] of blocks.slice(0, LISTED).entries()) {
    lines.push(
      `block ${i}: new ${b.fileAt}+${b.fileSize}, view ${b.viewAt}+${b.viewSize}, ${b.storedSize} bytes stored, ${toHex(b.digest)}`,
    );
  }
  if (blocks.length > LISTED) lines.push(`… and ${blocks.length - LISTED} more blocks (--json lists all)`);
  return lines.join("\n");
}

/** @throws OtaError FORGE_DAMAGED, FORGE_VERSION, CANCELLED */
export async function inspectDelta(input: PackageInput, options: CommonOptions): Promise<Report> {
  const { patch, stored } = await openPatch(input.reader ?? input.stream(), nodeDigests, options.cancel);
  if (input.head.length < FORGE_HEADER.size)
    throw new OtaError("FORGE_DAMAGED", "the patch is cut short in its header");
  return {
    text: textOf(patch, input.head, stored.anywhere),
    json: jsonOf(patch, stored.anywhere),
    exitCode: 0,
  };
}
