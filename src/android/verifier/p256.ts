/** ECDSA over NIST P-256 (FIPS 186-4 section 6.4, curve of appendix D.1.2.3): verification only. */
import { DER, DerCursor, toInteger } from "./der.ts";

const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
const G: EcPoint = {
  x: 0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
  y: 0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
};

export interface EcPoint {
  readonly x: bigint;
  readonly y: bigint;
}

/** x = X/Z², y = Y/Z³; Z = 0 is the point at infinity. */
interface Jacobian {
  readonly x: bigint;
  readonly y: bigint;
  readonly z: bigint;
}

const INFINITY: Jacobian = { x: 1n, y: 1n, z: 0n };
const mod = (v: bigint, m = P): bigint => {
  const r = v % m;
  return r < 0n ? r + m : r;
};

function inverse(value: bigint, m: bigint): bigint {
  let [a, b] = [mod(value, m), m];
  let [u, v] = [1n, 0n];
  while (a !== 0n) {
    const q = b / a;
    [a, b] = [b - q * a, a];
    [u, v] = [v - q * u, u];
  }
  return mod(v, m);
}

function double({ x, y, z }: Jacobian): Jacobian {
  if (z === 0n || y === 0n) return INFINITY;
  const yy = mod(y * y);
  const s = mod(4n * x * yy);
  const zz = mod(z * z);
  const m = mod(3n * (x - zz) * (x + zz));
  const x3 = mod(m * m - 2n * s);
  return { x: x3, y: mod(m * (s - x3) - 8n * yy * yy), z: mod(2n * y * z) };
}

function add(a: Jacobian, b: Jacobian): Jacobian {
  if (a.z === 0n) return b;
  if (b.z === 0n) return a;
  const za = mod(a.z * a.z);
  const zb = mod(b.z * b.z);
  const ua = mod(a.x * zb);
  const ub = mod(b.x * za);
  const sa = mod(a.y * zb * b.z);
  const sb = mod(b.y * za * a.z);
  if (ua === ub) return sa === sb ? double(a) : INFINITY;
  const h = mod(ub - ua);
  const r = mod(sb - sa);
  const hh = mod(h * h);
  const hhh = mod(h * hh);
  const v = mod(ua * hh);
  const x = mod(r * r - hhh - 2n * v);
  return { x, y: mod(r * (v - x) - sa * hhh), z: mod(a.z * b.z * h) };
}

/** u·G + v·Q, both scalars walked together. */
function combine(u: bigint, v: bigint, point: EcPoint): Jacobian {
  const g: Jacobian = { ...G, z: 1n };
  const q: Jacobian = { ...point, z: 1n };
  const both = add(g, q);
  let sum = INFINITY;
  for (let bit = 255n; bit >= 0n; bit--) {
    sum = double(sum);
    const ub = (u >> bit) & 1n;
    const vb = (v >> bit) & 1n;
    if (ub && vb) sum = add(sum, both);
    else if (ub) sum = add(sum, g);
    else if (vb) sum = add(sum, q);
  }
  return sum;
}

/** Whether the point is one of the curve's. */
export function isOnP256({ x, y }: EcPoint): boolean {
  return x >= 0n && y >= 0n && x < P && y < P && mod(y * y - (x * x * x - 3n * x + B)) === 0n;
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
  const rv = toInteger(r);
  const sv = toInteger(s);
  if (rv <= 0n || sv <= 0n || rv >= N || sv >= N) return false;
  const w = inverse(sv, N);
  const e = toInteger(digest.subarray(0, 32));
  const sum = combine(mod(e * w, N), mod(rv * w, N), point);
  if (sum.z === 0n) return false;
  const zi = inverse(sum.z, P);
  return mod(mod(sum.x * zi * zi), N) === rv;
}
