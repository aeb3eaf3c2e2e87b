import { createPublicKey } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { concatBytes, equalBytes } from "../core/bytes.ts";
import { isOtaError } from "../core/errors.ts";
import { memoryReader, streamRange } from "../core/streams.ts";
import { encodeText } from "../core/text.ts";
import { nodeDigests } from "../device/index.ts";
import { commandSigner, generateKeys, nodeSignatureChecker, readPublicKeys, readSigner } from "./crypto.node.ts";
import {
  addSignatures,
  checkEnvelope,
  checkPolicy,
  compareVersions,
  decodeEnvelope,
  decodeManifest,
  digestBlocks,
  embedInGzip,
  encodeEnvelope,
  encodeKeyList,
  encodeManifest,
  followKeyList,
  fromBase64,
  KEY_LIST_TYPE,
  MANIFEST_TYPE,
  parseVersion,
  readGzipEmbedding,
  sealEnvelope,
  toBase64,
  verifiedReader,
  verifiedStream,
  type KeyState,
  type Manifest,
  type Signer,
} from "./index.ts";

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return concatBytes(...parts);
}

async function codeOf(body: Promise<unknown>): Promise<string> {
  try {
    await body;
  } catch (e) {
    if (isOtaError(e)) return e.code;
    throw e;
  }
  return "none";
}

const signers: Record<string, Signer> = {};

beforeAll(() => {
  for (const algorithm of ["ed25519", "ecdsa-p256", "rsa"] as const) {
    signers[algorithm] = readSigner(generateKeys(algorithm).privatePem, algorithm);
  }
});

const ed = (): Signer => signers["ed25519"] as Signer;

async function sampleManifest(content: Uint8Array): Promise<Manifest> {
  return {
    family: "sigmastar",
    hardware: ["ssc335-cam"],
    version: "2.0.0",
    coverage: "file",
    ...(await digestBlocks(streamRange(memoryReader(content)), content.length, nodeDigests)),
    items: [
      {
        index: 2,
        name: "/dev/mtd5",
        base: { size: 1, sha256: "00".repeat(32) },
        result: { size: 2, sha256: "11".repeat(32) },
      },
    ],
    signers: [ed().key.id],
  };
}

describe("base64", () => {
  test("is the platform's for any bytes and refuses every other spelling", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
        const text = toBase64(bytes);
        expect(text).toBe(Buffer.from(bytes).toString("base64"));
        expect(fromBase64(text)).toEqual(bytes);
      }),
    );
    for (const bad of [
      "A",
      "AA",
      "AAA",
      "AB==",
      "AAB=",
      "A===",
      "====",
      "AA=A",
      "AAA*",
      "AA==AAAA",
      "AA AA",
      "AA==\n",
    ]) {
      expect(fromBase64(bad), bad).toBeUndefined();
    }
  });
});

describe("versions", () => {
  test("order by number, not by letters; a suffix comes before its version", () => {
    const inOrder = [
      "0",
      "0.1",
      "1.9",
      "1.10-alpha",
      "1.10-alpha.1",
      "1.10-alpha.2",
      "1.10-alpha.10",
      "1.10-beta",
      "1.10",
      "1.10.0.1",
      "2",
    ];
    const parsed = inOrder.map(parseVersion);
    parsed.forEach((a, i) => parsed.forEach((b, k) => expect(Math.sign(compareVersions(a, b))).toBe(Math.sign(i - k))));
    expect(compareVersions(parseVersion("1.2"), parseVersion("1.2.0"))).toBe(0);
  });

  test("refuse what two readers could order differently", () => {
    for (const bad of [
      "",
      "v1.2",
      "1..2",
      "1.2.",
      " 1",
      "1.02",
      "1:2.0",
      "١.2",
      "1.2-",
      "1.2\n",
      "1.2+x",
      "9".repeat(64),
    ]) {
      expect(() => parseVersion(bad), JSON.stringify(bad)).toThrow("can be ordered");
    }
  });
});

