import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { makeZip, readFile } from "../../../test/support/android-device.ts";
import type { Contents } from "../../../test/support/android-device.ts";
import { ANDROID_VECTORS, BY_NAME, installedDevice, vectorReader } from "../../../test/support/android-install.ts";
import type { DeviceChanges } from "../../../test/support/android-install.ts";
import { memorySink, openZip } from "../../core/zip/index.ts";
import type { RandomReader } from "../../core/ports.ts";
import { nodeCodecs, nodeDigests } from "../../device/index.ts";
import type { SimulatedDevice } from "../../device/index.ts";
import { signerFromFiles } from "../signing/keys.node.ts";
import { signArchive } from "../signing/index.ts";
import { SCRIPT_NAME } from "../updater/index.ts";
import { parseResKeys } from "../verifier/index.ts";
import { parseArguments, parseBlockMap, readControlBlock, runRecovery } from "./index.ts";
import { BACKGROUNDS } from "./index.ts";
import type { RecoveryOptions, RecoveryUi } from "./index.ts";
import { mappedReader } from "./block-map.ts";

interface Case {
  readonly input: {
    readonly cmd?: string;
    readonly bcb?: { readonly command: string; readonly recovery: string };
    readonly pkg?: string;
    readonly prop?: [string, string];
    readonly data?: boolean;
    readonly files?: Readonly<Record<string, Uint8Array>>;
  };
  readonly result: {
    readonly command_file_left: null;
    readonly last_install: string;
    readonly last_locale: string | null;
    readonly intent: string | null;
    readonly cache_entries: string[];
    readonly recovery_dir: string[];
    readonly bcb_after: { readonly command: string; readonly recovery: string; readonly stage: string };
    readonly userdata: string[];
    readonly system_changed: boolean;
    readonly ui: string[];
    readonly property_writes: string[];
  };
}
const { cases } = JSON.parse(readFileSync(new URL("recovery44/cases/cases.json", ANDROID_VECTORS), "utf8")) as {
  cases: Record<string, Case>;
};

const KEYS = new URL("signing/generated/", ANDROID_VECTORS);
const MISC = `${BY_NAME}/misc`;
let signed: Uint8Array;

async function signedPackage(source: RandomReader): Promise<Uint8Array> {
  const signer = await signerFromFiles({ path: fileURLToPath(new URL("k1_e3_sha1", KEYS)) });
  const sink = memorySink();
  const output = { ...sink, read: async (at: number, n: number) => sink.bytes().subarray(at, at + n) };
  const zip = await openZip(source, { codecs: nodeCodecs });
  await signArchive(zip, output, signer, {
    codecs: nodeCodecs,
    digests: nodeDigests,
    progress: { progress: () => undefined, note: () => undefined },
  });
  return sink.bytes();
}

beforeAll(async () => {
  signed = await signedPackage(vectorReader("ota44/basic/full/unsigned.zip"));
});

/** Shows what the recording's headless screen showed. */
function recordingUi(): RecoveryUi & { lines(): string[] } {
  const lines: string[] = [];
  let text = "";
  const flush = (): void => {
    if (text !== "") lines.push(text);
    text = "";
  };
  const mark = (line: string): void => {
    flush();
    lines.push(line);
  };
  return {
    background: (picture) => mark(`[background ${BACKGROUNDS.indexOf(picture)}]`),
    showProgress: (fraction, seconds) => mark(`[progress ${fraction.toFixed(4)} ${seconds}]`),
    setProgress: () => undefined,
    print(part) {
      const pieces = (text + part).split("\n");
      text = pieces.pop() as string;
      lines.push(...pieces.filter((p) => p !== ""));
    },
    showText: () => undefined,
    menu: async () => mark("[menu]"),
    lines: () => (flush(), lines),
  };
}

const NODES: Record<string, string> = { "/cache": `${BY_NAME}/cache`, "/data": `${BY_NAME}/userdata` };

