// payload.bin at the front door: inspect, extract, compare (test/vectors/android/payload/generated).
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openPayload, verifyPayload } from "../android/index.ts";
import { memoryReader } from "../core/streams.ts";
import { nodeDigests } from "../device/index.ts";
import { payloadReport } from "./android-payload.ts";
import type { Subcommand } from "./command.ts";
import { compareCommand } from "./commands/compare.ts";
import { installCommand } from "./commands/install.ts";
import { extractCommand } from "./commands/extract.ts";
import { signCommand } from "./commands/sign.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { verifyCommand } from "./commands/verify.ts";
import { captureIo } from "./io.ts";
import { runGuarded } from "./run.ts";

const ROOT = join(import.meta.dirname, "../../test/vectors/android/payload/generated");
const scratch = mkdtempSync(join(tmpdir(), "otaforge-payload-"));
afterAll(() => rmSync(scratch, { recursive: true }));

async function run(
  subcommand: Subcommand,
  args: readonly string[],
): Promise<{ code: number; out: string; err: string }> {
  const io = captureIo({ cwd: scratch });
  const main = async (argv: readonly string[]): Promise<number> => {
    let exit = 70;
    const command = await subcommand.build(io, (code) => (exit = code));
    await command.parseAsync([...argv], { from: "user" });
    return exit;
  };
  return { code: await runGuarded("otaforge", main, args, io), out: io.stdout(), err: io.stderr() };
}

const file = (name: string): string => join(ROOT, name, "payload.bin");

