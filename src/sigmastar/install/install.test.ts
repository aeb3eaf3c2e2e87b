import { describe, expect, it } from "vitest";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { concatBytes } from "../../core/bytes.ts";
import { memoryReader } from "../../core/streams.ts";
import { decodeText, encodeText } from "../../core/text.ts";
import type { Device } from "../../core/ports.ts";
import { createSimulatedDevice } from "../../device/index.ts";
import type { SimulatedDevice, SimulatedSpec } from "../../device/index.ts";
import { makeBsdiff40 } from "../../delta/index.ts";
import { noise, testPackage } from "../../../test/support/sigmastar-package.ts";
import type { TestPackage } from "../../../test/support/sigmastar-package.ts";
import { installSigmastar } from "./install.ts";
import type { InstallOptions, InstallResult } from "./install.ts";
import { verifySource } from "./package-source.ts";
import { joinPath } from "./paths.ts";

const old = (n: number): Uint8Array => noise(n, 1);
const fresh = (n: number): Uint8Array => noise(n, 2);

/** `bytes` with a few changes: what a difference is made for. */
function edited(bytes: Uint8Array): Uint8Array {
  const out = concatBytes(bytes.subarray(0, 700), noise(90, 9), bytes.subarray(700));
  for (let i = 0; i < out.length; i += 977) out[i] = (out[i] as number) ^ 0x55;
  return out;
}

const BOARD: SimulatedSpec = {
  nodes: {
    "/dev/mtdblock4": { kind: "block", size: 40_000, content: old(40_000) },
    "/dev/mmcblk0p5": { kind: "block", size: 20_000, content: noise(20_000, 5) },
    "/dev/mtd7": {
      kind: "nand",
      size: 16 * 4096,
      eraseSize: 4096,
      writeSize: 512,
      content: noise(16 * 4096, 7),
      badBlocks: [1, 3],
    },
    "/dev/mtdblock7": { kind: "block", size: 16 * 4096 },
    "/dev/mtd3": { kind: "nor", size: 8 * 4096, eraseSize: 4096, content: noise(8 * 4096, 3) },
  },
  ubi: { "/dev/ubi0_1": { name: "customer", size: 30_000, content: noise(25_000, 11) } },
  ubiFreeBytes: 100_000,
  files: {
    "/etc/app.conf": "old configuration",
    "/etc/gone.conf": "to be deleted",
    "/bin/app": { content: noise(9000, 21), mode: 0o755, uid: 7, gid: 8 },
    "/tmp": { kind: "folder" },
  },
};

const FILES: TestPackage["records"] = [
  { operation: "FILE_UPDATE", destination: "/etc/app.conf", payload: "new configuration" },
  { operation: "FILE_DIFF", destination: "/bin/app", payload: makeBsdiff40(noise(9000, 21), edited(noise(9000, 21))) },
  { operation: "FILE_ADD", destination: "/opt/new/deep/file", payload: fresh(300), mode: 0o100640 },
  { operation: "FILE_DELETE", destination: "/etc/gone.conf" },
];

const ALL: TestPackage = {
  begin: "echo begin",
  end: "echo end",
  records: [
    { operation: "BLK_UPDATE", destination: "/dev/mtdblock4", payload: fresh(33_000), destinationSize: 40_000 },
    {
      operation: "FILE_DIFF",
      destination: "/dev/mmcblk0p5",
      payload: makeBsdiff40(noise(20_000, 5), edited(noise(19_000, 5))),
    },
    { operation: "UBI_UPDATE", destination: "/dev/ubi0_1", payload: fresh(28_000) },
    { operation: "SCRIPT_EXEC", destination: "env.sh", payload: "fw_setenv a b" },
    ...FILES,
    { operation: "BLK_UPDATE", destination: "/dev/mtd7", payload: fresh(30_001) },
  ],
};

function withScratch(device: Device, options: InstallOptions = {}): InstallOptions {
  return { scratch: { files: device.files, folder: "/tmp" }, ...options };
}

function install(device: Device, pkg: Uint8Array, options?: InstallOptions): Promise<InstallResult> {
  return installSigmastar(device, { file: memoryReader(pkg), compression: "detect" }, withScratch(device, options));
}

