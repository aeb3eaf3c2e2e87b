/**
 * Integrity values of SigmaStar packages (specification section 2.4). None of them is a signature: anyone can make a valid
 * package.
 */
import { concatBytes, writeU32 } from "../core/bytes.ts";
import { byteSum } from "../core/checksums.ts";
import type { Digests } from "../core/ports.ts";
import { FORMATS, OPT } from "./layout.ts";
import type { GenerationFormat, PackageHeader, RecordHead } from "./layout.ts";

export function md5Of(digests: Digests, ...parts: readonly Uint8Array[]): Uint8Array {
  const digest = digests.create("md5");
  for (const part of parts) digest.update(part);
  return digest.digest();
}

/** Check value of a v0.x header: the sum of everything behind its first field and of both scripts. */
export function headerSum(headerBytes: Uint8Array, begin: Uint8Array, end: Uint8Array): number {
  return byteSum(end, byteSum(begin, byteSum(headerBytes.subarray(4))));
}

/** The bytes of a header with its check values computed. */
export function sealHeader(
  digests: Digests,
  header: PackageHeader,
  scripts: { readonly begin: Uint8Array; readonly end: Uint8Array },
): Uint8Array {
  const format = FORMATS[header.generation];
  if (format.integrity === "sum") {
    const bytes = format.encodeHeader({ ...header, checkSum: 0 });
    writeU32(bytes, 0, headerSum(bytes, scripts.begin, scripts.end));
    return bytes;
  }
  const bytes = format.encodeHeader({ ...header, scriptMd5: md5Of(digests, scripts.begin, scripts.end) });
  bytes.set(md5Of(digests, bytes.subarray(16)), 0);
  return bytes;
}

/** Running check of one record: fed with the payload, compared with or put into the head. */
export interface RecordCheck {
  update(payload: Uint8Array): void;
  /** The head with its check value set to that of what was fed. Ends the check. */
  seal(): Uint8Array;
}

/** Starts the check value of a record whose head (with everything but the check value right) is `head`. */
export function startRecordCheck(digests: Digests, format: GenerationFormat, head: RecordHead): RecordCheck {
  if (format.integrity === "sum") {
    let sum = 0;
    return {
      update(payload) {
        sum = byteSum(payload, sum);
      },
      seal: () => format.encodeRecord({ ...head, checkSum: head.opt === OPT.FILE_DELETE ? 0 : sum }),
    };
  }
  const bytes = format.encodeRecord(head);
  const digest = digests.create("md5");
  digest.update(bytes.subarray(16));
  return {
    update: (payload) => digest.update(payload),
    seal: () => concatBytes(digest.digest(), bytes.subarray(16)),
  };
}
