/**
 * State that survives a power cut at any moment: a JSON value in two files, each with sequence number and CRC.
 *
 * A save writes and flushes one copy and then the other, so one whole copy is there at any time and either the old or the new
 * value is found. One damaged copy costs nothing; that both are damaged is told and never taken for "no state", because a
 * version floor must not vanish with a few flipped bits. Pure: works on every device's state store.
 */
import { OtaError, concatBytes, crc32, decodeText, encodeText } from "../core/index.ts";
import type { FileStore } from "../core/index.ts";

/** A state record. One writer at a time: the lock sees to it. */
export interface Journal<T> {
  /** The last value saved, undefined when there is none. @throws OtaError DEVICE_STATE_DAMAGED, DEVICE_IO */
  load(): Promise<T | undefined>;
  /** After it the value is on the medium. @throws OtaError DEVICE_IO, DEVICE_NO_SPACE */
  save(value: T): Promise<void>;
  /** After it there is no value. */
  clear(): Promise<void>;
}

/** Longest record that is read, bytes: a state is small, and a damaged file must not fill the memory. */
const MAX_RECORD = 16 << 20;
const MAGIC = "otaforge-state 1";

interface Copy {
  readonly path: string;
  readonly exists: boolean;
  /** 0 when the copy is not whole. */
  readonly sequence: number;
}

interface ReadCopy extends Copy {
  readonly text: string;
}

function encodeCopy(sequence: number, text: string): Uint8Array {
  const body = encodeText(`${MAGIC} ${sequence}\n${text}\n`);
  return concatBytes(body, encodeText(`crc ${crc32(body).toString(16).padStart(8, "0")}\n`));
}

function decodeCopy(bytes: Uint8Array): { readonly sequence: number; readonly text: string } | undefined {
  const all = decodeText(bytes);
  const match = /^otaforge-state 1 ([1-9][0-9]{0,15})\n([^\n]*)\ncrc ([0-9a-f]{8})\n$/.exec(all);
  if (match === null) return undefined;
  const body = bytes.subarray(0, bytes.length - "crc 00000000\n".length);
  return crc32(body) === Number.parseInt(match[3] as string, 16)
    ? { sequence: Number(match[1]), text: match[2] as string }
    : undefined;
}

async function readCopy(state: FileStore, path: string): Promise<ReadCopy> {
  const info = await state.stat(path);
  if (info === undefined) return { path, exists: false, sequence: 0, text: "" };
  if (info.size > MAX_RECORD) return { path, exists: true, sequence: 0, text: "" };
  const file = await state.open(path, "read");
  try {
    const copy = decodeCopy(await file.read(0, file.size));
    return { path, exists: true, sequence: copy?.sequence ?? 0, text: copy?.text ?? "" };
  } finally {
    await file.close();
  }
}

async function writeCopy(state: FileStore, path: string, bytes: Uint8Array): Promise<void> {
  const file = await state.open(path, "create");
  try {
    await file.write(0, bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Opens the record `name` (letters, digits, `-`) in `state`. Nothing is read or written yet.
 * Values are what JSON can say: no bytes, no bigint.
 */
export function openJournal<T>(state: FileStore, name: string): Journal<T> {
  if (!/^[A-Za-z0-9-]{1,64}$/.test(name)) throw new RangeError(`not a name of a state record: ${name}`);
  const paths = [`/${name}.0`, `/${name}.1`] as const;
  const readBoth = async (): Promise<{ readonly newest: ReadCopy; readonly other: ReadCopy }> => {
    const [a, b] = [await readCopy(state, paths[0]), await readCopy(state, paths[1])];
    return a.sequence >= b.sequence ? { newest: a, other: b } : { newest: b, other: a };
  };
  // What the copies are, as far as this journal has seen: with one writer nobody else changes them.
  let seen: { readonly newest: Copy; readonly other: Copy } | undefined;
  return {
    async load() {
      const copies = await readBoth();
      seen = copies;
      const { newest, other } = copies;
      if (newest.sequence > 0) return JSON.parse(newest.text) as T;
      // A single damaged copy is what a cut in the very first save leaves: nothing was promised yet.
      if (newest.exists && other.exists) {
        throw new OtaError("DEVICE_STATE_DAMAGED", {
          what: "both copies of a state record are damaged",
          where: name,
          hint: "Restore one of them from a backup, or remove both to start anew.",
        });
      }
      return undefined;
    },
    async save(value) {
      const { newest, other } = seen ?? (await readBoth());
      // A save that fails leaves copies in a state to be looked at again.
      seen = undefined;
      const sequence = newest.sequence + 1;
      const bytes = encodeCopy(sequence, JSON.stringify(value));
      // The older or damaged copy first: the newest stays whole until the new value is on the medium.
      await writeCopy(state, other.path, bytes);
      if (!other.exists) await state.syncFolder("/");
      await writeCopy(state, newest.path, bytes);
      if (!newest.exists) await state.syncFolder("/");
      const saved = { exists: true, sequence };
      seen = { newest: { path: newest.path, ...saved }, other: { path: other.path, ...saved } };
    },
    async clear() {
      const { newest, other } = await readBoth();
      seen = undefined;
      // The older copy first, so that an interrupted clear never brings an older value back.
      for (const copy of [other, newest]) {
        if (!copy.exists) continue;
        await state.remove(copy.path);
        await state.syncFolder("/");
      }
    },
  };
}
