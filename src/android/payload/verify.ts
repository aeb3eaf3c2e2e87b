/** Digests and signatures of a payload (formats/android.md 8.1 and 8.2). */
import { equalBytes, toHex } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { Cancel, Digest, Digests, ProgressSink } from "../../core/ports.ts";
import { checkCancel, streamRange } from "../../core/streams.ts";
import type { VerifierKey } from "../verifier/keys.ts";
import { verifyP256 } from "../verifier/p256.ts";
import { verifyRsa } from "../verifier/rsa.ts";
import { exactSignatures } from "./exact.ts";
import type { Payload, SignatureValue } from "./open.ts";

export interface PayloadVerifyOptions {
  readonly digests: Pick<Digests, "create">;
  /** What stands around a signature value must be as signers write it, too; otherwise the update engine's verdict. */
  readonly exact?: boolean;
  readonly progress?: ProgressSink;
  readonly cancel?: Cancel;
}

/** What is known of a payload after every byte was read once. */
export interface PayloadVerdict {
  /** SHA-256 of the whole file: FILE_HASH. */
  readonly fileHash: Uint8Array;
  /** SHA-256 of header and manifest: METADATA_HASH. */
  readonly metadataHash: Uint8Array;
  /** `unsigned`: no signature; `not-checked`: no key was given; otherwise whether one verifies with one of the keys. */
  readonly metadata: SignatureState;
  readonly payload: SignatureState;
}
export type SignatureState = "unsigned" | "not-checked" | "good" | "bad";

/** Whether one of the values is a signature of the digest by one of the keys. Always SHA-256, whatever the certificate says. */
function stateOf(values: readonly SignatureValue[], digest: Uint8Array, keys: readonly VerifierKey[]): SignatureState {
  if (values.length === 0) return "unsigned";
  if (keys.length === 0) return "not-checked";
  const good = values.some((value) =>
    keys.some((key) =>
      key.type === "ec" ? verifyP256(key.point, digest, value) : verifyRsa(key.rsa, "sha256", digest, value),
    ),
  );
  return good ? "good" : "bad";
}

async function hashMetadata(payload: Payload, into: readonly Digest[]): Promise<void> {
  for await (const chunk of streamRange(payload.reader, 0, payload.metadataSize)) for (const d of into) d.update(chunk);
}

/** State of the metadata signature alone: what can be known before the data has come. */
export async function verifyPayloadMetadata(
  payload: Payload,
  keys: readonly VerifierKey[],
  options: PayloadVerifyOptions,
): Promise<{ readonly hash: Uint8Array; readonly state: SignatureState }> {
  const digest = options.digests.create("sha256");
  await hashMetadata(payload, [digest]);
  const hash = digest.digest();
  return { hash, state: stateOf(payload.metadataSignatures, hash, keys) };
}

/**
 * Reads the whole payload once and checks signatures and the SHA-256 of every operation's data.
 * @throws OtaError ANDROID_PAYLOAD_DATA with the first operation whose data is damaged; CANCELLED
 */
export async function verifyPayload(
  payload: Payload,
  keys: readonly VerifierKey[],
  options: PayloadVerifyOptions,
): Promise<PayloadVerdict> {
  const { digests } = options;
  const { reader, dataOffset, dataEnd } = payload;
  const [file, signed, metadata] = [digests.create("sha256"), digests.create("sha256"), digests.create("sha256")];
  await hashMetadata(payload, [file, signed, metadata]);
  // The metadata signature belongs to the file and to no signature.
  file.update(await reader.read(payload.metadataSize, payload.metadataSignatureSize));
  let doneBytes = dataOffset;
  for (const partition of payload.manifest.partitions) {
    for (const [i, op] of partition.operations.entries()) {
      if (op.dataLength === undefined || op.dataLength === 0) continue;
      const own = digests.create("sha256");
      for await (const chunk of streamRange(reader, dataOffset + (op.dataOffset ?? 0), op.dataLength)) {
        checkCancel(options.cancel);
        for (const d of [file, signed, own]) d.update(chunk);
        doneBytes += chunk.length;
        options.progress?.progress({ phase: "verify", doneBytes, totalBytes: reader.size });
      }
      const found = own.digest();
      if (op.dataSha256 !== undefined && !equalBytes(found, op.dataSha256)) {
        throw new OtaError("ANDROID_PAYLOAD_DATA", {
          what: "the data of an operation is damaged: its SHA-256 is wrong",
          where: `${partition.name ?? ""} operation ${i}`,
          expected: toHex(op.dataSha256),
          found: toHex(found),
        });
      }
    }
  }
  for await (const chunk of streamRange(reader, dataEnd)) file.update(chunk);
  const metadataHash = metadata.digest();
  const exact = options.exact === true ? await exactSignatures(payload) : { metadata: true, payload: true };
  const judged = (state: SignatureState, asWritten: boolean): SignatureState =>
    state === "good" && !asWritten ? "bad" : state;
  return {
    fileHash: file.digest(),
    metadataHash,
    metadata: judged(stateOf(payload.metadataSignatures, metadataHash, keys), exact.metadata),
    payload: judged(stateOf(payload.payloadSignatures, signed.digest(), keys), exact.payload),
  };
}