async function fileBytes(device: Device, path: string): Promise<Uint8Array> {
  const file = await device.files.open(path, "read");
  try {
    return await file.read(0, file.size);
  } finally {
    await file.close();
  }
}

async function nodeBytes(device: Device, path: string, length?: number): Promise<Uint8Array> {
  const node = await device.nodes.open(path, "read");
  return node.read(0, length ?? node.size);
}

/** Everything below a folder, as paths with contents. */
async function tree(device: Device, folder: string, out: Record<string, string> = {}): Promise<Record<string, string>> {
  for (const name of await device.files.list(folder)) {
    const path = joinPath(folder, name);
    const info = await device.files.stat(path);
    if (info?.kind === "folder") {
      out[`${path}/`] = "";
      await tree(device, path, out);
    } else out[path] = hash(await fileBytes(device, path));
  }
  return out;
}

async function volumeBytes(device: Device, path: string): Promise<Uint8Array> {
  const volume = await device.ubi.open(path);
  return volume.read(0, volume.size);
}

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** All content of the board, for comparing devices. */
async function snapshot(device: Device): Promise<Record<string, unknown>> {
  const nodes: Record<string, string> = {};
  for (const path of Object.keys(BOARD.nodes ?? {})) nodes[path] = hash(await nodeBytes(device, path));
  const info = await device.ubi.info("/dev/ubi0_1");
  let volume = "unreadable";
  if (info?.updating === false) volume = hash(await volumeBytes(device, "/dev/ubi0_1"));
  return { nodes, files: await tree(device, "/"), volume, info, second: await device.ubi.info("/dev/ubi0_0") };
}

