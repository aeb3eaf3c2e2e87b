import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { signPackage, SYSTEM } from "../../../test/support/android-attacks.ts";
import { makePackage } from "../../../test/support/android-device.ts";
import { ANDROID_VECTORS } from "../../../test/support/android-install.ts";
import { captureIo } from "../io.ts";
import { exitCodeBesideOriginal, runGuarded } from "../run.ts";
import { parseRecoveryCommand, recoveryMain } from "./recovery.ts";

const SCRIPT = `mount("ext4", "EMMC", "${SYSTEM}", "/system"); package_extract_dir("system", "/system"); unmount("/system");`;
/** Recovery takes a package without a program for none, although it does not run it. */
const FILES = { "META-INF/com/google/android/update-binary": "x", "system/bin/new": "new" };
const folders: string[] = [];
let signed: Uint8Array;

beforeAll(async () => {
  signed = await signPackage(await makePackage(SCRIPT, FILES), "k4_f4_sha256");
});
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** A device as files: keys in /res/keys, the package on /cache. */
function deviceFolder(command: string, bytes: Uint8Array): string {
  const folder = mkdtempSync(join(tmpdir(), "otaforge-recovery-"));
  folders.push(folder);
  for (const name of ["system", "data", "cache/recovery", "root/res"])
    mkdirSync(join(folder, name), { recursive: true });
  copyFileSync(
    fileURLToPath(new URL("signing/generated/k4_f4_sha256.txt", ANDROID_VECTORS)),
    join(folder, "root/res/keys"),
  );
  writeFileSync(join(folder, "cache/update.zip"), bytes);
  writeFileSync(join(folder, "data/file"), "user data");
  if (command !== "") writeFileSync(join(folder, "cache/recovery/command"), command);
  const mount = (dir: string): object => ({ dir, node: `/dev/block/by-name/${dir}` });
  const description = {
    family: "android",
    root: "root",
    nodes: { "/dev/block/by-name/misc": { file: "misc.img", kind: "block", size: 4096 } },
    mounts: { "/system": mount("system"), "/data": mount("data"), "/cache": mount("cache") },
  };
  writeFileSync(join(folder, "DEVICE.json"), JSON.stringify(description));
  return folder;
}

async function run(folder: string, ...args: string[]) {
  const io = captureIo({ cwd: folder });
  const argv = ["--device", "DEVICE.json", ...args];
  const code = await runGuarded("recovery", recoveryMain, argv, io, exitCodeBesideOriginal);
  const path = join(folder, "cache/recovery/last_install");
  return { code, out: io.stdout(), err: io.stderr(), last: existsSync(path) ? readFileSync(path, "utf8") : undefined };
}

