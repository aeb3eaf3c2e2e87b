/**
 * Declared binary structures.
 *
 * A format is one field table; decoding, encoding, the inspector's dump and the documentation's table all come from it:
 *
 * ```ts
 * export const HEADER = layout("header", 20, {
 *   checkSum: u32(0, { meaning: "sum of all bytes behind it", source: "section 2.4" }),
 *   name: text(4, 16, { meaning: "partition name" }),
 * });
 * export type Header = LayoutValue<typeof HEADER>; // {checkSum: number, name: string}
 * ```
 *
 * Decoding is total: any bytes that are long enough give a value, or LAYOUT_SIZE_UNSAFE for a 64-bit size beyond 2^53-1.
 */
import { readU16, readU32, readU32be, readU64, toHex, writeU16, writeU32, writeU32be, writeU64 } from "./bytes.ts";
import { hexOffset } from "./bytes.ts";
import { OtaError } from "./errors.ts";
import { decodeText, encodeText, printable } from "./text.ts";

/** What the documentation and the inspector say of a field. */
export interface FieldNotes {
  readonly meaning: string;
  /** `bytes`, `sectors`, `seconds` …; absent for plain numbers and texts. */
  readonly unit?: string;
  /** Section of the specification. */
  readonly source?: string;
  /** Printed in hex by the inspector (flags, checksums, offsets). */
  readonly hex?: boolean;
}

/** One field of a structure holding values of type `T`. */
export interface Field<T> extends FieldNotes {
  /** Byte offset in the structure. */
  readonly offset: number;
  /** Size in bytes. */
  readonly size: number;
  /** `u32`, `char[64]` …, as the specification spells it. */
  readonly type: string;
  get(bytes: Uint8Array, at: number): T;
  set(bytes: Uint8Array, at: number, value: T): void;
  show(value: T): string;
}

function rangeError(type: string, value: number): OtaError {
  return new OtaError("LAYOUT_VALUE_RANGE", { what: `value does not fit ${type}`, found: value });
}

function integer(
  type: string,
  [offset, size]: readonly [offset: number, size: number],
  [least, most]: readonly [least: number, most: number],
  codec: { get: (b: Uint8Array, at: number) => number; set: (b: Uint8Array, at: number, v: number) => void },
  notes: FieldNotes,
): Field<number> {
  return {
    ...notes,
    offset,
    size,
    type,
    get: (b, at) => codec.get(b, at),
    set(b, at, value) {
      if (!Number.isInteger(value) || value < least || value > most) throw rangeError(type, value);
      codec.set(b, at, value);
    },
    show: (v) => (notes.hex === true ? hexOffset(v) : String(v)),
  };
}

export function u8(offset: number, notes: FieldNotes): Field<number> {
  return integer(
    "u8",
    [offset, 1],
    [0, 0xff],
    { get: (b, at) => b[at] as number, set: (b, at, v) => void (b[at] = v) },
    notes,
  );
}

export function u16(offset: number, notes: FieldNotes): Field<number> {
  return integer("u16", [offset, 2], [0, 0xffff], { get: readU16, set: writeU16 }, notes);
}

export function u32(offset: number, notes: FieldNotes): Field<number> {
  return integer("u32", [offset, 4], [0, 0xffffffff], { get: readU32, set: writeU32 }, notes);
}

/** Big-endian u32. */
export function u32be(offset: number, notes: FieldNotes): Field<number> {
  return integer("u32be", [offset, 4], [0, 0xffffffff], { get: readU32be, set: writeU32be }, notes);
}

/** Signed 32 bits. */
export function s32(offset: number, notes: FieldNotes): Field<number> {
  const signed = (b: Uint8Array, at: number): number => readU32(b, at) << 0;
  return integer("s32", [offset, 4], [-0x80000000, 0x7fffffff], { get: signed, set: writeU32 }, notes);
}

