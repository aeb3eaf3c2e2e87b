/** Signs a payload and puts it together: one that was just made, or one that has other signatures (formats/android.md 8.1). */
import { concatBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Digests, RandomReader } from "../../core/ports.ts";
import { checkCancel, memoryReader, sliceReader, streamRange } from "../../core/streams.ts";
import type { PayloadSigner } from "../signing/signer.ts";
import { PAYLOAD_HEADER, PAYLOAD_MAGIC, PAYLOAD_MAJOR } from "./layout.ts";
import { MANIFEST, SIGNATURES } from "./manifest.ts";
import type { Payload } from "./open.ts";
import { encodeMessage, replaceFields } from "./proto.ts";

/** A payload, ready to be written. */
export interface SealedPayload {
  /** Bytes. */
  readonly size: number;
  /** Header and manifest, bytes. */
  readonly metadataSize: number;
  readonly metadataSignatureSize: number;
  /** The file. */
  content(): ByteStream;
  /** payload_properties.txt. */
  readonly properties: readonly (readonly [key: string, value: string])[];
}

export interface SealOptions {
  readonly digests: Pick<Digests, "create">;
  readonly cancel?: Cancel;
}

/** A Signatures message of a size that does not depend on the value: ECDSA signatures of one key differ by a few bytes. */
function signatureMessage(value: Uint8Array, size: number): Uint8Array {
  const data = new Uint8Array(size);
  data.set(value.subarray(0, size));
  return encodeMessage(SIGNATURES, { signatures: [{ data, unpaddedSize: value.length }] });
}

/** Size of the signature of metadata or payload, bytes: the manifest states it before anything is signed. */
export function sizeOfSignatures(signer: Pick<PayloadSigner, "signatureSize">): number {
  return signatureMessage(new Uint8Array(0), signer.signatureSize).length;
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Base64 of a SHA-256. */
function base64(bytes: Uint8Array): string {
  let bits = "";
  for (const b of bytes) bits += b.toString(2).padStart(8, "0");
  const text = bits.match(/.{1,6}/g)?.map((s) => ALPHABET.charAt(Number.parseInt(s.padEnd(6, "0"), 2))) ?? [];
  return text.join("").padEnd(Math.ceil(bytes.length / 3) * 4, "=");
}

/** The text of payload_properties.txt. */
export function propertiesText(properties: SealedPayload["properties"]): string {
  return properties.map(([key, value]) => `${key}=${value}\n`).join("");
}

/**
 * Header, manifest, signatures and data as one file. The manifest states offset and size of the payload signature already;
 * without signer there are none.
 * @param data what the operations read, all of it
 * @throws OtaError ANDROID_SIGNER, CANCELLED, what signing and reading throw
 */
export async function sealPayload(
  manifest: Uint8Array,
  data: RandomReader,
  signer: PayloadSigner | undefined,
  options: SealOptions,
): Promise<SealedPayload> {
  const header = PAYLOAD_HEADER.encode({
    magic: PAYLOAD_MAGIC,
    version: PAYLOAD_MAJOR,
    manifestSize: manifest.length,
    metadataSignatureSize: signer === undefined ? 0 : sizeOfSignatures(signer),
  });
  const metadata = concatBytes(header, manifest);
  const sign = async (message: ByteStream): Promise<Uint8Array> => {
    if (signer === undefined) return new Uint8Array(0);
    const value = await signer.sign(message, "sha256");
    if (value.length > signer.signatureSize) {
      throw new OtaError("ANDROID_SIGNER", {
        what: "the signature is longer than the key's",
        expected: `at most ${signer.signatureSize} bytes`,
        found: value.length,
      });
    }
    return signatureMessage(value, signer.signatureSize);
  };
  const dataStream = async function* (): ByteStream {
    for await (const chunk of streamRange(data)) {
      checkCancel(options.cancel);
      yield chunk;
    }
  };
  const metadataSignature = await sign(streamRange(memoryReader(metadata)));
  const signed = async function* (): ByteStream {
    yield metadata;
    yield* dataStream();
  };
  const payloadSignature = await sign(signed());
  const content = async function* (): ByteStream {
    yield metadata;
    if (metadataSignature.length > 0) yield metadataSignature;
    yield* dataStream();
    if (payloadSignature.length > 0) yield payloadSignature;
  };
  const file = options.digests.create("sha256");
  for await (const chunk of content()) file.update(chunk);
  const metadataDigest = options.digests.create("sha256");
  metadataDigest.update(metadata);
  const size = metadata.length + metadataSignature.length + data.size + payloadSignature.length;
  return {
    size,
    metadataSize: metadata.length,
    metadataSignatureSize: metadataSignature.length,
    content,
    properties: [
      ["FILE_HASH", base64(file.digest())],
      ["FILE_SIZE", String(size)],
      ["METADATA_HASH", base64(metadataDigest.digest())],
      ["METADATA_SIZE", String(metadata.length)],
    ],
  };
}

/**
 * The same payload with the signatures of `signer` in place of those it has, if any. Of the manifest only offset and size of
 * the signature change; fields that are not known here stay. Digests of the data are not checked: {@link verifyPayload} does.
 * @throws OtaError as {@link sealPayload}
 */
export async function signPayload(
  payload: Payload,
  signer: PayloadSigner,
  options: SealOptions,
): Promise<SealedPayload> {
  const { reader, metadataSize, dataOffset, dataEnd } = payload;
  const manifest = await reader.read(PAYLOAD_HEADER.size, metadataSize - PAYLOAD_HEADER.size);
  const { signaturesOffset, signaturesSize } = MANIFEST.fields;
  const place = encodeMessage(MANIFEST, {
    partitions: [],
    apexInfo: [],
    signaturesOffset: dataEnd - dataOffset,
    signaturesSize: sizeOfSignatures(signer),
  });
  const changed = replaceFields(manifest, new Set([signaturesOffset.number, signaturesSize.number]), place);
  return sealPayload(changed, sliceReader(reader, dataOffset, dataEnd - dataOffset), signer, options);
}
