/** A patch as a decoder reads it: anywhere, or only forwards while it arrives. */
import { concatBytes, equalBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import type { ByteStream, Cancel, Digest, Digests, RandomReader } from "../../core/ports.ts";
import { StreamTaker, STREAM_CHUNK } from "../../core/streams.ts";
import { FORGE_HEADER } from "./layout.ts";
import { frameSizeOf, parseForgeFrame, parseForgeHeader, readForge, type ForgePatch } from "./read.ts";

/** The stored bytes of a patch's windows. */
export interface StoredWindows {
  /** Whether blocks can be decoded in any order and more than once. */
  readonly anywhere: boolean;
  /** Bytes at `at` of the patch; of an arriving patch only behind what was read before. @throws OtaError FORGE_DAMAGED */
  read(at: number, size: number): Promise<Uint8Array>;
  /** Called when the last block was given: an arriving patch must end here. @throws OtaError FORGE_DAMAGED */
  end(): Promise<void>;
}

/** A patch whose frame was read and checked, and where its windows come from. */
export interface OpenedPatch {
  readonly patch: ForgePatch;
  readonly stored: StoredWindows;
}

function cutShort(): OtaError {
  return new OtaError("FORGE_DAMAGED", "the patch is cut short");
}

class ArrivingWindows implements StoredWindows {
  readonly anywhere = false;
  readonly #taker: StreamTaker;
  readonly #digest: Digest;
  readonly #bodyDigest: Uint8Array;
  readonly #size: number;

  constructor(taker: StreamTaker, digest: Digest, { header }: ForgePatch) {
    this.#taker = taker;
    this.#digest = digest;
    this.#bodyDigest = header.bodyDigest;
    this.#size = frameSizeOf(header) + header.bodySize;
  }

  async #take(size: number): Promise<Uint8Array> {
    const bytes = await this.#taker.take(size);
    if (bytes.length < size) throw cutShort();
    this.#digest.update(bytes);
    return bytes;
  }

  async #skipTo(at: number): Promise<void> {
    if (at < this.#taker.offset) throw new Error("an arriving patch is read forwards only");
    while (this.#taker.offset < at) await this.#take(Math.min(STREAM_CHUNK, at - this.#taker.offset));
  }

  async read(at: number, size: number): Promise<Uint8Array> {
    await this.#skipTo(at);
    return this.#take(size);
  }

  async end(): Promise<void> {
    await this.#skipTo(this.#size);
    if (!equalBytes(this.#digest.digest(), this.#bodyDigest) || (await this.#taker.take(1)).length > 0) {
      throw new OtaError("FORGE_DAMAGED", "the patch ends otherwise than its header says");
    }
  }
}

/** A patch that arrives: its frame is taken from the stream, its windows stay there. */
async function openArriving(stream: ByteStream, digests: Digests): Promise<OpenedPatch> {
  const taker = new StreamTaker(stream);
  const start = (await taker.take(FORGE_HEADER.size)).slice();
  const size = frameSizeOf(parseForgeHeader(start));
  const parts = [start];
  while (taker.offset < size) {
    const part = (await taker.take(Math.min(STREAM_CHUNK, size - taker.offset))).slice();
    if (part.length === 0) throw cutShort();
    parts.push(part);
  }
  const patch = parseForgeFrame(concatBytes(...parts), digests);
  return { patch, stored: new ArrivingWindows(taker, digests.create("sha256"), patch) };
}

/**
 * Reads and checks the frame; of a patch that can be read anywhere also the digest of its windows.
 * @throws OtaError FORGE_DAMAGED, FORGE_VERSION, CANCELLED
 */
export async function openPatch(
  patch: RandomReader | ByteStream,
  digests: Digests,
  signal?: Cancel,
): Promise<OpenedPatch> {
  if (!("read" in patch)) return openArriving(patch, digests);
  const frame = await readForge(patch, digests, signal);
  const stored: StoredWindows = {
    anywhere: true,
    read: (at, size) => patch.read(at, size),
    end: async () => undefined,
  };
  return { patch: frame, stored };
}
