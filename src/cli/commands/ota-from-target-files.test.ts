// The command over whole files, with our own patches (test/vectors/android/ota44).
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parseResKeys, verifyPackage } from "../../android/index.ts";
import { memoryReader } from "../../core/streams.ts";
import { createZipWriter, memorySink, openZip, type ZipArchive } from "../../core/zip/index.ts";
import { applyBsdiff40 } from "../../delta/index.ts";
import { applyImgdiff2 } from "../../delta/imgdiff/apply.ts";
import { nodeCodecs as codecs, nodeDigests as digests } from "../../device/index.ts";
import { captureIo } from "../io.ts";
import { runGuarded } from "../run.ts";
import { otaFromTargetFilesMain } from "./ota-from-target-files.ts";

const VECTORS = join(import.meta.dirname, "../../../test/vectors/android");
const OTA44 = join(VECTORS, "ota44");
const scratch = mkdtempSync(join(tmpdir(), "otaforge-ota-"));
afterAll(() => rmSync(scratch, { recursive: true }));

let counter = 0;
async function run(
  cwd: string,
  args: readonly string[],
): Promise<{ code: number; out: string; err: string; file: string }> {
  const file = join(scratch, `out${counter++}.zip`);
  const io = captureIo({ cwd });
  const argv = args.map((a) => (a === "OUT.zip" ? file : a));
  const code = await runGuarded("ota_from_target_files", otaFromTargetFilesMain, argv, io);
  return { code, out: io.stdout(), err: io.stderr(), file };
}

const open = (file: string): Promise<ZipArchive> =>
  openZip(memoryReader(new Uint8Array(readFileSync(file))), { codecs });
const sha1 = (b: Uint8Array): string => createHash("sha1").update(b).digest("hex");
const SCRIPT = "META-INF/com/google/android/updater-script";
async function scriptOf(file: string): Promise<string> {
  const zip = await open(file);
  return Buffer.from(await zip.read(zip.need(SCRIPT))).toString();
}

async function gather(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const p of stream) parts.push(p);
  return Buffer.concat(parts);
}

/** Renames are arbitrary in order in the original. */
function sortRenames(script: string): string[] {
  const lines = script.split("\n");
  const renames = lines.filter((l) => l.startsWith("rename(")).sort();
  return lines.map((l) => (l.startsWith("rename(") ? (renames.shift() as string) : l));
}

/** Applies every patch of an incremental to the source build and compares with the hashes that the script states. */
async function checkPatches(packageFile: string, source: ZipArchive): Promise<number> {
  const zip = await open(packageFile);
  const script = await scriptOf(packageFile);
  let checked = 0;
  for (const m of script.matchAll(
    /apply_patch\("([^"]+)",\s+"-",\s+([0-9a-f]{40}),\s+(\d+),\s+([0-9a-f]{40}),\s+package_extract_file\("([^"]+)"\)/g,
  )) {
    const [, path, targetSha1, size, sourceSha1, patchName] = m as unknown as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    const name = path.startsWith("/") ? `SYSTEM/${path.slice("/system/".length)}` : "BOOTABLE_IMAGES/boot.img";
    const old = memoryReader(await source.read(source.need(name)));
    expect(sha1(await old.read(0, old.size))).toBe(sourceSha1);
    const patch = memoryReader(await zip.read(zip.need(patchName)));
    const magic = Buffer.from(await patch.read(0, 8)).toString();
    const result = await gather(magic === "BSDIFF40" ? applyBsdiff40(old, patch) : applyImgdiff2(old, patch));
    expect([result.length, sha1(result)]).toEqual([Number(size), targetSha1]);
    checked++;
  }
  return checked;
}

/** One case of each kind; all of them run in src/android/releasetools with the original's patches. */
const CASES = [
  "basic/incr",
  "basic/twostep-incr",
  "basic/full-wne",
  "bonus/incr",
  "legacy-mtd/incr-wipe",
  "legacy-mtd/twostep-full",
  "noprebuilt/incr",
  "rename-newdir/incr",
];