describe("recovery", () => {
  it("does what the command file says, removes it, and leaves the summary", async () => {
    const folder = deviceFolder("--update_package=/cache/update.zip\r\n--locale=de_DE\n", signed);
    const { code, out, last } = await run(folder);
    expect({ code, last }).toEqual({ code: 0, last: "/cache/update.zip\n1\n" });
    expect(out).toMatch(/^Finding update package\.\.\.\n[^]*sys\.powerctl=reboot,\n$/);
    expect(readFileSync(join(folder, "system/bin/new"), "utf8")).toBe("new");
    expect(existsSync(join(folder, "cache/recovery/command"))).toBe(false);
    expect(readFileSync(join(folder, "cache/recovery/last_locale"), "utf8")).toBe("de_DE");
    expect((await run(folder)).code).toBe(3);
  });

  it("installs nothing that its keys do not vouch for", async () => {
    const bytes = signed.slice();
    bytes[100] = (bytes[100] as number) ^ 1;
    const folder = deviceFolder("--update-zip=CACHE:update.zip\n", bytes);
    const { code, out, last } = await run(folder);
    expect({ code, last }).toEqual({ code: 2, last: "/cache/update.zip\n0\n" });
    expect(out).toContain("E:signature verification failed\n");
    expect(existsSync(join(folder, "system/bin/new"))).toBe(false);
  });

  it("does not call a package done that goes on after a restart", async () => {
    const misc = "/dev/block/by-name/misc";
    const script = `if get_stage("${misc}") != "2/2" then
set_stage("${misc}", "2/2"); reboot_now("${misc}", "recovery");
else ${SCRIPT} set_stage("${misc}", ""); endif;`;
    const package_ = await signPackage(await makePackage(script, FILES), "k4_f4_sha256");
    const folder = deviceFolder("--update_package=/cache/update.zip\n", package_);
    const first = await run(folder, "--json");
    expect(first.code).toBe(90);
    expect(first.err).toContain("not installed yet");
    expect(JSON.parse(first.out.trim().split("\n").at(-1) as string)).toMatchObject({ unfinished: true });
    expect(existsSync(join(folder, "system/bin/new"))).toBe(false);
    const second = await run(folder);
    expect({ code: second.code, last: second.last }).toEqual({ code: 0, last: "/cache/update.zip\n1\n" });
    expect(readFileSync(join(folder, "system/bin/new"), "utf8")).toBe("new");
  });

  it("tells on standard error what its screen does not show", async () => {
    const folder = deviceFolder("", signed);
    rmSync(join(folder, "root/res/keys"));
    const { code, err } = await run(folder, "--update_package=/cache/update.zip", "--wipe_dta", "--locale");
    expect(code).toBe(2);
    expect(err).toContain("recovery: E:Invalid command argument: --wipe_dta\n");
    expect(err).toContain("recovery: E:Invalid command argument: --locale has no value\n");
    expect(err).toContain("recovery: E:the device has no keys (/res/keys, /system/etc/security/otacerts.zip)\n");
  });

  it("reads the control block of a flash partition that recovery.fstab names", async () => {
    const folder = deviceFolder("", signed);
    mkdirSync(join(folder, "root/etc"));
    writeFileSync(
      join(folder, "root/etc/recovery.fstab"),
      "/misc mtd misc\n/data yaffs2 userdata\n/cache yaffs2 cache\n",
    );
    const description = JSON.parse(readFileSync(join(folder, "DEVICE.json"), "utf8")) as { nodes: object };
    description.nodes = { "/dev/mtd/by-name/misc": { file: "misc.img", kind: "nand" } };
    writeFileSync(join(folder, "DEVICE.json"), JSON.stringify(description));
    const misc = Buffer.alloc(4 * 131072, 0xff);
    // The block stands in the second page.
    misc.fill(0, 2048, 2048 + 1088).write("boot-recovery", 2048);
    misc.write("recovery\n--wipe_data\n", 2048 + 64);
    writeFileSync(join(folder, "misc.img"), misc);
    expect(await run(folder)).toMatchObject({ code: 0, err: "" });
    expect(existsSync(join(folder, "data/file"))).toBe(false);
    expect(readFileSync(join(folder, "misc.img")).subarray(2048, 2048 + 832)).toEqual(Buffer.alloc(832));
  });

  it("wipes, and draws on a plain file", async () => {
    const folder = deviceFolder("", signed);
    const screen = ["--screen", "fb", "--screen-size", "160x100", "--screen-depth", "32"];
    expect((await run(folder, "--wipe_data", ...screen)).code).toBe(0);
    expect(existsSync(join(folder, "data/file"))).toBe(false);
    expect(existsSync(join(folder, "cache/update.zip"))).toBe(false);
    expect(statSync(join(folder, "fb")).size).toBe(160 * 100 * 4);
    expect(new Set(readFileSync(join(folder, "fb"))).size).toBeGreaterThan(2);
  });

  it("keeps its own options apart from recovery's, and refuses wrong ones", async () => {
    const { values, own } = parseRecoveryCommand(["--era=7.1", "--wipe_cache", "-d", "x", "--json"]);
    expect([...values]).toEqual([
      ["era", "7.1"],
      ["device", "x"],
      ["json", ""],
    ]);
    expect(own).toEqual(["--wipe_cache"]);
    const io = captureIo();
    expect(await runGuarded("recovery", recoveryMain, ["--era", "5.0"], io, exitCodeBesideOriginal)).toBe(64);
    expect(io.stderr()).toContain("expected 4.4 or 7.1");
  });

  it("runs the package's own program on a board only", async () => {
    const folder = deviceFolder("", signed);
    expect((await run(folder, "--run-update-binary")).code).toBe(64);
  });
});