/** A 64-bit size or offset as an exact number; a value beyond 2^53-1 is LAYOUT_SIZE_UNSAFE. */
export function u64(offset: number, notes: FieldNotes): Field<number> {
  return integer(
    "u64",
    [offset, 8],
    [0, Number.MAX_SAFE_INTEGER],
    {
      get(b, at) {
        const v = readU64(b, at);
        if (Number.isNaN(v)) {
          const raw = hexOffset(readU32(b, at + 4)) + readU32(b, at).toString(16).padStart(8, "0");
          throw new OtaError("LAYOUT_SIZE_UNSAFE", {
            what: "64-bit size is larger than any real file",
            where: `offset ${hexOffset(at)}`,
            found: raw,
          });
        }
        return v;
      },
      set: writeU64,
    },
    notes,
  );
}

/** Big-endian {@link u64}. */
export function u64be(offset: number, notes: FieldNotes): Field<number> {
  return integer(
    "u64be",
    [offset, 8],
    [0, Number.MAX_SAFE_INTEGER],
    {
      get(b, at) {
        const high = readU32be(b, at);
        if (high <= 0x1fffff) return high * 0x100000000 + readU32be(b, at + 4);
        throw new OtaError("LAYOUT_SIZE_UNSAFE", {
          what: "64-bit size is larger than any real file",
          where: `offset ${hexOffset(at)}`,
          found: `0x${toHex(b.subarray(at, at + 8))}`,
        });
      },
      set(b, at, v) {
        writeU32be(b, at, Math.floor(v / 0x100000000));
        writeU32be(b, at + 4, v % 0x100000000);
      },
    },
    notes,
  );
}

/** A 64-bit pattern (flags, identifiers) as a bigint. */
export function u64bits(offset: number, notes: FieldNotes): Field<bigint> {
  return {
    ...notes,
    offset,
    size: 8,
    type: "u64",
    get: (b, at) => (BigInt(readU32(b, at + 4)) << 32n) | BigInt(readU32(b, at)),
    set(b, at, value) {
      if (value < 0n || value > 0xffffffffffffffffn) throw rangeError("u64", Number(value));
      writeU32(b, at, Number(value & 0xffffffffn));
      writeU32(b, at + 4, Number(value >> 32n));
    },
    show: (v) => `0x${v.toString(16)}`,
  };
}

/** Raw bytes (digests, reserved areas): a copy, never a view of the input. */
export function raw(offset: number, size: number, notes: FieldNotes): Field<Uint8Array> {
  return {
    ...notes,
    offset,
    size,
    type: `u8[${size}]`,
    get: (b, at) => b.slice(at, at + size),
    set(b, at, value) {
      if (value.length !== size) throw rangeError(`u8[${size}]`, value.length);
      b.set(value, at);
    },
    show: (v) => toHex(v),
  };
}

/** A NUL-padded byte string; bytes behind the first NUL are not kept. A text as long as the field has no NUL. */
export function text(offset: number, size: number, notes: FieldNotes): Field<string> {
  return {
    ...notes,
    offset,
    size,
    type: `char[${size}]`,
    get(b, at) {
      const nul = b.indexOf(0, at);
      return decodeText(b, at, nul < 0 || nul > at + size ? at + size : nul);
    },
    set(b, at, value) {
      const bytes = encodeText(value);
      if (bytes.length > size) {
        throw new OtaError("LAYOUT_TEXT_TOO_LONG", {
          what: "text is too long for its field",
          where: printable(value.slice(0, 60)),
          expected: `at most ${size} bytes`,
          found: bytes.length,
        });
      }
      b.fill(0, at, at + size);
      b.set(bytes, at);
    },
    show: (v) => JSON.stringify(printable(v)),
  };
}

/** `count` equal elements one behind the other; `element` is made for offset 0. */
export function array<T>(
  offset: number,
  count: number,
  element: (offset: number, notes: FieldNotes) => Field<T>,
  notes: FieldNotes,
): Field<readonly T[]> {
  const one = element(0, notes);
  return {
    ...notes,
    offset,
    size: count * one.size,
    type: `${one.type}[${count}]`,
    get: (b, at) => Array.from({ length: count }, (_, i) => one.get(b, at + i * one.size)),
    set(b, at, values) {
      if (values.length !== count) throw rangeError(`${one.type}[${count}]`, values.length);
      values.forEach((v, i) => one.set(b, at + i * one.size, v));
    },
    show: (values) => values.map((v) => one.show(v)).join(" "),
  };
}