describe("installing a package of every kind of record", () => {
  it.each(["plain", "gzip", "two gzip members"] as const)("brings all of it into place (%s)", async (form) => {
    const plain = testPackage(ALL);
    const half = Math.floor(plain.length / 2);
    const pkg = {
      plain,
      gzip: gzipSync(plain),
      "two gzip members": Buffer.concat([gzipSync(plain.subarray(0, half)), gzipSync(plain.subarray(half))]),
    }[form];
    const device = createSimulatedDevice(BOARD);
    const result = await install(device, pkg);
    expect(result).toMatchObject({ outcome: "installed", resumed: false, signature: "unsigned", generation: "v1.6" });
    expect(result.targets.map((t) => t.outcome)).toEqual(Array(9).fill("done"));
    expect(await nodeBytes(device, "/dev/mtdblock4")).toEqual(concatBytes(fresh(33_000), old(40_000).subarray(33_000)));
    const patched = edited(noise(19_000, 5));
    expect(await nodeBytes(device, "/dev/mmcblk0p5", patched.length)).toEqual(patched);
    expect(await volumeBytes(device, "/dev/ubi0_1")).toEqual(fresh(28_000));
    expect(await device.ubi.info("/dev/ubi0_1")).toMatchObject({ name: "customer", size: 30_000, updating: false });
    expect(await device.ubi.info("/dev/ubi0_0")).toBeUndefined();
    expect(await tree(device, "/")).toEqual({
      "/bin/": "",
      "/bin/app": hash(edited(noise(9000, 21))),
      "/etc/": "",
      "/etc/app.conf": hash(encodeText("new configuration")),
      "/opt/": "",
      "/opt/new/": "",
      "/opt/new/deep/": "",
      "/opt/new/deep/file": hash(fresh(300)),
      "/tmp/": "",
    });
    expect(await device.files.stat("/bin/app")).toMatchObject({ mode: 0o755, uid: 7, gid: 8 });
    expect(await device.files.stat("/opt/new/deep/file")).toMatchObject({ mode: 0o640 });
    // bad blocks 1 and 3: the image lies on 0, 2, 4, 5 …
    const nand = await device.nodes.open("/dev/mtd7", "read");
    expect(await nand.read(0, 4096)).toEqual(fresh(30_001).subarray(0, 4096));
    expect(await nand.read(2 * 4096, 4096)).toEqual(fresh(30_001).subarray(4096, 8192));
    expect(await nand.read(4 * 4096, 4096)).toEqual(fresh(30_001).subarray(8192, 12_288));
    expect(device.scriptsNoted.map((s) => [s.name, decodeText(s.text), s.variables])).toEqual([
      ["begin script", "echo begin", { OTA_STATUS: "0" }],
      ["record 3 env.sh", "fw_setenv a b", { OTA_STATUS: "0" }],
      ["end script", "echo end", { OTA_STATUS: "0" }],
    ]);
  });

  it("installs the same package again without patching a result", async () => {
    const device = createSimulatedDevice(BOARD);
    await install(device, testPackage(ALL));
    const before = await snapshot(device);
    const result = await install(device, testPackage(ALL));
    expect(result.resumed).toBe(false);
    expect(await snapshot(device)).toEqual(before);
  });

  it("remembers what differences of earlier packages saw", async () => {
    const device = createSimulatedDevice(BOARD);
    const other = testPackage({
      records: [{ operation: "FILE_UPDATE", destination: "/etc/app.conf", payload: "third" }],
    });
    const first = testPackage({ records: [FILES[1] as (typeof FILES)[number]] });
    await install(device, first);
    await install(device, other);
    await install(device, first);
    expect(await fileBytes(device, "/bin/app")).toEqual(edited(noise(9000, 21)));
  });

  it.each(["v0.2", "v0.3", "v0.4"] as const)("reads generation %s", async (generation) => {
    const device = createSimulatedDevice(BOARD);
    const records = generation === "v0.2" ? ALL.records?.filter((r) => r.operation !== "SCRIPT_EXEC") : ALL.records;
    const result = await install(
      device,
      testPackage({ ...ALL, generation, ...(records === undefined ? {} : { records }) }),
    );
    expect(result.generation).toBe(generation);
    expect(await volumeBytes(device, "/dev/ubi0_1")).toEqual(fresh(28_000));
  });

  it("updates a volume in place when there is no room for a second one", async () => {
    const device = createSimulatedDevice({ ...BOARD, ubiFreeBytes: 10_000 });
    await install(device, testPackage(ALL));
    expect(await volumeBytes(device, "/dev/ubi0_1")).toEqual(fresh(28_000));
  });

  it("treats a raw image for a volume as a volume update", async () => {
    const device = createSimulatedDevice(BOARD);
    await install(
      device,
      testPackage({ records: [{ operation: "BLK_UPDATE", destination: "/dev/ubi0_1", payload: fresh(99) }] }),
    );
    expect(await volumeBytes(device, "/dev/ubi0_1")).toEqual(fresh(99));
  });

  it("erases the rest of a flash partition behind a JFFS2 image, and only then", async () => {
    const jffs2 = concatBytes(Uint8Array.of(0x85, 0x19), fresh(5000));
    for (const [image, rest] of [
      [jffs2, 0xff],
      [fresh(5002), undefined],
    ] as const) {
      const device = createSimulatedDevice(BOARD);
      await install(
        device,
        testPackage({ records: [{ operation: "BLK_UPDATE", destination: "/dev/mtd3", payload: image }] }),
      );
      const bytes = await nodeBytes(device, "/dev/mtd3");
      expect(bytes.subarray(0, 5002)).toEqual(image);
      const behind = bytes.subarray(8192);
      if (rest === undefined) expect(behind).toEqual(noise(8 * 4096, 3).subarray(8192));
      else expect(behind.every((b) => b === rest)).toBe(true);
    }
  });
});

