/** What the attack tests of Android's device side share: a device, signed packages, and readers of any size. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  encodeSignatureBlock,
  encodeSignatureComment,
  OTACERT_NAME,
  signArchive,
} from "../../src/android/signing/index.ts";
import type { PackageSigner } from "../../src/android/signing/index.ts";
import { signerFromFiles } from "../../src/android/signing/keys.node.ts";
import { parseResKeys } from "../../src/android/verifier/index.ts";
import type { VerifierKey } from "../../src/android/verifier/index.ts";
import { concatBytes } from "../../src/core/bytes.ts";
import type { RandomReader } from "../../src/core/ports.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { createZipWriter, memorySink, openZip } from "../../src/core/zip/index.ts";
import { createSimulatedDevice, nodeCodecs, nodeDigests } from "../../src/device/index.ts";
import type { SimulatedDevice, SimulatedSpec } from "../../src/device/index.ts";
import { installUpdateZip } from "../../src/android/index.ts";
import type { AndroidInstallOptions } from "../../src/android/index.ts";

const KEYS = new URL("../vectors/android/signing/generated/", import.meta.url);

export const signerOf = (name: string): Promise<PackageSigner> =>
  signerFromFiles({ path: fileURLToPath(new URL(name, KEYS)) });

export const keysOf = (name: string): VerifierKey[] =>
  parseResKeys(readFileSync(new URL(`${name}.txt`, KEYS), "latin1"));

/** A package signed by one of the recorded keys. */
export async function signPackage(source: RandomReader, key: string): Promise<Uint8Array> {
  const sink = memorySink();
  const output = { ...sink, read: async (at: number, n: number) => sink.bytes().subarray(at, at + n) };
  const zip = await openZip(source, { codecs: nodeCodecs });
  await signArchive(zip, output, await signerOf(key), {
    codecs: nodeCodecs,
    digests: nodeDigests,
    progress: { progress: () => undefined, note: () => undefined },
  });
  return sink.bytes();
}

/** A package as signers of Android 8 and later write it: the certificate in the archive, and no JAR part. */
export async function signWithoutJar(source: RandomReader, key: string): Promise<Uint8Array> {
  const signer = await signerOf(key);
  const sink = memorySink();
  const from = await openZip(source, { codecs: nodeCodecs });
  const zip = createZipWriter(sink, { codecs: nodeCodecs, crc32: (b, c) => nodeDigests.crc32(b, c) });
  for (const entry of from.entries) await zip.add({ name: entry.name }, await from.read(entry));
  await zip.add({ name: OTACERT_NAME }, signer.otacert);
  await zip.finish();
  const bytes = sink.bytes();
  const content = memoryReader(bytes.subarray(0, bytes.length - 22));
  const tail = await signatureTail(signer, content, bytes.subarray(bytes.length - 22, bytes.length - 2));
  return concatBytes(bytes.subarray(0, bytes.length - 22), tail);
}

/** An end record that says nothing of entries, without the size of the comment. */
const NO_ENTRIES: Uint8Array = new Uint8Array([0x50, 0x4b, 5, 6, ...new Uint8Array(16)]);

/** The end of a signed archive: the end record `record`, and the signature over `signed` and it. */
export async function signatureTail(
  signer: PackageSigner,
  signed: RandomReader,
  record = NO_ENTRIES,
): Promise<Uint8Array> {
  async function* message(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < signed.size; at += 1 << 20) {
      yield await signed.read(at, Math.min(1 << 20, signed.size - at));
    }
    yield record;
  }
  const comment = encodeSignatureComment(encodeSignatureBlock(signer, await signer.sign(message())));
  return concatBytes(record, comment.slice(-2), comment);
}

/** Zeros of any size, with some bytes changed: what a sparse file of that size reads as. */
export function zeros(size: number, changed: Readonly<Record<number, number>> = {}): RandomReader {
  const nothing = new Uint8Array(1 << 20);
  const places = Object.entries(changed).map(([at, byte]) => [Number(at), byte] as const);
  return {
    size,
    async read(offset, length) {
      const inside = places.filter(([at]) => at >= offset && at < offset + length);
      if (inside.length === 0 && length <= nothing.length) return nothing.subarray(0, length);
      const out = new Uint8Array(length);
      for (const [at, byte] of inside) out[at - offset] = byte;
      return out;
    },
  };
}

/** Two readers one behind the other. */
export function joined(first: RandomReader, tail: Uint8Array): RandomReader {
  return {
    size: first.size + tail.length,
    async read(offset, length) {
      if (offset + length <= first.size) return first.read(offset, length);
      const head = offset < first.size ? await first.read(offset, first.size - offset) : new Uint8Array(0);
      const from = Math.max(0, offset - first.size);
      return concatBytes(head, tail.subarray(from, from + length - head.length));
    },
  };
}

export const SYSTEM = "/dev/block/by-name/system";

/** A small device with a file system, a cache and a partition. */
export function smallDevice(more: Partial<SimulatedSpec> = {}): SimulatedDevice {
  return createSimulatedDevice({
    files: { "/system/build.prop": "ro.x=1\n", "/system/bin/old": "old", "/cache/recovery": { kind: "folder" } },
    fileSystems: { "/system": { node: SYSTEM, mounted: false }, "/cache": { node: "/dev/block/by-name/cache" } },
    nodes: { "/dev/block/by-name/boot": { kind: "block", size: 65536 } },
    properties: { "ro.product.device": "tiny" },
    ...more,
  });
}

export const install = (device: SimulatedDevice, reader: RandomReader, more: Partial<AndroidInstallOptions> = {}) =>
  installUpdateZip(device, reader, { profile: "safe", keys: [], ...more });

export const asReader = (bytes: Uint8Array): RandomReader => memoryReader(bytes);