function options(device: SimulatedDevice, ui: RecoveryUi, more: Partial<RecoveryOptions> = {}): RecoveryOptions {
  return {
    device,
    era: "4.4",
    profile: "safe",
    commandLine: [],
    ui,
    keys: async () => parseResKeys(readFileSync(new URL("k1_e3_sha1.txt", KEYS), "latin1"), "4.4"),
    misc: MISC,
    nodeOf: (at) => NODES[at],
    ...more,
  };
}

async function start(input: Case["input"]): Promise<SimulatedDevice> {
  const bytes = signed.slice();
  if (input.pkg?.includes("changed after signing") === true) bytes[500] = (bytes[500] as number) ^ 1;
  const changes: DeviceChanges = {
    files: {
      "/cache/recovery": { kind: "folder" },
      "/cache/lost+found": { kind: "folder" },
      ...(input.pkg === undefined ? {} : { "/cache/update.zip": { content: bytes } }),
      ...(input.cmd === undefined
        ? {}
        : { "/cache/recovery/command": { content: new Uint8Array(Buffer.from(input.cmd)) } }),
      ...Object.fromEntries(Object.entries(input.files ?? {}).map(([path, content]) => [path, { content }])),
      ...(input.data === true ? { "/data/file": { content: bytes.slice(0, 10) } } : {}),
    },
    ...(input.prop === undefined ? {} : { properties: { [input.prop[0]]: input.prop[1] } }),
  };
  const device = await installedDevice("ota44/basic/old-target_files.zip", changes);
  if (input.bcb !== undefined) {
    const node = await device.nodes.open(MISC, "write");
    await node.write(0, new Uint8Array(Buffer.from(input.bcb.command)));
    await node.write(64, new Uint8Array(Buffer.from(input.bcb.recovery)));
    await node.flush();
  }
  return device;
}

const textOf = async (device: SimulatedDevice, path: string): Promise<string | null> =>
  (await device.files.stat(path)) === undefined ? null : Buffer.from(await readFile(device, path)).toString();

describe("recovery as recorded from the 4.4 program", () => {
  it.each(Object.entries(cases))("%s", async (_name, { input, result }) => {
    const device = await start(input);
    const ui = recordingUi();
    const outcome = await runRecovery(options(device, ui));
    expect(ui.lines(), outcome.log).toEqual(result.ui);
    expect(await textOf(device, "/cache/recovery/last_install")).toBe(result.last_install);
    expect(await textOf(device, "/cache/recovery/last_locale")).toBe(result.last_locale);
    expect(await textOf(device, "/cache/recovery/intent")).toBe(result.intent);
    expect(await textOf(device, "/cache/recovery/command")).toBe(result.command_file_left);
    // A fresh ext4 has a folder lost+found of its own.
    const names = (await device.files.list("/cache")).filter((n) => n !== "lost+found");
    expect(names).toEqual(result.cache_entries.filter((n) => n !== "lost+found"));
    expect(await device.files.list("/cache/recovery")).toEqual(result.recovery_dir);
    const { command, recovery, stage } = await readControlBlock(device, MISC);
    expect({ command, recovery, stage }).toEqual(result.bcb_after);
    expect([`sys.powerctl=${outcome.reboot}`]).toEqual(result.property_writes);
    for (const [at, node] of [
      ["/system", "system"],
      ["/data", "userdata"],
    ] as const) {
      await device.mounts.mount(`${BY_NAME}/${node}`, at, { fsType: "ext4" });
    }
    expect(await device.files.list("/data")).toEqual(result.userdata);
    expect((await device.files.stat("/system/app/New.apk")) !== undefined).toBe(result.system_changed);
  });
});