describe("destinations and masks", () => {
  const two = (change: object): Uint8Array =>
    testPackage({
      records: [
        {
          operation: "BLK_UPDATE",
          destination: "/dev/mtdblock4 /dev/mmcblk0p5",
          payload: fresh(5000),
          log: "kernel",
          ...change,
        },
      ],
    });

  it("writes every destination of a record", async () => {
    const device = createSimulatedDevice(BOARD);
    await install(device, gzipSync(two({})));
    expect(await nodeBytes(device, "/dev/mtdblock4", 5000)).toEqual(fresh(5000));
    expect(await nodeBytes(device, "/dev/mmcblk0p5", 5000)).toEqual(fresh(5000));
  });

  it("skips destinations with mask 0, unless told to write them", async () => {
    const device = createSimulatedDevice(BOARD);
    const result = await install(device, two({ masks: [0, 7] }));
    expect(result.targets.map((t) => t.outcome)).toEqual(["skipped", "done"]);
    expect(await nodeBytes(device, "/dev/mtdblock4")).toEqual(old(40_000));
    const all = await install(device, two({ masks: [0, 7] }), { ignoreMasks: true });
    expect(all.targets.map((t) => t.outcome)).toEqual(["done", "done"]);
  });

  it("asks the access callback with path, record, destination and log", async () => {
    const device = createSimulatedDevice(BOARD);
    const asked: unknown[] = [];
    const result = await install(device, two({}), {
      access: (...question) => {
        asked.push(question);
        return question[2] === 0 ? -1 : 0;
      },
    });
    expect(asked).toEqual([
      ["/dev/mtdblock4", 0, 0, "kernel"],
      ["/dev/mmcblk0p5", 0, 1, "kernel"],
    ]);
    expect(result.targets.map((t) => t.outcome)).toEqual(["skipped", "done"]);
  });

  it("skips a destination this device does not have, with a warning, and refuses when none is there", async () => {
    const device = createSimulatedDevice(BOARD);
    const some = await install(device, two({ destination: "/dev/other /dev/mmcblk0p5" }));
    expect(some.targets.map((t) => t.outcome)).toEqual(["skipped", "done"]);
    expect(some.warnings.join()).toContain("/dev/other");
    await expect(install(device, two({ destination: "/dev/other /dev/more" }))).rejects.toMatchObject({
      code: "DEVICE_NOT_FOUND",
    });
  });
});

