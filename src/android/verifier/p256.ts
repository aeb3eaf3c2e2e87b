/** ECDSA over NIST P-256 with the signature as DER, verification only; the curve itself is noble-curves'. */
import { p256 } from "@noble/curves/nist.js";
import { DER, DerCursor, toInteger } from "./der.ts";

export interface EcPoint {
  readonly x: bigint;
  readonly y: bigint;
}

/** Whether the point is one of the curve's. */
export function isOnP256({ x, y }: EcPoint): boolean {
  try {
    p256.Point.fromAffine({ x, y }).assertValidity();
    return true;
  } catch {
    return false;
  }
}

/** Whether `signature` (DER of two integers, nothing behind it) is one of `digest` by the key `point`. */
export function verifyP256(point: EcPoint, digest: Uint8Array, signature: Uint8Array): boolean {
  if (!isOnP256(point)) return false;
  const outer = new DerCursor(signature);
  const pair = outer.enter(DER.sequence);
  const r = pair?.next(DER.integer)?.content;
  const s = pair?.next(DER.integer)?.content;
  if (r === undefined || s === undefined || pair?.atEnd !== true || !outer.atEnd) return false;
  // DER integers are signed: a first byte of 80 or more would be a negative number.
  if ((r[0] ?? 0xff) >= 0x80 || (s[0] ?? 0xff) >= 0x80 || r.length > 33 || s.length > 33) return false;
  try {
    const raw = new p256.Signature(toInteger(r), toInteger(s)).toBytes("compact");
    const key = p256.Point.fromAffine(point).toBytes();
    return p256.verify(raw, digest.subarray(0, 32), key, { prehash: false, lowS: false });
  } catch {
    // The library throws for numbers out of range.
    return false;
  }
}
