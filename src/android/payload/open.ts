/** Opens payload.bin: header, manifest, signatures, and where everything lies (formats/android.md 8.1). */
import { equalBytes, hexOffset, toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { RandomReader } from "../../core/ports.ts";
import { sliceReader } from "../../core/streams.ts";
import { checkManifest, isDeltaManifest } from "./check.ts";
import { PAYLOAD_HEADER, PAYLOAD_MAGIC, PAYLOAD_MAJOR } from "./layout.ts";
import { MANIFEST, SIGNATURES, type Manifest, type Operation } from "./manifest.ts";
import { decodeMessage } from "./proto.ts";

/** Largest manifest that is read: that of a delta of 16 GiB in single blocks would have half of it. */
export const MAX_MANIFEST = 128 * 2 ** 20;
/** Most messages of a manifest: operations and extents. Each takes about 100 bytes of memory. */
const MAX_OBJECTS = 2 ** 21;
const MAX_SIGNATURES = 65536;

/** One signature of a Signatures message, without its padding. */
export type SignatureValue = Uint8Array;

export interface Payload {
  readonly reader: RandomReader;
  readonly manifest: Manifest & { readonly blockSize: number };
  readonly kind: "full" | "delta";
  /** Header and manifest: what the metadata signature covers, bytes. */
  readonly metadataSize: number;
  readonly metadataSignatureSize: number;
  /** Where the operations' data begin, bytes from the start of the file. */
  readonly dataOffset: number;
  /** End of the data, and where the payload signature begins, bytes from the start of the file. */
  readonly dataEnd: number;
  /** Empty when the metadata is not signed. */
  readonly metadataSignatures: readonly SignatureValue[];
  /** Empty when the payload is not signed. */
  readonly payloadSignatures: readonly SignatureValue[];
  /** Data of an operation; undefined when it has none. */
  dataOf(operation: Operation): RandomReader | undefined;
}

/** Whether the bytes begin as payload.bin does. */
export function isPayload(bytes: Uint8Array): boolean {
  return equalBytes(bytes.subarray(0, 4), PAYLOAD_MAGIC);
}

async function readHeader(reader: RandomReader): Promise<{ manifestSize: number; signatureSize: number }> {
  const head = await reader.read(0, Math.min(reader.size, PAYLOAD_HEADER.size));
  if (!isPayload(head)) {
    throw new OtaError("ANDROID_PAYLOAD", {
      what: "no payload",
      where: "0x0",
      expected: "CrAU",
      found: toHex(head.subarray(0, 4)),
    });
  }
  const { version, manifestSize, metadataSignatureSize } = PAYLOAD_HEADER.decode(head);
  if (version !== PAYLOAD_MAJOR) {
    throw new OtaError("ANDROID_PAYLOAD_VERSION", {
      what: "a payload of another major version",
      where: hexOffset(PAYLOAD_HEADER.fields.version.offset),
      expected: PAYLOAD_MAJOR,
      found: version,
    });
  }
  const room = reader.size - PAYLOAD_HEADER.size;
  if (manifestSize > MAX_MANIFEST || metadataSignatureSize > MAX_SIGNATURES) {
    throw new OtaError("ANDROID_PAYLOAD", {
      what: "the manifest or its signature is larger than any real one",
      where: hexOffset(PAYLOAD_HEADER.fields.manifestSize.offset),
      expected: `at most ${MAX_MANIFEST} and ${MAX_SIGNATURES} bytes`,
      found: `${manifestSize} and ${metadataSignatureSize}`,
    });
  }
  if (manifestSize + metadataSignatureSize > room) {
    throw new OtaError("ANDROID_PAYLOAD", {
      what: "the payload is cut short in its manifest",
      where: hexOffset(reader.size),
      expected: `${PAYLOAD_HEADER.size + manifestSize + metadataSignatureSize} bytes`,
      found: reader.size,
    });
  }
  return { manifestSize, signatureSize: metadataSignatureSize };
}

function signatureValues(bytes: Uint8Array): SignatureValue[] {
  if (bytes.length === 0) return [];
  return decodeMessage(SIGNATURES, bytes, 256).signatures.map(({ data = new Uint8Array(0), unpaddedSize }) =>
    unpaddedSize === undefined ? data : data.subarray(0, unpaddedSize),
  );
}

/**
 * Opens a payload and checks everything its manifest says against itself and the file's size; digests of the data and
 * signatures are checked by {@link verifyPayload}.
 * @throws OtaError ANDROID_PAYLOAD, ANDROID_PAYLOAD_VERSION, LAYOUT_TRUNCATED, LAYOUT_SIZE_UNSAFE, and what reading throws
 */
export async function openPayload(reader: RandomReader): Promise<Payload> {
  const { manifestSize, signatureSize } = await readHeader(reader);
  const metadataSize = PAYLOAD_HEADER.size + manifestSize;
  const dataOffset = metadataSize + signatureSize;
  const decoded = decodeMessage(MANIFEST, await reader.read(PAYLOAD_HEADER.size, manifestSize), MAX_OBJECTS);
  checkManifest(decoded, reader.size - dataOffset);
  const signaturesSize = decoded.signaturesSize ?? 0;
  if (signaturesSize > MAX_SIGNATURES) {
    throw new OtaError("ANDROID_PAYLOAD", {
      what: "the payload signature is larger than any real one",
      where: "manifest",
      expected: `at most ${MAX_SIGNATURES} bytes`,
      found: signaturesSize,
    });
  }
  const dataEnd = reader.size - signaturesSize;
  return {
    reader,
    manifest: { ...decoded, blockSize: decoded.blockSize ?? 4096 },
    kind: isDeltaManifest(decoded) ? "delta" : "full",
    metadataSize,
    metadataSignatureSize: signatureSize,
    dataOffset,
    dataEnd,
    metadataSignatures: signatureValues(await reader.read(metadataSize, signatureSize)),
    payloadSignatures: signatureValues(await reader.read(dataEnd, signaturesSize)),
    dataOf({ dataOffset: at = 0, dataLength = 0 }) {
      return dataLength === 0 ? undefined : sliceReader(reader, dataOffset + at, dataLength);
    },
  };
}