describe("refusals before the first write", () => {
  it("a plain write onto NAND is refused also where the block device tells the flash behind it, as on a board", async () => {
    const node = { kind: "nand", size: 16 * 4096, eraseSize: 4096, writeSize: 512 } as const;
    const device = createSimulatedDevice({ nodes: { "/dev/mtdblock7": node, "/dev/mtd7": node } });
    const onto = (destination: string): Uint8Array =>
      testPackage({ records: [{ operation: "BLK_UPDATE", destination, payload: fresh(100) }] });
    await expect(install(device, onto("/dev/mtdblock7"))).rejects.toMatchObject({ code: "SIGMASTAR_NAND_PLAIN_WRITE" });
    await install(device, onto("/dev/mtd7"));
  });

  const one = (record: NonNullable<TestPackage["records"]>[number]): Uint8Array =>
    testPackage({
      begin: "b",
      end: "e",
      records: [{ operation: "BLK_UPDATE", destination: "/dev/mtdblock4", payload: fresh(100) }, record],
    });
  const patch = makeBsdiff40(noise(9000, 21), edited(noise(9000, 21)));
  const cases: [string, Uint8Array, string, InstallOptions?][] = [
    [
      "an image larger than its partition",
      one({ operation: "BLK_UPDATE", destination: "/dev/mmcblk0p5", payload: fresh(20_001) }),
      "DEVICE_TOO_SMALL",
    ],
    [
      "an image larger than the good blocks",
      one({ operation: "BLK_UPDATE", destination: "/dev/mtd7", payload: fresh(14 * 4096 + 1) }),
      "DEVICE_TOO_SMALL",
    ],
    [
      "an image larger than its volume",
      one({ operation: "UBI_UPDATE", destination: "/dev/ubi0_1", payload: fresh(30_001) }),
      "DEVICE_TOO_SMALL",
    ],
    [
      "a payload larger than the declared size",
      one({ operation: "BLK_UPDATE", destination: "/dev/mmcblk0p5", payload: fresh(200), destinationSize: 199 }),
      "SIGMASTAR_DECLARED_SIZE",
    ],
    [
      "a partition that does not exist",
      one({ operation: "BLK_UPDATE", destination: "/dev/mtd99", payload: fresh(1) }),
      "DEVICE_NOT_FOUND",
    ],
    [
      "a plain write onto NAND",
      one({ operation: "BLK_UPDATE", destination: "/dev/mtdblock7", payload: fresh(1) }),
      "SIGMASTAR_NAND_PLAIN_WRITE",
    ],
    [
      "a volume update of a partition",
      one({ operation: "UBI_UPDATE", destination: "/dev/mtdblock4", payload: fresh(1) }),
      "DEVICE_WRONG_KIND",
    ],
    [
      "a file update of a partition",
      one({ operation: "FILE_UPDATE", destination: "/dev/mtdblock4", payload: fresh(1) }),
      "DEVICE_WRONG_KIND",
    ],
    [
      "an update of a file that is missing",
      one({ operation: "FILE_UPDATE", destination: "/etc/none", payload: fresh(1) }),
      "DEVICE_NOT_FOUND",
    ],
    ["a delete of a folder", one({ operation: "FILE_DELETE", destination: "/etc" }), "DEVICE_NOT_FILE"],
    [
      "a file below a file",
      one({ operation: "FILE_ADD", destination: "/bin/app/x", payload: fresh(1) }),
      "DEVICE_NOT_FOLDER",
    ],
    ["a relative path", one({ operation: "FILE_ADD", destination: "etc/x", payload: fresh(1) }), "SIGMASTAR_PATH"],
    [
      "a path with ..",
      one({ operation: "FILE_ADD", destination: "/etc/../bin/x", payload: fresh(1) }),
      "SIGMASTAR_PATH",
    ],
    ["no destination", one({ operation: "FILE_ADD", destination: "", payload: fresh(1) }), "SIGMASTAR_NO_DESTINATION"],
    [
      "a patch that is none",
      one({ operation: "FILE_DIFF", destination: "/bin/app", payload: fresh(100) }),
      "BSDIFF_MAGIC",
    ],
    [
      "a patch cut short",
      one({ operation: "FILE_DIFF", destination: "/bin/app", payload: patch.subarray(0, patch.length - 9) }),
      "CODEC_DAMAGED",
    ],
    [
      "a difference without a folder for it",
      one({ operation: "FILE_DIFF", destination: "/bin/app", payload: patch }),
      "SIGMASTAR_TEMPORARY_NEEDED",
      { scratch: undefined as never },
    ],
    [
      "an unsigned package where keys are",
      one({ operation: "FILE_DELETE", destination: "/etc/gone.conf" }),
      "SIGMASTAR_UNSIGNED",
      { requireSignature: true },
    ],
    [
      "a base the manifest does not know",
      one({ operation: "FILE_DIFF", destination: "/bin/app", payload: patch }),
      "SIGMASTAR_WRONG_BASE",
      { promised: [{ record: 1, base: { size: 1, sha256: "00" } }] },
    ],
    [
      "a damaged package",
      one({ operation: "FILE_DELETE", destination: "/etc/gone.conf" }).map((b, i) => (i === 1800 ? b ^ 1 : b)),
      "SIGMASTAR_RECORD_DAMAGED",
    ],
    [
      "trailing garbage",
      concatBytes(one({ operation: "FILE_DELETE", destination: "/etc/gone.conf" }), Uint8Array.of(0)),
      "SIGMASTAR_TRAILING",
    ],
    [
      "a cut gzip",
      gzipSync(one({ operation: "FILE_DELETE", destination: "/etc/gone.conf" })).subarray(0, -3),
      "CODEC_DAMAGED",
    ],
    [
      "garbage behind gzip",
      Buffer.concat([gzipSync(one({ operation: "FILE_DELETE", destination: "/etc/gone.conf" })), Buffer.from("x")]),
      "CODEC_DAMAGED",
    ],
  ];
  it.each(cases)("%s", async (_, pkg, code, options = {}) => {
    const device = createSimulatedDevice(BOARD);
    const before = await snapshot(device);
    await expect(install(device, pkg, options)).rejects.toMatchObject({ code });
    expect(await snapshot(device)).toEqual(before);
    expect(device.scriptsNoted).toEqual([]);
    expect(device.writes).toBe(0);
  });

  it("a folder for differences that forgets its files, unless the risk is accepted", async () => {
    const spec = { ...BOARD, fileSystems: { "/ram": { volatile: true, node: "tmpfs" } } };
    const device = createSimulatedDevice(spec);
    const pkg = testPackage(ALL);
    const scratch = { files: device.files, folder: "/ram" };
    await expect(install(device, pkg, { scratch })).rejects.toMatchObject({ code: "SIGMASTAR_TEMPORARY_VOLATILE" });
    await install(device, pkg, { scratch, acceptVolatile: true });
  });

  it("content that does not fit the file system", async () => {
    const device = createSimulatedDevice({ ...BOARD, fileSystems: { "/": { capacityBytes: 20_000 } } });
    const pkg = testPackage({ records: [{ operation: "FILE_ADD", destination: "/big", payload: fresh(15_000) }] });
    await expect(install(device, pkg)).rejects.toMatchObject({ code: "DEVICE_NO_SPACE" });
    expect(device.writes).toBe(0);
  });

  it("a planted link on the way or at the end", async () => {
    for (const [link, destination] of [
      ["/opt", "/opt/x"],
      ["/etc/x", "/etc/x"],
    ] as const) {
      const files = { ...BOARD.files, [link]: { kind: "link", link: "/bin" } as const };
      const device = createSimulatedDevice({ ...BOARD, files });
      const pkg = testPackage({ records: [{ operation: "FILE_ADD", destination, payload: fresh(15) }] });
      await expect(install(device, pkg)).rejects.toMatchObject({ kind: "device" });
      expect(device.writes).toBe(0);
    }
  });

  it("a target that is still mounted: after the begin script, with the end script told of the failure", async () => {
    const device = createSimulatedDevice({
      ...BOARD,
      fileSystems: { "/mnt": { node: "/dev/mtdblock4", fsType: "squashfs" } },
    });
    const before = await snapshot(device);
    const unmounting = testPackage({ ...ALL, begin: "sync; umount -l /mnt || exit 1" });
    await install(device.fork(), unmounting);
    await expect(install(device, testPackage(ALL))).rejects.toMatchObject({ code: "SIGMASTAR_MOUNTED" });
    expect(await snapshot(device)).toEqual(before);
    expect(device.scriptsNoted.map((s) => [s.name, s.variables["OTA_STATUS"]])).toEqual([
      ["begin script", "0"],
      ["end script", "-1"],
    ]);
  });
});

