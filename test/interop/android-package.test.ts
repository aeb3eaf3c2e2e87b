// Zip and signatures before Debian's own programs: unzip, python3's zipfile, openssl and jarsigner.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { signArchive, type SignedOutput } from "../../src/android/index.ts";
import { signerFromCommand, signerFromFiles } from "../../src/android/signing/keys.node.ts";
import { memoryReader, silentProgress } from "../../src/core/index.ts";
import { createZipWriter, memorySink, openZip } from "../../src/core/zip/index.ts";
import { nodeCodecs as codecs, nodeDigests as digests } from "../../src/device/index.ts";

const VECTORS = join(import.meta.dirname, "../vectors/android");
const KEYS = join(VECTORS, "signing/generated");
const scratch = mkdtempSync(join(tmpdir(), "otaforge-interop-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], cwd: scratch });

function output(): SignedOutput & { bytes(): Uint8Array } {
  const sink = memorySink();
  return { ...sink, read: async (offset, length) => sink.bytes().slice(offset, offset + length) };
}

async function signed(name: string, key: string, era: "4.4" | "7.1" = "4.4"): Promise<string> {
  const zip = await openZip(
    memoryReader(new Uint8Array(readFileSync(join(VECTORS, "ota44/basic/incr/unsigned.zip")))),
    { codecs },
  );
  const out = output();
  const options = { codecs, digests, progress: silentProgress, era };
  await signArchive(zip, out, await signerFromFiles({ path: key }), options);
  const file = join(scratch, name);
  writeFileSync(file, out.bytes());
  return file;
}

/** A key pair with a certificate of its own, as a user would make it. */
function makeKey(name: string, ...args: string[]): string {
  const path = join(scratch, name);
  run(
    "openssl",
    "req",
    "-x509",
    ...args,
    "-sha256",
    "-days",
    "10000",
    "-nodes",
    "-keyout",
    `${path}.pem`,
    "-out",
    `${path}.x509.pem`,
    "-subj",
    "/CN=release",
  );
  run("openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", `${path}.pem`, "-out", `${path}.pk8`);
  return path;
}

/** openssl's own verification of the block in the comment over the signed part of the file. */
function opensslVerifies(file: string, certificate: string): boolean {
  const bytes = readFileSync(file);
  const total = bytes.readUInt16LE(bytes.length - 2);
  const start = bytes.readUInt16LE(bytes.length - 6);
  writeFileSync(join(scratch, "block.der"), bytes.subarray(bytes.length - start, bytes.length - 6));
  writeFileSync(join(scratch, "content"), bytes.subarray(0, bytes.length - total - 2));
  const result = spawnSync(
    "openssl",
    [
      "cms",
      "-verify",
      "-binary",
      "-inform",
      "DER",
      "-in",
      "block.der",
      "-content",
      "content",
      "-CAfile",
      certificate,
      "-purpose",
      "any",
      "-no_check_time",
      "-out",
      "/dev/null",
    ],
    { cwd: scratch, encoding: "utf8" },
  );
  return result.status === 0;
}

describe("signed packages", () => {
  for (const key of ["k1_e3_sha1", "k2_f4_sha1", "k3_e3_sha256", "k4_f4_sha256"]) {
    it(`openssl verifies the whole-file signature of ${key}, and no changed byte`, async () => {
      const file = await signed(`${key}.zip`, join(KEYS, key));
      expect(opensslVerifies(file, join(KEYS, `${key}.x509.pem`))).toBe(true);
      const bytes = readFileSync(file);
      bytes.writeUInt8(bytes.readUInt8(100) ^ 1, 100);
      writeFileSync(`${file}.bad`, bytes);
      expect(opensslVerifies(`${file}.bad`, join(KEYS, `${key}.x509.pem`))).toBe(false);
    });
  }

  it("openssl verifies EC P-256 signatures with a key it made itself", async () => {
    const key = makeKey("ec", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1");
    expect(opensslVerifies(await signed("ec.zip", key, "7.1"), `${key}.x509.pem`)).toBe(true);
  });

  it("openssl signs as an external command", async () => {
    const key = makeKey("rsa", "-newkey", "rsa:2048");
    const zip = await openZip(memoryReader(new Uint8Array(readFileSync(join(KEYS, "unsigned.zip")))), { codecs });
    const out = output();
    const signer = await signerFromCommand(`openssl dgst -sha256 -sign '${key}.pem'`, `${key}.x509.pem`);
    await signArchive(zip, out, signer, { codecs, digests, progress: silentProgress });
    writeFileSync(join(scratch, "command.zip"), out.bytes());
    expect(opensslVerifies(join(scratch, "command.zip"), `${key}.x509.pem`)).toBe(true);
  });

  it("jarsigner verifies the JAR part of SHA-256 keys and misses one changed entry", async () => {
    for (const key of [
      join(KEYS, "k4_f4_sha256"),
      makeKey("jar-ec", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    ]) {
      const file = await signed("jar.zip", key, key.endsWith("ec") ? "7.1" : "4.4");
      expect(run("jarsigner", "-verify", file)).toContain("jar verified");
    }
    const zip = await openZip(memoryReader(new Uint8Array(readFileSync(join(scratch, "jar.zip")))), { codecs });
    const sink = memorySink();
    const writer = createZipWriter(sink, { codecs });
    for (const e of zip.entries) {
      const content = await zip.read(e);
      await writer.add(
        { name: e.name },
        e.name.endsWith("updater-script") ? new Uint8Array([...content, 10]) : content,
      );
    }
    await writer.finish();
    writeFileSync(join(scratch, "tampered.zip"), sink.bytes());
    const result = spawnSync("jarsigner", ["-verify", join(scratch, "tampered.zip")], { encoding: "utf8" });
    expect(`${result.stdout}${result.stderr}`).not.toContain("jar verified");
  });
});

describe("zip archives", () => {
  it("unzip and python3 read what we write, with names, modes, alignment, zip64 and comments", async () => {
    const sink = memorySink();
    const zip = createZipWriter(sink, { codecs });
    await zip.add({ name: "a/stored.bin", method: 0, align: 4096 }, new Uint8Array(1000).fill(7));
    await zip.add(
      { name: "a/deflated.txt", externalAttributes: (0o100755 << 16) >>> 0 },
      new Uint8Array(100000).fill(65),
    );
    await zip.add({ name: "ü.txt" }, new Uint8Array([1]));
    for (let i = 0; i < 66000; i++) await zip.add({ name: `many/${i}`, method: 0 }, new Uint8Array(0));
    await zip.finish(new TextEncoder().encode("a comment"));
    const file = join(scratch, "plain.zip");
    writeFileSync(file, sink.bytes());
    expect(run("unzip", "-tq", file)).toContain("No errors detected");
    const program = `
import zipfile, sys
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
print(len(z.namelist()), z.namelist()[2], oct(z.getinfo('a/deflated.txt').external_attr >> 16), z.comment.decode(), z.read('a/stored.bin') == bytes([7]) * 1000)`;
    expect(run("python3", "-c", program, file).trim()).toBe("66003 ü.txt 0o100755 a comment True");
  });

  it("reads what unzip's counterpart zip and python3 write, data descriptors included", async () => {
    writeFileSync(join(scratch, "one.txt"), "one\n".repeat(1000));
    run("sh", "-c", "cat one.txt | zip -q streamed.zip - one.txt");
    const program = `
import zipfile
with zipfile.ZipFile('python.zip', 'w', zipfile.ZIP_DEFLATED) as z:
    with z.open(zipfile.ZipInfo('wide'), 'w', force_zip64=True) as f: f.write(b'x' * 1000)
    z.writestr('plain', 'y' * 10)`;
    run("python3", "-c", program);
    for (const [name, count] of [
      ["streamed.zip", 2],
      ["python.zip", 2],
    ] as const) {
      const zip = await openZip(memoryReader(new Uint8Array(readFileSync(join(scratch, name)))), { codecs });
      expect(zip.entries.length).toBe(count);
      for (const e of zip.entries) await zip.read(e);
    }
  });
});
