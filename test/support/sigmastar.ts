/** What the SigmaStar tests share: the vectors, and digests of Node. */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { crc32 } from "../../src/core/checksums.ts";
import type { ByteStream, Digests } from "../../src/core/ports.ts";

export const VECTORS = fileURLToPath(new URL("../vectors/sigmastar", import.meta.url));

export const digests: Digests = {
  create(name) {
    const hash = createHash(name);
    return { update: (bytes) => void hash.update(bytes), digest: () => new Uint8Array(hash.digest()) };
  },
  crc32,
};

/** The finished packages of every vector that has one: `[name, bytes]`. */
export function vectorPackages(): [string, Uint8Array][] {
  const out: [string, Uint8Array][] = [];
  for (const group of ["v0.2", "v0.4", "v1.6", "flow"]) {
    for (const name of readdirSync(`${VECTORS}/${group}`).sort()) {
      try {
        out.push([`${group}/${name}`, new Uint8Array(readFileSync(`${VECTORS}/${group}/${name}/expected.bin`))]);
      } catch {
        // Some error cases leave no package.
      }
    }
  }
  return out;
}

/** Bytes in chunks of `size`. */
export async function* chunked(bytes: Uint8Array, size = bytes.length || 1): ByteStream {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