describe("payload.bin at the front door", () => {
  it("is shown with its partitions and operations", async () => {
    const { code, out } = await run(inspectCommand, [file("delta-signed"), "--json"]);
    expect(code).toBe(0);
    const json = JSON.parse(out) as {
      partitions: { name: string; operations: Record<string, { operations: number }> }[];
    };
    expect(json).toMatchObject({ family: "android", kind: "payload", payloadKind: "delta", minorVersion: 6 });
    expect(json.partitions.map((p) => p.name)).toEqual(["boot", "system"]);
    expect(json.partitions[1]?.operations).toMatchObject({ ZERO: { operations: 1 }, BROTLI_BSDIFF: { operations: 1 } });
  });

  it("gives its images, all or one, and of a delta with the old ones beside it", async () => {
    const full = join(scratch, "full");
    expect((await run(extractCommand, [file("full-signed"), "-C", full])).code).toBe(0);
    for (const name of ["boot", "system"]) {
      expect(readFileSync(join(full, `${name}.img`)).equals(readFileSync(join(ROOT, `${name}-new.img`)))).toBe(true);
    }
    const base = join(scratch, "base");
    mkdirSync(base);
    copyFileSync(join(ROOT, "system-old.img"), join(base, "system.img"));
    const delta = join(scratch, "delta");
    expect((await run(extractCommand, [file("delta-signed"), "-C", delta, "--base", base, "system"])).code).toBe(0);
    expect(readFileSync(join(delta, "system.img")).equals(readFileSync(join(ROOT, "system-new.img")))).toBe(true);
    const missing = await run(extractCommand, [file("delta-signed"), "-C", delta, "boot"]);
    expect(missing.code).toBe(5);
    expect(missing.err).toContain("--base");
    expect((await run(extractCommand, [file("full-signed"), "-C", full, "radio"])).code).toBe(2);
  });

  it("leaves no image that is not what the payload says", async () => {
    const base = join(scratch, "wrong");
    mkdirSync(base);
    copyFileSync(join(ROOT, "system-new.img"), join(base, "system.img"));
    const out = join(scratch, "wrong-out");
    expect((await run(extractCommand, [file("delta-signed"), "-C", out, "--base", base, "system"])).code).toBe(5);
    expect(existsSync(join(out, "system.img"))).toBe(false);
  });

  it("is compared by what it does, not by who signed it", async () => {
    expect((await run(compareCommand, [file("full-signed"), file("full-unsigned")])).code).toBe(0);
    expect((await run(compareCommand, [file("full-signed"), file("delta-signed")])).code).toBe(5);
  });

  it("names an operation it cannot apply", async () => {
    // The type of the delta's BROTLI_BSDIFF (10) made PUFFDIFF (9): the manifest is as long as before.
    const bytes = readFileSync(file("delta-unsigned"));
    const at = bytes.indexOf(Buffer.from([0x08, 0x0a]));
    bytes[at + 1] = 0x09;
    // Minor version 4 becomes 5, the first that has it.
    const minor = bytes.indexOf(Buffer.from([0x60, 0x04]));
    bytes[minor + 1] = 0x05;
    const changed = join(scratch, "puffdiff.bin");
    writeFileSync(changed, bytes);
    const shown = await run(inspectCommand, [changed]);
    expect(shown.out).toContain("PUFFDIFF is shown only");
    const extracted = await run(extractCommand, [changed, "-C", join(scratch, "puff"), "--base", ROOT, "system"]);
    expect(extracted.err).toContain("PUFFDIFF cannot be applied");
    expect(extracted.code).toBe(2);
  });

  it("is verified by its own signatures: 0 good, 3 damaged, 4 of another key or none", async () => {
    const key = join(ROOT, "key.pub.pem");
    const other = join(ROOT, "../../signing/generated/k4_f4_sha256.x509.pem");
    for (const [name, keys, code] of [
      ["full-signed", [key], 0],
      ["delta-signed", [key], 0],
      ["delta-signed", [], 0],
      ["full-unsigned", [key], 4],
      ["full-signed", [other], 4],
      ["neg-flip-blob-byte", [key], 3],
      ["neg-truncated-blob", [], 3],
      ["neg-flip-metadata-signature", [key], 4],
      ["neg-flip-payload-signature", [key], 4],
      ["neg-version-3", [], 3],
    ] as const) {
      const { code: found, out, err } = await run(verifyCommand, [file(name), ...keys.flatMap((k) => ["--key", k])]);
      expect(found, `${name}: ${out}${err}`).toBe(code);
    }
  });

  it("is reported as whole, and as untrusted only when a key was given", async () => {
    const payload = await openPayload(memoryReader(new Uint8Array(readFileSync(file("full-unsigned")))));
    const verdict = await verifyPayload(payload, [], { digests: nodeDigests });
    expect(payloadReport("p", verdict, [])).toMatchObject({ exitCode: 0, json: { signature: "unsigned" } });
  });

  it("is signed, or signed again, and only when its data is whole", async () => {
    const key = join(ROOT, "../../signing/generated/k4_f4_sha256");
    for (const name of ["full-unsigned", "delta-signed"]) {
      const output = join(scratch, `${name}.bin`);
      const { code, out, err } = await run(signCommand, [file(name), "--key", `${key}.pk8`, "-o", output]);
      expect(code, err).toBe(0);
      const bytes = readFileSync(output);
      const hash = createHash("sha256").update(bytes).digest("base64");
      expect(out).toContain(`FILE_HASH=${hash}\nFILE_SIZE=${bytes.length}\nMETADATA_HASH=`);
      expect((await run(verifyCommand, [output, "--key", `${key}.x509.pem`])).code).toBe(0);
      expect((await run(verifyCommand, [output, "--key", join(ROOT, "key.pub.pem")])).code).toBe(4);
      // What it does is the same.
      expect((await run(compareCommand, [output, file(name)])).code).toBe(0);
      const [old, fresh] = await Promise.all(
        [file(name), output].map((f) => openPayload(memoryReader(new Uint8Array(readFileSync(f))))),
      );
      const place = { signaturesOffset: 0, signaturesSize: 0 };
      expect({ ...fresh?.manifest, ...place }).toEqual({ ...old?.manifest, ...place });
    }
    const output = join(scratch, "damaged.bin");
    const damaged = await run(signCommand, [file("neg-flip-blob-byte"), "--key", `${key}.pk8`, "-o", output]);
    expect(damaged.code).toBe(3);
    expect(existsSync(output)).toBe(false);
  });
});

describe("installing a payload on files", () => {
  it("writes nothing when two partitions lie in one file, under whatever name", async () => {
    const folder = join(scratch, "one-file");
    mkdirSync(folder);
    const nodes: Record<string, object> = {};
    for (const [name, slot] of ["boot", "system"].flatMap((n) => [[n, "a"] as const, [n, "b"] as const])) {
      const image = `${name}_${slot}.img`;
      copyFileSync(join(ROOT, `${name}-old.img`), join(folder, image));
      nodes[`/dev/block/by-name/${name}_${slot}`] = { file: image, kind: "block" };
    }
    const before = readFileSync(join(folder, "boot_a.img"));
    rmSync(join(folder, "boot_b.img"));
    linkSync(join(folder, "boot_a.img"), join(folder, "boot_b.img"));
    const device = join(folder, "DEVICE.json");
    writeFileSync(device, JSON.stringify({ family: "android", running: "a", nodes }));
    const { code, err } = await run(installCommand, [file("full-unsigned"), "--device", device, "--progress", "none"]);
    expect({ code, err }).toEqual({
      code: 2,
      err: expect.stringContaining("/dev/block/by-name/boot_a and /dev/block/by-name/boot_b") as string,
    });
    expect(readFileSync(join(folder, "boot_a.img")).equals(before)).toBe(true);
    expect(existsSync(join(folder, ".otaforge/android-slots.0"))).toBe(false);
  });
});
