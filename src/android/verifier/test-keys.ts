/**
 * Keys whose private halves everybody has: the test keys that come with Android's sources. A package signed by one of them is as good as
 * unsigned (ATTACKS.md section 2, last paragraph).
 */
import { concatBytes, toHex } from "../../core/bytes.ts";
import type { Digests } from "../../core/ports.ts";
import { toBytes } from "./der.ts";
import type { VerifierKey } from "./keys.ts";
import { rsaSize } from "./rsa.ts";

/** SHA-256 of the modulus, or of both coordinates of the point: RSA with e=3 and with 65537, EC P-256. */
const PUBLIC: ReadonlySet<string> = new Set([
  "9be0d75bd0a4947485e874b0b8ca5be4cc938a3cb9b0594d724acaa75aa81ef7",
  "59d60fbed4bbdd1f296b32ad4bf2b292276471a79c681a4d1de79a1a3f1b5810",
  "8c25ac171abb8387245d943f3b6d4047f23b644359b4c2a7738ddfc59ed289c0",
]);

/** Size of a coordinate of P-256, bytes. */
const COORDINATE = 32;

/** Whether everybody can sign with the key. */
export function isPublicTestKey(key: VerifierKey, digests: Pick<Digests, "create">): boolean {
  const parts =
    key.type === "rsa"
      ? [toBytes(key.rsa.modulus, rsaSize(key.rsa))]
      : [toBytes(key.point.x, COORDINATE), toBytes(key.point.y, COORDINATE)];
  if (parts.some((part) => part === undefined)) return false;
  const digest = digests.create("sha256");
  digest.update(concatBytes(...(parts as Uint8Array[])));
  return PUBLIC.has(toHex(digest.digest()));
}