/** A field's value for people; a value that cannot be decoded is shown as its bytes, since the inspector shows any file. */
function shown<T>(field: Field<T>, bytes: Uint8Array): string {
  try {
    return field.show(field.get(bytes, field.offset));
  } catch (e) {
    if (!(e instanceof OtaError)) throw e;
    return `invalid, bytes ${toHex(bytes.subarray(field.offset, field.offset + field.size))}`;
  }
}

// A table holds fields of many value types; `any` is what lets one type parameter range over all of them.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type FieldTable = Readonly<Record<string, Field<any>>>;

type ValueOf<F> = F extends Field<infer T> ? T : never;

/** One row of the inspector's dump. */
export interface DumpRow {
  /** Offset in the file. */
  readonly offset: number;
  readonly size: number;
  readonly name: string;
  readonly type: string;
  readonly value: string;
  readonly meaning: string;
  readonly unit?: string;
}

/** A structure: a table of fields and everything that follows from it. */
export interface Layout<F extends FieldTable> {
  readonly name: string;
  /** Size in bytes. */
  readonly size: number;
  readonly fields: F;
  /** Value at `at`. @throws OtaError LAYOUT_TRUNCATED, LAYOUT_SIZE_UNSAFE */
  decode(bytes: Uint8Array, at?: number): { [K in keyof F]: ValueOf<F[K]> };
  /** `size` bytes; bytes no field covers are zero. @throws OtaError LAYOUT_VALUE_RANGE, LAYOUT_TEXT_TOO_LONG */
  encode(value: { readonly [K in keyof F]: ValueOf<F[K]> }): Uint8Array;
  /** One row a field, for people; `fileOffset` is added to every offset. */
  dump(bytes: Uint8Array, fileOffset?: number): DumpRow[];
  /** The documentation's table. */
  markdown(): string;
}

export type LayoutValue<L> = L extends Layout<infer F> ? { -readonly [K in keyof F]: ValueOf<F[K]> } : never;

/** Declares a structure of `size` bytes. Fields must lie inside it and not overlap (checked when it is declared). */
export function layout<const F extends FieldTable>(name: string, size: number, fields: F): Layout<F> {
  const entries = Object.entries(fields).sort(([, a], [, b]) => a.offset - b.offset);
  let end = 0;
  for (const [key, field] of entries) {
    if (field.offset < end || field.offset + field.size > size) {
      throw new RangeError(`${name}.${key} overlaps a field or leaves the structure`);
    }
    end = field.offset + field.size;
  }
  const check = (bytes: Uint8Array, at: number): void => {
    if (at + size > bytes.length) {
      throw new OtaError("LAYOUT_TRUNCATED", {
        what: `${name} is cut short`,
        where: `offset ${hexOffset(at)}`,
        expected: `${size} bytes`,
        found: Math.max(0, bytes.length - at),
      });
    }
  };
  return {
    name,
    size,
    fields,
    decode(bytes, at = 0) {
      check(bytes, at);
      const value: Record<string, unknown> = {};
      for (const [key, field] of entries) value[key] = field.get(bytes, at + field.offset) as unknown;
      return value as { [K in keyof F]: ValueOf<F[K]> };
    },
    encode(value) {
      const out = new Uint8Array(size);
      for (const [key, field] of entries) {
        try {
          field.set(out, field.offset, value[key as keyof F]);
        } catch (e) {
          if (!(e instanceof OtaError)) throw e;
          throw new OtaError(e.code, { ...e.details, where: `${name}.${key}` }, e);
        }
      }
      return out;
    },
    dump(bytes, fileOffset = 0) {
      check(bytes, 0);
      return entries.map(([key, field]) => ({
        offset: fileOffset + field.offset,
        size: field.size,
        name: key,
        type: field.type,
        value: shown(field, bytes),
        meaning: field.meaning,
        ...(field.unit === undefined ? {} : { unit: field.unit }),
      }));
    },
    markdown() {
      const rows = entries.map(
        ([key, f]) =>
          `| ${f.offset} | ${f.size} | ${f.type} | \`${key}\` | ${f.meaning}${f.unit === undefined ? "" : ` (${f.unit})`} | ${f.source ?? ""} |`,
      );
      return [`| offset | size | type | field | meaning | source |`, `|--:|--:|---|---|---|---|`, ...rows, ""].join(
        "\n",
      );
    },
  };
}
