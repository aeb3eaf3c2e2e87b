/** RSA signatures, PKCS#1 v1.5 (RFC 8017 section 8.2.2), checked by comparing the whole padded block. Public operation only. */
import { concatBytes, equalBytes } from "../../core/bytes.ts";
import { toBytes, toInteger } from "./der.ts";

export type SignatureHash = "sha1" | "sha256";

/** DER of DigestInfo up to the digest (RFC 8017 section 9.2, note 1). */
const DIGEST_INFO: Readonly<Record<SignatureHash, Uint8Array>> = {
  sha1: Uint8Array.of(0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14),
  sha256: Uint8Array.of(
    ...[
      0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
    ],
  ),
};

export interface RsaKey {
  readonly modulus: bigint;
  readonly exponent: bigint;
}

/** Size of a key's signatures, bytes. */
export function rsaSize({ modulus }: RsaKey): number {
  return Math.ceil(modulus.toString(16).length / 2);
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  let square = base % modulus;
  for (let e = exponent; e > 0n; e >>= 1n) {
    if (e & 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}

/** Whether `signature` (exactly as long as the key) is one of `digest` by `key`. */
export function verifyRsa(key: RsaKey, hash: SignatureHash, digest: Uint8Array, signature: Uint8Array): boolean {
  const size = rsaSize(key);
  if (signature.length !== size) return false;
  const value = toInteger(signature);
  if (value >= key.modulus) return false;
  const block = toBytes(power(value, key.exponent, key.modulus), size);
  const tail = concatBytes(DIGEST_INFO[hash], digest);
  const padding = size - tail.length - 3;
  if (block === undefined || padding < 8) return false;
  const expected = concatBytes(Uint8Array.of(0, 1), new Uint8Array(padding).fill(0xff), Uint8Array.of(0), tail);
  return equalBytes(block, expected);
}