describe("envelopes", () => {
  test("every algorithm signs and verifies; another key's, another message's and a flipped signature do not", async () => {
    for (const signer of Object.values(signers)) {
      const envelope = await sealEnvelope("t", encodeText("hello"), [signer]);
      expect(await checkEnvelope(envelope, [signer.key], nodeSignatureChecker)).toEqual([signer.key]);
      expect(await codeOf(checkEnvelope({ ...envelope, payloadType: "u" }, [signer.key], nodeSignatureChecker))).toBe(
        "TRUST_SIGNATURE",
      );
      expect(
        await codeOf(checkEnvelope({ ...envelope, payload: encodeText("hellp") }, [signer.key], nodeSignatureChecker)),
      ).toBe("TRUST_SIGNATURE");
      expect(await codeOf(checkEnvelope({ ...envelope, signatures: [] }, [signer.key], nodeSignatureChecker))).toBe(
        "TRUST_UNSIGNED",
      );
    }
    const envelope = await sealEnvelope("t", encodeText("hello"), [ed()]);
    expect(await codeOf(checkEnvelope(envelope, [(signers["rsa"] as Signer).key], nodeSignatureChecker))).toBe(
      "TRUST_UNKNOWN_KEY",
    );
  });

  test("several signatures stand in one order, and one that does not fit spoils the rest", async () => {
    const all = Object.values(signers);
    const envelope = await sealEnvelope("t", encodeText("x"), all);
    expect(encodeEnvelope(await sealEnvelope("t", encodeText("x"), [ed()]))).toEqual(
      encodeEnvelope(await addSignatures({ ...envelope, signatures: [] }, [ed()])),
    );
    const first = envelope.signatures[0] as { keyId: string; signature: Uint8Array };
    const bent = { ...first, signature: first.signature.map((b, i) => (i === 5 ? b ^ 1 : b)) };
    const spoiled = { ...envelope, signatures: [bent, ...envelope.signatures.slice(1)] };
    expect(
      await codeOf(
        checkEnvelope(
          spoiled,
          all.map((s) => s.key),
          nodeSignatureChecker,
        ),
      ),
    ).toBe("TRUST_SIGNATURE");
  });

  test("flipping any single bit of a signed manifest is refused", async () => {
    const manifest = await sampleManifest(new Uint8Array(100));
    const bytes = encodeEnvelope(await sealEnvelope(MANIFEST_TYPE, encodeManifest(manifest), [ed()]));
    expect(decodeManifest(decodeEnvelope(bytes).payload)).toEqual(manifest);
    for (let i = 0; i < bytes.length; i++) {
      for (const bit of [1, 2, 32, 128]) {
        const bent = bytes.slice();
        bent[i] = (bent[i] as number) ^ bit;
        const outcome = await codeOf(
          (async () => {
            const envelope = decodeEnvelope(bent);
            await checkEnvelope(envelope, [ed().key], nodeSignatureChecker);
            decodeManifest(envelope.payload);
          })(),
        );
        expect(outcome, `byte ${i} bit ${bit}`).toMatch(/^TRUST_/);
      }
    }
  });

  test("truncated at every offset it is refused", async () => {
    const bytes = encodeEnvelope(await sealEnvelope("t", encodeText("x"), [ed()]));
    for (let n = 0; n < bytes.length; n++) expect(() => decodeEnvelope(bytes.subarray(0, n))).toThrow("malformed");
  });
});

describe("manifests", () => {
  test("any JSON gives a manifest or TRUST_MANIFEST", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        try {
          decodeManifest(encodeText(text));
        } catch (e) {
          expect(isOtaError(e)).toBe(true);
        }
      }),
    );
  });

  test("a verified reader and stream pass only signed bytes, also when the file changes behind them", async () => {
    const content = Uint8Array.from({ length: 200_000 }, (_, i) => i * 7);
    const manifest = await sampleManifest(content);
    expect(
      await collect(verifiedStream(streamRange(memoryReader(content), 0, content.length, 999), manifest, nodeDigests)),
    ).toEqual(content);
    const live = content.slice();
    const reader = verifiedReader(memoryReader(live), manifest, nodeDigests);
    expect(equalBytes(await reader.read(65_530, 100_000), content.subarray(65_530, 165_530))).toBe(true);
    live[150_000] = 1 ^ (live[150_000] as number);
    expect(equalBytes(await reader.read(0, 131_072), content.subarray(0, 131_072))).toBe(true);
    expect(await codeOf(reader.read(140_000, 10))).toBe("TRUST_MISMATCH");
    expect(await codeOf(collect(verifiedStream(streamRange(memoryReader(live)), manifest, nodeDigests)))).toBe(
      "TRUST_MISMATCH",
    );
    for (const other of [content.subarray(0, 199_999), concatBytes(content, new Uint8Array(1))]) {
      expect(await codeOf(collect(verifiedStream(streamRange(memoryReader(other)), manifest, nodeDigests)))).toBe(
        "TRUST_MISMATCH",
      );
    }
  });

  test("policy refuses other hardware, families and versions below the floor; the same version stays possible", async () => {
    const manifest = await sampleManifest(new Uint8Array(1));
    const device = { family: "sigmastar", hardware: "ssc335-cam" } as const;
    const outcome = (policy: Parameters<typeof checkPolicy>[1]): Promise<string> =>
      codeOf(Promise.resolve().then(() => checkPolicy(manifest, policy)));
    expect(await outcome(device)).toBe("none");
    expect(await outcome({ ...device, floor: "2.0.0" })).toBe("none");
    expect(await outcome({ ...device, floor: "1.9", minimumVersion: "2.0.1" })).toBe("TRUST_DOWNGRADE");
    expect(await outcome({ ...device, floor: "2.10", minimumVersion: "1" })).toBe("TRUST_DOWNGRADE");
    expect(await outcome({ ...device, hardware: "ssc337" })).toBe("TRUST_HARDWARE");
    expect(await outcome({ family: "sigmastar" })).toBe("TRUST_HARDWARE");
    expect(await outcome({ ...device, family: "k230" })).toBe("TRUST_MISMATCH");
  });
});

