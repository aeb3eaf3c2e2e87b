// Block-based packages of the command against the 7.1 tool's (test/vectors/android/block71).
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { openImage, simulateUpdate } from "../../android/index.ts";
import { memoryReader } from "../../core/streams.ts";
import { fromDosTime, openZip, type ZipArchive } from "../../core/zip/index.ts";
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
});