describe("recovery beyond the recordings", () => {
  const run = async (input: Case["input"], more: Partial<RecoveryOptions> = {}) => {
    const device = await start(input);
    const ui = recordingUi();
    return { device, ui, outcome: await runRecovery(options(device, ui, more)) };
  };
  const update = { cmd: "--update_package=/cache/update.zip\n", pkg: "signed" };

  it("takes its own command line before everything else, in the other spelling too", async () => {
    const { outcome } = await run(
      { ...update, cmd: "--wipe_data\n" },
      { commandLine: ["--update-zip=CACHE:update.zip"] },
    );
    expect(outcome.status).toBe(0);
  });

  it("installs nothing without keys", async () => {
    const { outcome, ui } = await run(update, { keys: async () => parseResKeys("nothing") });
    expect(outcome.status).toBe(2);
    expect(ui.lines()).toContain("E:Failed to load keys");
  });

  it("installs nothing on a weak battery, and says so where 7.1 does", async () => {
    const { outcome, device } = await run(update, {
      era: "7.1",
      battery: async () => ({ percent: 10, charging: false }),
    });
    expect(outcome.status).toBe(4);
    expect(await textOf(device, "/cache/recovery/last_install")).toBe("/cache/update.zip\n0\nerror: 20");
  });

  it("writes the summary of 7.1", async () => {
    const { device } = await run({ ...update, prop: ["ro.product.device", "zzz"] }, { era: "7.1" });
    expect(await textOf(device, "/cache/recovery/last_install")).toMatch(
      /^\/cache\/update.zip\n0\ntime_total: \d+\nretry: 0$/,
    );
  });

  const runPackage = async (entries: Contents, more: Partial<RecoveryOptions> = {}) => {
    const device = await start({
      cmd: "--update_package=/cache/own.zip\n",
      files: {
        "/cache/own.zip": await signedPackage(await makeZip(entries)),
        "/cache/recovery/uncrypt_status": Buffer.from("uncrypt_time: 7\n"),
      },
    });
    const outcome = await runRecovery(options(device, recordingUi(), more));
    return {
      outcome,
      summary: (await textOf(device, "/cache/recovery/last_install"))?.replace(/total: \d+/, "total: n"),
    };
  };
  const BINARY = { "META-INF/com/google/android/update-binary": "x" };

  it("says in the summary of 7.1 which builds the package is for, and what failed", async () => {
    const metadata = "post-build-incremental=1038\npre-build=x\npre-build-incremental=1031\n";
    const good = {
      ...BINARY,
      [SCRIPT_NAME]: 'abort("E3004: no");',
      "META-INF/com/android/metadata": metadata,
    };
    const head = (done: 0 | 1, ...lines: string[]): string =>
      ["/cache/own.zip", done, "time_total: n", "retry: 0", ...lines, "uncrypt_time: 7"].join("\n");
    expect((await runPackage(good, { era: "7.1" })).summary).toBe(
      head(0, "target_build: 1038", "source_build: 1031", "error: 3004"),
    );
    const other = parseResKeys(readFileSync(new URL("k4_f4_sha256.txt", KEYS), "latin1"));
    expect((await runPackage(good, { era: "7.1", keys: async () => other })).summary).toBe(head(0, "error: 21"));
    expect((await runPackage(good)).summary).toBe("/cache/own.zip\n0\n");
  });

  it("shows of an unsigned package what the recovery of its release shows", async () => {
    for (const [era, shown] of [
      ["4.4", []],
      ["7.1", ["E:footer is wrong"]],
    ] as const) {
      const files = { "/cache/own.zip": Buffer.from("no footer at all") };
      const { ui, outcome } = await run({ cmd: "--update_package=/cache/own.zip\n", files }, { era });
      expect(ui.lines().filter((line) => line.startsWith("E:"))).toEqual([...shown, "E:signature verification failed"]);
      expect(outcome.log).toContain("E:footer is wrong");
    }
  });

  it("takes a package without a program for none, as the original does", async () => {
    const { outcome } = await runPackage({ [SCRIPT_NAME]: "done" });
    expect(outcome.status).toBe(2);
    expect(outcome.log).toContain("/cache/own.zip has no META-INF/com/google/android/update-binary");
    expect((await runPackage({ ...BINARY, [SCRIPT_NAME]: "done" })).outcome.status).toBe(0);
  });

  it("makes the file systems that the device has, and erases flash", async () => {
    const simulated = await start({ cmd: "--wipe_data\n" });
    const made: unknown[] = [];
    const { mounts } = simulated;
    const device = {
      ...simulated,
      mounts: {
        list: () => mounts.list(),
        mount: (node: string, at: string) => mounts.mount(node, at, { fsType: "ext4" }),
        unmount: (at: string) => mounts.unmount(at),
        format: async (node: string, how: object) => void made.push({ node, ...how }),
      },
    };
    const flash = await simulated.nodes.open(MISC, "write");
    await flash.write(2048, new Uint8Array(10));
    await flash.close();
    const outcome = await runRecovery({
      ...options(simulated, recordingUi()),
      device,
      misc: undefined,
      nodeOf: (at) => (at === "/cache" ? MISC : NODES[at]),
      fileSystemOf: (at) => (at === "/cache" ? { fsType: "yaffs2" } : { fsType: "f2fs", sizeBytes: -16384 }),
    });
    expect(outcome.status).toBe(0);
    expect(made).toEqual([{ node: `${BY_NAME}/userdata`, fsType: "f2fs", sizeBytes: -16384 }]);
    const erased = await simulated.nodes.open(MISC, "read");
    expect(new Set(await erased.read(0, erased.size))).toEqual(new Set([0xff]));
  });

  it("leaves its arguments in the control block while it works, so that a cut goes on", async () => {
    const device = await start(update);
    device.cutPower({ write: 40, phase: "after", unflushed: "some", seed: 3 });
    await expect(runRecovery(options(device, recordingUi()))).rejects.toMatchObject({ code: "DEVICE_POWER_CUT" });
    const again = device.restart();
    expect(await readControlBlock(again, MISC)).toMatchObject({
      command: "boot-recovery",
      recovery: "recovery\n--update_package=/cache/update.zip\n",
    });
    expect((await runRecovery(options(again, recordingUi()))).status).toBe(0);
    expect(await readControlBlock(again, MISC)).toMatchObject({ command: "", recovery: "" });
  });

  it("keeps rotated logs and no more than ten", async () => {
    let device = await start({ cmd: "--just_exit\n" });
    for (let i = 0; i < 13; i++) {
      await runRecovery(options(device, recordingUi(), { commandLine: ["--just_exit"] }));
      device = device.restart();
    }
    const logs = (await device.files.list("/cache/recovery")).filter((n) => n.startsWith("last_log"));
    expect(logs).toHaveLength(11);
  });

  it("strips carriage returns at both ends of a command line", async () => {
    expect((await run({ ...update, cmd: "\r\n\r--update_package=/cache/update.zip\r\n" })).outcome.status).toBe(0);
  });

  it("reads abbreviated and odd arguments as getopt does", () => {
    const log: string[] = [];
    const read = (...args: string[]) => parseArguments(args, "7.1", (t) => log.push(t));
    expect(read("--wipe_d")).toMatchObject({ wipeData: true, wipeCache: true });
    expect(read("--update_package", "/x", "--nothing", "word")).toMatchObject({ updatePackage: "/x", wipeData: false });
    expect(read("--retry_count=3")).toMatchObject({ retryCount: 3 });
    expect(log).toHaveLength(2);
  });

  it("installs a package of which the running system left a block map", async () => {
    const data = new Uint8Array(8 * 4096).map((_, i) => (i * 7) & 255);
    const device = await start({});
    const map = parseBlockMap(`${BY_NAME}/boot\n10000 4096\n2\n3 5\n1 2\n`);
    const node = await device.nodes.open(`${BY_NAME}/boot`, "write");
    await node.write(0, data);
    const reader = mappedReader(node, map);
    const wanted = Buffer.concat([data.subarray(3 * 4096, 5 * 4096), data.subarray(4096, 2 * 4096)]).subarray(0, 10000);
    expect(Buffer.from(await reader.read(0, 10000)).equals(wanted)).toBe(true);
    expect(Buffer.from(await reader.read(8000, 500)).equals(wanted.subarray(8000, 8500))).toBe(true);
    for (const bad of ["", "x\n1 1\n1\n0 1", "/d\n10000 4096\n1\n0 1\n", "/d\n1 4096\n1\n5 1\n"]) {
      expect(() => parseBlockMap(bad)).toThrow(/block/);
    }
  });
});
