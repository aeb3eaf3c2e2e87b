// Keys and packages of the original signer: test/vectors/android/signing/generated.
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { memoryReader, streamRange } from "../../core/streams.ts";
import { silentProgress } from "../../core/progress.ts";
import { memorySink, openZip } from "../../core/zip/index.ts";
import { nodeCodecs as codecs, nodeDigests as digests } from "../../device/index.ts";
import { parseResKeys, readKeys, verifyPackage } from "../verifier/index.ts";
import { encodeSignatureBlock } from "./cms.ts";
import { encodeJarTexts } from "./jar.ts";
import { signerFromCommand, signerFromFiles } from "./keys.node.ts";
import { signArchive, type SignedOutput } from "./sign-package.ts";
import type { PackageSigner } from "./signer.ts";

const ROOT = join(import.meta.dirname, "../../../test/vectors/android/signing/generated");
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(join(ROOT, name)));
const text = (name: string): string => readFileSync(join(ROOT, name), "utf8");
const RSA_KEYS = ["k1_e3_sha1", "k2_f4_sha1", "k3_e3_sha256", "k4_f4_sha256"];
const scratch = mkdtempSync(join(tmpdir(), "otaforge-signing-"));
afterAll(() => rmSync(scratch, { recursive: true }));

function output(): SignedOutput & { bytes(): Uint8Array } {
  const sink = memorySink();
  return { ...sink, read: async (offset, length) => sink.bytes().slice(offset, offset + length) };
}

async function sign(signer: PackageSigner, era: "4.4" | "7.1" = "4.4"): Promise<Uint8Array> {
  const zip = await openZip(memoryReader(file("unsigned.zip")), { codecs });
  const out = output();
  const size = await signArchive(zip, out, signer, { codecs, digests, progress: silentProgress, era });
  expect(size).toBe(out.bytes().length);
  return out.bytes();
}

/** Length of the comment, and where the signature block begins. */
function footer(bytes: Uint8Array): { total: number; start: number } {
  const b = Buffer.from(bytes);
  return { total: b.readUInt16LE(b.length - 2), start: b.readUInt16LE(b.length - 6) };
}

