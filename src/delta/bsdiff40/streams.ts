/** The three streams of a BSDIFF40 patch, opened for reading over one core memory. */
import { OtaError } from "../../core/errors.ts";
import { streamRange } from "../../core/streams.ts";
import type { RandomReader } from "../../core/ports.ts";
import { BZIP2_READER_SIZE, Bzip2Reader, pullFrom } from "../bzip2/reader.ts";
import type { Core } from "../core.ts";
import { PAGES_SIZE } from "./paged-reader.ts";
import { BSDIFF40_HEADER_SIZE, readBsdiff40Header, readOffset, type Bsdiff40Header } from "./header.ts";

/** Bytes of one step: what is decompressed, added and given at a time. */
export const STEP_SIZE = 131072;
/** Compressed bytes read at a time. */
const READ_SIZE = 65536;

/** Core memory of a patch: the three streams' decoders, a control triple, one step and pages of old. */
export const PATCH_MEMORY_SIZE = 3 * BZIP2_READER_SIZE + 64 + STEP_SIZE + PAGES_SIZE;
/** Where the pages are. */
export const PAGES_AT = PATCH_MEMORY_SIZE - PAGES_SIZE;

export interface PatchStreams {
  readonly header: Bsdiff40Header;
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
    new Bzip2Reader(core, index * BZIP2_READER_SIZE, pullFrom(streamRange(patch, offset, size, READ_SIZE)), {
      name,
      ignoreTrailing: lax,
    });
  const diffAt = BSDIFF40_HEADER_SIZE + header.controlSize;
  const extraAt = diffAt + header.diffSize;
  const control = open(0, "control stream", BSDIFF40_HEADER_SIZE, header.controlSize);
  const tripleAt = 3 * BZIP2_READER_SIZE;
  const stepAddress = tripleAt + 64;
  return {
    header,
    diff: open(1, "difference stream", diffAt, header.diffSize),
    extra: open(2, "extra stream", extraAt, patch.size - extraAt),
    stepAddress,
    step: bytes.subarray(stepAddress, stepAddress + STEP_SIZE),
    async triple() {
      let have = 0;
      while (have < 24) {
        const n = control.take(tripleAt + have, 24 - have);
        have += n;
        if (n === 0 && !(await control.ready())) break;
      }
      if (have === 0) return undefined;
      if (have < 24) throw new OtaError("BSDIFF_STREAM", "the control stream ends inside a triple");
      return {
        add: readOffset(bytes, tripleAt),
        copy: readOffset(bytes, tripleAt + 8),
        seek: readOffset(bytes, tripleAt + 16),
      };
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
