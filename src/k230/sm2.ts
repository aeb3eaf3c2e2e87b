/**
 * SM2 signature verification on the recommended 256-bit curve (GB/T 32918), for firmware of type 1.
 *
 * Written out because general libraries insist on the standard's id length, while the vendor's signer always writes 128 bits
 * into the hashed prefix (specification section 7). Verification only, public data only: not constant-time.
 */
import { concatBytes } from "../core/bytes.ts";

type Sm3 = (...parts: readonly Uint8Array[]) => Uint8Array;

const P = 0xfffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffffn;
const A = P - 3n;
const B = 0x28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93n;
const N = 0xfffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123n;
const GX = 0x32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7n;
const GY = 0xbc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0n;

type Point = readonly [x: bigint, y: bigint] | undefined;

function mod(v: bigint): bigint {
  const r = v % P;
  return r < 0n ? r + P : r;
}

function inverse(v: bigint): bigint {
  let [r0, r1, s0, s1] = [P, mod(v), 0n, 1n];
  while (r1 !== 0n) {
    const q = r0 / r1;
    [r0, r1, s0, s1] = [r1, r0 - q * r1, s1, s0 - q * s1];
  }
  return mod(s0);
}

function add(p: Point, q: Point): Point {
  if (p === undefined) return q;
  if (q === undefined) return p;
  if (p[0] === q[0] && mod(p[1] + q[1]) === 0n) return undefined;
  const slope =
    p[0] === q[0] ? mod((3n * p[0] * p[0] + A) * inverse(2n * p[1])) : mod((q[1] - p[1]) * inverse(q[0] - p[0]));
  const x = mod(slope * slope - p[0] - q[0]);
  return [x, mod(slope * (p[0] - x) - p[1])];
}

function multiply(k: bigint, point: Point): Point {
  let sum: Point;
  let power = point;
  for (let rest = k; rest > 0n; rest >>= 1n) {
    if ((rest & 1n) === 1n) sum = add(sum, power);
    power = add(power, power);
  }
  return sum;
}

function toNumber(bytes: Uint8Array): bigint {
  let v = 0n;
  for (const b of bytes) v = (v << 8n) | BigInt(b);
  return v;
}

function toBytes(v: bigint): Uint8Array {
  const out = new Uint8Array(32);
  for (let i = 31, rest = v; i >= 0; i--, rest >>= 8n) out[i] = Number(rest & 0xffn);
  return out;
}

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
  const [x, y, r, s] = [signature.x, signature.y, signature.r, signature.s].map(toNumber) as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  if (x >= P || y >= P || mod(y * y - x * x * x - A * x - B) !== 0n) return false;
  if (r < 1n || r >= N || s < 1n || s >= N) return false;
  const bits = Uint8Array.of((signature.idBits >>> 8) & 255, signature.idBits & 255);
  const curve = concatBytes(...[A, B, GX, GY].map(toBytes));
  const z = sm3(bits, signature.id, curve, signature.x, signature.y);
  const e = toNumber(sm3(z, ...message));
  const t = (r + s) % N;
  if (t === 0n) return false;
  const point = add(multiply(s, [GX, GY]), multiply(t, [x, y]));
  return point !== undefined && (e + point[0]) % N === r;
}
