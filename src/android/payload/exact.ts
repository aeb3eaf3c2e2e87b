/**
 * Signature messages of a payload as signers write them. No key covers what stands around a signature value; the update engine takes
 * any size above the value's, any number of unknown fields, any padding. One spelling is left here, so that no byte can be changed.
 */
import { equalBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { SIGNATURES } from "./manifest.ts";
import type { Payload } from "./open.ts";
import { decodeMessage, encodeMessage } from "./proto.ts";

/** Signatures of one message at most. */
const MAX_SIGNATURES = 256;

function isExact(bytes: Uint8Array): boolean {
  if (bytes.length === 0) return true;
  try {
    const message = decodeMessage(SIGNATURES, bytes, MAX_SIGNATURES);
    const plain = message.signatures.every(({ version, data = new Uint8Array(0), unpaddedSize = data.length }) => {
      return version === undefined && unpaddedSize <= data.length && data.subarray(unpaddedSize).every((b) => b === 0);
    });
    return plain && equalBytes(encodeMessage(SIGNATURES, message), bytes);
  } catch (e) {
    if (!(e instanceof OtaError)) throw e;
    return false;
  }
}

/** Whether the messages with the metadata's and the payload's signatures are the ones a signer writes. @throws what reading throws */
export async function exactSignatures({ reader, metadataSize, metadataSignatureSize, dataEnd }: Payload): Promise<{
  readonly metadata: boolean;
  readonly payload: boolean;
}> {
  return {
    metadata: isExact(await reader.read(metadataSize, metadataSignatureSize)),
    payload: isExact(await reader.read(dataEnd, reader.size - dataEnd)),
  };
}