describe("a signature inside a gzip file", () => {
  test("is skipped by gunzip, comes back, and the bare file is unchanged", async () => {
    const plain = encodeText("package ".repeat(500));
    const bare = new Uint8Array(gzipSync(plain));
    const signed = await collect(embedInGzip(memoryReader(bare), encodeText("SIGNATURE")));
    expect(new Uint8Array(gunzipSync(signed))).toEqual(plain);
    const { embedded, bare: again } = await readGzipEmbedding(memoryReader(signed));
    expect(embedded).toEqual(encodeText("SIGNATURE"));
    for (const chunk of [1, 3, 64]) expect(await collect(streamRange(again, 0, again.size, chunk))).toEqual(bare);
    expect((await readGzipEmbedding(memoryReader(bare))).embedded).toBeUndefined();
  });

  test("is refused where there is no room", async () => {
    const bare = new Uint8Array(gzipSync("x"));
    expect(await codeOf(collect(embedInGzip(memoryReader(bare), new Uint8Array(65_532))))).toBe("TRUST_NO_ROOM");
    expect(await codeOf(collect(embedInGzip(memoryReader(encodeText("no gzip at all")), new Uint8Array(1))))).toBe(
      "TRUST_NO_ROOM",
    );
  });
});

describe("key lists", () => {
  test("are followed in order, each signed by a key of the one before, never backwards", async () => {
    const [a, b, c] = [ed(), signers["ecdsa-p256"] as Signer, signers["rsa"] as Signer];
    const list = (sequence: number, next: Signer, by: Signer): ReturnType<typeof sealEnvelope> =>
      sealEnvelope(KEY_LIST_TYPE, encodeKeyList({ sequence, keys: [next.key] }), [by]);
    const start: KeyState = { sequence: 0, keys: [a.key] };
    const one = await followKeyList(start, await list(1, b, a), nodeSignatureChecker, nodeDigests);
    expect(one).toMatchObject({ sequence: 1, keys: [{ id: b.key.id }] });
    const two = await followKeyList(one, await list(2, c, b), nodeSignatureChecker, nodeDigests);
    expect(two.keys[0]?.id).toBe(c.key.id);
    expect(await followKeyList(two, await list(1, b, a), nodeSignatureChecker, nodeDigests)).toBe(two);
    expect(await codeOf(followKeyList(one, await list(2, c, a), nodeSignatureChecker, nodeDigests))).toBe(
      "TRUST_UNKNOWN_KEY",
    );
    expect(await codeOf(followKeyList(start, await list(2, c, a), nodeSignatureChecker, nodeDigests))).toBe(
      "TRUST_KEY_LIST",
    );
  });
});

const AOSP = join(import.meta.dirname, "../../../shared/vectors/android/signing/aosp-testdata");

describe("keys", () => {
  test("private keys, weak keys and texts without a key are refused without quoting them", () => {
    const { privatePem } = generateKeys("ed25519");
    expect(() => readPublicKeys(privatePem, "k.pem")).toThrow("private key");
    expect(() => readPublicKeys("hello", "k.pem")).toThrow("k.pem");
    expect(() => readSigner("-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n-----END PRIVATE KEY-----", "k.pem")).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("SECRETSECRET") as string }) as Error,
    );
  });

  test.runIf(existsSync(AOSP))("Android's test keys are refused by name, with and without a certificate", () => {
    for (const version of [1, 2, 3, 4, 5]) {
      const certificate = readFileSync(join(AOSP, `testkey_v${version}.x509.pem`), "utf8");
      const key = createPublicKey(certificate).export({ type: "spki", format: "pem" }).toString();
      for (const pem of [certificate, key]) {
        expect(() => readPublicKeys(pem, "k.pem")).toThrow(
          expect.objectContaining({ code: "TRUST_SAMPLE_KEY" }) as Error,
        );
      }
    }
  });

  test("an external command signs, its output is checked, and its failure is told", async () => {
    const folder = mkdtempSync(join(tmpdir(), "otaforge-sign-"));
    const { privatePem, publicPem } = generateKeys("ecdsa-p256");
    const keyFile = join(folder, "k.pem");
    writeFileSync(keyFile, privatePem);
    const key = readPublicKeys(publicPem, "k.pub.pem")[0] as Signer["key"];
    // openssl writes the signature as DER.
    const good = commandSigner(`openssl dgst -sha256 -sign '${keyFile}'`, key);
    expect(await nodeSignatureChecker.check(key, encodeText("m"), await good.sign(encodeText("m")))).toBe(true);
    expect(await codeOf(commandSigner("cat", key).sign(encodeText("m")))).toBe("TRUST_SIGNER_FAILED");
    expect(await codeOf(commandSigner("echo no card >&2; exit 3", key).sign(encodeText("m")))).toBe(
      "TRUST_SIGNER_FAILED",
    );
  });
});