/** Target files with entries changed, added (content) or removed (null). */
async function edited(from: string, changes: Readonly<Record<string, string | Uint8Array | null>>): Promise<string> {
  const zip = await open(from);
  const sink = memorySink();
  const writer = createZipWriter(sink, { codecs });
  for (const e of zip.entries) {
    const change = changes[e.name];
    if (change === null) continue;
    const content = change === undefined ? await zip.read(e) : Buffer.from(change);
    await writer.add(
      { name: e.name, method: e.method, when: e, externalAttributes: e.externalAttributes },
      new Uint8Array(content),
    );
  }
  for (const [name, content] of Object.entries(changes)) {
    if (content !== null && zip.get(name) === undefined)
      await writer.add({ name }, new Uint8Array(Buffer.from(content)));
  }
  await writer.finish();
  const file = join(scratch, `edited${counter++}.zip`);
  writeFileSync(file, sink.bytes());
  return file;
}

const OLD = join(OTA44, "basic/old-target_files.zip");
const NEW = join(OTA44, "basic/new-target_files.zip");
const KEY = join(VECTORS, "signing/generated/k4_f4_sha256");

describe("ota_from_target_files", () => {
  for (const name of CASES) {
    const folder = join(OTA44, name);
    const device = join(folder, "..");
    const { args, exit_code } = JSON.parse(readFileSync(join(folder, "case.json"), "utf8")) as {
      args: string[];
      exit_code: number;
    };
    it(`writes the original's script with our own patches: ${name}`, async () => {
      const { code, file, err } = await run(device, ["--vendor-compatible", "--no_signing", "-t", "2", ...args]);
      if (exit_code !== 0) {
        expect(code).toBe(5);
        expect(err).toContain("two-step packages not supported by this build");
        return;
      }
      expect(code, err).toBe(0);
      expect(sortRenames(await scriptOf(file))).toEqual(
        sortRenames(readFileSync(join(folder, "updater-script"), "utf8")),
      );
      const source = args.indexOf("-i");
      if (source >= 0 && !name.startsWith("noprebuilt")) {
        expect(await checkPatches(file, await open(join(device, args[source + 1] as string)))).toBeGreaterThan(4);
      }
    });
  }

  it("signs, and the package is accepted with the key's own certificate and no other", async () => {
    const { code, file, out, err } = await run(scratch, ["-k", KEY, "--json", NEW, "OUT.zip"]);
    expect(code, err).toBe(0);
    const result = JSON.parse(out) as { signed: boolean; size: number; sha256: string };
    const bytes = readFileSync(file);
    expect(result).toMatchObject({
      signed: true,
      size: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
    });
    for (const [key, accepted] of [
      ["k4_f4_sha256", true],
      ["k3_e3_sha256", false],
    ] as const) {
      const keys = parseResKeys(readFileSync(join(VECTORS, `signing/generated/${key}.txt`), "utf8"), "4.4");
      expect(
        await verifyPackage(memoryReader(new Uint8Array(bytes)), keys, { digests, codecs, rules: "4.4" }),
      ).toMatchObject({
        accepted,
      });
    }
  });

  it("gives the same bytes in another folder, time zone and with other threads", async () => {
    const first = await run(scratch, ["-k", KEY, "-t", "1", "-i", OLD, NEW, "OUT.zip"]);
    const copies = mkdtempSync(join(scratch, "elsewhere-"));
    copyFileSync(OLD, join(copies, "a.zip"));
    copyFileSync(NEW, join(copies, "b.zip"));
    for (const suffix of [".pk8", ".x509.pem"]) copyFileSync(KEY + suffix, join(copies, `key${suffix}`));
    const zone = process.env["TZ"];
    process.env["TZ"] = "Asia/Tokyo";
    const second = await run(copies, ["-k", "key", "-t", "4", "-i", "a.zip", "b.zip", "OUT.zip"]);
    if (zone === undefined) delete process.env["TZ"];
    else process.env["TZ"] = zone;
    expect([first.code, second.code]).toEqual([0, 0]);
    expect(readFileSync(second.file).equals(readFileSync(first.file))).toBe(true);
  });

  it("guards renames, sends stranded files whole and keeps labels in the safe profile", async () => {
    const device = join(OTA44, "rename-newdir");
    const { code, file, err } = await run(device, [
      "--no_signing",
      "-i",
      "old-target_files.zip",
      "new-target_files.zip",
      "OUT.zip",
    ]);
    expect(code, err).toBe(0);
    expect(err).toContain("system/vendor/lib/libmoved.so moved into a folder the device does not have");
    const script = await scriptOf(file);
    expect((await open(file)).get("system/vendor/lib/libmoved.so")).toBeDefined();
    expect(script).not.toContain('rename("system/lib/libmoved.so"');
    expect(script).toMatch(/sha1_check\(read_file\("system\/etc\/libmovedit.so"\), [0-9a-f]{40}\) \|\| \nrename\(/);
    const boot =
      /apply_patch_check\("EMMC:[^"]+:([0-9a-f]{40}):\d+:([0-9a-f]{40})", "([0-9a-f]{40})", "([0-9a-f]{40})"\)/.exec(
        script,
      );
    expect(boot?.slice(3)).toEqual([boot?.[2], boot?.[1]]);
    expect(script).toContain(
      'set_metadata("/system/build.prop", "uid", 0, "gid", 0, "mode", 0644, "capabilities", 0x0, "selabel", "u:object_r:system_file:s0");',
    );
    await checkPatches(file, await open(join(device, "old-target_files.zip")));
  });

  it("reads images from the second zip of A.zip+B.zip", async () => {
    const images = memorySink();
    const writer = createZipWriter(images, { codecs });
    const zip = await open(NEW);
    const boot = await zip.read(zip.need("BOOTABLE_IMAGES/boot.img"));
    await writer.add({ name: "boot.img" }, new Uint8Array([...boot, 0]));
    await writer.finish();
    writeFileSync(join(scratch, "images.zip"), images.bytes());
    const { code, file, err } = await run(scratch, ["--no_signing", `${NEW}+images.zip`, "OUT.zip"]);
    expect(code, err).toBe(0);
    const made = await open(file);
    expect(made.need("boot.img").size).toBe(boot.length + 1);
  });

  it("records --fota only when it is on", async () => {
    const on = await run(scratch, ["--no_signing", "-f", "on", NEW, "OUT.zip"]);
    const off = await run(scratch, ["--no_signing", "--fota=off", NEW, "OUT.zip"]);
    const metadata = async (file: string): Promise<string> => {
      const zip = await open(file);
      return Buffer.from(await zip.read(zip.need("META-INF/com/android/metadata"))).toString();
    };
    expect(await metadata(on.file)).toContain("fota=on\n");
    expect(await metadata(off.file)).not.toContain("fota");
    expect((await run(scratch, ["--no_signing", "-f", "maybe", NEW, "OUT.zip"])).code).toBe(2);
  });

  it("calls the hooks of a device extension and refuses a Python one with a way to port it", async () => {
    const folder = mkdtempSync(join(scratch, "extension-"));
    writeFileSync(
      join(folder, "releasetools.mjs"),
      `export function fullOtaAssertions(ota) { ota.script.append("# " + ota.extras.get("radio")); }
       export async function fullOtaInstallEnd(ota) {
         ota.output.add("radio.img", await ota.input.read("OTA/android-info.txt"));
         ota.script.append('package_extract_file("radio.img", "/dev/block/radio");');
         ota.metadata.set("radio", "yes");
       }`,
    );
    const { code, file, err } = await run(scratch, ["--no_signing", "-s", folder, "-x", "radio=v7", NEW, "OUT.zip"]);
    expect(code, err).toBe(0);
    const script = await scriptOf(file);
    expect(script).toContain("# v7\n");
    expect(script).toContain('package_extract_file("radio.img", "/dev/block/radio");\nunmount("/system");');
    expect((await open(file)).get("radio.img")).toBeDefined();
    const python = mkdtempSync(join(scratch, "python-"));
    writeFileSync(join(python, "releasetools.py"), "");
    const refused = await run(scratch, ["--no_signing", "-s", python, NEW, "OUT.zip"]);
    expect(refused.code).toBe(2);
    expect(refused.err).toContain("Port it to an ES module releasetools.js");
  });

  it("refuses an extra script that a device would not parse, with its line", async () => {
    const bad = join(scratch, "bad.edify");
    writeFileSync(bad, 'ui_print("fine");\nif then;\n');
    const { code, err, file } = await run(scratch, ["--no_signing", "-e", bad, NEW, "OUT.zip"]);
    expect(code).toBe(3);
    expect(err).toContain("extra script line 2");
    expect(existsSync(file)).toBe(false);
    const open = join(scratch, "open.edify");
    writeFileSync(open, 'ui_print("fine");\nui_print("no semicolon")\n');
    const lacking = await run(scratch, ["--no_signing", "-e", open, "-i", OLD, NEW, "OUT.zip"]);
    expect([lacking.code, lacking.err.includes("extra script its end")]).toEqual([3, true]);
    expect(lacking.err, "told before patches are made").not.toContain("bytes (");
    const vendor = await run(scratch, ["--no_signing", "--vendor-compatible", "-e", bad, NEW, "OUT.zip"]);
    expect(vendor.code).toBe(0);
    expect(vendor.err).toContain("warning: extra script line 2");
  });

  it("tells a missing updater before patches are made", async () => {
    const zip = await open(NEW);
    const sink = memorySink();
    const writer = createZipWriter(sink, { codecs });
    for (const e of zip.entries) {
      if (e.name === "OTA/bin/updater") continue;
      await writer.add({ name: e.name, externalAttributes: e.externalAttributes }, await zip.read(e));
    }
    await writer.finish();
    const file = join(scratch, "no-updater.zip");
    writeFileSync(file, sink.bytes());
    for (const era of [[], ["--era", "7.1"]]) {
      const { code, err } = await run(scratch, ["--no_signing", ...era, file, "OUT.zip"]);
      expect([code, err.includes("OTA/bin/updater")]).toEqual([3, true]);
      expect(err).not.toContain("boot size");
    }
    const own = ["--no_signing", "--era", "7.1", "--binary", NEW, file, "OUT.zip"];
    expect((await run(scratch, own)).code).toBe(0);
  });

  it("says which key is missing and how to make one", async () => {
    const none = await run(scratch, [NEW, "OUT.zip"]);
    expect(none.code).toBe(4);
    expect(none.err).toContain("build/target/product/security/testkey");
    expect(none.err).toContain("--no_signing");
    const wrong = await run(scratch, ["-k", "nowhere/key", NEW, "OUT.zip"]);
    expect(wrong.code).toBe(4);
    expect(wrong.err).toContain("openssl req -x509");
  });

  it("checks images against their partitions", async () => {
    const tight = (await open(NEW)).need("META/misc_info.txt");
    const text = Buffer.from(await (await open(NEW)).read(tight)).toString();
    const small = await edited(NEW, { "META/misc_info.txt": text.replace("boot_size=8388608", "boot_size=26700") });
    const { code, err } = await run(scratch, ["--no_signing", small, "OUT.zip"]);
    expect(code).toBe(5);
    expect(err).toContain("boot size (26624) is 99.72% of limit (26700)");
  });

  it("refuses hostile target files with the entry's name and leaves nothing behind", async () => {
    const bytes = readFileSync(NEW);
    const damage = async (name: string, change: (b: Buffer, dataOffset: number) => void): Promise<string> => {
      const entry = (await open(NEW)).need(name);
      const copy = Buffer.from(bytes);
      change(copy, entry.dataOffset);
      const file = join(scratch, `hostile${counter++}.zip`);
      writeFileSync(file, copy);
      return file;
    };
    const outputs = mkdtempSync(join(scratch, "outputs-"));
    const attempt = async (file: string): Promise<{ code: number; err: string }> => {
      const io = captureIo({ cwd: outputs });
      const code = await runGuarded("ota", otaFromTargetFilesMain, ["--no_signing", file, "out.zip"], io);
      return { code, err: io.stderr() };
    };
    const crc = await attempt(
      await damage("SYSTEM/etc/noise.bin", (b, at) => b.writeUInt8(b.readUInt8(at + 900) ^ 1, at + 900)),
    );
    expect(crc.code).toBe(3);
    expect(crc.err).toContain("entry SYSTEM/etc/noise.bin");
    const traversal = await attempt(
      await edited(NEW, { "SYSTEM/app/Bar.apk": "x" }).then((file) => {
        const b = readFileSync(file);
        for (let at = b.indexOf("SYSTEM/app/Bar.apk"); at >= 0; at = b.indexOf("SYSTEM/app/Bar.apk"))
          b.write("SYSTEM/../../r.apk", at);
        writeFileSync(file, b);
        return file;
      }),
    );
    expect(traversal.code).toBe(3);
    expect(traversal.err).toContain("entry SYSTEM/../../r.apk");
    const script = await attempt(await edited(NEW, { 'SYSTEM/app/a");reboot();("b.apk': "x" }));
    // No metadata line for it: named, and not run.
    expect(script.code).toBe(3);
    expect(readdirSync(outputs)).toEqual([]);
  });

  it("quotes names, so that a file name cannot add a statement", async () => {
    const name = 'a"); format("x';
    const config = await open(NEW).then(async (z) =>
      Buffer.from(await z.read(z.need("META/filesystem_config.txt"))).toString(),
    );
    const evil = `SYSTEM/app/${name.replaceAll(" ", "_")}`;
    const file = await edited(NEW, {
      [evil]: "x",
      "META/filesystem_config.txt": `${config}\n${evil.replace("SYSTEM", "system")} 7 7 600 selabel=u:object_r:system_file:s0 capabilities=0x0\n`,
    });
    const { code, err, file: out } = await run(scratch, ["--no_signing", file, "OUT.zip"]);
    expect(code, err).toBe(0);
    expect(await scriptOf(out)).toContain('set_metadata("/system/app/a\\");_format(\\"x", "uid", 7');
  });

  it("leaves no file after an interrupt", async () => {
    const folder = mkdtempSync(join(scratch, "interrupted-"));
    const controller = new AbortController();
    const io = { ...captureIo({ cwd: folder }), signal: controller.signal };
    controller.abort();
    expect(await runGuarded("ota", otaFromTargetFilesMain, ["--no_signing", "-i", OLD, NEW, "out.zip"], io)).toBe(7);
    expect(readdirSync(folder)).toEqual([]);
  });

  it("shows its options, and refuses unknown ones and missing files", async () => {
    expect((await run(scratch, ["--help"])).out).toContain("--two_step");
    expect((await run(scratch, ["-d", NEW, "OUT.zip"])).code).toBe(2);
    expect((await run(scratch, [NEW])).code).toBe(2);
    const later = await run(scratch, ["--no_signing", "--verify", NEW, "OUT.zip"]);
    expect(later.code).toBe(2);
    expect(later.err).toContain("--verify");
    const missing = await run(scratch, ["--no_signing", "none.zip", "OUT.zip"]);
    expect(missing.code).toBe(6);
    expect(missing.err).toContain("none.zip");
  });
});
