/** The three streams of a BSDIFF40 patch, opened for reading over one core memory. */
import { OtaError } from "../../core/errors.ts";
import type { RandomReader } from "../../core/ports.ts";
import { BZIP2_READER_SIZE, BZIP2_WORK_SIZE, Bzip2Reader, sourceOf } from "../bzip2/reader.ts";
import type { Core } from "../core-calls.ts";
import { PAGES_SIZE } from "./paged-reader.ts";
import { BSDIFF40_HEADER_SIZE, readBsdiff40Header, readOffset, type Bsdiff40Header } from "./header.ts";

/** Bytes of one step: what is decompressed, added and given at a time. */
export const STEP_SIZE = 65536;

const WORK_AT = 3 * BZIP2_READER_SIZE;
const TRIPLE_AT = WORK_AT + BZIP2_WORK_SIZE;
const STEP_AT = TRIPLE_AT + 64;
/** Core memory of a patch: the three streams' decoders, a control triple, one step and pages of old. */
export const PATCH_MEMORY_SIZE = STEP_AT + STEP_SIZE + PAGES_SIZE;
/** Where the pages are. */
export const PAGES_AT = PATCH_MEMORY_SIZE - PAGES_SIZE;

export interface PatchStreams {
  readonly header: Bsdiff40Header;
  /** The next control triple where its block is decoded; otherwise undefined, and {@link PatchStreams.triple} tells. */
  tripleAtHand(): Triple | undefined;
  /** The next control triple; undefined when the stream has ended. */
  triple(): Promise<Triple | undefined>;
  readonly diff: Bzip2Reader;
  readonly extra: Bzip2Reader;
  /** Address and view of {@link STEP_SIZE} bytes for decompressed data. */
  readonly stepAddress: number;
  readonly step: Uint8Array;
}

/** Add `add` bytes of differences to old, copy `copy` bytes of extra, move the old position by `seek`. */
export interface Triple {
  readonly add: number;
  readonly copy: number;
  readonly seek: number;
}

/** Reads the header and checks its sizes against the patch. @throws OtaError BSDIFF_MAGIC, BSDIFF_HEADER */
export async function checkedHeader(patch: RandomReader): Promise<Bsdiff40Header> {
  const header = readBsdiff40Header(await patch.read(0, Math.min(patch.size, BSDIFF40_HEADER_SIZE)));
  const room = patch.size - BSDIFF40_HEADER_SIZE;
  if (header.controlSize > room || header.diffSize > room - header.controlSize) {
    throw new OtaError("BSDIFF_HEADER", {
      what: "the streams reach past the end of the patch",
      where: "0x8",
      expected: `at most ${room} bytes`,
      found: header.controlSize + header.diffSize,
    });
  }
  return header;
}

/** Opens the streams from their beginnings. `core` has {@link PATCH_MEMORY_SIZE} bytes. */
export function openStreams(core: Core, patch: RandomReader, header: Bsdiff40Header, lax: boolean): PatchStreams {
  const bytes = new Uint8Array(core.buffer);
  const open = (index: number, name: string, offset: number, size: number) =>
    new Bzip2Reader(core, index * BZIP2_READER_SIZE, WORK_AT, sourceOf(patch, offset, size), {
      name,
      ignoreTrailing: lax,
    });
  const diffAt = BSDIFF40_HEADER_SIZE + header.controlSize;
  const extraAt = diffAt + header.diffSize;
  const control = open(0, "control stream", BSDIFF40_HEADER_SIZE, header.controlSize);
  // Bytes of the next triple that are there.
  let have = 0;
  const tripleAtHand = (): Triple | undefined => {
    have += control.take(TRIPLE_AT + have, 24 - have);
    if (have < 24) return undefined;
    have = 0;
    return {
      add: readOffset(bytes, TRIPLE_AT),
      copy: readOffset(bytes, TRIPLE_AT + 8),
      seek: readOffset(bytes, TRIPLE_AT + 16),
    };
  };
  return {
    header,
    diff: open(1, "difference stream", diffAt, header.diffSize),
    extra: open(2, "extra stream", extraAt, patch.size - extraAt),
    stepAddress: STEP_AT,
    step: bytes.subarray(STEP_AT, STEP_AT + STEP_SIZE),
    tripleAtHand,
    async triple() {
      for (;;) {
        const triple = tripleAtHand();
        if (triple !== undefined) return triple;
        if (await control.ready()) continue;
        if (have > 0) throw new OtaError("BSDIFF_STREAM", "the control stream ends inside a triple");
        return undefined;
      }
    },
  };
}

/**
 * Follows the control triples and says where each stands, refusing what no new file of this size can be made of.
 * @throws OtaError BSDIFF_CONTROL
 */
export class ControlChecker {
  readonly #newSize: number;
  #index = 0;
  #idle = 0;
  newPosition = 0;
  oldPosition = 0;

  constructor(newSize: number) {
    this.#newSize = newSize;
  }

  #refuse(what: string, found: number): never {
    throw new OtaError("BSDIFF_CONTROL", { what, where: `control triple ${this.#index}`, found });
  }

  check({ add, copy, seek }: Triple): void {
    const left = this.#newSize - this.newPosition;
    if (!(add >= 0)) this.#refuse("the difference length is negative or beyond 2^53-1", add);
    if (!(copy >= 0)) this.#refuse("the extra length is negative or beyond 2^53-1", copy);
    if (add > left) this.#refuse(`the difference length is more than the ${left} bytes left`, add);
    if (copy > left - add) this.#refuse(`the extra length is more than the ${left - add} bytes left`, copy);
    if (!Number.isSafeInteger(seek)) this.#refuse("the seek is beyond 2^53-1", seek);
    // bsdiff itself writes triples that only seek, never more than it makes bytes; endless ones keep a reader busy for ever.
    if (add + copy === 0 && ++this.#idle > this.#newSize + 1) this.#refuse("too many triples make no byte", this.#idle);
    this.newPosition += add + copy;
    this.oldPosition += add + seek;
    if (!Number.isSafeInteger(this.oldPosition)) this.#refuse("the old position is beyond 2^53-1", seek);
    this.#index++;
  }
}
