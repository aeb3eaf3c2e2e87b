/** Codes a short byte string (the table) with a few contexts. */
import { OtaError } from "../../core/errors.ts";
import { BinaryCoder } from "./arithmetic.ts";
import { ByteMixer, hash2 } from "./mixing.ts";

const CONTEXTS = 5;

function run(coder: BinaryCoder, bytes: Uint8Array): void {
  const mixer = new ByteMixer(coder, CONTEXTS, { bits: 16, sets: 1, limit: 60 });
  let recent = 0;
  for (let i = 0; i < bytes.length; i++) {
    mixer.contexts[0] = 0;
    mixer.contexts[1] = hash2(recent & 255, 1);
    mixer.contexts[2] = hash2(recent & 0xffff, 2);
    mixer.contexts[3] = hash2(recent & 0xffffff, 3);
    mixer.contexts[4] = hash2(recent & 0xff00, 4);
    if (coder.decoding && coder.exhausted) throw new OtaError("FORGE_DAMAGED", "the table ends early");
    const byte = mixer.code(bytes[i] as number, 0, 0);
    bytes[i] = byte;
    recent = ((recent << 8) | byte) >>> 0;
  }
}

export function encodeSmall(bytes: Uint8Array): Uint8Array {
  const coder = new BinaryCoder();
  run(coder, bytes.slice());
  return coder.finish();
}

/**
 * `size` bytes of a stored string; damage gives other bytes, which whoever reads them has to refuse.
 * @throws OtaError FORGE_DAMAGED when the string is far too short
 */
export function decodeSmall(stored: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  run(new BinaryCoder(stored), bytes);
  return bytes;
}
