import { brotliCompressSync, deflateRawSync, gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes, equalBytes, isOtaError } from "../core/index.ts";
import type { ByteStream } from "../core/index.ts";
import { nodeCodecs } from "./codecs.ts";

async function* chunks(bytes: Uint8Array, size = 1000): ByteStream {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function gather(stream: ByteStream): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return concatBytes(...parts);
}

const code = async (stream: ByteStream): Promise<string> =>
  gather(stream).then(
    () => "ok",
    (e: unknown) => (isOtaError(e) ? e.code : String(e)),
  );

const noise = (size: number, seed = 1): Uint8Array => {
  const out = new Uint8Array(size);
  let x = seed;
  for (let i = 0; i < size; i++) {
    x = (x * 1103515245 + 12345) % 2147483648;
    out[i] = x >>> 16;
  }
  return out;
};

// One input below the size that is inflated at once, one above it.
const SIZES = [0, 1, 70_000, 3_000_000];

describe("gzip", () => {
  test.each(SIZES)("writes %i bytes that gunzip reads, twice the same", async (size) => {
    const plain = noise(size);
    const packed = await gather(nodeCodecs.gzip(chunks(plain, 65536)));
    expect(equalBytes(gunzipSync(packed), plain)).toBe(true);
    expect(equalBytes(await gather(nodeCodecs.gzip(chunks(plain, 777_777))), packed)).toBe(true);
    expect(equalBytes(await gather(nodeCodecs.gunzip(chunks(packed, 65536), plain.length)), plain)).toBe(true);
  });

  test.each(SIZES)("reads several members of %i bytes and refuses trailing garbage and any cut", async (size) => {
    const plain = noise(size);
    const one = gzipSync(plain);
    const two = concatBytes(one, one);
    expect((await gather(nodeCodecs.gunzip(chunks(two, 65536), 2 * size))).length).toBe(2 * size);
    for (const tail of [[0], [0x1f], [0x1f, 0x8b], [1, 2, 3]]) {
      expect(await code(nodeCodecs.gunzip(chunks(concatBytes(one, Uint8Array.from(tail)), 65536), 2 * size))).toBe(
        "CODEC_DAMAGED",
      );
    }
    for (const cut of [0, 1, 9, 10, Math.floor(one.length / 2), one.length - 9, one.length - 8, one.length - 1]) {
      if (cut >= one.length) continue;
      expect(await code(nodeCodecs.gunzip(chunks(one.subarray(0, cut), 65536), size))).toBe("CODEC_DAMAGED");
    }
  });

  test.each([70_000, 40_000_000])("stops at the limit of a bomb of %i zeros", async (size) => {
    const packed = gzipSync(new Uint8Array(size));
    expect(await code(nodeCodecs.gunzip(chunks(packed), size - 1))).toBe("CODEC_BOMB");
    expect(await code(nodeCodecs.gunzip(chunks(packed), 0))).toBe("CODEC_BOMB");
    expect(await code(nodeCodecs.gunzip(chunks(packed), size))).toBe("ok");
  });

  test("reads headers with name, comment, extra field and header checksum made by other programs", async () => {
    // Python 3.11, gzip.GzipFile(filename="name", mtime=5)
    const packed = Buffer.from("H4sICAUAAAAC/25hbWUAy0jNyckHAIamEDYFAAAA", "base64");
    expect(new TextDecoder().decode(await gather(nodeCodecs.gunzip(chunks(packed, 1), 5)))).toBe("hello");
  });

  test("any single changed byte is refused or leaves the content as it was", async () => {
    const plain = noise(300);
    const packed = gzipSync(plain);
    for (let at = 0; at < packed.length; at++) {
      const bad = Uint8Array.from(packed);
      bad[at] = (bad[at] as number) ^ 0x55;
      const out = await gather(nodeCodecs.gunzip(chunks(bad), 1000)).catch((e: unknown) => {
        if (isOtaError(e)) return undefined;
        throw e;
      });
      if (out !== undefined) expect(equalBytes(out, plain)).toBe(true);
    }
  });
});

describe("raw deflate, brotli and xz", () => {
  test.each(SIZES)("round trip of %i bytes, trailing bytes refused", async (size) => {
    const plain = noise(size, 7);
    const pairs: readonly (readonly [Uint8Array, (i: ByteStream, max: number) => ByteStream])[] = [
      [deflateRawSync(plain), (i, max) => nodeCodecs.inflateRaw(i, max)],
      [await gather(nodeCodecs.deflateRaw(chunks(plain, 65536))), (i, max) => nodeCodecs.inflateRaw(i, max)],
      [
        size > 1e6 ? await gather(nodeCodecs.brotliCompress(chunks(plain, 65536))) : brotliCompressSync(plain),
        (i, max) => nodeCodecs.brotliDecompress(i, max),
      ],
    ];
    for (const [packed, open] of pairs) {
      expect(equalBytes(await gather(open(chunks(packed, 65536), size)), plain)).toBe(true);
      expect(await code(open(chunks(concatBytes(packed, Uint8Array.of(1)), 65536), size))).toBe("CODEC_DAMAGED");
      expect(await code(open(chunks(packed.subarray(0, packed.length - 1), 65536), size))).toBe("CODEC_DAMAGED");
      if (size > 0) expect(await code(open(chunks(packed, 65536), size - 1))).toBe("CODEC_BOMB");
    }
  });

  test("xz data made by another program", async () => {
    // Python 3.11, lzma.compress(b"abc" * 100000)
    const packed = Buffer.from(
      "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj5JPfAHNdADCYiK1LNxKjMYXd+lME7evfQrgS8x/qmK6BARbvZMTWAMZN6eRdTCrA6Ew7H1KdTgkvyVR7" +
        "yu+RFktjQNTpNuystdI+if/efUoERucR5vHRfKJ/9ZlJWfZIaLqxfnFGcQgjAW0TVzRPHp++rnwxCArqRwAAANwDMAnwdIhbAAGPAeCnEgBuIW9j" +
        "scRn+wIAAAAABFla",
      "base64",
    );
    expect((await gather(nodeCodecs.xzDecompress(chunks(packed), 300_000))).length).toBe(300_000);
    expect(await code(nodeCodecs.xzDecompress(chunks(packed), 299_999))).toBe("CODEC_BOMB");
    expect(await code(nodeCodecs.xzDecompress(chunks(packed.subarray(0, 40)), 300_000))).toBe("CODEC_DAMAGED");
  });

  test("a failing source fails the stream with its own error", async () => {
    const broken = async function* (): ByteStream {
      yield gzipSync(noise(5000)).subarray(0, 100);
      throw new Error("the cable fell out");
    };
    expect(await code(nodeCodecs.gunzip(broken(), 5000))).toBe("Error: the cable fell out");
    const large = async function* (): ByteStream {
      yield gzipSync(noise(3_000_000)).subarray(0, 2_000_000);
      throw new Error("the cable fell out");
    };
    expect(await code(nodeCodecs.gunzip(large(), 5_000_000))).toBe("Error: the cable fell out");
  });

  test("any bytes give content or a typed error", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        for (const open of ["gunzip", "inflateRaw", "brotliDecompress"] as const) {
          expect(["ok", "CODEC_DAMAGED", "CODEC_BOMB"]).toContain(
            await code(nodeCodecs[open](chunks(bytes, 7), 10_000)),
          );
        }
      }),
      { numRuns: 150 },
    );
  });
});