describe("whole-file signatures", () => {
  for (const key of RSA_KEYS) {
    it(`signs with ${key} what the original signer signed, to the byte`, async () => {
      const signer = await signerFromFiles({ path: join(ROOT, key) });
      const reference = file(`signed_${key}.zip`);
      const { total, start } = footer(reference);
      const message = memoryReader(reference.subarray(0, reference.length - total - 2));
      const block = encodeSignatureBlock(signer, await signer.sign(streamRange(message)));
      expect(block).toEqual(reference.slice(reference.length - start, reference.length - 6));
    });

    it(`makes a package that recovery accepts with ${key} and with no other key`, async () => {
      const bytes = await sign(await signerFromFiles({ path: join(ROOT, key) }));
      for (const rules of ["4.4", "7.1", "safe"] as const) {
        for (const other of RSA_KEYS) {
          const keys = parseResKeys(text(`${other}.txt`), rules === "4.4" ? "4.4" : "7.1");
          const verdict = await verifyPackage(memoryReader(bytes), keys, { digests, codecs, rules });
          expect(verdict.accepted, `${rules} ${other} ${verdict.reason ?? ""}`).toBe(other === key);
        }
      }
      const zip = await openZip(memoryReader(bytes), { codecs });
      const before = await openZip(memoryReader(file("unsigned.zip")), { codecs });
      for (const e of before.entries) expect(await zip.read(zip.need(e.name))).toEqual(await before.read(e));
      expect(await zip.read(zip.need("META-INF/com/android/otacert"))).toEqual(file(`${key}.x509.pem`));
    });
  }

  it("signs with an EC key for 5.0 and later", async () => {
    const bytes = await sign(await signerFromFiles({ path: join(ROOT, "k5_ec") }), "7.1");
    const keys = parseResKeys(text("k5_ec.txt"), "7.1");
    expect(await verifyPackage(memoryReader(bytes), keys, { digests, codecs, rules: "7.1" })).toMatchObject({
      accepted: true,
    });
    expect(await verifyPackage(memoryReader(bytes), keys, { digests, codecs, rules: "safe" })).toMatchObject({
      accepted: true,
    });
    const zip = await openZip(memoryReader(bytes), { codecs });
    const stored = zip.entries.filter((e) => e.method === 0);
    expect(stored.length).toBeGreaterThan(0);
    for (const [i, e] of stored.entries()) {
      expect(zip.entries[i]).toBe(e);
      expect(e.dataOffset % 4).toBe(0);
    }
    expect(zip.get("META-INF/CERT.EC")).toBeDefined();
  });

  it("has the entries of the original, sorted, with the certificate's time", async () => {
    const zip = await openZip(memoryReader(await sign(await signerFromFiles({ path: join(ROOT, "k1_e3_sha1") }))), {
      codecs,
    });
    const reference = JSON.parse(readFileSync(join(ROOT, "signed_k1_e3_sha1.entries.json"), "utf8")) as {
      name: string;
      method: number;
      date: number[];
    }[];
    expect(zip.entries.map((e) => [e.name, e.method])).toEqual(reference.map((e) => [e.name, e.method]));
    const [year, month, day, hour, minute, second] = reference[0]?.date as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    for (const e of zip.entries) {
      expect(e.date).toBe(((year - 1980) << 9) | (month << 5) | day);
      expect(e.time).toBe((hour << 11) | (minute << 5) | (second >> 1));
    }
  });

  it("writes the manifest and the signature file of the original, the order of their sections aside", async () => {
    const zip = await openZip(memoryReader(file("signed_k1_e3_sha1.zip")), { codecs });
    const names = zip.entries.map((e) => e.name).filter((n) => !/MANIFEST|CERT\./.test(n));
    const entries = [];
    for (const name of names) {
      const digest = digests.create("sha1");
      digest.update(await zip.read(zip.need(name)));
      entries.push({ name, digest: digest.digest() });
    }
    const { manifest, signatureFile } = encodeJarTexts(entries, "sha1", { digests, vendor: true });
    const sections = (bytes: Uint8Array): string[] => Buffer.from(bytes).toString().split("\r\n\r\n").sort();
    expect(sections(manifest)).toEqual(sections(file("signed_k1_e3_sha1.MANIFEST.MF")));
    // The digest of the whole manifest depends on the order.
    const rest = (bytes: Uint8Array): string[] => sections(bytes).filter((s) => !s.startsWith("Signature-Version"));
    expect(rest(signatureFile)).toEqual(rest(file("signed_k1_e3_sha1.CERT.SF")));
  });

  it("wraps long manifest lines at 72 bytes", () => {
    const name = `system/${"long/".repeat(40)}file`;
    const { manifest } = encodeJarTexts([{ name, digest: new Uint8Array(32) }], "sha256", { digests, vendor: false });
    const lines = Buffer.from(manifest).toString().split("\r\n");
    expect(Math.max(...lines.map((l) => l.length))).toBe(70);
    expect(lines.join("\r\n").replaceAll("\r\n ", "")).toContain(`Name: ${name}\r\n`);
  });

  it("gives the same bytes for the same input", async () => {
    const signer = await signerFromFiles({ path: join(ROOT, "k4_f4_sha256") });
    expect(await sign(signer)).toEqual(await sign(signer));
  });

  it("signs with a command, which reads the message and prints the signature", async () => {
    const pem = join(scratch, "k4.pem");
    const { createPrivateKey } = await import("node:crypto");
    const key = createPrivateKey({ key: Buffer.from(file("k4_f4_sha256.pk8")), format: "der", type: "pkcs8" });
    writeFileSync(pem, key.export({ format: "pem", type: "pkcs8" }));
    const script = join(scratch, "sign.mjs");
    writeFileSync(
      script,
      `import{createSign}from"node:crypto";import{readFileSync}from"node:fs";
       const s=createSign(process.env.OTAFORGE_SIGN_HASH);for await(const c of process.stdin)s.update(c);
       process.stdout.write(s.sign(readFileSync(process.argv[2])));`,
    );
    const signer = await signerFromCommand(
      `'${process.execPath}' '${script}' '${pem}'`,
      join(ROOT, "k4_f4_sha256.x509.pem"),
    );
    expect(await sign(signer)).toEqual(await sign(await signerFromFiles({ path: join(ROOT, "k4_f4_sha256") })));
    const failing = await signerFromCommand("echo no such slot >&2; exit 3", join(ROOT, "k4_f4_sha256.x509.pem"));
    await expect(sign(failing)).rejects.toMatchObject({ code: "ANDROID_SIGNER", details: { found: "no such slot" } });
    const verbose = await signerFromCommand("yes", join(ROOT, "k4_f4_sha256.x509.pem")).then((s) => ({ ...s }));
    expect(verbose.hash).toBe("sha256");
  });

  it("says what is wrong with keys: missing, of another pair, of a kind no recovery knows", async () => {
    await expect(signerFromFiles({ path: join(scratch, "none") })).rejects.toMatchObject({
      code: "ANDROID_KEY",
      details: { hint: expect.stringContaining("openssl req -x509") as string },
    });
    writeFileSync(join(scratch, "mixed.x509.pem"), file("k1_e3_sha1.x509.pem"));
    writeFileSync(join(scratch, "mixed.pk8"), file("k2_f4_sha1.pk8"));
    await expect(signerFromFiles({ path: join(scratch, "mixed") })).rejects.toThrow("do not belong together");
    writeFileSync(join(scratch, "mixed.pk8"), "junk");
    await expect(signerFromFiles({ path: join(scratch, "mixed") })).rejects.toMatchObject({ code: "ANDROID_KEY" });
    const locked = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({
      format: "der",
      type: "pkcs8",
      cipher: "aes-256-cbc",
      passphrase: "secret",
    });
    writeFileSync(join(scratch, "mixed.pk8"), locked);
    await expect(signerFromFiles({ path: join(scratch, "mixed") })).rejects.toThrow(/encrypted/);
    await expect(signerFromFiles({ path: join(scratch, "mixed"), password: "secret" })).rejects.toThrow(
      "do not belong together",
    );
  });

  it("does not sign a signed package again, unless asked to replace the signature", async () => {
    const signed = await openZip(memoryReader(file("signed_k1_e3_sha1.zip")), { codecs });
    const signer = await signerFromFiles({ path: join(ROOT, "k4_f4_sha256") });
    const options = { codecs, digests, progress: silentProgress };
    await expect(signArchive(signed, output(), signer, options)).rejects.toMatchObject({
      code: "ANDROID_ALREADY_SIGNED",
    });
    const out = output();
    await signArchive(signed, out, signer, { ...options, replace: true });
    const keys = await readKeys(file("k4_f4_sha256.x509.pem"), { name: "k4", codecs });
    expect(await verifyPackage(memoryReader(out.bytes()), keys, { digests, codecs })).toMatchObject({ accepted: true });
    expect(out.bytes()).toEqual(await sign(signer));
  });
});
