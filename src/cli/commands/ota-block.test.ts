// Block-based packages of the command against the 7.1 tool's (test/vectors/android/block71).
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { openImage, simulateUpdate } from "../../android/index.ts";
import { memoryReader } from "../../core/streams.ts";
import { createZipWriter, fromDosTime, memorySink, openZip, type ZipArchive } from "../../core/zip/index.ts";
import { nodeCodecs as codecs, nodeDigests as digests } from "../../device/index.ts";
import { captureIo } from "../io.ts";
import { runGuarded } from "../run.ts";
import { otaFromTargetFilesMain } from "./ota-from-target-files.ts";

const ROOT = join(import.meta.dirname, "../../../test/vectors/android/block71");
const scratch = mkdtempSync(join(tmpdir(), "otaforge-block-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const open = (file: string): Promise<ZipArchive> =>
  openZip(memoryReader(new Uint8Array(readFileSync(file))), { codecs });
const sha1 = (b: Uint8Array): string => createHash("sha1").update(b).digest("hex");

let counter = 0;
async function run(cwd: string, args: readonly string[]): Promise<{ code: number; err: string; file: string }> {
  const file = join(scratch, `out${counter++}.zip`);
  const io = captureIo({ cwd });
  const argv = args.map((a) => (a === "OUT.zip" ? file : a));
  return { code: await runGuarded("ota", otaFromTargetFilesMain, argv, io), err: io.stderr(), file };
}

async function textOf(zip: ZipArchive, name: string): Promise<string> {
  return Buffer.from(await zip.read(zip.need(name))).toString();
}

async function rawImage(zip: ZipArchive): Promise<Uint8Array> {
  const image = await openImage(memoryReader(await zip.read(zip.need("IMAGES/system.img"))));
  return image.raw.read(0, image.raw.size);
}

interface Entry {
  name: string;
  method: number;
  date: string;
  mode: string;
  size: number;
  sha1: string;
}

/** Renames are arbitrary in order in the original. */
function sortRenames(script: string): string[] {
  const lines = script.split("\n");
  const renames = lines.filter((l) => l.startsWith("rename(")).sort();
  return lines.map((l) => (l.startsWith("rename(") ? (renames.shift() as string) : l));
}

describe("ota_from_target_files --block", () => {
  for (const device of ["v1", "v2", "v3", "v4"]) {
    for (const variant of readdirSync(join(ROOT, device), { withFileTypes: true }).filter((d) => d.isDirectory())) {
      const folder = join(ROOT, device, variant.name);
      it(`writes the original's script, metadata and entries: ${device}/${variant.name}`, async () => {
        const { args } = JSON.parse(readFileSync(join(folder, "case.json"), "utf8")) as { args: string[] };
        // Without --block the tool of that year makes file-based packages.
        const era = args.includes("--block") || args.includes("--gen_verify") ? [] : ["--era", "7.1"];
        const { code, err, file } = await run(join(ROOT, device), [
          "--vendor-compatible",
          "--no_signing",
          ...era,
          ...args,
        ]);
        expect(code, err).toBe(0);
        const zip = await open(file);
        expect(sortRenames(await textOf(zip, "META-INF/com/google/android/updater-script"))).toEqual(
          sortRenames(readFileSync(join(folder, "updater-script"), "utf8")),
        );
        expect(await textOf(zip, "META-INF/com/android/metadata")).toBe(readFileSync(join(folder, "metadata"), "utf8"));
        const free = (name: string): boolean => /transfer\.list$|patch\.dat$|\.p$/.test(name);
        const entries = zip.entries.map((e) => {
          const t = fromDosTime(e);
          const two = (n: number): string => String(n).padStart(2, "0");
          return {
            name: e.name,
            method: e.method,
            date: `${t.year}-${two(t.month)}-${two(t.day)} ${two(t.hour)}:${two(t.minute)}:${two(t.second)}`,
            mode: (e.externalAttributes >>> 16).toString(8),
            size: free(e.name) ? 0 : e.size,
          };
        });
        const reference = JSON.parse(readFileSync(join(folder, "unsigned-entries.json"), "utf8")) as Entry[];
        expect(entries).toEqual(
          reference.map(({ name, method, date, mode, size }) => ({
            name,
            method,
            date,
            mode,
            size: free(name) ? 0 : size,
          })),
        );
        const script = zip.get("recovery/etc/install-recovery.sh");
        if (script !== undefined) {
          expect(sha1(await zip.read(script))).toBe(reference.find((e) => e.name === script.name)?.sha1);
        }
        if (zip.get("system.transfer.list") === undefined) return;
        const fresh = await rawImage(await open(join(ROOT, device, "new-target_files.zip")));
        const old = args.includes("-i")
          ? await rawImage(await open(join(ROOT, device, "old-target_files.zip")))
          : new Uint8Array(fresh.length).fill(9);
        const result = await simulateUpdate(
          old,
          {
            list: await textOf(zip, "system.transfer.list"),
            newData: await zip.read(zip.need("system.new.dat")),
            patchData: await zip.read(zip.need("system.patch.dat")),
          },
          digests,
        );
        expect(sha1(result.image)).toBe(sha1(fresh));
      });
    }
  }

  it("packs new data with brotli, stored", async () => {
    const { code, err, file } = await run(join(ROOT, "v4"), [
      "--block",
      "--brotli",
      "--no_signing",
      "new-target_files.zip",
      "OUT.zip",
    ]);
    expect(code, err).toBe(0);
    const zip = await open(file);
    const entry = zip.need("system.new.dat.br");
    expect(entry.method).toBe(0);
    const fresh = await rawImage(await open(join(ROOT, "v4/new-target_files.zip")));
    expect(sha1(brotliDecompressSync(await zip.read(entry)))).toBe(sha1(fresh));
    expect(await textOf(zip, "META-INF/com/google/android/updater-script")).toContain('"system.new.dat.br"');
  });

  /** A build of v4 with lines added to a text, an entry left out (undefined) or added. */
  async function edited(which: "old" | "new", changes: Readonly<Record<string, string | undefined>>): Promise<string> {
    const zip = await open(join(ROOT, `v4/${which}-target_files.zip`));
    const sink = memorySink();
    const writer = createZipWriter(sink, { codecs });
    for (const e of zip.entries) {
      if (e.name in changes && changes[e.name] === undefined) continue;
      const content = Buffer.concat([await zip.read(e), Buffer.from(changes[e.name] ?? "")]);
      await writer.add({ name: e.name, method: e.method, externalAttributes: e.externalAttributes }, content);
    }
    for (const [name, text] of Object.entries(changes)) {
      if (text !== undefined && zip.get(name) === undefined) await writer.add({ name }, Buffer.from(text));
    }
    await writer.finish();
    const file = join(scratch, `edited${counter++}.zip`);
    writeFileSync(file, sink.bytes());
    return file;
  }

  it("falls back to files where the build has no recovery patch, as the original does", async () => {
    const lacking = { "SYSTEM/recovery-from-boot.p": undefined };
    const [old, fresh] = [await edited("old", lacking), await edited("new", lacking)];
    for (const args of [
      ["--block", fresh, "OUT.zip"],
      ["--block", "-i", old, fresh, "OUT.zip"],
    ]) {
      const { code, err, file } = await run(scratch, ["--no_signing", ...args]);
      expect(code, err).toBe(0);
      expect(err).toContain("a file-based package is made");
      const zip = await open(file);
      expect(await textOf(zip, "META-INF/com/android/metadata")).toContain("ota-type=FILE\n");
      const script = await textOf(zip, "META-INF/com/google/android/updater-script");
      expect(script).toContain('package_extract_dir("recovery", "/system");');
      expect(zip.get("recovery/etc/install-recovery.sh")).toBeDefined();
    }
  });

  it("makes files of a build with a vendor partition, also where the zip has no entry for the folder", async () => {
    const config = (lines: string): Record<string, string> => ({
      "META/vendor_filesystem_config.txt": `vendor 0 2000 755\n${lines}`,
      "RECOVERY/RAMDISK/etc/recovery.fstab": "\n/dev/block/vendor /vendor ext4 ro wait\n",
    });
    const folder = await edited("new", { ...config(""), "VENDOR/": "" });
    const file = await edited("new", {
      ...config("vendor/app 0 2000 755\nvendor/app/x.apk 0 0 644\n"),
      "VENDOR/app/x.apk": "x",
    });
    const bare = await edited("new", {});
    for (const [profile, build, makesVendor] of [
      [[], folder, true],
      [[], file, true],
      [[], bare, false],
      [["--vendor-compatible"], folder, true],
      [["--vendor-compatible"], file, false],
    ] as const) {
      const {
        code,
        err,
        file: made,
      } = await run(scratch, [...profile, "--no_signing", "--era", "7.1", build, "OUT.zip"]);
      expect(code, err).toBe(0);
      const zip = await open(made);
      const script = await textOf(zip, "META-INF/com/google/android/updater-script");
      expect(script.includes('package_extract_dir("vendor", "/vendor");')).toBe(makesVendor);
      expect(zip.get("vendor/app/x.apk") !== undefined).toBe(makesVendor && build === file);
    }
    const { code, err } = await run(scratch, ["--no_signing", "--era", "7.1", "-i", bare, file, "OUT.zip"]);
    expect(code, err).toBe(5);
    expect(err).toContain("only one of the two builds has a vendor partition (VENDOR/)");
  });

  it("asks the OEM partition who the device is, where the build says so", async () => {
    const changes = {
      "META/misc_info.txt": "\noem_fingerprint_properties=ro.product.device ro.product.brand\n",
      "SYSTEM/build.prop": "\nro.build.thumbprint=5.0/LRX21/7:user/release-keys\nro.product.name=prod\n",
      "RECOVERY/RAMDISK/etc/recovery.fstab": "\n/dev/block/oem /oem ext4 ro,context=u:object_r:oemfs:s0 wait\n",
    };
    const [old, fresh] = [await edited("old", changes), await edited("new", changes)];
    const oem = join(scratch, "oem.prop");
    writeFileSync(oem, "# values\nro.product.device=oemdev\nro.product.brand=Brand\n");
    const without = await run(scratch, ["--block", "--no_signing", fresh, "OUT.zip"]);
    expect(without.code).toBe(5);
    expect(without.err).toContain("-o FILE");
    for (const args of [["--era", "7.1"], ["--block"]]) {
      for (const from of [[], ["-i", old]]) {
        const all = [...args, "-o", oem, "--no_signing", ...from, fresh, "OUT.zip"];
        const { code, err, file } = await run(scratch, all);
        expect(code, err).toBe(0);
        const zip = await open(file);
        const script = await textOf(zip, "META-INF/com/google/android/updater-script");
        expect(script.split("\n")[0]).toBe(
          'mount("ext4", "EMMC", "/dev/block/oem", "/oem", "context=u:object_r:oemfs:s0");',
        );
        expect(script).toContain(
          'file_getprop("/oem/oem.prop", "ro.product.device") == "oemdev" || abort("E3000: This package expects the value \\"oemdev\\" for \\"ro.product.device\\" on the OEM partition; this has value \\"" + file_getprop("/oem/oem.prop", "ro.product.device") + "\\".");',
        );
        expect(script).toContain('unmount("/oem");');
        expect(script.includes("E3002: Package expects build thumbprint")).toBe(from.length > 0);
        const metadata = await textOf(zip, "META-INF/com/android/metadata");
        expect(metadata).toContain("post-build=Brand/prod/oemdev:5.0/LRX21/7:user/release-keys\n");
        expect(metadata).toContain("pre-device=oemdev\n");
      }
    }
    const unmounted = await run(scratch, ["--block", "-o", oem, "--oem_no_mount", "--no_signing", fresh, "OUT.zip"]);
    expect(await textOf(await open(unmounted.file), "META-INF/com/google/android/updater-script")).not.toContain(
      '"/oem", "context',
    );
  });

  it("goes back only when the build is older, and only from a build that is named", async () => {
    const newer = await run(join(ROOT, "v4"), [
      "--block",
      "--downgrade",
      "--no_signing",
      "-i",
      "old-target_files.zip",
      "new-target_files.zip",
      "OUT.zip",
    ]);
    expect(newer.code).toBe(5);
    expect(newer.err).toContain("not older");
    const full = await run(join(ROOT, "v4"), [
      "--block",
      "--downgrade",
      "--no_signing",
      "new-target_files.zip",
      "OUT.zip",
    ]);
    expect(full.code).toBe(2);
  });

  it("a downgrade wipes user data and says so", async () => {
    const { code, err, file } = await run(join(ROOT, "v4"), [
      "--block",
      "--downgrade",
      "--no_signing",
      "-i",
      "new-target_files.zip",
      "old-target_files.zip",
      "OUT.zip",
    ]);
    expect(code, err).toBe(0);
    const zip = await open(file);
    expect(await textOf(zip, "META-INF/com/android/metadata")).toContain("ota-downgrade=yes\n");
    expect(await textOf(zip, "META-INF/com/google/android/updater-script")).toContain(
      'format("ext4", "EMMC", "/dev/block/platform/tiny/by-name/userdata"',
    );
  });

  it("an overridden timestamp is just after the source build's, and nothing is wiped", async () => {
    const log = join(scratch, "differences.txt");
    const { code, err, file } = await run(join(ROOT, "v4"), [
      "--block",
      "--override_timestamp",
      "--log_diff",
      log,
      "--no_signing",
      "-i",
      "new-target_files.zip",
      "old-target_files.zip",
      "OUT.zip",
    ]);
    expect(code, err).toBe(0);
    const zip = await open(file);
    const source = await open(join(ROOT, "v4/new-target_files.zip"));
    const built = Number(/^ro.build.date.utc=(.*)$/m.exec(await textOf(source, "SYSTEM/build.prop"))?.[1]);
    const metadata = await textOf(zip, "META-INF/com/android/metadata");
    expect(metadata).toContain(`post-timestamp=${built + 1}\n`);
    expect(metadata).not.toContain("ota-downgrade");
    expect(await textOf(zip, "META-INF/com/google/android/updater-script")).not.toContain("userdata");
    const text = readFileSync(log, "utf8");
    expect(text).toContain("source: new-target_files.zip\ntarget: old-target_files.zip\n\n");
    expect(text).toMatch(/^changed: SYSTEM\/build.prop \(source \d+ bytes, target \d+ bytes\)$/m);
    expect(text).toContain(`  - ro.build.date.utc=${built}\n`);
    expect(text).toMatch(/\n[1-9]\d* of \d+ entries differ\n$/);
  });
});
