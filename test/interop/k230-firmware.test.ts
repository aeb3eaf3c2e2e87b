/** Firmware of type 1 (SM4-CBC + SM2) made with openssl, checked as the device checks it. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { concatBytes, fromHex, toHex, writeU32 } from "../../src/core/bytes.ts";
import { verifyFirmware } from "../../src/k230/index.ts";
import { nodeFirmwareCrypto } from "../../src/k230/firmware.node.ts";

const at = mkdtempSync(join(tmpdir(), "otaforge-sm2-"));
const path = (name: string): string => join(at, name);
afterAll(() => rmSync(at, { recursive: true, force: true }));

const openssl = (args: readonly string[], input?: Uint8Array): Buffer =>
  execFileSync("openssl", args, {
    cwd: at,
    ...(input === undefined ? {} : { input }),
    stdio: ["pipe", "pipe", "pipe"],
  });

const bytesOf = (hex: string): Uint8Array => fromHex(hex) ?? new Uint8Array(0);

/** The two integers of a DER signature, 32 bytes each. */
function integers(der: Uint8Array): [Uint8Array, Uint8Array] {
  const take = (from: number): [Uint8Array, number] => {
    const size = der[from + 1] as number;
    const value = der.subarray(from + 2, from + 2 + size);
    const out = new Uint8Array(32);
    const plain = value.subarray(Math.max(0, value.length - 32));
    out.set(plain, 32 - plain.length);
    return [out, from + 2 + size];
  };
  const [r, next] = take(2);
  return [r, take(next)[0]];
}

const ID = new TextEncoder().encode("1234567812345678");
const SM4_KEY = bytesOf("0123456789abcdeffedcba9876543210");
const IV = bytesOf("00112233445566778899aabbccddeeff");
const IMAGE = new Uint8Array(12 + 16 * 20).fill(0x5a); // with the version word a multiple of 16

/** Header and payload of type 1: the signature covers IV and ciphertext. */
function firmware(version: number): Uint8Array {
  const word = new Uint8Array(4);
  writeU32(word, 0, version);
  const options = ["-K", toHex(SM4_KEY), "-iv", toHex(IV), "-nopad"];
  const payload = concatBytes(IV, openssl(["enc", "-sm4-cbc", ...options], concatBytes(word, IMAGE)));
  writeFileSync(path("payload"), payload);
  const id = `distid:${new TextDecoder().decode(ID)}`;
  const sign = ["pkeyutl", "-sign", "-rawin", "-digest", "sm3", "-inkey", "key.pem", "-in", "payload", "-pkeyopt", id];
  const [r, s] = integers(openssl(sign));
  const header = new Uint8Array(528);
  header.set(new TextEncoder().encode("K230"));
  writeU32(header, 4, payload.length);
  writeU32(header, 8, 1);
  writeU32(header, 12, ID.length);
  header.set(ID, 16);
  header.set(key.x, 16 + 384);
  header.set(key.y, 16 + 384 + 32);
  header.set(r, 16 + 384 + 64);
  header.set(s, 16 + 384 + 96);
  return concatBytes(header, payload);
}

let key = { x: new Uint8Array(0), y: new Uint8Array(0) };
beforeAll(() => {
  openssl(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2", "-out", "key.pem"]);
  const spki = openssl(["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"]);
  // The uncompressed point ends the structure.
  const point = new Uint8Array(spki.subarray(spki.length - 64));
  key = { x: point.slice(0, 32), y: point.slice(32) };
});

describe("firmware of type 1, signed and encrypted by openssl", () => {
  it("is verified and decrypted with the keys of the device", () => {
    const bytes = firmware(9);
    const keyHash = openssl(["dgst", "-sm3", "-binary"], bytes.subarray(12, 12 + 452));
    const trust = { sm2KeyHash: new Uint8Array(keyHash), sm4Key: SM4_KEY, versionFloor: 9 };
    const report = verifyFirmware(bytes, nodeFirmwareCrypto, trust);
    expect(report.problem?.message).toBeUndefined();
    expect(report).toMatchObject({ ok: true, complete: true, cryptoType: 1, version: 9 });
    expect(toHex(report.image ?? new Uint8Array(0))).toBe(toHex(IMAGE));
    expect(verifyFirmware(bytes, nodeFirmwareCrypto, { ...trust, versionFloor: 10 }).problem?.code).toBe(
      "K230_FIRMWARE_VERSION",
    );
    const foreign = { ...trust, sm2KeyHash: new Uint8Array(32) };
    expect(verifyFirmware(bytes, nodeFirmwareCrypto, foreign).problem?.code).toBe("K230_FIRMWARE_UNTRUSTED");
  });

  it.each([
    ["the IV", 528],
    ["the ciphertext", 528 + 16 + 100],
    ["the key", 16 + 384 + 5],
    ["the id", 18],
    ["r", 16 + 384 + 64 + 9],
    ["s", 16 + 384 + 96 + 9],
  ])("is refused with a bit of %s changed", (_what, offset) => {
    const bytes = firmware(1);
    bytes[offset] = (bytes[offset] as number) ^ 1;
    expect(verifyFirmware(bytes, nodeFirmwareCrypto).problem?.code).toBe("K230_FIRMWARE_UNTRUSTED");
  });

  it("says what was left out without keys", () => {
    const report = verifyFirmware(firmware(1), nodeFirmwareCrypto);
    expect(report).toMatchObject({ ok: true, complete: false });
    expect(report.unchecked).toHaveLength(2);
  });
});