describe("failures on the way", () => {
  it("takes back a batch of files that could not be completed", async () => {
    const pkg = testPackage({ end: "e", records: FILES });
    const clean = createSimulatedDevice(BOARD);
    await install(clean, pkg);
    const total = clean.writes;
    const before = await snapshot(createSimulatedDevice(BOARD));
    const done = await snapshot(clean);
    let refused = 0;
    for (let i = 0; i < total; i++) {
      const device = createSimulatedDevice(BOARD);
      device.failWrite(i, { code: i % 2 === 0 ? "DEVICE_NO_SPACE" : "DEVICE_IO", lasting: false });
      const failed = await install(device, pkg).then(
        () => false,
        () => true,
      );
      const now = await snapshot(device);
      if (failed && equal(now, before)) refused++;
      await install(device, pkg);
      expect(await snapshot(device)).toEqual(done);
    }
    expect(refused).toBeGreaterThan(10);
  });

  it("goes around an erase block that goes bad in the middle", async () => {
    const pkg = testPackage({
      records: [{ operation: "BLK_UPDATE", destination: "/dev/mtd7", payload: fresh(30_001) }],
    });
    const clean = createSimulatedDevice(BOARD);
    await install(clean, pkg);
    const programs = clean.log.flatMap((op, i) => (op.kind === "program" || op.kind === "erase" ? [i] : []));
    for (const i of programs.filter((_, n) => n % 3 === 0)) {
      const device = createSimulatedDevice(BOARD);
      device.failWrite(i, { code: "DEVICE_IO", lasting: false });
      await install(device, pkg);
      expect(await goodBytes(device, "/dev/mtd7", 30_001)).toEqual(fresh(30_001));
    }
  });

  it("never lets a package that changes after the check onto a target", async () => {
    const pkg = testPackage({
      records: [{ operation: "BLK_UPDATE", destination: "/dev/mtdblock4", payload: fresh(33_000) }],
    });
    for (const compressed of [false, true]) {
      const file = compressed ? new Uint8Array(gzipSync(pkg)) : pkg.slice();
      const device = createSimulatedDevice(BOARD);
      const evil = compressed
        ? new Uint8Array(
            gzipSync(
              testPackage({
                records: [{ operation: "BLK_UPDATE", destination: "/dev/mtdblock4", payload: noise(33_000, 66) }],
              }),
            ),
          )
        : undefined;
      const attacker = {
        progress: (event: { phase: string; doneBytes: number }) => {
          if (event.phase !== "verify" || event.doneBytes < 33_000) return;
          if (evil === undefined) file.fill(0x66, file.length - 5000);
          else file.set(evil.subarray(0, file.length));
        },
        note() {},
      };
      await expect(install(device, file, { progress: attacker })).rejects.toMatchObject({ kind: "format" });
      expect(await nodeBytes(device, "/dev/mtdblock4")).toEqual(old(40_000));
    }
  });

  it("tells an interrupted run from a finished one, and both to the scripts", async () => {
    const pkg = testPackage(ALL);
    const device = createSimulatedDevice(BOARD);
    const cancel = { aborted: false };
    const progress = {
      progress: (e: { phase: string; item?: string }) => void (cancel.aborted ||= e.phase === "read back"),
      note() {},
    };
    await expect(install(device, pkg, { cancel, progress })).rejects.toMatchObject({ kind: "interrupted" });
    expect(device.scriptsNoted.at(-1)).toMatchObject({ name: "end script", variables: { OTA_STATUS: "-1" } });
    const result = await install(device, pkg);
    expect(result.resumed).toBe(true);
    expect(device.scriptsNoted.at(-1)?.variables).toEqual({ OTA_STATUS: "0", OTA_RESUME: "1" });
  });
});

