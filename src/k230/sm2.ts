/**
 * SM2 signature verification on the recommended 256-bit curve (GB/T 32918), for firmware of type 1.
 *
 * The verification equation stands here because general libraries insist on the standard's id length, while the vendor's signer
 * always writes 128 bits into the hashed prefix (specification section 7). The curve's arithmetic is noble-curves'.
 */
import { weierstrass } from "@noble/curves/abstract/weierstrass.js";
import { bytesToNumberBE, numberToBytesBE } from "@noble/curves/utils.js";

type Sm3 = (...parts: readonly Uint8Array[]) => Uint8Array;

/** The recommended curve, GB/T 32918 part 5. */
const CURVE = {
  p: 0xfffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffffn,
  n: 0xfffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123n,
  h: 1n,
  a: 0xfffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffcn,
  b: 0x28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93n,
  Gx: 0x32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7n,
  Gy: 0xbc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0n,
};

const Point = weierstrass(CURVE);

export interface Sm2Signature {
  /** 32 bytes each, big-endian. */
  readonly x: Uint8Array;
  readonly y: Uint8Array;
  readonly r: Uint8Array;
  readonly s: Uint8Array;
  readonly id: Uint8Array;
  /** Id length hashed in front of the id, bits; the vendor's signer always says 128. */
  readonly idBits: number;
}

/** Whether the signature of `message` (in parts) fits. A key off the curve or a value out of range is `false`. */
export function verifySm2(signature: Sm2Signature, message: readonly Uint8Array[], sm3: Sm3): boolean {
  const [x, y, r, s] = [signature.x, signature.y, signature.r, signature.s].map(bytesToNumberBE) as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  const { n } = CURVE;
  if (r < 1n || r >= n || s < 1n || s >= n) return false;
  let key;
  try {
    key = Point.fromAffine({ x, y });
    key.assertValidity();
  } catch {
    return false;
  }
  const bits = Uint8Array.of((signature.idBits >>> 8) & 255, signature.idBits & 255);
  const curve = [CURVE.a, CURVE.b, CURVE.Gx, CURVE.Gy].map((v) => numberToBytesBE(v, 32));
  const z = sm3(bits, signature.id, ...curve, signature.x, signature.y);
  const e = bytesToNumberBE(sm3(z, ...message));
  const t = (r + s) % n;
  if (t === 0n) return false;
  const point = Point.BASE.multiplyUnsafe(s).add(key.multiplyUnsafe(t));
  return !point.is0() && (e + point.toAffine().x) % n === r;
}
