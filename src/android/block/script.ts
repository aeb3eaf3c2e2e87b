/** Statements of block-based packages, text for text as the 7.1 tool writes them (formats/android.md 3.4). */
import { OtaError } from "../../core/errors.ts";
import { needPartition } from "../target-files/fstab.ts";
import type { TargetFiles } from "../target-files/target-files.ts";
import { quote, type PatchStatement, type Script } from "../releasetools/script.ts";
import { BREAK, wordWrap } from "../releasetools/word-wrap.ts";
import { rawText, type Ranges } from "./ranges.ts";

export function assertOlderBuild(script: Script, timestamp: string, dateText: string): void {
  if (!/^[0-9]+$/.test(timestamp)) {
    throw new OtaError("ANDROID_TARGET_FILES", { what: "ro.build.date.utc is no number", found: timestamp });
  }
  script.append(
    `(!less_than_int(${timestamp}, getprop("ro.build.date.utc"))) || ` +
      `abort(${quote(`E3003: Can't install this package (${dateText}) over newer build (`)} + getprop("ro.build.date") + ").");`,
  );
}

export function assertDevice(script: Script, device: string): void {
  script.append(
    `getprop("ro.product.device") == ${quote(device)} || ` +
      `abort(${quote(`E3004: This package is for "${device}" devices; this is a "`)} + getprop("ro.product.device") + "\\".");`,
  );
}

export function assertFingerprint(script: Script, fingerprints: readonly string[]): void {
  const one = (f: string): string => `getprop("ro.build.fingerprint") == ${quote(f)}`;
  const message = `E3001: Package expects build fingerprint of ${fingerprints.join(" or ")}; this device has `;
  script.append(
    `${fingerprints.map(one).join(" ||\n    ")} ||\n    abort(${quote(message)} + getprop("ro.build.fingerprint") + ".");`,
  );
}

export function checkFile(script: Script, path: string, hashes: readonly string[]): void {
  const args = [path, ...hashes].map(quote).join(", ");
  script.append(`apply_patch_check(${args}) || abort(${quote(`E3005: "${path}" has unexpected contents.`)});`);
}

export function checkSpace(script: Script, bytes: number): void {
  script.append(`apply_patch_space(${bytes}) || abort("E3006: Not enough free space on /cache to apply patches.");`);
}

export function applyPatch(script: Script, p: PatchStatement): void {
  script.append(
    wordWrap(
      `apply_patch(${quote(p.source)},${BREAK}"-",${BREAK}${p.targetSha1},${BREAK}${p.targetSize},${BREAK}${p.sourceSha1},` +
        `${BREAK}package_extract_file(${quote(p.patch)})) ||\n    abort(${quote(`E3008: Failed to apply patch to ${p.source}`)});`,
    ),
  );
}

/** Error numbers of a partition: update failed, contents before, after, extended blocks, recovery. */
const CODES = {
  system: { before: 1000, failed: 1001, after: 1002, nonZero: 1003, recover: 1004 },
  vendor: { before: 2000, failed: 2001, after: 2002, nonZero: 2003, recover: 2004 },
} as const;
export type BlockPartition = keyof typeof CODES;

/** The statements of one partition. */
export interface PartitionScript {
  readonly partition: BlockPartition;
  readonly device: string;
  /** Name of the new data in the package. */
  readonly newData: string;
}

export function partitionScript(target: TargetFiles, partition: BlockPartition, brotli: boolean): PartitionScript {
  const { device } = needPartition(target.fstab, `/${partition}`);
  return { partition, device, newData: `${partition}.new.dat${brotli ? ".br" : ""}` };
}

function blockCall(p: PartitionScript, name: string): string {
  const list = `package_extract_file("${p.partition}.transfer.list")`;
  return `${name}(${quote(p.device)}, ${list}, "${p.newData}", "${p.partition}.patch.dat")`;
}

/** Checks of a partition before it is changed. */
export function verifyPartition(
  script: Script,
  p: PartitionScript,
  check: { readonly version: number; readonly ranges: Ranges; readonly sha1: string },
): void {
  const { partition, device } = p;
  const codes = CODES[partition];
  const same = `range_sha1(${quote(device)}, "${rawText(check.ranges)}") == "${check.sha1}"`;
  const verify = blockCall(p, "block_image_verify");
  script.append(check.version >= 3 ? `if (${same} || ${verify}) then` : `if ${same} then`);
  script.print(`Verified ${partition} image...`);
  script.append("else");
  if (check.version >= 4) {
    script.append(`check_first_block(${quote(device)});`);
    script.append(
      `ifelse (block_image_recover(${quote(device)}, "${rawText(check.ranges)}") && ${verify}, ` +
        `ui_print("${partition} recovered successfully."), abort("E${codes.recover}: ${partition} partition fails to recover"));\nendif;`,
    );
  } else script.append(`abort("E${codes.before}: ${partition} partition has unexpected contents");\nendif;`);
}

export function updatePartition(script: Script, p: PartitionScript): void {
  script.append(
    `${blockCall(p, "block_image_update")} ||\n  abort("E${CODES[p.partition].failed}: Failed to update ${p.partition} image.");`,
  );
}

/** Checks of a partition after it was changed (`--verify`). */
export function verifyUpdated(
  script: Script,
  p: PartitionScript,
  after: { readonly ranges: Ranges; readonly sha1: string; readonly extended: Ranges; readonly extendedSha1: string },
): void {
  const { partition } = p;
  const codes = CODES[partition];
  const device = quote(p.device);
  script.print(`Verifying the updated ${partition} image...`);
  script.append(`if range_sha1(${device}, "${rawText(after.ranges)}") == "${after.sha1}" then`);
  if (after.extended.length > 0) {
    script.append(`if range_sha1(${device}, "${rawText(after.extended)}") == "${after.extendedSha1}" then`);
    script.print(`Verified the updated ${partition} image.`);
    script.append(
      `else\n  abort("E${codes.nonZero}: ${partition} partition has unexpected non-zero contents after OTA update");\nendif;`,
    );
  } else script.print(`Verified the updated ${partition} image.`);
  script.append(
    `else\n  abort("E${codes.after}: ${partition} partition has unexpected contents after OTA update");\nendif;`,
  );
}
