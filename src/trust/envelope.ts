/**
 * The signature envelope: DSSE (secure-systems-lab, version 1), as JSON in one canonical form.
 *
 * What is signed is the pre-authentication encoding `DSSEv1 SP len(type) SP type SP len(payload) SP payload`, so that a
 * signature over one type of payload never fits another. Only the exact text that {@link encodeEnvelope} writes is read: any
 * other spelling of the same envelope is TRUST_MANIFEST, so no byte of a signed file can be changed unnoticed.
 */
import { concatBytes, equalBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { decodeText, encodeText } from "../core/text.ts";
import { fromBase64, toBase64 } from "./base64.ts";
import type { PublicKey, SignatureChecker, Signer } from "./keys.ts";

/** Largest envelope that is read, bytes: a manifest of 16,384 blocks is below 1 MiB. */
export const MAX_ENVELOPE_BYTES = 4 * 1024 * 1024;

export interface EnvelopeSignature {
  readonly keyId: string;
  readonly signature: Uint8Array;
}

export interface Envelope {
  readonly payloadType: string;
  readonly payload: Uint8Array;
  readonly signatures: readonly EnvelopeSignature[];
}

/** The bytes a signature of an envelope is over. */
export function signedBytes(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = encodeText(payloadType);
  return concatBytes(encodeText(`DSSEv1 ${type.length} `), type, encodeText(` ${payload.length} `), payload);
}

/** Signs with every signer; signatures stand in ascending order of key id, so that the bytes do not depend on call order. */
export async function sealEnvelope(
  payloadType: string,
  payload: Uint8Array,
  signers: readonly Signer[],
): Promise<Envelope> {
  const message = signedBytes(payloadType, payload);
  const signatures: EnvelopeSignature[] = [];
  for (const signer of signers) signatures.push({ keyId: signer.key.id, signature: await signer.sign(message) });
  return { payloadType, payload, signatures: inOrder(signatures) };
}

function inOrder(signatures: readonly EnvelopeSignature[]): EnvelopeSignature[] {
  return [...signatures].sort((a, b) => (a.keyId < b.keyId ? -1 : a.keyId > b.keyId ? 1 : 0));
}

/** Adds signatures to an envelope, replacing those of the same key: re-signing without rebuilding. */
export async function addSignatures(envelope: Envelope, signers: readonly Signer[]): Promise<Envelope> {
  const fresh = await sealEnvelope(envelope.payloadType, envelope.payload, signers);
  const ids = new Set(fresh.signatures.map((s) => s.keyId));
  const kept = envelope.signatures.filter((s) => !ids.has(s.keyId));
  return { ...envelope, signatures: inOrder([...kept, ...fresh.signatures]) };
}

/** The envelope's one canonical text, ending in a newline. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  const json = {
    payloadType: envelope.payloadType,
    payload: toBase64(envelope.payload),
    signatures: envelope.signatures.map((s) => ({ keyid: s.keyId, sig: toBase64(s.signature) })),
  };
  return encodeText(`${JSON.stringify(json)}\n`);
}

function malformed(why: string): OtaError {
  return new OtaError("TRUST_MANIFEST", { what: "the signature file is malformed", found: why });
}

/** Reads an envelope. @throws OtaError TRUST_MANIFEST */
export function decodeEnvelope(bytes: Uint8Array): Envelope {
  if (bytes.length > MAX_ENVELOPE_BYTES) throw malformed(`${bytes.length} bytes, more than ${MAX_ENVELOPE_BYTES}`);
  let json: unknown;
  try {
    json = JSON.parse(decodeText(bytes));
  } catch {
    throw malformed("no JSON");
  }
  const { payloadType, payload, signatures } = (json ?? {}) as Record<string, unknown>;
  if (typeof payloadType !== "string" || typeof payload !== "string" || !Array.isArray(signatures)) {
    throw malformed("fields payloadType, payload and signatures are not all there");
  }
  const content = fromBase64(payload);
  if (content === undefined) throw malformed("payload is no base64");
  const envelope: Envelope = {
    payloadType,
    payload: content,
    signatures: signatures.map((entry: unknown) => {
      const { keyid, sig } = (entry ?? {}) as Record<string, unknown>;
      const signature = typeof sig === "string" ? fromBase64(sig) : undefined;
      if (typeof keyid !== "string" || !/^[0-9a-f]{64}$/.test(keyid) || signature === undefined) {
        throw malformed("a signature entry");
      }
      return { keyId: keyid, signature };
    }),
  };
  const ids = envelope.signatures.map((s) => s.keyId);
  if (ids.some((id, i) => i > 0 && id <= (ids[i - 1] as string)))
    throw malformed("signatures repeat or are out of order");
  if (!equalBytes(encodeEnvelope(envelope), bytes)) throw malformed("not in its canonical form");
  return envelope;
}

/**
 * The keys among `keys` whose signatures fit. One that is configured and does not fit is an error even when another fits:
 * a damaged file is not half trusted.
 * @throws OtaError TRUST_SIGNATURE, TRUST_UNKNOWN_KEY (none of the configured keys signed it), TRUST_UNSIGNED (no signature)
 */
export async function checkEnvelope(
  envelope: Envelope,
  keys: readonly PublicKey[],
  checker: SignatureChecker,
): Promise<readonly PublicKey[]> {
  if (envelope.signatures.length === 0) throw new OtaError("TRUST_UNSIGNED", "the signature file holds no signature");
  const message = signedBytes(envelope.payloadType, envelope.payload);
  const good: PublicKey[] = [];
  for (const { keyId, signature } of envelope.signatures) {
    const key = keys.find((k) => k.id === keyId);
    if (key === undefined) continue;
    if (!(await checker.check(key, message, signature))) {
      throw new OtaError("TRUST_SIGNATURE", {
        what: "the signature does not fit",
        where: `key ${keyId.slice(0, 16)}… (${key.source})`,
        hint: "The package or its signature was changed after signing.",
      });
    }
    good.push(key);
  }
  if (good.length === 0) {
    throw new OtaError("TRUST_UNKNOWN_KEY", {
      what: "signed by a key that is not configured",
      expected: keys.map((k) => `${k.id.slice(0, 16)}…`).join(", "),
      found: envelope.signatures.map((s) => `${s.keyId.slice(0, 16)}…`).join(", "),
      hint: "Configure the signer's public key, or sign with a configured one.",
    });
  }
  return good;
}
