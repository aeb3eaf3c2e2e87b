/**
 * Raw deflate with the exact bytes of vanilla zlib.
 *
 * pako 2.1.0 is a faithful port of zlib 1.2; Node's zlib is Chromium's fork and gives other bytes at every level, so it may
 * never be used where a packed stream has to be reproduced (IMGDIFF2, opened containers).
 */
import { Deflate } from "pako";
import { equalBytes } from "../../core/bytes.ts";
import type { ByteStream } from "../../core/ports.ts";

/** The five numbers zlib's `deflateInit2` takes, as IMGDIFF2 stores them. */
export interface DeflateParameters {
  /** -1 (as 6) or 0 to 9. */
  readonly level: number;
  /** Always 8. */
  readonly method: number;
  /** Negative: raw stream; -9 to -15. */
  readonly windowBits: number;
  /** 1 to 9. */
  readonly memLevel: number;
  /** 0 to 4. */
  readonly strategy: number;
}

/** Parameters of everything gzip, zip and imgdiff write, but for the level. */
export function zlibDefaults(level: number): DeflateParameters {
  return { level, method: 8, windowBits: -15, memLevel: 8, strategy: 0 };
}

/** Whether this encoder takes the parameters; others would give no or other bytes. */
export function deflateParametersOk(p: DeflateParameters): boolean {
  return (
    p.level >= -1 &&
    p.level <= 9 &&
    p.method === 8 &&
    p.windowBits <= -9 &&
    p.windowBits >= -15 &&
    p.memLevel >= 1 &&
    p.memLevel <= 9 &&
    p.strategy >= 0 &&
    p.strategy <= 4
  );
}

/** One running deflate stream: `push` gives what has become ready. */
export interface Deflater {
  push(bytes: Uint8Array): Uint8Array[];
  finish(): Uint8Array[];
}

export function createDeflater(p: DeflateParameters): Deflater {
  const deflate = new Deflate({
    raw: true,
    level: p.level as 6,
    windowBits: p.windowBits,
    memLevel: p.memLevel,
    strategy: p.strategy,
    chunkSize: 32 * 1024,
  });
  let ready: Uint8Array[] = [];
  deflate.onData = (part) => {
    if (part.byteLength > 0) ready.push(part as Uint8Array);
  };
  const take = (): Uint8Array[] => {
    const parts = ready;
    ready = [];
    return parts;
  };
  return {
    push(bytes) {
      deflate.push(bytes, false);
      return take();
    },
    finish() {
      deflate.push(new Uint8Array(0), true);
      return take();
    },
  };
}

/** The raw deflate stream of `input`, vanilla zlib's bytes. */
export async function* deflateRawVanilla(input: ByteStream, parameters: DeflateParameters): ByteStream {
  const deflater = createDeflater(parameters);
  for await (const chunk of input) yield* deflater.push(chunk);
  yield* deflater.finish();
}

/** Pieces in which a proof feeds the encoder, so that it stops soon after the first different byte. */
const PROOF_PIECE = 32 * 1024;

/** Whether deflating `data` gives exactly `packed`. Stops at the first different byte. */
export function deflateReproduces(data: Uint8Array, packed: Uint8Array, parameters: DeflateParameters): boolean {
  const deflater = createDeflater(parameters);
  let at = 0;
  const matches = (parts: readonly Uint8Array[]): boolean => {
    for (const part of parts) {
      if (!equalBytes(part, packed.subarray(at, at + part.length))) return false;
      at += part.length;
    }
    return true;
  };
  for (let from = 0; from < data.length; from += PROOF_PIECE) {
    if (!matches(deflater.push(data.subarray(from, from + PROOF_PIECE)))) return false;
  }
  return matches(deflater.finish()) && at === packed.length;
}
