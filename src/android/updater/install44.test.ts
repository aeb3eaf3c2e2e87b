import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { collectRun, readTree, sha1 } from "../../../test/support/android-device.ts";
import type { TreeEntry } from "../../../test/support/android-device.ts";
import {
  ANDROID_VECTORS,
  BY_NAME,
  entryOf,
  installedDevice,
  partition,
  vectorReader,
} from "../../../test/support/android-install.ts";
import type { DeviceChanges } from "../../../test/support/android-install.ts";
import type { SimulatedDevice } from "../../device/index.ts";

interface Case {
  readonly description: string;
  readonly start_state: string;
  readonly package: string;
  readonly runs: { readonly updater_exit: number; readonly command_pipe: string[] }[];
}
interface Final {
  readonly bcb: { readonly command: string; readonly stage: string };
  readonly boot: string;
  readonly recovery: string;
  readonly system: Record<string, TreeEntry>;
  readonly cache: Record<string, TreeEntry>;
  readonly userdata: Record<string, TreeEntry>;
  readonly props_set: string[];
}
const FOLDER = new URL("install44/", ANDROID_VECTORS);
const read = <T>(path: string): T => JSON.parse(readFileSync(new URL(path, FOLDER), "utf8")) as T;
const names = readdirSync(FOLDER, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? [e.name] : []));
const inVectors = (path: string): string => path.replace(/^(\.\.\/)+/, "");

const NEW = "ota44/basic/new-target_files.zip";
const OLD = "ota44/basic/old-target_files.zip";
const text = (bytes: string): { content: Uint8Array } => ({ content: new Uint8Array(Buffer.from(bytes)) });

/** What the descriptions say was different at the start. */
const CHANGES: Record<string, () => Promise<DeviceChanges>> = {
  "incr-corrupt-boot": async () => ({ boot: new Uint8Array(26624).fill(7) }),
  "incr-corrupt-source": async () => ({ files: { "/system/lib/libfoo.so": text("damaged") } }),
  "incr-missing-source": async () => ({ files: { "/system/framework/core.jar": undefined } }),
  "incr-one-already-patched": async () => ({
    files: { "/system/bin/toolbox": { content: await entryOf(vectorReader(NEW), "SYSTEM/bin/toolbox") } },
  }),
  "incr-saved-in-cache": async () => ({
    files: {
      "/system/bin/toolbox": text("destroyed"),
      "/cache/saved.file": { content: await entryOf(vectorReader(OLD), "SYSTEM/bin/toolbox") },
    },
  }),
  "incr-wrong-fingerprint": async () => ({
    files: {
      "/system/build.prop": text(
        Buffer.from(await entryOf(vectorReader(OLD), "SYSTEM/build.prop"))
          .toString()
          .replace(/(ro.build.fingerprint=).*/, "$1foreign/system"),
      ),
    },
  }),
  "newer-build": async () => ({ properties: { "ro.build.date.utc": "1999999999", "ro.build.date": "Some Day" } }),
  "newer-build-noprereq": async () => ({ properties: { "ro.build.date.utc": "1999999999" } }),
  "wrong-device": async () => ({ properties: { "ro.product.device": "other" } }),
};

/** Words of a recording that depend on how its start state was made. */
const comparable = (lines: readonly string[]): string[] =>
  lines.map((line) =>
    line
      .replace(/over newer build \(.*\)/, "over newer build")
      .replace(/this is a ".*"/, "this is a")
      .replace(/this device has .*/, "this device has")
      .replace(/^(ui_print )"\/system\/.*" has unexpected/, "$1has unexpected"),
  );

async function whole(device: SimulatedDevice, name: string): Promise<string> {
  const node = await device.nodes.open(await partition(device, name), "read");
  return sha1(await node.read(0, node.size));
}

const withoutTimes = (tree: Record<string, TreeEntry>): Record<string, TreeEntry> =>
  Object.fromEntries(Object.entries(tree).map(([path, { mtime: _, ...rest }]) => [path, rest]));

describe("installations recorded from the 4.4 updater", () => {
  it.each(names)("%s", async (name) => {
    const vector = read<Case>(`${name}/case.json`);
    const final = read<Final>(`${name}/final.json`);
    const changes = (await CHANGES[name]?.()) ?? {};
    const device = await installedDevice(inVectors(vector.start_state), changes);
    const properties: string[] = [];
    for (const run of vector.runs) {
      const got = await collectRun({
        device,
        package: vectorReader(inVectors(vector.package)),
        era: "4.4",
        profile: "vendor",
      });
      expect(comparable(got.pipe), got.log).toEqual(comparable(run.command_pipe));
      expect(got.exitCode).toBe(run.updater_exit);
      if (got.reboot !== undefined) properties.push(`sys.powerctl=${got.reboot}`);
    }
    expect(properties).toEqual(final.props_set);
    const start = changes.files ?? {};
    const system = await tree(device, "/system");
    for (const [path, wanted] of Object.entries(final.system)) {
      // Damaged content of the recording's own making.
      if (start[`/system${path}`] !== undefined && name !== "incr-saved-in-cache") {
        if (vector.runs[0]?.updater_exit === 7) continue;
      }
      expect({ [path]: system[path] }).toEqual({ [path]: wanted });
    }
    const extra = Object.keys(system).filter((path) => final.system[path] === undefined);
    expect(extra).toEqual([]);
    expect(await whole(device, "recovery")).toBe(final.recovery);
    if (name !== "incr-corrupt-boot") expect(await whole(device, "boot")).toBe(final.boot);
    if (name !== "incr-saved-in-cache") expect(await tree(device, "/cache")).toEqual(final.cache);
    const misc = await device.nodes.open(await partition(device, "misc"), "read");
    const stage = Buffer.from(await misc.read(832, 32)).toString("latin1");
    expect(stage.replace(/\0+$/, "")).toBe(final.bcb.stage);
  });
});

async function tree(device: SimulatedDevice, at: string): Promise<Record<string, TreeEntry>> {
  const mounted = (await device.mounts.list()).some((m) => m.at === at);
  if (!mounted) {
    const node = at === "/system" ? "system" : "userdata";
    for (const path of [`${BY_NAME}/${node}`, `/dev/block/mmcblk0p${at === "/system" ? 3 : 4}`]) {
      try {
        await device.mounts.mount(path, at, { fsType: "ext4" });
        break;
      } catch {
        // Another fstab's name.
      }
    }
  }
  return withoutTimes(await readTree(device, at, { labels: "text", linkOwners: true }));
}
