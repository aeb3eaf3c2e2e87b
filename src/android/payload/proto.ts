/**
 * Declared protobuf messages: as `core/layout.ts` declares fixed structures, a message here is one field table, and decoding,
 * encoding and the inspector's names come from it. The wire format is @bufbuild/protobuf's; this adds what hostile input
 * needs and generated code lacks: a limit on the number of objects, 64-bit numbers that are exact or refused, and an error
 * with the field's name for everything that is not as declared.
 *
 * Stricter than protobuf itself: a single-valued field that stands twice, or a known field of another wire type, is refused,
 * because readers disagree about those. Unknown fields are skipped, as newer writers add some.
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { concatBytes, hexOffset } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { decodeText, encodeText } from "../../core/text.ts";

/** A kind of value on the wire. */
export interface Scalar<T> {
  readonly name: string;
  readonly wire: WireType;
  read(reader: BinaryReader): T;
  write(writer: BinaryWriter, value: T): void;
}

function exact(value: bigint | string): number {
  const n = Number(value);
  if (Number.isSafeInteger(n)) return n;
  throw new OtaError("ANDROID_PAYLOAD", {
    what: "a 64-bit number is larger than any real size",
    expected: "at most 2^53-1",
    found: String(value),
  });
}

export const U32: Scalar<number> = {
  name: "u32",
  wire: WireType.Varint,
  read: (r) => r.uint32(),
  write: (w, v) => void w.uint32(v),
};
export const U64: Scalar<number> = {
  name: "u64",
  wire: WireType.Varint,
  read: (r) => exact(r.uint64()),
  write: (w, v) => void w.uint64(v),
};
export const I64: Scalar<number> = {
  name: "i64",
  wire: WireType.Varint,
  read: (r) => exact(r.int64()),
  write: (w, v) => void w.int64(v),
};
export const FIXED32: Scalar<number> = {
  name: "fixed32",
  wire: WireType.Bit32,
  read: (r) => r.fixed32(),
  write: (w, v) => void w.fixed32(v),
};
export const BOOL: Scalar<boolean> = {
  name: "bool",
  wire: WireType.Varint,
  read: (r) => r.bool(),
  write: (w, v) => void w.bool(v),
};
export const TEXT: Scalar<string> = {
  name: "string",
  wire: WireType.LengthDelimited,
  read: (r) => decodeText(r.bytes()),
  write: (w, v) => void w.bytes(encodeText(v)),
};
export const BYTES: Scalar<Uint8Array> = {
  name: "bytes",
  wire: WireType.LengthDelimited,
  read: (r) => r.bytes().slice(),
  write: (w, v) => void w.bytes(v),
};

/** One field of a message. */
export interface ProtoField<T, Repeated extends boolean> {
  readonly number: number;
  readonly kind: Scalar<T> | Message<ProtoTable>;
  readonly repeated: Repeated;
  readonly meaning: string;
  /** Never there: carries the value's type. */
  readonly valueType?: T;
}

// A table holds fields of many value types; `any` is what lets one type parameter range over all of them.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type ProtoTable = Readonly<Record<string, ProtoField<any, boolean>>>;

type ValueOf<F> = F extends ProtoField<infer T, boolean> ? T : never;
type RepeatedKeys<F extends ProtoTable> = { [K in keyof F]: F[K]["repeated"] extends true ? K : never }[keyof F];

/** What a message holds: lists for repeated fields, and the others only where they were sent. */
export type MessageOf<F extends ProtoTable> = {
  readonly [K in RepeatedKeys<F>]: readonly ValueOf<F[K]>[];
} & { readonly [K in Exclude<keyof F, RepeatedKeys<F>>]?: ValueOf<F[K]> };

/** A message: its name and its fields. */
export interface Message<F extends ProtoTable> {
  readonly name: string;
  readonly fields: F;
  /** By number, for decoding; ascending, for encoding. */
  readonly byNumber: ReadonlyMap<number, readonly [key: string, field: ProtoTable[string]]>;
}

export type MessageValue<M> = M extends Message<infer F> ? MessageOf<F> : never;

/** Declares a message; field numbers must be distinct. */
export function message<const F extends ProtoTable>(name: string, fields: F): Message<F> {
  const list = Object.entries(fields).sort(([, a], [, b]) => a.number - b.number);
  const byNumber = new Map(list.map(([key, field]) => [field.number, [key, field] as const]));
  if (byNumber.size !== list.length) throw new RangeError(`${name}: two fields have the same number`);
  return { name, fields, byNumber };
}

export function field<T>(number: number, kind: Scalar<T>, meaning: string): ProtoField<T, false> {
  return { number, kind, repeated: false, meaning };
}

export function listOf<T>(number: number, kind: Scalar<T>, meaning: string): ProtoField<T, true> {
  return { number, kind, repeated: true, meaning };
}

