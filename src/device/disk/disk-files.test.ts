import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { isOtaError } from "../../core/index.ts";
import type { FileStore } from "../../core/index.ts";
import { createSimulatedDevice } from "../index.ts";
import { AttributeStore } from "./attribute-store.ts";
import { diskFiles } from "./disk-files.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});
const scratch = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "otaforge-files-"));
  folders.push(folder);
  return folder;
};

const outcome = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    (value) => (value === undefined ? "done" : JSON.stringify(value)),
    (e: unknown) => (isOtaError(e) ? e.code : String(e)),
  );

const PATHS = ["/", "/a", "/a/b", "/a/b/c", "/d", "/d/e", "/l", "/l/x", "/\udcff", "/a//b/", "/a/../b", "d"];
const path = fc.constantFrom(...PATHS);
const step = fc.oneof(
  fc.tuple(fc.constant("write" as const), path, fc.constantFrom("create", "create-new", "update"), fc.nat(9)),
  fc.tuple(fc.constant("read" as const), path),
  fc.tuple(fc.constant("list" as const), path),
  fc.tuple(fc.constant("stat" as const), path),
  fc.tuple(fc.constant("folder" as const), path),
  fc.tuple(fc.constant("rename" as const), path, path),
  fc.tuple(fc.constant("remove" as const), path),
  fc.tuple(fc.constant("link" as const), path, fc.constantFrom("/a", "d", "")),
  fc.tuple(fc.constant("read-link" as const), path),
  fc.tuple(fc.constant("hard-link" as const), path, path),
  fc.tuple(fc.constant("mode" as const), path, fc.constantFrom(0o600, 0o4755, 0o700)),
  fc.tuple(fc.constant("owner" as const), path, fc.nat(3)),
  fc.tuple(fc.constant("label" as const), path),
  fc.tuple(fc.constant("attributes" as const), path),
  fc.tuple(fc.constant("sync" as const), path),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function doStep(files: FileStore, step: Step): Promise<string> {
  switch (step[0]) {
    case "write":
      return outcome(
        (async () => {
          const file = await files.open(step[1], step[2], 0o640);
          try {
            await file.write(step[3], new Uint8Array(5).fill(65 + step[3]));
            if (step[3] > 5) await file.truncate(step[3]);
            await file.sync();
            return file.size;
          } finally {
            await file.close();
          }
        })(),
      );
    case "read":
      return outcome(
        (async () => {
          const file = await files.open(step[1], "read");
          try {
            return [...(await file.read(0, file.size))];
          } finally {
            await file.close();
          }
        })(),
      );
    case "list":
      return outcome(files.list(step[1]));
    case "stat":
      return outcome(files.stat(step[1]).then((s) => s && { ...s, mtimeMs: 0 }));
    case "folder":
      return outcome(files.makeFolder(step[1], 0o750));
    case "rename":
      return outcome(files.rename(step[1], step[2]));
    case "remove":
      return outcome(files.remove(step[1]));
    case "link":
      return outcome(files.makeLink(step[1], step[2]));
    case "read-link":
      return outcome(files.readLink(step[1]));
    case "hard-link":
      return outcome(files.makeHardLink(step[1], step[2]));
    case "mode":
      return outcome(files.setAttributes(step[1], { mode: step[2] }));
    case "owner":
      return outcome(files.setAttributes(step[1], { uid: step[2], gid: 7 }));
    case "label":
      return outcome(files.setAttributes(step[1], { selinuxLabel: "u:object_r:x:s0" }));
    case "attributes":
      return outcome(files.attributes(step[1]).then((a) => ({ ...a, capabilities: a.capabilities?.toString() })));
    case "sync":
      return outcome(files.syncFolder(step[1]));
  }
}

describe("files on disk", () => {
  test("do what the simulated files do, step by step", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const root = scratch();
        chmodSync(root, 0o755);
        mkdirSync(join(root, "root"));
        chmodSync(join(root, "root"), 0o755);
        const real = diskFiles({
          areas: [{ at: "/", folder: join(root, "root") }],
          noted: new AttributeStore(join(root, "attributes")),
        });
        const simulated = createSimulatedDevice({}).files;
        for (const one of steps) {
          const [a, b] = [await doStep(real, one), await doStep(simulated, one)];
          // With two paths wrong, either may be told.
          if (one.length === 3 && a.startsWith("DEVICE_") && b.startsWith("DEVICE_")) continue;
          expect(`${one.join(" ")}: ${a}`).toBe(`${one.join(" ")}: ${b}`);
        }
      }),
      { numRuns: 120 },
    );
  });

  test("a link planted before or in the last part is refused and what it points to stays as it was", async () => {
    const root = scratch();
    mkdirSync(join(root, "root"));
    mkdirSync(join(root, "outside"));
    writeFileSync(join(root, "outside/passwd"), "secret");
    symlinkSync(join(root, "outside"), join(root, "root/etc"));
    symlinkSync(join(root, "outside/passwd"), join(root, "root/file"));
    symlinkSync("/nowhere", join(root, "root/dangling"));
    const files = diskFiles({ areas: [{ at: "/", folder: join(root, "root") }] });
    for (const how of ["read", "update", "create", "create-new"] as const) {
      for (const bad of ["/etc/passwd", "/etc/new", "/file", "/dangling"]) {
        expect(await outcome(files.open(bad, how))).toBe("DEVICE_LINK_REFUSED");
      }
    }
    for (const work of [
      files.makeFolder("/etc/x"),
      files.remove("/etc/passwd"),
      files.rename("/etc/passwd", "/p"),
      files.list("/etc"),
      files.syncFolder("/etc"),
      files.setAttributes("/etc/passwd", { mode: 0o777 }),
    ]) {
      expect(await outcome(work)).toBe("DEVICE_LINK_REFUSED");
    }
    expect(readFileSync(join(root, "outside/passwd"), "utf8")).toBe("secret");
    expect(statSync(join(root, "outside/passwd")).mode % 0o1000).not.toBe(0o777);
  });

  test("mount folders are file systems of their own", async () => {
    const root = scratch();
    for (const name of ["root", "system", "cache"]) mkdirSync(join(root, name));
    const files = diskFiles({
      areas: [
        { at: "/", folder: join(root, "root") },
        { at: "/system", folder: join(root, "system"), readOnly: true },
        { at: "/cache", folder: join(root, "cache"), freeBytes: 5000, volatile: true },
        { at: "/data", folder: undefined },
      ],
    });
    await (await files.open("/cache/a", "create")).close();
    expect(readFileSync(join(root, "cache/a")).length).toBe(0);
    expect(await outcome(files.rename("/cache/a", "/a"))).toBe("DEVICE_OTHER_FILE_SYSTEM");
    expect(await outcome(files.open("/system/a", "create"))).toBe("DEVICE_READ_ONLY");
    expect(await outcome(files.stat("/data/a"))).toBe("UNSUPPORTED");
    expect(await outcome(files.remove("/cache"))).toBe("DEVICE_BUSY");
    expect(await files.space("/cache/x/y")).toEqual({ freeBytes: 5000, volatile: true });
    expect((await files.space("/not/there")).freeBytes).toBeGreaterThan(0);
  });

  test("attributes that were noted are there when the store is opened again", async () => {
    const root = scratch();
    const open = (): FileStore =>
      diskFiles({ areas: [{ at: "/", folder: root }], noted: new AttributeStore(join(root, "notes")) });
    await (await open().open("/sh", "create", 0o750)).close();
    await open().setAttributes("/sh", { selinuxLabel: "u:object_r:shell:s0", capabilities: 0x8000000000n });
    await open().rename("/sh", "/bash");
    expect(await open().attributes("/bash")).toMatchObject({
      mode: 0o750,
      selinuxLabel: "u:object_r:shell:s0",
      capabilities: 0x8000000000n,
    });
    await open().remove("/bash");
    await (await open().open("/bash", "create")).close();
    expect((await open().attributes("/bash")).selinuxLabel).toBeUndefined();
  });

  test.runIf(existsSync("/proc/version"))(
    "a file of procfs has the size of its content, not the 0 it claims",
    async () => {
      const file = await diskFiles({ areas: [{ at: "/", folder: "/" }] }).open("/proc/version", "read");
      expect(Buffer.from(await file.read(0, file.size)).toString()).toBe(readFileSync("/proc/version", "latin1"));
      await file.close();
    },
  );
});
