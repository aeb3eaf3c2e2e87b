/** Node's implementation of {@link FirmwareCrypto}. */
import { createDecipheriv, createHash, createPublicKey, verify } from "node:crypto";
import type { FirmwareCrypto } from "./firmware.ts";

function hash(name: string, parts: readonly Uint8Array[]): Uint8Array {
  const h = createHash(name);
  for (const part of parts) h.update(part);
  return h.digest();
}

function stripZeros(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((b) => b !== 0);
  return first < 0 ? bytes.subarray(bytes.length - 1) : bytes.subarray(first);
}

export const nodeFirmwareCrypto: FirmwareCrypto = {
  sha256: (...parts) => hash("sha256", parts),
  sm3: (...parts) => hash("sm3", parts),
  rsaVerify({ modulus, exponent }, message, signature) {
    const e = Uint8Array.of((exponent >>> 24) & 255, (exponent >>> 16) & 255, (exponent >>> 8) & 255, exponent & 255);
    try {
      const key = createPublicKey({
        format: "jwk",
        key: {
          kty: "RSA",
          n: Buffer.from(stripZeros(modulus)).toString("base64url"),
          e: Buffer.from(stripZeros(e)).toString("base64url"),
        },
      });
      return verify("sha256", message, key, signature);
    } catch {
      return false; // no RSA key at all (zero or even modulus …): nothing it could have signed
    }
  },
  aesGcmDecrypt(key, iv, ciphertext, tag) {
    const decipher = createDecipheriv("aes-256-gcm", key, iv, { authTagLength: 16 });
    decipher.setAuthTag(tag);
    const out = decipher.update(ciphertext);
    try {
      return Buffer.concat([out, decipher.final()]);
    } catch {
      return undefined;
    }
  },
  sm4CbcDecrypt(key, iv, ciphertext) {
    if (ciphertext.length % 16 !== 0) return undefined;
    const decipher = createDecipheriv("sm4-cbc", key, iv);
    decipher.setAutoPadding(false);
    return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
  },
};
