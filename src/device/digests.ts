/** Digests and checksums of the platform. */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { Digests } from "../core/ports.ts";

/** {@link Digests} by node:crypto and node:zlib. */
export const nodeDigests: Digests = {
  create(name) {
    const hash = createHash(name);
    return {
      update(bytes) {
        hash.update(bytes);
      },
      digest: () => new Uint8Array(hash.digest()),
    };
  },
  crc32: (bytes, crc = 0) => crc32(bytes, crc),
};
