/** What the tests of Android's device side share: packages in memory, and a device's tree as the recordings state it. */
import { createHash } from "node:crypto";
import { createZipWriter, memorySink } from "../../src/core/zip/index.ts";
import { memoryReader } from "../../src/core/streams.ts";
import type { Device, RandomReader } from "../../src/core/ports.ts";
import { nodeCodecs } from "../../src/device/index.ts";
import { runUpdater, SCRIPT_NAME } from "../../src/android/updater/index.ts";
import type { UpdaterOptions, UpdaterOutcome } from "../../src/android/updater/index.ts";

export type Contents = Readonly<Record<string, Uint8Array | string>>;

const bytesOf = (content: Uint8Array | string): Uint8Array =>
  typeof content === "string" ? new Uint8Array(Buffer.from(content, "latin1")) : content;

/** A zip with the given entries, in order; `stored`: names that are not deflated. */
export async function makeZip(entries: Contents, stored: readonly string[] = []): Promise<RandomReader> {
  const sink = memorySink();
  const zip = createZipWriter(sink, { codecs: nodeCodecs });
  for (const [name, content] of Object.entries(entries)) {
    await zip.add({ name, method: stored.includes(name) ? 0 : 8 }, bytesOf(content));
  }
  await zip.finish();
  return memoryReader(sink.bytes());
}

export const makePackage = (script: string, entries: Contents = {}, stored: readonly string[] = []) =>
  makeZip({ ...entries, [SCRIPT_NAME]: script }, stored);

export const sha1 = (bytes: Uint8Array): string => createHash("sha1").update(bytes).digest("hex");

export async function readFile(device: Device, path: string): Promise<Uint8Array> {
  const file = await device.files.open(path, "read");
  try {
    return (await file.read(0, file.size)).slice();
  } finally {
    await file.close();
  }
}

export interface TreeEntry {
  mode?: string;
  uid?: number;
  gid?: number;
  dir?: 1;
  link?: string;
  sha1?: string;
  size?: number;
  mtime?: number;
  xattr?: Record<string, string>;
}

const EXTRACTED_MS = 1217592000_000;

/** `security.capability`, revision 2 with the effective flag. */
function capabilityHex(bits: bigint): string {
  const out = Buffer.alloc(20);
  out.writeUInt32LE(0x02000001, 0);
  out.writeUInt32LE(Number(bits & 0xffffffffn), 4);
  out.writeUInt32LE(Number(bits >> 32n), 12);
  return out.toString("hex");
}

/** A folder's content as the recordings have it. `labels`: how labels are shown. */
export async function readTree(
  device: Device,
  root: string,
  options: { readonly labels: "hex" | "text"; readonly linkOwners?: boolean } = { labels: "hex" },
): Promise<Record<string, TreeEntry>> {
  const out: Record<string, TreeEntry> = {};
  const visit = async (path: string): Promise<void> => {
    for (const name of await device.files.list(path)) {
      const child = `${path}/${name}`;
      const info = await device.files.stat(child);
      if (info === undefined) continue;
      const shown = child.slice(root.length);
      if (info.kind === "link") {
        out[shown] = {
          link: await device.files.readLink(child),
          ...(options.linkOwners === true ? { uid: info.uid, gid: info.gid } : {}),
        };
        continue;
      }
      const entry: TreeEntry = { mode: info.mode.toString(8), uid: info.uid, gid: info.gid };
      out[shown] = entry;
      const { selinuxLabel, capabilities } = await device.files.attributes(child);
      const xattr: Record<string, string> = {};
      if (selinuxLabel !== undefined) {
        xattr["security.selinux"] =
          options.labels === "text" ? selinuxLabel : Buffer.from(`${selinuxLabel}\0`).toString("hex");
      }
      if (capabilities !== undefined) xattr["security.capability"] = capabilityHex(capabilities);
      if (Object.keys(xattr).length > 0) entry.xattr = xattr;
      if (info.kind === "folder") {
        entry.dir = 1;
        await visit(child);
        continue;
      }
      const bytes = await readFile(device, child);
      entry.sha1 = sha1(bytes);
      entry.size = bytes.length;
      if (info.mtimeMs === EXTRACTED_MS) entry.mtime = EXTRACTED_MS / 1000;
    }
  };
  await visit(root);
  return out;
}

export interface CollectedRun extends UpdaterOutcome {
  readonly pipe: string[];
  readonly log: string;
}

/** Runs a package and collects what it says. */
export async function collectRun(options: Omit<UpdaterOptions, "pipe" | "log">): Promise<CollectedRun> {
  const pipe: string[] = [];
  let log = "";
  const outcome = await runUpdater({
    ...options,
    pipe: (line) => pipe.push(...line.split("\n")),
    log: (t) => (log += t),
  });
  return { ...outcome, pipe, log };
}
