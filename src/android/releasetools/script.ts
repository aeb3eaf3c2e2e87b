/**
 * Writes updater scripts: the statements of formats/android.md 2.2, text for text as the 4.4 tool writes them.
 *
 * A script is a list of elements joined by newlines. Paths and texts that come from target files are quoted, so that a file
 * name with a quote in it stays a name.
 */
import { OtaError } from "../../core/errors.ts";
import { needPartition, type Fstab } from "../target-files/fstab.ts";
import type { SymbolicLink } from "../target-files/file-tree.ts";
import type { FileMetadata } from "../target-files/filesystem-config.ts";
import { BREAK, wordWrap } from "./word-wrap.ts";

/** Owner, folder and file mode of a whole subtree. */
export interface SubtreeMetadata {
  readonly uid: number;
  readonly gid: number;
  readonly dmode: number;
  readonly fmode: number;
  readonly selabel?: string;
  readonly capabilities?: string;
}

/** One patch as `apply_patch` states it; hashes are hex. */
export interface PatchStatement {
  /** Absolute path, or a partition with sizes and hashes. */
  readonly source: string;
  readonly targetSize: number;
  readonly targetSha1: string;
  readonly sourceSha1: string;
  /** Name of the patch in the package. */
  readonly patch: string;
}

export interface Script {
  /** Appends an element as it stands; it may hold several lines. */
  append(text: string): void;
  comment(text: string): void;
  print(message: string): void;
  showProgress(fraction: number, seconds: number): void;
  setProgress(fraction: number): void;
  /** `flags`: the fifth argument of 5.0 and later; absent: the four arguments of 4.4. */
  mount(mountPoint: string, flags?: string): void;
  unmountAll(): void;
  format(mountPoint: string): void;
  extractFolder(source: string, destination: string): void;
  deleteFiles(paths: readonly string[]): void;
  /** Links must be sorted by target; one statement for each target. */
  symlinks(links: readonly SymbolicLink[]): void;
  setMetadata(path: string, metadata: FileMetadata): void;
  setMetadataRecursive(path: string, metadata: SubtreeMetadata): void;
  /** Writes the package's entry to the partition mounted at `mountPoint` in the fstab. */
  writeRawImage(mountPoint: string, entry: string): void;
  assertOlderBuild(timestamp: string, dateText: string): void;
  assertDevice(device: string): void;
  assertSomeFingerprint(fingerprints: readonly [string, string]): void;
  checkSpace(bytes: number): void;
  /** `hashes` may be empty: a partition's name carries its own. */
  checkFile(path: string, hashes: readonly string[]): void;
  /** Skips the next element when the file (no leading slash) has the hash already. */
  skipIfExists(path: string, sha1: string): void;
  applyPatch(patch: PatchStatement): void;
  rename(from: string, to: string): void;
  /** Lines of another script behind these. */
  include(other: Script): void;
  readonly elements: readonly string[];
  /** The whole text, ending in a newline. */
  text(): string;
}

/** A quoted edify string. Ordinary names come out as they are. */
export function quote(text: string): string {
  let out = "";
  for (const ch of text) {
    if (ch === "\\" || ch === '"') out += `\\${ch}`;
    else if (ch === "\n") out += "\\n";
    else if (ch === "\t") out += "\\t";
    else if (ch < " " || ch === "\x7f") out += `\\x${ch.charCodeAt(0).toString(16).padStart(2, "0")}`;
    else out += ch;
  }
  return `"${out}"`;
}

/** Octal with a leading zero, as C reads it: `0755`; 0 is `00`. */
export function octal(mode: number): string {
  return `0${mode.toString(8)}`;
}

/** C's `%f`: six decimals, halves to even as the exact binary value decides. */
export function fixed6(value: number): string {
  // An exact half at the seventh decimal is an odd number of 128ths; C goes to the even neighbour, toFixed upwards.
  if ((value * 128) % 2 !== 1) return value.toFixed(6);
  const below = Math.floor(value * 1e6);
  return ((below % 2 === 0 ? below : below + 1) / 1e6).toFixed(6);
}

export interface ScriptOptions {
  readonly fstab: Fstab;
  /** `set_metadata` statements; otherwise `set_perm`. */
  readonly useSetMetadata: boolean;
}

