import { existsSync, readdirSync, readFileSync } from "node:fs";
import { generateKeyPairSync, sign, X509Certificate } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memoryReader } from "../../core/streams.ts";
import { nodeCodecs, nodeDigests } from "../../device/index.ts";
import { isOtaError } from "../../core/errors.ts";
import { toInteger } from "./der.ts";
import { signPackage, signWithoutJar } from "../../../test/support/android-attacks.ts";
import { readU16 } from "../../core/bytes.ts";
import { isPublicTestKey, parseResKeys, readKeys, verifyPackage } from "./index.ts";
import type { VerifierKey, VerifierRules } from "./index.ts";
import { verifyP256 } from "./p256.ts";

const GENERATED = new URL("../../../test/vectors/android/signing/generated/", import.meta.url);
const AOSP = new URL("../../../../shared/vectors/android/signing/aosp-testdata/", import.meta.url);

const PORTS = { digests: nodeDigests, codecs: nodeCodecs };
type Row = Record<"kitkat" | "nougat", { readonly verdict: string; readonly reason?: string }>;
interface Expected {
  readonly packages: Record<string, Record<string, Row>>;
  readonly mutated_with_key?: string;
  readonly mutated?: Record<string, Row>;
}

const bytesOf = (name: string, base = GENERATED): Uint8Array => readFileSync(new URL(name, base));

/** Changes that both recoveries accept, and what ours says of them. */
const UNCOVERED: Readonly<Record<string, RegExp>> = {
  "eocd-comment-length-field-wrong.zip": /^the end record says that its comment has/,
  "flip-comment-message.zip": /^the text before the signature is not/,
  "flip-certificate-in-pkcs7.zip": /^the certificate beside the signature is not the one of META-INF/,
};

async function verdict(bytes: Uint8Array, keys: () => readonly VerifierKey[], rules: VerifierRules) {
  let trusted: readonly VerifierKey[];
  try {
    trusted = keys();
  } catch (e) {
    if (!isOtaError(e, "KEYS_UNREADABLE")) throw e;
    return { verdict: "keys-unreadable" };
  }
  const v = await verifyPackage(memoryReader(bytes), trusted, { ...PORTS, rules });
  return { verdict: v.accepted ? "accept" : "reject", ...(v.reason === undefined ? {} : { reason: v.reason }) };
}

function check(base: URL): void {
  const expected = JSON.parse(new TextDecoder().decode(bytesOf("expected.json", base))) as Expected;
  const rows: [string, string, Row][] = [];
  for (const [name, byKey] of Object.entries(expected.packages)) {
    for (const [key, row] of Object.entries(byKey)) rows.push([name, key, row]);
  }
  for (const [name, row] of Object.entries(expected.mutated ?? {})) {
    rows.push([`mutated/${name}`, expected.mutated_with_key as string, row]);
  }
  it.each(rows)("judges %s with %s as the verifiers of 4.4 and 7.1", async (name, key, row) => {
    const text = new TextDecoder().decode(bytesOf(key, base));
    const file = bytesOf(name, base);
    const [old, newer] = [
      await verdict(file, () => parseResKeys(text, "4.4"), "4.4"),
      await verdict(file, () => parseResKeys(text, "7.1"), "7.1"),
    ];
    expect(old.verdict).toBe(row.kitkat.verdict);
    expect(newer).toEqual(row.nougat);
    const safe = await verdict(file, () => parseResKeys(text, "7.1"), "safe");
    const changed = newer.verdict === "accept" ? UNCOVERED[name.slice("mutated/".length)] : undefined;
    if (changed === undefined) expect(safe.verdict).toBe(newer.verdict);
    else expect(safe).toEqual({ verdict: "reject", reason: expect.stringMatching(changed) as string });
  });
}

describe("packages signed by the reference signer", () => {
  check(GENERATED);
});

describe("public recovery test data", () => {
  if (existsSync(AOSP)) {
    check(AOSP);
    it("knows the keys that everybody has, in any form, and no others", () => {
      const keys = (base: URL, name: string) => parseResKeys(new TextDecoder().decode(bytesOf(name, base)));
      for (let v = 1; v <= 5; v++) {
        expect(keys(AOSP, `testkey_v${v}.txt`).map((key) => isPublicTestKey(key, nodeDigests))).toEqual([true]);
      }
      for (const name of ["k1_e3_sha1", "k4_f4_sha256", "k5_ec"]) {
        expect(keys(GENERATED, `${name}.txt`).map((key) => isPublicTestKey(key, nodeDigests))).toEqual([false]);
      }
    });
  } else
    it("is not there (../shared/vectors): skipped", () => {
      process.stdout.write(
        "signing: ../shared/vectors/android/signing/aosp-testdata is absent, its rows did not run\n",
      );
    });
});

