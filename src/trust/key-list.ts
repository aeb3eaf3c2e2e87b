/**
 * Signed key lists: how a device learns new keys and forgets old ones without a clock.
 *
 * A list has a sequence number and the keys that are trusted from then on. Each list is signed by at least one key of the list
 * before it (the first one: of the keys in the device description), so a device that was off for years walks the chain in
 * order. The highest sequence number seen is kept in the device's state; a lower one is refused, whatever the time is.
 */
import { equalBytes, toHex } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import type { Digests } from "../core/ports.ts";
import { decodeText, encodeText } from "../core/text.ts";
import { fromBase64, toBase64 } from "./base64.ts";
import { checkEnvelope, type Envelope } from "./envelope.ts";
import type { PublicKey, SignatureChecker } from "./keys.ts";

export const KEY_LIST_TYPE = "application/vnd.otaforge.key-list+json";

export interface KeyList {
  /** 1 for the first list, one more for each that replaces it. */
  readonly sequence: number;
  readonly keys: readonly Pick<PublicKey, "algorithm" | "spki">[];
}

export function encodeKeyList(list: KeyList): Uint8Array {
  const keys = list.keys.map((k) => ({ algorithm: k.algorithm, spki: toBase64(k.spki) }));
  return encodeText(JSON.stringify({ otaforgeKeys: 1, sequence: list.sequence, keys }));
}

function malformed(where: string): OtaError {
  return new OtaError("TRUST_MANIFEST", { what: "the key list is malformed", where });
}

/** @throws OtaError TRUST_MANIFEST */
export function decodeKeyList(bytes: Uint8Array): KeyList {
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(decodeText(bytes)) as Record<string, unknown>;
  } catch {
    throw malformed("no JSON");
  }
  const sequence = json["sequence"];
  const entries = json["keys"];
  if (typeof sequence !== "number" || !Number.isSafeInteger(sequence) || sequence < 1) throw malformed("sequence");
  if (!Array.isArray(entries) || entries.length === 0 || entries.length > 64) throw malformed("keys");
  const keys = entries.map((entry: unknown): KeyList["keys"][number] => {
    const { algorithm, spki } = (entry ?? {}) as Record<string, unknown>;
    const der = typeof spki === "string" ? fromBase64(spki) : undefined;
    if (algorithm !== "ed25519" && algorithm !== "ecdsa-p256" && algorithm !== "rsa") throw malformed("keys.algorithm");
    if (der === undefined) throw malformed("keys.spki");
    return { algorithm: algorithm, spki: der };
  });
  const list = { sequence, keys };
  if (!equalBytes(encodeKeyList(list), bytes)) throw malformed("not in its canonical form");
  return list;
}

export interface KeyState {
  /** 0: the keys of the device description. */
  readonly sequence: number;
  readonly keys: readonly PublicKey[];
}

/**
 * The keys after `envelope`, which must be signed by a key of `state` and follow it. A list that is already in force changes
 * nothing. @throws OtaError TRUST_KEY_LIST, TRUST_MANIFEST, and the codes of checkEnvelope
 */
export async function followKeyList(
  state: KeyState,
  envelope: Envelope,
  checker: SignatureChecker,
  digests: Digests,
): Promise<KeyState> {
  if (envelope.payloadType !== KEY_LIST_TYPE) throw malformed(`type ${envelope.payloadType}`);
  const list = decodeKeyList(envelope.payload);
  if (list.sequence <= state.sequence) return state;
  if (list.sequence !== state.sequence + 1) {
    throw new OtaError("TRUST_KEY_LIST", {
      what: "a key list is missing between the one in force and this one",
      expected: `sequence ${state.sequence + 1}`,
      found: list.sequence,
      hint: "Give all lists in order.",
    });
  }
  await checkEnvelope(envelope, state.keys, checker);
  return {
    sequence: list.sequence,
    keys: list.keys.map((key) => {
      const digest = digests.create("sha256");
      digest.update(key.spki);
      return { ...key, id: toHex(digest.digest()), source: `key list ${list.sequence}` };
    }),
  };
}