export function createScript({ fstab, useSetMetadata }: ScriptOptions): Script {
  const elements: string[] = [];
  const mounted = new Set<string>();
  const append = (text: string): void => void elements.push(text);

  return {
    elements,
    append,
    comment(text) {
      elements.push("", `# ${text}`, "");
    },
    print: (message) => append(`ui_print(${quote(message)});`),
    showProgress: (fraction, seconds) => append(`show_progress(${fixed6(fraction)}, ${seconds});`),
    setProgress: (fraction) => append(`set_progress(${fixed6(fraction)});`),
    mount(mountPoint, flags) {
      const p = needPartition(fstab, mountPoint);
      const fifth = flags === undefined ? "" : `, ${quote(flags)}`;
      append(`mount(${quote(p.fsType)}, "${p.type}", ${quote(p.device)}, ${quote(p.mountPoint)}${fifth});`);
      mounted.add(p.mountPoint);
    },
    unmountAll() {
      for (const point of [...mounted].sort()) append(`unmount(${quote(point)});`);
      mounted.clear();
    },
    format(mountPoint) {
      const p = needPartition(fstab, mountPoint);
      append(`format(${quote(p.fsType)}, "${p.type}", ${quote(p.device)}, "${p.length}", ${quote(p.mountPoint)});`);
    },
    extractFolder: (source, destination) => append(`package_extract_dir(${quote(source)}, ${quote(destination)});`),
    deleteFiles(paths) {
      if (paths.length > 0) append(wordWrap(`delete(${paths.map(quote).join(`,${BREAK}`)});`));
    },
    symlinks(links) {
      const byTarget = new Map<string, string[]>();
      for (const { target, link } of links) {
        const list = byTarget.get(target);
        if (list === undefined) byTarget.set(target, [link]);
        else list.push(link);
      }
      for (const [target, places] of byTarget) {
        append(wordWrap(`symlink(${quote(target)}, ${places.map(quote).join(`,${BREAK}`)});`));
      }
    },
    setMetadata(path, m) {
      if (!useSetMetadata) return append(`set_perm(${m.uid}, ${m.gid}, ${octal(m.mode)}, ${quote(path)});`);
      const label = m.selabel === undefined ? "" : `, "selabel", ${quote(m.selabel)}`;
      append(
        `set_metadata(${quote(path)}, "uid", ${m.uid}, "gid", ${m.gid}, "mode", ${octal(m.mode)}, ` +
          `"capabilities", ${m.capabilities ?? "0x0"}${label});`,
      );
    },
    setMetadataRecursive(path, m) {
      if (!useSetMetadata) {
        return append(`set_perm_recursive(${m.uid}, ${m.gid}, ${octal(m.dmode)}, ${octal(m.fmode)}, ${quote(path)});`);
      }
      const label = m.selabel === undefined ? "" : `, "selabel", ${quote(m.selabel)}`;
      append(
        `set_metadata_recursive(${quote(path)}, "uid", ${m.uid}, "gid", ${m.gid}, "dmode", ${octal(m.dmode)}, ` +
          `"fmode", ${octal(m.fmode)}, "capabilities", ${m.capabilities ?? "0x0"}${label});`,
      );
    },
    writeRawImage(mountPoint, entry) {
      const p = needPartition(fstab, mountPoint);
      const file = quote(entry);
      const device = quote(p.device);
      append(
        p.type === "MTD"
          ? `write_raw_image(package_extract_file(${file}), ${device});`
          : `package_extract_file(${file}, ${device});`,
      );
    },
    assertOlderBuild(timestamp, dateText) {
      if (!/^[0-9]+$/.test(timestamp)) {
        throw new OtaError("ANDROID_TARGET_FILES", { what: "ro.build.date.utc is no number", found: timestamp });
      }
      append(
        `(!less_than_int(${timestamp}, getprop("ro.build.date.utc"))) || ` +
          `abort(${quote(`Can't install this package (${dateText}) over newer build (`)} + getprop("ro.build.date") + ").");`,
      );
    },
    assertDevice(device) {
      append(
        `getprop("ro.product.device") == ${quote(device)} || ` +
          `abort(${quote(`This package is for "${device}" devices; this is a "`)} + getprop("ro.product.device") + "\\".");`,
      );
    },
    assertSomeFingerprint(fingerprints) {
      const one = (f: string): string => `file_getprop("/system/build.prop", "ro.build.fingerprint") == ${quote(f)}`;
      const message = `Package expects build fingerprint of ${fingerprints.join(" or ")}; this device has `;
      append(
        `${fingerprints.map(one).join(" ||\n    ")} ||\n    ` +
          `abort(${quote(message)} + getprop("ro.build.fingerprint") + ".");`,
      );
    },
    checkSpace: (bytes) =>
      append(`apply_patch_space(${bytes}) || abort("Not enough free space on /system to apply patches.");`),
    checkFile(path, hashes) {
      const args = [path, ...hashes].map(quote).join(", ");
      append(`apply_patch_check(${args}) || abort(${quote(`"${path}" has unexpected contents.`)});`);
    },
    skipIfExists: (path, sha1) => append(`sha1_check(read_file(${quote(path)}), ${sha1}) || `),
    applyPatch(p) {
      append(
        wordWrap(
          `apply_patch(${quote(p.source)},${BREAK}"-",${BREAK}${p.targetSha1},${BREAK}${p.targetSize},` +
            `${BREAK}${p.sourceSha1}, package_extract_file(${quote(p.patch)}));`,
        ),
      );
    },
    rename: (from, to) => append(`rename(${quote(from)}, ${quote(to)});`),
    include(other) {
      elements.push(...other.elements);
    },
    text: () => `${elements.join("\n")}\n`,
  };
}
