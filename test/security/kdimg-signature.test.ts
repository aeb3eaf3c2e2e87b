/** A signature in the reserved bytes of a kdimg changes nothing for who does not look for it. */
import { createHash } from "node:crypto";
import { copyFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { testOtaMain } from "../../src/cli/commands/test-ota.ts";
import { captureIo } from "../../src/cli/io.ts";
import { runGuarded } from "../../src/cli/run.ts";
import { isOtaError } from "../../src/core/errors.ts";
import { editedReader } from "../../src/core/edits.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { encodeKdimgHead } from "../../src/k230/kdimg.ts";
import { readKdimgSeal } from "../../src/trust/index.ts";
import { vectorBytes, vectorDisk } from "../support/k230-vectors.ts";
import { otaforge, signedBench } from "../support/signed-benches.ts";

const ORIGINAL = vectorBytes("powercut-a-to-b", "image.kdimg.gz");

async function signedImage(): Promise<Uint8Array> {
  const { folder, name } = await signedBench("k230 embedded");
  return new Uint8Array(readFileSync(join(folder, name)));
}

describe("a kdimg with a signature inside", () => {
  test("differs in the header's CRC, the reserved bytes and the gap behind the table only, and comes back exactly", async () => {
    const signed = await signedImage();
    const tableEnd = 512 + 256 * new DataView(signed.buffer).getUint32(16, true);
    expect(signed.length).toBe(ORIGINAL.length);
    const changed = Array.from(signed.keys()).filter((i) => signed[i] !== ORIGINAL[i]);
    for (const i of changed) {
      expect((i >= 4 && i < 8) || (i >= 152 && i < 512) || (i >= tableEnd && i < 0x10000), `byte ${i}`).toBe(true);
    }
    const bare = editedReader(memoryReader(signed), readKdimgSeal(signed)?.edits ?? []);
    expect(Buffer.from(await bare.read(0, bare.size)).equals(Buffer.from(ORIGINAL))).toBe(true);
  });

  test("the vendor's driver writes the same card, and our own installer too", async () => {
    for (const profile of [["--vendor-compatible"], []]) {
      const cards = [];
      for (const image of [ORIGINAL, await signedImage()]) {
        const at = mkdtempSync(join(tmpdir(), "otaforge-driver-"));
        writeFileSync(join(at, "card.img"), vectorDisk("powercut-a-to-b"));
        writeFileSync(join(at, "image.kdimg"), image);
        const io = captureIo({ cwd: at });
        const argv = ["--disk", "card.img", ...profile, "image.kdimg"];
        expect(await runGuarded("test_ota", testOtaMain, argv, io)).toBe(0);
        cards.push(
          createHash("sha256")
            .update(readFileSync(join(at, "card.img")))
            .digest("hex"),
        );
      }
      expect(cards[0]).toBe(cards[1]);
      expect(cards[0]).not.toBe(createHash("sha256").update(vectorDisk("powercut-a-to-b")).digest("hex"));
    }
  });

  test("without a gap for block digests it is signed all the same, and checked as a file", async () => {
    const { folder } = await signedBench("k230");
    const content = Buffer.alloc(100_000, "content right behind the table");
    const part = {
      name: "rtt",
      offset: 0,
      size: content.length,
      eraseSize: 0,
      maxSize: 1 << 20,
      flag: 0n,
      contentOffset: 512 + 256,
      contentSize: content.length,
      sha256: createHash("sha256").update(content).digest(),
    };
    const head = encodeKdimgHead({ imageInfo: "i", chipInfo: "c", boardInfo: "b" }, [part]);
    const image = Buffer.concat([head, content]);
    writeFileSync(join(folder, "x.kdimg"), image);
    const sign = ["sign", "x.kdimg", "--embed", "--key", "release.pem", "--package-version", "1.0"];
    expect((await otaforge(folder, sign)).code).toBe(0);
    const signed = readFileSync(join(folder, "x.kdimg"));
    expect(signed.subarray(512).equals(image.subarray(512))).toBe(true);
    const verify = (name: string, stdin?: Uint8Array) =>
      otaforge(folder, ["verify", name, "--key", "release.pub.pem"], stdin);
    expect((await verify("x.kdimg")).out).toContain("signed by");
    const piped = await verify("-", new Uint8Array(signed));
    expect([piped.code, piped.err]).toEqual([2, expect.stringContaining("seekable")]);
    copyFileSync(join(folder, "x.kdimg"), join(folder, "y.kdimg"));
    signed[signed.length - 1] = (signed[signed.length - 1] as number) ^ 1;
    writeFileSync(join(folder, "y.kdimg"), signed);
    expect((await verify("y.kdimg")).code).toBe(4);
  });

  test("any bytes give a signature, none, or a typed error", async () => {
    const signed = await signedImage();
    fc.assert(
      fc.property(fc.nat(700), fc.uint8Array({ minLength: 1, maxLength: 40 }), (at, bytes) => {
        const bent = signed.slice();
        bent.set(bytes, at);
        try {
          readKdimgSeal(bent);
        } catch (e) {
          expect(["TRUST_MANIFEST", "LAYOUT_SIZE_UNSAFE"]).toContain(isOtaError(e) ? e.code : e);
        }
      }),
    );
  });
});