describe("keys", () => {
  const stems = readdirSync(GENERATED)
    .filter((n) => n.endsWith(".txt"))
    .map((n) => n.slice(0, -4));
  it.each(stems)("reads %s from res/keys, certificate and public key alike", async (stem) => {
    const fromText = parseResKeys(new TextDecoder().decode(bytesOf(`${stem}.txt`)))[0] as VerifierKey;
    const pem = bytesOf(`${stem}.x509.pem`);
    const fromCert = (await readKeys(pem, { name: "cert", codecs: nodeCodecs }))[0] as VerifierKey;
    expect({ ...fromCert, source: "" }).toEqual({ ...fromText, source: "" });
    const spki = new X509Certificate(pem).publicKey.export({ type: "spki", format: "pem" }) as string;
    const bare = (
      await readKeys(new TextEncoder().encode(spki), { name: "key", codecs: nodeCodecs })
    )[0] as VerifierKey;
    expect({ ...bare, hashes: [], source: "" }).toEqual({ ...fromText, hashes: [], source: "" });
    const der = new X509Certificate(pem).raw;
    expect(await readKeys(der, { name: "cert", codecs: nodeCodecs })).toEqual([{ ...fromCert }]);
  });

  it("refuses private keys, small keys, stray text and helper numbers that lie", async () => {
    const read = (text: string) => readKeys(new TextEncoder().encode(text), { name: "k", codecs: nodeCodecs });
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
    const cases = [
      privateKey.export({ type: "pkcs8", format: "pem" }) as string,
      publicKey.export({ type: "spki", format: "pem" }) as string,
      "nothing",
      "",
      new TextDecoder().decode(bytesOf("k1_e3_sha1.txt")) + " x",
      new TextDecoder().decode(bytesOf("k1_e3_sha1.txt")) + ",",
      new TextDecoder().decode(bytesOf("k1_e3_sha1.txt")).replace("0x33", "0x35"),
      new TextDecoder().decode(bytesOf("k2_f4_sha1.txt")).replace("v2", "v9"),
    ];
    for (const text of cases) await expect(read(text)).rejects.toMatchObject({ code: "KEYS_UNREADABLE" });
  });

  it("gives keys or KEYS_UNREADABLE for any text", async () => {
    const whole = new TextDecoder().decode(bytesOf("k5_ec.txt"));
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.string({ maxLength: 3 }), async (at, piece) => {
        try {
          parseResKeys(whole.slice(0, at) + piece + whole.slice(at + 1));
        } catch (e) {
          expect(isOtaError(e, "KEYS_UNREADABLE")).toBe(true);
        }
        try {
          await readKeys(new TextEncoder().encode(whole.slice(at) + piece), { name: "k", codecs: nodeCodecs });
        } catch (e) {
          expect(isOtaError(e)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("ECDSA P-256", () => {
  it("agrees with the platform on good and damaged signatures", () => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-64);
    const point = { x: toInteger(raw.subarray(0, 32)), y: toInteger(raw.subarray(32)) };
    for (let i = 0; i < 8; i++) {
      const message = Uint8Array.of(i, 1, 2);
      const digest = nodeDigests.create("sha256");
      digest.update(message);
      const hash = digest.digest();
      const signature = new Uint8Array(sign("sha256", message, privateKey));
      expect(verifyP256(point, hash, signature)).toBe(true);
      for (const at of [4, 20, signature.length - 1]) {
        const bad = signature.slice();
        bad[at] = (bad[at] as number) ^ 1;
        expect(verifyP256(point, hash, bad)).toBe(false);
      }
      expect(
        verifyP256(
          point,
          Uint8Array.from(hash, (b) => b ^ 255),
          signature,
        ),
      ).toBe(false);
      expect(verifyP256(point, hash, new Uint8Array([...signature, 0]))).toBe(false);
    }
  });
});

describe("mutated packages", () => {
  // Two verifiers take any change of a text or a name that no key covers; ours takes none, wherever the byte stands.
  const KEYS = ["k1_e3_sha1", "k2_f4_sha1", "k3_e3_sha256", "k4_f4_sha256", "k5_ec"] as const;
  const JAR = "with a JAR part";
  const BARE = "with the certificate alone";
  it.each([...KEYS.map((key) => [key, JAR] as const), [KEYS[1], BARE], [KEYS[3], BARE], [KEYS[4], BARE]] as const)(
    "%s, %s: no byte can be changed",
    async (key, how) => {
      const unsigned = memoryReader(bytesOf("unsigned.zip"));
      const original = (): Uint8Array => bytesOf(`signed_${key}.zip`);
      const file =
        how === BARE
          ? await signWithoutJar(unsigned, key)
          : key === "k5_ec"
            ? await signPackage(unsigned, key)
            : original();
      const keys = parseResKeys(new TextDecoder().decode(bytesOf(`${key}.txt`)));
      const judge = async (bytes: Uint8Array) => verifyPackage(memoryReader(bytes), keys, PORTS);
      expect((await judge(file)).accepted).toBe(true);
      const comment = file.length - readU16(file, file.length - 2);
      const survivors: number[] = [];
      // Before the comment one signature covers all: every 17th offset there, each in the comment.
      for (let at = 0; at < file.length; at += at < comment - 30 ? 17 : 1) {
        const bad = new Uint8Array(file);
        bad[at] = (bad[at] as number) ^ (1 << (at % 8));
        if ((await judge(bad)).accepted) survivors.push(at);
      }
      expect(survivors).toEqual([]);
    },
  );

  it("is accepted by nobody when it is cut short", async () => {
    const file = bytesOf("signed_k4_f4_sha256.zip");
    const keys = parseResKeys(new TextDecoder().decode(bytesOf("k4_f4_sha256.txt")));
    const total = (file[file.length - 2] as number) + 256 * (file[file.length - 1] as number);
    for (let cut = 1; cut < total + 30; cut += 7) {
      const v = await verifyPackage(memoryReader(file.subarray(0, file.length - cut)), keys, PORTS);
      expect(v.accepted).toBe(false);
    }
  });

  it("takes no key of another hash and no empty key list", async () => {
    const file = bytesOf("signed_k4_f4_sha256.zip");
    const [key] = parseResKeys(new TextDecoder().decode(bytesOf("k4_f4_sha256.txt"))) as [VerifierKey];
    const other = { ...key, hashes: ["sha1"] as const };
    for (const keys of [[other], []]) {
      const v = await verifyPackage(memoryReader(file), keys, PORTS);
      expect(v).toMatchObject({ accepted: false, unsigned: false });
    }
  });
});