function equal(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What a loader that skips bad blocks reads. */
async function goodBytes(device: Device, path: string, length: number): Promise<Uint8Array> {
  const node = await device.nodes.open(path, "read");
  const parts: Uint8Array[] = [];
  for (let at = 0; at < node.size; at += 4096) if (!(await node.isBad?.(at))) parts.push(await node.read(at, 4096));
  return concatBytes(...parts).subarray(0, length);
}

describe("power cuts", () => {
  it.each([
    ["with room for a second volume", 100_000],
    ["without", 0],
  ])("at every write, in every way, end in the old or the new system (%s)", async (_, ubiFreeBytes) => {
    const spec = { ...BOARD, ubiFreeBytes };
    const start = createSimulatedDevice(spec);
    // Checked once, as the rehearsal does.
    const source = { file: memoryReader(testPackage(ALL)), compression: "plain", unchangeable: true } as const;
    const pkg = await verifySource(source, start);
    const install = (device: Device): Promise<InstallResult> => installSigmastar(device, pkg, withScratch(device));
    const done = start.fork({ keepLog: true });
    await install(done);
    const goal = await snapshot(done);
    let cuts = 0;
    for (let write = 0; write < done.writes; write++) {
      // Every write is cut in two of the nine ways; the long test and the rehearsal take them all.
      for (const way of [write % 9, (write + 4) % 9]) {
        const phase = (["before", "torn", "after"] as const)[way % 3] as "torn";
        const unflushed = (["dropped", "some", "kept"] as const)[Math.floor(way / 3)] as "some";
        const device: SimulatedDevice = start.fork();
        device.cutPower({ write, phase, unflushed, seed: write });
        await install(device).catch((e: unknown) => expect(e).toMatchObject({ code: "DEVICE_POWER_CUT" }));
        const again = device.restart();
        await install(again);
        const now = await snapshot(again);
        if (!equal(now, goal)) expect({ write, phase, unflushed, now }).toEqual({ write, phase, unflushed, now: goal });
        cuts++;
      }
    }
    expect(cuts).toBeGreaterThan(250);
  });
});
