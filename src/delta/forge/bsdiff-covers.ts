/** Covers out of a BSDIFF40 patch: its control triples are a list of them. */
import { concatBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { memoryReader, streamRange } from "../../core/streams.ts";
import { BSDIFF40_HEADER_SIZE, readBsdiff40Header, readOffset } from "../bsdiff40/header.ts";
import { decompressBzip2 } from "../bzip2/reader.ts";
import type { ForgeCover } from "./make.ts";

/** Bytes of a control triple. */
const TRIPLE = 24;
/** Control bytes of 16 million triples. */
const MAX_CONTROL = 16 * 1024 * 1024 * TRIPLE;

/** The covers of a patch of our own making. */
export async function coversOfBsdiff40(patch: Uint8Array): Promise<ForgeCover[]> {
  const { controlSize } = readBsdiff40Header(patch.subarray(0, BSDIFF40_HEADER_SIZE));
  const parts: Uint8Array[] = [];
  const packed = streamRange(memoryReader(patch), BSDIFF40_HEADER_SIZE, controlSize);
  for await (const part of decompressBzip2(packed, MAX_CONTROL)) parts.push(part);
  const control = concatBytes(...parts);
  const covers: ForgeCover[] = [];
  let newAt = 0;
  let oldAt = 0;
  for (let at = 0; at + TRIPLE <= control.length; at += TRIPLE) {
    const length = readOffset(control, at);
    if (!(length >= 0)) throw new OtaError("BSDIFF_CONTROL", "a control triple is negative");
    if (length > 0) covers.push({ newAt, oldAt, length });
    newAt += length + readOffset(control, at + 8);
    oldAt += length + readOffset(control, at + 16);
  }
  return covers;
}
