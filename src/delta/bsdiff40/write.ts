/** Composes a BSDIFF40 patch from covers. */
import { concatBytes } from "../../core/bytes.ts";
import { compressBzip2 } from "../bzip2/writer.ts";
import { writeBsdiff40Header, writeOffset } from "./header.ts";

/** New bytes written as differences against old. Covers come in order of `newAt`, do not overlap and have a length. */
export interface Cover {
  readonly newAt: number;
  readonly oldAt: number;
  readonly length: number;
}

/** The control stream for `covers` of a new file of `newSize` bytes: 24 bytes a triple. */
export function controlStream(covers: readonly Cover[], newSize: number): Uint8Array {
  const triples: [number, number, number][] = [];
  const first = covers[0];
  if (newSize > 0 && (first === undefined || first.newAt > 0 || first.oldAt !== 0)) {
    triples.push([0, first?.newAt ?? newSize, first?.oldAt ?? 0]);
  }
  covers.forEach((cover, i) => {
    const next = covers[i + 1];
    const end = cover.newAt + cover.length;
    const seek = next === undefined ? 0 : next.oldAt - (cover.oldAt + cover.length);
    triples.push([cover.length, (next?.newAt ?? newSize) - end, seek]);
  });
  const out = new Uint8Array(24 * triples.length);
  triples.forEach((triple, i) => {
    triple.forEach((value, k) => {
      writeOffset(out, 24 * i + 8 * k, value);
    });
  });
  return out;
}

/** The whole patch. */
export function composePatch(old: Uint8Array, fresh: Uint8Array, covers: readonly Cover[]): Uint8Array {
  let covered = 0;
  for (const cover of covers) covered += cover.length;
  const diff = new Uint8Array(covered);
  const extra = new Uint8Array(fresh.length - covered);
  let d = 0;
  let e = 0;
  let at = 0;
  for (const { newAt, oldAt, length } of covers) {
    extra.set(fresh.subarray(at, newAt), e);
    e += newAt - at;
    for (let i = 0; i < length; i++) diff[d++] = (fresh[newAt + i] as number) - (old[oldAt + i] as number);
    at = newAt + length;
  }
  extra.set(fresh.subarray(at), e);
  const control = compressBzip2(controlStream(covers, fresh.length));
  const diffs = compressBzip2(diff);
  const header = writeBsdiff40Header({ controlSize: control.length, diffSize: diffs.length, newSize: fresh.length });
  return concatBytes(header, control, diffs, compressBzip2(extra));
}