export function nested<F extends ProtoTable>(
  number: number,
  kind: Message<F>,
  meaning: string,
): ProtoField<MessageOf<F>, false> {
  return { number, kind, repeated: false, meaning };
}

export function nestedList<F extends ProtoTable>(
  number: number,
  kind: Message<F>,
  meaning: string,
): ProtoField<MessageOf<F>, true> {
  return { number, kind, repeated: true, meaning };
}

/** Counts down the objects that a message may still make. */
interface Budget {
  left: number;
}

function damaged(what: string, where: string, found?: string | number): OtaError {
  return new OtaError("ANDROID_PAYLOAD", { what, where, ...(found === undefined ? {} : { found }) });
}

function decodeInto(table: Message<ProtoTable>, reader: BinaryReader, end: number, budget: Budget): object {
  if (--budget.left < 0) throw damaged("the message holds more objects than any real one", table.name);
  const value: Record<string, unknown> = {};
  for (const [key, f] of table.byNumber.values()) if (f.repeated) value[key] = [];
  while (reader.pos < end) {
    const at = reader.pos;
    const [number, wire] = reader.tag();
    const entry = table.byNumber.get(number);
    if (entry === undefined) {
      reader.skip(wire, number);
      if (reader.pos > end) throw damaged("a field reaches past its message", `${table.name} at ${hexOffset(at)}`);
      continue;
    }
    const [key, f] = entry;
    const where = `${table.name}.${key} at ${hexOffset(at)}`;
    const kind = f.kind;
    const isMessage = "fields" in kind;
    if (wire !== (isMessage ? WireType.LengthDelimited : kind.wire)) {
      throw damaged("a field has another wire type than it should", where, wire);
    }
    let one: unknown;
    if (isMessage) {
      const length = reader.uint32();
      if (length > end - reader.pos) throw damaged("a field reaches past its message", where, length);
      one = decodeInto(kind, reader, reader.pos + length, budget);
    } else {
      if (f.repeated && --budget.left < 0) throw damaged("the message holds more values than any real one", where);
      one = kind.read(reader);
    }
    if (reader.pos > end) throw damaged("a field reaches past its message", where);
    if (f.repeated) (value[key] as unknown[]).push(one);
    else if (key in value) throw damaged("a field stands twice", where);
    else value[key] = one;
  }
  return value;
}

/**
 * Decodes a message. Total: any bytes give a value or the error.
 * @param most objects (messages and repeated values) it may hold, so that a small text cannot become a large memory
 * @throws OtaError ANDROID_PAYLOAD
 */
export function decodeMessage<F extends ProtoTable>(table: Message<F>, bytes: Uint8Array, most: number): MessageOf<F> {
  try {
    return decodeInto(table, new BinaryReader(bytes), bytes.length, { left: most }) as MessageOf<F>;
  } catch (e) {
    if (e instanceof OtaError) throw e;
    // The library reports what it cannot read by plain errors of its own.
    const found = e instanceof Error ? e.message : String(e);
    throw new OtaError("ANDROID_PAYLOAD", { what: "the message is no protobuf", where: table.name, found }, e);
  }
}

function encodeInto(table: Message<ProtoTable>, value: Readonly<Record<string, unknown>>, writer: BinaryWriter): void {
  for (const [key, f] of table.byNumber.values()) {
    const found = value[key];
    for (const one of f.repeated ? (found as readonly unknown[]) : found === undefined ? [] : [found]) {
      if ("fields" in f.kind) {
        writer.tag(f.number, WireType.LengthDelimited).fork();
        encodeInto(f.kind, one as Readonly<Record<string, unknown>>, writer);
        writer.join();
      } else {
        writer.tag(f.number, f.kind.wire);
        f.kind.write(writer, one);
      }
    }
  }
}

/** Encodes a message, fields in ascending order: the same value gives the same bytes. */
export function encodeMessage<F extends ProtoTable>(table: Message<F>, value: MessageOf<F>): Uint8Array {
  const writer = new BinaryWriter();
  encodeInto(table, value, writer);
  return writer.finish();
}

/**
 * A message with other fields in place of those with the numbers given; everything else stays byte for byte, also what no
 * table knows. @param fields encoded, with their tags
 */
export function replaceFields(bytes: Uint8Array, numbers: ReadonlySet<number>, fields: Uint8Array): Uint8Array {
  const first = Math.min(...numbers);
  const reader = new BinaryReader(bytes);
  const [before, after]: [Uint8Array[], Uint8Array[]] = [[], []];
  while (reader.pos < bytes.length) {
    const at = reader.pos;
    const [number, wire] = reader.tag();
    reader.skip(wire, number);
    if (!numbers.has(number))
      (number < first && after.length === 0 ? before : after).push(bytes.subarray(at, reader.pos));
  }
  return concatBytes(...before, fields, ...after);
}
